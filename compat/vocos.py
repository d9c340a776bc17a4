"""Vocos and its relatives (NeuCodec, X-Codec 2, WavTokenizer, IndexTTS, ...): their inverse transform with "same"
padding in one launch, without waiting for the device.

The class ISTFT is copied from project to project, so it is recognised by its structure: the names, constants and
arithmetic in its `forward`. Copies that compute something else (other padding, an envelope with something added, two
results) are not patched. With padding="center" the class calls torch.istft, which is fast without a patch here.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType

import torch
from torch.compiler import is_compiling

from ..execution import call_cache, runner
from ..kernels import inverse_envelope
from ..routing import ends_of_same
from .tools.overrides import override
from .tools.project import ClassHook, Hook, Project
from .tools.structure import arithmetic_of, structure_of

_NEEDED = {
    "padding", "torch", "n_fft", "hop_length", "win_length", "window", "shape", "fft", "irfft", "nn", "functional",
    "fold", "square", "expand", "transpose", "squeeze",
}  # fmt: skip
_KNOWN = _NEEDED | {"istft", "dim", "all", "ValueError", "isinstance", "Tensor"}
_KEYWORDS = {"center", "dim", "norm", "output_size", "kernel_size", "stride"}
_CONSTANTS = {0, 1, 2, 3, -1, 1e-11, "center", "same", "backward"}
_ARITHMETIC = ("-", "//", "*", "-", "*", "+", "negative", "negative", "/")  # padding, window, size, both ends, envelope


def _inverse(original, module, spec) -> torch.Tensor | None:
    window, n_fft, hop_length = module.window, module.n_fft, module.hop_length
    if is_compiling() or not call_cache.is_plain_eager():
        return None
    if module.padding != "same" or spec.dim() != 3 or module.win_length != n_fft:
        return None
    if type(n_fft) is not int or type(hop_length) is not int or not 0 < hop_length <= n_fft - 2 or not spec.numel():
        return None  # with less to trim, the original has no samples left
    if type(window) is not torch.Tensor or window.dtype is not torch.float32 or window.shape != (n_fft,):
        return None
    # Known of every window that was seen before. The original has an error, or infinite samples, where this is None.
    frames = spec.shape[2]
    if inverse_envelope(window, n_fft, hop_length, frames, *ends_of_same(n_fft, hop_length, n_fft, frames)) is None:
        return None
    arguments = spec, n_fft, hop_length, n_fft, window, False, False, True, None, False, True, True
    return runner.call_direct("istft", arguments, lambda spec, *_: original(module, spec))


def _maker(original, active_options):
    return override(partial(_inverse, original))(original, active_options)


def _recognises(cls: type) -> bool | str:
    forward = vars(cls).get("forward")
    if forward is None or not issubclass(cls, torch.nn.Module):
        return False
    found = structure_of(forward)
    if not {"padding", "irfft", "fold"} <= set(found.names):
        return False
    messages = {text for text in found.constants if isinstance(text, str) and " " in text}
    if (
        len(found.parameters) == 2
        and _NEEDED <= set(found.names) <= _KNOWN
        and found.keywords == _KEYWORDS
        and found.constants - messages <= _CONSTANTS
        and arithmetic_of(forward) == _ARITHMETIC
    ):
        return True
    return "its forward computes something else than Vocos'"


def _lacks(module: ModuleType) -> str | None:
    return None if _recognises(module.ISTFT) is True else "ISTFT.forward computes something else"


PROJECT = Project(
    "vocos",
    hooks=(
        ClassHook("ISTFT", "forward", _maker, _recognises),
        Hook("vocos.spectral_ops", "ISTFT.forward", _maker, _lacks),  # of which status() tells
    ),
    distribution="vocos",
    packages=("vocos",),
    tested=("0.1", "0.2"),
)
