"""enable() and disable(): who wants which functions accelerated, and that exactly those are patched.

Knows nothing of FFTs. What stands at torch.stft is in patching/layers.py, names bound before in early_names.py,
operators in torch_operators.py, other modules' functions in hooks.py; active.py says for whom a patch acts.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from typing import NamedTuple

import torch

from .. import active, pending
from ..execution import launches
from ..options import OPS, Options, logger
from . import early_names, hooks, layers


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
    devices: Iterable[str] | None = None,
    ops: Iterable[str] | None = None,
    torchaudio: bool | None = None,
    compat: bool | Iterable[str] | None = None,
    reach: str | None = None,
    verify: str | None = None,
    on_error: str | None = None,
    on_fallback: str | None = None,
) -> Patched:
    """Accelerates torch.stft and torch.istft in the whole process, until disable().

    A second call replaces the options of the first. Options that are not given (None) come from the environment
    variables MPS_SPECTRO_PATCH_DEVICES, _COMPAT, _REACH, _VERIFY, _ON_ERROR and _ON_FALLBACK, else from the defaults.

    Args:
        devices: any of "mps" (Apple GPUs), "cuda" (NVIDIA GPUs) and "simulator" (the kernels on the CPU, slow: for
            tests). Default: ("mps",).
        ops: any of "stft" and "istft". Default: both.
        torchaudio: True: torchaudio's spectrograms and mel spectrograms are fused, too.
        compat: which projects' own front ends are patched: True or None (all), False (none), or names.
        reach: "attribute": callers that look up torch.stft. "references": names that modules bound before, too.
            "dispatcher": torch's operators, which everything calls. Default: "attribute".
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
    options = Options.resolve(
        devices=devices,
        ops=ops,
        torchaudio=torchaudio,
        compat=compat,
        reach=reach,
        verify=verify,
        on_error=on_error,
        on_fallback=on_fallback,
    )
    _declare_projects(options)
    with _lock:
        launches.load_operators()  # before anything changes: this may fail
        if "mps" in options.devices:
            from ..execution import selftest  # with all the kernels, which importing the package does not load

            selftest.first(options)
        _apply_tuning(again=True)
        _hold(_PROCESS, _Holder(options, 1))
        active.process = options
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
        active.process = None
        _holders.pop(_PROCESS, None)
        _apply_patches()


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


def hold(owner: active.Owner, options: Options) -> None:
    """Keeps patched what `options` want until as many let_go(owner)."""
    _declare_projects(options)
    with _lock:
        launches.load_operators()  # before anything changes: this may fail
        _apply_tuning()
        count = _holders[owner].count if owner in _holders else 0
        _hold(owner, _Holder(options, count + 1))


def _hold(owner: object, holder: _Holder) -> None:
    before = dict(_holders)
    _holders[owner] = holder
    try:
        _apply_patches()
    except BaseException:  # whatever failed, nothing has changed
        _holders.clear()
        _holders.update(before)
        _apply_patches()
        raise


def let_go(owner: active.Owner) -> None:
    with _lock:
        held = _holders.pop(owner)
        if held.count > 1:
            _holders[owner] = _Holder(held.options, held.count - 1)
        _apply_patches()


def is_held(op: str) -> bool:
    """Whether anybody, anywhere, wants a layer over this op: an enable(), or an accelerated() that is open."""
    with _lock:
        return any(op in holder.options.layer_ops for holder in _holders.values())


def early_references(ops: Iterable[str] = OPS) -> list[str]:
    """Module-level names outside of torch that are bound to torch's own functions, or to what stood there before us.

    Such calls are missed, but for ops that are patched at the dispatcher: none of those is in the list.
    """
    with _lock:
        ops = [op for op in ops if not any(op in holder.options.dispatcher_ops for holder in _holders.values())]
    below = [layer.original for layer in layers.layers() if layer.op in ops]
    own = [{"stft": torch.functional.stft, "istft": torch._VF.istft}[op] for op in ops]
    return [str(reference) for reference in early_names.bound_to(*own, *below)]


class _Holder(NamedTuple):
    options: Options
    count: int


_PROCESS = object()
_holders: dict[object, _Holder] = {}  # whoever wants patches: enable() and the open accelerated()
_replaced: set[str] = set()  # ops whose early references are ours now
_lock = threading.RLock()


def _declare_projects(options: Options) -> None:
    wanted = (*options.projects, *(("torchaudio",) if options.torchaudio else ()))
    if wanted:
        from . import projects  # only a program that asks for it pays for it

        projects.declare(wanted)


def _apply_tuning(again: bool = False) -> None:
    from ..execution import tuning  # nothing of it is needed before something is enabled

    tuning.apply(again)


def _apply_patches() -> None:
    """Patches what is held, and nothing else."""
    held = [holder.options for holder in _holders.values()]
    _restore_references({op for op in _replaced if not _wants_references(held, op)})
    stuck = layers.install({op for options in held for op in options.layer_ops})
    if not held:
        for op in stuck:
            logger.warning("torch.%s was wrapped by somebody else: our layer stays below, inert", op)
    for op in OPS:
        if _wants_references(held, op):
            for layer in _active_layers(op):
                early_names.replace(layer.original, layer.function)
            _replaced.add(op)
    _register({(op, kind) for options in held for op in options.dispatcher_ops for kind in options.device_types})
    hooks.apply_groups({group for options in held for group in options.groups})
    for name in ("class_hooks", "module_aliases"):
        if f"{__package__}.{name}" in sys.modules:
            sys.modules[f"{__package__}.{name}"].apply_groups()


def _wants_references(held: list[Options], op: str) -> bool:
    return any(options.reach == "references" and op in options.layer_ops for options in held)


def _restore_references(ops: set[str]) -> None:
    for layer in layers.layers():
        if layer.op in ops:
            early_names.restore(layer.original, layer.function)
    _replaced.difference_update(ops)


def _active_layers(op: str) -> list[layers.Layer]:
    return [layer for layer in layers.layers() if layer.op == op and not layer.retired]


def _register(wanted: set[tuple[str, str]]) -> None:
    global _operators
    if _operators is None and not wanted:
        return  # most programs never need it
    if _operators is None:
        from . import torch_operators as _operators
    _operators.register(wanted)


_operators = None  # patching/torch_operators.py, once something was registered: it needs the operators


def registered() -> list[str]:
    """What is registered on torch's operators, in words."""
    return _operators.registered() if _operators else []


def project_states() -> dict[str, str]:
    """What became of each project of compat that is wanted."""
    return sys.modules[f"{__package__}.projects"].states() if f"{__package__}.projects" in sys.modules else {}


def _patched(options: Options) -> Patched:
    patched = [f"torch.{op}" for op in options.layer_ops] + registered()
    skipped = [(f"torch.{op}", "not among the ops") for op in OPS if op not in options.ops]
    names = [
        str(reference)
        for op in _replaced
        for layer in _active_layers(op)
        for reference in early_names.bound_to(layer.function)
    ]
    patched += names
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
    """The devices among the options that torch does not find here."""
    is_here = {"mps": torch.backends.mps.is_available, "cuda": torch.cuda.is_available, "simulator": lambda: True}
    return [device for device in options.devices if not is_here[device]()]


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # another thread may hold the lock at the moment of a fork
    os.register_at_fork(after_in_child=_renew_lock)

pending.catch_up(__name__)
