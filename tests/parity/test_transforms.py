"""torch.func over patched calls gives what it gives over unpatched ones, and raises only where those raise.

Where torch itself cannot (a window that varies under vmap in istft), ours may: the right answer is then a loop's.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap

from .compare import GRADIENT_REL_L2, assert_close, outcome, unpatched
from .modes import MODES, Mode, doubles

pytestmark = pytest.mark.usefixtures("enabled")
SOME = ["stft, reflect", "stft, one dimension", "stft, constant", "stft, not centred", "stft, two-sided",
        "stft, real output", "stft, odd n_fft", "stft, complex signal", "stft, complex window",
        "istft, plain", "istft, no batch dimension", "istft, length shorter", "istft, length longer",
        "istft, odd n_fft", "istft, two-sided", "istft, complex output"]  # fmt: skip
some = pytest.mark.parametrize("mode", SOME)
FEW = ["stft, reflect", "stft, one dimension", "stft, odd n_fft", "istft, plain", "istft, length shorter",
       "istft, odd n_fft"]  # fmt: skip
few = pytest.mark.parametrize("mode", FEW)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def flat(results) -> list[torch.Tensor]:
    return torch.utils._pytree.tree_leaves(results)


def check(transformed, mode: Mode, tensors, rel_l2=GRADIENT_REL_L2, otherwise=None) -> None:
    """transformed(call, *tensors), ours against torch's in float64; `otherwise` is right where torch raises."""
    ours = outcome(transformed, mode, *tensors)
    with unpatched():
        theirs, exact = outcome(transformed, mode, *tensors), outcome(transformed, mode, *doubles(tensors))
    if theirs.error is not None:
        if ours.error is not None:
            assert ours.error[0] is theirs.error[0], (ours.error, theirs.error)
        elif otherwise is not None:
            with unpatched():
                theirs, exact = outcome(otherwise, mode, *tensors), outcome(otherwise, mode, *doubles(tensors))
    if theirs.error is None:
        assert ours.error is None, ours.error
        assert len(flat(ours.result)) == len(flat(theirs.result))
        for mine, torchs, right in zip(flat(ours.result), flat(theirs.result), flat(exact.result), strict=True):
            assert (mine.shape, mine.dtype, mine.requires_grad) == (torchs.shape, torchs.dtype, torchs.requires_grad)
            assert_close(mine, torchs, right, rel_l2=rel_l2, max_abs=3 * rel_l2, what=mode.op)


def several(tensors, number: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """`number` inputs and windows, stacked, all different."""
    factors = torch.linspace(0.7, 1.3, number, device=tensors[0].device)
    input, window = tensors
    inputs = torch.stack([input.roll(step, -1) * factor for step, factor in enumerate(factors)])
    return inputs, torch.stack([window * factor for factor in factors])


def loss(result: torch.Tensor) -> torch.Tensor:
    real = torch.view_as_real(result) if result.is_complex() else result
    weights = torch.linspace(-1, 1, real.numel(), device=real.device, dtype=real.dtype)
    return (real.reshape(-1) * weights).square().sum()


@some
@pytest.mark.parametrize("in_dims", [(0, None), (None, 0), (0, 0), (1, None), (-1, None), (0, 1)])
@pytest.mark.parametrize("out_dims", [0, -1])
def test_vmap(mode, in_dims, out_dims, torch_device):
    mode = MODES[mode]
    inputs, windows = several(mode.inputs(torch_device))
    tensors = [
        full[0] if where is None else full.movedim(0, where)
        for full, where in zip((inputs, windows), in_dims, strict=True)
    ]

    def mapped(call, input, window):
        return vmap(call, in_dims, out_dims)(input, window)

    def looped(call, input, window):
        return torch.stack(
            [
                call(*(
                    given if where is None else given.select(where, number)
                    for given, where in zip((input, window), in_dims, strict=True)
                ))
                for number in range(3)
            ],
            out_dims,
        )  # fmt: skip

    check(mapped, mode, tensors, otherwise=looped)


@few
def test_vmap_nested(mode, torch_device):
    mode = MODES[mode]
    inputs, windows = several(mode.inputs(torch_device))
    nested = torch.stack([inputs, inputs * 2])

    def twice(call, input, window):
        return vmap(vmap(call, (0, None)), (0, None))(input, window)

    def crossed(call, input, window):
        return vmap(vmap(call, (None, 0)), (0, None))(input, window)

    def crossed_loop(call, input, window):
        return torch.stack([torch.stack([call(one, other) for other in window]) for one in input])

    def chunked(call, input, window):
        return vmap(call, (0, None), chunk_size=2)(input, window)

    check(twice, mode, (nested, windows[0]))
    check(crossed, mode, (inputs, windows), otherwise=crossed_loop)
    check(chunked, mode, (inputs, windows[0]))


@few
def test_vmap_over_python_code_around_the_call(mode, torch_device):
    mode = MODES[mode]
    inputs, windows = several(mode.inputs(torch_device))

    def around(call, input, window):
        return vmap(lambda one: call(one * 2, window.abs()).abs() + 1)(input)

    def random(call, input, window):
        return vmap(
            lambda one: call(one, window) * 0 + torch.rand((), device=one.device).sign(), randomness="different"
        )(input)

    check(around, mode, (inputs, windows[0]))
    check(random, mode, (inputs, windows[0]))


@few
@pytest.mark.parametrize("nested", [False, True])
def test_strides_under_vmap_are_torchs(mode, nested, torch_device):
    """Inside, where a program may take a view, and outside."""
    mode, seen = MODES[mode], []
    input, window = mode.inputs(torch_device)

    def one(input):
        result = mode(input, window)
        seen.append(result.stride())
        return result, result.view(-1)

    call, many = vmap(one), torch.stack([input, 2 * input, input + 1])
    if nested:
        call, many = vmap(call, in_dims=1, out_dims=1), torch.stack([many, many / 2], 1)

    def strides():
        seen.clear()
        return [result.stride() for result in call(many)], list(seen)

    ours = strides()
    with unpatched():
        assert ours == strides()


@some
@pytest.mark.parametrize("argument", [0, 1, (0, 1)])
def test_grad_and_vjp(mode, argument, torch_device):
    mode = MODES[mode]

    def gradient(call, input, window):
        return grad(lambda *given: loss(call(*given)), argument)(input, window)

    def pulled(call, input, window):
        result, pull = vjp(call, input, window)
        return result, *pull(result)

    check(gradient, mode, mode.inputs(torch_device))
    check(pulled, mode, mode.inputs(torch_device))


@few
def test_grad_of_grad(mode, torch_device):
    mode = MODES[mode]

    def second(call, input, window):
        inner = grad(lambda *given: loss(call(*given)))
        return grad(lambda *given: inner(*given).abs().square().sum(), (0, 1))(input, window)

    check(second, mode, mode.inputs(torch_device), rel_l2=3e-6)


@some
def test_jvp(mode, torch_device):
    mode = MODES[mode]

    def input_only(call, input, window):
        return jvp(lambda one: call(one, window), (input,), (input.flip(-1),))

    def window_only(call, input, window):
        return jvp(lambda one: call(input, one), (window,), (window.flip(-1),))

    def both(call, input, window):
        return jvp(call, (input, window), (input.flip(-1), window.flip(-1)))

    def linear(call, input, window):
        result, push = linearize(lambda one: call(one, window), input)
        return result, push(input.flip(-1))

    for program in (input_only, window_only, both):
        check(program, mode, mode.inputs(torch_device))
    if mode.op == "stft":  # linearize traces, and torch.istft cannot be traced
        check(linear, mode, mode.inputs(torch_device))


@few
@pytest.mark.parametrize("jacobian", [jacrev, jacfwd])
@pytest.mark.parametrize("argument", [0, 1])
def test_jacobians(mode, jacobian, argument, torch_device):
    mode = MODES[mode]

    def real(call, input, window):
        """Of real tensors alone: jacobians of complex functions are refused in part."""

        def call_with_pairs(input, window):
            result = call(torch.view_as_complex(input) if mode.op == "istft" else input, window)
            return torch.view_as_real(result) if result.is_complex() else result

        pairs = torch.view_as_real(input) if input.is_complex() else input
        return jacobian(call_with_pairs, argument)(pairs, window)

    check(real, mode, mode.inputs(torch_device))


@pytest.mark.parametrize("mode", ["stft, one dimension", "stft, odd n_fft", "istft, no batch dimension"])
@pytest.mark.parametrize("argument", [0, 1])
def test_hessians(mode, argument, torch_device):
    mode = MODES[mode]

    def second(call, input, window):
        pairs = torch.view_as_real(input) if input.is_complex() else input

        def real(input, window):
            return loss(call(torch.view_as_complex(input) if mode.op == "istft" else input, window))

        return hessian(real, argument)(pairs, window), jacrev(jacrev(real, argument), argument)(pairs, window)

    check(second, mode, mode.inputs(torch_device), rel_l2=3e-6)


@some
def test_gradients_per_sample(mode, torch_device):
    mode = MODES[mode]
    inputs, windows = several(mode.inputs(torch_device))

    def per_sample(call, input, window):
        return vmap(grad(lambda *given: loss(call(*given)), (0, 1)), (0, None))(input, window)

    def looped(call, input, window):
        each = [grad(lambda *given: loss(call(*given)), (0, 1))(one, window) for one in input]
        return tuple(torch.stack(parts) for parts in zip(*each, strict=True))

    def of_mapped(call, input, window):
        return grad(lambda *given: loss(vmap(call, (0, None))(*given)), (0, 1))(input, window)

    def tangents(call, input, window):
        return vmap(lambda one: jvp(lambda at: call(at, window), (one,), (one,))[1])(input)

    check(per_sample, mode, (inputs, windows[0]), otherwise=looped)
    check(of_mapped, mode, (inputs, windows[0]))
    check(tangents, mode, (inputs, windows[0]))


@few
def test_autograd_through_transforms(mode, torch_device):
    mode = MODES[mode]
    inputs, windows = several(mode.inputs(torch_device))

    def outer(call, input, window):
        input, window = input.detach().requires_grad_(), window.detach().requires_grad_()
        return torch.autograd.grad(loss(vmap(call, (0, None))(input, window)), [input, window])

    def through_grad(call, input, window):
        input = input.detach().requires_grad_()
        inner = grad(lambda one: loss(call(one, window)))(input)
        return torch.autograd.grad(inner.abs().square().sum(), input)

    check(outer, mode, (inputs, windows[0]))
    check(through_grad, mode, (inputs[0], windows[0]), rel_l2=3e-6)


@few
def test_functional_call(mode, torch_device):
    mode = MODES[mode]

    class Learned(torch.nn.Module):
        def __init__(self, window):
            super().__init__()
            self.window = torch.nn.Parameter(window)

        def forward(self, call, signal):
            return call(signal, self.window)

    def called(call, input, window):
        module = Learned(torch.ones_like(window))
        return functional_call(module, {"window": window}, (call, input)).detach()

    def differentiated(call, input, window):
        module = Learned(torch.ones_like(window))
        return grad(lambda one: loss(functional_call(module, {"window": one}, (call, input))))(window)

    def ensemble(call, input, window):
        module = Learned(torch.ones_like(window))
        windows = torch.stack([window, window * 2])
        return vmap(lambda one: functional_call(module, {"window": one}, (call, input)).detach())(windows)

    def ensemble_loop(call, input, window):
        return torch.stack([call(input, window), call(input, window * 2)])

    check(called, mode, mode.inputs(torch_device))
    check(differentiated, mode, mode.inputs(torch_device))
    check(ensemble, mode, mode.inputs(torch_device), otherwise=ensemble_loop)


@pytest.mark.parametrize("transform", ["vmap", "grad", "jvp"])
def test_errors_inside_transforms_are_torchs(transform, torch_device):
    """Wrong arguments, and an envelope that is zero somewhere."""
    stft, istft = MODES["stft, reflect"], MODES["istft, plain"]
    programs = {
        "vmap": lambda function, one: vmap(function)(torch.stack([one, one])),
        "grad": lambda function, one: grad(lambda at: loss(function(at)))(one),
        "jvp": lambda function, one: jvp(function, (one,), (one,)),
    }
    input, window = stft.inputs(torch_device)
    spectrum, _ = istft.inputs(torch_device)
    for function, argument in (
        (lambda one: torch.stft(one, 16, 0, 16, window, return_complex=True), input),
        (lambda one: torch.stft(one, 16, 4, 15, window, return_complex=True), input),
        (lambda one: torch.stft(one, 16, 4, 16, window), input),
        (lambda one: torch.stft(one, 16, 4, 16, window, pad_mode="bogus", return_complex=True), input),
        (lambda one: torch.istft(one, 16, 20, 16, window), spectrum),
        (lambda one: torch.istft(one, 18, 4, 16, window), spectrum),
        (lambda one: torch.istft(one, 16, 4, 16, window, length=0), spectrum),
        (lambda one: torch.istft(one, 16, 4, 16, window * 0), spectrum),
        (lambda one: torch.istft(one, 16, 16, 16, torch.hann_window(16, device=one.device)), spectrum),
    ):
        ours = outcome(programs[transform], function, argument)
        with unpatched():
            theirs = outcome(programs[transform], function, argument)
        assert theirs.error is not None
        assert ours.error == theirs.error


def test_tensors_that_escape_from_a_transform(torch_device):
    mode = MODES["stft, one dimension"]
    input, window = mode.inputs(torch_device)
    kept = []

    def leak(one):
        kept.append(one)
        return one.sum()

    vmap(leak)(torch.stack([input, input]))
    ours = outcome(mode, kept[0], window)
    with unpatched():
        theirs = outcome(mode, kept[0], window)
    assert (ours.error is None) == (theirs.error is None)
    if theirs.error:
        assert ours.error[0] is theirs.error[0]
