"""Where torch is faster on this machine: the rule that `doctor --tune` measures, kept in the user's cache directory.

A rule is for one device by name, one version of torch and one of this package: for each op the least work (rows *
frames * n_fft) that is worth a kernel. It is read when something is enabled, and handed to routing by
execution/call_cache.py, as neither reads files. Without a rule nothing falls back. MPS_SPECTRO_PATCH_TUNED=0 leaves a
rule alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..kernels import cache_directory, locked, read_json, wanted_directory, write_file
from ..options import ENVIRONMENT, OPS
from ..version import __version__
from . import call_cache

_NAME = "tuned.json"
Rule = Callable[[str, torch.device], int]  # the least work by op and device
_rule: Rule | None = None
_is_read = False
_ignoring = 0  # how many want no rule now


def apply(again: bool = False) -> None:
    """Hands the rules of this machine to routing, read from the file once, or again."""
    global _rule, _is_read
    if again or not _is_read:
        _rule, _is_read = _read(), True
    call_cache.set_rule(None if _ignoring else _rule)


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """No rule while it lasts: for those who measure or check the kernels."""
    global _ignoring
    _ignoring += 1
    call_cache.set_rule(None)
    try:
        yield
    finally:
        _ignoring -= 1
        apply()


def keep(device: torch.device, least_work: dict[str, int]) -> Path:
    """Writes the rule for a device in place of an earlier one; {} takes it out. Returns the file."""
    path = cache_directory() / _NAME
    here = _here(device_name(device))
    with locked(path.parent):  # what other processes keep at the same time is not lost
        entries = [entry for entry in _entries() if {name: entry.get(name) for name in here} != here]
        if least_work:
            entries.append({**here, "least_work": least_work})
        write_file(path, json.dumps(entries, indent=1).encode())
    apply(again=True)
    return path


@lru_cache(maxsize=64)
def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return chip() if device.type == "mps" else "simulator"


def chip() -> str:
    from .selftest import environment

    return environment()["chip"]


def _here(name: str) -> dict[str, str]:
    return {"package": __version__, "torch": torch.__version__, "device": name}


def _read() -> Rule | None:
    """None where there is no rule for these versions."""
    if os.environ.get(f"{ENVIRONMENT}_TUNED", "").strip().lower() in ("0", "off", "false", "no"):
        return None
    rules: dict[tuple[str, str], int] = {}
    for entry in _entries():
        name = entry.get("device")
        if isinstance(name, str) and {key: entry.get(key) for key in _here(name)} == _here(name):
            least = {op: work for op, work in entry["least_work"].items() if op in OPS and type(work) is int}
            rules.update({(name, op): work for op, work in least.items()})
    # Names are asked for when there is a tensor on the device: asking for a GPU's initialises CUDA.
    return lru_cache(maxsize=256)(lambda op, device: rules.get((device_name(device), op), 0)) if rules else None


def _entries() -> list[dict[str, Any]]:
    with contextlib.suppress(OSError):  # a user without a home has no rule
        return read_json(wanted_directory() / _NAME, _checked) or []
    return []


def _checked(entries: Any) -> list[dict[str, Any]]:
    if not isinstance(entries, list) or not all(isinstance(entry["least_work"], dict) for entry in entries):
        raise TypeError("not a list of rules")
    return entries
