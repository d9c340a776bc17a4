"""report() and write_trace(): calls by the line they came from, and what watch_calls() makes of them."""

from __future__ import annotations

import json
from pathlib import Path

from ..execution import call_sites, counters, trouble
from .call_table import Row, Table


def watch_calls(on: bool = True, trace: bool = False) -> None:
    """Records every call from now on, with its time, instead of a sample: report() is exact then.

    This costs some microseconds for each call. Times are those of the calling thread: what a GPU does after the call
    returned is not included.

    Args:
        on: False: back to a sample.
        trace: keep each call as an event, for diagnostics.write_trace().

    Raises:
        Nothing.

    Example:
        >>> msp.watch_calls()
        >>> with msp.accelerated(devices=["simulator"], verify="off"):
        ...     spectrum = torch.stft(torch.randn(4000), 400, window=torch.hann_window(400), return_complex=True)
        >>> [(row.op, row.calls, row.outcome) for row in msp.report()]
        [('torch.stft', 1, 'fast')]
        >>> msp.watch_calls(False)
    """
    if on:
        call_sites.start(trace)
    else:
        call_sites.stop()


def report() -> Table:
    """Calls by the line that made them, with arguments, device and outcome, the most frequent first.

    Calls on devices that are not accelerated are in it, too: a program whose tensors are on the CPU gets no faster. By
    default the calls are sampled, and counts with ~ are estimates. After watch_calls() every call is in the table.

    Returns:
        Table of rows, each with `place`, `function`, `op`, `arguments`, `device`, `outcome` ("fast" or the reason for
        the fallback), `calls`, `estimated` and `seconds`. Prints well.

    Example:
        >>> msp.reset_stats()
        >>> len(msp.report())
        0
    """
    try:
        rows = sorted(map(_row, call_sites.sites().items()), key=lambda row: (-row.calls, row.place, row.outcome))
        return Table(tuple(rows), call_sites.left_out())
    except Exception as error:
        return Table((), problem=f"the calls could not be told: {trouble.trouble_of(error).what}")


def write_trace(path: str | Path) -> None:
    """Writes the calls since watch_calls(trace=True) for chrome://tracing or Perfetto. Raises OSError."""
    Path(path).write_text(json.dumps(call_sites.trace()), encoding="utf-8")


def _row(known: tuple[call_sites.Site, call_sites.Tally]) -> Row:
    site, tally = known
    return Row(
        f"{site.file}:{site.line}", site.function, counters.title(site.op), _words(site), site.device, site.outcome,
        tally.count, tally.count != tally.seen, tally.seconds,
    )  # fmt: skip


def _words(site: call_sites.Site) -> str:
    names = _PARAMETERS.get(site.op, _OF_FRONT_ENDS)
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
_OF_FRONT_ENDS = ("", "n_fft", "hop", "win", "filterbank")
_DEFAULTS = {"center": True, "pad_mode": "reflect", "normalized": False, "return_complex": False}
