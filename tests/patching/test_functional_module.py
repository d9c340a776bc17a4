"""torch.functional.stft and istft, and functools.partial objects: reached by reach="references", listed otherwise."""

from __future__ import annotations

import functools
import gc
import io
import pickle
import sys
import types
from unittest import mock

import pytest
import torch

import mps_spectro_patch as msp
from tests.tiers import some

OWN = {"stft": torch.stft, "istft": torch.istft}  # not as names of this module: those would be replaced, too
CALLS = {
    "the whole name": "import torch\ndef call(*a, **k): return torch.functional.OP(*a, **k)",
    "the module, bound before": "import torch.functional as F\ndef call(*a, **k): return F.OP(*a, **k)",
    "imported in the call": "def call(*a, **k):\n    from torch.functional import OP\n    return OP(*a, **k)",
    "as a value": "import torch\ndef call(*a, **k):\n    f = torch.functional.OP\n    return f(*a, **k)",
    "bound before": "from torch.functional import OP\ndef call(*a, **k): return OP(*a, **k)",
    "a method": "import torch\nclass C:\n  def go(self, *a, **k): return torch.functional.OP(*a, **k)\ncall = C().go",
}


@pytest.fixture(autouse=True)
def _off():
    yield
    msp.disable()


@pytest.fixture(params=["stft", "istft"])
def op(request):
    return request.param


@pytest.fixture
def program(op):
    """Makes a module of such code, before anything is enabled."""
    made = []

    def make(code):
        module = types.ModuleType(f"a_program_of_functional_{len(made)}")
        sys.modules[module.__name__] = module
        made.append(module.__name__)
        exec(code.replace("OP", op), module.__dict__)
        return module

    yield make
    for name in made:
        del sys.modules[name]


def transform(function, op, signal):
    if op == "stft":
        return function(signal.x, 400, 160, 400, signal.window, return_complex=True)
    return function(signal.spectrum, 400, 160, 400, signal.window)


@pytest.mark.parametrize("call", some(CALLS, ["the whole name", "bound before"]))
def test_code_that_looks_them_up_is_reached(call, program, op, signal, on):
    module = program(CALLS[call])
    expected = transform(OWN[op], op, signal)
    done = msp.enable(**on, reach="references")
    assert f"torch.functional.{op}" in done.patched
    torch.testing.assert_close(transform(module.call, op, signal), expected, rtol=1e-4, atol=1e-4)
    assert msp.stats()[op].fast == 1
    msp.disable()
    transform(module.call, op, signal)
    assert msp.stats()[op].calls == 1 and type(torch.functional) is types.ModuleType
    assert torch.functional.stft is OWN["stft"] and torch.functional.istft is OWN["istft"]


def test_everything_imported_by_a_star_is_reached(program, op, signal, on):
    msp.enable(**on, reach="references")
    module = program("from torch.functional import *\ndef call(*a, **k): return OP(*a, **k)")
    transform(module.call, op, signal)
    assert msp.stats()[op].fast == 1


def test_the_default_reach_leaves_them_alone_and_status_names_who_calls_them(program, op, signal, on):
    whole, method = program(CALLS["the whole name"]), program(CALLS["a method"])
    aliased, other = (
        program(CALLS["the module, bound before"]),
        program("import torch\ndef call(): torch.OP, torch.functional.norm"),
    )
    named = {f"{whole.__name__}.call", f"{method.__name__}.C.go", f"{aliased.__name__}.call"}
    expected = {f"{name}: torch.functional.{op}" for name in named}
    assert expected <= set(msp.status().functional) and other.__name__ not in str(msp.status())
    msp.enable(**on)
    assert torch.functional.stft is OWN["stft"]
    assert expected <= set(msp.status().functional)
    text = str(msp.status())
    assert f"missed: {whole.__name__}.call: torch.functional.{op} stays torch's own" in text
    assert 'reach="references" or "dispatcher" reaches what is missed' in text
    for reach in ("references", "dispatcher"):
        msp.enable(**on, reach=reach)
        assert not msp.status().functional and "reaches what is missed" not in str(msp.status())


def test_only_the_scope_is_reached(program, op, signal, on):
    module = program(CALLS["the whole name"])
    with msp.accelerated(**on, reach="references"):
        transform(module.call, op, signal)
    transform(module.call, op, signal)
    assert msp.stats()[op].calls == 1 and type(torch.functional) is types.ModuleType


class PythonPickler(pickle._Pickler):
    """As cloudpickle's: written in Python."""


@pytest.mark.thorough
@pytest.mark.parametrize("pickler", [pickle.Pickler, PythonPickler])
@pytest.mark.parametrize("protocol", [2, 5])
def test_torchs_own_functions_and_ours_can_be_pickled(pickler, protocol, op, on):
    def there_and_back(function):
        file = io.BytesIO()
        pickler(file, protocol).dump(function)
        assert b"mps_spectro_patch" not in file.getvalue()
        return pickle.loads(file.getvalue())

    held = [OWN[op]]  # nothing finds it there
    msp.enable(**on, reach="references")
    assert there_and_back(held[0]) is OWN[op]
    assert there_and_back(torch.functional.stft) is there_and_back(torch.stft) is torch.stft


def test_who_asks_by_text_gets_torchs_own(op, on):
    from torch import overrides

    msp.enable(**on, reach="references")
    assert getattr(torch.functional, op) is OWN[op] and vars(torch.functional)[op] is OWN[op]
    assert OWN[op] in overrides.get_overridable_functions()[torch.functional]


class Subclass(torch.Tensor):
    seen: list = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


class Mode(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        Subclass.seen.append(func)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("who", ["a subclass", "a mode"])
@pytest.mark.parametrize("call", some(["the whole name", "a method"], ["a method"]))
def test_torch_function_sees_torchs_own(who, call, program, op, signal, on):
    module = program(CALLS[call])
    msp.enable(**on, reach="references")
    if who == "a mode":
        with Mode():
            transform(module.call, op, signal)
    else:
        wrapped = types.SimpleNamespace(
            x=signal.x.as_subclass(Subclass), spectrum=signal.spectrum.as_subclass(Subclass), window=signal.window
        )  # fmt: skip
        assert type(transform(module.call, op, wrapped)) is Subclass
    seen, Subclass.seen = Subclass.seen, []
    assert any(function is OWN[op] for function in seen) and not any(
        function is getattr(torch, op) for function in seen
    )


def test_a_program_may_replace_them_meanwhile(op, on):
    def mine(*args):
        return "mine"

    msp.enable(**on, reach="references")
    with mock.patch(f"torch.functional.{op}", mine):
        assert (torch.functional.stft if op == "stft" else torch.functional.istft) is mine
    assert torch.functional.stft is torch.stft and torch.functional.istft is torch.istft
    with mock.patch(f"torch.functional.{op}", mine):
        msp.disable()
        assert getattr(torch.functional, op) is mine
    assert getattr(torch.functional, op) is OWN[op]


def test_a_module_whose_class_is_somebody_elses_is_left_alone(on, caplog):
    class Theirs(types.ModuleType):
        pass

    torch.functional.__class__ = Theirs
    try:
        msp.enable(**on, reach="references")
        assert "torch.functional is a Theirs" in caplog.text and torch.functional.stft is OWN["stft"]
        msp.disable()
        assert type(torch.functional) is Theirs
    finally:
        torch.functional.__class__ = types.ModuleType


@pytest.mark.thorough
def test_compiled_code_is_torchs_own(program, op, signal, on):
    module = program(CALLS["the whole name"])
    expected = transform(OWN[op], op, signal)
    msp.enable(**on, reach="references")
    compiled = torch.compile(module.call, backend="eager")
    for _ in range(3):
        torch.testing.assert_close(transform(compiled, op, signal), expected, rtol=1e-4, atol=1e-4)
    msp.disable()
    torch.testing.assert_close(transform(compiled, op, signal), expected, rtol=1e-4, atol=1e-4)


def scripted(x, window):
    return torch.functional.stft(x, 400, 160, 400, window, return_complex=True)


def test_scripted_code_is_torchs_own(signal, on):
    msp.enable(**on, reach="references")
    function = torch.jit.script(scripted)
    torch.testing.assert_close(function(signal.x, signal.window), signal.spectrum, rtol=1e-4, atol=1e-4)
    assert msp.stats()["stft"].calls == 0


class Partial(functools.partial):
    pass


@pytest.mark.parametrize("kind", [functools.partial, Partial])
def test_partials_made_before_are_reached_and_put_back(kind, op, signal, on):
    made = kind(OWN[op], n_fft=400, hop_length=160)
    made.mark = "kept"
    holder = {"a": [made]}
    before = repr(made)
    given = (signal.x,) if op == "stft" else (signal.spectrum,)
    more = dict(window=signal.window, **({"return_complex": True} if op == "stft" else {}))
    msp.enable(**on)
    assert any(f"functools.partial of torch.{op}" in name for name in msp.status().early_references)
    holder["a"][0](*given, **more)
    assert msp.stats()[op].calls == 0
    done = msp.enable(**on, reach="references")
    assert any(f"functools.partial of torch.{op}" in name for name in done.patched)
    holder["a"][0](*given, **more)
    assert msp.stats()[op].fast == 1 and made.mark == "kept" and made.keywords == dict(n_fft=400, hop_length=160)
    assert not any("functools.partial" in name for name in msp.status().early_references if f"torch.{op}" in name)
    assert pickle.loads(pickle.dumps(made)).func is made.func is getattr(torch, op)
    msp.disable()
    assert made.func is OWN[op] and repr(made) == before and made.mark == "kept"


def test_a_bound_method_of_a_tensor_made_before_is_reached_by_every_reach(op, signal, on):
    tensor = signal.x if op == "stft" else signal.spectrum
    method = getattr(tensor, op)
    made = functools.partial(method, 400, 160)
    more = dict(window=signal.window, **({"return_complex": True} if op == "stft" else {}))
    msp.enable(**on)
    method(400, 160, **more), made(**more)
    assert msp.stats()[op].fast == 2


def test_looking_for_partials_keeps_none_alive(op, on):
    made = functools.partial(OWN[op], n_fft=400)
    import weakref

    gone = weakref.ref(made)
    msp.enable(**on, reach="references")
    del made
    gc.collect()
    assert gone() is None


def test_a_partial_made_while_enabled_is_torchs_function_afterwards(op, signal, on):
    msp.enable(**on, reach="references")
    made = functools.partial(getattr(torch.functional, op)), functools.partial(getattr(torch, op))
    msp.disable()
    expected = transform(OWN[op], op, signal)
    assert all(torch.equal(transform(one, op, signal), expected) for one in made) and msp.stats()[op].calls == 0
    assert pickle.loads(pickle.dumps(made[1])).func is made[1].func
