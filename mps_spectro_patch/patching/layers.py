"""Plain functions for torch.stft and torch.istft: made, put in their place, found again, taken out.

Only those two attributes are touched: the Tensor methods and torchaudio arrive through them, and patching
torch.functional would break __torch_function__ tables and pickling. For whom a layer acts is active.py's business.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch.compiler import is_compiling, is_dynamo_compiling
from torch.jit._builtins import _get_builtin_table, _register_builtin

from .. import active, routing
from ..active import options_here
from ..execution import Refusal, call_sites, ready, refusals, runner
from ..options import OPS, Exits, Options, logger
from ..reasons import Call, Reason


class Layer:
    """Our function over one of torch's. Never freed (TorchScript and dynamo know functions by id), but often idle."""

    def __init__(self, op: str, original: Callable) -> None:
        self.op = op
        self.retired = False  # bypassed by a later layer of ours: passes every call through
        function, self._settle = (_make_stft if op == "stft" else _make_istft)(self, original)
        self.function = _dress(function, op, original)
        self.settle()

    def settle(self) -> None:
        """Says again which inputs may take the shortest way out, and what the process wants there."""
        process = active.process
        quick = () if self.retired or call_sites.everything else _PLAIN
        self._settle(quick, None if process is None else getattr(process, f"{self.op}_exits"))

    @property
    def original(self) -> Callable:
        """What the layer stands in for. Kept where other libraries' layers below it can still be taken out: in the cell
        that the function calls. (`__wrapped__` says the same, but is anybody's to change.)"""
        return _below(self.function)

    def position(self) -> str:
        """Where we are: "installed", "covered" by somebody else's wrapper, or "absent", for all we can see."""
        top = getattr(torch, self.op)
        if top is self.function:
            return "installed"
        if top is torch.functional.stft or top is torch._VF.istft:
            return "absent"
        from . import wrapper_chains

        return "covered" if wrapper_chains.places(self.function, top) else "absent"

    def take_out(self) -> bool:
        """Makes whoever calls the layer call what is below it. False if somebody's reference cannot be changed."""
        if getattr(torch, self.op) is self.function:
            setattr(torch, self.op, self.original)
            return True
        from . import wrapper_chains

        for place in wrapper_chains.places(self.function, getattr(torch, self.op)):
            if place.put is not None:
                try:
                    place.put(self.original)
                except Exception as error:  # read-only, or somebody's __setattr__
                    logger.debug("a reference to our torch.%s stays: %r", self.op, error)
        return self.position() == "absent"


def layers() -> list[Layer]:
    """Every layer that was ever made; at most one of each op is not retired."""
    return list(_layers)


def install(wanted: Collection[str]) -> list[str]:
    """A layer over each of the wanted ops, none over the others. Returns the ops whose layer could not be taken out."""
    return [op for op in OPS if not (_install(op) if op in wanted else _remove(op))]


def settle() -> None:
    """To be called when a layer retires, and when what the process wants, or whether every call is watched, changes."""
    for layer in _layers:
        layer.settle()


_layers: list[Layer] = []
# A power of two less one: of the calls that are always refused, the others are looked at.
_UNSEEN = call_sites.EVERY - 1
_PLAIN = (torch.Tensor, torch.nn.Parameter)


# Both functions begin with the shortest way out, for calls that are none of our business: written out, as each function
# call costs a tenth of what may be spent there, and so does each object that is looked at: after torch's own work none
# is in the processor's caches. So what they ask first is in cells of their own: `quick`, the types of inputs that may
# take it, and `enabled`, the exits of the process. Most often it is a CPU tensor that nobody accelerates, for which one
# attribute is asked. Dynamo does not see it: is_dynamo_compiling() is true for it. (What traces with fake tensors only
# comes to is_compiling().)


def _make_stft(layer: Layer, original: Callable) -> tuple[Callable, Callable[..., None]]:
    untouched, scope_here, refused = runner.untouched["stft"], active.scope.get, refusals.always["stft"]
    quick: tuple[type, ...] = ()
    enabled: Exits | None = None

    def settle(types: tuple[type, ...], exits: Exits | None) -> None:
        nonlocal quick, enabled
        quick, enabled = types, exits

    def stft(
        input,
        n_fft,
        hop_length=None,
        win_length=None,
        window=None,
        center=True,
        pad_mode="reflect",
        normalized=False,
        onesided=None,
        return_complex=None,
        align_to_window=None,
    ):
        refusal = None
        if not is_dynamo_compiling() and type(input) in quick:
            here = scope_here()
            exits = enabled if here is None else here.stft
            if exits is not None:
                leaves_cpu, concerns, kind = exits
                if (leaves_cpu and input.is_cpu) or not concerns(input):
                    untouched.calls += 1
                    return original(
                        input,
                        n_fft,
                        hop_length,
                        win_length,
                        window,
                        center,
                        pad_mode,
                        normalized,
                        onesided,
                        return_complex,
                        align_to_window,
                    )
                if refused and kind is not None:
                    try:
                        if n_fft in refused:
                            refusal = refused[n_fft]
                        elif (dtype := input.dtype) in refused:
                            refusal = refused[dtype]
                    except (TypeError, KeyError):  # cannot be hashed, or was forgotten this moment
                        pass
                    if refusal is not None:
                        refusal.calls = calls = refusal.calls + 1
                        if calls & _UNSEEN:  # what no kernel does concerns no observer either
                            return original(
                                input,
                                n_fft,
                                hop_length,
                                win_length,
                                window,
                                center,
                                pad_mode,
                                normalized,
                                onesided,
                                return_complex,
                                align_to_window,
                            )
                if refusal is None and kind is not None and refusals.known:
                    refusal = refusals.find(
                        kind,
                        input,
                        window,
                        n_fft,
                        hop_length,
                        win_length,
                        center,
                        pad_mode,
                        normalized,
                        onesided,
                        return_complex,
                        align_to_window,
                    )
                    if refusal is not None and refusal.calls % call_sites.EVERY:
                        if call_sites.observer is not None:
                            call_sites.introduce(sys._getframe(1))
                        return original(
                            input,
                            n_fft,
                            hop_length,
                            win_length,
                            window,
                            center,
                            pad_mode,
                            normalized,
                            onesided,
                            return_complex,
                            align_to_window,
                        )
        options = _options_for_compiled_code() if is_compiling() else options_here()
        if options is None or options.stft_flags is None or layer.retired:
            return original(
                input,
                n_fft,
                hop_length,
                win_length,
                window,
                center,
                pad_mode,
                normalized,
                onesided,
                return_complex,
                align_to_window,
            )
        arguments = (
            input,
            n_fft,
            hop_length,
            win_length,
            window,
            center,
            pad_mode,
            normalized,
            onesided,
            return_complex,
            align_to_window,
        )
        return _call("stft", options, arguments, original, arguments, {}, refusal)

    return stft, settle


def _make_istft(layer: Layer, original: Callable) -> tuple[Callable, Callable[..., None]]:
    untouched, scope_here, refused = runner.untouched["istft"], active.scope.get, refusals.always["istft"]
    quick: tuple[type, ...] = ()
    enabled: Exits | None = None

    def settle(types: tuple[type, ...], exits: Exits | None) -> None:
        nonlocal quick, enabled
        quick, enabled = types, exits

    # torch.istft is a builtin: it has no signature, and its errors tell how arguments were given. So they are kept.
    def istft(*args, **kwargs):
        refusal = None
        if not is_dynamo_compiling() and args and type(args[0]) in quick:
            here = scope_here()
            exits = enabled if here is None else here.istft
            if exits is not None:
                leaves_cpu, concerns, kind = exits
                if (leaves_cpu and args[0].is_cpu) or not concerns(args[0]):
                    untouched.calls += 1
                    return original(*args, **kwargs)
                if refused and kind is not None:
                    try:
                        n_fft = args[1] if len(args) > 1 else kwargs.get("n_fft")
                        if n_fft in refused:
                            refusal = refused[n_fft]
                        elif (dtype := args[0].dtype) in refused:
                            refusal = refused[dtype]
                    except (TypeError, KeyError):
                        pass
                    if refusal is not None:
                        refusal.calls = calls = refusal.calls + 1
                        if calls & _UNSEEN:
                            return original(*args, **kwargs)
                if refusal is None and kind is not None and refusals.known:
                    try:
                        refusal = _find_istft(kind, *args, **kwargs)
                    except TypeError:
                        return original(*args, **kwargs)
                    if refusal is not None and refusal.calls % call_sites.EVERY:
                        if call_sites.observer is not None:
                            call_sites.introduce(sys._getframe(1))
                        return original(*args, **kwargs)
        options = _options_for_compiled_code() if is_compiling() else options_here()
        if options is None or options.istft_flags is None or layer.retired:
            return original(*args, **kwargs)
        try:
            arguments = istft_arguments(*args, **kwargs)
        except TypeError:
            return original(*args, **kwargs)
        return _call("istft", options, arguments, original, args, kwargs, refusal)

    return istft, settle


def _find_istft(
    kind,
    input,
    n_fft,
    hop_length=None,
    win_length=None,
    window=None,
    center=True,
    normalized=False,
    onesided=None,
    length=None,
    return_complex=False,
) -> Refusal | None:
    return refusals.find(
        kind, input, window, n_fft, hop_length, win_length, center, normalized, onesided, length, return_complex
    )


def istft_arguments(
    input,
    n_fft,
    hop_length=None,
    win_length=None,
    window=None,
    center=True,
    normalized=False,
    onesided=None,
    length=None,
    return_complex=False,
) -> tuple:
    return input, n_fft, hop_length, win_length, window, center, normalized, onesided, length, return_complex


def _options_for_compiled_code() -> Options | None:
    """enable()'s options, unless the code must later run without this package, or some plan is known to be bad."""
    return None if active.process is None or routing.is_exporting() or runner.quarantined else active.process


def _call(op: str, options: Options, arguments: tuple, original: Callable, args: tuple, kwargs: dict,
          refusal: Refusal | None) -> torch.Tensor:  # fmt: skip
    """refusal: of a call that is counted already, and that execution/call_sites.py is to look at."""
    if is_compiling():  # no counters, locks or comparisons: dynamo could not trace them
        decision = routing.decide_compiled(op, options.device_types, arguments)
        if isinstance(decision, Reason):
            return original(*args, **kwargs)
        return runner.launch_compiled(op, arguments[0], arguments[4], decision)
    if call_sites.observer is not None:
        call_sites.introduce(sys._getframe(2))
    if refusal is not None:
        return call_sites.call(op, arguments, lambda: _refused(refusal, original, args, kwargs))
    if call_sites.is_due(op):
        return call_sites.call(op, arguments, lambda: _answer(op, options, arguments, original, args, kwargs))
    return _answer(op, options, arguments, original, args, kwargs)


def _answer(op: str, options: Options, arguments: tuple, original: Callable, args: tuple, kwargs: dict) -> torch.Tensor:
    """By what is known of such calls, or else the whole way."""
    signature = known = None
    if type(arguments[0]) in _PLAIN and routing.is_plain_eager():
        signature, known = routing.look_up(arguments)
        if type(known) is Call and type(arguments[4]) in _PLAIN:
            result = ready.call_with_any(arguments[0], arguments[4], known, options.verify)
            if result is not None:
                runner.at_once[op].calls += 1
                call_sites.tell(None)
                return result
    return _act(op, options, arguments, original, args, kwargs, signature, known)


def _act(op: str, options: Options, arguments: tuple, original: Callable, args: tuple, kwargs: dict,
         signature: tuple | None = None, known: Call | Reason | None = None) -> torch.Tensor:  # fmt: skip
    """signature: where nothing is going on around the call, and `known` the answer to it, if there was one."""
    input = arguments[0]
    decision = routing.untouched(input, options.flags)
    if decision is Reason.DEVICE or (decision is Reason.TYPE and not _is_on_device(input, options)):
        runner.untouched[op].calls += 1
        call_sites.tell(Reason.DEVICE)
        return original(*args, **kwargs)
    if decision is None:
        decision = routing.decide_touched(op, arguments, signature, known)
    if isinstance(decision, Reason):
        if signature is not None:
            refusals.remember(op, decision, options, arguments)
        return runner.fall_back(op, decision, options, lambda: original(*args, **kwargs))
    again = signature is not None and type(arguments[4]) in _PLAIN
    return runner.run(op, options, input, arguments[4], decision, lambda: original(*args, **kwargs), again)


def _refused(refusal: Refusal, original: Callable, args: tuple, kwargs: dict) -> torch.Tensor:
    call_sites.tell(refusal.reason)
    return original(*args, **kwargs)


def _is_on_device(input: Any, options: Options) -> bool:
    return isinstance(input, torch.Tensor) and any(getattr(input, flag) for flag in options.flags)


def _dress(function: Callable, op: str, original: Callable) -> Callable:
    """Makes `function` look like torch's to pickle, inspect, help() and TorchScript."""
    functools.update_wrapper(function, original)
    function.__module__, function.__name__, function.__qualname__ = "torch", op, op  # pickles as torch.stft, everywhere
    if isinstance(original, FunctionType):
        function.__prepare_scriptable__ = _Scriptable(function)
    elif isinstance(original, BuiltinFunctionType):
        # Only right for a builtin: as "aten::stft", torch.stft would lose its default center=True.
        _get_builtin_table()
        _register_builtin(function, f"aten::{op}")
    return function


class _Scriptable:
    """Gives TorchScript what a layer stands for, whose source it compiles. functools.wraps() hands this on to wrappers
    of the layer; with slots, patching/wrapper_chains.py does not take it for a reference of theirs that could be
    changed."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __call__(self) -> Callable:
        return _below(self._function)


def _below(function: Callable) -> Callable:
    """What a function of _make_stft() or _make_istft() calls."""
    return function.__closure__[function.__code__.co_freevars.index("original")].cell_contents


def _install(op: str) -> bool:
    top = getattr(torch, op)
    known = [layer for layer in _layers if layer.op == op]
    if any(not layer.retired and layer.position() != "absent" for layer in known):
        return True
    layer = next((layer for layer in known if top is layer.original or top is layer.function), None)
    if layer is None:
        layer = Layer(op, top)
        _layers.append(layer)
    for other in known:  # they may still be reached through wrappers that hide what they wrap
        other.retired = other is not layer
    layer.retired = False
    settle()
    from . import dynamo

    dynamo.teach((layer.function, layer.original) for layer in _layers)
    setattr(torch, op, layer.function)
    return True


def _remove(op: str) -> bool:
    return all([layer.take_out() for layer in reversed(_layers) if layer.op == op])
