"""fuse(): the pass over graphs for programs that run in eager mode."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, overload

import torch
from torch.compiler import is_compiling
from torch.fx import GraphModule

from .. import active
from ..execution import runner, trouble
from ..options import Options, Verify
from . import backend

_Program = TypeVar("_Program", bound=Callable[..., Any])


@overload
def fuse(program: _Program, *, verify: Verify = ...) -> _Program: ...
@overload
def fuse(program: None = ..., *, verify: Verify = ...) -> Callable[[_Program], _Program]: ...
def fuse(program: Any = None, *, verify: Verify = "first") -> Any:
    """A function or module in which an stft and the steps behind it are one launch, found by torch.compile's tracing.

    torch.stft followed by abs, powers, eps, sqrt, a filterbank, clamp, log and transpositions is fused, where nothing
    else uses what lies between. Everything else runs as it is. Only where enable() or accelerated() say so: without
    them, and for tensors on other devices, the program runs as it is. So does what torch.compile cannot trace; where
    it cannot be used at all, one warning says so.

    Args:
        program: a function, or a module, which is changed in place: its state_dict and its type stay the same. None:
            returns a decorator.
        verify: "first": the first call of everything that was fused is compared with the program's own steps. If it
            differs, these are used from then on, with one warning. "always": each call. "off": none.

    Returns:
        The function with its name and signature, or the module.

    Raises:
        TypeError: program is no function and no module.
        ValueError: verify has an unknown value.

    Example:
        >>> window = torch.hann_window(400)
        >>> @msp.fuse
        ... def log_power(x):
        ...     spectrum = torch.stft(x, 400, window=window, return_complex=True)
        ...     return (spectrum.real**2 + spectrum.imag**2).clamp(min=1e-5).log()
        >>> with msp.accelerated(devices=["simulator"]):
        ...     log_power(torch.randn(2, 4000)).shape
        torch.Size([2, 201, 41])
        >>> msp.stats()["graph"].fast
        1
    """
    if verify not in ("first", "always", "off"):
        raise ValueError(f'verify={verify!r}: expected "first", "always" or "off"')
    if program is None:
        return functools.partial(fuse, verify=verify)
    if isinstance(program, torch.nn.Module):
        program._compiled_call_impl = _Fused(program._call_impl, verify)  # as Module.compile() does it
        return program
    if isinstance(program, type) or not callable(program):
        raise TypeError(f"fuse() takes a function or a module, not {program!r}")
    call = _Fused(program, verify)

    @functools.wraps(program)
    def fused(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return fused


class _Fused:
    """A program, compiled once for each set of options that it is called under."""

    def __init__(self, program: Callable[..., Any], verify: str) -> None:
        self.program, self.verify = program, verify
        self.compiled: dict[Options, Callable[..., Any]] = {}
        self.last: tuple[Options | None, Callable[..., Any]] = None, program

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            return self.program(*args, **kwargs)
        options = active.options_here()
        if options is None or not options.devices:
            return self.program(*args, **kwargs)
        last, compiled = self.last
        if last is not options:
            compiled = self.compiled.get(options) or self.compiled.setdefault(options, self._compile(options))
            self.last = options, compiled
        if compiled is self.program:
            return compiled(*args, **kwargs)
        config = torch._dynamo.config
        before = config.suppress_errors
        config.suppress_errors = before or options.on_error == "fallback"  # what dynamo fails on runs as it is
        try:
            return compiled(*args, **kwargs)
        finally:
            config.suppress_errors = before

    def _compile(self, options: Options) -> Callable[..., Any]:
        def mps_spectro(graph_module: GraphModule, example_inputs: list) -> Callable[..., Any]:
            return backend.fused(graph_module, options, self.verify)

        try:
            return torch.compile(self.program, backend=mps_spectro)
        except Exception as error:
            if runner.goes_on(options, error):
                raise
            found = trouble.trouble_of(error)
        trouble.warn_once(f"torch.compile {found.what}", f"fuse: torch.compile raised {found.what}")
        return self.program
