"""Modules of ours that are being imported: an action that waits for them, and what they keep from the time before.

The action is enable(), where one of them imported torch. That happens when a program imports this package before torch,
and MPS_SPECTRO_PATCH is set: torch is complete while the module of ours that imported it is not. Imports nothing: every
interpreter may load it.
"""

import sys

_NEEDED = (
    *("active", "options", "routing", "routing.decision", "execution.runner", "execution.call_sites"),
    *("patching", "patching.layers", "patching.entry", "patching.install"),
)
_package = __name__.partition(".")[0]
_action = None


def wait(action) -> bool:
    """Keeps `action` for catch_up() if any module of this package is being imported. False: nothing to wait for."""
    global _action
    waits = any(name.startswith(f"{_package}.") and is_being_imported(name) for name in list(sys.modules))
    _action = action if waits else None
    return waits


def catch_up(caller: str) -> None:
    """Called at the end of the modules that enable() needs, by name: runs the action after the last of them."""
    global _action
    if _action and not any(is_being_imported(name) for name in {f"{_package}.{one}" for one in _NEEDED} - {caller}):
        action, _action = _action, None
        action()


def kept(module: str, name: str, new):
    """`new`, or what that was when the module of this name was loaded first: so that it goes on, and can undo what it
    did before. (Its own variables may be gone: IPython's autoreload empties a module before it loads it again.)"""
    from weakref import WeakKeyDictionary

    import torch  # no reloader deletes it

    attribute = f"_{_package}_kept"  # by module, as another import of the package has others
    if not hasattr(torch, attribute):
        setattr(torch, attribute, WeakKeyDictionary())
    return getattr(torch, attribute).setdefault(sys.modules[module], {}).setdefault(name, new)


def is_being_imported(name: str) -> bool:
    """Whether the body of this module still runs. Some of its names are missing then."""
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))
