"""The two functions that stand at torch.stft and torch.istft.

Every call of a patched program comes by here, also those on other devices, which may cost 2 us: so these are told first
and by hand. `original` is what stood there before; patching/layers.py finds it in the closure.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.compiler import is_compiling

from .. import active, routing
from ..execution import call_sites, counters, from_caller, launches, quarantine, runner
from ..reasons import Reason
from ..tensors import PLAIN, STAND_INS

FIRST, EVERY = call_sites.FIRST, call_sites.EVERY


def make_stft(layer: Any, original: Callable) -> Callable:
    untouched, scope_here = counters.tally("stft", Reason.DEVICE), active.scope.get

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
        if is_compiling():
            return _compiled("stft", layer, arguments, original, arguments, {})
        here = scope_here()
        options = active.process if here is None else here.options
        if options is None or layer.retired or "stft" not in options.layer_ops:
            return original(*arguments)
        try:
            is_elsewhere = type(input) in PLAIN and not options.concerns(input) and not call_sites.everything
        except Exception:  # whoever runs the call meets it again, and tells
            is_elsewhere = False
        if is_elsewhere:
            count = untouched.calls = untouched.calls + 1
            if count > FIRST and count % EVERY:
                return original(*arguments)
            return runner.call_elsewhere("stft", options, count, None, original, arguments, {})
        if type(input) in STAND_INS:
            return original(*arguments)
        return runner.call("stft", options, arguments, original, arguments, {})

    return stft


def make_istft(layer: Any, original: Callable) -> Callable:
    untouched, scope_here = counters.tally("istft", Reason.DEVICE), active.scope.get

    # torch.istft is a builtin: it has no signature, and its errors tell how arguments were given. So they are kept.
    def istft(*args, **kwargs):
        if is_compiling():
            return _compiled("istft", layer, None, original, args, kwargs)
        here = scope_here()
        options = active.process if here is None else here.options
        concerned = options is not None and not layer.retired and "istft" in options.layer_ops
        try:
            is_elsewhere = concerned and args and type(args[0]) in PLAIN and not options.concerns(args[0])
        except Exception:
            is_elsewhere = False
        if is_elsewhere and not call_sites.everything:
            count = untouched.calls = untouched.calls + 1
            if count > FIRST and count % EVERY:
                concerned = False
            else:
                return runner.call_elsewhere("istft", options, count, istft_arguments, original, args, kwargs)
        if concerned:
            try:
                arguments = istft_arguments(*args, **kwargs)
            except Exception:  # wrong arguments: the original says so in its own words
                return original(*args, **kwargs)
            return runner.call("istft", options, arguments, original, args, kwargs)
        if "length" in kwargs or len(args) > 8 or (len(args) < 5 and "window" not in kwargs):  # torch may warn
            return from_caller.call(original, args, kwargs, sys._getframe(1))
        return original(*args, **kwargs)

    return istft


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


def _compiled(
    op: str, layer: Any, arguments: tuple | None, original: Callable, args: tuple, kwargs: dict
) -> torch.Tensor:
    """By enable()'s options, unless the code must later run without this package, or some plan is known to be bad. No
    counters, locks or comparisons: dynamo could not trace them."""
    options = None if active.process is None or routing.is_exporting() or quarantine.plans else active.process
    if options is None or op not in options.layer_ops or layer.retired:
        return original(*args, **kwargs)
    if arguments is None:
        try:
            arguments = istft_arguments(*args, **kwargs)
        except TypeError:
            return original(*args, **kwargs)
    decision = routing.decide_compiled(op, options.device_types, arguments)
    if isinstance(decision, Reason):
        return original(*args, **kwargs)
    return launches.launch_compiled(op, arguments[0], arguments[4], decision)
