"""Which tests are about the device under test: those that ask for it, by a fixture, are marked `device`.

Whatever device that is, all others do the same. So `-m "not thorough and device"` with another device runs all of the
first tier that a run with the simulator has not done already. tests/like_mps looks that it is so: there a test without
the mark, or a process that it starts, that works on the device nevertheless, or asks torch whether there is one, fails.
"""

from __future__ import annotations

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    if "device_name" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.device)
