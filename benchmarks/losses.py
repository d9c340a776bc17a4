"""What spectral losses and their gradients cost a training step: torch, an unmodified program with the patch, and this
package's own module.

    python benchmarks/losses.py [--device cuda] [--compile] [--write FOLDER]

auraloss's MultiResolutionSTFTLoss as it comes, and the L1 distance of two of HiFi-GAN's mel spectrograms, and of
Matcha-TTS's, which keeps its filterbank, each with the gradient of its input. Device time is by CUDA events around a
captured graph, or where a step cannot be captured, the sum of its kernels; launches are the profiler's; wall is one
step, waited for; peak is what the step allocates. `--compile` also times torch.compile of the program, with and without
the patch. On the simulator the numbers say nothing: there it only shows that everything runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from auraloss.freq import MultiResolutionSTFTLoss

sys.path.insert(0, str(Path(__file__).parents[1]))

import mps_spectro_patch as msp
from benchmarks.front_end_steps import mel_function
from mps_spectro_patch.bench import markdown, timing
from mps_spectro_patch.bench.accelerator import Accelerator, machine
from mps_spectro_patch.kernels.launch import dispatch

SIZES = {"B8 T65536": (8, 65_536), "B16 T8192": (16, 8192), "B4 T441000": (4, 441_000)}
TINY = {"B2 T4000": (2, 4000)}
HIFIGAN = (1024, 80, 22_050, 256, 1024, 0, 8000)  # n_fft, num_mels, sampling_rate, hop_size, win_size, fmin, fmax
NOTHING = contextlib.nullcontext
Step = Callable[[], torch.Tensor]
Contestants = dict[str, tuple[Step, Callable[[], Any]]]  # by name: a step, and the scope that it is made in


def of_several_sizes(accelerator: Accelerator, size: tuple[int, int], compiled: bool) -> Contestants:
    x, y = signals(accelerator, size)
    x, y = x.unsqueeze(1).detach().requires_grad_(), y.unsqueeze(1)
    patched = partial(msp.accelerated, devices=(accelerator.device,))
    own = msp.MultiResolutionSTFTLoss().to(accelerator.place)
    found: Contestants = {
        "torch": (partial(gradient, MultiResolutionSTFTLoss(), x, y), NOTHING),
        "patched": (partial(gradient, MultiResolutionSTFTLoss(), x, y), patched),
        "msp": (partial(gradient, own, x, y), patched),
    }
    if compiled:
        losses = [torch.compile(MultiResolutionSTFTLoss()) for _ in range(2)]
        found["torch.compile"] = partial(gradient, losses[0], x, y), NOTHING
        found["patched, torch.compile"] = partial(gradient, losses[1], x, y), partial(enabled, accelerator.device)
    return found


def of_mels(accelerator: Accelerator, size: tuple[int, int], compiled: bool, name: str = "hifigan") -> Contestants:
    x, y = signals(accelerator, size)
    project = mel_function(name)
    patched = partial(msp.accelerated, devices=(accelerator.device,))

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        mels = [project.mel_spectrogram(signal, *HIFIGAN) for signal in (x, y)]
        return torch.nn.functional.l1_loss(*mels)

    return {"torch": (partial(gradient, loss, x, y), NOTHING), "patched": (partial(gradient, loss, x, y), patched)}


def signals(accelerator: Accelerator, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = (torch.randn(2, *size) * 0.1).to(accelerator.place)  # a generator on the device remembers captured graphs
    return x.requires_grad_(), y


@contextlib.contextmanager
def enabled(device: str):
    """enable(), as long as it lasts: compiled code does not see accelerated()."""
    msp.enable(devices=(device,))
    try:
        yield
    finally:
        msp.disable()


def gradient(loss: Callable[..., torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss(x, y), x)[0]


def measured(accelerator: Accelerator, contestants: Contestants) -> dict[str, dict[str, float | None]]:
    """By contestant: device and wall milliseconds, launches, megabytes at the peak, and how far its result is from
    the first one's, relatively."""
    effort = timing.TINY if accelerator.device == "simulator" else timing.FULL
    timed = {name: timing.Timed([step], scope) for name, (step, scope) in contestants.items()}
    timing.in_turns(timed, accelerator, effort)
    found: dict[str, dict[str, float | None]] = {}
    right = None
    for name, one in timed.items():
        call = one.calls[0]
        with one.scope():
            result = call()
            right = result if right is None else right
            peak = accelerator.peak(call)
            found[name] = {
                "device": device_time(accelerator, call, effort),
                "launches": timing.launches(call) if accelerator.device == "cuda" else None,
                "wall": timing.summary(one.synchronised)["median"],
                "peak": None if peak is None else peak / 1e6,
                "apart": float((result - right).norm() / right.norm()),
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


def described(accelerator: Accelerator) -> dict[str, Any]:
    return {**machine(accelerator), "text": dispatch.text_digest()}


def tell(accelerator: Accelerator, what: str, cases: dict[str, Callable], kept: Path | None) -> None:
    """Measures the cases and prints their page. kept: the page's path without its ending, where it is to be written."""
    results: dict[str, Any] = {"machine": described(accelerator), "cases": {}}
    for name, make in cases.items():
        results["cases"][name] = measured(accelerator, make(accelerator))
        accelerator.forget()
    lines = "\n".join(report(what, results))
    print(lines)
    if kept is not None:
        kept.with_suffix(".json").write_text(json.dumps(results, indent=1))
        kept.with_suffix(".md").write_text(lines + "\n", encoding="utf-8")


def report(what: str, results: dict[str, Any]) -> list[str]:
    """The lines of a page."""
    heads = ["case", "by", "device, ms", "launches", "wall, ms", "peak, MB", "apart from torch's"]
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
    title = f"# {what}: {where['name']}, torch {where['torch']}, {where['date']}"
    text = f"The text of the kernels is {where['text']}. What the columns are: `benchmarks/losses.py`."
    return [title, "", *markdown.table(heads, rows), "", text]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "mps", "simulator"), default="cuda")
    parser.add_argument("--compile", action="store_true", help="time torch.compile as well")
    parser.add_argument("--write", metavar="FOLDER", type=Path, help="write losses.json and losses.md there")
    options = parser.parse_args()
    accelerator = Accelerator(options.device)
    cases = {
        f"{what}, {name}": partial(make, size=size, compiled=options.compile)
        for what, make in (
            ("three resolutions", of_several_sizes),
            ("HiFi-GAN's mels", of_mels),
            ("Matcha-TTS's mels", partial(of_mels, name="matcha")),
        )
        for name, size in (TINY if options.device == "simulator" else SIZES).items()
    }
    tell(accelerator, "Spectral losses and their gradients", cases, options.write and options.write / "losses")


if __name__ == "__main__":
    main()
