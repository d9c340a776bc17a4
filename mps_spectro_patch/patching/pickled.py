"""Where pickle finds functions of ours that no longer stand at the name they had: a functools.partial(torch.stft) made
while that was patched can be pickled after disable(), too.

Pickle writes where a function is found, and looks whether it is there. So a function that is taken out gets a name in
this module. Elsewhere, in a spawned worker, that name leads to whatever stands at the old one there.
"""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable
from functools import reduce
from typing import Any
from weakref import WeakValueDictionary

import torch

_PROCESS = uuid.uuid4().hex  # the names of one process are none of another's
_NAME = f"_{__name__.partition('.')[0]}_taken_out"  # of torch: functions of copies of this module, too, see copies.py
if not hasattr(torch, _NAME):
    setattr(torch, _NAME, WeakValueDictionary())
_taken_out: WeakValueDictionary[str, Callable] = getattr(torch, _NAME)


def take_out(function: Callable) -> None:
    """Gives a name here to a function that has that of another one."""
    if function.__module__ == __name__:
        return
    path = f"{function.__qualname__}@{function.__module__}".replace(".", "/")  # pickle takes dots apart
    function.__module__, function.__qualname__ = __name__, f"{path}#{_PROCESS}-{id(function)}"
    _taken_out[function.__qualname__] = function


def __getattr__(name: str) -> Any:
    function = _taken_out.get(name)
    if function is not None:
        return function
    path, at, rest = name.partition("@")
    if not at:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(rest.partition("#")[0].replace("/", "."))
    return reduce(getattr, path.split("/"), module)
