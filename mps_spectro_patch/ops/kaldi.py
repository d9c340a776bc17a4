"""The operator of Kaldi's filterbank energies, with batching. Its derivatives are made of torch's own functions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..arguments import KaldiArguments, schema
from ..kernels import bands_of
from ..kernels import kaldi as kernels
from . import composite_kaldi
from .eager import Ways
from .operators import define

_described = lru_cache(maxsize=1024)(kernels.Kaldi)


def run_kaldi(input: Tensor, window: Tensor, basis: Tensor, *arguments: Any) -> Tensor:
    """[rows, samples] to [rows, frames, bands (and one)]. arguments: KaldiArguments."""
    wanted = _described(*arguments)
    bands = bands_of(basis, wanted.n_fft // 2 + 1)
    if bands is None or not kernels.supports_kaldi(wanted.n_fft, bands):
        return composite_kaldi.kaldi(input, window, basis, *arguments)
    return kernels.kaldi(input.resolve_neg(), window.resolve_neg(), wanted, bands)


def has_kernel(basis: Tensor, n_fft: int) -> bool:
    """Whether run_kaldi() is one launch, or two."""
    bands = bands_of(basis, n_fft // 2 + 1)
    return bands is not None and kernels.supports_kaldi(n_fft, bands)


def _fake_kaldi(input, window, basis, *arguments):
    rows, samples = input.shape
    wanted = kernels.Kaldi(*arguments)
    return input.new_empty((rows, wanted.frames(samples), basis.shape[0] + int(wanted.energy != "")))


define("kaldi", f"Tensor input, Tensor window, Tensor basis, {schema(KaldiArguments)}", run_kaldi, _fake_kaldi)


def _setup(ctx, inputs, output) -> None:
    input, window, basis, *ctx.arguments = inputs
    ctx.save_for_backward(input, window, basis)


def _backward(ctx, gradient):
    """By torch.func, so that transforms and further derivatives work."""
    tensors = ctx.saved_tensors
    wanted = [place for place, needed in enumerate(ctx.needs_input_grad[:3]) if needed]

    def features(*varied: Tensor) -> Tensor:
        given = list(tensors)
        for place, tensor in zip(wanted, varied, strict=True):
            given[place] = tensor
        return composite_kaldi.kaldi(*given, *ctx.arguments)

    _, pull = torch.func.vjp(features, *(tensors[place] for place in wanted))
    found = dict(zip(wanted, pull(gradient), strict=True))
    return *(found.get(place) for place in range(3)), *[None] * len(ctx.arguments)


WAYS = Ways("kaldi", run_kaldi, _setup, _backward, 1)
kaldi, eager_kaldi = WAYS.operator, WAYS.forward
