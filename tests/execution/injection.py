"""Finds the functions of this package on the way of a call, by a profiler, and makes them fail one by one."""

from __future__ import annotations

import contextlib
import functools
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
from mps_spectro_patch.front_ends import LossCall, losses
from mps_spectro_patch.ops import composite_losses

FOLDERS = tuple(str(Path(module.__file__).parent) + "/" for module in (msp, kernels, compat))

KERNELS = str(Path(kernels.__file__).parent) + "/"

ERRORS = (
    KeyError, AttributeError, RecursionError, TypeError, RuntimeError, ValueError, IndexError, AssertionError, OSError,
    NotImplementedError, ImportError, ZeroDivisionError, StopIteration, MemoryError,
)  # fmt: skip

# By file: called by the program or by torch, or what catches.
GUARDS = {
    "entry.py": {"make_stft.<locals>.stft", "make_istft.<locals>.istft"},
    "runner.py": {"call", "call_direct", "call_elsewhere", "Attempt.__init__"},
    "functional_module.py": {"_attribute.<locals>.get"},
    "overrides.py": {"_wrapper.<locals>.wrapper", "_wrapper.<locals>.replaced"},
    "linkseg.py": {"_network", "_StandIn.__getattr__"},  # in which a network runs, whose errors are its own
    "torch_operators.py": {"_kernel.<locals>.kernel", "_kernel.<locals>.plain"},
    "compute.py": {"_run", "compute"},
    "mean_of_losses.py": {"_Mean.backward"},
    "losses.py": {"try_fused", "try_mean", "apart", "weighted_terms", "weighted_terms.<locals>.<listcomp>"},
    "built.py": {"watch.<locals>.hook"},
    "eager.py": {"Ways.backward"},
    "features.py": {"_Recorded.backward"},
    "gradients.py": {"run", "_like_window", "tied", "_Tied.backward"},
    "inductor.py": {"_Pass.__init__", "_Pass.__reduce__", "_Pass.__setstate__", "_Pass.uuid"},
    "surviving.py": {"surviving.<locals>.run"},
    "replay.py": {"_Recorded.backward"},
    "from_caller.py": {"call"},
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


def qualified(code: types.CodeType) -> str:
    if sys.version_info >= (3, 11):
        return code.co_qualname
    return qualified_names(code.co_filename).get((code.co_firstlineno, code.co_name), code.co_name)


@functools.cache
def qualified_names(file: str) -> dict[tuple[int, str], str]:
    """By line and name, as Python 3.11 puts them into the code."""
    found = {}

    def look(outer: types.CodeType, before: str) -> None:
        for code in outer.co_consts:
            if isinstance(code, types.CodeType):
                name = found[code.co_firstlineno, code.co_name] = before + code.co_name
                look(code, name + (".<locals>." if code.co_flags & inspect.CO_OPTIMIZED else "."))

    look(compile(Path(file).read_text(encoding="utf-8"), file, "exec"), "")
    return found


def steps(call, fresh, on, generators: bool = False) -> list[tuple[int, types.CodeType]]:
    """(0 or 1 for the first or the second call, a function that it enters), of what may fail."""
    fresh()
    definition = set(entered(call))  # without acceleration
    fresh()
    with msp.accelerated(**on):
        calls = [entered(call) for _ in range(2)]
    found = [
        (number, code) for number, codes in enumerate(calls) for code in codes
        # Of a generator that is just entered, what a profiler raises can end the process (Python 3.11).
        if code not in definition and not is_guard(code) and (generators or not code.co_flags & inspect.CO_GENERATOR)
    ]  # fmt: skip
    if len(found) < 3 and on["devices"] == ("mps",):
        pytest.skip("front ends on MPS are fused without enable(), too: their steps cannot be told from what may fail")
    return found


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
