"""doctor: healthy where all is well, and for every kind of trouble exactly what is wrong, with exit status 1."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import types

import pytest
import torch

from mps_spectro_patch import compat, kernels
from mps_spectro_patch.bench import sweep
from mps_spectro_patch.bench.contestants import OURS, TORCH
from mps_spectro_patch.bench.timing import Timed
from mps_spectro_patch.cli import commands
from mps_spectro_patch.diagnostics import doctor, doctor_front_ends, doctor_kernels, doctor_losses
from mps_spectro_patch.errors import MissingCompiler
from mps_spectro_patch.execution import call_cache, devices, launches, quarantine
from mps_spectro_patch.kernels.launch import feature_passes, features, stft_loss, transforms

from .. import like_mps
from ..outputs import FULL
from ..tiers import some


@pytest.fixture
def run(device_name, capsys):
    def run(*arguments: str) -> tuple[int, str]:
        code = commands.main(["doctor", "--device", device_name, *arguments])
        return code, capsys.readouterr().out

    return run


@pytest.fixture(autouse=True)
def _few_sizes_where_a_gpu_is_played(monkeypatch):
    if like_mps.wanted():
        for module in (doctor_kernels, doctor_front_ends, doctor_losses):
            monkeypatch.setattr(module, "SIZES", dict.fromkeys((True, False), module.SIZES[False]))


@pytest.fixture
def only(monkeypatch):
    """Leaves out the checks that a test is not about: they take seconds."""

    def only(*names: str) -> None:
        for name in {"compiles", "is_right", "is_fast"} - set(names):
            monkeypatch.setattr(doctor_kernels, name, lambda *_: iter(()))
        if "are_right" not in names:
            for module in (doctor_front_ends, doctor_losses):
                monkeypatch.setattr(module, "are_right", lambda *_: iter(()))

    return only


@like_mps.cannot("torch is faster there")
@pytest.mark.thorough
def test_a_healthy_machine_is_healthy_and_told_about(run):
    code, output = run()
    assert code == 0 and output.splitlines()[-1].startswith("healthy")
    for words in ("environment: ", f"torch {torch.__version__}", "kernels compile", "against float64", "times as fast"):
        assert words in output
    assert "BAD" not in output and torch.stft is torch.functional.stft


@like_mps.cannot("torch is faster there")
def test_json_is_all_of_it_and_nothing_else(run, only):
    only("is_fast")
    code, output = run("--json")
    data = json.loads(output)
    assert code == 0 and data["healthy"] is True and data["verdict"].startswith("healthy")
    found = {finding["check"]: finding for finding in data["findings"]}
    assert found["environment"]["data"]["versions"]["torch"] and found["speed of stft"]["data"]["ratio"] > 0
    assert "torch.stft: not patched" in data["status"]


@pytest.mark.thorough
def test_how_far_it_is_can_be_seen(only, device_name, capsys):
    only()
    assert commands.main(["doctor", "--device", device_name, "--json"]) == 0
    output, errors = capsys.readouterr()
    told = [line.partition(": ")[2] for line in errors.splitlines()]
    assert json.loads(output)["healthy"] and told == list(doctor.CHECKS)


def test_a_kernel_that_does_not_compile_is_named(run, only, monkeypatch):
    only("compiles")
    real, errors, count = kernels.compile_shader, [], itertools.count()

    def all_but_the_first_are_broken(source, device):
        if next(count) == 0:
            return real(source, device)
        if not errors:
            with pytest.raises(SyntaxError) as caught:
                real("no such text;\n" + source, device)
            errors.append(caught.value)
        raise errors[0]

    monkeypatch.setattr(kernels, "compile_shader", all_but_the_first_are_broken)
    code, output = run()
    assert code == 1 and re.search(r"\b1 of \d+ kernels compile", output) and "real Kind(name='msp_stft'" in output
    assert "features n_fft=400 bands=40 gradient: SyntaxError" in output and "msp_decibels: SyntaxError" in output
    last = output.splitlines()[-1]
    assert last.startswith("NOT healthy: kernels: 1 of") and "mps-spectro-patch doctor --json" in last


def test_a_device_with_too_few_threads_is_named(run, only, monkeypatch):
    only("compiles")

    class Library:
        def __getattr__(self, name):
            return type("Kernel", (), {"max_threads_per_threadgroup": 64})

    monkeypatch.setattr(kernels, "compile_shader", lambda source, device: Library())
    code, output = run()
    assert code == 1 and re.search(r"\b0 of \d+ kernels", output) and "the device allows 64" in output


@pytest.mark.parametrize(("broken", "words"), [("stft", "forward differs"), ("stft_adjoint", "backward differs")])
def test_wrong_numbers_are_named_by_size_and_mode(broken, words, run, only, monkeypatch):
    only("is_right")
    right = getattr(transforms, broken)

    def wrong(signal, window, geometry, *more):
        result = right(signal, window, geometry, *more)
        return result * 1.0001 if geometry.normalized else result

    monkeypatch.setattr(transforms, broken, wrong)
    code, output = run()
    assert code == 1 and f"n_fft=400, normalized: {words}" in output and "n_fft=400, plain" not in output


def test_an_error_in_a_kernel_is_named(run, only, monkeypatch):
    only("is_right")

    right = transforms.istft

    def breaks(spectrum, window, geometry, *more):
        if geometry.n_fft == 400:
            raise RuntimeError("command buffer exited with error status")
        return right(spectrum, window, geometry, *more)

    monkeypatch.setattr(transforms, "istft", breaks)
    code, output = run()
    assert code == 1 and "n_fft=400, plain: RuntimeError: command buffer exited" in output


@pytest.mark.parametrize(("broken", "words"), [
    ("stft_loss", "forward differs by 1.0e-04"),
    ("stft_loss_gradient", "backward differs by 1.0e-04"),
])  # fmt: skip
def test_wrong_numbers_of_a_loss_are_found(broken, words, run, only, monkeypatch):
    only("are_right")
    right = getattr(stft_loss, broken)
    louder = lambda found: tuple(map(louder, found)) if isinstance(found, tuple) else found * 1.0001  # noqa: E731
    monkeypatch.setattr(stft_loss, broken, lambda *args: louder(right(*args)))
    code, output = run()
    assert code == 1 and words in output and re.search(r"BAD  losses: \d+ calls against float64", output)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("ready_features", "n_fft=400, log-mel: forward differs"),
        ("features_gradient", "n_fft=211, spectrogram: backward differs"),
        ("ready_features", "n_fft=400, log-mel with a floor: forward differs"),
    ],
)
def test_wrong_numbers_of_a_front_end_are_named_by_size_and_scale(broken, words, run, only, monkeypatch):
    only("are_right")
    right = getattr(features, broken)
    if broken == "ready_features":  # which gives the launch
        wrong = lambda *args: lambda *tensors: right(*args)(*tensors) * 1.0001  # noqa: E731
    else:
        wrong = lambda *args: right(*args) * 1.0001  # noqa: E731
    monkeypatch.setattr(features, broken, wrong)
    code, output = run()
    assert code == 1 and words in output and re.search(r"BAD  front ends: \d+ calls against float64", output)


@pytest.mark.parametrize(
    ("broken", "words"), [("standardise", "n_fft=211, standardised: "), ("decibels", "decibels, floor 20.0: ")]
)
def test_what_comes_behind_the_features_is_looked_at_too(broken, words, run, only, monkeypatch):
    only("are_right")

    def breaks(*_):
        raise RuntimeError("command buffer exited with error status")

    monkeypatch.setattr(feature_passes, broken, breaks)
    code, output = run()
    assert code == 1 and f"{words}RuntimeError: command buffer exited" in output


def test_front_ends_that_are_turned_off_are_not_taken_for_right(run, only, torch_device):
    only("are_right")
    device = torch.zeros(0, device=torch_device).device
    quarantine.add_size(400, device, False, "the self-test found it wrong")
    code, output = run()
    assert code == 1 and "n_fft=400, log-mel: RuntimeError: the kernels did not take this call" in output
    assert f"front ends n_fft=400 on {device}: the self-test found it wrong" in output
    assert "n_fft=211, log-mel" not in output


@pytest.mark.parametrize(
    ("device", "milliseconds", "ok"), [("cuda", 3.0, False), ("mps", 0.5, True), ("simulator", 3.0, None)]
)
def test_an_accelerator_that_is_slower_than_torch_is_not_healthy(device, milliseconds, ok, monkeypatch):
    times = {TORCH: Timed([], None, [2e-3, 1e-3]), OURS: Timed([], None, [milliseconds / 1e3, 9e-3])}
    monkeypatch.setattr(sweep, "timed", lambda *_: times)
    found = list(doctor_kernels.is_fast(device))
    assert [finding.ok for finding in found] == [ok] * 2
    assert found[0].data["ratio"] == pytest.approx(1 / milliseconds)


def missing_device() -> str:
    return next(name for name in ("mps", "cuda") if doctor.best_device() != name)


@pytest.mark.parametrize("tune", [[], ["--tune"]])
def test_a_device_that_is_not_there_is_a_sentence_and_exit_status_2(tune, capsys):
    assert commands.main(["doctor", "--device", missing_device(), *tune]) == 2
    output, errors = capsys.readouterr()
    assert not output and f"({missing_device()}) here" in errors and "bug report" not in errors


@pytest.mark.parametrize("command", [["doctor"], ["doctor", "--tune"], ["demo"], ["bench", "--quick"], ["status"]])
def test_a_wrong_value_in_the_environment_is_a_sentence_and_exit_status_2(command, capsys, monkeypatch):
    monkeypatch.setenv("MPS_SPECTRO_PATCH_DEVICES", "gpu")
    assert commands.main(command) == 2
    output, errors = capsys.readouterr()
    assert not output and "MPS_SPECTRO_PATCH_DEVICES: devices: 'gpu' is not one of" in errors


def test_what_has_to_be_installed_first_is_a_sentence_and_exit_status_2(device_name, capsys, monkeypatch):
    def missing(*_: object):
        raise MissingCompiler("install a compiler")

    monkeypatch.setattr(devices, "compile_shader", missing)
    assert commands.main(["doctor", "--device", device_name]) == 2
    output, errors = capsys.readouterr()
    assert not output and errors.endswith("install a compiler\n") and errors.count("\n") == 1


def test_one_error_of_all_kernels_is_told_once(run, monkeypatch):
    def fail(*_: object):
        raise RuntimeError("no pipeline")

    monkeypatch.setattr(devices, "compile_shader", fail)
    code, output = run()
    assert code == 1 and output.splitlines()[-1].startswith("NOT healthy: device: ")


def test_one_error_of_all_is_told_once_and_without_figures():
    def fail():
        raise RuntimeError("no pipeline")

    cases = [(f"n_fft={n_fft}", {"forward": 1e-6}, fail) for n_fft in (400, 512)]
    finding = doctor_kernels.compared("results", "calls", cases)
    assert finding.data["failed"] == ["all of them: RuntimeError: no pipeline"] and not finding.ok
    assert "none came to an end" in finding.words and "e+00" not in finding.words


def test_calls_that_fall_back_have_no_speed(device_name, monkeypatch):
    def fail(*_: object):
        raise RuntimeError("no pipeline")

    monkeypatch.setattr(launches, "prepare", fail)
    call_cache.clear()
    with pytest.raises(RuntimeError, match="no pipeline"):
        list(doctor_kernels.is_fast(device_name))


def test_a_device_that_cannot_compile_ends_it(run, only, monkeypatch):
    only()
    monkeypatch.setattr(doctor, "has_device", lambda device: iter([doctor.Finding("device", False, "no compiler")]))
    code, output = run()
    assert code == 1 and output.splitlines()[-1].startswith("NOT healthy: device: no compiler")


@pytest.mark.thorough
@pytest.mark.parametrize("broken, words", [
    ("zeros", "RuntimeError: MPS backend out of memory"), ("sum", "RuntimeError: 64 ones are 63.0 together"),
])  # fmt: skip
def test_a_gpu_that_is_found_and_does_not_work_ends_it(broken, words, device_name, monkeypatch):
    def no_memory(*_: object, **__: object):
        raise RuntimeError("MPS backend out of memory")

    if broken == "zeros":
        monkeypatch.setattr(torch, "zeros", no_memory)
    else:
        monkeypatch.setattr(torch.Tensor, "sum", lambda _: torch.tensor(63.0))
    (finding,) = doctor.has_device(device_name)
    assert finding.ok is False and finding.words == f"{device_name} runs no kernel: {words}"


def test_ctrl_c_is_one_word_and_exit_status_130(monkeypatch, device_name, capsys):
    def interrupt(*_: object):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupt)
    assert commands.main(["doctor", "--device", device_name]) == 130
    assert capsys.readouterr().err == "mps-spectro-patch: interrupted\n"


CLOSED = [["bench", "--predict"], ["--help"], ["status"], ["autoload", "status"], ["--version"], ["run", "--help"]]


@pytest.mark.parametrize("command", some(CLOSED, CLOSED[:2]))
def test_a_reader_that_stops_reading_is_no_error(command):
    # Without a buffer, it is argparse that writes, and of late it says nothing of closed outputs.
    process = subprocess.Popen([sys.executable, "-m", "mps_spectro_patch", *command],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, "PYTHONUNBUFFERED": ""})  # fmt: skip
    process.stdout.close()
    errors = process.stderr.read()
    # torch may speak of CUDA on stderr.
    assert process.wait() == 141 and b"rror" not in errors and b"mps-spectro-patch" not in errors, errors


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("command", "code"),
    [(["status"], 0), (["autoload", "status"], 0), (["bench", "--predict"], 0), (["run", "--compare", "-c", "1"], 0),
     (["demo", "absent.wav"], 2), (["bench", "--compare", "a", "b"], 2)],
)  # fmt: skip
@pytest.mark.parametrize("redirected", [">&- 2>&-", FULL])
def test_commands_do_their_work_where_nobody_takes_their_output(command, code, redirected):
    shell = f'"$0" -m mps_spectro_patch "$@" {redirected}'
    done = subprocess.run(["sh", "-c", shell, sys.executable, *command], capture_output=True, text=True)
    if redirected == ">/dev/full" and code == 0:
        assert done.returncode == 2 and "no space left on the device" in done.stderr.splitlines()[-1]
        return
    assert done.returncode == code and "Traceback" not in done.stdout + done.stderr
    assert not done.stderr if "2>&-" in redirected else (code == 0 or done.stderr)


def test_a_plan_that_failed_in_this_process_is_told(run, only):
    only()
    quarantine.plans["stft", 400] = quarantine.Quarantined("stft", "some plan", "mps:0", "it was wrong")
    code, output = run()
    assert code == 1 and "some plan on mps:0: it was wrong" in output


def test_a_check_that_fails_itself_is_a_finding(run, only, monkeypatch):
    only()
    monkeypatch.setattr(doctor, "environment", lambda: 1 / 0)
    code, output = run()
    assert code == 1 and "the check itself failed: ZeroDivisionError" in output and "patch: on: stft" in output


def test_somebody_else_at_torchs_functions_is_told_and_is_no_illness(run, only):
    only()
    own = torch.stft

    def stft_of_a_neighbour(*args, **kwargs):
        return own(*args, **kwargs)

    torch.stft = stft_of_a_neighbour
    try:
        code, output = run()
        assert torch.stft is stft_of_a_neighbour
    finally:
        torch.stft = own
    assert code == 0 and "stft_of_a_neighbour, not torch's own" in output


def test_the_projects_of_compat_are_among_them(run, only, monkeypatch):
    only()
    monkeypatch.setattr(doctor, "_version", lambda name: {"torchfcpe": "0.0.4", "muq": "7.0"}.get(name))
    printed = run()[1]
    assert "torchfcpe: 0.0.4, tested" in printed and "muq: 7.0, not tested" in printed


@pytest.mark.parametrize(("tested", "words"), [(("0.1", "99"), ", tested"), (("98", "99"), "not tested (from 98")])
def test_installed_projects_are_compared_with_the_versions_that_were_tested(tested, words, run, only, monkeypatch):
    only()
    for name, versions in (("pytest", tested), ("not-installed", ("1", "2"))):
        project = compat.Project(name, (), distribution=name, tested=versions)
        monkeypatch.setitem(sys.modules, f"{compat.__name__}.{name}", types.SimpleNamespace(PROJECT=project))
    monkeypatch.setattr(compat, "NAMES", (*compat.NAMES, "pytest", "not-installed"))
    code, output = run()
    assert code == 0 and f"pytest: {pytest.__version__}" in output and words in output
    assert "not-installed" not in output


def test_the_enabled_patch_of_the_environment_does_not_confuse_it(run, only, on_by_environment):
    only()
    code, output = run()
    assert code == 0 and "patch: on: stft, istft; off again: stft, istft" in output


@pytest.fixture
def on_by_environment():
    import mps_spectro_patch as msp

    msp.enable()
    yield
    msp.disable()
