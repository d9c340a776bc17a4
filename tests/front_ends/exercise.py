"""Runs the kernels of features and losses once on small inputs, for tools that watch memory and races (not a test).

    compute-sanitizer --tool memcheck  python -m tests.front_ends.exercise --device cuda
    compute-sanitizer --tool racecheck python -m tests.front_ends.exercise --device cuda --sizes 400 2048 1218

Each size runs forward and backward, banded and not, with both kinds of second launch, and threadgroups that are not
full.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

import mps_spectro_patch as msp
from mps_spectro_patch.front_ends import compute
from mps_spectro_patch.front_ends.spec import FrontEnd, Scale

# Parts of a simdgroup, odd half, several simdgroups, all three overlaps; odd and smooth, Bluestein odd and packed.
SIZES = (50, 400, 1024, 2048, 4096, 6144, 8192, 15, 813, 1054, 1218, 1367, 1933)


def exercise(n_fft: int, device: torch.device) -> None:
    bins = n_fft // 2 + 1
    bands = min(40, max(1, bins // 4))
    basis = msp.melscale_fbanks(n_freqs=bins, f_min=0, f_max=8000, n_mels=bands, sample_rate=16000, device=device)
    window = torch.rand(n_fft, device=device) + 0.1
    for power, hop_length, pad_mode in ((2.0, n_fft // 4, "reflect"), (1.0, n_fft // 3 | 1, "constant")):
        for bank in (basis, None):
            for scale in (Scale("clamp", 1e-3), Scale("clamp", 1e-10, 4.3, below=20.0), Scale(deviation_eps=1e-5)):
                call = FrontEnd(n_fft, hop_length, n_fft, pad_mode=pad_mode, power=power, scale=scale)
                x = torch.randn(3, 5 * n_fft + 3, device=device)
                with torch.no_grad():
                    compute.compute(x, window, bank, call)
                    if n_fft % 2:  # few bins of an odd frame
                        compute.compute(x, window, None if bank is None else bank[:, : bins // 4], call)
                        compute.compute(x, window, None, replace(call, width=max(1, bins // 4)))
                compute.compute(x.requires_grad_(), window, bank, call).sum().backward()
    if n_fft % 2 == 0:
        for win_length, kind in (
            (n_fft, dict(output="full", w_lin_mag=1.0)), (n_fft, dict(mag_distance="L2")), (n_fft // 2 | 1, {}),
        ):  # fmt: skip
            loss = msp.STFTLoss(n_fft, n_fft // 3 | 1, win_length, **kind).to(device)
            result = loss(torch.randn(3, 5 * n_fft + 3, device=device, requires_grad=True), x.detach())
            (sum(result[:4]) if isinstance(result, tuple) else result).backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--part", default="0/1", help="i/n: every n-th size from the i-th on")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    sizes = options.sizes[part::parts]
    name = {"cpu": "simulator"}.get(options.device, options.device)
    with msp.accelerated(devices=(name,), verify="off", on_error="raise"):
        for kaldi in (dict(), dict(use_energy=True, window_type="hamming"), dict(snip_edges=False, subtract_mean=True)):
            for frame_length in (25.0, 80.0):
                module = msp.KaldiFbankTransform(remove_dc_offset=True, frame_length=frame_length, **kaldi)
                module.to(options.device)(torch.randn(2, 5003, device=options.device))
        for n_fft in sizes:
            exercise(n_fft, torch.device(options.device))
    if options.device == "cuda":
        torch.cuda.synchronize()
    print(f"exercised the feature kernels of {len(sizes)} sizes on {options.device}")


if __name__ == "__main__":
    main()
