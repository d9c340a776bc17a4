"""torch.utils.checkpoint ends a second computation by an exception out of our own function, which is none of ours."""

from __future__ import annotations

import contextlib
import warnings

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_cache

N_FFT, HOP = 64, 16


def stft(x):
    return torch.stft(x, N_FFT, HOP, window=torch.hann_window(N_FFT, device=x.device), return_complex=True).abs()


def istft(x):
    spectrum = torch.complex(x, -x).view(2, N_FFT // 2 + 1, -1)
    return torch.istft(spectrum, N_FFT, HOP, window=torch.hann_window(N_FFT, device=x.device))


def mel(x):
    return msp.mel_spectrogram(x, sample_rate=16_000, n_fft=N_FFT, hop_length=HOP, n_mels=8)


def last_stft(x):
    """Nothing behind it saves a tensor."""
    return torch.view_as_real(torch.stft(x, N_FFT, HOP, window=torch.hann_window(N_FFT, device=x.device),
                                         return_complex=True))  # fmt: skip


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("function", [stft, last_stft, istft, mel])
def test_what_is_checkpointed_has_the_same_gradient(function, reentrant, warm, on, torch_device, request):
    x = torch.randn(2, 33 * 40, device=torch_device, requires_grad=True)
    weights = torch.randn_like(function(x).detach())

    def gradient(run):
        return torch.autograd.grad((run(x) * weights).sum(), x)[0]

    # On a GPU what is computed again is so in autograd's own thread, and a scope holds in the one that entered it.
    scope = contextlib.nullcontext() if torch_device.type == "mps" else msp.accelerated(**on, verify="off")
    if torch_device.type == "mps":
        request.addfinalizer(msp.disable)
        msp.enable(**on, verify="off")
    with scope, warnings.catch_warnings():
        warnings.simplefilter("error")
        call_cache.clear()
        for _ in range(3 if warm else 0):
            gradient(function)
        for _ in range(2):
            if reentrant:
                leaf = x.detach().requires_grad_()
                (checkpoint(function, leaf, use_reentrant=True) * weights).sum().backward()
                got = leaf.grad
            else:
                got = gradient(lambda x: checkpoint(function, x, use_reentrant=False))
            right = gradient(function)
            assert (got - right).norm() <= 1e-6 * right.norm()
    assert all("error" not in stats.fallback for stats in msp.stats().values())


def test_second_derivatives_of_a_complex_window(on, torch_device):
    results = []
    for scope in ({**on, "verify": "off"}, {"devices": ()}):
        torch.manual_seed(5)
        x = torch.randn(2, 400, device=torch_device, requires_grad=True)
        window = torch.randn(N_FFT, dtype=torch.complex64, device=torch_device, requires_grad=True)
        with msp.accelerated(**scope):
            y = torch.stft(x, N_FFT, HOP, window=window, onesided=False, return_complex=True)
            first = torch.autograd.grad(y.abs().pow(2).sum(), window, create_graph=True)[0]
            total = (first.conj() * torch.randn(N_FFT, dtype=torch.complex64, device=torch_device)).sum().real
            results.append(torch.autograd.grad(total, (x, window)))
    for got, right in zip(*results, strict=True):
        assert (got - right).norm() < 1e-5 * right.norm()
