"""torchaudio.compliance.kaldi: `fbank` in one launch, with all its arguments but dither, also under vmap. `mfcc` calls
it. pyannote.audio, FunASR, AST, CosyVoice, Chatterbox, IndexTTS, Lhotse and others use these two.

Filterbanks are made by torchaudio's own get_mel_banks, once for each choice of arguments.
"""

from __future__ import annotations

import sys
from functools import lru_cache, wraps
from types import ModuleType

import torch
from torch import Tensor
from torch.compiler import is_compiling

from ..arguments import KaldiArguments
from ..front_ends import kaldi
from ..tensors import wants_gradient
from .tools.modules import is_from
from .tools.overrides import override
from .tools.project import Hook, Project
from .tools.structure import structure_of

_MODULE = "torchaudio.compliance.kaldi"
# What fbank consists of. Where somebody has put another function in place of one, torchaudio's code runs.
_PARTS = (
    "_get_epsilon", "_get_waveform_and_window_properties", "_get_window", "_get_strided", "_feature_window_function",
    "_get_log_energy", "_next_power_of_2", "_subtract_column_mean", "get_mel_banks", "vtln_warp_mel_freq",
)  # fmt: skip
_NAMES = {
    "device", "dtype", "_get_waveform_and_window_properties", "len", "torch", "empty", "_get_window", "fft", "rfft",
    "abs", "pow", "get_mel_banks", "to", "nn", "functional", "pad", "mm", "T", "max", "_get_epsilon", "log",
    "unsqueeze", "cat", "_subtract_column_mean",
}  # fmt: skip


def fbank(
    waveform, blackman_coeff=0.42, channel=-1, dither=0.0, energy_floor=1.0, frame_length=25.0, frame_shift=10.0,
    high_freq=0.0, htk_compat=False, low_freq=20.0, min_duration=0.0, num_mel_bins=23, preemphasis_coefficient=0.97,
    raw_energy=True, remove_dc_offset=True, round_to_power_of_two=True, sample_frequency=16000.0, snip_edges=True,
    subtract_mean=False, use_energy=False, use_log_fbank=True, use_power=True, vtln_high=-500.0, vtln_low=100.0,
    vtln_warp=1.0, window_type="povey",
) -> Tensor | None:  # fmt: skip
    """[..., frames, features] of waveform [..., channels, time], as torchaudio's fbank makes them of [channels, time].
    None: nothing here makes them."""
    switches = (
        htk_compat, raw_energy, remove_dc_offset, round_to_power_of_two, snip_edges, subtract_mean, use_energy,
        use_log_fbank, use_power,
    )  # fmt: skip
    numbers = (
        blackman_coeff, dither, energy_floor, frame_length, frame_shift, high_freq, low_freq, min_duration,
        preemphasis_coefficient, sample_frequency, vtln_high, vtln_low, vtln_warp,
    )  # fmt: skip
    if any(type(switch) is not bool for switch in switches) or any(type(one) not in (int, float) for one in numbers):
        return None
    if type(channel) is not int or type(num_mel_bins) is not int or window_type not in kaldi.WINDOWS:
        return None
    if is_compiling() or not _is_plain(waveform) or torch.is_autocast_enabled(waveform.device.type):
        return None
    channel, channels, samples = max(channel, 0), *waveform.shape[-2:]
    win_length = int(sample_frequency * frame_length * 0.001)
    hop_length = int(sample_frequency * frame_shift * 0.001)
    n_fft = 1 << (win_length - 1).bit_length() if round_to_power_of_two else win_length
    # torchaudio has an error for these, noise for dither, and an empty result for what is too short.
    if channel >= channels or not 2 <= win_length <= samples or hop_length < 1 or n_fft % 2:
        return None
    if not 0 <= preemphasis_coefficient <= 1 or energy_floor < 0 or dither != 0:
        return None
    if samples < min_duration * sample_frequency or 0 in waveform.shape:
        return None
    banks = (
        num_mel_bins, n_fft, float(sample_frequency), float(low_freq), float(high_freq), float(vtln_low),
        float(vtln_high), float(vtln_warp),
    )  # fmt: skip
    # Those made under a mode, such as that of fake tensors, end with it.
    tables = _tables.__wrapped__ if torch._C._len_torch_dispatch_stack() else _tables
    made = tables(banks, window_type, win_length, float(blackman_coeff), waveform.device)
    if made is None:
        return None
    energy = "" if not use_energy else "raw" if raw_energy else "windowed"
    call = KaldiArguments(
        n_fft, hop_length, win_length, snip_edges, remove_dc_offset, float(preemphasis_coefficient),
        2.0 if use_power else 1.0, use_log_fbank, kaldi.EPSILON, energy, kaldi.floor_of(energy_floor), htk_compat,
        subtract_mean,
    )  # fmt: skip
    rows = waveform[..., channel, :].reshape(-1, samples)
    result = kaldi.try_fused(rows, *made, call, "torchaudio.kaldi.fbank")
    return None if result is None else result.reshape(*waveform.shape[:-2], *result.shape[1:])


@wraps(fbank)
def _of_one(waveform, *args, **kwargs) -> Tensor | None:
    return fbank(waveform, *args, **kwargs) if waveform.dim() == 2 else None


def _is_plain(waveform) -> bool:
    """Whether it is float32 without a gradient, and nobody has changed what torchaudio's fbank calls."""
    if waveform.dtype is not torch.float32 or waveform.layout is not torch.strided or waveform.dim() < 2:
        return False
    module = sys.modules[_MODULE]
    return not wants_gradient(waveform) and all(is_from(getattr(module, name, None), module) for name in _PARTS)


@lru_cache(maxsize=64)
def _tables(
    banks: tuple, window_type: str, win_length: int, blackman_coeff: float, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """(window, filterbank [bands, n_fft // 2 + 1]) on the device, the same ones every time: what is made of them is
    found again. None: torchaudio refuses the arguments."""
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        try:
            basis, _ = sys.modules[_MODULE].get_mel_banks(*banks)
        except Exception:  # it says so itself
            return None
        basis = torch.nn.functional.pad(basis.to(torch.float32), (0, 1))
        return kaldi.make_window(window_type, win_length, blackman_coeff).float().to(device), basis.to(device)


def lacks(module: ModuleType) -> str | None:
    for name in _PARTS:
        if not is_from(getattr(module, name, None), module):
            return f"it has no {name} of its own"
    parameters = fbank.__code__.co_varnames[: fbank.__code__.co_argcount]
    found = structure_of(module.fbank)
    if found.parameters != parameters:
        return "fbank has other arguments"
    return None if set(found.names) == _NAMES else f"fbank uses {', '.join(sorted(set(found.names) ^ _NAMES))}"


PROJECT = Project(
    "kaldi",
    hooks=(Hook(_MODULE, "fbank", override(_of_one), lacks),),
    distribution="torchaudio",
    packages=("torchaudio",),
    tested=("2.11", "2.12"),
)
