"""Hypothesis strategies for calls of torch.stft and torch.istft, right and wrong ones, as plain descriptions.

A description builds its tensors anew for every run, so that the patched call, the unpatched one and the float64 one
start alike. Sizes with small factors are few: each compiles kernels of its own, which takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy
import torch
from hypothesis import strategies as some

from .compare import double

STFT_ORDER = (
    "input",
    "n_fft",
    "hop_length",
    "win_length",
    "window",
    "center",
    "pad_mode",
    "normalized",
    "onesided",
    "return_complex",
    "align_to_window",
)
ISTFT_ORDER = (
    "input",
    "n_fft",
    "hop_length",
    "win_length",
    "window",
    "center",
    "normalized",
    "onesided",
    "length",
    "return_complex",
)
SIZES = (16, 16, 16, 20, 20, 1, 2, 15, 15, 11, 13, 13, 22, 31)  # 11 to 31 are one kernel for every power of two
COMPLEX_SIZES = (16, 15, 13)  # of complex windows, half signals: each once more a kernel
VIEWS = ("plain", "plain", "plain", "offset", "strided", "transposed", "expanded", "overlapping", "conj", "neg")


@dataclass(frozen=True)
class Drawn:
    """A tensor in words."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    values: str = "normal"
    view: str = "plain"
    requires_grad: bool = False
    seed: int = 0

    def leaf(self) -> torch.Tensor:
        """On the CPU. The tensor itself is view_of() this."""
        shape = list(self.shape)
        if self.view == "offset" and shape:
            shape[-1] += 3
        elif self.view == "strided" and shape:
            shape[-1] *= 2
        elif self.view == "transposed" and len(shape) > 1:
            shape[-2:] = shape[:-3:-1]
        elif self.view == "expanded" and shape:
            shape[0] = min(shape[0], 1)
        elif self.view == "overlapping" and len(shape) == 2:
            shape = [shape[1] + 3 * max(shape[0] - 1, 0)]
        return self._fill(shape)

    def _fill(self, shape: list[int]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        dtype = self.dtype
        if not (dtype.is_floating_point or dtype.is_complex):
            return torch.randint(0, 2 if dtype is torch.bool else 5, shape, generator=generator).to(dtype)
        kind = torch.complex128 if dtype.is_complex else torch.float64
        values = torch.randn(shape, generator=generator, dtype=kind)
        if self.values == "positive":  # a window that no overlap brings to zero
            values = values.abs().clamp(max=1) + 0.3
            values = values * (1 + 0.2j) if dtype.is_complex else values
        elif self.values == "hann" and len(shape) == 1:
            values = torch.hann_window(shape[0], dtype=torch.float64).to(kind)
        elif self.values == "zero":
            values = torch.zeros_like(values)
        elif self.values == "impulse":
            values = values * (torch.rand(shape, generator=generator) < 0.05)
        elif self.values == "large":
            values = values * (1e3 if dtype.itemsize == 2 else 1e15)
        elif self.values == "small":
            values = values * (1e-2 if dtype.itemsize == 2 else 1e-15)
        elif self.values in ("nan", "inf") and values.numel():
            values.view(-1)[values.numel() // 2] = float(self.values)
        return values.to(dtype)

    def view_of(self, leaf: torch.Tensor) -> torch.Tensor:
        if not self.shape:
            return leaf
        if self.view == "offset":
            return leaf[..., 2:-1]
        if self.view == "strided":
            return leaf[..., ::2]
        if self.view == "transposed" and len(self.shape) > 1:
            return leaf.transpose(-1, -2)
        if self.view == "expanded":
            return leaf.expand(self.shape)
        if self.view == "overlapping" and len(self.shape) == 2:
            return leaf.as_strided(self.shape, (3, 1))
        if self.view == "conj" and leaf.is_complex():
            return leaf.conj()
        if self.view == "neg":
            return torch._neg_view(leaf)
        return leaf


@dataclass(frozen=True)
class Call:
    """One call: its arguments by name, tensors as Drawn."""

    op: str
    arguments: dict = field(hash=False)
    positional: int = 0  # as many arguments are given without their names
    method: bool = False  # x.stft(...) in place of torch.stft(x, ...)

    def build(self, device: torch.device, exact: bool = False) -> tuple[dict, list[torch.Tensor]]:
        """(the arguments, those leaves that require a gradient); exact: in float64, on the CPU."""
        arguments, leaves = dict(self.arguments), []
        for name, value in arguments.items():
            if not isinstance(value, Drawn):
                continue
            leaf = double(value.leaf()) if exact else value.leaf().to(device)
            if value.requires_grad:
                leaves.append(leaf.requires_grad_())
            arguments[name] = value.view_of(leaf)
        return arguments, leaves

    def make(self, arguments: dict) -> torch.Tensor:
        """torch.stft or torch.istft, whatever they are now, with these arguments."""
        arguments, positional = dict(arguments), []
        for name in STFT_ORDER if self.op == "stft" else ISTFT_ORDER:
            if len(positional) >= self.positional or name not in arguments:
                break
            positional.append(arguments.pop(name))
        if self.method:
            owner, *positional = positional or [arguments.pop("input")]
            return getattr(owner, self.op)(*positional, **arguments)
        return getattr(torch, self.op)(*positional, **arguments)

    @property
    def has_odd_values(self) -> bool:
        return any(isinstance(value, Drawn) and value.values in ("nan", "inf") for value in self.arguments.values())

    @property
    def needs_double(self) -> bool:
        wide = (torch.float64, torch.complex128)
        return any(isinstance(value, Drawn) and value.dtype in wide for value in self.arguments.values())


def _seeds():
    return some.integers(0, 10**6)


def _rarely(usual, *rest):
    """`usual`, and one time in six one of the rest."""
    return some.integers(0, 5).flatmap(lambda die: some.sampled_from(rest) if die == 5 else some.just(usual))


def _windows(win: int, positive: bool, may_be_complex: bool):
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool)
    usual = some.sampled_from((torch.float32, torch.complex64)) if may_be_complex else some.just(torch.float32)
    return some.builds(
        Drawn,
        shape=some.just((win,)),
        dtype=some.integers(0, 5).flatmap(lambda die: some.sampled_from(kinds) if die == 5 else usual),
        values=_rarely("positive", "hann", "hann", *(() if positive else ("normal", "zero", "nan"))),
        view=_rarely("plain", "offset", "strided", "expanded", "neg", "conj"),
        requires_grad=some.sampled_from((False, False, False, True)),
        seed=_seeds(),
    ).map(_differentiable)


def _differentiable(drawn: Drawn) -> Drawn:
    if drawn.dtype.is_floating_point or drawn.dtype.is_complex:
        return drawn
    return replace(drawn, values="positive", view="plain" if drawn.view == "neg" else drawn.view, requires_grad=False)


# Wrong, or at least odd: each replaces the arguments it names. Most of it raises in torch, some has a meaning there.
_ODD = {
    "n_fft": (0, -1, -16, 16.0, "16", None, True, numpy.int64(16), torch.tensor(16), 1000, 2**40),
    "hop_length": (0, -1, 4.0, "4", True, numpy.int32(4), torch.tensor(4), 17, 1000, 2**31, 2**40, None),
    "win_length": (0, -1, 16.0, True, numpy.int64(16), 15, 17, 2**33, None),
    "window": (
        None, [1.0] * 16, 1.0, Drawn(()), Drawn((1, 16)), Drawn((15,)), Drawn((17,)), Drawn((0,)),
        Drawn((16,), torch.complex64), Drawn((16,), torch.complex64, requires_grad=True), Drawn((16,), torch.float16),
    ),
    "center": (0, 1, None, "yes", 2.0, numpy.bool_(True)),
    "pad_mode": ("bogus", "Reflect", "", None, 7),
    "normalized": (1, 0, None, "window", numpy.bool_(True)),
    "onesided": (1, 0, "yes"),
    "return_complex": (None, 1, 0, "yes"),
    "align_to_window": (True, False, 1, 0, "yes"),
    "length": (0, -1, -(2**40), 10.0, "10", True, numpy.int64(10), torch.tensor(10), 1, 500, 1000),
    "out": (None, 1),
    "input": (
        None, [1.0], 1.0, Drawn(()), Drawn((40,), torch.int64), Drawn((40,), torch.bool), Drawn((0,)), Drawn((2, 0)),
        Drawn((0, 40)), Drawn((1, 2, 40)), Drawn((2, 40), torch.float64), Drawn((40,), torch.complex128),
        Drawn((1, 1, 2, 40)), Drawn((0, 9, 4), torch.complex64), Drawn((2, 9, 0), torch.complex64),
        Drawn((2, 0, 4), torch.complex64), Drawn((9,), torch.complex64), Drawn((), torch.complex64),
        Drawn((1, 2, 9, 4), torch.complex64), Drawn((2, 9, 4)), Drawn((2, 8, 4), torch.complex64),
        Drawn((2, 16, 4), torch.complex64), Drawn((2, 9, 4), torch.complex128), Drawn((0, 40), torch.complex64),
    ),
}  # fmt: skip


@some.composite
def _oddities(draw, order: tuple[str, ...]) -> dict:
    """None most of the time, else one or two."""
    how_many = draw(some.sampled_from((0, 0, 0, 0, 1, 1, 2)))
    names = some.sampled_from([name for name in (*order, "input", "window") if name in _ODD] + ["out"])
    return {name: draw(some.sampled_from(_ODD[name])) for name in (draw(names) for _ in range(how_many))}


@some.composite
def stft_calls(draw) -> Call:
    n_fft = draw(some.sampled_from(SIZES))
    win = draw(_rarely(None, n_fft, max(1, n_fft - 1), max(1, n_fft // 2), 1))
    hop = draw(some.sampled_from((None, 1, 3, max(1, n_fft // 4), max(1, n_fft // 2), n_fft, n_fft + 5)))
    if n_fft < 4:
        hop = hop or 1
    center = draw(some.booleans())
    near = n_fft // 2 if center else n_fft
    samples = draw(some.one_of(
        some.integers(max(near - 1, 0), near + 4), some.integers(near + 1, 3 * n_fft + 20), some.integers(n_fft, 200)
    ))  # fmt: skip
    rows = draw(some.sampled_from(((), (1,), (2,), (3,))))
    is_complex = draw(_rarely(False, True))
    dtypes = (torch.float16, torch.bfloat16) if n_fft in COMPLEX_SIZES else (torch.float64,)
    input = Drawn(
        (*rows, samples),
        torch.complex64 if is_complex else draw(_rarely(torch.float32, *dtypes)),
        draw(_rarely("normal", "zero", "impulse", "large", "small", "nan", "inf")),
        draw(some.sampled_from(VIEWS)),
        draw(some.sampled_from((False, False, True))),
        draw(_seeds()),
    )
    arguments = dict(
        input=input, n_fft=n_fft, hop_length=hop, win_length=win,
        window=draw(_rarely(draw(_windows(n_fft if win is None else win, False, n_fft in COMPLEX_SIZES)), None)),
        center=center,
        pad_mode=draw(some.sampled_from(("reflect", "reflect", "constant", "replicate", "circular"))),
        normalized=draw(some.booleans()),
        onesided=draw(some.sampled_from((None, None, True, False))),
        return_complex=draw(_rarely(True, False, None)),
    )  # fmt: skip
    if not center:
        arguments["align_to_window"] = draw(_rarely(None, True, False))
    arguments.update(draw(_oddities(STFT_ORDER)))
    method = isinstance(arguments["input"], Drawn) and "out" not in arguments and draw(some.integers(0, 5)) == 5
    return Call("stft", arguments, draw(some.integers(0, len(STFT_ORDER))), method)


@some.composite
def istft_calls(draw) -> Call:
    n_fft = draw(some.sampled_from(SIZES))
    win = draw(_rarely(None, n_fft, max(1, n_fft - 1), max(1, n_fft // 2)))
    width = n_fft if win is None else win
    hops = {None, 1, 3, width // 4, width // 2, width}
    hop = draw(some.sampled_from(sorted(hops - {0}, key=lambda hop: hop or 0)))
    if n_fft < 4 or n_fft // 4 > width:
        hop = hop or 1
    hop = hop if hop is None else min(hop, width)
    step = n_fft // 4 if hop is None else hop
    frames = draw(some.one_of(some.integers(1, 4), some.integers(1, 30)))
    onesided = draw(some.sampled_from((None, None, True, False)))
    bins = draw(_rarely(n_fft if onesided is False else n_fft // 2 + 1, n_fft, n_fft // 2 + 1))
    center = draw(some.booleans())
    reach = n_fft + step * (frames - 1)
    length = draw(some.one_of(
        some.none(), some.none(), some.integers(1, max(1, reach)),
        some.integers(max(1, reach - n_fft // 2 - 2), reach + 2), some.integers(-1, 1), some.just(reach + 50),
    ))  # fmt: skip
    rows = draw(some.sampled_from(((), (1,), (2,), (3,))))
    input = Drawn(
        (*rows, bins, frames),
        draw(_rarely(torch.complex64, torch.complex64, torch.complex64, torch.complex128)),
        draw(_rarely("normal", "zero", "impulse", "large", "small", "nan", "inf")),
        draw(some.sampled_from(VIEWS)),
        draw(some.sampled_from((False, False, True))),
        draw(_seeds()),
    )
    two_sided = onesided is False or (onesided is None and bins == n_fft)
    arguments = dict(
        input=input, n_fft=n_fft, hop_length=hop, win_length=win,
        window=draw(_rarely(draw(_windows(width, True, two_sided and n_fft in COMPLEX_SIZES)), None)),
        center=center,
        normalized=draw(some.booleans()),
        onesided=onesided,
        length=length,
        return_complex=draw(_rarely(True, False)) if two_sided else draw(_rarely(False, False, True)),
    )  # fmt: skip
    arguments.update(draw(_oddities(ISTFT_ORDER)))
    method = isinstance(arguments["input"], Drawn) and "out" not in arguments and draw(some.integers(0, 5)) == 5
    return Call("istft", arguments, draw(some.integers(0, len(ISTFT_ORDER))), method)
