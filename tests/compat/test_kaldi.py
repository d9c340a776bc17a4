"""torchaudio.compliance.kaldi's fbank in one launch, on a stand-in with its names, arguments and numbers."""

from __future__ import annotations

import functools
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

import mps_spectro_patch as msp
from mps_spectro_patch.compat import kaldi

from .kaldi_arguments import ARGUMENTS, errors


@pytest.fixture
def module(stand_in):
    return stand_in("torchaudio.compliance.kaldi")


@pytest.fixture
def waveform(torch_device):
    return torch.randn(2, 6000, device=torch_device) / 4 + 0.3


@pytest.mark.parametrize("change, count", [
    ({}, 1), (dict(num_mel_bins=80, use_energy=True), 1), (dict(subtract_mean=True, snip_edges=False), 2),
    (dict(use_energy=True, htk_compat=True, raw_energy=False, energy_floor=0.0, channel=1), 1),
    (dict(vtln_warp=0.9, window_type="blackman", blackman_coeff=0.4), 1),
    (dict(round_to_power_of_two=False, window_type="hamming", use_power=False, use_log_fbank=False), 1),
])  # fmt: skip
def test_it_is_one_launch_and_one_more_for_the_mean(change, count, module, waveform, options, launches):
    theirs = module.fbank(waveform, **change)
    with msp.accelerated(**options):
        got = module.fbank(waveform, **change)
    assert len(launches) == count
    assert (got.shape, got.dtype, got.stride(), got.device) == (
        theirs.shape, theirs.dtype, theirs.stride(), theirs.device
    )  # fmt: skip
    mine, original = errors((got, theirs), module.fbank(waveform.cpu().double(), **change))
    assert mine <= max(2 * original, 2e-6)


@pytest.mark.thorough
def test_drawn_arguments_are_as_accurate_as_the_original(module, options, torch_device, launches):
    @settings(max_examples=40)
    @given(ARGUMENTS, st.integers(1, 3), st.integers(0, 4000), st.integers(0, 2**20))
    def compare(arguments, channels, more, seed):
        generator = torch.Generator().manual_seed(seed)
        waveform = torch.randn(channels, 1200 + more, generator=generator) / 4 + seed % 3
        arguments["channel"] = seed % channels
        waveform = waveform.to(torch_device)
        theirs = module.fbank(waveform, **arguments)
        launches.clear()
        with msp.accelerated(**options):
            got = module.fbank(waveform, **arguments)
        assert got.shape == theirs.shape and got.stride() == theirs.stride()
        assert len(launches) == 1 + arguments["subtract_mean"]
        mine, original = errors((got, theirs), module.fbank(waveform.cpu().double(), **arguments))
        assert mine <= max(2 * original, 2e-6)

    compare()


@pytest.mark.thorough
def test_a_batch_under_vmap_is_one_launch(module, torch_device, options, launches):
    batch = torch.randn(3, 1, 4000, device=torch_device)
    fbank = torch.vmap(functools.partial(module.fbank, num_mel_bins=80, window_type="hamming"))
    theirs = fbank(batch)
    with msp.accelerated(**options):
        got = torch.vmap(functools.partial(module.fbank, num_mel_bins=80, window_type="hamming"))(batch)
    assert len(launches) == 1
    assert got.shape == theirs.shape
    torch.testing.assert_close(got, theirs, rtol=1e-4, atol=1e-3)


def test_mfcc_takes_its_energies_from_there(module, waveform, options, launches):
    theirs = module.mfcc(waveform, num_ceps=13)
    with msp.accelerated(**options):
        got = module.mfcc(waveform, num_ceps=13)
    assert len(launches) == 1
    torch.testing.assert_close(got, theirs, rtol=1e-4, atol=1e-3)


def test_a_second_call_makes_no_tables(module, waveform, options, launches, monkeypatch):
    with msp.accelerated(**options):
        expected = module.fbank(waveform)
        monkeypatch.setattr(kaldi.kaldi, "make_window", None)
        assert torch.equal(module.fbank(waveform), expected)
    assert len(launches) == 2


@pytest.mark.parametrize("change", [
    dict(dither=1.0), dict(min_duration=9.0), dict(use_energy=1), dict(sample_frequency=16000 + 0j), dict(channel=True),
])  # fmt: skip
def test_what_is_not_fused_is_the_originals(change, module, waveform, options, launches):
    torch.manual_seed(7)
    try:
        expected = module.fbank(waveform, **change)
    except Exception as error:
        expected = str(error)
    torch.manual_seed(7)
    with msp.accelerated(**options):
        try:
            got = module.fbank(waveform, **change)
        except Exception as error:
            got = str(error)
    assert not launches
    assert got == expected if isinstance(expected, str) else torch.equal(got, expected)


@pytest.mark.parametrize("change", [
    dict(channel=2), dict(num_mel_bins=3), dict(low_freq=9000.0), dict(frame_length=1000.0), dict(frame_shift=0.0),
    dict(preemphasis_coefficient=2.0), dict(energy_floor=-1.0), dict(window_type="bartlett"), dict(nonsense=1),
    dict(round_to_power_of_two=False, frame_length=25.1), dict(vtln_warp=1.1, vtln_low=1.0),
])  # fmt: skip
def test_what_the_original_refuses_is_refused_by_it(change, module, waveform, options, launches):
    with pytest.raises(Exception) as theirs:
        module.fbank(waveform, **change)
    with msp.accelerated(**options), pytest.raises(Exception) as mine:
        module.fbank(waveform, **change)
    assert not launches and type(mine.value) is type(theirs.value)
    assert str(mine.value).partition("(")[0] == str(theirs.value).partition("(")[0]


def test_other_dtypes_autocast_and_gradients_are_the_originals(module, waveform, options, launches):
    weight = torch.randn(module.fbank(waveform).shape, device=waveform.device)

    def gradient():
        leaf = waveform.clone().requires_grad_()
        (module.fbank(leaf) * weight).sum().backward()
        return leaf.grad

    theirs = gradient()
    with msp.accelerated(**options):
        assert torch.equal(gradient(), theirs)
        if waveform.device.type == "cpu":
            assert module.fbank(waveform.double()).dtype is torch.float64
        with torch.autocast(waveform.device.type, torch.bfloat16):
            module.fbank(waveform)
        assert not launches
        with torch.no_grad():
            module.fbank(waveform.clone().requires_grad_())
    assert len(launches) == 1


def test_silence_and_nan_are_as_in_the_original(module, waveform, options):
    for values in (torch.zeros_like(waveform), waveform * float("nan"), waveform.clone().index_fill(1, torch.tensor(
            [3000], device=waveform.device), float("inf"))):  # fmt: skip
        for change in (dict(use_energy=True), dict(use_energy=True, raw_energy=False, energy_floor=0.0)):
            theirs = module.fbank(values, **change)
            with msp.accelerated(**options):
                got = module.fbank(values, **change)
            assert torch.equal(got.isnan(), theirs.isnan())
            torch.testing.assert_close(got.nan_to_num(), theirs.nan_to_num(), rtol=1e-4, atol=1e-3)


@pytest.mark.thorough
def test_tables_of_fake_tensors_end_with_their_mode(module, waveform, options, launches):
    kaldi._tables.cache_clear()
    expected = module.fbank(waveform, num_mel_bins=25)
    with msp.accelerated(**options):
        with FakeTensorMode(allow_non_fake_inputs=True):
            assert module.fbank(torch.ones(1, 6000, device=waveform.device), num_mel_bins=25).shape[1] == 25
        got = module.fbank(waveform, num_mel_bins=25)
    assert len(launches) == 1
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)


def test_a_part_that_somebody_replaced_is_used(module, waveform, options, launches, monkeypatch):
    monkeypatch.setattr(module, "_subtract_column_mean", lambda tensor, _: tensor * 0)
    with msp.accelerated(**options):
        assert not module.fbank(waveform).any() and not launches


def test_the_first_call_is_compared(module, waveform, device_name, monkeypatch, launches):
    with msp.accelerated(devices=(device_name,), verify="first"):
        msp.reset_stats()
        module.fbank(waveform)
        stats = msp.stats()["torchaudio.kaldi.fbank"]
    assert stats.fast == 1 and len(launches) == 1


@pytest.mark.parametrize("old, new", [
    ("vtln_warp=1.0, window_type=\"povey\",\n):", "vtln_warp=1.0, window_type=\"povey\", pad=0,\n):"),
    ("spectrum = torch.fft.rfft(frames).abs()", "spectrum = torch.fft.rfft(frames).abs().sqrt()"),
    ("def _subtract_column_mean", "_subtract_column_mean = abs\ndef another"),
])  # fmt: skip
def test_an_unknown_version_is_left_alone(old, new, module):
    with open(module.__file__) as file:
        text = file.read()
    assert text.count(old) == 1 and kaldi.lacks(module) is None
    other = types.ModuleType("torchaudio.compliance.kaldi")
    exec(text.replace(old, new), other.__dict__)
    assert kaldi.lacks(other)
