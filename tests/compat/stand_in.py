"""Small projects with the lines that compat knows the real ones by: audio-separator before and since 0.46, Demucs,
Ultimate Vocal Remover, pyannote.audio and so-vits-svc-fork.

Their signal processing is as short as it can be; where they go over the CPU, they do as the real ones do.
"""

from __future__ import annotations

from pathlib import Path

LIBRARY = "audio_separator.separator.uvr_lib_v5"

_DEVICE_UTILS = """
from functools import lru_cache
import torch

@lru_cache(maxsize=32)
def _supports_complex_spectral_ops(device_type, device_index):
    if device_type in {"cpu", "cuda"}:
        return True
    try:
        signal = torch.ones(1, 64, device=f"{device_type}:{device_index}")
        window = torch.ones(16, device=signal.device)
        torch.istft(torch.stft(signal, 16, window=window, return_complex=True), 16, window=window)
        return True
    except Exception:
        return False

def should_fallback_to_cpu_for_complex_ops(device):
    return not _supports_complex_spectral_ops(device.type, -1 if device.index is None else device.index)

def should_fallback_to_cpu_for_demucs_mask(device, cac):
    return (device.type == "mps" and not cac) or should_fallback_to_cpu_for_complex_ops(device)
"""
_IMPORT = f"from {LIBRARY}.device_utils import should_fallback_to_cpu_for_complex_ops\n"

_STFT = """
import torch
{imports}
class STFT:
    def __init__(self, device):
        self.device = device
        self.{window} = torch.hann_window(16)

    def __call__(self, {x}):
        original_device = {x}.device
        {decision}
        if {away}:
            {x} = {x}.cpu()
        window = self.{window}.to({x}.device)
        spectrum = torch.stft({x}, 16, 4, window=window, return_complex=False)
        if {away}:
            spectrum = spectrum.to(self.device)
        return spectrum
{extra}
    def inverse(self, {x}):
        original_device = {x}.device
        {decision}
        if {away}:
            {x} = {x}.cpu()
        window = self.{window}.to({x}.device)
        {padding}
        signal = torch.istft(torch.view_as_complex(padded), 16, 4, window=window)
        if {away}:
            signal = signal.to(self.device)
        return signal
"""
_MDX_EXTRA = """
    def pad_frequency_dimension(self, input_tensor, time_dim):
        padding = torch.zeros([2, 1, time_dim]).to(input_tensor.device)
        return torch.cat([input_tensor, padding.unsqueeze(-1).expand(-1, -1, -1, 2)], 1)
"""

MDX = dict(x="input_tensor", window="hann_window", extra=_MDX_EXTRA, away="is_non_standard_device",
           decision='is_non_standard_device = not input_tensor.device.type in ["cuda", "cpu"]',
           padding="padded = self.pad_frequency_dimension(input_tensor, input_tensor.shape[2])")  # fmt: skip
MDX23C = dict(x="x", window="window", extra="", away="x_is_mps",
              decision='x_is_mps = not x.device.type in ["cuda", "cpu"]',
              padding="n, f, t = 9, 8, x.shape[2]\n"
                      "        f_pad = torch.zeros([2, n - f, t]).to(x.device)\n"
                      "        padded = torch.cat([x, f_pad.unsqueeze(-1).expand(-1, -1, -1, 2)], 1)")  # fmt: skip

_ROFORMER = """
from functools import partial
import torch
{imports}
class {name}(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stft_window_fn = partial(torch.hann_window, 16)

    def forward(self, raw_audio, target=None):
        original_device = raw_audio.device
        {decision}
        device = raw_audio.device
        stft_window = self.stft_window_fn().to(device)
        spectrum = torch.stft(raw_audio, 16, 4, window=stft_window, return_complex=True)
        return torch.istft(spectrum.cpu() if x_is_mps else spectrum, 16, 4,
                           window=stft_window.cpu() if x_is_mps else stft_window).to(device)
"""

_SPEC = """
import torch as th
{imports}
def spectro(x, n_fft=512, hop_length=None, pad=0):
    device_type = x.device.type
    {decision_x}
        x = x.cpu()
    return th.stft(x, n_fft, hop_length, window=th.hann_window(n_fft).to(x), normalized=True, return_complex=True)

def ispectro(z, hop_length=None, length=None, pad=0):
    win_length = 2 * z.shape[-2] - 2
    device_type = z.device.type
    {decision_z}
        z = z.cpu()
    return th.istft(z, win_length, hop_length, window=th.hann_window(win_length).to(z.real), normalized=True,
                    length=length)
"""
_MODEL = """
import torch
from .spec import spectro, ispectro
{imports}
class {name}(torch.nn.Module):
    def __init__(self, cac=True):
        super().__init__()
        self.cac = cac

    def _mask(self, z, m):
        return m if self.cac else z * m

    def forward(self, mix):
        original_device = mix.device
        z = spectro(mix, 16, 4)
        x = z.to(mix.device) * 2
        {decision}
        zout = self._mask(z, x)
        out = ispectro(zout, 4, mix.shape[-1])
        return out.to(original_device)
"""
_NEW_MASK = """should_fallback = should_fallback_to_cpu_for_demucs_mask(original_device, self.cac)
        if should_fallback:
            z = z.cpu()
            x = x.cpu()"""


_PYANNOTE = """
from functools import partial
import torch
import torchaudio.compliance.kaldi as kaldi

class BaseWeSpeakerResNet(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self._fbank = partial(kaldi.fbank, **options)

    def compute_fbank(self, waveforms):
        waveforms = waveforms * (1 << 15)
        device = waveforms.device
        fft_device = torch.device("cpu") if device.type == "mps" else device
        features = torch.vmap(self._fbank)(waveforms.to(fft_device)).to(device)
        return features - torch.mean(features, dim=1, keepdim=True)
"""

_SO_VITS = """
from types import SimpleNamespace
import torch

class MPSAccelerator:
    pass

class TPUAccelerator:
    pass

class VitsLightning(torch.nn.Module):
    def __init__(self, accelerator, precision="32"):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.trainer = SimpleNamespace(accelerator=accelerator, precision=precision)

    @property
    def device(self):
        return self.weight.device

    def on_train_start(self):
        if isinstance(self.trainer.accelerator, (TPUAccelerator, MPSAccelerator)):
            def stft(input, n_fft, hop_length=None, win_length=None, window=None, center=True, return_complex=None):
                spectrum = torch.functional.stft(
                    input.cpu(), n_fft, hop_length, win_length, window.cpu(), center, return_complex=return_complex)
                return spectrum.to(input.device)

            torch.stft = stft

        elif "bf" in self.trainer.precision:
            def stft(input, n_fft, hop_length=None, win_length=None, window=None, center=True, return_complex=None):
                return torch.functional.stft(
                    input.float(), n_fft, hop_length, win_length, window.float(), center, return_complex=return_complex)

            torch.stft = stft
"""


def write_pyannote(folder: Path) -> None:
    _write(folder / "pyannote" / "audio" / "models" / "embedding" / "wespeaker.py", _PYANNOTE)


def write_so_vits(folder: Path) -> None:
    _write(folder / "so_vits_svc_fork" / "train.py", _SO_VITS)


def write_uvr(file: Path, form: str, is_mdx: bool) -> None:
    """form: how the decision is written, with {} for the signal."""
    parts = MDX if is_mdx else MDX23C
    decision = f"{parts['away']} = {form.format(parts['x'])}"
    _write(file, _STFT.format(imports="", **(parts | dict(decision=decision))))


def write_audio_separator(folder: Path, since_046: bool) -> None:
    library = folder.joinpath(*LIBRARY.split("."))
    imports = _IMPORT if since_046 else ""
    if since_046:
        _write(library / "device_utils.py", _DEVICE_UTILS)
    new = "should_fallback = should_fallback_to_cpu_for_complex_ops(original_device)"
    for name, parts in (("stft", MDX), ("tfc_tdf_v3", MDX23C)):
        if since_046:
            parts = parts | dict(decision=new, away="should_fallback")
        _write(library / f"{name}.py", _STFT.format(imports=imports, **parts))
    decision = 'x_is_mps = True if original_device.type == "mps" else False'
    if since_046:
        decision = (
            'x_is_mps = original_device.type == "mps" and should_fallback_to_cpu_for_complex_ops(original_device)'
        )
    for module, name in (("bs_roformer", "BSRoformer"), ("mel_band_roformer", "MelBandRoformer")):
        text = _ROFORMER.format(imports=imports, name=name, decision=decision)
        _write(library / "roformer" / f"{module}.py", text)
    if since_046:
        probed = "if should_fallback_to_cpu_for_complex_ops({}.device):"
        write_demucs(library / "demucs", probed.format("x"), probed.format("z"), _NEW_MASK, imports)
    else:
        line = 'is_other_gpu = not device_type in ["cuda", "cpu"]'
        transforms = f"{line}\n    if is_other_gpu:"
        mask = f"device_type = x.device.type\n        x_{line}\n        if x_is_other_gpu:\n            x = x.cpu()"
        write_demucs(library / "demucs", transforms, transforms, mask)


def write_pypi_demucs(folder: Path, line: str) -> None:
    """line: how the decision is written, with {} for the tensor."""
    name = line.partition(" ")[0]
    transforms = [f"{line.format(signal)}\n    if {name}:" for signal in "xz"]
    mask = f"x_{line.format('x')}\n        if x_{name}:\n            x = x.cpu()"
    write_demucs(folder, *transforms, mask)


def write_demucs(folder: Path, decision_x: str, decision_z: str, mask: str, imports: str = "") -> None:
    _write(folder / "spec.py", _SPEC.format(imports=imports, decision_x=decision_x, decision_z=decision_z))
    imports = imports.replace("complex_ops", "demucs_mask")
    for module, name in (("hdemucs", "HDemucs"), ("htdemucs", "HTDemucs")):
        _write(folder / f"{module}.py", _MODEL.format(imports=imports, name=name, decision=mask))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    for package in file.relative_to(file.anchor).parents:
        folder = Path(file.anchor) / package
        if folder.name in ("audio_separator", "separator", "uvr_lib_v5", "roformer", "demucs", "demucs_infer"):
            (folder / "__init__.py").touch()
