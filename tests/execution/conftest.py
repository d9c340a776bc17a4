"""What the tests that make functions fail need: signals, and caches that are empty."""

from __future__ import annotations

import functools
import gc

import pytest

import mps_spectro_patch as msp
from mps_spectro_patch.execution import from_caller
from tests.compat.conftest import stand_in  # noqa: F401
from tests.conftest import forget

from .injection import Signals


@pytest.fixture
def signals(torch_device) -> Signals:
    return Signals(torch_device)


@pytest.fixture(scope="module")
def own_caches() -> list:
    """Emptied, so that what is made once for all calls is made again and may fail."""
    gc.collect()
    wrappers = (one for one in gc.get_objects() if isinstance(one, functools._lru_cache_wrapper))
    return [one for one in wrappers if one.__module__.startswith(msp.__name__)]


@pytest.fixture
def fresh(own_caches):
    def forget_all(kernels_too: bool = True) -> None:
        forget()
        msp.reset_stats()
        from_caller._known.clear()
        for cached in own_caches if kernels_too else ():
            cached.cache_clear()

    yield forget_all
    forget_all()
