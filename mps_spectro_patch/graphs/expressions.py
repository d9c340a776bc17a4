"""Formulas of a graph's steps: written as Python functions, and compared with the nodes of torch.fx graphs.

A formula such as `lambda v, a: v.clamp(a).log(math.e)` says what is computed, not how a program wrote it:
`torch.log(torch.clamp(v, min=a))`, `v.clamp_min(a).log()` and others are all read as the same.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true


class Expression:
    """A step and what it is applied to: expressions and numbers. A name: something that a formula leaves open."""

    def __init__(self, step: str, *operands: Any) -> None:
        self.step, self.operands = step, operands

    def __getattr__(self, step: str) -> Any:
        if step.startswith("_"):
            raise AttributeError(step)
        if step in ("real", "imag"):
            return Expression(step, self)
        return lambda *operands: Expression(step, self, *operands)

    def __add__(self, other: Any) -> Expression:
        return Expression("add", self, other)

    def __sub__(self, other: Any) -> Expression:
        return Expression("sub", self, other)

    def __truediv__(self, other: Any) -> Expression:
        return Expression("div", self, other)

    def __mul__(self, other: Any) -> Expression:
        return Expression("mul", self, other)

    def __pow__(self, other: Any) -> Expression:
        return Expression("pow", self, other)

    def __matmul__(self, other: Any) -> Expression:
        return Expression("matmul", self, other)


def expression(formula: Callable[..., Expression]) -> Expression:
    """Of a function. Its first argument is the value that the formula is about, the others what it leaves open: one
    with a capital letter is a tensor, the others are numbers."""
    return formula(*(Expression("?", name) for name in inspect.signature(formula).parameters))


def matched(pattern: Any, found: Any, known: dict[str, Any], nodes: list[Node]) -> bool:
    """Whether what stands in a graph is the pattern. known: by name, what is there already, and what is found; nodes:
    gets those between the named ones."""
    if not isinstance(pattern, Expression):
        return is_number(found) and found == pattern
    if pattern.step == "?":
        (name,) = pattern.operands
        if name in known:
            return found is known[name] or (is_number(found) and found == known[name])
        if not (isinstance(found, Node) if name.isupper() else is_number(found)):
            return False
        known[name] = found
        return True
    if not isinstance(found, Node):
        return False
    step, operands = read(found)
    if step != pattern.step or len(operands) != len(pattern.operands):
        return False
    orders = (operands, operands[::-1]) if step in _SYMMETRIC else (operands,)
    for order in orders:
        names, inner = dict(known), [*nodes, found]
        if all(matched(part, one, names, inner) for part, one in zip(pattern.operands, order, strict=True)):
            known.update(names)
            nodes[:] = inner
            return True
    return False


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


UNKNOWN: tuple[str, tuple] = "", ()
# What the steps that are read take, in torch's order. Anything else that is given makes a step unknown.
_PARAMETERS = {
    "abs": "input", "absolute": "input", "real": "input", "imag": "input",
    "conj": "input", "view_as_real": "input", "square": "input", "sqrt": "input",
    "log": "input", "log10": "input", "log2": "input", "log1p": "input", "pow": "input exponent",
    "add": "input other", "sub": "input other", "subtract": "input other", "mul": "input other",
    "multiply": "input other", "div": "input other", "divide": "input other", "true_divide": "input other",
    "truediv": "input other", "matmul": "input other", "mm": "input other", "linear": "input weight bias",
    "clamp": "input min max", "clip": "input min max", "clamp_min": "input min", "sum": "input dim keepdim",
    "select": "input dim index", "getitem": "input index", "getattr": "input name",
    "norm": "input p", "l1_loss": "input target reduction", "mse_loss": "input target reduction",
}  # fmt: skip
_SYMMETRIC = ("add", "mul", "l1_loss", "mse_loss")
_SAME = {
    "absolute": "abs", "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div", "truediv": "div",
    "mm": "matmul", "clip": "clamp", "clamp_min": "clamp",
}  # fmt: skip
_MODULES = (torch, operator, torch.nn.functional)
_LOGARITHMS = {"log": math.e, "log10": 10.0, "log2": 2.0}


def name_of(node: Node) -> str:
    """The name of the tensor's method, or of the function of torch's or Python's that a node calls; else empty."""
    if node.op == "call_method":
        return str(node.target)
    if node.op != "call_function":
        return ""
    if node.target is getattr:
        return "getattr"
    if is_of_aten(node.target):
        return str(node.target.__name__)
    name = getattr(node.target, "__name__", "")
    return name if any(getattr(module, name, None) is node.target for module in _MODULES) else ""


def is_of_aten(target: Any) -> bool:
    """What torch 2.14 has in graphs for properties of tensors."""
    return isinstance(target, torch._ops.OpOverloadPacket) and str(target).startswith("aten.")


def given(node: Node, names: str) -> dict[str, Any] | None:
    """The arguments of a call by their names, without those that are None; None: others are given."""
    order = names.split()
    if len(node.args) > len(order):
        return None
    found = dict(zip(order, node.args))  # noqa: B905 (some are left out)
    for name, value in node.kwargs.items():
        name = {"self": "input", "axis": "dim"}.get(name, name)
        if value is not None and (name not in order or name in found):
            return None
        found[name] = value
    if found.get("keepdim") is False:
        del found["keepdim"]
    return {name: found[name] for name in order if found.get(name) is not None}


def read(node: Node) -> tuple[str, tuple]:
    """The step that a node is, in the one form that formulas have, and what it is applied to."""
    name = name_of(node)
    arguments = given(node, _PARAMETERS[name]) if name in _PARAMETERS else None
    if not arguments or "input" not in arguments:
        return UNKNOWN
    input, *others = arguments.values()
    keys = tuple(arguments)[1:]
    name = _SAME.get(name, name)
    if name in _LOGARITHMS:
        return "log", (input, _LOGARITHMS[name])
    if name == "square":
        return "pow", (input, 2)
    if name == "pow" and others == [0.5]:
        return "sqrt", (input,)
    if name == "mul" and others == [input] and isinstance(input, Node):
        return "pow", (input, 2)
    if name == "sub" and is_number(others[0]):
        return "add", (input, -others[0])
    if name == "div" and is_number(others[0]) and others[0]:
        return "mul", (input, 1 / others[0])
    if name == "getattr" and others in (["real"], ["imag"]):
        return others[0], (input,)
    if name == "clamp":
        return ("clamp", (input, others[0])) if keys == ("min",) else UNKNOWN
    if name == "norm":
        return (name, (input,)) if others in ([], ["fro"], [2]) else UNKNOWN
    if name in ("l1_loss", "mse_loss") and arguments.get("reduction", "mean") == "mean":
        return name, (input, others[0])
    if name == "sum":
        dims = shape_of(input)
        return ("sum_of_last", (input,)) if keys == ("dim",) and _is_last(others[0], dims) else UNKNOWN
    if name == "getitem":
        index, dims = others[0], shape_of(input)
        if type(index) is tuple and dims and index[:-1] in ((Ellipsis,), (slice(None),) * (len(dims) - 1)):
            return _part(input, index[-1])
        return UNKNOWN
    if name == "select":
        return _part(input, arguments.get("index")) if _is_last(others[0], shape_of(input)) else UNKNOWN
    return name, (input, *others)


def _part(input: Any, index: Any) -> tuple[str, tuple]:
    """The first or the second of pairs, which are the last dimension."""
    if type(index) is not int or index not in (0, 1, -1, -2) or not shape_of(input) or shape_of(input)[-1] != 2:
        return UNKNOWN
    return ("first", "second")[index], (input,)


def _is_last(dim: Any, dims: tuple) -> bool:
    if type(dim) in (tuple, list) and len(dim) == 1:
        (dim,) = dim
    return type(dim) is int and bool(dims) and dim in (-1, len(dims) - 1)


def value_of(node: Any) -> Any:
    """What dynamo calculated with in place of a node's value: a FakeTensor, if it is a tensor."""
    return node.meta.get("example_value") if isinstance(node, Node) else None


def shape_of(node: Any) -> tuple:
    value = value_of(node)
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def are_same_sizes(a: Sequence, b: Sequence, in_this_call: bool = False) -> bool:
    """in_this_call: those that vary are compared as they are in this call, which becomes a condition of the compiled
    code."""
    return len(a) == len(b) and all(
        statically_known_true(x == y) or (in_this_call and x == y) for x, y in zip(a, b, strict=True)
    )
