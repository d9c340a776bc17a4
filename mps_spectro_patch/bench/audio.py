"""What is transformed: real stereo music at 44.1 kHz where the package brings it, else something made up; never noise
drawn anew, so that two runs transform the same samples."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import torch

RATE = 44_100


@lru_cache(maxsize=1)
def sound() -> torch.Tensor:
    """[2, samples], float32, some seconds of it."""
    from ..examples import denoise

    file = Path(denoise.__file__).parent / "audio" / "guitar_on_vinyl.wav"
    return denoise.read_wav(str(file))[0].float() if file.exists() else made_up()


def made_up(seconds: float = 5.0) -> torch.Tensor:
    """[2, samples]: a rising tone with its overtones on one side, another on the other, and hiss on both."""
    time = torch.arange(int(seconds * RATE), dtype=torch.float64) / RATE
    generator = torch.Generator().manual_seed(44_100)
    sides = []
    for base in (110.0, 164.8):
        phase = 2 * math.pi * base * (time + 0.15 * time.square())
        tone = sum(torch.sin(k * phase) / k for k in (1, 2, 3, 5, 8))
        hiss = torch.randn(len(time), generator=generator, dtype=torch.float64)
        sides.append(0.2 * tone * (0.6 + 0.4 * torch.cos(6 * time)) + 0.01 * hiss)
    return torch.stack(sides).float()


def signals(rows: int, samples: int, place: str, start: int = 0) -> torch.Tensor:
    """[rows, samples]: the two sides in turn, each row from another place in the sound, which begins again at its end.

    start: another number gives other signals.
    """
    both = sound().to(place)
    length = both.shape[1]
    time = torch.arange(samples, device=place)
    return torch.stack([
        both[row % 2][(time + 7919 * (row // 2) + 104_729 * start) % length] for row in range(rows)
    ])  # fmt: skip
