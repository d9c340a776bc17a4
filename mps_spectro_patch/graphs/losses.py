"""Finds STFT losses in a graph: terms between the magnitudes of two signals, that nothing else sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import NamedTuple

from torch.fx import Graph, Node

from ..options import Options
from .changes import Changes
from .expressions import Expression, are_same_sizes, expression, matched, shape_of
from .formulas import Known
from .search import Found, Spectrum, behind, chains

TERMS = "convergence", "log", "linear"  # in the operator's order


class FoundLoss(NamedTuple):
    """The spectra of input and target, what is known of their magnitudes, and the node of each term."""

    spectra: tuple[Spectrum, Spectrum]
    known: Known
    terms: dict[str, Node]
    squared: bool
    nodes: tuple[Node, ...]


def _term(name: str, squared: bool | None, formula: Callable[..., Expression]) -> tuple[str, bool | None, Expression]:
    return name, squared, expression(formula)


# X and Y are the magnitudes of input and target.
FORMULAS = (
    _term("convergence", None, lambda X, Y: (Y - X).norm() / Y.norm()),
    _term("log", False, lambda X, Y: X.log(math.e).l1_loss(Y.log(math.e))),
    _term("log", True, lambda X, Y: X.log(math.e).mse_loss(Y.log(math.e))),
    _term("linear", False, lambda X, Y: X.l1_loss(Y)),
    _term("linear", True, lambda X, Y: X.mse_loss(Y)),
)


def search_losses(graph: Graph, options: Options | None) -> Iterator[FoundLoss]:
    """options: see search.search()."""
    magnitudes = [one for chain in chains(graph, options) if (one := _magnitudes(chain)) is not None]
    changes = Changes(graph)
    for x, y in permutations(magnitudes, 2):
        alike = _are_alike(x, y) and changes.are_same(x.spectrum.window, y.spectrum.window)
        found = _loss(x, y) if alike else None
        if found is None:
            continue
        nodes = changes.in_order({*x.nodes, *y.nodes, *found.nodes})
        kept = [x.spectrum.rows, y.spectrum.rows, x.spectrum.window]
        if all(changes.leave_alone(nodes[0], last, kept) for last in found.terms.values()):
            yield found._replace(nodes=nodes)


def _magnitudes(chain: list[Found]) -> Found | None:
    """sqrt(max(|X|^2, floor)), as the operator has it, with what arranges it behind it."""
    fitting = [one for one in chain if _is_magnitude(one)]
    return fitting[-1] if fitting else None


def _is_magnitude(found: Found) -> bool:
    known, framing = found.known, found.spectrum.framing
    plain = Known(framing.n_fft // 2 + 1, "values", floor=known.floor, turned=known.turned)
    centred = framing.pad == framing.n_fft // 2 and framing.pad_mode == "reflect" and not framing.normalized
    return known == plain and known.floor > 0 and centred


def _are_alike(x: Found, y: Found) -> bool:
    one, other = x.spectrum, y.spectrum
    alike = one.framing == other.framing and x.known == y.known
    # Signals of other lengths may have as many frames.
    shapes = ((shape_of(one.rows), shape_of(other.rows)), (shape_of(x.last), shape_of(y.last)))
    return alike and all(are_same_sizes(a, b, in_this_call=True) for a, b in shapes)


def _loss(x: Found, y: Found) -> FoundLoss | None:
    """The terms between these two, if nothing else uses them."""
    terms: dict[str, Node] = {}
    inner: list[Node] = []
    kinds = set()
    for name, squared, formula in FORMULAS:
        for node in behind(x.last):
            nodes: list[Node] = []
            if matched(formula, node, {"X": x.last, "Y": y.last}, nodes):
                if name in terms:
                    return None
                terms[name], inner = node, [*inner, *nodes]
                kinds.add(squared)
    among = set(inner)
    used_here_only = all(set(node.users) <= among for node in {x.last, y.last, *inner} - set(terms.values()))
    kinds.discard(None)
    if not terms or len(kinds) > 1 or not used_here_only or any(shape_of(node) for node in terms.values()):
        return None
    return FoundLoss((x.spectrum, y.spectrum), x.known, terms, kinds == {True}, tuple(inner))
