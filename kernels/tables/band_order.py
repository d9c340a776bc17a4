"""Which lane adds up which band, so that lanes side by side read from different banks of threadgroup memory."""

from __future__ import annotations

BANKS = 16  # for values of 8 bytes; as many lanes read at a time
_SEARCHED = 256  # lanes, until a band gets what is left


def spread(places: list[range]) -> list[tuple[int, int]]:
    """For every lane a band, and the pair from which it reads. places: by band, those from which it can.

    What is better of two: the bands in their order, each read from the last place; and a matching of bands and banks,
    found by augmenting paths.
    """
    in_order = [(band, allowed[-1]) for band, allowed in enumerate(places)]
    return min(in_order, _matched(places), key=turns)


def turns(placed: list[tuple[int, int]]) -> int:
    """How often memory is asked, in all, for what each lane reads at one time."""
    total = 0
    for start in range(0, len(placed), BANKS):
        banks: dict[int, set[int]] = {}
        for _, place in placed[start : start + BANKS]:
            banks.setdefault(place % BANKS, set()).add(place)  # the same place is read for all at once
        total += max(map(len, banks.values()))
    return total


def _matched(places: list[range]) -> list[tuple[int, int]]:
    """Of any BANKS lanes, lane i gets a band that can be read from bank i, as far as there is one."""
    lanes: list[tuple[int, int] | None] = [None] * len(places)

    def find(band: int, seen: set[int]) -> bool:
        """Gives the band a lane, whose own band then looks for another."""
        for place in reversed(places[band][-BANKS:]):
            for lane in range(place % BANKS, len(lanes), BANKS):
                if lane in seen or len(seen) == _SEARCHED:
                    continue
                seen.add(lane)
                holder = lanes[lane]
                if holder is None or find(holder[0], seen):
                    lanes[lane] = band, place
                    return True
        return False

    left = [(band, places[band][-1]) for band in range(len(places)) if not find(band, set())]
    return [left.pop() if holder is None else holder for holder in lanes]
