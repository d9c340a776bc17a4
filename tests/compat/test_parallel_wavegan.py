"""ParallelWaveGAN's stft_loss.py in copies as projects have them, under any module name: the same numbers in fewer
launches, and nothing of ours in what is not certainly the same."""

from __future__ import annotations

import copy
import functools
import importlib.util
import itertools
import sys
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import torch_warnings
from mps_spectro_patch.kernels.launch import features as feature_kernels
from mps_spectro_patch.kernels.launch import stft_loss as kernels
from tests.precision import wide

SOURCE = '''
"""STFT-based Loss modules."""
import torch
import torch.nn.functional as F

is_pytorch_17plus = True


def stft(x, fft_size, hop_size, win_length, window):
    """Perform STFT and convert to magnitude spectrogram."""
    if is_pytorch_17plus:
        x_stft = torch.stft(
            x, fft_size, hop_size, win_length, window, return_complex=False
        )
    else:
        x_stft = torch.stft(x, fft_size, hop_size, win_length, window)
    real = x_stft[..., 0]
    imag = x_stft[..., 1]

    # NOTE(kan-bayashi): clamp is needed to avoid nan or inf
    return torch.sqrt(torch.clamp(real**2 + imag**2, min=1e-7)).transpose(2, 1)


class SpectralConvergenceLoss(torch.nn.Module):
    def __init__(self):
        super(SpectralConvergenceLoss, self).__init__()

    def forward(self, x_mag, y_mag):
        """Calculate forward propagation."""
        return torch.norm(y_mag - x_mag, p="fro") / torch.norm(y_mag, p="fro")


class LogSTFTMagnitudeLoss(torch.nn.Module):
    def forward(self, x_mag, y_mag):
        return F.l1_loss(torch.log(y_mag), torch.log(x_mag))


class STFTLoss(torch.nn.Module):
    def __init__(self, fft_size=1024, shift_size=120, win_length=600, window="hann_window"):
        super(STFTLoss, self).__init__()
        self.fft_size = fft_size
        self.shift_size = shift_size
        self.win_length = win_length
        self.spectral_convergence_loss = SpectralConvergenceLoss()
        self.log_stft_magnitude_loss = LogSTFTMagnitudeLoss()
        self.register_buffer("window", getattr(torch, window)(win_length))

    def forward(self, x, y):
        """Calculate forward propagation."""
        x_mag = stft(x, self.fft_size, self.shift_size, self.win_length, self.window)
        y_mag = stft(y, self.fft_size, self.shift_size, self.win_length, self.window)
        sc_loss = self.spectral_convergence_loss(x_mag, y_mag)
        mag_loss = self.log_stft_magnitude_loss(x_mag, y_mag)

        return sc_loss, mag_loss
'''
BRANCH = SOURCE[SOURCE.index("    if is_py") : SOURCE.index("    real = ")]
PARTS = SOURCE[SOURCE.index("    real = ") : SOURCE.index("    # NOTE")]
TRANSFORM = "    x_stft = torch.stft(x, fft_size, hop_size, win_length, window, return_complex={})\n"
SIZES = 64, 16, 48


def changed(*pairs):
    text = SOURCE
    for before, after in pairs:
        assert before in text, before
        text = text.replace(before, after)
    return text


COPIES = {
    "as it is": SOURCE,
    "sic": changed(("SpectralConvergence", "SpectralConvergenge"), ("spectral_convergence", "spectral_convergenge")),
    "for torch 1.7 alone": changed((BRANCH, TRANSFORM.format("False"))),
    "complex": changed((BRANCH, TRANSFORM.format("True")),
                       (PARTS, "    real, imag = 0, 0\n    real = x_stft.real\n    imag = x_stft.imag\n"[22:])),
    "viewed": changed((BRANCH, TRANSFORM.format("True") + "    x_stft = torch.view_as_real(x_stft)\n")),
    "viewed at once": changed((BRANCH, TRANSFORM.format("True").replace("torch.stft", "torch.view_as_real(torch.stft")
                                       .replace("True)", "True))"))),
    "a window that moves": changed((BRANCH, TRANSFORM.format("True").replace("window,", "window.to(x.device),")
                                            + "    x_stft = torch.view_as_real(x_stft)\n"),
                                   ('self.register_buffer("window", getattr(torch, window)(win_length))',
                                    "self.window = getattr(torch, window)(win_length)")),
    "other words": changed(("shift_size", "hop_size"), ("real**2 + imag**2", "real.pow(2) + imag.pow(2)"),
                           ("torch.log(y_mag), torch.log(x_mag)", "torch.log(x_mag), torch.log(y_mag)"),
                           ("x_stft", "spectrum"), ("sc_loss", "sc_l"), ("x_mag", "a"), ("def forward(self, x, y):",
                            "def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple:")),
    "not transposed": changed((".transpose(2, 1)", "")),
}  # fmt: skip
NEAR_MISSES = {  # and whether stft, on its own, is known
    "another eps": ((("1e-7", "1e-8"),), False),
    "a power": ((("torch.sqrt(torch.clamp(real**2 + imag**2, min=1e-7))", "torch.clamp(real**2 + imag**2, min=1e-7)"),),
                False),
    "no clamp": ((("torch.clamp(real**2 + imag**2, min=1e-7)", "real**2 + imag**2 + 1e-7"),), False),
    "a root of its own": ((("torch.sqrt(torch.clamp(real**2 + imag**2, min=1e-7))",
                            "torch.clamp(torch.sqrt(real**2 + imag**2), min=1e-7)"),), False),
    "not centred": ((("return_complex=False", "return_complex=False, center=False"),), False),
    "the phase as well": (((".transpose(2, 1)", ".transpose(2, 1), torch.atan2(imag, real)"),), False),
    "sizes in another order": ((("hop_size, win_length, window, ret", "win_length, hop_size, window, ret"),), False),
    "log10": ((("torch.log(y_mag), torch.log(x_mag)", "torch.log10(y_mag), torch.log10(x_mag)"),), True),
    "squares": ((("F.l1_loss", "F.mse_loss"),), True),
    "a mean": ((('torch.norm(y_mag - x_mag, p="fro")', "torch.mean(y_mag - x_mag)"),), True),
    "the norm of the other": ((('/ torch.norm(y_mag, p="fro")', '/ torch.norm(x_mag, p="fro")'),), True),
    "a sum of the two": ((("return sc_loss, mag_loss", "return sc_loss + mag_loss"),), True),
    "the magnitudes as well": ((("return sc_loss, mag_loss", "return sc_loss, mag_loss, x_mag, y_mag"),), True),
    "the other order": ((("return sc_loss, mag_loss", "return mag_loss, sc_loss"),), True),
    "twice the input": ((("        x_mag = stft(x,", "        x_mag = stft(x * 2,"),), True),
    "signals exchanged": ((("spectral_convergence_loss(x_mag, y_mag)", "spectral_convergence_loss(y_mag, x_mag)"),),
                          True),
    "another norm": ((('y_mag - x_mag, p="fro"', "y_mag - x_mag, p=1"),), True),
    "an older torch": ((("is_pytorch_17plus = True", "is_pytorch_17plus = False"),), False),
    "before torch 1.7": (((BRANCH, TRANSFORM.replace(", return_complex={}", "")),), False),
    "a wrapped function": ((("def stft(", "import functools\n\n\n@functools.lru_cache\ndef stft("),), False),
    "a default": ((("win_length, window):\n", "win_length, window=None):\n"),), False),
}  # fmt: skip
_numbers = itertools.count()


@pytest.fixture
def loaded(tmp_path, monkeypatch, request):
    """loaded(text, known=True): the module of a file; sys.modules knows it or not."""
    request.addfinalizer(msp.disable)

    def load(text=SOURCE, known=True):
        name = f"somebodys_{next(_numbers)}"
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        if known:
            monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def signals(torch_device):
    x, y = torch.randn(2, 3, 500)
    return x.to(torch_device), (y * torch.linspace(0.2, 3, 500)).to(torch_device)


@pytest.fixture
def seen(launches, monkeypatch):
    """What was launched of ours: "loss", "gradient" (of the loss), "magnitudes", "magnitudes' gradient"."""
    found = []
    for module, name, word in (
        (kernels, "stft_loss", "loss"), (kernels, "stft_loss_gradient", "gradient"),
        (feature_kernels, "ready_features", "magnitudes"),
        (feature_kernels, "features_gradient", "magnitudes' gradient"),
    ):  # fmt: skip
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, original=original, word=word: found.append(word) or original(*a))
    return found


def run(module, loss, x, y):
    """(results, gradients of x for each of them)"""
    leaf = x.detach().clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = loss(leaf, y)
        return results, [torch.autograd.grad(one, leaf, retain_graph=True)[0] for one in results]


def in_float64(module, loss, x, y):
    wide = copy.deepcopy(loss).cpu().double()
    wide.window = wide.window.cpu().double()
    return run(module, wide, x.cpu().double(), y.cpu().double())


def relative(got, expected):
    return float((got.cpu().double() - expected.cpu().double()).norm() / expected.cpu().double().norm())


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.thorough] * (n > 0))
                                  for n, name in enumerate(COPIES)])  # fmt: skip
def test_a_copy_is_two_launches_and_each_gradient_one(name, loaded, signals, options, seen):
    module = loaded(COPIES[name])
    loss = module.STFTLoss(*SIZES).to(signals[0].device)
    expected, gradients = in_float64(module, loss, *signals)
    with msp.accelerated(**options):
        state = msp.status().projects["parallel_wavegan"]
        assert state.startswith("applied") and f"{module.__name__}.STFTLoss.forward" in state
        got, own = run(module, loss, *signals)
    assert seen == ["loss", "gradient", "gradient"]
    for one, right in zip(got, expected, strict=True):
        assert one.shape == () and one.dtype is torch.float32
        assert float(one.detach()) == pytest.approx(float(right.detach()), rel=2e-6)
    for one, right in zip(own, gradients, strict=True):
        assert relative(one, right) < 1e-2
    assert not hasattr(module.STFTLoss.forward, "__wrapped__") and not hasattr(module.stft, "__wrapped__")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.thorough] * (n > 0))
                                  for n, name in enumerate(COPIES)])  # fmt: skip
def test_magnitudes_alone_are_one_launch(name, loaded, signals, options, seen):
    module, (x, _) = loaded(COPIES[name]), signals
    window = torch.hann_window(48, device=x.device)
    found = []
    for scope in (functools.partial(msp.accelerated, **options), functools.partial(msp.accelerated, compat=False)):
        with scope(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            leaf = x.clone().requires_grad_()
            result = module.stft(leaf, *SIZES, window)
            weight = torch.linspace(0, 1, result.numel(), device=x.device).reshape(result.shape)
            found.append((result, torch.autograd.grad(result, leaf, weight)[0]))
    assert seen == ["magnitudes", "magnitudes' gradient"]
    (got, gradient), (right, expected) = found
    assert (got.shape, got.stride(), got.dtype) == (right.shape, right.stride(), right.dtype)
    assert relative(got, right) < 1e-6 and relative(gradient, expected) < 1e-5


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.thorough] * (n not in (0, 10)))
                                  for n, name in enumerate(NEAR_MISSES)])  # fmt: skip
def test_what_is_not_certainly_the_same_is_left_alone(name, loaded, signals, options, seen):
    pairs, knows_stft = NEAR_MISSES[name]
    module = loaded(changed(*pairs))
    loss = module.STFTLoss(*SIZES).to(signals[0].device)

    def outcome():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return loss(*signals)
        except Exception as error:
            return type(error), str(error)

    original, expected = module.STFTLoss.forward, outcome()
    with msp.accelerated(**options):
        msp.reset_stats()
        got = outcome()
        state = msp.status().projects["parallel_wavegan"]
        fast = {name: op.fast for name, op in msp.stats().items() if name.startswith("parallel_wavegan") and op.fast}
    assert set(seen) == ({"magnitudes"} if knows_stft else set())
    assert fast == ({"parallel_wavegan.stft": 2} if knows_stft else {})
    assert hasattr(module.stft, "__wrapped__") is (name == "a wrapped function")
    assert module.STFTLoss.forward is original
    assert (f"{module.__name__}.stft" in state.partition("applied")[2]) is knows_stft
    if name not in ("a power", "a wrapped function", "an older torch"):
        what = "STFTLoss.forward" if knows_stft else "stft"
        assert f"{module.__name__}.{what}" in state or name in ("log10", "squares", "a mean", "the norm of the other",
                                                                 "another norm")  # fmt: skip
    if isinstance(expected, tuple) and isinstance(expected[0], type):
        assert got == expected
    else:
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_a_copy_that_no_import_saw_is_found_by_its_first_call(loaded, signals, options, seen):
    module = loaded(known=False)
    loss = module.STFTLoss(*SIZES).to(signals[0].device)
    msp.enable(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss(*signals)
        assert not seen
        loss(*signals)
    assert seen == ["loss"]
    msp.disable()
    assert not hasattr(module.STFTLoss.forward, "__wrapped__")


def _own_forward(module, loss):
    class Mine(module.STFTLoss):
        def forward(self, x, y):
            sc_loss, mag_loss = super().forward(x, y)
            return sc_loss * 0 + 1, mag_loss

    loss.__class__ = Mine


UNUSUAL = {
    "a hook": lambda module, loss: loss.register_forward_hook(lambda *_: None),
    "a hook on a part": lambda module, loss: loss.spectral_convergence_loss.register_forward_hook(lambda *_: None),
    "another part": lambda module, loss: setattr(loss, "log_stft_magnitude_loss", torch.nn.L1Loss()),
    "a part that is no module": lambda module, loss: (delattr(loss, "log_stft_magnitude_loss"),
                                                      setattr(loss, "log_stft_magnitude_loss", lambda x, y: x.sum())),
    "a forward of its own": lambda module, loss: setattr(loss, "forward", lambda x, y: (x.sum(), y.sum())),
    "a part with another forward": lambda module, loss: setattr(type(loss.spectral_convergence_loss), "forward",
                                                                lambda self, x, y: (x - y).abs().mean()),
    "another stft": lambda module, loss: setattr(module, "stft", lambda x, *a: x.abs().unsqueeze(0) + 1),
    "a wrapped stft": lambda module, loss: setattr(module, "stft", functools.wraps(module.stft)(
        lambda *a, stft=module.stft: 2 * stft(*a))),
    "another F": lambda module, loss: setattr(module, "F", type("F", (), {"l1_loss": lambda *a: a[0].sum()})),
    "a window of float64": lambda module, loss: setattr(loss, "window", wide(loss.window)),
    "a size that is no int": lambda module, loss: setattr(loss, "fft_size", torch.tensor(64)),
}  # fmt: skip


@pytest.mark.parametrize("what", [pytest.param(name, marks=[pytest.mark.thorough] * (n > 0))
                                  for n, name in enumerate(UNUSUAL)])  # fmt: skip
def test_an_unusual_one_is_its_own_code(what, loaded, signals, options, seen):
    module = loaded()
    loss = module.STFTLoss(*SIZES).to(signals[0].device)

    def outcome():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return loss(*signals)
        except Exception as error:
            return type(error), str(error)

    with msp.accelerated(**options):
        loss(*signals)
        assert seen.pop() == "loss"
        UNUSUAL[what](module, loss)
        got = outcome()
    assert "loss" not in seen
    with msp.accelerated(compat=False):
        expected = outcome()
    if isinstance(expected[0], type):
        assert got == expected
    else:
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_a_subclass_may_use_the_results_of_its_base(loaded, signals, options, seen):
    module = loaded()
    loss = module.STFTLoss(*SIZES).to(signals[0].device)
    _own_forward(module, loss)
    with msp.accelerated(**options), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc_loss, mag_loss = loss(*signals)
    assert float(sc_loss) == 1 and float(mag_loss) > 0


def test_torchs_warning_about_real_results_is_given_once_as_by_torch(loaded, signals, options, monkeypatch):
    module = loaded()
    loss = module.STFTLoss(*SIZES).to(signals[0].device)
    given = []
    monkeypatch.setattr(torch_warnings, "_provoke", given.append)
    monkeypatch.setattr(torch_warnings, "_given", set())
    with msp.accelerated(**options):
        loss(*signals), loss(*signals), module.stft(signals[0], *SIZES, loss.window)
    assert given == ["real_output"]


def test_results_may_be_changed_in_place(loaded, signals, options, seen):
    """As a sum that begins with the first of them."""
    module, (x, y) = loaded(), signals
    loss = module.STFTLoss(*SIZES).to(x.device)
    gradients = []
    for scope in (functools.partial(msp.accelerated, **options), functools.partial(msp.accelerated, compat=False)):
        leaf = x.clone().requires_grad_()
        with scope(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc_loss, mag_loss = loss(leaf, y)
            sc_loss *= 3
            mag_loss += sc_loss
            mag_loss.backward()
        gradients.append(leaf.grad)
    assert seen == ["loss", "gradient"] and relative(*gradients) < 1e-2


BAD = {
    "longer": lambda x, y: (x, torch.cat([y, y], -1)), "fewer rows": lambda x, y: (x, y[:1]),
    "float64": lambda x, y: (x.double(), y.double()), "half": lambda x, y: (x.half(), y.half()),
    "mixed": lambda x, y: (x, y.double()), "three dimensions": lambda x, y: (x[None], y[None]),
    "one signal": lambda x, y: (x[0], y[0]), "too short": lambda x, y: (x[:, :32], y[:, :32]),
    "just long enough": lambda x, y: (x[:, :33], y[:, :33]), "empty": lambda x, y: (x[:0], y[:0]),
    "no samples": lambda x, y: (x[:, :0], y[:, :0]), "integers": lambda x, y: (x.long(), y.long()),
    "a number": lambda x, y: (x, 3.0), "nothing": lambda x, y: (x, None), "silence": lambda x, y: (x * 0, y * 0),
    "silence against sound": lambda x, y: (x * 0, y), "sound against silence": lambda x, y: (x, y * 0),
    "NaN": lambda x, y: (x.index_fill(1, torch.tensor([250], device=x.device), float("nan")), y),
    "infinity": lambda x, y: (x, y.index_fill(1, torch.tensor([250], device=x.device), float("inf"))),
    "the same": lambda x, y: (x, x), "complex": lambda x, y: (x + 0j, y + 0j),
    "another device": lambda x, y: (x, y.to("meta")),
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.thorough] * (n > 0))
                                  for n, name in enumerate(BAD)])  # fmt: skip
def test_bad_input_has_the_originals_outcome(name, loaded, signals, options):
    module = loaded()
    loss = module.STFTLoss(*SIZES).to(signals[0].device)

    def outcome():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return loss(*BAD[name](*signals))
        except Exception as error:
            return type(error), str(error)

    expected = outcome()
    with msp.accelerated(**options):
        got = outcome()
    if isinstance(expected[0], type):
        assert got == expected
    else:
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
