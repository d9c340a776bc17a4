"""What is transformed: the recording that comes with the package, else something made up; never noise drawn anew, so
that two runs transform the same samples."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import torch

from ..examples import denoise

RATE = 44_100


@lru_cache(maxsize=1)
def sound() -> torch.Tensor:
    """[2, samples], float32, some seconds of it."""
    file = Path(denoise.__file__).parent / "audio" / "guitar_on_vinyl.wav"
    return denoise.read_wav(str(file))[0].float() if file.exists() else made_up()


def made_up(seconds: float = 5.0) -> torch.Tensor:
    """[2, samples]: a rising tone with its overtones on one side, another on the other, and hiss on both."""
    time = torch.arange(int(seconds * RATE), dtype=torch.float64, device="cpu") / RATE
    hiss = torch.randn(2, len(time), generator=torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
    base = torch.tensor([[110.0], [164.8]], dtype=torch.float64, device="cpu")
    phase = 2 * math.pi * base * (time + 0.15 * time.square())
    tone = sum(torch.sin(number * phase) / number for number in (1, 2, 3, 5, 8))
    return (0.2 * tone + 0.01 * hiss).float()


def signals(rows: int, samples: int, place: str | torch.device, start: int = 0) -> torch.Tensor:
    """[rows, samples]: the two sides in turn, each row from another place in the sound, which begins again at its end.

    start: another number gives other signals.
    """
    both = sound().to(place)
    length = both.shape[1]
    time = torch.arange(samples, device=place)
    shifts = [7919 * (row // 2) + 104_729 * start for row in range(rows)]
    return torch.stack([both[row % 2][(time + shift) % length] for row, shift in enumerate(shifts)])
