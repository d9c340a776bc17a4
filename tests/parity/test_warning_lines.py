"""Warnings carry the line that torch's own carry: of the program's call of istft, of torch's of stft."""

from __future__ import annotations

import warnings

import pytest
import torch

import mps_spectro_patch as msp


@pytest.fixture(autouse=True)
def _warned_always():
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


def wide(tensor):
    """In double precision, on the CPU where the device has none."""
    tensor = tensor.cpu() if tensor.is_mps else tensor
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


CALLS = {
    "istft, longer": lambda s, w: torch.istft(s, 64, 16, window=w, length=3000),
    "istft, longer, by position": lambda s, w: torch.istft(s, 64, 16, 64, w, True, False, None, 3000),
    "istft of a tensor": lambda s, w: s.istft(64, 16, window=w, length=3000),
    "istft without a window": lambda s, w: torch.istft(s, 64, 16),
    "istft without a window, longer": lambda s, w: torch.istft(s, 64, 16, length=3000),
    "istft of one signal": lambda s, w: torch.istft(s[0], 64, 16, window=w, length=3000),
    "istft that falls back": lambda s, w: torch.istft(wide(s), 64, 16, window=wide(w), length=3000),
    "istft, batched": lambda s, w: torch.func.vmap(lambda s: torch.istft(s, 64, 16, window=w, length=3000))(s[:, None]),
    "istft, differentiated": lambda s, w: torch.func.grad(lambda s: torch.istft(s, 64, 16, length=3000).sum())(s),
    "stft without a window": lambda s, w: torch.stft(s.real[0], 16, return_complex=True),
    "real output": lambda s, w: torch.stft(s.real[0], 64, window=w, return_complex=False),
    "stft of a tensor": lambda s, w: s.real[0].stft(64, return_complex=False),
    "stft, batched": lambda s, w: torch.func.vmap(lambda x: torch.stft(x, 16, return_complex=True))(s.real),
}  # fmt: skip


def told(call, spectrum, window):
    with warnings.catch_warnings(record=True) as got:
        warnings.simplefilter("always")
        call(spectrum, window)
    # That there is no batching rule is true of torch's function only.
    got = [one for one in got if "batching rule" not in str(one.message)]
    return [(one.filename, one.lineno, one.category, str(one.message).partition("(Triggered")[0]) for one in got]


OPTIONS = {
    "as usual": {},
    "unverified": {"verify": "off"},
    "operators": {"reach": "dispatcher"},
    "another device": {"devices": ()},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("case", CALLS)
def test_warnings_carry_the_line_that_torchs_do(case, options, on, torch_device):
    spectrum = torch.randn(2, 33, 40, dtype=torch.complex64, device=torch_device)
    spectrum[:, 0] = spectrum[:, -1] = 0
    window = torch.hann_window(64, device=torch_device)
    expected = told(CALLS[case], spectrum, window)
    assert expected
    with msp.accelerated(**{**on, **options}):
        for _ in range(2):
            got = told(CALLS[case], spectrum, window)
            if "batched" in case:  # torch does them one by one
                assert set(got) == set(expected)
            else:
                assert got == expected
