"""The fused stft kernel against float64: every size, padding, hop and layout it claims."""

import pytest
import torch

from mps_spectro_patch.kernels.launch import transforms
from mps_spectro_patch.kernels.launch.dispatch import RESIDENT_THREADS
from mps_spectro_patch.kernels.launch.smooth_size import steps_of
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.kernels.plans.geometry import PAD_MODES, StftGeometry
from tests.conformance.sources import plan_traits
from tests.tiers import one_of_each

from ..outputs import poisoned_outputs
from .reference import assert_accurate, stft64


def run(signal, window, n_fft, hop_length, center=True, pad_mode="reflect", normalized=False):
    rows, samples = signal.shape
    pad = n_fft // 2 if center else 0
    geometry = StftGeometry(rows, samples, n_fft, hop_length, window.numel(), pad, pad_mode, normalized)
    with poisoned_outputs():
        return transforms.stft(signal, window, geometry)


def check(signal, window, n_fft, hop_length, **options):
    got = run(signal, window, n_fft, hop_length, **options)
    assert_accurate(
        got, stft64(signal, n_fft, hop_length=hop_length, win_length=window.numel(), window=window, **options)
    )


@pytest.mark.parametrize(
    "n_fft",
    one_of_each(fft.supported_sizes(8192) + [10_240, 12_288, 15_360, 16_384], lambda n: plan_traits(fft.stft_plan(n))),
)
def test_every_supported_size_is_accurate(n_fft, torch_device):
    window = torch.rand(n_fft, device=torch_device) + 0.1
    check(torch.randn(2, 3 * n_fft + 1, device=torch_device), window, n_fft, n_fft // 4 + 1)


@pytest.mark.parametrize("samples", [513, 514, 1023, 1024, 1025, 2049, 5000])
@pytest.mark.parametrize("pad_mode", sorted(PAD_MODES))
def test_every_padding_is_exact_around_the_ends(pad_mode, samples, torch_device):
    check(
        torch.randn(3, samples, device=torch_device),
        torch.rand(1024, device=torch_device),
        1024,
        100,
        pad_mode=pad_mode,
    )


@pytest.mark.parametrize("pad_mode", ["constant", "replicate"])
@pytest.mark.parametrize("samples", [1, 2, 31, 511])
def test_signals_shorter_than_the_padding(pad_mode, samples, torch_device):
    check(
        torch.randn(2, samples, device=torch_device),
        torch.rand(1024, device=torch_device),
        1024,
        256,
        pad_mode=pad_mode,
    )


@pytest.mark.parametrize("hop_length", [1, 2, 3, 16, 99, 160, 400, 401, 1000])
@pytest.mark.parametrize("center", [True, False])
def test_any_hop(hop_length, center, torch_device):
    check(
        torch.randn(2, 1601, device=torch_device), torch.rand(400, device=torch_device), 400, hop_length, center=center
    )


@pytest.mark.parametrize("win_length", [1, 2, 255, 256, 399, 400])
def test_windows_shorter_than_the_transform_sit_in_its_middle(win_length, torch_device):
    check(torch.randn(2, 2000, device=torch_device), torch.rand(win_length, device=torch_device) + 0.1, 400, 100)


@pytest.mark.parametrize("n_fft", [16, 400, 2048, 8192])
def test_one_frame(n_fft, torch_device):
    check(
        torch.randn(1, n_fft, device=torch_device), torch.rand(n_fft, device=torch_device), n_fft, n_fft, center=False
    )


@pytest.mark.parametrize("n_fft", [64, 400, 1024, 6144])
def test_normalized_divides_by_the_root_of_the_size(n_fft, torch_device):
    check(
        torch.randn(2, 9000, device=torch_device), torch.rand(n_fft, device=torch_device), n_fft, 320, normalized=True
    )


def test_signals_may_be_views_at_any_offset_and_stride(torch_device):
    storage = torch.randn(5, 6007, device=torch_device)
    window = torch.rand(803, device=torch_device)[1:801]
    views = [storage[:, 1:], storage[::2, 3:4000], storage[:1].expand(3, -1), storage.t()[:, :3].t(), storage[:, ::2],
             storage[1:2, 5:]]  # fmt: skip
    for view in views:
        for hop_length in (200, 201):
            check(view, window, 800, hop_length)


def test_no_frame_is_lost_whatever_the_batch(torch_device):
    window = torch.rand(256, device=torch_device)
    for rows in (1, 2, 7, 33):
        check(torch.randn(rows, 2900, device=torch_device), window, 256, 64)


@pytest.mark.parametrize("device", ["cuda", "mps"])
@pytest.mark.parametrize("start", [None, 0.1, 1.0])
def test_a_threadgroup_takes_several_frames_where_that_leaves_enough_of_them(device, start):
    plan = fft.stft_plan(1024)
    slots = RESIDENT_THREADS[device] // plan.lanes
    steps = {
        waves: steps_of(plan, int(waves * slots), torch.device(device), start) for waves in (0.1, 0.4, 4, 9.8, 100)
    }
    assert steps[0.1] == steps[0.4] == 1 < steps[9.8] <= steps[100] and steps[100] >= 4
    if device == "mps" or start is None:  # which may be larger than is guessed
        assert all(steps[waves] * 4 <= waves for waves in (4, 9.8, 100))


def test_a_threadgroup_that_begins_slowly_takes_more_frames():
    plan, device = fft.stft_plan(1024), torch.device("cuda")
    slots = RESIDENT_THREADS["cuda"] // plan.lanes
    drawn = [(steps_of(plan, n, device, 0.1), steps_of(plan, n, device, 1.0)) for n in range(1, 40 * slots, slots // 3)]
    assert all(few <= many for few, many in drawn) and any(few < many for few, many in drawn)


def test_the_same_input_gives_the_same_bits(torch_device):
    signal, window = torch.randn(3, 9000, device=torch_device), torch.rand(1024, device=torch_device)
    first, second = (torch.view_as_real(run(signal, window, 1024, 256)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_row_does_not_depend_on_its_batch(torch_device):
    signal, window = torch.randn(5, 9000, device=torch_device), torch.rand(1024, device=torch_device)
    together, alone = run(signal, window, 1024, 256), run(signal[3:4], window, 1024, 256)
    assert torch.equal(torch.view_as_real(together[3]), torch.view_as_real(alone[0]))


def test_nan_and_infinity_stay_in_the_frames_that_hold_them(torch_device):
    signal, window = torch.randn(1, 8000, device=torch_device), torch.rand(400, device=torch_device)
    signal[0, 1000], signal[0, 5000] = float("nan"), float("inf")
    got = run(signal, window, 400, 100, center=False).cpu()
    starts = torch.arange(got.shape[2]) * 100
    touched = ((starts <= 1000) & (starts > 600)) | ((starts <= 5000) & (starts > 4600))
    finite = torch.isfinite(torch.view_as_real(got)).all(-1)[0]
    assert finite[:, ~touched].all()
    assert not finite[:, touched].all(0).any()


def test_the_imaginary_parts_of_the_first_and_last_bin_are_zero(torch_device):
    got = run(torch.randn(2, 4000, device=torch_device), torch.rand(512, device=torch_device), 512, 128)
    assert not got[:, 0].imag.any() and not got[:, -1].imag.any()


@pytest.mark.parametrize("n_fft", [16, 18, 50, 400, 512, 1024, 2250, 8192])
def test_two_sided_spectra(n_fft, torch_device):
    signal, window = torch.randn(2, 3 * n_fft + 1, device=torch_device), torch.rand(n_fft, device=torch_device)
    geometry = StftGeometry(2, 3 * n_fft + 1, n_fft, n_fft // 4, n_fft, n_fft // 2, "reflect", True, False)
    with poisoned_outputs():
        got = transforms.stft(signal, window, geometry)
    options = dict(hop_length=n_fft // 4, window=window, normalized=True, onesided=False)
    assert_accurate(got, stft64(signal, n_fft, **options))
    assert got.stride() == (got.shape[1] * got.shape[2], 1, got.shape[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("hop_length", [100, 101])
def test_half_signals_are_read_as_they_are(dtype, hop_length, torch_device):
    signal = torch.randn(3, 2001, device=torch_device).to(dtype)[:, 1:]
    check(signal, torch.rand(400, device=torch_device), 400, hop_length)
