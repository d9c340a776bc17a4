"""MPS_SPECTRO_TEST_DEVICE=like-mps: the tests run on a device "mps" that is a double, on Linux, without an Apple GPU.

Its tensors are torch's own: `x.device` is mps:0, `x.is_mps` holds, autograd, vmap, dynamo and copies treat them as they
do on a Mac, because a small C++ library (backend.cpp) is the backend that this build of torch lacks. Behind it the CPU
computes, and the simulator runs the kernels that torch.mps.compile_shader gives, under the contract of
tests/conformance/mps_double.py.

What MPS refuses is refused, in its words: float64 and complex128, operators without an implementation there (the list
is that of the installed torch), CPU tensors among its arguments, generators of another device, numpy().
Two threads that work on the device at once, which crash torch on a Mac, are an error, and so is work in a child that
was forked after such work, which would hang.

Not imitated: what MPS's own operators compute (their results are the CPU's, also where MPS is known to be wrong), its
memory limits, its asynchrony, and torch.compile's code for Apple GPUs.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import re
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

NAME = "like-mps"
_HERE = Path(__file__).resolve().parent
_BUILT = "MPS_SPECTRO_TEST_BACKEND"  # the library, for the processes that tests start
_USES = "MPS_SPECTRO_TEST_USES"  # a file in which these say, at their end, that they used the device
_REFUSALS = {
    1: "like-mps: two threads work on MPS at once (pytorch#197805)",
    2: "like-mps: work on MPS in a child that was forked after work on MPS (pytorch#178037)",
}
# From MPSFallback.mm: torch lets the CPU do these by itself.
_ON_THE_CPU = ("embedding_renorm_", "linalg_svd", "linalg_svd.U", "upsample_nearest3d.vec")


def wanted() -> bool:
    return os.environ.get("MPS_SPECTRO_TEST_DEVICE") == NAME


def prepare() -> None:
    """Builds the library, if need be, installs the device here and in the processes that the tests will start."""
    handle, uses = tempfile.mkstemp(prefix="like-mps-")
    os.close(handle)
    atexit.register(Path(uses).unlink, missing_ok=True)
    os.environ.update(environment(), **{_USES: uses})
    install()


def environment() -> dict[str, str]:
    """The variables with which Python processes have the device."""
    path = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and one != str(_HERE / "start")]
    return {_BUILT: str(_library()), "PYTHONPATH": os.pathsep.join([str(_HERE / "start"), *path])}


def install() -> None:
    """From the library that prepare() built."""
    import torch

    if hasattr(torch._C, "_mps_compileShader"):
        return
    torch.ops.load_library(os.environ[_BUILT])
    functions = dict(
        is_available=_is_available, is_on_macos_or_newer=lambda major, minor: major <= 15, get_name=lambda: "Apple M0",
        get_core_count=lambda: 8, is_in_bad_fork=lambda: False, deviceSynchronize=lambda: None,
        emptyCache=lambda: None, setMemoryFraction=lambda fraction: None, currentAllocatedMemory=lambda: 0,
        driverAllocatedMemory=lambda: 0, recommendedMaxMemory=lambda: 2**33, compileShader=_compile,
        get_default_generator=torch.ops.like_mps.default_generator,
    )  # fmt: skip
    torch._C._has_mps = True
    for name, function in functions.items():
        setattr(torch._C, f"_mps_{name}", function)
    _tell_threads()
    plain = torch.UntypedStorage.__new__

    def new(cls: type, *args: Any, **keywords: Any) -> Any:  # this build's cannot make one on MPS
        if torch.device(keywords.get("device") or "cpu").type == "mps":
            return torch.empty(*args, dtype=torch.uint8, device="mps").untyped_storage()
        return plain(cls, *args, **keywords)

    torch.UntypedStorage.__new__ = new


def _tell_threads() -> None:
    """The library knows by then which threads Python code has started: autograd's own are none of these."""
    plain, backend = threading.Thread._bootstrap_inner, ctypes.CDLL(os.environ[_BUILT])

    def begin(thread: threading.Thread) -> None:
        backend.like_mps_python_thread()
        plain(thread)

    threading.Thread._bootstrap_inner = begin


def _is_available() -> bool:
    global _asked
    _asked += 1
    return True


_asked = 0


def at_once() -> int:
    """How often two threads have worked on the device at once in this process."""
    return ctypes.CDLL(os.environ[_BUILT]).like_mps_at_once() if wanted() else 0


def uses() -> int:
    """Grows where this process, or one that it started, works on the device or asks torch whether there is one."""
    if not wanted():
        return 0
    return _asked + ctypes.CDLL(os.environ[_BUILT]).like_mps_works() + os.stat(os.environ[_USES]).st_size


def say_at_the_end() -> None:
    """In a process that the tests started."""

    def say(of: int = os.getpid(), uses: str | None = os.environ.get(_USES)) -> None:
        if uses and of == os.getpid() and (_asked or ctypes.CDLL(os.environ[_BUILT]).like_mps_works()):
            with open(uses, "a") as file:
                file.write("used\n")

    atexit.register(say)


def cannot(what: str) -> Any:
    """A mark, for a test that needs what is not imitated."""
    import pytest

    return pytest.mark.skipif(wanted(), reason=f"like-mps is not a Mac: {what}")


# --- kernels ----------------------------------------------------------------------------------------------------------


def _compile(source: str) -> _Library:
    return _Library(_double()._compile(source))


@cache
def _double() -> Any:
    """Imported with the first kernel: it imports the package, which torch alone must not do."""
    import torch

    root = str(_HERE.parents[1])
    sys.path.insert(0, root)
    try:
        contract = importlib.import_module("tests.conformance.contract")
        double = importlib.import_module("tests.conformance.mps_double")
    finally:
        sys.path.remove(root)
    release = contract.release_of(torch.__version__)
    return double.TorchMps(release if release in contract.RELEASES else contract.RELEASES[-1])


class _Library:
    def __init__(self, library: Any) -> None:
        self._library = library

    def __getattr__(self, name: str) -> _Kernel:
        return _Kernel(getattr(self._library, name))

    def __dir__(self) -> list[str]:
        return dir(self._library)


class _Kernel:
    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def __call__(self, *args: Any, **keywords: Any) -> None:
        backend = ctypes.CDLL(os.environ[_BUILT])
        if refused := backend.like_mps_begin():
            raise RuntimeError(_REFUSALS[refused])
        try:
            self._kernel(*map(_as_bound, args), **keywords)
        finally:
            backend.like_mps_end()


def _as_bound(argument: Any) -> Any:
    import torch

    if isinstance(argument, (list, tuple)):
        return type(argument)(map(_as_bound, argument))
    if not isinstance(argument, torch.Tensor) or not argument.device.type == "mps":
        if isinstance(argument, torch.Tensor) and argument.dim():
            raise RuntimeError("Passed CPU tensor to MPS op")
        return argument
    return torch.ops.like_mps.as_cpu(argument.detach())


# --- the library ------------------------------------------------------------------------------------------------------


def _library() -> Path:
    """Kept beside compiled kernels."""
    import torch

    from mps_spectro_patch.kernels.compilers import cache_folder, simulator

    source, operators = (_HERE / "backend.cpp").read_text(), _operators()
    key = f"like-mps-{simulator._digest(source, operators, torch.__version__, *simulator._compiler())}"
    if (found := cache_folder.find_library(key)) is not None:
        return found[0]
    home = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "operators.h").write_text(operators)
        library = Path(folder, "backend.so")
        command = [*simulator._compiler_command(), "-std=c++20", "-O0", "-w", "-shared", "-fPIC", f"-I{folder}"]
        command += [f"-I{home / 'include'}", str(_HERE / "backend.cpp"), "-o", str(library), f"-L{home / 'lib'}"]
        subprocess.run([*command, "-lc10", "-ltorch_cpu"], check=True)
        return cache_folder.keep_library(key, library.read_bytes(), None)[0]


def _operators() -> str:
    """The names of those that have an implementation for MPS, each as a C++ string and a comma."""
    packaged = importlib.import_module("torchgen").__path__[0]
    text = Path(packaged, "packaged", "ATen", "native", "native_functions.yaml").read_text()
    has, delegate = set(_ON_THE_CPU), {}
    for entry in re.split(r"^- func: ", text, flags=re.MULTILINE)[1:]:
        name = entry.partition("(")[0]
        if any("MPS" in keys.split(", ") for keys in re.findall(r"^    (\w[\w, ]*): ", entry, re.MULTILINE)):
            has.add(name)
        if found := re.search(r"structured_delegate: (\S+)", entry):
            delegate[name] = found[1]
    has |= {name for name, other in delegate.items() if other in has}
    assert "_fft_r2c" in has and "add_.Tensor" in has and "linalg_eig" not in has
    return "".join(f'"aten::{name}",\n' for name in sorted(has))
