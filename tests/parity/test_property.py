"""Whole argument tuples, right and wrong: whatever the patched functions do, the unpatched ones do as well.

MPS_SPECTRO_TEST_EXAMPLES sets how many tuples are drawn in all; the run's seed repeats them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, given, settings

import mps_spectro_patch as msp
from tests.tiers import some

from . import compare
from .calls import Call, Drawn, istft_calls, stft_calls
from .compare import ORIGINALS, assert_close, assert_same_tensor, outcome, unpatched

EXAMPLES = int(os.environ.get("MPS_SPECTRO_TEST_EXAMPLES", "2000"))
PARTS = 6  # of each function, for pytest-xdist to share out
# So much at least of what torch accepts, in single precision, must have been fast: the tests cannot pass by falling
# back. (Of what remains, the most is istft with an envelope close to zero.)
FAST_SHARE = {"stft": 0.30, "istft": 0.30}


@dataclass
class Tally:
    """How many calls had a result in single precision (or half), and how many of those were fast."""

    valid: int = 0
    fast: int = 0


@pytest.mark.parametrize("part", some(range(PARTS), [0]))
@pytest.mark.parametrize("op", ["stft", "istft"])
def test_drawn_calls_do_what_torchs_do(op, part, enabled, torch_device):
    tally = Tally()

    @hypothesis.seed(torch.initial_seed())
    @settings(
        max_examples=EXAMPLES // (2 * PARTS), deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(stft_calls() if op == "stft" else istft_calls())
    def draw(call: Call) -> None:
        if torch_device.type == "mps" and call.needs_double:
            return
        compare_calls(call, torch_device, tally)

    draw()
    assert tally.fast >= FAST_SHARE[op] * tally.valid, f"{tally.fast} of {tally.valid} calls were fast"


def compare_calls(call: Call, device: torch.device, tally: Tally) -> None:
    arguments, leaves = call.build(device)
    fast_before = msp.stats()[call.op].fast
    ours = outcome(call.make, arguments)
    fast = msp.stats()[call.op].fast - fast_before
    for name, value in call.arguments.items():  # read, never written
        if isinstance(value, Drawn):
            same = dict(rtol=0, atol=0, equal_nan=True)
            torch.testing.assert_close(arguments[name].detach().cpu(), value.view_of(value.leaf()), **same)

    their_arguments, their_leaves = call.build(device)
    with unpatched():
        theirs = outcome(call.make, their_arguments)
    drawn = call.arguments["input"]
    if theirs.error and "MKL FFT error" in theirs.error[1] and drawn.view == "expanded":
        # A fault of torch 2.7's own, where rows of a spectrum are the same memory.
        twin = replace(call, arguments={**call.arguments, "input": replace(drawn, view="plain")})
        return compare_calls(twin, device, tally)
    assert ours.warnings == theirs.warnings
    assert ours.error == theirs.error
    if theirs.result is None:
        assert not fast
        return
    assert_same_tensor(ours.result, theirs.result)
    if torch.finfo(theirs.result.dtype).bits < 64:
        tally.valid += 1
        tally.fast += fast
    compare_values(call, ours.result, theirs.result, leaves, their_leaves)


def compare_values(call, ours, theirs, leaves, their_leaves) -> None:
    if not bool(torch.isfinite(theirs).all()):
        return compare_reach(call, ours.detach(), theirs.detach())
    exact_arguments, exact_leaves = call.build(torch.device("cpu"), exact=True)
    exact = outcome(ORIGINALS[call.op], **exact_arguments).result
    if exact is None:  # an envelope so close to zero that float32 takes it for one, or not
        exact = compare.double(theirs)
    weight = weight_of(exact_arguments, exact) if call.op == "istft" else None
    assert_close(ours, theirs, exact, weight=weight, scale=scale_of(exact_arguments) if call.op == "istft" else 0.0)
    if not leaves or not exact.requires_grad:
        return
    generator = torch.Generator().manual_seed(1)
    cotangent = torch.randn(exact.shape, dtype=exact.dtype, generator=generator)
    single = cotangent.to(ours.dtype)
    gradients = outcome(torch.autograd.grad, ours, leaves, single.to(ours.device))
    their_gradients = outcome(torch.autograd.grad, theirs, their_leaves, single.to(ours.device))
    assert gradients.error == their_gradients.error
    if gradients.error:
        return
    names = [name for name, value in call.arguments.items() if isinstance(value, Drawn) and value.requires_grad]
    viewed = torch.autograd.grad(
        exact, [exact_arguments[name] for name in names], compare.double(single), retain_graph=True
    )
    exact_gradients = torch.autograd.grad(exact, exact_leaves, compare.double(single))
    results = zip(names, gradients.result, their_gradients.result, exact_gradients, viewed, strict=True)
    # A gradient is a sum, which may cancel: what counts is the size of what is added up.
    terms = (stft_terms if call.op == "stft" else istft_terms)(exact_arguments, exact.detach(), compare.double(single))
    for name, mine, torchs, right, parts in results:
        assert (mine.shape, mine.dtype, mine.device) == (torchs.shape, torchs.dtype, torchs.device)
        if bool(torch.isfinite(torchs).all() & torch.isfinite(right).all()):
            bound, squares = compare.GRADIENT_REL_L2, parts.abs().square()
            squares = max(squares, terms.get(name, squares), key=torch.sum)
            scale = of_leaf(call.arguments[name], squares).sqrt()
            assert_close(mine, torchs, right, rel_l2=bound, max_abs=3 * bound, scale=scale, what="gradient")


def stft_terms(arguments: dict, spectrum: torch.Tensor, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of each value of the gradients of signal and window: the sum of the squares of the terms that it is the sum of.

    A term is sample x factor of the window x cotangent of a bin x a root of unity. So these sums are the gradients of
    torch's stft of squares, if all bins of a frame have the factor of bin 0, which is one.
    """
    tensors = {name: arguments[name] for name in ("input", "window") if isinstance(arguments.get(name), torch.Tensor)}
    squares = {name: value.detach().to(torch.complex128).abs().square() for name, value in tensors.items()}
    squares = {name: value.requires_grad_() for name, value in squares.items()}
    summed = outcome(ORIGINALS["stft"], **{**arguments, **squares, "onesided": True, "return_complex": True}).result
    cotangent = cotangent if cotangent.is_complex() else torch.view_as_complex(cotangent.contiguous())
    weights = torch.zeros_like(summed)
    weights[..., 0, :] = cotangent.abs().square().sum(-2)
    if arguments["normalized"]:  # of which stft has one factor, and its square two
        weights /= int(arguments["n_fft"]) ** 0.5
    sums = torch.autograd.grad(summed, list(squares.values()), weights)
    # Of a product of complex numbers the real part is half the square, on average.
    halves = [1.0 if tensors[name].is_complex() else 0.5 for name in squares]
    return {name: half * total for name, half, total in zip(squares, halves, sums, strict=True)}


def istft_terms(arguments: dict, signal: torch.Tensor, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """Likewise, of the window's gradient. That of the spectrum is made of transforms alone: in them nothing cancels.

    The signal is the sum of (frame x window), divided by the envelope, the sum of (window squared). A frame's sample is
    a sum itself: it is taken for as large as those of its frame are on average.
    """
    window, spectrum = arguments["window"], arguments["input"].detach()
    if not (isinstance(window, torch.Tensor) and window.requires_grad):
        return {}
    n_fft, hop, win, first = overlap_of(arguments)
    is_complex, count, bins = signal.is_complex(), spectrum.shape[-1], spectrum.transpose(-1, -2)
    frames = torch.fft.ifft(bins) if is_complex else torch.fft.irfft(bins[..., : n_fft // 2 + 1], n_fft)
    power = frames.abs().square().mean(-1, keepdim=True) * (n_fft if arguments["normalized"] else 1)
    if is_complex and not window.is_complex():  # the real part of a product, as above
        power = power / 2
    envelope = compare.envelope(window, n_fft, hop, count, first, signal.shape[-1]).abs()
    divided = torch.where(envelope > 0, cotangent.abs() / envelope, 0.0)

    def under_frames(samples: torch.Tensor) -> torch.Tensor:
        whole = samples.new_zeros(*samples.shape[:-1], n_fft + hop * (count - 1))
        part = whole[..., first : first + samples.shape[-1]]
        part[:] = samples[..., : part.shape[-1]]
        left = (n_fft - win) // 2
        return whole.unfold(-1, n_fft, hop)[..., left : left + win]

    by_envelope = 2 * under_frames(divided * signal.abs()) * window.detach().abs()
    squares = under_frames(divided).square() * power + by_envelope.square()
    return {"window": squares.reshape(-1, win).sum(0)}


def of_leaf(drawn: Drawn, squares: torch.Tensor) -> torch.Tensor:
    """What is given for the values of a tensor, added up for those of its leaf: of an expanded one, one is many."""
    leaf = torch.zeros(drawn.leaf().shape, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(drawn.view_of(leaf), leaf, squares)[0].abs()  # negated, if that is the view


def scale_of(arguments: dict) -> float:
    """The size of a frame's samples: those few that trimming leaves may be smaller than what they are sums of."""
    spectrum, n_fft = arguments["input"], int(arguments["n_fft"])
    return float(spectrum.detach().abs().square().mean().sqrt()) / (1.0 if arguments["normalized"] else n_fft**0.5)


def overlap_of(arguments: dict) -> tuple[int, int, int, int]:
    """istft's n_fft, hop_length, win_length, and how many samples it trims in front."""
    n_fft = int(arguments["n_fft"])
    hop = n_fft // 4 if arguments["hop_length"] is None else int(arguments["hop_length"])
    win = n_fft if arguments["win_length"] is None else int(arguments["win_length"])
    return n_fft, hop, win, n_fft // 2 if arguments["center"] else 0


def weight_of(arguments: dict, exact: torch.Tensor) -> torch.Tensor:
    """The envelope, largest value 1: the weight at which istft's samples are comparable."""
    n_fft, hop, win, first = overlap_of(arguments)
    window = torch.ones(win) if arguments["window"] is None else arguments["window"]
    frames, samples = arguments["input"].shape[-1], exact.shape[-1]
    envelope = compare.envelope(window, n_fft, hop, frames, first, samples).abs()
    return envelope / envelope.max().clamp(min=1e-300)


def compare_reach(call: Call, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """NaN and infinities must spoil what they spoil in torch: frames (stft), or samples under spoilt frames (istft).

    Which bins or samples of such a frame become NaN, and which infinite, depends on the factors an FFT multiplies by: a
    factor of zero or one skips them, and torch's own transforms differ in that from device to device.
    """
    if call.op == "stft":  # real and imaginary parts, and all bins of a frame, together
        pairs = [torch.view_as_real(one) if one.is_complex() else one for one in (ours, theirs)]
        spoilt = [(~torch.isfinite(one)).any(-1).any(-2) for one in pairs]
        assert torch.equal(*spoilt), "NaN or infinity reaches other frames than in torch"
        return
    spoilt = [~torch.isfinite(one).cpu() for one in (ours, theirs)]
    under, has_whole_frame = spoilt_samples(call, theirs.shape)
    elsewhere = [one & ~under for one in spoilt]
    assert torch.equal(*elsewhere), "NaN or infinity reaches samples that no spoilt frame touches"
    if has_whole_frame:  # of the others, what is kept may be just the samples that one transform leaves alone
        assert bool(spoilt[0].any()) == bool(spoilt[1].any())
    good = ~(spoilt[0] | spoilt[1]).to(ours.device)
    scale = float(theirs[good].abs().max()) if bool(good.any()) else 0.0
    torch.testing.assert_close(ours[good], theirs[good], rtol=1e-4, atol=1e-4 * scale)


def spoilt_samples(call: Call, shape: torch.Size) -> tuple[torch.Tensor, bool]:
    """Whether an output sample lies under a frame with a bin that is not finite (or there is such a window), and
    whether any such frame lies in the output as a whole."""
    arguments, _ = call.build(torch.device("cpu"), exact=True)
    n_fft, hop, _, first = overlap_of(arguments)
    frames = (~torch.isfinite(arguments["input"])).any(-2)
    window = arguments["window"]
    if window is not None and not bool(torch.isfinite(window).all()):
        frames = torch.ones_like(frames)
    under, has_whole_frame = torch.zeros(shape, dtype=torch.bool), False
    for frame in range(frames.shape[-1]):
        begin = frame * hop - first
        under[..., max(begin, 0) : begin + n_fft] |= frames[..., frame, None]
        has_whole_frame |= begin >= 0 and begin + n_fft <= shape[-1] and bool(frames[..., frame].any())
    return under, has_whole_frame
