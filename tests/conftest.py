"""Fixtures for the whole suite: which device it runs on, fresh but printed seeds, and nothing left patched.

MPS_SPECTRO_TEST_DEVICE=simulator (default), cuda, mps or like-mps (mps without an Apple GPU: tests/like_mps) picks the
device; MPS_SPECTRO_TEST_SEED repeats a run.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import random
import subprocess
import sys
import textwrap
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch import active
from mps_spectro_patch.execution import call_cache, call_sites, launches, quarantine, runner, trouble, verification
from mps_spectro_patch.kernels.compilers import cuda
from mps_spectro_patch.patching import install
from tests import forked, like_mps

# Looks at every launch that a test makes.
from tests.conformance import recording
from tests.conformance.recording import pytest_configure, pytest_sessionfinish, pytest_testnodedown  # noqa: F401
from tests.on_device import pytest_itemcollected  # noqa: F401
from tests.tiers import pytest_collection_modifyitems  # noqa: F401

try:
    from hypothesis import settings
except ImportError:  # only some of the tests need it
    pass
else:
    settings.register_profile("here", deadline=None, max_examples=40)
    settings.load_profile("here")

if like_mps.wanted():
    like_mps.prepare()
TORCH_DEVICES = {"simulator": "cpu", "cuda": "cuda", "mps": "mps"}
ORIGINALS = {"stft": torch.functional.stft, "istft": torch._VF.istft}

# Set in the process that starts first, so that the workers of pytest-xdist inherit it.
SEED = int(os.environ.setdefault("MPS_SPECTRO_TEST_SEED", str(random.SystemRandom().randrange(2**31))))
for variable in [name for name in os.environ if name.startswith("MPS_SPECTRO_PATCH")]:
    del os.environ[variable]  # the tests set their own
os.environ["MPS_SPECTRO_PATCH_SELFTEST"] = "0"  # on a Mac: launches behind whichever call comes first


# A rule that was measured on this machine is nothing for tests; those that are about one have a cache of their own.
tuning = importlib.import_module("mps_spectro_patch.execution.tuning")
read_rule = tuning._read
tuning._read = lambda: None


def pytest_report_header() -> list[str]:
    name = like_mps.NAME if like_mps.wanted() else _device_name()
    return [f"mps_spectro_patch on {name}, MPS_SPECTRO_TEST_SEED={SEED}", *recording.header()]


def _device_name() -> str:
    return "mps" if like_mps.wanted() else os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator")


def pytest_collection_finish() -> None:
    """torch, its compiler and 7,000 tests live as long as the process: looking for garbage among them takes half a
    second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def device_name() -> str:
    """What to pass to enable(devices=...)."""
    return _device_name()


@pytest.fixture(scope="session")
def torch_device(device_name: str) -> torch.device:
    """Where the tensors of that device live."""
    return torch.device(TORCH_DEVICES[device_name])


@pytest.fixture(scope="session", autouse=True)
def _headers_are_precompiled() -> None:
    """In the usual cache, before a test chooses a cache of its own."""
    if _device_name() == "simulator" or like_mps.wanted():
        simulator = importlib.import_module("mps_spectro_patch.kernels.compilers.simulator")
        simulator._precompiled(*simulator._compiler())


@pytest.fixture(autouse=True)
def _seed(request: pytest.FixtureRequest) -> None:
    seed = (SEED + zlib.crc32(request.node.nodeid.encode())) % 2**31
    random.seed(seed)
    torch.manual_seed(seed)


@pytest.fixture(autouse=True)
def _logger_speaks():
    """Some libraries silence every logger that was there before them when they are imported."""
    logger = logging.getLogger(msp.__name__)
    logger.disabled, logger.propagate = False, True
    logger.setLevel(logging.NOTSET)
    logging.disable(logging.NOTSET)


def forget() -> None:
    """What calls have shown so far."""
    for known in (quarantine.plans, quarantine.front_ends, verification.verified, runner._used, trouble.told):
        known.clear()
    for refused in call_cache.never.values():
        refused.clear()
    call_cache.clear()


@pytest.fixture(autouse=True)
def _one_thread_at_a_time():
    """Where torch cannot take more, whether or not the test noticed."""
    before = like_mps.at_once()
    yield
    assert like_mps.at_once() == before, "two threads worked on MPS at once: on a Mac that crashes torch"


@pytest.fixture(autouse=True)
def _who_uses_the_device_asks_for_it(request: pytest.FixtureRequest):
    """So that a test without the mark does the same on every device."""
    before = like_mps.uses()
    yield
    asks = request.node.get_closest_marker("device") is not None
    assert asks or like_mps.uses() == before, "it uses the device under test: take device_name, or mark it `device`"


@pytest.fixture(autouse=True)
def _nothing_stays_patched():
    yield
    left = [op for op, original in ORIGINALS.items() if getattr(torch, op) is not original]
    enabled = active.process is not None
    open_scopes, around = len(install._holders), active.scope.get()
    for op, original in ORIGINALS.items():
        setattr(torch, op, original)
    msp.disable()
    install._holders.clear()
    active.scope.set(None)
    msp.reset_stats()
    forget()
    assert not left, f"the test left torch.{left} patched"
    assert not enabled, "the test left enable() on"
    assert not open_scopes, "the test left an accelerated() open"
    # Seen once in a run of everything, and not again: whose it was is to be found out.
    if around is not None:
        warnings.warn(f"behind this test the scope of an accelerated() was left: {around.options}", stacklevel=1)


@dataclass
class Signal:
    """A signal, its window and its spectrum. `stft()` and `istft()` are calls that the fast path covers."""

    x: torch.Tensor
    window: torch.Tensor
    spectrum: torch.Tensor

    def stft(self) -> torch.Tensor:
        return torch.stft(self.x, 400, 160, 400, self.window, return_complex=True)

    def istft(self) -> torch.Tensor:
        return torch.istft(self.spectrum, 400, 160, 400, self.window, length=self.x.shape[-1])

    def refused(self) -> torch.Tensor:
        """A call that the fast path does not cover, on no device: of a size without a kernel."""
        window = torch.ones(4999, device=self.x.device)
        return torch.stft(self.x, 4999, window=window, return_complex=True)

    def is_fast(self) -> bool:
        """Whether a call made here and now takes the fast path."""
        before = msp.stats()["stft"].fast
        torch.testing.assert_close(self.stft(), self.spectrum, rtol=1e-4, atol=1e-4)
        return msp.stats()["stft"].fast == before + 1


@pytest.fixture
def signal(torch_device) -> Signal:
    x, window = torch.randn(2, 4000, device=torch_device), torch.hann_window(400, device=torch_device)
    return Signal(x, window, torch.stft(x, 400, 160, 400, window, return_complex=True))


@pytest.fixture
def on(device_name) -> dict:
    """The options that accelerate the device under test."""
    return {"devices": (device_name,)}


@pytest.fixture(params=["stft", "istft"])
def op(request) -> str:
    return request.param


@pytest.fixture
def threads(torch_device) -> None:
    """For tests in which several threads work on the device under test."""
    if torch_device.type == "mps":
        pytest.skip("two threads that work on MPS at once crash torch itself (pytorch#197805)")


@pytest.fixture
def forks(torch_device) -> None:
    """For tests that fork a process which has worked on the device under test."""
    if torch_device.type == "mps":
        pytest.skip("a child that works on MPS behind its parent's work there hangs or crashes (pytorch#178037)")


@pytest.fixture
def float64(torch_device) -> None:
    """For tests about tensors of doubles on the device under test."""
    if torch_device.type == "mps":
        pytest.skip("MPS has no tensors of doubles: torch raises a TypeError before a call of ours could be made")


@pytest.fixture
def opcheck(torch_device):
    """torch.library.opcheck(), with every check that it has for the device under test."""
    checks = ["test_schema", "test_faketensor", "test_aot_dispatch_dynamic"]
    checks += [] if torch_device.type == "mps" else ["test_autograd_registration"]  # not there yet on MPS, says torch
    return partial(torch.library.opcheck, test_utils=checks)


@pytest.fixture
def unsampled(monkeypatch) -> None:
    """No call is looked at for report()."""
    monkeypatch.setattr(call_sites, "FIRST", 0)
    monkeypatch.setattr(call_sites, "EVERY", 10**9)


@pytest.fixture
def fused(device_name):
    """A scope in which front ends are fused on the device under test, and nothing is forgiven."""
    with msp.accelerated(devices=(device_name,), on_error="raise", verify="off"):
        yield


@pytest.fixture
def falsify(monkeypatch):
    """falsify(op, change): every launch of that op gives change(its result) instead."""

    def replace(op, change):
        real = launches.prepare

        def prepare(which, *given):
            launch = real(which, *given)
            return (lambda *tensors: change(launch(*tensors))) if which == op else launch

        monkeypatch.setattr(launches, "prepare", prepare)

    return replace


@pytest.fixture
def run_python(device_name: str, torch_device: torch.device, torch_forker: forked.Forker | None):
    """Runs code in a new process that has torch, a signal `x`, its `window` and `devices`; returns what it printed.

    That process is a fork of one that has torch imported and nothing of this package, or of the given forker. It is an
    interpreter of its own where a test asks for that (anew=True), or for another prelude, which may come before torch.
    """
    usual = f"""
    import warnings
    import torch
    devices, device = ({device_name!r},), {str(torch_device)!r}
    x, window = torch.randn(2, 4000, device=device), torch.hann_window(400, device=device)
    original_stft, original_istft = torch.stft, torch.istft

    def magnitude(signal):
        return torch.stft(signal, 400, 160, 400, window, return_complex=True).abs()
    """

    def run(code: str, prelude: str = usual, forker: forked.Forker | None = None, anew: bool = False,
            **environment: str) -> str:  # fmt: skip
        program = textwrap.dedent(prelude) + textwrap.dedent(code)
        environment = {**os.environ, **environment}
        if forker is None and prelude == usual:
            forker = torch_forker
        if forker is not None and not anew:
            exit_code, output, errors = forker.run(program, environment, timeout=300)
        else:
            command = [sys.executable, "-c", program]
            result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
            exit_code, output, errors = result.returncode, result.stdout, result.stderr
        assert exit_code == 0, output + errors[-4000:]
        return output + errors

    return run


def _forker(device_name: str, imports: tuple[str, ...]) -> Iterator[forked.Forker | None]:
    """None where a process that has used an accelerator's libraries cannot be forked."""
    if sys.platform != "linux" or not (device_name == "simulator" or like_mps.wanted()):
        yield None
        return
    forker = forked.Forker(imports)
    yield forker
    forker.close()


@pytest.fixture(scope="session")
def torch_forker(device_name: str):
    """Forks processes that have torch imported."""
    yield from _forker(device_name, forked.TORCH)


@pytest.fixture(scope="session")
def forker(device_name: str):
    """Forks processes that have torch's compiler imported, too."""
    yield from _forker(device_name, forked.COMPILER)


@pytest.fixture(scope="session")
def nvrtc() -> None:
    """For tests that compile for NVIDIA GPUs, without one."""
    pytest.importorskip("cuda.bindings")
    try:
        cuda._bindings()[1].nvrtcVersion()
    except RuntimeError as error:  # cuda-bindings without NVIDIA's library
        pytest.skip(str(error).split("\n")[0])
