"""What the tests of the patch layer share: a signal that every op accelerates, and how to see whether it did."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_sites


@dataclass
class Signal:
    """A signal, its window and its spectrum. `stft()` and `istft()` are calls that the fast path covers."""

    x: torch.Tensor
    window: torch.Tensor
    spectrum: torch.Tensor

    def stft(self) -> torch.Tensor:
        return torch.stft(self.x, 400, 160, 400, self.window, return_complex=True)

    def istft(self) -> torch.Tensor:
        return torch.istft(self.spectrum, 400, 160, 400, self.window, length=self.x.shape[-1])

    def is_fast(self) -> bool:
        """Whether a call made here and now takes the fast path."""
        before = msp.stats()["stft"].fast
        torch.testing.assert_close(self.stft(), self.spectrum, rtol=1e-4, atol=1e-4)
        return msp.stats()["stft"].fast == before + 1


@pytest.fixture
def signal(torch_device) -> Signal:
    x, window = torch.randn(2, 4000, device=torch_device), torch.hann_window(400, device=torch_device)
    return Signal(x, window, torch.stft(x, 400, 160, 400, window, return_complex=True))


@pytest.fixture
def on(device_name) -> dict:
    """The options that accelerate the device under test."""
    return {"devices": (device_name,)}


@pytest.fixture(params=["stft", "istft"])
def op(request) -> str:
    return request.param


@pytest.fixture
def unsampled(monkeypatch) -> None:
    """No call is looked at for report()."""
    monkeypatch.setattr(call_sites, "FIRST", 0)
    monkeypatch.setattr(call_sites, "EVERY", 10**9)


COMPILING = """
import mps_spectro_patch as msp

from mps_spectro_patch.kernels.launch import transforms as library

def runs_ours(function):
    # Whether calling it ran a kernel of ours, also from code that inductor generated.
    kept, launched = (library.stft, library.istft), []
    library.stft = lambda *args: launched.append("stft") or kept[0](*args)
    library.istft = lambda *args: launched.append("istft") or kept[1](*args)
    try:
        function()
    finally:
        library.stft, library.istft = kept
    return bool(launched)

def import_dynamo():
    torch.compile(lambda a: a + 1, backend="eager")(x)

def early_bound(signal):
    return original_stft(signal, 400, 160, 400, window, return_complex=True).abs()

def round_trip(signal):
    spectrum = torch.stft(signal, 400, 160, 400, window, return_complex=True)
    return torch.istft(spectrum, 400, 160, 400, window, length=signal.shape[-1])

expected = magnitude(x)

def check(function, ours, backend="eager", **options):
    compiled = torch.compile(function, fullgraph=True, backend=backend, **options)
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)
    assert runs_ours(lambda: compiled(x)) is ours, (function, backend)
    return compiled
"""


@pytest.fixture
def run_compiled(run_python, tmp_path, forker):
    """run_python() with the helpers above and a compile cache that the runs of one test share. torch's compiler is
    imported beforehand, unless that is what a test is about: anew=True."""

    def run(code, anew=False, **environment):
        program = COMPILING + textwrap.dedent(code)
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path)
        return run_python(program, forker=None if anew else forker, **environment)

    return run
