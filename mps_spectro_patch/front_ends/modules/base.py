"""What front ends have in common as modules: two buffers, one FrontEnd, and a form that TorchScript compiles."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch.compiler import is_dynamo_compiling
from torch.nn.modules import module as torchs

from ...ops import composite_features
from .. import compute
from ..spec import FrontEnd

_CALL, _CALL_IMPL = torch.nn.Module.__call__, torch.nn.Module._call_impl
# Dictionaries that never change places. (torch's own question after them is not in torch 2.7.)
_HOOKS_ON_ALL = [
    getattr(torchs, f"_global_{kind}_hooks") for kind in ("forward_pre", "forward", "backward_pre", "backward")
]


def is_its_class_alone(module: torch.nn.Module) -> bool:
    """Whether nobody has replaced the module's own forward, and nobody listens to its calls."""
    own, cls = module.__dict__, type(module)
    return (
        not ("forward" in own or "_call_impl" in own)  # looked up in the module itself: accelerate puts its own there
        and not (own["_forward_hooks"] or own["_forward_pre_hooks"])
        and not (own["_backward_hooks"] or own["_backward_pre_hooks"] or any(_HOOKS_ON_ALL))
        and cls.__call__ is _CALL
        and cls._call_impl is _CALL_IMPL
    )


class ExactBuffers(torch.nn.Module):
    """A module whose own buffers keep their precision in .half() and .bfloat16(), which only move them: with a rounded
    window every bin would be less accurate."""

    def _own(self, name: str) -> torch.Tensor:
        """The buffer, found ten times faster than by `self.name`; or what somebody put in its place."""
        if not is_dynamo_compiling() and name in self._buffers:
            return self._buffers[name]
        return getattr(self, name)

    def _apply(self, fn, recurse=True):
        exact = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        for name, before in exact.items():
            after = self._buffers[name]
            if after is not None and after.dtype in (torch.float16, torch.bfloat16):
                self._buffers[name] = before.to(after.device)
        return self


class FrontEndModule(ExactBuffers):
    """[..., time] to [..., features, frames] through compute.compute.

    Buffers are `window` [win_length] and `basis` [features, n_fft // 2 + 1], float32 (float64 after .double(); .half()
    leaves them float32). They follow from the arguments, so they are in the state_dict only if `persistent` is true.
    torch.jit.script makes the module of torch's own functions, because the kernels are launched from Python.
    """

    def __init__(
        self, call: FrontEnd, window: torch.Tensor, basis: torch.Tensor, use_mps_kernels: bool = True,
        persistent: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        compute.load_operators()
        self.use_mps_kernels = bool(use_mps_kernels)
        self.register_buffer("window", window.to(torch.float32), persistent=persistent)
        self.register_buffer("basis", basis.to(torch.float32), persistent=persistent)
        self._follow(call)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_scripting():
            return self._composed(x)
        else:  # TorchScript skips the other branch only if it is written like this
            tensors = x, self._own("window"), self._own("basis")
            return compute.compute(*tensors, self.call, self.use_mps_kernels, type(self).__name__)

    def _follow(self, call: FrontEnd) -> None:
        """Keeps the description, also as single attributes for TorchScript, which knows no dataclasses."""
        self.call = call
        for part in call, call.scale:
            for field in fields(part):
                setattr(self, field.name, getattr(part, field.name))

    def extra_repr(self) -> str:
        return (
            f"n_fft={self.n_fft}, hop_length={self.hop_length}, win_length={self.win_length}, "
            f"bands={self.basis.shape[0]}, power={self.power:g}, scale={self.scale}"
        )

    def _composed(self, x: torch.Tensor) -> torch.Tensor:
        """compute.compute written for TorchScript, in the precision of the buffers."""
        window = self.window
        if self.window_norm:
            window = window / window.square().sum().sqrt()
        shape = x.size()
        rows = x.reshape(-1, shape[-1]).to(window.dtype)
        if self.pad > 0:
            rows = torch.nn.functional.pad(rows, (self.pad, self.pad))
        spectrum = torch.stft(rows, self.n_fft, self.hop_length, self.win_length, window, self.center, self.pad_mode,
                              False, True, True)  # fmt: skip
        spectrum = spectrum[:, :, : spectrum.size(2) - self.dropped]
        values = composite_features.powers(spectrum, self.power, self.eps, self.gain, self.floor)
        values = composite_features.product(self.basis, values)
        values = composite_features.scaled(values, self.scale, self.amin, self.factor, self.offset)
        rows_per_item = 1
        if self.scope == "all":
            rows_per_item = rows.size(0)
        elif self.scope == "batch" and len(shape) > 1:
            rows_per_item = shape[-2]
        values = compute.finished(
            values, rows_per_item, self.below, self.after_factor, self.after_offset, self.deviation_eps
        )
        return values.reshape(shape[:-1] + values.size()[1:])
