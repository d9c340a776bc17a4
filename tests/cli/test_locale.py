"""The C locale, and an installation whose path has other characters than ASCII."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from .installed import PARTS, ROOT

CODE = """
import sys, torch
import mps_spectro_patch as msp
assert "sit" in msp.__file__ and not msp.__file__.isascii(), ascii(msp.__file__)
x, window = torch.randn(2, 4000), torch.hann_window(400)
for reach in ("attribute", "dispatcher"):
    with msp.accelerated(devices=("simulator",), reach=reach, on_error="raise"):
        torch.stft(x, 400, window=window, return_complex=True)
print(msp.stats()["stft"].fast, len(str(msp.status())) > 100)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere paths are UTF-8 whatever the locale")
@pytest.mark.parametrize("variables", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["C"])
def test_the_path_of_the_installation_may_be_unknown_to_the_locale(variables, tmp_path, device_name):
    if device_name != "simulator":
        pytest.skip("about Python, with the simulator")
    site = tmp_path / "sité"
    for part in PARTS:
        place = site / PARTS[0] if part == PARTS[0] else site / PARTS[0] / part
        shutil.copytree(ROOT / part, place, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, **variables, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment)
    assert done.stdout == b"2 True\n", done.stderr.decode(errors="replace")
