"""The checks that doctor makes of one device: do the kernels compile, are they right, are they fast.

Each check yields findings; none prints, and an error in one is a finding, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from .. import kernels
from ..bench import Accelerator, Case, contestants, relative_error, sweep, timing
from ..kernels import any_size, fft, smooth_size
from ..options import ACCELERATORS, OPS
from ..patching import accelerated

# Two correct float32 transforms differ from float64 by some 1e-7; a wrong index or a lost bin by about 1.
FORWARD, BACKWARD = 1e-6, 1e-5
SINGLE = dict(dtype=torch.float32, device="cpu")  # whatever the program's defaults are
SIZES = {False: (400, 211), True: (16, 210, 211, 217, 400, 480, 512, 1000, 1024, 1920, 2048, 4096, 8192, 16_384)}


@dataclass(frozen=True)
class Finding:
    """What one check found. ok: None where it only tells."""

    check: str
    ok: bool | None
    words: str
    data: dict[str, Any] = field(default_factory=dict)


def compiles(device: str, sources: Iterable[tuple[str, str, str, int]]) -> Iterator[Finding]:
    """Compiles `sources` (what, the kernel's name, its Metal text, threads per threadgroup) and checks their limits."""
    failed, count, start = [], 0, time.perf_counter()
    for label, name, source, threads in sources:
        count += 1
        try:
            kernel = getattr(kernels.compile_shader(source, device), name)
            limit = kernel.max_threads_per_threadgroup
            if limit < threads:
                failed.append((label, f"{threads} threads are needed, the device allows {limit}"))
        except Exception as error:
            failed.append((label, f"{type(error).__name__}: {str(error)[:2000]}"))
    seconds = time.perf_counter() - start
    words = f"{count - len(failed)} of {count} kernels compile, {seconds:.1f} s"
    data = {"failed": _lines(failed, count), "count": count, "seconds": seconds}
    yield Finding("kernels", not failed, words, data)


def is_right(device: str, full: bool) -> Iterator[Finding]:
    """Compares results and gradients with float64 on the CPU, over sizes and modes."""
    bounds = {"forward": FORWARD, "backward": BACKWARD}
    cases = (
        (f"n_fft={n_fft}, {label}", bounds, partial(_errors, device, n_fft, options))
        for n_fft in SIZES[full]
        for label, options in _modes(n_fft)
    )
    yield compared("results", "calls of each function", cases)


Errors = dict[str, float]  # relative L2, "forward" and perhaps "backward"


def compared(check: str, what: str, cases: Iterable[tuple[str, Errors, Callable[[], Errors]]]) -> Finding:
    """What comes of cases: (label, the largest errors that are right, what measures the errors)."""
    worst: dict[str, float] = {}
    failed, count = [], 0
    for label, bounds, measure in cases:
        count += 1
        try:
            for name, error in measure().items():
                worst[name] = max(worst.get(name, 0.0), error)
                if not error <= bounds[name]:
                    failed.append((label, f"{name} differs by {error:.1e} (relative L2)"))
        except Exception as error:
            failed.append((label, f"{type(error).__name__}: {str(error)[:2000]}"))
    errors = ", ".join(f"{error:.1e} {name}" for name, error in worst.items())
    words = f"{count} {what} against float64: " + (
        f"largest relative error {errors}" if worst else "none came to an end"
    )
    data = {"failed": _lines(failed, count), "count": count, "worst": worst}
    return Finding(check, not failed, words, data)


def _lines(failed: list[tuple[str, str]], count: int) -> list[str]:
    """One line where all went wrong in the same way."""
    (first, *others) = dict.fromkeys(words for _, words in failed) or [""]
    if count == len(failed) > 1 and not others:
        return [f"all of them: {first}"]
    return [f"{label}: {words}" for label, words in failed]


def _errors(device: str, n_fft: int, options: dict[str, Any]) -> Errors:
    with accelerated(devices=(device,), verify="off", on_error="raise", on_fallback="raise"):
        got = _round(torch.stft, torch.istft, ACCELERATORS[device], torch.float32, n_fft, options)
    want = _round(torch.functional.stft, torch._VF.istft, "cpu", torch.float64, n_fft, options)
    return {name: max(map(relative_error, got[name], want[name])) for name in got}


def is_fast(device: str) -> Iterator[Finding]:
    """Times both functions against torch's own. Only a real accelerator can fail."""
    is_real = device != "simulator"
    samples, effort = (1_320_000, timing.FULL) if is_real else (4000, timing.TINY)
    note = "" if is_real else " (the simulator is not an accelerator)"
    original, patched = contestants.contestants(device)
    patched = replace(
        patched, scope=partial(accelerated, devices=(device,), verify="off", on_error="raise", on_fallback="raise")
    )
    for op in OPS:
        case = Case("doctor", op, 4, samples, 1024, 256)
        times = sweep.timed(case, [original, patched], Accelerator(device), effort)
        # The shortest of several calls: a busy machine only adds.
        theirs, ours = (1e3 * min(times[one.name].synchronised) for one in (original, patched))
        ratio = theirs / ours
        words = f"torch {theirs:.3f} ms, ours {ours:.3f} ms: {ratio:.2f} times as fast{note}"
        data = {"torch_ms": theirs, "ours_ms": ours, "ratio": ratio}
        yield Finding(f"speed of {op}", ratio >= 0.9 if is_real else None, words, data)


def sources(full: bool) -> Iterator[tuple[str, str, str, int]]:
    """Every kind of kernel for stft and istft, for a few sizes or for many."""
    samples = (torch.float32, torch.float16, torch.bfloat16)
    for n_fft in SIZES[full]:
        if fft.supports_real(n_fft):
            forward, inverse = fft.stft_plan(n_fft), fft.istft_plan(n_fft)
            kinds = [(forward, smooth_size.Kind("msp_stft", dtype=dtype)) for dtype in samples]
            kinds += [(forward, smooth_size.Kind("msp_stft", **{option: True})) for option in ("two_sided", "adjoint")]
            kinds += [(inverse, smooth_size.Kind("msp_istft", adjoint=adjoint)) for adjoint in (False, True)]
            kinds.append((inverse, smooth_size.Kind("msp_window_gradient")))
            if (usual := fft.inverse_plan(n_fft, n_fft // 4)) != inverse:  # of hops that programs use
                kinds += [(usual, smooth_size.Kind("msp_istft", adjoint=adjoint)) for adjoint in (False, True)]
            for how, kind in kinds:
                name = smooth_size.kernel_name(how, kind)
                yield f"real {kind} {how.describe()}", name, smooth_size.kernel_source(how, kind), how.threads
        for complex_valued in (False, True):
            if n_fft > fft.MAX_BLUESTEIN_POINTS or (not complex_valued and fft.supports_real(n_fft)):
                continue
            sample = torch.complex64 if complex_valued else torch.float32
            for inverse in (False, True):
                how = fft.transform(n_fft, complex_valued, inverse)
                name, last = "msp_any_stft", dict(sample=sample)
                if inverse:
                    name, last = "msp_any_istft", dict(complex_output=complex_valued)
                kind = any_size.Kind(name, how.bluestein, how.packed, complex_valued, **last)
                source = any_size.kernel_source(n_fft, complex_valued, kind)
                yield f"general {kind} n_fft={n_fft}", kind.name, source, how.plan.threads


def _modes(n_fft: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The ways to call both functions that differ in the kernels."""
    hop, short = max(1, n_fft // 4), max(2, n_fft // 2 + 1)
    yield "plain", dict(hop_length=hop)
    yield "odd hop", dict(hop_length=hop | 1)
    yield "short window", dict(hop_length=max(1, short // 3), win_length=short)
    yield "normalized", dict(hop_length=hop, normalized=True)
    yield "two-sided", dict(hop_length=hop, onesided=False)
    yield "constant padding", dict(hop_length=hop, pad_mode="constant")


def _round(stft: Callable, istft: Callable, place: str, dtype: torch.dtype, n_fft: int, options: dict) -> dict:
    """There and back with gradients of everything, from the same numbers on every device."""
    generator = torch.Generator().manual_seed(n_fft)
    samples = 3 * n_fft + 101
    x = torch.randn(2, samples, generator=generator, **SINGLE)
    window = torch.rand(options.get("win_length", n_fft), generator=generator, **SINGLE) + 0.5
    x, window = (tensor.to(place, dtype).requires_grad_() for tensor in (x, window))
    spectrum = stft(x, n_fft, window=window, return_complex=True, **options)
    # Not stft's own result: an error there would be counted twice, and its gradient is nearly zero in x.
    other = torch.randn(spectrum.shape, generator=generator, dtype=torch.complex64, device="cpu").to(
        place, spectrum.dtype
    )
    other.requires_grad_()
    back = {name: value for name, value in options.items() if name != "pad_mode"}
    signal = istft(other, n_fft, window=window, length=samples - 7, **back)
    weight = torch.randn(signal.shape, generator=generator, **SINGLE).to(place, dtype)
    gradients = [
        *torch.autograd.grad((torch.view_as_real(spectrum) * torch.view_as_real(other.detach())).sum(), (x, window)),
        *torch.autograd.grad((signal * weight).sum(), (other, window)),
    ]
    results = {"forward": (spectrum, signal), "backward": gradients}
    return {name: [tensor.detach().cpu() for tensor in tensors] for name, tensors in results.items()}
