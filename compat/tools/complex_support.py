"""Whether torch has the complex operations on a device that separators use between an stft and an istft.

They are tried once, as audio-separator >= 0.46 does, but always with torch's own functions: a wrapper that was there at
that moment, or an error of ours, must not decide for the rest of the process.
"""

from __future__ import annotations

import torch
from torch.compiler import is_compiling

from ...ops import composite

_supported: dict[torch.device, bool] = {}


def stays(device: torch.device) -> bool:
    """Whether a spectrum can stay on the device."""
    if device.type in ("cpu", "cuda"):
        return True
    if device.type == "privateuseone":  # DirectML has no complex tensors
        return False
    supported = _supported.get(device)
    if supported is not None or is_compiling():
        return bool(supported)
    supported = _can(device)
    # Under a mode, such as that of fake tensors, it says nothing for later.
    if type(torch.empty(0, dtype=torch.float32, device="cpu")) is torch.Tensor:
        _supported[device] = supported
    return supported


def _can(device: torch.device) -> bool:
    try:
        with torch.no_grad(), composite.left_to_torch():
            _do_all(device)
    except Exception:  # whatever it raises: the project's own way over the CPU is right then
        return False
    return True


def _do_all(device: torch.device) -> None:
    n_fft, hop, samples = 256, 64, 1024
    signal = torch.arange(samples, dtype=torch.float32, device="cpu").sin().unsqueeze(0)  # draws no random numbers
    signal = signal.to(device)
    window = torch.ones(n_fft, dtype=torch.float32, device=device)
    spectrum = torch.functional.stft(signal, n_fft, hop, n_fft, window, return_complex=True)
    parts = torch.view_as_real(spectrum)
    spectrum = (parts[..., 0] + parts[..., 1] * 1.0j) * torch.view_as_complex(parts.contiguous())
    rows = torch.zeros(spectrum.shape, dtype=torch.long, device=device)
    spectrum = spectrum + torch.zeros_like(spectrum).scatter_add_(1, rows, spectrum) / window[:1]
    spectrum = torch.nn.functional.pad(spectrum[:, :-1], (0, 0, 0, 1))
    result = torch._VF.istft(spectrum, n_fft, hop, n_fft, window, True, False, True, samples, False)
    result.cpu()  # some devices fail only when they are waited for
