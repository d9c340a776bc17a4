"""The modes of torch.stft and torch.istft, one small call each, for everything that is tested in all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from .compare import double, unpatched


@dataclass(frozen=True)
class Mode:
    """One way to call: what varies is tensors only, so that it can be differentiated and transformed."""

    op: str
    shape: tuple[int, ...]
    options: dict = field(hash=False)
    win_length: int = 16
    complex_input: bool = False
    complex_window: bool = False
    rectangular: bool = False

    def __call__(self, input: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        return getattr(torch, self.op)(input, window=window, **self.options)

    def exact(self, input: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        """The unpatched function."""
        with unpatched():
            return self(input, window)

    def inputs(self, device: torch.device, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """(input, window), single precision."""
        generator = torch.Generator().manual_seed(seed)
        input_type = torch.complex64 if self.complex_input or self.op == "istft" else torch.float32
        input = torch.randn(self.shape, dtype=input_type, generator=generator)
        if self.rectangular:
            window = torch.ones(self.win_length)
        else:
            window = torch.rand(self.win_length, generator=generator) * 0.8 + 0.4
        if self.complex_window:
            window = torch.polar(window, torch.rand(self.win_length, generator=generator) * 0.4)
        return input.to(device), window.to(device)


def _stft(shape: tuple[int, ...], win_length: int = 16, /, n_fft: int = 16, hop: int = 4, **rest) -> Mode:
    ours = ("complex_input", "complex_window", "rectangular")
    options = {name: value for name, value in rest.items() if name not in ours}
    options = dict(n_fft=n_fft, hop_length=hop, win_length=win_length, return_complex=True) | options
    return Mode("stft", shape, options, win_length, **{name: rest[name] for name in ours if name in rest})


def _istft(shape: tuple[int, ...], win_length: int = 16, /, n_fft: int = 16, hop: int = 4, **rest) -> Mode:
    ours = ("complex_window", "rectangular")
    options = {name: value for name, value in rest.items() if name not in ours}
    options = dict(n_fft=n_fft, hop_length=hop, win_length=win_length) | options
    return Mode("istft", shape, options, win_length, **{name: rest[name] for name in ours if name in rest})


STFT_MODES = {
    "reflect": _stft((2, 27)),
    "one dimension": _stft((30,)),
    "length a multiple of hop": _stft((1, 32)),
    "rectangular": _stft((1, 32), rectangular=True),
    "padding as long as it can be": _stft((1, 9)),
    "constant": _stft((2, 21), pad_mode="constant"),
    "replicate": _stft((2, 21), pad_mode="replicate"),
    "replicate, one sample": _stft((2, 1), pad_mode="replicate"),
    "circular": _stft((2, 21), pad_mode="circular"),
    "circular, all of it": _stft((1, 8), pad_mode="circular"),
    "not centred": _stft((2, 37), center=False),
    "one frame": _stft((2, 16), center=False),
    "normalized": _stft((1, 27), normalized=True),
    "short window": _stft((1, 27), 9),
    "short window, aligned": _stft((1, 37), 10, center=False, align_to_window=True),
    "two-sided": _stft((1, 25), onesided=False),
    "real output": _stft((1, 25), return_complex=False),
    "odd hop": _stft((2, 27), hop=5),
    "hop longer than n_fft": _stft((1, 60), hop=21),
    "odd n_fft": _stft((1, 26), 15, n_fft=15),
    "prime n_fft": _stft((1, 26), 13, n_fft=13, hop=3),
    "n_fft 22": _stft((1, 26), 22, n_fft=22, hop=5),
    "n_fft 2": _stft((1, 6), 2, n_fft=2, hop=1),
    "n_fft 1": _stft((1, 6), 1, n_fft=1, hop=1),
    "complex signal": _stft((1, 21), complex_input=True),
    "complex signal, odd n_fft": _stft((1, 21), 15, n_fft=15, complex_input=True, normalized=True),
    "complex window": _stft((1, 21), complex_window=True),
    "complex both": _stft((1, 21), complex_input=True, complex_window=True, pad_mode="constant"),
}
ISTFT_MODES = {
    "plain": _istft((2, 9, 5)),
    "no batch dimension": _istft((9, 5)),
    "rectangular": _istft((1, 9, 5), rectangular=True),
    "normalized": _istft((1, 9, 5), normalized=True),
    "length shorter": _istft((1, 9, 5), length=11),
    "length longer": _istft((1, 9, 4), length=30),
    "length to the end": _istft((1, 9, 4), length=20),
    "not centred": _istft((1, 9, 4), center=False),
    "not centred, length": _istft((1, 9, 4), center=False, length=19),
    "one frame": _istft((2, 9, 1), center=False),
    "one frame, centred": _istft((2, 9, 1), length=7),
    "short window": _istft((1, 9, 5), 9),
    "odd hop": _istft((1, 9, 5), hop=5),
    "hop as long as the window": _istft((1, 9, 3), hop=16),
    "odd n_fft": _istft((1, 8, 5), 15, n_fft=15),
    "prime n_fft": _istft((1, 7, 5), 13, n_fft=13, hop=3),
    "n_fft 22": _istft((1, 12, 4), 22, n_fft=22, hop=5),
    "n_fft 2": _istft((1, 2, 5), 2, n_fft=2, hop=1),
    "two-sided": _istft((1, 16, 4), onesided=False),
    "two-sided, not said": _istft((1, 16, 4)),
    "two-sided, odd n_fft": _istft((1, 15, 4), 15, n_fft=15),
    "complex output": _istft((1, 16, 4), return_complex=True),
    "complex output, odd n_fft": _istft((1, 15, 4), 15, n_fft=15, return_complex=True),
    "complex output, one-sided window": _istft((1, 16, 4), return_complex=True, normalized=True, length=20),
    "complex window": _istft((1, 16, 4), return_complex=True, complex_window=True),
}
MODES = {f"stft, {name}": mode for name, mode in STFT_MODES.items()}
MODES |= {f"istft, {name}": mode for name, mode in ISTFT_MODES.items()}
WHICH = {"input": (True, False), "window": (False, True), "both": (True, True)}


def leaves(tensors: tuple[torch.Tensor, ...], which: tuple[bool, ...]) -> list[torch.Tensor]:
    """Fresh leaves with those values, of which some require a gradient."""
    return [tensor.detach().clone().requires_grad_(wanted) for tensor, wanted in zip(tensors, which, strict=True)]


def doubles(tensors) -> tuple[torch.Tensor, ...]:
    return tuple(double(tensor.detach()) for tensor in tensors)
