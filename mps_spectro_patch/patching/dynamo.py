"""Teaches torch.compile which functions are torch's own. Without it, compiled code would silently not be accelerated.

Dynamo looks up the name "torch.stft" once, while it is imported. It must find torch's function, never ours: otherwise
ours is put into graphs as if it were torch's (and not run), and torch's own can no longer be compiled.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType

from ..options import logger
from ..pending import kept
from . import post_import

_pairs: dict[int, tuple[Callable, Callable]] = kept(__name__, "pairs", {})


def teach(layers: Iterable[tuple[Callable, Callable]]) -> None:
    """layers: (our function, what it stands for), the lowest first. Now, or when torch._dynamo is imported."""
    _pairs.update({id(ours): (ours, original) for ours, original in layers})
    if "torch._dynamo.trace_rules" in sys.modules:
        _correct()
    else:
        post_import.when_imported("torch._dynamo", _correct, "names of torch")


def _correct(_module: ModuleType | None = None) -> None:
    try:
        rules = sys.modules["torch._dynamo.trace_rules"].get_torch_obj_rule_map()
        for ours, original in reversed(_pairs.values()):
            if ours in rules:
                rules[original] = rules.pop(ours)
    except Exception as error:  # private to torch, may change; and an exception here would break "import torch._dynamo"
        logger.warning("torch.compile may not accelerate torch.stft and torch.istft: %r", error)
