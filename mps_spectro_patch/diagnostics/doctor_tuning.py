"""`doctor --tune`: measures on this machine where torch is faster, and keeps that as the rule that routing follows."""

from __future__ import annotations

from typing import Any

import torch

from ..bench import Accelerator, Progress, contestants, sweep, timing
from ..execution import tuning
from ..options import OPS
from .doctor_kernels import Finding

LARGEST = 4_000_000  # bytes: from there on the device is what counts, and the sweep says how fast it is
STEP = 2


def least_work(rows: list[dict[str, Any]]) -> int:
    """Of one op: the least rows * frames * n_fft worth a kernel, 0 where all are.

    For each size of FFT, what is above the calls that torch wins one after the other from the smallest on, by both
    times; of all sizes the least, as the rule is one for all of them.
    """
    worth = []
    for n_fft in {row["n_fft"] for row in rows}:
        lost = 0
        for row in sorted((row for row in rows if row["n_fft"] == n_fft), key=lambda row: row["work"]):
            if len(row["below"]) < 2:
                break
            lost = row["work"] + 1
        worth.append(lost)
    return min(worth, default=0)


def measure_rule(device: str) -> list[Finding]:
    """Measures and keeps the rule. One finding per op, and where it is kept."""
    accelerator, everybody = Accelerator(device), contestants.contestants(device)
    shrink = device == "simulator"
    chosen = list(sweep.cases(shrink, OPS, LARGEST, STEP))
    rows = []
    with tuning.ignored(), torch.no_grad(), Progress(len(chosen)) as progress:
        for case in chosen:
            progress.step(f"{case.op} {case.name}")
            rows.append(sweep.measure(case, everybody, accelerator, timing.TINY if shrink else timing.FULL))
    rule = {op: least_work([row for row in rows if row["op"] == op]) for op in OPS}
    findings = []
    for op, work in rule.items():
        words = "torch is nowhere faster: nothing falls back"
        if work:
            words = f"torch is faster below {work} (rows * frames * n_fft): such calls without a gradient go there"
        findings.append(Finding(f"rule for {op}", None, words, {"least_work": work}))
    return [*findings, keep_rule(device, {op: work for op, work in rule.items() if work})]


def keep_rule(device: str, rule: dict[str, int]) -> Finding:
    """{} forgets the present one."""
    place = torch.zeros(0, dtype=torch.float32, device=Accelerator(device).place).device
    path = tuning.keep(place, rule)
    return Finding("rule", None, f"{'kept in' if rule else 'there is none in'} {path}", {"rule": rule})
