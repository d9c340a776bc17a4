"""Functions that look like HiFi-GAN's and compute something else: each gives its own result, patched or not, and
status() tells of those that are left alone."""

from __future__ import annotations

import itertools
import sys
import types

import pytest
import torch

import mps_spectro_patch as msp

from .conftest import HERE

SOURCE = HERE / "stand_in" / "vocoders_of_somebody" / "matcha.py"
SQRT, PAD = "torch.sqrt(spec.pow(2).sum(-1) + (1e-9))", "torch.nn.functional.pad(y.unsqueeze(1), (apart, apart)"
LAST, LOG = "    return spectral_normalize_torch(spec)", "torch.log(torch.clamp(x, min=clip_val))"
BASIS = 'torch.matmul(mel_basis[str(fmax) + "_" + str(y.device)], spec)'
RELATIVES = {  # name: (what stands there, what stands there instead, what status() says)
    "another constant under the root": ("(1e-9)", "(1e-2)", ""),
    "a constant beside the root": (SQRT, "torch.sqrt(spec.pow(2).sum(-1)) + 1e-2", ""),
    "nothing under the root": (" + (1e-9)", "", ""),
    "another floor": ("clip_val=1e-5", "clip_val=0.3", ""),
    "a floor that depends on the signal": ("min=clip_val", "min=clip_val * x.max()", ""),
    "padding on one side": ("(apart, apart)", "(apart, apart + 1)", ""),
    "padding of zeros": (PAD + ', mode="reflect"', PAD, ""),
    "padding by half a window": ("(n_fft - hop_size) / 2", "n_fft / 2", ""),
    "decibels": ("torch.log(", "torch.log10(", "it uses log10"),
    "added to the logarithm": (LOG, LOG + " + 1", ""),
    "twice the bands": (LOG, "torch.log(torch.clamp(x, min=clip_val) * 2)", ""),
    "powers": (SQRT, "spec.pow(2).sum(-1)", None),
    "the fourth root": (SQRT, "torch.sqrt(torch.sqrt(spec.pow(2).sum(-1) + (1e-9)))", ""),
    "a sum of parts": (SQRT, "torch.sqrt(spec.abs().sum(-1) + (1e-9))", ""),
    "normalised": ("normalized=False", "normalized=True", ""),
    "by the loudest": (LAST, "    return spectral_normalize_torch(spec / spec.max())", ""),
    "an extra result": (LAST, "    return spec, spectral_normalize_torch(spec)", ""),
    "a result in a dictionary": (LAST, '    return {"mel": spectral_normalize_torch(spec)}', ""),
    "some of the bands": (LAST, "    return spectral_normalize_torch(spec)[:, 40:]", ""),
    "a mask in place": (BASIS, BASIS + "\n    spec[:, :, 0] = 0", ""),
    "in place, and used before": (
        f"spec = {BASIS}", f"bands = {BASIS}\n    spec.add_(1)\n    spec = bands + spec[:, :80] / 9", ""),
    "the signal in place": ("    apart = int", "    y.add_(0.25)\n    apart = int", ""),
    "kept in a cache": (LAST, '    mel_basis["last"] = spec\n' + LAST, ""),
    "kept in a global": (LAST, "    global shape\n    shape = spec\n" + LAST, "it has a STORE_GLOBAL"),
    "kept in an attribute": (LAST, "    mel_spectrogram.shape = spec\n" + LAST, "it has a STORE_ATTR"),
    "without a gradient": (LAST, "    with torch.no_grad():\n    " + LAST, "it uses no_grad"),
    "decorated": ("def mel_spectrogram(", "@torch.no_grad()\ndef mel_spectrogram(", "it is decorated"),
    "a filterbank that learns": (
        ".float().to(y.device)", ".float().to(y.device).requires_grad_()", "it uses requires_grad_"),
    "arguments of other names": ("hop_size", "stride", None),
}  # fmt: skip


@pytest.fixture
def loaded(stand_in, monkeypatch):
    """loaded(text) is a module with that text, under a name that no other has had."""
    package = "vocoders_of_somebody"
    stand_in(f"{package}.filterbank")

    def load(text: str) -> types.ModuleType:
        made = types.ModuleType(f"vocoder_{next(_count)}")
        monkeypatch.setitem(sys.modules, made.__name__, made)
        exec(text.replace("from .filterbank", f"from {package}.filterbank"), vars(made))
        return made

    return load


_count = itertools.count()


def numbers(module, audio, training):
    """[tensors]: two results, their gradient, what the module keeps."""
    audio = audio.clone().requires_grad_(training)
    found = []
    for _ in range(2):
        result = module.mel_spectrogram(audio * 1.0)
        result = list(result.values()) if type(result) is dict else result
        found += result if type(result) in (tuple, list) else [result]
    if training and all(one.requires_grad for one in found):
        try:
            found.append(torch.autograd.grad(sum(one.square().sum() for one in found), audio)[0])
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)
            found.append(torch.zeros(()))
    return [*found, *module.mel_basis.values(), *(vars(module)[name] for name in ("shape",) if name in vars(module))]


@pytest.mark.thorough
@pytest.mark.parametrize("name", RELATIVES)
def test_a_relative_gives_its_own_result(name, loaded, options, torch_device):
    before, after, said = RELATIVES[name]
    text = SOURCE.read_text()
    assert before in text
    text = text.replace(before, after)
    audio = torch.rand(2, 2000, device=torch_device) - 0.5
    for training in (True, False):
        expected, module = numbers(loaded(text), audio, training), loaded(text)
        with msp.accelerated(**options):
            state, where = msp.status().projects["hifigan"], f"{module.__name__}.mel_spectrogram"
            if said is None:
                assert where not in state
            elif said:
                assert f"{where}: unknown version: {said}" in state
            else:
                assert where in state.partition("applied: ")[2]
            got = numbers(module, audio, training)
        for mine, theirs in zip(got, expected, strict=True):
            assert mine.shape == theirs.shape and mine.requires_grad == theirs.requires_grad
            # Where a bin is nearly empty, the gradient of a root is lost in float32, whoever computes it.
            near = 1e-3 * float(theirs.abs().max()) if mine.shape == audio.shape else 2e-4
            torch.testing.assert_close(mine.detach(), theirs.detach(), rtol=1e-3, atol=near)


@pytest.mark.thorough
def test_a_root_of_nothing_has_the_gradient_that_torch_gives_it(loaded, options, torch_device):
    module = loaded(SOURCE.read_text().replace(" + (1e-9)", ""))
    audio = torch.zeros(1, 2000, device=torch_device, requires_grad=True)
    with msp.accelerated(**options):
        assert torch.autograd.grad(module.mel_spectrogram(audio).sum(), audio)[0].isnan().any()
