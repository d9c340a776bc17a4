"""A fused call in a graph that runs in Python: by the front ends' own way, with cache, comparison and counters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from ..execution import comparison, runner, trouble, verification
from ..front_ends import compute
from ..kernels import TensorState
from ..options import Options
from .rewriting import Plan, arranged

NAME = "graph"  # under which calls are counted


class Step:
    """What the nodes of a plan are, as one call. original: the same nodes. Where the kernels do not do a call, or
    where the first one (verify="first"; each, if "always") differs, the original does."""

    __name__ = "fused"

    def __init__(self, plan: Plan, original: GraphModule, options: Options | None, verify: str) -> None:
        self.call, self.arrangement, self.original = plan.call, plan.arrangement, original
        self.turns_basis, self.is_single = plan.found.known.basis_turned, plan.found.spectrum.single
        self.options, self.verify = options, verify
        self.compares, self.given_up = verify != "off", False
        self.turned: tuple[TensorState, Tensor] | None = None

    def __call__(self, x: Tensor, window: Tensor, basis: Tensor | None, *others: Any) -> Tensor:
        given = x, window, *(() if basis is None else (basis,)), *others
        if not self.given_up:
            try:
                result = self._fused(x, window, basis)
                if result is not None and (not self.compares or self._is_right(result, given)):
                    return result
                self.given_up = self.given_up or (result is not None)
                found = None
            except Exception as error:
                if runner.goes_on(self.options, error):
                    raise
                found = trouble.trouble_of(error)
            if found is not None:
                trouble.give_up(NAME, found)
        return self.original(*given)

    def _fused(self, x: Tensor, window: Tensor, basis: Tensor | None) -> Tensor | None:
        if basis is not None and self.turns_basis:
            basis = self._turned(basis)
        result = compute.try_fused(x.unsqueeze(0) if self.is_single else x, window, basis, self.call, NAME)
        return None if result is None else arranged(result, self.arrangement)

    def _turned(self, basis: Tensor) -> Tensor:
        """The transpose, and the same tensor as long as it has the same values: so it is read from the device once."""
        if basis.requires_grad or basis.is_inference():
            return basis.t()
        if self.turned is None or not self.turned[0].is_of(basis):
            self.turned = TensorState(basis), basis.t().contiguous()
        return self.turned[1]

    @torch.no_grad()
    def _is_right(self, result: Tensor, given: tuple) -> bool:
        expected, scale = self.original(*given), self.call.scale
        if scale.scale == "linear":
            wrong = comparison.difference(result, expected)
        else:
            wrong = verification.judge_front_end(result, expected, scale)[0]
        if wrong:
            what = f"the fused call of {self.call.describe()} in a graph differs from the program's steps ({wrong})"
            trouble.warn_once(f"graph {self.call}", what)
        self.compares = self.verify == "always"
        return not wrong


def put_step(graph: Graph, plan: Plan, options: Options | None, verify: str) -> Node:
    """A call of a Step in the graph."""
    nodes, spectrum, basis = plan.found.nodes, plan.found.spectrum, plan.found.known.basis
    first = [spectrum.rows, spectrum.window, *([] if basis is None else [basis])]
    among = set(nodes)
    operands = dict.fromkeys(one for node in nodes for one in node.all_input_nodes if one not in among)
    others = [one for one in operands if one not in first]
    copy = Graph()
    copied = {one: copy.placeholder(one.name) for one in dict.fromkeys([*first, *others])}
    for node in nodes:
        copied[node] = copy.node_copy(node, copied.__getitem__)
    copy.output(copied[plan.found.last])
    step = Step(plan, GraphModule({}, copy), options, verify)
    return graph.call_function(step, (spectrum.rows, spectrum.window, basis, *others))
