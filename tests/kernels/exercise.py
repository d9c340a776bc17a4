"""Runs every kernel once on small inputs, for tools that watch memory and races (not a test: checks no numbers).

    compute-sanitizer --tool memcheck  python -m tests.kernels.exercise --device cuda
    compute-sanitizer --tool racecheck python -m tests.kernels.exercise --device cuda --part 0/8
    compute-sanitizer --tool initcheck python -m tests.kernels.exercise --device cuda --ways

--ways runs every kernel (adjoints and window gradients, too) by every way through its text, as test_hazards.py does.
Each plan runs with an odd and an even hop, centred and not, and a last threadgroup that is not full.
"""

from __future__ import annotations

import argparse

import torch

from mps_spectro_patch.kernels.launch import transforms
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.kernels.plans.geometry import IstftGeometry, StftGeometry

from .test_hazards import CASES, OPERATIONS, Case


def exercise(n_fft: int, device: torch.device) -> None:
    window = torch.rand(n_fft, device=device) + 0.2
    for hop_length, center, pad_mode in ((n_fft // 4, True, "reflect"), (n_fft // 3 | 1, False, "constant")):
        samples = 5 * n_fft + 3
        signal = torch.randn(2, samples, device=device)
        trim = n_fft // 2 if center else 0
        geometry = StftGeometry(2, samples, n_fft, hop_length, n_fft, trim, pad_mode, False)
        spectrum = transforms.stft(signal, window, geometry)
        frames = spectrum.shape[2]
        length = n_fft + hop_length * (frames - 1) - 2 * trim
        result = transforms.istft(
            spectrum, window, IstftGeometry(2, frames, n_fft, hop_length, n_fft, trim, False, True, False, length)
        )
        assert result is not None and result.shape == (2, length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--part", default="0/1", help="i/n: every n-th size from the i-th on")
    parser.add_argument("--ways", action="store_true", help="every kernel by every way, instead of every size")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    if options.ways:
        chosen = CASES[part::parts]
        for operation, n_fft, how in chosen:
            for odd_hop in (True, False):
                OPERATIONS[operation](Case(n_fft, odd_hop, **how).to(torch.device(options.device)))
        if options.device == "cuda":
            torch.cuda.synchronize()
        print(f"exercised {len(chosen)} ways through the kernels on {options.device}")
        return
    sizes = fft.supported_sizes()[part::parts]
    for n_fft in sizes:
        exercise(n_fft, torch.device(options.device))
    if options.device == "cuda":
        torch.cuda.synchronize()
    print(f"exercised {len(sizes)} sizes, {2 * len(sizes)} kernels, on {options.device}")


if __name__ == "__main__":
    main()
