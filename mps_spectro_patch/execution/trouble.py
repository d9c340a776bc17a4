"""An error in a step of ours: what is kept of it, and what is said. The caller goes on with torch's function."""

from __future__ import annotations

import logging
import os
import traceback
import warnings
from typing import NamedTuple

from .. import active
from ..options import logger
from ..reasons import Reason, UseOriginal
from . import call_sites, counters
from .passing import passes

told: dict[str, object] = {}  # what a warning was given of that is no plan's fault


class Trouble(NamedTuple):
    """What is kept of an exception: not its frames, which hold tensors whose memory the original may need.

    what: its kind and its words. place: where it was raised. text: the traceback, for the log. reason: for which an
    operator gave the call to the original, where it is no error.
    """

    kind: type[Exception]
    words: str
    what: str
    place: str
    passes: bool
    text: str
    reason: Reason | None


def trouble_of(error: Exception) -> Trouble:
    reason = error.reason if isinstance(error, UseOriginal) else None
    kind = type(error)
    try:
        words = str(error)
    except Exception:  # an exception may be unable to say what it is
        words = ""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name}" if frames else "?"
    text = "".join(traceback.format_exception(error)) if reason is None and logger.isEnabledFor(logging.DEBUG) else ""
    return Trouble(kind, words, f"{kind.__name__}: {words}", place, passes(error), text, reason)


def warn_of_step(name: str, trouble: Trouble) -> None:
    """Of an error in a step of ours that is no kernel's. name: of the function that was called."""
    title = counters.title(name)
    once = name if trouble.passes else trouble.place  # a shortage of memory may show anywhere
    warn_once(once, f"{title}: a step before or behind the kernel raised {trouble.what} ({trouble.place})")


def warn_once(once: str, sentence: str) -> None:
    """To the program the first time, to the log every time."""
    logger.warning("%s", sentence)
    this = object()
    if told.setdefault(once, this) is this:  # of several threads one is the first
        text = f"mps_spectro_patch: {sentence}. The original's result was used."
        warnings.warn(text, RuntimeWarning, stacklevel=call_sites.caller()[1])


def give_up(name: str, trouble: Trouble) -> None:
    """warn_of_step() where the telling itself may fail and the result is there already."""
    try:
        warn_of_step(name, trouble)
    except Warning:
        raise
    except Exception as telling:
        logger.debug("telling of %s", name, exc_info=telling)


def tell_of_operator(name: str, error: Exception) -> None:
    """Of an operator that failed in a backward pass or in compiled code."""
    options = active.options_here()
    if options is not None and options.on_error == "raise":
        raise error
    trouble = trouble_of(error)
    warn_once(trouble.place, f"the operator {name} raised {trouble.what} ({trouble.place})")
