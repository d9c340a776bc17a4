"""torch.utils.checkpoint computes again in autograd's own thread on a GPU, and maybe after the accelerated() around the
first time. What is computed again is in the same scope here: else it would save other tensors, which is an error there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial, wraps
from typing import Any

import torch.utils.checkpoint

from .. import active
from ..pending import kept

Enter = Callable[[active.Scope], AbstractContextManager]
_FRAME = getattr(torch.utils.checkpoint, "_CheckpointFrame", None)  # one for each checkpoint that is not reentrant
_originals: list[Callable] = kept(__name__, "originals", [])


def apply(is_wanted: bool, enter: Enter) -> None:
    """Patches torch's class, or puts it back. enter(scope): what holds while something is computed again."""
    if _FRAME is None or is_wanted is bool(_originals):
        return
    if not is_wanted:
        _FRAME.__init__ = _originals.pop()
        return
    original = _FRAME.__init__
    _originals.append(original)

    @wraps(original)
    def init(frame: Any, recompute_fn: Callable, *args: Any, **kwargs: Any) -> None:
        here = active.scope.get()
        original(frame, recompute_fn if here is None else partial(_again, recompute_fn, here, enter), *args, **kwargs)

    _FRAME.__init__ = init


def _again(recompute: Callable, here: active.Scope, enter: Enter, *args: Any) -> Any:
    if active.scope.get() is here:
        return recompute(*args)
    with enter(here):
        return recompute(*args)
