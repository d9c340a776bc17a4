"""Kaldi's log filterbank energies."""

from __future__ import annotations

from typing import Literal

import torch

from ...arguments import KaldiArguments
from ...ops import composite_kaldi
from .. import compute, filterbanks, kaldi
from ..spec import Scale, resolve
from .base import FrontEndModule


class KaldiFbankTransform(FrontEndModule):
    """Kaldi's log filterbank energies: compute-fbank-feats, as torchaudio.compliance.kaldi.fbank has it.

    The numbers are torchaudio's without dither and without vocal tract length normalisation (torchaudio's result is
    [frames, num_mel_bins]). Kaldi's own default is remove_dc_offset=True; here it must be asked for.

    One launch, and one more for subtract_mean. With none of the options from remove_dc_offset on, and a "povey" or
    "hanning" window, pre-emphasis is one more pass over the waveform, and the gradient is fused as well; Kaldi starts
    pre-emphasis anew in each frame, but these windows are zero at that sample, so the result is the same.

    Args:
        num_mel_bins: number of bands.
        sample_frequency: Hz.
        frame_length: milliseconds.
        frame_shift: milliseconds from one frame to the next.
        low_freq: lowest frequency, Hz.
        high_freq: highest frequency, Hz. 0 or less: counted down from half the sample rate.
        preemphasis_coefficient: x[t] - coefficient * x[t - 1], 0 to 1.
        window_type: "povey", "hanning", "hamming", "rectangular" or "blackman".
        use_power: powers, else magnitudes.
        use_log_fbank: natural logarithm, of at least the float32 epsilon; else the values themselves.
        remove_dc_offset: subtract the mean of each frame.
        snip_edges: only frames that lie within the waveform. False: one frame for every frame_shift, the waveform
            mirrored at its ends.
        round_to_power_of_two: the size of the transform is the next power of two; else frame_length, which must be an
            even number of samples then.
        use_energy: the logarithm of each frame's energy is one more feature, the first.
        raw_energy: that of the frame before pre-emphasis and window.
        energy_floor: least energy; 0: none but the float32 epsilon.
        htk_compat: the energy is the last feature.
        subtract_mean: subtract the mean of each feature over time.
        blackman_coeff: of the "blackman" window.
        use_mps_kernels: False: torch's own functions on every device.
        persistent: whether the buffers are in the state_dict.

    Shape:
        Input [..., time], floating point. Output [..., num_mel_bins, frames], float32 (float64 for float64), with
        use_energy one feature more.

    Raises:
        TypeError: when called, the input is no floating-point tensor.
        ValueError: the arguments describe no front end, or frame_length is an odd number of samples (with
            remove_dc_offset it may be).
        RuntimeError: when called, the input is too short.

    Example:
        >>> fbank = msp.KaldiFbankTransform(num_mel_bins=80)
        >>> fbank(torch.randn(2, 16_000)).shape
        torch.Size([2, 80, 98])
        >>> as_kaldi = msp.KaldiFbankTransform(num_mel_bins=80, remove_dc_offset=True, use_energy=True)
        >>> as_kaldi(torch.randn(2, 16_000)).shape
        torch.Size([2, 81, 98])
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
        window_type: Literal["povey", "hanning", "hamming", "rectangular", "blackman"] = "povey",
        use_power: bool = True,
        use_log_fbank: bool = True,
        remove_dc_offset: bool = False,
        snip_edges: bool = True,
        round_to_power_of_two: bool = True,
        use_energy: bool = False,
        raw_energy: bool = True,
        energy_floor: float = 1.0,
        htk_compat: bool = False,
        subtract_mean: bool = False,
        blackman_coeff: float = 0.42,
        use_mps_kernels: bool = True,
        persistent: bool = False,
    ) -> None:
        if window_type not in kaldi.WINDOWS:
            raise ValueError(f"window_type={window_type!r}: expected one of {', '.join(map(repr, kaldi.WINDOWS))}")
        if not 0 <= preemphasis_coefficient <= 1:
            raise ValueError(f"preemphasis_coefficient={preemphasis_coefficient}: expected 0 to 1")
        if not energy_floor >= 0:
            raise ValueError(f"energy_floor={energy_floor}: expected 0 or a positive number")
        win_length = int(sample_frequency * frame_length * 0.001)
        hop_length = int(sample_frequency * frame_shift * 0.001)
        if win_length < 2:
            raise ValueError(f"frame_length={frame_length} ms is less than two samples")
        n_fft = 1 << (win_length - 1).bit_length() if round_to_power_of_two else win_length
        in_frames = remove_dc_offset or not snip_edges or use_energy or subtract_mean or not round_to_power_of_two
        in_frames = bool(in_frames or window_type not in ("povey", "hanning"))
        scale = Scale("clamp", kaldi.EPSILON) if use_log_fbank else Scale()
        call = resolve(
            n_fft, hop_length, win_length, center=False, pad_mode="constant", pad=(n_fft - win_length) // 2,
            power=2.0 if use_power else 1.0, scale=scale,
        )  # fmt: skip
        if n_fft % 2 or (not in_frames and (n_fft - win_length) % 2):
            raise ValueError(f"frame_length={frame_length} ms: {win_length} samples are odd, not expressible")
        window = kaldi.make_window(window_type, win_length, blackman_coeff)
        basis = filterbanks.kaldi_mel_fbanks(num_mel_bins, n_fft, sample_frequency, low_freq, high_freq)
        super().__init__(call, window, basis, use_mps_kernels, persistent)
        self.preemphasis_coefficient, self.in_frames = float(preemphasis_coefficient), in_frames
        energy = "" if not use_energy else "raw" if raw_energy else "windowed"
        self.kaldi_call = KaldiArguments(
            n_fft, hop_length, win_length, bool(snip_edges), bool(remove_dc_offset), float(preemphasis_coefficient),
            call.power, bool(use_log_fbank), kaldi.EPSILON, energy, kaldi.floor_of(energy_floor), bool(htk_compat),
            bool(subtract_mean),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_scripting():
            return self._in_frames(x) if self.in_frames else self._composed(self._emphasised(x))
        else:
            tensors = self._own("window"), self._own("basis")
            name = type(self).__name__
            if self.in_frames:
                return kaldi.compute(x, *tensors, self.kaldi_call, self.use_mps_kernels, name).transpose(-1, -2)
            return compute.compute(self._emphasised(x), *tensors, self.call, self.use_mps_kernels, name)

    def _emphasised(self, x: torch.Tensor) -> torch.Tensor:
        if self.preemphasis_coefficient > 0 and x.shape[-1] > 0:
            before = torch.cat([x[..., :1], x[..., :-1]], -1)
            x = x - self.preemphasis_coefficient * before
        return x

    def _in_frames(self, x: torch.Tensor) -> torch.Tensor:
        """kaldi.compute written for TorchScript, in the precision of the buffers."""
        shape, call = x.size(), self.kaldi_call  # a plain tuple there
        rows = x.reshape(-1, shape[-1]).to(self.window.dtype)
        values = composite_kaldi.kaldi(
            rows, self.window, self.basis, call[0], call[1], call[2], call[3], call[4], call[5], call[6], call[7],
            call[8], call[9], call[10], call[11], call[12],
        )  # fmt: skip
        return values.transpose(1, 2).reshape(shape[:-1] + [values.size(2), values.size(1)])
