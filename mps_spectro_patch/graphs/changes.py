"""What may change a tensor between two nodes of a graph, and which nodes are one tensor."""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import torch
from torch.fx import Graph, Node

from .expressions import is_of_aten, name_of, value_of

_CONVERSIONS = "to", "float", "type_as"


class Changes:
    """order: where each node of the graph stands. nodes: those that may change something."""

    def __init__(self, graph: Graph) -> None:
        self.order = {node: place for place, node in enumerate(graph.nodes)}
        self.nodes = [node for node in self.order if not _is_pure(node)]

    def in_order(self, nodes: Collection[Node]) -> tuple[Node, ...]:
        return tuple(sorted(nodes, key=self.order.__getitem__))

    def leave_alone(self, first: Node, last: Node, tensors: list[Node]) -> bool:
        """Whether nothing that may change one of these tensors, or what is recorded, stands between the first and the
        last node. Where gradients are recorded, nothing may be changed later either: other tensors are kept for the
        backward pass, which are these."""
        return not self.may_touch(first, None if value_of(last).requires_grad else last, tensors)

    def may_touch(self, first: Node, last: Node | None, tensors: list[Node], but: Collection[Node] = ()) -> bool:
        """Whether some of these tensors may be changed between the two nodes, by any but those. last: None for the end
        of the graph."""
        end = len(self.order) if last is None else self.order[last]
        between = (node for node in self.nodes if self.order[first] < self.order[node] < end and node not in but)
        return any(_concerns(node, tensors) for node in between)

    def are_same(self, one: Node, other: Node) -> bool:
        """Whether these are one tensor, or two conversions of one (a window that goes to the device in every call)."""
        one, other = origin(one), origin(other)
        if one is other:
            return True
        if not _is_conversion(one) or not _is_conversion(other) or origin(one.args[0]) is not origin(other.args[0]):
            return False
        a, b = value_of(one), value_of(other)
        first = min(one, other, key=self.order.__getitem__)
        alike = (a.dtype, a.device, a.stride()) == (b.dtype, b.device, b.stride())
        return alike and not self.may_touch(first, None, [one, other, origin(one.args[0])])


def origin(node: Node) -> Node:
    """The node whose tensor this one returns: a conversion to what it is already gives the same."""
    while _is_conversion(node) or (node.op == "call_method" and node.target in ("resolve_neg", "resolve_conj")):
        before, after = value_of(node.args[0]), value_of(node)
        if before.dtype is not after.dtype or before.device != after.device or node.kwargs.get("copy"):
            break
        if any(one is True for one in node.args):
            break
        node = node.args[0]
    return node


def _is_conversion(node: Node) -> bool:
    return node.op == "call_method" and node.target in _CONVERSIONS


def _concerns(change: Node, tensors: list[Node]) -> bool:
    """Whether a change in place may be one of these tensors. It is none of a value that a step has just made, unless
    that is what they are made of."""
    if change.op != "call_function" or change.target not in ARITHMETIC_IN_PLACE:
        return True
    changed = change.args[0]
    return not _is_new(changed) or any(_is_made_of(one, changed) for one in tensors)


def _is_new(value: Any) -> bool:
    """Whether it is a number, or a tensor with memory of its own."""
    if not isinstance(value, Node):
        return isinstance(value, (int, float))
    if value.op == "call_function" and value.target in ARITHMETIC_IN_PLACE:
        return _is_new(value.args[0])
    return makes_a_tensor(value)


def makes_a_tensor(node: Node) -> bool:
    """Whether it is a step that always makes a new tensor."""
    return name_of(node) in _MAKING


def _is_made_of(node: Node, part: Any) -> bool:
    seen: set[Node] = set()
    left = [node]
    while left:
        one = left.pop()
        if one is part:
            return True
        if one not in seen:
            seen.add(one)
            left += one.all_input_nodes
    return False


def _is_pure(node: Node) -> bool:
    """Whether a node is known to change nothing: no tensor, nor whether or how gradients are recorded."""
    target = node.target
    if node.op in ("placeholder", "get_attr", "output"):
        return True
    if node.op == "call_method":
        return not target.endswith("_") and not target.startswith("_") and target not in _CHANGING_METHODS
    if node.op != "call_function" or "out" in node.kwargs or node.kwargs.get("inplace"):
        return False
    if isinstance(target, torch._ops.OpOverload):
        return not target._schema.is_mutable
    if target in _IN_PLACE or isinstance(target, torch._ops.HigherOrderOperator):
        return False
    if isinstance(target, torch._ops.OpOverloadPacket) and not is_of_aten(target):
        return False
    name = getattr(target, "__name__", "_")
    if name.endswith("_") or name.startswith("_"):
        return False
    return target is getattr or bool(name_of(node)) or str(target.__module__).split(".")[0] in ("torch", "math")


_IN_PLACE = {
    getattr(operator, name)
    for name in (
        *("iadd", "iand", "iconcat", "ifloordiv", "ilshift", "imatmul", "imod", "imul", "ior", "ipow", "irshift"),
        *("isub", "itruediv", "ixor", "setitem", "delitem"),
    )
}
ARITHMETIC_IN_PLACE = {operator.iadd, operator.isub, operator.imul, operator.itruediv}
_MAKING = (
    *("add", "sub", "mul", "truediv", "div", "neg", "pow", "abs", "angle", "sqrt", "log", "mean", "sum", "norm"),
    *("l1_loss", "mse_loss"),
)
_CHANGING_METHODS = ("register_hook", "retain_grad", "backward", "set", "resize", "data")
