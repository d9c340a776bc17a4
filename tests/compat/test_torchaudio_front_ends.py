"""Front ends that are made of torchaudio's transforms, on stand-ins: MusicFM's, MuQ's, mamba_amt's and LinkSeg's."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch

import mps_spectro_patch as msp
from tests.front_ends.reference import (
    DB_MAX_ABS,
    LINEAR_REL_L2,
    LOG_MAX_ABS,
    assert_absolute,
    away_from_the_clamp,
    db64,
    log64,
    power64,
    relative,
    spectrum64,
)

from .conftest import bank

SONG = bank(2048, 0, 12000, 128, 24000)
PIANO = bank(2048, 30, 8000, 256, 16000, "slaney")
BEATS = bank(1024, 0, 11025, 64, 22050)


def mel(x, basis, n_fft, hop_length, power=2.0, pad_mode="reflect"):
    window = torch.hann_window(n_fft, dtype=torch.float64)
    return basis.double() @ power64(spectrum64(x, window, n_fft, hop_length, pad_mode=pad_mode), power)


def decibels(x, basis, n_fft, hop_length):
    linear = mel(x, basis, n_fft, hop_length)
    return db64(linear, 10, None), away_from_the_clamp(linear, 1e-10)


def log_mel(x, basis, n_fft, hop_length):
    linear = mel(x, basis, n_fft, hop_length, 1.0, "constant")
    return log64(linear, "clamp", 1e-5), away_from_the_clamp(linear, 1e-5)


FRONT_ENDS = {  # project: module, class, method, arguments, the formula and how close to it
    "musicfm": ("musicfm.modules.features", "MelSTFT", "forward", (SONG.t().contiguous(), 2048, 240, True),
                lambda x: decibels(x, SONG, 2048, 240), DB_MAX_ABS),
    "muq": ("muq.muq.modules.features", "MelSTFT", "__call__", (SONG.t().contiguous(), 2048, 240, True),
            lambda x: decibels(x, SONG, 2048, 240), DB_MAX_ABS),
    "mamba_amt": ("mamba_amt.data.mel", "MelSpectrogram", "forward", (PIANO.t().contiguous(),),
                  lambda x: log_mel(x, PIANO, 2048, 512), LOG_MAX_ABS),
}  # fmt: skip


@pytest.fixture
def x(torch_device):
    return torch.randn(2, 9000, device=torch_device)


def made(stand_in, project, device):
    module, cls, _, arguments, _, _ = FRONT_ENDS[project]
    return getattr(stand_in(module), cls)(*arguments).to(device)


@pytest.mark.parametrize("project", FRONT_ENDS)
def test_one_launch_of_the_formulas_numbers(project, stand_in, x, options, launches):
    front_end = made(stand_in, project, x.device)
    theirs = front_end(x)
    with msp.accelerated(**options):
        got = front_end(x)
        assert len(launches) == 1
        assert front_end(x[0]).shape == theirs[0].shape and len(launches) == 2
    expected, where = FRONT_ENDS[project][4](x)
    assert_absolute(got, expected, FRONT_ENDS[project][5], where)
    assert (got.shape, got.dtype, got.stride(), got.device) == (
        theirs.shape,
        theirs.dtype,
        theirs.stride(),
        theirs.device,
    )


@pytest.mark.parametrize("project", FRONT_ENDS)
def test_silence_is_the_floor(project, stand_in, x, options, launches):
    front_end = made(stand_in, project, x.device)
    expected = front_end(x * 0)
    with msp.accelerated(**options):
        torch.testing.assert_close(front_end(x * 0), expected)
    assert len(launches) == 1 and len(expected.unique()) == 1


@pytest.mark.parametrize("project", FRONT_ENDS)
def test_under_autocast_the_product_is_what_it_was(project, stand_in, x, options):
    front_end = made(stand_in, project, x.device)
    with torch.autocast(x.device.type, torch.bfloat16):
        expected = front_end(x)
        with msp.accelerated(**options):
            got = front_end(x)
    assert got.dtype is expected.dtype
    torch.testing.assert_close(got, expected, rtol=0.02, atol=0.2)


@pytest.mark.parametrize("project", ["musicfm", "muq"])
def test_without_decibels(project, stand_in, x, options, launches):
    module, cls, _, arguments, _, _ = FRONT_ENDS[project]
    front_end = getattr(stand_in(module), cls)(*arguments[:-1]).to(x.device)
    with msp.accelerated(**options):
        got = front_end(x)
    assert len(launches) == 1 and relative(got, mel(x, SONG, 2048, 240)) <= LINEAR_REL_L2


@pytest.mark.parametrize("project", FRONT_ENDS)
def test_before_and_after_its_import_and_restored_by_identity(project, stand_in, x, options, launches):
    module, cls, method, *_ = FRONT_ENDS[project]
    msp.enable(**options)
    assert "import" in msp.status().projects[project]  # waits for it
    front_end = made(stand_in, project, x.device)
    front_end(x)
    assert len(launches) == 1 and f"{module}.{cls}.{method}" in msp.status().projects[project]
    msp.disable()
    original = vars(type(front_end))[method]
    assert not hasattr(original, "__wrapped__")
    msp.enable(**options)
    front_end(x)
    assert len(launches) == 2 and vars(type(front_end))[method].__wrapped__ is original
    msp.disable()
    assert vars(type(front_end))[method] is original


@pytest.mark.parametrize("project", FRONT_ENDS)
def test_what_is_not_ours_stays_theirs(project, stand_in, x, options, launches):
    front_end = made(stand_in, project, x.device)
    inner = getattr(front_end, "mel_stft", None) or front_end.mel_transform
    other = "cuda" if x.device.type == "cpu" else "simulator"
    with msp.accelerated(**{**options, "devices": (other,)}):
        expected = front_end(x)
    assert not launches
    seen = []
    handle = inner.register_forward_hook(lambda _m, _i, out: seen.append(out))
    with msp.accelerated(**options):
        torch.testing.assert_close(front_end(x), expected, rtol=1e-3, atol=1e-2)
        assert len(seen) == 1  # whoever listens in between hears it
        handle.remove()
        with pytest.raises(TypeError):
            front_end()
        if project == "mamba_amt":  # pads with zeros, as many as it takes
            assert front_end(x[:, :100]).shape == (2, 256, 1)
        else:
            with pytest.raises(RuntimeError):
                front_end(x[:, :100])
    with msp.accelerated(**options, compat=False):
        assert not hasattr(vars(type(front_end))[FRONT_ENDS[project][2]], "__wrapped__")


@pytest.mark.parametrize("project", FRONT_ENDS)
def test_state_pickle_copy_and_compile(project, stand_in, x, options):
    front_end = made(stand_in, project, x.device)
    expected = front_end(x)
    msp.enable(**options)
    for twin in (copy.deepcopy(front_end), pickle.loads(pickle.dumps(front_end))):
        torch.testing.assert_close(twin(x), expected, rtol=1e-3, atol=1e-2)
    inner = getattr(front_end, "mel_stft", None) or front_end.mel_transform
    assert list(inner.state_dict()) == ["spectrogram.window", "mel_scale.fb"]
    if isinstance(front_end, torch.nn.Module):
        made(stand_in, project, x.device).load_state_dict(front_end.state_dict(), strict=True)
    torch._dynamo.reset()
    compiled = torch.compile(lambda y: front_end(y), backend="eager")
    torch.testing.assert_close(compiled(x), expected, rtol=1e-3, atol=1e-2)


UNKNOWN = {
    "musicfm": (lambda cls: setattr(cls, "forward", lambda self, y: self.melspec(y)), "has no amplitude_to_db"),
    "muq": (lambda cls: delattr(cls, "__call__"), "it has no MelSTFT.__call__"),
    "mamba_amt": (lambda cls: setattr(cls, "forward", lambda self, y: torch.log(
        torch.clamp(self.mel_transform(y), min=1e-9))), "clamps at another value"),
}  # fmt: skip


@pytest.mark.parametrize("project", FRONT_ENDS)
def test_a_version_that_is_not_known_is_told_and_left_alone(project, stand_in, options):
    change, said = UNKNOWN[project]
    cls = getattr(stand_in(FRONT_ENDS[project][0]), FRONT_ENDS[project][1])
    change(cls)
    before = dict(vars(cls))
    msp.enable(**options)
    state = msp.status().projects[project]
    assert "not patched there" in state and "unknown version" in state and said in state
    assert dict(vars(cls)) == before


def test_musicfm_with_its_folder_on_the_path(stand_in, x, options, launches, monkeypatch):
    import sys

    features = stand_in("musicfm.modules.features")
    monkeypatch.setitem(sys.modules, "modules", stand_in("musicfm.modules"))
    monkeypatch.setitem(sys.modules, "modules.features", features)
    front_end = made(stand_in, "musicfm", x.device)
    monkeypatch.delitem(sys.modules, "musicfm.modules.features")
    original = features.MelSTFT.forward
    msp.enable(**options)
    front_end(x)
    assert len(launches) == 1 and "modules.features.MelSTFT.forward" in msp.status().projects["musicfm"]
    msp.disable()
    assert features.MelSTFT.forward is original


# --- LinkSeg ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def encoder(stand_in, torch_device):
    return stand_in("models").FrameEncoder(BEATS.t().contiguous()).to(torch_device).eval()


def test_linksegs_encoder_is_one_launch_and_the_same_network(encoder, x, options, launches, monkeypatch):
    expected = encoder(x)
    original = type(encoder).forward
    seen = []
    handle = encoder.frontend.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    with msp.accelerated(**options):
        got = encoder(x)
        assert len(launches) == 1 and type(encoder).forward is not original
        assert "models.FrameEncoder.forward" in msp.status().projects["linkseg"]
    handle.remove()
    assert type(encoder).forward is original
    assert_absolute(seen[0], *_expected_decibels(x))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    names = ["spec.spectrogram.window", "spec.mel_scale.fb"]
    assert list(encoder.state_dict())[1:3] == names or list(encoder.state_dict())[:2] == names
    assert {"spec", "amplitude_to_db"} <= set(encoder._modules) and "spec" not in vars(encoder)


def _expected_decibels(x):
    expected, where = decibels(x, BEATS, 1024, 256)
    return expected, DB_MAX_ABS, where


def test_linksegs_encoder_trains_and_compiles(encoder, x, options):
    encoder.train()
    expected = torch.autograd.grad(encoder(x).sum(), list(encoder.parameters()))
    msp.enable(**options)
    got = torch.autograd.grad(encoder(x).sum(), list(encoder.parameters()))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(encoder, backend="eager")(x), encoder(x), rtol=1e-3, atol=1e-3)
    for twin in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        torch.testing.assert_close(twin(x), encoder(x))


def test_linksegs_encoder_in_threads(encoder, x, options, threads):
    waveforms = [torch.randn_like(x) for _ in range(4)]
    expected = [encoder(one) for one in waveforms]
    got = {}
    with torch.no_grad():
        msp.enable(**options)
        threads = [threading.Thread(target=lambda n=n: got.update({n: encoder(waveforms[n])})) for n in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    for number, one in enumerate(expected):
        torch.testing.assert_close(got[number], one, rtol=1e-3, atol=1e-3)


def test_errors_of_the_network_are_its_own(encoder, x, options, launches):
    def broken(_module, _inputs):
        raise ValueError("the network's")

    encoder.frontend.register_forward_pre_hook(broken)
    msp.enable(**options)
    with pytest.raises(ValueError, match="the network's"):
        encoder(x)
    assert len(launches) == 1  # and nothing was run a second time


def _quieter(self, x):
    x = self.spec(x) / 2
    x = self.amplitude_to_db(x)
    return self.mlp_head(self.frontend(x).mean(-1))


def _louder(self, x):
    x = self.spec(2 * x)
    x = self.amplitude_to_db(x)
    return self.mlp_head(self.frontend(x).mean(-1))


def _with_super(self, x):
    return self.spec(x), self.amplitude_to_db(x), super(type(self), self).extra_repr()


def _nothing_of_the_kind(self, x):
    return x


@pytest.mark.parametrize("forward", [_quieter, _louder])
def test_something_around_the_two_calls_goes_the_long_way(forward, encoder, x, options, launches, monkeypatch):
    monkeypatch.setattr(type(encoder), "forward", forward)
    expected = encoder(x)
    launches.clear()
    msp.enable(**options)
    torch.testing.assert_close(encoder(x), expected, rtol=1e-3, atol=1e-3)
    assert hasattr(type(encoder).forward, "__wrapped__")


@pytest.mark.parametrize("forward", [_with_super, _nothing_of_the_kind, None])
def test_other_modules_called_models_are_no_business_of_ours(forward, stand_in, options, caplog):
    models = stand_in("models")
    if forward is None:
        del models.FrameEncoder
    else:
        models.FrameEncoder.forward = forward
    msp.enable(**options)
    assert msp.status().projects["linkseg"] == "no such class is imported" and not caplog.records
    assert forward is None or models.FrameEncoder.forward is forward
