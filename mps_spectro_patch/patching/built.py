"""Tells when somebody's torch module is built: by torch's own hook, which is told of every buffer.

So classes are found that were loaded at any time, from anywhere, before the first call of one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from torch.nn.modules.module import register_module_buffer_registration_hook

from ..options import logger
from ..pending import kept

_handles: list[Any] = kept(__name__, "handles", [])


def watch(look: Callable[[type], object], names: Collection[str]) -> None:
    """From now on, look(class of a module) when one with buffers is built whose class has one of these names, and no
    longer what was wanted before."""
    for handle in _handles:
        handle.remove()
    _handles.clear()

    def hook(module: Any, name: str, buffer: Any) -> None:
        if type(module).__name__ in names:
            try:
                look(type(module))
            except Exception as error:  # no module may fail to be built because somebody looks
                logger.warning("%s could not be looked at: %r", type(module), error)

    if names:
        _handles.append(register_module_buffer_registration_hook(hook))
