"""Metal source on NVIDIA GPUs, through NVRTC and the CUDA driver (cuda-bindings), on torch's context and stream.
Never synchronises; knows no Metal beyond what kernels/compilers/msl/translate.py tells and no C++ beyond what
kernels/compilers/msl/entry_points.py writes."""

from __future__ import annotations

import ctypes
import re
import struct
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import MissingCompiler
from . import arguments
from .msl import entry_points, translate

_CXX = entry_points.CXX
_AREAS = (256, 4096, 16384)  # room for inline data in a kernel's parameter block
_MAX_THREADS = 1024
_MAX_GROUPS_YZ = 65535
_INVALID_CONTEXT = 201  # this Python thread has not used the device yet

# torch's own way to its current stream, a few times faster than building a torch.cuda.Stream.
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (
    lambda index: torch.cuda.current_stream(index).cuda_stream
)


def compile_shader(source: str) -> Library:
    """Raises SyntaxError with NVRTC's log where the source is not Metal, MissingCompiler without cuda-bindings."""
    _bindings()
    if not torch.cuda.is_available():
        raise RuntimeError("CUDA is not available")
    torch.cuda.init()
    library = Library(source)
    library._load(torch.cuda.current_device(), _AREAS[0], False)  # bad source is found here, as torch does
    return library


class Library:
    def __init__(self, source: str) -> None:
        self._translation = translation(source)
        self._kernels = {k.name: Kernel(self, k, number) for number, k in enumerate(self._translation.kernels)}
        self._modules: dict[tuple[int, int, bool], Any] = {}
        self._oversized: dict[int, int] = {}
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Kernel:
        kernel = self.__dict__.get("_kernels", {}).get(name)
        if kernel is None:
            raise arguments.missing_kernel(name)
        kernel._function(torch.cuda.current_device())  # the pipeline is made, and refused, on access: as Metal does
        return kernel

    def __dir__(self) -> list[str]:
        return list(self._kernels)

    def _load(self, index: int, area: int, checked: bool) -> Any:
        """The module of one device, with room for `area` inline bytes."""
        key = index, area, checked
        with self._lock:
            if key not in self._modules:
                driver, _ = _bindings()
                image = self._compile(torch.cuda.get_device_capability(index), area, checked)
                with torch.cuda.device(index):
                    _make_context_current(index)
                    self._modules[key] = _check(driver.cuModuleLoadData(image))
            return self._modules[key]

    def _compile(self, capability: tuple[int, int], area: int, checked: bool) -> bytes:
        while True:
            skip = frozenset(self._oversized)
            try:
                return compile_unit(unit(self._translation, area, checked, skip), capability)
            except SyntaxError as error:
                # The hardware limit is above Metal's: such a kernel must not keep the others from being used.
                found = re.findall(r"msl_kernel_(\d+)' uses too much shared data \((0x[0-9a-f]+) bytes", str(error))
                if not found:
                    raise
                self._oversized.update((int(number), int(size, 16)) for number, size in found)


class Kernel:
    thread_execution_width = 32

    def __init__(self, library: Library, kernel: translate.Kernel, number: int) -> None:
        self._library, self._name, self._number = library, kernel.name, number
        self._slots = max(kernel.buffers, 1)
        self._needed = kernel.needed or 0
        buffers = [(p.buffer, entry_points.expected(p)) for p in kernel.parameters if p.buffer]
        self._unknown = kernel.needed is None and any(how != "either" for _, how in buffers)
        known = [] if kernel.needed is None else [(1 << int(text), how) for text, how in buffers]
        self._always_pointer = sum(bit for bit, how in known if how == "pointer")
        self._always_inlined = sum(bit for bit, how in known if how == "inlined")
        self._functions: dict[tuple[int, int, bool], _Function] = {}
        head = struct.Struct(f"<{self._slots}Q8I")
        self._pack = head.pack_into
        self._data_at = -(-head.size // 16) * 16
        self._blocks: dict[int, list[_Block]] = {area: [] for area in _AREAS}

    @property
    def max_threads_per_threadgroup(self) -> int:
        return self._function(torch.cuda.current_device()).limit

    @property
    def static_thread_group_memory_length(self) -> int:
        return self._function(torch.cuda.current_device()).memory

    def __call__(
        self, *args: Any, threads: Any = None, group_size: Any = None, arg_casts: Any = None, error_buf_idx: Any = None
    ) -> None:
        slots, inlined, data, numel = arguments.bind(args, arg_casts, _is_cuda, _address)
        index = 0 if _device_count() == 1 else _device_of(args)
        area = _AREAS[0]
        if len(data) > area:
            area = next((a for a in _AREAS if a >= len(data)), 0)
            if not area:
                raise RuntimeError(f"Kernel {self._name}: {len(data)} bytes of inline data, at most {_AREAS[-1]} fit")
        checked = bool(inlined & self._always_pointer or ~inlined & self._always_inlined or self._unknown)
        function = self._functions.get((index, area, checked)) or self._function(index, area, checked)
        total, group = arguments.extents(threads, group_size, numel, function.limit)
        if 0 in total:
            return
        given, room = len(slots), self._slots
        if given < self._needed:
            raise arguments.too_few(self._name, self._needed, given)
        if given != room:
            slots = slots[:room] + [0] * (room - given)
        x, y, z = -(-total[0] // group[0]), -(-total[1] // group[1]), -(-total[2] // group[2])
        free = self._blocks[area]
        try:
            block = free.pop()  # atomic: two Python threads never share one
        except IndexError:
            block = _Block(self._data_at + area)
        self._pack(block.memory, 0, *slots, inlined, *total, x, y, z, 0)
        if data:
            block.memory[self._data_at : self._data_at + len(data)] = data
        if y > _MAX_GROUPS_YZ or z > _MAX_GROUPS_YZ:
            x, y, z = x * y * z, 1, 1
        _launch(index, function.handle, x, y, z, *group, block.parameters)
        free.append(block)  # the driver has copied it

    def prepare(
        self, args: Sequence[Any], threads: int, group_size: int, arg_casts: Any, index: int
    ) -> Callable[..., None]:
        """A launch on device `index` that is known but for some tensors: None in `args`, given in order when called.

        For launches that happen again and again: no argument is looked at but the tensors' addresses.
        """
        known = [0.0 if value is None else value for value in args]  # a placeholder that takes a slot
        places = [position for position, value in enumerate(args) if value is None]
        slots, inlined, data, _ = arguments.bind(known, arg_casts, _is_cuda, _address)
        for position in places:
            inlined &= ~(1 << position)
        area = next(a for a in _AREAS if a >= len(data))
        checked = bool(inlined & self._always_pointer or ~inlined & self._always_inlined or self._unknown)
        function = self._function(index, area, checked)
        total, group = arguments.extents(threads, group_size, None, function.limit)
        groups = -(-total[0] // group[0])
        keep = [value for value in args if isinstance(value, Tensor)]  # their addresses are in the block
        free: list[_Block] = []
        handle, shape = function.handle, (groups, 1, 1, *group)
        on_device, start = torch._C._cuda_getDevice, _bindings()[0].cuLaunchKernel

        def launch(*tensors: Tensor) -> None:
            try:
                block = free.pop()  # atomic: two Python threads never share one
            except IndexError:
                block = _Block(self._data_at + area)
                self._pack(block.memory, 0, *slots, inlined, *total, groups, 1, 1, 0)
                block.memory[self._data_at : self._data_at + len(data)] = data
                block.slots = block.memory[: 8 * len(slots)].cast("Q")
            written = block.slots
            for position, tensor in zip(places, tensors):  # noqa: B905 (strict costs on the hot path)
                written[position] = tensor.data_ptr()
            # As _launch() has it, without its calls: that is left for what does not go well.
            if on_device() != index or start(handle, *shape, 0, _raw_stream(index), block.parameters, 0)[0]:
                _launch(index, handle, *shape, block.parameters)
            free.append(block)

        launch.keep = keep  # type: ignore[attr-defined]
        return launch

    def _function(self, index: int, area: int = _AREAS[0], checked: bool | None = None) -> _Function:
        checked = self._unknown if checked is None else checked
        key = index, area, checked
        if key not in self._functions:
            driver, _ = _bindings()
            module = self._library._load(index, area, checked)
            if self._number in self._library._oversized:
                raise arguments.too_much_memory(self._library._oversized[self._number])
            handle = _check(driver.cuModuleGetFunction(module, f"msl_kernel_{self._number}".encode()))
            attribute = driver.CUfunction_attribute
            memory = _check(driver.cuFuncGetAttribute(attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, handle))
            limit = _check(driver.cuFuncGetAttribute(attribute.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, handle))
            if memory > arguments.THREADGROUP_MEMORY:
                raise arguments.too_much_memory(memory)
            self._functions[key] = _Function(handle, min(limit, _MAX_THREADS), memory)
        return self._functions[key]


class _Function(NamedTuple):
    handle: Any
    limit: int
    memory: int


class _Block:
    """The memory of one parameter block, and the array of its address that cuLaunchKernel wants."""

    __slots__ = ("memory", "parameters", "slots", "_storage", "_array")

    def __init__(self, size: int) -> None:
        self._storage = (ctypes.c_char * size)()
        self.memory = memoryview(self._storage).cast("B")
        self._array = (ctypes.c_void_p * 1)(ctypes.addressof(self._storage))
        self.parameters = ctypes.addressof(self._array)


def _launch(index: int, handle: Any, *shape_and_parameters: int) -> None:
    x, y, z, bx, by, bz, parameters = shape_and_parameters
    driver, _ = _bindings()
    if torch._C._cuda_getDevice() != index:
        with torch.cuda.device(index):
            _launch(index, handle, *shape_and_parameters)
        return
    stream = _raw_stream(index)
    result = driver.cuLaunchKernel(handle, x, y, z, bx, by, bz, 0, stream, parameters, 0)
    if result[0] == _INVALID_CONTEXT:
        _make_context_current(index)
        result = driver.cuLaunchKernel(handle, x, y, z, bx, by, bz, 0, stream, parameters, 0)
    if result[0]:
        _check(result)


_is_cuda = attrgetter("is_cuda")


@lru_cache(maxsize=1)
def _device_count() -> int:
    return torch.cuda.device_count()


def _device_of(args: Any) -> int:
    index = -1
    for value in args:
        if isinstance(value, Tensor) and value.is_cuda:
            if index < 0:
                index = value.get_device()
            elif index != value.get_device():
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two devices, "
                    f"cuda:{index} and {value.device}!"
                )
    return index if index >= 0 else torch.cuda.current_device()


def _address(tensor: Tensor) -> int | None:
    if tensor.is_cuda:
        arguments.check_real(tensor)
        return tensor.data_ptr()
    if not tensor.is_cpu:
        raise RuntimeError(f"CUDA kernels take CUDA tensors, not a tensor on {tensor.device}")
    if tensor.dim():
        raise RuntimeError("Passed CPU tensor to CUDA op")
    arguments.check_real(tensor)
    return None


# --- compiling -------------------------------------------------------------------------------------------------------


def translation(source: str) -> translate.Translation:
    """Macros that write kernels are expanded by a C++ preprocessor, because NVRTC has none to call."""
    from . import simulator

    source = simulator.embed_headers(source)
    if translate.needs_preprocessor(source):
        try:
            source = simulator.preprocess(source)
        except MissingCompiler as error:
            raise MissingCompiler(f"Macros write kernels in this source, which takes a preprocessor. {error}") from None
    return translate.translate(source, "cuda")


def unit(
    translated: translate.Translation, area: int = _AREAS[0], checked: bool = False, skip: frozenset[int] = frozenset()
) -> str:
    """The whole CUDA C++ text, as NVRTC gets it."""
    kernels = [None if n in skip else kernel for n, kernel in enumerate(translated.kernels)]
    return entry_points.cuda_unit(translated.text, kernels, area, checked)


def compile_unit(text: str, capability: tuple[int, int]) -> bytes:
    """Machine code for one architecture, or PTX where NVRTC is older than the device."""
    _, nvrtc = _bindings()
    arch = capability[0] * 10 + capability[1]
    known = _check(nvrtc.nvrtcGetSupportedArchs())
    native = arch in known
    target = f"sm_{arch}" if native else f"compute_{max(a for a in known if a < arch)}"
    options = [f"--gpu-architecture={target}", "--device-as-default-execution-space", "-std=c++17", "-w"]
    options.append("--prec-sqrt=false")  # one instruction, within 2**-23 of the root, in place of branches around it
    options = [option.encode() for option in (*options, *translate.METAL_MACROS)]
    headers = {path.name.encode(): path.read_bytes() for path in entry_points.headers()}
    texts, names = list(headers.values()), list(headers)
    program = _check(nvrtc.nvrtcCreateProgram(text.encode(), b"program_source", len(names), texts, names))
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(options), options)[0]
        if status:
            log = b" " * _check(nvrtc.nvrtcGetProgramLogSize(program))
            _check(nvrtc.nvrtcGetProgramLog(program, log))
            raise SyntaxError(log.rstrip(b"\0 ").decode(errors="replace"))
        kind = "CUBIN" if native else "PTX"
        image = b" " * _check(getattr(nvrtc, f"nvrtcGet{kind}Size")(program))
        _check(getattr(nvrtc, f"nvrtcGet{kind}")(program, image))
        return image
    finally:
        _check(nvrtc.nvrtcDestroyProgram(program))


@lru_cache(maxsize=1)
def _bindings() -> tuple[Any, Any]:
    try:
        from cuda.bindings import driver, nvrtc
    except ImportError as error:
        raise MissingCompiler(
            f"Metal kernels on CUDA need NVIDIA's cuda-bindings: pip install mps-spectro-patch[cuda] ({error})"
        ) from None
    try:
        nvrtc.nvrtcVersion()
    except RuntimeError as error:  # the bindings are not the compiler: torch's own builds for CUDA bring that
        raise MissingCompiler(f"NVIDIA's compiler NVRTC, a part of CUDA, cannot be loaded: {error}") from None
    return driver, nvrtc


def _make_context_current(index: int) -> None:
    """torch works in the device's primary context; a Python thread that never used the device has none current."""
    driver, _ = _bindings()
    device = _check(driver.cuDeviceGet(index))
    _check(driver.cuCtxSetCurrent(_primary_context(int(device))))


@lru_cache
def _primary_context(device: int) -> Any:
    driver, _ = _bindings()
    return _check(driver.cuDevicePrimaryCtxRetain(device))


def _check(result: tuple[Any, ...]) -> Any:
    status = result[0]
    if status:
        raise RuntimeError(f"CUDA error: {status.name}")
    return result[1] if len(result) == 2 else result[1:]
