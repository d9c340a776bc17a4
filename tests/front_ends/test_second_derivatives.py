"""Second derivatives of front ends under torch.func, in every way to take them, against torch's in float64.

Forward mode over reverse mode (hessian, jvp) is composed of torch's functions throughout; reverse over reverse meets
the kernels, and the derivative of their gradient.
"""

import contextlib

import pytest
import torch
from torch import func

import mps_spectro_patch as msp
from mps_spectro_patch.front_ends import compute
from mps_spectro_patch.front_ends.spec import FrontEnd, Scale

from .reference import mel64, relative

SAMPLES, N_FFT = 24, 16
CALLS = {
    "log": FrontEnd(N_FFT, 8, N_FFT, scale=Scale("add", 0.1)),
    "power 1": FrontEnd(N_FFT, 8, N_FFT, power=1.0, eps=1e-3),
    "magnitudes of a least size": FrontEnd(N_FFT, 8, N_FFT, power=1.0, floor=2.0),
    "floor": FrontEnd(N_FFT, 8, N_FFT, scale=Scale("clamp", 1e-5, below=2.0)),
}


@pytest.fixture(params=["fused", "composed"])
def scope(request, device_name):
    if request.param == "composed":
        return contextlib.nullcontext
    return lambda: msp.accelerated(devices=(device_name,), on_error="raise", verify="off")


@pytest.fixture
def tensors():
    basis = mel64(N_FFT // 2 + 1, 0, 8000, 5, 16000).float() + 0.05
    return torch.randn(2, SAMPLES), torch.rand(N_FFT) + 0.1, basis


def loss(call, use_kernels=True):
    return lambda x, window, basis: compute.compute(x, window, basis, call, use_kernels).sin().sum()


def directional(function, argnums, directions):
    """The derivative along `directions` of the gradient."""

    def of_gradient(*tensors):
        found = func.grad(function, argnums)(*tensors)
        return sum((one * d).sum() for one, d in zip(found, directions, strict=True))

    return of_gradient


def of_grad_of_grad(function, tensors, directions):
    return func.grad(directional(function, (0, 1, 2), directions), (0, 1, 2))(*tensors)


def of_grad_of_grad_of_the_waveform(function, tensors, directions):
    """Then window and basis are constants of the first derivative."""
    return (func.grad(directional(function, (0,), directions[:1]))(*tensors),)


def of_jvp_of_grad(function, tensors, directions):
    return func.jvp(func.grad(function, (0, 1, 2)), tensors, directions)[1]


def of_vjp_of_grad(function, tensors, directions):
    _, pull = func.vjp(func.grad(function, (0, 1, 2)), *tensors)
    return pull(directions)


def of_hessian(function, tensors, directions):
    return (func.hessian(function)(*tensors),)


def of_jacrev_of_jacrev(function, tensors, directions):
    return (func.jacrev(func.jacrev(function))(*tensors),)


def of_vmap_of_grad_of_grad(function, tensors, directions):
    """Each signal of a batch by itself; the directions are the waveforms'."""
    x, window, basis = tensors

    def one(x, direction):
        return func.grad(lambda x: (func.grad(function)(x, window, basis) * direction).sum())(x)

    return (func.vmap(one)(x, directions[0]),)


def of_autograd_in_a_vjp(function, tensors, directions):
    """A program's own create_graph=True inside of what torch.func differentiates once more."""

    def penalty(x, window, basis):
        return func.grad(function)(x, window, basis).square().sum()

    return func.grad(penalty, (0, 1, 2))(*tensors)


WAYS = (
    of_grad_of_grad, of_grad_of_grad_of_the_waveform, of_jvp_of_grad, of_vjp_of_grad, of_hessian, of_jacrev_of_jacrev,
    of_vmap_of_grad_of_grad, of_autograd_in_a_vjp,
)  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("way", WAYS)
def test_they_are_torchs(way, name, tensors, scope, torch_device):
    directions = tuple(torch.randn_like(t) for t in tensors)
    wide = way(loss(CALLS[name], False), *(tuple(t.double() for t in given) for given in (tensors, directions)))
    with scope():
        got = way(loss(CALLS[name]), *(tuple(t.to(torch_device) for t in given) for given in (tensors, directions)))
    for ours, theirs in zip(got, wide, strict=True):
        assert relative(ours, theirs) <= 5e-5


def test_half_waveforms_and_spectrograms_have_them(tensors, scope, torch_device):
    x, window, _ = tensors
    for dtype, bound in ((torch.float32, 5e-5), (torch.bfloat16, 0.05)):
        call = FrontEnd(N_FFT, 8, N_FFT, scale=Scale("add", 0.1))
        x = x.to(dtype)
        expected = of_grad_of_grad_of_the_waveform(loss(call, False), (x.double(), window.double(), None), [x.double()])
        with scope():
            there = x.to(torch_device), window.to(torch_device), None
            got = of_grad_of_grad_of_the_waveform(loss(call), there, [x.to(torch_device)])
        assert got[0].dtype is dtype and relative(got[0], expected[0]) <= bound


def test_third_derivatives_are_torchs(tensors, scope, torch_device):
    def third(function, x, window, basis):
        inner = func.grad(lambda x: func.grad(function)(x, window, basis).square().sum())
        return func.grad(lambda x: inner(x).square().sum())(x)

    expected = third(loss(CALLS["log"], False), *(t.double() for t in tensors))
    with scope():
        got = third(loss(CALLS["log"]), *(t.to(torch_device) for t in tensors))
    assert relative(got, expected) <= 2e-4
