"""Puts plain functions where torch.stft and torch.istft stand, takes them away again, and says for whom they act.

Knows nothing of FFTs. Only those two attributes are touched: the Tensor methods and torchaudio arrive through them, and
patching torch.functional would break __torch_function__ tables and pickling.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

import torch
from torch.compiler import is_compiling
from torch.jit._builtins import _get_builtin_table, _register_builtin

from . import guard, routing
from .options import OPS, Options, logger
from .routing import Reason


def enable(
    devices: Iterable[str] | None = None,
    ops: Iterable[str] | None = None,
    torchaudio: bool | None = None,
    compat: bool | None = None,
    reach: str | None = None,
    verify: str | None = None,
    on_error: str | None = None,
    on_fallback: str | None = None,
) -> None:
    """Accelerates torch.stft and torch.istft in the whole process. A second call replaces the options of the first.

    What is not given (None) comes from MPS_SPECTRO_PATCH_DEVICES, _VERIFY, _ON_ERROR, and else is: devices ("mps",),
    ops ("stft", "istft"), reach "attribute", verify "first", on_error "fallback", on_fallback "quiet".
    """
    global _process
    options = Options.resolve(devices=devices, ops=ops, torchaudio=torchaudio, compat=compat, reach=reach,
                              verify=verify, on_error=on_error, on_fallback=on_fallback)
    with _lock:
        guard.load_operators()  # before anything changes: this may fail
        if "mps" in options.devices:
            from . import selftest  # with all the kernels, which importing the package does not load

            selftest.first(options)
        _holders[_PROCESS] = _Holder(options.ops, 1)
        _install_what_is_held()
        _process = options


def disable() -> None:
    """Ends enable(). Restores torch's functions by identity; under somebody else's wrapper our layer stays, inert."""
    global _process
    with _lock:
        _process = None
        _holders.pop(_PROCESS, None)
        _install_what_is_held()
        for layer in _layers:
            if not _holders and layer.position() == "covered":
                logger.warning("torch.%s was wrapped by somebody else: our layer stays below, inert", layer.op)


def is_enabled() -> bool:
    """Whether calls made here are accelerated: by enable(), or by the accelerated() around this code."""
    return options_here() is not None


class accelerated:
    """`with accelerated(): ...` or `@accelerated()`: the options of enable(), for the code inside only.

    That is this thread and the tasks and contexts it starts, not other threads. Nests; the innermost counts. One object
    may be entered many times. Compiled functions follow enable() alone: torch.compile cannot see a context.
    """

    def __init__(
        self,
        devices: Iterable[str] | None = None,
        ops: Iterable[str] | None = None,
        torchaudio: bool | None = None,
        compat: bool | None = None,
        reach: str | None = None,
        verify: str | None = None,
        on_error: str | None = None,
        on_fallback: str | None = None,
    ) -> None:
        self.options = Options.resolve(devices=devices, ops=ops, torchaudio=torchaudio, compat=compat, reach=reach,
                                       verify=verify, on_error=on_error, on_fallback=on_fallback)

    def __enter__(self) -> accelerated:
        if not is_compiling():  # there it would only break the graph, and change nothing
            self._hold()
            _scope.set(_Scope(self, _scope.get()))
        return self

    def __exit__(self, *_: object) -> None:
        if not is_compiling():
            _scope.set(_without(_scope.get(), self))
            self._let_go()

    def __call__(self, function: Callable) -> Callable:
        """`function` with every call of it inside the scope; generators only while they run, not while they wait."""
        if isinstance(function, type) or not callable(function):
            raise TypeError(f"accelerated() decorates functions, not {function!r}")
        if inspect.isasyncgenfunction(function):
            return self._around_async_generator(function)
        if inspect.isgeneratorfunction(function):
            return self._around_generator(function)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_scope(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def in_scope(*args: Any, **kwargs: Any) -> Any:
                if is_compiling():  # dynamo cannot enter a context manager that was made outside
                    return function(*args, **kwargs)
                with self:
                    return function(*args, **kwargs)

        return in_scope

    def _around_generator(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def in_scope(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            self._hold()  # keeps the layer while the generator waits, so that it is not patched in at every step
            step, value = generator.send, None
            try:
                while True:
                    with self:
                        result = step(value)
                    try:
                        value = yield result
                        step = generator.send
                    except GeneratorExit:
                        with self:
                            generator.close()
                        raise
                    except BaseException as error:  # belongs to the generator: handed on, whatever it is
                        step, value = generator.throw, error
            except StopIteration as end:
                return end.value
            finally:
                self._let_go()

        return in_scope

    def _around_async_generator(self, function: Callable) -> Callable:
        @functools.wraps(function)
        async def in_scope(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            self._hold()
            step, value = generator.asend, None
            try:
                while True:
                    with self:
                        result = await step(value)
                    try:
                        value = yield result
                        step = generator.asend
                    except GeneratorExit:
                        with self:
                            await generator.aclose()
                        raise
                    except BaseException as error:  # belongs to the generator: handed on, whatever it is
                        step, value = generator.athrow, error
            except StopAsyncIteration:
                return
            finally:
                self._let_go()

        return in_scope

    def _hold(self) -> None:
        with _lock:
            guard.load_operators()  # before anything changes: this may fail
            count = _holders[self].count if self in _holders else 0
            _holders[self] = _Holder(self.options.ops, count + 1)
            _install_what_is_held()

    def _let_go(self) -> None:
        with _lock:
            held = _holders.pop(self)
            if held.count > 1:
                _holders[self] = _Holder(held.ops, held.count - 1)
            _install_what_is_held()


class Layer:
    """Our function over one of torch's. Never freed (TorchScript and dynamo know functions by id), but often idle."""

    def __init__(self, op: str, original: Callable) -> None:
        self.op = op
        self.original = original
        self.retired = False  # bypassed by a later layer of ours: passes every call through
        self.function = _dress(_make_stft(self) if op == "stft" else _make_istft(self), op, original)

    def position(self) -> str:
        """Where we are: "installed", "covered" by a wrapper that says so (__wrapped__), or "absent", for all we see."""
        current = getattr(torch, self.op)
        if current is self.function:
            return "installed"
        for _ in range(100):  # wrappers can be chained in a circle
            current = getattr(current, "__wrapped__", None)
            if current is None:
                return "absent"
            if current is self.function:
                return "covered"
        return "absent"


def options_here() -> Options | None:
    """The options for code that runs here: the innermost accelerated(), else enable()'s."""
    scope = _scope.get()
    return _process if scope is None else scope.owner.options


def is_held(op: str) -> bool:
    """Whether anybody, anywhere, wants this op accelerated: an enable(), or an accelerated() that is open."""
    with _lock:
        return any(op in holder.ops for holder in _holders.values())


def layers() -> list[Layer]:
    """Every layer that was ever made; at most one of each op is not retired."""
    return list(_layers)


class _Scope(NamedTuple):
    """One accelerated() that is entered, and what is around it."""

    owner: accelerated
    outer: _Scope | None


class _Holder(NamedTuple):
    ops: tuple[str, ...]
    count: int


_process: Options | None = None  # enable()'s options: one immutable object, replaced whole, and what dynamo guards on
_scope: ContextVar[_Scope | None] = ContextVar("mps_spectro_patch_scope", default=None)
_PROCESS = object()
_holders: dict[object, _Holder] = {}  # whoever wants layers installed: enable() and the open accelerated()
_layers: list[Layer] = []
_lock = threading.RLock()
_dynamo_is_awaited = False


def _without(scope: _Scope | None, owner: accelerated) -> _Scope | None:
    """The scopes less the innermost of `owner`: not always the top, as interleaved generators leave in any order."""
    if scope is None or scope.owner is owner:
        return None if scope is None else scope.outer
    return _Scope(scope.owner, _without(scope.outer, owner))


def _make_stft(layer: Layer) -> Callable:
    original = layer.original

    def stft(input, n_fft, hop_length=None, win_length=None, window=None, center=True, pad_mode="reflect",
             normalized=False, onesided=None, return_complex=None, align_to_window=None):
        arguments = (input, n_fft, hop_length, win_length, window, center, pad_mode, normalized, onesided,
                     return_complex, align_to_window)
        compiling = is_compiling()
        options = _process_for_compiled_code() if compiling else options_here()
        if options is None or layer.retired or "stft" not in options.ops:
            return original(*arguments)
        if not compiling and routing.untouched(input, options.flags) is Reason.DEVICE:  # the shortest way out
            guard.untouched["stft"] += 1
            return original(*arguments)
        return _call("stft", options, arguments, original, arguments, {})

    return stft


def _make_istft(layer: Layer) -> Callable:
    original = layer.original

    # torch.istft is a builtin: it has no signature, and its errors tell how arguments were given. So they are kept.
    def istft(*args, **kwargs):
        compiling = is_compiling()
        options = _process_for_compiled_code() if compiling else options_here()
        if options is None or layer.retired or "istft" not in options.ops:
            return original(*args, **kwargs)
        if not compiling and args and routing.untouched(args[0], options.flags) is Reason.DEVICE:
            guard.untouched["istft"] += 1
            return original(*args, **kwargs)
        try:
            arguments = istft_arguments(*args, **kwargs)
        except TypeError:
            return original(*args, **kwargs)
        return _call("istft", options, arguments, original, args, kwargs)

    return istft


def istft_arguments(input, n_fft, hop_length=None, win_length=None, window=None, center=True, normalized=False,
                    onesided=None, length=None, return_complex=False) -> tuple:
    return input, n_fft, hop_length, win_length, window, center, normalized, onesided, length, return_complex


def _call(op: str, options: Options, arguments: tuple, original: Callable, args: tuple, kwargs: dict) -> torch.Tensor:
    input = arguments[0]
    if is_compiling():  # no counters, locks or comparisons: dynamo could not trace them
        decision = routing.decide_compiled(op, options.device_types, arguments)
        if isinstance(decision, Reason):
            return original(*args, **kwargs)
        return guard.launch_compiled(op, input, arguments[4], decision)
    decision = routing.untouched(input, options.flags)
    if decision is Reason.DEVICE or (decision is Reason.TYPE and not _is_on_device(input, options)):
        guard.untouched[op] += 1
        return original(*args, **kwargs)
    if decision is None:
        decision = routing.decide_touched(op, arguments)
    if isinstance(decision, Reason):
        return guard.fall_back(op, decision, options, lambda: original(*args, **kwargs))
    return guard.run(op, options, input, arguments[4], decision, lambda: original(*args, **kwargs))


def _process_for_compiled_code() -> Options | None:
    """enable()'s options, unless the code must later run without this package, or some plan is known to be bad."""
    return None if _process is None or routing.is_exporting() or guard.quarantined else _process


def _is_on_device(input: Any, options: Options) -> bool:
    return isinstance(input, torch.Tensor) and any(getattr(input, flag) for flag in options.flags)


def _dress(function: Callable, op: str, original: Callable) -> Callable:
    """Makes `function` look like torch's to pickle, inspect, help() and TorchScript."""
    functools.update_wrapper(function, original)
    function.__module__, function.__name__, function.__qualname__ = "torch", op, op  # pickles as torch.stft, everywhere
    if isinstance(original, FunctionType):
        function.__prepare_scriptable__ = lambda: original  # TorchScript compiles the original's source
    elif isinstance(original, BuiltinFunctionType):
        # Only right for a builtin: as "aten::stft", torch.stft would lose its default center=True.
        _get_builtin_table()
        _register_builtin(function, f"aten::{op}")
    return function


def _install_what_is_held() -> None:
    wanted = {op for holder in _holders.values() for op in holder.ops}
    for op in OPS:
        if op in wanted:
            _install(op)
        else:
            _remove(op)


def _install(op: str) -> None:
    current = getattr(torch, op)
    known = [layer for layer in _layers if layer.op == op]
    if any(not layer.retired and layer.position() != "absent" for layer in known):
        return
    layer = next((layer for layer in known if current is layer.original or current is layer.function), None)
    if layer is None:
        layer = Layer(op, current)
        _layers.append(layer)
    for other in known:  # they may still be reached through wrappers that hide what they wrap
        other.retired = other is not layer
    layer.retired = False
    _prepare_dynamo()
    setattr(torch, op, layer.function)


def _remove(op: str) -> None:
    for layer in reversed(_layers):
        if layer.op == op and getattr(torch, op) is layer.function:
            setattr(torch, op, layer.original)


def _prepare_dynamo() -> None:
    global _dynamo_is_awaited
    if "torch._dynamo.trace_rules" in sys.modules:
        _teach_dynamo()
    elif not _dynamo_is_awaited:
        import wrapt  # takes longer to import than everything else here together

        wrapt.register_post_import_hook(_teach_dynamo, "torch._dynamo")
        _dynamo_is_awaited = True


def _teach_dynamo(_module: Any = None) -> None:
    """Dynamo looks up the name "torch.stft" once, while it is imported. It must mean torch's function, never ours:
    else ours is put into graphs as if it were torch's (and not run), and torch's own cannot be compiled any more."""
    try:
        rules = sys.modules["torch._dynamo.trace_rules"].get_torch_obj_rule_map()
        for layer in reversed(_layers):
            if layer.function in rules:
                rules[layer.original] = rules.pop(layer.function)
    except Exception as error:  # private to torch, may change; and an exception here would break "import torch._dynamo"
        logger.warning("torch.compile may not accelerate torch.stft and torch.istft: %r", error)


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # another thread may hold the lock at the moment of a fork
    os.register_at_fork(after_in_child=_renew_lock)
