"""The pass as one of inductor's own: in torch._inductor.config.pre_grad_custom_pass, beside what others have there.

Imports little: this happens in the middle of the import of torch._inductor.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from torch.fx import Graph

from .. import active
from ..execution import quarantine
from ..options import logger
from ..version import __version__

_FIELD = "pre_grad_custom_pass"


def put(config: ModuleType) -> None:
    """Into torch._inductor.config, behind what is there, while enable() holds."""
    present = getattr(config, _FIELD, None)
    if active.process is not None and hasattr(config, _FIELD) and not _is_ours(present):
        setattr(config, _FIELD, _pass_class()(present))


def take_back(config: ModuleType) -> None:
    """What was there before, unless somebody has put something else there."""
    present = getattr(config, _FIELD, None)
    if _is_ours(present):
        setattr(config, _FIELD, present.others)


def _is_ours(present: Any) -> bool:
    return type(present).__name__ == _Pass.__name__ and hasattr(present, "others")


class _Pass:
    """others: what was there before, which is called first."""

    def __init__(self, others: Any) -> None:
        self.others = others
        self.each = list(others) if isinstance(others, (list, tuple)) else [others] * (others is not None)

    def __call__(self, graph: Graph) -> None:
        for other in self.each:
            other(graph)
        if active.process is not None:
            from .rewriting import rewrite

            rewrite(graph, None)

    def __reduce__(self) -> tuple:
        """inductor's cache pickles its whole configuration to know it again."""
        return _Pass, (self.others,), (self.uuid(),)

    def __setstate__(self, state: tuple) -> None:
        pass  # it was for the cache

    def uuid(self) -> Any:
        """By which inductor's cache knows what this does to a graph; None: by nothing."""
        try:
            others = [other.uuid() if hasattr(other, "uuid") else None for other in self.each]
            acts = active.process is not None and not quarantine.front_ends
            return None if None in others else (*others, __version__, _text(), acts)
        except Exception as error:  # then the graph is not cached
            logger.warning("inductor's cache is not used: %r", error)
            return None


@lru_cache(maxsize=1)
def _pass_class() -> type:
    from torch._inductor.custom_graph_pass import CustomGraphPass

    return type(_Pass.__name__, (_Pass, CustomGraphPass), {})


@lru_cache(maxsize=1)
def _text() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
