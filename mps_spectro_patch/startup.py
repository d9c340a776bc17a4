"""What MPS_SPECTRO_PATCH=1 does: enables the patch as soon as torch is imported, at once if it already is.

The .pth file brings this module into every interpreter that is started with the variable. So it imports nothing but
what is there anyway (logging or importlib.util, even __future__, would cost more), prints nothing, and never raises.
"""

import os
import sys

from . import pending

VARIABLE = "MPS_SPECTRO_PATCH"
NEEDS_TORCH = "mps_spectro"  # is there after enable(), installed or not; a program may import it before torch
_waiting = False
_then: list = []


def is_wanted() -> bool:
    return _value() in ("1", "true", "on", "yes")


def _value() -> str:
    return os.environ.get(VARIABLE, "").strip().lower()


def begin() -> None:
    """Called on import of the package. Twice is once: in a virtual environment Python reads .pth files twice."""
    if is_wanted():
        when_torch_is_imported()
    elif _value() not in ("", "0", "false", "off", "no"):
        import warnings

        warnings.warn(f"{VARIABLE}={_value()!r} is ignored: expected 1 or 0", RuntimeWarning, stacklevel=2)


def when_torch_is_imported(then=None) -> None:
    """Calls enable(), with its options from the environment, and then `then`: now or at the end of torch's import."""
    global _waiting
    if then is not None:
        _then.append(then)
    if "torch" in sys.modules and not pending.is_being_imported("torch"):
        _enable()
    elif not _waiting:
        _waiting = True
        sys.meta_path.insert(0, _Finder)


def _enable() -> None:
    try:
        from .patching import enable

        enable()
        while _then:
            _then.pop(0)()
    except Exception as error:  # whoever set a variable must not find every program of theirs dead on import
        import warnings

        warnings.warn(f"mps_spectro_patch stays off: {error}", RuntimeWarning, stacklevel=2)


class _Finder:
    """Finds torch as the others do, once, and has its loader tell when it is done."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == NEEDS_TORCH and "torch" not in sys.modules:
            return cls._find_after_torch(name, path, target)
        if name != "torch" or path is not None:
            return None
        if cls in sys.meta_path:
            sys.meta_path.remove(cls)
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find and find(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        _wait_again()
        return None

    @classmethod
    def _find_after_torch(cls, name, path, target):
        try:
            import torch  # noqa: F401
        except ImportError:
            return None
        # Python goes through the list as it was before that import changed it.
        finders = [finder for finder in sys.meta_path if finder is not cls and hasattr(finder, "find_spec")]
        return next(filter(None, (finder.find_spec(name, path, target) for finder in finders)), None)


class _Loader:
    """Stands in for torch's loader until the body of torch runs, which sees its own loader."""

    def __init__(self, loader) -> None:
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module) -> None:
        module.__loader__ = module.__spec__.loader = self.loader
        try:
            self.loader.exec_module(module)
        except BaseException:
            _wait_again()
            raise
        if not pending.wait(_enable):
            _enable()


def _wait_again() -> None:
    """torch was not there, or its import failed: there may be another attempt."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
