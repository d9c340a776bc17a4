"""Every function of this package on the way of a call fails in turn: the call gives torch's result with one warning.

Which functions those are is found by a profiler, in the first call and in the second, which is launched from the cache.
Then one of them raises when it is entered: once, or always. Not asked of it are the guards themselves (a function
cannot catch what is raised before its first line), and, of front ends, the steps that torch's own composition takes.

A run takes some of the functions by lot; MPS_SPECTRO_TEST_ALL=1 takes all of them (5 minutes).
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import os
import random
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch import compat, kernels
from mps_spectro_patch.execution import from_caller, quarantine
from mps_spectro_patch.front_ends import LossCall, losses
from mps_spectro_patch.ops import composite_losses
from tests.conftest import forget

FOLDERS = tuple(str(Path(module.__file__).parent) + "/" for module in (msp, kernels, compat))
KERNELS = str(Path(kernels.__file__).parent) + "/"
ERRORS = (
    KeyError, AttributeError, RecursionError, TypeError, RuntimeError, ValueError, IndexError, AssertionError, OSError,
    NotImplementedError, ImportError, ZeroDivisionError, StopIteration, MemoryError,
)  # fmt: skip
# By file: called by the program or by torch, or what catches.
GUARDS = {
    "entry.py": {"make_stft.<locals>.stft", "make_istft.<locals>.istft"},
    "runner.py": {"call", "call_direct", "Attempt.__init__", "Attempt.original"},
    "compute.py": {"_run", "compute"},
    "losses.py": {"try_fused"},
    "eager.py": {"Ways.backward"},
    "gradients.py": {"run", "_like_window", "tied", "_Tied.forward", "_Tied.backward", "is_looked_at_again"},
    "surviving.py": {"surviving.<locals>.run"},
    "replay.py": {"_Recorded.backward"},
    "from_caller.py": {"call"},
    "context.py": {"asked_while_tracing.<locals>.wrap.<locals>.ask", "_translator"},
    "torch_warnings.py": {"give_while_tracing"},
}
SIZES = dict(n_fft=80, hop_length=32)
LOSS = LossCall(80, 32, 80, 1e-8, linear=1.0, squared=True)
MELS = dict(SIZES, sample_rate=16000, n_mels=5, output_scale="linear")


class Signals:
    def __init__(self, device: torch.device) -> None:
        self.x, self.window = torch.randn(2, 700, device=device), torch.hann_window(80, device=device)
        self.spectrum, self.many = self.stft(self.x), torch.randn(3, 2, 300, device=device)
        self.log_mel = msp.LogMelSpectrogramTransform(**SIZES, sample_rate=16000, n_mels=5).to(device)

    def stft(self, x, window=None, n_fft=80):
        return torch.stft(x, n_fft, 32, 80, self.window if window is None else window, return_complex=True)

    def loss(self, x):
        given = x, self.x.flip(-1), self.window
        found = losses.try_fused(*given, LOSS)
        return (composite_losses.stft_loss(*given, *LOSS.arguments()) if found is None else found)[0]

    def istft(self, spectrum, window=None):
        return torch.istft(spectrum, 80, 32, 80, self.window if window is None else window)


def differentiated(function, *leaves):
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    result = function(*leaves)
    return [result.detach(), *torch.autograd.grad(result.abs().square().sum(), leaves)]


def twice_differentiated(function, leaf):
    leaf = leaf.clone().requires_grad_()
    (first,) = torch.autograd.grad(function(leaf).abs().square().sum(), leaf, create_graph=True)
    return [first.detach(), *torch.autograd.grad(first.square().sum(), leaf)]


CALLS = {
    "stft": lambda s: [s.stft(s.x)],
    "stft of another size": lambda s: [s.stft(s.x, n_fft=81)],
    "stft without a window": lambda s: [torch.stft(s.x, 80, 32, return_complex=True)],
    "stft of float64": lambda s: [torch.stft(s.x.double(), 80, 32, window=s.window.double(), return_complex=True)],
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


@pytest.fixture
def signals(torch_device) -> Signals:
    return Signals(torch_device)


@pytest.fixture(scope="module")
def own_caches() -> list:
    """Emptied, so that what is made once for all calls is made again and may fail."""
    gc.collect()
    wrappers = (one for one in gc.get_objects() if isinstance(one, functools._lru_cache_wrapper))
    return [one for one in wrappers if one.__module__.startswith(msp.__name__)]


@pytest.fixture
def fresh(own_caches):
    def forget_all(kernels_too: bool = True) -> None:
        forget()
        msp.reset_stats()
        from_caller._known.clear()
        for cached in own_caches if kernels_too else ():
            cached.cache_clear()

    yield forget_all
    forget_all()


class Profiler:
    """look(code) at every entry of a function of this package."""

    def __init__(self, look) -> None:
        self.look = look

    def __enter__(self) -> Profiler:
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *_) -> None:
        sys.setprofile(None)

    def _seen(self, frame, event, _) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(FOLDERS):
            self.look(frame.f_code)


def entered(act) -> list[types.CodeType]:
    found: dict[types.CodeType, None] = {}
    with Profiler(lambda code: found.setdefault(code)):
        act()
    return list(found)


def is_guard(code: types.CodeType) -> bool:
    name = qualified(code)
    is_torchs = name.endswith("_backward") or name.endswith("forward") and "modules" in code.co_filename
    return is_torchs or name in GUARDS.get(Path(code.co_filename).name, ())


def is_of_setup(code: types.CodeType) -> bool:
    return qualified(code).endswith("_setup") or qualified(code) in ("_save", "kept")


def qualified(code: types.CodeType) -> str:
    return getattr(code, "co_qualname", code.co_name)  # Python 3.10 has only the name


def steps(call, fresh, on) -> list[tuple[int, types.CodeType]]:
    """(0 or 1 for the first or the second call, a function that it enters), of what may fail."""
    fresh()
    definition = set(entered(call))  # without acceleration
    fresh()
    with msp.accelerated(**on):
        calls = [entered(call) for _ in range(2)]
    return [
        (number, code) for number, codes in enumerate(calls) for code in codes
        # Of a generator that is just entered, what a profiler raises can end the process (Python 3.11).
        if code not in definition and not is_guard(code) and not code.co_flags & inspect.CO_GENERATOR
    ]  # fmt: skip


class raises_once(Profiler):
    """raised: whether the function was entered. (What it makes may be there already.)"""

    def __init__(self, code: types.CodeType, error: BaseException) -> None:
        super().__init__(self.raise_in)
        self.code, self.error, self.raised = code, error, False

    def raise_in(self, entered: types.CodeType) -> None:
        if entered is self.code:
            self.raised = True
            raise self.error  # which also ends the profiling


def assert_right(got: list, expected: list) -> None:
    for ours, theirs in zip(got, expected, strict=True):
        assert (ours.dtype, ours.shape, ours.device) == (theirs.dtype, theirs.shape, theirs.device)
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def told(seen: list[warnings.WarningMessage]) -> list[str]:
    return [str(one.message) for one in seen if str(one.message).startswith(msp.__name__)]


def chosen(found: list, least: int = 10) -> list:
    """Some steps outside of the kernels' room and a few in it, as one guard catches all that these raise."""
    if os.environ.get("MPS_SPECTRO_TEST_ALL"):
        return found
    groups = ([one for one in found if inside(one[1]) is is_inside] for is_inside in (False, True))
    return [
        one
        for group, size in zip(groups, (least, 2), strict=True)
        for one in random.sample(group, min(size, len(group)))
    ]


def inside(code: types.CodeType) -> bool:
    return code.co_filename.startswith(KERNELS)


def described(number: int, code: types.CodeType, error: BaseException) -> str:
    call = ("first", "second")[number]
    return f"{type(error).__name__} in {Path(code.co_filename).name}: {qualified(code)}, {call} call"


def quietly(call) -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def problems(call, expected: list, on: dict, number: int | None, inject) -> Iterator[str]:
    """What is not as it should be if inject() is entered around one of two calls (None: around both)."""
    with warnings.catch_warnings(record=True) as seen, msp.accelerated(**on):
        warnings.simplefilter("always")
        for turn in range(2):
            try:
                with inject() if number in (turn, None) else contextlib.nullcontext():
                    result = call()
                assert_right(result, expected)
            except Exception as shown:
                yield f"{type(shown).__name__}: {str(shown)[:200]}"
    if len(told(seen)) > 1:
        yield f"{len(told(seen))} warnings: {told(seen)}"


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
    expected, codes = quietly(call), dict.fromkeys(code for _, code in steps(call, fresh, on))
    gc.unfreeze()  # else what was there when the tests began is not found
    functions = {one.__code__: one for one in gc.get_objects() if isinstance(one, types.FunctionType)}
    functions = [(0, code) for code in codes if code in functions]
    assert len(functions) > (2 if "loss" in name else 8)  # those that were there before gc.freeze() are not found
    wrong = []
    for number, code in chosen(functions, 5):
        error = random.choice(ERRORS)
        fresh(kernels_too=inside(code))
        everywhere = [one for one in gc.get_referrers(code) if isinstance(one, types.FunctionType)]
        found = problems(call, expected, on, None, functools.partial(broken, everywhere, error))
        wrong += [f"{described(number, code, error())} -> {problem}" for problem in found]
    assert not wrong, "\n".join(wrong)


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
        # What saves for the backward pass is called by torch itself here.
        found = [(0, code) for code in entered(compiled) if not (is_guard(code) or is_of_setup(code))]
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
