"""enable() and disable(): who wants which functions accelerated, and that exactly those are patched.

Knows nothing of FFTs. What stands at torch.stft is in patching/layers.py, names bound before in early_names.py,
operators in torch_operators.py, other modules' functions in hooks.py; active.py says for whom a patch acts.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

import torch

from .. import active, execution, graphs, pending
from ..execution import launches
from ..options import OPS, Device, OnError, OnFallback, Op, Options, Project, Reach, Verify, logger
from . import checkpoints, copies, early_names, functional_module, hooks, layers, post_import


class Patched(NamedTuple):
    """What enable() did: what is patched, what is not and why. Prints well."""

    options: Options
    patched: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"mps_spectro_patch is on: {', '.join(self.options.devices) or 'no device'}"]
        lines += [f"  patched: {what}" for what in self.patched]
        lines += [f"  not patched: {what}: {why}" for what, why in self.skipped]
        return "\n".join(lines)


def enable(
    devices: Device | Iterable[Device] | None = None,
    ops: Op | Iterable[Op] | None = None,
    torchaudio: bool | None = None,
    compat: bool | Project | Iterable[Project] | None = None,
    reach: Reach | None = None,
    verify: Verify | None = None,
    on_error: OnError | None = None,
    on_fallback: OnFallback | None = None,
) -> Patched:
    """Accelerates torch.stft and torch.istft in the whole process, until disable().

    A second call replaces the options of the first. Options that are not given (None) come from the environment
    variables MPS_SPECTRO_PATCH_DEVICES, _TORCHAUDIO, _COMPAT, _REACH, _VERIFY, _ON_ERROR and _ON_FALLBACK, else from
    the defaults.

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

    Returns:
        Patched: `options`; `patched`, what is patched; `skipped`, what is not and why. Prints well.

    Raises:
        ValueError: an option has an unknown value; nothing is changed then.

    Example:
        >>> done = msp.enable(devices=["simulator"])
        >>> done.patched[:2]
        ('torch.stft', 'torch.istft')
        >>> torch.stft(torch.randn(4000), 400, window=torch.hann_window(400), return_complex=True).shape
        torch.Size([201, 41])
        >>> msp.disable()
    """
    options = Options.resolve(devices, ops, torchaudio, compat, reach, verify, on_error, on_fallback)
    _declare_projects(options)
    with _lock:
        launches.load_operators()  # before anything changes: this may fail
        execution.tuning.apply(again=True)
        copies.take_over(_end)
        _add(options, _holders)
        active.put_process(options)
        post_import.when_imported(_INDUCTOR, lambda config: graphs.inductor.put(config), "the pass over graphs")
        return _patched(options)


def disable() -> None:
    """Ends enable(): torch's own functions are put back, the same objects as before.

    Every other name and operator that was patched is restored, too. If somebody wrapped our function since, it is also
    taken out from under their wrapper; where that is impossible it stays below, does nothing, and the log and status()
    say so. Without an enable() this does nothing.

    Example:
        >>> original = torch.stft
        >>> done = msp.enable(devices=["simulator"])
        >>> msp.disable()
        >>> torch.stft is original
        True
    """
    with _lock:
        copies.end_others(_end)
        active.put_process(None)
        _leave_inductor()
        _apply_patches(_held())


def is_enabled() -> bool:
    """Whether calls made here are accelerated: by enable(), or by the accelerated() around this code.

    Returns:
        bool.

    Example:
        >>> with msp.accelerated(devices=["simulator"]):
        ...     print(msp.is_enabled())
        True
        >>> msp.is_enabled()
        False
    """
    return active.options_here() is not None


def hold(options: Options) -> None:
    """Keeps patched what `options` want until as many let_go(options)."""
    _declare_projects(options)
    with _lock:
        launches.load_operators()  # before anything changes: this may fail
        execution.tuning.apply()
        if _is_current() or copies.is_alone(_end):
            copies.take_over(_end)
            _add(options, _held())
        _holders[options] += 1


def let_go(options: Options) -> None:
    with _lock:
        _holders.subtract([options])
        if _holders[options] <= 0:  # or it was forgotten meanwhile
            del _holders[options]
        held = _held()
        if options not in held and copies.is_alone(_end):  # nobody else wants the same
            _apply_patches(held)


@contextmanager
def _again(scope: active.Scope) -> Iterator[None]:
    """The scope, for what was inside it before: in this thread, and where its accelerated() may have been left."""
    hold(scope.options)
    token = active.scope.set(scope)
    try:
        yield
    finally:
        active.scope.reset(token)
        let_go(scope.options)


def _end() -> None:
    """Takes out every patch of this copy of the package, for another one."""
    with _lock:
        active.put_process(None)
        _leave_inductor()
        _holders.clear()
        _apply_patches(())


def _leave_inductor() -> None:
    if _INDUCTOR in sys.modules and not pending.is_being_imported(_INDUCTOR):
        graphs.inductor.take_back(sys.modules[_INDUCTOR])


def _is_current() -> bool:
    """Whether this is the copy that a program gets by importing the package now."""
    return vars(sys.modules.get(__name__, copies)) is globals()


def is_held(op: str) -> bool:
    """Whether anybody, anywhere, wants a layer over this op: an enable(), or an accelerated() that is open."""
    with _lock:
        return any(op in options.layer_ops for options in _held())


def early_references(ops: Iterable[str] = OPS, everywhere: bool = False) -> list[str]:
    """Module-level names outside of torch that are bound to torch's own functions, or to what stood there before us.

    Such calls are missed, but for ops that are patched at the dispatcher: none of those is in the list. everywhere:
    functools.partial objects, too, which takes longer.
    """
    ops = _not_at_the_dispatcher(ops)
    below = [(op, layer.original) for layer in layers.layers() if (op := layer.op) in ops]
    functions = [*((op, _own(op)) for op in ops), *below]
    found = [str(reference) for reference in early_names.bound_to(*(function for _, function in functions))]
    if everywhere:
        partials = early_names.partials_of(*(function for _, function in functions))
        for op in ops:
            count = sum(any(one.func is function for name, function in functions if name == op) for one in partials)
            found += [f"functools.partial of torch.{op} ({count} of them)"] * bool(count)
    return found


def users_of_functional() -> list[str]:
    """Functions of loaded modules that call torch.functional.stft or istft, which stay torch's own."""
    return functional_module.users(op for op in _not_at_the_dispatcher(OPS) if op not in _replaced)


def _not_at_the_dispatcher(ops: Iterable[str]) -> list[str]:
    with _lock:
        return [op for op in ops if not any(op in options.dispatcher_ops for options in _held())]


def _own(op: str) -> Callable:
    return vars(torch.functional)["stft"] if op == "stft" else torch._VF.istft


# What is patched must be known behind a reload, too: here and in the other modules of this room.
_holders: Counter[Options] = pending.kept(__name__, "holders", Counter())  # the open accelerated()'s
_replaced: set[str] = pending.kept(__name__, "replaced", set())  # ops whose early references are ours now
_INDUCTOR = "torch._inductor.config"
_lock = globals().get("_lock", threading.RLock())
_room = sys.modules[__package__]  # of this copy of the package
_parts: dict[str, ModuleType] = pending.kept(__name__, "parts", {})  # of the room, that not every program needs


def _held() -> set[Options]:
    """The options of whoever wants patches."""
    return {*_holders, active.process} - {None}


def _add(options: Options, others: Iterable[Options]) -> None:
    """Patches what all of these want. If that fails, nothing has changed."""
    try:
        _apply_patches({options, *others})
    except BaseException:
        _apply_patches(_held())
        raise


def _declare_projects(options: Options) -> None:
    if options.groups:
        from . import projects  # only a program that asks for it pays for it

        projects.declare(group.removeprefix("compat.") for group in options.groups)


def _apply_patches(held: Collection[Options]) -> None:
    """Patches what is held, and nothing else."""
    wanted = {op for options in held if options.reach == "references" for op in options.layer_ops}
    for layer in layers.layers():
        if layer.op in _replaced - wanted:
            early_names.rebind([(layer.function, layer.original)])
            early_names.put_partials_back(layer.function)
    stuck = layers.install({op for options in held for op in options.layer_ops})
    if not held:
        for op in stuck:
            logger.warning("torch.%s was wrapped by somebody else: our layer stays below, inert", op)
    _replaced.clear()
    _replaced.update(wanted)
    for layer in _replacing_layers():
        early_names.rebind([(layer.original, layer.function)])
    early_names.move_partials([(layer.original, layer.function) for layer in _replacing_layers()])
    seen = [layer for layer in _replacing_layers() if layer.original is _own(layer.op)]
    functional_module.show((layer.op, layer.function, layer.original) for layer in seen)
    operators = {(op, kind) for options in held for op in options.dispatcher_ops for kind in options.device_types}
    torch_operators = _loaded("torch_operators")
    if torch_operators is None and operators:  # most programs never need it
        from . import torch_operators

        _parts["torch_operators"] = torch_operators
    if torch_operators is not None:
        torch_operators.register(operators)
    checkpoints.apply(bool(held), _again)
    hooks.apply_groups({group for options in held for group in options.groups})
    for module in filter(None, map(_loaded, ("class_hooks", "module_aliases"))):
        module.apply_groups()
    if not held:
        copies.give_up(_end)


def _replacing_layers() -> list[layers.Layer]:
    """The layers to which names in other modules are bound."""
    return [layer for layer in layers.layers() if layer.op in _replaced and not layer.retired]


def _loaded(name: str) -> ModuleType | None:
    """A module of this room, if anything has needed it so far."""
    path = f"{__package__}.{name}"
    if pending.is_being_imported(path):
        return None
    is_current = sys.modules.get(__package__) is _room  # else it is another copy that has its modules there
    if is_current and path in sys.modules:
        _parts[name] = sys.modules[path]
    return _parts.get(name)


def registered() -> list[str]:
    """What is registered on torch's operators, in words."""
    operators = _loaded("torch_operators")
    return operators.registered() if operators else []


def project_states() -> dict[str, str]:
    """What became of each project of compat that is wanted."""
    projects = _loaded("projects")
    return projects.states() if projects else {}


def _patched(options: Options) -> Patched:
    patched = [f"torch.{op}" for op in options.layer_ops] + registered()
    skipped = [(f"torch.{op}", "not among the ops") for op in OPS if op not in options.ops]
    for layer in _replacing_layers():
        patched += [f"torch.functional.{layer.op}"] * (layer.original is _own(layer.op))
        patched += [str(name) for name in early_names.bound_to(layer.function)]
        count = early_names.count_moved(layer.function)
        patched += [f"functools.partial of torch.{layer.op} ({count} of them)"] * bool(count)
    if options.reach != "dispatcher":
        why = "bound before enable(), keeps torch's own"
        if options.reach == "attribute":
            why += '; reach="references" replaces such names'
        skipped += [(name, why) for name in early_references(options.ops)]
    for what, state in hooks.states("torchaudio").items():
        if state == "patched":
            patched.append(what)
        else:
            skipped.append((what, state.removeprefix("not patched: ")))
    for name, state in project_states().items():
        if state.startswith("applied"):
            patched.append(f"{name}: {state}")
        else:
            skipped.append((name, state))
    skipped += [(device, "there is no such device here") for device in missing_devices(options)]
    return Patched(options, tuple(patched), tuple(skipped))


def missing_devices(options: Options) -> list[str]:
    """The devices among the options that torch does not find here, as far as it tells without starting one: a process
    that has could not fork. (Of MPS it tells whether it was built with it.)"""
    is_here = {"mps": torch.backends.mps.is_built, "cuda": torch.cuda.device_count, "simulator": lambda: True}
    return [device for device in options.devices if not is_here[device]()]


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # another thread may hold the lock at the moment of a fork
    os.register_at_fork(after_in_child=_renew_lock)

pending.catch_up(__name__)
