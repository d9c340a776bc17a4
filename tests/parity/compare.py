"""When are two calls the same to whoever made them? Results, errors and warnings of a call, and what may differ.

Values are judged against a float64 run of the original on the CPU: ours may be as far from it as the kernels' bound
says, or four times as far as the original itself, whichever is more.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..conftest import ORIGINALS
from ..kernels.reference import MAX_ABS, REL_L2

STFT, ISTFT = ORIGINALS["stft"], ORIGINALS["istft"]
GRADIENT_REL_L2 = 1e-6
TORCHS_ERRORS = 4  # times torch's own error is always good enough
FEW = 64


@dataclass
class Outcome:
    """What a call gave: a tensor or an error, and the warnings on the way."""

    result: torch.Tensor | None
    error: tuple[type, str] | None
    warnings: list[tuple[type, str]]


def outcome(function: Callable, *args, **kwargs) -> Outcome:
    result = error = None
    torch.set_warn_always(True)  # torch says most things once per process, and the second call would look different
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            result = function(*args, **kwargs)
        except Exception as raised:
            error = type(raised), _lasting(str(raised))
        finally:
            torch.set_warn_always(False)
    return Outcome(result, error, [(one.category, str(one.message).split(" (Triggered")[0]) for one in said])


def _lasting(text: str) -> str:
    """What an error says of the call: out of memory, CUDA also tells who holds how much of it at the moment."""
    return text.split(" GPU ")[0] if text.startswith("CUDA out of memory") else text


@contextmanager
def unpatched() -> Iterator[None]:
    """torch as it is without this package, while it lasts: Tensor.stft looks torch.stft up when it is called."""
    patched = {op: getattr(torch, op) for op in ORIGINALS}
    for op, original in ORIGINALS.items():
        setattr(torch, op, original)
    try:
        yield
    finally:
        for op, function in patched.items():
            setattr(torch, op, function)


def double(value):
    """The float64 twin, on the CPU, of a tensor; anything else as it is."""
    if not isinstance(value, torch.Tensor) or not (value.is_floating_point() or value.is_complex()):
        return value.cpu() if isinstance(value, torch.Tensor) else value
    return value.cpu().to(torch.complex128 if value.is_complex() else torch.float64)


def moving_strides(tensor: torch.Tensor) -> list[int]:
    """The strides that move: torch gives dimensions of size 1 others on CUDA than on the CPU."""
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


def assert_same_tensor(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Everything about a result but its values."""
    assert type(ours) is type(theirs)
    assert (ours.shape, ours.dtype, ours.device) == (theirs.shape, theirs.dtype, theirs.device)
    assert ours.requires_grad == theirs.requires_grad
    assert (ours.is_conj(), ours.is_neg(), ours.layout) == (theirs.is_conj(), theirs.is_neg(), theirs.layout)
    assert ours.is_inference() == theirs.is_inference()
    assert ours._is_view() <= theirs._is_view(), "a view, where torch gives a tensor of its own"
    if theirs.numel():
        assert moving_strides(ours) == moving_strides(theirs)
        assert ours.is_contiguous() == theirs.is_contiguous()


def assert_close(
    ours: torch.Tensor,
    theirs: torch.Tensor,
    exact: torch.Tensor,
    rel_l2: float = REL_L2,
    max_abs: float = MAX_ABS,
    weight: torch.Tensor | None = None,
    scale: float | torch.Tensor = 0.0,
    what: str = "result",
) -> None:
    """weight: what errors and values are multiplied by first; scale: a size that the values came from, if larger: one
    for all of them, or one for each."""
    epsilon = torch.finfo(ours.dtype).eps
    if ours.dtype in (torch.float64, torch.complex128):
        rel_l2 = max_abs = 1e-11
    elif epsilon > 1e-4:  # a half: it can only be as good as its last digit
        rel_l2, max_abs = max(rel_l2, epsilon), max(max_abs, epsilon)
    ours, theirs, exact = double(ours.detach()), double(theirs.detach()), double(exact.detach())
    assert ours.shape == exact.shape == theirs.shape, what
    if not ours.numel():
        return
    if ours.numel() < FEW:  # no average: the bound for single values holds
        rel_l2 = max(rel_l2, max_abs)
    assert bool(torch.isfinite(ours).all()), f"{what}: {int((~torch.isfinite(ours)).sum())} values are not finite"
    weight = torch.ones((), dtype=torch.float64) if weight is None else weight
    exact = exact * weight
    error, torchs_error = (ours * weight - exact).abs(), (theirs * weight - exact).abs()
    sizes = torch.as_tensor(scale, dtype=torch.float64).expand(exact.shape)
    for name, bound, got, torchs, size in (
        ("relative L2", rel_l2, error.norm(), torchs_error.norm(), max(float(exact.abs().norm()), float(sizes.norm()))),
        ("largest", max_abs, error.max(), torchs_error.max(), max(float(exact.abs().max()), float(sizes.max()))),
    ):
        allowed = max(bound * size, TORCHS_ERRORS * float(torchs))
        assert float(got) <= allowed, (
            f"{what}: {name} error {float(got):.2e}, torch's {float(torchs):.2e}, of {size:.3e} (allowed {allowed:.2e})"
        )


def envelope(window: torch.Tensor, n_fft: int, hop: int, frames: int, first: int, samples: int) -> torch.Tensor:
    """The sum of squared windows that istft divides by. Zeros where no frame reaches."""
    window = window.detach().cpu().to(torch.complex128 if window.is_complex() else torch.float64)
    left = (n_fft - window.numel()) // 2
    total = torch.zeros(n_fft + hop * (frames - 1) + samples, dtype=window.dtype)
    for frame in range(frames):
        start = frame * hop + left
        total[start : start + window.numel()] += window.square()
    return total[first : first + samples]
