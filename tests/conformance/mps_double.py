"""torch.mps as one release documents it, on Linux: Metal goes to the C++ build, CPU tensors stand in for Apple's.

Whatever is not documented for the release is not there, or refused: names, keywords, arguments, text that is not ASCII.
What the real one leaves undefined (a grid without threads) is refused, too.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import torch

from mps_spectro_patch import options
from mps_spectro_patch.kernels.compilers import simulator
from mps_spectro_patch.kernels.launch import dispatch

from .contract import CASTS, KEYWORDS, PROPERTIES, SURFACE, at_least
from .recording import forget


class Undocumented(Exception):
    """Something was used that this release does not document: never caught by the code under test as its own."""


class TorchMps:
    def __init__(self, release: str, failure: Exception | None = None, failing: str = "") -> None:
        """failure: what compiling, taking or launching a kernel raises; failing: "compile", "take" or "launch"."""
        self._release, self._failure, self._failing = release, failure, failing
        self.used: set[str] = set()
        self.launches = 0
        self.undocumented: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_is_in_bad_fork"):  # torch's own random module asks
            return lambda: True
        if name not in SURFACE[self._release]:
            raise AttributeError(f"module 'torch.mps' has no attribute '{name}' in {self._release}")
        self.used.add(name)
        if name == "compile_shader":
            return self._compile
        raise NotImplementedError(f"torch.mps.{name} is not needed here so far")

    def refuse(self, what: str) -> None:
        self.undocumented.append(what)
        raise Undocumented(what)

    def _compile(self, source: str) -> _Library:
        if not isinstance(source, str) or not source.isascii():
            self.refuse("a source that is not ASCII text")
        if self._failing == "compile":
            raise self._failure
        return _Library(self, simulator.compile_shader(source))


class _Library:
    def __init__(self, double: TorchMps, library: simulator.Library) -> None:
        self._double, self._library = double, library

    def __getattr__(self, name: str) -> _Kernel:
        if self._double._failing == "take":
            raise self._double._failure
        return _Kernel(self._double, getattr(self._library, name))

    def __dir__(self) -> list[str]:
        return dir(self._library)


class _Kernel:
    def __init__(self, double: TorchMps, kernel: simulator.Kernel) -> None:
        self._double, self._kernel = double, kernel

    def __getattr__(self, name: str) -> Any:
        if name in PROPERTIES:
            return getattr(self._kernel, name)
        raise AttributeError(f"'torch._C._mps_MetalKernel' object has no attribute '{name}'")

    def __call__(self, *args: Any, **keywords: Any) -> None:
        double = self._double
        release = double._release
        if unknown := keywords.keys() - KEYWORDS[release]:
            raise TypeError(f"__call__(): incompatible function arguments: {sorted(unknown)} in {release}")
        for argument in args:
            self._look(argument, release)
        casts = keywords.get("arg_casts") or {}
        for cast in casts.values() if isinstance(casts, dict) else [casts]:
            if cast not in CASTS:
                raise RuntimeError(f"Unsupported cast instruction {cast}")
        threads = keywords.get("threads")
        if threads == 0 or (isinstance(threads, (list, tuple)) and 0 in threads):
            double.refuse("a grid without threads")
        if double._failing == "launch":
            raise double._failure
        double.launches += 1
        self._kernel(*args, **keywords)

    def _look(self, argument: Any, release: str) -> None:
        if isinstance(argument, torch.Tensor):
            if argument.dim() == 0 and argument.dtype is torch.float64 and not at_least(release, "2.8"):
                self._double.refuse(f"a double scalar in {release}")
            if argument.is_conj() or argument.is_neg():
                self._double.refuse("a tensor with a conjugate or negative bit, which is ignored")
            if argument.dtype in (torch.float64, torch.complex128) and argument.dim():
                self._double.refuse("a tensor of doubles")
        elif isinstance(argument, (list, tuple)) and argument and isinstance(argument[0], torch.Tensor):
            if not at_least(release, "2.8"):
                raise RuntimeError("Unexpected argument types")


@contextmanager
def standing_in(monkeypatch, release: str, **failure: Any):
    """CPU tensors are "mps" tensors, and torch.mps is the double, while it lasts."""
    double = TorchMps(release, **failure)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "mps", double)
        patch.setattr(torch.backends.mps, "is_available", lambda: True)
        patch.setitem(options.ACCELERATORS, "mps", "cpu")
        patch.setitem(dispatch._DEVICE_NAMES, "cpu", "mps")
        forget()
        try:
            yield double
        finally:
            forget()
