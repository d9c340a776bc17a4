"""Exceptions by which torch ends what it asked us to do: not errors of ours, and not ours to catch."""

from __future__ import annotations

import torch.utils.checkpoint

# From ctx.save_for_backward(), when a checkpointed region is computed again and its last tensor has been seen.
_stop: type[BaseException] | None = getattr(torch.utils.checkpoint, "_StopRecomputationError", None)
STOPS: tuple[type[BaseException], ...] = () if _stop is None else (_stop,)
