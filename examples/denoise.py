"""Takes steady noise (hiss, hum, rumble) out of a WAV file. Needs only torch and the standard library.

    python denoise.py noisy.wav clean.wav --device mps

Two passes of a Wiener filter over the spectrogram. The first, with long windows, keeps the tones. The second, with
short windows, works on what the first removed: it keeps the attacks, which long windows smear. The noise is estimated
from the quietest moments of the file.
"""

import argparse
import os
import wave

import torch
from torch.nn.functional import avg_pool2d


def main():
    parser = argparse.ArgumentParser(description="Take steady noise out of a WAV file.")
    parser.add_argument("input", help="a WAV file of 8, 16, 24 or 32-bit PCM samples, any number of channels")
    parser.add_argument("output", help="the WAV file to write")
    parser.add_argument("--device", default="cpu", help="where torch computes: cpu, mps, cuda (default: %(default)s)")
    parser.add_argument("--n-fft", type=int, default=2048, help="samples in a long window (default: %(default)s)")
    parser.add_argument("--hop", type=int, default=512, help="samples between long windows (default: %(default)s)")
    parser.add_argument("--reduction", type=float, default=24, help="largest reduction, in dB (default: %(default)s)")
    parser.add_argument("--bits", type=int, choices=(8, 16, 24, 32), help="of the output (default: as the input)")
    options = parser.parse_args()
    if options.n_fft < 64 or options.n_fft % 4 or not 4 <= options.hop <= options.n_fft // 2:
        parser.error("--n-fft must be a multiple of 4 from 64 on, --hop from 4 to half of it")

    try:
        signal, rate, bits = read_wav(options.input)
    except (OSError, ValueError) as error:
        parser.exit(2, f"denoise: {error}\n")
    if signal.shape[1] < options.n_fft:
        parser.exit(2, f"denoise: {options.input} is shorter than one window of {options.n_fft} samples\n")

    signal = signal.to(options.device)
    clean = torch.stack([denoise(channel, options.n_fft, options.hop, options.reduction) for channel in signal])
    try:
        write_wav(options.output, clean.cpu(), rate, options.bits or bits)
    except OSError as error:
        parser.exit(2, f"denoise: {error}\n")


def denoise(signal, n_fft, hop, reduction):
    """One channel without its noise: the tones, and the attacks from what is left of the signal without them."""
    tones = wiener(signal, n_fft, hop, reduction)
    return tones + wiener(signal - tones, n_fft // 4, hop // 4, reduction)


def wiener(signal, n_fft, hop, reduction):
    """Each point of the spectrogram times the share of its power that is not noise."""
    window = torch.hann_window(n_fft, device=signal.device)
    spectrum = torch.stft(signal, n_fft, hop, window=window, return_complex=True)
    power = spectrum.abs().square()
    noise = noise_power(power)
    # Smoothed over frames and bins, or single points of noise survive and ring ("musical noise").
    smooth = avg_pool2d(power[None], (3, 5), stride=1, padding=(1, 2), count_include_pad=False)[0]
    share = 1 - 4 * noise / smooth.clamp(min=1e-20)
    spectrum = spectrum * share.clamp(min=10 ** (-reduction / 20))
    return torch.istft(spectrum, n_fft, hop, window=window, length=len(signal))


def noise_power(power, quiet_share=0.08):
    """Mean power of each bin in the quietest frames; frames of digital silence are left out."""
    loudness = power.mean(dim=0)
    order = loudness.argsort()
    order = order[loudness[order] > 0]
    if len(order) == 0:
        return power[:, :1]
    quietest = order[: max(1, int(quiet_share * len(order)))]
    return power[:, quietest].mean(dim=1, keepdim=True)


def read_wav(path):
    """Samples from -1 to 1 as (channels, samples), the sample rate, and the bits of a sample."""
    try:
        with open(path, "rb") as opened, wave.open(opened) as file:
            channels, width, rate, frames = file.getparams()[:4]
            data = bytearray(file.readframes(frames))
    except (wave.Error, EOFError) as error:
        why = str(error) or ("it ends too early" if os.path.getsize(path) else "it is empty")
        raise ValueError(f"{path} is not a WAV file of PCM samples ({why})") from None
    data = data[: len(data) // (width * channels) * width * channels]
    if not data:
        raise ValueError(f"{path} holds no samples")
    if not rate:
        raise ValueError(f"{path} says that its sample rate is 0")
    if width == 1:  # the only unsigned one
        samples = (torch.frombuffer(data, dtype=torch.uint8).int() - 128) / 2**7
    elif width == 2:
        samples = torch.frombuffer(data, dtype=torch.int16) / 2**15
    elif width == 3:
        low, middle, high = torch.frombuffer(data, dtype=torch.uint8).view(-1, 3).int().unbind(1)
        samples = (low + 256 * middle + 65536 * (high - 256 * (high > 127).int())) / 2**23
    elif width == 4:
        samples = torch.frombuffer(data, dtype=torch.int32) / 2**31
    else:
        raise ValueError(f"{path} has samples of {8 * width} bits; 8, 16, 24 and 32 can be read")
    return samples.view(-1, channels).T.contiguous(), rate, 8 * width


def write_wav(path, signal, rate, bits):
    """Writes (channels, samples) as PCM; what is louder than full scale is clipped."""
    full = 2 ** (bits - 1)
    samples = (signal.T.double() * full).round().clamp(-full, full - 1).long()
    samples = samples + 128 if bits == 8 else samples
    low_bytes = samples.contiguous().view(torch.uint8).view(-1, 8)[:, : bits // 8]  # little-endian, as WAV is
    data = bytearray(low_bytes.numel())
    torch.frombuffer(data, dtype=torch.uint8).copy_(low_bytes.flatten())
    with open(path, "wb") as opened, wave.open(opened, "wb") as file:
        file.setparams((signal.shape[0], bits // 8, rate, signal.shape[1], "NONE", None))
        file.writeframes(data)


if __name__ == "__main__":
    main()
