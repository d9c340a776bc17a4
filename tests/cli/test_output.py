"""What is printed: status() says what is missing, and the table of calls fits the terminal."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.diagnostics.call_table import Row, Table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("width", "lines"), [(80, 2), (160, 6)])
def test_a_narrow_terminal_gets_lines_instead_of_narrow_columns(width, lines, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")  # rich takes every other width for 80 on a "dumb" one
    arguments = "2x4000 float32, n_fft=400, window=400 float32"
    row = Row("app/program.py:9", "transform", "torch.stft", arguments, "cpu", "fast", 70, False, 0.7)
    terminal = Terminal()
    Table((row,)).print(terminal)
    text = re.sub("\x1b[^m]*m", "", terminal.getvalue())
    assert len(text.splitlines()) == lines and max(map(len, text.splitlines())) <= width, text
    for words in (arguments, "program.py:9", "transform", "torch.stft", "cpu", "fast", "70", "10.000"):
        assert words in text


def test_status_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with msp.accelerated(devices=("cuda", "simulator")):
        status = msp.status()
    assert status.missing_devices == ("cuda",) and "  cuda: there is no such device here" in str(status).splitlines()
    assert "is needed" not in str(status)
    old = dataclasses.replace(status, versions={**status.versions, "torch": "2.6.1+cpu"})
    assert "  torch 2.6.1+cpu: 2.7 or newer is needed" in str(old).splitlines()
    assert msp.status().missing_devices == ()
