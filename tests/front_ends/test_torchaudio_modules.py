"""torchaudio's modules where one of them, or what is around it, does not do what its class does: the result is that of
torchaudio's own code, whatever was changed. On the stand-in of test_torchaudio_patch.py."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch.nn.modules import module as nn_module
from torch.nn.utils import parametrize, prune

import mps_spectro_patch as msp

from .test_torchaudio_patch import FB, options, torchaudio, x  # noqa: F401  (fixtures)


class Doubled(torch.nn.Module):
    def forward(self, value):
        return 2 * value


def louder(call):
    return lambda *args, **kwargs: 2 * call(*args, **kwargs)


def of_parameter(module):
    """The module with its tensor as a parameter that asks for no gradient."""
    name = next(name for name in ("fb", "window", "mel_basis") if name in module._buffers)
    tensor = module._buffers.pop(name)
    module.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=False))
    return name


def accelerates_hook(module, _):
    """As accelerate's add_hook_to_module has it."""
    module._old_forward = module.forward
    module.forward = louder(module._old_forward)


def parametrised(module, _):
    parametrize.register_parametrization(module, of_parameter(module), Doubled())


def pruned(module, _):
    name = of_parameter(module)
    mask = torch.rand_like(getattr(module, name)) > 0.3
    prune.custom_from_mask(module, name, mask)


TAMPERED = {
    "its forward replaced": lambda module, _: setattr(module, "forward", louder(module.forward)),
    "its _call_impl replaced": lambda module, _: setattr(module, "_call_impl", louder(module._call_impl)),
    "a hook of accelerate": accelerates_hook,
    "a forward hook": lambda module, _: module.register_forward_hook(lambda _m, _i, out: 2 * out),
    "a forward hook with arguments": lambda module, _: module.register_forward_hook(
        lambda _m, _i, _k, out: 2 * out, with_kwargs=True
    ),
    "a forward pre-hook": lambda module, _: module.register_forward_pre_hook(
        lambda _m, args: tuple(2 * one for one in args)
    ),
    "its class's forward replaced": lambda module, patch: patch.setattr(
        type(module), "forward", louder(type(module).forward)
    ),
    "another class": lambda module, _: setattr(
        module, "__class__", type("Other", (type(module),), {"forward": louder(type(module).forward)})
    ),
    "every module's call replaced": lambda _, patch: patch.setattr(
        torch.nn.Module, "__call__", louder(torch.nn.Module.__call__)
    ),
    "a global forward hook": lambda _, patch: patch.setitem(
        nn_module._global_forward_hooks, -1, lambda _m, _i, out: 2 * out
    ),
    "a global forward pre-hook": lambda _, patch: patch.setitem(
        nn_module._global_forward_pre_hooks, -1, lambda _m, args: tuple(2 * one for one in args)
    ),
}
OF_TENSORS = {"parametrised": parametrised, "pruned": pruned}
MODULES = {
    "MelSpectrogram": lambda T: T.MelSpectrogram(FB, hop_length=160),
    "MFCC": lambda T: T.MFCC(FB, 13),
    "dB": lambda T: torch.nn.Sequential(T.MelSpectrogram(FB, hop_length=160), T.AmplitudeToDB("magnitude", 30.0)),
}
PARTS = {
    "MelSpectrogram": ("", "spectrogram", "mel_scale"),
    "MFCC": ("", "amplitude_to_DB", "MelSpectrogram", "MelSpectrogram.spectrogram", "MelSpectrogram.mel_scale"),
    "dB": ("0", "1", "0.spectrogram", "0.mel_scale"),
}
CASES = [
    (name, part, what)
    for name, what in itertools.product(MODULES, TAMPERED | OF_TENSORS)
    for part in PARTS[name]
    if what not in OF_TENSORS or part.endswith(("spectrogram", "mel_scale"))
]


def agree(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(("name", "part", "what"), CASES, ids=lambda value: value or "itself")
def test_a_module_that_was_changed_is_called_part_by_part(name, part, what, torchaudio, options, x, monkeypatch):  # noqa: F811
    module = MODULES[name](torchaudio.transforms).to(x.device)
    with msp.accelerated(**options):
        plain = [module(x) for _ in range(2)][1]  # what is cached now must not be used below
        with monkeypatch.context() as patch:
            (TAMPERED | OF_TENSORS)[what](module.get_submodule(part), patch)
            got = [module(x) for _ in range(2)]
            with msp.accelerated(**{**options, "devices": (), "torchaudio": False}):
                expected = module(x)
    assert not torch.allclose(expected, plain, rtol=1e-2), "the change has no effect, so this test shows nothing"
    for one in got:
        agree(one, expected)


@pytest.mark.parametrize("name", ["spectrogram", "amplitude_to_DB"])
def test_a_function_that_somebody_replaced_is_called_by_the_modules(name, torchaudio, options, x, monkeypatch):  # noqa: F811
    for module in (MODULES["MFCC"](torchaudio.transforms), MODULES["dB"](torchaudio.transforms)):
        module.to(x.device)
        with msp.accelerated(**options):
            plain = module(x)
            with monkeypatch.context() as patch:
                patch.setattr(torchaudio.functional, name, louder(getattr(torchaudio.functional, name)))
                got = module(x)
                with msp.accelerated(**{**options, "devices": (), "torchaudio": False}):
                    expected = module(x)
        assert not torch.allclose(expected, plain, rtol=1e-2)
        agree(got, expected)


def test_modules_that_were_not_changed_are_still_one_launch(torchaudio, options, x, launches):  # noqa: F811
    module = MODULES["MelSpectrogram"](torchaudio.transforms).to(x.device)
    for same in (module, copy.deepcopy(module), module.eval()):
        launches.clear()
        with msp.accelerated(**options):
            same(x)
        assert len(launches) == 1


def outcome(module, signal):
    """The type and text of the error, or the device of the result."""
    try:
        return str(module(signal).device)
    except (RuntimeError, NotImplementedError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("part", ["spectrogram.window", "mel_scale.fb"])
def test_a_tensor_on_another_device_is_torchaudios_business(part, torchaudio, options, x):  # noqa: F811
    module = MODULES["MelSpectrogram"](torchaudio.transforms).to(x.device)
    owner, name = module.get_submodule(part.split(".")[0]), part.split(".")[1]
    msp.reset_stats()
    with msp.accelerated(**options):
        right = module(x)
        kept = owner._buffers[name]
        owner._buffers[name] = kept.to("meta")
        got = outcome(module, x)
        with msp.accelerated(**{**options, "devices": (), "torchaudio": False}):
            assert got == outcome(module, x)
        assert msp.stats()["torchaudio.MelSpectrogram"].fast == 1
        owner._buffers[name] = kept
        agree(module(x), right)
        assert msp.stats()["torchaudio.MelSpectrogram"].fast == 2
