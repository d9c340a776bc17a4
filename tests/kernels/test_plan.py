"""FFT plans: which sizes have one, and that each keeps the limits every Apple GPU guarantees."""

from math import prod

import pytest

from mps_spectro_patch.kernels.plans import fft as plans
from mps_spectro_patch.kernels.plans import plan as limits

SIZES = plans.supported_sizes()
NAMED = (400, 480, 512, 600, 960, 1200, 1920, 2048, 4096, 5120, 6144, 7680, 8192)


def is_smooth(number):
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    return number == 1


def test_every_even_size_from_16_to_8192_with_a_smooth_half_is_in_the_real_family():
    small = [n for n in range(-4, 8193) if plans.supports_real(n)]
    assert small == [n for n in range(16, 8193, 2) if is_smooth(n // 2)] == plans.supported_sizes(8192)
    large = [n for n in range(8194, 20_000) if plans.supports_real(n)]
    assert all(n % 2 == 0 and n <= 16_384 and is_smooth(n // 2) for n in large)
    assert set(NAMED) <= set(SIZES) and {9600, 10_240, 12_288, 15_360, 16_384} <= set(large)


def test_every_size_to_4096_is_supported_and_no_larger_than_the_kernels_hold():
    for complex_valued in (False, True):
        assert all(plans.supports(n, complex_valued) for n in range(1, 4097))
        assert not any(plans.supports(n, complex_valued) for n in (0, -1, -16, 16_385, 32_768))
    assert plans.supports(8190) and plans.supports(8186) and not plans.supports(8194) and not plans.supports(4099)
    assert plans.supports(8192, True) and not plans.supports(4099, True)


@pytest.mark.parametrize("n_fft", [0, -16, 8, 14, 17, 22, 1042, 8194, 16_386, 32_768])
def test_the_real_family_refuses_other_sizes(n_fft):
    assert not plans.supports_real(n_fft)
    with pytest.raises(ValueError, match="no plan"):
        plans.stft_plan(n_fft)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_every_transform_of_the_general_family_holds_its_points_within_the_limits_of_metal(complex_valued, inverse):
    kernels = set()
    for n_fft in range(1, 4097):
        how = plans.transform(n_fft, complex_valued, inverse)
        kernels.add((how.plan, how.bluestein))
        assert how.bins == (how.points if complex_valued or how.packed else n_fft // 2 + 1)
        assert how.points == (n_fft // 2 if not complex_valued and n_fft % 2 == 0 else n_fft)
        assert how.points <= how.points_max and how.bins <= how.bins_max
        assert not how.bluestein or how.points_max + how.bins_max - 1 <= how.plan.half
        if how.bluestein:
            least = how.points + how.bins - 1
            power = max(16, 1 << (least - 1).bit_length())
            between = () if power < 2048 or inverse else (power * 9 // 16, power * 5 // 8)
            between += () if power < 4096 else (power * 3 // 4,)
            assert how.plan.half == min(size for size in (*between, power) if size >= least)
        else:
            assert how.plan.half == how.points
        assert how.plan.threadgroup_bytes <= 32_768 and how.plan.threads <= 1024 and how.plan.values <= 16
    # 16 to 8192 points, and up to three between each of the last; of real frames none needs 8192.
    assert sum(bluestein for _, bluestein in kernels) == (12 if inverse else 18) - (not complex_valued)


def test_a_folded_transform_holds_its_points_and_the_bins_on_both_sides():
    kernels = set()
    for n_fft in range(3, 4097, 2):
        for used in {1, 2, n_fft // 16 + 1, n_fft // 8 + 1, n_fft // 4 + 1, 513, n_fft // 2, n_fft // 2 + 1}:
            how = plans.transform(n_fft, False, used=used)
            if not how.folded:
                continue
            kernels.add((how.plan, how.points_max, how.bins_max))
            size = how.plan.half
            assert (how.points, how.bins) == ((n_fft + 1) // 2, used) and used <= n_fft // 2
            assert how.points <= how.points_max and used <= how.bins_max
            # Any of the most points to any of the most bins, of either sign, is a way within the convolution.
            assert how.points_max + 2 * how.bins_max - 2 <= size
            assert size < plans.transform(n_fft, False).plan.half
            # The text takes what a lane's register holds for a bin k or for a bin -k by the register alone.
            assert how.plan.lanes <= size // 4 and how.bins_max <= size // 4 + 1
    assert len({which.half for which, *_ in kernels}) == len(kernels) >= 10  # one kernel for every size of convolution


@pytest.mark.parametrize("make", [plans.stft_plan, plans.istft_plan])
def test_the_stages_of_every_plan_make_up_half_the_size(make):
    for n_fft in SIZES:
        plan = make(n_fft)
        assert prod(plan.radices) == n_fft // 2
        assert set(plan.radices) <= set(limits.RADICES)
        assert len(plan.radices) <= limits.STAGES_MAX


@pytest.mark.parametrize("make", [plans.stft_plan, plans.istft_plan])
def test_every_plan_keeps_to_the_limits_of_metal(make):
    for n_fft in SIZES:
        plan = make(n_fft)
        assert plan.threadgroup_bytes <= 32_768
        assert plan.threads <= 1_024
        assert plan.values <= 16, "more than 16 complex values per lane spill"
        assert plan.threads % 32 == 0 and (plan.lanes % 32 == 0 or 32 % plan.lanes == 0)


def test_common_frames_up_to_1024_stay_within_one_simdgroup():
    assert all(plans.stft_plan(n).lanes <= 32 for n in (64, 128, 256, 400, 480, 512, 600, 640, 768, 800, 960, 1024))


def test_a_mirrored_plan_gives_a_lane_both_bins_of_every_pair():
    mirrored = [plans.stft_plan(n) for n in SIZES if plans.stft_plan(n).mirrored]
    assert {p.n_fft for p in mirrored} >= {256, 400, 504, 960, 1024, 2048, 4096}
    assert not plans.stft_plan(240).mirrored  # it would be slower
    assert {p.half // p.radices[-1] % 2 for p in mirrored} == {0, 1}  # in some, lane 0 has one butterfly
    assert min(p.half // p.radices[-1] / p.lanes for p in mirrored) < 1.5  # in some, lanes have none
    for plan in mirrored:
        radix = plan.radices[-1]
        total = plan.half // radix
        assert radix % 2 == 0 and plan.lanes < total <= 2 * plan.lanes and plan.values >= 2 * radix
        everything = set()
        for lane in range((total + 1) // 2):  # the others have none
            butterflies = {lane, total - lane} if lane else {0} | ({total // 2} if total % 2 == 0 else set())
            owned = {b + j * total for b in butterflies for j in range(radix)}
            assert {(plan.half - k) % plan.half for k in owned} == owned and not owned & everything
            everything |= owned
        assert everything == set(range(plan.half)), plan


def test_the_inverse_runs_the_forward_stages_in_an_order_of_its_own():
    for n_fft in SIZES:
        assert sorted(plans.istft_plan(n_fft).radices) == sorted(plans.stft_plan(n_fft).radices)
    assert plans.istft_plan(3072).radices == (16, 16, 6) and plans.istft_plan(1920).radices == (8, 8, 15)


def test_hops_that_fit_a_stage_overlap_in_registers_within_the_limits_of_metal():
    used = (400, 160), (512, 128), (1024, 256), (2048, 512), (4096, 1024), (6144, 1024), (7680, 1024), (8192, 1024)
    for n_fft, hop_length in used:
        assert plans.registers_plan(n_fft, hop_length) is not None
    assert plans.registers_plan(400, 161) is None and plans.registers_plan(4096, 1000) is None
    assert plans.registers_plan(2048, 441) is None  # an odd hop
    for n_fft in SIZES:
        for hop_length in {n_fft // division for division in range(1, 33)}:
            plan = plans.registers_plan(n_fft, hop_length)
            if plan is None:
                continue
            stride = plan.half // plan.radices[-1]
            assert prod(plan.radices) == n_fft // 2 and hop_length == 2 * plan.shift * stride
            assert 1 <= plan.shift <= plan.radices[-1] and plan.reach == -(-n_fft // hop_length)
            assert plan.threadgroup_bytes <= 32_768 and plan.threads <= 1_024 and plan.threads % 32 == 0


def test_stages_run_in_the_order_that_was_fastest():
    """The smallest first where samples are loaded, except where pairs end in one lane; powers of two first in istft."""
    for n_fft in SIZES:
        plan = plans.stft_plan(n_fft)
        assert plan.mirrored or list(plan.radices) == sorted(plan.radices), plan
    assert plans.stft_plan(2560).radices == (5, 16, 16) and plans.stft_plan(1024).mirrored
    assert plans.inverse_plan(400, 160).radices == (8, 5, 5) and plans.inverse_plan(960, 240).radices == (4, 15, 8)
