"""What the tests of the patch layer share: a signal that every op accelerates, and how to see whether it did."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import mps_spectro_patch as msp


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
