"""Gradients of patched calls are those of float64 torch: in every mode, at the awkward places, and of every order."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.autograd import forward_ad

from tests.tiers import some

from .compare import GRADIENT_REL_L2, assert_close, unpatched
from .modes import MODES, WHICH, Mode, doubles, leaves

pytestmark = [
    pytest.mark.usefixtures("enabled"),
    pytest.mark.filterwarnings("ignore:stft with return_complex=False"),
    pytest.mark.filterwarnings("ignore:The length of signal is shorter"),
    pytest.mark.filterwarnings("ignore:Input #"),
]
# Of second order, those ways that differ from each other; the rest only moves indices.
SECOND_ORDER = [
    name for name in MODES
    if name not in ("stft, replicate, one sample", "stft, n_fft 1", "stft, n_fft 2", "istft, n_fft 2")
]  # fmt: skip
# Whose gradients the first tier compares with differences, too; with those of float64 it compares the gradients of all.
CHECKED_BY_TORCH = [
    "stft, reflect", "stft, constant", "stft, replicate", "stft, circular", "stft, not centred", "stft, short window",
    "stft, two-sided", "stft, real output", "stft, odd n_fft", "stft, complex signal", "stft, complex window",
    "istft, plain", "istft, normalized", "istft, length longer", "istft, not centred", "istft, short window",
    "istft, odd n_fft", "istft, two-sided", "istft, complex output", "istft, complex window",
]  # fmt: skip


def compare_gradients(ours, theirs, exact, rel_l2=GRADIENT_REL_L2) -> None:
    """Each a tuple of gradients."""
    for number, (mine, torchs, right) in enumerate(zip(ours, theirs, exact, strict=True)):
        assert (mine.shape, mine.dtype, mine.device) == (torchs.shape, torchs.dtype, torchs.device)
        assert_close(mine, torchs, right, rel_l2=rel_l2, max_abs=3 * rel_l2, what=f"gradient {number}")


def check(function, mode: Mode, which, device, rel_l2=GRADIENT_REL_L2) -> None:
    """function(call, input, window, wanted) -> gradients: the same from ours, torch's, and torch's in float64."""
    tensors = mode.inputs(device)

    def run(tensors):
        tensors = leaves(tensors, which)
        return function(mode, *tensors, [tensor for tensor in tensors if tensor.requires_grad])

    ours = run(tensors)
    with unpatched():
        theirs, exact = run(tensors), run(doubles(tensors))
    compare_gradients(ours, theirs, exact, rel_l2)


def first_order(call, input, window, wanted):
    result = call(input, window)
    return torch.autograd.grad(result, wanted, like(result))


def like(result: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """A cotangent: random, the same in either precision."""
    single = torch.complex64 if result.is_complex() else torch.float32
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(result.shape, dtype=single, generator=generator).to(result.device, result.dtype)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_those_of_float64(mode, which, torch_device):
    check(first_order, MODES[mode], WHICH[which], torch_device)


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("mode", some(MODES, CHECKED_BY_TORCH))
def test_gradcheck(mode, fast, torch_device):
    mode = MODES[mode]
    tensors = leaves(mode.inputs(torch_device), (True, True))
    # Linear in the input and in stft's window: wide steps cost no accuracy. Not so in istft's, whose square divides.
    eps = 1e-2 if mode.op == "stft" else 2e-3
    assert torch.autograd.gradcheck(
        mode,
        tensors,
        eps=eps,
        atol=1e-2,
        rtol=1e-2,
        nondet_tol=1e-5,
        check_batched_grad=True,
        check_forward_ad=True,
        fast_mode=fast,
    )


@pytest.mark.parametrize("mode", some(SECOND_ORDER, CHECKED_BY_TORCH))
def test_gradgradcheck(mode, torch_device):
    mode = MODES[mode]
    tensors = leaves(mode.inputs(torch_device), (True, True))
    with unpatched():
        result = mode(*tensors)
    cotangents = [like(result).requires_grad_()]
    assert torch.autograd.gradgradcheck(
        mode, tensors, cotangents, eps=1e-2, atol=2e-2, rtol=2e-2, nondet_tol=1e-4, fast_mode=True
    )


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("mode", SECOND_ORDER)
def test_a_gradient_penalty_has_the_gradient_of_float64(mode, which, torch_device):
    def penalty(call, input, window, wanted):
        result = call(input, window)
        gradients = torch.autograd.grad(result, wanted, like(result), create_graph=True)
        loss = sum((gradient.abs() ** 2).sum() for gradient in gradients) + (result.abs() ** 2).sum()
        return torch.autograd.grad(loss, wanted)

    check(penalty, MODES[mode], WHICH[which], torch_device, rel_l2=3 * GRADIENT_REL_L2)


@pytest.mark.parametrize("mode", ["stft, reflect", "stft, odd n_fft", "istft, plain", "istft, length longer"])
def test_gradients_with_respect_to_the_cotangent_and_of_third_order(mode, torch_device):
    def third(call, input, window, wanted):
        result = call(input, window)
        cotangent = like(result).requires_grad_()
        gradients = torch.autograd.grad(result, wanted, cotangent, create_graph=True)
        loss = sum((gradient.abs() ** 3).sum() for gradient in gradients)
        second = torch.autograd.grad(loss, [*wanted, cotangent], create_graph=True, allow_unused=True)
        second = [gradient for gradient in second if gradient is not None]
        loss = sum((gradient.abs() ** 2).sum() for gradient in second)
        return [*second, *torch.autograd.grad(loss, [*wanted, cotangent])]

    check(third, MODES[mode], (True, True), torch_device, rel_l2=1e-5)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("mode", MODES)
def test_forward_mode_gives_the_derivative_of_float64(mode, which, torch_device):
    def forward(call, input, window, wanted):
        tensors = [input.detach(), window.detach()]
        with forward_ad.dual_level():
            duals = [
                forward_ad.make_dual(tensor, like(tensor, 2)) if moves else tensor
                for tensor, moves in zip(tensors, WHICH[which], strict=True)
            ]
            result = forward_ad.unpack_dual(call(*duals))
            return result.primal.clone(), result.tangent.clone()

    check(forward, MODES[mode], (False, False), torch_device)


@pytest.mark.parametrize("mode", ["stft, reflect", "stft, two-sided", "istft, plain", "istft, length shorter"])
def test_forward_over_reverse_and_reverse_over_forward(mode, torch_device):
    def forward_over_reverse(call, input, window, wanted):
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(tensor, like(tensor, 2)) for tensor in (input, window)]
            result = call(*duals)
            gradients = torch.autograd.grad(result, duals, like(result), create_graph=True)
            return [forward_ad.unpack_dual(gradient).tangent.detach().clone() for gradient in gradients]

    def reverse_over_forward(call, input, window, wanted):
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(tensor, like(tensor, 2)) for tensor in (input, window)]
            tangent = forward_ad.unpack_dual(call(*duals)).tangent
            return torch.autograd.grad(tangent, wanted, like(tangent))

    check(forward_over_reverse, MODES[mode], (True, True), torch_device, rel_l2=3e-6)
    check(reverse_over_forward, MODES[mode], (True, True), torch_device, rel_l2=3e-6)


# --- awkward places ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [64, 65, 71, 72])
@pytest.mark.parametrize("pad_mode", ["reflect", "constant", "replicate", "circular"])
@pytest.mark.parametrize("rectangular", [False, True])
def test_every_sample_next_to_the_boundary_has_its_own_right_gradient(samples, pad_mode, rectangular, torch_device):
    options = dict(n_fft=16, hop_length=8, win_length=16, pad_mode=pad_mode, return_complex=True)
    mode = Mode("stft", (1, samples), options, rectangular=rectangular)
    input, window = leaves(mode.inputs(torch_device), (True, False))
    (gradient,) = first_order(mode, input, window, [input])
    exact, window64 = doubles((input, window))
    exact.requires_grad_()
    with unpatched():
        (right,) = first_order(mode, exact, window64, [exact])
    error = (gradient.cpu().double() - right).abs()[0] / right.abs().max()
    assert float(error.max()) <= 1e-6, f"samples {error.topk(4).indices.tolist()} of {samples}"


@pytest.mark.parametrize("op", ["stft", "istft"])
def test_signals_longer_than_65536_samples(op, torch_device):
    samples, hop = 65_536 + 4_464, 16
    options = dict(n_fft=32, hop_length=hop, win_length=32)
    if op == "stft":
        mode = Mode("stft", (1, samples), options | dict(return_complex=True), 32)
    else:
        mode = Mode("istft", (1, 17, samples // hop + 1), options | dict(length=samples), 32)
    check(first_order, mode, (True, True), torch_device)


@pytest.mark.parametrize("n_fft", [813, 1085, 1218])
def test_sizes_of_keyshift_front_ends(n_fft, torch_device):
    options = dict(n_fft=n_fft, hop_length=n_fft // 4, win_length=n_fft)
    check(
        first_order,
        Mode("stft", (1, 2 * n_fft), options | dict(return_complex=True), n_fft),
        (True, False),
        torch_device,
    )
    check(first_order, Mode("istft", (1, n_fft // 2 + 1, 7), options, n_fft), (True, False), torch_device)


LOSSES = {
    "magnitude": lambda spectrum: spectrum.abs().sum(),
    "power": lambda spectrum: (spectrum.abs() ** 2).sum(),
    "pow(2)": lambda spectrum: spectrum.abs().pow(2).sum(),
    "real and imaginary": lambda spectrum: (spectrum.real**2 + spectrum.imag**2).sum(),
    "view_as_real": lambda spectrum: torch.view_as_real(spectrum).square().sum(),
    "conjugate product": lambda spectrum: (spectrum * spectrum.conj()).real.sum(),
    "log of the power": lambda spectrum: (spectrum.abs() ** 2 + 1e-3).log().sum(),
    "clamped magnitude": lambda spectrum: spectrum.abs().clamp(min=1e-3).log().sum(),
    "compressed": lambda spectrum: (spectrum.abs() + 1e-2).pow(0.3).sum(),
    "real part only": lambda spectrum: spectrum.real.sum(),
    "imaginary part only": lambda spectrum: spectrum.imag.sum(),
}


@pytest.mark.parametrize("signal", ["noise", "silence", "silence, then noise", "a click"])
@pytest.mark.parametrize("loss", LOSSES)
def test_spectrogram_losses(loss, signal, torch_device):
    def gradient_of(call, input, window, wanted):
        with torch.no_grad():
            if signal == "silence":
                input.zero_()
            elif signal == "silence, then noise":
                input[:, :60] = 0
            elif signal == "a click":
                input.zero_()[:, 40] = 1
        return torch.autograd.grad(LOSSES[loss](call(input, window)), wanted)

    mode = Mode("stft", (2, 120), dict(n_fft=16, hop_length=4, win_length=16, return_complex=True))
    input, window = mode.inputs(torch_device)
    if signal == "a click":  # magnitudes of exactly zero are torch's matter and ours; a window without zeros makes none
        window = window + 0.1
    ours = leaves((input, window), (True, True))
    ours = gradient_of(mode, *ours, ours)
    with unpatched():
        theirs, exact = leaves((input, window), (True, True)), leaves(doubles((input, window)), (True, True))
        theirs, exact = gradient_of(mode, *theirs, theirs), gradient_of(mode, *exact, exact)
    for mine, torchs, right in zip(ours, theirs, exact, strict=True):
        assert bool(torch.isfinite(mine).all())
        if not bool(torchs.any()):
            assert not bool(mine.any())
        assert_close(mine, torchs, right, rel_l2=3 * GRADIENT_REL_L2, max_abs=1e-5, what=loss)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_gradients_of_silent_bins_are_torchs_even_where_they_are_nan(power, torch_device):
    mode = MODES["stft, reflect"]
    input, window = mode.inputs(torch_device)
    input = torch.zeros_like(input).requires_grad_()
    (ours,) = torch.autograd.grad((mode(input, window).abs() ** power).sum(), input)
    with unpatched():
        (theirs,) = torch.autograd.grad((mode(input, window).abs() ** power).sum(), input)
    assert torch.equal(torch.isnan(ours), torch.isnan(theirs))


def test_a_round_trip_through_a_mask_is_differentiated_right(torch_device):
    def masked(call, input, window, wanted):
        mask = torch.linspace(0.1, 1, 9, dtype=input.dtype, device=input.device)[:, None]
        spectrum = torch.stft(input, 16, 4, 16, window, return_complex=True)
        signal = torch.istft(spectrum * mask, 16, 4, 16, window, length=input.shape[-1])
        return torch.autograd.grad(signal.pow(3).sum(), wanted)

    check(masked, MODES["stft, one dimension"], (True, True), torch_device, rel_l2=3 * GRADIENT_REL_L2)


COTANGENTS = {
    "expanded": lambda shape, kind: torch.ones((), dtype=kind).expand(shape),
    "expanded over rows": lambda shape, kind: torch.randn((1, *shape[1:]), dtype=kind).expand(shape),
    "transposed": lambda shape, kind: torch.randn((*shape[:-2], shape[-1], shape[-2]), dtype=kind).mT,
    "every second": lambda shape, kind: torch.randn((*shape[:-1], 2 * shape[-1]), dtype=kind)[..., ::2],
    "offset": lambda shape, kind: torch.randn((*shape[:-1], shape[-1] + 1), dtype=kind)[..., 1:],
    "conjugated": lambda shape, kind: torch.randn(shape, dtype=kind).conj(),
    "negated": lambda shape, kind: torch._neg_view(torch.randn(shape, dtype=kind)),
    "zero": lambda shape, kind: torch.zeros(shape, dtype=kind),
}


@pytest.mark.parametrize("cotangent", COTANGENTS)
@pytest.mark.parametrize("mode", ["stft, reflect", "stft, complex signal", "istft, plain", "istft, complex output"])
def test_cotangents_come_in_every_layout(mode, cotangent, torch_device):
    kept = {}

    def gradient_of(call, input, window, wanted):
        result = call(input, window)
        if not kept:
            kind = torch.complex64 if result.is_complex() else torch.float32
            kept["cotangent"] = COTANGENTS[cotangent](result.shape, kind).to(result.device)
        given = kept["cotangent"]
        if result.dtype in (torch.float64, torch.complex128):
            given = given.cpu().to(result.dtype)
        return torch.autograd.grad(result, wanted, given)

    check(gradient_of, MODES[mode], (True, True), torch_device)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_signals_get_gradients_of_their_own_type(dtype, torch_device):
    input = torch.randn(2, 60).to(dtype)
    window = torch.hann_window(16) + 0.1

    def run(input, window):
        input = input.detach().requires_grad_()
        result = torch.stft(input, 16, 4, 16, window, center=False, return_complex=True)
        return torch.autograd.grad(result, input, like(result))

    ours = run(input.to(torch_device), window.to(torch_device))
    with unpatched():
        theirs, exact = run(input.to(torch_device), window.to(torch_device)), run(input.double(), window.double())
    assert ours[0].dtype is dtype
    compare_gradients(ours, theirs, exact)


def test_batched_cotangents(torch_device):
    for mode in (MODES["stft, reflect"], MODES["istft, plain"]):
        input, window = leaves(mode.inputs(torch_device), (True, True))
        result = mode(input, window)
        cotangents = torch.stack([like(result, seed) for seed in range(3)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batched = torch.autograd.grad(result, [input, window], cotangents, is_grads_batched=True, retain_graph=True)
        for number, cotangent in enumerate(cotangents):
            single = torch.autograd.grad(result, [input, window], cotangent, retain_graph=True)
            torch.testing.assert_close([one[number] for one in batched], list(single), rtol=1e-4, atol=1e-4)
