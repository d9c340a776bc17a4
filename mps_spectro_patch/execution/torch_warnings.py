"""Warnings that torch gives about arguments which the fast path takes too: given by torch itself, as often as it does.

Some are given once per process, by C++ code that counts. So torch is asked to do the same thing to a tiny tensor.
"""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from . import from_caller

_given: set[str] = set()


def give(notices: tuple[str, ...]) -> None:
    """The warnings of one call, in torch's order. Those given before cost nothing, unless torch shall always warn."""
    for notice in notices:
        if notice not in _given or torch.is_warn_always_enabled():
            _given.add(notice)  # first: as an error it counts as given
            with unset_fake_temporarily(), torch.no_grad():
                _provoke(notice)


def give_while_tracing(notices: tuple[str, ...]) -> None:
    """The same in code that torch.compile traces: when it is traced, as torch's own."""
    give(notices)


give_while_tracing._dynamo_marked_constant = True  # type: ignore[attr-defined]  # see routing.active_transforms


def _provoke(notice: str) -> None:
    signal, window = torch.zeros(4, dtype=torch.float32, device="cpu"), torch.ones(4, dtype=torch.float32, device="cpu")
    spectrum = torch.zeros(3, 1, dtype=torch.complex64, device="cpu")
    if notice == "stft_window":
        torch.functional.stft(signal, 4, 1, center=False, return_complex=True)
    elif notice == "real_output":
        torch.functional.stft(signal, 4, 1, window=window, center=False, return_complex=False)
    elif notice == "istft_window":
        from_caller.call(torch._VF.istft, (spectrum, 4, 1), {"center": False})
    else:  # "length"
        from_caller.call(torch._VF.istft, (spectrum, 4, 1), {"window": window, "center": False, "length": 5})
