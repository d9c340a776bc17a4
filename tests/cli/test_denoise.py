"""The example program by itself, unaccelerated: which files it reads and writes, and that it takes noise away."""

from __future__ import annotations

import os
import subprocess
import sys
import wave

import pytest
import torch

from mps_spectro_patch.examples import denoise


@pytest.fixture
def run(torch_forker):
    """Runs it as a program; returns its exit code and what it complained."""

    def run(*arguments) -> tuple[int, str]:
        command = [denoise.__file__, *map(str, arguments)]
        if torch_forker is None:
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
            return done.returncode, done.stderr
        code = f"import runpy, sys\nsys.argv = {command}\nrunpy.run_path({command[0]!r}, run_name='__main__')"
        exit_code, _, errors = torch_forker.run(code, dict(os.environ), timeout=300)
        return exit_code, errors

    return run


@pytest.mark.parametrize("bits", (8, 16, 24, 32))
def test_samples_of_every_width_come_back_as_written(bits, tmp_path):
    signal = torch.linspace(-1, 1, 999).view(3, 333)
    denoise.write_wav(str(tmp_path / "a.wav"), signal, 8000, bits)
    again, rate, width = denoise.read_wav(str(tmp_path / "a.wav"))
    assert (rate, width) == (8000, bits)
    torch.testing.assert_close(again, signal, rtol=0, atol=1.01 / 2 ** (bits - 1) + 1e-7)


def test_samples_beyond_full_scale_are_clipped_not_wrapped(tmp_path):
    denoise.write_wav(str(tmp_path / "a.wav"), torch.tensor([[2.0, -2.0]]), 8000, 16)
    assert denoise.read_wav(str(tmp_path / "a.wav"))[0].tolist() == [[32767 / 32768, -1.0]]


@pytest.mark.parametrize("channels", (1, 2))
def test_the_output_has_the_shape_rate_and_width_of_the_input(channels, run, tmp_path):
    denoise.write_wav(str(tmp_path / "a.wav"), torch.randn(channels, 5001) / 9, 16000, 24)
    assert run(tmp_path / "a.wav", tmp_path / "b.wav") == (0, "")
    with wave.open(str(tmp_path / "b.wav")) as file:
        assert file.getparams()[:4] == (channels, 3, 16000, 5001)


def test_noise_is_taken_away_and_a_tone_stays(tmp_path):
    time = torch.arange(3 * 16000) / 16000
    tone = 0.5 * torch.sin(2 * torch.pi * 440 * time) * (time > 1)
    clean = denoise.denoise(tone + 0.01 * torch.randn(len(time)), 2048, 512, 24)
    before, after = 0.01, float(clean[2048:14000].square().mean().sqrt())
    assert after < before / 5
    assert float((clean - tone)[18000:-2048].square().mean().sqrt()) < before / 2


def test_silence_stays_silence():
    assert not denoise.denoise(torch.zeros(8000), 2048, 512, 24).any()


def float_wav():
    samples = bytes(16)
    return b"RIFF" + (36 + 16).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little") + bytes(
        [3, 0, 1, 0, 0x40, 0x1F, 0, 0, 0, 0x7D, 0, 0, 4, 0, 32, 0]
    ) + b"data" + len(samples).to_bytes(4, "little") + samples  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a WAV file"),
        (b"OggS" + bytes(100), "not a WAV file"),
        (float_wav(), "not a WAV file of PCM samples (unknown format: 3)"),
    ],
)
def test_other_files_are_refused_in_clear_words(content, words, run, tmp_path):
    (tmp_path / "a.wav").write_bytes(content)
    code, errors = run(tmp_path / "a.wav", tmp_path / "b.wav")
    assert code == 2 and words in errors and "Traceback" not in errors


def test_a_file_without_samples_is_refused(run, tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", None))
    code, errors = run(tmp_path / "a.wav", tmp_path / "b.wav")
    assert code == 2 and "holds no samples" in errors


def test_a_file_shorter_than_a_window_is_refused(run, tmp_path):
    denoise.write_wav(str(tmp_path / "a.wav"), torch.zeros(1, 100), 8000, 16)
    code, errors = run(tmp_path / "a.wav", tmp_path / "b.wav")
    assert code == 2 and "shorter than one window of 2048 samples" in errors


def test_the_program_knows_nothing_of_this_package():
    text = open(denoise.__file__, encoding="utf-8").read()
    assert "spectro_patch" not in text and "msp" not in text
