"""A kernel's parameters as clang sees them and as their attributes say: what a launch has to match."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from clang.cindex import Cursor, CursorKind, Type, TypeKind

from .findings import Finding
from .rewriting import Kernel
from .tree import functions

SPACES = {1: "device", 2: "threadgroup", 3: "constant"}  # clang's numbers
MAX_BUFFERS = 31
_POSITIONS = {
    "thread_position_in_grid", "thread_position_in_threadgroup", "threadgroup_position_in_grid", "threads_per_grid",
    "threads_per_threadgroup", "threadgroups_per_grid", "dispatch_threads_per_threadgroup", "grid_size", "grid_origin",
}  # fmt: skip
_INDICES = {
    "thread_index_in_threadgroup", "thread_index_in_simdgroup", "simdgroup_index_in_threadgroup",
    "simdgroups_per_threadgroup", "dispatch_simdgroups_per_threadgroup", "threads_per_simdgroup",
    "thread_execution_width", "thread_index_in_quadgroup", "quadgroup_index_in_threadgroup",
    "quadgroups_per_threadgroup", "dispatch_quadgroups_per_threadgroup",
}  # fmt: skip
_KERNEL_ATTRIBUTES = {"kernel", "host_name", "max_total_threads_per_threadgroup", "required_threads_per_threadgroup",
                      "visible", "maybe_unused"}  # fmt: skip
_INTEGERS = {"uint": 1, "ushort": 1, "unsigned int": 1, "unsigned short": 1}


@dataclass(frozen=True)
class Buffer:
    """One parameter that an argument is bound to."""

    index: int
    name: str
    space: str  # "device" or "constant"
    reference: bool
    type: str  # of what it points to, canonical: "float", "int", "vec<float, 2>", ...
    const: bool
    reads: int = 0  # elements, by the largest index that is a number
    members: tuple[tuple[str, str], ...] = ()  # of a struct: name and canonical type


@dataclass(frozen=True)
class Signature:
    kernel: str
    buffers: tuple[Buffer, ...]
    max_threads: int | None


def signatures(unit: Cursor, kernels: list[Kernel]) -> tuple[list[Signature], list[Finding]]:
    found: list[Finding] = []
    result = []
    known = {kernel.name: kernel for kernel in kernels}
    for function in functions(unit):
        children = list(function.get_children())
        if not any(c.kind is CursorKind.ANNOTATE_ATTR and c.spelling == "metal.kernel" for c in children):
            continue
        kernel = known[function.spelling]
        if function.result_type.spelling != "void":
            found.append(Finding("kernel-parameter", kernel.line, f"kernel '{kernel.name}' does not return void"))
        cursors = [c for c in children if c.kind is CursorKind.PARM_DECL]
        if len(cursors) != len(kernel.parameters):
            found.append(Finding("syntax", kernel.line, f"parameters of '{kernel.name}' cannot be told apart"))
            continue
        result.append(_signature(kernel, cursors, _reads(function), found))
    return result, found


def _reads(function: Cursor) -> dict[int, int]:
    """By the place of a parameter's declaration: one more than the largest number it is indexed with."""
    reads: dict[int, int] = {}

    def look(cursor: Cursor) -> None:
        if cursor.kind is CursorKind.ARRAY_SUBSCRIPT_EXPR:
            base, index = cursor.get_children()
            while base.kind is CursorKind.UNEXPOSED_EXPR and len(inner := list(base.get_children())) == 1:
                base = inner[0]
            text = "".join(token.spelling for token in index.get_tokens())
            named = base.referenced if base.kind is CursorKind.DECL_REF_EXPR else None
            if named is not None and named.kind is CursorKind.PARM_DECL and text.isdigit():
                place = named.location.offset
                reads[place] = max(reads.get(place, 0), int(text) + 1)
        for child in cursor.get_children():
            look(child)

    look(function)
    return reads


def _signature(kernel: Kernel, cursors: list[Cursor], reads: dict[int, int], found: list[Finding]) -> Signature:
    def object_to(rule: str, message: str) -> None:
        found.append(Finding(rule, kernel.line, f"{kernel.name}: {message}"))

    buffers, widths, taken = [], {}, set()
    for cursor, parameter in zip(cursors, kernel.parameters, strict=True):
        name, attributes = parameter.name, parameter.attributes
        positions = [a for a in attributes if a in _POSITIONS]
        indices = [a for a in attributes if a in _INDICES]
        unknown = [
            a
            for a in attributes
            if a not in _POSITIONS | _INDICES | {"buffer", "maybe_unused", "texture", "sampler", "threadgroup"}
        ]
        for attribute in unknown:
            object_to("attribute", f"'{name}' has the unknown attribute [[{attribute}]]")
        if positions:
            width = _width(cursor.type)
            if width is None:
                object_to("attribute", f"[[{positions[0]}]] on '{name}', a {cursor.type.spelling}")
            else:
                widths.setdefault(width, positions[0])
        elif indices:
            if _width(cursor.type) != 1:
                object_to("attribute", f"[[{indices[0]}]] on '{name}', a {cursor.type.spelling}")
        elif any(a in attributes for a in ("texture", "sampler", "threadgroup")):
            object_to("kernel-parameter", f"'{name}' cannot be bound through torch.mps.compile_shader")
        elif not unknown:
            buffer = _buffer(cursor, attributes, len(buffers), object_to)
            if buffer is not None:
                if buffer.index in taken:
                    object_to("buffer-index", f"two parameters at buffer {buffer.index}")
                taken.add(buffer.index)
                buffers.append(replace(buffer, reads=reads.get(cursor.location.offset, 0)))
    if len(widths) > 1:
        object_to("attribute", f"positions of different widths: {', '.join(sorted(widths.values()))}")
    for attribute in kernel.attributes:
        if attribute not in _KERNEL_ATTRIBUTES:
            object_to("attribute", f"unknown attribute [[{attribute}]]")
    limit = number(kernel.attributes.get("max_total_threads_per_threadgroup"))
    if limit is not None and not 1 <= limit <= 1024:
        object_to("group-size", f"max_total_threads_per_threadgroup({limit})")
    return Signature(kernel.name, tuple(sorted(buffers, key=lambda b: b.index)), limit)


def _buffer(cursor: Cursor, attributes: dict[str, str], position: int, object_to) -> Buffer | None:
    name, type = cursor.spelling, cursor.type.get_canonical()
    if type.kind not in (TypeKind.POINTER, TypeKind.LVALUEREFERENCE):
        if type.kind is TypeKind.DEPENDENT or type.kind is TypeKind.UNEXPOSED:
            return None  # a template's own business
        object_to("kernel-parameter", f"'{name}' is passed by value and has no attribute")
        return None
    pointee = type.get_pointee()
    space = SPACES.get(pointee.get_address_space(), "")
    if space not in ("device", "constant"):
        object_to("kernel-parameter", f"'{name}' is bound to a buffer, but is {space or 'thread'}")
        return None
    index = number(attributes.get("buffer")) if "buffer" in attributes else position
    if index is None or not 0 <= index < MAX_BUFFERS:
        object_to("buffer-index", f"'{name}' at buffer {attributes.get('buffer', index)}")
        return None
    while pointee.kind is TypeKind.CONSTANTARRAY:
        pointee = pointee.element_type
    text = re.sub(r"\b(const|volatile|__global|__constant|__private)\b ?", "", pointee.get_canonical().spelling).strip()
    members = tuple((f.spelling, f.type.get_canonical().spelling) for f in pointee.get_canonical().get_fields())
    is_reference = type.kind is TypeKind.LVALUEREFERENCE
    return Buffer(index, name, space, is_reference, text, pointee.is_const_qualified(), members=members)


def _width(type: Type) -> int | None:
    canonical = type.get_canonical()
    if canonical.kind in (TypeKind.UINT, TypeKind.USHORT):
        return 1
    if canonical.kind in (TypeKind.VECTOR, TypeKind.EXTVECTOR):
        known = canonical.element_type.get_canonical().kind in (TypeKind.UINT, TypeKind.USHORT)
        return canonical.element_count if known and canonical.element_count < 4 else None
    return None


def number(text: str | None) -> int | None:
    """The value of an attribute's argument where it is a product of numbers."""
    if text is None:
        return None
    factors = [part.strip(" ()") for part in text.split("*")]
    if not all(re.fullmatch(r"\d+[uU]?", factor) for factor in factors):
        return None
    value = 1
    for factor in factors:
        value *= int(factor.rstrip("uU"))
    return value
