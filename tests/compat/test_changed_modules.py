"""The fused front ends of projects where one of their modules does not do what its class does: the result is that of
the project's own code, whatever was changed."""

from __future__ import annotations

import pytest
import torch

import mps_spectro_patch as msp
from tests.front_ends.test_torchaudio_modules import TAMPERED, agree

from .test_torchaudio_front_ends import BEATS, FRONT_ENDS, made


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
@pytest.mark.parametrize("what", TAMPERED)
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
