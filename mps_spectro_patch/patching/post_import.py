"""Runs an action when a module has been imported, and never imports it for that.

wrapt keeps the hooks. It is imported only when a hook is needed: that takes longer than importing this package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from types import ModuleType

from ..options import logger
from ..pending import is_being_imported, kept

# wrapt cannot take a hook back, so none is given twice.
_awaited: set[tuple[str, Hashable]] = kept(__name__, "awaited", set())


def when_imported(name: str, action: Callable[[ModuleType], object], key: Hashable) -> None:
    """Calls action(module) now if module `name` is imported, else once it is. A second call of the same (name, key)
    while the first still waits does nothing. Exceptions of `action` are logged: raised in a hook, they would make the
    import fail for the program."""
    if name in sys.modules and not is_being_imported(name):
        _call(action, sys.modules[name])
        return
    if (name, key) in _awaited:
        return
    _awaited.add((name, key))

    def hook(module: ModuleType) -> None:
        _awaited.discard((name, key))
        _call(action, module)

    try:
        import wrapt

        wrapt.register_post_import_hook(hook, name)
    except Exception as error:  # a broken wrapt must cost no more than the hook
        _awaited.discard((name, key))
        logger.warning("cannot wait for the import of %s: %r", name, error)


def _call(action: Callable[[ModuleType], object], module: ModuleType) -> None:
    try:
        action(module)
    except Exception as error:
        logger.warning("%s could not be patched: %r", module.__name__, error, exc_info=True)
