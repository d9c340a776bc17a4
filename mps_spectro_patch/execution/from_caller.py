"""Calls torch's builtin istft as if the program's own line did: its warnings name the line of Python that calls it.

So does torch.istft without us. torch.stft needs none of this: there the line is one of torch's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

from ..options import logger

_PLACES = [Path(__file__).parents[1], *(Path(__file__).parents[2] / name for name in ("compat", "kernels"))]
_OURS = tuple(f"{place}{os.sep}" for place in _PLACES)
_LIMIT = 256
# By code (its id; with the code, so that it stays that) and place in it: the function that calls there.
_known: dict[tuple[int, int], tuple[CodeType, FunctionType]] = {}


def call(function: Callable, args: tuple, kwargs: dict, frame: FrameType | None = None) -> Any:
    """function(*args, **kwargs). frame: from which, else from the first that is none of ours."""
    try:
        calls = _known_or_made(frame)
    except Exception as error:  # then a warning has another line
        logger.debug("the line of a call", exc_info=error)
        calls = _calls
    return calls(function, args, kwargs)


def _calls(function: Callable, args: tuple, kwargs: dict) -> Any:
    return function(*args, **kwargs)


def _known_or_made(frame: FrameType | None) -> Callable:
    if frame is None:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
            frame = frame.f_back
    place = id(frame.f_code), frame.f_lasti
    known = _known.get(place)
    if known is None or known[1].__globals__ is not frame.f_globals:
        if len(_known) >= _LIMIT:
            _known.clear()
        known = _known[place] = frame.f_code, _calls_from(frame)
    return known[1]


def _calls_from(frame: FrameType) -> FunctionType:
    code = (lambda function, args, kwargs: function(*args, **kwargs)).__code__
    file, line = frame.f_code.co_filename, frame.f_lineno
    there = code.replace(co_name="istft", co_filename=file, co_firstlineno=line or 1)
    return FunctionType(there, frame.f_globals)
