"""The checks that doctor makes of the STFT losses: do they compile, are they right. As in doctor_kernels.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from ..bench import relative_error
from ..front_ends import LossCall, losses
from ..kernels import kernel_text, stft_loss
from ..options import ACCELERATORS
from ..patching import accelerated
from .doctor_kernels import Errors, Finding, compared

BOUNDS = {"forward": 2e-6, "backward": 3e-5}
SIZES = {False: (400,), True: (400, 512, 1000, 1024, 2048, 4096)}


def sources(full: bool) -> Iterator[tuple[str, str, str, int]]:
    """(what, the kernel's name, its Metal text, threads per threadgroup)."""
    for n_fft in SIZES[full]:
        for kind, gradient in (("", False), (" gradient", True)):
            name, defines, plan = stft_loss.launched(n_fft, gradient, stft_loss.Terms(1.0, 1.0, 0.0, 1e-8))
            yield f"loss n_fft={n_fft}{kind}", name, kernel_text(name, defines), plan.threads
    finish = "msp_stft_loss_finish"
    yield finish, finish, kernel_text(finish), stft_loss.FINISH_THREADS


def are_right(device: str, full: bool) -> Iterator[Finding]:
    """Compares losses and gradients with float64 on the CPU, over sizes and kinds."""
    yield compared("losses", "calls", _cases(device, full))


def _cases(device: str, full: bool) -> Iterator[tuple[str, Errors, Callable[[], Errors]]]:
    for n_fft in SIZES[full]:
        for label, call in _calls(n_fft):
            yield f"n_fft={n_fft}, {label}", BOUNDS, partial(_errors, device, call)


def _calls(n_fft: int) -> Iterator[tuple[str, LossCall]]:
    """(what, the call). Their eps keeps bins apart in which nothing but rounding is left."""
    hop = n_fft // 4
    yield "absolute distances", LossCall(n_fft, hop, n_fft, 1e-2, linear=0.5)
    yield "squares", LossCall(n_fft, hop | 1, n_fft // 2 + 1, 1e-2, linear=0.5, squared=True)
    yield "by rows", LossCall(n_fft, hop, n_fft, 1e-2, factor=2.0, added=0.1, per_row=True, mean=False)


def _errors(device: str, call: LossCall) -> Errors:
    """Relative errors of the loss and of its gradient. The target is the louder in every bin: no sign is in doubt."""
    from ..ops import composite_losses

    generator = torch.Generator().manual_seed(call.n_fft)
    like = dict(dtype=torch.float32, device="cpu", generator=generator)
    x, window = torch.randn(2, 3 * call.n_fft + 101, **like), torch.rand(call.win_length, **like) + 0.5
    place = ACCELERATORS[device]
    narrow, wide = x.to(place).requires_grad_(), x.double().requires_grad_()
    with accelerated(devices=(device,), verify="off", on_error="raise"), torch.enable_grad():
        found = losses.try_fused(narrow, 1.5 * narrow.detach(), window.to(place), call)
        if found is None:
            raise RuntimeError("the kernels did not take this call")
        want, _ = composite_losses.stft_loss(wide, 1.5 * wide.detach(), window.double(), *call.arguments())
        (ours,), (theirs,) = torch.autograd.grad(found[0], narrow), torch.autograd.grad(want, wide)
    return {
        "forward": relative_error(found[0].detach().cpu().reshape(1), want.detach().reshape(1)),
        "backward": relative_error(ours.cpu(), theirs),
    }
