"""audio-separator: spectra stay on the device, and windows are copied there once.

Up to 0.45 spectra were always copied to the CPU. Since 0.46 a probe in device_utils decides that once for the process.
Nothing changes on devices where torch has no complex operations, such as DirectML (compat/tools/complex_support.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType

import torch

from . import demucs
from .tools.complex_support import stays
from .tools.project import Hook, Project
from .tools.recompiled import Recompiled, Version
from .tools.windows import copied, made

_LIBRARY = "audio_separator.separator.uvr_lib_v5"
_NAMES = {"msp_stays": stays, "msp_copied": copied, "msp_made": made}


def _probe(original: Callable, active_options: Callable) -> Callable:
    """_supports_complex_spectral_ops(device_type, device_index), which caches its results.

    Ours does not use that cache: a result from before the patch does not count, and none of ours stays after it.
    """

    @functools.wraps(original)
    def supports(device_type: str, device_index: int) -> bool:
        options = active_options()
        if options is None or device_type not in options.device_types:
            return original(device_type, device_index)
        return stays(torch.device(device_type, device_index) if device_index >= 0 else torch.device(device_type))

    for name in ("cache_clear", "cache_info", "cache_parameters"):
        setattr(supports, name, getattr(original, name))
    return supports


def _asking(decision: str, signal: str, changes: Version) -> Recompiled:
    """decision: the line of versions up to 0.45. Since 0.46 they ask the probe instead."""
    stays = {decision: f"{decision} and not msp_stays({signal}.device)"}
    probed = "should_fallback = should_fallback_to_cpu_for_complex_ops(original_device)"
    return Recompiled({**stays, **changes}, {probed: probed, **changes}, **_NAMES)


_MDX = _asking(
    'is_non_standard_device = not input_tensor.device.type in ["cuda", "cpu"]',
    "input_tensor",
    {"self.hann_window.to(input_tensor.device)": "msp_copied(self.hann_window, input_tensor.device)"},
)
_MDX_PADDING = Recompiled({"time_dim]).to(input_tensor.device)": "time_dim], device=input_tensor.device)"})

_MDX23C_DECISION = 'x_is_mps = not x.device.type in ["cuda", "cpu"]'
_MDX23C_WINDOW = {"self.window.to(x.device)": "msp_copied(self.window, x.device)"}
_MDX23C_PADDING = {"n - f, t]).to(x.device)": "n - f, t], device=x.device)"}
_MDX23C = _asking(_MDX23C_DECISION, "x", _MDX23C_WINDOW)
_MDX23C_INVERSE = _asking(_MDX23C_DECISION, "x", {**_MDX23C_WINDOW, **_MDX23C_PADDING})

# Here, too, the text up to 0.45 and the text since 0.46.
_ROFORMER_DECISION = 'x_is_mps = True if original_device.type == "mps" else False'
_ROFORMER_PROBED = 'original_device.type == "mps" and should_fallback_to_cpu_for_complex_ops(original_device)'
_ROFORMER_WINDOW = {"self.stft_window_fn().to(device)": "msp_made(self.stft_window_fn, device)"}
_ROFORMER_STAYS = 'x_is_mps = original_device.type == "mps" and not msp_stays(original_device)'
_ROFORMER = Recompiled(
    {_ROFORMER_DECISION: _ROFORMER_STAYS, **_ROFORMER_WINDOW},
    {_ROFORMER_PROBED: _ROFORMER_PROBED, **_ROFORMER_WINDOW},
    **_NAMES,
)


def _lacks_cache(module: ModuleType) -> str | None:
    probe = getattr(module, "_supports_complex_spectral_ops", None)
    return None if probe is None or hasattr(probe, "cache_clear") else "its probe keeps no answers"


PROJECT = Project(
    "audio_separator",
    hooks=(
        Hook(f"{_LIBRARY}.device_utils", "_supports_complex_spectral_ops", _probe, _lacks_cache),
        _MDX.hook(f"{_LIBRARY}.stft", "STFT.__call__"),
        _MDX.hook(f"{_LIBRARY}.stft", "STFT.inverse"),
        _MDX_PADDING.hook(f"{_LIBRARY}.stft", "STFT.pad_frequency_dimension"),
        _MDX23C.hook(f"{_LIBRARY}.tfc_tdf_v3", "STFT.__call__"),
        _MDX23C_INVERSE.hook(f"{_LIBRARY}.tfc_tdf_v3", "STFT.inverse"),
        _ROFORMER.hook(f"{_LIBRARY}.roformer.bs_roformer", "BSRoformer.forward"),
        _ROFORMER.hook(f"{_LIBRARY}.roformer.mel_band_roformer", "MelBandRoformer.forward"),
        *demucs.hooks(f"{_LIBRARY}.demucs"),
        # Published Demucs checkpoints name top-level classes: audio-separator puts its copy on sys.path for them.
        *demucs.TOP_LEVEL,
    ),
    distribution="audio-separator",
    packages=("audio_separator",),
    tested=("0.30", "0.48"),
    note="VR models and ensembles compute their spectra with librosa, and are left alone",
)
