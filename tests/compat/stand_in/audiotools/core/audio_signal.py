import functools
import math
import warnings

import torch

from tests.front_ends.reference import mel64

from .. import STFTParams


class AudioSignal:
    def __init__(self, audio, sample_rate, stft_params=None):
        self.audio_data, self.sample_rate = audio.float(), sample_rate
        given = STFTParams() if stft_params is None else stft_params
        defaults = STFTParams(2048, 512, "hann", False, "reflect")
        self.stft_params = STFTParams(*(b if a is None else a for a, b in zip(given, defaults, strict=True)))
        self._stft_data = None

    @property
    def device(self):
        return self.audio_data.device

    @property
    def batch_size(self):
        return self.audio_data.shape[0]

    @property
    def num_channels(self):
        return self.audio_data.shape[1]

    @property
    def stft_data(self):
        return self._stft_data

    @stft_data.setter
    def stft_data(self, data):
        if data is not None:
            assert torch.is_tensor(data) and torch.is_complex(data)
            if self.stft_data is not None and self.stft_data.shape != data.shape:
                warnings.warn("stft_data changed shape", stacklevel=1)
        self._stft_data = data

    @staticmethod
    @functools.lru_cache(None)
    def get_window(window_type, window_length, device):
        window = torch.hann_window(window_length, device=device)
        return window.sqrt() if window_type == "sqrt_hann" else window

    @staticmethod
    @functools.lru_cache(None)
    def get_mel_filters(sr, n_fft, n_mels, fmin=0.0, fmax=None):
        high = sr / 2 if fmax is None else fmax
        return mel64(n_fft // 2 + 1, fmin, high, n_mels, sr, "slaney", "slaney").float().numpy()

    def compute_stft_padding(self, window_length, hop_length, match_stride):
        if not match_stride:
            return 0, 0
        length = self.audio_data.shape[-1]
        return math.ceil(length / hop_length) * hop_length - length, (window_length - hop_length) // 2

    def stft(self, window_length=None, hop_length=None, window_type=None, match_stride=None, padding_type=None):
        window_length = self.stft_params.window_length if window_length is None else int(window_length)
        hop_length = self.stft_params.hop_length if hop_length is None else int(hop_length)
        window_type = self.stft_params.window_type if window_type is None else window_type
        match_stride = self.stft_params.match_stride if match_stride is None else match_stride
        padding_type = self.stft_params.padding_type if padding_type is None else padding_type
        window = self.get_window(window_type, window_length, self.audio_data.device)
        window = window.to(self.audio_data.device)
        audio_data = self.audio_data
        right_pad, pad = self.compute_stft_padding(window_length, hop_length, match_stride)
        audio_data = torch.nn.functional.pad(audio_data, (pad, pad + right_pad), padding_type)
        stft_data = torch.stft(
            audio_data.reshape(-1, audio_data.shape[-1]), n_fft=window_length, hop_length=hop_length, window=window,
            return_complex=True, center=True,
        )  # fmt: skip
        _, nf, nt = stft_data.shape
        stft_data = stft_data.reshape(self.batch_size, self.num_channels, nf, nt)
        if match_stride:
            stft_data = stft_data[..., 2:-2]
        self.stft_data = stft_data
        return stft_data

    def mel_spectrogram(self, n_mels=80, mel_fmin=0.0, mel_fmax=None, **kwargs):
        stft = self.stft(**kwargs)
        magnitude = torch.abs(stft)
        nf = magnitude.shape[2]
        mel_basis = self.get_mel_filters(
            sr=self.sample_rate, n_fft=2 * (nf - 1), n_mels=n_mels, fmin=mel_fmin, fmax=mel_fmax
        )
        mel_basis = torch.from_numpy(mel_basis).to(self.device)
        mel_spectrogram = magnitude.transpose(2, -1) @ mel_basis.T
        mel_spectrogram = mel_spectrogram.transpose(-1, 2)
        return mel_spectrogram

    @property
    def magnitude(self):
        if self.stft_data is None:
            self.stft()
        return torch.abs(self.stft_data)
