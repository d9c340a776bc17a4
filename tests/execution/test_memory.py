"""A call that fits into memory without the patch fits with it, also the first one, which is compared."""

from __future__ import annotations

import sys

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
@pytest.mark.parametrize("shape", [(2, 4_000_000), (1, 8_000_000), (500, 16_000)], ids=str)
@pytest.mark.parametrize("what", ["stft", "istft", "gradient", "mel"])
def test_the_first_call_fits_where_torchs_fits_and_is_compared(what, shape, run_python, device_name):
    if device_name != "simulator":
        pytest.skip("the address space is the simulator's memory")
    hop = 160 if what == "stft" else 200

    def outcome(patched: bool, megabytes: int) -> str:
        given = f"what, shape, HOP, patched, megabytes = {what!r}, {shape}, {hop}, {patched}, {megabytes}\n"
        return run_python(given + PROGRAM).strip()

    low, high = 0, 1024  # short, fits
    while high - low > 16:
        middle = (low + high) // 2
        low, high = (low, middle) if outcome(False, middle).startswith("fits") else (middle, high)
    print(what, shape, high)
    assert outcome(True, high) in ("fits 0 True", "fits 0 False")
    assert outcome(True, high + BESIDE) == "fits 0 True"
