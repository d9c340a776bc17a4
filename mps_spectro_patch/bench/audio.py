"""What is transformed: the recording that comes with the package, so that two runs transform the same samples."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from ..examples import denoise


@lru_cache(maxsize=1)
def sound() -> torch.Tensor:
    """[2, samples], float32, some seconds of it at 44.1 kHz."""
    file = Path(denoise.__file__).parent / "audio" / "guitar_on_vinyl.wav"
    return denoise.read_wav(str(file))[0].float()


def signals(rows: int, samples: int, place: str | torch.device, start: int = 0) -> torch.Tensor:
    """[rows, samples]: the two sides in turn, each row from another place in the sound, which begins again at its end.

    start: another number gives other signals.
    """
    both = sound().to(place)
    length = both.shape[1]
    time = torch.arange(samples, device=place)
    shifts = [7919 * (row // 2) + 104_729 * start for row in range(rows)]
    return torch.stack([both[row % 2][(time + shift) % length] for row, shift in enumerate(shifts)])
