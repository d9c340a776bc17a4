"""explain(): how one call would go, the plan behind it, and for a fallback what would have to change. Runs nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from .. import routing
from ..active import options_here
from ..execution import call_cache, quarantine, trouble
from ..kernels import IstftGeometry, StftGeometry, fft, inverse_envelope
from ..options import Options
from ..patching import entry, layers
from ..reasons import ADVICE, Call, Reason, Route
from ..tensors import PLAIN


class Work(NamedTuple):
    """What a fast call does. Bytes are those the kernel reads and writes at least: each value once, tables aside.

    lanes: threads per frame; frames: frames in flight per threadgroup; bluestein: the transform's points where it is
    done as a convolution, else 0. The first call with a window reads it back once (istft only), which is no launch.
    """

    family: str
    radices: tuple[int, ...]
    lanes: int
    frames: int
    threads: int
    threadgroup_bytes: int
    bluestein: int
    launches: int
    bytes_read: int
    bytes_written: int

    def __str__(self) -> str:
        stages = "x".join(map(str, self.radices))
        transform = f"Bluestein by radices {stages}" if self.bluestein else f"radices {stages}"
        return (
            f"{self.family} family, {transform}, {self.lanes} lanes per frame, {self.frames} frames and "
            f"{self.threads} threads per threadgroup, {self.threadgroup_bytes} bytes of threadgroup memory; "
            f"{self.launches} launch, {self.bytes_read} bytes read, {self.bytes_written} written"
        )


@dataclass(frozen=True)
class Explanation(Route):
    """A Route with the work of a fast call, or the advice for one that goes to the original."""

    work: Work | None = None
    advice: str = ""

    def __str__(self) -> str:
        work = f"\n  {self.work}" if self.work else ""
        advice = f"\n  to make it fast: {self.advice}" if self.advice else ""
        return f"{super().__str__()}{work}{advice}"


def explain(function: Callable, *args: Any, **kwargs: Any) -> Explanation:
    """What would happen to one call of torch.stft or torch.istft, with the options that hold here. Runs nothing.

    Of torch.istft it reads the window, on which depends whether a signal can be made.
    If nothing is enabled, the options are those that enable() would take, and the note says so.

    Args:
        function: torch.stft, torch.istft, or the Tensor method of that name.
        args: the call's arguments.
        kwargs: the call's keyword arguments.

    Returns:
        Explanation: `fast`; then `arguments`, `plan` and `work` (launches, bytes, threads), or `reason` and `advice`
        (what would have to change). Prints well.

    Raises:
        ValueError: any other function.

    Example:
        >>> x, window = torch.randn(4000), torch.hann_window(400)
        >>> with msp.accelerated(devices=["simulator"]):
        ...     answer = msp.explain(torch.stft, x, 400, window=window, return_complex=True)
        ...     refused = msp.explain(torch.stft, x.double(), 400, window=window, return_complex=True)
        >>> answer.fast, answer.work.launches
        (True, 1)
        >>> print(refused.reason)
        dtype
    """
    try:
        which = _which(function, args)
        if which is not None:
            return _explained(*which, kwargs, options_here())
    except Exception as error:
        note = f"explain() could not look at this call: {trouble.trouble_of(error).what}"
        op = "istft" if getattr(function, "__name__", "") == "istft" else "stft"
        return Explanation(op, Reason.ERROR, note=note, advice=ADVICE[Reason.ERROR])
    raise ValueError(f"explain() knows torch.stft, torch.istft and the Tensor methods of those names, not {function!r}")


def _explained(op: str, function: Callable, args: tuple, kwargs: dict, options: Options | None) -> Explanation:
    note = ""
    if options is None:
        options, note = Options.resolve(), "not enabled now; this is what enable() would do"
    elif options.reach == "dispatcher":
        note = "at the dispatcher, after torch's own padding"
    try:
        if op == "istft":
            arguments = entry.istft_arguments(*args, **kwargs)
        else:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = tuple(bound.arguments.values())
    except TypeError:
        return Explanation(op, Reason.ARGUMENT, note=note, advice=ADVICE[Reason.ARGUMENT])
    decision = routing.decide(op, options.flags, arguments, call_cache.least_work)
    route = routing.dressed(op, decision, arguments[0])
    reason = route.reason
    if op not in options.ops:
        reason = Reason.OP
    elif isinstance(decision, Call) and (decision.plan, arguments[0].device, decision.way) in quarantine.plans:
        reason = Reason.QUARANTINED
    elif isinstance(decision, Call) and op == "istft" and not _is_invertible(arguments[0], arguments[4], decision):
        reason = Reason.NOLA
    if reason is not None:
        return Explanation(op, reason, None, route.device, route.plan, note, None, ADVICE[reason])
    return Explanation(op, None, route.arguments, route.device, route.plan, note, _work(arguments[0], decision))


def _is_invertible(input: torch.Tensor, window: torch.Tensor | None, call: Call) -> bool:
    """Whether the windows' envelope is zero nowhere. Reads the window, where it has values."""
    if window is None:
        window = torch.ones(call.arguments.win_length, device="cpu", dtype=torch.float32)
    if type(input) not in PLAIN or type(window) not in PLAIN or window.is_meta or not call_cache.is_plain_eager():
        return True
    *arguments, _ = call.arguments
    geometry = IstftGeometry(1 if input.dim() == 2 else input.shape[0], input.shape[-1], *arguments)
    window = window if window.is_complex() else window.to(torch.float32)
    return inverse_envelope(window, *geometry.of_envelope) is not None


def _work(input: torch.Tensor, call: Call) -> Work:
    op, n_fft, complex_valued = call.plan
    if not complex_valued and fft.supports_real(n_fft):
        family, how, points = "real", (fft.stft_plan if op == "stft" else fft.istft_plan)(n_fft), 0
    else:
        if not fft.supports(n_fft, complex_valued):
            complex_valued = not complex_valued
        transform = fft.transform(n_fft, complex_valued, op == "istft")
        family, how, points = "general", transform.plan, transform.points if transform.bluestein else 0
    if op == "stft":
        rows, samples = torch.atleast_2d(input).shape
        geometry = StftGeometry(rows, samples, *call.arguments)
        written = 8 * rows * geometry.bins * geometry.frames
    else:
        rows = 1 if input.dim() == 2 else input.shape[0]
        *arguments, return_complex = call.arguments
        written = (8 if return_complex else 4) * rows * IstftGeometry(rows, input.shape[-1], *arguments).length
    read = input.nbytes + 4 * call.arguments[2]  # the window has so many samples
    groups = how.lanes, how.frames, how.threads, how.threadgroup_bytes
    return Work(family, how.radices, *groups, points, 1, read, written)


def _which(function: Callable, args: tuple) -> tuple[str, Callable, tuple] | None:
    """(op, torch's own function, the arguments with the tensor first) for everything that means torch's two."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, torch.Tensor):  # x.stft
        args, function = (owner, *args), function.__func__
    for op, torchs in (("stft", torch.functional.stft), ("istft", torch._VF.istft)):
        names = [torchs, getattr(torch, op), getattr(torch.Tensor, op)]
        names += [layer.function for layer in layers.layers() if layer.op == op]
        if any(function is name for name in names):
            return op, torchs, args
    return None
