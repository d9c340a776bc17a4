"""Another default dtype or device of torch's, set by the program before or behind enable(), changes nothing."""

from __future__ import annotations

import ast
import random
import wave
from pathlib import Path

import pytest

import mps_spectro_patch
from mps_spectro_patch import compat, kernels

MAKERS = {
    "arange", "empty", "empty_strided", "eye", "full", "hamming_window", "hann_window", "linspace", "ones", "rand",
    "randn", "tensor", "zeros",
}  # fmt: skip


def made() -> list[tuple[str, ast.Call]]:
    """(place, call) of every torch.zeros() and the like in the package."""
    found = []
    for package in (mps_spectro_patch, kernels, compat):
        root = Path(package.__file__).parent
        for path in sorted(root.rglob("*.py")):
            if package is mps_spectro_patch and path.relative_to(root).parts[0] in {"kernels", "compat"}:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MAKERS:
                    is_a_projects = (
                        package is compat and node.func.attr == "hann_window"
                    )  # made as the project makes it
                    if isinstance(node.func.value, ast.Name) and node.func.value.id == "torch" and not is_a_projects:
                        found.append((f"{path.name}:{node.lineno}", node))
    return found


@pytest.mark.parametrize("keyword", ["dtype", "device"])
def test_every_tensor_that_the_package_makes_names_its_type_and_place(keyword):
    calls = made()
    assert len(calls) > 30
    unnamed = [
        f"{place} {ast.unparse(call)}"
        for place, call in calls
        if not any(given.arg in (None, keyword) for given in call.keywords)  # None: **options
        and not (keyword == "dtype" and call.func.attr in ("arange", "tensor") and is_of_integers(call))
    ]
    assert not unnamed, "\n".join(unnamed)


def is_of_integers(call: ast.Call) -> bool:
    """Counts and positions: such tensors are int64 whatever the default is."""
    return not any(isinstance(node, ast.Constant) and isinstance(node.value, float) for node in ast.walk(call))


PROGRAM = """
import torch
import mps_spectro_patch as msp

generator = torch.Generator().manual_seed(5)
x = torch.randn(2, 6000, generator=generator)
window = torch.hann_window(300)
spectrum = torch.stft(x, 300, 100, window=window, return_complex=True)
basis = msp.melscale_fbanks(n_freqs=151, f_min=0, f_max=8000, n_mels=30, sample_rate=16000)
sizes = dict(n_fft=300, hop_length=100)
mels = dict(sizes, n_mels=30, sample_rate=16000)

def gradient(function):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(function(leaf).square().sum(), leaf)[0]

CALLS = {
    "torch.stft": lambda: torch.stft(x, 300, 100, window=window, return_complex=True),
    "torch.stft without a window": lambda: torch.stft(x, 300, 100, return_complex=True),
    "torch.istft": lambda: torch.istft(spectrum, 300, 100, window=window),
    "msp.stft": lambda: msp.stft(x, **sizes),
    "msp.istft": lambda: msp.istft(spectrum, **sizes),
    "mel_spectrogram": lambda: msp.mel_spectrogram(x, **mels),
    "mel_spectrogram with top_db": lambda: msp.mel_spectrogram(x, top_db=40.0, **mels),
    "dynamic_spectrogram": lambda: msp.dynamic_spectrogram(x, **sizes),
    "dynamic_mel_spectrogram": lambda: msp.dynamic_mel_spectrogram(x, **mels),
    "melscale_fbanks": lambda: msp.melscale_fbanks(
        n_freqs=151, f_min=0, f_max=8000, n_mels=30, sample_rate=16000
    ),
    "amplitude_to_db": lambda: msp.amplitude_to_db(x.abs(), top_db=40.0),
    "gradient": lambda: gradient(lambda leaf: torch.stft(leaf, 300, 100, window=window, return_complex=True).abs()),
    "gradient of mels": lambda: gradient(lambda leaf: msp.mel_spectrogram(leaf, **mels)),
    **{
        name: lambda name=name: getattr(msp, name)(**mels)(x)
        for name in ("MelSpectrogramTransform", "LogMelSpectrogramTransform", "CompatMelSpectrogramTransform",
                     "DynamicMelSpectrogramTransform")
    },
}

def results():
    with msp.accelerated(devices=devices, on_error="raise"):
        return {name: [call() for _ in range(3)] for name, call in CALLS.items()}
"""
DEFAULTS = {
    "float16": "torch.set_default_dtype(torch.float16)",
    "bfloat16": "torch.set_default_dtype(torch.bfloat16)",
    "float64": "torch.set_default_dtype(torch.float64)",
    "meta": "torch.set_default_device('meta')",
}


@pytest.mark.parametrize("default", DEFAULTS)
def test_every_public_function_gives_the_same_under_another_default(default, run_python):
    """First under the other default, so that what is cached then is of its making."""
    run_python(
        PROGRAM
        + f"""
{DEFAULTS[default]}
got = results()
torch.set_default_dtype(torch.float32)
torch.set_default_device(None)
for name, expected in results().items():
    for one, other in zip(got[name], expected):
        assert one.dtype is other.dtype and one.device == other.device, (name, one.dtype, one.device)
        assert one.shape == other.shape and one.stride() == other.stride(), name
        apart = float((one - other).abs().max() / other.abs().max())
        assert apart < 1e-5, (name, apart)
assert msp.stats()["stft"].fast >= 12
assert not msp.status().quarantined
"""
    )


COMMANDS = """
import contextlib
import io
import json
import tempfile
import torch
from mps_spectro_patch.cli import main
from mps_spectro_patch.execution import selftest

def printed(*arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(arguments)
    assert code == 0, (arguments, code, out.getvalue())
    return out.getvalue()

def outcomes():
    findings = json.loads(printed("doctor", "--device", devices[0], "--json"))["findings"]
    found = {one["check"]: one["ok"] for one in findings}
    demo = printed("demo", "--device", devices[0], "--out", tempfile.mkdtemp(), sound).splitlines()
    bench = printed("bench", "--device", devices[0], "--quick", "--tables", "mel", "--out", tempfile.mkdtemp())
    check = selftest.run(torch.device(device), (400,), None)
    routed = [line for line in demo if line.startswith("  torch.") and "fast" not in line]
    return found, routed, len(bench) > 100, printed("status"), len(check.checks), check.failures
"""


@pytest.mark.thorough
@pytest.mark.parametrize("default", DEFAULTS)
def test_every_command_says_the_same_under_another_default(default, run_python, tmp_path):
    sound = tmp_path / "noise.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16_000)
        file.writeframes(random.Random(1).randbytes(2 * 16_000))
    run_python(
        f"sound = {str(sound)!r}"
        + COMMANDS
        + f"""
{DEFAULTS[default]}
got = outcomes()
torch.set_default_dtype(torch.float32)
torch.set_default_device(None)
expected = outcomes()
assert got == expected, (got, expected)
assert all(ok is not False for ok in got[0].values()) and not got[-1]
"""
    )
