"""Who is timed: this package, torch itself, and with --peers whatever else is installed, behind one interface.

A contestant makes, for a case, the function that is timed, or None where it has nothing for it. The functions take what
inputs() gives: a waveform, a spectrum, or for gradients also the gradient of the result.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch

from ..patching import accelerated
from . import audio, seed_approach
from .cases import GRADIENTS, ROUND_TRIP, Case
from .front_ends import ComposedMel

Function = Callable[..., torch.Tensor]
OURS, TORCH, SEED, TORCHAUDIO, NNAUDIO = "ours", "torch", "seed approach", "torchaudio", "nnAudio"


@dataclass(frozen=True)
class Contestant:
    """make(case, window): the function, on the window's device. capturable: ops that wait for nothing, for graphs."""

    name: str
    make: Callable[[Case, torch.Tensor], Function | None]
    scope: Callable[[], AbstractContextManager] = nullcontext
    capturable: tuple[str, ...] = ()


def contestants(device: str, peers: bool = False) -> list[Contestant]:
    """torch first, this package second, then the peers that are there."""
    # What falls back, or whose kernel is found wrong, must not be taken for a time of ours.
    ours_scope = partial(accelerated, devices=(device,), on_fallback="raise", on_error="raise")
    chosen = [
        Contestant(TORCH, _torchs, capturable=("stft", "log-mel", GRADIENTS["stft"], GRADIENTS["log-mel"])),
        Contestant(OURS, _ours, ours_scope, ("stft", "istft", "log-mel", *GRADIENTS.values(), ROUND_TRIP)),
    ]  # fmt: skip
    if peers:
        chosen.append(Contestant(SEED, _seeds, capturable=("stft", "istft", "log-mel")))
        chosen += [Contestant(name, make) for name, make in IMPORTED.items() if not why_not(name)]
    return chosen


@lru_cache
def why_not(name: str) -> str:
    """Why a peer cannot be timed here; "" if it can."""
    try:
        importlib.import_module(name)
    except Exception as error:  # one that is installed, for another torch for example, fails in its own way
        return f"{type(error).__name__}: {error}"
    return ""


def inputs(case: Case, window: torch.Tensor, start: int = 0) -> tuple[torch.Tensor, ...]:
    """What the functions of this case take, on the window's device; another start gives other numbers."""
    x = audio.signals(case.rows, case.samples, window.device, start)
    if case.op in ("stft", "log-mel"):
        return (x,)
    if case.op == ROUND_TRIP:
        return x, x.flip(-1)
    if case.front_end:
        shape = case.rows, case.front_end.bands, case.frames
        return x, torch.sin(torch.arange(math.prod(shape), device=window.device) + 1.0 * start).reshape(shape)
    options = _options(case, center=case.center, window=window)
    spectrum = torch.functional.stft(x, return_complex=True, **options)
    if case.op == "istft":
        return (spectrum,)
    return (x, spectrum) if case.op == GRADIENTS["stft"] else (spectrum, x)


def _options(case: Case, **more: Any) -> dict[str, Any]:
    return dict(n_fft=case.n_fft, hop_length=case.hop_length, normalized=case.normalized, **more)


def _torchs(case: Case, window: torch.Tensor) -> Function:
    if case.front_end:
        return features(case, case.front_end.torchs(window.device))
    return _spectral(case, window, torch.functional.stft, torch._VF.istft)


def _ours(case: Case, window: torch.Tensor) -> Function:
    if case.front_end:
        return features(case, case.front_end.ours(window.device))
    # Looked up when they are called: then the patch stands there.
    return _spectral(case, window, lambda *a, **k: torch.stft(*a, **k), lambda *a, **k: torch.istft(*a, **k))


def _spectral(case: Case, window: torch.Tensor, stft: Function, istft: Function) -> Function:
    """The case's op by these two functions."""
    options = _options(case, center=case.center, window=window)
    forward, inverse = partial(stft, return_complex=True, **options), partial(istft, length=case.samples, **options)
    if case.op == ROUND_TRIP:
        return _with_gradient(lambda x: inverse(forward(x)))
    if case.op in ("stft", "istft"):
        return forward if case.op == "stft" else inverse
    return _with_gradient(forward if case.op == GRADIENTS["stft"] else inverse)


def features(case: Case, function: Function) -> Function:
    """The case's op by a function from waveforms to features."""
    return _with_gradient(function) if case.op == GRADIENTS["log-mel"] else function


def _with_gradient(function: Function) -> Function:
    """The gradient of its input, for a given gradient of its result."""

    def run(x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x), x, gradient)[0]

    return run


def _seeds(case: Case, window: torch.Tensor) -> Function | None:
    options = _options(case, window=window)
    stft = partial(seed_approach.stft, **options)
    if case.op == "stft":
        return stft
    if case.op == "istft":
        return partial(seed_approach.istft, length=case.samples, **options)
    if case.op == "log-mel" and case.front_end.mel and case.front_end.mel.get("pad_mode", "reflect") == "reflect":
        mel = ComposedMel(**case.front_end.mel, stft=stft).to(window.device)
        return lambda x: case.front_end.after(mel(x))
    return None


def _torchaudios(case: Case, window: torch.Tensor) -> Function | None:
    import torchaudio

    common = dict(pad=0, window=window, win_length=case.n_fft, n_fft=case.n_fft, hop_length=case.hop_length,
                  normalized="frame_length" if case.normalized else False)  # fmt: skip
    if case.op == "stft":
        return lambda x: torchaudio.functional.spectrogram(x, power=None, **common)
    if case.op == "istft":
        return lambda spectrum: torchaudio.functional.inverse_spectrogram(spectrum, case.samples, **common)
    if case.front_end and case.front_end.mel:
        mel = torchaudio.transforms.MelSpectrogram(**case.front_end.mel).to(window.device)
        return features(case, lambda x: case.front_end.after(mel(x)))
    return None


def _nnaudios(case: Case, window: torch.Tensor) -> Function | None:
    """Convolutions with a basis of n_fft x n_fft: only where that is not absurdly large. Its own defaults otherwise."""
    if case.n_fft > 2048 or case.normalized or case.rows * case.frames * case.n_fft > 2**26:
        return None
    from nnAudio import features

    common = dict(n_fft=case.n_fft, hop_length=case.hop_length, verbose=False)
    if case.op == "stft":
        module = features.STFT(output_format="Complex", **common).to(window.device)
        return lambda x: torch.view_as_complex(module(x))
    if case.op == "log-mel" and case.front_end.mel:
        mel = case.front_end.mel
        names = {"sample_rate": "sr", "f_min": "fmin", "f_max": "fmax", "n_mels": "n_mels", "power": "power"}
        options = {names[name]: value for name, value in mel.items() if name in names}
        options.update(htk=mel.get("mel_scale", "htk") == "htk", pad_mode=mel.get("pad_mode", "reflect"))
        module = features.MelSpectrogram(**common, **options, norm=1 if mel.get("norm") else None).to(window.device)
        return lambda x: case.front_end.after(module(x))
    return None


IMPORTED = {TORCHAUDIO: _torchaudios, NNAUDIO: _nnaudios}  # the peers that are other packages
