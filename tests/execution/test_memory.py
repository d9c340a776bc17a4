"""A call that fits into memory without the patch fits with it, also the first one, which is compared."""

from __future__ import annotations

import sys

import pytest

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited by what Linux tells of it"),
]

PROGRAM = """
import re
import resource
from pathlib import Path

import mps_spectro_patch as msp

torch.set_num_threads(1)
x, window = torch.randn(2, 4_000_000), torch.hann_window(400)
def call(signal, hop_length):
    return torch.stft(signal, 400, hop_length, window=window, return_complex=True)

call(x[:, :40_000], 160)
if patched:
    msp.enable(devices=("simulator",))
    call(x[:, :40_000], 80)  # compiles the kernel; with another hop the call below is compared again
used = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 2**20, -1))
try:
    result = call(x, 160)
except RuntimeError as error:
    print("short" if "allocate memory" in str(error) else error)
else:
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    print("fits", msp.stats()["stft"].fast, len(msp.status().quarantined))
"""


def test_the_first_call_fits_where_torchs_fits(run_python, device_name):
    if device_name != "simulator":
        pytest.skip("the address space is the simulator's memory")

    def outcome(patched: bool, megabytes: int) -> str:
        return run_python(f"patched, megabytes = {patched}, {megabytes}\n{PROGRAM}").strip()

    least = next(size for size in range(120, 400, 20) if outcome(False, size).startswith("fits"))
    assert outcome(False, least - 60) == "short"  # the limit is one
    for megabytes in (least, least + 40, least + 120, least + 300):
        assert outcome(True, megabytes) == "fits 2 0", megabytes
