"""The torch.library operators: schema and fake kernels (temporary bodies: the original functions)."""

import torch

_stft, _istft = torch.functional.stft, torch._VF.istft
_library = torch.library.Library("mps_spectro_patch", "DEF")
_library.define(
    "stft(Tensor input, Tensor window, int n_fft, int hop_length, int win_length, bool center, str pad_mode, "
    "bool normalized) -> Tensor"
)
_library.define(
    "istft(Tensor input, Tensor window, int n_fft, int hop_length, int win_length, bool center, bool normalized, "
    "int length) -> Tensor"
)


def _stft_impl(x, window, n_fft, hop, win, center, pad_mode, normalized):
    return _stft(x, n_fft, hop, win, window, center, pad_mode, normalized, True, True)


def _istft_impl(x, window, n_fft, hop, win, center, normalized, length):
    return _istft(x, n_fft, hop, win, window, center, normalized, True, length, False)


_library.impl("stft", _stft_impl, "CompositeExplicitAutograd")
_library.impl("istft", _istft_impl, "CompositeExplicitAutograd")


@torch.library.register_fake("mps_spectro_patch::stft")
def _(x, window, n_fft, hop, win, center, pad_mode, normalized):
    padded = x.shape[1] + (n_fft // 2 * 2 if center else 0)
    frames = 1 + (padded - n_fft) // hop
    return x.new_empty((x.shape[0], frames, n_fft // 2 + 1), dtype=torch.complex64).transpose(1, 2)


@torch.library.register_fake("mps_spectro_patch::istft")
def _(x, window, n_fft, hop, win, center, normalized, length):
    return x.new_empty((x.shape[0], length), dtype=torch.float32)


stft = torch.ops.mps_spectro_patch.stft
istft = torch.ops.mps_spectro_patch.istft
