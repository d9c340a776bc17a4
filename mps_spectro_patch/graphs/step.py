"""A fused call in a graph that runs in Python: by the front ends' own way, with cache, comparison and counters."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from ..execution import comparison, runner, trouble, verification
from ..front_ends import compute, losses
from ..kernels import TensorState
from ..options import Options
from .losses import TERMS
from .rewriting import LossPlan, Plan, arranged

NAME, LOSS = "graph", "graph loss"  # under which calls are counted


class Step:
    """What the nodes of a plan are, as one call. original: the same nodes. Where the kernels do not do a call, or
    where the first one (verify="first"; each, if "always") differs, the original does."""

    __name__ = "fused"
    name = NAME

    def __init__(self, plan: Any, original: GraphModule, options: Options | None, verify: str) -> None:
        self.call, self.original, self.options, self.verify = plan.call, original, options, verify
        self.compares, self.given_up = verify != "off", False
        self.count = len(plan.tensors)

    def __call__(self, *given: Any) -> tuple[Tensor, ...]:
        if not self.given_up:
            found = None
            try:
                results = self.fused(*given[: self.count])
                if results is not None and (not self.compares or self._is_right(results, given)):
                    return results
            except Exception as error:
                if runner.goes_on(self.options, error):
                    raise
                found = trouble.trouble_of(error)
            if found is not None:
                trouble.give_up(self.name, found)
        return self.original(*given)

    @torch.no_grad()
    def _is_right(self, results: tuple[Tensor, ...], given: tuple) -> bool:
        def judge(results: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> tuple[str, bool]:
            return self.differs(results, expected, given), True

        wrong, _ = verification.judge_by(self.name, judge, results, self.original, given)
        if wrong:
            self.given_up = True
            what = f"the fused {self.call.describe()} in a graph differs from the program's steps ({wrong})"
            trouble.warn_once(f"graph {self.call}", what)
        self.compares = self.verify == "always"
        return not wrong

    def fused(self, *tensors: Tensor) -> tuple[Tensor, ...] | None:
        """The results, or None where the kernels do not do this call."""
        raise NotImplementedError

    def differs(self, results: tuple[Tensor, ...], expected: tuple[Tensor, ...], given: tuple) -> str:
        """What is wrong with the results, in words; empty if nothing is."""
        raise NotImplementedError


class FeatureStep(Step):
    def __init__(self, plan: Plan, *rest: Any) -> None:
        super().__init__(plan, *rest)
        self.arrangement = plan.arrangement
        self.turns_basis, self.is_single = plan.found.known.basis_turned, plan.found.spectrum.single
        self.turned: tuple[TensorState, Tensor] | None = None

    def fused(self, x: Tensor, window: Tensor, basis: Tensor | None = None) -> tuple[Tensor, ...] | None:
        if basis is not None and self.turns_basis:
            basis = self._turned(basis)
        result = compute.try_fused(x.unsqueeze(0) if self.is_single else x, window, basis, self.call, NAME)
        return None if result is None else (arranged(result, self.arrangement),)

    def _turned(self, basis: Tensor) -> Tensor:
        """The transpose, and the same tensor as long as it has the same values: so it is read from the device once."""
        if basis.requires_grad or basis.is_inference():
            return basis.t()
        if self.turned is None or not self.turned[0].is_of(basis):
            self.turned = TensorState(basis), basis.t().contiguous()
        return self.turned[1]

    def differs(self, results: tuple[Tensor, ...], expected: tuple[Tensor, ...], given: tuple) -> str:
        if self.call.scale.scale == "linear":
            return comparison.difference(results[0], expected[0])
        return verification.judge_front_end(results[0], expected[0], self.call.scale)[0]


class LossStep(Step):
    name = LOSS

    def __init__(self, plan: LossPlan, *rest: Any) -> None:
        super().__init__(plan, *rest)
        self.places = [TERMS.index(name) for name in plan.found.terms]

    def fused(self, x: Tensor, y: Tensor, window: Tensor) -> tuple[Tensor, ...] | None:
        result = losses.try_fused(x, y, window, self.call, LOSS)
        return None if result is None else tuple(result[1][place] for place in self.places)

    def differs(self, results: tuple[Tensor, ...], expected: tuple[Tensor, ...], given: tuple) -> str:
        ours, theirs = (torch.zeros(len(TERMS), dtype=torch.float64, device="cpu") for _ in range(2))
        for place, got, right in zip(self.places, results, expected, strict=True):
            ours[place], theirs[place] = got, right
        loudest = float(given[1].abs().max() * given[2].abs().sum())
        return verification.judge_loss(ours, theirs, loudest, self.call.squared)[0]


def put_step(graph: Graph, plan: Plan | LossPlan, options: Options | None, verify: str) -> list[Node]:
    """A call of a Step in the graph, and its results."""
    among = set(plan.found.nodes)
    operands = dict.fromkeys(one for node in plan.found.nodes for one in node.all_input_nodes if one not in among)
    given = [*plan.tensors, *(one for one in operands if one not in plan.tensors)]
    copy = Graph()
    copied: dict[Node, Node] = {}
    for place, one in enumerate(given):
        copied[one] = copy.placeholder(f"given_{place}")
    for node in plan.found.nodes:
        copied[node] = copy.node_copy(node, copied.__getitem__)
    copy.output(tuple(copied[one] for one in plan.results))
    make = FeatureStep if isinstance(plan, Plan) else LossStep
    call = graph.call_function(make(plan, GraphModule({}, copy), options, verify), tuple(given))
    return [graph.call_function(operator.getitem, (call, place)) for place in range(len(plan.results))]
