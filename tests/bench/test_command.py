"""The command from end to end, on the suite's device over tiny inputs: what it writes, says and refuses."""

from __future__ import annotations

import io
import json
import sys

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.bench import command, contestants, plot
from mps_spectro_patch.bench.cases import Case
from mps_spectro_patch.bench.progress import Progress
from mps_spectro_patch.cli import commands
from mps_spectro_patch.execution import tuning

from .conftest import make_result


@pytest.fixture
def bench(tmp_path, capsys):
    """Always in the simulator: on a GPU the same cases take minutes."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = commands.main(["bench", "--device", "simulator", "--out", str(tmp_path / "out"), *arguments])
        return code, *capsys.readouterr()

    return run


def kept(tmp_path, ending: str):
    (file,) = (tmp_path / "out").glob(f"*.{ending}")
    return file


@pytest.mark.thorough
def test_everything_by_one_command(bench, tmp_path):
    code, output, progress = bench("--peers", "--sweep", "--dispatch-profile")
    assert code == 0 and torch.stft is torch.functional.stft
    data = json.loads(kept(tmp_path, "json").read_text())
    assert data["format"] == 1 and data["machine"]["torch"] == torch.__version__ and data["copy_rate"] > 0
    assert {row["table"] for row in data["rows"]} == {
        "stft", "istft", "gradient", "roundtrip", "separator", "mel", "dynamic"
    }  # fmt: skip
    for row in data["rows"]:
        assert {"torch", "ours"} <= row["by"].keys() and not set(row["failed"]) & {"torch", "ours"}
        assert row["error"] < (1e-6 if "stft" in row["op"] or "round" in row["op"] else 1e-3)
        assert row["by"]["ours"]["synchronised"]["median"] > 0 < row["by"]["torch"]["queued"]["median"]
    assert {row["op"] for row in data["first_calls"]} == {"stft", "istft", "log-mel"}
    assert all(row["by"]["ours"]["first"] > 0 for row in data["first_calls"])
    assert {row["op"] for row in data["sweep"]} == {"stft", "istft", "log-mel"}
    assert any(row["frames"] == 1 for row in data["sweep"])
    profile = {row["op"]: row for row in data["dispatch"]}
    assert profile["stft"]["by"]["ours"]["launches"] == 1 < profile["stft"]["by"]["torch"]["launches"]
    assert 0 < profile["istft"]["routing"] < 100 and profile["istft"]["by"]["ours"]["host"]["median"] > 0
    assert any("seed approach" in row["by"] for row in data["rows"])
    text = kept(tmp_path, "md").read_text()
    assert text in output and "times mean nothing" in text
    for title in ("STFT forward", "Round trip", "audio-separator", "Peers", "First calls", "Dispatch", "Sweep"):
        assert f"## {title}" in text
    assert kept(tmp_path, "png").read_bytes().startswith(b"\x89PNG")
    assert "first calls" in progress and "sweep" in progress


def test_only_the_tables_that_are_asked_for(bench, tmp_path):
    assert bench("--tables", "stft")[0] == 0
    data = json.loads(kept(tmp_path, "json").read_text())
    assert {row["table"] for row in data["rows"]} == {"stft"} and not data["first_calls"] and not data["sweep"]


def test_a_table_that_does_not_exist_is_named(bench):
    code, _, complaint = bench("--tables", "stft,sttf")
    assert code == 2 and "sttf" in complaint and "roundtrip" in complaint


def test_without_matplotlib_there_is_no_picture_and_no_error(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, output, _ = bench("--tables", "stft")
    assert code == 0 and "no picture" in output and not list((tmp_path / "out").glob("*.png"))


def test_a_failure_of_ours_is_the_exit_status(bench, monkeypatch):
    def broken(case, window):
        raise RuntimeError("the kernel broke")

    monkeypatch.setattr(contestants, "_ours", broken)
    code, output, _ = bench("--tables", "stft")
    assert code == 1 and "the kernel broke" in output and "Please report" in output


def test_what_fails_on_its_own_does_not_take_the_rest_with_it(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(command.firsts, "measure", lambda *_: 1 / 0)
    monkeypatch.setattr(command.timing, "copy_rate", lambda *_: 1 / 0)
    monkeypatch.setattr(command, "cases", lambda *_: [Case("stft", "stft", 1, 900, 400, 160)])
    code, output, _ = bench("--sweep")
    data = json.loads(kept(tmp_path, "json").read_text())
    assert code == 1 and len(data["errors"]) == 4 and "the copy rate: ZeroDivisionError" in output
    assert data["rows"][0]["by"]["ours"]["queued"]["median"] > 0 and len(data["sweep"]) == 6


def test_an_interrupted_run_leaves_what_it_has(bench, tmp_path, monkeypatch):
    measure, times = command.measuring.measure, iter(range(2))

    def second_is_interrupted(*arguments):
        if next(times):
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(command.measuring, "measure", second_is_interrupted)
    code, _, errors = bench("--tables", "stft")
    assert code == 130 and errors.endswith("interrupted\n")
    assert len(json.loads(kept(tmp_path, "json").read_text())["rows"]) == 1


def test_results_that_cannot_be_written_are_found_before_the_work(bench, tmp_path, monkeypatch):
    name = command._files({"machine": command.machine(command.Accelerator("simulator"))}, tmp_path / "out")[0]
    name.mkdir(parents=True)
    monkeypatch.setattr(command, "_measure", None)
    code, output, errors = bench("--tables", "stft")
    assert (code, output) == (2, "") and errors == f"mps-spectro-patch: cannot write {name}: Is a directory\n"


def test_a_peer_that_cannot_be_imported_is_named_once(bench, monkeypatch):
    monkeypatch.setattr(command, "why_not", lambda name: f"no {name} here")
    monkeypatch.setattr(contestants, "why_not", lambda name: f"no {name} here")
    code, output, _ = bench("--peers", "--tables", "stft")
    assert code == 0 and output.count("no torchaudio here") == output.count("no nnAudio here") == 1


def test_a_rule_for_small_calls_does_not_keep_ours_from_being_timed(bench, cache, torch_device):
    tuning.keep(torch.zeros(0).device, {"stft": 10**12})
    code, _, _ = bench("--tables", "stft")
    assert code == 0
    with msp.accelerated(devices=("simulator",)):  # and behind it, the rule holds
        assert msp.explain(torch.stft, torch.zeros(2000), 400, return_complex=True).reason == "tuned"


def test_an_enabled_patch_is_taken_off_torchs_own_side(bench):
    msp.enable(devices=("simulator",))
    code, _, _ = bench("--tables", "mel")
    assert code == 0 and not msp.is_enabled()


def test_the_picture_has_a_bar_for_every_case(tmp_path, result):
    assert plot.draw(result, tmp_path / "a.png") and (tmp_path / "a.png").stat().st_size > 5000
    assert not plot.draw({**result, "rows": []}, tmp_path / "b.png")


def test_write_makes_files_that_are_read_again(tmp_path):
    said = []
    assert command.write(make_result("cuda", "NVIDIA H100 80GB HBM3"), tmp_path, said.append) == 0
    assert json.loads((tmp_path / "nvidia-h100-80gb-hbm3.json").read_text()) == make_result(
        "cuda", "NVIDIA H100 80GB HBM3"
    )
    assert "NVIDIA H100" in "\n".join(said)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def steps(file, total: int = 40) -> str:
    with Progress(total, file) as progress:
        for number in range(total):
            progress.step(f"case {number}")
    return file.getvalue()


def test_progress_in_a_log_is_some_lines():
    lines = steps(io.StringIO()).splitlines()
    assert 10 <= len(lines) <= 14 and lines[0].startswith("1/40") and lines[-1].startswith("40/40")


def test_progress_before_a_person_is_one_line_without_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    text = steps(Terminal())
    assert "\n" not in text and "case 0" in text and "case 39" in text and text.endswith("\r\033[K")


def test_progress_is_richs_bar_where_there_is_rich():
    rich = pytest.importorskip("rich.progress")
    assert isinstance(Progress(3, Terminal())._bar, rich.Progress)
    assert "case" in steps(Terminal(), 3)


@pytest.mark.parametrize("has_rich", [True, False])
def test_what_is_said_in_between_goes_to_stdout_and_the_progress_does_not(has_rich, monkeypatch, capsys):
    if has_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    with Progress(2, Terminal()) as progress:
        for what in ("one", "two"):
            progress.step(what)
            progress.say(f"done: {what}")
            print("said by others")
    assert capsys.readouterr().out == "done: one\nsaid by others\ndone: two\nsaid by others\n"
    assert "two" in progress.file.getvalue() and "done" not in progress.file.getvalue()
