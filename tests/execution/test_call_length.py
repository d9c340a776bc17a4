"""How much of this package a repeated call runs through, counted by a profiler in a process of its own.

Counted are the Python calls (a profiler's "call" events; a resumed generator is one, too) of functions in this package,
its kernels and compat, and the files that they are in, for the second call, which is also looked at for report(), as in
any program. kernels/compilers is left out: launching is C++ of torch's on a Mac, where the simulator takes 25 calls of
Python. Before there was one cache, the second stft took 85 calls in 15 files by this count, and istft with a
gradient 128 in 16.
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
compilers = str(Path(kernels.__file__).parent / "compilers") + "/"
spectrum = torch.stft(x, 400, 100, window=window, return_complex=True).requires_grad_()
module = msp.LogMelSpectrogramTransform(sample_rate=16000, n_fft=400, hop_length=100, n_mels=80).to(device)

def look(frame, event, _):
    file = frame.f_code.co_filename
    if event == "call" and file.startswith(folders) and not file.startswith(compilers):
        seen[file] += 1

msp.enable(devices=devices)
torch.autograd.set_multithreading_enabled(False)  # a backward pass in another thread would not be seen
for _ in range(2):
    seen = Counter()
    sys.setprofile(look)
    CALL
    sys.setprofile(None)
assert all(op.fast in (0, 2) for op in msp.stats().values()) and any(op.fast for op in msp.stats().values())
print(sum(seen.values()), len(seen), dict(seen))
"""


@pytest.mark.parametrize(
    ("call", "calls_max", "files_max"),
    [
        ("torch.stft(x, 400, 100, window=window, return_complex=True)", 30, 6),
        ("torch.istft(spectrum, 400, 100, window=window).sum().backward()", 70, 9),
        ("torch.istft(spectrum, 400, 100, window=window).square().sum().backward()", 70, 9),
        ("module(x)", 30, 6),
        ("torch.stft(x.to('meta'), 400, 100, window=window.to('meta'), return_complex=True)", 1, 1),
    ],
    ids=["stft", "istft and its gradient", "istft and the gradient of a sum of squares", "a mel module", "elsewhere"],
)
def test_the_second_call_is_short(call, calls_max, files_max, run_python):
    code = COUNT.replace("CALL", call)
    if "meta" in call:
        code = code.replace("assert all", "assert True or all")
    calls, files, *seen = run_python(code).split(maxsplit=2)
    print(calls, files, seen)
    assert int(calls) <= calls_max and int(files) <= files_max
