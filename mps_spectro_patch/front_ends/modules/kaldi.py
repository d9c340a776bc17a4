"""Kaldi's log filterbank energies, without the options that change single frames."""

from __future__ import annotations

from typing import Literal

import torch

from .. import compute, filterbanks
from ..spec import Scale, resolve
from .base import FrontEndModule

LOG_FLOOR = torch.finfo(torch.float32).eps  # Kaldi's floor of an energy


class KaldiFbankTransform(FrontEndModule):
    """Kaldi's log filterbank energies: compute-fbank-feats, as torchaudio.compliance.kaldi.fbank has it.

    The numbers are those of snip_edges=True, dither=0, remove_dc_offset=False and use_energy=False (torchaudio's result
    is [frames, num_mel_bins]). Subtracting a frame's mean and adding noise are steps inside a frame: not supported.
    Pre-emphasis is one more pass over the waveform. Kaldi starts it anew in each frame; "povey" and "hanning" windows
    are zero at that sample, so the result is the same.

    Args:
        num_mel_bins: number of bands.
        sample_frequency: Hz.
        frame_length: milliseconds.
        frame_shift: milliseconds from one frame to the next.
        low_freq: lowest frequency, Hz.
        high_freq: highest frequency, Hz. 0 or less: counted down from half the sample rate.
        preemphasis_coefficient: x[t] - coefficient * x[t - 1], 0 to 1.
        window_type: "povey" or "hanning".
        use_power: powers, else magnitudes.
        use_log_fbank: natural logarithm, of at least the float32 epsilon; else the values themselves.
        use_mps_kernels: False: torch's own functions on every device.
        persistent: whether the buffers are in the state_dict.

    Shape:
        Input [..., time], floating point. Output [..., num_mel_bins, frames], float32 (float64 for float64).

    Raises:
        TypeError: when called, the input is no floating-point tensor.
        ValueError: the arguments describe no front end, or frame_length is an odd number of samples.
        RuntimeError: when called, the input is too short; the error is torch.stft's.

    Example:
        >>> fbank = msp.KaldiFbankTransform(num_mel_bins=80)
        >>> fbank(torch.randn(2, 16_000)).shape
        torch.Size([2, 80, 98])
    """

    def __init__(
        self,
        *,
        num_mel_bins: int = 23,
        sample_frequency: float = 16000.0,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        low_freq: float = 20.0,
        high_freq: float = 0.0,
        preemphasis_coefficient: float = 0.97,
        window_type: Literal["povey", "hanning"] = "povey",
        use_power: bool = True,
        use_log_fbank: bool = True,
        use_mps_kernels: bool = True,
        persistent: bool = False,
    ) -> None:
        if window_type not in ("povey", "hanning"):
            raise ValueError(f'window_type={window_type!r}: expected "povey" or "hanning"')
        if not 0 <= preemphasis_coefficient <= 1:
            raise ValueError(f"preemphasis_coefficient={preemphasis_coefficient}: expected 0 to 1")
        win_length = int(sample_frequency * frame_length * 0.001)
        if win_length < 2:
            raise ValueError(f"frame_length={frame_length} ms is less than two samples")
        n_fft = 1 << (win_length - 1).bit_length()
        window = torch.hann_window(win_length, periodic=False, dtype=torch.float64, device="cpu")
        if window_type == "povey":
            window = window**0.85
        scale = Scale("clamp", LOG_FLOOR) if use_log_fbank else Scale()
        call = resolve(
            n_fft, int(sample_frequency * frame_shift * 0.001), win_length, center=False, pad_mode="constant",
            pad=(n_fft - win_length) // 2, power=2.0 if use_power else 1.0, scale=scale,
        )  # fmt: skip
        if (n_fft - win_length) % 2:
            raise ValueError(f"frame_length={frame_length} ms: {win_length} samples are odd, not expressible")
        basis = filterbanks.kaldi_mel_fbanks(num_mel_bins, n_fft, sample_frequency, low_freq, high_freq)
        super().__init__(call, window, basis, use_mps_kernels, persistent)
        self.preemphasis_coefficient = float(preemphasis_coefficient)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.preemphasis_coefficient > 0 and x.shape[-1] > 0:
            before = torch.cat([x[..., :1], x[..., :-1]], -1)
            x = x - self.preemphasis_coefficient * before
        if torch.jit.is_scripting():
            return self._composed(x)
        else:
            tensors = x, self._own("window"), self._own("basis")
            return compute.compute(*tensors, self.call, self.use_mps_kernels, type(self).__name__)
