"""torchaudio.compliance.kaldi, unmodified: fbank with drawn arguments and under vmap, and mfcc."""

from __future__ import annotations

import functools

import pytest
import torch
from front_ends import DEVICE, accelerated
from hypothesis import given, settings
from hypothesis import strategies as st

import mps_spectro_patch as msp
from tests.compat.kaldi_arguments import ARGUMENTS, errors

kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
pytest_plugins = ("front_ends",)


def test_drawn_arguments_are_as_accurate_as_torchaudio(launches):
    @settings(max_examples=30, deadline=None)
    @given(ARGUMENTS, st.integers(1, 2), st.integers(0, 4000), st.integers(0, 2**20))
    def compare(arguments, channels, more, seed):
        generator = torch.Generator().manual_seed(seed)
        waveform = (torch.randn(channels, 1200 + more, generator=generator) / 4 + seed % 3).to(DEVICE)
        arguments["channel"] = seed % channels
        theirs = kaldi.fbank(waveform, **arguments)
        launches.clear()
        with accelerated():
            got = kaldi.fbank(waveform, **arguments)
        assert got.shape == theirs.shape and got.stride() == theirs.stride()
        assert len(launches) == 1 + arguments["subtract_mean"]
        mine, original = errors((got, theirs), kaldi.fbank(waveform.cpu().double(), **arguments))
        assert mine <= max(2 * original, 2e-6)

    compare()


def test_a_batch_under_vmap(launches):
    batch = torch.randn(8, 1, 16_000, device=DEVICE) * 2000

    def features():
        fbank = functools.partial(
            kaldi.fbank, num_mel_bins=80, frame_length=25, frame_shift=10, dither=0.0, window_type="hamming",
            use_energy=False,
        )  # fmt: skip
        return torch.vmap(fbank)(batch)

    theirs = features()
    with accelerated():
        got = features()
    assert len(launches) == 1
    mine, original = errors((got, theirs), torch.stack([kaldi.fbank(
        one.cpu().double(), num_mel_bins=80, window_type="hamming") for one in batch]))  # fmt: skip
    assert mine <= max(2 * original, 2e-6)


@pytest.mark.parametrize("options", [{}, dict(use_energy=True, htk_compat=True), dict(subtract_mean=True, num_ceps=20)])
def test_mfcc(options, launches):
    waveform = torch.randn(1, 16_000, device=DEVICE)
    theirs = kaldi.mfcc(waveform, **options)
    with accelerated():
        got = kaldi.mfcc(waveform, **options)
    assert len(launches) == 1
    mine, original = errors((got, theirs), kaldi.mfcc(waveform.cpu().double(), **options))
    assert mine <= max(2 * original, 2e-6)


def test_it_is_on_without_the_option_torchaudio_and_can_be_left_out():
    original = kaldi.fbank
    msp.enable(devices=("simulator",))
    assert kaldi.fbank is not original and "applied" in msp.status().projects["kaldi"]
    msp.disable()
    msp.enable(devices=("simulator",), compat=("muq",))
    assert kaldi.fbank is original
    msp.disable()
