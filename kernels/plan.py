"""FFT plans."""


def supports(n_fft: int) -> bool:
    return 16 <= n_fft <= 8192 and n_fft % 2 == 0
