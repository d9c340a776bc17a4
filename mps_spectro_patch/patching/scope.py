"""accelerated(): the options of enable() for some code only, as a context manager and as a decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from torch.compiler import is_compiling

from .. import active
from ..options import Device, OnError, OnFallback, Op, Options, Project, Reach, Verify
from . import install

_Function = TypeVar("_Function", bound=Callable[..., Any])


class accelerated:
    """The options of enable() for some code only: `with accelerated(): ...`, or `@accelerated()` before a function.

    They hold for this thread and for the asyncio tasks and contexts that it starts, not for other threads. Scopes nest,
    the innermost counts, and one object may be entered many times. Functions compiled by torch.compile follow enable()
    only, because torch.compile cannot see a context.

    Args:
        devices: any of "mps" (Apple GPUs), "cuda" (NVIDIA GPUs) and "simulator" (the kernels on the CPU, slow: for
            tests). Default: ("mps",).
        ops: any of "stft" and "istft". Default: both.
        torchaudio: True: torchaudio's spectrograms and mel spectrograms are fused, too.
        compat: which projects' own front ends are patched: True or None (all), False (none), or names.
        reach: "attribute": callers that look up torch.stft. "references": names and partials bound
            before, and torch.functional.stft, too. "dispatcher": torch's operators, which everything calls. Default:
            "attribute".
        verify: "first": compare the first call of each kind with torch. "always": each call. "off": none. Default:
            "first".
        on_error: "fallback": an error of the fast path is a warning, and torch does the call. "raise": raise it.
            Default: "fallback".
        on_fallback: "quiet", or "raise": an error if a call on an accelerated device falls back. Default: "quiet".

    Raises:
        ValueError: an option has an unknown value.
        TypeError: as a decorator, of something that is no function.

    Example:
        >>> x, window = torch.randn(2, 4000), torch.hann_window(400)
        >>> with msp.accelerated(devices=["simulator"], on_fallback="raise"):
        ...     torch.stft(x, 400, window=window, return_complex=True).shape
        torch.Size([2, 201, 41])
    """

    def __init__(
        self,
        devices: Device | Iterable[Device] | None = None,
        ops: Op | Iterable[Op] | None = None,
        torchaudio: bool | None = None,
        compat: bool | Project | Iterable[Project] | None = None,
        reach: Reach | None = None,
        verify: Verify | None = None,
        on_error: OnError | None = None,
        on_fallback: OnFallback | None = None,
    ) -> None:
        self.options = Options.resolve(devices, ops, torchaudio, compat, reach, verify, on_error, on_fallback)

    def __enter__(self) -> accelerated:
        if not is_compiling():  # there it would only break the graph, and change nothing
            install.hold(self.options)
            active.enter(self.options)
        return self

    def __exit__(self, *_: object) -> None:
        if not is_compiling():
            active.leave(self.options)
            install.let_go(self.options)

    def __call__(self, function: _Function) -> _Function:
        """`function` with every call of it inside the scope; generators only while they run, not while they wait."""
        if isinstance(function, type) or not callable(function):
            raise TypeError(f"accelerated() decorates functions, not {function!r}")
        if inspect.isasyncgenfunction(function):
            in_scope = self._around_async_generator(function)
        elif inspect.isgeneratorfunction(function):
            in_scope = self._around_generator(function)
        elif inspect.iscoroutinefunction(function):

            async def in_scope(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

        else:

            def in_scope(*args: Any, **kwargs: Any) -> Any:
                if is_compiling():  # dynamo cannot enter a context manager that was made outside
                    return function(*args, **kwargs)
                with self:
                    return function(*args, **kwargs)

        return cast(_Function, functools.wraps(function)(in_scope))

    def _around_generator(self, function: Callable) -> Callable:
        def in_scope(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            install.hold(self.options)  # while it waits, too: else it would be patched in at every step
            step, value = generator.send, None
            try:
                while True:
                    with self:
                        result = step(value)
                    try:
                        value = yield result
                        step = generator.send
                    except BaseException as error:  # also GeneratorExit: handed on, whatever it is
                        step, value = generator.throw, error
            except StopIteration as end:
                return end.value
            finally:
                install.let_go(self.options)

        return in_scope

    def _around_async_generator(self, function: Callable) -> Callable:
        async def in_scope(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            install.hold(self.options)
            step, value = generator.asend, None
            try:
                while True:
                    with self:
                        result = await step(value)
                    try:
                        value = yield result
                        step = generator.asend
                    except BaseException as error:  # also GeneratorExit: handed on, whatever it is
                        step, value = generator.athrow, error
            except StopAsyncIteration:
                return
            finally:
                install.let_go(self.options)

        return in_scope
