"""In place of librosa.filters."""

from functools import cache

from tests.front_ends.reference import mel64

made = []  # what it was asked for


def mel(*, sr, n_fft, n_mels, fmin, fmax):
    made.append((sr, n_fft, n_mels, fmin, fmax))
    return _triangles(sr, n_fft, n_mels, fmin, fmax)


@cache
def _triangles(sr, n_fft, n_mels, fmin, fmax):
    return mel64(n_fft // 2 + 1, fmin, fmax or sr / 2, n_mels, sr, "slaney", "slaney").float().numpy()
