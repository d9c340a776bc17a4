"""How near the kernels are to what an NVIDIA GPU can do, and what stands in the way: time, goal, bytes, busiest unit.

    python benchmarks/limits.py --write        # a minute; writes results/<device>-limits.md

For the cases of the project's goals on an H200; of two launches, the larger is counted. Times are those of `bench`,
over inputs past the cache. What a kernel keeps busy, and what its threads wait for, is counted by ncu in a run of its
own. The most that can be asked for is the rate of a large copy on the device, measured in the same run.
"""

from __future__ import annotations

import argparse
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import profiled
import torch

from mps_spectro_patch.bench import cases, front_ends, markdown, timing
from mps_spectro_patch.bench.accelerator import FOOTPRINT, Accelerator
from mps_spectro_patch.bench.contestants import OURS, contestants, inputs
from mps_spectro_patch.kernels import text_digest


class Goal(NamedTuple):
    """Milliseconds on the device for the case of this name."""

    op: str
    case: str
    milliseconds: float


GOALS = [
    Goal("stft", "B16 T1320000 n1024 h256", 0.125),
    Goal("istft", "B16 T1320000 n1024 h256", 0.130),
    Goal("stft", "B2 T2650000 n2048 h512", 0.038),
    Goal("istft", "B2 T2650000 n2048 h512", 0.046),
    Goal("stft", "B2 T2650000 n2048 h441", 0.045),
    Goal("istft", "B2 T2650000 n2048 h441", 0.065),
    Goal("stft", "B2 T2650000 n4096 h1024", 0.040),
    Goal("istft", "B2 T2650000 n4096 h1024", 0.050),
    Goal("stft", "B2 T2650000 n6144 h1024", 0.075),
    Goal("istft", "B2 T2650000 n6144 h1024", 0.080),
    Goal("stft", "B2 T2650000 n7680 h1024", 0.095),
    Goal("istft", "B2 T2650000 n7680 h1024", 0.110),
    Goal("stft", "B2 T2650000 n8192 h1024", 0.080),
    Goal("istft", "B2 T2650000 n8192 h1024", 0.100),
    Goal("stft", "B64 T480000 n400 h160", 0.145),
    Goal("istft", "B64 T480000 n400 h160", 0.190),
    Goal("log-mel", "log-mel B4 T1320000 n1024 h256", 0.045),
    Goal("log-mel", "mamba_amt B8 T491520 n2048 h512", 0.042),
    Goal("log-mel", "Whisper 30 s B32 T480000 n400 h160", 0.110),
]
BUSY = {  # percent of the most that the unit can do
    "memory": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "L2": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "L1 and shared memory": "l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed",
    "issue": "sm__inst_issued.avg.pct_of_peak_sustained_active",
    "arithmetic": "sm__pipe_fma_cycles_active.avg.pct_of_peak_sustained_active",
}
_STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
WAITS = {  # warps that wait so, per instruction issued
    "global memory": "long_scoreboard",
    "shared memory": "short_scoreboard",
    "a barrier": "barrier",
    "the queue to memory": "lg_throttle",
    "the queue to shared memory": "mio_throttle",
    "a result": "wait",
    "arithmetic": "math_pipe_throttle",
    "their turn": "not_selected",
}
COUNTED = {
    "instructions": ("smsp__inst_executed.sum", 1),
    "resident, %": ("sm__warps_active.avg.pct_of_peak_sustained_active", 1),
    "registers": ("launch__registers_per_thread", 1),
    "shared bytes": ("launch__shared_mem_per_block", 1),
    "waves": ("launch__waves_per_multiprocessor", 1),
    "spilled MB": ("l1tex__t_bytes_pipe_lsu_mem_local_op_ld.sum", 1e-6),
    "bank conflicts": ("l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum", 1),
    "DRAM MB": ("dram__bytes.sum", 1e-6),
}
METRICS = {
    **{name: (metric, 1) for name, metric in BUSY.items()},
    **{f"waits for {name}": (_STALL.format(metric), 1) for name, metric in WAITS.items()},
    **COUNTED,
}


def chosen() -> list[tuple[cases.Case, float]]:
    """Each case with its goal."""
    several = cases.front_end_case("mel", 32, 480_000, front_ends.whisper(), label="Whisper 30 s")
    known = {(case.op, case.name): case for case in (*cases.cases(("stft", "istft", "mel")), several)}
    return [(known[goal.op, goal.case], goal.milliseconds) for goal in GOALS]


def device_ms(case: cases.Case) -> float:
    """As bench measures it."""
    one = next(one for one in contestants("cuda") if one.name == OURS)
    window = torch.hann_window(case.n_fft, device="cuda")
    function = one.make(case, window)
    calls = [
        partial(function, *inputs(case, window, start))
        for start in range(max(1, -(-FOOTPRINT["cuda"] // case.bytes_moved)))
    ]
    with one.scope():
        calls[0]()
        return timing.summary(timing.captured(calls, timing.FULL))["median"]


def binding(kernel: dict[str, Any]) -> str:
    """The busiest unit, and what warps wait for most."""
    unit = max(BUSY, key=lambda name: kernel[name])
    wait = max(WAITS, key=lambda name: kernel[f"waits for {name}"])
    return f"{unit} {kernel[unit]:.0f} %; warps wait for {wait}"


def page(rows: list[dict[str, Any]], head: str, copy: float) -> str:
    """rows: case, op, milliseconds, goal, bytes, kernel. copy: GB/s."""
    lines = [f"# {head}", "",
             f"Metal text {text_digest()}. Made by `python benchmarks/limits.py --write`.",
             f"A copy of 1 GiB on the device, bytes read and written: {copy:.0f} GB/s.", ""]  # fmt: skip
    heads = ["case", "op", "ms", "goal", "", "MB", "% of the copy's rate", "what binds"]
    lines += markdown.table(heads, [
        [
            row["case"], row["op"], f"{row['milliseconds']:.3f}", f"{row['goal']:.3f}",
            "" if row["milliseconds"] <= row["goal"] else "missed", f"{row['bytes'] / 1e6:.1f}",
            f"{row['bytes'] / row['milliseconds'] / 1e4 / copy:.0f}", binding(row["kernel"]),
        ]
        for row in rows
    ])  # fmt: skip
    lines += ["", "MB: inputs once and outputs once. By ncu, which empties the caches before a kernel starts: how busy",
              "units are, in percent of the most that they can do; warps that wait, per instruction issued; and what",
              "each kernel takes.", ""]  # fmt: skip
    lines += markdown.table(["case", "op", *BUSY], [
        [row["case"], row["op"], *(f"{row['kernel'][name]:.0f}" for name in BUSY)] for row in rows
    ])  # fmt: skip
    lines += ["", *markdown.table(["case", "op", *(f"waits for {name}" for name in WAITS)], [
        [row["case"], row["op"], *(f"{row['kernel'][f'waits for {name}']:.2f}" for name in WAITS)] for row in rows
    ])]  # fmt: skip
    lines += ["", *markdown.table(["case", "op", *COUNTED], [
        [row["case"], row["op"], *(f"{row['kernel'][name]:.6g}" for name in COUNTED)] for row in rows
    ])]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, nargs="?", const=Path(__file__).parent / "results", metavar="FOLDER")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return profiled.work(OURS, [case for case, _ in chosen()])
    if not torch.cuda.is_available() or not shutil.which("ncu"):
        raise SystemExit("this needs an NVIDIA GPU and ncu")
    name = torch.cuda.get_device_name()
    times = [device_ms(case) for case, _ in chosen()]
    torch.cuda.empty_cache()
    copy = timing.copy_rate(Accelerator("cuda"), timing.FULL)  # last: at first the clocks are low
    rows = [
        dict(
            case=case.name,
            op=case.op,
            milliseconds=milliseconds,
            goal=goal,
            bytes=case.bytes_moved,
            kernel=max(kernels, key=lambda one: one["instructions"]),
        )
        for (case, goal), milliseconds, kernels in zip(
            chosen(), times, profiled.profile(METRICS, __file__, "--work"), strict=True
        )
    ]
    text = page(rows, f"{name}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}: how near the limits", copy)
    if options.write:
        (options.write / f"{name.lower().replace(' ', '-')}-limits.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
