"""Drawn programs: an stft and steps behind it, with and without second uses. Values and gradients are those of torch in
float64; plain ones are one call; what somebody else uses stays."""

from __future__ import annotations

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import comparison
from mps_spectro_patch.graphs import backend

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

N_FFT, HOP, BANDS, EPS = 64, 16, 5, 1e-3
BINS = N_FFT // 2 + 1


class Tensors:
    """What a program reads: float32 on the device, or float64 on the CPU."""

    def __init__(self, shape, device, dtype=torch.float32):
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(*shape, 300, generator=generator).to(device, dtype)
        self.window = (torch.rand(N_FFT, generator=generator) + 0.5).to(device, dtype)
        basis = torch.zeros(BANDS, BINS)
        for band in range(BANDS):
            basis[band, 6 * band : 6 * band + 9] = torch.rand(9, generator=generator)
        self.basis = basis.to(device, dtype)
        self.columns = basis.t().contiguous().to(device, dtype)


def framed(normalized, center):
    def stft(x, t):
        rows = x.reshape(-1, x.shape[-1])
        spectrum = torch.stft(
            rows, N_FFT, HOP, window=t.window, center=center, normalized=normalized, return_complex=True
        )
        return spectrum if x.dim() == 2 else spectrum.reshape(x.shape[:-1] + spectrum.shape[-2:])

    return stft


# Each step: v -> v, written as programs write it. Those of one line say the same.
MAGNITUDES = [lambda v, t: v.abs(), lambda v, t: torch.abs(v), lambda v, t: v.abs() ** 1.5]
POWERS = [
    lambda v, t: v.abs().pow(2), lambda v, t: v.abs().square(), lambda v, t: v.real**2 + v.imag**2,
    lambda v, t: torch.view_as_real(v).pow(2).sum(-1), lambda v, t: torch.sum(torch.view_as_real(v) ** 2, dim=v.dim()),
    lambda v, t: (v * v.conj()).real + EPS, lambda v, t: v.imag * v.imag + v.real * v.real,
    lambda v, t: (lambda p: p[..., 0] ** 2 + p[..., 1] ** 2)(torch.view_as_real(v)),
    lambda v, t: v.abs().pow(2) + EPS, lambda v, t: torch.add(EPS, v.real**2 + v.imag**2),
    lambda v, t: (v.real**2 + v.imag**2 + EPS).sqrt(), lambda v, t: torch.sqrt(v.abs() ** 2 + EPS),
    lambda v, t: (EPS + torch.view_as_real(v).pow(2).sum(-1)) ** 0.5,
]  # fmt: skip
GAINS = [lambda v, t: v, lambda v, t: v * 0.7, lambda v, t: 3 * v, lambda v, t: v / 5]
BANKS = [
    lambda v, t: v, lambda v, t: t.basis @ v, lambda v, t: torch.matmul(t.basis, v),
    lambda v, t: torch.matmul(v.transpose(-1, -2), t.columns).transpose(-1, -2), lambda v, t: v.mT @ t.columns,
    lambda v, t: torch.nn.functional.linear(v.transpose(-1, -2), t.basis), lambda v, t: v.swapaxes(-2, -1),
]  # fmt: skip
SCALES = [
    lambda v, t: v, lambda v, t: v.clamp(min=EPS).log(), lambda v, t: torch.log(torch.clamp(v, min=EPS) * 1),
    lambda v, t: torch.log10(v + EPS), lambda v, t: 10 * v.clamp_min(EPS).log10() - 3, lambda v, t: torch.log1p(v * 4),
    lambda v, t: (torch.log2(torch.clip(v, EPS)) + 4.0) / 4.0, lambda v, t: v.clamp(EPS).mul(2).log(),
]  # fmt: skip
ENDS = [lambda v, t: v, lambda v, t: v.transpose(-1, -2), lambda v, t: v.contiguous(), lambda v, t: v.unsqueeze(0),
        lambda v, t: v.float() if v.dtype is torch.float32 else v]  # fmt: skip
CUTS = [lambda v, t: v, lambda v, t: v[..., :-1], lambda v, t: v[..., :-1, :]]


def doubled(v, x, t, extra):
    extra.append(v)
    return v


def hooked(v, x, t, extra):
    if v.requires_grad:
        v.register_hook(lambda gradient: gradient * 2)
    return v


def seen_by_autograd(v, x, t, extra):
    if x.requires_grad:
        (inner,) = torch.autograd.grad(v.abs().sum(), x, create_graph=True)
        extra.append(inner)
    return v


def branched(v, x, t, extra):
    extra.append(v.abs().mean())
    return v


def changed(v, x, t, extra):
    return (v * 1).mul_(2) if v.requires_grad else v.mul_(2)


def window_changed(v, x, t, extra):
    t.window.mul_(0.5)
    return v


def basis_changed(v, x, t, extra):
    t.basis.mul_(0.5)
    t.columns.mul_(0.25)
    return v


def input_changed(v, x, t, extra):
    x.mul_(0.5)
    return v


def cut_off(v, x, t, extra):
    return v.detach()


def unrecorded(v, x, t, extra):
    with torch.no_grad():
        return v * 1


SECOND = [
    doubled, hooked, seen_by_autograd, branched, changed, window_changed, basis_changed, input_changed, cut_off,
    unrecorded,
]  # fmt: skip
OF_GRADIENTS = hooked, seen_by_autograd, unrecorded  # which do nothing where there are none


@st.composite
def programs(draw):
    """(stft, steps, the shape of a batch)"""
    shape = draw(st.sampled_from([(), (2,), (1,), (2, 3)]))
    powers = draw(st.sampled_from(MAGNITUDES + POWERS))
    cut = draw(st.sampled_from(CUTS))
    bank = draw(st.sampled_from(BANKS if cut is not CUTS[2] else BANKS[:1]))
    steps = [cut, powers, *(draw(st.sampled_from(one)) for one in (GAINS,)), bank]
    steps += [draw(st.sampled_from(one)) for one in (SCALES, ENDS)]
    return framed(draw(st.booleans()), draw(st.booleans())), steps, shape


def run(program, tensors, gradient):
    """The results, and the gradient of a sum over them."""
    x = tensors.x.clone().requires_grad_(gradient)
    results = program(x, tensors)
    if not gradient:
        return results, None
    generator = torch.Generator().manual_seed(4)
    total = 0
    for result in results:
        real = torch.view_as_real(result) if result.is_complex() else result
        total = total + (real * torch.rand(real.shape, generator=generator).to(real)).sum()
    if total.requires_grad:
        total.backward()
    return results, x.grad


def are_close(got, right):
    got, right = got.detach().cpu(), right.detach()
    assert got.shape == right.shape
    scale = float(right.abs().max()) or 1.0
    assert float((got - right).abs().max()) < 2e-3 * scale and float((got - right).norm()) <= 1e-4 * max(
        float(right.norm()), 1e-6
    )


def check(program, shape, gradient, device, options, monkeypatch):
    """Values, layouts and gradients. Returns who uses what was fused."""
    plans = []
    put = backend.put_step

    def recorded(graph, plan, **how):
        plans.append({user.op for last in plan.results for user in last.users})
        return put(graph, plan, **how)

    monkeypatch.setattr(backend, "put_step", recorded)
    torch._dynamo.reset()
    try:
        right, right_gradient = run(program, Tensors(shape, "cpu", torch.float64), gradient)
    except RuntimeError:  # what is kept for the backward pass was changed
        with msp.accelerated(**options), pytest.raises(RuntimeError):
            run(msp.fuse(program), Tensors(shape, device), gradient)
        return plans
    eager, _ = run(program, Tensors(shape, device), gradient)
    fused = msp.fuse(program)
    with msp.accelerated(**options):
        for _ in range(2):
            results, found = run(fused, Tensors(shape, device), gradient)
            for got, plain, exact in zip(results, eager, right, strict=True):
                are_close(got, exact)
                assert got.dtype == plain.dtype and got.requires_grad == plain.requires_grad
                assert comparison._layout(got) == comparison._layout(plain)
            assert (found is None) == (right_gradient is None)
            if found is not None:
                are_close(found, right_gradient)
    return plans


@pytest.fixture
def options(device_name):
    return dict(devices=[device_name], verify="first", on_error="raise")


@pytest.mark.thorough
@settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(programs(), st.booleans())
def test_a_plain_program_is_one_call(torch_device, options, monkeypatch, drawn, gradient):
    stft, steps, shape = drawn

    def program(x, t):
        v = stft(x, t)
        for step in steps:
            v = step(v, t)
        return (v,)

    with monkeypatch.context() as patched, torch.no_grad() if not gradient else torch.enable_grad():
        msp.reset_stats()
        plans = check(program, shape, gradient, torch_device, options, patched)
    assert plans == [{"output"}]
    assert msp.stats()["graph"].fast == 2 and msp.stats()["stft"].fast == 0


@pytest.mark.thorough
@settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(programs(), st.integers(0, 5), st.sampled_from(SECOND), st.booleans())
def test_what_something_else_uses_or_changes_stays(torch_device, options, monkeypatch, drawn, at, second, gradient):
    stft, steps, shape = drawn

    def program(x, t):
        extra = []
        v = stft(x, t)
        for place, step in enumerate(steps):
            if place == at:
                v = second(v, x, t, extra)
            v = step(v, t)
        return (v, *extra)

    with monkeypatch.context() as patched, torch.no_grad() if not gradient else torch.enable_grad():
        plans = check(program, shape, gradient, torch_device, options, patched)
    if at == 0 and (gradient or second not in OF_GRADIENTS):
        assert not plans
    assert len(plans) <= 1
