"""The torch.library operators: schema, fake kernels, layout, derivatives of any order and batching rules."""

import pytest
import torch

from mps_spectro_patch import ops
from mps_spectro_patch.ops import composite, gradients, operators, surviving
from mps_spectro_patch.reasons import Reason, UseOriginal

N_FFT, HOP, WIN, SAMPLES, FRAMES = 64, 20, 50, 300, 16
STFT = (N_FFT, HOP, WIN, N_FFT // 2, "reflect", True, True)
ISTFT = (N_FFT, HOP, WIN, N_FFT // 2, True, True, False)


@pytest.fixture
def arguments(torch_device):
    """What each operator is called with, on the device and requiring gradients."""

    def leaf(*shape, dtype=torch.float32):
        return torch.randn(shape, dtype=dtype, device=torch_device).requires_grad_()

    def window():
        return (torch.rand(WIN, device=torch_device) + 0.5).requires_grad_()

    def spectrum(frames=FRAMES):
        return leaf(2, N_FFT // 2 + 1, frames, dtype=torch.complex64)

    return {
        "stft": (leaf(2, SAMPLES), window(), *STFT),
        "stft_adjoint": (spectrum(), window(), SAMPLES, *STFT, False),
        "stft_window_gradient": (spectrum(), leaf(2, SAMPLES), window(), *STFT),
        "istft": (spectrum(), window(), *ISTFT, 290, False),
        "istft_adjoint": (leaf(2, 290), window(), FRAMES, *ISTFT),
        "istft_window_gradient": (leaf(2, 290), spectrum(), window(), *ISTFT),
    }


OPERATORS = ("stft", "stft_adjoint", "stft_window_gradient", "istft", "istft_adjoint", "istft_window_gradient")
OF_TORCH = {  # the same made of torch's functions, in double precision as well
    "stft": composite.stft,
    "stft_adjoint": lambda gradient, window, samples, *arguments: torch.autograd.grad(
        composite.stft(zero := gradient.real.new_zeros(2, samples).requires_grad_(), window, *arguments[:-1]),
        zero, gradient, create_graph=True,
    )[0],
    "stft_window_gradient": lambda gradient, input, window, *arguments: torch.autograd.grad(
        composite.stft(input, window, *arguments), window, gradient, create_graph=True
    )[0],
    "istft": composite.istft,
    "istft_adjoint": lambda gradient, window, frames, *arguments: torch.autograd.grad(
        composite.istft(
            zero := torch.complex(gradient, gradient).new_zeros(2, N_FFT // 2 + 1, frames).requires_grad_(),
            window, *arguments, gradient.shape[1], False,
        ),
        zero, gradient, create_graph=True,
    )[0],
    "istft_window_gradient": lambda gradient, input, window, *arguments: torch.autograd.grad(
        composite.istft(input, window, *arguments, gradient.shape[1], False), window, gradient, create_graph=True
    )[0],
}  # fmt: skip


def double(tensor):
    if not isinstance(tensor, torch.Tensor):
        return tensor
    wide = tensor.detach().cpu().to(torch.complex128 if tensor.is_complex() else torch.float64)
    return wide.requires_grad_(tensor.requires_grad)


def assert_close(got, want):
    relative = float((got.detach().cpu() - want.detach()).norm() / want.detach().norm())
    assert relative <= 1e-6, f"relative L2 error {relative:.2e}"


@pytest.mark.parametrize("name", OPERATORS)
def test_torch_finds_nothing_wrong_with_the_operator(name, arguments, opcheck):
    opcheck(getattr(operators, name), arguments[name], rtol=1e-3, atol=1e-3)


def test_the_gradient_of_istfts_window_survives_a_failure_where_a_graph_kept_the_parts_of_the_spectrum(arguments):
    gradient, spectrum, window, *rest = arguments["istft_window_gradient"]
    survived = surviving.COMPOSITES["istft_window_gradient"]
    given = gradient.detach(), torch.view_as_real(spectrum.detach()), window.detach(), *rest
    assert_close(survived(*given), operators.istft_window_gradient(*given).cpu())


@pytest.mark.parametrize("name", OPERATORS)
def test_first_and_second_derivatives_are_torchs(name, arguments):
    mine, theirs = arguments[name], tuple(map(double, arguments[name]))
    results = []
    for function, given in ((getattr(operators, name), mine), (OF_TORCH[name], theirs)):
        leaves = [value for value in given if isinstance(value, torch.Tensor)]
        result = function(*given)
        if function is not OF_TORCH[name]:
            cotangent = torch.randn_like(result)
            weights = [torch.randn_like(leaf) for leaf in leaves]
        else:
            cotangent, weights = double(cotangent), list(map(double, weights))
        first = torch.autograd.grad(result, leaves, cotangent, create_graph=True, allow_unused=True)
        total = sum((torch.view_as_real(g * w.conj()) if g.is_complex() else g * w).sum()
                    for g, w in zip(first, weights, strict=True) if g is not None)  # fmt: skip
        second = torch.autograd.grad(total, leaves, allow_unused=True)
        results.append((result, *first, *second))
    for got, want in zip(*results, strict=True):
        if want is not None and want.norm() > 0:
            assert_close(got, want)


@pytest.mark.parametrize("name", OPERATORS)
def test_vmap_is_a_loop(name, arguments):
    operator = getattr(operators, name)
    mine = tuple(value.detach() if isinstance(value, torch.Tensor) else value for value in arguments[name])
    tensors = [position for position, value in enumerate(mine) if isinstance(value, torch.Tensor)]
    for batched in ([0], [tensors[-1]], tensors):
        given, dims = list(mine), [None] * len(mine)
        for position in batched:
            dims[position] = 1
            given[position] = torch.stack([mine[position], mine[position] * 2, mine[position].flip(-1)], 1)
        got = torch.func.vmap(operator, in_dims=tuple(dims))(*given)
        for index in range(3):
            one = [value.select(1, index) if position in batched else value for position, value in enumerate(given)]
            torch.testing.assert_close(got[index], operator(*one), rtol=1e-5, atol=1e-4)


def test_only_the_work_asked_for_is_done(arguments, monkeypatch):
    calls = []
    for name in OPERATORS:
        ways = gradients.WAYS[name]
        monkeypatch.setattr(ways, "body", lambda *a, n=name, body=ways.body: calls.append(n) or body(*a))
    for name, eager in (("stft", ops.eager_stft), ("istft", ops.eager_istft)):
        input, window, *rest = arguments[name]
        for leaves, expected in (
            ([input], [f"{name}_adjoint"]),
            ([window], [f"{name}_window_gradient"]),
            ([input, window], [f"{name}_adjoint", f"{name}_window_gradient"]),
        ):
            needed = [t if any(t is leaf for leaf in leaves) else t.detach() for t in (input, window)]
            calls.clear()
            eager(*needed, *rest).abs().sum().backward()
            assert calls == [name, *expected]


def test_a_half_signal_gets_a_half_gradient(torch_device):
    for dtype in (torch.float16, torch.bfloat16):
        signal = torch.randn(2, SAMPLES, device=torch_device).to(dtype).requires_grad_()
        ops.eager_stft(signal, torch.ones(WIN, device=torch_device), *STFT).abs().sum().backward()
        assert signal.grad.dtype is dtype


def test_stft_has_torchs_strides(torch_device):
    signal, window = torch.randn(3, 3001, device=torch_device), torch.hann_window(400, device=torch_device)
    got = ops.stft(signal, window, 400, 100, 400, 200, "reflect", False, True)
    assert got.stride() == torch.functional.stft(signal, 400, 100, window=window, return_complex=True).stride()


def test_where_the_envelope_vanishes_an_eager_call_asks_for_the_original(torch_device):
    spectrum = torch.randn(2, 201, 31, dtype=torch.complex64, device=torch_device)
    window = torch.hann_window(400, device=torch_device)
    with pytest.raises(UseOriginal) as refusal:
        ops.eager_istft(spectrum, window, 400, 400, 400, 200, False, True, False, 2900, False)
    assert refusal.value.reason is Reason.NOLA
    with pytest.raises(RuntimeError, match="window overlap add min") as ours:
        ops.istft(spectrum, window, 400, 400, 400, 200, False, True, False, 2900, False)
    with pytest.raises(RuntimeError) as theirs:
        torch._VF.istft(spectrum, 400, 400, 400, window, True, False, True, 2900, False)
    assert str(ours.value) == str(theirs.value)
