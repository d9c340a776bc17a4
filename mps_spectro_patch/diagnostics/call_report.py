"""report() and write_trace(): calls by the line they came from, and what watch_calls() makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..execution import call_sites
from ..patching import layers

if TYPE_CHECKING:
    from .call_table import Table


def watch_calls(on: bool = True, trace: bool = False) -> None:
    """Makes report() exact: from now on every call is looked at and timed, also on devices that are not accelerated.

    That costs some microseconds per call. trace=True also keeps each call as an event, for write_trace(). Times are
    the calling thread's: work that a GPU does after the call returned is not in them. on=False: back to a sample.
    """
    if on:
        call_sites.start(trace)
    else:
        call_sites.stop()
    layers.settle()


def report() -> Table:
    """Calls by the line they came from, what arguments they had, and which way they went, the most frequent first.

    Unless watch_calls() was on, from a sample of the calls on accelerated devices; counts with ~ are estimates then.
    """
    from .call_table import Row, Table

    rows = [
        Row(f"{site.file}:{site.line}", site.function, f"torch.{site.op}", _words(site), site.device, site.outcome,
            tally.count, tally.count != tally.seen, tally.seconds)
        for site, tally in call_sites.sites().items()
    ]  # fmt: skip
    rows.sort(key=lambda row: (-row.calls, row.place, row.outcome))
    return Table(tuple(rows), call_sites.left_out())


def write_trace(path: str | Path) -> None:
    """Writes the calls since watch_calls(trace=True) for chrome://tracing or Perfetto. Raises OSError."""
    import json

    Path(path).write_text(json.dumps(call_sites.trace()), encoding="utf-8")


def _words(site: call_sites.Site) -> str:
    names = _PARAMETERS[site.op]
    return ", ".join(
        f"{name}={_value(value)}" if name else _value(value)
        for name, value in zip(names, site.arguments, strict=True)
        if value is not None and _DEFAULTS.get(name) != value
    )


def _value(value: object) -> str:
    if isinstance(value, tuple):
        shape, dtype = value
        return f"{'x'.join(map(str, shape)) or 'scalar'} {dtype}"
    return str(value)


_PARAMETERS = {
    "stft": ("", "n_fft", "hop", "win", "window", "center", "pad_mode", "normalized", "onesided", "return_complex",
             "align_to_window"),
    "istft": ("", "n_fft", "hop", "win", "window", "center", "normalized", "onesided", "length", "return_complex"),
}  # fmt: skip
_DEFAULTS = {"center": True, "pad_mode": "reflect", "normalized": False, "return_complex": False}
