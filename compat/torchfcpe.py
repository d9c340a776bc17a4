"""torchfcpe, a pitch estimator: its log-mel front end in one launch, after torch's padding.

The original prints a line if the audio exceeds -1 to 1, and waits for the device twice to find out. Here minimum and
maximum are read together, with one wait. Louder audio is passed to the original, which prints its own message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.compiler import is_compiling

from ..front_ends import FrontEnd, compute
from .tools import dynamic_mel
from .tools.overrides import override
from .tools.project import Hook, Project
from .tools.structure import structure_in

_MODULE = "torchfcpe.mel_extractor"
_EPS = 1e-9  # under the root
_NEEDED = {"mel_basis", "hann_window", "clip_val", "win_size", "hop_length", "n_fft", "stft", "sqrt", "round", "pad"}


def _of_module(mel, y, key_shift=0, speed=1, center=False, no_cache_window=False) -> torch.Tensor | None:
    """MelModule.__call__, of 0.0.4: [batch, samples, 1] to [batch, frames, mels]."""
    if mel.out_stft:
        return None
    return _mel(mel, y, mel.mel_basis, key_shift, speed, center, _window_of_module, no_cache_window)


def _of_extractor(mel, y, key_shift=0, speed=1, center=False, no_cache_window=False) -> torch.Tensor | None:
    """MelExtractor.__call__, which makes its filterbank in its first call."""
    if getattr(mel, "out_stft", False):
        return None
    basis = mel.mel_basis.get(f"{mel.fmax}_{y.device}")
    return _mel(mel, y, basis, key_shift, speed, center, _window_of_extractor, no_cache_window)


@torch.no_grad()
def _mel(mel, y, basis, key_shift, speed, center, window: Callable, no_cache_window: bool) -> torch.Tensor | None:
    if is_compiling() or y.dim() != 3 or y.shape[-1] != 1 or not y.shape[1]:
        return None
    signal = y.squeeze(-1)
    if not dynamic_mel.is_plain(signal, basis, mel.n_fft):
        return None
    call = dynamic_mel.call(mel.n_fft, mel.hop_length, mel.win_size, key_shift, speed, center, mel.clip_val, _EPS)
    if call is None or _is_loud(signal):
        return None
    padded = _padded(signal, call)
    if padded is None:
        return None
    made = window(mel, key_shift, call.win_length, y, no_cache_window)
    result = compute.try_fused(padded, made, basis, call, f"torchfcpe.{type(mel).__name__}")
    return None if result is None else result.transpose(-1, -2)


def _is_loud(signal: torch.Tensor) -> bool:
    if isinstance(signal, FakeTensor):  # has no values to warn of
        return False
    low, high = torch.stack((torch.min(signal), torch.max(signal))).tolist()
    return low < -1 or high > 1


def _padded(signal: torch.Tensor, call: FrontEnd) -> torch.Tensor | None:
    apart = call.win_length - call.hop_length
    left = apart // 2
    right = max((apart + 1) // 2, call.win_length - signal.shape[-1] - left)
    if left < 0:  # it crops
        return None
    reflects = right < signal.shape[-1]
    return torch.nn.functional.pad(signal.unsqueeze(1), (left, right), "reflect" if reflects else "constant").squeeze(1)


def _window_of_module(mel, key_shift, win_length: int, y: torch.Tensor, no_cache_window: bool) -> torch.Tensor:
    if no_cache_window:
        return torch.hann_window(win_length).to(y.device)
    key = str(key_shift)
    if key not in mel.hann_window:
        mel.hann_window[key] = sys.modules[_MODULE].HannWindow(win_length).to(y.device)
    return mel.hann_window[key]()


def _window_of_extractor(mel, key_shift, win_length: int, y: torch.Tensor, no_cache_window: bool) -> torch.Tensor:
    windows = {} if no_cache_window else mel.hann_window
    key = f"{key_shift}_{y.device}"
    if key not in windows:
        windows[key] = torch.hann_window(win_length).to(y.device)
    return windows[key]


def _lacks(name: str) -> Callable[[ModuleType], str | None]:
    attribute = f"{name}.__call__"

    def lacks(module: ModuleType) -> str | None:
        structure = structure_in(module, attribute)
        if structure is None:
            return f"it has no {attribute}"
        constants = {_EPS, "reflect", "constant"} - structure.constants
        missing = sorted(_NEEDED - set(structure.names)) or sorted(constants, key=str)
        return f"{attribute} has no {missing[0]}" if missing else None

    return lacks


def _has_modules(module: ModuleType) -> bool:
    return not hasattr(module, "mel_extractor")  # the instance that the versions before MelModule share


PROJECT = Project(
    "torchfcpe",
    hooks=(
        Hook(_MODULE, "MelModule.__call__", override(_of_module), _lacks("MelModule"), _has_modules),
        Hook(_MODULE, "MelExtractor.__call__", override(_of_extractor), _lacks("MelExtractor")),
    ),
    distribution="torchfcpe",
    packages=("torchfcpe",),
    tested=("0.0.3", "0.0.5"),
)
