"""Nothing here may need a network, no test may leave anything patched, and projects use the device under test."""

from __future__ import annotations

import os
import socket

import pytest
import torch

import mps_spectro_patch as msp

DEVICE_NAME = os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator")

# By the environment, so that it holds in programs that tests start as well.
if DEVICE_NAME == "simulator":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for projects that choose a device themselves
elif DEVICE_NAME == "cuda":
    # Products rounded to ten bits would hide what a kernel does, and anew in every run what another algorithm does.
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


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
