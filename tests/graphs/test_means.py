"""Several STFT losses between the same two signals become one operator of a compiled graph: however a program takes
their mean, and never where anybody else sees what is added up."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from functorch.compile import nop
from torch._dynamo.backends.common import aot_autograd

import mps_spectro_patch as msp
from mps_spectro_patch.arguments import losses_of
from mps_spectro_patch.execution import launches
from mps_spectro_patch.front_ends import losses
from mps_spectro_patch.graphs import rewriting
from mps_spectro_patch.kernels.tables import windows as tables
from mps_spectro_patch.ops.mean_of_losses import MeanOfLosses

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

SIZES = (64, 16, 48), (30, 7, 30), (128, 24, 100)
pytestmark = pytest.mark.thorough


def magnitude(x, sizes, windows):
    spectrum = torch.stft(x, *sizes, windows[sizes].to(x), return_complex=True)
    return torch.sqrt(torch.clamp(spectrum.real**2 + spectrum.imag**2, min=1e-7))


def terms(x, y, sizes, windows):
    x, y = (magnitude(one.reshape(-1, one.shape[-1]), sizes, windows) for one in (x, y))
    return torch.norm(y - x, p="fro") / torch.norm(y, p="fro"), F.l1_loss(torch.log(y), torch.log(x))


def each(x, y, windows):
    return [sum(terms(x, y, sizes, windows)) for sizes in SIZES]


def as_auraloss(x, y, windows):
    total = 0.0
    for sizes in SIZES:
        convergence, log = terms(x, y, sizes, windows)
        total += ((1.0 * convergence) + (1.0 * log) + 0.0 + (0.0 * 0.0)).mean()
    total /= len(SIZES)
    return total


def of_a_stack(x, y, windows):
    return torch.stack(each(x, y, windows)).mean()


def of_a_weighted_stack(x, y, windows):
    return (torch.stack(each(x, y, windows), dim=0) * 0.5).sum(0) / 3


def of_a_list(x, y, windows):
    first, second, third = each(x, y, windows)
    return (first + second + third) / 3


def weighted(x, y, windows):
    first, second, third = each(x, y, windows)
    return -(2 * first + second.mul(0.25) - third / 5)


def of_two_sums(x, y, windows):
    """ParallelWaveGAN's, and what its programs do with them."""
    convergence = log = 0
    for sizes in SIZES:
        one, other = terms(x, y, sizes, windows)
        convergence += one
        log += other
    return 2.5 * (convergence / len(SIZES) + log / len(SIZES))


def in_place(x, y, windows):
    first, second, third = each(x, y, windows)
    first += second
    first -= third
    first *= 3
    return first


def of_modules(x, y, windows):
    first, second, third = (loss(x, y) for loss in windows["modules"])
    first += second
    return first.sub_(third).div_(-2)


def times_a_loss_of_another_kind(x, y, windows):
    return of_a_list(x, y, windows) * 2 + (x - y).abs().mean()


TOGETHER = [
    as_auraloss, of_a_stack, of_a_weighted_stack, of_a_list, weighted, of_two_sums, in_place, of_modules,
    times_a_loss_of_another_kind,
]  # fmt: skip


def returned_too(x, y, windows):
    first, second, third = each(x, y, windows)
    return first + second + third, first


def a_term_returned(x, y, windows):
    found = [terms(x, y, sizes, windows) for sizes in SIZES]
    return sum(map(sum, found)), found[1][0]


def changed_later(x, y, windows):
    first, second, third = each(x, y, windows)
    kept = first.view(1)
    first += second
    return first + third, kept


def target_changed_between(x, y, windows):
    y = y * 1
    first = sum(terms(x, y, SIZES[0], windows))
    y *= 0.5
    return first + sum(terms(x, y, SIZES[1], windows))


def target_changed_by_its_view_between(x, y, windows):
    y = y * 1
    part = y[..., :100]
    first = sum(terms(x, y, SIZES[0], windows))
    part.zero_()
    return first + sum(terms(x, y, SIZES[1], windows))


def other_targets(x, y, windows):
    return sum(terms(x, y, SIZES[0], windows)) + sum(terms(x, y * 2, SIZES[1], windows))


def the_other_way_round(x, y, windows):
    return sum(terms(x, y, SIZES[0], windows)) + sum(terms(y.detach(), x, SIZES[1], windows))


def other_rows(x, y, windows):
    turned = (one.reshape(1, -1) for one in (x, y))
    return sum(terms(x, y, SIZES[0], windows)) + sum(terms(*turned, SIZES[1], windows))


def squared(x, y, windows):
    first, second, third = each(x, y, windows)
    return first * second + third


def weighted_by_a_tensor(x, y, windows):
    return (torch.stack(each(x, y, windows)) * torch.arange(3, device=x.device)).sum()


def largest(x, y, windows):
    return torch.stack(each(x, y, windows)).max()


def with_a_bias(x, y, windows):
    first, second, _ = each(x, y, windows)
    return first + 1.0, second


def cancelled(x, y, windows):
    first, second, _ = each(x, y, windows)
    return first + second - second


def of_no_weight(x, y, windows):
    first, second, _ = each(x, y, windows)
    return first + 0 * second


def unrecorded(x, y, windows):
    first = sum(terms(x, y, SIZES[0], windows))
    with torch.no_grad():
        second = sum(terms(x, y, SIZES[1], windows))
    return first + second


def target_changed_behind_its_copy(x, y, windows):
    """A reshape copies what is transposed."""
    y = y.squeeze(1).t() * 1
    rows = y.t().reshape(-1, 1, y.shape[0])
    y *= 0.5
    return sum(sum(terms(x, rows, sizes, windows)) for sizes in SIZES[:2])


def listened_to(x, y, windows):
    first, second, third = each(x, y, windows)
    if second.requires_grad:
        second.register_hook(lambda gradient: gradient * 2)
    return first + second + third


APART = [
    target_changed_behind_its_copy, listened_to, returned_too, a_term_returned, changed_later,
    target_changed_between, target_changed_by_its_view_between, other_targets, the_other_way_round, other_rows,
    squared, weighted_by_a_tensor, largest, with_a_bias, cancelled, of_no_weight, unrecorded,
]  # fmt: skip


@pytest.fixture
def windows(torch_device):
    made = {sizes: (torch.rand(sizes[2]) + 0.5).to(torch_device) for sizes in SIZES}
    made["modules"] = [msp.STFTLoss(*sizes, w_lin_mag=0.25).to(torch_device) for sizes in SIZES]
    return made


@pytest.fixture
def signals(torch_device):
    """They differ in loudness by the sample, so that few bins are equally loud in both."""
    x, y = torch.randn(2, 2, 1, 500)
    return x.to(torch_device), (y * torch.linspace(0.2, 3, 500)).to(torch_device)


@pytest.fixture
def compiled(device_name):
    """compiled(function): with the pass over its graph, which then runs in Python or, `traced`, as inductor would get
    it. Its attribute `found` has the functions that each graph calls."""
    torch._dynamo.reset()
    msp.enable(devices=[device_name], on_error="raise")

    def make(function, traced=False, **options):
        def backend(graph_module, inputs):
            rewriting.rewrite(graph_module.graph, None)
            graph_module.recompile()
            result.found.append([node.target for node in graph_module.graph.nodes if node.op == "call_function"])
            return aot_autograd(fw_compiler=nop)(graph_module, inputs) if traced else graph_module.forward

        def result(*given):
            return run(*given)

        run, result.found = torch.compile(function, backend=backend, **options), []
        return result

    yield make
    msp.disable()
    torch._dynamo.reset()


def with_gradients(function, x, y, windows, of_both=False):
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_(of_both)
    results = function(x, y, windows)
    results = results if isinstance(results, tuple) else (results,)
    sum(one.sum() * (place + 1) for place, one in enumerate(results)).backward()
    return [*results, x.grad, *([y.grad] if of_both else [])]


def wide(windows):
    modules = [copy.deepcopy(one).cpu().double() for one in windows["modules"]]
    return {**{sizes: windows[sizes].cpu().double() for sizes in SIZES}, "modules": modules}


def agree(function, exact, x, y, windows, of_both=False):
    right = with_gradients(exact, x.cpu().double(), y.cpu().double(), wide(windows), of_both)
    for got, want in zip(with_gradients(function, x, y, windows, of_both), right, strict=True):
        assert got.shape == want.shape
        assert float((got.cpu().double() - want).detach().norm()) < 5e-3 * float(want.detach().norm())


def counts(found):
    ops = launches.ops
    return found.count(ops.losses_together.mean_of_losses), found.count(ops.losses.stft_loss)


@pytest.mark.parametrize("program", TOGETHER, ids=lambda one: one.__name__)
def test_a_mean_is_one_operator_with_its_gradient(program, signals, windows, compiled):
    function = compiled(program)
    agree(function, program, *signals, windows)
    assert [counts(one) for one in function.found] == [(1, 0)]


@pytest.mark.parametrize("program", [as_auraloss, of_two_sums], ids=lambda one: one.__name__)
def test_traced_for_its_gradient_it_is_two(program, signals, windows, compiled):
    function = compiled(program, traced=True)
    for _ in range(2):
        agree(function, program, *signals, windows)
    with torch.no_grad():
        torch.testing.assert_close(function(*signals, windows), program(*signals, windows), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("program", APART, ids=lambda one: one.__name__)
def test_what_is_no_mean_or_seen_by_somebody_stays(program, signals, windows, compiled):
    function = compiled(program)
    agree(function, program, *signals, windows)
    assert not any(counts(one)[0] for one in function.found)


@pytest.mark.parametrize("program", [as_auraloss, of_two_sums], ids=lambda one: one.__name__)
def test_gradients_of_the_target_are_those_of_each_loss(program, signals, windows, compiled):
    function = compiled(program)
    agree(function, program, *signals, windows, of_both=True)
    assert counts(function.found[0]) == (0, 3)


def test_of_two_pairs_of_signals_each_has_its_own(signals, windows, compiled):
    """As auraloss's and stable-audio-tools' losses of sums and differences."""

    def program(x, y, windows):
        others = (x.flip(-1) * 0.3 - x, y.flip(-1) - y)
        found = [as_auraloss(x, y, windows), as_auraloss(*others, windows)]
        return (1.0 * found[0] + 0.5 * found[1]) / 2

    function = compiled(program)
    agree(function, program, *signals, windows)
    assert counts(function.found[0]) == (2, 0)


def test_a_loss_whose_terms_are_returned_stays(signals, windows, compiled):
    def program(x, y):
        rows = x.reshape(-1, 500), y.reshape(-1, 500)
        first, second = (losses.try_fused(*rows, windows[sizes], losses.loss_call(*sizes, 1e-7)) for sizes in SIZES[:2])
        return first[0] + second[0], first[1]

    function = compiled(program)
    total, kept = function(*signals)
    first, second = (sum(terms(*signals, sizes, windows)) for sizes in SIZES[:2])
    torch.testing.assert_close(total, first + second, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(kept[:3].sum(), first, rtol=1e-4, atol=1e-6)
    assert counts(function.found[0]) == (0, 2)


def test_a_part_that_is_seen_leaves_the_rest_together(signals, windows, compiled):
    def program(x, y, windows):
        first, second, third = each(x, y, windows)
        return first, second * 0.5 + third

    function = compiled(program)
    agree(function, program, *signals, windows)
    assert counts(function.found[0]) == (1, 1)


def test_sizes_that_vary_are_one_graph(torch_device, windows, compiled):
    function = compiled(as_auraloss, traced=True, dynamic=True)
    for rows, samples in ((2, 500), (3, 611), (5, 1200)):
        signals = (torch.randn(rows, 1, samples).to(torch_device) for _ in range(2))
        agree(function, as_auraloss, *signals, windows)
    assert [counts(one) for one in function.found] == [(1, 0)]


def test_windows_are_filled_up_once(signals, windows, compiled, monkeypatch):
    function, made = compiled(as_auraloss, traced=True), []
    monkeypatch.setattr(tables, "pad", lambda *given: made.append(given) or F.pad(*given))
    for _ in range(3):
        agree(function, as_auraloss, *signals, windows)
    assert len(made) == sum(n_fft != win_length for n_fft, _, win_length in SIZES)


def test_layouts_and_places_in_memory_are_looked_at(signals, windows, compiled):
    function = compiled(as_auraloss, traced=True, dynamic=True)
    long = torch.randn(2, 1, 1003).to(signals[0].device)
    for x, y in (
        signals,
        (long[..., 1:501], signals[1]),
        (long[..., ::2], long[..., :502]),
        (signals[0], long[..., 3:503]),
    ):
        agree(function, as_auraloss, x, y, windows)


def test_the_operators_take_bits_and_say_what_they_give(torch_device):
    ops = launches.ops
    if ops is None:
        launches.load_operators()
        ops = launches.ops
    calls = losses_of(repr([(*sizes, sizes[0] // 2, "reflect", 1.0, 1.0, 0.5, 1e-7, 1.0, 0.0, False, per_row, True)
                            for sizes, per_row in zip(SIZES, (False, True, False), strict=True)]))  # fmt: skip
    text = repr([tuple(one) for one in calls])
    x, y = torch.randn(2, 3, 2, 400).to(torch_device)
    y = y * torch.linspace(0.2, 3, 400).to(torch_device)
    windows = [torch.hann_window(one.win_length, device=torch_device) for one in calls]
    together, composite = ops.losses_together, ops.composite_losses
    mean, kept = together.stft_losses(x, y, windows, text)
    right, worth = composite.mean_with_worth(x, y, windows, calls)
    torch.testing.assert_close(mean, right, rtol=1e-4, atol=0)
    torch.testing.assert_close(kept, worth, rtol=1e-3, atol=1e-6)
    turned = torch._neg_view(-x)
    torch.testing.assert_close(together.stft_losses(turned, y, windows, text)[0], mean, rtol=0, atol=0)
    upstream = torch.tensor(-2.0, device=torch_device)
    gradient = together.stft_losses_gradient(upstream, kept, x, y, windows, text)
    right = composite.gradients_of_mean(upstream, x, y, windows, calls)[0]
    assert float((gradient - right).norm()) < 5e-3 * float(right.norm())
    torch.library.opcheck(together.stft_losses, (x, y, windows, text), test_utils=("test_schema", "test_faketensor"))
    given = upstream, kept, x, y, windows, text
    torch.library.opcheck(together.stft_losses_gradient, given, test_utils=("test_schema", "test_faketensor"))


def test_the_operator_has_all_first_derivatives_and_refuses_a_second(torch_device):
    launches.load_operators()
    ops = launches.ops
    calls = losses_of(repr([(*sizes, sizes[0] // 2, "reflect", 1.0, 1.0, 0.0, 1e-7, 1.0, 0.0, False, False, True)
                            for sizes in SIZES[:2]]))  # fmt: skip
    tensors = [
        torch.randn(2, 300),
        torch.randn(2, 300) * torch.linspace(0.2, 3, 300),
        torch.rand(48) + 0.5,
        torch.rand(30) + 0.5,
    ]
    given = [one.to(torch_device).requires_grad_() for one in tensors]
    x, y, *windows = given
    upstream = torch.ones(()).to(torch_device).requires_grad_()
    mean = ops.losses_together.mean_of_losses(x, y, windows, repr([tuple(one) for one in calls]))
    found = torch.autograd.grad(mean, given, upstream, create_graph=True)
    right = ops.composite_losses.gradients_of_mean(upstream.detach(), x, y, windows, calls)
    for got, want in zip(found, right, strict=True):
        assert float((got - want).detach().norm()) < 5e-3 * float(want.detach().norm())
    with pytest.raises(RuntimeError, match="once_differentiable"):
        found[0].sum().backward()


@pytest.mark.parametrize("part", ["run", "run_gradient"])
def test_a_kernel_that_fails_in_compiled_code_is_made_of_torchs_functions(
    part, signals, windows, compiled, device_name, monkeypatch
):
    def broken(*_):
        raise RuntimeError("broken")

    function = compiled(as_auraloss, traced=True)
    agree(function, as_auraloss, *signals, windows)
    msp.enable(devices=[device_name])
    monkeypatch.setattr(MeanOfLosses, part, broken)
    with pytest.warns(RuntimeWarning, match="broken"):
        agree(function, as_auraloss, *signals, windows)


def added(pool, a, b, extra):
    pool.append(pool[a] + pool[b])


def added_in_place(pool, a, b, extra):
    """To a value that stays in the pool: whoever takes it later takes what it is now."""
    if a != b:
        pool[a] += pool[b]


def scaled(pool, a, b, extra):
    pool[a] = pool[a] * -0.75 / 2


def halved_in_place(pool, a, b, extra):
    pool[a] /= 2


def averaged(pool, a, b, extra):
    pool.append(torch.stack([pool[a], pool[b]]).mean())


def seen(pool, a, b, extra):
    extra.append(pool[a])


def seen_by_a_view(pool, a, b, extra):
    extra.append(pool[a].view(1))


def cut_off(pool, a, b, extra):
    pool.append(pool[a].detach() * pool[b])


def product(pool, a, b, extra):
    pool.append(pool[a] * pool[b])


STEPS = [added, added_in_place, scaled, halved_in_place, averaged, seen, seen_by_a_view, cut_off, product]
PLAIN = {added, scaled, averaged}  # which leave all together that is summed up at the end


@hypothesis.settings(max_examples=8, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 9)), max_size=5), st.booleans()
)
def test_drawn_programs_on_losses_have_their_numbers(signals, windows, compiled, steps, as_modules):
    def program(x, y, windows):
        pool, extra = [loss(x, y) for loss in windows["modules"]] if as_modules else each(x, y, windows), []
        for step, a, b in steps:
            step(pool, a % len(pool), b % len(pool), extra)
        return sum(pool), *extra

    torch._dynamo.reset()
    function = compiled(program)
    try:
        right = with_gradients(program, *(one.cpu().double() for one in signals), wide(windows))
    except RuntimeError:  # a value that is kept for the gradient was changed
        hypothesis.reject()
    for got, want in zip(with_gradients(function, *signals, windows), right, strict=True):
        assert got.shape == want.shape
        assert float((got.cpu().double() - want).detach().norm()) < 5e-3 * max(float(want.detach().norm()), 0.1)
    if {step for step, *_ in steps} <= PLAIN:
        assert counts(function.found[0]) == (1, 0)
