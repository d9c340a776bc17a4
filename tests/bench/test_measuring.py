"""A row of the results holds everybody who computes the right thing, and nobody else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest
import torch

from mps_spectro_patch.bench import command, dispatch, front_ends, measuring, sweep, timing
from mps_spectro_patch.bench.accelerator import Accelerator
from mps_spectro_patch.bench.cases import GRADIENTS, ROUND_TRIP, Case
from mps_spectro_patch.bench.contestants import OURS, SEED, TORCH, Contestant, contestants, why_not
from mps_spectro_patch.bench.timing import TINY
from mps_spectro_patch.cli import commands
from mps_spectro_patch.kernels.launch import transforms

SPECTRAL = ("stft", "istft", GRADIENTS["stft"], GRADIENTS["istft"], ROUND_TRIP)


def measured(case: Case, everybody: list, accelerator) -> dict:
    return measuring.measure(case, everybody, accelerator, TINY)


@pytest.mark.parametrize("op", SPECTRAL)
def test_both_are_timed_and_ours_is_as_exact_as_it_should_be(op, tiny, everybody, accelerator):
    row = measured(replace(tiny, op=op, normalized=op == "stft"), everybody, accelerator)
    assert not row["failed"] and list(row["by"]) == [TORCH, OURS]
    for times in row["by"].values():
        assert times["synchronised"]["median"] > 0 and times["queued"]["median"] > 0
    assert 1e-9 < row["error"] < 1e-6


@pytest.mark.parametrize("op", ["log-mel", GRADIENTS["log-mel"]])
def test_front_ends_are_timed_like_the_rest(op, everybody, accelerator):
    front_end = front_ends.plain_log_mel(512)
    row = measured(Case("mel", op, 2, 1500, 512, 128, "log-mel", front_end=front_end), everybody, accelerator)
    assert not row["failed"] and list(row["by"]) == [TORCH, OURS] and 0 < row["error"] < 1e-3


@pytest.mark.parametrize("make", [
    front_ends.mamba_amt, front_ends.whisper, front_ends.muq, lambda: front_ends.rmvpe(3), lambda: front_ends.fcpe(-4),
    lambda: front_ends.rmvpe(0),
])  # fmt: skip
def test_torchs_front_ends_compute_what_this_packages_do(make):
    front_end = make()
    x = torch.randn(2, 3 * front_end.n_fft) * 0.1
    theirs, ours = front_end.torchs("cpu")(x), front_end.ours("cpu")(x)
    assert theirs.shape == ours.shape and theirs.shape[1] == front_end.bands
    assert (theirs - ours).abs().mean() < 1e-4 and ours.std() > 0.05


def test_the_seeds_approach_is_timed_beside_them(tiny, device_name, accelerator):
    row = measured(tiny, contestants(device_name, peers=True), accelerator)
    assert SEED in row["by"] and OURS in row["by"] and SEED not in row["failed"]


def test_a_peer_that_computes_something_else_is_named_and_not_timed(tiny, everybody, accelerator):
    def off(case, window):
        function = everybody[0].make(case, window)
        return lambda x: function(x) * 1.01

    row = measured(tiny, [*everybody, Contestant("off", off)], accelerator)
    assert "off" not in row["by"] and "computes something else" in row["failed"]["off"]


def test_a_peer_that_raises_does_not_end_the_run(tiny, everybody, accelerator):
    def broken(case, window):
        raise OSError("no such library")

    row = measured(tiny, [*everybody, Contestant("broken", broken)], accelerator)
    assert row["failed"] == {"broken": "OSError: no such library"} and OURS in row["by"]


def test_a_kernel_that_is_wrong_gives_no_time_of_ours(everybody, accelerator, monkeypatch):
    case = Case("stft", "stft", 1, 1000, 208, 60)  # a plan that no other test has verified
    right = transforms.stft
    monkeypatch.setattr(transforms, "stft", lambda *a, **k: right(*a, **k) * 1.01)
    row = measured(case, everybody, accelerator)
    assert OURS not in row["by"] and row["failed"][OURS] and row["error"] is None and TORCH in row["by"]


def test_a_call_that_falls_back_gives_no_time_of_ours(everybody, accelerator):
    case = Case("stft", "stft", 1, 60_000, 2 * 8209, 4000)  # no kernel for a size like this
    row = measured(case, everybody, accelerator)
    assert OURS not in row["by"] and "n_fft" in row["failed"][OURS]


def test_the_error_is_the_error(tiny, everybody, accelerator):
    theirs, ours = everybody
    off = replace(ours, make=lambda *a: (lambda function: lambda x: function(x) * 1.0001)(ours.make(*a)))
    assert measured(tiny, [theirs, off], accelerator)["error"] == pytest.approx(1e-4, rel=1e-2)


def test_inputs_are_in_turns_larger_than_the_caches(tiny, everybody, accelerator, monkeypatch):
    seen = []
    real = measuring.inputs
    monkeypatch.setattr(
        measuring, "inputs", lambda case, window, start=0: seen.append(start) or real(case, window, start)
    )
    monkeypatch.setitem(measuring.FOOTPRINT, accelerator.device, 5 * tiny.bytes_moved - 1)
    measured(tiny, everybody, accelerator)
    assert seen[:5] == [0, 1, 2, 3, 4]


@dataclass(frozen=True)
class LikeCuda(Accelerator):
    """The suite's device, under the name of one whose own time can be read."""

    device: str = "cuda"
    place: str = "cpu"
    log: list = field(default_factory=list)

    def wait(self) -> None:
        pass

    def forget(self) -> None:
        pass

    def peak(self, call) -> int:
        call()
        return 5

    def name(self) -> str:
        return "NVIDIA Something"


def test_device_time_is_from_graphs_and_else_from_the_profiler(device_name, everybody, monkeypatch, tmp_path):
    if device_name != "simulator":
        pytest.skip("the stand-in lives on the CPU")
    cuda = LikeCuda()
    monkeypatch.setattr(timing, "captured", lambda calls, *_, **__: cuda.log.append("graph") or [1e-3, 2e-3, 3e-3])
    monkeypatch.setattr(timing, "profiled", lambda calls: cuda.log.append("profiler") or 5e-3)
    monkeypatch.setattr(timing, "launches", lambda calls: cuda.log.append("profiler") or 7)
    monkeypatch.setattr(timing, "between_events", lambda run: run() and 1e-3)
    monkeypatch.setitem(measuring.FOOTPRINT, "cuda", 0)
    monkeypatch.setitem(timing.COPY, "cuda", 4096)
    chosen = [Case("stft", "stft", 1, 1203, 400, 160), Case("istft", "istft", 1, 1203, 400, 160)]
    swept, profiled = list(sweep.cases(True))[:1], dispatch.cases(True)
    monkeypatch.setattr(command, "check_device", lambda _: None)
    monkeypatch.setattr(command, "Accelerator", lambda _: cuda)
    monkeypatch.setattr(command, "contestants", lambda *_: everybody)
    monkeypatch.setattr(command, "cases", lambda *_: chosen)
    monkeypatch.setattr(sweep, "cases", lambda _: swept)
    monkeypatch.setattr(dispatch, "cases", lambda _: profiled)
    monkeypatch.setattr(timing, "QUICK", TINY)
    asked = ["--quick", "--tables", "stft", "--sweep", "--dispatch-profile"]
    assert commands.main(["bench", "--device", "cuda", "--out", str(tmp_path), *asked]) == 0
    data = json.loads((tmp_path / "nvidia-something.json").read_text())
    device = {(row["op"], name): by["device"]["median"] for row in data["rows"] for name, by in row["by"].items()}
    assert device == {("stft", TORCH): 2, ("stft", OURS): 2, ("istft", TORCH): 5, ("istft", OURS): 2}
    assert cuda.log.index("profiler") > max(i for i, what in enumerate(cuda.log) if what == "graph")
    assert data["dispatch"][0]["by"][OURS]["launches"] == 7
    text = (tmp_path / "nvidia-something.md").read_text()
    assert "0.0 -> 0.0" in text and "2.0000 ±1.0000 -> 2.0000 ±1.0000 (1.00x)" in text
    assert "5.0000 -> 2.0000 ±1.0000 (2.50x)" in text  # the profiler gives one number, without a spread


def test_a_call_that_no_graph_takes_is_named_and_keeps_its_other_times(tiny, everybody, device_name, monkeypatch):
    if device_name != "simulator":
        pytest.skip("the stand-in lives on the CPU")

    def refuses(*_, **__):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(timing, "captured", refuses)
    monkeypatch.setitem(measuring.FOOTPRINT, "cuda", 0)
    row = measured(tiny, everybody, LikeCuda())
    assert "in a graph: operation not permitted" in row["failed"][OURS]
    assert row["by"][OURS]["device"] is None and row["by"][OURS]["queued"]["median"] > 0


def test_a_peer_that_is_not_there_says_why():
    assert why_not("json") == "" and "ModuleNotFoundError" in why_not("no_such_module_of_anybody")
