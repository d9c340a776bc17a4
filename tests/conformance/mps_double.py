"""torch.mps as one release documents it, on Linux: Metal goes to the C++ build, CPU tensors stand in for Apple's.

Whatever is not documented for the release is not there, or refused: names, keywords, arguments, text that is not ASCII.
What the real one leaves undefined (a grid without threads) is refused, too.
"""

from __future__ import annotations

import os
import re
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
    def __init__(
        self, release: str, failure: Exception | None = None, failing: str = "", where: str = "",
        has_bfloat: bool = True,
    ) -> None:  # fmt: skip
        """failure: what compiling, taking or launching a kernel raises; failing: "compile", "take" or "launch"; where:
        in sources with these words. has_bfloat: not with MSL 3.0, nor on the GPUs of virtual machines."""
        self._release, self._has_bfloat = release, has_bfloat
        self.failure, self.failing, self.where = failure, failing, where
        self.used: set[str] = set()
        self._started_in = 0  # which process touched Metal first
        self.launches, self.launched = 0, set()
        self.undocumented: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_is_in_bad_fork"):  # torch's own random module asks
            return lambda: True
        if name not in SURFACE[self._release]:
            raise AttributeError(f"module 'torch.mps' has no attribute '{name}' in {self._release}")
        self.used.add(name)
        self.start()
        if name == "compile_shader":
            return self._compile
        raise NotImplementedError(f"torch.mps.{name} is not needed here so far")

    def start(self) -> bool:
        """What is_available() does, too. A child that is forked behind it would hang, or be ended."""
        self._started_in = self._started_in or os.getpid()
        if self._started_in != os.getpid():
            self.refuse("Metal in a child that was forked when it had been started")
        return True

    def refuse(self, what: str) -> None:
        self.undocumented.append(what)
        raise Undocumented(what)

    def _compile(self, source: str) -> _Library:
        if not isinstance(source, str) or not source.isascii():
            self.refuse("a source that is not ASCII text")
        self.fail("compile", source)
        if not self._has_bfloat and re.search(r"\bbfloat\b", re.sub("//.*", "", source)):
            raise SyntaxError("program_source:5:21: error: unknown type name 'bfloat'")
        return _Library(self, simulator.compile_shader(source), source)

    def fail(self, step: str, source: str) -> None:
        if self.failing == step and self.where in source:
            raise self.failure


class _Library:
    def __init__(self, double: TorchMps, library: simulator.Library, source: str) -> None:
        self._double, self._library, self._source = double, library, source

    def __getattr__(self, name: str) -> _Kernel:
        self._double.fail("take", self._source)
        return _Kernel(self._double, getattr(self._library, name), self._source)

    def __dir__(self) -> list[str]:
        return dir(self._library)


class _Kernel:
    def __init__(self, double: TorchMps, kernel: simulator.Kernel, source: str) -> None:
        self._double, self._kernel, self._source = double, kernel, source

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
        double.fail("launch", self._source)
        double.launches += 1
        double.launched.add(self)
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
    """CPU tensors are "mps" tensors, and torch.mps is the double, while it lasts. The self-test has to be asked for."""
    double = TorchMps(release, **failure)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "mps", double)
        patch.setattr(torch.backends.mps, "is_available", double.start)
        patch.setattr(torch.backends.mps, "is_built", lambda: True)
        patch.setitem(options.ACCELERATORS, "mps", "cpu")
        patch.setitem(dispatch._DEVICE_NAMES, "cpu", "mps")
        forget()
        try:
            yield double
        finally:
            forget()
