"""torch.utils.checkpoint ends a second computation by an exception out of our own function, which is none of ours."""

from __future__ import annotations

import concurrent.futures
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
def test_what_is_checkpointed_has_the_same_gradient(function, reentrant, warm, on, torch_device):
    x = torch.randn(2, 33 * 40, device=torch_device, requires_grad=True)
    weights = torch.randn_like(function(x).detach())

    def gradient(run):
        return torch.autograd.grad((run(x) * weights).sum(), x)[0]

    with msp.accelerated(**on, verify="off"), warnings.catch_warnings():
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


@pytest.mark.thorough
@pytest.mark.parametrize("inside", [True, False], ids=["backward inside", "backward behind"])
@pytest.mark.parametrize("function", [stft, last_stft, istft, mel])
def test_what_is_computed_again_is_in_the_scope_of_the_first_time(function, inside, on, torch_device):
    """In autograd's own thread, which a GPU has, and behind the scope: else other tensors are saved, an error."""
    x = torch.randn(2, 33 * 40, device=torch_device, requires_grad=True)
    original, init = torch.stft, torch.utils.checkpoint._CheckpointFrame.__init__
    right = torch.autograd.grad(function(x).square().sum(), x)[0]
    name = "istft" if function is istft else "mel_spectrogram" if function is mel else "stft"
    for _ in range(2):  # the second time the call is cached
        msp.reset_stats()
        with msp.accelerated(**on, on_error="raise", on_fallback="raise", verify="off"):
            loss = checkpoint(function, x, use_reentrant=False).square().sum()
            if inside:
                (got,) = torch.autograd.grad(loss, x)
        if not inside:
            assert torch.stft is original
            (got,) = torch.autograd.grad(loss, x)
        assert msp.stats()[name].fast >= 1  # the second computation may end in the middle of a call
        assert (got - right).norm() <= 1e-5 * right.norm()
    assert torch.stft is original and torch.utils.checkpoint._CheckpointFrame.__init__ is init


@pytest.mark.thorough
def test_autograds_own_thread_is_in_the_scope(on, torch_device):
    """By a thread of ours, which on the CPU is the one that computes the gradients."""
    x = torch.randn(2, 33 * 40, device=torch_device, requires_grad=True)
    with msp.accelerated(**on, on_error="raise", verify="off"):
        loss = checkpoint(stft, x, use_reentrant=False).square().sum()
        found = in_another_thread(lambda: torch.autograd.grad(loss, x)[0])
    right = torch.autograd.grad(stft(x).square().sum(), x)[0]
    assert (found - right).norm() <= 1e-5 * right.norm()


def in_another_thread(function):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


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
