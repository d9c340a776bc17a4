"""msp.fuse, the backend "mps_spectro" and the pass in inductor: what is fused, and that nothing breaks a program."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch import graphs
from mps_spectro_patch.graphs import rewriting, search, step

WINDOW = torch.hann_window(64)


def mel(x, basis, eps=1e-5):
    spectrum = torch.stft(x, 64, 16, window=WINDOW.to(x.device), return_complex=True)
    return torch.log(torch.clamp(basis @ spectrum.abs() ** 2, min=eps))


class Mel(torch.nn.Module):
    def __init__(self, basis):
        super().__init__()
        self.register_buffer("basis", basis)

    def forward(self, x):
        return mel(x, self.basis)


@pytest.fixture
def tensors(torch_device):
    basis = torch.zeros(4, 33)
    for band in range(4):
        basis[band, 8 * band : 8 * band + 9] = 1.0
    return torch.randn(2, 500).to(torch_device), basis.to(torch_device)


@pytest.fixture
def options(device_name):
    return dict(devices=[device_name], verify="first")


@pytest.fixture(autouse=True)
def _anew():
    msp.reset_stats()
    torch._dynamo.reset()


def fast():
    return msp.stats()["graph"].fast if "graph" in msp.stats() else 0


def right(got, *tensors):
    torch.testing.assert_close(got, mel(*tensors), rtol=1e-3, atol=1e-3)
    return True


@pytest.mark.thorough
def test_a_function_is_fused_where_options_say_so_and_nowhere_else(tensors, options):
    @msp.fuse
    def function(x, basis, eps=1e-5):
        """Words."""
        return mel(x, basis, eps)

    assert function.__doc__ == "Words." and str(inspect.signature(function)) == "(x, basis, eps=1e-05)"
    assert right(function(*tensors), *tensors) and not fast()
    with msp.accelerated(**options):
        assert right(function(*tensors), *tensors) and fast() == 1
        with msp.accelerated(devices=()):
            assert right(function(*tensors), *tensors) and fast() == 1
        assert right(function(*tensors), *tensors) and fast() == 2
    assert right(function(*tensors), *tensors) and fast() == 2
    msp.enable(**options)
    assert right(function(*tensors), *tensors) and fast() == 3
    msp.disable()
    assert right(function(*tensors), *tensors) and fast() == 3


@pytest.mark.parametrize("convert", [
    lambda basis, x: basis.to(x.device), lambda basis, x: basis.to(x), lambda basis, x: basis.type_as(x),
    lambda basis, x: basis.float(), lambda basis, x: basis.resolve_neg(),
])  # fmt: skip
def test_a_basis_that_is_converted_to_what_it_is_can_be_fused(convert, tensors, options):
    function = msp.fuse(lambda x, basis: mel(x, convert(basis, x)))
    with msp.accelerated(**options):
        assert right(function(*tensors), *tensors) and fast() == 1


@pytest.mark.thorough
def test_a_module_keeps_its_type_and_its_state_and_can_be_copied_and_pickled(tensors, options):
    x, basis = tensors
    module = Mel(basis)
    keys = list(module.state_dict())
    assert msp.fuse(module) is module and type(module) is Mel and list(module.state_dict()) == keys
    with msp.accelerated(**options):
        assert right(module(x), x, basis) and fast() == 1
        calls = []
        hook = module.register_forward_hook(lambda *_: calls.append(1))
        assert right(module(x), x, basis) and calls
        hook.remove()
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert right(other(x), x, basis)


class Learned(torch.nn.Module):
    def __init__(self, basis, window):
        super().__init__()
        self.basis, self.window = torch.nn.Parameter(basis), torch.nn.Parameter(window)

    def forward(self, x):
        spectrum = torch.stft(x, 64, 16, window=self.window, return_complex=True)
        return torch.log(self.basis.to(x.device) @ spectrum.abs().pow(2) + 1e-2)


@pytest.mark.thorough
def test_learned_filterbanks_and_windows_get_their_gradients(tensors, options):
    x, basis = tensors
    modules = [Learned(basis.clone(), WINDOW.to(x)) for _ in range(2)]
    with msp.accelerated(**options):
        msp.fuse(modules[0])(x).square().sum().backward()
    assert fast() == 1
    modules[1](x).square().sum().backward()
    for ours, theirs in zip(modules[0].parameters(), modules[1].parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.thorough
def test_the_backend_is_found_by_its_name_and_follows_enable(tensors, options):
    compiled = torch.compile(mel, backend="mps_spectro")
    assert right(compiled(*tensors), *tensors) and not fast()
    msp.enable(**options)
    assert right(compiled(*tensors), *tensors) and fast() == 1
    msp.disable()
    assert right(compiled(*tensors), *tensors) and fast() == 1
    with msp.accelerated(**options):  # what is compiled follows enable() alone
        assert right(compiled(*tensors), *tensors) and fast() == 1


@pytest.mark.thorough
def test_other_lengths_and_batches_are_fused_too(tensors, options):
    function = msp.fuse(mel)
    with msp.accelerated(**options):
        for count, shape in enumerate([(2, 500), (2, 611), (3, 700), (800,), (1, 800), (2, 2, 900)], 1):
            x = torch.randn(shape).to(tensors[0])
            if len(shape) == 3:
                x = x.flatten(0, 1)
            assert right(function(x, tensors[1]), x, tensors[1]) and fast() == count


@pytest.mark.thorough
def test_a_wrong_first_call_goes_back_to_the_programs_steps_with_one_warning(tensors, options, monkeypatch):
    original = search._formula

    def misread(value, known):
        found = original(value, known)
        if found is None or found[1].scale.scale == "linear":
            return found
        last, then, inner = found
        return last, search.replace(then, scale=search.replace(then.scale, offset=0.25)), inner

    monkeypatch.setattr(search, "_formula", misread)
    function, unchecked = msp.fuse(mel), msp.fuse(verify="off")(lambda x, basis: mel(x, basis))
    with msp.accelerated(**options):
        with pytest.warns(RuntimeWarning, match="differs from the program's steps") as told:
            assert right(function(*tensors), *tensors)
        assert len(told) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert right(function(*tensors), *tensors)
            torch.testing.assert_close(unchecked(*tensors), mel(*tensors) + 0.25, rtol=1e-3, atol=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("where", ["search", "put", "call"])
def test_an_error_of_the_pass_leaves_the_graph_as_it_is_with_one_warning(where, tensors, options, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("broken")

    if where == "search":
        monkeypatch.setattr(rewriting, "search", broken)
    elif where == "put":
        monkeypatch.setattr(step, "FeatureStep", broken)
    else:
        monkeypatch.setattr(step.FeatureStep, "fused", broken)
    function = msp.fuse(mel)
    with msp.accelerated(**options):
        with pytest.warns(RuntimeWarning, match="ZeroDivisionError: broken") as told:
            assert right(function(*tensors), *tensors)
        assert len(told) == 1 and not fast()
    with msp.accelerated(**options, on_error="raise"), pytest.raises(Exception, match="broken"):
        msp.fuse(lambda x, basis: mel(x, basis))(*tensors)


@pytest.mark.thorough
def test_what_cannot_be_compiled_runs_as_it_is_and_says_so_once(tensors, options, monkeypatch):
    def refuses(*_, **__):
        raise RuntimeError("torch.compile is not supported on Python 3.99+")

    monkeypatch.setattr(torch, "compile", refuses)
    function = msp.fuse(mel)
    with msp.accelerated(**options):
        with pytest.warns(RuntimeWarning, match="3.99") as told:
            assert right(function(*tensors), *tensors)
        assert len(told) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert right(function(*tensors), *tensors)


@pytest.mark.thorough
def test_a_graph_that_breaks_is_fused_in_its_parts(tensors, options):
    said = []

    @msp.fuse
    def function(x, basis):
        first = mel(x, basis)
        torch._dynamo.graph_break()
        said.append(1)
        return first + mel(x * 2, basis)

    with msp.accelerated(**options):
        result = function(*tensors)
        assert fast() == 2 and said == [1]
        x, basis = tensors
        torch.testing.assert_close(result, mel(x, basis) + mel(x * 2, basis), rtol=1e-3, atol=1e-3)


@pytest.mark.thorough
def test_memory_order_is_the_programs_where_somebody_sees_it(tensors, options, monkeypatch):
    made = []
    planned = rewriting._planned
    monkeypatch.setattr(rewriting, "_planned", lambda *a: made.append(planned(*a)) or made[-1])
    x, basis = tensors
    losses = [lambda a, b: torch.nn.functional.l1_loss(a, b), lambda a, b: (a - b).abs().mean(), lambda a, b: a - b]
    for loss, contiguous in zip(losses, (0, 0, 2), strict=True):
        made.clear()
        function = msp.fuse(lambda x, basis, loss=loss: loss(mel(x, basis), mel(x * 2, basis)))
        leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        with msp.accelerated(**options):
            function(leaf, basis).sum().backward()
        loss(mel(other, basis), mel(other * 2, basis)).sum().backward()
        torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-3, atol=1e-3)
        assert sum(plan.call.contiguous for plan in made) == contiguous and len(made) == 2
        assert not any("contiguous" in dict(plan.arrangement) for plan in made)


@pytest.mark.parametrize("wrong, kind", [
    (dict(verify="of"), ValueError), (dict(program=3), TypeError), (dict(program=Mel), TypeError),
])  # fmt: skip
def test_wrong_arguments_are_named(wrong, kind):
    with pytest.raises(kind, match=r"fuse\(\)|verify"):
        msp.fuse(**wrong)


@pytest.mark.thorough
def test_inductors_pass_is_there_while_enabled_beside_another_ones(options):
    from torch._inductor import config

    seen = []

    def other(graph):
        seen.append(graph)

    assert config.pre_grad_custom_pass is None
    config.pre_grad_custom_pass = other
    try:
        msp.enable(**options)
        msp.enable(**options)
        ours = config.pre_grad_custom_pass
        assert ours is not other and ours.others is other and ours.uuid() is None
        graph = torch.fx.Graph()
        graph.output(graph.placeholder("x"))
        ours(graph)
        assert seen == [graph]
        msp.disable()
        assert config.pre_grad_custom_pass is other
        msp.enable(**options)
        config.pre_grad_custom_pass = None  # somebody's own decision
        msp.disable()
        assert config.pre_grad_custom_pass is None
        msp.enable(**options)
        ours = config.pre_grad_custom_pass
        assert ours.uuid() is not None
        pickled = pickle.dumps(ours)  # inductor's cache does that, to know its configuration again
        assert ours.uuid()[-2] in str(pickled) and pickle.loads(pickled).others is None
        msp.disable()
        assert config.pre_grad_custom_pass is None
    finally:
        config.pre_grad_custom_pass = None


@pytest.mark.thorough
def test_the_pass_knows_no_graph_without_an_stft():
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_method("abs", (x,)))
    assert not list(search.search(graph, None)) and graphs.__all__ == ["fuse", "inductor", "mps_spectro"]
