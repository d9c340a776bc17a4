"""Lanes do not meet in the banks of threadgroup memory: exchanges leave spare elements where they would, and bands are
given to lanes in another order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from mps_spectro_patch import melscale_fbanks
from mps_spectro_patch.kernels.plans.fft import inverse_plan, stft_plan, supported_sizes
from mps_spectro_patch.kernels.plans.plan import Plan
from mps_spectro_patch.kernels.tables.band_order import spread
from mps_spectro_patch.kernels.tables.filterbank import bands_of


def accesses(plan: Plan) -> Iterator[list[list[int]]]:
    """By access of an exchange between stages: what each lane's first element is called, and its place in memory."""
    before = 1
    for stage, radix in enumerate(plan.radices[:-1]):
        every, spare = plan.spares[stage]
        written = [i // before * before * radix + i % before for i in range(plan.half // radix)]
        read = range(plan.half // plan.radices[stage + 1])
        for elements in (written, read):
            yield [[element, element + element // every * spare] for element in elements]
        before *= radix


def turns(places: list[int], banks: int) -> int:
    """How often memory is asked for what the lanes access, those of as many lanes as there are banks at one time. One
    place is asked for once."""
    groups = [set(places[i : i + banks]) for i in range(0, len(places), banks)]
    return sum(max(Counter(place % banks for place in group).values()) for group in groups)


def waits(places: list[int], banks: int) -> int:
    """How often lanes that go together wait for each other."""
    return turns(places, banks) - -(-len(places) // banks)


@pytest.mark.parametrize("n_fft", [320, 512, 960, 1024, 1536, 1920, 2048, 2560, 3072, 4096, 5120, 6144, 8192])
def test_no_lanes_meet(n_fft):
    for plan in (stft_plan(n_fft), inverse_plan(n_fft, n_fft // 4)):
        for access in accesses(plan):
            assert waits([place for _, place in access], plan.banks) == 0, plan


def test_spare_elements_are_never_worse_than_none():
    for n_fft in supported_sizes(2048)[::5]:
        plan = stft_plan(n_fft)
        none, spare = (
            sum(waits([each[i] for each in access], plan.banks) for access in accesses(plan)) for i in (0, 1)
        )
        assert spare <= none, plan


@pytest.mark.parametrize("n_fft", [64, 128, 256, 1024, 7680, 8192, 16384])
def test_every_element_has_a_place_of_its_own_in_the_memory_of_its_frame(n_fft):
    for plan in (stft_plan(n_fft), inverse_plan(n_fft, n_fft // 4)):
        for every, spare in plan.spares:
            places = {i + i // every * spare for i in range(plan.half)}
            assert len(places) == plan.half and max(places) < plan.exchange_size
        assert plan.exchange_size >= plan.half


def test_frames_that_lie_beside_each_other_begin_in_banks_of_their_own():
    """Lanes of several frames go together where a frame has less than 16."""
    for n_fft in (64, 128, 256):
        plan = stft_plan(n_fft)
        begin = [frame * plan.exchange_size % plan.banks for frame in range(plan.banks // plan.lanes)]
        taken = {(at + lane) % plan.banks for at in begin for lane in range(plan.lanes)}
        assert len(taken) == plan.banks, plan


# --- bands of a filterbank --------------------------------------------------------------------------------------------


BANKS = 16  # for pairs of floats


@pytest.mark.parametrize("lanes", [1, 8, 16, 25, 32, 64, 200])
def test_every_lane_has_a_band_that_it_can_read(lanes):
    for seed in range(20):
        draw = random.Random(seed)
        starts = [draw.randrange(500) for _ in range(lanes)]
        places = [range(start, start + draw.choice((1, 1, 2, 5, 20, 300))) for start in starts]
        placed = spread(places)
        assert sorted(band for band, _ in placed) == list(range(lanes))
        assert all(place in places[band] for band, place in placed)
        assert turns([place for _, place in placed], BANKS) <= turns([allowed[-1] for allowed in places], BANKS)


@pytest.mark.parametrize("n_fft, bands, rate", [
    (400, 80, 16_000), (512, 80, 16_000), (1024, 80, 22_050), (1024, 128, 44_100), (2048, 128, 44_100),
    (2048, 256, 16_000),
])  # fmt: skip
def test_bands_of_a_mel_scale_are_read_from_different_banks(n_fft, bands, rate):
    basis = melscale_fbanks(n_freqs=n_fft // 2 + 1, f_min=0, f_max=rate / 2, n_mels=bands, sample_rate=rate)
    lanes = stft_plan(n_fft).lanes
    rounds, layout, _ = bands_of(basis, n_fft // 2 + 1).forward_tables(lanes, torch.device("cpu"))
    asked = [turns(one[:, 2].tolist(), BANKS) * int(one[0, 1]) for one in layout]
    least = [-(-lanes // BANKS) * int(one[0, 1]) for one in layout]
    assert sum(asked) <= 1.25 * sum(least), (asked, least)
