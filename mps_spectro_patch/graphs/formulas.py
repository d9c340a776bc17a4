"""What the pass searches for, as formulas: each leads from a value of which everything is known to the next one.

v is the value, of a spectrum X; small letters are numbers, B is a filterbank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch.fx import Node

from ..front_ends import Scale
from .expressions import Expression, expression, shape_of


@dataclass(frozen=True)
class Known:
    """What is known of a value in a graph: X * norm of the spectrum X ("spectrum"), (|X|^power + eps) * gain
    ("values"; with power 1, sqrt(|X|^2 + eps) * gain), of these the bands of a filterbank, or a logarithm of them
    ("scaled", as front_ends.Scale has it).

    floor: |X|^2 is at least this. bins: of the spectrum, those that are kept. basis: the filterbank [bands, bins], or
    its transpose (basis_turned). turned: the value is [..., frames, features]. smooth: its gradient is a number where X
    is zero, as that of the fused operator is; elsewhere torch's may be NaN.
    """

    bins: int
    kind: str = "spectrum"
    norm: float = 1.0
    power: float = 1.0
    eps: float = 0.0
    gain: float = 1.0
    floor: float = 0.0
    dropped: int = 0
    basis: Node | None = None
    basis_turned: bool = False
    turned: bool = False
    smooth: bool = True
    scale: Scale = Scale()

    @property
    def is_plain(self) -> bool:
        """Powers of the magnitudes and nothing else."""
        return self.basis is None and not self.eps and not self.floor


class Formula(NamedTuple):
    kind: str  # of the value that it begins with
    value: str  # that value's name in the expression
    expression: Expression
    then: Callable[..., Known | None]  # (what is known, what the formula left open) -> what is known then, if it fits


def _formula(kind: str, formula: Callable[..., Expression], then: Callable[..., Known | None]) -> Formula:
    written = formula.__code__.co_varnames[0]
    return Formula(kind, written, expression(formula), then)


def _magnitudes(known: Known) -> Known:
    return replace(known, kind="values", power=1.0, gain=known.norm)


def _powers(known: Known) -> Known:
    return replace(known, kind="values", power=2.0, gain=known.norm**2)


def _scaled_spectrum(known: Known, c: float) -> Known | None:
    return replace(known, norm=known.norm * c) if c > 0 else None


def _root(known: Known) -> Known | None:
    if known.basis is not None or known.gain < 0 or known.power != 2:
        return None
    smooth = known.smooth and bool(known.eps or known.floor)
    return replace(known, power=1.0, gain=math.sqrt(known.gain), smooth=smooth)


def _raised(known: Known, p: float) -> Known | None:
    if not known.is_plain or known.gain < 0 or not 1 <= p <= 4 or not known.smooth:
        return None
    return replace(known, power=known.power * p, gain=known.gain**p)


def _added(known: Known, e: float) -> Known | None:
    if known.basis is not None or known.power == 1 or known.floor or known.gain <= 0 or e <= 0:
        return None
    return replace(known, eps=known.eps + e / known.gain)


def _clamped(known: Known, e: float) -> Known | None:
    if not (known.is_plain and known.power == 2 and known.gain > 0 and e > 0):
        return None
    return replace(known, floor=e / known.gain)


def _times(known: Known, c: float) -> Known | None:
    return replace(known, gain=known.gain * c) if c > 0 else None


def _bands(turned: bool, basis_turned: bool) -> Callable[..., Known | None]:
    """turned: the values are [..., frames, bins]. basis_turned: the basis is [bins, bands]."""

    def bands(known: Known, B: Node) -> Known | None:
        shape = shape_of(B)
        if known.turned != turned or known.basis is not None or len(shape) != 2:
            return None
        columns = shape[0 if basis_turned else 1]
        if type(shape[0]) is not int or type(shape[1]) is not int or columns != known.bins:
            return None
        return replace(known, basis=B, basis_turned=basis_turned)

    return bands


def _log_of_clamped(known: Known, a: float, b: float, c: float = 1.0) -> Known | None:
    if not (a > 0 and c > 0):
        return None
    factor = 1 / math.log(b)
    return replace(known, kind="scaled", scale=Scale("clamp", a, factor, factor * math.log(c)))


def _log_of_sum(known: Known, a: float, b: float) -> Known | None:
    return replace(known, kind="scaled", scale=Scale("add", a, 1 / math.log(b))) if a > 0 else None


def _log1p(known: Known) -> Known:
    return replace(known, kind="scaled", scale=Scale("log1p", 1.0))


def _times_scaled(known: Known, c: float) -> Known | None:
    scale = known.scale
    return replace(known, scale=replace(scale, factor=scale.factor * c, offset=scale.offset * c)) if c else None


def _plus_scaled(known: Known, d: float) -> Known:
    return replace(known, scale=replace(known.scale, offset=known.scale.offset + d))


# The first that fits is taken.
FORMULAS = (
    _formula("spectrum", lambda X: X.abs(), _magnitudes),
    _formula("spectrum", lambda X: X.real**2 + X.imag**2, _powers),
    _formula("spectrum", lambda X: X.real * X.real + X.imag * X.imag, _powers),
    _formula("spectrum", lambda X: (X.view_as_real() ** 2).sum_of_last(), _powers),
    _formula("spectrum", lambda X: X.view_as_real().first() ** 2 + X.view_as_real().second() ** 2, _powers),
    _formula("spectrum", lambda X: (X * X.conj()).real, _powers),
    _formula("spectrum", lambda X, c: X * c, _scaled_spectrum),
    _formula("values", lambda v, a, b, c: (v.clamp(a) * c).log(b), _log_of_clamped),
    _formula("values", lambda v, a, b: v.clamp(a).log(b), _log_of_clamped),
    _formula("values", lambda v, a, b: (v + a).log(b), _log_of_sum),
    _formula("values", lambda v: v.log1p(), _log1p),
    _formula("values", lambda v, B: B @ v, _bands(turned=False, basis_turned=False)),
    _formula("values", lambda v, B: v @ B, _bands(turned=True, basis_turned=True)),
    _formula("values", lambda v, B: v.linear(B), _bands(turned=True, basis_turned=False)),
    _formula("values", lambda v: v.sqrt(), _root),
    _formula("values", lambda v, p: v**p, _raised),
    _formula("values", lambda v, e: v + e, _added),
    _formula("values", lambda v, e: v.clamp(e), _clamped),
    _formula("values", lambda v, c: v * c, _times),
    _formula("scaled", lambda v, c: v * c, _times_scaled),
    _formula("scaled", lambda v, d: v + d, _plus_scaled),
)
BY_KIND: dict[str, Any] = {
    kind: [one for one in FORMULAS if one.kind == kind] for kind in ("spectrum", "values", "scaled")
}
