"""As test_injected_faults.py, where a call comes in otherwise: through torch's operators, names that were bound early,
tensors on other devices, watch_calls(), losses and projects' modules. And what tells of calls may fail as well."""

from __future__ import annotations

import functools
import inspect
import random
import sys
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from tests.compat.conftest import bank

from .injection import (
    ERRORS,
    FOLDERS,
    Signals,
    chosen,
    described,
    differentiated,
    entered,
    inside,
    is_guard,
    problems,
    qualified,
    quietly,
    raises_once,
    steps,
    told,
)
from .test_injected_faults import CALLS as of_attributes

LOSS = dict(fft_size=80, hop_size=32, win_length=80)
LOSSES = {
    "STFTLoss": lambda: msp.STFTLoss(**LOSS, w_lin_mag=0.5),
    "STFTLoss with its terms": lambda: msp.STFTLoss(**LOSS, output="full", mag_distance="L2"),
    "MultiResolutionSTFTLoss": lambda: msp.MultiResolutionSTFTLoss([80, 96], [32, 24], [80, 90]),
}


def of_loss(module, signals) -> list:
    def loss(x):
        result = module(x[:, None], 1.5 * signals.x.detach()[:, None])  # louder everywhere: no sign is in doubt
        return result[0] if isinstance(result, tuple) else result

    return differentiated(loss, signals.x)


def functional(s: Signals) -> list:
    return [torch.functional.stft(s.x, 80, 32, window=s.window, return_complex=True)]


CALLS = {
    "the dispatcher: stft": ("dispatcher", lambda s: [s.stft(s.x)]),
    "the dispatcher: stft and its gradient": ("dispatcher", lambda s: differentiated(s.stft, s.x)),
    "the dispatcher: istft and its gradient": ("dispatcher", lambda s: differentiated(s.istft, s.spectrum)),
    "the dispatcher: vmap": ("dispatcher", lambda s: [torch.func.vmap(s.stft)(s.many)]),
    "references: torch.functional": ("references", functional),
    "references: a partial": ("references", lambda s: [s.early(s.x)]),
    "other devices: stft": ("elsewhere", lambda s: [s.stft(s.x)]),
    "other devices: istft": ("elsewhere", lambda s: [s.istft(s.spectrum)]),
    "two devices: stft": ("two", lambda s: [s.stft(s.x)]),
    "two devices: istft": ("two", lambda s: [s.istft(s.spectrum)]),
    "two other devices: istft": ("two elsewhere", lambda s: [s.istft(s.spectrum)]),
    "watched: stft": ("watched", lambda s: [s.stft(s.x)]),
    "watched: istft": ("watched", lambda s: [s.istft(s.spectrum)]),
    "watched: mel": ("watched", lambda s: [s.log_mel(s.x)]),
    "watched: other devices": ("watched elsewhere", lambda s: [s.istft(s.spectrum)]),
    **{name: ("attribute", lambda s, make=make: of_loss(make().to(s.x.device), s)) for name, make in LOSSES.items()},
}


@pytest.fixture
def reached(signals, on, device_name):
    """reached(way) -> the options for accelerated(), with everything that belongs to the way."""
    signals.early = functools.partial(torch.stft, n_fft=80, window=signals.window, return_complex=True)

    def options(way: str) -> dict:
        if "watched" in way:
            msp.watch_calls()
        if "elsewhere" in way:
            others = [one for one in ("mps", "cuda", "simulator") if one != device_name]
            return dict(devices=others if "two" in way else others[-1:])
        if way == "two":
            return dict(on, devices=(device_name, "mps"))
        return dict(on, reach=way if way in ("dispatcher", "references") else "attribute")

    yield options
    msp.watch_calls(False)


def wrong_of(call, expected, on, fresh, least=8) -> list[str]:
    found, wrong = steps(call, fresh, on), []
    assert found
    for number, code in chosen(found, least):
        error = ERRORS[hash(code.co_name) % len(ERRORS)]("injected")
        fresh(kernels_too=inside(code))
        wrong += [
            f"{described(number, code, error)} -> {problem}"
            for problem in problems(call, expected, on, number, functools.partial(raises_once, code, error))
        ]
    return wrong


@pytest.mark.thorough
def test_what_need_not_survive_is_called_by_torch_by_the_program_or_by_the_like(signals, fresh, reached):
    """Else who calls it would catch what it raises, and it is no exception (injection.GUARDS)."""
    callers: dict = {}
    programs: set = set()  # what runs without us, too

    def seen(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(FOLDERS) and is_guard(frame.f_code):
            callers.setdefault(frame.f_code, set()).add(frame.f_back and frame.f_back.f_code)

    for name in (
        *("stft and all gradients", "stft and second derivatives", "istft and all gradients", "grad", "msp.stft"),
        *("msp.istft and its gradient", "mel_spectrogram and its gradient", "a loss and its gradient"),
        *("the dispatcher: stft", "references: torch.functional", "other devices: istft", "STFTLoss with its terms"),
    ):
        way, make = CALLS[name] if name in CALLS else ("attribute", of_attributes[name])
        call = functools.partial(make, signals)
        fresh()
        programs |= set(entered(call))
        with msp.accelerated(**reached(way)):
            for _ in range(2):
                sys.setprofile(seen)
                try:
                    quietly(call)
                finally:
                    sys.setprofile(None)
    assert len(callers) > 15
    for code, found in callers.items():
        assert any(one is None or may_be_outer(one) for one in found) or found & programs, (qualified(code), found)


def may_be_outer(code) -> bool:
    return not code.co_filename.startswith(FOLDERS) or is_guard(code) or qualified(code) == "Attempt.original"


@pytest.mark.thorough
@pytest.mark.parametrize("name", CALLS)
def test_a_function_that_raises_once_costs_one_warning(name, signals, fresh, reached):
    way, make = CALLS[name]
    call = functools.partial(make, signals)
    expected = quietly(call)
    wrong = wrong_of(call, expected, reached(way), fresh)
    assert not wrong, "\n".join(wrong)


SONG, PIANO, VOICE = (
    bank(64, 0, 12000, 8, 24000),
    bank(64, 30, 8000, 8, 16000, "slaney"),
    bank(1024, 30, 8000, 8, 16000),
)
PROJECTS = {
    "musicfm": lambda get: get("musicfm.modules.features").MelSTFT(SONG.t().contiguous(), 64, 24, True),
    "muq": lambda get: get("muq.muq.modules.features").MelSTFT(SONG.t().contiguous(), 64, 24, True),
    "mamba_amt": lambda get: get("mamba_amt.data.mel").MelSpectrogram(PIANO.t().contiguous(), 64, 24),
    "rmvpe": lambda get: get("rmvpe_of_somebody").MelSpectrogram(bank(1024, 30, 8000, 128, 16000, "slaney")),
    "linkseg": lambda get: get("models").FrameEncoder(SONG.t().contiguous(), 64, 24).eval(),
}


@pytest.mark.thorough
@pytest.mark.parametrize("project", [*PROJECTS, "torchfcpe", "auraloss", "torchaudio"])
def test_a_projects_call_costs_one_warning(project, stand_in, signals, fresh, on):
    device = signals.x.device
    x = torch.randn(2, 3000, device=device) / 4
    if project == "torchfcpe":
        front_end = stand_in("torchfcpe.mel_extractor").MelModule(bank(1024, 0, 8000, 128, 16000, "slaney", "slaney"))
        front_end, x = front_end.to(device), (x / 2).clip(-0.9, 0.9)[..., None]
    elif project == "auraloss":
        front_end = stand_in("auraloss.freq").STFTLoss(80, 32, 80)
        front_end = functools.partial(of_loss, front_end, signals)
    elif project == "torchaudio":
        front_end = stand_in("torchaudio").transforms.MelSpectrogram(SONG.t().contiguous(), n_fft=64, hop_length=24)
        front_end = front_end.to(device)
        on = dict(on, torchaudio=True)
    else:
        front_end = PROJECTS[project](stand_in).to(device)

    @torch.no_grad()
    def call() -> list:
        if project == "auraloss":
            with torch.enable_grad():
                return front_end()
        return [front_end(x)]

    expected = quietly(call)
    with msp.accelerated(**on):
        quietly(call)
        assert sum(one.fast for one in msp.stats().values()), "nothing of ours was called"
    wrong = wrong_of(call, expected, on, fresh)
    assert not wrong, "\n".join(wrong)


def said_by(look, code, error) -> str:
    injected = raises_once(code, error)
    with injected:
        answer = look()
    return str(answer)


LOOKS = {
    "explain of stft": lambda s: msp.explain(torch.stft, s.x, 80, 32, window=s.window, return_complex=True),
    "explain of istft": lambda s: msp.explain(torch.istft, s.spectrum, 80, 32, window=s.window),
    "explain of a fallback": lambda s: msp.explain(torch.stft, s.x.to(torch.complex64), 80, 32, return_complex=True),
    "status": lambda s: msp.status(),
    "report": lambda s: msp.report(),
    "report of all calls": lambda s: (msp.watch_calls(), s.stft(s.x), msp.watch_calls(False), msp.report())[-1],
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", LOOKS)
def test_what_tells_of_calls_says_that_it_cannot(name, signals, fresh, on):
    """Which functions fail is drawn. Either nothing is missing, or there is a sentence with the error."""
    look = functools.partial(LOOKS[name], signals)
    with msp.accelerated(**on), msp.accelerated(**on, reach="references"):
        quietly(lambda: [signals.stft(signals.x), signals.istft(signals.spectrum), signals.log_mel(signals.x)])
        quietly(look)
        if "report" not in name:
            fresh()
        expected = str(look())
        found = [
            code
            for code in entered(look)
            if not is_guard(code) and not is_told(code) and not code.co_flags & inspect.CO_GENERATOR
        ]
        assert len(found) > 2
        wrong = []
        for _, code in chosen([(0, code) for code in found], 25):
            # A TypeError of what takes the arguments means that these are wrong.
            error = random.choice([one for one in ERRORS if one is not TypeError or "arguments" not in code.co_name])(
                "injected"
            )
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                try:
                    text = said_by(look, code, error)
                except Exception as shown:
                    wrong.append(f"{described(0, code, error)} -> {type(shown).__name__}: {shown}")
                    continue
            if text != expected and not says(text, error) and "report" not in name:
                wrong.append(f"{described(0, code, error)} -> {text[:300]}")
            if len(told(seen)) > 1:
                wrong.append(f"{described(0, code, error)} -> {told(seen)}")
    assert not wrong, "\n".join(wrong)


def says(text: str, error: Exception) -> bool:
    return f"{type(error).__name__}: {error}" in text or "generator raised StopIteration" in text


def is_told(code) -> bool:
    """What the program calls itself; of watch_calls() there is nothing else."""
    return code.co_name in ("explain", "status", "report", "watch_calls", "start", "stop")
