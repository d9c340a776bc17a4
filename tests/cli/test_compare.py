"""`run --compare`: what the table says of a program, and how the command ends."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch

from mps_spectro_patch.cli import both_ways, commands, comparing

PROGRAM = """
import sys, torch
x = torch.randn(2, 4000, device=sys.argv[1], dtype=torch.float32)
window = torch.hann_window(400, device=sys.argv[1], dtype=torch.float32)
for _ in range(3):
    torch.stft(x, 400, window=window, return_complex=True)
torch.stft(x.to("meta"), 400, window=window.to("meta"), return_complex=True)
print(sys.argv[1:], torch.stft is torch.functional.stft)
"""


def Run(seconds: float, code: int = 0, output: bytes = b"", errors: bytes = b"") -> comparing.Run:
    return comparing.Run(seconds, code, output, errors)


@pytest.mark.thorough
@pytest.mark.parametrize("default", ["", "torch.set_default_dtype(torch.float16); torch.set_default_device('meta')"])
def test_a_program_is_run_in_turns_and_its_calls_are_made_both_ways(
    default, tmp_path, capsys, device_name, torch_device
):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("sys, torch\n", f"sys, torch\n{default}\n"))
    command = ["run", "--compare", "--turns", "1", "--devices", device_name, str(program), str(torch_device), "--stats"]
    assert commands.main(command) == 0
    text, errors = capsys.readouterr()
    assert re.search(r"whole run, median of 1 +[\d.]+ m?s +[\d.]+ m?s +[\d.]+ times as fast", text)
    assert re.search(r"2 calls of torch.stft +[\d.]+ ms +[\d.]+ ms", text), text  # the first compiles
    assert "torch.stft: 3 fast, 1 fell back (the input is not on a device" in text
    assert float(re.search(r"relative to the result: (\S+)", text)[1]) < 1e-6
    assert "differs from line 1" in text and f"plain: ['{torch_device}', '--stats'] True" in text
    assert [line.partition(": ")[2] for line in errors.splitlines()] == ["every call both ways", "plain", "accelerated"]


@pytest.fixture
def ran(monkeypatch):
    """ran(first, plain, accelerated, calls): the processes end so, without being started. Gives what was started."""

    def put(*runs: comparing.Run, calls: dict | None = None) -> list:
        left, commands = list(runs), []

        def start(command):
            commands.append(command)
            if "--both-ways" in command and calls is not None:
                with open(command[command.index("--both-ways") + 1], "w") as file:
                    json.dump(calls, file)
            return left.pop(0)

        monkeypatch.setattr(comparing, "_run", start)
        return commands

    return put


def test_both_are_started_as_they_are_asked_for(ran, capsys):
    started = ran(Run(1), Run(2), Run(1))
    given = ["--verify", "off", "--devices", "mps", "-m", "json.tool", "--help"]
    assert commands.main(["run", "--compare", "--turns", "1", *given]) == 0
    plain = [sys.executable, "-m", "json.tool", "--help"]
    ours = [sys.executable, "-m", "mps_spectro_patch", "run", "--devices", "mps", "--verify", "off"]
    assert started[1:] == [plain, [*ours, *plain[1:]]]
    assert started[0][: len(ours) + 1] == [*ours, "--both-ways"] and started[0][-3:] == plain[1:]
    text = capsys.readouterr().out
    assert "2.00 s        1.00 s   2.00 times as fast" in text and "printed: nothing" in text
    assert "no calls of torch.stft and torch.istft were seen" in text


def test_without_a_fast_call_there_are_no_times_of_calls(ran, capsys):
    told = {"calls": 2, "plain": 1.0, "accelerated": 2.0, "difference": 0.0, "fast": 0, "fallback": {"dtype": 3}}
    ran(Run(1), Run(1), Run(1), calls={"stft": told})
    assert commands.main(["run", "--compare", "--turns", "1", "-c", "1"]) == 0
    text = capsys.readouterr().out
    assert "0 fast, 3 fell back (the input is not float32" in text and "calls of torch.stft" not in text


def test_warnings_of_this_package_are_shown_once(ran, capsys):
    errors = b"p.py:3: RuntimeWarning: mps_spectro_patch: no kernel can be compiled.\nits own words\n"
    ran(Run(1, 0, b"", errors), Run(1, 0, b"", b"its own words"), Run(1, 0, b"", errors))
    assert commands.main(["run", "--compare", "--turns", "1", "-c", "1"]) == 0
    shown = capsys.readouterr().err
    assert shown.count("no kernel can be compiled") == 1 and "its own words" not in shown


@pytest.mark.parametrize(("plain", "accelerated", "words"), [
    ([b"a\nb\n"] * 2, [b"a\nb\n"] * 2, "printed: the same"),
    ([b"a\nb\n"] * 2, [b"a\nb\n", b"a\nc\n"], "line 2 on\n  plain: b\n  accelerated: c"),
    ([b"a\n"] * 2, [b"a\nc\n"] * 2, "line 2 on\n  plain: \n  accelerated: c"),
    ([b"a", b"b"], [b"c", b"d"], "plain runs too"),
])  # fmt: skip
def test_what_was_printed_is_compared(plain, accelerated, words):
    runs = {"plain": [Run(1, 0, text) for text in plain], "accelerated": [Run(1, 0, text) for text in accelerated]}
    assert words in "\n".join(comparing._outputs(runs))


def test_a_plain_program_that_fails_is_nothing_to_compare(ran, capsys):
    ran(Run(1, 3), Run(1, 3, b"", b"its own words"))
    assert commands.main(["run", "--compare", "-c", "1"]) == 2
    output, errors = capsys.readouterr()
    assert not output and "its own words" in errors and "ends with exit status 3" in errors


def test_an_accelerated_program_that_fails_is_exit_status_1(ran, capsys):
    ran(Run(1), Run(1), Run(1, 5, b"", b"its words"))
    assert commands.main(["run", "--compare", "--turns", "1", "-c", "1"]) == 1
    output, errors = capsys.readouterr()
    assert "ends with exit status 5" in output and "its words" in errors


@pytest.mark.parametrize(("arguments", "words"), [
    ([], "needs a script"), (["-"], "needs a script"), (["nope.py"], "no such file"), (["env"], "no program of this"),
    (["--turns", "0", "-c", "1"], "--turns 1 or more"), (["--stats", "-c", "1"], "without --stats"),
])  # fmt: skip
def test_what_cannot_be_compared_is_a_sentence_and_exit_status_2(arguments, words, capsys):
    assert commands.main(["run", "--compare", *arguments]) == 2
    errors = capsys.readouterr().err
    assert words in errors and errors.count("\n") == 1


def test_ctrl_c_is_exit_status_130(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparing, "_run", interrupt)
    assert commands.main(["run", "--compare", "-c", "1"]) == 130
    assert capsys.readouterr().err.endswith("mps-spectro-patch: interrupted\n")


def test_the_program_gets_the_accelerated_result_and_gradient(on, signal, tmp_path, monkeypatch):
    import mps_spectro_patch as msp

    monkeypatch.setattr(both_ways, "_seen", set())
    both_ways._told.clear(), both_ways._tried.clear(), msp.reset_stats()
    with msp.accelerated(**on):
        expected = signal.stft()
        both = both_ways._both_ways("stft", torch.stft)
        x = signal.x.clone().requires_grad_()
        results = [both(x, 400, 160, 400, signal.window, return_complex=True) for _ in range(3)]
    assert all(torch.equal(result, expected) for result in results)
    results[2].abs().sum().backward()
    assert x.grad is not None
    both_ways.write(str(tmp_path / "calls.json"))
    told = json.loads((tmp_path / "calls.json").read_text())["stft"]
    assert told["calls"] == 2 and told["fast"] == 4 and told["fallback"] == {} and 0 < told["difference"] < 1e-6
    assert told["plain"] > 0 and told["accelerated"] > 0
