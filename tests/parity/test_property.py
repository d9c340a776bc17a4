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
    weight = weight_of(call, exact) if call.op == "istft" else None
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
    for name, mine, torchs, right, parts in results:
        assert (mine.shape, mine.dtype, mine.device) == (torchs.shape, torchs.dtype, torchs.device)
        if bool(torch.isfinite(torchs).all() & torch.isfinite(right).all()):
            bound = compare.GRADIENT_REL_L2
            # An expanded tensor's gradient is a sum, which may cancel: what counts is the size of its parts.
            scale = float(parts.norm()) / max(1, right.numel()) ** 0.5
            if call.op == "istft" and name == "window":  # made of frames, of which trimming may leave small samples
                scale = max(scale, scale_of(exact_arguments) * float(single.abs().max()))
            assert_close(mine, torchs, right, rel_l2=bound, max_abs=3 * bound, scale=scale, what="gradient")


def scale_of(arguments: dict) -> float:
    """The size of a frame's samples: those few that trimming leaves may be smaller than what they are sums of."""
    spectrum, n_fft = arguments["input"], int(arguments["n_fft"])
    return float(spectrum.detach().abs().square().mean().sqrt()) / (1.0 if arguments["normalized"] else n_fft**0.5)


def weight_of(call: Call, exact: torch.Tensor) -> torch.Tensor | None:
    arguments, _ = call.build(torch.device("cpu"), exact=True)
    n_fft = int(arguments["n_fft"])
    hop = n_fft // 4 if arguments["hop_length"] is None else int(arguments["hop_length"])
    win = n_fft if arguments["win_length"] is None else int(arguments["win_length"])
    window = torch.ones(win) if arguments["window"] is None else arguments["window"]
    first = n_fft // 2 if arguments["center"] else 0
    return compare.envelope(window, n_fft, hop, arguments["input"].shape[-1], first, exact.shape[-1])


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
    n_fft = int(arguments["n_fft"])
    hop = n_fft // 4 if arguments["hop_length"] is None else int(arguments["hop_length"])
    first = n_fft // 2 if arguments["center"] else 0
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
