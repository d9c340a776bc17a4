"""Lanes do not meet in the banks of threadgroup memory: exchanges leave spare elements where they would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from mps_spectro_patch.kernels.plans.fft import inverse_plan, stft_plan, supported_sizes
from mps_spectro_patch.kernels.plans.plan import Plan


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


def waits(places: list[int], banks: int) -> int:
    """How often lanes that go together wait for each other."""
    together = [places[i : i + banks] for i in range(0, len(places), banks)]
    return sum(max(Counter(place % banks for place in some).values()) - 1 for some in together)


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
