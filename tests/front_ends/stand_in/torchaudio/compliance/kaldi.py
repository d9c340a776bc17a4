"""Stand-in for torchaudio.compliance.kaldi: the names, arguments and numbers of its fbank, and a short mfcc."""

import math

import torch


def _get_epsilon(device, dtype):
    return torch.tensor(torch.finfo(torch.float32).eps, device=device, dtype=dtype)


def _next_power_of_2(x):
    return 1 if x == 0 else 2 ** (x - 1).bit_length()


def _get_strided(waveform, window_size, window_shift, snip_edges):
    samples = waveform.size(0)
    if snip_edges:
        frames = 1 + (samples - window_size) // window_shift
    else:
        frames = (samples + window_shift // 2) // window_shift
        pad = window_size // 2 - window_shift // 2
        backwards = waveform.flip(0)
        before = [backwards[-pad:], waveform] if pad > 0 else [waveform[-pad:]]
        waveform = torch.cat([*before, backwards])
    return waveform.unfold(0, window_size, window_shift)[:frames]


def _feature_window_function(window_type, window_size, blackman_coeff, device, dtype):
    position = torch.arange(window_size, device=device, dtype=dtype) * (2 * math.pi / (window_size - 1))
    if window_type == "blackman":
        return blackman_coeff - 0.5 * position.cos() + (0.5 - blackman_coeff) * (2 * position).cos()
    if window_type == "rectangular":
        return torch.ones_like(position)
    if window_type == "hamming":
        return 0.54 - 0.46 * position.cos()
    if window_type not in ("hanning", "povey"):
        raise Exception("Invalid window type " + window_type)
    hann = torch.hann_window(window_size, periodic=False, device=device, dtype=dtype)
    return hann if window_type == "hanning" else hann.pow(0.85)


def _get_log_energy(strided_input, epsilon, energy_floor):
    energy = torch.max(strided_input.pow(2).sum(1), epsilon).log()
    return energy if energy_floor == 0 else torch.max(energy, torch.full_like(energy, math.log(energy_floor)))


def _get_waveform_and_window_properties(
    waveform, channel, sample_frequency, frame_shift, frame_length, round_to_power_of_two, preemphasis_coefficient
):
    channel = max(channel, 0)
    assert channel < waveform.size(0), "no such channel"
    window_shift = int(sample_frequency * frame_shift * 0.001)
    window_size = int(sample_frequency * frame_length * 0.001)
    padded = _next_power_of_2(window_size) if round_to_power_of_two else window_size
    assert 2 <= window_size <= waveform.size(1), "no such window"
    assert window_shift > 0 and padded % 2 == 0 and 0 <= preemphasis_coefficient <= 1 and sample_frequency > 0
    return waveform[channel, :], window_shift, window_size, padded


def _get_window(
    waveform, padded_window_size, window_size, window_shift, window_type, blackman_coeff, snip_edges, raw_energy,
    energy_floor, dither, remove_dc_offset, preemphasis_coefficient,
):  # fmt: skip
    epsilon = _get_epsilon(waveform.device, waveform.dtype)
    frames = _get_strided(waveform, window_size, window_shift, snip_edges)
    if dither != 0:
        frames = frames + torch.randn(frames.shape, device=waveform.device, dtype=waveform.dtype) * dither
    if remove_dc_offset:
        frames = frames - frames.mean(1, keepdim=True)
    energy = _get_log_energy(frames, epsilon, energy_floor)
    frames = frames - preemphasis_coefficient * torch.cat([frames[:, :1], frames[:, :-1]], 1)
    frames = frames * _feature_window_function(
        window_type, window_size, blackman_coeff, waveform.device, waveform.dtype
    )
    frames = torch.nn.functional.pad(frames, (0, padded_window_size - window_size))
    return frames, energy if raw_energy else _get_log_energy(frames, epsilon, energy_floor)


def _subtract_column_mean(tensor, subtract_mean):
    return tensor - tensor.mean(0, keepdim=True) if subtract_mean else tensor


def mel_scale(freq):
    return 1127.0 * (1.0 + freq / 700.0).log()


def vtln_warp_mel_freq(vtln_low_cutoff, vtln_high_cutoff, low_freq, high_freq, vtln_warp_factor, mel_freq):
    """Linear below one frequency, between two, and above the other."""
    low = vtln_low_cutoff * max(1.0, vtln_warp_factor)
    high = vtln_high_cutoff * min(1.0, vtln_warp_factor)
    assert low_freq < low and high < high_freq
    hertz = 700.0 * ((mel_freq / 1127.0).exp() - 1.0)
    below = low_freq + (low / vtln_warp_factor - low_freq) / (low - low_freq) * (hertz - low_freq)
    above = high_freq + (high_freq - high / vtln_warp_factor) / (high_freq - high) * (hertz - high_freq)
    return mel_scale(torch.where(hertz < low, below, torch.where(hertz < high, hertz / vtln_warp_factor, above)))


def get_mel_banks(
    num_bins, window_length_padded, sample_freq, low_freq, high_freq, vtln_low, vtln_high, vtln_warp_factor
):
    assert num_bins > 3
    nyquist = 0.5 * sample_freq
    high_freq = high_freq + nyquist if high_freq <= 0 else high_freq
    vtln_high = vtln_high + nyquist if vtln_high < 0 else vtln_high
    assert 0 <= low_freq < high_freq <= nyquist, "no such frequencies"
    ends = [1127.0 * math.log(1.0 + freq / 700.0) for freq in (low_freq, high_freq)]
    edges = ends[0] + torch.arange(num_bins + 2) * ((ends[1] - ends[0]) / (num_bins + 1))
    if vtln_warp_factor != 1:
        assert low_freq < vtln_low < vtln_high < high_freq
        edges = vtln_warp_mel_freq(vtln_low, vtln_high, low_freq, high_freq, vtln_warp_factor, edges)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    mel = mel_scale(sample_freq / window_length_padded * torch.arange(window_length_padded / 2))
    return torch.minimum((mel - left) / (middle - left), (right - mel) / (right - middle)).clamp(min=0), middle


def fbank(
    waveform, blackman_coeff=0.42, channel=-1, dither=0.0, energy_floor=1.0, frame_length=25.0, frame_shift=10.0,
    high_freq=0.0, htk_compat=False, low_freq=20.0, min_duration=0.0, num_mel_bins=23, preemphasis_coefficient=0.97,
    raw_energy=True, remove_dc_offset=True, round_to_power_of_two=True, sample_frequency=16000.0, snip_edges=True,
    subtract_mean=False, use_energy=False, use_log_fbank=True, use_power=True, vtln_high=-500.0, vtln_low=100.0,
    vtln_warp=1.0, window_type="povey",
):  # fmt: skip
    device, dtype = waveform.device, waveform.dtype
    waveform, window_shift, window_size, padded = _get_waveform_and_window_properties(
        waveform, channel, sample_frequency, frame_shift, frame_length, round_to_power_of_two, preemphasis_coefficient
    )
    if len(waveform) < min_duration * sample_frequency:
        return torch.empty(0, device=device, dtype=dtype)
    frames, energy = _get_window(
        waveform, padded, window_size, window_shift, window_type, blackman_coeff, snip_edges, raw_energy,
        energy_floor, dither, remove_dc_offset, preemphasis_coefficient,
    )  # fmt: skip
    spectrum = torch.fft.rfft(frames).abs()
    if use_power:
        spectrum = spectrum.pow(2.0)
    banks, _ = get_mel_banks(
        num_mel_bins, padded, sample_frequency, low_freq, high_freq, vtln_low, vtln_high, vtln_warp
    )
    banks = torch.nn.functional.pad(banks.to(device=device, dtype=dtype), (0, 1))
    features = torch.mm(spectrum, banks.T)
    if use_log_fbank:
        features = torch.max(features, _get_epsilon(device, dtype)).log()
    if use_energy:
        energy = energy.unsqueeze(1)
        features = torch.cat((features, energy) if htk_compat else (energy, features), dim=1)
    return _subtract_column_mean(features, subtract_mean)


def mfcc(waveform, num_ceps=13, num_mel_bins=23, **options):
    features = fbank(waveform, num_mel_bins=num_mel_bins, **options)
    order = torch.arange(num_mel_bins, device=features.device)
    cosines = torch.cos(math.pi / num_mel_bins * (order[:, None] + 0.5) * order[:num_ceps])
    return features.matmul(cosines)
