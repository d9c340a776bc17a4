"""Finds the mean of several STFT losses between the same two signals: any sum of what our operators give in a graph.

A program may add, stack or weight them, in place or not. Nothing but the sum may be seen by anybody else.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch.fx import Graph, Node

from ..arguments import LossArguments
from ..execution import launches
from ..kernels import stft_loss
from .changes import ARITHMETIC_IN_PLACE, Changes
from .expressions import are_same_sizes, is_number, name_of, shape_of, value_of
from .losses import TERMS

_LOSS = None  # in place of a term: all of them, weighted

# A number of a graph as a sum: how often the loss, or one of its terms, of an operator is in it.
Sum = dict[tuple[Node, "int | None"], float]


class FoundMean(NamedTuple):
    """The node of the mean, those that it is made of, in their order, and what it is between. losses: with the weights
    that they have in the mean."""

    last: Node
    nodes: tuple[Node, ...]
    signals: tuple[Node, Node]
    windows: tuple[Node, ...]
    losses: tuple[LossArguments, ...]


def search_means(graph: Graph) -> Iterator[FoundMean]:
    """The largest first."""
    sums: dict[Node, tuple[Sum, ...]] = {}
    for node in graph.nodes:
        found = _sums(node, sums)
        if found is not None:
            sums[node] = found
    changes = Changes(graph)
    for last in reversed(sums):
        nodes = _alone(last, sums)
        if nodes is None:
            continue
        losses = _losses(sums[last][0])
        if losses is None or not _are_between_the_same(list(losses)):
            continue
        first = next(iter(losses))
        tensors = [*map(_signal, first.args[:2]), *(one.args[2] for one in losses)]
        is_for_input = not any(value_of(one).requires_grad for one in tensors[1:])
        begins = min((one for loss in losses for one in _arranged(loss)), key=changes.order.__getitem__)
        if is_for_input and not changes.may_touch(begins, last, tensors, but=nodes):
            ordered = changes.in_order(nodes)
            yield FoundMean(last, ordered, tuple(tensors[:2]), tuple(tensors[2:]), tuple(losses.values()))


def _sums(node: Node, sums: dict[Node, tuple[Sum, ...]]) -> tuple[Sum, ...] | None:
    """What a node is made of: one sum, or those that are stacked in it."""
    value = value_of(node)
    if not isinstance(value, torch.Tensor) or value.dtype is not torch.float32 or value.dim() > 1:
        return None
    leaf = _leaf(node)
    if leaf is not None:
        return ({leaf: 1.0},)
    name = name_of(node)
    step = _STEPS.get(name.removesuffix("_"))
    if step is None or not node.args:
        return None
    first, *others = node.args
    if name.endswith("_") or node.target in ARITHMETIC_IN_PLACE:  # of a value that nobody else sees
        if first not in sums or len(first.users) > 1:
            return None
    if step == "stack":
        is_usual = isinstance(first, (list, tuple)) and (others or [0]) == [0] and set(node.kwargs) <= {"dim"}
        if (
            not is_usual
            or node.kwargs.get("dim", 0) != 0
            or not all(one in sums and not shape_of(one) for one in first)
        ):
            return None
        return tuple(sums[one][0] for one in first)
    if step in ("mean", "sum"):
        dims = {**dict(zip(("dim", "keepdim"), others, strict=False)), **node.kwargs}
        if first not in sums or not set(dims) <= {"dim", "keepdim"} or value.dim():
            return None
        return (_added(*((one, 1 / len(sums[first]) if step == "mean" else 1.0) for one in sums[first])),)
    if len(others) != (step != "neg") or node.kwargs:
        return None
    return _arithmetic(step, first, *others, sums)


def _arithmetic(step: str, one: Any, *rest: Any) -> tuple[Sum, ...] | None:
    *others, sums = rest
    if step == "neg":
        return tuple(_added((part, -1.0)) for part in sums[one]) if one in sums else None
    (other,) = others
    if step in ("add", "sub"):
        sign = 1.0 if step == "add" else -1.0
        if is_number(other) and other == 0 and one in sums:
            return sums[one]
        if is_number(one) and one == 0 and other in sums:
            return tuple(_added((part, sign)) for part in sums[other])
        if one in sums and other in sums and shape_of(one) == shape_of(other):
            return tuple(_added((a, 1.0), (b, sign)) for a, b in zip(sums[one], sums[other], strict=True))
        return None
    if step == "mul" and is_number(one):
        one, other = other, one
    if one not in sums or not is_number(other) or not other:
        return None
    factor = 1 / other if step == "div" else float(other)
    return tuple(_added((part, factor)) for part in sums[one])


_STEPS = {
    "add": "add", "iadd": "add", "sub": "sub", "isub": "sub", "subtract": "sub", "mul": "mul", "imul": "mul",
    "multiply": "mul", "div": "div", "divide": "div", "true_divide": "div", "truediv": "div", "itruediv": "div",
    "neg": "neg", "negative": "neg", "mean": "mean", "sum": "sum", "stack": "stack",
}  # fmt: skip


def _added(*parts: tuple[Sum, float]) -> Sum:
    total: Sum = {}
    for one, factor in parts:
        for leaf, often in one.items():
            total[leaf] = total.get(leaf, 0.0) + factor * often
    return total


def _leaf(node: Node) -> tuple[Node, int | None] | None:
    """(the operator, which term of it) where a node takes that out."""
    if _taken(node) is None or not isinstance(node.args[0], Node):
        return None
    source, place = node.args
    if _is_loss(source):
        return (source, _LOSS) if place == 0 and _is_taken_once(node) else None
    if _taken(source) == 1 and _is_loss(source.args[0]) and 0 <= place < len(TERMS):
        return (source.args[0], place) if _is_taken_once(source) and _is_taken_once(node) else None
    return None


def _is_loss(node: Any) -> bool:
    ops = launches.ops
    return isinstance(node, Node) and ops is not None and node.target is ops.losses.stft_loss


def _taken(node: Node) -> int | None:
    is_item = node.op == "call_function" and node.target is operator.getitem and type(node.args[1]) is int
    return node.args[1] if is_item else None


def _is_left_over(node: Node) -> bool:
    return _taken(node) is not None and not node.users


def _is_taken_once(node: Node) -> bool:
    """Else what is done to it in place is done to another node's value, too."""
    return [_taken(user) for user in node.args[0].users].count(node.args[1]) == 1


def _alone(last: Node, sums: dict[Node, tuple[Sum, ...]]) -> set[Node] | None:
    """All that a sum of several losses is made of, if nothing else uses any of it."""
    if shape_of(last) or len({one for one, _ in sums[last][0]}) < 2:
        return None
    nodes: set[Node] = set()
    left = [last]
    while left:
        node = left.pop()
        if node in nodes:
            continue
        nodes.add(node)
        if _leaf(node) is None:
            left += [one for one in node.all_input_nodes if one in sums]
            continue
        loss = next(iter(sums[node][0]))[0]
        nodes.add(loss)
        for part in loss.users:  # what nobody uses goes with it
            nodes.update([part, *part.users] if _taken(part) == 1 else [part])
    among = all(set(node.users) <= nodes for node in nodes - {last})
    is_read = all(node in sums or _is_loss(node) or _taken(node) == 1 or _is_left_over(node) for node in nodes)
    return nodes if among and is_read and last.users.keys().isdisjoint(nodes) else None


def _losses(total: Sum) -> dict[Node, LossArguments] | None:
    """Each loss with the weights by which the mean of all is the sum; None: that cannot be said."""
    count = len({one for one, _ in total})
    found: dict[Node, LossArguments] = {}
    for loss in dict.fromkeys(one for one, _ in total):
        if loss.kwargs or any(type(one) not in (int, float, bool, str) for one in loss.args[3:]):
            return None
        call = LossArguments(*loss.args[3:])
        weights = dict.fromkeys(TERMS, 0.0)
        for place, name in enumerate(TERMS):
            own = getattr(call, name)
            parts = [
                total[key] * weight
                for key, weight in (((loss, _LOSS), own), ((loss, place), 1.0))
                if key in total and weight
            ]
            weights[name] = sum(parts, 0.0) * count
            if parts and not (weights[name] and isfinite(weights[name])):
                return None
            if (loss, place) in total and not own:  # it is 0 there
                return None
        found[loss] = call._replace(**weights)
    return found if count <= stft_loss.LOSSES_MAX else None


def _are_between_the_same(losses: list[Node]) -> bool:
    first, *others = losses
    return all(_is_same_signal(first.args[i], other.args[i]) for other in others for i in (0, 1))


def _is_same_signal(a: Node, b: Node) -> bool:
    return _origin(a) is _origin(b) and are_same_sizes(shape_of(a), shape_of(b))


def _signal(rows: Node) -> Node:
    """What rows are made of, if that is [..., samples]: so the operator arranges it, which costs less."""
    origin = _origin(rows)
    same = shape_of(origin) and are_same_sizes(shape_of(origin)[-1:], shape_of(rows)[-1:])
    return origin if same else rows


def _origin(signal: Node) -> Node:
    """The tensor whose elements it has, in their order."""
    while signal.op == "call_method" and signal.target in _IN_ORDER:
        signal = signal.args[0]
    return signal


def _arranged(loss: Node) -> Iterator[Node]:
    """The operator and the steps that only arrange its signals: one of these may have copied them."""
    yield loss
    for node in loss.args[:2]:
        while node is not _origin(node):
            yield node
            node = node.args[0]


_IN_ORDER = (
    *("reshape", "view", "squeeze", "unsqueeze", "flatten", "unflatten", "contiguous", "resolve_conj", "resolve_neg"),
)
