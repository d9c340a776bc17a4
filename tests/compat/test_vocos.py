"""The inverse transform of Vocos and its relatives, on a stand-in of the class that many projects have a copy of."""

from __future__ import annotations

import sys
import types

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.compat import vocos
from mps_spectro_patch.compat.tools.structure import arithmetic_of
from mps_spectro_patch.kernels.tables import envelope
from mps_spectro_patch.patching import built

from .conftest import HERE

SOURCE = (HERE / "stand_in" / "vocos_of_somebody.py").read_text()


@pytest.fixture
def module(stand_in):
    return stand_in("vocos_of_somebody")


def written(*changes, name="vocos_of_somebody_else"):
    """The stand-in's module with some lines changed."""
    text = SOURCE
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    module = types.ModuleType(name)
    exec(text, module.__dict__)
    return module


def spectrum(n_fft, frames, device, rows=2):
    return torch.randn(rows, n_fft // 2 + 1, frames, dtype=torch.complex64, device=device)


@pytest.mark.parametrize(
    "n_fft, hop_length", [pytest.param(1280, 320, marks=pytest.mark.thorough), (64, 15), (100, 98)]
)
def test_same_padding_is_one_launch_of_the_classes_numbers(n_fft, hop_length, module, torch_device, options, launches):
    istft = module.ISTFT(n_fft, hop_length, n_fft).to(torch_device)
    spec = spectrum(n_fft, 9, torch_device)
    theirs = istft(spec)
    right = module.ISTFT(n_fft, hop_length, n_fft).double()(spec.cpu().to(torch.complex128))
    with msp.accelerated(**options):
        got = istft(spec)
    assert len(launches) == 1
    assert (got.shape, got.dtype, got.stride(), got.device) == (
        theirs.shape, theirs.dtype, theirs.stride(), theirs.device
    )  # fmt: skip
    errors = [float((one.cpu().double() - right).norm() / right.norm()) for one in (got, theirs)]
    assert errors[0] <= max(3e-7, 1.5 * errors[1])


@pytest.mark.thorough
def test_gradients_are_the_classes(module, torch_device, options, launches):
    istft = module.ISTFT(400, 100, 400).to(torch_device)
    spec, weight = spectrum(400, 9, torch_device), torch.randn(2, 900, device=torch_device)

    def gradient():
        leaf = spec.clone().requires_grad_()
        (istft(leaf) * weight).sum().backward()
        return leaf.grad

    theirs = gradient()
    with msp.accelerated(**options):
        got = gradient()
    assert len(launches) == 2
    torch.testing.assert_close(got, theirs, rtol=1e-4, atol=1e-5)


def test_the_window_is_read_once_and_an_envelope_of_zeros_is_the_originals(module, torch_device, options, launches):
    istft = module.ISTFT(400, 100, 400).to(torch_device)
    with msp.accelerated(**options):
        istft(spectrum(400, 9, torch_device))
        before = envelope.read_backs()
        istft(spectrum(400, 12, torch_device))
        assert envelope.read_backs() == before and len(launches) == 2
        istft.window[:200] = 0
        with pytest.raises(AssertionError):
            istft(spectrum(400, 9, torch_device))
    assert len(launches) == 2


@pytest.mark.thorough
@pytest.mark.parametrize("change", [
    dict(padding="center"), dict(hop_length=400), dict(hop_length=399), dict(window="double"), dict(n_fft=402),
    dict(win_length=398),
])  # fmt: skip
def test_what_the_kernels_do_not_do_is_done_by_the_class(change, module, torch_device, options, launches, request):
    if "window" in change:
        request.getfixturevalue("float64")
    istft = module.ISTFT(400, 100, 400).to(torch_device)
    for name, value in change.items():
        setattr(istft, name, value) if name != "window" else istft.double()
    spec = spectrum(400, 9, torch_device)

    def result():
        try:
            return istft(spec)
        except RuntimeError as error:
            return str(error)

    theirs = result()
    with msp.accelerated(**options):
        got = result()
    assert not launches or change == dict(padding="center")
    if isinstance(theirs, str):
        assert got == theirs
    else:
        torch.testing.assert_close(got, theirs)


def test_nothing_is_patched_behind_disable(module, torch_device, device_name):
    original = module.ISTFT.forward
    msp.enable(devices=(device_name,))
    assert module.ISTFT.forward is not original and "vocos_of_somebody.ISTFT" in str(msp.status())
    msp.disable()
    assert module.ISTFT.forward is original


NEAR_MISSES = [
    (("- self.hop_length) // 2", "+ self.hop_length) // 2"),),  # another padding
    (("- self.hop_length) // 2", "- self.hop_length + 1) // 2"),),
    (("y / envelope", "y / (envelope + 1e-8)"),),  # something added
    (("y / envelope", "y / envelope.clamp(min=1e-8)"),),
    (("1e-11", "1e-8"),),  # another limit
    (('norm="backward"', 'norm="ortho"'),),
    (("frames * self.window", "frames / self.window"),),
    (("return y\n", "return y, envelope\n"),),  # another result
    (("return y\n", "return y.unsqueeze(1)\n"),),
    (("self.window.square()", "self.window.abs()"),),
    (("def forward(self, spec)", "def forward(self, spec, length=None)"),),
    (("(T - 1)", "(T + 1)"),),
    (("frames = frames *", "frames = 2.0 * frames *"),),
]


@pytest.mark.parametrize("changes", NEAR_MISSES)
def test_a_near_miss_is_left_alone(changes):
    assert isinstance(vocos._recognises(written(*changes).ISTFT), str)


@pytest.mark.parametrize("changes", [
    (),
    (("        assert (envelope > 1e-11).all()\n", ""),),  # NeuCodec
    (
        ("B, N, T = spec.shape\n", "B, N, T = spec.shape\n        window = self.window\n"
                                   "        assert isinstance(window, torch.Tensor)\n"),
        ("* self.window[", "* window["), ("self.window.square", "window.square"),
    ),
    (("no such padding", "Padding must be 'center' or 'same'."),),
])  # fmt: skip
def test_copies_are_recognised(changes):
    assert vocos._recognises(written(*changes).ISTFT) is True


@pytest.mark.thorough
def test_a_known_module_is_patched_when_it_is_imported(device_name, monkeypatch, tmp_path, torch_device, launches):
    package = tmp_path / "vocos"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "spectral_ops.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    msp.enable(devices=(device_name,), verify="off")
    try:
        from vocos.spectral_ops import ISTFT

        ISTFT(400, 100, 400).to(torch_device)(spectrum(400, 9, torch_device))
        assert len(launches) == 1
    finally:
        msp.disable()
        for name in ("vocos", "vocos.spectral_ops"):
            sys.modules.pop(name, None)


def test_arithmetic_is_read_in_order():
    def formula(a, b):
        a += b * -a
        return a // b - a**b, a / b % 3

    assert arithmetic_of(formula) == ("negative", "*", "+", "//", "**", "-", "/", "%", "tuple")


def test_a_class_is_found_when_a_module_of_it_is_built(device_name, torch_device, launches):
    msp.enable(devices=(device_name,), verify="off")
    try:
        ISTFT, other = written().ISTFT, written(("1e-11", "1e-8"), name="near_miss").ISTFT
        original = ISTFT.forward
        istft = ISTFT(400, 100, 400).to(torch_device)
        assert ISTFT.forward is not original
        istft(spectrum(400, 9, torch_device))
        assert len(launches) == 1
        other(400, 100, 400).to(torch_device)(spectrum(400, 9, torch_device))
        assert len(launches) == 1
        assert "near_miss.ISTFT.forward: unknown version" in msp.status().projects["vocos"]
    finally:
        msp.disable()
    assert ISTFT.forward is original
    late = written().ISTFT
    untouched = late.forward
    late(400, 100, 400)
    assert late.forward is untouched and not built._handles
