"""A dataset that a spawned worker can import."""

from __future__ import annotations

from collections.abc import Callable

import torch


class Spectra(torch.utils.data.Dataset):
    """Four spectra of noise."""

    def __init__(self, transform: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(torch.randn(1000))
