"""Gradients of waveform, window and filterbank against torch's in float64, to second order, batched and compiled."""

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.front_ends import compute
from mps_spectro_patch.front_ends.spec import FrontEnd, Scale
from mps_spectro_patch.kernels.compilers import simulator
from mps_spectro_patch.kernels.launch.features import supports_features
from mps_spectro_patch.kernels.tables.filterbank import bands_of
from tests.tiers import some

from ..outputs import poisoned_outputs
from .reference import GRADIENT_REL_L2, mel64, relative
from .test_feature_kernels import random_basis

SCALES = (
    Scale(), Scale("clamp", 2.0, 3.0, 1.0), Scale("add", 2.0),
    Scale("log1p", 2.0),
)  # fmt: skip


def composed64(x, window, basis, call):
    return compute.compute(x, window, basis, call, use_kernels=False)


def check(x, window, basis, call, device, learn=(True, False, False), bound=GRADIENT_REL_L2):
    """The gradients of the tensors that are learned, for a random gradient of the features."""
    given = list(zip((x, window, basis), learn, strict=True))
    ours = [None if t is None else t.clone().to(device).requires_grad_(flag) for t, flag in given]
    wide = [None if t is None else t.double().requires_grad_(flag) for t, flag in given]
    expected = composed64(*wide, call)
    with poisoned_outputs():
        got = compute.compute(*ours, call)
        weight = torch.randn(expected.shape).transpose(-1, -2).contiguous().transpose(-1, -2)
        got.backward(weight.to(device))
    expected.backward(weight.double())
    for mine, theirs, flag in zip(ours, wide, learn, strict=True):
        if flag:
            error = relative(mine.grad, theirs.grad)
            assert error <= bound, f"relative L2 error {error:.2e}"


def front(n_fft=400, hop_length=160, **options):
    return FrontEnd(n_fft, hop_length, options.pop("win_length", n_fft), **options)


# All three overlaps of the adjoint, and one and two launches.
@pytest.mark.parametrize("n_fft", some([50, 400, 2048, 4096, 8192, 15, 813, 1218], [50, 400, 4096, 15, 813, 1218]))
def test_the_waveform_of_either_family(n_fft, torch_device, fused):
    basis = random_basis(min(40, n_fft // 2), n_fft // 2 + 1)
    call = front(n_fft, n_fft // 4 + 1, scale=Scale("add", 0.1 * n_fft))
    check(torch.randn(2, 3 * n_fft + 1), torch.rand(n_fft) + 0.1, basis, call, torch_device)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("power", [1.0, 2.0, 1.3])
def test_every_scale_and_power(scale, power, torch_device, fused):
    basis = mel64(201, 0, 8000, 40, 16000, "slaney").float() * 10
    call = front(power=power, scale=scale, pad_mode="constant", eps=1e-3, gain=0.7)
    check(torch.randn(2, 3000), torch.hann_window(400), basis, call, torch_device, bound=4e-6)


@pytest.mark.parametrize("pad_mode", ["reflect", "constant", "replicate", "circular"])
@pytest.mark.parametrize("n_fft", [400, 813])
def test_every_padding(pad_mode, n_fft, torch_device, fused):
    basis = mel64(n_fft // 2 + 1, 0, 8000, 40, 16000).float()
    call = front(n_fft, 150, pad_mode=pad_mode, pad=3, win_length=n_fft - 10)
    check(torch.randn(2, 2000), torch.rand(n_fft - 10), basis, call, torch_device)


def test_spectrograms_dropped_frames_and_other_widths(torch_device, fused):
    for width in (None, 150, 230):
        for power in (1.0, 2.0):
            call = front(width=width, power=power, dropped=2, center=False, scale=Scale("clamp", 0.5))
            check(torch.randn(2, 2000), torch.rand(400), None, call, torch_device, bound=4e-6)


def test_a_basis_that_is_not_banded(torch_device, fused):
    call = front(scale=Scale("clamp", 1e-3))
    check(torch.randn(2, 2000), torch.rand(400), torch.rand(17, 201), call, torch_device, (True, True, True))


def test_a_bin_under_many_bands_takes_the_product(torch_device, fused):
    basis = torch.zeros(40, 201)
    basis[:, 7] = torch.rand(40) + 0.1
    assert bands_of(basis, 201) is not None and not supports_features(400, bands_of(basis, 201), gradient=True)
    check(torch.randn(2, 2000), torch.rand(400), basis, front(), torch_device, (True, False, True))


@pytest.mark.parametrize("power", [1.0, 2.0, 1.3])
@pytest.mark.parametrize("scale", SCALES[1:3])
def test_window_and_filterbank_can_be_learned(power, scale, torch_device, fused):
    basis = mel64(201, 0, 8000, 40, 16000, "slaney").float() * 10
    call = front(power=power, scale=scale, dropped=1, eps=1e-3)
    check(torch.randn(2, 3000), torch.rand(400) + 0.1, basis, call, torch_device, (True, True, True), 1e-5)


@pytest.mark.parametrize("power", [1.0, 2.0, 1.3, 0.5])
@pytest.mark.parametrize("n_fft", [400, 813])
def test_bins_of_no_magnitude_give_torchs_value(power, n_fft, torch_device, fused):
    call = front(n_fft, power=power)
    basis = mel64(n_fft // 2 + 1, 0, 8000, 20, 16000).float()
    for bank in (basis, None):
        grads = []
        for x, use in ((torch.zeros(1, 1500, device=torch_device), True), (torch.zeros(1, 1500), False)):
            x.requires_grad_()
            bank_there = None if bank is None else bank.to(x.device)
            compute.compute(x, torch.hann_window(n_fft, device=x.device), bank_there, call, use).sum().backward()
            grads.append(x.grad.cpu())
        torch.testing.assert_close(*grads, equal_nan=True)
        assert bool(grads[0].isnan().any()) == (power < 1) and (power < 1 or not grads[0].any())


@pytest.mark.parametrize("n_fft, power, banded", some(
    [(n, p, b) for n in (400, 813) for p in (1.0, 2.0, 1.3) for b in (False, True)], [(400, 1.0, False)]
))  # fmt: skip
def test_below_a_floor_there_is_no_gradient(n_fft, power, banded, torch_device, fused):
    """Half of the bins are below. And at the floor there is one, as with torch.clamp."""
    basis = mel64(n_fft // 2 + 1, 0, 8000, 20, 16000).float() if banded else None
    call = front(n_fft, power=power, floor=0.25 * n_fft, gain=0.7)
    check(torch.randn(2, 2000), torch.rand(n_fft), basis, call, torch_device, (True, True, banded), 1e-5)
    gradients = []
    for device, use_kernels in ((torch_device, True), ("cpu", False)):
        x = torch.zeros(1, 16, device=device)
        x[0, 8] = 0.5
        x.requires_grad_()
        call = FrontEnd(16, 16, 16, False, floor=0.25, power=power)
        compute.compute(x, torch.ones(16, device=device), None, call, use_kernels).sum().backward()
        gradients.append(x.grad.cpu())
    assert float(gradients[0][0, 8]) > 1  # |X|^2 is 0.25 in all bins
    torch.testing.assert_close(*gradients)


def test_top_db_and_normalisation_have_gradients(torch_device, fused):
    basis = mel64(201, 0, 8000, 20, 16000).float()
    for scale in (
        Scale("clamp", 1e-10, 4.34, below=15.0, after_factor=0.5, after_offset=1.0),
        Scale("clamp", 1e-5, deviation_eps=1e-5),
    ):
        check(torch.randn(2, 3000), torch.hann_window(400), basis, front(scale=scale), torch_device, bound=1e-4)


@pytest.mark.parametrize("n_fft", some([50, 400, 2048, 4096, 8192, 813], [50, 400, 4096, 813]))
def test_results_do_not_depend_on_the_order_of_threads(n_fft, fused):
    basis, window = random_basis(12, n_fft // 2 + 1), torch.rand(n_fft)
    call = front(n_fft, n_fft // 3, scale=Scale("add", 0.1 * n_fft))
    x = torch.randn(2, 5 * n_fft)

    def gradient():
        signal = x.clone().requires_grad_()
        with poisoned_outputs():
            value = compute.compute(signal, window, basis, call)
        return torch.autograd.grad(value.sum(), signal)[0]

    expected = gradient()
    for seed in range(2):
        with simulator.test_mode(seed=seed):
            assert torch.equal(gradient(), expected)


def test_hops_longer_than_the_transform_and_views(torch_device, fused):
    basis = mel64(201, 0, 8000, 40, 16000).float()
    for hop_length in (1, 401, 700):
        call = front(400, hop_length, center=False)
        check(torch.randn(2, 2103)[:, 3:], torch.rand(400), basis, call, torch_device)
    check(torch.randn(5, 2103)[::2, 1::2], torch.rand(400), basis, front(400, 101), torch_device)
    check(torch.randn(3, 400), torch.rand(400), basis, front(center=False), torch_device)  # one frame


@pytest.mark.parametrize("bands", [60, 300])
def test_bands_that_do_not_fit_beside_the_transform(bands, torch_device, fused):
    """At n_fft 64 the memory of a frame holds 33 powers and a few bands; more take two launches, or the product."""
    basis = torch.zeros(bands, 33)
    basis[torch.arange(bands), torch.arange(bands) * 33 // bands] = torch.rand(bands) + 0.1
    check(torch.randn(2, 500), torch.rand(64), basis, front(64, 16), torch_device)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_waveforms_have_half_gradients(dtype, torch_device, fused):
    basis, window = mel64(201, 0, 8000, 40, 16000).float(), torch.hann_window(400)
    x = torch.randn(2, 2000).to(dtype)
    ours, wide = x.clone().to(torch_device).requires_grad_(), x.double().requires_grad_()
    compute.compute(ours, window.to(torch_device), basis.to(torch_device), front()).sum().backward()
    composed64(wide, window.double(), basis.double(), front()).sum().backward()
    assert ours.grad.dtype is dtype and relative(ours.grad, wide.grad) < 0.01


def test_second_derivatives(torch_device, fused):
    basis, window = mel64(201, 0, 8000, 12, 16000).float(), torch.rand(400) + 0.1
    call = front(hop_length=200, scale=Scale("add", 0.1))
    x, direction = torch.randn(1, 900), torch.randn(1, 900)
    results = []
    for cast, use in ((lambda t: t.to(torch_device), True), (lambda t: t.double(), False)):
        signal, w, b = cast(x).requires_grad_(), cast(window).requires_grad_(), cast(basis).requires_grad_()
        value = compute.compute(signal, w, b, call, use).sin().sum()
        first = torch.autograd.grad(value, signal, create_graph=True)[0]
        results.append(torch.autograd.grad((first * cast(direction)).sum(), (signal, w, b)))
    for got, expected in zip(*results, strict=True):
        assert relative(got, expected) <= 1e-5


def test_vmap_and_grad_of_functorch(torch_device, fused):
    x = torch.randn(3, 2, 1500, device=torch_device)
    basis, window = mel64(201, 0, 8000, 12, 16000).float().to(torch_device), torch.rand(400, device=torch_device)

    def loss(signal):
        return compute.compute(signal, window, basis, front(scale=Scale("add", 0.1))).square().sum()

    together = torch.func.vmap(torch.func.grad(loss))(x)
    one_by_one = torch.stack([torch.func.grad(loss)(signal) for signal in x])
    torch.testing.assert_close(together, one_by_one)
    values = torch.func.vmap(lambda w: compute.compute(x[0], w, basis, front()))(torch.stack([window, 2 * window]))
    torch.testing.assert_close(values[1], 4 * values[0])


def test_compiled_code_calls_the_operator_with_its_gradient(device_name, torch_device):
    transform = msp.LogMelSpectrogramTransform(sample_rate=16000, n_fft=400, hop_length=160, n_mels=20).to(torch_device)
    x = torch.randn(2, 2000, device=torch_device, requires_grad=True)
    expected = torch.autograd.grad(transform(x).square().sum(), x)[0]
    graphs = []

    def backend(graph, inputs):
        graphs.append(str(graph.code))
        return graph

    msp.enable(devices=(device_name,))
    try:
        torch._dynamo.reset()
        compiled = torch.compile(transform, backend=backend, fullgraph=True)
        got = torch.autograd.grad(compiled(x).square().sum(), x)[0]
        aot = torch.compile(lambda s: transform(s) + 1, backend="aot_eager", fullgraph=True)
        traced = torch.autograd.grad((aot(x) - 1).square().sum(), x)[0]
    finally:
        msp.disable()
    assert "mps_spectro_patch.features" in graphs[0] and len(graphs) == 1
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(traced, expected, rtol=1e-4, atol=1e-4)


def test_compiled_code_learns_window_and_filterbank(torch_device):
    compute.load_operators()
    from mps_spectro_patch.ops import features

    x = torch.randn(2, 1500, device=torch_device)
    arguments = (400, 160, 400, 200, "reflect", 12, 1, 2.0, 0.0, 1.0, 0.0, "add", 0.1, 1.0, 0.0, False)
    learned = [
        (torch.rand(400, device=torch_device) + 0.1).requires_grad_(),
        mel64(201, 0, 8000, 12, 16000).float().to(torch_device).requires_grad_(),
    ]
    results = []
    torch._dynamo.reset()
    for function in (features.features, torch.compile(features.features, backend="aot_eager", fullgraph=True)):
        results.append(torch.autograd.grad(function(x, *learned, *arguments).square().sum(), learned))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_operator_is_what_its_schema_and_fake_kernel_say(torch_device, opcheck):
    compute.load_operators()
    from mps_spectro_patch.ops import features

    x = torch.randn(2, 1500, device=torch_device, requires_grad=True)
    basis = mel64(201, 0, 8000, 12, 16000).float().to(torch_device)
    arguments = (400, 160, 400, 200, "reflect", 12, 1, 2.0, 0.0, 1.0, 0.0, "add", 0.1, 1.0, 0.0, False)
    window = torch.rand(400, device=torch_device)
    opcheck(features.features, (x, window, basis, *arguments))
