"""Looks at every launch while the tests run, whichever tests they are, and fails the one whose launch does not fit its
kernel. Behind a run of the whole suite, or of its first tier, places in the code that launch and were never come to
fail it as well.

The hooks are pytest's; tests/conftest.py brings them in. Needs libclang. A machine that is there for its GPU may be
without: the header says so, and launches are not looked at. With the simulator that is an error.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from mps_spectro_patch.kernels.launch import dispatch
from mps_spectro_patch.kernels.launch.params import Params
from mps_spectro_patch.kernels.plans import fft
from tests import tiers

KERNELS = Path(dispatch.__file__).parent

sites: set[str] = set()  # "kernels/launch/smooth_size.py:163", where a launch was made
_sources: dict[int, tuple[Any, str, str]] = {}  # by id: the kernel (kept), its name, defines
_fitting: set[tuple] = set()


@dataclass
class _Kernels:
    """Stands where dispatch.kernel stood, and remembers what each kernel was made of."""

    original: Any

    def __call__(self, name: str, defines: str, device_type: str) -> Any:
        compiled = self.original(name, defines, device_type)
        _sources[id(compiled)] = compiled, name, defines
        return compiled

    def cache_clear(self) -> None:
        self.original.cache_clear()


class _Recorder:
    """Stands for a kernel: looks at a call, and makes it. given: the arguments of the launch, parameters by name."""

    def __init__(self, compiled: Any, made_of: tuple, given: list[Any]) -> None:
        self._compiled, self._made_of, self._given = compiled, made_of, given

    def _look(self, args: list[Any], options: dict[str, Any]) -> None:
        for position, arg in enumerate(self._given):
            if isinstance(arg, Params):
                assert args[position] == arg.packed()
                args[position] = arg
        judge(self._made_of, args, **options)

    def __call__(self, *args: Any, **options: Any) -> None:
        self._look(list(args), options)
        self._compiled(*args, **options)

    def __getattr__(self, name: str) -> Any:
        if name != "prepare":
            return getattr(self._compiled, name)
        prepare = self._compiled.prepare  # raises where there is none

        def look(args: list[Any], index: int = 0, **options: Any) -> Any:
            prepared = prepare(args, index=index, **options)

            def run(*tensors: torch.Tensor) -> None:
                brought = iter(tensors)
                self._look([next(brought) if arg is None else arg for arg in args], options)
                prepared(*tensors)

            return run

        return look


def judge(made_of: tuple, args: list[Any], threads: Any = None, group_size: Any = None, arg_casts: Any = None) -> None:
    from .binding import mismatches

    shape = (*made_of, threads, group_size, repr(arg_casts), *map(_shape, args))
    if shape in _fitting:
        return
    name, defines = made_of
    found = mismatches(signature_of(name, defines), args, threads, group_size, arg_casts)
    assert not found, f"a launch of {name} does not fit it: {found}"
    _fitting.add(shape)


def signature_of(name: str, defines: str) -> Any:
    """The kernel's signature; parsed once for all sizes, whose numbers do not change a parameter, but for the limit of
    the threads."""
    given = dict(line.split()[1:3] for line in defines.splitlines())
    usual = _usual(name) if given else {}
    text = "".join(f"#define {word} {usual.get(word, value)}\n" for word, value in given.items())
    parsed = _signature(name, text) or _signature(name, defines)
    if not given:
        return parsed
    return type(parsed)(parsed.kernel, parsed.buffers, int(given["MSP_LANES"]) * int(given["MSP_FRAMES"]))


@cache
def _usual(name: str) -> dict[str, str]:
    """What another size changes in the defines of a kernel, as one size has it."""
    if "any" in name:
        plan: Any = fft.transform(7, False, "istft" in name)
    elif "registers" in name:
        plan = fft.registers_plan(16, 4)
    else:
        plan = fft.istft_plan(16) if "istft" in name or "gradient" in name else fft.stft_plan(16)
    values = dict(line.split()[1:3] for line in plan.defines().splitlines())
    return values | {"MSP_SLOT_PAIRS": "64"}


@cache
def _signature(name: str, defines: str) -> Any:
    from .checker import check

    parsed = check(dispatch.kernel_text(name, defines), deep=False)
    return next((s for s in parsed.signatures if s.kernel == name), None)


def _shape(arg: Any) -> tuple:
    if isinstance(arg, torch.Tensor):
        return "tensor", arg.dtype, arg.dim() == 0, arg.is_conj() or arg.is_neg()
    return (type(arg), len(arg), *map(type, arg)) if isinstance(arg, (list, tuple)) else (type(arg),)


def forget() -> None:
    """Kernels and launches are made anew, and looked at again: their texts, or the device, may change now."""
    from .sources import families

    dispatch.kernel.cache_clear()
    dispatch._has_bfloat.cache_clear()
    for family in families():
        for value in vars(family).values():
            if hasattr(value, "cache_clear") and value.__module__ == family.__name__:
                value.cache_clear()
    _fitting.clear()
    _signature.cache_clear()


def wrap_recipe(original: Any) -> Any:
    def recipe(compiled: Any, args: list[Any], *rest: Any, **options: Any) -> Any:
        caller = sys._getframe(1)
        sites.add(f"{Path(caller.f_code.co_filename).name}:{caller.f_lineno}")
        made_of = _sources.get(id(compiled))
        looking = compiled if made_of is None else _Recorder(compiled, made_of[1:], args)
        return original(looking, args, *rest, **options)

    recipe.__wrapped__ = original
    return recipe


def sites_not_in(seen: set[str]) -> set[str]:
    """The calls of dispatch.recipe in the code none of whose lines was seen, by their first lines."""
    missing = set()
    for path in KERNELS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "recipe":
                lines = {f"{path.name}:{line}" for line in range(node.lineno, node.end_lineno + 1)}
                if isinstance(node.func.value, ast.Name) and node.func.value.id == "dispatch" and not lines & seen:
                    missing.add(f"{path.name}:{node.lineno}")
    return missing


@contextmanager
def recorded() -> Iterator[set[str]]:
    """The places that launch while it lasts."""
    before = set(sites)
    sites.clear()
    try:
        yield sites
    finally:
        sites.update(before)


def is_inert() -> bool:
    return os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator" and find_spec("clang") is None


# --- pytest's hooks --------------------------------------------------------------------------------------------------


def header() -> list[str]:
    """For pytest's, from that of conftest.py."""
    if not is_inert():
        return []
    return ["libclang is not installed: launches are NOT compared with their kernels, tests/conformance is cut short"]


def pytest_configure(config: pytest.Config) -> None:
    if is_inert():
        return
    if find_spec("clang") is None:
        raise pytest.UsageError("the tests need libclang, which is part of the extra [test]: pip install -e '.[test]'")
    if not isinstance(dispatch.kernel, _Kernels):
        dispatch.kernel = _Kernels(dispatch.kernel)
        dispatch.recipe = wrap_recipe(dispatch.recipe)


def pytest_testnodedown(node: Any, error: Any) -> None:  # pytest-xdist: what a worker has seen
    sites.update(getattr(node, "workeroutput", {}).get("launch_sites", ()))


pytest_testnodedown = pytest.hookimpl(optionalhook=True)(pytest_testnodedown)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["launch_sites"] = sorted(sites)
        return
    if is_inert():
        return
    # The first tier alone comes to every place that launches; what the second adds are other sizes and values.
    is_whole = config.option.markexpr in ("", tiers.FIRST) and config.args == config.getini("testpaths")
    is_whole = is_whole and not config.option.keyword
    if is_whole and exitstatus == 0 and not config.option.collectonly and (missing := sites_not_in(sites)):
        session.exitstatus = 1
        print(f"\nLaunches that no test exercised: {', '.join(sorted(missing))}", file=sys.stderr)
