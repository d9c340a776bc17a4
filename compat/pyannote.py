"""pyannote.audio (3.1 and later): the features of its speaker embeddings stay on the device, in one launch for a batch.

Unpatched, a model on MPS copies its waveforms to the CPU, where vmap maps torchaudio's fbank over them, and the
features back. So it still does for what no kernel does (dither, gradients, autocast): the values there do not change.
"""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType

import torch
from torch import Tensor
from torch.compiler import is_compiling

from .. import active
from ..options import Options
from . import kaldi
from .tools.overrides import original_of, override
from .tools.project import Hook, Project
from .tools.recompiled import Recompiled

_MODULE, _METHOD = "pyannote.audio.models.embedding.wespeaker", "BaseWeSpeakerResNet.compute_fbank"
_FEATURES = "torch.vmap(self._fbank)(waveforms.to(fft_device)).to(device)"


def _fused(fbank: partial, waveforms: Tensor, fft_device: torch.device) -> Tensor | None:
    # The model may have bound it before the patch.
    known = original_of(getattr(sys.modules.get("torchaudio.compliance.kaldi"), "fbank", None))
    if type(fbank) is not partial or fbank.args or original_of(fbank.func) is not known or waveforms.dim() != 3:
        return None
    return kaldi.fbank(waveforms, **fbank.keywords)


def _unpatched(fbank: partial, waveforms: Tensor, fft_device: torch.device) -> Tensor:
    """What stands in the project's text. waveforms: [batch, channels, time]"""
    return torch.vmap(fbank)(waveforms.to(fft_device)).to(waveforms.device)


def _options() -> Options | None:
    return active.process if is_compiling() else active.options_here()


_features = override(_fused)(_unpatched, _options)
_CHANGED = Recompiled({_FEATURES: "msp_features(self._fbank, waveforms, fft_device)"}, msp_features=_features)


def _lacks(module: ModuleType) -> str | None:
    missing = _CHANGED.lacks(_METHOD, module)
    if missing is None and (why := kaldi.lacks(module.kaldi)):
        missing = f"torchaudio is not known: {why}"
    return missing


PROJECT = Project(
    "pyannote",
    hooks=(Hook(_MODULE, _METHOD, _CHANGED.make, _lacks),),
    distribution="pyannote.audio",
    packages=("pyannote.audio",),
    tested=("3.1", "4.1"),
)
