"""The demo command: what it writes and says, and how it fails. How well the denoiser works: test_denoise.py."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mps_spectro_patch.cli import commands, demo
from mps_spectro_patch.errors import CommandError
from mps_spectro_patch.examples import denoise
from mps_spectro_patch.execution import devices


@pytest.fixture(autouse=True)
def few_runs(monkeypatch):
    monkeypatch.setattr(demo, "REPEATS", 1)


@dataclass(frozen=True)
class Finished:
    """A demo that ran to its end: exit code, what it printed, what it complained, the folder it wrote to."""

    code: int
    text: str
    complaint: str
    folder: Path


@pytest.fixture(scope="module")
def finished(second_of_music, device_name, tmp_path_factory) -> Finished:
    folder = tmp_path_factory.mktemp("demo")
    text, complaint = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(complaint):
        code = commands.main(["demo", str(second_of_music), "--out", str(folder), "--device", device_name])
    return Finished(code, text.getvalue(), complaint.getvalue(), folder)


def decibels(text, line):
    """The number of one line of the table of differences."""
    found = re.search(rf"^  {re.escape(line)} +(-?[\d.]+ dB|none at all)$", text, re.MULTILINE)
    assert found, f"no line {line!r} in {text}"
    return -1000.0 if found[1] == "none at all" else float(found[1].split()[0])


def test_the_demo_writes_both_results_and_they_hold_the_same_sound(finished):
    plain, rate, bits = denoise.read_wav(str(finished.folder / "second_plain.wav"))
    fast, fast_rate, _ = denoise.read_wav(str(finished.folder / "second_accelerated.wav"))
    assert finished.code == 0
    assert all(re.match(r"\d/9, \d+ s: [a-z]", line) for line in finished.complaint.splitlines()), finished.complaint
    assert plain.shape == fast.shape == (2, 44100) and rate == fast_rate == 44100 and bits == 32
    assert float((plain - fast).norm() / plain.norm()) < 1e-5


def test_every_call_of_the_script_goes_the_fast_way(finished):
    assert re.search(r"torch\.stft +4 +4 +0\n", finished.text)
    assert re.search(r"torch\.istft +4 +4 +0\n", finished.text)


def test_the_routes_are_told_with_their_plans(finished):
    for n_fft in (2048, 512):
        assert len(re.findall(rf"fast \(.*n_fft={n_fft}\b", finished.text)) == 2


def test_the_differences_are_those_of_float32(finished):
    exact = "the same script in float64 on the CPU"
    assert decibels(finished.text, "accelerated - plain") < -110
    assert decibels(finished.text, f"accelerated - {exact}") < decibels(finished.text, f"plain - {exact}") + 6


def test_the_first_run_is_told_apart_from_the_later_ones(capsys):
    demo._print_times([3.0, 1.0, 2.0], [4.0])
    rows = re.findall(r"^  (as it is|accelerated) +(\S+) s +(\S+) s$", capsys.readouterr().out, re.MULTILINE)
    assert rows == [("as it is", "3.000", "1.000"), ("accelerated", "4.000", "4.000")]


def test_only_a_real_device_has_times(finished, device_name):
    assert ("time of the whole script" in finished.text) == (device_name != "simulator")


def test_how_far_it_is_can_be_seen(finished):
    told = [line.partition(": ")[2] for line in finished.complaint.splitlines()]
    assert list(dict.fromkeys(told)) == ["as it is", "accelerated", "in float64, to compare with"]


def test_the_simulator_says_that_it_is_slow_and_that_no_apple_gpu_was_timed(finished, device_name):
    if device_name != "simulator":
        pytest.skip("about the simulator")
    assert "It is slow" in finished.text and "No Apple GPU has been timed" in finished.text


def test_a_picture_is_drawn_where_matplotlib_is(finished):
    pytest.importorskip("matplotlib")
    assert (finished.folder / "second.png").read_bytes().startswith(b"\x89PNG")


def test_the_demo_leaves_torch_as_it_found_it(run_demo, second_of_music):
    before = torch.stft, torch.istft, torch.get_default_dtype(), list(sys.argv)
    run_demo(second_of_music)
    assert (torch.stft, torch.istft, torch.get_default_dtype(), list(sys.argv)) == before


def test_the_plain_run_is_plain_even_if_the_process_is_enabled(run_demo, second_of_music, device_name, monkeypatch):
    import mps_spectro_patch as msp

    seen = []
    run_script = demo._run_script
    monkeypatch.setattr(demo, "_run_script", lambda *a: (seen.append(msp.is_enabled()), run_script(*a)))
    msp.enable(devices=(device_name,))
    run_demo(second_of_music)
    assert seen == [False, False, True, True, False]  # plain twice, accelerated twice, float64


def test_without_matplotlib_the_demo_tells_how_to_get_it(run_demo, second_of_music, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, text, _ = run_demo(second_of_music)
    assert code == 0 and 'pip install "mps-spectro-patch[demo]"' in text
    assert not (tmp_path / "out" / "second.png").exists()


def test_a_call_that_falls_back_is_listed_with_its_reason(run_demo, second_of_music, monkeypatch):
    monkeypatch.setattr(demo, "N_FFT", 8264)  # half of it is 4 * 1033, for which there is no kernel
    monkeypatch.setattr(demo, "HOP", 2048)
    code, text, _ = run_demo(second_of_music)
    assert code == 0
    assert re.search(r"torch\.stft +4 +2 +2\n", text)
    assert "torch.stft: 2 of 4 went to torch's own: there is no kernel for an n_fft of this size" in text


def test_a_kernel_that_fails_ends_with_code_1_and_is_named(run_demo, second_of_music, falsify):
    falsify("stft", lambda spectrum: spectrum * 1.01)
    with pytest.warns(RuntimeWarning, match="differs from the original"):
        code, text, _ = run_demo(second_of_music)
    assert code == 1 and "please report" in text
    assert re.search(r"not used any more: .*n_fft=2048", text)


def test_a_missing_file_ends_with_code_2_and_its_name(run_demo, tmp_path):
    code, _, complaint = run_demo(tmp_path / "nothing.wav")
    assert code == 2 and "nothing.wav" in complaint and "Traceback" not in complaint


def wav(encoding: int = 1, channels: int = 2, bits: int = 16, samples: int = 9000) -> bytes:
    """A WAV file of silence, with what the header says of it."""
    data = bytes(samples * channels * bits // 8)
    frame = channels * bits // 8
    header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, encoding, channels, 44100,
                         44100 * frame, frame, bits)  # fmt: skip
    return header + struct.pack("<4sI", b"data", len(data)) + data


NOT_TO_BE_READ = {
    "empty.wav": (b"", "is not a WAV file of PCM samples (it is empty)"),
    "no samples.wav": (wav(samples=0), "holds no samples"),
    "cut in the header.wav": (wav()[:30], "(it ends too early); `pip install soundfile`"),
    "cut behind it.wav": (wav()[:44], "holds no samples"),
    "too short.wav": (wav()[:4000], "is shorter than one window"),
    "float.wav": (wav(encoding=3, bits=32), "(unknown format: 3); `pip install soundfile`"),
    "64 bits.wav": (wav(bits=64), "64 bits; 8, 16, 24 and 32 can be read; `pip install soundfile`"),
    "song.mp3": (b"ID3" + bytes(1000), "song.mp3 is not a WAV file of PCM samples"),
    "no rate.wav": (wav()[:24] + bytes(4) + wav()[28:], "says that its sample rate is 0"),
    "no channels.wav": (wav(channels=2)[:22] + bytes(2) + wav()[24:], "is not a WAV file of PCM samples"),
}


@pytest.mark.parametrize("name", NOT_TO_BE_READ)
def test_a_file_that_cannot_be_read_is_one_sentence_and_no_folder(name, run_demo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    content, words = NOT_TO_BE_READ[name]
    (tmp_path / name).write_bytes(content)
    code, _, complaint = run_demo(tmp_path / name)
    assert code == 2 and words in complaint and "Traceback" not in complaint
    assert complaint.splitlines()[-1].startswith("mps-spectro-patch: ") and not (tmp_path / "out").exists()


def test_a_folder_and_a_file_that_may_not_be_read_are_one_sentence(run_demo, tmp_path, monkeypatch):
    code, _, complaint = run_demo(tmp_path)
    assert code == 2 and "Is a directory" in complaint and "Traceback" not in complaint


@pytest.mark.parametrize("fails", [False, True])
def test_soundfile_reads_other_formats_where_it_is_installed(fails, run_demo, tmp_path, monkeypatch):
    def read(file, **options):
        if fails:
            raise RuntimeError("no frames in it")
        assert file == str(tmp_path / "song.mp3") and options == {"dtype": "float32", "always_2d": True}
        return 0.1 * torch.randn(9000, 1).numpy(), 22050

    monkeypatch.setitem(sys.modules, "soundfile", types.SimpleNamespace(read=read))
    (tmp_path / "song.mp3").write_bytes(b"ID3" + bytes(1000))
    code, text, complaint = run_demo(tmp_path / "song.mp3")
    if fails:
        assert code == 2 and "soundfile cannot read it either: no frames in it" in complaint
        return
    assert code == 0 and "song.mp3: 0.4 s, 1 channel, 22050 Hz" in text
    result, rate, bits = denoise.read_wav(str(tmp_path / "out" / "song_accelerated.wav"))
    assert result.shape == (1, 9000) and (rate, bits) == (22050, 32)


def test_results_that_cannot_be_written_are_found_before_the_work(run_demo, second_of_music, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "_run_script", None)
    (tmp_path / "out" / "second_accelerated.wav").mkdir(parents=True)
    code, _, complaint = run_demo(second_of_music)
    assert code == 2 and "cannot write" in complaint and "second_accelerated.wav: Is a directory" in complaint
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_device_that_is_not_there_ends_with_code_2(run_demo, second_of_music):
    absent = "cuda" if not torch.cuda.is_available() else "mps"
    code, _, complaint = run_demo(second_of_music, "--device", absent)
    assert code == 2 and absent in complaint and "--device simulator" in complaint


def test_an_unknown_device_ends_with_code_2(capsys):
    with pytest.raises(SystemExit) as end:
        commands.main(["demo", "--device", "toaster"])
    assert end.value.code == 2 and "toaster" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_ends_with_code_2(run_demo, second_of_music, tmp_path):
    (tmp_path / "out").write_text("a file, where the folder should go")
    code, _, complaint = run_demo(second_of_music)
    assert code == 2 and "cannot make the folder" in complaint


def test_without_a_cpp_compiler_the_simulator_ends_with_code_2(second_of_music, tmp_path):
    environment = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    words = ["demo", str(second_of_music), "--out", str(tmp_path / "out"), "--device", "simulator"]
    result = subprocess.run(
        [sys.executable, "-m", "mps_spectro_patch", *words],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and "C++ compiler" in result.stderr and "Traceback" not in result.stderr


def test_no_command_prints_the_usage_and_ends_with_code_2(capsys):
    with pytest.raises(SystemExit) as end:
        commands.main([])
    assert end.value.code == 2 and "COMMAND" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_gpu_that_is_found_and_does_not_work_is_told_and_the_simulator_is_used(monkeypatch, tmp_path, capsys):
    def no_memory(source, device):
        if device == "mps":
            raise RuntimeError("MPS backend out of memory")
        return compile_shader(source, device)

    seen = []
    compile_shader = devices.compile_shader
    monkeypatch.setattr(devices, "compile_shader", no_memory)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(demo, "_run_on", lambda wav, files, device: seen.append(device) or 0)
    assert demo.run_demo(None, tmp_path, None) == 0 and seen == ["simulator"]
    told = "mps does not work here (RuntimeError: MPS backend out of memory): the simulator is used"
    assert told in capsys.readouterr().out
    with pytest.raises(CommandError, match="kernels cannot run on mps: MPS backend out of memory"):
        demo.run_demo(None, tmp_path, "mps")


def test_the_best_device_is_the_apple_gpu_then_the_nvidia_gpu_then_the_simulator(monkeypatch):
    found = []
    for mps, cuda in ((True, True), (False, True), (False, False)):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=mps: there)
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=cuda: there)
        found.append(demo.best_device())
    assert found == ["mps", "cuda", "simulator"]
