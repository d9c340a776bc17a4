"""What front ends have in common as modules: two buffers, one FrontEnd, and a form that TorchScript compiles."""

from __future__ import annotations

import torch
from torch.compiler import is_dynamo_compiling

from .. import compute
from ..spec import FrontEnd


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
        self.n_fft, self.hop_length, self.win_length = call.n_fft, call.hop_length, call.win_length
        self.center, self.pad_mode, self.pad, self.dropped = call.center, call.pad_mode, call.pad, call.dropped
        self.power, self.eps, self.gain = float(call.power), float(call.eps), float(call.gain)
        self.window_norm = call.window_norm
        scale = call.scale
        self.scale, self.amin = scale.scale, float(scale.amin)
        self.factor, self.offset = float(scale.factor), float(scale.offset)
        self.has_floor, self.below, self.scope = scale.below is not None, float(scale.below or 0.0), scale.scope
        self.after_factor, self.after_offset = float(scale.after_factor), float(scale.after_offset)
        self.standardises, self.deviation_eps = scale.deviation_eps is not None, float(scale.deviation_eps or 0.0)

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
        parts = torch.view_as_real(spectrum[:, :, : spectrum.size(2) - self.dropped])
        value = parts.square().sum(-1)
        if self.power == 1.0:
            value = (value + self.eps).sqrt() if self.eps > 0 else torch.view_as_complex(parts.contiguous()).abs()
        elif self.power == 2.0:
            value = value + self.eps
        else:
            value = value.sqrt().pow(self.power) + self.eps
        value = torch.matmul((value * self.gain).transpose(1, 2), self.basis.t()).transpose(1, 2)
        if self.scale == "clamp":
            value = value.clamp(min=self.amin).log() * self.factor + self.offset
        elif self.scale == "add":
            value = (value + self.amin).log() * self.factor + self.offset
        elif self.scale == "log1p":
            value = (value / self.amin).log1p() * self.factor + self.offset
        if self.has_floor:
            count = 1
            if self.scope == "all":
                count = rows.size(0)
            elif self.scope == "batch" and len(shape) > 1:
                count = shape[-2]
            packed = value.reshape(-1, count * value.size(1) * value.size(2))
            floor = (packed.amax(1) - self.below).repeat_interleave(count)
            value = torch.maximum(value, floor.reshape(-1, 1, 1))
        value = value * self.after_factor + self.after_offset
        if self.standardises:
            deviation = value.std(-1, keepdim=True)
            value = (value - value.mean(-1, keepdim=True)) / (deviation + self.deviation_eps)
        return value.reshape(shape[:-1] + value.size()[1:])
