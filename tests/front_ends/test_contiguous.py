"""Features that are contiguous: the kernel writes them so, and they have the bits of those that lie frame by frame."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.arguments import FeatureArguments
from mps_spectro_patch.front_ends import FrontEnd, Scale, compute
from mps_spectro_patch.kernels import StftGeometry, bands_of
from mps_spectro_patch.kernels.launch import features as kernels
from tests.outputs import poisoned_outputs
from tests.tiers import some

from .reference import assert_linear, mel64, power64, spectrum64
from .test_feature_kernels import SIZES, random_basis

USUAL = FrontEnd(400, 160, 400, power=1.0, eps=1e-3, scale=Scale("clamp", 1e-3))
FLOORED = Scale("clamp", 1e-3, below=2.0, scope="all", after_factor=0.5)
CALLS = {  # the front end, and its filterbank
    "mel": (USUAL, "banded"),
    "bins": (dataclasses.replace(USUAL, width=230, dropped=1), None),
    "a dense basis": (USUAL, "dense"),
    "a floor": (dataclasses.replace(USUAL, scale=FLOORED), "banded"),
}  # fmt: skip


@pytest.fixture
def basis(torch_device):
    banks = {"banded": mel64(201, 0, 8000, 33, 16000).float(), "dense": torch.rand(9, 201), None: None}
    return {name: bank if bank is None else bank.to(torch_device) for name, bank in banks.items()}


@pytest.fixture
def window(torch_device):
    return torch.rand(400, device=torch_device) + 0.1


def made_by(kernel, n_fft, samples, basis, device, rows=3, **fields):
    """The same call in both layouts, and what float64 says of its powers."""
    torch.manual_seed(n_fft)
    x, window = torch.randn(rows, samples, device=device), torch.rand(n_fft, device=device) + 0.1
    bins = n_fft // 2 + 1
    bands = None if basis is None else bands_of(basis.to(device), bins)
    width = fields.pop("width", bins if basis is None else basis.shape[0])
    geometry = StftGeometry(rows, samples, n_fft, n_fft // 3 + 1, n_fft, n_fft // 2, "reflect", False)
    with poisoned_outputs():
        found = [
            kernel(x, window, geometry, kernels.Features(width, contiguous=contiguous, **fields), bands)
            for contiguous in (False, True)
        ]
    return *found, power64(spectrum64(x, window, n_fft, n_fft // 3 + 1), 2.0)


@pytest.mark.parametrize("banded", [True, False])
@pytest.mark.parametrize("n_fft", some(SIZES, [400]))
def test_the_bits_are_those_of_the_other_layout(n_fft, banded, torch_device):
    basis = random_basis(min(40, n_fft // 2 + 1), n_fft // 2 + 1) if banded else None
    usual, contiguous, powers = made_by(kernels.features, n_fft, 12 * (n_fft // 3 + 1) + 1, basis, torch_device)
    assert torch.equal(usual, contiguous) and usual.shape[2] % 2
    assert contiguous.is_contiguous() and usual.transpose(1, 2).is_contiguous()
    assert_linear(contiguous, powers if basis is None else basis.double() @ powers)


@pytest.mark.thorough
@pytest.mark.parametrize("n_fft", [400, 813])
@pytest.mark.parametrize("fields", [
    dict(dropped=2), dict(width=40), dict(width=500), dict(power=1.3, eps=1e-3), dict(power=1.0, floor=3.0),
    dict(scale="add", amin=0.1, factor=2.0, offset=1.0),
])  # fmt: skip
def test_they_are_with_every_field(n_fft, fields, torch_device):
    usual, contiguous, _ = made_by(kernels.features, n_fft, 5000, None, torch_device, **fields)
    assert torch.equal(usual, contiguous) and contiguous.is_contiguous()


@pytest.mark.thorough
@pytest.mark.parametrize("samples", [401, 5000])  # one frame of either row, and several
def test_a_floor_is_put_under_either_layout(samples, torch_device):
    def kernel(*given):
        return kernels.limited_features(*given, 1, 5.0, 0.25, 1.0)

    basis = mel64(1218 // 2 + 1, 0, 8000, 40, 16000).float()
    for n_fft, bank in ((1218, basis), (400, None)):
        samples = max(samples, n_fft)
        usual, contiguous, _ = made_by(kernel, n_fft, samples, bank, torch_device, scale="clamp", amin=1e-5)
        assert torch.equal(usual, contiguous) and contiguous.is_contiguous()
        assert (usual.amax((1, 2)) - usual.amin((1, 2)) <= 5.0 * 0.25 + 1e-4).all()


@pytest.mark.thorough
def test_what_divides_by_the_deviation_has_the_usual_layout_only():
    scale = Scale("clamp", 1e-3, deviation_eps=1e-5)
    assert not dataclasses.replace(USUAL, scale=scale).contiguous
    with pytest.raises(AssertionError, match="one layout"):
        dataclasses.replace(USUAL, scale=scale, contiguous=True)


def both(x, window, basis, call):
    """The features and what comes from them, as far as they have no layout."""
    made = compute.compute(x, window, basis, call)
    weights = torch.linspace(-1, 2, made.numel(), device=x.device).view(made.shape)
    (first,) = torch.autograd.grad((made.square() * weights).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return made.detach(), first.detach(), second


@pytest.mark.thorough
@pytest.mark.parametrize("name", CALLS)
def test_derivatives_are_those_of_the_other_layout(name, basis, window, torch_device, fused):
    call, bank = CALLS[name]
    x = torch.randn(2, 1770, device=torch_device, requires_grad=True)
    usual = both(x, window, basis[bank], call)
    contiguous = both(x, window, basis[bank], dataclasses.replace(call, contiguous=True))
    for mine, theirs in zip(contiguous, usual, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))
    assert contiguous[0].is_contiguous() and not usual[0].is_contiguous()


@pytest.mark.parametrize("name", some(list(CALLS), ["mel"]))
@pytest.mark.parametrize(
    "batch", [(2, 3), *(pytest.param(one, marks=pytest.mark.thorough) for one in ((), (1,), (3,)))]
)
def test_every_way_of_a_call_gives_contiguous_features(name, batch, basis, window, torch_device, options):
    """The first call, a cached one, one with a gradient, torch's functions, vmap and a fake tensor's."""
    call, bank = dataclasses.replace(CALLS[name][0], contiguous=True), CALLS[name][1]
    x = torch.randn(*batch, 1770, device=torch_device)
    with msp.accelerated(**options):
        found = [compute.compute(x, window, basis[bank], call) for _ in range(3)]
        found += [compute.compute(x.clone().requires_grad_(), window, basis[bank], call) for _ in range(2)]
        if call.scale.below is None:
            stacked = torch.stack([x, 2 * x])
            found += torch.func.vmap(lambda one: compute.compute(one, window, basis[bank], call))(stacked)[:1]
    found.append(compute.compute(x, window, basis[bank], call, False))
    for one in found:
        torch.testing.assert_close(one, found[-1], rtol=1e-4, atol=1e-4)
        assert one.is_contiguous() and one.stride() == torch.empty(one.shape).stride()


@pytest.mark.thorough
@pytest.mark.parametrize("samples", [400, 1770])
@pytest.mark.parametrize("bank", ["banded", "dense", None])
def test_the_operator_is_what_its_fake_kernel_says(bank, samples, basis, window, torch_device, opcheck):
    compute.load_operators()
    from mps_spectro_patch.ops import features

    arguments = USUAL.arguments(None if bank is None else len(basis[bank]), 200, "reflect")._replace(contiguous=True)
    assert isinstance(arguments, FeatureArguments)
    x = torch.randn(2, samples, device=torch_device, requires_grad=True)
    opcheck(features.features, (x, window, basis[bank], *arguments))


def by_front_end(x, window, basis):
    return compute.compute(x, window, basis, dataclasses.replace(USUAL, contiguous=True, eps=0.0))


def by_torch(x, window, basis):
    """What the pass over graphs fuses: torch's product of a filterbank on the left is contiguous."""
    spectrum = torch.stft(x, 400, 160, window=window, return_complex=True)
    return (basis @ spectrum.abs()).clamp(min=1e-3).log()


@pytest.mark.thorough
@pytest.mark.parametrize("program", [by_front_end, by_torch])
def test_compiled_programs_see_the_layout(program, basis, window, torch_device):
    """By inductor, but where it would write Metal."""
    x = torch.randn(2, 1770, device=torch_device, requires_grad=True)
    expected = program(x, window, basis["banded"])
    (gradient,) = torch.autograd.grad(expected.square().sum(), x)
    backend = "aot_eager" if torch_device.type == "mps" else "inductor"
    msp.enable(devices=("simulator" if torch_device.type == "cpu" else torch_device.type,))
    try:
        torch._dynamo.reset()
        made = torch.compile(program, fullgraph=True, backend=backend)(x, window, basis["banded"])
        (mine,) = torch.autograd.grad(made.view(-1).square().sum(), x)
    finally:
        msp.disable()
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mine, gradient, rtol=1e-3, atol=1e-3)
    assert made.is_contiguous()
