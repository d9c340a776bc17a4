"""Every function of this package on the way of a call fails in turn: the call gives torch's result with one warning.

Which functions those are is found by a profiler, in the first call and in the second, which is launched from the cache.
Then one of them raises when it is entered: once, or always. Not asked of it are those that torch or the program calls,
and those that do nothing but catch, as a function cannot catch what is raised before its first line (injection.GUARDS;
test_injected_elsewhere.py sees to it that nothing else is there); of front ends, the steps that torch's own composition
takes; and stats(), reset_stats() and watch_calls(), which have nothing else to give.

A run takes some of the functions by lot; MPS_SPECTRO_TEST_ALL=1 takes all of them (5 minutes).
"""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import types
import warnings
from collections.abc import Iterator

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import quarantine
from mps_spectro_patch.kernels.tables.by_tensor import TensorState
from tests.precision import wide

from .injection import (
    ERRORS,
    MELS,
    SIZES,
    assert_right,
    chosen,
    described,
    differentiated,
    entered,
    inside,
    is_guard,
    problems,
    qualified,
    quietly,
    raises_once,
    steps,
    told,
    twice_differentiated,
)

CALLS = {
    "stft": lambda s: [s.stft(s.x)],
    "stft of another size": lambda s: [s.stft(s.x, n_fft=81)],
    "stft without a window": lambda s: [torch.stft(s.x, 80, 32, return_complex=True)],
    "stft of float64": lambda s: [torch.stft(wide(s.x), 80, 32, window=wide(s.window), return_complex=True)],
    "stft and its gradient": lambda s: differentiated(s.stft, s.x),
    "stft and all gradients": lambda s: differentiated(s.stft, s.x, s.window),
    "stft and second derivatives": lambda s: twice_differentiated(s.stft, s.x),
    "istft": lambda s: [s.istft(s.spectrum)],
    "istft and its gradient": lambda s: differentiated(s.istft, s.spectrum),
    "istft and all gradients": lambda s: differentiated(s.istft, s.spectrum, s.window + 0.1),
    "vmap": lambda s: [torch.func.vmap(s.stft)(s.many)],
    "grad": lambda s: [torch.func.grad(lambda x: s.stft(x).abs().square().sum())(s.x)],
    "grad of istft": lambda s: [torch.func.grad(lambda x: s.istft(x * s.spectrum).sum())(s.spectrum.real)],
    "msp.stft": lambda s: [msp.stft(s.x, **SIZES)],
    "msp.istft and its gradient": lambda s: differentiated(lambda x: msp.istft(x, **SIZES), s.spectrum),
    "mel_spectrogram and its gradient": lambda s: differentiated(lambda x: msp.mel_spectrogram(x, **MELS), s.x),
    "dynamic_spectrogram": lambda s: [msp.dynamic_spectrogram(s.x, **SIZES, keyshift=2)],
    "a mel module": lambda s: [s.log_mel(s.x)],
    "a loss and its gradient": lambda s: differentiated(s.loss, s.x),
}

FIRST_TIER = "stft", "a mel module"


@pytest.mark.parametrize(
    "name", [name if name in FIRST_TIER else pytest.param(name, marks=pytest.mark.thorough) for name in CALLS]
)
def test_a_function_that_raises_once_costs_one_warning(name, signals, fresh, on):
    call = functools.partial(CALLS[name], signals)
    expected, found = quietly(call), steps(call, fresh, on)
    assert len(found) > 15
    wrong = []
    for number, code in chosen(found):
        error = random.choice(ERRORS)("injected")
        fresh(kernels_too=inside(code))
        wrong += [
            f"{described(number, code, error)} -> {problem}"
            for problem in problems(call, expected, on, number, functools.partial(raises_once, code, error))
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.thorough
@pytest.mark.parametrize("name", CALLS)
def test_a_function_that_always_raises_costs_one_warning(name, signals, fresh, on):
    call = functools.partial(CALLS[name], signals)
    expected, codes = quietly(call), dict.fromkeys(code for _, code in steps(call, fresh, on, True))
    gc.unfreeze()  # else what was there when the tests began is not found
    functions = {one.__code__: one for one in gc.get_objects() if isinstance(one, types.FunctionType)}
    # What fails wherever torch's own is called leaves no result to be given.
    functions = [(0, code) for code in codes if code in functions and qualified(code) != "Attempt.original"]
    assert len(functions) > (2 if "loss" in name else 8)  # those that were there before gc.freeze() are not found
    wrong = []
    for number, code in chosen(functions, 5):
        error = random.choice(ERRORS)
        fresh(kernels_too=inside(code))
        everywhere = [one for one in gc.get_referrers(code) if isinstance(one, types.FunctionType)]
        found = problems(call, expected, on, None, functools.partial(broken, everywhere, error))
        wrong += [f"{described(number, code, error())} -> {problem}" for problem in found]
    assert not wrong, "\n".join(wrong)


@pytest.mark.thorough
def test_a_shortage_of_memory_that_shows_before_a_kernel_and_in_it_costs_one_warning(signals, fresh, on):
    call = functools.partial(CALLS["mel_spectrogram and its gradient"], signals)
    expected = quietly(call)
    fresh()
    inject = functools.partial(broken, [TensorState.is_of], MemoryError)  # what every cache of tensors asks
    assert not list(problems(call, expected, on, None, inject))


@contextlib.contextmanager
def broken(functions: list[types.FunctionType], error: type[Exception]) -> Iterator[None]:
    """Whatever these are called with, they raise."""
    before = [one.__code__ for one in functions]
    for one in functions:
        names = [f"free{number}" for number in range(len(one.__code__.co_freevars))]
        text = "\n".join([
            f"def make({', '.join(names)}):",
            "    def raises(*_, **__):",
            f"        raise {error.__name__}('injected'{''.join(f' or {name}' for name in names)})",
            "    return raises",
        ])  # fmt: skip
        scope: dict = {}
        exec(text, scope)
        one.__code__ = scope["make"](*names).__code__
    try:
        yield
    finally:
        for one, code in zip(functions, before, strict=True):
            one.__code__ = code


@pytest.mark.parametrize("name", ["stft", "istft and its gradient", "a mel module"])
def test_an_interruption_ends_the_call_wherever_it_comes(name, signals, fresh, on):
    call = functools.partial(CALLS[name], signals)
    expected, found = quietly(call), steps(call, fresh, on)
    for number, code in chosen(found, 6):
        fresh(kernels_too=inside(code))
        with msp.accelerated(**on):
            for _ in range(number):
                call()
            injected, ended = raises_once(code, KeyboardInterrupt()), False
            try:
                with injected:
                    call()
            except KeyboardInterrupt:
                ended = True
            assert ended is injected.raised, described(number, code, injected.error)
            assert_right(call(), expected)
        assert not quarantine.plans and not quarantine.front_ends


@pytest.mark.parametrize("name", ["stft", "istft and its gradient", "msp.stft"])
def test_on_error_raise_shows_it_or_goes_on(name, signals, fresh, on):
    """It goes on where a look fails that only reports, or a cached launch that is prepared again."""
    call = functools.partial(CALLS[name], signals)
    expected, found = quietly(call), steps(call, fresh, on)
    shown = 0
    for number, code in chosen(found, 6):
        error = ZeroDivisionError("injected")
        fresh(kernels_too=inside(code))
        with msp.accelerated(**on, on_error="raise"):
            for _ in range(number):
                call()
            try:
                with raises_once(code, error):
                    result = call()
            except ZeroDivisionError as raised:
                shown += raised is error
            else:
                assert_right(result, expected)
            assert_right(call(), expected)
    assert shown


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["stft and its gradient", "istft and its gradient", "a mel module"])
def test_what_fails_while_code_is_compiled_or_runs_compiled_costs_no_result(name, signals, fresh, on):
    """Entered are here: what dynamo asks instead of tracing it, fake kernels, operators and, below them, kernels."""
    function, leaf = {
        "stft and its gradient": (signals.stft, signals.x),
        "istft and its gradient": (signals.istft, signals.spectrum),
        "a mel module": (signals.log_mel, signals.x),
    }[name]
    expected = differentiated(function, leaf)

    def compiled() -> list:
        torch._dynamo.reset()
        traced = torch.compile(lambda leaf: function(leaf), backend="eager")
        return differentiated(traced, leaf)

    msp.enable(**on)
    try:
        # What saves for the backward pass is called by torch itself here, and what dynamo asks by dynamo.
        theirs = "_setup", "_save", "kept", "is_looked_at_again", "asked_while_tracing.<locals>.wrap.<locals>.ask"
        found = [(0, code) for code in entered(compiled) if not (is_guard(code) or qualified(code).endswith(theirs))]
        assert_right(compiled(), expected)
        wrong = []
        for number, code in chosen(found, 4):
            error = random.choice(ERRORS)("injected")
            fresh(kernels_too=inside(code))
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                try:
                    with raises_once(code, error):
                        result = compiled()
                    assert_right(result, expected)
                except Exception as shown:
                    wrong.append(f"{described(number, code, error)} -> {type(shown).__name__}: {str(shown)[:200]}")
            if len(told(seen)) > 1:
                wrong.append(f"{described(number, code, error)} -> {told(seen)}")
    finally:
        msp.disable()
    assert not wrong, "\n".join(wrong)
