"""Calls torch's builtin istft as if the program's own line did: its warnings name the line of Python that calls it.

So does torch.istft without us. torch.stft needs none of this: there the line is one of torch's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

_PLACES = [Path(__file__).parents[1], *(Path(__file__).parents[2] / name for name in ("compat", "kernels"))]
_OURS = tuple(f"{place}{os.sep}" for place in _PLACES)


def call(function: Callable, args: tuple, kwargs: dict, frame: FrameType | None = None) -> Any:
    """function(*args, **kwargs). frame: from which, else from the first that is none of ours."""
    if frame is None:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
            frame = frame.f_back
    code = _at(frame.f_code.co_filename, frame.f_lineno or 1)
    return FunctionType(code, frame.f_globals)(function, args, kwargs)


def may_warn(args: tuple, kwargs: dict) -> bool:
    """Whether torch.istft may warn of these arguments: of a missing window, or of a length."""
    return len(args) > 8 or "length" in kwargs or (len(args) < 5 and "window" not in kwargs)


@lru_cache(maxsize=256)
def _at(file: str, line: int) -> CodeType:
    return _CODE.replace(co_filename=file, co_firstlineno=line)


_CODE = (lambda function, args, kwargs: function(*args, **kwargs)).__code__.replace(co_name="istft")
