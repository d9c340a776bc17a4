"""auraloss's losses, on a stand-in: the same numbers in three launches, its own code where something unusual is set."""

from __future__ import annotations

import copy
import sys

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.kernels.launch import stft_loss as kernels

ALL = dict(w_sc=0.7, w_log_mag=0.9, w_lin_mag=0.5)


@pytest.fixture
def freq(stand_in):
    return stand_in("auraloss.freq")


@pytest.fixture
def signals(torch_device):
    x, y = torch.randn(2, 3, 2, 500)
    return x.to(torch_device), (y * torch.linspace(0.2, 3, 500)).to(torch_device)


@pytest.fixture
def fused(launches, monkeypatch):
    """Of every fused loss: "loss", and of every gradient "gradient"."""
    seen = []
    for name, word in (("stft_loss", "loss"), ("stft_loss_gradient", "gradient")):
        original = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *a, original=original, word=word: seen.append(word) or original(*a))
    return seen


def of_loss(module, x, y):
    """(the result, the gradient of the loss)"""
    leaf = x.detach().clone().requires_grad_()
    result = module(leaf, y)
    (result[0] if isinstance(result, tuple) else result).backward()
    return result, leaf.grad


def in_float64(module, x, y):
    wide = copy.deepcopy(module).double()
    wide.window = module.window.cpu().double()
    return of_loss(wide.cpu(), x.cpu().double(), y.cpu().double())


@pytest.mark.parametrize("how", [
    {}, dict(ALL, output="full"), dict(ALL, mag_distance="L2"), dict(ALL, reduction="sum"),
    dict(w_sc=0, output="full"), dict(w_log_mag=0.0), dict(eps=1e-3),
])  # fmt: skip
def test_a_usual_loss_is_two_launches_and_its_gradient_one(how, freq, signals, options, fused):
    module = freq.STFTLoss(**how)
    expected, gradient = in_float64(module, *signals)
    with msp.accelerated(**options):
        state = msp.status().projects["auraloss"]
        assert state.startswith("applied") and ": auraloss.freq.STFTLoss.forward, " in state
        got, own_gradient = of_loss(module, *signals)
    assert fused == ["loss", "gradient"] and type(got) is type(expected)
    for one, right in zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]:
        assert type(one) is type(right)
        torch.testing.assert_close(torch.as_tensor(one).detach().cpu().double(), torch.as_tensor(right).detach(),
                                   rtol=1e-5, atol=1e-9, check_dtype=False)  # fmt: skip
    assert (own_gradient.cpu().double() - gradient).norm() / gradient.norm() < 1e-2
    assert module.window.device == signals[0].device


def _part(change):
    """A change of the second of several losses."""
    return lambda freq, module: change(freq, module.stft_losses[1])


SEVERAL = {
    "as it comes": lambda freq, module: None,
    "all terms": lambda freq, module: [setattr(one, "output", "full") for one in module.stft_losses],
    "a hook on one": _part(lambda freq, one: one.register_forward_hook(lambda *a: None)),
    "a part of its own": _part(lambda freq, one: setattr(one, "spectralconv", torch.nn.MSELoss())),
    "phases in one": _part(lambda freq, one: setattr(one, "w_phs", 1e-3)),
    "a list of its own": lambda freq, module: setattr(
        module, "stft_losses", type("List", (torch.nn.ModuleList,), {})(module.stft_losses)
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SEVERAL)
def test_losses_of_several_sizes_are_one_call_once_each_is_known(what, freq, signals, options):
    module = freq.MultiResolutionSTFTLoss(**ALL)
    SEVERAL[what](freq, module)
    x, y = signals
    expected, gradient = of_loss(module, x, y)
    with msp.accelerated(**options):
        found = [of_loss(module, x, y) for _ in range(3)]
        counted = msp.stats().get("auraloss.MultiResolutionSTFTLoss")
    assert (counted.fast if counted else 0) == (2 if what == "as it comes" else 0)
    for got, own_gradient in found:
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
        assert (own_gradient - gradient).norm() / gradient.norm() < 1e-2


@pytest.mark.parametrize("other", ["longer", "float64", "no view", "two dimensions", "empty", "another dtype"])
def test_signals_that_are_not_for_all_of_them_have_the_same_outcome(other, freq, signals, options):
    module, (x, y) = freq.MultiResolutionSTFTLoss(**ALL), signals
    if x.is_mps and other == "float64":
        pytest.skip("MPS has no tensors of doubles")
    given = {
        "longer": (x, torch.cat([y, y], -1)), "empty": (x[:0], y[:0]),
        "float64": (x, y) if x.is_mps else (x.double(), y.double()),
        "no view": (x.transpose(0, 1), y.transpose(0, 1)), "two dimensions": (x[0], y[0]),
        "another dtype": (x, y.half()),
    }[other]  # fmt: skip

    def outcome():
        try:
            return module(*given)
        except Exception as error:
            return type(error), str(error)

    expected = outcome()
    with msp.accelerated(**options):
        module(x, y)
        got = [outcome() for _ in range(3)]
    for one in got:
        if isinstance(expected, tuple):
            assert one == expected
        else:
            torch.testing.assert_close(one, expected, equal_nan=True, rtol=1e-4, atol=1e-6)
    assert "auraloss.MultiResolutionSTFTLoss" not in msp.stats()


def _subclass(freq, module):
    module.__class__ = type("Mine", (freq.STFTLoss,), {})


def _own_distance(freq, module):
    module.logstft.distance = torch.nn.SmoothL1Loss()


UNUSUAL = {
    "phases": lambda freq, module: setattr(module, "w_phs", 1.0),
    "a scale": lambda freq, module: setattr(module, "scale", torch.rand(8, 33).to(module.window)),
    "scale invariance": lambda freq, module: setattr(module, "scale_invariance", True),
    "no reduction": lambda freq, module: [setattr(one, "reduction", "none") for one in
                                          (module, module.logstft.distance, module.linstft.distance)],
    "two reductions": lambda freq, module: setattr(module.logstft.distance, "reduction", "sum"),
    "no eps": lambda freq, module: setattr(module, "eps", 0.0),
    "a weight that is a tensor": lambda freq, module: setattr(module, "w_sc", torch.tensor(1.0)),
    "another distance": _own_distance,
    "a subclass": _subclass,
    "a forward of its own": lambda freq, module: setattr(module, "forward", lambda x, y: (x - y).abs().mean()),
    "a transform of its own": lambda freq, module: setattr(module, "stft", type(module).stft.__get__(module)),
    "a hook": lambda freq, module: module.register_forward_hook(lambda *a: None),
    "a hook on a part": lambda freq, module: module.spectralconv.register_forward_hook(lambda *a: None),
    "a part of its own": lambda freq, module: setattr(module, "spectralconv", torch.nn.MSELoss()),
    "logarithms in both parts": lambda freq, module: setattr(module.linstft, "log", True),
    "a window of float64": lambda freq, module: setattr(module, "window", module.window.double()),
    "a reduction of its own": lambda freq, module: setattr(freq, "apply_reduction", lambda loss, reduction: 2 * loss),
}  # fmt: skip


@pytest.mark.parametrize("what", UNUSUAL)
def test_an_unusual_one_is_its_own_code(what, freq, signals, options, fused, monkeypatch):
    if signals[0].is_mps and what == "a window of float64":
        pytest.skip("MPS has no tensors of doubles")
    module = freq.STFTLoss(**ALL)
    module.window = module.window.to(signals[0].device)
    monkeypatch.setattr(freq, "apply_reduction", freq.apply_reduction)  # put back afterwards
    UNUSUAL[what](freq, module)
    signals = signals[0][:1, 0], signals[1][:1, 0]
    expected = module(*signals)
    with msp.accelerated(**options):
        got = module(*signals)
    assert not fused
    near = (
        1e-1 if what == "phases" else 1e-2
    )  # of a bin without an imaginary part, rounding says whether it is pi or -pi
    torch.testing.assert_close(got, expected, rtol=near, atol=near)


@pytest.mark.parametrize("other", ["longer", "float64", "half", "no view", "too short", "empty"])
def test_what_the_kernels_do_not_take_has_the_same_outcome(other, freq, signals, options, fused):
    x, y = signals
    if x.is_mps and other == "float64":
        pytest.skip("MPS has no tensors of doubles")
    x, y = {
        "longer": lambda: (x, torch.cat([y, y], -1)), "float64": lambda: (x.double(), y.double()),
        "half": lambda: (x.half(), y.half()),
        "no view": lambda: (x.transpose(0, 1), y.transpose(0, 1)), "too short": lambda: (x[..., :32], y[..., :32]),
        "empty": lambda: (x[:0], y[:0]),
    }[other]()  # fmt: skip
    module = freq.STFTLoss(**ALL)

    def outcome():
        try:
            return module(x, y)
        except Exception as error:
            return type(error), str(error)

    expected = outcome()
    with msp.accelerated(**options):
        got = outcome()
    assert not fused
    if isinstance(expected, tuple):
        assert got == expected
    else:
        torch.testing.assert_close(got, expected, equal_nan=True)


CHANGED = {
    "STFTLoss.forward": (lambda self, input, target: self.stft(input)[0].sum(), "STFTLoss.forward has no"),
    "STFTLoss.stft": (lambda self, x: (torch.stft(x, 64, return_complex=True).abs(), None), "STFTLoss.stft has no"),
    "SpectralConvergenceLoss.forward": (
        lambda self, x_mag, y_mag: (torch.norm(y_mag - x_mag, p="fro") / torch.norm(y_mag, p="fro")).unsqueeze(-1),
        "is of another shape",
    ),
    "STFTMagnitudeLoss.forward": (
        lambda self, x_mag, y_mag: self.distance(torch.log10(x_mag), torch.log(y_mag)), "uses log10",
    ),
}  # fmt: skip


@pytest.mark.parametrize("attribute", CHANGED)
def test_another_version_is_left_alone_and_status_says_why(attribute, freq, options, monkeypatch):
    function, words = CHANGED[attribute]
    name, method = attribute.split(".")
    monkeypatch.setattr(getattr(freq, name), method, function)
    with msp.accelerated(**options):
        assert words in msp.status().projects["auraloss"]


def _mean_of_rows(self, x_mag, y_mag):
    return (torch.norm(y_mag - x_mag, p="fro", dim=[-1, -2]) / torch.norm(y_mag, p="fro", dim=[-1, -2])).mean()


def _rows(self, x_mag, y_mag):
    return torch.norm(y_mag - x_mag, p="fro", dim=[-1, -2]) / torch.norm(y_mag, p="fro", dim=[-1, -2])


@pytest.mark.parametrize("convergence, how, is_fused", [
    (_mean_of_rows, {}, True), (_mean_of_rows, dict(output="full"), True), (_mean_of_rows, dict(reduction="sum"), True),
    (_rows, {}, True), (_rows, dict(output="full"), False), (_rows, dict(reduction="sum"), False),
])  # fmt: skip
def test_norms_over_rows_and_logarithms_with_an_offset_are_known(
    convergence, how, is_fused, freq, signals, options, fused, monkeypatch
):
    """As in stable-audio-tools, and in auraloss behind 0.4.0."""

    def magnitudes(self, x_mag, y_mag):
        if self.log:
            x_mag = torch.log(self.log_fac * x_mag + self.log_eps)
            y_mag = torch.log(self.log_fac * y_mag + self.log_eps)
        return self.distance(x_mag, y_mag)

    for cls, function in ((freq.SpectralConvergenceLoss, convergence), (freq.STFTMagnitudeLoss, magnitudes)):
        found = type(function)(function.__code__, vars(freq))
        monkeypatch.setattr(cls, "forward", found)
    monkeypatch.setattr(freq.STFTMagnitudeLoss, "log_fac", 2.0, raising=False)
    monkeypatch.setattr(freq.STFTMagnitudeLoss, "log_eps", 0.5, raising=False)
    module = freq.STFTLoss(**ALL, **how)
    expected, gradient = in_float64(module, *signals)
    with msp.accelerated(**options):
        got, own_gradient = of_loss(module, *signals)
    assert fused == (["loss", "gradient"] if is_fused else [])
    for one, right in zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]:
        torch.testing.assert_close(torch.as_tensor(one).cpu().double(), torch.as_tensor(right).double(), rtol=2e-6,
                                   atol=0)  # fmt: skip
    assert (own_gradient.cpu().double() - gradient).norm() / gradient.norm() < 1e-2


@pytest.mark.thorough
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_under_torch_compile(backend, freq, signals, options, fused, request):
    module = freq.STFTLoss(**ALL)
    expected, gradient = in_float64(module, *signals)
    module.window = module.window.to(signals[0].device)
    request.addfinalizer(msp.disable)
    msp.enable(**options)
    got, own_gradient = of_loss(torch.compile(module, backend=backend, fullgraph=True), *signals)
    assert fused == (["loss", "gradient"] if torch.__version__ >= (2, 13) else [])  # before, stft alone is ours
    torch.testing.assert_close(got.cpu().double(), expected, rtol=1e-6, atol=0, check_dtype=False)
    assert (own_gradient.cpu().double() - gradient).norm() / gradient.norm() < 1e-2


def test_disable_puts_the_class_back(freq, options):
    original = freq.STFTLoss.forward
    with msp.accelerated(**options):
        assert freq.STFTLoss.forward is not original
    assert freq.STFTLoss.forward is original and "auraloss.freq" in sys.modules
