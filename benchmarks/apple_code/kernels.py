"""Which kernels the instrument compiles, and calls that launch them: each with what float64 says of its result.

A kernel is listed by the call that launches it, so its text is the one that is launched. Calls are small: PoCL does
them on the CPU.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import torch

from mps_spectro_patch.kernels.launch import dispatch, feature_passes, features, kaldi, stft_loss, transforms
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.kernels.plans.geometry import IstftGeometry, StftGeometry
from mps_spectro_patch.kernels.tables.filterbank import Bands
from tests.conformance import sources

SIZES = (
    256, 320, 400, 480, 512, 600, 800, 960, 1024, 1200, 1536, 1920, 2048, 2560, 3072, 4096, 5120, 6144, 7680, 8192,
    16384,
)  # fmt: skip
BLUESTEIN = (263, 1085, 1933, 4093)
STEADY = (
    400,
    512,
    1024,
    2048,
    4096,
    6144,
    7680,
    8192,
    *BLUESTEIN,
)  # whose steady way is counted: those of the benchmark
BANDS = (40, 80, 128, 256)


@dataclass(frozen=True)
class Call:
    """One call of `operation`. hop_length 0: an odd one, which fits no stage; bands: of the filterbank, 0 for none."""

    operation: str
    n_fft: int
    hop_length: int = 0
    bands: int = 0
    used: int = 0  # bins from 0 on that are asked for; 0: all
    power: float = 2.0
    floor: float = 0.0
    contiguous: bool = False  # features
    scaled: bool = False  # features without bands have a scale, too
    dtype: torch.dtype = torch.float32
    window_dtype: torch.dtype = torch.float32
    complex_output: bool = False
    onesided: bool = True
    terms: stft_loss.Terms = stft_loss.Terms(1.0, 1.0, 0.0, 1e-8)

    @cached_property
    def forward(self) -> StftGeometry:
        hop_length = self.hop_length or max(1, self.n_fft // 3 | 1)
        onesided = self.onesided and not (self.is_complex or self.complex_output)
        return StftGeometry(
            2, 3 * self.n_fft + 5, self.n_fft, hop_length, self.n_fft, self.n_fft // 2, "constant", False, onesided
        )

    @cached_property
    def inverse(self) -> IstftGeometry:
        forward = self.forward
        length = forward.hop_length * (forward.frames - 1) + self.n_fft - 2 * forward.pad
        return IstftGeometry(
            2,
            forward.frames,
            self.n_fft,
            forward.hop_length,
            self.n_fft,
            forward.pad,
            False,
            forward.onesided,
            False,
            length,
        )

    @property
    def is_complex(self) -> bool:
        return self.dtype.is_complex or self.window_dtype.is_complex

    def random(self, seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.complex64 if dtype.is_complex else torch.float32
        return torch.randn(shape, generator=generator, dtype=drawn).to(dtype)

    @property
    def signal(self) -> torch.Tensor:
        return self.random(1, 2, self.forward.samples, dtype=self.dtype)

    @property
    def window(self) -> torch.Tensor:
        return (self.random(2, self.n_fft, dtype=self.window_dtype) * 0.1 + 1).to(self.window_dtype)

    @property
    def spectrum(self) -> torch.Tensor:
        return self.random(3, 2, self.forward.bins, self.forward.frames, dtype=torch.complex64)

    @property
    def gradient(self) -> torch.Tensor:
        return self.random(4, 2, self.inverse.length, dtype=torch.complex64 if self.complex_output else torch.float32)

    @cached_property
    def bank(self) -> Bands | None:
        """Narrow triangles, as those of a mel scale."""
        if not self.bands:
            return None
        bins = self.n_fft // 2 + 1
        centres = (torch.arange(1, self.bands + 1) / (self.bands + 1)) ** 2 * ((self.used or bins) - 3) + 1
        width = torch.clamp(centres * 0.1, min=1.0)[:, None]
        return Bands(torch.clamp(1 - (torch.arange(bins) - centres[:, None]).abs() / width, min=0.0) * 0.3)

    @cached_property
    def wanted(self) -> features.Features:
        width = self.bands or self.used or self.n_fft // 2 + 1
        floor = self.floor * self.n_fft
        scale = dict(scale="add", amin=0.5, factor=10.0) if self.bands or self.scaled else {}
        return features.Features(width, self.power, floor=floor, contiguous=self.contiguous, **scale)

    @property
    def feature_gradient(self) -> torch.Tensor:
        return self.random(5, 2, self.wanted.width, self.forward.frames)

    @property
    def kaldi(self) -> kaldi.Kaldi:
        return kaldi.Kaldi(
            self.n_fft, self.forward.hop_length, self.n_fft - self.n_fft // 5, snip_edges=True, remove_dc=True,
            preemphasis=0.9, power=self.power, log=True, amin=1e-7, energy="", energy_floor=-1e30, energy_last=False,
            subtract_mean=False,
        )  # fmt: skip

    def run(self) -> torch.Tensor:
        return OPERATIONS[self.operation].run(self)

    def expected(self) -> torch.Tensor:
        """The same in float64, by torch."""
        return OPERATIONS[self.operation].wide(self)


@dataclass(frozen=True)
class Operation:
    """limit: the relative error, L2, that its results may have."""

    run: Callable[[Call], Any]
    wide: Callable[[Call], torch.Tensor]
    limit: float = 1e-6


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.complex128 if values.is_complex() else torch.float64)


def _stft(call: Call, signal: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    g = call.forward
    padded = torch.nn.functional.pad(signal, (g.pad, g.pad))
    return torch.stft(
        padded, g.n_fft, g.hop_length, window=window, center=False, onesided=g.onesided, return_complex=True
    )


def _istft(call: Call, spectrum: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    g = call.inverse
    return torch.istft(
        spectrum, g.n_fft, g.hop_length, window=window, onesided=g.onesided, return_complex=call.complex_output
    )


def _derivative(function: Callable[..., torch.Tensor], at: int, *given: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """Of function(*given) with respect to its argument `at`, for the gradient `by` of its result."""
    wide = [_wide(one) for one in given]
    wide[at].requires_grad_()
    result = function(*wide)
    return torch.autograd.grad(result, wide[at], _wide(by).to(result.dtype))[0]


def _features(call: Call, signal: torch.Tensor) -> torch.Tensor:
    wanted = call.wanted
    square = _stft(call, signal, _wide(call.window)).abs() ** 2
    square = torch.clamp(square, min=wanted.floor) if wanted.floor else square
    power = square ** (wanted.power / 2)
    bands = power[:, : wanted.width] if call.bank is None else _wide(call.bank.basis) @ power
    return bands if wanted.scale == "linear" else wanted.factor * torch.log(bands + wanted.amin)


def _loss(call: Call, signal: torch.Tensor) -> torch.Tensor:
    terms = call.terms

    def logarithm(magnitude: torch.Tensor) -> torch.Tensor:
        return torch.log(terms.factor * magnitude + terms.added)

    x, y = (
        torch.clamp(_stft(call, one, _wide(call.window)).abs() ** 2, min=terms.eps).sqrt()
        for one in (signal, _wide(_target(call)))
    )
    distance = torch.nn.functional.mse_loss if terms.squared else torch.nn.functional.l1_loss
    loss = terms.convergence * (y - x).norm() / y.norm() + terms.linear * distance(x, y)
    return loss + (terms.log * distance(logarithm(x), logarithm(y)) if terms.log else 0)


def _target(call: Call) -> torch.Tensor:
    return call.signal.flip(1) * torch.linspace(0.2, 3, call.forward.samples)


def _loss_gradient(call: Call) -> torch.Tensor:
    given = call.signal, _target(call), call.window, call.forward, call.terms
    loss, terms = stft_loss.stft_loss(*given)
    return stft_loss.stft_loss_gradient(torch.ones_like(loss), None, terms, *given)


def _kaldi(call: Call, signal: torch.Tensor) -> torch.Tensor:
    wanted = call.kaldi
    frames = signal.unfold(1, wanted.win_length, wanted.hop_length)
    frames = frames - frames.mean(2, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], 2)
    window = _wide(call.window)[: wanted.win_length]
    spectrum = torch.fft.rfft((frames - wanted.preemphasis * before) * window, wanted.n_fft)
    assert call.bank is not None
    return torch.log(torch.clamp(spectrum.abs() ** wanted.power @ _wide(call.bank.basis).T, min=wanted.amin))


def _decibels(values: torch.Tensor) -> torch.Tensor:
    decibels = 10 * torch.log(torch.clamp(values, min=1e-10))
    return torch.maximum(decibels, decibels.amax((1, 2), keepdim=True) - 30)


def _standardised(call: Call) -> torch.Tensor:
    values = call.spectrum.real.mT.contiguous().mT  # frame by frame
    feature_passes.standardise(values, 1e-5)
    return values


def _standardised_wide(call: Call) -> torch.Tensor:
    values = _wide(call.spectrum.real)
    return (values - values.mean(2, keepdim=True)) / (values.std(2, keepdim=True) + 1e-5)


def _kaldi_mean(call: Call) -> torch.Tensor:
    assert call.bank is not None
    return kaldi.kaldi(
        call.signal, call.window[: call.kaldi.win_length], replace(call.kaldi, subtract_mean=True), call.bank
    )


def _mean_taken(values: torch.Tensor) -> torch.Tensor:
    return values - values.mean(1, keepdim=True)


OPERATIONS = {
    "stft": Operation(
        lambda c: transforms.stft(c.signal, c.window, c.forward),
        lambda c: _stft(c, _wide(c.signal), _wide(c.window)),
        3e-7,
    ),
    "istft": Operation(
        lambda c: transforms.istft(c.spectrum, c.window, c.inverse, c.complex_output),
        lambda c: _istft(c, _wide(c.spectrum), _wide(c.window)),
        3e-7,
    ),
    "stft adjoint": Operation(
        lambda c: transforms.stft_adjoint(c.spectrum, c.window, c.forward, c.dtype.is_complex),
        lambda c: _derivative(lambda x, w: _stft(c, x, w), 0, c.signal, c.window, by=c.spectrum),
    ),
    "istft adjoint": Operation(
        lambda c: transforms.istft_adjoint(c.gradient, c.window, c.inverse),
        lambda c: _derivative(lambda x, w: _istft(c, x, w), 0, c.spectrum, c.window, by=c.gradient),
    ),
    "stft window gradient": Operation(
        lambda c: transforms.stft_window_gradient(c.spectrum, c.signal, c.window, c.forward),
        lambda c: _derivative(lambda x, w: _stft(c, x, w), 1, c.signal, c.window, by=c.spectrum),
    ),
    "istft window gradient": Operation(
        lambda c: transforms.istft_window_gradient(c.gradient, c.spectrum, c.window, c.inverse),
        lambda c: _derivative(lambda x, w: _istft(c, x, w), 1, c.spectrum, c.window, by=c.gradient),
    ),
    "features": Operation(
        lambda c: features.features(c.signal, c.window, c.forward, c.wanted, c.bank),
        lambda c: _features(c, _wide(c.signal)),
    ),
    "features gradient": Operation(
        lambda c: features.features_gradient(c.feature_gradient, c.signal, c.window, c.forward, c.wanted, c.bank),
        lambda c: _derivative(lambda x: _features(c, x), 0, c.signal, by=c.feature_gradient),
        2e-6,
    ),
    "loss": Operation(
        lambda c: stft_loss.stft_loss(c.signal, _target(c), c.window, c.forward, c.terms)[0],
        lambda c: _loss(c, _wide(c.signal)),
    ),
    "loss gradient": Operation(
        _loss_gradient, lambda c: _derivative(lambda x: _loss(c, x), 0, c.signal, by=torch.ones(())), 1e-2
    ),  # the signs of differences that are almost 0 are rounding
    "kaldi": Operation(
        lambda c: kaldi.kaldi(c.signal, c.window[: c.kaldi.win_length], c.kaldi, c.bank),
        lambda c: _kaldi(c, _wide(c.signal)),
    ),
    "kaldi, less its mean": Operation(_kaldi_mean, lambda c: _mean_taken(_kaldi(c, _wide(c.signal))), 1e-5),
    "decibels": Operation(
        lambda c: feature_passes.decibels(c.spectrum.abs().contiguous(), 2, 1e-10, 10.0, 0.0, 30.0),
        lambda c: _decibels(_wide(c.spectrum).abs()),
    ),
    "standardised": Operation(_standardised, _standardised_wide),
}


@dataclass
class Listed:
    """A kernel of the list: its name there, and what it is made of. calls: those of the instrument that launch it."""

    name: str
    n_fft: int
    kernel: str
    defines: str
    threads: int
    calls: list[Call] = field(default_factory=list)

    @property
    def text(self) -> str:
        return dispatch.kernel_text(self.kernel, self.defines)


def listed() -> list[Listed]:
    """Each text once: names of calls that launch the same are joined."""
    found: dict[str, Listed] = {}
    for name, call in (*_of_sizes(), *_of_bluestein(), *_passes()):
        for kernel, defines, threads in launches(call):
            one = found.get(_key(kernel, defines))
            if one is None:
                one = Listed(_named(name, kernel, call), call.n_fft, kernel, defines, threads)
                found[_key(kernel, defines)] = one
            elif one.calls[0].operation == call.operation:
                one.name = _joined(one.name, _named(name, kernel, call))
            one.calls.append(call)
    for source in sources.representatives():
        if (text := _key(source.kernel, source.defines)) not in found:
            calls = _reaching(source)
            n_fft = calls[0].n_fft if calls else source.plan.n_fft if source.plan else 0
            found[text] = Listed(_of_source(source), n_fft, source.kernel, source.defines, source.threads, calls)
    return list(found.values())


def launches(call: Call) -> list[tuple[str, str, int]]:
    """(kernel, defines, threads of a group) of what it launches; nothing runs."""
    made: list[tuple[str, str, int]] = []

    def kernel(name: str, defines: str, device_type: str) -> Callable[..., None]:
        def launch(*args: Any, threads: int, group_size: int, arg_casts: Any = None) -> None:
            if (name, defines, group_size) not in made:
                made.append((name, defines, group_size))

        return launch

    with launching(kernel):
        call.run()
    return made


@contextmanager
def launching(kernel: Callable[[str, str, str], Callable[..., None]]) -> Iterator[None]:
    """`kernel` gives the kernels of whatever is launched while it lasts."""
    original = dispatch.kernel
    forget()
    dispatch.kernel = kernel  # type: ignore[assignment]
    try:
        yield
    finally:
        dispatch.kernel = original
        forget()


def forget() -> None:
    """No launch is left that was made of another kernel."""
    for family in sources.families():
        for value in vars(family).values():
            if hasattr(value, "cache_clear") and value.__module__ == family.__name__:
                value.cache_clear()


def _key(kernel: str, defines: str) -> str:
    """What makes a text: defines that the kernel does not mention make no difference."""
    return kernel + "".join(line + "\n" for line in defines.splitlines() if line.split()[1] in _mentioned(kernel))


@cache
def _mentioned(kernel: str) -> set[str]:
    return set(re.findall(r"\bMSP_\w+", dispatch.kernel_text(kernel)))


# --- the list --------------------------------------------------------------------------------------------------------


def _of_sizes() -> Iterator[tuple[str, Call]]:
    for n_fft in SIZES:
        yield "stft", Call("stft", n_fft)
        yield "istft", Call("istft", n_fft)
        yield "adjoint of stft", Call("stft adjoint", n_fft)
        yield "adjoint of istft", Call("istft adjoint", n_fft)
        if fft.registers_plan(n_fft, n_fft // 4) is not None:
            yield "istft, hop n/4", Call("istft", n_fft, n_fft // 4)
            yield "adjoint of stft, hop n/4", Call("stft adjoint", n_fft, n_fft // 4)
        for bands in (0, *BANDS):
            name = f"log-mel {bands}" if bands else "spectrogram"
            for operation, words in (("features", name), ("features gradient", f"gradient of {name}")):
                call = Call(operation, n_fft, bands=bands)
                if features.supports_features(n_fft, call.bank, operation != "features"):
                    if operation == "features" or bands in (0, 80):
                        yield words, call
        yield "loss", Call("loss", n_fft)
        yield "gradient of loss", Call("loss gradient", n_fft)


def _of_bluestein() -> Iterator[tuple[str, Call]]:
    for n_fft in BLUESTEIN:
        yield "stft", Call("stft", n_fft)
        yield "istft", Call("istft", n_fft)
        yield "adjoint of stft", Call("stft adjoint", n_fft)
        for used in (0, n_fft // 6):  # few bins of an odd size: frames are folded
            how = "few bins" if used else "all bins"
            yield f"spectrogram, {how}", Call("features", n_fft, used=used)
            yield f"log-mel 80, {how}", Call("features", n_fft, bands=80, used=used)
        yield "gradient of log-mel 80", Call("features gradient", n_fft, bands=80)


def _passes() -> Iterator[tuple[str, Call]]:
    """The kernels that are no transform."""
    yield "", Call("decibels", 400)
    yield "", Call("standardised", 400)
    yield "", Call("kaldi, less its mean", 400, bands=80)


def _named(name: str, kernel: str, call: Call) -> str:
    """Kernels that a call launches behind or before its own have their own name."""
    own = {"loss": "msp_stft_loss", "loss gradient": "msp_stft_loss_gradient"}.get(call.operation, kernel)
    if kernel != own or not name:
        return kernel
    if kernel == "msp_istft" and call.operation in ("istft", "stft adjoint") and "hop" not in name:
        return f"{name}, {fft.istft_plan(call.n_fft).overlap}"
    return name


def _joined(name: str, other: str) -> str:
    """log-mel 40, log-mel 80 -> log-mel 40 80"""
    words, more = name.split(), other.split()
    return name if more[:-1] != words[: len(more) - 1] or more[-1] in words else f"{name} {more[-1]}"


def _of_source(source: sources.Generated) -> str:
    """The kernel, and what of its defines is no number of a plan."""
    given = _defines(source)
    words = [source.kernel, *(name.lower().replace("_", " ") for name in _FLAGS if given.get(f"MSP_{name}") == "1")]
    if source.kernel == "msp_istft" and source.plan is not None:
        words.append(source.plan.overlap)
    elif source.plan is not None and source.plan.shift:
        words.append(f"shift {source.plan.shift}")
    if given.get("MSP_SAMPLE", "float") != "float":
        words.append(f"of {given['MSP_SAMPLE']}")
    if "MSP_POWER" in given and "MSP_POWER" in _mentioned(source.kernel):
        words.append(f"power {given['MSP_POWER']}")
    return ", ".join(words)


_FLAGS = (
    "ADJOINT", "TWO_SIDED", "BLUESTEIN", "PACKED", "FOLDED", "COMPLEX_WINDOW", "COMPLEX_OUTPUT", "BANDED", "GRADIENT",
    "FLOOR", "LINEAR", "CONTIGUOUS", "HAS_LOG", "HAS_ADDED", "HAS_LINEAR", "SQUARED",
)  # fmt: skip


def _defines(source: sources.Generated) -> dict[str, str]:
    return dict(line.split()[1:] for line in source.defines.splitlines())


def _reaching(source: sources.Generated) -> list[Call]:
    """Calls that launch a source of tests/conformance; it may be one that no call asks for."""
    wanted, plan = _key(source.kernel, source.defines), source.plan
    if plan is None:
        return []
    defines = _defines(source)
    dtype = {name: one for one, name in dispatch.SAMPLE_TYPES.items()}[defines.get("MSP_SAMPLE", "float")]
    power = {"1": 1.0, "2": 2.0}.get(defines.get("MSP_POWER", "2"), 1.5)
    floor = 0.1 if defines.get("MSP_FLOOR") == "1" else 0.0
    contiguous, scaled = defines.get("MSP_CONTIGUOUS") == "1", defines.get("MSP_LINEAR") == "0"
    for call in _candidates(source, plan, dtype, power, floor, contiguous, scaled):
        try:
            if wanted in {_key(kernel, text) for kernel, text, _ in launches(call)}:
                return [call]
        except (AssertionError, ValueError, RuntimeError):
            continue  # no such call
    return []


def _candidates(
    source: sources.Generated, plan: fft.Plan, dtype: torch.dtype, power: float, floor: float, contiguous: bool,
    scaled: bool,
) -> Iterator[Call]:  # fmt: skip
    kernel, label = source.kernel, dict(re.findall(r"(\w+)=(\d+)", source.label))
    given = int(label.get("n_fft", 0))
    both = (True, False)
    if kernel in ("msp_stft", "msp_istft", "msp_istft_registers", "msp_window_gradient"):
        hop_length = plan.n_fft // plan.radices[-1] * plan.shift
        for operation, onesided in itertools.product(list(OPERATIONS)[:6], both):
            yield Call(operation, plan.n_fft, hop_length, dtype=dtype, onesided=onesided)
    elif kernel in ("msp_any_stft", "msp_any_istft"):
        points = int(label["points"])
        for n_fft, operation, window, output, onesided in itertools.product(
            (points, 2 * points), list(OPERATIONS)[:4], (torch.float32, torch.complex64), both, both
        ):
            yield Call(operation, n_fft, dtype=dtype, window_dtype=window, complex_output=output, onesided=onesided)
    elif kernel.startswith("msp_stft_loss"):
        log, linear, added, squared = source.also[0][1:]
        terms = stft_loss.Terms(1.0, log, linear, 1e-8, added=added, squared=squared)
        yield from (Call(operation, given, terms=terms) for operation in ("loss", "loss gradient"))
    elif kernel == "msp_kaldi":
        yield Call("kaldi", given, bands=80, power=source.also[0][1])
    else:
        few = given // 4 + 1
        for operation, bands, used in itertools.product(("features", "features gradient"), (0, 80), (0, few)):
            kind = dict(power=power, floor=floor, contiguous=contiguous, scaled=scaled, dtype=dtype)
            yield Call(operation, given, bands=bands, used=used, **kind)
