"""Puts one call in place of the nodes that search.py found: our operator, or a Step where a graph runs in Python."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph, Node

from ..arguments import text_of
from ..execution import launches, quarantine, runner, trouble
from ..front_ends import FrontEnd, LossCall, compute
from ..kernels import stft_loss
from ..options import Options
from .changes import origin
from .expressions import are_same_sizes, read, shape_of, value_of
from .losses import TERMS, FoundLoss, search_losses
from .means import FoundMean, search_means
from .search import Found, forget_unused, search

Arrangement = tuple[tuple[str, tuple], ...]  # methods of a tensor and what they are given, one behind the other


class Plan(NamedTuple):
    """How what was found is replaced: front end and arguments of our operator, and what brings its result into the
    shape, and the memory order, of the last node's."""

    found: Found
    call: FrontEnd
    arguments: tuple
    arrangement: Arrangement

    @property
    def results(self) -> tuple[Node, ...]:
        return (self.found.last,)

    @property
    def tensors(self) -> tuple[Node, ...]:
        spectrum, basis = self.found.spectrum, self.found.known.basis
        return spectrum.rows, spectrum.window, *(() if basis is None else (origin(basis),))

    def operator(self, graph: Graph) -> list[Node]:
        given = (*self.tensors, None)[:3]
        node = graph.call_function(launches.ops.features.features, (*given, *self.arguments))
        for method, arguments in self.arrangement:
            node = graph.call_method(method, (node, *arguments))
        return [node]


class LossPlan(NamedTuple):
    """Terms of a loss, as one call."""

    found: FoundLoss
    call: LossCall

    @property
    def results(self) -> tuple[Node, ...]:
        return tuple(self.found.terms.values())

    @property
    def tensors(self) -> tuple[Node, ...]:
        one, other = self.found.spectra
        return one.rows, other.rows, one.window

    def operator(self, graph: Graph) -> list[Node]:
        node = graph.call_function(launches.ops.losses.stft_loss, (*self.tensors, *self.call.arguments()))
        terms = graph.call_function(operator.getitem, (node, 1))
        return [graph.call_function(operator.getitem, (terms, TERMS.index(name))) for name in self.found.terms]


class MeanPlan(NamedTuple):
    """Several losses that operators are there for by now, as one call."""

    found: FoundMean

    @property
    def results(self) -> tuple[Node, ...]:
        return (self.found.last,)

    def operator(self, graph: Graph) -> list[Node]:
        found = self.found
        given = (*found.signals, list(found.windows), text_of(found.losses))
        return [graph.call_function(launches.ops.losses_together.mean_of_losses, given)]


AnyPlan = Plan | LossPlan | MeanPlan
Put = Callable[[Graph, Any], "list[Node]"]


def rewrite(graph: Graph, options: Options | None, put: Put | None = None) -> int:
    """Fuses what can be, and says how often. An error leaves the graph as it is, with one warning.

    options: see search(). put: makes the nodes that replace a plan's results; None: of our operators.
    """
    try:
        forget_unused(graph, options)
        for count in itertools.count():
            plan = next(filter(None, _plans(graph, options, put is None)), None)
            if plan is None:
                return count
            _replace(graph, plan, put or (lambda graph, plan: plan.operator(graph)))
    except Exception as error:
        if runner.goes_on(options, error):
            raise
        found = trouble.trouble_of(error)
    trouble.give_up("torch.compile", found)
    return 0


def _plans(graph: Graph, options: Options | None, as_operators: bool) -> Iterator[AnyPlan | None]:
    if as_operators and quarantine.front_ends:  # compiled code cannot look one up
        return
    for loss in search_losses(graph, options):
        yield _planned_loss(loss)
    for found in search(graph, options):
        yield _planned(found, as_operators)
    if as_operators:
        yield from map(MeanPlan, search_means(graph))


def _replace(graph: Graph, plan: AnyPlan, put: Put) -> None:
    before = set(graph.nodes)
    first = next(node for node in graph.nodes if node in plan.results)
    try:
        with graph.inserting_before(first):
            made = put(graph, plan)
    except Exception:
        for one in reversed(graph.nodes):
            if one not in before:
                graph.erase_node(one)
        raise
    for result, node in zip(plan.results, made, strict=True):
        node.meta.update(result.meta)
        result.replace_all_uses_with(node)
    for one in reversed(plan.found.nodes):
        graph.erase_node(one)


def _planned_loss(found: FoundLoss) -> LossPlan | None:
    """None: the kernels cannot do it."""
    one, other = found.spectra
    framing, known = one.framing, found.known
    weights = {name: float(name in found.terms) for name in TERMS}
    call = LossCall(
        framing.n_fft, framing.hop_length, framing.win_length, known.floor, squared=found.squared, **weights
    )
    samples = value_of(one.rows).shape[-1]
    is_known = type(samples) is not int or framing.n_fft // 2 < samples
    return LossPlan(found, call) if is_known and stft_loss.supports_stft_loss(framing.n_fft) else None


def _planned(found: Found, is_operator: bool) -> Plan | None:
    """None: the operator cannot do it, or its result cannot be brought into the right form."""
    known, spectrum, framing = found.known, found.spectrum, found.spectrum.framing
    if is_operator and known.basis_turned:  # in compiled code that is a new tensor for every call, and is read back
        return None
    pad, centre = framing.pad, framing.n_fft // 2
    if pad and pad != centre and framing.pad_mode != "constant":
        return None
    basis = known.basis
    bins = framing.n_fft // 2 + 1
    call = FrontEnd(
        framing.n_fft, framing.hop_length, framing.win_length, center=pad == centre, pad_mode=framing.pad_mode,
        pad=0 if pad == centre else pad, power=known.power, eps=known.eps, gain=known.gain, floor=known.floor,
        width=None if basis is not None or known.bins == bins else known.bins, dropped=known.dropped,
        scale=known.scale,
    )  # fmt: skip
    values = [value_of(one) for one in (spectrum.rows, spectrum.window)]
    if spectrum.single:
        values[0] = values[0].unsqueeze(0)
    bank = value_of(basis) if basis is not None else None
    if bank is not None and known.basis_turned:
        bank = bank.t()
    arguments = call.arguments(None if bank is None else bank.shape[0], pad, framing.pad_mode)
    rows, samples = values[0].shape
    largest = max(arguments.width, bins)
    if type(rows) is int and type(samples) is int:
        if compute.obstacle(rows, samples, values[1].shape[0], largest, *arguments[:5]) is not None:
            return None
    for contiguous in (False, True):
        arguments = arguments._replace(contiguous=contiguous)
        with torch.no_grad():
            arrangement = _arrangement(launches.ops.features.features(*values, bank, *arguments), found)
        if arrangement is not None:
            return Plan(found, replace(call, contiguous=contiguous), tuple(arguments), arrangement)
    return None


def _arrangement(result: Tensor, found: Found) -> Arrangement | None:
    """From the operator's result [rows, features, frames] to the last node's. None: they are laid out in other ways."""
    wanted = value_of(found.last)
    batch = shape_of(found.last)[:-2]
    steps = [("transpose", (-1, -2))] if found.known.turned else []
    if not batch:
        steps.append(("squeeze", (0,)))
    elif len(batch) > 1:
        if not all(type(size) is int for size in batch):
            return None
        steps.append(("unflatten", (0, batch)))
    made = arranged(result, tuple(steps))
    if not are_same_sizes(made.shape, wanted.shape) or made.dtype is not wanted.dtype or made.device != wanted.device:
        return None
    return tuple(steps) if _is_same_order(made, wanted) or not _order_matters(found.last) else None


def arranged(values: Tensor, steps: Arrangement) -> Tensor:
    for method, arguments in steps:
        values = getattr(values, method)(*arguments)
    return values


def _is_same_order(a: Tensor, b: Tensor) -> bool:
    """Whether both are laid out alike. What stands for a dimension of size 1 does not matter."""
    dims = [dim for dim, size in enumerate(b.shape) if not are_same_sizes((size,), (1,))]
    return are_same_sizes([a.stride(dim) for dim in dims], [b.stride(dim) for dim in dims])


_ELEMENTWISE = ("abs", "add", "sub", "mul", "div", "pow", "sqrt", "log")


def _order_matters(node: Node) -> bool:
    """Not where all that uses it ends in one number."""
    return not node.users or not all(_ends_in_a_number(user) for user in node.users)


def _ends_in_a_number(node: Node) -> bool:
    value = value_of(node)
    if isinstance(value, Tensor) and not value.dim() and node.op != "output":
        return getattr(node.target, "__name__", node.target) in ("l1_loss", "mse_loss", "mean", "sum")
    return read(node)[0] in _ELEMENTWISE and not _order_matters(node)
