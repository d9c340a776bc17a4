"""What is concluded on a Mac where torch, MPS or the machine misbehaves: each fault injected on torch.mps's double."""

from __future__ import annotations

import os
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import launches, quarantine, verification
from mps_spectro_patch.graphs import step

from .mps_double import standing_in

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator",
        reason="the double stands on the CPU build",
    ),
]
X, WINDOW = torch.randn(2, 1000), torch.hann_window(63)


@pytest.fixture
def mac(monkeypatch):
    with standing_in(monkeypatch, "2.13") as double:
        yield double


@pytest.fixture
def elsewhere(monkeypatch):
    """elsewhere(function, change): what the function gives for tensors on the device is changed, for those that cpu()
    has moved it is not. Where the CPU is the device, those are told apart by who asked for them."""
    moved = []
    cpu = torch.Tensor.cpu

    def move(tensor):
        there = cpu(tensor).view_as(tensor)
        moved.append(there)
        return there

    monkeypatch.setattr(torch.Tensor, "cpu", move)

    def falsified(function, on_device=None, on_cpu=None):
        def call(input, *args, **kwargs):
            change = on_cpu if any(input is one for one in moved) else on_device
            result = function(input, *args, **kwargs)
            return change(result) if change else result

        return call

    return falsified


def reversed_in_time(signal):
    """As irfft of odd sizes on MPS (pytorch issue 126649)."""
    return signal.flip(-1)


def doubled(result):
    return tuple(map(doubled, result)) if isinstance(result, tuple) else result * 2


CALLS = {
    "stft": lambda: torch.stft(X, 63, 16, 63, WINDOW, return_complex=True),
    "istft": lambda: torch.istft(torch.stft(X, 63, 16, 63, WINDOW, return_complex=True), 63, 16, 63, WINDOW),
}


def falsify(monkeypatch, function):
    """Every launch gives function(what it is)."""
    real = launches.prepare

    def prepare(op, *given):
        launch = real(op, *given)
        return lambda *tensors: function(launch(*tensors))

    monkeypatch.setattr(launches, "prepare", prepare)


@pytest.mark.parametrize("op", CALLS)
@pytest.mark.parametrize("learns", [False, True])
def test_where_torch_is_wrong_on_the_device_the_cpu_decides_for_the_kernel(
    op, learns, mac, monkeypatch, elsewhere, caplog
):
    expected = CALLS[op]()
    monkeypatch.setattr(torch, op, elsewhere(getattr(torch, op), on_device=reversed_in_time))
    monkeypatch.setattr(f"{__name__}.X", X.clone().requires_grad_(learns))
    with msp.accelerated(devices=("mps",)), warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            torch.testing.assert_close(CALLS[op](), expected, rtol=1e-5, atol=1e-5)
    assert not quarantine.plans and msp.stats()[op].fast == 3 and msp.stats()[op].verified == 1
    (said,) = [one.message for one in caplog.records if "is wrong" in one.message]
    assert f"torch's own result of torch.{op} is wrong (largest error" in said


@pytest.mark.parametrize("op", CALLS)
def test_where_the_cpu_agrees_with_torch_the_kernel_is_put_aside(op, mac, monkeypatch, elsewhere):
    expected = CALLS[op]()
    falsify(monkeypatch, doubled)
    monkeypatch.setattr(torch, op, elsewhere(getattr(torch, op)))
    with msp.accelerated(devices=("mps",), ops=(op,)), pytest.warns(RuntimeWarning, match="differs from the original"):
        assert torch.equal(CALLS[op](), expected)
    (entry,) = quarantine.plans.values()
    assert "neither" not in entry.why and msp.stats()[op].fallback == {"verification": 1}


@pytest.mark.parametrize("op", CALLS)
def test_where_the_cpu_agrees_with_neither_torchs_result_stands_and_both_are_reported(op, mac, monkeypatch, elsewhere):
    expected = CALLS[op]()
    falsify(monkeypatch, doubled)
    monkeypatch.setattr(torch, op, elsewhere(getattr(torch, op), on_device=reversed_in_time))
    with msp.accelerated(devices=("mps",), ops=(op,)), pytest.warns(RuntimeWarning) as said:
        assert torch.equal(CALLS[op](), reversed_in_time(expected))
    (text,) = [str(one.message) for one in said]
    assert (
        "torch's on the CPU agrees with neither: largest error 1.0e+00" in text and "and the original's largest" in text
    )


def test_a_program_that_changed_what_stft_means_keeps_its_meaning(mac, monkeypatch):
    """What stands below us is asked on the CPU: where that is no function of torch's, torch is not to blame."""
    monkeypatch.setattr(torch, "stft", lambda *args, real=torch.stft, **kwargs: 2 * real(*args, **kwargs))
    expected = CALLS["stft"]()
    with msp.accelerated(devices=("mps",)), pytest.warns(RuntimeWarning, match="differs from the original"):
        assert torch.equal(CALLS["stft"](), expected)


def test_where_the_cpu_cannot_do_it_torchs_result_stands(mac, monkeypatch, elsewhere, caplog):
    def cannot(_):
        raise NotImplementedError("not on the CPU")

    expected = CALLS["stft"]()
    monkeypatch.setattr(torch, "stft", elsewhere(torch.stft, on_device=reversed_in_time, on_cpu=cannot))
    with msp.accelerated(devices=("mps",)), pytest.warns(RuntimeWarning, match="differs from the original"):
        assert torch.equal(CALLS["stft"](), reversed_in_time(expected))
    assert quarantine.plans and "torch.stft cannot be asked for on the CPU: not on the CPU" in caplog.text


FRONT_ENDS = {
    "mel": ("composite_features.features",
            lambda x: msp.mel_spectrogram(x, sample_rate=16000, n_fft=400, hop_length=100, n_mels=20)),
    "loss": ("composite_losses.stft_loss", lambda x: msp.STFTLoss(64, 16, 64)(x, x.flip(-1))),
}  # fmt: skip


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("limit", [2**19, 40 * 400], ids=["whole", "by its beginning"])
def test_so_it_is_for_front_ends_and_losses(name, limit, mac, monkeypatch, elsewhere, caplog):
    place, call = FRONT_ENDS[name]
    x = torch.randn(3, 16000)
    expected = call(x)
    launches.load_operators()
    module, function = place.split(".")
    composite = getattr(launches.ops, module)
    wrong = elsewhere(getattr(composite, function), on_device=doubled)
    monkeypatch.setattr(composite, function, wrong)
    monkeypatch.setattr("mps_spectro_patch.execution.parts.LIMIT", limit)
    with msp.accelerated(devices=("mps",)), warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(call(x), expected, rtol=1e-3, atol=1e-3)
    assert not quarantine.front_ends and len(verification.verified) == 1 and "torch's own result of" in caplog.text


def test_so_it_is_for_what_is_fused_in_a_graph(monkeypatch, elsewhere, caplog):
    """With the simulator: dynamo asks more of torch.mps than the double has."""

    def loudness(x):
        spectrum = torch.stft(x, 400, 100, window=torch.ones(400), return_complex=True)
        return (spectrum.abs().square() + 1e-3).log()

    x = torch.randn(2, 4000)
    real, given = step.GraphModule, []

    def graph_module(*args):
        given.append(real(*args))
        return elsewhere(given[-1], on_device=doubled)

    monkeypatch.setattr(step, "GraphModule", graph_module)
    with msp.accelerated(devices=("simulator",)), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        torch.testing.assert_close(msp.fuse(loudness)(x), loudness(x), rtol=1e-3, atol=1e-3)
    assert given and "torch's own result of graph is wrong" in caplog.text


@pytest.mark.parametrize("release", ["2.7", "2.14"])
def test_without_bfloat_such_input_is_converted_and_nothing_is_put_aside(monkeypatch, release):
    x = torch.randn(2, 1000).bfloat16()
    window = torch.hann_window(64).requires_grad_()

    def results(x):
        spectrum = torch.stft(x, 64, 16, 64, window, return_complex=True)
        odd = torch.stft(x, 63, 16, 63, torch.ones(63), return_complex=True)
        (by_window,) = torch.autograd.grad(spectrum.abs().square().sum(), window)
        signal = x.clone().requires_grad_()
        options = dict(sample_rate=16000, n_fft=64, hop_length=16, n_mels=4)
        loud = msp.mel_spectrogram(signal, **options)
        (by_signal,) = torch.autograd.grad(loud.sum(), signal)
        return spectrum.detach(), odd, by_window, msp.mel_spectrogram(x, **options), by_signal.float()

    expected = results(x.float())
    on = dict(devices=("mps",), on_error="raise", on_fallback="raise", verify="off")
    with standing_in(monkeypatch, release, has_bfloat=False), msp.accelerated(**on):
        for _ in range(2):
            for got, right in zip(results(x), expected, strict=True):
                assert (got - right).norm() < 4e-3 * right.norm()  # the gradient of x is rounded to bfloat16
    assert not quarantine.plans and not quarantine.front_ends and not msp.stats()["stft"].fallback


OTHER_WAYS = {
    "hop": dict(hop_length=17), "padding": dict(pad_mode="constant"), "two-sided": dict(onesided=False),
    "short window": dict(win_length=50, window=torch.ones(50)),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHER_WAYS)
@pytest.mark.parametrize("fault", ["wrong", "an error"])
def test_what_failed_is_put_aside_and_other_ways_through_the_same_plan_are_not(other, fault, mac, monkeypatch):
    def change(result):
        if fault == "wrong":
            return doubled(result)
        raise ValueError("Threadgroup size exceeds 64 limit")

    plain = dict(n_fft=64, hop_length=16, window=torch.hann_window(64), return_complex=True)
    with msp.accelerated(devices=("mps",)):
        with monkeypatch.context() as broken:
            falsify(broken, change)
            with pytest.warns(RuntimeWarning, match="not accelerated again"):
                torch.stft(X, **plain | OTHER_WAYS[other])
        for _ in range(2):
            torch.stft(X, **plain | OTHER_WAYS[other])
            torch.stft(X, **plain)
    stats = msp.stats()["stft"]
    assert stats.fast == 2 and stats.fallback["quarantined"] == 2 and len(quarantine.plans) == 1


def test_front_ends_of_a_size_that_are_put_aside_for_float32_are_not_for_half(mac):
    def is_fast(x) -> bool:
        before = mac.launches
        msp.mel_spectrogram(x, sample_rate=16000, n_fft=64, hop_length=16, n_mels=4)
        return mac.launches > before

    quarantine.add_size(64, X.device, False, "for this test")
    with msp.accelerated(devices=("mps",)):
        assert not is_fast(X) and is_fast(X.half()) and is_fast(X.bfloat16())
