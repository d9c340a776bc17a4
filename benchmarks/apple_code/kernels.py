"""Which kernels the instrument compiles. A kernel is listed by the call that launches it, so its text is the one that
is launched; and the sources that represent all others (tests/conformance), by a call where one has them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import torch

from mps_spectro_patch.kernels.launch import dispatch, features, stft_loss
from mps_spectro_patch.kernels.plans import fft
from tests.conformance import sources

from .calls import OPERATIONS, Call, launches

SIZES = (
    256, 320, 400, 480, 512, 600, 800, 960, 1024, 1200, 1536, 1920, 2048, 2560, 3072, 4096, 5120, 6144, 7680, 8192,
    16384,
)  # fmt: skip
BLUESTEIN = (263, 1085, 1933, 4093)
STEADY = (400, 512, 1024, 2048, 4096, 6144, 7680, 8192, *BLUESTEIN)  # whose steady way is counted: the benchmark's
BANDS = (40, 80, 128, 256)


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
    if "MSP_SCALE" in given and "MSP_SCALE" in _mentioned(source.kernel):
        words.append(_SCALES[given["MSP_SCALE"]])
    return ", ".join(words)


_FLAGS = (
    "ADJOINT", "TWO_SIDED", "BLUESTEIN", "PACKED", "FOLDED", "COMPLEX_WINDOW", "COMPLEX_OUTPUT", "BANDED", "GRADIENT",
    "FLOOR", "CONTIGUOUS", "HAS_LOG", "HAS_ADDED", "HAS_LINEAR", "SQUARED",
)  # fmt: skip


_SCALES = {str(number): name for name, number in features.SCALES.items()}


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
    contiguous, scale = defines.get("MSP_CONTIGUOUS") == "1", _SCALES.get(defines.get("MSP_SCALE", ""), "")
    for call in _candidates(source, plan, dtype, power, floor, contiguous, scale):
        try:
            if wanted in {_key(kernel, text) for kernel, text, _ in launches(call)}:
                return [call]
        except (AssertionError, ValueError, RuntimeError):
            continue  # no such call
    return []


def _candidates(
    source: sources.Generated, plan: fft.Plan, dtype: torch.dtype, power: float, floor: float, contiguous: bool,
    scale: str,
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
        yield Call("kaldi", given, bands=80, power=source.also[0][1], scale=scale)
    else:
        few = given // 4 + 1
        for operation, bands, used in itertools.product(("features", "features gradient"), (0, 80), (0, few)):
            kind = dict(power=power, floor=floor, contiguous=contiguous, scale=scale, dtype=dtype)
            yield Call(operation, given, bands=bands, used=used, **kind)
