"""Mel functions that are called again and again: after the first call they take a short way. Whatever changes between
two calls, the second has the numbers that the function's own code gives."""

# ruff: noqa: F811  (fixtures)

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import mps_spectro_patch as msp
from mps_spectro_patch.compat.tools import deferred
from mps_spectro_patch.compat.tools.mel_notes import Signal
from mps_spectro_patch.execution import call_cache
from mps_spectro_patch.front_ends import compute
from mps_spectro_patch.kernels import bases
from mps_spectro_patch.kernels.tables import filterbank
from tests.front_ends.reference import relative

from .test_hifigan import PACKAGE, SPEECH, formula64, module  # noqa: F401  (a fixture)

# Of two calls of one function, the second is cached; HiFi-GAN's own makes its filterbank anew, Matcha-TTS's keeps it.
NAMES = "hifigan", "matcha"


@pytest.fixture
def audio(torch_device):
    return torch.rand(2, 2048, device=torch_device) * 1.8 - 0.9


class Functions(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def kept(module, what):
    (key,) = getattr(module, what)
    return getattr(module, what), key


def put(what, change):
    """A change of what the module keeps."""

    def act(module):
        cache, key = kept(module, what)
        cache[key] = change(cache[key])

    return act


def nothing(module):
    pass


def by_data(basis):
    basis.data = basis.data * 3
    return basis


def least(module):
    module.spectral_normalize_torch = lambda x: torch.log(torch.clamp(x, min=0.1))


CHANGES = {  # what happens to the module, what becomes of the audio, what is around the call
    "nothing": (nothing, None, None),
    "the filterbank in place": (put("mel_basis", lambda one: one.mul_(2)), None, None),
    "the filterbank's memory": (put("mel_basis", by_data), None, None),
    "another filterbank": (put("mel_basis", lambda one: torch.rand_like(one)), None, None),
    "a filterbank of fewer bands": (put("mel_basis", lambda one: one[:40].clone()), None, None),
    "a filterbank that is a view": (put("mel_basis", lambda one: one.t().contiguous().t()), None, None),
    "a filterbank in double precision": (put("mel_basis", lambda one: one.double()), None, None),
    "the window in place": (put("hann_window", lambda one: one.mul_(0.5)), None, None),
    "another window": (put("hann_window", lambda one: torch.ones_like(one)), None, None),
    "a shorter window": (put("hann_window", lambda one: one[:800].clone()), None, None),
    "another function of the module": (least, None, None),
    "other samples": (nothing, lambda one: one.flip(-1), None),
    "loud samples": (nothing, lambda one: one * 3, None),
    "none that are numbers": (nothing, lambda one: one * float("nan"), None),
    "another length": (nothing, lambda one: one[:, :1500].clone(), None),
    "a length that begins elsewhere": (nothing, lambda one: one[:, 1:], None),
    "one signal": (nothing, lambda one: one[0], None),
    "double precision": (nothing, lambda one: one.double(), None),
    "half precision": (nothing, lambda one: one.half(), None),
    "samples with gaps": (nothing, lambda one: torch.stack([one, one], -1)[..., 0], None),
    "rows that follow each other": (nothing, lambda one: one.t().contiguous().t(), None),
    "a gradient is asked for": (nothing, lambda one: one.clone().requires_grad_(), None),
    "no gradient": (nothing, lambda one: one.clone().requires_grad_(), torch.no_grad),
    "inference mode": (nothing, None, torch.inference_mode),
    "autocast": (nothing, None, lambda: torch.autocast("cpu", torch.bfloat16)),
    "a mode of functions": (nothing, None, Functions),
    "a mode of operators": (nothing, None, Operators),
}  # fmt: skip


def outcome(module, audio):
    try:
        result = module.mel_spectrogram(audio, **SPEECH)
    except Exception as error:
        return type(error), None
    (gradient,) = torch.autograd.grad(result.square().sum(), audio) if result.requires_grad else (None,)
    return result, gradient


@pytest.mark.thorough
@pytest.mark.parametrize("recorded", [False, True], ids=["", "gradients"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", NAMES)
def test_what_changes_between_two_calls_is_seen(name, change, recorded, module, audio, options, capsys, caplog):
    module, (act, turn, around) = module(name), CHANGES[change]
    if audio.device.type != "cpu" and change in ("double precision", "autocast", "a filterbank in double precision"):
        pytest.skip("of the CPU")
    audio.requires_grad_(recorded)
    with msp.accelerated(**options):
        for _ in range(3):
            outcome(module, audio)
        act(module)
        capsys.readouterr(), caplog.clear()
        changed = audio if turn is None else turn(audio.detach()).requires_grad_(recorded) if recorded else turn(audio)
        with (around or contextlib.nullcontext)():
            got = outcome(module, changed)
        said = capsys.readouterr().out, [one.message for one in caplog.records]
    caplog.clear()
    with (around or contextlib.nullcontext)():
        expected = outcome(module, changed)
    assert (capsys.readouterr().out, [one.message for one in caplog.records]) == said
    assert bool(said[0] or said[1]) == (change == "loud samples")
    for mine, theirs in zip(got, expected, strict=True):
        if not isinstance(theirs, torch.Tensor):
            assert mine is theirs
            continue
        assert (mine.shape, mine.dtype, mine.device, mine.stride(), mine.requires_grad, mine.is_inference()) == (
            theirs.shape, theirs.dtype, theirs.device, theirs.stride(), theirs.requires_grad, theirs.is_inference(),
        )  # fmt: skip
        digits = 2e-2 if theirs.dtype is torch.bfloat16 else 1e-3
        near = digits * float(theirs.detach().abs().nan_to_num().max())
        torch.testing.assert_close(mine, theirs, rtol=digits, atol=near, equal_nan=True)


@pytest.mark.parametrize("name", ["matcha", pytest.param("hifigan", marks=pytest.mark.thorough)])
def test_two_mels_a_loss_and_a_gradient_are_three_launches_that_read_no_filterbank(
    name, module, audio, options, launches, monkeypatch
):
    module, other = module(name), audio.flip(0)
    audio.requires_grad_()
    mels = [formula64(one, 1e-9) for one in (audio.cpu(), other.cpu())]
    (expected,) = torch.autograd.grad(torch.nn.functional.l1_loss(*mels), audio)
    full = []
    with msp.accelerated(**options):
        for times in range(3):
            if times == 2:
                monkeypatch.setattr(compute, "_full_path", lambda *given: full.append(given))
                launches.clear()
                before = filterbank.read_backs()
            mels = [module.mel_spectrogram(one, **SPEECH) for one in (audio, other)]
            (got,) = torch.autograd.grad(torch.nn.functional.l1_loss(*mels), audio)
    assert relative(got, expected.cpu().double()) < 1e-3 and len(launches) == 3 and not full
    if name == "matcha" or audio.device.type != "cpu":  # there, what is copied to the CPU is no copy
        assert filterbank.read_backs() == before


@pytest.mark.parametrize("shape", [(8, 8192), (4, 44_100), (1, 22_051), (3, 1031), (1, 1)])  # rows of 1024, 980, none
@pytest.mark.parametrize("is_contiguous", [True, False])
def test_the_least_and_the_largest_sample_are_those_of_all(shape, is_contiguous, torch_device):
    x = torch.randn(shape).to(torch_device)
    x = x if is_contiguous else x.flip(1).t().contiguous().t()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        assert Signal("", x).limits() == (float(x.cpu().min()), float(x.cpu().max()))
    by_rows = [event for event in profile.events() if event.name == "aten::view"]
    assert bool(by_rows) is (is_contiguous and shape[0] in (8, 4))


@pytest.mark.parametrize("name", ["matcha", pytest.param("hifigan", marks=pytest.mark.thorough)])
def test_two_mels_and_their_gradient_are_copied_nowhere(name, module, audio, options):
    module, other = module(name), audio.flip(0)
    audio.requires_grad_()

    def step():
        mels = [module.mel_spectrogram(one, **SPEECH) for one in (audio, other)]
        return torch.autograd.grad(torch.nn.functional.l1_loss(*mels), audio)

    with msp.accelerated(**options):
        for _ in range(3):
            step()
        kept_copies = [*module.mel_basis.values(), *module.hann_window.values()]
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            step()
        again = [*module.mel_basis.values(), *module.hann_window.values()]
    names = [event.name for event in profile.events()]
    assert names.count("aten::aminmax") == 4 and "aten::clone" not in names  # of each signal, and of what was read back
    if audio.device.type != "cpu":
        assert all(one is other for one, other in zip(again, kept_copies, strict=True))


@pytest.mark.thorough
def test_copies_are_noted_only_where_a_function_makes_its_filterbank_in_every_call(module, audio, options, monkeypatch):
    monkeypatch.setattr(deferred, "_makes_bands", {})
    on = []
    entered = deferred._Copies.__enter__
    monkeypatch.setattr(deferred._Copies, "__enter__", lambda self: on.append(1) or entered(self))
    with msp.accelerated(**options):
        for _ in range(4):
            module("matcha").mel_spectrogram(audio, **SPEECH)
    assert len(on) == 1 and list(deferred._makes_bands.values()) == [False]


def test_a_copy_has_the_values_that_were_copied(torch_device):
    source = torch.rand(4, 33)
    with deferred._Copies("of a test") as copies:
        copy = source.to(torch.float64).to(torch.float32) if torch_device.type == "cpu" else source.to(torch_device)
        same, other_type = source.to("cpu"), source.to(torch.float64)
    assert same is source and bases.find(other_type) is None
    assert copies.noted == (torch_device.type != "cpu")
    if copies.noted:
        before = filterbank.read_backs()
        assert torch.equal(bases(copy).values, source) and filterbank.read_backs() == before
        copy.mul_(2)
        assert torch.equal(bases(copy).values, 2 * source) and filterbank.read_backs() == before + 1


@pytest.mark.thorough
def test_gradients_of_repeated_calls_are_those_of_other_backward_passes(module, audio, options):
    """Recorded, batched, twice, and after a change in place, as they are of torch's own."""
    module = module("matcha")

    def found():
        signal = audio.clone().requires_grad_()
        result = module.mel_spectrogram(signal, **SPEECH)
        loss = result.square().mean()
        (first,) = torch.autograd.grad(loss, signal, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), signal, retain_graph=True)
        weights = torch.stack([torch.ones_like(result), result.detach()])
        (batched,) = torch.autograd.grad(result, signal, weights, is_grads_batched=True, retain_graph=True)
        (again,) = torch.autograd.grad(loss, signal, retain_graph=True)
        with torch.no_grad():
            signal.add_(0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(loss, signal)
        return first.detach(), second, batched, again

    with msp.accelerated(**options):
        for _ in range(3):
            got = found()
        assert any(known.launch is not None for known in call_cache.entries.values())
    for mine, theirs in zip(got, found(), strict=True):
        assert relative(mine, theirs.cpu().double()) < 2e-3
