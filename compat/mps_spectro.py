"""mps-spectro: programs that import it run on this package's kernels where it is not installed."""

from __future__ import annotations

from .tools.project import Alias, Project

_OURS = __name__.partition(".")[0]
_MEL = {
    name: f"{_OURS}:{name}"
    for name in (
        "CompatMelSpectrogramTransform", "DynamicMelSpectrogramTransform", "LogMelSpectrogramTransform",
        "MelSpectrogramTransform", "amplitude_to_db", "dynamic_mel_spectrogram", "dynamic_spectrogram",
        "mel_spectrogram", "melscale_fbanks",
    )
}  # fmt: skip
_STFT, _ISTFT = f"{_OURS}:stft", f"{_OURS}:istft"

PROJECT = Project(
    "mps_spectro",
    hooks=(
        Alias("mps_spectro", {"stft": _STFT, "istft": _ISTFT, **_MEL}),
        Alias("mps_spectro.stft", {"mps_stft_forward": _STFT}),
        Alias("mps_spectro.istft", {"mps_istft_forward": _ISTFT}),
        Alias("mps_spectro.mel", _MEL),
    ),
    distribution="mps-spectro",
    packages=("mps_spectro",),
    tested=("0.3", "0.4"),
)
