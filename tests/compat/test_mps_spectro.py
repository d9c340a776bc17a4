"""Programs that import mps_spectro, where it is not installed."""

from __future__ import annotations

import importlib

import pytest
import torch

import mps_spectro_patch as msp

NAMES = (  # all of its 0.3
    "CompatMelSpectrogramTransform", "DynamicMelSpectrogramTransform", "LogMelSpectrogramTransform",
    "MelSpectrogramTransform", "amplitude_to_db", "dynamic_mel_spectrogram", "dynamic_spectrogram", "istft",
    "mel_spectrogram", "melscale_fbanks", "stft",
)  # fmt: skip


def test_every_name_is_ours_while_it_is_on(stand_in):
    msp.enable(devices=())
    import mps_spectro
    from mps_spectro.istft import mps_istft_forward
    from mps_spectro.mel import LogMelSpectrogramTransform
    from mps_spectro.stft import mps_stft_forward

    assert tuple(mps_spectro.__all__) == NAMES
    for name in NAMES:
        assert getattr(mps_spectro, name) is getattr(msp, name)
    assert mps_stft_forward is mps_spectro.stft is msp.stft and mps_istft_forward is mps_spectro.istft
    assert LogMelSpectrogramTransform is mps_spectro.LogMelSpectrogramTransform
    assert msp.status().projects["mps_spectro"] == "applied: import mps_spectro"
    msp.disable()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mps_spectro")


def test_a_program_of_it_runs_on_the_kernels(stand_in, options, torch_device, launches):
    with msp.accelerated(**options):
        from mps_spectro import LogMelSpectrogramTransform, istft, stft

        x = torch.randn(2, 8000, device=torch_device)
        spectrum = stft(x, n_fft=512, hop_length=128)
        again = istft(spectrum, n_fft=512, hop_length=128, center=True, length=8000)
        mel = LogMelSpectrogramTransform(sample_rate=16000, n_fft=512, hop_length=160, n_mels=40).to(torch_device)(x)
    torch.testing.assert_close(again, x, rtol=1e-4, atol=1e-4)
    assert mel.shape == (2, 40, 51) and len(launches) == 3


def test_what_is_installed_is_left_alone(stand_in, tmp_path, monkeypatch):
    (tmp_path / "mps_spectro.py").write_text("stft = 'the real one'")
    monkeypatch.syspath_prepend(str(tmp_path))
    msp.enable(devices=())
    assert importlib.import_module("mps_spectro").stft == "the real one"
    assert "it is installed" in msp.status().projects["mps_spectro"]


def test_by_the_environment(run_python, torch_forker):
    first = "import mps_spectro_patch\nimport torch\n"  # as the .pth file does, which an editable installation lacks
    program = "from mps_spectro import stft\nassert stft.__module__.startswith('mps_spectro_patch')\nprint('found')"
    assert run_python(program, first, MPS_SPECTRO_PATCH="1").strip().endswith("found")
    earlier = program + "\nimport sys; assert 'torch' in sys.modules"
    assert run_python(earlier, "import mps_spectro_patch\n", MPS_SPECTRO_PATCH="1").strip().endswith("found")
    failing = "try:\n    import mps_spectro\nexcept ModuleNotFoundError:\n    print('not there')"
    for off in ({}, dict(MPS_SPECTRO_PATCH="1", MPS_SPECTRO_PATCH_COMPAT="0")):
        assert run_python(failing, first, torch_forker, **off).strip().endswith("not there")
