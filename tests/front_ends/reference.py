"""The front ends' formulas in float64, written from torchaudio's, librosa's and the wrappers' descriptions."""

from __future__ import annotations

import math

import torch

LINEAR_REL_L2 = 5e-7
LOG_MAX_ABS = 2e-5
DB_MAX_ABS = 1e-4
GRADIENT_REL_L2 = 2e-6


def mel64(n_freqs, f_min, f_max, n_mels, sample_rate, norm=None, mel_scale="htk") -> torch.Tensor:
    """[n_mels, n_freqs], triangle by triangle."""

    def to_mel(f):
        if mel_scale == "htk":
            return 2595 * math.log10(1 + f / 700)
        return f * 3 / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)

    def to_hz(m):
        if mel_scale == "htk":
            return 700 * (10 ** (m / 2595) - 1)
        return m * 200 / 3 if m < 15 else 1000 * math.exp((m - 15) * math.log(6.4) / 27)

    low, high = to_mel(f_min), to_mel(f_max)
    edges = [to_hz(low + (high - low) * i / (n_mels + 1)) for i in range(n_mels + 2)]
    frequencies = torch.tensor([sample_rate / 2 * k / (n_freqs - 1) for k in range(n_freqs)], dtype=torch.float64)
    bands = []
    for left, middle, right in zip(edges, edges[1:], edges[2:], strict=False):
        rising, falling = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
        band = torch.minimum(rising, falling).clamp(min=0)
        bands.append(band * (2 / (right - left)) if norm == "slaney" else band)
    return torch.stack(bands)


def spectrum64(x, window, n_fft, hop_length, center=True, pad_mode="reflect", pad=0) -> torch.Tensor:
    """[rows, bins, frames] complex128 of x [rows, samples]."""
    x = torch.nn.functional.pad(x.cpu().double(), (pad, pad))
    if center:
        x = torch.nn.functional.pad(x.unsqueeze(0), (n_fft // 2, n_fft // 2), pad_mode).squeeze(0)
    window = window.cpu().double()
    left = (n_fft - window.numel()) // 2
    window = torch.nn.functional.pad(window, (left, n_fft - window.numel() - left))
    frames = x.unfold(-1, n_fft, hop_length) * window
    return torch.fft.rfft(frames).transpose(-1, -2)


def power64(spectrum, power, eps=0.0) -> torch.Tensor:
    if power == 1 and eps:
        return (spectrum.real**2 + spectrum.imag**2 + eps).sqrt()
    return spectrum.abs() ** power + eps


def log64(mel, mode, amin) -> torch.Tensor:
    if mode == "clamp":
        return mel.clamp(min=amin).log()
    return (mel + amin).log() if mode == "add" else (mel / amin).log1p()


def db64(mel, multiplier, top_db, dims=(-3, -2, -1), amin=1e-10) -> torch.Tensor:
    """torchaudio's amplitude_to_DB of [batch, bands, frames], whose batch is one item."""
    db = multiplier * mel.clamp(min=amin).log10()
    return db if top_db is None else torch.maximum(db, db.amax(dims, keepdim=True) - top_db)


def rmvpe64(audio, basis, keyshift, speed, center=True, n_fft=1024, hop_length=160, clamp=1e-5) -> torch.Tensor:
    """RMVPE's MelSpectrogram.forward of audio [rows, samples]."""
    factor = 2 ** (keyshift / 12)
    n_new, hop_new = round(n_fft * factor), round(hop_length * speed)
    window = torch.hann_window(n_new, dtype=torch.float64)
    magnitude = spectrum64(audio, window, n_new, hop_new, center).abs()
    if keyshift != 0:
        size = n_fft // 2 + 1
        if magnitude.shape[1] < size:
            magnitude = torch.nn.functional.pad(magnitude, (0, 0, 0, size - magnitude.shape[1]))
        magnitude = magnitude[:, :size] * (n_fft / n_new)
    return (basis.double() @ magnitude).clamp(min=clamp).log()


def fcpe64(audio, basis, key_shift, speed, n_fft=1024, hop_length=160, clamp=1e-5) -> torch.Tensor:
    """torchfcpe's MelModule.__call__ of audio [rows, samples], before it transposes."""
    factor = 2 ** (key_shift / 12)
    n_new, hop_new = round(n_fft * factor), round(hop_length * speed)
    left = (n_new - hop_new) // 2
    right = max((n_new - hop_new + 1) // 2, n_new - audio.shape[-1] - left)
    mode = "reflect" if right < audio.shape[-1] else "constant"
    padded = torch.nn.functional.pad(audio.cpu().double().unsqueeze(1), (left, right), mode=mode).squeeze(1)
    spectrum = spectrum64(padded, torch.hann_window(n_new, dtype=torch.float64), n_new, hop_new, center=False)
    magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-9).sqrt()
    if key_shift != 0:
        size = n_fft // 2 + 1
        if magnitude.shape[1] < size:
            magnitude = torch.nn.functional.pad(magnitude, (0, 0, 0, size - magnitude.shape[1]))
        magnitude = magnitude[:, :size] * n_fft / n_new
    return (basis.double() @ magnitude).clamp(min=clamp).log()


def relative(got, reference) -> float:
    got = got.detach().cpu().double()
    assert got.shape == reference.shape
    return float((got - reference.detach()).norm() / reference.detach().norm())


def assert_linear(got, reference, bound=LINEAR_REL_L2) -> None:
    error = relative(got, reference)
    assert error <= bound, f"relative L2 error {error:.2e}"  # false for NaN as well


def assert_absolute(got, reference, bound, where=None) -> None:
    got = got.detach().cpu().double()
    assert got.shape == reference.shape
    apart = (got - reference.detach()).abs()
    if where is not None:
        assert where.double().mean() > 0.5  # of something
        apart = apart[where]
    assert float(apart.max()) <= bound, f"largest error {float(apart.max()):.2e}"


def away_from_the_clamp(mel, amin) -> torch.Tensor:
    """Where a logarithm is judged: well above the clamp, and not where a band of few bins happens to cancel, of which
    float32 leaves little, in any implementation."""
    return (mel > 2 * amin) & (mel > 0.1 * mel.mean(-1, keepdim=True))
