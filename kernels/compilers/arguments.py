"""Turns the arguments of a kernel call into addresses and bytes exactly as torch.mps.compile_shader's kernels do,
with torch's errors word for word. Shared by the host and CUDA runtimes; launches nothing and allocates nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_CASTS = ("", "fp16", "bf16", "int32", "int16", "int8", "uint8")
_BITS = {"int32": 32, "int16": 16, "int8": 8, "uint8": 8}
_MAX_INLINE = 4096  # Metal's limit for one setBytes
THREADGROUP_MEMORY = 32768  # bytes, whatever the device allows

Extent = tuple[int, int, int]


_pack_int = struct.Struct("q").pack
_pack_float = struct.Struct("f").pack


@lru_cache(maxsize=256)
def _packer(code: str, count: int) -> Callable[..., bytes]:
    return struct.Struct(f"{count}{code}").pack


def bind(
    args: Sequence[Any],
    arg_casts: Any,
    is_ours: Callable[[Tensor], bool],
    address: Callable[[Tensor], int | None],
) -> tuple[list[int], int, bytes, int | None]:
    """The slots, the mask of inline ones, their data, and the first tensor's numel: the default number of threads.

    Argument i is the address slots[i] or, where bit i of the mask is set, the data at offset slots[i]. `is_ours` tells
    a tensor of the kernel's device quickly; `address` decides about all others: it gives a data pointer, raises, or
    answers None for a scalar whose value is passed instead.
    """
    default, casts = _parse_casts(arg_casts) if arg_casts is not None else ("", None)
    slots: list[int] = []
    inlined, data, numel = 0, b"", None
    for index, value in enumerate(args):
        if isinstance(value, Tensor):
            pointer = value.data_ptr() if type(value) is Tensor and is_ours(value) else address(value)
            if numel is None:
                numel = value.numel()
            if pointer is not None:
                slots.append(pointer)
                continue
            piece = _tensor_value(value)
        else:
            piece = _encode(value, default if casts is None else casts.get(index, default), default, address)
        inlined |= 1 << index
        slots.append(len(data))
        data += piece
        if len(data) % 16:
            data += bytes(-len(data) % 16)
    return slots, inlined, data, numel


def extents(threads: Any, group_size: Any, numel: int | None, limit: int) -> tuple[Extent, Extent]:
    """Total threads and threads per threadgroup as three numbers each."""
    total = _sizes(threads) if threads is not None else None if numel is None else (numel,)
    if total is None:
        raise RuntimeError("Number of threads is undefined or has wrong dimension")
    rank = len(total)
    if group_size is None:
        x, y, z = (min(total[0], limit) if rank == 1 else limit, 1, 1)
    else:
        group = _sizes(group_size)
        if len(group) != rank:
            raise RuntimeError(
                "Expected !group_size.has_value() || threads->size() == group_size->size() to be true, but got false."
                "  (Could this error message be improved?  If so, please report an enhancement request to PyTorch.)"
            )
        x, y, z = (*group, 1, 1)[:3]
        if x * y * z > limit:
            raise ValueError(f"Threadgroup size exceeds {limit} limit")
        if x * y * z == 0:
            raise RuntimeError("group_size must be positive in every dimension")
    total = (*total, 1, 1)[:3]
    if max(total) > 0xFFFFFFFF:
        raise RuntimeError(f"A grid of {total} threads is larger than Metal's 2^32 - 1 threads per dimension")
    return total, (x, y, z)


def size(value: Any, arg_casts: Any, index: int) -> int:
    """Bytes of an inline argument, before what is added to align the next."""
    if isinstance(value, Tensor):
        return len(_tensor_value(value))
    default, casts = _parse_casts(arg_casts) if arg_casts is not None else ("", None)
    cast = default if casts is None else casts.get(index, default)
    return len(_encode(value, cast, default, lambda tensor: tensor.data_ptr()))


def too_few(name: str, expected: int, given: int) -> RuntimeError:
    return RuntimeError(f"Kernel {name} reads {expected} buffers, but {given} arguments were given")


def missing_kernel(name: str) -> RuntimeError:
    return RuntimeError(f"Failed to create function state object for: {name}")


def too_much_memory(size: int) -> RuntimeError:
    return RuntimeError(
        f"Failed to created pipeline state object, error: Threadgroup memory size ({size}) "
        f"exceeds the maximum threadgroup memory allowed ({THREADGROUP_MEMORY})"
    )


def check_real(tensor: Tensor) -> None:
    """Refuses tensors that have no memory, before their null pointer reaches a kernel."""
    kind = type(tensor)
    if kind is Tensor or kind is torch.nn.Parameter:
        return
    from torch._subclasses.fake_tensor import FakeTensor

    if isinstance(tensor, FakeTensor):
        raise RuntimeError("A fake tensor has no memory that a kernel could read: register a fake implementation")


def _sizes(value: Any) -> tuple[int, ...]:
    if type(value) is int:
        value = (value,)
    elif isinstance(value, int):
        value = (int(value),)
    elif not isinstance(value, (tuple, list, torch.Size)):
        raise RuntimeError(f"Unable to cast Python instance of type {type(value)} to C++ type 'std::vector<uint64_t>'")
    if not 0 < len(value) < 4:
        raise RuntimeError(
            "Expected vec.size() > 0 && vec.size() < 4 to be true, but got false."
            "  (Could this error message be improved?  If so, please report an enhancement request to PyTorch.)"
        )
    for size in value:
        if type(size) is not int and not hasattr(size, "__index__") or size < 0:
            raise RuntimeError(
                f"Unable to cast Python instance of type {type(value)} to C++ type 'std::vector<uint64_t>'"
            )
    return tuple(value)


def _parse_casts(arg_casts: Any) -> tuple[str, dict[int, str] | None]:
    if isinstance(arg_casts, str):
        return arg_casts, None
    if isinstance(arg_casts, dict):
        return "", arg_casts
    raise RuntimeError(f"Unexpected caster arg type {type(arg_casts).__name__}")


def _encode(value: Any, cast: str, default: str, address: Callable[[Tensor], int | None]) -> bytes:
    kind = type(value)
    try:  # the common cases first
        if not cast:
            if kind is float:
                return _pack_float(value)
            if kind is int:
                return _pack_int(value)
        elif cast == "int32" and kind is list and value and type(value[0]) is int and len(value) < 1024:
            return _packer("i", len(value))(*value)
    except (struct.error, OverflowError):
        pass  # too large a number or a mixed list: below
    if isinstance(value, (list, tuple)):
        if not value:
            raise RuntimeError("Empty list/tuple can not be an argument to metal kernel")
        if isinstance(value[0], Tensor):
            return struct.pack(f"{len(value)}Q", *(_listed(tensor, address) for tensor in value))
        if not isinstance(value[0], (int, float)):
            raise RuntimeError("Unexpected argument types")
        values = value
    elif isinstance(value, (int, float)):
        values = (value,)
    else:
        raise RuntimeError("Unsupported argument type")
    if cast not in _CASTS:
        raise RuntimeError(f"Unsupported cast instruction {default}")
    data = _encode_numbers(values, cast, isinstance(values[0], float))
    if len(data) > _MAX_INLINE:
        raise RuntimeError(f"A list argument takes {len(data)} bytes; Metal passes at most {_MAX_INLINE} bytes inline")
    return data


def _encode_numbers(values: Sequence[Any], cast: str, floating: bool) -> bytes:
    """What C++'s static_cast from int64 or float32 does: integers wrap, floats truncate or become infinite."""
    limit = 1 << 63
    for value in values:
        fits = isinstance(value, (int, float)) if floating else isinstance(value, int) and -limit <= value < limit
        if not fits:
            kind = "std::vector<float>" if floating else "int64_t"
            raise RuntimeError(f"Unable to cast Python instance of type {type(value)} to C++ type '{kind}'")
    source = torch.tensor(
        [float(v) for v in values] if floating else list(values),
        dtype=torch.float64 if floating else torch.int64,
        device="cpu",
    )
    if floating:
        source = source.to(torch.float32)
    if cast in _BITS:
        if floating:
            source = source.to(torch.int64)
        bits = _BITS[cast]
        wrapped = [(int(v) & ((1 << bits) - 1)) for v in source.tolist()]
        return b"".join(v.to_bytes(bits // 8, "little") for v in wrapped)
    target = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(cast, source.dtype)
    # c10::Half and c10::BFloat16 take an int64 by way of float32.
    source = source.to(torch.float32).to(target) if target in (torch.float16, torch.bfloat16) else source
    return bytes(source.view(torch.uint8).tolist())


def _listed(tensor: Any, address: Callable[[Tensor], int | None]) -> int:
    pointer = address(tensor) if isinstance(tensor, Tensor) else None
    if pointer is None:
        raise RuntimeError("A list of tensors must hold tensors on the kernel's device only")
    return pointer


def _tensor_value(tensor: Tensor) -> bytes:
    """The value of a 0-dim CPU tensor; Metal has no double, so torch passes one as float32."""
    narrower = {torch.float64: torch.float32, torch.complex128: torch.complex64}
    value = tensor.detach().resolve_conj().resolve_neg().to(narrower.get(tensor.dtype, tensor.dtype))
    return bytes(value.reshape(1).view(torch.uint8).tolist())
