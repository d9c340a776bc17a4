"""descript-audiotools' spectral losses, of which the Descript Audio Codec and others have copies: the magnitudes or mel
spectrogram of a signal in one launch.

The losses are recognised by their code, under any module name. Each leaves the spectra of its last size in both
signals, as the originals do: for whoever reads `signal.stft_data` afterwards.
"""

from __future__ import annotations

import math
import sys
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.compiler import is_compiling

from ..front_ends import Scale, compute, is_its_class_alone, resolve
from .tools.modules import is_from
from .tools.overrides import original_of, override
from .tools.project import ClassHook, Project
from .tools.same_code import form_of
from .tools.structure import structure_of

_SIGNAL = "audiotools.core.audio_signal"
_DISTANCE = """
        loss += self.log_weight * self.loss_fn(
            {x}.clamp(self.clamp_eps).pow(self.pow).log10(),
            {y}.clamp(self.clamp_eps).pow(self.pow).log10(),
        )
        loss += self.mag_weight * self.loss_fn({x}, {y})
    return loss
"""
_FORWARDS = {
    "MultiScaleSTFTLoss": """\
def forward(self, x, y):
    loss = 0.0
    for s in self.stft_params:
        x.stft(s.window_length, s.hop_length, s.window_type)
        y.stft(s.window_length, s.hop_length, s.window_type)"""
    + _DISTANCE.format(x="x.magnitude", y="y.magnitude"),
    "MelSpectrogramLoss": """\
def forward(self, x, y):
    loss = 0.0
    for n_mels, fmin, fmax, s in zip(self.n_mels, self.mel_fmin, self.mel_fmax, self.stft_params):
        kwargs = {"window_length": s.window_length, "hop_length": s.hop_length, "window_type": s.window_type}
        x_mels = x.mel_spectrogram(n_mels, mel_fmin=fmin, mel_fmax=fmax, **kwargs)
        y_mels = y.mel_spectrogram(n_mels, mel_fmin=fmin, mel_fmax=fmax, **kwargs)"""
    + _DISTANCE.format(x="x_mels", y="y_mels"),
}
_METHODS = {  # of AudioSignal: the names in their code
    "stft": {
        "stft_params", "window_length", "int", "hop_length", "window_type", "match_stride", "padding_type",
        "get_window", "audio_data", "device", "to", "compute_stft_padding", "torch", "nn", "functional", "pad", "stft",
        "reshape", "shape", "batch_size", "num_channels", "stft_data",
    },
    "mel_spectrogram": {
        "stft", "torch", "abs", "shape", "get_mel_filters", "sample_rate", "from_numpy", "to", "device", "transpose",
        "T",
    },
}  # fmt: skip
_PLAIN_DISTANCES = torch.nn.L1Loss, torch.nn.MSELoss


class _Spectra(NamedTuple):
    """What the loss compares."""

    pairs: list[tuple[Tensor, Tensor]]  # of each size: of both signals
    sizes: list[Any]  # the STFTParams
    are_logs: bool


def _of_magnitudes(loss, x, y) -> _Spectra | None:
    sizes = list(loss.stft_params)
    return _spectra(loss, x, y, sizes, [None] * len(sizes))


def _of_mels(loss, x, y) -> _Spectra | None:
    found = list(zip(loss.n_mels, loss.mel_fmin, loss.mel_fmax, loss.stft_params, strict=False))
    return _spectra(loss, x, y, [one[-1] for one in found], [one[:-1] for one in found])


def _spectra(loss, x, y, sizes: list, bands: list) -> _Spectra | None:
    if is_compiling() or not is_its_class_alone(loss) or not _are_known(x, y) or not sizes:
        return None
    scale, eps, power = Scale(), loss.clamp_eps, loss.pow
    is_plain = type(loss.loss_fn) in _PLAIN_DISTANCES and is_its_class_alone(loss.loss_fn)
    are_numbers = all(type(one) in (int, float) for one in (eps, power, loss.mag_weight))
    if is_plain and are_numbers and loss.mag_weight == 0 and eps > 0 and math.isfinite(power):
        scale = Scale("clamp", float(eps), power / math.log(10))
    name = f"audiotools.{type(loss).__name__}"
    found = []
    for size, of_size in zip(sizes, bands, strict=True):
        pair = tuple(_spectrum(signal, size, of_size, scale, name) for signal in (x, y))
        if any(one is None for one in pair):
            return None
        found.append(pair)
    return _Spectra(found, sizes, scale.scale != "linear")


def _spectrum(signal, size, bands: tuple | None, scale: Scale, name: str) -> Tensor | None:
    audio, own = signal.audio_data, signal.stft_params
    sizes = size.window_length, size.hop_length
    if audio.dim() != 3 or audio.dtype is not torch.float32 or any(type(one) is not int for one in sizes):
        return None
    if own.match_stride or own.padding_type not in ("reflect", "constant", "replicate", "circular"):
        return None
    kind = own.window_type if size.window_type is None else size.window_type
    window = signal.get_window(kind, size.window_length, audio.device)
    basis = None
    if bands is not None:
        if torch.is_autocast_enabled(audio.device.type):  # the product with the filterbank is of half precision there
            return None
        n_mels, low, high = bands
        n_fft = size.window_length // 2 * 2
        array = signal.get_mel_filters(sr=signal.sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=low, fmax=high)
        basis = _on_device(array, audio.device)
    try:
        call = resolve(*sizes, size.window_length, power=1.0, scale=scale)
    except ValueError:
        return None
    return compute.try_fused(audio, window, basis, call, name)


_bases: dict[tuple, tuple] = {}  # by the array's id and the device: the array, and a tensor


def _on_device(array, device: torch.device) -> Tensor:
    """A filterbank, always as the same tensor: audiotools keeps the arrays, and copies them for every call."""
    key = id(array), device
    if key not in _bases:
        if len(_bases) >= 256:
            _bases.clear()
        with torch.inference_mode(False):
            _bases[key] = array, torch.from_numpy(array).to(device)
    return _bases[key][1]


def _are_known(x, y) -> bool:
    cls = getattr(sys.modules.get(_SIGNAL), "AudioSignal", None)
    return cls is not None and type(x) is type(y) is cls and _lacks(cls) is None


@cache
def _lacks(cls: type) -> str | None:
    for method, names in _METHODS.items():
        function = vars(cls).get(method)
        if not is_from(function, sys.modules[_SIGNAL]):
            return f"AudioSignal has no {method} of its own"
        if other := names ^ set(structure_of(function).names):
            return f"AudioSignal.{method} is another: {min(other)}"
    return None


def _finish(original, spectra: _Spectra, loss, x, y) -> Tensor:
    """The rest of the original: what stays in the signals, and the distances."""
    for size, pair in zip(spectra.sizes[:-1], spectra.pairs, strict=False):
        for signal, values in zip((x, y), pair, strict=True):
            # Nobody sees these, but the signal compares shapes, and warns.
            shape = *values.shape[:2], size.window_length // 2 + 1, values.shape[-1]
            signal.stft_data = torch.empty((), dtype=torch.complex64, device=values.device).expand(shape)
    last = spectra.sizes[-1]
    for signal in (x, y):
        signal.stft(last.window_length, last.hop_length, last.window_type)
    total = 0.0
    for a, b in spectra.pairs:
        if spectra.are_logs:
            distance = loss.loss_fn(a, b)
            total += loss.log_weight * distance
            total += loss.mag_weight * distance  # nothing, or NaN
        else:
            logs = (one.clamp(loss.clamp_eps).pow(loss.pow).log10() for one in (a, b))
            total += loss.log_weight * loss.loss_fn(*logs)
            total += loss.mag_weight * loss.loss_fn(a, b)
    return total


def _recognises(cls: type) -> bool | str:
    forward = original_of(vars(cls).get("forward"))
    if not issubclass(cls, torch.nn.Module) or type(forward) is not FunctionType or forward.__defaults__:
        return False
    if not {"stft_params", "loss_fn", "clamp_eps"} <= set(forward.__code__.co_names):
        return False
    return form_of(forward) == _form(cls.__name__) or "it is written in another way"


@cache
def _form(name: str) -> str | None:
    return form_of(_FORWARDS[name])


def _signal_of(loss, x, y) -> Any:
    return getattr(x, "audio_data", None)


PROJECT = Project(
    "audiotools",
    hooks=(
        ClassHook("MultiScaleSTFTLoss", "forward", override(_of_magnitudes, _finish, _signal_of), _recognises),
        ClassHook("MelSpectrogramLoss", "forward", override(_of_mels, _finish, _signal_of), _recognises),
    ),
    distribution="descript-audiotools",
    packages=("audiotools",),
    tested=("0.7", "0.8"),
)
