"""What the tests from outside share: the package, enabled for the device under test."""

from __future__ import annotations

import pytest

import mps_spectro_patch as msp


@pytest.fixture
def enabled(device_name: str):
    """The package on, without its own comparison with the original: a wrong result must arrive here."""
    msp.enable(devices=(device_name,), on_error="raise", verify="off")
    yield
    msp.disable()
