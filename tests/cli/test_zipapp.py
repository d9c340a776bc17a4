"""From a zip archive nothing is accelerated, and that is said."""

from __future__ import annotations

import zipfile

import pytest

from .installed import build_wheel

pytestmark = pytest.mark.thorough  # a wheel is built
CODE = """
import sys
sys.path.insert(0, {archive!r})
import mps_spectro_patch as msp
assert msp.__file__.startswith({archive!r})
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> str:
    """As `python -m zipapp` makes it."""
    folder = tmp_path_factory.mktemp("zip")
    path = folder / "app.pyz"
    with zipfile.ZipFile(build_wheel(folder)) as wheel, zipfile.ZipFile(path, "w") as app:
        for name in wheel.namelist():
            app.writestr(name, wheel.read(name))
    return str(path)


def test_enable_is_refused_in_a_sentence_and_changes_nothing(archive, run_python):
    code = """
    for call in (msp.enable, msp.accelerated(devices=devices).__enter__):
        try:
            call()
        except RuntimeError as error:
            print(error)
    assert (torch.stft, torch.istft) == (original_stft, original_istft) and not msp.is_enabled()
    """
    output = run_python(CODE.format(archive=archive) + code.replace("\n    ", "\n"))
    assert output.count("It cannot run from a zip archive") == 2, output


def test_a_program_of_which_it_is_a_part_runs_on(archive, run_python):
    output = run_python(CODE.format(archive=archive) + "print(torch.stft is original_stft)", MPS_SPECTRO_PATCH="1")
    assert output.startswith("True\n") and output.count("mps_spectro_patch stays off: this package is not") == 1, output


def test_commands_end_with_a_sentence_and_exit_status_2(archive, run_python, device_name):
    code = f"""
from mps_spectro_patch.cli import main
print([main([command, "--device", {device_name!r}]) for command in ("doctor", "demo", "bench")])
"""
    output = run_python(CODE.format(archive=archive) + code)
    assert output.startswith("[2, 2, 2]\n") and output.count("It cannot run from a zip archive") == 3, output
