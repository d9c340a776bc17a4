"""The fused istft kernel against float64: every size, hop, trimming and layout it claims."""

import pytest
import torch

from mps_spectro_patch.kernels.launch import dispatch, smooth_size, transforms
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.kernels.plans.geometry import IstftGeometry, runs_per_row
from tests.conformance.sources import plan_traits
from tests.tiers import one_of_each

from ..outputs import poisoned_outputs
from .reference import REL_L2, assert_accurate, istft64


def run(spectrum, window, n_fft, hop_length, center=True, normalized=False, length=None):
    rows, _, frames = spectrum.shape
    if length is None:
        length = n_fft + hop_length * (frames - 1) - (n_fft // 2 * 2 if center else 0)
    trim = n_fft // 2 if center else 0
    geometry = IstftGeometry(rows, frames, n_fft, hop_length, window.numel(), trim, normalized, True, False, length)
    with poisoned_outputs():
        return transforms.istft(spectrum, window, geometry)


def check(spectrum, window, n_fft, hop_length, length=None, **options):
    got = run(spectrum, window, n_fft, hop_length, length=length, **options)
    reference = istft64(
        spectrum, n_fft, hop_length=hop_length, win_length=window.numel(), window=window, length=length, **options
    )
    assert_accurate(got, reference)


def spectrum_of(rows, n_fft, frames, device):
    return torch.randn(rows, frames, n_fft // 2 + 1, dtype=torch.complex64, device=device).transpose(1, 2)


@pytest.mark.parametrize(
    "n_fft",
    one_of_each(fft.supported_sizes(8192) + [10_240, 12_288, 15_360, 16_384], lambda n: plan_traits(fft.istft_plan(n))),
)
def test_every_supported_size_is_accurate(n_fft, torch_device):
    window = torch.rand(n_fft, device=torch_device) + 0.2
    check(spectrum_of(2, n_fft, 11, torch_device), window, n_fft, n_fft // 4 + 1)


@pytest.mark.parametrize("n_fft", [16, 400, 1024, 2048, 4096, 6144])
@pytest.mark.parametrize("division", [1, 2, 3, 4, 7, 16])
def test_any_hop(n_fft, division, torch_device):
    check(
        spectrum_of(2, n_fft, 9, torch_device), torch.rand(n_fft, device=torch_device) + 0.2, n_fft, n_fft // division
    )


REGISTERS = [  # every 9th of the sizes and hops that overlap in registers, and those that programs use
    *[(n, n // 4) for n in fft.supported_sizes(8192) if n % 4 == 0 and fft.registers_plan(n, n // 4)][::9],
    *[(n, n // 2) for n in fft.supported_sizes(8192) if n % 2 == 0 and fft.registers_plan(n, n // 2)][3::9],
    (400, 160), (480, 120), (512, 128), (4096, 1024), (5120, 1024), (6144, 1024), (7680, 1024), (8192, 1024),
]  # fmt: skip


@pytest.mark.parametrize("n_fft, hop_length", one_of_each(REGISTERS, lambda size: plan_traits(fft.inverse_plan(*size))))
def test_frames_that_overlap_in_registers(n_fft, hop_length, torch_device):
    assert fft.registers_plan(n_fft, hop_length) is not None
    for rows, frames in ((1, 40), (3, 7)):
        spectrum = spectrum_of(rows, n_fft, frames, torch_device)
        check(spectrum, torch.rand(n_fft, device=torch_device) + 0.2, n_fft, hop_length, length=frames * hop_length - 3)
    check(spectrum, torch.rand(n_fft - 3, device=torch_device) + 0.2, n_fft, hop_length, normalized=True)


@pytest.mark.parametrize("hop_length", [1, 2, 5])
@pytest.mark.parametrize("n_fft", [16, 64, 400])
def test_hops_of_a_few_samples(n_fft, hop_length, torch_device):
    draws = [(spectrum_of(1, n_fft, 150, torch_device), torch.rand(n_fft, device=torch_device) + 0.2) for _ in range(8)]
    if n_fft // hop_length < 100:
        return check(*draws[0], n_fft, hop_length)
    # So many frames overlap that their sum alone rounds by about the bound (2.5e-7 here and 3.1e-7 in torch, but up to
    # 3.3e-7 and 4.2e-7 once in sixty): so it holds on average.
    errors = []
    for spectrum, window in draws:
        reference = istft64(spectrum, n_fft, hop_length=hop_length, win_length=n_fft, window=window)
        errors.append(float((run(spectrum, window, n_fft, hop_length).cpu() - reference).norm() / reference.norm()))
    assert sum(errors) / len(errors) <= REL_L2 and max(errors) < 5e-7


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 8, 9, 40, 301])
@pytest.mark.parametrize("n_fft", [256, 1024, 4096, 8192])
def test_any_number_of_frames_with_and_without_centring(n_fft, frames, torch_device):
    window = torch.rand(n_fft, device=torch_device) + 0.2
    frames = min(frames, 40) if n_fft > 1024 else frames
    check(spectrum_of(1, n_fft, frames, torch_device), window, n_fft, n_fft // 4, center=False)
    if frames > 1:
        check(spectrum_of(2, n_fft, frames, torch_device), window, n_fft, n_fft // 4, center=True)


@pytest.mark.parametrize("length", [1, 7, 99, 100, 101, 1000, 1700, 1800])
@pytest.mark.parametrize("center", [True, False])
def test_any_length(length, center, torch_device):
    check(
        spectrum_of(64, 400, 17, torch_device),
        torch.rand(400, device=torch_device) + 0.2,
        400,
        100,
        length=length,
        center=center,
    )


@pytest.mark.parametrize("win_length", [101, 200, 399])
def test_windows_shorter_than_the_transform(win_length, torch_device):
    check(spectrum_of(2, 400, 17, torch_device), torch.rand(win_length, device=torch_device) + 0.2, 400, 100)


@pytest.mark.parametrize("n_fft", [400, 1024, 7680])
def test_normalized_multiplies_by_the_root_of_the_size(n_fft, torch_device):
    window = torch.rand(n_fft, device=torch_device) + 0.2
    check(spectrum_of(2, n_fft, 9, torch_device), window, n_fft, n_fft // 4, normalized=True)


def test_spectra_are_read_in_either_memory_order_and_as_views(torch_device):
    spectrum = torch.randn(4, 201, 31, dtype=torch.complex64, device=torch_device)
    window = torch.rand(400, device=torch_device) + 0.2
    views = [spectrum, spectrum[::2], spectrum[:, :, 3:20], spectrum[:, :, ::2], spectrum[:1].expand(3, -1, -1),
             spectrum.transpose(1, 2).contiguous().transpose(1, 2)]  # fmt: skip
    for view in views:
        check(view, window, 400, 130)


def test_the_imaginary_parts_of_the_first_and_last_bin_do_not_count(torch_device):
    spectrum, window = spectrum_of(1, 400, 9, torch_device), torch.rand(400, device=torch_device) + 0.2
    changed = spectrum.clone()
    changed[:, 0] += 5j
    changed[:, -1] -= 7j
    assert torch.equal(run(spectrum, window, 400, 100), run(changed, window, 400, 100))


@pytest.mark.parametrize("n_fft, hop_length", [(1024, 256), (1024, 200), (4096, 1000), (400, 160), (8192, 1024)])
def test_however_the_work_is_split_it_is_right_and_the_same_every_time(n_fft, hop_length, torch_device, monkeypatch):
    spectrum, window = spectrum_of(2, n_fft, 30, torch_device), torch.rand(n_fft, device=torch_device) + 0.2
    results = []
    for threads in (1, 1000, 10_000_000):
        monkeypatch.setitem(dispatch.RESIDENT_THREADS, torch_device.type, threads)
        smooth_size._inverse_recipe.cache_clear()
        check(spectrum, window, n_fft, hop_length)
        results.append(run(spectrum, window, n_fft, hop_length))
        assert torch.equal(results[-1], run(spectrum, window, n_fft, hop_length))
    smooth_size._inverse_recipe.cache_clear()
    if fft.registers_plan(n_fft, hop_length) is None:  # these add up in one order only
        assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("rows, hops, halo, resident, count", [
    (64, 3003, 2, 528, 8),  # 9 runs a row would be a few more than the device works on at a time
    (4, 5161, 3, 528, 132), (1, 100, 3, 528, 33), (1, 10, 0, 528, 10), (1000, 50, 3, 528, 1), (1, 2, 7, 528, 1),
])  # fmt: skip
def test_runs_fill_the_device_and_not_a_little_more(rows, hops, halo, resident, count):
    assert runs_per_row(rows, hops, halo, resident) == count


def test_stft_and_istft_return_the_signal(torch_device):
    signal, window = torch.randn(2, 30_000, device=torch_device), torch.hann_window(2048, device=torch_device)
    from mps_spectro_patch.kernels.plans.geometry import StftGeometry

    spectrum = transforms.stft(signal, window, StftGeometry(2, 30_000, 2048, 441, 2048, 1024, "reflect", False))
    assert_accurate(run(spectrum, window, 2048, 441, length=30_000), signal.cpu().double())


def test_an_envelope_near_zero_is_left_to_torch(torch_device):
    spectrum, window = spectrum_of(1, 400, 9, torch_device), torch.hann_window(400, device=torch_device)
    assert run(spectrum, window, 400, 100, center=False) is None
    assert run(spectrum, window, 400, 400, center=True) is None
