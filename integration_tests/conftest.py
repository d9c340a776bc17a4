"""Nothing here may need a network, and no test may leave anything patched."""

from __future__ import annotations

import socket

import pytest
import torch

import mps_spectro_patch as msp


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("the network is refused in these tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


@pytest.fixture(autouse=True)
def _nothing_stays_patched():
    yield
    left = torch.stft is not torch.functional.stft or torch.istft is not torch._VF.istft
    msp.disable()
    msp.reset_stats()
    assert not left, "the test left torch.stft or torch.istft patched"
