"""HiFi-GAN's and VITS's mel functions, on stand-ins of the shapes that their copies have: numbers and side effects."""

from __future__ import annotations

import importlib
import logging

import pytest
import torch

import mps_spectro_patch as msp
from tests.front_ends.reference import LOG_MAX_ABS, assert_absolute, away_from_the_clamp, relative, spectrum64
from tests.precision import wide

from .conftest import bank

PACKAGE = "vocoders_of_somebody"
SPEECH = dict(n_fft=1024, num_mels=80, sampling_rate=22050, hop_size=256, win_size=1024, fmin=0, fmax=8000)


def of_class(module, **sizes):
    names = dict(sampling_rate="sr", num_mels="n_mels", hop_size="hop_length")
    return module.STFT(**{names.get(name, name): value for name, value in sizes.items()}).get_mel


def of_function(name, *left_out):
    return lambda module, **sizes: (
        lambda y, **more: getattr(module, name)(
            y, **{key: value for key, value in sizes.items() if key not in left_out}, **more
        )
    )


def of_bigvgan(module, **sizes):
    names = dict(sampling_rate="target_sample_rate", num_mels="n_mel_channels", hop_size="hop_length",
                 win_size="win_length")  # fmt: skip
    sizes = {names.get(name, name): value for name, value in sizes.items()}
    return lambda y, **more: module.get_bigvgan_mel_spectrogram(waveform=y, **sizes, **more)


ONLY_BINS = "num_mels", "fmin", "fmax"
SHAPES = {  # module, the function with its sizes, what is added under the root, whether there is a filterbank
    "hifigan": ("hifigan", of_function("mel_spectrogram"), 1e-9, True),
    "matcha": ("matcha", of_function("mel_spectrogram"), 1e-9, True),
    "bigvgan": ("bigvgan", of_bigvgan, 1e-9, True),
    "vits": ("vits", of_function("mel_spectrogram_torch"), 1e-6, True),
    "vits, bins": ("vits", of_function("spectrogram_torch", *ONLY_BINS), 1e-6, False),
    "gpt-sovits": ("gpt_sovits", of_function("mel_spectrogram_torch"), 1e-8, True),
    "gpt-sovits, bins": ("gpt_sovits", of_function("spectrogram_torch", "sampling_rate", *ONLY_BINS), 1e-6, False),
    "nvstft": ("nvstft", of_class, 1e-9, True),
}  # fmt: skip
SOME = "hifigan", "vits", "nvstft"
THOROUGH = pytest.mark.thorough
WHOLE = [name for name, shape in SHAPES.items() if shape[3]]


@pytest.fixture
def module(stand_in):
    return lambda name: stand_in(f"{PACKAGE}.{name}")


@pytest.fixture
def audio(torch_device):
    return torch.rand(2, 2000, device=torch_device) * 1.8 - 0.9


def formula64(y, eps, sizes=SPEECH, has_bands=True, center=False, floor=1e-5):
    apart = (sizes["n_fft"] - sizes["hop_size"]) // 2
    padded = torch.nn.functional.pad(y.double().unsqueeze(1), (apart, apart), "reflect").squeeze(1)
    window = torch.hann_window(sizes["win_size"], dtype=torch.float64)
    spectrum = spectrum64(padded, window, sizes["n_fft"], sizes["hop_size"], center)
    magnitude = (spectrum.real**2 + spectrum.imag**2 + eps).sqrt()
    if not has_bands:
        return magnitude
    fmax = sizes["fmax"] or sizes["sampling_rate"] / 2
    basis = bank(sizes["n_fft"], sizes["fmin"], fmax, sizes["num_mels"], sizes["sampling_rate"], "slaney", "slaney")
    return (basis.double() @ magnitude).clamp(min=floor).log()


def judge(got, expected, has_bands=True):
    if has_bands:
        assert_absolute(got, expected, LOG_MAX_ABS, away_from_the_clamp(expected.exp(), 1e-5))
    else:
        assert relative(got, expected) < 5e-7


@pytest.mark.parametrize("name", ["hifigan", *(pytest.param(one, marks=THOROUGH) for one in list(SHAPES)[1:])])
def test_every_shape_is_one_launch_with_the_numbers_and_the_gradient_of_its_formula(
    name, module, audio, options, launches
):
    file, bound, eps, has_bands = SHAPES[name]
    theirs = bound(module(file), **SPEECH)(audio)
    audio.requires_grad_()
    expected = formula64(audio.cpu(), eps, has_bands=has_bands)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    gradient = torch.autograd.grad((expected * weights).sum(), audio)[0]
    launches.clear()
    with msp.accelerated(**options):
        got = bound(module(file), **SPEECH)(audio)
        assert len(launches) == 1 and type(got) is torch.Tensor
        mine = torch.autograd.grad((got * weights.to(got)).sum(), audio)[0]
    assert len(launches) == 2
    assert (got.shape, got.dtype, got.device, got.stride()) == (
        theirs.shape, theirs.dtype, theirs.device, theirs.stride(),
    )  # fmt: skip
    judge(got, expected, has_bands)
    assert relative(mine, gradient.cpu().double()) < 2e-5


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in WHOLE if name != "hifigan"])  # whose window has one length
@pytest.mark.parametrize("sizes", [
    dict(SPEECH, n_fft=960, hop_size=192, win_size=960), dict(SPEECH, n_fft=2048, hop_size=300, win_size=1200),
    dict(SPEECH, hop_size=256, fmax=None, num_mels=128), dict(SPEECH, hop_size=1000),
])  # fmt: skip
def test_other_sizes(name, sizes, module, audio, options, launches):
    file, bound, *_ = SHAPES[name]
    if name == "nvstft":  # pads with the window's length
        sizes = dict(sizes, win_size=sizes["n_fft"])
    theirs = bound(module(file), **sizes)(audio)
    launches.clear()
    with msp.accelerated(**options):
        got = bound(module(file), **sizes)(audio)
    torch.testing.assert_close(got, theirs, rtol=1e-4, atol=1e-4)
    assert len(launches) == 1 and got.stride() == theirs.stride()


@pytest.mark.thorough
@pytest.mark.parametrize("rows, samples", [(1, 400), (3, 400), (1, 1500), (3, 1537)])  # one frame, five, and seven
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_lies_in_memory_as_torchs_own(name, rows, samples, module, options, launches, torch_device):
    file, bound, _, has_bands = SHAPES[name]
    audio = torch.rand(rows, samples, device=torch_device) - 0.5
    theirs = bound(module(file), **SPEECH)(audio)
    launches.clear()
    with msp.accelerated(**options):
        signals = audio, audio, audio.clone().requires_grad_(), audio.clone().requires_grad_()
        got = [bound(module(file), **SPEECH)(one) for one in signals]
    assert len(launches) == 4
    for one in got:
        assert one.stride() == theirs.stride() and one.is_contiguous() == theirs.is_contiguous()
        assert one.untyped_storage().nbytes() == 4 * one.numel()
        if has_bands:
            torch.testing.assert_close(one.view(-1), theirs.view(-1), rtol=1e-4, atol=1e-4)


@pytest.mark.thorough
def test_two_mels_a_loss_and_a_gradient(module, audio, options, launches):
    mel, other = module("matcha").mel_spectrogram, audio.flip(0)
    audio.requires_grad_()
    expected = torch.autograd.grad(torch.nn.functional.l1_loss(mel(audio), mel(other)), audio)[0]
    launches.clear()
    with msp.accelerated(**options):
        mel = module("matcha").mel_spectrogram
        got = torch.autograd.grad(torch.nn.functional.l1_loss(mel(audio), mel(other)), audio)[0]
    assert len(launches) == 3 and relative(got, expected.cpu().double()) < 1e-3


# --- what the functions do besides -----------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["hifigan", "matcha"])
def test_caches_are_the_functions_own_with_what_their_keys_leave_out(name, module, audio, options):
    module = module(name)
    made = importlib.import_module(f"{PACKAGE}.filterbank").made
    made.clear()
    sizes = dict(SPEECH, n_fft=512, hop_size=128, win_size=1024 if name == "hifigan" else 512)
    with msp.accelerated(**options):
        module.mel_spectrogram(audio, **SPEECH)
        module.mel_spectrogram(audio, **dict(SPEECH, num_mels=40))
        if name == "hifigan":  # looks for a key that it does not write, and so makes a new one each time
            assert [one[2] for one in made] == [80, 40] and list(module.mel_basis) == [f"8000_{audio.device}"]
            with pytest.raises(RuntimeError, match="window"):  # always of 1024
                module.mel_spectrogram(audio, **dict(sizes, n_fft=1024, win_size=512))
        else:  # knows the filterbank by fmax alone
            assert [one[2] for one in made] == [80] and module.mel_spectrogram(audio, num_mels=40).shape[1] == 80
            with pytest.raises(RuntimeError):  # the first one's does not fit
                module.mel_spectrogram(audio, **sizes)


@pytest.mark.thorough
def test_a_filterbank_that_is_changed_in_its_cache_is_used(module, audio, options):
    module = module("matcha")
    with msp.accelerated(**options):
        before = module.mel_spectrogram(audio)
        module.mel_basis[f"8000_{audio.device}"].mul_(2)
        torch.testing.assert_close(module.mel_spectrogram(audio), before + torch.log(torch.tensor(2.0)))


@pytest.mark.thorough
@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("factor", [1, 2, (1, -2)], ids=["quiet", "loud", "low"])
def test_what_is_said_of_loud_audio_is_said(name, factor, module, audio, options, capsys, caplog):
    audio = audio * factor if type(factor) is int else audio.abs() * torch.tensor(factor, device=audio.device)[:, None]
    caplog.set_level(logging.DEBUG)
    bound = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)
    theirs = bound(audio)
    said = capsys.readouterr().out, [record.message for record in caplog.records]
    caplog.clear()
    with msp.accelerated(**options):
        got = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)(audio)
        assert (capsys.readouterr().out, [record.message for record in caplog.records]) == said
    assert bool(said[0] or said[1]) == (factor != 1 and name not in ("bigvgan", "nvstft"))
    torch.testing.assert_close(got, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["hifigan", "matcha", "bigvgan"])
def test_the_device_is_waited_for_once_if_at_all(name, module, audio, options, monkeypatch):
    asked = []

    def noting(name):
        original = getattr(torch.Tensor, name)

        def noted(self, *arguments):
            if self.dtype is not torch.uint8 and self.dim() < 2:  # which is how the simulator packs arguments
                asked.append(name)
            return original(self, *arguments)

        return noted

    with msp.accelerated(**options):
        bound = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)
        bound(audio)
        for method in ("item", "__bool__", "tolist", "__float__"):
            monkeypatch.setattr(torch.Tensor, method, noting(method))
        bound(audio)
    assert asked == ([] if name == "bigvgan" else ["tolist"])


# --- calls that are none of ours -------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("name", SOME)
def test_other_tensors_give_what_they_gave(name, module, audio, options, launches):
    others = [audio[0], audio.unsqueeze(1), audio[:, :300], audio[:0], audio.to(torch.complex64), audio.cpu().numpy(),
              audio.t(), None, wide(audio)]  # fmt: skip
    bound = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)
    expected = [outcome(bound, one) for one in others]
    with msp.accelerated(**options):
        bound = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)
        for one, (result, error) in zip(others, expected, strict=True):
            got, raised = outcome(bound, one)
            assert type(raised) is type(error)
            if error is None:
                assert got.dtype is result.dtype and got.device == result.device
                torch.testing.assert_close(got, result, rtol=1e-4, atol=1e-4)
    other = "cuda" if audio.device.type == "cpu" else "simulator"
    launches.clear()
    with msp.accelerated(**{**options, "devices": (other,)}):
        bound(audio)
    with msp.accelerated(**options, compat=False):
        assert not hasattr(module("matcha").mel_spectrogram, "__wrapped__")
    assert not launches


def outcome(function, *arguments):
    try:
        return function(*arguments), None
    except Exception as error:
        return None, error


@pytest.mark.thorough
@pytest.mark.parametrize("name", SOME)
def test_wrong_arguments_are_told_in_the_originals_words(name, module, audio, options):
    bound = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)
    with pytest.raises(TypeError) as expected:
        bound(audio, nothing=1)
    with msp.accelerated(**{**options, "on_error": "fallback"}), pytest.raises(TypeError) as got:
        SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)(audio, nothing=1)
    assert str(got.value) == str(expected.value)


@pytest.mark.thorough
@pytest.mark.parametrize("name", SOME)
def test_centred_frames_are_those_of_a_padded_signal(name, module, audio, options, launches):
    bound = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)
    expected = bound(audio, center=True)
    with msp.accelerated(**options):
        launches.clear()
        got = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)(audio, center=True)
    assert len(launches) == 1
    judge(got, formula64(audio.cpu(), SHAPES[name][2], center=True))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
@pytest.mark.parametrize("name", SOME)
def test_around_the_call_is_what_was_around_it(mode, name, module, audio, options):
    audio.requires_grad_()
    bound = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)
    with mode():
        expected = bound(audio)
        with msp.accelerated(**options):
            got = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)(audio)
    assert (got.dtype, got.requires_grad, got.is_inference()) == (
        expected.dtype, expected.requires_grad, expected.is_inference(),
    )  # fmt: skip
    torch.testing.assert_close(got, expected, rtol=0.02, atol=0.1)


@pytest.mark.thorough
def test_functorch_sees_the_function_as_it_is(module, audio, options):
    mel = module("bigvgan").get_bigvgan_mel_spectrogram
    mel(audio)  # whose cache would keep the transform's tensors
    expected = torch.func.grad(lambda y: mel(y).square().sum())(audio)
    with msp.accelerated(**options):
        mel = module("bigvgan").get_bigvgan_mel_spectrogram
        got = torch.func.grad(lambda y: mel(y).square().sum())(audio)
    assert relative(got, wide(expected)) < 1e-3


@pytest.mark.thorough
def test_second_derivatives(module, audio, options):
    def second(y):
        first = torch.autograd.grad(module("matcha").mel_spectrogram(y).square().sum(), y, create_graph=True)[0]
        return torch.autograd.grad(first.square().sum(), y)[0]

    audio.requires_grad_()
    expected = second(audio)
    with msp.accelerated(**options):
        assert relative(second(audio), wide(expected)) < 1e-3


@pytest.mark.thorough
@pytest.mark.parametrize("name", SOME)
def test_compiled(name, module, audio, options):
    bound = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)
    expected = bound(audio)
    msp.enable(**options)
    torch._dynamo.reset()
    bound = SHAPES[name][1](module(SHAPES[name][0]), **SPEECH)
    got = torch.compile(lambda y: bound(y), backend="eager")(audio)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("change", [
    lambda y: y * 0, lambda y: y / 1e6, lambda y: y * float("nan"),
    lambda y: y.index_fill(1, torch.tensor([99], device=y.device), 9e9),
])  # fmt: skip
def test_silence_and_infinite_samples(change, module, audio, options):
    expected = module("bigvgan").get_bigvgan_mel_spectrogram(change(audio))
    with msp.accelerated(**options):
        got = module("bigvgan").get_bigvgan_mel_spectrogram(change(audio))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3, equal_nan=True)


@pytest.mark.thorough
@pytest.mark.parametrize("keyshift", [3, -4])
def test_nvstft_shifts_as_it_does(keyshift, module, audio, options):
    mel = module("nvstft").STFT().get_mel
    expected = mel(audio, keyshift, 1.5)
    with msp.accelerated(**options):
        got = module("nvstft").STFT().get_mel(audio, keyshift, 1.5)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
