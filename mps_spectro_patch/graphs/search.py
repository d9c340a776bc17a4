"""Finds what a graph can have as one fused call: from an stft on, step by step, as far as formulas go.

Only where nothing else uses what lies between, nothing is changed in between, and every value is float32 or its complex
counterpart on one device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import Graph, Node

from .. import routing
from ..arguments import StftArguments
from ..execution import launches
from ..options import Options
from ..reasons import Reason
from .changes import Changes, makes_a_tensor, origin
from .expressions import are_same_sizes, given, matched, name_of, shape_of, value_of
from .formulas import BY_KIND, Known

_DEPTH = 5  # steps of the longest formula


class Spectrum(NamedTuple):
    """An stft in a graph: of rows [rows, samples], or [samples] where it is `single`."""

    node: Node
    rows: Node
    single: bool
    window: Node
    framing: StftArguments


class Found(NamedTuple):
    """Nodes that one call replaces, in their order: from the stft to `last`, whose value is known."""

    spectrum: Spectrum
    nodes: tuple[Node, ...]
    last: Node
    known: Known


def search(graph: Graph, options: Options | None) -> Iterator[Found]:
    """What can be fused. options: where torch's own stft is fused too; None: only our operator, which is in a graph
    because enable() said so."""
    changes = Changes(graph)
    for chain in chains(graph, options):
        fitting = [one for one in chain if _is_expressible(one) and _is_undisturbed(one, changes)]
        if fitting:
            best = fitting[-1]
            yield best._replace(nodes=changes.in_order(set(best.nodes)))


def chains(graph: Graph, options: Options | None) -> Iterator[list[Found]]:
    """Of each stft, what is known of the values behind it, one after the other; at least of one."""
    if any(node.op == "call_function" and _is_of_functorch(node.target) for node in graph.nodes):
        options = None
    for node in list(graph.nodes):
        spectrum = _spectrum(node, options)
        steps = [] if spectrum is None else list(_steps(spectrum))
        if steps:
            yield steps


def _spectrum(node: Node, options: Options | None) -> Spectrum | None:
    ops = launches.ops
    if node.op != "call_function" or not _is_single_precision(node):
        return None
    if ops is not None and node.target is ops.stft:
        rows, window, *arguments = node.args
        single, framing = False, StftArguments(*arguments)
    elif options is not None and node.target is torch.functional.stft and "stft" in options.ops:
        call = _of_torch(node, options)
        if call is None:
            return None
        rows, window, framing = call
        single = len(shape_of(rows)) == 1
    else:
        return None
    plain = all(isinstance(one, Node) and _is_single_precision(one) for one in (rows, window))
    real = plain and not value_of(rows).is_complex() and not value_of(window).is_complex()
    return Spectrum(node, rows, single, window, framing) if real and framing.onesided else None


def _of_torch(node: Node, options: Options) -> tuple[Node, Node, StftArguments] | None:
    """(rows, window, framing) of torch.stft, if the kernels do it."""
    names = (
        "input n_fft hop_length win_length window center pad_mode normalized onesided return_complex align_to_window"
    )
    arguments = given(node, names)
    if arguments is None or "window" not in arguments:
        return None
    defaults = {"center": True, "pad_mode": "reflect", "normalized": False}
    wanted = [arguments.get(name, defaults.get(name)) for name in names.split()]
    values = tuple(value_of(one) if isinstance(one, Node) else one for one in wanted)
    decision = routing.decide_compiled("stft", options.device_types, values)
    if isinstance(decision, Reason) or decision.as_real:
        return None
    return wanted[0], wanted[4], decision.arguments


def _steps(spectrum: Spectrum) -> Iterator[Found]:
    """What is known of the values behind the spectrum, one by one."""
    framing = spectrum.framing
    norm = framing.n_fft**-0.5 if framing.normalized else 1.0
    value, known = spectrum.node, Known(framing.n_fft // 2 + 1, norm=norm)
    nodes: tuple[Node, ...] = (value,)
    while True:
        step = _same_values(value, known) or _formula(value, known)
        if step is None:
            return
        value, known, inner = step
        nodes = (*nodes, *inner)
        if not all(_is_single_precision(node) for node in inner):
            return
        yield Found(spectrum, nodes, value, known)


def _formula(value: Node, known: Known) -> tuple[Node, Known, tuple[Node, ...]] | None:
    for formula in BY_KIND[known.kind]:
        for last in behind(value):
            left_open: dict[str, Any] = {formula.value: value}
            inner: list[Node] = []
            if not matched(formula.expression, last, left_open, inner) or not _alone(value, last, inner):
                continue
            del left_open[formula.value]
            then = formula.then(known, **left_open)
            if then is not None:
                return last, then, tuple(inner)
    return None


def behind(value: Node) -> list[Node]:
    """Nodes that use the value, or what is made of it in a few steps."""
    found: dict[Node, None] = {}
    layer = [value]
    for _ in range(_DEPTH):
        layer = [user for node in layer if len(node.users) <= _DEPTH for user in node.users]
        found.update(dict.fromkeys(layer))
    return list(found)


def _alone(value: Node, last: Node, inner: list[Node]) -> bool:
    """Whether the value and what lies between it and `last` is used for that only."""
    among = set(inner)
    return all(set(node.users) <= among for node in {value, *inner} - {last})


_IN_ORDER = (
    *("reshape", "view", "squeeze", "unsqueeze", "flatten", "unflatten", "contiguous", "clone", "float", "to"),
    *("resolve_conj", "resolve_neg"),
)  # whose result has the same elements in the same order
_TRANSPOSITIONS = ("transpose", "swapaxes", "swapdims", "permute", "t", "numpy_T", "mT", "getattr")


def _same_values(value: Node, known: Known) -> tuple[Node, Known, tuple[Node, ...]] | None:
    """A step that only arranges the values in another way."""
    if len(value.users) != 1:
        return None
    (node,) = value.users
    before, after = shape_of(value), shape_of(node)
    if not node.args or node.args[0] is not value or len(before) < 2 or len(after) < 2:
        return None
    name = name_of(node)
    if name in _IN_ORDER:
        same = are_same_sizes(before[-2:], after[-2:])
        as_before = value_of(node).dtype is value_of(value).dtype and value_of(node).device == value_of(value).device
        return (node, known, (node,)) if same and as_before else None
    if name in _TRANSPOSITIONS and _swaps_the_last_two(node, name, len(before)):
        return node, replace(known, turned=not known.turned), (node,)
    if name == "getitem":
        cut = _cut(node, known, before, after)
        return None if cut is None else (node, cut, (node,))
    return None


def _swaps_the_last_two(node: Node, name: str, dims: int) -> bool:
    arguments = node.args[1:]
    if node.kwargs:
        return False
    if name == "getattr":
        return arguments == ("mT",) or (arguments == ("T",) and dims == 2)
    if name == "mT":
        return True
    if name in ("t", "numpy_T"):
        return dims == 2
    if name == "permute":
        axes = arguments[0] if len(arguments) == 1 else arguments
        if not isinstance(axes, (tuple, list)) or not all(type(axis) is int for axis in axes):
            return False
        return [axis % dims for axis in axes] == [*range(dims - 2), dims - 1, dims - 2]
    if not all(type(axis) is int for axis in arguments):
        return False
    return sorted(axis % dims for axis in arguments) == [dims - 2, dims - 1]


def _cut(node: Node, known: Known, before: tuple, after: tuple) -> Known | None:
    """Where the last frames, or the highest bins, are left out: v[..., :-1] and the like."""
    index = node.args[1]
    index = index if isinstance(index, tuple) else (index,)
    rest = len(before) - len(index) + 1
    if Ellipsis in index:
        place = index.index(Ellipsis)
        index = (*index[:place], *(slice(None),) * rest, *index[place + 1 :])
    index = (*index, *(slice(None),) * (len(before) - len(index)))
    cuts = [axis for axis, part in enumerate(index) if part != slice(None)]
    if len(index) != len(before) or len(cuts) != 1 or not isinstance(index[cuts[0]], slice):
        return None
    (axis,) = cuts
    part, behind = index[axis], axis - len(before)
    if part.start not in (None, 0) or part.step not in (None, 1) or type(part.stop) is not int or behind < -2:
        return None
    if (behind == -1) != known.turned:
        left = -part.stop if part.stop < 0 else before[axis] - part.stop
        return replace(known, dropped=known.dropped + left) if type(left) is int and left >= 0 else None
    if known.basis is not None or type(after[axis]) is not int or after[axis] < 1:
        return None
    return replace(known, bins=after[axis])


def _is_undisturbed(found: Found, changes: Changes) -> bool:
    spectrum, basis = found.spectrum, found.known.basis
    kept = [spectrum.rows, spectrum.window, *(() if basis is None else (basis,))]
    return changes.leave_alone(found.nodes[0], found.last, kept)


def forget_unused(graph: Graph, options: Options | None) -> None:
    """Takes out what is made of a spectrum and never used: auraloss takes an angle whether anybody wants it or not."""
    for node in list(graph.nodes):
        if _spectrum(node, options) is not None:
            for user in list(node.users):
                if not user.users and makes_a_tensor(user):
                    graph.erase_node(user)


def _is_expressible(found: Found) -> bool:
    known = found.known
    if known.kind == "spectrum" or (known.floor and (known.eps or known.power not in (1, 2))):
        return False
    if not known.smooth and value_of(found.last).requires_grad:
        return False
    if known.basis is not None:
        basis = value_of(known.basis)
        if not _is_single_precision(known.basis) or basis.is_complex() or basis.layout is not torch.strided:
            return False
        if origin(known.basis).op not in ("placeholder", "get_attr"):  # made anew for every call, it would be read back
            return False
    return True


def _is_single_precision(node: Node) -> bool:
    value = value_of(node)
    return type(value) is FakeTensor and value.dtype in (torch.float32, torch.complex64)


def _is_of_functorch(target: Any) -> bool:
    return "functorch" in (getattr(target, "__module__", None) or "")
