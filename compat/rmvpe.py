"""RMVPE (also "RVMPE"), the pitch estimator of RVC, Applio, so-vits-svc, w-okada's voice changer and many more: its
log-mel front end in one launch.

The class is copied from project to project, under any module name, so it is recognised by its structure: the names and
constants in its `forward`. Variants that compute something else (windows made by convolutions, truncated sizes, other
padding) are not patched.
"""

from __future__ import annotations

import torch
from torch.compiler import is_compiling

from ..front_ends import compute
from .tools import dynamic_mel
from .tools.overrides import override
from .tools.project import ClassHook, Project
from .tools.structure import structure_of

_NEEDED = {"np", "round", "n_fft", "win_length", "hop_length", "hann_window", "stft", "mel_basis", "clamp", "log"}
_KNOWN = _NEEDED | {
    "int", "str", "device", "torch", "to", "real", "imag", "pow", "sqrt", "abs", "size", "F", "nn", "functional", "pad",
    "matmul", "is_half", "half",
    "hasattr", "STFT", "transform",  # some use these instead of torch.stft on DirectML
}  # fmt: skip
_KEYWORDS = {
    "n_fft", "hop_length", "win_length", "window", "center", "return_complex", "min", "filter_length",
}  # fmt: skip
_CONSTANTS = {0, 1, 2, 12, "_", "privateuseone", "stft", "hann"}


def _mel(mel, audio, keyshift=0, speed=1, center=True) -> torch.Tensor | None:
    if is_compiling() or not dynamic_mel.is_plain(audio, mel.mel_basis, mel.n_fft):
        return None
    # Band by band in memory, as the original's: somebody may view it.
    sizes = mel.n_fft, mel.hop_length, mel.win_length
    call = dynamic_mel.call(*sizes, keyshift, speed, center, mel.clamp, contiguous=True)
    if call is None:
        return None
    key = f"{keyshift}_{audio.device}"
    if key not in mel.hann_window:
        mel.hann_window[key] = torch.hann_window(call.win_length).to(audio.device)
    result = compute.try_fused(audio, mel.hann_window[key], mel.mel_basis, call, "rmvpe.MelSpectrogram")
    return result.half() if result is not None and getattr(mel, "is_half", False) else result


def _recognises(cls: type) -> bool:
    if not issubclass(cls, torch.nn.Module) or "forward" not in vars(cls):
        return False
    forward = structure_of(vars(cls)["forward"])
    return (
        forward.parameters[2:] == ("keyshift", "speed", "center")
        and _NEEDED <= set(forward.names) <= _KNOWN
        and "return_complex" in forward.keywords <= _KEYWORDS
        and forward.constants <= _CONSTANTS
    )


PROJECT = Project("rmvpe", hooks=(ClassHook("MelSpectrogram", "forward", override(_mel), _recognises),))
