"""Exceptions by which torch ends what it asked us to do: not errors of ours, and not ours to catch."""

from __future__ import annotations

import sys


def stops() -> tuple[type[BaseException], ...]:
    """For `except stops():`, which is asked only when something was raised.

    There is one: ctx.save_for_backward() raises it when a checkpointed region is computed again and its last tensor has
    been seen. Its module is not imported here, as that takes 300 ms with torch before 2.9.
    """
    stop = getattr(sys.modules.get("torch.utils.checkpoint"), "_StopRecomputationError", None)
    return () if stop is None else (stop,)
