"""A call that fits into memory without the patch fits with it, also the first one, which is compared."""

from __future__ import annotations

import sys
import weakref

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import parts, quarantine, verification

limited = pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited by what Linux tells of it")

PROGRAM = """
import re
import resource
from pathlib import Path

import mps_spectro_patch as msp

torch.set_num_threads(1)
rows, samples = shape
x, window = torch.randn(rows, samples), torch.hann_window(400)
module = msp.LogMelSpectrogramTransform(sample_rate=16000, n_fft=400, hop_length=HOP, n_mels=80)
plain = msp.LogMelSpectrogramTransform(sample_rate=16000, n_fft=400, hop_length=HOP, n_mels=80, use_mps_kernels=False)

def stft(signal, hop_length=HOP):
    return torch.stft(signal, 400, hop_length, window=window, return_complex=True)

def differentiated(signal):
    leaf = signal.detach().requires_grad_()
    stft(leaf).real.sum().backward()
    return leaf.grad

calls = {
    "stft": (stft, x),
    "istft": (lambda s: torch.istft(s, 400, HOP, window=window), stft(x) if what == "istft" else stft(x[:, :4000])),
    "gradient": (differentiated, x),
    "recorded": (lambda s: stft(s.detach().requires_grad_()), x),
    "mel": (module if patched else plain, x),
}
call, given = calls[what]
small = given[..., :40] if given.is_complex() else given[:, :40_000]
call(small)
if patched:
    msp.enable(devices=("simulator",))
    call(small)  # compiles the kernels
    msp.kernels  # noqa: B018
    from mps_spectro_patch.execution import call_cache, verification
    call_cache.clear()
    verification.verified.clear()  # so that the call below is compared, too
used = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 2**20, -1))
try:
    result = call(given)
except RuntimeError as error:
    print("short" if "allocate memory" in str(error) else error)
else:
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    print("fits", len(msp.status().quarantined), bool(patched and verification.verified))
"""
BESIDE = 64  # megabytes that a comparison may take beside what torch takes


@limited
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("what", "shape"),
    [("stft", (2, 4_000_000)), ("istft", (1, 4_000_000)), ("gradient", (250, 16_000)), ("recorded", (500, 16_000))],
    ids=str,
)
def test_the_first_call_fits_where_torchs_fits_and_is_compared(what, shape, run_python, device_name):
    if device_name != "simulator":
        pytest.skip("the address space is the simulator's memory")
    hop = 160 if what == "stft" else 200

    def outcome(patched: bool, megabytes: int) -> str:
        given = f"what, shape, HOP, patched, megabytes = {what!r}, {shape}, {hop}, {patched}, {megabytes}\n"
        return run_python(given + PROGRAM).strip()

    for _ in range(3):  # what the system adds at times may be in the way
        short, fits = 0, 512
        while fits - short > 16:
            middle = (short + fits) // 2
            short, fits = (short, middle) if outcome(False, middle).startswith("fits") else (middle, fits)
        is_limit = outcome(False, max(0, short - 32)) == "short"
        if is_limit:
            break
    assert is_limit
    assert outcome(True, fits) in ("fits 0 True", "fits 0 False")
    assert outcome(True, fits + BESIDE) == "fits 0 True"


STFTS = {
    "centred": dict(n_fft=40, hop_length=10),
    "a hop that does not fit": dict(n_fft=40, hop_length=7),
    "a long hop": dict(n_fft=40, hop_length=61),
    "circular": dict(n_fft=40, hop_length=9, pad_mode="circular"),
    "zeros, a short window": dict(n_fft=42, hop_length=5, win_length=20, pad_mode="constant"),
    "edges, normalised": dict(n_fft=31, hop_length=4, pad_mode="replicate", normalized=True),
    "not centred": dict(n_fft=40, hop_length=11, center=False),
    "more padding than one may afford": dict(n_fft=64, hop_length=1),
    "two-sided": dict(n_fft=40, hop_length=10, onesided=False),
    "real numbers": dict(n_fft=40, hop_length=10, return_complex=False),
    "aligned to the window": dict(n_fft=40, hop_length=8, win_length=20, center=False, align_to_window=True),
}
INPUTS = {"two rows": (2, 1500), "one row": (1, 1500), "no rows": (1500,), "many short rows": (80, 90)}


@pytest.fixture
def little(monkeypatch):
    """Calls of a few frames are compared in parts."""
    monkeypatch.setattr(parts, "LIMIT", 40 * 20)


def stft_of(name, given, device):
    options = {"return_complex": True} | STFTS[name]
    x, window = torch.randn(INPUTS[given], device=device), torch.rand(options.get("win_length", options["n_fft"])) + 0.1
    return lambda x=x: torch.stft(x, window=window.to(device), **options), x


@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("name", STFTS)
@pytest.mark.filterwarnings("ignore:stft with return_complex=False")
def test_a_right_stft_is_found_right_by_its_parts(name, given, little, torch_device, on):
    call, x = stft_of(name, given, torch_device)
    with msp.accelerated(**on, verify="always", on_error="raise", on_fallback="raise"):
        call()
        assert not quarantine.plans and len(verification.verified) == 1
        call(x.clone().requires_grad_())
    assert not quarantine.plans and len(verification.verified) == 2


@pytest.mark.parametrize("where", ["first frame", "last frame", "first row", "last row", "a frame too many"])
@pytest.mark.parametrize("name", ["centred", "edges, normalised", "not centred"])
def test_a_wrong_stft_is_found_by_its_parts(name, where, little, torch_device, on, falsify):
    def change(result):
        if where == "a frame too many":
            return torch.cat([result, result[..., :1]], -1)
        result = result.clone()
        place = {"first frame": (0, ..., 0), "last frame": (-1, ..., -1), "first row": (0,), "last row": (-1,)}[where]
        result[place] *= 1.01
        return result

    call, _ = stft_of(name, "many short rows" if "row" in where else "two rows", torch_device)
    falsify("stft", change)
    expected = call()
    words = "differs from the original" + r" \(shape .* where the last should be" * (where == "a frame too many")
    with msp.accelerated(**on), pytest.warns(RuntimeWarning, match=words):
        torch.testing.assert_close(call(), expected)
    assert quarantine.plans


def test_a_wrong_result_is_gone_when_the_original_is_called_for_another(little, signal, on, falsify):
    results, left = [], []
    real = torch.stft

    def change(result):
        result = result * 1.01
        results.append(weakref.ref(result))
        return result

    def original(x, *rest):
        if x.shape == signal.x.shape:
            left.append(results[0]())
        return real(x, *rest)

    falsify("stft", change)
    torch.stft = original
    try:
        with msp.accelerated(**on), pytest.warns(RuntimeWarning, match="differs from the original"):
            torch.testing.assert_close(signal.stft(), signal.spectrum)
    finally:
        torch.stft = real
    assert left == [None]


ISTFTS = {
    "centred": dict(n_fft=40, hop_length=10),
    "a hop that does not fit": dict(n_fft=40, hop_length=7),
    "a long hop": dict(n_fft=40, hop_length=33),
    "not centred": dict(n_fft=40, hop_length=11, center=False),
    "shorter": dict(n_fft=40, hop_length=10, length=700),
    "longer": dict(n_fft=40, hop_length=10, length=2000),
    "two-sided, normalised": dict(n_fft=42, hop_length=8, onesided=False, normalized=True),
    "complex": dict(n_fft=40, hop_length=10, onesided=False, return_complex=True),
    "odd": dict(n_fft=31, hop_length=5),
}
SPECTRA = {"two rows": (2, 150), "no rows": (150,), "many short rows": (80, 12)}


def istft_of(name, given, device):
    options = ISTFTS[name]
    *rows, frames = SPECTRA[given]
    bins = options["n_fft"] if options.get("onesided") is False else options["n_fft"] // 2 + 1
    spectrum = torch.randn(*rows, bins, frames, dtype=torch.complex64, device=device)
    window = torch.rand(options["n_fft"], device=device) + 0.5
    return lambda spectrum=spectrum: torch.istft(spectrum, window=window, **options), spectrum


@pytest.mark.filterwarnings("ignore:The length of signal")
@pytest.mark.parametrize("given", SPECTRA)
@pytest.mark.parametrize("name", ISTFTS)
def test_a_right_istft_is_found_right_by_its_parts(name, given, little, torch_device, on):
    call, spectrum = istft_of(name, given, torch_device)
    with msp.accelerated(**on, verify="always", on_error="raise", on_fallback="raise"):
        call()
        assert not quarantine.plans and len(verification.verified) == 1
        call(spectrum.clone().requires_grad_())
    assert not quarantine.plans and len(verification.verified) == 2


@pytest.mark.parametrize("where", [0, -1])
@pytest.mark.parametrize("name", ["centred", "not centred", "odd"])
def test_a_wrong_istft_is_found_by_its_parts(name, where, little, torch_device, on, falsify):
    def change(result):
        result = result.clone()
        result[where, where] += 1
        return result

    call, _ = istft_of(name, "two rows", torch_device)
    falsify("istft", change)
    expected = call()
    with msp.accelerated(**on), pytest.warns(RuntimeWarning, match="differs from the original"):
        torch.testing.assert_close(call(), expected)


@pytest.fixture
def compared(monkeypatch):
    """(samples of the signals, samples of what is compared) of each comparison of a front end."""
    seen, real = [], parts.beginning

    def beginning(rows, wanted):
        piece = real(rows, wanted)
        seen.append((rows.numel(), piece.numel()))
        return piece

    monkeypatch.setattr(parts, "beginning", beginning)
    return seen


@pytest.mark.parametrize("scale", ["linear", "log", "db"])
@pytest.mark.parametrize("pad_mode", ["constant", "circular"])
def test_front_ends_are_compared_by_their_beginning(scale, pad_mode, little, torch_device, on, compared):
    x = torch.randn(6, 900, device=torch_device)
    options = dict(sample_rate=16000, n_fft=40, hop_length=10, n_mels=4, output_scale=scale, pad_mode=pad_mode)
    with msp.accelerated(**on, verify="always", on_error="raise"):
        msp.mel_spectrogram(x, **options)
    assert len(verification.verified) == 1 and not quarantine.front_ends
    assert [whole for whole, _ in compared] == [x.numel()] and compared[0][1] <= 40 * 20


def test_losses_are_compared_by_their_beginning(little, torch_device, on, compared):
    x, y = torch.randn(2, 6, 900, device=torch_device)
    with msp.accelerated(**on, verify="always", on_error="raise"):
        msp.STFTLoss(40, 10, 40)(x, y)
    assert len(verification.verified) == 1 and not quarantine.front_ends
    assert [whole for whole, _ in compared] == [x.numel()] and compared[0][1] <= 40 * 20


def test_a_part_that_torch_refuses_is_no_verdict(little, signal, on, monkeypatch, caplog):
    real = torch.stft

    def original(x, *rest):
        if x.shape != signal.x.shape:
            raise RuntimeError("not this one")
        return real(x, *rest)

    torch.stft = original
    try:
        with msp.accelerated(**on):
            torch.testing.assert_close(signal.stft(), signal.spectrum, rtol=1e-4, atol=1e-4)
    finally:
        torch.stft = real
    assert "cannot be compared" in caplog.text and not quarantine.plans and not verification.verified


@pytest.mark.parametrize("limit", [800, 2**19], ids=["in parts", "whole"])
def test_torchs_warnings_are_given_once_where_parts_are_compared(limit, run_python):
    def said(enabling: str) -> str:
        return run_python(f"""
        import mps_spectro_patch as msp
        from mps_spectro_patch.execution import parts
        parts.LIMIT = {limit}
        {enabling}
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.set_warn_always(True)
            torch.stft(x, 400, 100, return_complex=False)
        print(sorted(str(one.message)[:40] for one in seen))
        """)

    expected = said("")
    assert expected.count("stft") == 1 and said("msp.enable(devices=devices)") == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a fraction of the memory is CUDA's")
@pytest.mark.parametrize("what", ["stft", "istft", "gradient"])
def test_the_first_call_fits_into_the_memory_of_a_gpu_where_torchs_fits_and_is_compared(what):
    x, window = torch.randn(4, 20_000_000, device="cuda"), torch.hann_window(400, device="cuda")

    def stft(signal):
        return torch.stft(signal, 400, 160, window=window, return_complex=True)

    def differentiated(signal):
        leaf = signal.detach().requires_grad_()
        stft(leaf).real.sum().backward()
        return leaf.grad

    given = stft(x) if what == "istft" else x
    call = {"stft": stft, "istft": lambda s: torch.istft(s, 400, 160, window=window), "gradient": differentiated}[what]
    total = torch.cuda.get_device_properties(0).total_memory

    def peak(act) -> int:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        act()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_reserved()

    torchs = peak(lambda: call(given))
    with msp.accelerated(devices=("cuda",), on_error="raise"):
        small = given[..., :1000] if what == "istft" else given[:, :160_000]
        call(small)  # compiles the kernels
        verification.verified.clear()
        ours = peak(lambda: call(given))
        assert verification.verified and ours <= torchs + BESIDE * 2**20, (ours, torchs)
        verification.verified.clear()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((torchs + BESIDE * 2**20) / total)
        try:
            call(given[..., :-1])  # another length: the one above is in the cache
            assert verification.verified and not quarantine.plans
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
