"""Demucs (PyPI demucs 4.x, demucs-infer, and audio-separator's copy): its spectra stay on the device.

Unpatched, a model on MPS copies its audio to the CPU for the STFT and the spectrum back, and the same again for the
inverse. Models with Wiener filters (cac=False) still run the filter on the CPU, as in audio-separator >= 0.46.
"""

from __future__ import annotations

from .tools.complex_support import stays
from .tools.project import Hook, Project
from .tools.recompiled import Recompiled, Version
from .tools.windows import hann

# audio-separator >= 0.46 calls its own probe instead of deciding here; audio_separator.py replaces that probe.
_PROBED = "should_fallback_to_cpu_for_complex_ops("
_PROBED_MASK = "should_fallback_to_cpu_for_demucs_mask("
# demucs-infer >= 4.3 has no copies to the CPU in its models any more, and no MPS among its devices.
_UNDECIDED = "x = x * std[:, None] + mean[:, None]\n\n        zout = self._mask(z, x)\n"
# The decision, in every form that was published; each goes on with "and not stays(...)".
_DECISIONS = (
    'is_mps = {}.device.type == "mps"', "is_mps = {}.device.type == 'mps'",
    "is_mps_xpu = {}.device.type in ['mps', 'xpu']", 'is_mps_xpu = {}.device.type in ["mps", "xpu"]',
    'is_other_gpu = not device_type in ["cuda", "cpu"]',
)  # fmt: skip


def _transform(signal: str, window: dict[str, str]) -> Recompiled:
    """spectro or ispectro."""
    decisions = [decision.format(signal) for decision in _DECISIONS]
    versions = [{line: f"{line} and not msp_stays({signal}.device)", **window} for line in decisions]
    return Recompiled(*versions, {_PROBED: _PROBED, **window}, msp_stays=stays, msp_hann=hann)


def _forward() -> Recompiled:
    decisions = [f"x_{decision.format('x')}" for decision in _DECISIONS]
    versions: list[Version] = [
        {
            line: f"{line} and not (self.cac and msp_stays(x.device))",
            # The filter's two operands: without our patch the spectrum is on the CPU already.
            "zout = self._mask(z, x)": "zout = self._mask(z.to(x.device), x)",
        }
        for line in decisions
    ]
    return Recompiled(*versions, {_PROBED_MASK: _PROBED_MASK}, {_UNDECIDED: _UNDECIDED}, msp_stays=stays)


_SPECTRO = _transform("x", {"th.hann_window(n_fft).to(x)": "msp_hann(n_fft, x)"})
_ISPECTRO = _transform("z", {"th.hann_window(win_length).to(z.real)": "msp_hann(win_length, z.real)"})
_FORWARD = _forward()


def hooks(package: str) -> tuple[Hook, ...]:
    """Those of Demucs under this name."""
    modules = [f"{package}.{name}" for name in ("spec", "hdemucs", "htdemucs")]  # the last two have the names early
    return (
        *(_SPECTRO.hook(module, "spectro") for module in modules),
        *(_ISPECTRO.hook(module, "ispectro") for module in modules),
        _FORWARD.hook(modules[1], "HDemucs.forward"),
        _FORWARD.hook(modules[2], "HTDemucs.forward"),
    )


TOP_LEVEL = hooks("demucs")

PROJECT = Project(
    "demucs",
    hooks=(*TOP_LEVEL, *hooks("demucs_infer")),
    distribution="demucs",
    packages=("demucs", "demucs_infer"),
    tested=("4.0", "4.2"),
)
