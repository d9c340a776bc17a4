"""Metal source on the CPU, through the C++ compiler found on this machine: the device named "simulator".
For tests and for looking inside, not for speed. What a thread, a barrier or a simdgroup is, simulator.cpp decides."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import MissingCompiler
from . import arguments, cache_folder, guard_pages
from .msl import entry_points, translate

_CXX = entry_points.CXX
_logger = logging.getLogger(__name__)
_WIDTH = 32
_MAX_THREADS = 1024


def compile_shader(source: str) -> Library:
    """Raises SyntaxError with the compiler's log where the source is not Metal, MissingCompiler without a compiler."""
    path, names = _build(source)
    return Library(path, names)


@contextlib.contextmanager
def test_mode(seed: int | None = None, poison: bool = True, guard: str | None = None) -> Iterator[None]:
    """While it lasts, threadgroup memory starts as NaN (0xFF bytes) and, with a seed, the threads of a group run in
    an order drawn from it: a kernel that lacks a barrier gives different results for different seeds. With a guard,
    "start" or "end", an access before the start or behind the end of an argument is a RuntimeError."""
    before = _mode.seed, _mode.poison, _mode.guard
    _mode.seed, _mode.poison, _mode.guard = seed, poison, guard
    try:
        yield
    finally:
        _mode.seed, _mode.poison, _mode.guard = before


test_mode.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of its name


class Library:
    def __init__(self, path: Path, names: list[str]) -> None:
        self._simulator = _simulator()
        self._handle = ctypes.CDLL(str(path), mode=os.RTLD_LOCAL | os.RTLD_NOW)
        self._handle.msl_bind(ctypes.c_void_p(self._simulator.runtime))
        variables = self._handle.msl_variables
        variables.restype = ctypes.c_void_p
        self._kernels: dict[str, Kernel | RuntimeError] = {}
        for number, (name, buffers) in enumerate(names):
            address = self._handle[f"msl_address_{number}"]
            address.restype = ctypes.c_void_p
            memory = self._simulator.assign(address(), variables())
            if memory > arguments.THREADGROUP_MEMORY:
                self._kernels[name] = arguments.too_much_memory(memory)
                continue
            limit = self._handle[f"msl_limit_{number}"]() or _MAX_THREADS
            entry = ctypes.cast(self._handle[f"msl_kernel_{number}"], ctypes.c_void_p).value
            self._kernels[name] = Kernel(self, name, entry, memory, min(limit, _MAX_THREADS), buffers)

    def __getattr__(self, name: str) -> Kernel:
        kernel = self.__dict__.get("_kernels", {}).get(name)
        if kernel is None:
            raise arguments.missing_kernel(name)
        if isinstance(kernel, RuntimeError):
            raise kernel
        return kernel

    def __dir__(self) -> list[str]:
        return list(self._kernels)


class Kernel:
    thread_execution_width = _WIDTH

    def __init__(self, library: Library, name: str, entry: int, memory: int, limit: int, buffers: int) -> None:
        self._library = library  # keeps the code loaded
        self._name, self._entry, self._buffers = name, entry, buffers
        self.max_threads_per_threadgroup = limit
        self.static_thread_group_memory_length = memory

    def __call__(
        self, *args: Any, threads: Any = None, group_size: Any = None, arg_casts: Any = None, error_buf_idx: Any = None
    ) -> None:
        options = {"threads": threads, "group_size": group_size, "arg_casts": arg_casts}
        if _mode.guard is None:
            self._launch(args, {}, **options)
            return
        with guard_pages.tensors(list(args), _mode.guard) as (copies, blocks):
            self._launch(copies, blocks, **options)

    def _launch(
        self, args: Sequence[Any], blocks: dict[int, guard_pages.Block], threads: Any, group_size: Any, arg_casts: Any
    ) -> None:
        slots, inlined, data, numel = arguments.bind(args, arg_casts, _is_plain, _address)
        total, group = arguments.extents(threads, group_size, numel, self.max_threads_per_threadgroup)
        if 0 in total:
            return
        if len(slots) < self._buffers:
            raise arguments.too_few(self._name, self._buffers, len(slots))
        pointers, area = _placed(slots, inlined, data)  # the area lives until the kernel has run
        if _mode.guard is not None:  # lists as well, each by itself: the kernel may read what was passed and no more
            for i in (i for i in range(len(slots)) if inlined >> i & 1):
                size = arguments.size(args[i], arg_casts, i)
                blocks[i] = guard_pages.Block(size, _mode.guard)
                ctypes.memmove(blocks[i].address, pointers[i], size)
                pointers[i] = blocks[i].address
        self._start(pointers, total, group, blocks)

    def prepare(
        self, args: Sequence[Any], threads: int, group_size: int, arg_casts: Any, index: int
    ) -> Callable[..., None]:
        """As the kernels of cuda.py have it: a launch that is known but for some tensors, None in `args`, given in
        order when called."""
        known = [0.0 if value is None else value for value in args]  # a placeholder that takes a slot
        places = [position for position, value in enumerate(args) if value is None]
        slots, inlined, data, _ = arguments.bind(known, arg_casts, _is_plain, _address)
        total, group = arguments.extents(threads, group_size, None, self.max_threads_per_threadgroup)
        template, area = _placed(slots, inlined, data)

        def launch(*tensors: Tensor) -> None:
            if _mode.guard is not None:
                brought = iter(tensors)
                every = [next(brought) if value is None else value for value in args]
                self(*every, threads=threads, group_size=group_size, arg_casts=arg_casts)
                return
            pointers = type(template).from_buffer_copy(template)  # of this call: threads may launch at once
            for position, tensor in zip(places, tensors, strict=True):
                pointers[position] = tensor.data_ptr()
            self._start(pointers, total, group, {})

        launch.keep = args, area  # type: ignore[attr-defined]  # their addresses are in the template
        return launch

    def _start(
        self, pointers: Any, total: arguments.Extent, group: arguments.Extent, blocks: dict[int, guard_pages.Block]
    ) -> None:
        seed = _mode.seed
        launch = _Launch(
            self._entry,
            ctypes.addressof(pointers),
            total,
            group,
            self.static_thread_group_memory_length,
            (seed or 0) & 0xFFFFFFFFFFFFFFFF,
            seed is not None,
            _mode.poison,
            _mode.guard is not None,
            None,
        )
        error = ctypes.create_string_buffer(512)
        if self._library._simulator.launch(ctypes.byref(launch), error, 512):
            what = error.value.decode()
            for i, block in blocks.items():
                if launch.fault and block.holds(launch.fault):
                    what += f" is at byte {launch.fault - block.address} of argument {i}, which has {block.size}"
            raise RuntimeError(f"{what} (kernel {self._name})")


def _placed(slots: list[int], inlined: int, data: bytes) -> tuple[Any, Any]:
    """(the pointers that a kernel gets, the memory of its inlined arguments: a copy, aligned for every vector type)."""
    area = (ctypes.c_char * (len(data) + 64))()
    base = (ctypes.addressof(area) + 63) & ~63
    ctypes.memmove(base, data, len(data))
    places = [base + slot if inlined >> i & 1 else slot for i, slot in enumerate(slots)]
    return (ctypes.c_uint64 * max(len(slots), 1))(*places), area


class _Launch(ctypes.Structure):  # struct Launch in simulator.cpp
    _fields_ = [
        ("kernel", ctypes.c_void_p),
        ("buffers", ctypes.c_void_p),
        ("threads", ctypes.c_uint32 * 3),
        ("group", ctypes.c_uint32 * 3),
        ("memory", ctypes.c_ulong),
        ("seed", ctypes.c_uint64),
        ("permute", ctypes.c_int),
        ("poison", ctypes.c_int),
        ("guard", ctypes.c_int),
        ("fault", ctypes.c_void_p),
    ]


class _Mode(threading.local):
    seed: int | None = None
    poison: bool = False
    guard: str | None = None


_mode = _Mode()


class _Simulator:
    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self.launch = library.msl_launch
        self.launch.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        self.assign = library.msl_assign
        self.assign.argtypes, self.assign.restype = [ctypes.c_void_p, ctypes.c_void_p], ctypes.c_ulong
        library.msl_runtime.restype = ctypes.c_void_p
        self.runtime = library.msl_runtime()


def _is_plain(tensor: Tensor) -> bool:
    return tensor.is_cpu and tensor.dim() > 0


def _address(tensor: Tensor) -> int | None:
    if not tensor.is_cpu:
        raise RuntimeError(f"The simulator's kernels take CPU tensors, not a tensor on {tensor.device}")
    arguments.check_real(tensor)
    if tensor.dim() == 0 and tensor.dtype.itemsize > 4 and tensor.dtype.is_floating_point:
        return None  # torch passes a double scalar as float32
    return tensor.data_ptr()


# --- compiling and caching -------------------------------------------------------------------------------------------


def _build(source: str) -> tuple[Path, list[list[Any]]]:
    compiler = _compiler()
    headers = "".join(path.read_text() for path in entry_points.headers())
    python = "".join(path.read_text() for path in sorted((Path(__file__).parent / "msl").glob("*.py")))
    key = _digest(source, headers, python, *compiler, *_fast_math())
    found = cache_folder.find_library(key)
    if found is None:
        translation = translate.translate(preprocess(embed_headers(source)), "host")
        names = [[kernel.name, kernel.needed or 0] for kernel in translation.kernels]
        unit = entry_points.host_unit(translation.text, translation.kernels)
        library = _compile(unit, _kernel_flags(), _precompiled(*compiler))
        found = cache_folder.keep_library(key, library, names)
    return found


def preprocess(source: str) -> str:
    """The source after its own macros, as Metal would see them, with line markers that name the user's lines."""
    text = '#line 1 "program_source"\n' + translate.strip_metal_includes(source)
    flags = ["-E", "-undef", "-nostdinc", "-x", "c++", "-std=c++17", "-w", *translate.METAL_MACROS, "-"]
    done = subprocess.run([*_compiler_command(), *flags], input=text.encode(), capture_output=True)
    if done.returncode:
        raise SyntaxError(done.stderr.decode(errors="replace"))
    return done.stdout.decode()


@lru_cache(maxsize=1)
def _simulator() -> _Simulator:
    source = _CXX / "simulator.cpp"
    parts = (source, _CXX / "faults.h", _CXX / "runtime.h")
    key = _digest(*(part.read_text() for part in parts), *_compiler())
    found = cache_folder.find_library(f"simulator-{key}")
    if found is None:
        library = _compile(source.read_text(), ["-O2", "-pthread", "-ldl"] if sys.platform == "linux" else ["-O2"])
        found = cache_folder.keep_library(f"simulator-{key}", library, None)
    return _Simulator(found[0])


def _compile(text: str, flags: list[str], header: Path | None = None) -> bytes:
    """header: <metal_stdlib> as _precompiled() has it. What the compiler cannot do with it, it does without."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "library.so"
        using: list[str] = []
        if header is not None and "clang" in _compiler()[1]:
            using = ["-include-pch", str(header)]
        elif header is not None:  # g++ looks for it beside every folder's metal_stdlib, under this name
            Path(folder, "metal_stdlib.gch").symlink_to(header)
            using = [f"-I{folder}"]
        command = [*_compiler_command(), *using, "-x", "c++", "-shared", *_common_flags(), "-o", str(output), "-"]
        done = subprocess.run([*command, *flags], input=text.encode(), capture_output=True)
        if not done.returncode:
            return output.read_bytes()
    if header is not None:
        return _compile(text, flags)
    raise SyntaxError(done.stderr.decode(errors="replace"))


@lru_cache
def _precompiled(command: str, version: str) -> Path | None:
    """<metal_stdlib> precompiled: reading its text takes most of a small kernel's compile time. None where that cannot
    be done."""
    # clang looks at times
    seen = (f"{path} {path.stat().st_mtime_ns} {path.read_text()}" for path in entry_points.headers())
    flags = [*_common_flags(), *_kernel_flags()]
    key = f"stdlib-{_digest(*seen, *flags, command, version)}"
    with (
        contextlib.suppress(OSError),
        tempfile.TemporaryDirectory() as folder,
        cache_folder.locked(cache_folder.cache_directory()),  # of processes that need it at once, one makes it
    ):
        found = cache_folder.find_library(key)
        if found is not None:
            return found[0]
        output = Path(folder) / "header"
        make = [*_compiler_command(), "-x", "c++-header", *flags, str(_CXX / "metal_stdlib"), "-o", str(output)]
        if subprocess.run(make, capture_output=True).returncode == 0:
            return cache_folder.keep_library(key, output.read_bytes(), None)[0]
    return None


def _common_flags() -> list[str]:
    return ["-std=c++17", "-fPIC", "-w", f"-I{_CXX}"]


def _kernel_flags() -> list[str]:
    # No contraction and no fast math: the CPU gives the same bits on every machine.
    flags = ["-O1", "-ffp-contract=off", "-fno-math-errno", "-fno-exceptions", *_cpu_flags(), *_fast_math()]
    if "clang" not in _compiler()[1]:
        flags.append("-fno-gnu-unique")  # else libraries that use one name for different kernels would share it
    if sys.platform == "darwin":
        flags.append("-fvisibility=hidden")  # for the same reason
    return flags


def _fast_math() -> tuple[str, ...]:
    """As torch has Metal compiled with PYTORCH_MPS_FAST_MATH: without NaN, infinities and the order of operations.
    (-ffast-math by this name would also change how the whole process calculates.)"""
    if os.environ.get("PYTORCH_MPS_FAST_MATH", "0") == "0":
        return ()
    names = ("finite-math-only", "associative-math", "reciprocal-math", "no-signed-zeros", "no-trapping-math")
    return *(f"-f{name}" for name in names), "-ffp-contract=fast"


@lru_cache(maxsize=1)
def _cpu_flags() -> tuple[str, ...]:
    """Hardware fma and half conversion where there are any: x86-64 compilers assume neither."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return ()
    with contextlib.suppress(OSError):
        found = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split())
        return tuple(f"-m{name}" for name in ("fma", "f16c") if {"fma", "f16c", "avx2"} <= found)
    return ()


def embed_headers(source: str) -> str:
    """torch's own Metal headers (c10/metal/...), put in place as torch.mps.compile_shader does."""
    if "#include <c10/" not in source:
        return source
    import torch
    from torch.utils._cpp_embed_headers import _embed_headers as embed

    return embed([line + "\n" for line in source.split("\n")], [Path(torch.__file__).parent / "include"], set())


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join((*parts, *_cpu_flags(), sys.platform)).encode()).hexdigest()[:32]


def _compiler_command() -> list[str]:
    return shlex.split(_compiler()[0])


def _compiler() -> tuple[str, str]:
    """The command of a compiler that works, and what it says of its version: $CXX if that is one."""
    chosen, troubles = os.environ.get("CXX", "").strip(), []
    for candidate in filter(None, (chosen, "c++", "g++", "clang++")):
        version, trouble = _tried(candidate, os.environ.get("PATH"))
        if not trouble:
            if chosen and troubles:
                _warn(f"CXX={troubles[0]}; {candidate} is used")
            return candidate, version
        troubles.append(f"{candidate} {trouble}")
    how = "install g++ or clang (on Debian and Ubuntu: apt install g++)"
    if sys.platform == "darwin":
        how = "run: xcode-select --install"
    raise MissingCompiler(f"The simulator needs a C++ compiler, and none works here ({'; '.join(troubles)}): {how}")


# A C compiler links this without C++'s library: what it makes cannot be loaded.
_PROBE = "struct A { virtual ~A(); }; A::~A() {} struct B : A {}; A* probe() { return new B; }"


@lru_cache
def _tried(command: str, path: str | None) -> tuple[str, str]:
    """(what a compiler says of its version, what is wrong with it). What works is kept: it is not tried again.
    path: where commands are looked for, $PATH."""
    try:
        words = shlex.split(command)
        if not shutil.which(words[0], path=path):
            return "", "is not found"
        done = subprocess.run([*words, "--version"], capture_output=True, text=True)
        version = done.stdout
        key = f"compiler-{_digest(command, version)}"
        if done.returncode == 0 and cache_folder.find_library(key) is None:
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder, "probe.so")
                make = [*words, "-x", "c++", "-shared", *_common_flags(), "-o", str(output), "-"]
                done = subprocess.run(make, input=_PROBE, capture_output=True, text=True)
                if done.returncode == 0:
                    ctypes.CDLL(str(output), mode=os.RTLD_LOCAL | os.RTLD_NOW)
                    cache_folder.keep_library(key, output.read_bytes(), None)
    except (OSError, ValueError) as error:  # ValueError: quotes without an end
        return "", f"does not make C++ libraries ({str(error).rpartition(': ')[2]})"
    said = next(iter(done.stderr.strip().splitlines()), f"exit status {done.returncode}")
    return version, f"fails ({said})" if done.returncode else ""


@lru_cache(maxsize=64)
def _warn(text: str) -> None:
    """Once."""
    _logger.warning(text)
