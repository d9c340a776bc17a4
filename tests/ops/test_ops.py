"""The torch.library operators: schema, fake kernels and layout."""

import pytest
import torch

from mps_spectro_patch import ops
from mps_spectro_patch.routing import Reason, UseOriginal

CHECKS = ("test_schema", "test_faketensor")


@pytest.fixture
def signal(torch_device):
    return torch.randn(3, 3001, device=torch_device)


@pytest.fixture
def window(torch_device):
    return torch.hann_window(400, device=torch_device)


def test_stft_has_a_true_schema_and_a_true_fake_kernel(signal, window):
    torch.library.opcheck(ops.stft, (signal, window, 400, 100, 400, True, "reflect", False), test_utils=CHECKS)
    torch.library.opcheck(ops.stft, (signal, window, 400, 161, 400, False, "constant", True), test_utils=CHECKS)


def test_istft_has_a_true_schema_and_a_true_fake_kernel(window, torch_device):
    spectrum = torch.randn(2, 31, 201, dtype=torch.complex64, device=torch_device).transpose(1, 2)
    torch.library.opcheck(ops.istft, (spectrum, window, 400, 100, 400, True, False, 2900), test_utils=CHECKS)


def test_stft_has_torchs_strides(signal, window):
    got = ops.stft(signal, window, 400, 100, 400, True, "reflect", False)
    assert got.stride() == torch.functional.stft(signal, 400, 100, window=window, return_complex=True).stride()


def test_istft_is_contiguous(window, torch_device):
    spectrum = torch.randn(2, 201, 31, dtype=torch.complex64, device=torch_device)
    assert ops.istft(spectrum, window, 400, 100, 400, True, False, 2900).is_contiguous()


def test_where_the_envelope_vanishes_a_strict_call_asks_for_the_original(window, torch_device):
    spectrum = torch.randn(2, 201, 31, dtype=torch.complex64, device=torch_device)
    with pytest.raises(UseOriginal) as refusal:
        ops.istft(spectrum, window, 400, 400, 400, True, False, 2900, strict=True)
    assert refusal.value.reason is Reason.NOLA


def test_where_the_envelope_vanishes_other_calls_get_torchs_own_error(window, torch_device):
    spectrum = torch.randn(2, 201, 31, dtype=torch.complex64, device=torch_device)
    with pytest.raises(RuntimeError, match="window overlap add min") as ours:
        ops.istft(spectrum, window, 400, 400, 400, True, False, 2900)
    with pytest.raises(RuntimeError) as theirs:
        torch._VF.istft(spectrum, 400, 400, 400, window, True, False, True, 2900)
    assert str(ours.value) == str(theirs.value)
