"""Whether every thread of a threadgroup reaches every barrier: conditions around one must be the same for all of them.

What differs from thread to thread starts at a kernel's parameters (its position, its lane) and flows through variables,
arguments and branches, into helpers as well. What is loaded is as uniform as where it is loaded from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clang.cindex import Cursor, CursorKind, TypeKind

from .findings import Finding
from .tree import BINARY, FUNCTIONS, UNARY, called_name, functions, key

UNIFORM = {
    "threadgroup_position_in_grid", "threads_per_threadgroup", "dispatch_threads_per_threadgroup", "threads_per_grid",
    "threadgroups_per_grid", "simdgroups_per_threadgroup", "dispatch_simdgroups_per_threadgroup", "grid_size",
    "threads_per_simdgroup", "thread_execution_width", "grid_origin", "quadgroups_per_threadgroup", "buffer",
}  # fmt: skip
BARRIERS = {"threadgroup_barrier", "simdgroup_barrier"}
_ASSIGN, _ADDRESS = 22, 5  # CXBinaryOperator_Assign, CXUnaryOperator_AddrOf
_STEPS = {1, 2, 3, 4}  # ++ and --
_LOOPS = {"FOR_STMT", "WHILE_STMT", "DO_STMT", "CXX_FOR_RANGE_STMT"}


@dataclass(eq=False)
class _Node:
    kind: str
    line: int
    offset: int
    name: str
    declares: int  # for what a declaration introduces, or a reference names: where it is declared
    operator: int
    in_memory: bool  # of a reference: what it names lies in device or threadgroup memory
    callee: tuple[str, int] | None
    children: list[_Node]

    def walk(self) -> Iterator[_Node]:
        yield self
        for child in self.children:
            yield from child.walk()


class Uniformity:
    def __init__(self, unit: Cursor, attributes: dict[str, list[dict[str, str]]]) -> None:
        """attributes: of every kernel's parameters, in order."""
        self.bodies: dict[tuple[str, int], _Node] = {}
        self.parameters: dict[tuple[str, int], list[int]] = {}
        self.varying: dict[tuple[str, int], set[int]] = {}  # parameters that differ, by number
        self.returning: set[tuple[str, int]] = set()  # functions whose results differ though their arguments do not
        kernels = []
        for function in functions(unit):
            children = list(function.get_children())
            body = next((c for c in children if c.kind is CursorKind.COMPOUND_STMT), None)
            if body is None:
                continue
            found = key(function)
            if found in self.bodies:  # a template filled in: as it is written, it stands for all of them
                continue
            self.bodies[found] = _build(body)
            self.parameters[found] = [c.location.offset for c in children if c.kind is CursorKind.PARM_DECL]
            self.varying[found] = set()
            names = attributes.get(function.spelling)
            if names is not None and any(c.kind is CursorKind.ANNOTATE_ATTR for c in children):
                kernels.append(found)
                self.varying[found] = {i for i, given in enumerate(names) if not any(n in UNIFORM for n in given)}
        self.by_name: dict[str, list[tuple[str, int]]] = {}
        for found in self.bodies:
            self.by_name.setdefault(found[0], []).append(found)
        self.with_barrier = self._with_barrier()
        self.kernels = kernels

    def findings(self) -> list[Finding]:
        found: list[Finding] = []
        before = None
        while before != (before := sum(map(len, self.varying.values()))):
            for function in self.bodies:
                _Walk(self, function).run()
        for function in self.bodies:
            walk = _Walk(self, function)
            walk.run()
            found += walk.report()
        return list(dict.fromkeys(found))

    def callees(self, node: _Node) -> list[tuple[str, int]]:
        if node.callee in self.bodies:
            return [node.callee]
        return self.by_name.get(node.name, []) if node.callee is None else []

    def waits(self, node: _Node) -> bool:
        """Whether the call is a barrier, or may meet one."""
        return node.name in BARRIERS or any(callee in self.with_barrier for callee in self.callees(node))

    def barriers(self, node: _Node) -> list[_Node]:
        return [n for n in node.walk() if n.kind == "CALL_EXPR" and self.waits(n)]

    def _with_barrier(self) -> set[tuple[str, int]]:
        self.with_barrier: set[tuple[str, int]] = set()
        before = -1
        while before != len(self.with_barrier):
            before = len(self.with_barrier)
            for function, body in self.bodies.items():
                if function not in self.with_barrier and self.barriers(body):
                    self.with_barrier.add(function)
        return self.with_barrier


class _Walk:
    """One function, with what is known about its parameters."""

    def __init__(self, whole: Uniformity, function: tuple[str, int]) -> None:
        self.whole, self.function = whole, function
        self.body = whole.bodies[function]
        # Variables by where they are declared, and fields of variables.
        self.differs: set = {whole.parameters[function][i] for i in whole.varying[function]}
        self.with_fields: set[int] = set()

    def run(self) -> None:
        before = -1
        while before != len(self.differs):
            before = len(self.differs)
            self._statement(self.body, False)

    def report(self) -> list[Finding]:
        self.found: list[Finding] = []
        if self.whole.barriers(self.body):
            self._judge(self.body, False, [])
        return self.found

    def _varies(self, node: _Node) -> bool:
        if node.kind == "CALL_EXPR" and node.name.startswith(("simd_", "quad_", "atomic_")):
            return True
        if node.kind == "DECL_REF_EXPR":
            return node.declares in self.differs or node.declares in self.with_fields
        if (field := _field(node)) is not None:  # the other fields of that variable may differ
            return field in self.differs or field[0] in self.differs
        return any(map(self._varies, node.children))

    def _statement(self, node: _Node, divergent: bool) -> None:
        kind = node.kind
        if kind == "VAR_DECL":
            if divergent or any(self._varies(child) for child in node.children):
                self.differs.add(node.declares)
        elif kind == "BINARY_OPERATOR" and node.operator == _ASSIGN or kind == "COMPOUND_ASSIGNMENT_OPERATOR":
            self._assign(node.children[0], divergent or any(map(self._varies, node.children)))
        elif kind == "UNARY_OPERATOR" and node.operator in _STEPS:
            self._assign(node.children[0], divergent or self._varies(node.children[0]))
        elif kind == "CALL_EXPR":
            self._call(node, divergent)
        for child, inner in self._parts(node, divergent):
            self._statement(child, inner)

    def _assign(self, target: _Node, varies: bool) -> None:
        if not varies:
            return
        if (field := _field(target)) is not None:
            self.differs.add(field)
            self.with_fields.add(field[0])
            return
        root = next((n for n in target.walk() if n.kind == "DECL_REF_EXPR"), None)
        if root is not None and not root.in_memory:
            self.differs.add(root.declares)

    def _call(self, node: _Node, divergent: bool) -> None:
        callees = self.whole.callees(node)
        count = max((len(self.whole.parameters[c]) for c in callees), default=0)
        arguments = node.children[len(node.children) - count :] if count else node.children
        varies = [self._varies(argument) for argument in arguments]
        for callee in callees:
            self.whole.varying[callee] |= {i for i, v in enumerate(varies) if v and i < count}
        if divergent or any(varies):
            for argument in arguments:  # what the function may write through
                for n in argument.walk():
                    if n.kind == "UNARY_OPERATOR" and n.operator == _ADDRESS:
                        self._assign(n.children[0], True)

    def _parts(self, node: _Node, divergent: bool) -> Iterator[tuple[_Node, bool]]:
        """A statement's parts, and whether only some threads come to each."""
        if node.kind == "IF_STMT" or node.kind == "SWITCH_STMT" or node.kind == "CONDITIONAL_OPERATOR":
            condition, *branches = node.children
            inner = divergent or self._varies(condition)
            yield condition, divergent
            for branch in branches:
                yield branch, inner
        elif node.kind in _LOOPS:
            body = node.children[0 if node.kind == "DO_STMT" else -1]
            header = [child for child in node.children if child is not body]
            inner = divergent or any(self._varies(c) for c in header if c.kind != "DECL_STMT")
            for child in header:
                yield child, divergent
            yield body, inner
        else:
            for child in node.children:
                yield child, divergent

    def _judge(self, node: _Node, divergent: bool, loops: list[_Node]) -> None:
        kind = node.kind
        if kind == "CALL_EXPR" and divergent and self.whole.waits(node):
            self._object(node, f"only some threads come to {node.name} in '{self.function[0]}'")
        elif divergent and kind == "RETURN_STMT":
            later = any(b.offset > node.offset for b in self.whole.barriers(self.body))
            if later or any(self.whole.barriers(loop) for loop in loops):
                self._object(node, f"some threads return before a barrier in '{self.function[0]}'")
        elif divergent and kind == "BREAK_STMT" and loops and self.whole.barriers(loops[-1]):
            self._object(node, f"some threads leave a loop with a barrier in '{self.function[0]}'")
        elif divergent and kind == "CONTINUE_STMT" and loops:
            if any(b.offset > node.offset for b in self.whole.barriers(loops[-1])):
                self._object(node, f"some threads skip a barrier in '{self.function[0]}'")
        inside = [*loops, node] if kind in _LOOPS else loops
        for child, inner in self._parts(node, divergent):
            # A loop that only some threads are in diverges for those in it as well, but its own barriers count.
            self._judge(child, inner, inside)

    def _object(self, node: _Node, message: str) -> None:
        self.found.append(Finding("barrier", node.line, message))


def _field(node: _Node) -> tuple[int, str] | None:
    """(where the variable is declared, name) of a field of a variable."""
    if node.kind != "MEMBER_REF_EXPR" or len(node.children) != 1:
        return None
    base = node.children[0]
    while base.kind == "UNEXPOSED_EXPR" and len(base.children) == 1:
        base = base.children[0]
    return (base.declares, node.name) if base.kind == "DECL_REF_EXPR" and not base.in_memory else None


def _build(cursor: Cursor) -> _Node:
    kind = cursor.kind
    children = [_build(child) for child in cursor.get_children()]
    declares, operator, in_memory, callee, name = -1, 0, False, None, ""
    if kind in (CursorKind.DECL_REF_EXPR, CursorKind.MEMBER_REF_EXPR):
        referenced = cursor.referenced
        name = cursor.spelling
        if referenced is not None and kind is CursorKind.DECL_REF_EXPR:
            declares = referenced.location.offset
            in_memory = _in_memory(referenced)
    elif kind is CursorKind.VAR_DECL:
        declares = cursor.location.offset
    elif kind is CursorKind.BINARY_OPERATOR:
        operator = BINARY(cursor)
    elif kind is CursorKind.UNARY_OPERATOR:
        operator = UNARY(cursor)
    elif kind is CursorKind.CALL_EXPR:
        name = cursor.spelling or called_name(cursor)
        referenced = cursor.referenced
        callee = key(referenced) if referenced is not None and referenced.kind in FUNCTIONS else None
    location = cursor.location
    return _Node(kind.name, location.line, location.offset, name, declares, operator, in_memory, callee, children)


def _in_memory(declaration: Cursor) -> bool:
    type = declaration.type
    while type.kind in (TypeKind.CONSTANTARRAY, TypeKind.POINTER, TypeKind.LVALUEREFERENCE):
        if type.kind is TypeKind.CONSTANTARRAY:
            type = type.element_type
            continue
        type = type.get_pointee()
        if type.get_address_space() in (1, 2):  # clang's numbers of __global and __local
            return True
    return False
