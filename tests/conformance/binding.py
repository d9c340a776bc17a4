"""Whether the arguments of a launch fit the kernel's parameters: what each becomes by the contract of
torch.mps.compile_shader (the table in test_contract.py), against what the Metal text declares."""

from __future__ import annotations

from typing import Any

import torch

from mps_spectro_patch.kernels.launch.params import Params

from .signatures import Buffer, Signature

_FLOAT2, _INT4 = "float __attribute__((ext_vector_type(2)))", "int __attribute__((ext_vector_type(4)))"
_TENSORS = {
    torch.float32: {"float", _FLOAT2}, torch.complex64: {_FLOAT2, "float"}, torch.float16: {"half"},
    torch.bfloat16: {"__bf16"}, torch.int32: {"int", "unsigned int", _INT4}, torch.int64: {"long"},
    torch.uint8: {"unsigned char"}, torch.bool: {"bool", "unsigned char"},
}  # fmt: skip
_CASTS = {"fp16": "half", "bf16": "__bf16", "int32": "int", "int16": "short", "int8": "char", "uint8": "unsigned char"}
_SIZES = {"half": 2, "__bf16": 2, "int": 4, "short": 2, "char": 1, "unsigned char": 1, "long": 8, "float": 4}
MAX_INLINE = 4096


def mismatches(signature: Signature, args: list[Any], threads: Any, group_size: Any, arg_casts: Any) -> list[str]:
    found = []
    indices = [buffer.index for buffer in signature.buffers]
    if indices != list(range(len(args))):
        found.append(f"{len(args)} arguments for the buffers {indices}")
    if isinstance(arg_casts, str):
        found.append("a cast for every argument would cast floats, too: use a dict")
        arg_casts = {}
    for index in arg_casts or {}:
        if not isinstance(index, int) or index >= len(args) or isinstance(args[index], torch.Tensor):
            found.append(f"a cast for argument {index}, which takes none")
    wrong = {}
    for buffer in signature.buffers:
        if buffer.index < len(args):
            wrong[buffer] = _argument(buffer, args[buffer.index], (arg_casts or {}).get(buffer.index, ""))
    # Every argument needs an address: a tensor that fits elsewhere may stand in for one that the kernel has no use for.
    fitting = {id(args[buffer.index]) for buffer, words in wrong.items() if not words and buffer.space == "device"}
    for buffer, words in wrong.items():
        if words and not (buffer.const and buffer.space == "device" and id(args[buffer.index]) in fitting):
            found.append(f"argument {buffer.index} ('{buffer.name}'): {words}")
    return found + _grid(signature, threads, group_size)


def _argument(buffer: Buffer, value: Any, cast: str) -> str:
    pointer = "reference" if buffer.reference else "pointer"
    declared = f"{buffer.space} {buffer.type} {pointer}"
    if isinstance(value, torch.Tensor):
        if value.dim() == 0:
            return "a tensor without dimensions, which is bound by value where it lives on the CPU"
        if buffer.space != "device" or buffer.reference:
            return f"a tensor, declared as {declared}: constant memory is small, and its offsets are aligned"
        if buffer.type not in _TENSORS.get(value.dtype, set()):
            return f"a tensor of {value.dtype}, declared as {declared}"
        if value.is_conj() or value.is_neg():
            return "a tensor whose conjugate or negative bit is not seen by a kernel"
        return ""
    if isinstance(value, Params):
        if tuple(value.members().items()) != buffer.members:
            return f"{type(value).__name__} with the members {value.members()}, declared as {buffer.members}"
        value = value.packed()
    is_list = isinstance(value, (list, tuple))
    first = value[0] if is_list and value else value
    if is_list and not value or not isinstance(first, (int, float)):
        return f"{value!r} cannot be bound"
    if is_list and any(type(item) is not type(first) for item in value):
        return "a list of more than one type: the first element decides"
    if isinstance(first, bool):
        return "a bool, which is passed as a 64-bit integer: say int()"
    if buffer.space != "constant":
        return f"inline data, declared as {declared}"
    if is_list == (buffer.reference and not buffer.members):
        return f"a {'list' if is_list else 'number'}, declared as {declared}"
    passed = _CASTS.get(cast, "?") if cast else "float" if isinstance(first, float) else "long"
    count = len(value) if is_list else 1
    structs, rest = divmod(count, len(buffer.members) or 1)
    fits = not rest and (structs == 1 or not buffer.reference)  # behind a pointer, one or several
    if buffer.members and not (fits and all(type == passed for _, type in buffer.members)):
        return f"{count} numbers are passed as {passed}, declared as {declared} with the members {buffer.members}"
    if not buffer.members and passed != buffer.type:
        return f"passed as {passed}, declared as {declared}"
    if is_list and count < buffer.reads:
        return f"{count} numbers are passed, {buffer.reads} are read"
    if count * _SIZES[passed] > MAX_INLINE:
        return f"{count * _SIZES[passed]} bytes inline, Metal takes {MAX_INLINE}"
    return ""


def _grid(signature: Signature, threads: Any, group_size: Any) -> list[str]:
    total, group = _extent(threads), _extent(group_size)
    if total is None or group is None or len(total) != len(group):
        return [f"a grid of {threads} in groups of {group_size}: both are given, with one rank"]
    found = []
    size = 1
    for number in group:
        size *= number
    if not 1 <= size <= 1024:
        found.append(f"{size} threads per threadgroup")
    if signature.max_threads is not None and size != signature.max_threads:
        found.append(f"{size} threads per threadgroup, max_total_threads_per_threadgroup says {signature.max_threads}")
    if any(n < 1 or n % g for n, g in zip(total, group, strict=True)):
        found.append(f"a grid of {threads} is not made of whole groups of {group_size}")
    return found


def _extent(value: Any) -> tuple[int, ...] | None:
    value = (value,) if type(value) is int else value
    good = isinstance(value, (tuple, list)) and 1 <= len(value) <= 3 and all(type(n) is int for n in value)
    return tuple(value) if good else None
