"""Front ends that were called before are launched again from the cache, unless anything is different now."""

from __future__ import annotations

import copy
import gc
import pickle

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import mps_spectro_patch as msp
from mps_spectro_patch.execution import call_cache
from mps_spectro_patch.front_ends import compute as front_end
from mps_spectro_patch.front_ends import functional
from mps_spectro_patch.front_ends.spec import FrontEnd, Scale
from tests.precision import wide

from ..outputs import without_memory

CALL = FrontEnd(64, 16, 64, scale=Scale("clamp", 1e-5))


@pytest.fixture
def x(torch_device):
    return torch.randn(2, 800, device=torch_device)


@pytest.fixture
def window(torch_device):
    return torch.hann_window(64, device=torch_device)


@pytest.fixture
def basis(torch_device):
    return msp.melscale_fbanks(n_freqs=33, f_min=0, f_max=8000, n_mels=8, sample_rate=16000).to(torch_device)


@pytest.fixture
def ways(monkeypatch):
    """ "whole" for every call that went the full path, "cached" for every other."""
    taken = []
    whole, launched = front_end._full_path, call_cache.launched

    def watched(*arguments):
        taken.append("whole")
        return whole(*arguments)

    def counted(*arguments):
        result = launched(*arguments)
        if result is not None:
            taken.append("cached")
        return result

    monkeypatch.setattr(front_end, "_full_path", watched)
    monkeypatch.setattr(call_cache, "launched", counted)
    return taken


def compute(x, window, basis, call=CALL):
    return front_end.compute(x, window, basis, call)


def composed(x, window, basis, call=CALL):
    return front_end.compute(*map(wide, (x, window, basis)), call, use_kernels=False).float().to(x.device)


def agrees(x, window, basis, call=CALL):
    got = compute(x, window, basis, call)
    torch.testing.assert_close(got, composed(x, window, basis, call), rtol=1e-4, atol=1e-3)
    return got


@pytest.mark.parametrize("shape", [(800,), (2, 800), (2, 3, 800), (1, 1, 1, 800)])
@pytest.mark.parametrize("scale", [
    Scale(), Scale("clamp", 1e-10, 4.3, below=8.0),
    Scale("clamp", 1e-10, 1.0, below=8.0, scope="all", after_factor=0.25),
    Scale("add", 1e-3, deviation_eps=1e-5),
])  # fmt: skip
def test_the_second_call_is_cached_and_gives_the_same_bits(shape, scale, window, basis, fused, ways, torch_device):
    call = FrontEnd(64, 16, 64, scale=scale)
    for _ in range(2):
        x = torch.randn(shape, device=torch_device)
        call_cache.clear()
        expected = compute(x, window, basis, call)
        got = compute(x, window, basis, call)
        assert torch.equal(got, expected) and got.stride() == expected.stride()
        assert got._is_view() == expected._is_view()
    assert ways == ["whole", "cached"] * 2


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float16, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("shape", [(2, 800), (800,), pytest.param((2, 3, 800), marks=pytest.mark.thorough)])
@pytest.mark.parametrize("has_bands", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_the_second_call_with_a_gradient_is_cached_and_gives_the_same_bits(
    shape, dtype, has_bands, window, basis, fused, ways, torch_device
):
    bands = basis if has_bands else None
    for samples in (1, 2):
        x = torch.randn(shape, device=torch_device).to(dtype).requires_grad_()
        found = []
        for _ in range(2):
            values = compute(x, window, bands)
            found.append((values, *torch.autograd.grad(values.square().sum(), x)))
        assert all(torch.equal(*pair) and pair[0].dtype is pair[1].dtype for pair in zip(*found, strict=True))
        assert ways == ["whole", *["cached"] * (2 * samples - 1)]
    with torch.no_grad():
        assert torch.equal(compute(x, window, bands), values) and ways[-1] == "whole"


def test_a_filterbank_that_is_made_anew_is_known_by_its_values(x, window, basis, fused, ways):
    def way(again):
        ways.clear()
        agrees(x, window, again)
        return ways[0]  # the other is that of what it is compared with

    assert [way(one) for one in (basis, basis.clone(), basis.t().contiguous().t())] == ["whole", "cached", "cached"]
    zeroed = basis.clone()
    zeroed[3] = 0
    assert [way(one) for one in (2 * basis, basis.flip(0), basis[:4], zeroed)] == ["whole"] * 4
    with torch.inference_mode():
        assert [way(basis.clone().mul_(3)) for _ in range(2)] == ["whole", "cached"]
        assert way(basis.clone().mul_(4)) == "whole"


@pytest.mark.thorough
def test_a_filterbank_that_changes_while_it_is_launched_is_not_remembered_for_what_it_was(
    x, window, basis, fused, ways, monkeypatch
):
    before, full = basis.clone(), front_end._full_path

    def changing(*arguments):
        basis.mul_(2)  # as another thread may
        return full(*arguments)

    monkeypatch.setattr(front_end, "_full_path", changing)
    compute(x, window, basis)
    monkeypatch.setattr(front_end, "_full_path", full)
    agrees(x, window, before)


def test_functions_and_modules_are_cached_the_second_time(x, fused, ways):
    mel = dict(sample_rate=16000, n_fft=64, hop_length=16, n_mels=8)
    dynamic = msp.DynamicMelSpectrogramTransform(**mel).to(x.device)
    for call in (
        lambda x: msp.mel_spectrogram(x, **mel), lambda x: msp.dynamic_mel_spectrogram(x, keyshift=3, **mel),
        lambda x: dynamic(x, keyshift=-4.0, speed=1.2), msp.LogMelSpectrogramTransform(**mel).to(x.device),
    ):  # fmt: skip
        ways.clear()
        for _ in range(2):
            call(x)
        assert ways == ["whole", "cached"]


def test_other_samples_in_the_same_memory_are_read_anew(x, window, basis, fused, ways):
    agrees(x, window, basis)
    x.normal_()
    agrees(x, window, basis)
    assert "cached" in ways


@pytest.mark.parametrize("change", [
    lambda tensor: tensor.mul_(0.5), lambda tensor: setattr(tensor, "data", tensor.data * 0.5),
    lambda tensor: tensor.data.mul_(0.5),
])  # fmt: skip
def test_a_window_that_changes_is_read_anew(change, x, window, basis, fused):
    agrees(x, window, basis)
    change(window)
    agrees(x, window, basis)


@pytest.mark.parametrize("change", [
    lambda tensor: tensor.mul_(0.5), lambda tensor: setattr(tensor, "data", tensor.data * 0.5)
])  # fmt: skip
def test_a_filterbank_that_changes_is_read_anew(change, x, window, basis, fused):
    agrees(x, window, basis)
    change(basis)
    agrees(x, window, basis)


def test_a_tensor_with_the_id_of_one_that_is_gone_is_not_taken_for_it(x, window, fused):
    for scale in range(1, 20):
        basis = torch.full((1, 33), float(scale), device=x.device)
        agrees(x, window, basis)
        del basis
        gc.collect()


@pytest.mark.parametrize("prepare", [
    lambda x: x[:, 1:], lambda x: torch.cat([x, x])[::2], lambda x: x.half(), lambda x: x.repeat(1, 2)[:, ::2],
    lambda x: torch.complex(torch.zeros_like(x), x).conj().imag, lambda x: x.expand(2, 2, -1),
])  # fmt: skip
def test_other_layouts_of_a_signal_are_other_calls(prepare, x, window, basis, fused):
    for _ in range(2):
        agrees(x, window, basis)
        agrees(prepare(x), window, basis)


def test_gradients_are_wanted_now(x, window, basis, fused, ways):
    compute(x, window, basis)
    for learned in (x, window, basis):
        learned.requires_grad_()
        assert compute(x, window, basis).requires_grad and ways[-1] == "whole"
        with torch.no_grad():
            assert not compute(x, window, basis).requires_grad
        learned.requires_grad_(False)
    x.requires_grad_()
    compute(x, window, basis).sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_whoever_watches_sees_the_call(x, window, basis, fused, ways):
    class Functions(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    class Dispatches(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    compute(x, window, basis)
    for mode in (Functions(), Dispatches()):
        with mode:
            compute(x, window, basis)
        assert ways[-1] == "whole"
    batched = torch.func.vmap(lambda row: compute(row, window, basis))(x)
    assert ways[-1] == "whole"
    torch.testing.assert_close(batched, compute(x, window, basis))
    _, tangent = torch.func.jvp(lambda x: compute(x, window, basis), (x,), (torch.ones_like(x),))
    assert tangent.isfinite().all()


def test_a_subclass_of_a_tensor_is_not_taken_for_one(x, window, basis, fused, ways):
    class Own(torch.Tensor):
        pass

    compute(x, window, basis)
    compute(x.as_subclass(Own), window, basis)
    assert ways[-1] == "whole"


def test_other_options_are_looked_at(x, window, basis, device_name, ways):
    with msp.accelerated(devices=(device_name,)):
        for _ in range(3):
            compute(x, window, basis)
        assert ways == ["whole", "cached", "cached"]
        with msp.accelerated(devices=(device_name,), verify="always"):
            for _ in range(3):
                compute(x, window, basis)
        assert ways[3:] == ["whole"] * 3
    compute(x, window, basis)
    assert ways[-1] == "whole"


def test_what_was_found_wrong_is_never_cached(x, window, basis, device_name, ways, monkeypatch):
    from mps_spectro_patch.execution import quarantine
    from mps_spectro_patch.ops import features

    ready = features.ready_features
    monkeypatch.setattr(features, "ready_features", lambda *a: lambda *tensors: ready(*a)(*tensors) + 1)
    with msp.accelerated(devices=(device_name,)):
        with pytest.warns(RuntimeWarning, match="differs"):
            compute(x, window, basis)
        agrees(x, window, basis)
    assert "cached" not in ways
    assert [bad.op for bad in quarantine.front_ends.values()] == ["features"]


def test_a_launch_that_fails_is_left_to_the_full_path(x, window, basis, fused, ways, monkeypatch):
    from mps_spectro_patch.kernels.launch import features

    expected = compute(x, window, basis)
    without_memory(monkeypatch, features, error=ZeroDivisionError())
    (known,) = call_cache.entries.items()
    assert call_cache.launched(*known, x, window) is None and not call_cache.entries
    monkeypatch.undo()
    assert torch.equal(compute(x, window, basis), expected)


def test_entries_are_few_and_keep_no_tensors_of_the_program(x, fused, monkeypatch):
    window = functional.make_window(torch.hann_window, 64).float().to(x.device)
    basis = torch.eye(33, device=x.device)
    compute(x, window, basis)
    assert len(call_cache.entries) == 1
    memory = [StorageWeakRef(one.untyped_storage()) for one in (window, basis)]
    del window, basis
    gc.collect()
    assert all(one.expired() for one in memory)
    monkeypatch.setattr(call_cache, "LIMIT", 5)
    for samples in range(100, 112):
        front_end.compute(torch.zeros(1, samples, device=x.device), torch.ones(64, device=x.device), None, CALL)
        assert 0 < len(call_cache.entries) <= 5


def test_a_window_that_was_used_can_be_swapped(x, window, basis, fused):
    """torch refuses that for tensors that somebody refers to weakly."""
    for _ in range(2):
        compute(x, window, basis)
    torch.utils.swap_tensors(window, torch.rand(64, device=x.device))
    agrees(x, window, basis)


@pytest.fixture
def dynamic(torch_device):
    return msp.DynamicMelSpectrogramTransform(sample_rate=16000, n_fft=64, hop_length=16, n_mels=8).to(torch_device)


def test_a_repeated_call_of_a_dynamic_module_is_cached(dynamic, x, fused, ways):
    for other in (dict(), dict(keyshift=4.0), dict(keyshift=4.0, speed=2.0), dict(keyshift=4.0, center=False)):
        first, second = dynamic(x, **other), dynamic(x, **other)
        assert torch.equal(first, second)
    assert ways == 4 * ["whole", "cached"]


@pytest.mark.parametrize("change", [
    lambda module: module.basis.mul_(2), lambda module: setattr(module, "basis", 2 * module.basis),
    lambda module: module.load_state_dict({"basis": 2 * module.basis}),
    lambda module: setattr(module, "basis", torch.nn.Parameter(2 * module._buffers.pop("basis"))),
])  # fmt: skip
def test_a_dynamic_module_follows_its_filterbank(change, x, basis, fused):
    module = msp.DynamicMelSpectrogramTransform(
        sample_rate=16000, n_fft=64, hop_length=16, mel_basis=basis, persistent=True
    )
    before = [module(x, keyshift=3.0) for _ in range(2)][1].clone()
    change(module)
    torch.testing.assert_close(module(x, keyshift=3.0).detach(), 2 * before, rtol=1e-5, atol=1e-6)
    rows = module.basis.detach()
    del module.basis
    module.register_buffer("basis", rows[:, :-1])
    with pytest.raises(ValueError, match="filterbank"):
        module(x, keyshift=3.0)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_dynamic_module_keeps_nothing_of_its_calls(again, dynamic, x, fused):
    """Windows may be on a device that is missing where a copy is loaded."""
    before = len(pickle.dumps(dynamic))
    expected = [dynamic(x, keyshift=keyshift) for keyshift in (0.5, 2.0, 3.0)][-1]
    assert len(pickle.dumps(dynamic)) == before
    assert torch.equal(again(dynamic)(x, keyshift=3.0), expected)


def test_a_window_that_is_learned_takes_the_place_of_the_buffer(x, fused):
    module = msp.LogMelSpectrogramTransform(sample_rate=16000, n_fft=64, hop_length=16, n_mels=8).to(x.device)
    expected = [module(x) for _ in range(2)][1]
    window = module.window
    del module.window
    module.window = torch.nn.Parameter(window.clone())
    result = module(x)
    torch.testing.assert_close(result.detach(), expected)
    result.sum().backward()
    assert module.window.grad.isfinite().all()
