"""How much of this package a repeated call runs through, counted by a profiler in a process of its own.

Counted are the Python calls (a profiler's "call" events; a resumed generator is one, too) of functions in this package,
its kernels and compat, and the files that they are in, for the second call, which is also looked at for report(), as in
any program. (On another device most calls are not.) The simulator's own are among them. Before there
was one cache, the second stft took 109 calls in 16 files, and istft with a gradient 176 in 18.
"""

from __future__ import annotations

import pytest

COUNT = """
import sys
from collections import Counter
from pathlib import Path

import mps_spectro_patch as msp
from mps_spectro_patch import compat, kernels

folders = tuple(str(Path(module.__file__).parent) + "/" for module in (msp, kernels, compat))
spectrum = torch.stft(x, 400, 100, window=window, return_complex=True).requires_grad_()
module = msp.LogMelSpectrogramTransform(sample_rate=16000, n_fft=400, hop_length=100, n_mels=80).to(device)
loss, target, learned = msp.STFTLoss().to(device), x.flip(-1), x.clone().requires_grad_()

def look(frame, event, _):
    file = frame.f_code.co_filename
    is_the_doubles = device == "mps" and "/compilers/" in file  # on a Mac a launch is torch's own C++
    if event == "call" and file.startswith(folders) and not is_the_doubles:
        seen[file] += 1

msp.enable(devices=devices)
torch.autograd.set_multithreading_enabled(False)  # a backward pass in another thread would not be seen
for _ in range(TIMES):
    seen = Counter()
    sys.setprofile(look)
    CALL
    sys.setprofile(None)
print(*(op.fast for op in msp.stats().values() if op.fast))
print(sum(seen.values()), len(seen), dict(seen))
"""


@pytest.mark.parametrize(
    ("call", "times", "fast", "calls_max", "files_max"),
    [
        ("torch.stft(x, 400, 100, window=window, return_complex=True)", 2, "2", 30, 6),
        ("torch.istft(spectrum, 400, 100, window=window).sum().backward()", 2, "2", 70, 9),
        ("torch.istft(spectrum, 400, 100, window=window).square().sum().backward()", 2, "2", 70, 9),
        ("module(x)", 2, "2", 31, 7),
        pytest.param("loss(x, target)", 2, "2", 55, 14, marks=pytest.mark.thorough),
        pytest.param("loss(learned, target).backward()", 2, "2", 110, 16, marks=pytest.mark.thorough),
        ("torch.stft(x.to('meta'), 400, 100, window=window.to('meta'), return_complex=True)", 2, "", 18, 4),
        ("torch.stft(x.to('meta'), 400, 100, window=window.to('meta'), return_complex=True)", 60, "", 1, 1),
    ],
    ids=[
        "stft",
        "istft and its gradient",
        "istft and the gradient of a sum of squares",
        "a mel module",
        "a loss",
        "a loss and its gradient",
        "elsewhere",
        "elsewhere, not looked at",
    ],
)
def test_the_second_call_is_short(call, times, fast, calls_max, files_max, run_python):
    counted, found = run_python(COUNT.replace("CALL", call).replace("TIMES", str(times))).split("\n", 1)
    assert counted == fast
    calls, files, *seen = found.split(maxsplit=2)
    print(calls, files, seen)
    assert int(calls) <= calls_max and int(files) <= files_max
