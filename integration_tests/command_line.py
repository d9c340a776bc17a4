"""Runs a program as it is installed, accelerated or not, and has a witness tell what became of its calls."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from mps_spectro_patch import autoload

# Python runs it at its start, and the program knows nothing of it.
_WITNESS = """
import atexit, json, os

def tell():
    import mps_spectro_patch as msp
    stats = {op: [count.fast, sum(count.fallback.values())] for op, count in msp.stats().items()}
    with open(os.environ["WITNESS"], "w") as file:
        json.dump({"enabled": msp.is_enabled(), "stats": stats, "projects": msp.status().projects}, file)

atexit.register(tell)
"""


class Seen(NamedTuple):
    """stats: op -> [fast, not fast]."""

    printed: str
    enabled: bool
    stats: dict[str, list[int]]
    projects: dict[str, str]


def script(name: str, how: str) -> str:
    """The program beside this interpreter; the test is skipped where it is not there. how: to get it."""
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        pytest.skip(f"no {path}: {how}, in the environment of this interpreter")
    return str(path)


def run(command: Sequence[str], folder: Path, **environment: str) -> Seen:
    """In `folder`, with these variables and none of ours besides."""
    witness, told = folder / "witness", folder / "told.json"
    witness.mkdir(exist_ok=True)
    (witness / "sitecustomize.py").write_text(_WITNESS)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MPS_SPECTRO_PATCH")}
    path = os.pathsep.join(filter(None, [str(witness), os.environ.get("PYTHONPATH")]))
    environment = {**inherited, "WITNESS": str(told), "PYTHONPATH": path, **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(told.read_text())
    told.unlink()
    return Seen(done.stdout + done.stderr, **seen)


def by_environment(devices: str) -> dict[str, str]:
    """The variables that accelerate any program; the test is skipped where they cannot reach one."""
    if not autoload.installed():
        pytest.skip("the .pth file is not installed: python -m mps_spectro_patch autoload on")
    return dict(MPS_SPECTRO_PATCH="1", MPS_SPECTRO_PATCH_DEVICES=devices, MPS_SPECTRO_PATCH_ON_ERROR="raise")


def digest(package: ModuleType) -> str:
    """Of the files of a package: they are to stay as they are."""
    files = sorted(Path(package.__file__).parent.rglob("*.py"))
    assert files
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
