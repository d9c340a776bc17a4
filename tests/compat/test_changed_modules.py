"""The fused front ends of projects where one of their modules does not do what its class does: the result is that of
the project's own code, whatever was changed."""

from __future__ import annotations

import pytest
import torch

import mps_spectro_patch as msp
from tests.front_ends.test_torchaudio_modules import OF_TENSORS, TAMPERED, agree, louder, of_parameter

from .test_rmvpe import BASIS as RMVPE
from .test_torchaudio_front_ends import BEATS, FRONT_ENDS, made
from .test_torchfcpe import BASIS as FCPE


def parts_of(front_end) -> dict[str, torch.nn.Module]:
    """The front end itself, if it is a module, and those that it consists of."""
    if isinstance(front_end, torch.nn.Module):
        return dict(front_end.named_modules())
    return {
        f"{attribute}.{name}": part
        for attribute, value in vars(front_end).items() if isinstance(value, torch.nn.Module)
        for name, part in value.named_modules()
    }  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["its forward replaced", "a forward hook", "another class", "a global forward hook"])
@pytest.mark.parametrize("project", [*FRONT_ENDS, "linkseg"])
def test_a_front_end_that_was_changed_is_called_part_by_part(
    project, what, stand_in, options, torch_device, monkeypatch
):
    x = torch.randn(2, 9000, device=torch_device)
    if project == "linkseg":
        front_end = stand_in("models").FrameEncoder(BEATS.t().contiguous()).to(torch_device).eval()
    else:
        front_end = made(stand_in, project, torch_device)
    effects = 0
    for part in parts_of(front_end).values():
        with torch.no_grad(), msp.accelerated(**options):
            plain = [front_end(x) for _ in range(2)][1]
            with monkeypatch.context() as patch:
                kept, kept_class = dict(vars(part)), type(part)
                TAMPERED[what](part, patch)
                got = front_end(x)
                with msp.accelerated(**{**options, "devices": (), "torchaudio": False}):
                    expected = front_end(x)
                restored(part, kept, kept_class)
        agree(got, expected)
        effects += not torch.allclose(expected, plain, rtol=1e-2)
    assert effects, "the changes have no effect, so this test shows nothing"


def restored(part, kept: dict, kept_class: type) -> None:
    object.__setattr__(part, "__class__", kept_class)
    for name in set(vars(part)) - set(kept):
        del vars(part)[name]
    part._forward_hooks.clear(), part._forward_pre_hooks.clear()
    part._forward_hooks_with_kwargs.clear()


def estimator(project: str, stand_in, device):
    """A pitch estimator's front end that has been called once, and audio for it."""
    if project == "rmvpe":
        front_end, x = stand_in("rmvpe_of_somebody").MelSpectrogram(RMVPE).to(device), torch.rand(2, 2000) - 0.5
    else:
        front_end, x = stand_in("torchfcpe.mel_extractor").MelModule(FCPE).to(device), torch.rand(2, 2000, 1) - 0.5
    x = x.to(device)
    front_end(x)
    return front_end, x


def normed(wrapper):
    """A wrapper of torch.nn.utils on its buffer, as a parameter that has grown since."""

    def wrapped(module, _):
        wrapper(module, of_parameter(module))
        for parameter in module.parameters():
            parameter.requires_grad_(False).mul_(2)

    return wrapped


def subclass(module, _):
    method = "__call__" if "__call__" in vars(type(module)) else "forward"
    module.__class__ = type("Louder", (type(module),), {method: louder(getattr(type(module), method))})


WRAPPED = {
    **OF_TENSORS,
    "weight_norm": normed(torch.nn.utils.weight_norm),
    "parametrizations.weight_norm": normed(torch.nn.utils.parametrizations.weight_norm),
}
CASES = [
    (project, part, what)
    for project, parts in {"rmvpe": ("",), "torchfcpe": ("", "hann_window", "hann_window.0")}.items()
    for part in parts
    for what in ("a subclass", *TAMPERED, *WRAPPED)
    if what not in WRAPPED or part == "" or (part == "hann_window.0" and what in OF_TENSORS)
]
# torchfcpe's class has a __call__ of its own, which asks for no hook; its dictionary of windows is not called, and the
# modules in that get no arguments.
WITHOUT_EFFECT = {
    ("torchfcpe", part, what)
    for _, part, what in CASES
    if "pre-hook" in what or (part == "hann_window" and what == "a subclass")
    or (part != "hann_window.0" and what in {*TAMPERED, "weight_norm"} and "every" not in what)
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize(("project", "part", "what"), CASES, ids=lambda value: value or "itself")
def test_an_estimator_that_was_changed_gives_what_its_own_code_gives(
    project, part, what, stand_in, options, torch_device, monkeypatch
):
    front_end, x = estimator(project, stand_in, torch_device)
    with torch.no_grad(), msp.accelerated(**options):
        plain = [front_end(x) for _ in range(2)][1]  # what is cached now must not be used below
        with monkeypatch.context() as patch:
            ({"a subclass": subclass} | TAMPERED | WRAPPED)[what](front_end.get_submodule(part), patch)
            got = [front_end(x) for _ in range(2)]
            with msp.accelerated(**{**options, "devices": ()}):
                expected = front_end(x)
    has_effect = not torch.allclose(expected, plain, rtol=1e-2)
    assert has_effect or (project, part, what) in WITHOUT_EFFECT
    for one in got:
        agree(one, expected)


def outcome(front_end, x):
    """The result, or the type and text of the error."""
    try:
        return front_end(x)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        return type(error), str(error)


@pytest.mark.thorough
@pytest.mark.parametrize("of", ["the filterbank", "the window"])
@pytest.mark.parametrize("change", ["to another device", "to float64", "to float16", "to integers", "a gradient"])
@pytest.mark.parametrize("project", ["rmvpe", "torchfcpe"])
def test_a_tensor_of_an_estimator_that_is_not_what_its_class_makes_is_its_own_codes_business(
    project, change, of, stand_in, options, torch_device
):
    front_end, x = estimator(project, stand_in, torch_device)
    if of == "the filterbank":
        tensors, name = front_end._buffers, "mel_basis"
    elif project == "rmvpe":
        tensors, (name,) = front_end.hann_window, front_end.hann_window
    else:
        tensors, name = front_end.hann_window["0"]._buffers, "window"
    changed = {
        "to another device": lambda t: t.to("meta"), "to float64": torch.Tensor.double, "to float16": torch.Tensor.half,
        "to integers": lambda t: t.gt(0).int(), "a gradient": lambda t: t.clone().requires_grad_(),
    }[change]  # fmt: skip
    with msp.accelerated(**options):
        for _ in range(2):
            front_end(x)
        tensors[name] = changed(tensors[name])
        got = [outcome(front_end, x) for _ in range(2)]
        with msp.accelerated(**{**options, "devices": ()}):
            expected = outcome(front_end, x)
    for one in got:
        if isinstance(expected, tuple):
            assert one == expected
            continue
        assert (one.dtype, one.device, one.requires_grad) == (expected.dtype, expected.device, expected.requires_grad)
        if change != "to another device":  # else the values are those of memory that nobody wrote
            agree(one, expected)
        if expected.requires_grad:
            gradients = [torch.autograd.grad(y.sum(), tensors[name], retain_graph=True)[0] for y in (one, expected)]
            agree(*gradients)
