"""STFTLoss and MultiResolutionSTFTLoss: values and derivatives against float64, what is fused, and what is refused."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_cache, parts, quarantine, verification
from mps_spectro_patch.front_ends import losses
from mps_spectro_patch.front_ends.losses import LossCall, try_fused
from mps_spectro_patch.kernels import stft_loss as kernels
from mps_spectro_patch.kernels.launch import dispatch
from mps_spectro_patch.ops import composite_losses
from mps_spectro_patch.ops import losses as losses_of_ops

SIZES = dict(fft_size=64, hop_size=16, win_length=48)
FULL = dict(w_sc=0.7, w_log_mag=0.9, w_lin_mag=0.5, output="full", **SIZES)


@pytest.fixture
def launches(monkeypatch):
    """The kernels of every launch so far."""
    counted: list[str] = []
    names: dict[int, str] = {}
    kernel, recipe = dispatch.kernel, dispatch.recipe

    def named(name, *given):
        compiled = kernel(name, *given)
        names[id(compiled)] = name
        return compiled

    def counting(compiled, args, groups, threads, device):
        launched = recipe(compiled, args, groups, threads, device)

        def launch_and_count(*tensors):
            counted.append(names[id(compiled)])
            launched(*tensors)

        return launch_and_count

    def forget():
        kernels._mean_launch.cache_clear()
        kernels._gradient_recipe.cache_clear()
        call_cache.clear()

    forget()
    monkeypatch.setattr(dispatch, "kernel", named)
    monkeypatch.setattr(dispatch, "recipe", counting)
    yield counted
    forget()


def in_float64(module, x, y):
    """(the results, the gradient of the loss with respect to x)"""
    wide = x.detach().cpu().double().requires_grad_()
    result = copy.deepcopy(module).cpu().double()(wide, y.detach().cpu().double())
    loss = result[0] if isinstance(result, tuple) else result
    loss.backward()
    return result, wide.grad


def assert_near(got, expected, rtol=2e-6):
    torch.testing.assert_close(torch.as_tensor(got).detach().cpu().double(), torch.as_tensor(expected).detach(),
                               rtol=rtol, atol=1e-9, check_dtype=False)  # fmt: skip


def relative(got, expected):
    return float((got.cpu().double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("how", [
    dict(SIZES), FULL, dict(FULL, mag_distance="L2"), dict(FULL, reduction="sum"), dict(FULL, w_sc=0.0),
    dict(FULL, w_log_mag=0.0), dict(SIZES, window="hamming_window", eps=1e-5),
])  # fmt: skip
def test_values_and_gradients_are_those_of_float64_in_three_launches(how, signals, scope, launches):
    x, y = signals
    module = msp.STFTLoss(**how)
    leaf = x.clone().requires_grad_()
    got = module(leaf, y)
    (got[0] if isinstance(got, tuple) else got).backward()
    assert launches == ["msp_stft_loss", "msp_stft_loss_finish", "msp_stft_loss_gradient"]
    expected, gradient = in_float64(module, x, y)
    for one, other in zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]:
        assert_near(one, other, rtol=2e-6 if how.get("mag_distance") != "L2" else 1e-5)
        assert type(one) is type(other)
    assert relative(leaf.grad, gradient) < 1e-2


def test_several_resolutions_take_three_launches_each(signals, scope, launches):
    x, y = signals
    module = msp.MultiResolutionSTFTLoss((64, 128), (16, 25), (48, 100), output="full")
    leaf = x.clone().requires_grad_()
    loss, sc, log, linear, phase = module(leaf, y)
    loss.backward()
    assert len(launches) == 6 and linear == [0.0, 0.0] and phase == [0.0, 0.0]
    expected, gradient = in_float64(module, x, y)
    assert_near(loss, expected[0])
    for got, right in zip((*sc, *log), (*expected[1], *expected[2]), strict=True):
        assert_near(got, right)
    assert relative(leaf.grad, gradient) < 1e-2
    plain = msp.MultiResolutionSTFTLoss((64, 128), (16, 25), (48, 100))
    assert_near(plain(x, y), expected[0])


def test_the_terms_have_gradients_of_their_own(signals, scope, launches):
    x, y = signals
    module, leaf = msp.STFTLoss(**FULL), x.clone().requires_grad_()
    result = module(leaf, y)
    (result[0] + 2 * result[1] - result[3]).backward()
    assert launches[-1] == "msp_stft_loss_gradient" and len(launches) == 3
    wide = x.cpu().double().requires_grad_()
    result = copy.deepcopy(module).cpu().double()(wide, y.cpu().double())
    (result[0] + 2 * result[1] - result[3]).backward()
    assert relative(leaf.grad, wide.grad) < 1e-2


@pytest.mark.parametrize("wanted", ["target", "both"])
def test_gradients_of_the_target_are_torchs(wanted, signals, scope):
    x, y = signals
    x, y = x.clone().requires_grad_(wanted == "both"), y.clone().requires_grad_()
    # Of a magnitude of nearly zero the logarithm's gradient is lost in float32, with torch's own functions, too.
    module = msp.STFTLoss(**dict(FULL, output="loss", mag_distance="L2", eps=1e-2))
    module(x, y).backward()
    wide = [one.detach().cpu().double().requires_grad_(one.requires_grad) for one in (x, y)]
    copy.deepcopy(module).cpu().double()(*wide).backward()
    for got, right in zip((x, y), wide, strict=True):
        assert (got.grad is None) == (right.grad is None)
        if got.grad is not None:
            assert relative(got.grad, right.grad) < 1e-5


CALL = LossCall(16, 4, 16, 1e-3, 0.7, 0.9, 0.5, factor=2.0, added=0.1, squared=True, per_row=True)


def of_tensors(call=CALL):
    return lambda x, y, window: try_fused(x, y, window, call)[0]


def composed64(call=CALL):
    return lambda x, y, window: composite_losses.stft_loss(x, y, window, *call.arguments())[0]


@pytest.fixture
def small(torch_device):
    return tuple(t.to(torch_device) for t in (torch.randn(2, 40), torch.randn(2, 40), torch.rand(16) + 0.1))


def wide(tensors):
    return tuple(one.cpu().double() for one in tensors)


def test_a_loss_by_rows_and_its_other_gradients(small, scope):
    got = torch.func.grad(of_tensors(), (0, 1, 2))(*small)
    expected = torch.func.grad(composed64(), (0, 1, 2))(*wide(small))
    assert all(relative(one, right) < 1e-4 for one, right in zip(got, expected, strict=True))


def test_second_derivatives_are_torchs(small, scope):
    leaves = [one.clone().requires_grad_() for one in small]
    right = [one.clone().requires_grad_() for one in wide(small)]
    found = []
    for function, tensors in ((of_tensors(), leaves), (composed64(), right)):
        (first,) = torch.autograd.grad(function(*tensors), tensors[:1], create_graph=True)
        found.append(torch.autograd.grad(first.sin().sum(), tensors))
    assert all(relative(one, other) < 1e-3 for one, other in zip(*found, strict=True))


def test_vmap_and_gradients_of_each_sample(small, scope):
    x, y, window = small
    call = LossCall(16, 4, 16, 1e-3, squared=True)
    each = torch.func.vmap(torch.func.grad(of_tensors(call)), (0, 0, None))(x[:, None], y[:, None], window)
    for i in range(2):
        one = torch.func.grad(composed64(call))(*wide((x[i : i + 1], y[i : i + 1], window)))
        assert relative(each[i], one) < 1e-3
    values = torch.func.vmap(of_tensors(call), (0, None, None))(torch.stack([x, y]), y, window)
    assert_near(values[0], composed64(call)(*wide((x, y, window))), 1e-5)
    assert float(values[1].abs()) == 0


def test_batched_gradients(small, scope):
    x, y, window = small
    leaf = x.clone().requires_grad_()
    loss = of_tensors()(leaf, y, window)
    (got,) = torch.autograd.grad(loss, leaf, torch.tensor([1.0, -2.0], device=x.device), is_grads_batched=True)
    assert torch.allclose(got[1], -2 * got[0], atol=1e-6) and got.shape == (2, *x.shape)


TERMS = {
    "all": dict(w_lin_mag=0.5, w_phs=0.1, mag_distance="L2"), "convergence alone": dict(w_log_mag=0.0),
    "bands": dict(w_sc=0.0, scale="mel", sample_rate=16000, n_bins=8), "by bin": dict(reduction="none"),
    "a number by bin": dict(reduction="none", w_log_mag=0.0), "the sum": dict(reduction="sum", scale_invariance=True),
}  # fmt: skip


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_forward_mode_is_composed_and_of_the_signals_type(terms, signals, scope, launches):
    """torch's forward mode takes a number times a tensor without dimensions for a double, which MPS has not."""
    x, y = signals
    module, wide = (msp.STFTLoss(**SIZES, **terms, eps=0.1) for _ in range(2))  # no bin is almost zero
    found = torch.func.jvp(module, (x, y), (y, x))
    right = torch.func.jvp(wide, *(tuple(one.cpu().double() for one in pair) for pair in ((x, y), (y, x))))
    assert not launches
    for one, other in zip(found, right, strict=True):
        assert one.dtype is torch.float32 and one.shape == other.shape
        assert relative(one, other) < (2e-2 if "w_phs" in terms else 1e-3)


def test_forward_mode_of_several_sizes(signals, scope, launches):
    x, y = signals
    sizes = dict(fft_sizes=(64, 48), hop_sizes=(16, 12), win_lengths=(64, 48))
    found = torch.func.jvp(msp.MultiResolutionSTFTLoss(**sizes), (x, y), (y, x))
    assert found[1].dtype is torch.float32 and found[1].isfinite() and not launches


def test_a_compiled_loss_is_the_operator(signals, options, launches, request):
    x, y = signals
    request.addfinalizer(msp.disable)
    msp.enable(**options)
    module = msp.STFTLoss(**SIZES).to(x.device)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    leaf = x.clone().requires_grad_()
    got = compiled(leaf, y)
    got.backward()
    assert launches == ["msp_stft_loss", "msp_stft_loss_finish", "msp_stft_loss_gradient"]
    expected, gradient = in_float64(module, x, y)
    assert_near(got, expected)
    assert relative(leaf.grad, gradient) < 1e-2


@pytest.mark.parametrize("how", [
    dict(w_phs=1.0), dict(scale="mel", sample_rate=8000, n_bins=8), dict(scale_invariance=True), dict(reduction="none"),
    dict(eps=0.0), dict(w_sc=float("inf")),
])  # fmt: skip
def test_what_has_no_kernel_is_composed_with_the_same_numbers(how, signals, scope, launches):
    x, y = signals
    module = msp.STFTLoss(**SIZES, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a band without a bin
        got = module(x, y)
        expected = copy.deepcopy(module).cpu().double()(x.cpu().double(), y.cpu().double())
    assert not any(name.startswith("msp_stft_loss") for name in launches)
    # Phases of bins that are almost zero are anything, and so is the logarithm of one that stands for itself.
    exact = 1e-2 if "w_phs" in how or "reduction" in how else 1e-4
    torch.testing.assert_close(got.cpu().double(), expected, rtol=exact, atol=exact)


def test_scale_invariance_finds_the_targets_loudness_by_the_row(signals):
    x, _ = signals
    gains = torch.rand(3, 2, 1, device=x.device) + 0.5
    assert float(msp.STFTLoss(**SIZES, scale_invariance=True)(x, x * gains)) < 1e-4


def test_perceptual_weighting_leaves_out_what_nobody_hears(signals, scope, launches):
    pytest.importorskip("scipy")
    low = torch.sin(torch.arange(8000) * (2 * torch.pi * 20 / 16_000)).reshape(1, 1, -1).to(signals[0].device)
    mid = torch.sin(torch.arange(8000) * (2 * torch.pi * 2500 / 16_000)).reshape(1, 1, -1).to(signals[0].device)
    module = msp.STFTLoss(w_sc=0, w_log_mag=0, w_lin_mag=1, perceptual_weighting=True, sample_rate=16_000)
    assert float(module(low, 0 * low)) < 0.1 * float(module(mid, 0 * mid))
    assert len(launches) == 4


@pytest.mark.parametrize("other", ["longer", "fewer rows", "float64", "half", "integers"])
def test_other_signals_are_what_the_composition_makes_of_them(other, signals, scope, launches):
    x, y = signals
    y = {"longer": torch.cat([y, y], -1), "fewer rows": y[:1, :1], "half": y.half(), "integers": y.long(),
         "float64": y.cpu().double() if y.is_mps else y.double()}[other]  # fmt: skip
    module = msp.STFTLoss(**SIZES).to(x.device)

    def outcome(run):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return run()
        except Exception as error:
            return type(error), str(error)

    got = outcome(lambda: module(x, y))
    expected = outcome(lambda: module._composed(x, y, module.window))
    assert not any(name.startswith("msp_stft_loss") for name in launches)
    if isinstance(expected, tuple):
        assert got == expected
    else:
        torch.testing.assert_close(got, expected)


def test_rows_too_far_apart_for_32_bits_are_not_for_the_kernels(scope, torch_device, launches, monkeypatch):
    wide = torch.randn(2, 9000, device=torch_device)
    x, y = wide[:, :500], wide[:, 600:1100]
    module = msp.STFTLoss(**SIZES)
    expected = module(x, y)
    assert launches
    launches.clear()
    monkeypatch.setattr(losses.routing, "ELEMENTS_MAX", 9000)
    for one, other in ((x, y.contiguous()), (x.contiguous(), y)):
        assert_near(module(one, other), expected.cpu().double(), 1e-5)
    assert "msp_stft_loss" not in launches
    launches.clear()
    monkeypatch.setattr(losses.routing, "ELEMENTS_MAX", 36_000)
    assert torch.equal(module(x, y), expected) and launches


def test_a_signal_too_short_for_its_padding_gets_torchs_error(scope, torch_device):
    with pytest.raises(RuntimeError, match="[Pp]adding"):
        msp.STFTLoss(**SIZES)(*torch.randn(2, 1, 1, 32, device=torch_device))
    assert msp.STFTLoss(**SIZES)(*torch.randn(2, 1, 1, 33, device=torch_device)).isfinite()


@pytest.mark.parametrize("how, words", [
    (dict(scale="chroma", sample_rate=1, n_bins=1), "scale='chroma'"), (dict(scale="mel", n_bins=8), "sample_rate"),
    (dict(scale="mel", sample_rate=8000), "n_bins"), (dict(output="all"), "output='all'"),
    (dict(reduction="max"), "reduction='max'"), (dict(mag_distance="L3"), "mag_distance='L3'"),
])  # fmt: skip
def test_wrong_arguments_are_refused(how, words):
    with pytest.raises(ValueError, match=words):
        msp.STFTLoss(**how)


def test_sizes_of_several_resolutions_must_go_together():
    for lists in (((64,), (16, 16), (64,)), ((), (), ())):
        with pytest.raises(ValueError, match="of one length"):
            msp.MultiResolutionSTFTLoss(*lists)


def test_the_same_signal_has_no_loss_and_no_gradient(signals, scope):
    x, _ = signals
    leaf = x.clone().requires_grad_()
    loss = msp.STFTLoss(**FULL)(leaf, x)[0]
    loss.backward()
    assert float(loss.detach()) == 0 and not leaf.grad.any()


def test_outside_of_enable_nothing_is_launched_on_this_device(signals, launches):
    x, y = signals
    if x.is_mps:
        pytest.skip("Apple GPUs are fused always")
    assert_near(msp.STFTLoss(**SIZES)(x, y), in_float64(msp.STFTLoss(**SIZES), x, y)[0], 1e-5)
    assert not launches


def test_the_first_call_is_compared_and_a_wrong_kernel_is_not_used_again(signals, device_name, monkeypatch):
    x, y = signals
    module = msp.STFTLoss(**SIZES)
    expected = in_float64(module, x, y)[0]
    with msp.accelerated(devices=(device_name,)):
        module(x, y)
        assert any(key[0].n_fft == 64 for key in verification.verified if isinstance(key[0], LossCall))
        other = msp.STFTLoss(**dict(SIZES, hop_size=17))
        right = kernels.stft_loss
        monkeypatch.setattr(kernels, "stft_loss", lambda *a: tuple(one * 1.1 for one in right(*a)))
        with pytest.warns(RuntimeWarning, match="STFT loss, n_fft=64, hop_length=17.*differs"):
            assert_near(other(x, y), in_float64(other, x, y)[0], 1e-5)
        monkeypatch.undo()
        assert_near(other(x, y), in_float64(other, x, y)[0], 1e-5)
        assert_near(module(x, y), expected)
    assert [entry.op for entry in quarantine.entries()] == ["features"]
    quarantine.front_ends.clear()
    call_cache.clear()


@pytest.mark.parametrize("changed", ["input", "target", "window"])
def test_what_may_be_changed_between_the_passes_is_what_torch_allows(changed, signals, options):
    given, target = signals
    found = []
    for devices in ((), options["devices"]):
        module, leaf = msp.STFTLoss(**dict(SIZES, win_length=48)).to(given.device), given.clone().requires_grad_()
        x, y = leaf * 1, target.clone()
        with msp.accelerated(**dict(options, devices=devices)):
            loss = module(x, y)
            with torch.no_grad():
                {"input": x, "target": y, "window": module.window}[changed].mul_(2)
            try:
                loss.backward()
                found.append(leaf.grad.cpu().double())
            except RuntimeError as error:
                assert "modified by an inplace operation" in str(error)
    assert len(found) == (0 if changed == "input" else 2)
    assert not found or relative(found[1], found[0]) < 1e-2


def test_calls_are_counted(signals, scope):
    x, y = signals
    msp.reset_stats()
    msp.STFTLoss(**SIZES)(x, y)
    msp.STFTLoss(**SIZES)(x, y.half())
    assert "stft_loss" in str(msp.stats())


def test_equal_signals_but_for_rounding_pass_the_comparison(device_name, torch_device):
    x = torch.randn(2, 4000, device=torch_device)
    for scale in (1e-3, 1.0, 1e4):
        with msp.accelerated(devices=(device_name,), verify="always", on_error="raise"), warnings.catch_warnings():
            warnings.simplefilter("error")
            msp.STFTLoss(512, 128, 512, w_lin_mag=1.0)(x * scale, x * scale * (1 + 1e-7))
    assert not quarantine.front_ends


def test_state_and_copies(signals):
    x, y = signals
    module = msp.STFTLoss(**SIZES)
    assert not module.state_dict() and list(msp.STFTLoss(scale="mel", sample_rate=8000, n_bins=8).state_dict()) == [
        "fb"
    ]
    assert torch.equal(copy.deepcopy(module)(x, y), module(x, y))
    assert module.half().window.dtype is torch.float32


def test_where_a_kernel_fails_below_everybody_torchs_functions_answer(small, options, monkeypatch):
    """In compiled code and in backward passes nobody above could fall back."""
    x, y, window = small
    for call in (CALL, LossCall(16, 4, 16, 1e-3)):
        found = []
        for broken in ((), ("stft_loss",), ("stft_loss_gradient",), ("stft_loss", "stft_loss_gradient")):
            with monkeypatch.context() as patch, msp.accelerated(**dict(options, on_error="fallback")):
                for name in broken:
                    patch.setattr(kernels, name, lambda *a: 1 / 0)
                leaf = x.clone().requires_grad_()
                loss, terms = losses_of_ops.stft_loss(leaf, y, window, *call.arguments())
                found.append((loss, terms, *torch.autograd.grad(loss + terms[1], leaf)))
        for other in found[1:]:
            for one, right in zip(other, found[0], strict=True):
                torch.testing.assert_close(one, right, rtol=1e-4, atol=1e-6)


def test_large_signals_are_compared_in_part(device_name, torch_device, monkeypatch):
    monkeypatch.setattr(parts, "LIMIT", 64 * 40)
    x, y = torch.randn(2, 3, 2000, device=torch_device)
    seen = []
    right = composite_losses.stft_loss
    monkeypatch.setattr(composite_losses, "stft_loss", lambda x, *rest: seen.append(x.shape) or right(x, *rest))
    with msp.accelerated(devices=(device_name,), verify="always", on_error="raise"):
        loss = msp.STFTLoss(**SIZES)(x.requires_grad_(), y)
    assert loss.requires_grad and len(seen) == 1 and seen[0].numel() < x.numel() / 2
