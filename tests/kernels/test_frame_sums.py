"""The gradients of windows are made of operations that are right on MPS: no sum over an overlapping view, and nothing
that works outside of the queue (pytorch issue 197836)."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mps_spectro_patch.kernels import IstftGeometry, StftGeometry, inverse_envelope, transforms
from mps_spectro_patch.kernels.launch.frame_sums import sum_of_frames

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7, 40])
@pytest.mark.parametrize("hop_length", [1, 3, 4, 5, 8, 16, 17, 33])
def test_the_sum_of_frames_is_that_of_the_overlapping_view(hop_length, frames, complex_valued):
    n_fft = 16
    dtype = torch.complex64 if complex_valued else torch.float32
    samples = torch.randn(n_fft + hop_length * (frames - 1), dtype=dtype)
    before = samples.clone()
    expected = samples.to(torch.complex128).unfold(0, n_fft, hop_length).sum(0)
    result = sum_of_frames(samples, frames, n_fft, hop_length)
    assert result.shape == (n_fft,) and result.dtype is dtype and torch.equal(samples, before)
    assert (result - expected).abs().max() < 1e-5 * max(1, frames**0.5)


class Watch(TorchDispatchMode):
    """Which operations make numbers of a range, and which add up tensors whose elements share memory."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name()
        if any(word in name for word in ("arange", "linspace", "range", "index")):
            self.found.append(name)
        if any(word in name for word in ("sum", "mean", "norm")):
            self.found += [f"{name} of an overlapping view" for one in args if _overlaps(one)]
        return function(*args, **kwargs or {})


def _overlaps(value) -> bool:
    if not isinstance(value, torch.Tensor) or not value.numel():
        return False
    reached = 0
    for stride, size in sorted((s, n) for s, n in zip(value.stride(), value.shape, strict=True) if n > 1):
        if stride <= reached:
            return True
        reached += stride * (size - 1)
    return False


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("n_fft", [64, 63])
@pytest.mark.parametrize("frames", [2, 40])
def test_no_gradient_of_a_window_takes_ranges_or_adds_up_overlapping_views(frames, n_fft, complex_valued, torch_device):
    hop_length = n_fft // 4
    window = torch.rand(n_fft, device=torch_device) + 0.5
    window = torch.complex(window, window) if complex_valued else window
    samples = hop_length * (frames - 1)
    dtype = torch.complex64 if complex_valued else torch.float32
    forward = StftGeometry(2, samples + n_fft, n_fft, hop_length, n_fft, 0, "constant", False, not complex_valued)
    inverse = IstftGeometry(2, frames, n_fft, hop_length, n_fft, n_fft // 2, False, not complex_valued, False, samples)
    signal = torch.randn(2, samples + n_fft, dtype=dtype, device=torch_device)
    spectrum = torch.randn(2, forward.bins, frames, dtype=torch.complex64, device=torch_device)
    given = torch.randn(2, samples, dtype=dtype, device=torch_device)

    def gradients() -> None:
        assert transforms.stft_window_gradient(spectrum, signal, window, forward) is not None
        assert transforms.istft_window_gradient(given, spectrum, window, inverse) is not None

    gradients()  # the tables, which are made on the CPU
    with Watch() as watch:
        gradients()
    assert not watch.found


@pytest.mark.parametrize("frames", [3, 40])
@pytest.mark.parametrize("hop_length", [3, 8, 16])
def test_an_expanded_envelope_is_the_inverse_of_the_sum_of_squared_windows(frames, hop_length):
    window = torch.rand(16) + 0.1
    total = torch.zeros(16 + hop_length * (frames - 1), dtype=torch.float64)
    for number in range(frames):
        total[number * hop_length : number * hop_length + 16] += window.double() ** 2
    for first, length in ((0, len(total)), (5, len(total) - 9), (len(total) - 3, 3), (len(total) // 2, 7)):
        envelope = inverse_envelope(window, 16, hop_length, frames, first, length)
        result = envelope.expand(first, length, hop_length)
        torch.testing.assert_close(result.double(), 1 / total[first : first + length], rtol=1e-6, atol=0)
