"""accelerated(): for whom it holds, how it nests, and that it leaves no trace."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.patching import early_names

STFT, ISTFT = torch.stft, torch.istft


def is_unpatched() -> bool:
    return torch.stft is STFT and torch.istft is ISTFT


def test_inside_is_fast_and_outside_nothing_is_patched(signal, on):
    with msp.accelerated(**on):
        assert msp.is_enabled() and signal.is_fast()
    assert is_unpatched() and not msp.is_enabled() and not signal.is_fast()


def test_an_exception_unwinds_the_scope(on):
    with pytest.raises(KeyError):
        with msp.accelerated(**on):
            raise KeyError
    assert is_unpatched() and not msp.is_enabled()


def test_the_innermost_scope_counts(signal, on):
    with msp.accelerated(**on):
        with msp.accelerated(devices=()):
            assert not signal.is_fast()
            with msp.accelerated(**on):
                assert signal.is_fast()
            assert not signal.is_fast()
        assert signal.is_fast()
    assert is_unpatched()


def test_one_object_may_be_entered_again_while_it_is_open(signal, on):
    scope = msp.accelerated(**on)
    with scope, scope:
        pass
    with scope:
        with scope:
            assert signal.is_fast()
        assert signal.is_fast()
    assert is_unpatched()


def test_a_scope_inside_enable_overrides_it_and_gives_it_back(signal, on):
    msp.enable(devices=())
    with msp.accelerated(**on):
        assert signal.is_fast()
    assert not signal.is_fast() and not is_unpatched()
    msp.disable()


@pytest.mark.thorough
def test_the_modules_are_gone_through_once_when_a_scope_is_entered_and_not_when_others_still_want_the_same(
    on, monkeypatch
):
    """A program may call a decorated function thousands of times, and there are thousands of modules."""
    looks, real = [], early_names.namespaces
    monkeypatch.setattr(early_names, "namespaces", lambda: looks.append(1) or real())
    with msp.accelerated(**on):
        assert len(looks) == 1
        for _ in range(3):
            with msp.accelerated(**on):
                pass
        assert len(looks) == 4
    assert len(looks) == 4 and is_unpatched()
    msp.enable(**on)
    before = len(looks)
    with msp.accelerated(**on):
        pass
    assert len(looks) == before + 1 and not is_unpatched()
    msp.disable()
    assert is_unpatched()


def test_enable_inside_a_scope_holds_after_it(signal, on):
    with msp.accelerated(devices=()):
        msp.enable(**on)
        assert not signal.is_fast()
    assert signal.is_fast()
    msp.disable()
    assert is_unpatched()


def test_disable_inside_a_scope_ends_enable_but_not_the_scope(signal, on):
    msp.enable(**on)
    with msp.accelerated(**on):
        msp.disable()
        assert signal.is_fast()
    assert is_unpatched()


def test_a_scope_for_one_op_patches_that_op_only(on):
    with msp.accelerated(**on, ops=("istft",)):
        assert torch.stft is STFT and torch.istft is not ISTFT
        with msp.accelerated(**on, ops=("stft",)):
            assert torch.stft is not STFT and torch.istft is not ISTFT
        assert torch.stft is STFT


def test_other_threads_are_not_inside(signal, on):
    answers = []
    with msp.accelerated(**on):
        thread = threading.Thread(target=lambda: answers.append(signal.is_fast()))
        thread.start()
        thread.join()
        assert signal.is_fast()
    assert answers == [False]


def test_contexts_started_inside_are_inside(signal, on):
    with msp.accelerated(**on):
        context = contextvars.copy_context()
        assert context.run(signal.is_fast)


def test_asyncio_tasks_started_inside_are_inside_and_siblings_are_not(signal, on):
    async def child():
        await asyncio.sleep(0)
        return signal.is_fast()

    async def inside():
        with msp.accelerated(**on):
            here = asyncio.create_task(child())
            in_thread = asyncio.to_thread(signal.is_fast)
            await asyncio.sleep(0.02)
            return await here, await in_thread, signal.is_fast()

    async def sibling():
        await asyncio.sleep(0.01)
        return signal.is_fast()

    async def both():
        return await asyncio.gather(inside(), sibling())

    assert asyncio.run(both()) == [(True, True, True), False]
    assert is_unpatched()


def test_it_decorates_functions_and_every_call_enters_anew(signal, on):
    @msp.accelerated(**on)
    def f(depth):
        """Says whether it is fast."""
        return signal.is_fast() and (depth == 0 or f(depth - 1))

    assert is_unpatched() and f.__name__ == "f" and f.__doc__ == "Says whether it is fast."
    assert f(2) and is_unpatched()


def test_it_decorates_methods(signal, on):
    class Model:
        @msp.accelerated(**on)
        def run(self):
            return signal.is_fast()

    assert Model().run() and is_unpatched()


def test_it_decorates_coroutines(signal, on):
    @msp.accelerated(**on)
    async def f():
        await asyncio.sleep(0)
        return signal.is_fast()

    assert inspect.iscoroutinefunction(f)
    assert asyncio.run(f()) and is_unpatched()


def test_a_decorated_generator_is_inside_only_while_it_runs(signal, on):
    @msp.accelerated(**on)
    def f():
        received = yield signal.is_fast()
        try:
            yield received, signal.is_fast()
        except KeyError:
            yield "caught", signal.is_fast()
        return "end"

    assert inspect.isgeneratorfunction(f)
    generator = f()
    assert next(generator) and not signal.is_fast() and not msp.is_enabled()
    assert generator.send("value") == ("value", True) and not signal.is_fast()
    assert generator.throw(KeyError()) == ("caught", True) and not signal.is_fast()
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == "end" and is_unpatched()


def test_a_decorated_generator_that_is_closed_or_dropped_leaves_nothing(signal, on):
    closed = []

    @msp.accelerated(**on)
    def f():
        try:
            yield
        finally:
            closed.append(signal.is_fast())

    generator = f()
    next(generator)
    generator.close()
    assert is_unpatched()
    generator = f()
    next(generator)
    del generator
    assert is_unpatched() and closed == [True, True]


def test_a_decorated_generator_raises_what_it_raises(on):
    @msp.accelerated(**on)
    def f():
        yield
        raise KeyError("mine")

    generator = f()
    next(generator)
    with pytest.raises(KeyError, match="mine"):
        next(generator)
    assert is_unpatched()


def test_a_decorated_async_generator_is_inside_only_while_it_runs(signal, on):
    @msp.accelerated(**on)
    async def f():
        received = yield signal.is_fast()
        await asyncio.sleep(0)
        yield received, signal.is_fast()

    async def main():
        generator = f()
        first = await generator.asend(None)
        between = signal.is_fast()
        second = await generator.asend("value")
        await generator.aclose()
        return first, between, second, [step async for step in f()]

    assert inspect.isasyncgenfunction(f)
    assert asyncio.run(main()) == (True, False, ("value", True), [True, (None, True)])
    assert is_unpatched()


def test_scopes_that_interleaved_generators_leave_in_any_order_do_not_leak(signal, on):
    def inside():
        with msp.accelerated(**on):
            yield

    generator = inside()
    next(generator)  # this scope leaks into the caller while the generator waits: that is Python's rule for `with`
    with msp.accelerated(devices=()):
        generator.close()
        assert not signal.is_fast()
    assert is_unpatched() and not msp.is_enabled()


def test_a_scope_may_be_left_in_another_context_than_it_was_entered_in(on):
    scope = msp.accelerated(**on)
    contextvars.copy_context().run(scope.__enter__)
    scope.__exit__(None, None, None)
    assert is_unpatched() and not msp.is_enabled()


@pytest.mark.parametrize("wrong", [int, 3])
def test_decorating_something_else_is_refused(wrong, on):
    with pytest.raises(TypeError, match="decorates functions"):
        msp.accelerated(**on)(wrong)


def test_forgotten_parentheses_are_explained():
    with pytest.raises(ValueError, match="with parentheses"):

        @msp.accelerated
        def f():
            pass


def test_threads_that_enable_disable_enter_and_call_never_crash(signal, on, threads):
    stop, errors = threading.Event(), []
    expected = signal.spectrum

    def enabler():
        while not stop.is_set():
            msp.enable(**on)
            msp.enable(devices=())
            msp.disable()

    def enterer():
        while not stop.is_set():
            with msp.accelerated(**on):
                if not msp.is_enabled():
                    errors.append("not inside")
                torch.testing.assert_close(signal.stft(), expected, rtol=1e-4, atol=1e-4)

    def caller():
        while not stop.is_set():
            torch.testing.assert_close(signal.stft(), expected, rtol=1e-4, atol=1e-4)

    def watched(loop):
        try:
            loop()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=watched, args=(loop,)) for loop in (enabler, enterer, enterer, caller)]
    for thread in threads:
        thread.start()
    stop.wait(1.0)
    stop.set()
    for thread in threads:
        thread.join()
    msp.disable()
    assert not errors and is_unpatched()


def test_backward_passes_after_leaving_stay_on_the_fast_path(signal, on, monkeypatch):
    from mps_spectro_patch.kernels.launch import transforms

    launched = []
    for name in ("stft_adjoint", "istft_adjoint"):
        real = getattr(transforms, f"ready_{name}")
        monkeypatch.setattr(
            transforms, f"ready_{name}", lambda *a, real=real, name=name: launched.append(name) or real(*a)
        )
    x = signal.x.clone().requires_grad_()
    with msp.accelerated(**on, verify="off"):
        spectrum = torch.stft(x, 400, 100, 400, signal.window, return_complex=True)
        again = torch.istft(spectrum.abs() * spectrum, 400, 100, 400, signal.window)
    assert is_unpatched() and not launched
    again.square().sum().backward()
    assert launched == ["istft_adjoint", "stft_adjoint"]
    own = x.grad.clone()
    x.grad = None
    spectrum = STFT(x, 400, 100, 400, signal.window, return_complex=True)
    ISTFT(spectrum.abs() * spectrum, 400, 100, 400, signal.window).square().sum().backward()
    torch.testing.assert_close(own, x.grad, rtol=1e-3, atol=1e-4 * float(x.grad.abs().max()))


@pytest.mark.parametrize("reach", ["attribute", "references", "dispatcher"])
def test_every_reach_leaves_no_trace_when_an_exception_unwinds_nested_scopes(reach, on):
    before = msp.status()
    with pytest.raises(KeyError):
        with msp.accelerated(**on, reach=reach), msp.accelerated(**on, ops="istft", verify="always"):
            raise KeyError
    assert msp.status() == before and is_unpatched()
