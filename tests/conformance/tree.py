"""What the syntax tree shows and clang does not object to: spaces left out, implicit conversions, recursion, calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ctypes import c_int

from clang.cindex import Cursor, CursorKind, StorageClass, Type, TypeKind, conf

from .findings import Finding

CONSTANT, GENERIC = 3, 5  # clang's numbers of address spaces; the second is that of a pointer that names none
_SHIFTS = {8, 9}  # CXBinaryOperator_Shl, _Shr
_DECLARATIONS = {
    CursorKind.VAR_DECL, CursorKind.PARM_DECL, CursorKind.FIELD_DECL, CursorKind.TYPEDEF_DECL,
    CursorKind.TYPE_ALIAS_DECL, CursorKind.CSTYLE_CAST_EXPR, CursorKind.CXX_REINTERPRET_CAST_EXPR,
    CursorKind.CXX_STATIC_CAST_EXPR,
}  # fmt: skip
FUNCTIONS = {CursorKind.FUNCTION_DECL, CursorKind.CXX_METHOD, CursorKind.FUNCTION_TEMPLATE, CursorKind.CONSTRUCTOR}
_CASTS = {CursorKind.CSTYLE_CAST_EXPR, CursorKind.CXX_STATIC_CAST_EXPR, CursorKind.CXX_FUNCTIONAL_CAST_EXPR}
_INTEGERS = {f"{sign}{name}": bits for sign in ("", "unsigned ") for name, bits in (
    ("char", 8), ("short", 16), ("int", 32), ("long", 64))}  # fmt: skip
_BY_NAME = {"sin", "cos", "tan", "sincos", "sinpi", "cospi", "tanpi"}
_SHUFFLES = {"simd_shuffle_xor", "simd_shuffle_up", "simd_shuffle_down"}


def operator(name: str) -> Callable[[Cursor], int]:
    """libclang's functions that tell which operator an expression is; the Python side does not know them."""
    function = getattr(conf.lib, name)
    function.argtypes, function.restype = [Cursor], c_int
    return function


BINARY = operator("clang_getCursorBinaryOperatorKind")
UNARY = operator("clang_getCursorUnaryOperatorKind")


def functions(cursor: Cursor) -> Iterator[Cursor]:
    """Every function with a body, templates as they are written."""
    for child in cursor.get_children():
        if child.kind in FUNCTIONS:
            yield child
        elif child.kind in (
            CursorKind.NAMESPACE,
            CursorKind.STRUCT_DECL,
            CursorKind.CLASS_DECL,
            CursorKind.CLASS_TEMPLATE,
            CursorKind.UNION_DECL,
            CursorKind.CLASS_TEMPLATE_PARTIAL_SPECIALIZATION,
            CursorKind.LINKAGE_SPEC,
        ):
            yield from functions(child)


def key(function: Cursor) -> tuple[str, int]:
    """One for a template and all that is made of it, and for a declaration and its definition."""
    function = function.get_definition() or function
    return function.spelling, function.location.offset


def check(unit: Cursor, house: bool) -> list[Finding]:
    found: list[Finding] = []
    calls: dict[str, set[str]] = {}
    for top in unit.get_children():
        _look(top, found, None, calls, house)
    found += _recursion(unit, calls)
    return list(dict.fromkeys(found))


def _look(cursor: Cursor, found: list[Finding], inside: str | None, calls: dict[str, set[str]], house: bool,
          is_cast: bool = False) -> None:  # fmt: skip
    kind = cursor.kind
    line = cursor.location.line
    if kind in FUNCTIONS:
        inside = _identity(cursor)
        _pointer(cursor.result_type, line, f"'{cursor.spelling}' returns", found)
    elif kind in _DECLARATIONS:
        of_alias = kind in (CursorKind.TYPEDEF_DECL, CursorKind.TYPE_ALIAS_DECL)
        _pointer(cursor.underlying_typedef_type if of_alias else cursor.type, line, f"'{cursor.spelling}' is", found)
    elif kind is CursorKind.LAMBDA_EXPR:
        found.append(Finding("cplusplus", line, "a lambda"))
    elif kind in (CursorKind.UNEXPOSED_EXPR, CursorKind.CALL_EXPR):
        if kind is CursorKind.CALL_EXPR:
            _call(cursor, found, inside, calls, house)
        elif not is_cast and _plain(cursor.type) == "__bf16":
            _to_bfloat(cursor, found)
    if kind in _CASTS:
        _cast(cursor, found)
    if kind is CursorKind.VAR_DECL:
        _storage(cursor, inside is not None, found)
    elif kind is CursorKind.BINARY_OPERATOR and BINARY(cursor) in _SHIFTS:
        _shift(cursor, found)
    for child in cursor.get_children():
        _look(child, found, inside, calls, house, kind in _CASTS)


def _pointer(type: Type, line: int, words: str, found: list[Finding]) -> None:
    for _ in range(8):
        if type.kind in (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY, TypeKind.DEPENDENTSIZEDARRAY):
            type = type.element_type
            continue
        if type.kind not in (TypeKind.POINTER, TypeKind.LVALUEREFERENCE, TypeKind.RVALUEREFERENCE):
            return
        pointee = type.get_pointee()
        if pointee.kind is TypeKind.AUTO or pointee.kind is TypeKind.FUNCTIONPROTO:
            return
        if pointee.get_address_space() == GENERIC:
            found.append(Finding("address-space", line, f"{words} a pointer or reference without an address space"))
            return
        type = pointee


def _storage(cursor: Cursor, is_local: bool, found: list[Finding]) -> None:
    """Whatever outlives a thread is constant."""
    is_lasting = not is_local or cursor.storage_class is StorageClass.STATIC
    type = cursor.type
    while type.kind in (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY):
        type = type.element_type
    if is_lasting and type.get_address_space() != CONSTANT and cursor.location.line:
        found.append(Finding("program-scope", cursor.location.line, f"'{cursor.spelling}' is not constant"))


def _shift(cursor: Cursor, found: list[Finding]) -> None:
    left, right = cursor.get_children()
    text = "".join(token.spelling for token in right.get_tokens())
    width = 8 * max(left.type.get_size(), 4)
    if re.fullmatch(r"-?\d+[uU]?", text) and not 0 <= int(text.rstrip("uU")) < width:
        found.append(Finding("shift", cursor.location.line, f"a shift of {width} bits by {text}"))


def _cast(cursor: Cursor, found: list[Finding]) -> None:
    """Of a float that is written out, to an integer type that cannot hold it."""
    bits = _INTEGERS.get(_plain(cursor.type))
    children = list(cursor.get_children())
    if bits is None or not children:
        return
    text = "".join(token.spelling for token in children[-1].get_tokens())
    match = re.fullmatch(r"(-?[\d.]+(?:[eE][+-]?\d+)?)[fFhH]?", text)
    if match is None or not set(".eE") & set(match[1]):
        return
    below = 0 if _plain(cursor.type).startswith("unsigned") else 2 ** (bits - 1)
    low, high = -below, 2**bits - 1 - below
    if not low <= int(float(match[1])) <= high:
        found.append(Finding("cast", cursor.location.line, f"{text} as {_plain(cursor.type)}"))


def _to_bfloat(cursor: Cursor, found: list[Finding]) -> None:
    children = list(cursor.get_children())
    source = _plain(children[0].type) if len(children) == 1 else "__bf16"
    if source in ("float", "half", "int", "unsigned int"):
        found.append(Finding("conversion", cursor.location.line, f"{source} becomes bfloat by itself"))


def _plain(type: Type) -> str:
    return type.get_canonical().spelling.rsplit("__private ", 1)[-1]


def _call(cursor: Cursor, found: list[Finding], inside: str | None, calls: dict[str, set[str]], house: bool) -> None:
    callee = cursor.referenced
    name = cursor.spelling or called_name(cursor)
    if callee is not None and inside is not None and callee.kind in FUNCTIONS:
        calls.setdefault(inside, set()).add(_identity(callee))
    if not house:
        return
    line = cursor.location.line
    if (name.startswith("simd_shuffle") or name.startswith("quad_shuffle")) and name not in _SHUFFLES:
        found.append(Finding("shuffle", line, f"{name} takes any lane"))
    scope = callee.semantic_parent.spelling if callee is not None and callee.semantic_parent is not None else ""
    if scope == "fast" or (name in _BY_NAME and scope in ("metal", "precise", "fast", "")):
        found.append(Finding("trigonometry", line, f"{scope}::{name}"))


def called_name(cursor: Cursor) -> str:
    """Of a call whose function is only known when a template is filled in."""
    for child in cursor.get_children():
        if child.kind in (CursorKind.OVERLOADED_DECL_REF, CursorKind.DECL_REF_EXPR):
            return child.spelling
        return called_name(child)
    return ""


def _identity(function: Cursor) -> str:
    """One for all declarations of a function; what a template is filled with makes another of it."""
    return function.get_usr()


def _recursion(unit: Cursor, calls: dict[str, set[str]]) -> list[Finding]:
    bodies = {_identity(f): f for f in functions(unit)}
    found, done = [], set()

    def visit(function: str, path: tuple[str, ...]) -> None:
        if function in path:
            body = bodies[function]
            found.append(Finding("recursion", body.location.line, f"'{body.spelling}' calls itself"))
            return
        if function in done:
            return
        for other in calls.get(function, ()):
            if other in bodies:
                visit(other, (*path, function))
        done.add(function)

    for function in bodies:
        visit(function, ())
    return found
