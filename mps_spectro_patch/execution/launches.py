"""From a routed call to the operator: with the batch dimension that it wants and torch does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from ..kernels import check_files
from ..pending import kept
from ..reasons import Call
from ..tensors import has_bits, wants_gradient, without_bits
from . import torch_warnings
from .trouble import tell_of_operator

# mps_spectro_patch.ops once something is installed; importing the package must not register operators.
_kept: dict[str, Any] = kept(__name__, "ops", {})
ops: Any = _kept.get("ops")


def load_operators() -> None:
    """Imports ops before the first layer is installed, so that torch.compile never meets the import."""
    global ops
    if ops is None:
        check_files()
        from .. import ops as module

        ops = _kept["ops"] = module
    ops.surviving.tell = tell_of_operator


def launch(op: str, input: torch.Tensor, window: torch.Tensor | None, call: Call, eager: bool = False) -> torch.Tensor:
    """Calls the operator. Traceable by torch.compile.

    eager: nothing is being compiled; where the original turns out to be needed after all, UseOriginal says so.
    """
    # Eager calls take a shorter way than through the dispatcher, which costs as much as the operator's body.
    direct = eager and type(input) is not FakeTensor and not torch._C._len_torch_dispatch_stack()
    if window is None:
        win_length = call.arguments.win_length
        window = (
            ones(win_length, input.device)
            if direct
            else torch.ones(win_length, dtype=torch.float32, device=input.device)
        )
    elif window.dtype is not torch.float32:
        window = window.resolve_conj() if window.is_complex() else window.to(torch.float32)
    window, input = window.resolve_neg(), without_bits(input)
    if op == "stft":
        operator, single = ops.eager_stft if direct else ops.stft, input.dim() == 1
    else:
        operator, single = ops.eager_istft if direct else ops.istft, input.dim() == 2
    result = operator(input.unsqueeze(0) if single else input, window, *call.arguments)
    if single:
        in_place = direct and _is_own(op, call) and not torch._C._are_functorch_transforms_active()
        result = result.squeeze_(0) if in_place else result.squeeze(0)
    return torch.view_as_real(result) if call.as_real else result


def launch_compiled(op: str, input: torch.Tensor, window: torch.Tensor | None, call: Call) -> torch.Tensor:
    """launch() where torch.compile traces."""
    if call.notices:
        torch_warnings.give_while_tracing(call.notices)
    return launch(op, input, window, call)


def prepare(
    op: str, input: torch.Tensor, window: torch.Tensor | None, call: Call
) -> Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor | None]:
    """launch() in eager mode as a function of input and window, for plain tensors that are laid out as these and ask
    for gradients as these do. Its result is None, or it raises UseOriginal, where the original is needed after all."""
    run = _prepared(op, input, window, call)
    if run is None:
        return partial(again, op, call)
    if input.dim() == (2 if op == "stft" else 3):
        return run
    is_own = _is_own(op, call)

    def of_one(input: torch.Tensor, window: torch.Tensor) -> torch.Tensor | None:
        result = run(input.unsqueeze(0), window)
        if result is None:
            return None
        return result.squeeze_(0) if is_own else result.squeeze(0)

    return of_one


def _prepared(op: str, input: torch.Tensor, window: torch.Tensor | None, call: Call) -> Callable | None:
    """The operator with everything found that a call looks for, or None where kernels or gradients need more."""
    if window is None or window.dtype is not torch.float32 or not window.is_contiguous() or call.as_real:
        return None
    if has_bits(input) or has_bits(window) or wants_gradient(window):
        return None
    rows = input.unsqueeze(0) if input.dim() == (1 if op == "stft" else 2) else input
    make = ops.replay.known if wants_gradient(input) else ops.operators.ready
    return make(op, rows, window, call.arguments)


def again(op: str, call: Call, input: torch.Tensor, window: torch.Tensor | None) -> torch.Tensor:
    """launch() in eager mode."""
    return launch(op, input, window, call, eager=True)


def composite(op: str, call: Call, input: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """launch() made of torch's own functions, none of which warns."""
    single = input.dim() == (1 if op == "stft" else 2)
    input = input.unsqueeze(0) if single else input
    if op == "stft":
        result = ops.composite.stft(input, window, *call.arguments)
    else:
        n_fft, hop, _, trim, *_, samples, return_complex = call.arguments
        reached = min(samples, n_fft + hop * (input.shape[-1] - 1) - trim)
        result = ops.composite.istft(input, window, *call.arguments[:-2], reached, return_complex)
        result = torch.nn.functional.pad(result, (0, samples - reached))
    return result.squeeze(0) if single else result


@lru_cache(maxsize=64)
def ones(win_length: int, device: torch.device) -> torch.Tensor:
    """The window of a call without one. Always the same tensor: istft knows its envelope again."""
    with torch.inference_mode(False), torch.no_grad():  # it may be saved for a backward pass
        return torch.ones(win_length, dtype=torch.float32, device=device)


def _is_own(op: str, call: Call) -> bool:
    """Whether torch's result of a single signal is no view: its spectrum, and a signal that it lengthens."""
    return op == "stft" or "length" in call.notices
