"""Runs one call in eager mode: a cached launch, or the full path, which routes, launches, verifies and caches.

Survives whatever goes wrong on the way: the original's result is the answer then. Operators and front ends alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from .. import active, pending, routing
from ..errors import MissingCompiler
from ..options import ACCELERATORS, OPS, Options, logger
from ..reasons import Call, FallbackError, Reason, UseOriginal
from ..stops import stops
from ..tensors import wants_gradient
from . import call_cache, call_sites, counters, from_caller, launches, parts, quarantine, torch_warnings, verification
from .passing import passes
from .trouble import Trouble, give_up, trouble_of, warn_of_step, warn_once

_DEFAULTS = Options()  # of front ends and direct calls where nothing is enabled
_used: set[Hashable] = set()  # ways whose kernels are compiled and whose tables are on the device


class Attempt:
    """One call: who wants it how, and the original that answers where the fast path does not.

    original(): its result, or the one that a comparison has made already; failed: it raised. key: of the plan that is
    at work, None while no plan is to blame for an error; passing: an error would be the moment's fault.
    """

    __slots__ = ("name", "options", "function", "args", "kwargs", "key", "passing", "reference", "failed")

    def __init__(self, name: str, options: Options, function: Callable, args: tuple = (), kwargs: Any = None) -> None:
        self.name, self.options = name, options
        self.function, self.args, self.kwargs = function, args, kwargs or {}
        self.key: tuple | None = None
        self.passing = self.failed = False
        self.reference: torch.Tensor | None = None

    def original(self) -> torch.Tensor:
        if self.reference is not None:
            return self.reference
        self.failed = True
        if self.name == "istft":
            result = from_caller.call(self.function, self.args, self.kwargs)
        else:
            result = self.function(*self.args, **self.kwargs)
        self.failed = False
        return result


def call(
    op: str, options: Options, arguments: tuple, original: Callable, args: tuple, kwargs: dict, cached: bool = True
) -> torch.Tensor:
    """torch.stft or torch.istft of `arguments`, where original(*args, **kwargs) is what stands below.

    cached: such calls may be answered from the cache. To be called by the function that stands at torch's name.
    """
    attempt = Attempt(op, options, original, args, kwargs)
    try:
        caller = None if call_sites.observer is None or not cached else sys._getframe(2)
        if call_sites.is_due(op):
            return call_sites.call(op, arguments, partial(_survived, attempt, arguments, caller, cached))
        return _answer(attempt, arguments, caller, cached)
    except Exception as error:  # whatever broke in our code must not break the program that called torch
        if _goes_on(attempt, error):
            raise
        trouble = trouble_of(error)
    return _after_error(attempt, trouble)


def call_elsewhere(
    op: str, options: Options, count: int, bind: Callable | None, original: Callable, args: tuple, kwargs: dict
) -> torch.Tensor:
    """original(*args, **kwargs) for tensors on a device that is not accelerated, remembered as the count-th such call.

    bind: makes the operator's arguments of these; None: they are. To be called by the function at torch's name: who
    called that is shown to the observer, since it may have copied from an accelerated device what it calls with.
    """
    attempt = Attempt(op, options, original, args, kwargs)
    try:
        call_sites.introduce(sys._getframe(2))
        arguments = args if bind is None else bind(*args, **kwargs)
        return call_sites.call_elsewhere(op, count, arguments, attempt.original)
    except Exception as error:
        if attempt.failed or isinstance(error, (Warning, *stops())):
            raise
        trouble = trouble_of(error)
    result = attempt.original()  # raises what is wrong with the arguments in its own words
    give_up(op, trouble)
    return result


def call_direct(op: str, arguments: tuple, original: Callable) -> torch.Tensor:
    """msp.stft or msp.istft of `arguments`, which original(*arguments) answers too, without the cache: on the kernels
    on Apple GPUs, and where enable() or accelerated() name the device."""
    attempt = Attempt(op, _DEFAULTS, original, arguments)
    try:
        attempt.options = options = active.options_here() or _DEFAULTS
        flags = options.flags if "is_mps" in options.flags else (*options.flags, "is_mps")
        launches.load_operators()
        decision = routing.decide(op, flags, arguments, call_cache.least_work)
        if isinstance(decision, Reason):
            return attempt.original()
        return _launched(attempt, arguments, decision, {}, None)
    except Exception as error:
        if _goes_on(attempt, error):
            raise
        trouble = trouble_of(error)
    return _after_error(attempt, trouble)


def call_front_end(
    name: str,
    options: Options | None,
    key: tuple,
    fused: Callable[[], torch.Tensor],
    compared: Callable[[Any], tuple[str, bool]],
    signal: torch.Tensor,
    original: Callable[[], torch.Tensor | None],
) -> tuple[Any, bool]:
    """(the fused result, or original() where it is not to be trusted; whether such a call may be cached).

    key: (call, shape of the filterbank, dtype, device, whether gradients are wanted). compared: judges the fused result
    by one of torch's own functions, as verification.judge_front_end does.
    """
    attempt = Attempt(name, options or _DEFAULTS, original)
    attempt.key = key
    try:
        size = key[0].n_fft, *key[2:]
        obstacle = _obstacle(attempt, key in quarantine.front_ends or size in quarantine.front_ends, signal)
        if obstacle is not None:
            return _fall_back(attempt, obstacle), False
        compares = verification.is_due(attempt.options.verify, key) and not attempt.passing
        return _tried(attempt, key, fused, compared if compares else None, signal)
    except Exception as error:
        if _goes_on(attempt, error):
            raise
        trouble = trouble_of(error)
    return _after_error(attempt, trouble), False


def goes_on(options: Options | None, error: Exception) -> bool:
    """Whether an exception is for the program: one by which torch or a person ends the call."""
    if isinstance(error, (Warning, FallbackError, *stops())):
        return True
    return (options or _DEFAULTS).on_error == "raise" and not isinstance(error, UseOriginal)


def _survived(attempt: Attempt, arguments: tuple, caller: FrameType | None, cached: bool) -> torch.Tensor:
    try:
        return _answer(attempt, arguments, caller, cached)
    except Exception as error:
        if _goes_on(attempt, error):
            raise
        trouble = trouble_of(error)
    return _after_error(attempt, trouble)


def _answer(attempt: Attempt, arguments: tuple, caller: FrameType | None, cached: bool) -> torch.Tensor:
    op, options = attempt.name, attempt.options
    entries = call_cache.entries
    key = known = None
    if cached:
        if options.on_fallback == "quiet":  # else the full path raises
            known = call_cache.find_never(op, arguments)
        if known is None:
            if caller is not None:  # what no kernel does concerns no observer either
                call_sites.introduce(caller)
            key, known = call_cache.find(options, arguments)
            if known is None and key is not None:
                plain = routing.with_plain_sizes(op, arguments)
                if plain is not arguments:
                    arguments = plain
                    key, known = call_cache.find(options, arguments)
    if known is not None:
        if known.launch is None:
            known.tally.calls += 1
            call_sites.tell(known.reason)
            return attempt.original()
        result = call_cache.launched(key, known, arguments[0], arguments[4])
        if result is not None:
            return result
    return _full_path(attempt, arguments, entries, key)


def _full_path(attempt: Attempt, arguments: tuple, entries: dict, key: Hashable | None) -> torch.Tensor:
    """key: under which to remember the answer in `entries`, if it can be."""
    op, options = attempt.name, attempt.options
    decision = routing.decide(op, options.flags, arguments, call_cache.least_work)
    if decision is Reason.DEVICE or (decision is Reason.TYPE and not _is_on_device(arguments[0], options)):
        counters.count(op, Reason.DEVICE)
        return attempt.original()
    if isinstance(decision, Reason):
        if key is not None and options.on_fallback == "quiet":
            call_cache.refuse(entries, key, op, decision, arguments)
        return _fall_back(attempt, decision)
    return _launched(attempt, arguments, decision, entries, key)


def _launched(attempt: Attempt, arguments: tuple, decision: Call, entries: dict, key: Hashable | None) -> torch.Tensor:
    op, input, window = attempt.name, arguments[0], arguments[4]
    attempt.key = plan = decision.plan, input.device, decision.way
    obstacle = _obstacle(attempt, plan in quarantine.plans, input)
    if obstacle is not None:
        return _fall_back(attempt, obstacle)
    launch = partial(launches.again, op, decision) if key is None else launches.prepare(op, input, window, decision)
    # One kernel holds several ways through: an odd hop or a short window is not vouched for by other calls.
    recorded = wants_gradient(input, window) and (input.requires_grad, window is not None and window.requires_grad)
    way = plan, recorded
    compares = verification.is_due(attempt.options.verify, way) and _can_compare(attempt, input)
    pieces = parts.of(op, arguments, decision) if compares else ()
    notices = () if len(pieces) == 1 else decision.notices  # the original gives its own

    def fused() -> torch.Tensor:
        if op == "stft":  # torch warns before the work, and of istft behind it, if it can be inverted
            torch_warnings.give(notices)
        result = launch(input, window)
        if result is None:
            raise UseOriginal(Reason.NOLA)
        if op == "istft":
            torch_warnings.give(notices)
        return result

    compared = partial(_compared, attempt, pieces, window, decision, launch) if compares else None
    result, trusted = _tried(attempt, way, fused, compared, input)
    if trusted and key is not None and not decision.notices:
        call_cache.remember(entries, key, call_cache.Known(op, launch, None))
    return result


def _obstacle(attempt: Attempt, is_quarantined: bool, input: torch.Tensor) -> Reason | None:
    if is_quarantined:
        return Reason.QUARANTINED
    attempt.passing = input.is_cuda and torch.cuda.is_current_stream_capturing()
    # Compiling a kernel or copying a table would break the graph for the original as well.
    return Reason.CAPTURE if attempt.passing and attempt.key not in _used else None


def _tried(
    attempt: Attempt, way: Hashable, fused: Callable, compared: Callable[[torch.Tensor], tuple[str, bool]] | None,
    input: torch.Tensor,
) -> tuple[torch.Tensor | None, bool]:  # fmt: skip
    """(the fast result, or the original's if compared(the fast one) finds it wrong; whether to trust such calls).

    compared: None where nothing is to be compared.
    """
    result = fused()
    _used.add(attempt.key)
    name, verify = attempt.name, attempt.options.verify
    if compared is not None:
        try:
            with torch.no_grad():  # else the hooks for saved tensors would see this one, too
                wrong, told = compared(result)
        except Exception as error:
            if not passes(error):
                raise
            # Beside the fast result there may be no room to compare. A later call of the kind is compared instead.
            attempt.failed = False
            wrong, told = "", False
            logger.warning("%s cannot be compared now: %s", counters.title(name), error)
        if wrong:
            del result  # the original may need its memory
            right = "the original" if name in OPS else "torch's composition"
            _quarantine(attempt, wrong, f"differs from {right} ({wrong})")
            return _fall_back(attempt, Reason.VERIFICATION), False
        if told:
            verification.verified.add(way)
            counters.count_agreed(name)
    attempt.key = None
    counters.count(name, None)
    if input.device.type == ACCELERATORS["mps"] and _can_compare(attempt, input):
        from . import selftest  # nobody else needs it

        selftest.behind_call(input.device)
    return result, verify != "always" and not verification.is_due(verify, way)


def _compared(
    attempt: Attempt, pieces: tuple[parts.Part, ...], window: torch.Tensor | None, decision: Call, launch: Callable,
    result: torch.Tensor,
) -> tuple[str, bool]:  # fmt: skip
    """(what is wrong with the result, or nothing; whether there was anything to compare)."""
    told = False
    for part in pieces:
        args, kwargs = (attempt.args, attempt.kwargs) if part.arguments is None else (part.arguments, {})
        if part.arguments is None:
            reference = attempt.original()
            if not result.requires_grad:
                attempt.reference = reference
        else:
            try:
                reference = attempt.function(*args)
            except Exception as error:
                if passes(error):
                    raise
                logger.warning("a part of %s cannot be compared: %s", counters.title(attempt.name), error)
                continue

        def on_cpu(args: tuple = args, kwargs: dict = kwargs) -> torch.Tensor:
            moved = dict(zip(kwargs, verification.on_cpu(tuple(kwargs.values())), strict=True))
            return attempt.function(*verification.on_cpu(args), **moved)

        wrong, tells = verification.judge(attempt.name, part, window, decision, launch, result, reference, on_cpu)
        if wrong:
            return wrong, True
        told |= tells
    return "", told


def _fall_back(attempt: Attempt, reason: Reason) -> torch.Tensor | None:
    """Counts and calls the original, or raises where a strict person asked for that."""
    counters.count(attempt.name, reason)
    if attempt.options.on_fallback == "raise" and attempt.name in OPS:
        raise FallbackError(f"torch.{attempt.name} was not accelerated ({reason}): {reason.words}")
    return attempt.original()


def _goes_on(attempt: Attempt, error: Exception) -> bool:
    return attempt.failed or goes_on(attempt.options, error)  # failed: the original's own


def _after_error(attempt: Attempt, trouble: Trouble) -> torch.Tensor | None:
    """The original's result instead of ours. (Where the original fails too, the call was wrong, and not the plan.)"""
    if trouble.reason is not None:
        return _fall_back(attempt, trouble.reason)
    attempt.reference = attempt.original()
    try:
        _tell(attempt, trouble)
        return _fall_back(attempt, Reason.ERROR)
    except (Warning, FallbackError):
        raise
    except Exception as telling:  # may have been the error in the first place
        logger.debug("telling of an error", exc_info=telling)
        return attempt.reference


def _tell(attempt: Attempt, trouble: Trouble) -> None:
    title = counters.title(attempt.name)
    logger.debug("fast path of %s:\n%s", title, trouble.text)
    if attempt.passing or trouble.passes:  # no reason for a quarantine
        warn_once(attempt.name, f"{title}: the fast path could not be taken now: {trouble.what}")
    elif attempt.key is None:
        warn_of_step(attempt.name, trouble)
    elif issubclass(trouble.kind, MissingCompiler):  # no plan's fault, and the same for all of them
        _quarantine(attempt, trouble.what, None)
        warn_once(trouble.words, f"no kernel can be compiled. {trouble.words}")
    else:
        _quarantine(attempt, trouble.what, f"raised {trouble.what} ({trouble.place})")


def _quarantine(attempt: Attempt, why: str, sentence: str | None) -> None:
    """Never this plan again, and one warning if there is a sentence."""
    put = quarantine.put_plan if attempt.name in OPS else quarantine.put_front_end
    put(attempt.key, why, sentence)


def _can_compare(attempt: Attempt, input: torch.Tensor) -> bool:
    """Not for tensors without data, nor where reading a result back would break a CUDA graph being captured."""
    fake = type(input) is FakeTensor or torch._C._len_torch_dispatch_stack()
    return not (fake or attempt.passing or torch._C._are_functorch_transforms_active())


def _is_on_device(input: object, options: Options) -> bool:
    return isinstance(input, torch.Tensor) and options.concerns(input)


pending.catch_up(__name__)
