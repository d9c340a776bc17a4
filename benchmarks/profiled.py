"""What stands in a kernel's way, by NVIDIA's profiler: launches, bytes, bandwidth, stalls, registers, bank conflicts.

    python benchmarks/profiled.py                  # runs itself under ncu; writes results/<device>-profile.{json,md}

For the cases that benchmarks/goals.py has goals for: one call of this package and one of torch each, behind calls that
warm up. A profiler slows the clock down and empties the caches, so times here are not those of a benchmark.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from goals import GOALS

from mps_spectro_patch.bench import cases
from mps_spectro_patch.bench.contestants import OURS, TORCH, contestants, inputs

METRICS = {
    "milliseconds": ("gpu__time_duration.sum", 1e-6),
    "megabytes": ("dram__bytes.sum", 1e-6),
    "of peak bandwidth, %": ("dram__throughput.avg.pct_of_peak_sustained_elapsed", 1),
    "of peak arithmetic, %": ("sm__throughput.avg.pct_of_peak_sustained_elapsed", 1),
    "occupancy, %": ("sm__warps_active.avg.pct_of_peak_sustained_active", 1),
    "registers": ("launch__registers_per_thread", 1),
    "shared bytes": ("launch__shared_mem_per_block", 1),
    "bank conflicts": ("l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum", 1),
    "stall: memory": ("smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio", 1),
    "stall: barrier": ("smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio", 1),
    "stall: shared memory": ("smsp__average_warps_issue_stalled_short_scoreboard_per_issue_active.ratio", 1),
    "stall: queue": ("smsp__average_warps_issue_stalled_mio_throttle_per_issue_active.ratio", 1),
    "stall: arithmetic": ("smsp__average_warps_issue_stalled_wait_per_issue_active.ratio", 1),
}
LIGHT = ("milliseconds", "megabytes")  # what is asked of torch's kernels as well


def chosen() -> list[cases.Case]:
    """The cases with goals, each once."""
    wanted = {(goal.op, goal.case) for goal in GOALS}
    return [case for case in cases.cases() if any(case.op == op and case.name.startswith(name) for op, name in wanted)]


def work(who: str, some: list[cases.Case]) -> None:
    """What runs under the profiler: between marks, one call per case."""
    one = next(one for one in contestants("cuda") if one.name == who)
    for case in some:
        window = torch.hann_window(case.n_fft, device="cuda")
        given = inputs(case, window)
        function = one.make(case, window)
        with one.scope():
            for _ in range(3):
                function(*given)
            torch.cuda.synchronize()
            torch.cuda.profiler.start()
            torch.cuda._sleep(1)  # the mark: a kernel that nothing else launches
            function(*given)
            torch.cuda.synchronize()
            torch.cuda.profiler.stop()
        del given, function
        torch.cuda.empty_cache()


def profile(metrics: dict[str, tuple[str, float]], *worker: str) -> list[list[dict[str, float | str]]]:
    """Per case its kernels, in order. worker: the script that calls work(), and its arguments."""
    command = [
        "ncu", "--profile-from-start", "off", "--clock-control", "none", "--csv", "--page", "raw",
        "--print-units", "base", "--metrics", ",".join(name for name, _ in metrics.values()), sys.executable, *worker,
    ]  # fmt: skip
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    table = [line for line in printed.stdout.splitlines() if line.startswith('"')]
    if len(table) < 3:
        raise SystemExit(f"ncu gave no table:\n{printed.stdout[-2000:]}{printed.stderr[-2000:]}")
    rows = list(csv.DictReader(io.StringIO("\n".join(table))))[1:]  # behind the names come the units
    per_case: list[list[dict]] = []
    for row in rows:
        if "spin_kernel" in row["Kernel Name"]:
            per_case.append([])
            continue
        kernel: dict[str, float | str] = {"kernel": row["Kernel Name"].split("(")[0][:60]}
        for name, (metric, unit) in metrics.items():
            kernel[name] = _number(row.get(metric)) * unit
        per_case[-1].append(kernel)
    return per_case


def _number(text: str | None) -> float:
    try:
        return float((text or "").replace(",", ""))
    except ValueError:  # "n/a"
        return float("nan")


def report(results: list[dict], head: str) -> str:
    lines = [f"# {head}", "",
             "One call; `floor` is inputs once and outputs once. Stalls are warps per issued instruction.", "",
             "| case | op | floor MB | torch: launches, MB | ours: launches, MB |",
             "|---|---|---|---|---|"]  # fmt: skip
    for result in results:
        counts = [f"{len(result[who])}, {sum(k['megabytes'] for k in result[who]):.1f}" for who in (TORCH, OURS)]
        lines.append(f"| {result['case']} | {result['op']} | {result['floor']:.1f} | " + " | ".join(counts) + " |")
    lines += ["", "| case | op | kernel | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 3) + "|"]
    for result in results:
        for number, kernel in enumerate(result[OURS], 1):
            values = " | ".join(f"{kernel[name]:.4g}" for name in METRICS)
            lines.append(f"| {result['case']} | {result['op']} | {number} | {values} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work(options.work, chosen())
    if not torch.cuda.is_available() or not shutil.which("ncu"):
        raise SystemExit("this needs an NVIDIA GPU and ncu")
    name = torch.cuda.get_device_name()
    few = {name: METRICS[name] for name in LIGHT}
    by = {who: profile(METRICS if who == OURS else few, __file__, "--work", who) for who in (OURS, TORCH)}
    results = [
        {"case": case.name, "op": case.op, "floor": case.bytes_moved / 1e6, OURS: ours, TORCH: torchs}
        for case, ours, torchs in zip(chosen(), by[OURS], by[TORCH], strict=True)
    ]
    head = f"{name}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}: profile by ncu"
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"{name.lower().replace(' ', '-')}-profile"
    text = report(results, head)
    stem.with_suffix(".md").write_text(text)
    data = dict(device=name, torch=torch.__version__, results=results)
    stem.with_suffix(".json").write_text(json.dumps(data, indent=1))
    print(text)


if __name__ == "__main__":
    main()
