"""Whether a function may run with a stand-in for its signal (deferred.py), by the names and instructions in its code:
nothing in it may notice the stand-in, keep it, or compute with it in another mode than around it.
"""

from __future__ import annotations

import dis
from collections.abc import Collection, Iterator
from types import FunctionType

from .overrides import original_of

_LOOKED_UP = {
    "torch", "np", "F", "nn", "functional", "print", "logger", "logging", "warning", "info", "debug", "str", "int",
    "len", "isinstance", "is_tensor", "ndarray", "tensor", "float", "float32", "item", "shape", "size", "device",
    "dtype", "bfloat16", "float16", "half", "type", "to", "type_as", "from_numpy", "min", "max", "hann_window", "pad",
    "unsqueeze", "squeeze", "stft", "view_as_real", "real", "imag", "abs", "pow", "pow_", "add_", "sum", "sqrt",
    "sqrt_", "matmul", "clamp", "log", "autocast", "librosa", "filters", "mel", "cuda", "get_device_name", "index",
    "endswith",
}  # fmt: skip
_FILTERBANKS = {"mel", "melscale_fbanks", "create_fb_matrix"}  # what makes them, under whichever name
_STORES = {"STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF", "DELETE_ATTR", "DELETE_GLOBAL", "YIELD_VALUE", "MAKE_FUNCTION"}


def names(function: FunctionType) -> set[str]:
    """In its code and in that of the functions of its module that it calls."""
    return {name for part in _parts(function, set()) for name in part.__code__.co_names}


def oddity(function: FunctionType, known: Collection[str] = ()) -> str:
    """What there is that is not known to be harmless, in words; "" for nothing. known: further names, which are not
    looked into."""
    parts = set(_parts(function, set(), known))
    for part in parts:
        if hasattr(part, "__wrapped__"):
            return "it is decorated"
        if part.__closure__:
            return "it has a closure"
        for name in part.__code__.co_names:
            if name not in _LOOKED_UP and name not in known and not _is_harmless(part.__globals__.get(name), parts):
                return f"it uses {name}"
        for instruction in dis.get_instructions(part):
            if instruction.opname in _STORES:
                return f"it has a {instruction.opname}"
    return ""


def _is_harmless(value: object, parts: set[FunctionType]) -> bool:
    """Whether it is a cache, a setting, a function that is looked at, or what makes filterbanks of numbers."""
    if type(value) in (dict, int, float, str):
        return True
    if type(value) is FunctionType and original_of(value) in parts:
        return True
    return getattr(value, "__name__", "") in _FILTERBANKS


def _parts(function: FunctionType, seen: set[FunctionType], known: Collection[str] = ()) -> Iterator[FunctionType]:
    """The function, and those of its module that it calls, but those with a known name."""
    if function in seen:
        return
    seen.add(function)
    yield function
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if name not in known and type(value) is FunctionType and value.__globals__ is function.__globals__:
            yield from _parts(original_of(value), seen, known)
