"""Which FFT plan a call gets: radices, lanes and frames per threadgroup, for one n_fft and direction.

Hop, lengths, padding, batch and scale are run-time arguments, so a new length never compiles anything; only inverse
plans that overlap frames in registers depend on the hop. Nothing here touches torch or a device.
"""

from __future__ import annotations

from functools import cache

from .convolution import MAX_BLUESTEIN_POINTS, transform
from .plan import MAX_N_FFT, MIN_N_FFT, THREADGROUP_BYTES, Plan, fitted, known_stages, supports_real, unfitted

REACH_MAX = 8  # hops under one frame that are overlapped in registers: with more, more waits than memory holds


def supports(n_fft: int, complex_valued: bool = False) -> bool:
    """Whether any kernel does this size, for real signals and windows or for complex ones."""
    if n_fft < 1:
        return False
    if not complex_valued and supports_real(n_fft):
        return True
    points = n_fft if complex_valued or n_fft % 2 else n_fft // 2
    return points <= MAX_BLUESTEIN_POINTS or supports_real(2 * points)


def supported_sizes(largest: int = MAX_N_FFT) -> list[int]:
    """The sizes that supports_real() allows."""
    return [n for n in range(MIN_N_FFT, largest + 1, 2) if supports_real(n)]


def describe(op: str, n_fft: int, complex_valued: bool = False, hop_length: int = 1) -> str:
    """The plan of a call in words."""
    if not complex_valued and supports_real(n_fft):
        return (stft_plan(n_fft) if op == "stft" else inverse_plan(n_fft, hop_length)).describe()
    if not supports(n_fft, complex_valued):
        complex_valued = not complex_valued
    return f"{op} n_fft={n_fft} {transform(n_fft, complex_valued, op == 'istft').describe()}"


@cache
def stft_plan(n_fft: int) -> Plan:
    """The forward plan. Raises ValueError for a size that `supports_real` refuses."""
    radices, lanes, mirrored = known_stages(n_fft)
    return fitted(n_fft, radices, lanes, mirrored=mirrored)


@cache
def istft_plan(n_fft: int) -> Plan:
    """The inverse plan: the forward stages in another order, and a place for the overlap."""
    # Not mirrored: its registers cost more than the exchange it saves (H100: 0.080 against 0.071 ms at n_fft 1024,
    # 0.118 against 0.109 at 4096).
    stages, lanes, _ = known_stages(n_fft)
    radices = _inverse_order(stages)
    if n_fft <= 2048:
        return fitted(n_fft, radices, lanes, overlap="gather")
    for overlap, split in (("ring", False), ("ring", True), ("device", False)):
        plan = unfitted(n_fft, radices, lanes, frames=1, split=split, overlap=overlap)
        if plan.threadgroup_bytes <= THREADGROUP_BYTES:
            return plan
    return fitted(n_fft, radices, lanes, frames=1, split=True, overlap="device")


def inverse_plan(n_fft: int, hop_length: int) -> Plan:
    """The plan of istft, and of the adjoint of stft."""
    return registers_plan(n_fft, hop_length) or istft_plan(n_fft)


@cache
def registers_plan(n_fft: int, hop_length: int) -> Plan | None:
    """The inverse plan that overlaps frames in registers, for hops that fit one of its stages; else None.

    H100, milliseconds in registers and as istft_plan has it: 0.051 and 0.067 at n_fft 1024, 0.058 and 0.072 at 2048
    (hop a quarter of it). Of an earlier, slower text: 0.163 and 0.289 at 6144, 0.235 and 0.400 at 7680, 0.228 and 0.291
    at 8192 (hop 1024), 0.434 and 0.707 at 400 (hop 160).
    """
    radices, lanes, _ = known_stages(n_fft)
    half = n_fft // 2
    if hop_length % 2 or not n_fft // REACH_MAX <= hop_length <= n_fft:
        return None
    fitting = [radix for radix in set(radices) if (hop_length // 2) % (half // radix) == 0]
    if not fitting:
        return None
    # The stage with the least idle lanes comes last.
    last = min(fitting, key=lambda radix: (-(-(half // radix) // lanes) * lanes * radix, -radix))
    rest = list(_inverse_order(radices))
    rest.remove(last)
    shift = hop_length // 2 // (half // last)
    return fitted(n_fft, (*rest, last), lanes, overlap="registers", shift=shift)


def _inverse_order(radices: tuple[int, ...]) -> tuple[int, ...]:
    """Powers of two first, then the larger (H200: 0.065 against 0.080 ms at n_fft 3072, 0.184 against 0.208 at 400)."""
    return tuple(sorted(radices, key=lambda radix: (radix & (radix - 1) != 0, -radix)))
