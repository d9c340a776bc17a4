"""What the programs of these tests have their processes do, and what each of them tells: plain torch, as a training
script has it. A program imports it as `work`, with this folder on its path."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch

N_FFT, HOP, SAMPLES = 400, 160, 4000


def signals(number: int, batch: int = 2) -> torch.Tensor:
    """[batch, samples], the same in every process."""
    return torch.randn(batch, SAMPLES, generator=torch.Generator().manual_seed(number))


def stft(x: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(N_FFT, dtype=x.dtype)
    return torch.stft(x, N_FFT, HOP, window=window, return_complex=True)


class Denoiser(torch.nn.Module):
    """A gain for each bin, between stft and istft."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.linspace(0.5, 1.5, N_FFT // 2 + 1))
        self.register_buffer("window", torch.hann_window(N_FFT))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(x, N_FFT, HOP, window=self.window, return_complex=True)
        return torch.istft(spectrum * self.gain[:, None], N_FFT, HOP, window=self.window, length=x.shape[-1])


def loss(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return (model(x) - x / 3).square().mean()


class Spectra(torch.utils.data.Dataset):
    """In a DataLoader's worker: a spectrum, and whether its call took the fast path there."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> dict[str, Any]:
        before = fast_calls().get("stft", 0)
        spectrum = stft(signals(number))
        return {"number": number, "spectrum": spectrum, "process": os.getpid(),
                "fast": fast_calls().get("stft", 0) - before}  # fmt: skip


def fast_calls() -> dict[str, int]:
    """By op, in this process. The package is not imported for it: a program's processes have it or not."""
    ours = sys.modules.get("mps_spectro_patch")
    return {} if ours is None else {op: count.fast for op, count in ours.stats().items() if count.fast}


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    wider = torch.complex128 if got.is_complex() else torch.float64
    return float((got.to(wider) - expected.to(wider)).norm() / expected.norm())


def call() -> float:
    """The error of one call of each function, against float64."""
    x = signals(0)
    spectrum = stft(x)
    again = torch.istft(spectrum, N_FFT, HOP, window=torch.hann_window(N_FFT), length=SAMPLES)
    return max(relative(spectrum, stft(x.double())), relative(again, x))


def step(rank: int, ranks: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A step of training with DistributedDataParallel, in a process group that is there: the gradient that it leaves
    here, and those of every process."""
    model = torch.nn.parallel.DistributedDataParallel(Denoiser())
    loss(model, signals(rank)).backward()
    gradient = model.module.gain.grad
    everyone = [torch.empty_like(gradient) for _ in range(ranks)]
    torch.distributed.all_gather(everyone, gradient)
    return gradient, everyone


def load(method: str) -> dict[str, Any]:
    """What a DataLoader's worker gives that was started in this way."""
    loader = torch.utils.data.DataLoader(Spectra(), batch_size=None, num_workers=1, multiprocessing_context=method)
    items = list(loader)
    return {
        "is another": os.getpid() not in {item["process"] for item in items},
        "fast": [item["fast"] for item in items],
        "error": max(relative(item["spectrum"], stft(signals(item["number"]).double())) for item in items),
    }


def told(rank: int, error: float, gradient: torch.Tensor, everyone: list[torch.Tensor], **more: Any) -> dict[str, Any]:
    """What there is to tell of one process: of call(), and of a step on signals(rank). Its gradients are to be the mean
    of those of all, here computed in float64."""
    model = Denoiser().double()
    for number in range(len(everyone)):
        (loss(model, signals(number).double()) / len(everyone)).backward()
    return {
        "rank": rank,
        "process": os.getpid(),
        "error": error,
        "gradient's error": relative(gradient, model.gain.grad),
        "gradients are the same": [torch.equal(gradient, other) for other in everyone],
        "fast": fast_calls(),
        **more,
    }


def join(rank: int, ranks: int, meeting_place: str) -> dict[str, Any]:
    """All of it, in a process that somebody else's program has started; the processes meet at a file."""
    error = call()
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting_place}", rank=rank, world_size=ranks)
    gradients = step(rank, ranks)
    torch.distributed.destroy_process_group()
    return told(rank, error, *gradients)


def tell(what: dict[str, Any]) -> None:
    """A line, in one piece: other processes write to the same place."""
    os.write(1, (json.dumps(what) + "\n").encode())


def check(output: str, ranks: int = 2) -> list[dict[str, Any]]:
    """What all processes have told is as it should be. Returns it."""
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert sorted(one["rank"] for one in found) == list(range(ranks)), output
    assert len({one["process"] for one in found}) == ranks
    for one in found:
        assert one["fast"] == {"stft": 2, "istft": 2}, one  # in call() and in the step
        assert one["error"] <= 3e-7 and one["gradient's error"] <= 1e-6, one
        assert one["gradients are the same"] == [True] * ranks, one
    return found
