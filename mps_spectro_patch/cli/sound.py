"""The sound that the demo is given, as a WAV file that its script can read."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import CommandError
from ..examples import denoise


def as_wav(audio: Path, folder: Path) -> tuple[Path, str]:
    """(the file, or a copy in `folder` that soundfile makes of other formats; how much sound it holds, in words).

    Raises CommandError where it cannot be read, with the remedy."""
    try:
        return audio, _words(*denoise.read_wav(str(audio))[:2])
    except OSError as error:
        raise CommandError(f"cannot read {audio}: {error.strerror}") from None
    except ValueError as error:
        why = str(error)
        if "holds no samples" in why or not audio.stat().st_size:
            raise CommandError(why) from None
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: its library is missing
        remedy = "`pip install soundfile` reads other formats; or convert it to 16-bit PCM WAV first"
        raise CommandError(f"{why}; {remedy}") from None
    try:
        samples, rate = soundfile.read(str(audio), dtype="float32", always_2d=True)
    except Exception as error:
        raise CommandError(f"{why}, and soundfile cannot read it either: {error}") from None
    if not len(samples):
        raise CommandError(f"{audio} holds no samples")
    path, signal = folder / f"{audio.stem}.wav", torch.from_numpy(samples).T
    denoise.write_wav(str(path), signal, rate, 24)
    return path, _words(signal, rate)


def _words(signal: torch.Tensor, rate: int) -> str:
    seconds, channels = signal.shape[1] / rate, signal.shape[0]
    length = f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    return f"{length}, {channels} channel{'s' if channels > 1 else ''}, {rate} Hz"
