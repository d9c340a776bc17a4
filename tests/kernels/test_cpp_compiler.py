"""The simulator's C++ compiler: which one is taken, and what is said where none works."""

from __future__ import annotations

import os

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.errors import MissingCompiler
from mps_spectro_patch.kernels.compilers import simulator

pytestmark = pytest.mark.skipif(
    os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="about the simulator alone"
)
BROKEN = '#!/bin/sh\nif [ "$1" = --version ]; then echo "g++ 99"; exit 0; fi\necho boom >&2; exit 1\n'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Nothing is cached, and nothing of the other tests is forgotten for good."""
    simulator._tried.cache_clear()
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    simulator._tried.cache_clear()


def broken(folder, name="broken") -> str:
    path = folder / name
    path.write_text(BROKEN)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("named", ["broken", "a C compiler", "nothing of that name", "quotes without an end", "false"])
def test_a_compiler_that_does_not_make_cpp_libraries_is_passed_over_with_one_warning(
    named, folder, monkeypatch, caplog
):
    names = {"broken": broken(folder), "a C compiler": "gcc", "quotes without an end": "'g++", "false": "false"}
    monkeypatch.setenv("CXX", names.get(named, "no-such-compiler"))
    for _ in range(2):
        assert simulator._compiler()[0] in ("c++", "g++", "clang++")
    assert len([record for record in caplog.records if "CXX=" in record.message]) == 1


def test_a_compiler_that_works_is_tried_once_for_all_processes(folder, monkeypatch):
    simulator._compiler()
    simulator._tried.cache_clear()
    monkeypatch.setattr(simulator, "_PROBE", "this is no C++")
    assert simulator._compiler()[0] == "c++"


@pytest.fixture
def without(folder, monkeypatch):
    """No compiler but one that fails."""
    broken(folder, "g++")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)


def test_without_one_that_works_it_is_said_what_was_tried_and_what_to_install(without):
    with pytest.raises(MissingCompiler, match=r"c\+\+ is not found; g\+\+ fails \(boom\); clang.*: (install|run)"):
        simulator._compiler()


def test_without_one_calls_fall_back_with_one_warning_that_asks_for_no_report(without, recwarn):
    x, window = torch.randn(2, 4000), torch.hann_window(61)
    with msp.accelerated(devices=("simulator",)):
        for n_fft in (61, 67, 61):
            got = torch.stft(x, n_fft, window=torch.hann_window(n_fft), return_complex=True)
        torch.istft(got, 61, window=window)
        msp.mel_spectrogram(x, sample_rate=16_000, n_fft=122, hop_length=61, n_mels=7)
    (warning,) = (str(entry.message) for entry in recwarn if "mps_spectro_patch" in str(entry.message))
    assert "no kernel can be compiled" in warning and "report" not in warning
