"""Other libraries that wrap torch.stft before us, after us or in between: each is respected, and we leave exactly."""

from __future__ import annotations

import functools
import itertools
import shutil
import types
from pathlib import Path

import pytest
import torch
import wrapt

import mps_spectro_patch as msp
from mps_spectro_patch.patching import layers, wrapper_chains
from tests.tiers import some

OWN = {"stft": torch.stft, "istft": torch.istft}


class Other:
    """Somebody else's patch of torch.stft, in one of the ways that are about. Counts the calls that pass it."""

    def __init__(self, kind: str) -> None:
        self.kind, self.calls, self.below, self.function = kind, 0, None, None

    def count(self) -> None:
        self.calls += 1

    def install(self) -> None:
        self.below = torch.stft
        self.function = torch.stft = getattr(self, f"_{self.kind}")(torch.stft)

    def remove(self) -> None:
        """As their authors do it: without looking."""
        torch.stft = self.below

    def _closure(self, below):
        @functools.wraps(below)
        def theirs(*args, **kwargs):
            self.count()
            return below(*args, **kwargs)

        return theirs

    def _silent_closure(self, below):
        return lambda *args, **kwargs: (self.count(), below(*args, **kwargs))[1]

    def _module_global(self, below):
        """Applio's zluda patch keeps torch's function as a global of its module."""
        module = types.ModuleType("zluda_like")
        code = "def z_stft(*args, **kwargs):\n    count()\n    return _torch_stft(*args, **kwargs)"
        exec(code, vars(module).update(count=self.count, _torch_stft=below) or vars(module))
        return module.z_stft

    def _object(self, below):
        class Profiled:
            def __init__(self, inner):
                self.inner = inner

            def __call__(inner_self, *args, **kwargs):
                self.count()
                return inner_self.inner(*args, **kwargs)

        return Profiled(below)

    def _bound_method(self, below):
        class Profiler:
            kept = below

            def stft(inner_self, *args, **kwargs):
                self.count()
                return inner_self.saved(*args, **kwargs)

        profiler = Profiler()
        profiler.saved = below
        return profiler.stft

    def _dressed_object(self, below):
        profiled = self._object(below)
        return functools.update_wrapper(profiled, below, updated=())

    def _partial_argument(self, below):
        return functools.partial(lambda below, *args, **kwargs: (self.count(), below(*args, **kwargs))[1], below)

    def _partial_keyword(self, below):
        return functools.partial(lambda *args, own, **kwargs: (self.count(), own(*args, **kwargs))[1], own=below)

    def _closure_over_a_partial(self, below):
        return self._silent_closure(functools.partial(below))

    def _wrapt(self, below):
        def wrapper(wrapped, instance, args, kwargs):
            self.count()
            return wrapped(*args, **kwargs)

        return wrapt.FunctionWrapper(below, wrapper)


KINDS = [name[1:] for name in vars(Other) if name[0] == "_" and name[1] != "_"]
NEXT = list(zip(KINDS, [*KINDS[1:], KINDS[0]], strict=True))  # each below and above another one


def passes(other: Other, call) -> bool:
    before = other.calls
    call()
    return other.calls == before + 1


@pytest.fixture(autouse=True)
def _torchs_own_at_the_end():
    yield
    torch.stft = OWN["stft"]


@pytest.mark.parametrize("kind", some(KINDS, KINDS[::3]))
def test_disable_takes_our_layer_out_from_under_a_wrapper(kind, signal, on, caplog):
    other = Other(kind)
    msp.enable(**on)
    ours = torch.stft
    other.install()
    assert signal.is_fast() and passes(other, signal.stft)
    assert msp.status().patched["stft"].startswith("patched, below")
    msp.disable()
    assert torch.stft is other.function and passes(other, signal.stft)
    assert not wrapper_chains.places(ours, torch.stft) and msp.status().patched["stft"] == "not patched"
    assert not signal.is_fast() and not caplog.records
    msp.enable(**on)  # and again, above it this time
    assert signal.is_fast()
    msp.disable()
    assert torch.stft is other.function


@pytest.mark.parametrize("kind", some(KINDS, KINDS[::3]))
def test_a_wrapper_that_was_there_before_us_gets_what_we_do_not_do_and_stays(kind, signal, on):
    other = Other(kind)
    other.install()
    msp.enable(**on, verify="off")
    assert signal.is_fast()
    assert passes(other, signal.refused)
    msp.disable()
    assert torch.stft is other.function and passes(other, signal.stft)


@pytest.mark.parametrize(
    ("below", "above"),
    some([*NEXT, *(pair for pair in itertools.product(KINDS[:5] + KINDS[-1:], repeat=2) if pair not in NEXT)], NEXT),
)
def test_between_two_of_them_only_our_layer_goes(below, above, signal, on):
    first, second = Other(below), Other(above)
    first.install()
    msp.enable(**on, verify="off")
    second.install()
    assert signal.is_fast()
    msp.disable()
    assert torch.stft is second.function
    assert passes(first, signal.stft) and passes(second, signal.stft) and not signal.is_fast()
    assert msp.status().patched["stft"] == "not patched"


EVENTS = ("enable", "disable", "theirs on", "theirs off")
ORDERS = [order for order in itertools.permutations(EVENTS) if order.index("theirs on") < order.index("theirs off")]


@pytest.mark.parametrize(("kind", "twice"), [("closure", True), ("module_global", False), ("wrapt", False)])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_in_every_order_of_events_calls_are_right_and_fast_when_they_should_be(order, kind, twice, signal, on):
    """twice: enable() and disable() are, which must change nothing."""
    other, enabled, there = Other(kind), False, False
    for event in order:
        if event == "enable":
            msp.enable(**on, verify="off")
            if twice:
                msp.enable(**on, verify="off")
            enabled = True
        elif event == "disable":
            msp.disable()
            if twice:
                msp.disable()
            enabled = False
        elif event == "theirs on":
            other.install()
            there = True
        else:
            other.remove()
            there = False
            if enabled and torch.stft is OWN["stft"]:
                enabled = False  # they put torch's own back over our heads: that is their doing
        assert signal.is_fast() is enabled
        if there and not enabled:
            assert passes(other, signal.stft)
    msp.disable()
    # What they put back may be ours, from before it was taken out: then it does nothing, and goes at the next change.
    assert torch.stft is OWN["stft"] and not signal.is_fast()


def test_what_cannot_be_changed_is_said(signal, on, caplog):
    class Sealed:
        def __init__(self, inner):
            vars(self)["inner"] = inner

        def __call__(self, *args, **kwargs):
            return self.inner(*args, **kwargs)

        def __setattr__(self, name, value):
            raise AttributeError("sealed")

    msp.enable(**on)
    torch.stft = Sealed(torch.stft)
    assert signal.is_fast()
    msp.disable()
    assert "our layer stays below, inert" in caplog.text and "inert, below tests." in msp.status().patched["stft"]
    assert not signal.is_fast()
    msp.enable(**on)
    assert signal.is_fast() and msp.stats()["stft"].fast == 2  # not twice over
    msp.disable()


def test_a_scope_leaves_a_wrapper_that_was_put_on_inside(signal, on):
    other = Other("closure")
    with msp.accelerated(**on):
        ours = torch.stft
        other.install()
        assert signal.is_fast()
    assert torch.stft is other.function and not wrapper_chains.places(ours, torch.stft) and not signal.is_fast()


def test_wrappers_in_a_circle_and_proxies_of_all_kinds_are_looked_through(on):
    class Odd:
        def __getattr__(self, name):
            raise RuntimeError("do not touch")

        def __call__(self):
            pass

    def a():
        pass

    def b():
        pass

    a.__wrapped__, b.__wrapped__ = b, a
    b.odd = Odd()
    assert wrapper_chains.places(OWN["stft"], a) == [] and wrapper_chains.places(OWN["stft"], Odd()) == []


def test_a_second_copy_of_this_package_is_respected(run_python, tmp_path):
    """As if vendored by another project: both can be on, and go in any order."""
    root, copy = Path(__file__).parents[2], tmp_path / "second_copy"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "mps_spectro_patch", copy, ignore=ignore)
    for part in ("kernels", "compat"):
        shutil.copytree(root / part, copy / part, ignore=ignore)
    run_python(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import mps_spectro_patch as first, second_copy as second

        def fast(package):
            before = package.stats()["stft"].fast
            magnitude(x)
            return package.stats()["stft"].fast - before

        for one, other in ((first, second), (second, first)):
            one.enable(devices=devices)
            assert fast(one) == 1
            other.enable(devices=devices, verify="off")
            assert (fast(other), fast(one)) == (1, 0)  # the one on top does it
            one.disable()
            assert fast(other) == 1 and fast(one) == 0
            other.disable()
            assert torch.stft is original_stft and torch.istft is original_istft

            one.enable(devices=devices)
            other.enable(devices=devices, verify="off")
            other.disable()
            assert fast(one) == 1
            one.disable()
            assert torch.stft is original_stft and torch.istft is original_istft
        """
    )


def test_layers_are_not_made_anew_for_every_enable(on):
    msp.enable(**on)
    made = len(layers.layers())
    for _ in range(5):
        msp.disable()
        msp.enable(**on)
    assert len(layers.layers()) == made
    msp.disable()


def test_what_wrappers_copy_from_our_layer_is_not_changed_when_it_is_taken_out(on):
    """functools.wraps() hands our TorchScript hook on: it must go on naming torch's own function."""
    for _ in range(2):
        msp.enable(**on)
        layer = torch.stft

        @functools.wraps(torch.stft)
        def wrapper(*args, below=torch.stft, **kwargs):
            return below(*args, **kwargs)

        torch.stft = wrapper
        msp.disable()
        assert layer.__prepare_scriptable__() is OWN["stft"] and wrapper.__prepare_scriptable__() is OWN["stft"]
        torch.stft = OWN["stft"]
