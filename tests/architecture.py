"""Finds what blurs the rooms: reads every import of the package, also those inside functions, and what is made of it.

A room is a folder; the modules that lie directly in the package are the lowest one. What of a room others may take is
in the `__all__` of its `__init__`, written as a list or given by `lazy.attach()`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

# From the top. An arrow goes down; among those of one level it may go one way.
ORDER = (
    ("cli",), ("diagnostics",), ("bench",), ("patching",), ("graphs",), ("compat",), ("front_ends",), ("execution",),
    ("routing", "ops"), ("kernels",), ("",),
)  # fmt: skip
# The folders of a room that has an order inside.
INSIDE = {"kernels": (("",), ("launch",), ("tables",), ("plans", "compilers"))}
DOZEN = 12


@dataclass(frozen=True)
class Fault:
    kind: str  # circle, arrow up, private name, past the door, unknown room, too many modules
    where: str  # a module
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.where}:{self.line}: {self.kind}: {self.what}"


@dataclass(frozen=True)
class Taken:
    """One name that a module imports. target: the module that has it; by: the module that was asked for it."""

    line: int
    target: str
    by: str
    name: str | None  # None: the module itself
    alias: str


@dataclass
class Module:
    name: str
    tree: ast.Module
    is_package: bool
    offers: dict[str, str] = field(
        default_factory=dict
    )  # of a package: each name of __all__, and the module it is from


class Package:
    """package: its folder; mapped: folders elsewhere that are rooms of it once it is installed."""

    def __init__(self, package: Path, mapped: Iterable[Path] = ()) -> None:
        self.name = package.name
        self.modules: dict[str, Module] = {}
        self._read(package, self.name)
        for folder in mapped:
            self._read(folder, f"{self.name}.{folder.name}")
        for module in self.modules.values():
            if module.is_package:
                module.offers = self._offers(module)

    def _read(self, folder: Path, name: str) -> None:
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            dotted = ".".join((name, *(parts[:-1] if is_package else parts)))
            self.modules[dotted] = Module(dotted, ast.parse(path.read_text(encoding="utf-8")), is_package)

    def _offers(self, module: Module) -> dict[str, str]:
        names: list[str] = []
        found: dict[str, str] = {}
        choices = [node for node in module.tree.body if isinstance(node, ast.If)]  # what type checkers see, and what is
        for node in chain(module.tree.body, *(choice.body + choice.orelse for choice in choices)):
            if not isinstance(node, ast.Assign):
                continue
            targets = {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            if isinstance(node.value, ast.Call) and "attach" in ast.unparse(node.value.func):
                for inner, given in _value(node.value.args[1], names).items():
                    for name in given:
                        home = ".".join(filter(None, (module.name, inner)))
                        found[name] = f"{home}.{name}" if f"{home}.{name}" in self.modules else home
                names = names if "__all__" not in targets else sorted(found)
            elif "__all__" in targets:
                names = list(_value(node.value, names))
        return {name: found.get(name) or self._home(module.name, name) for name in names}

    def _home(self, package: str, name: str) -> str:
        return f"{package}.{name}" if f"{package}.{name}" in self.modules else package

    # --- what is imported ---------------------------------------------------------------------------------------------

    def taken(self, module: Module) -> Iterator[Taken]:
        """Every import of something of the package."""
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name in self.modules:
                        yield Taken(node.lineno, alias.name, alias.name, None, alias.asname or alias.name)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(module, node)
                if base in self.modules:
                    for alias in node.names:
                        yield self._one(node.lineno, base, alias.name, alias.asname or alias.name)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
                name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
                if isinstance(name, str) and name in self.modules:
                    yield Taken(node.lineno, name, name, None, "")

    def _base(self, module: Module, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = module.name.split(".")
        parts = parts[: len(parts) - node.level + module.is_package]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def _one(self, line: int, base: str, name: str, alias: str) -> Taken:
        if f"{base}.{name}" in self.modules:
            return Taken(line, f"{base}.{name}", base, None, alias)
        target = self.modules[base].offers.get(name, base)
        is_module = target != base and target.rpartition(".")[2] == name
        return Taken(line, target, base, None if is_module else name, alias)

    # --- where it is --------------------------------------------------------------------------------------------------

    def room(self, module: str) -> str:
        """ "" for those that lie directly in the package, and no room at all ("*") for the package's own two."""
        if module in (self.name, f"{self.name}.__main__"):
            return "*"
        first, _, rest = module.removeprefix(f"{self.name}.").partition(".")
        return first if rest or self.modules[module].is_package else ""

    def folder(self, module: str) -> str:
        """Inside its room."""
        parts = module.split(".")[2:]
        return parts[0] if len(parts) > 1 or (parts and self.modules[module].is_package) else ""

    @cached_property
    def arrows(self) -> list[tuple[Module, Taken]]:
        return [(module, taken) for module in self.modules.values() for taken in self.taken(module)]

    # --- what is wrong ------------------------------------------------------------------------------------------------

    def faults(self, exceptions: Iterable[tuple[str, str]] = ()) -> list[Fault]:
        """exceptions: arrows (from module, to module) that may be, or (from module, its private name elsewhere)."""
        self._excepted, self._used = set(exceptions), set()
        found = [
            *self._unknown_rooms(), *self._circles(), *self._up(), *self._past_the_door(), *self._private(),
            *self._too_many(),
        ]  # fmt: skip
        for unused in sorted(self._excepted - self._used):
            found.append(Fault("stale exception", unused[0], 0, f"there is no such arrow to {unused[1]} any more"))
        return found

    def _may(self, module: Module, what: str) -> bool:
        if (module.name, what) in self._excepted:
            self._used.add((module.name, what))
            return True
        return False

    def _unknown_rooms(self) -> Iterator[Fault]:
        known = {room for level in ORDER for room in level} | {"*"}
        for room in sorted({self.room(name) for name in self.modules} - known):
            yield Fault("unknown room", f"{self.name}.{room}", 0, "it has no place in the order")

    def _circles(self) -> Iterator[Fault]:
        modules: dict[str, set[str]] = {}
        rooms: dict[str, set[str]] = {}
        for module, taken in self.arrows:
            if taken.target == module.name or self._may(module, taken.target):
                continue
            modules.setdefault(module.name, set()).add(taken.target)
            here, there = self.room(module.name), self.room(taken.target)
            if here != there and "*" not in (here, there):
                rooms.setdefault(here, set()).add(there)
        for what, graph in (("modules", modules), ("rooms", rooms)):
            for circle in _circles(graph):
                names = [name.removeprefix(f"{self.name}.") or "(the package)" for name in circle]
                yield Fault("circle", circle[0], 0, f"{what}: {' -> '.join([*names, names[0]])}")

    def _up(self) -> Iterator[Fault]:
        for module, taken in self.arrows:
            here, there = self.room(module.name), self.room(taken.target)
            if here == "*" or self._may(module, taken.target):
                continue
            order = ORDER
            if here == there:
                if here not in INSIDE:
                    continue
                order, here, there = INSIDE[here], self.folder(module.name), self.folder(taken.target)
            level = {name: number for number, names in enumerate(order) for name in names}
            if there == "*" or (here in level and there in level and level[there] < level[here]):
                yield Fault("arrow up", module.name, taken.line, f"imports {_said(taken)}")

    def _past_the_door(self) -> Iterator[Fault]:
        for module, taken in self.arrows:
            there = self.room(taken.target)
            if there in ("", "*", self.room(module.name)):
                continue
            door = f"{self.name}.{there}"
            asked = taken.name or taken.target.rpartition(".")[2]
            is_right = taken.target == door and taken.name is None
            is_right = is_right or (taken.by in (door, self.name) and asked in self.modules[door].offers)
            if not is_right and not self._may(module, taken.target):
                yield Fault(
                    "past the door", module.name, taken.line, f"{_said(taken)} is not taken from {door}'s __all__"
                )
        for module, alias, names, line in self._read_of_others():
            is_room = alias.name is None and alias.target == f"{self.name}.{self.room(alias.target)}"
            if is_room and names[0] not in self.modules[alias.target].offers and not _is_private(names[0]):
                if names[0] != "__name__" and not self._may(module, names[0]):
                    what = f"{names[0]} is not in the __all__ of {alias.target}"
                    yield Fault("past the door", module.name, line, what)

    def _private(self) -> Iterator[Fault]:
        for module, taken in self.arrows:
            names = [*taken.target.split("."), taken.name or ""]
            if self._is_elsewhere(module, taken) and (found := next(filter(_is_private, names), None)):
                if not self._may(module, found):
                    yield Fault("private name", module.name, taken.line, f"{found} of {taken.by}")
        for module, alias, names, line in self._read_of_others():
            for name in filter(_is_private, names):
                if not self._may(module, name):
                    yield Fault("private name", module.name, line, f"{name} of {_said(alias)}")

    def _read_of_others(self) -> Iterator[tuple[Module, Taken, list[str], int]]:
        """The attributes of everything that a module imports from another room: of `a.b.c` it is b and c. Those that
        getattr() and its like name are among them."""
        for module in self.modules.values():
            aliases = {taken.alias: taken for taken in self.taken(module) if self._is_elsewhere(module, taken)}
            inner = {id(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)}
            for node in ast.walk(module.tree):
                root, names = _chain(node)
                if isinstance(node, ast.Call) and _chain(node.func)[0] in _BY_NAME and len(node.args) > 1:
                    if isinstance(node.args[1], ast.Constant):
                        root, names = _chain(node.args[0])
                        names = [*names, str(node.args[1].value)]
                if root in aliases and names and id(node) not in inner:
                    yield module, aliases[root], names, node.lineno

    def _is_elsewhere(self, module: Module, taken: Taken) -> bool:
        return self.room(taken.target) != self.room(module.name)

    def _too_many(self) -> Iterator[Fault]:
        direct = [name for name in self.modules if self.room(name) == ""]
        if len(direct) > DOZEN:
            yield Fault("too many modules", self.name, 0, f"{len(direct)} lie directly in it: {', '.join(direct)}")


def _said(taken: Taken) -> str:
    return taken.target if taken.name is None else f"{taken.name} of {taken.target}"


_BY_NAME = ("getattr", "setattr", "delattr", "hasattr")


def _chain(node: ast.AST) -> tuple[str | None, list[str]]:
    """("a", ["b", "c"]) of a.b.c."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return (node.id if isinstance(node, ast.Name) else None), names


def _value(node: ast.expr, names: list[str]) -> Any:
    """Of an expression of constants, which may use __all__ as it is so far."""
    return eval(compile(ast.Expression(node), "__all__", "eval"), {"__all__": names, "__builtins__": {}})


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One circle through each group of nodes that lead to one another."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        found, left = set(), [start]
        while left:
            for node in graph.get(left.pop(), ()):
                if node not in found:
                    found.add(node)
                    left.append(node)
        reached[start] = found
    circles, seen = [], set()
    for start in sorted(graph):
        if start in reached[start] and start not in seen:
            seen |= {node for node in reached[start] if start in reached.get(node, ())}
            circles.append(_way_back(graph, start))
    return circles


def _way_back(graph: dict[str, set[str]], start: str) -> list[str]:
    """The shortest."""
    ways = [[start]]
    for way in ways:
        for node in sorted(graph.get(way[-1], ())):
            if node == start:
                return way
            if node not in way:
                ways.append([*way, node])
    raise AssertionError(start)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
