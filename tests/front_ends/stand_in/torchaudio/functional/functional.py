import torch
from torch import Tensor


def spectrogram(
    waveform: Tensor, pad: int, window: Tensor, n_fft: int, hop_length: int, win_length: int, power: float | None,
    normalized: bool | str, center: bool = True, pad_mode: str = "reflect", onesided: bool = True,
    return_complex: bool | None = None,
) -> Tensor:  # fmt: skip
    if pad > 0:
        waveform = torch.nn.functional.pad(waveform, (pad, pad), "constant")
    by_frame, by_window = False, False
    if torch.jit.isinstance(normalized, str):
        by_frame, by_window = normalized == "frame_length", normalized == "window"
    elif torch.jit.isinstance(normalized, bool):
        by_window = normalized
    shape = waveform.size()
    spectrum = torch.stft(
        input=waveform.reshape(-1, shape[-1]), n_fft=n_fft, hop_length=hop_length, win_length=win_length, window=window,
        center=center, pad_mode=pad_mode, normalized=by_frame, onesided=onesided, return_complex=True,
    )  # fmt: skip
    spectrum = spectrum.reshape(shape[:-1] + spectrum.shape[-2:])
    if by_window:
        spectrum = spectrum / window.pow(2.0).sum().sqrt()
    if power is not None:
        return spectrum.abs() if power == 1.0 else spectrum.abs().pow(power)
    return spectrum


def inverse_spectrogram(spectrogram: Tensor, length: int | None, window: Tensor, n_fft: int, hop_length: int) -> Tensor:
    return torch.istft(input=spectrogram, n_fft=n_fft, hop_length=hop_length, window=window, length=length)


def griffinlim(specgram: Tensor, window: Tensor, n_fft: int, hop_length: int, n_iter: int) -> Tensor:
    angles = torch.ones_like(specgram).to(torch.complex64)
    for _ in range(n_iter):
        inverse = torch.istft(specgram * angles, n_fft=n_fft, hop_length=hop_length, window=window)
        rebuilt = torch.stft(input=inverse, n_fft=n_fft, hop_length=hop_length, window=window, return_complex=True)
        angles = rebuilt.div(rebuilt.abs().add(1e-16))
    return torch.istft(specgram * angles, n_fft=n_fft, hop_length=hop_length, window=window)


def amplitude_to_DB(
    x: Tensor, multiplier: float, amin: float, db_multiplier: float, top_db: float | None = None
) -> Tensor:
    db = multiplier * torch.log10(torch.clamp(x, min=amin)) - multiplier * db_multiplier
    if top_db is not None:
        shape = db.size()
        channels = shape[-3] if db.dim() > 2 else 1
        db = db.reshape(-1, channels, shape[-2], shape[-1])
        db = torch.max(db, (db.amax(dim=(-3, -2, -1)) - top_db).view(-1, 1, 1, 1)).reshape(shape)
    return db
