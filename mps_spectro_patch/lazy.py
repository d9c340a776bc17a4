"""Names that a package offers and loads when they are first used, as the package `lazy_loader` does it.

A room's `__init__` says with it what others may take from the room, without importing all of the room. Imports no
torch.
"""

from importlib import import_module


def attach(package: str, modules: dict[str, tuple[str, ...]]):
    """`__getattr__`, `__dir__` and `__all__` for `package`.

    modules: submodule -> the names it gives; under "" are submodules that are offered whole. A name that its submodule
    does not define is a submodule of that. A submodule gives no name that is its own: imported, it would stand there
    itself. dir(package) is `__all__`, to which the package may have added names.
    """
    if any(module in names for module, names in modules.items()):
        raise ValueError(f"{package}: a submodule gives a name that is its own")
    module_of = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str):
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f".{module_of[name]}".rstrip("."), package) if module_of[name] else None
        if module is not None and hasattr(module, name):
            value = getattr(module, name)
        else:
            value = import_module(".".join(filter(None, (package, module_of[name], name))))
        setattr(import_module(package), name, value)
        return value

    def __dir__() -> list[str]:
        return sorted(getattr(import_module(package), "__all__", module_of))

    return __getattr__, __dir__, sorted(module_of)
