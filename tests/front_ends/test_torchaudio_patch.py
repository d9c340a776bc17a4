"""enable(torchaudio=True), on a stand-in with torchaudio's names, structure and formulas: integration_tests has the
real one."""

from __future__ import annotations

import copy
import functools
import pickle
import sys
from pathlib import Path

import pytest
import torch

import mps_spectro_patch as msp

from .reference import mel64

FB = mel64(201, 0, 8000, 20, 16000).float().t().contiguous()


@pytest.fixture
def torchaudio(monkeypatch):
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "torchaudio"}
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "stand_in"))
    import torchaudio

    yield torchaudio
    msp.disable()
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture
def options(device_name):
    return dict(devices=(device_name,), torchaudio=True, verify="off", on_error="raise")


@pytest.fixture
def x(torch_device):
    return torch.randn(2, 3, 4000, device=torch_device)


def modules(T):
    return {
        "Spectrogram": T.Spectrogram(hop_length=160, power=1.0, pad=5, normalized="frame_length"),
        "Spectrogram, normalised": T.Spectrogram(hop_length=160, normalized=True, center=False),
        "complex Spectrogram": T.Spectrogram(power=None),
        "MelSpectrogram": T.MelSpectrogram(FB, hop_length=160),
        "MelSpectrogram, odd power": T.MelSpectrogram(FB, hop_length=160, power=1.3, pad_mode="constant", pad=7),
        "MFCC": T.MFCC(FB, 13),
        "MFCC of logarithms": T.MFCC(FB, 13, True),
        "dB": torch.nn.Sequential(T.MelSpectrogram(FB, hop_length=160), T.AmplitudeToDB()),
        "dB with top_db": torch.nn.Sequential(T.MelSpectrogram(FB, hop_length=160), T.AmplitudeToDB("magnitude", 30.0)),
    }


LAUNCHES = {
    "Spectrogram": 1, "Spectrogram, normalised": 1, "complex Spectrogram": 1, "MelSpectrogram": 1,
    "MelSpectrogram, odd power": 1, "MFCC": 2, "MFCC of logarithms": 1, "dB": 2, "dB with top_db": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", LAUNCHES)
def test_transforms_give_their_own_numbers_in_few_launches(name, torchaudio, options, x, launches):
    module = modules(torchaudio.transforms)[name].to(x.device)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    expected = module(x)
    with msp.accelerated(**options):
        module(x)
        launches.clear()
        got = module(x)
        assert len(launches) == LAUNCHES[name]
        assert module(x[0]).shape == expected[0].shape and module(x[0, 0]).shape == expected[0, 0].shape
    assert got.shape == expected.shape and got.stride() == expected.stride() and got.dtype == expected.dtype
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    module.load_state_dict(state, strict=True)
    assert set(state) == set(module.state_dict())


def test_inverse_and_griffin_lim_arrive_through_torch(torchaudio, options, x):
    window = torch.hann_window(400, device=x.device)
    magnitude = torchaudio.functional.spectrogram(x[0], 0, window, 400, 100, 400, 1.0, False)
    msp.reset_stats()
    with msp.accelerated(**options):
        complex_one = torchaudio.functional.spectrogram(x[0], 0, window, 400, 100, 400, None, False)
        again = torchaudio.functional.inverse_spectrogram(complex_one, 4000, window, 400, 100)
        torchaudio.functional.griffinlim(magnitude, window, 400, 100, 3)
    torch.testing.assert_close(again, x[0], rtol=1e-4, atol=1e-4)
    assert msp.stats()["istft"].fast == 5 and msp.stats()["stft"].fast == 4


@pytest.mark.parametrize("name", ["Spectrogram", "MelSpectrogram", "MFCC", "dB with top_db"])
def test_gradients_are_torchaudios(name, torchaudio, options, x):
    module = modules(torchaudio.transforms)[name].to(x.device)
    x.requires_grad_()
    expected = torch.autograd.grad(module(x).sin().sum(), x)[0]
    with msp.accelerated(**options):
        got = torch.autograd.grad(module(x).sin().sum(), x)[0]
    assert float((got - expected).norm() / expected.norm()) < 1e-3


def test_functions_and_classes_are_restored_by_identity(torchaudio, options):
    F, T = torchaudio.functional, torchaudio.transforms
    before = F.spectrogram, F.functional.spectrogram, F.amplitude_to_DB, T.MelSpectrogram.forward, T.MFCC.forward
    msp.enable(**options)
    during = F.spectrogram, F.functional.spectrogram, F.amplitude_to_DB, T.MelSpectrogram.forward, T.MFCC.forward
    assert all(a is not b for a, b in zip(before, during, strict=True)) and during[0] is during[1]
    with msp.accelerated(**options):
        pass
    assert F.spectrogram is during[0]
    msp.enable(**{**options, "torchaudio": None})
    assert before == (
        F.spectrogram,
        F.functional.spectrogram,
        F.amplitude_to_DB,
        T.MelSpectrogram.forward,
        T.MFCC.forward,
    )
    msp.enable(**options)
    theirs = F.spectrogram
    F.spectrogram = lambda *a, **k: theirs(*a, **k)  # somebody wraps ours: it stays where it is
    covering = F.spectrogram
    msp.disable()
    assert F.spectrogram is covering and F.functional.spectrogram is before[1]


def test_a_function_of_torchaudio_that_was_kept_can_be_pickled_behind_it(torchaudio, options):
    with msp.accelerated(**options):
        kept = functools.partial(torchaudio.functional.spectrogram, n_fft=400)
        assert pickle.loads(pickle.dumps(kept)).func is kept.func
    assert pickle.loads(pickle.dumps(kept)).func is kept.func


def test_it_waits_for_torchaudio_to_be_imported(run_python):
    stand_in = Path(__file__).parent / "stand_in"
    print(
        run_python(f"""
    import sys
    import mps_spectro_patch as msp
    sys.path.insert(0, {str(stand_in)!r})
    msp.enable(devices=devices, torchaudio=True)
    assert "torchaudio" not in sys.modules
    import torchaudio.transforms
    assert torchaudio.functional.spectrogram.__wrapped__
    msp.disable()
    assert not hasattr(torchaudio.functional.spectrogram, "__wrapped__")
    """)
    )


@pytest.mark.parametrize("name", LAUNCHES)
def test_transforms_can_be_scripted_pickled_and_copied_meanwhile(name, torchaudio, options, x):
    if name == "MFCC of logarithms" or name == "MFCC":
        x = x[0]
    module = modules(torchaudio.transforms)[name].to(x.device)
    expected = module(x)
    before = torch.jit.script(module)
    with msp.accelerated(**options):
        during = torch.jit.script(module)
        tolerance = dict(rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        torch.testing.assert_close(before(x), expected, **tolerance)
        torch.testing.assert_close(during(x), expected, **tolerance)
        assert copy.deepcopy(module)(x).shape == expected.shape
        assert pickle.loads(pickle.dumps(module))(x).shape == expected.shape
        # torch checks complex results of a trace as complex128, which MPS has not.
        traced = torch.jit.trace(module, x, check_trace=not (x.is_mps and expected.is_complex()))
    torch.testing.assert_close(during(x), expected, **tolerance)
    torch.testing.assert_close(traced(x), expected, **tolerance)


def test_hooks_between_the_parts_are_called(torchaudio, options, x, launches):
    module = torchaudio.transforms.MelSpectrogram(FB, hop_length=160).to(x.device)
    seen = []
    handle = module.spectrogram.register_forward_hook(lambda _m, _i, out: seen.append(out.shape))
    with msp.accelerated(**options):
        module(x)
        assert seen == [(2, 3, 201, 26)]
        handle.remove()
        module(x)
    assert len(seen) == 1


def test_other_parts_types_and_devices_stay_torchaudios(torchaudio, options, x, launches):
    T = torchaudio.transforms

    class Louder(T.MelScale):
        def forward(self, specgram):
            return 2 * super().forward(specgram)

    module = T.MelSpectrogram(FB, hop_length=160).to(x.device)
    plain = module(x)
    module.mel_scale = Louder(FB.to(x.device))
    with msp.accelerated(**options):
        torch.testing.assert_close(module(x), 2 * plain, rtol=1e-4, atol=1e-3)
        if x.device.type != "mps":
            assert T.MelSpectrogram(FB).double().to(x.device)(x.double()).dtype is torch.float64
        with pytest.raises(TypeError, match="spectrogram\\(\\)"):
            torchaudio.functional.spectrogram(x)
        with pytest.raises(RuntimeError):
            module(x[..., :100])
    launches.clear()
    with msp.accelerated(**{**options, "torchaudio": False}):
        assert not hasattr(torchaudio.functional.spectrogram, "__wrapped__")
        module(x)
    with (
        msp.accelerated(**options),
        msp.accelerated(**{**options, "devices": ("cuda",) if x.device.type == "cpu" else ("simulator",)}),
    ):
        launches.clear()
        module(x)
        assert not launches


@pytest.mark.parametrize("wrong", [dict(hop_length=0), dict(win_length=401), dict(pad_mode="mirror"), dict(n_fft=0)])
def test_wrong_arguments_give_torchaudios_errors(wrong, torchaudio, options, x):
    arguments = dict(pad=0, window=torch.hann_window(400, device=x.device), n_fft=400, hop_length=100, win_length=400)
    arguments = {**arguments, "power": 2.0, "normalized": False, **wrong}
    with pytest.raises(Exception) as theirs:
        torchaudio.functional.spectrogram(x, **arguments)
    with msp.accelerated(**options), pytest.raises(type(theirs.value)) as ours:
        torchaudio.functional.spectrogram(x, **arguments)
    assert str(ours.value) == str(theirs.value)


def test_a_changed_buffer_counts(torchaudio, options, x):
    module = torchaudio.transforms.MelSpectrogram(FB.clone(), hop_length=160).to(x.device)
    with msp.accelerated(**options):
        before = module(x)
        module.mel_scale.fb.mul_(2)
        torch.testing.assert_close(module(x), 2 * before)
        module.load_state_dict({**module.state_dict(), "mel_scale.fb": FB})
        torch.testing.assert_close(module(x), before)


@pytest.mark.parametrize("name", ["MelSpectrogram", "MFCC"])
def test_the_buffers_of_modules_that_were_used_can_be_swapped(name, torchaudio, options, x):
    """As load_state_dict() and Module.to() do in swap mode; torch refuses it for tensors with a weak reference."""
    module = modules(torchaudio.transforms)[name].to(x.device)
    with msp.accelerated(**options):
        for _ in range(3):
            result = module(x)
            for buffer in module.buffers():
                torch.utils.swap_tensors(buffer, 2 * buffer)
    with msp.accelerated(devices=()):
        for buffer in module.buffers():
            buffer.div_(2)
        torch.testing.assert_close(result, module(x), rtol=1e-3, atol=1e-3)


def test_compiled_modules(torchaudio, options, x):
    module = torchaudio.transforms.MelSpectrogram(FB, hop_length=160).to(x.device)
    expected = module(x)
    msp.enable(**options)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(module, backend="eager")(x), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("top_db", [None, 12.0])
def test_decibels_of_tensors_of_any_shape(top_db, torchaudio, options, torch_device, launches):
    values = torch.rand(2, 3, 20, 700, device=torch_device) ** 4
    values[0, 1, 3, 5] = 0
    for x in (values, values[0], values[0, 0], values.transpose(-1, -2), values[:, :, ::2], values * float("nan")):
        expected = torchaudio.functional.amplitude_to_DB(x, 10.0, 1e-10, 1.5, top_db)
        with msp.accelerated(**options):
            got = torchaudio.functional.amplitude_to_DB(x, 10.0, 1e-10, 1.5, top_db)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4, equal_nan=True)
    assert launches
