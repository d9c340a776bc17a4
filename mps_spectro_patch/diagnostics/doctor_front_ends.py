"""The checks that doctor makes of the fused front ends: do they compile, are they right. As in doctor_kernels.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ..bench import relative_error
from ..front_ends import FrontEnd, KaldiFbankTransform, Scale, compute, melscale_fbanks
from ..kernels import feature_passes, features, kaldi, kernel_text
from ..options import ACCELERATORS
from ..patching import accelerated
from .doctor_kernels import SINGLE, Errors, Finding, compared

# Larger than those of doctor_kernels.py: a logarithm of small values has lost digits, one without its mean some more.
FORWARD, BACKWARD, STANDARDISED = 3e-6, 1e-5, 5e-5
SIZES = {False: (400, 211), True: (211, 400, 512, 1000, 1024, 2048, 4096)}
_RATE, _BANDS = 16_000, 40
_LOG = Scale("clamp", 1e-3, 10 / math.log(10))


def sources(full: bool) -> Iterator[tuple[str, str, str, int]]:
    """(what, the kernel's name, its Metal text, threads per threadgroup)."""
    for n_fft in SIZES[full]:
        for bands in (0, _BANDS) if full else (_BANDS,):
            kinds = {"": (False, None), " gradient": (True, None)}
            if n_fft % 2:
                kinds[" few bins"] = False, n_fft // 5
            for kind, (gradient, used) in kinds.items():
                scale = "clamp" if bands else "linear"
                name, defines, plan = features.launched(n_fft, bands, gradient, used=used, scale=scale)
                label = f"features n_fft={n_fft} bands={bands}{kind}"
                yield label, name, kernel_text(name, defines), plan.threads
    name, defines, plan = kaldi.launched(512, _BANDS, 2.0, log=True)
    yield "kaldi n_fft=512", name, kernel_text(name, defines), plan.threads
    yield "kaldi's mean", "msp_subtract_mean", kernel_text("msp_subtract_mean"), kaldi.MEAN_THREADS
    for name in feature_passes.KERNELS:
        yield name, name, kernel_text(name), feature_passes.THREADS


def are_right(device: str, full: bool) -> Iterator[Finding]:
    """Compares features and gradients with float64 on the CPU, over sizes and scales."""
    yield compared("front ends", "calls", _cases(device, full))


def _cases(device: str, full: bool) -> Iterator[tuple[str, Errors, Callable[[], Errors]]]:
    for n_fft in SIZES[full]:
        for label, call, banded in _calls(n_fft):
            forward = FORWARD if call.scale.deviation_eps is None else STANDARDISED
            bounds = {"forward": forward, "backward": BACKWARD}
            yield f"n_fft={n_fft}, {label}", bounds, partial(_errors, device, call, banded)
    for below in (None, 20.0):
        yield f"decibels, floor {below}", {"forward": FORWARD}, partial(_decibels, device, below)
    for removes_mean in (False, True):
        bounds = {"forward": STANDARDISED if removes_mean else FORWARD}
        yield f"kaldi, subtract_mean={removes_mean}", bounds, partial(_kaldi, device, removes_mean)


def _calls(n_fft: int) -> Iterator[tuple[str, FrontEnd, bool]]:
    """(what, the call, whether there is a filterbank)."""
    hop = n_fft // 4
    yield "log-mel", FrontEnd(n_fft, hop, n_fft, scale=_LOG), True
    yield "log-mel with a floor", FrontEnd(n_fft, hop, n_fft, scale=replace(_LOG, below=20.0)), True
    yield "standardised", FrontEnd(n_fft, hop, n_fft, scale=replace(_LOG, deviation_eps=1e-5)), True
    yield "odd hop, magnitudes", FrontEnd(n_fft, hop | 1, n_fft, power=1.0), True
    yield "magnitudes of a least size", FrontEnd(n_fft, hop, n_fft, power=1.0, floor=0.1 * n_fft), False
    yield "lowest bins", FrontEnd(n_fft, hop, n_fft, width=n_fft // 5), False
    yield "spectrogram", FrontEnd(n_fft, hop, n_fft, pad_mode="constant"), False
    yield "short window, power 1.5", FrontEnd(n_fft, hop, n_fft // 2 + 1, power=1.5), False


def _errors(device: str, call: FrontEnd, banded: bool) -> Errors:
    """Relative errors of the features and, where they are of one launch, of their gradient."""
    generator = torch.Generator().manual_seed(call.n_fft)
    x = torch.randn(2, 3 * call.n_fft + 101, generator=generator, **SINGLE)
    window = torch.rand(call.win_length, generator=generator, **SINGLE) + 0.5
    basis = None
    if banded:
        basis = melscale_fbanks(n_freqs=call.n_fft // 2 + 1, f_min=0, f_max=_RATE / 2, n_mels=_BANDS, sample_rate=_RATE)
    wants_gradient = call.scale.below is None and call.scale.deviation_eps is None
    place = ACCELERATORS[device]
    given: list[Any] = [None if t is None else t.to(place) for t in (x, window, basis)]
    wide: list[Any] = [None if t is None else t.double() for t in (x, window, basis)]
    with accelerated(devices=(device,), verify="off", on_error="raise"), torch.enable_grad():
        got = compute.try_fused(given[0].requires_grad_(wants_gradient), *given[1:], call)
        if got is None:
            raise RuntimeError("the kernels did not take this call")
        want = compute.compute(wide[0].requires_grad_(wants_gradient), *wide[1:], call, use_kernels=False)
        errors = {"forward": relative_error(got.detach().cpu(), want.detach())}
        if wants_gradient:
            weight = torch.randn(want.shape, generator=generator, **SINGLE)
            (ours,) = torch.autograd.grad(got, given[0], weight.to(place))
            (theirs,) = torch.autograd.grad(want, wide[0], weight.double())
            errors["backward"] = relative_error(ours.cpu(), theirs)
    return errors


def _decibels(device: str, below: float | None) -> Errors:
    x = torch.rand(2, 40, 50, generator=torch.Generator().manual_seed(1), **SINGLE)
    got = feature_passes.decibels(x.to(ACCELERATORS[device]), 2, _LOG.amin, _LOG.factor, 3.0, below)
    want = x.double().clamp(min=_LOG.amin).log() * _LOG.factor + 3.0
    if below is not None:
        want = want.maximum(want.amax((1, 2), keepdim=True) - below)
    return {"forward": relative_error(got.cpu(), want)}


def _kaldi(device: str, removes_mean: bool) -> Errors:
    x = torch.randn(2, 5000, generator=torch.Generator().manual_seed(1), **SINGLE)
    module = KaldiFbankTransform(
        num_mel_bins=_BANDS, remove_dc_offset=True, use_energy=True, subtract_mean=removes_mean
    )
    with accelerated(devices=(device,), verify="off", on_error="raise"):
        got = module.to(ACCELERATORS[device])(x.to(ACCELERATORS[device]))
    return {"forward": relative_error(got.cpu(), module.cpu()(x.double()))}
