"""torchaudio: its spectrogram, mel, MFCC and decibel calls in one launch each, for enable(torchaudio=True).

Calls are patched, submodules stay: their buffers are in people's checkpoints. The complex spectrogram,
inverse_spectrogram and griffinlim call torch.stft and torch.istft, so they are accelerated without a patch here. Calls
that cannot give exactly torchaudio's result are passed to torchaudio.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.compiler import is_compiling

from .. import active
from ..execution import launches, load_operators, parts, runner, verification
from ..front_ends import FrontEnd, Scale, compute, decibels, resolve
from ..kernels import ByTensor, TensorState
from .tools.modules import does_what_its_class_does, is_from
from .tools.overrides import override
from .tools.project import Hook, Project

_FUNCTIONS, _TRANSFORMS = "torchaudio.functional.functional", "torchaudio.transforms._transforms"


def _spectrogram(
    waveform, pad, window, n_fft, hop_length, win_length, power, normalized, center=True, pad_mode="reflect",
    onesided=True, return_complex=None,
) -> torch.Tensor | None:  # fmt: skip
    if return_complex is not None or onesided is not True or not _is_plain(waveform, window):
        return None
    call = _call(pad, n_fft, hop_length, win_length, power, normalized, center, pad_mode)
    return None if call is None else compute.try_fused(waveform, window, None, call, "torchaudio.spectrogram")


def _mel_spectrogram(module, waveform) -> torch.Tensor | None:
    return _scaled_mel(module, waveform, Scale(), "torchaudio.MelSpectrogram")


def _mfcc(module, waveform) -> torch.Tensor | None:
    scale = Scale("add", 1e-6) if module.log_mels else _scale_of(module.amplitude_to_DB)
    if scale is None or module.dct_mat.dtype is not torch.float32:
        return None
    values = mel(module.MelSpectrogram, waveform, scale, "torchaudio.MFCC")
    return None if values is None else torch.matmul(values.transpose(-1, -2), module.dct_mat).transpose(-1, -2)


def _amplitude_to_db(x, multiplier, amin, db_multiplier, top_db=None) -> torch.Tensor | None:
    """One launch, two with top_db, where torchaudio's has five to nine."""
    if not _is_plain(x) or is_compiling() or not x.numel() or x.dim() < 2:
        return None
    if not _are_numbers(multiplier, amin, db_multiplier, 0 if top_db is None else top_db) or not amin > 0:
        return None
    if x.requires_grad and torch.is_grad_enabled():
        return None
    if not (x.is_contiguous() or x.transpose(-1, -2).is_contiguous()) or x.numel() >= 2**31:
        return None
    if compute.why_composed(x, x) is not None:
        return None
    packed = x.shape[-3] if x.dim() > 2 else 1
    items = x.numel() // (packed * x.shape[-2] * x.shape[-1])
    scale = decibels(multiplier, top_db, amin=amin, offset=-multiplier * db_multiplier)
    load_operators()

    def fused(x: torch.Tensor = x, items: int = items) -> torch.Tensor:
        passes = launches.ops.features.feature_passes
        return passes.decibels(x, items, scale.amin, scale.factor, scale.offset, scale.below)

    def compared(result: torch.Tensor) -> tuple[str, bool]:
        values, of_one = x, packed
        if x.numel() > parts.LIMIT:  # a comparison of so many would need much memory
            values, of_one = x.as_strided((1, parts.LIMIT), (parts.LIMIT, 1)), 1
            result = fused(values, 1)

        def reference(values: torch.Tensor) -> torch.Tensor:
            db = torch.log(values.clamp(min=amin)) * scale.factor + scale.offset
            composed = compute.finished(db.reshape(-1, *values.shape[-2:]), of_one, *scale.finishing())
            return composed.reshape(values.shape)

        return verification.judge_by(
            name, partial(verification.judge_front_end, scale=scale), result, reference, (values,)
        )

    name = "torchaudio.amplitude_to_DB"
    key = FrontEnd(1, 1, 1, scale=scale), None, x.dtype, x.device, False
    options = active.options_here()
    return runner.call_front_end(name, options, key, fused, compared, x, lambda: None)[0]


def mel(module, waveform, scale: Scale, name: str) -> torch.Tensor | None:
    """scale of a call of `module`, if that is torchaudio's MelSpectrogram and nobody listens in between. name: under
    which it is counted."""
    return _scaled_mel(module, waveform, scale, name) if _is_plain_module(module, "MelSpectrogram") else None


def mel_decibels(module, db, waveform, name: str) -> torch.Tensor | None:
    """db(module(waveform)), if the two are torchaudio's AmplitudeToDB and MelSpectrogram."""
    scale = _scale_of(db)
    return None if scale is None else mel(module, waveform, scale, name)


def _scale_of(db) -> Scale | None:
    if not _is_plain_module(db, "AmplitudeToDB") or not _is_plain_function("amplitude_to_DB"):
        return None
    if not _are_numbers(db.multiplier, db.amin, db.db_multiplier, 0 if db.top_db is None else db.top_db):
        return None
    if not db.amin > 0:
        return None
    return decibels(db.multiplier, db.top_db, amin=db.amin, offset=-db.multiplier * db.db_multiplier)


def _scaled_mel(module, waveform, scale: Scale, name: str) -> torch.Tensor | None:
    """A MelSpectrogram in one launch, if it consists of what torchaudio makes it of, and nobody listens in between."""
    spectrogram, mel_scale = module.spectrogram, module.mel_scale
    if not _is_plain_module(spectrogram, "Spectrogram") or not _is_plain_module(mel_scale, "MelScale"):
        return None
    if spectrogram.onesided is not True or not _is_plain_function("spectrogram"):
        return None
    basis = mel_scale.fb
    if not _is_plain(waveform, spectrogram.window, basis) or basis.shape[0] != spectrogram.n_fft // 2 + 1:
        return None
    if torch.is_autocast_enabled(waveform.device.type):  # the product with the filterbank is of half precision there
        return None
    call = _call(
        spectrogram.pad, spectrogram.n_fft, spectrogram.hop_length, spectrogram.win_length, spectrogram.power,
        spectrogram.normalized, spectrogram.center, spectrogram.pad_mode, scale,
    )  # fmt: skip
    if call is None:
        return None
    passing = is_compiling() or basis.requires_grad or type(basis) is FakeTensor
    turned = basis.t() if passing else _transposed(basis)
    return compute.try_fused(waveform, spectrogram.window, turned, call, name)


def _are_numbers(*values: Any) -> bool:
    """Whether torchaudio can compute with all of these as we do: not strings, arrays, tensors, ..."""
    return all(type(value) in (int, float) for value in values)


def _call(
    pad, n_fft, hop_length, win_length, power, normalized, center, pad_mode, scale: Scale | None = None
) -> FrontEnd | None:
    """The call of torchaudio's arguments, or None where torchaudio had better look at them."""
    of_known_types = type(center) is bool and _are_numbers(power) and type(normalized) in (bool, str)
    if not of_known_types or any(type(size) is not int for size in (pad, n_fft, hop_length, win_length)):
        return None
    if type(pad_mode) is not str:
        return None
    try:
        return resolve(
            n_fft, hop_length, win_length, center=center, pad_mode=pad_mode, pad=pad, power=power,
            normalized="window" if normalized is True else normalized, scale=scale,
        )  # fmt: skip
    except ValueError:
        return None


def _is_plain(*tensors: Any) -> bool:
    """Whether all are float32 tensors with strides, on one device."""
    return all(
        isinstance(t, torch.Tensor) and t.dtype is torch.float32 and t.layout is torch.strided
        and t.device == tensors[0].device
        for t in tensors
    )  # fmt: skip


def _is_plain_module(module: Any, name: str) -> bool:
    return does_what_its_class_does(module, name, sys.modules.get(_TRANSFORMS))


def _is_plain_function(name: str) -> bool:
    """Whether torchaudio.functional has torchaudio's own, on which its modules call."""
    function = getattr(sys.modules.get("torchaudio.functional"), name, None)
    return is_from(function, sys.modules.get(_FUNCTIONS))


_turned: ByTensor[torch.Tensor] = ByTensor()


def _transposed(basis: torch.Tensor) -> torch.Tensor:
    """The transpose, always the same tensor for a basis that has not changed: its bands are found once."""
    turned = _turned.find(basis)
    if turned is None:
        state = None if basis.is_inference() else TensorState(basis)
        turned = basis.detach().t().contiguous()
        if state is not None:
            _turned.keep(state, turned)
    return turned


_SPECTROGRAM, _AMPLITUDE_TO_DB = override(_spectrogram), override(_amplitude_to_db)

PROJECT = Project(
    "torchaudio",
    hooks=(
        Hook(_FUNCTIONS, "spectrogram", _SPECTROGRAM),
        Hook("torchaudio.functional", "spectrogram", _SPECTROGRAM),
        Hook(_FUNCTIONS, "amplitude_to_DB", _AMPLITUDE_TO_DB),
        Hook("torchaudio.functional", "amplitude_to_DB", _AMPLITUDE_TO_DB),
        Hook(_TRANSFORMS, "MelSpectrogram.forward", override(_mel_spectrogram)),
        Hook(_TRANSFORMS, "MFCC.forward", override(_mfcc)),
    ),
    distribution="torchaudio",
    packages=("torchaudio",),
    tested=("2.11", "2.12"),
    has_own_option=True,
)
