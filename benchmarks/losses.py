"""What a spectral loss and its gradient cost a training step: torch, an unmodified program with the patch, and this
package's own module.

    python benchmarks/losses.py [--device cuda] [--compile] [--write FOLDER]

Each is auraloss's MultiResolutionSTFTLoss as it comes, with the gradient of its input. Device time is by CUDA events
around a captured graph, or where a step cannot be captured, the sum of its kernels; launches are the profiler's; wall
is one step, waited for; peak is what the step allocates. `--compile` also times torch.compile of the program, with and
without the patch. On the simulator the numbers say nothing: there it only shows that everything runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from auraloss.freq import MultiResolutionSTFTLoss

import mps_spectro_patch as msp
from mps_spectro_patch.bench import markdown, timing
from mps_spectro_patch.bench.accelerator import Accelerator, machine

CASES = {"B8 T65536": (8, 65_536), "B16 T8192": (16, 8192), "B4 T441000": (4, 441_000)}
TINY = {"B2 T4000": (2, 4000)}
NOTHING = contextlib.nullcontext


def steps(accelerator: Accelerator, compiled: bool) -> dict[str, tuple[Callable[..., Any], Callable[[], Any]]]:
    """By contestant: its loss, and the scope that it is called in."""
    patched = partial(msp.accelerated, devices=(accelerator.device,))
    found: dict[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
        "torch": (MultiResolutionSTFTLoss(), NOTHING),
        "patched": (MultiResolutionSTFTLoss(), patched),
        "msp": (msp.MultiResolutionSTFTLoss().to(accelerator.place), patched),
    }
    if compiled:
        found["torch.compile"] = torch.compile(MultiResolutionSTFTLoss()), NOTHING
        found["patched, torch.compile"] = torch.compile(MultiResolutionSTFTLoss()), partial(enabled, accelerator.device)
    return found


@contextlib.contextmanager
def enabled(device: str):
    """enable(), as long as it lasts: compiled code does not see accelerated()."""
    msp.enable(devices=(device,))
    try:
        yield
    finally:
        msp.disable()


def step(loss: Callable[..., Any], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss(x, y), x)[0]


def measured(accelerator: Accelerator, size: tuple[int, int], compiled: bool) -> dict[str, dict[str, float | None]]:
    """By contestant: device and wall milliseconds, launches, megabytes at the peak, and how far its gradient is from
    torch's, relatively."""
    effort = timing.TINY if accelerator.device == "simulator" else timing.FULL
    batch, samples = size
    x = torch.randn(batch, 1, samples, device=accelerator.place, requires_grad=True)
    y = torch.randn(batch, 1, samples, device=accelerator.place)
    contestants = steps(accelerator, compiled)
    timed = {name: timing.Timed([partial(step, loss, x, y)], scope) for name, (loss, scope) in contestants.items()}
    timing.in_turns(timed, accelerator, effort)
    found: dict[str, dict[str, float | None]] = {}
    right = None
    for name, one in timed.items():
        call = one.calls[0]
        with one.scope():
            gradient = call()
            right = gradient if right is None else right
            peak = accelerator.peak(call)
            found[name] = {
                "device": device_time(accelerator, call, effort),
                "launches": timing.launches(call) if accelerator.device == "cuda" else None,
                "wall": timing.summary(one.synchronised)["median"],
                "peak": None if peak is None else peak / 1e6,
                "apart": float((gradient - right).norm() / right.norm()),
            }
    return found


def device_time(accelerator: Accelerator, call: Callable[[], Any], effort: timing.Effort) -> float | None:
    if accelerator.device != "cuda":
        return None
    try:
        return timing.summary(timing.captured([call], effort))["median"]
    except RuntimeError:  # it waits for the device
        torch.cuda.synchronize()
        return timing.profiled([call]) * 1e3


def report(results: dict[str, Any]) -> list[str]:
    """The lines of a page."""
    heads = ["case", "by", "device, ms", "launches", "wall, ms", "peak, MB", "gradient apart from torch's"]
    rows = [
        [
            case,
            name,
            *(_number(values[key]) for key in ("device", "launches", "wall", "peak")),
            f"{values['apart']:.1e}",
        ]
        for case, contestants in results["cases"].items()
        for name, values in contestants.items()
    ]
    where = results["machine"]
    title = f"# A loss of three resolutions and its gradient: {where['name']}, torch {where['torch']}, {where['date']}"
    return [title, "", *markdown.table(heads, rows)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "mps", "simulator"), default="cuda")
    parser.add_argument("--compile", action="store_true", help="time torch.compile as well")
    parser.add_argument("--write", metavar="FOLDER", type=Path, help="write losses.json and losses.md there")
    options = parser.parse_args()
    accelerator = Accelerator(options.device)
    cases = TINY if options.device == "simulator" else CASES
    results: dict[str, Any] = {"machine": machine(accelerator), "cases": {}}
    for name, size in cases.items():
        results["cases"][name] = measured(accelerator, size, options.compile)
        accelerator.forget()
    lines = "\n".join(report(results))
    print(lines)
    if options.write:
        (options.write / "losses.json").write_text(json.dumps(results, indent=1))
        (options.write / "losses.md").write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
