"""What front ends cost that projects wrote themselves: torch, and the unmodified program with the patch.

    python benchmarks/front_ends.py [--device cuda] [--write FOLDER]

torchaudio.compliance.kaldi.fbank, and the ISTFT of Vocos with padding="same". Columns as in losses.py, which measures.
The random spectra have imaginary parts at 0 and at half the rate, which cuFFT does not leave out as other libraries and
this package do: there the results of the ISTFT are 3e-2 apart. On the simulator the times say nothing: there it only
shows that everything runs.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from losses import NOTHING, Contestants, tell

import mps_spectro_patch as msp
from mps_spectro_patch.bench.accelerator import Accelerator

STAND_INS = Path(__file__).parents[1] / "tests" / "compat" / "stand_in"  # of a class that projects copy


def kaldi(accelerator: Accelerator, seconds: int, subtract_mean: bool) -> Contestants:
    from torchaudio.compliance.kaldi import fbank

    x = torch.randn(1, seconds * 16_000, device=accelerator.place) * 3000
    options: dict[str, Any] = dict(num_mel_bins=80, dither=0.0, subtract_mean=subtract_mean)
    project = sys.modules[fbank.__module__]
    return both(accelerator, lambda: project.fbank(x, **options))


def same_padding(accelerator: Accelerator, batch: int, frames: int) -> Contestants:
    if str(STAND_INS) not in sys.path:
        sys.path.append(str(STAND_INS))
    module = importlib.import_module("vocos_of_somebody").ISTFT(1024, 256, 1024, padding="same").to(accelerator.place)
    spectrum = torch.randn(batch, 513, frames, dtype=torch.complex64, device=accelerator.place)
    return both(accelerator, partial(module, spectrum))


def both(accelerator: Accelerator, step: Any) -> Contestants:
    return {"torch": (step, NOTHING), "patched": (step, partial(msp.accelerated, devices=(accelerator.device,)))}


CASES = {
    "Kaldi fbank, 10 s": partial(kaldi, seconds=10, subtract_mean=False),
    "Kaldi fbank, 10 s, less the mean": partial(kaldi, seconds=10, subtract_mean=True),
    "Kaldi fbank, 10 min": partial(kaldi, seconds=600, subtract_mean=False),
    "same ISTFT, 16 x 400 frames": partial(same_padding, batch=16, frames=400),
    "same ISTFT, 16 x 5000 frames": partial(same_padding, batch=16, frames=5000),
}
TINY = {
    "Kaldi fbank, 1 s": partial(kaldi, seconds=1, subtract_mean=True),
    "same ISTFT, 2 x 20 frames": partial(same_padding, batch=2, frames=20),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "mps", "simulator"), default="cuda")
    parser.add_argument("--write", metavar="FOLDER", type=Path, help="write front-ends.json and front-ends.md there")
    options = parser.parse_args()
    cases = TINY if options.device == "simulator" else CASES
    what, kept = "Front ends that projects wrote themselves", options.write and options.write / "front-ends"
    tell(Accelerator(options.device), what, cases, kept)


if __name__ == "__main__":
    main()
