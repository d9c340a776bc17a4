"""A program frozen by PyInstaller has what it needs of this package, without a word of the program's author.

torch stays outside, as collecting it takes minutes; .github/workflows/frozen.yml freezes a program with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig

import pytest

import mps_spectro_patch as msp
from mps_spectro_patch import compat
from mps_spectro_patch.patching import projects

from .installed import build_wheel, make_environment

PROGRAM = """
import sys
sys.path += sys.argv[2:]  # torch, and what of Python torch needs
import torch
import mps_spectro_patch as msp

assert sys.frozen and msp.__file__.startswith(sys._MEIPASS), msp.__file__
done = msp.enable(devices=(sys.argv[1],))
x, window = torch.randn(2, 4000), torch.hann_window(400)
torch.istft(torch.stft(x, 400, window=window, return_complex=True), 400, window=window)
msp.LogMelSpectrogramTransform(sample_rate=16_000, n_fft=400, hop_length=160, n_mels=40)(x)
print({name: counts.fast for name, counts in msp.stats().items()})
print(msp.explain(torch.stft, x, 400, window=window, return_complex=True).fast, msp.status().enabled)
print([what for what, why in done.skipped if "left out" in why])
"""


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_a_frozen_program_is_accelerated(tmp_path, device_name):
    if device_name != "simulator" or sys.platform != "linux":
        pytest.skip("the simulator's runs in a frozen program are tried on Linux")
    pytest.importorskip("PyInstaller")
    environment = make_environment(tmp_path / "venv", build_wheel(tmp_path))
    (tmp_path / "program.py").write_text(PROGRAM)
    left_out = (
        *("torch", "torchaudio", "numpy", "matplotlib", "PIL", "tkinter", "IPython", "hypothesis", "pytest", "cuda"),
        *("rich", "soundfile", "setuptools"),
    )
    excludes = [word for name in left_out for word in ("--exclude-module", name)]
    environment.run("-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", *excludes, tmp_path / "program.py",
                    cwd=tmp_path)  # fmt: skip
    outside = [sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED") or ""]
    outside += [path for path in sys.path if path.endswith("site-packages")]
    environment_of_a_user = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([tmp_path / "dist" / "program" / "program", device_name, *outside], capture_output=True,
                          text=True, cwd=tmp_path, env=environment_of_a_user)  # fmt: skip
    expected = "{'stft': 1, 'istft': 1, 'LogMelSpectrogramTransform': 1}\nTrue True\n[]\n"
    assert done.stdout == expected, done.stdout + done.stderr


def test_a_project_whose_module_is_missing_is_left_out_with_a_word(monkeypatch, caplog, device_name):
    """As in programs that are frozen without the hook."""

    def load(name):
        if name in ("demucs", "muq"):
            raise ModuleNotFoundError(f"No module named {name}")
        return loaded(name)

    loaded = compat.load
    monkeypatch.setattr(compat, "load", load)
    monkeypatch.setattr(projects, "_left_out", {})
    for name in ("demucs", "muq"):
        monkeypatch.delitem(projects._declared, name, raising=False)
    done = msp.enable(devices=(device_name,))
    msp.enable(devices=(device_name,))
    assert {"demucs", "muq"} <= {name for name, why in done.skipped if "left out" in why}
    assert "left out" in msp.status().projects["muq"] and "left out" not in msp.status().projects["rmvpe"]
    msp.disable()
    words = [record.message for record in caplog.records if "is left out" in record.message]
    assert words == [
        f"compat.{name} cannot be imported and is left out: No module named {name}" for name in ("demucs", "muq")
    ]
