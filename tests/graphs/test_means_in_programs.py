"""STFT losses of two signals become one operator, however a program takes their mean, unless a part of it is seen."""

# ruff: noqa: F811  (fixtures)
from __future__ import annotations

import pytest
import torch

from mps_spectro_patch.front_ends import losses

from .several_losses import (
    SIZES,
    agree,
    as_auraloss,
    compiled,  # noqa: F401  (fixture)
    counts,
    each,
    of_two_sums,
    signals,  # noqa: F401  (fixture)
    terms,
    wide,
    windows,  # noqa: F401  (fixture)
    with_gradients,
)

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

pytestmark = pytest.mark.thorough


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


@pytest.mark.parametrize("program", TOGETHER, ids=lambda one: one.__name__)
def test_a_mean_is_one_operator_with_its_gradient(program, signals, windows, compiled):
    function = compiled(program)
    agree(function, program, *signals, windows)
    assert [counts(one) for one in function.found] == [(1, 0)]


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
