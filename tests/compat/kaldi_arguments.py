"""Arguments of fbank as hypothesis draws them, and how its results are judged."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from hypothesis import strategies as st

_SWITCHES = (
    "htk_compat", "raw_energy", "remove_dc_offset", "snip_edges", "subtract_mean", "use_energy", "use_log_fbank",
    "use_power",
)  # fmt: skip


def _as_given(switches: dict, others: dict, highest: tuple, sizes: tuple) -> dict:
    frequency, length, shift, rounded = sizes
    high_freq, vtln_high = highest
    more = dict(sample_frequency=frequency, frame_length=length, frame_shift=shift, round_to_power_of_two=rounded)
    return switches | others | more | dict(high_freq=high_freq, vtln_high=vtln_high)


ARGUMENTS = st.builds(
    _as_given,
    st.fixed_dictionaries({name: st.booleans() for name in _SWITCHES}),
    st.fixed_dictionaries({
        "blackman_coeff": st.floats(0.3, 0.5),
        "energy_floor": st.sampled_from([0.0, 1e-3, 1.0]),
        "low_freq": st.sampled_from([0.0, 20.0, 90.0]),
        "num_mel_bins": st.sampled_from([10, 23, 40, 80]),
        "preemphasis_coefficient": st.sampled_from([0.0, 0.5, 0.97, 1.0]),
        "vtln_warp": st.sampled_from([1.0, 1.0, 0.85, 1.2]),
        "window_type": st.sampled_from(["hamming", "hanning", "povey", "rectangular", "blackman"]),
    }),
    st.sampled_from([(0.0, -500.0), (-200.0, -500.0), (3600.0, 3000.0)]),
    st.sampled_from([
        (16000.0, 25.0, 10.0, True), (16000, 25, 10, False), (8000.0, 32.0, 7.5, True), (22050.0, 23.0, 11.0, True),
        (16000.0, 64.0, 5.0, False), (16000.0, 10.0, 12.5, True),
    ]),
)  # fmt: skip


def errors(results: Iterable[torch.Tensor], expected: torch.Tensor) -> list[float]:
    """Of each, the root mean square of the difference, as part of the largest value or 1. (The largest difference is
    that of one quiet band, and no more than an accident.)"""
    scale = max(1.0, float(expected.abs().max()))
    return [float((one.cpu().double() - expected).square().mean().sqrt()) / scale for one in results]
