"""Another default dtype or device of torch's, set by the program before or behind enable(), changes nothing."""

from __future__ import annotations

import ast
import json
import random
import wave
from importlib.metadata import version
from pathlib import Path

import pytest

import mps_spectro_patch
import mps_spectro_patch as msp
from mps_spectro_patch import compat, kernels
from tests import like_mps
from tests.tiers import some

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


PROGRAM = '''
import torch
import mps_spectro_patch as msp

generator = torch.Generator().manual_seed(5)
x = torch.randn(2, 6000, generator=generator).to(device)
window = torch.hann_window(300, device=device)
spectrum = torch.stft(x, 300, 100, window=window, return_complex=True)
basis = msp.melscale_fbanks(n_freqs=151, f_min=0, f_max=8000, n_mels=30, sample_rate=16000)
sizes = dict(n_fft=300, hop_length=100)
mels = dict(sizes, n_mels=30, sample_rate=16000)

def gradient(function):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(function(leaf).square().sum(), leaf)[0]

def shader():
    library = msp.kernels.compile_shader(SOURCE, devices[0])
    result = torch.zeros(4, dtype=torch.float32, device=device)
    library.twice(result, torch.arange(4, dtype=torch.float32, device=device))
    return result

SOURCE = """#include <metal_stdlib>
using namespace metal;
kernel void twice(device float* out [[buffer(0)]], device const float* in [[buffer(1)]],
                  uint i [[thread_position_in_grid]]) {
    out[i] = 2 * in[i];
}
"""
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
        name: lambda name=name: getattr(msp, name)(**mels).to(device)(x)
        for name in ("MelSpectrogramTransform", "LogMelSpectrogramTransform", "CompatMelSpectrogramTransform",
                     "DynamicMelSpectrogramTransform")
    },
    "FilterbankSpectrogramTransform": lambda: (
        msp.FilterbankSpectrogramTransform(filterbank=basis, hop_length=100).to(device)(x)
    ),
    "KaldiFbankTransform": lambda: msp.KaldiFbankTransform().to(device)(x),
    "MFCCTransform": lambda: (
        msp.MFCCTransform(n_mfcc=13, melkwargs=dict(n_fft=300, hop_length=100, n_mels=30)).to(device)(x)
    ),
    "WhisperLogMelTransform": lambda: msp.WhisperLogMelTransform().to(device)(x),
    "STFTLoss": lambda: loss(msp.STFTLoss(300, 100, 300, w_lin_mag=0.5)),
    "STFTLoss with everything": lambda: loss(
        msp.STFTLoss(300, 100, 300, w_phs=0.5, scale="mel", n_bins=20, sample_rate=16000, scale_invariance=True)
    ),
    "MultiResolutionSTFTLoss": lambda: loss(msp.MultiResolutionSTFTLoss([300, 240], [100, 60], [300, 200])),
    "MelSpectrogramLoss": lambda: loss(msp.MelSpectrogramLoss(n_mels=[20], window_lengths=[256], sample_rate=16000)),
    "compile_shader": shader,
}

def loss(module):
    leaf = x.clone().requires_grad_()
    result = module.to(device)(leaf[:, None], x.flip(-1)[:, None])
    return torch.cat([result.detach().reshape(1), torch.autograd.grad(result, leaf)[0].flatten()])

def told():
    """What is said of calls: printed, without numbers that are times."""
    msp.reset_stats()
    msp.watch_calls()
    for name in ("torch.stft", "torch.istft", "mel_spectrogram", "STFTLoss"):
        CALLS[name]()
    msp.watch_calls(False)
    rows = [(row.op, row.arguments, row.device, row.outcome, row.calls) for row in msp.report()]
    counts = {name: (one.fast, one.fallback, one.verified, one.errors) for name, one in msp.stats().items()}
    explained = [
        str(msp.explain(torch.stft, x, 300, 100, window=window, return_complex=True)),
        str(msp.explain(torch.istft, spectrum, 300, 100)),
        str(msp.explain(torch.stft, x if x.is_mps else x.double(), 300)),
    ]
    return sorted(rows), counts, explained, str(msp.status())

def results():
    with msp.accelerated(devices=devices, on_error="raise"):
        return {name: [call() for _ in range(3)] for name, call in CALLS.items()}, told()
'''
DEFAULTS = {
    "float16": "torch.set_default_dtype(torch.float16)",
    "bfloat16": "torch.set_default_dtype(torch.bfloat16)",
    "float64": "torch.set_default_dtype(torch.float64)",
    "meta": "torch.set_default_device('meta')",
}


@pytest.mark.parametrize("default", some(DEFAULTS, first=["float16", "float64", "meta"]))
def test_every_public_function_gives_the_same_under_another_default(default, run_python):
    """First under the other default, so that what is cached then is of its making."""
    run_python(
        PROGRAM
        + f"""
{DEFAULTS[default]}
got, got_told = results()
torch.set_default_dtype(torch.float32)
torch.set_default_device(None)
expected, expected_told = results()
for name in expected:
    for one, other in zip(got[name], expected[name], strict=True):
        assert one.dtype is other.dtype and one.device == other.device, (name, one.dtype, one.device)
        assert one.shape == other.shape and one.stride() == other.stride(), name
        apart = float((one - other).abs().max() / other.abs().max())
        assert apart < 1e-5, (name, apart)
assert got_told == expected_told, (got_told, expected_told)
assert msp.stats()["stft"].fast
assert not msp.status().quarantined
"""
    )


FUSED = """
import torch
import mps_spectro_patch as msp

x = torch.linspace(-1, 1, 4000, device=device).sin()[None]
window, basis = torch.hann_window(400, device=device), torch.rand(20, 201, device=device)
DEFAULT

@msp.fuse
def log_mel(x):
    return (basis @ torch.stft(x, 400, 100, window=window, return_complex=True).abs().square()).clamp(min=1e-5).log()

results = []
for _ in range(2):
    with msp.accelerated(devices=devices, on_error="raise"):
        results.append(log_mel(x.to(device)))
assert msp.stats()["graph"].fast == 2 and not msp.status().quarantined
torch.set_default_dtype(torch.float32)
torch.set_default_device(None)
torch.testing.assert_close(results[1], log_mel(x), rtol=1e-4, atol=1e-4)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("default", ["bfloat16", "meta"])
def test_a_fused_program_gives_the_same_under_another_default(default, run_python):
    # torch 2.7 cannot import its compiler while there is a default device: plain torch.compile fails as well.
    before = "import torch._dynamo\n" if default == "meta" and version("torch").startswith("2.7.") else ""
    run_python(FUSED.replace("DEFAULT", before + DEFAULTS[default]))


NO_NUMBERS = {"__version__", "accelerated", "disable", "enable", "fuse", "is_enabled", "reset_stats"}  # but used above


def test_no_public_name_is_missing_above():
    names = set(msp.__all__) - NO_NUMBERS
    assert {"STFTLoss", "KaldiFbankTransform", "explain"} <= names
    assert not [name for name in names if f"msp.{name}" not in PROGRAM and f'"{name}"' not in PROGRAM]


COMMANDS = r'''
import contextlib
import io
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
import torch
from mps_spectro_patch import autoload
from mps_spectro_patch.cli import main
from mps_spectro_patch.diagnostics import doctor_tuning
from mps_spectro_patch.execution import selftest, tuning

folder = Path(tempfile.mkdtemp())
here = devices[0]
tuning.cache_directory = selftest.cache_directory = lambda: folder  # of records; kernels are kept where they were
autoload._folders = lambda: [folder / "site-packages"]
doctor_tuning.LARGEST = 30_000  # four calls are measured
program = folder / "program.py"
program.write_text(f"""
import torch
{setting}
x = torch.linspace(-1, 1, 4000, dtype=torch.float32, device={device!r}).sin_()
window = torch.hann_window(400, dtype=torch.float32, device={device!r})
for _ in range(3):
    spectrum = torch.stft(x, 400, 100, window=window, return_complex=True)
signal = torch.istft(spectrum, 400, 100, window=window)
print(spectrum.dtype, signal.dtype, float(spectrum.abs().double().sum()), float(signal.double().sum()))
""")

def printed(*arguments):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code or 0
    assert code == 0, (arguments, code, out.getvalue(), errors.getvalue())
    return out.getvalue(), errors.getvalue()

def masked(text):
    """Without numbers, which may be times, and what they say; without folders."""
    text = re.sub(re.escape(tempfile.gettempdir()) + r"[^ \n,;)]*", "FOLDER", text)
    text = re.sub(r"[0-9]+([.][0-9]+)?(e[-+][0-9]+)?", "#", text)
    text = re.sub("torch is (nowhere )?faster.*", "torch is faster", text)
    text = re.sub("faster|slower", "", text).replace("rule: there is none", "rule: kept")  # nothing is worth keeping
    return re.sub("[ -]+", " ", text).splitlines()

def outcomes():
    found = {}
    findings = json.loads(printed("doctor", "--device", here, "--json")[0])["findings"]
    found["doctor"] = [(one["check"], one["ok"], sorted(one.get("data") or {})) for one in findings]
    found["tune"] = masked(printed("doctor", "--device", here, "--tune")[0])
    found["tune off"] = masked(printed("doctor", "--device", here, "--tune", "off")[0])
    found["status"] = printed("status")[0]
    found["autoload"] = [masked(printed("autoload", action)[0]) for action in ("on", "status", "off", "status")]
    both = folder / "both.json"  # as `run --compare` has it for one of its processes
    command = ["-m", "mps_spectro_patch", "run", "--devices", here, "--stats", "--both-ways", str(both), str(program)]
    ran = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    found["run"], found["run: the table"] = ran.stdout, masked(ran.stderr)
    calls = json.loads(both.read_text())
    assert 0 < calls["stft"].pop("difference") < 1e-6 and calls["istft"].pop("difference") == 0  # one call is no pair
    for told in calls.values():
        told["plain"], told["accelerated"] = told["plain"] > 0, told["accelerated"] > 0  # seconds
    found["run --compare"] = calls
    out = folder / "out"
    text = printed("demo", "--device", here, "--out", str(out), sound)[0]
    found["demo"] = masked(text)
    found["demo: files"] = sorted(path.name for path in out.iterdir())
    found["bench"] = masked(printed("bench", "--device", here, "--quick", "--tables", "mel", "--out", str(out))[0])
    (kept,) = out.glob("*.json")
    rows = json.loads(kept.read_text())["rows"]
    found["bench: rows"] = [row["key"] for row in rows]
    assert rows and all(row["error"] < 1e-5 for row in rows), rows
    found["bench --compare"] = masked(printed("bench", "--compare", str(kept), str(kept))[0])
    check = selftest.run(torch.device(device), (400,), None)
    selftest._record(check)
    (record,) = folder.glob("selftest-*.json")
    recorded = json.loads(record.read_text())
    assert all(one["error"] < 1e-6 for one in recorded["checks"])
    found["record"] = recorded["environment"], [
        {name: value for name, value in one.items() if name not in ("seconds", "error")} for one in recorded["checks"]
    ]
    return found
'''
_expected: dict = {}  # under torch's usual defaults


@like_mps.cannot("its kernels run on the CPU, and doctor finds them slow")
@pytest.mark.thorough
@pytest.mark.parametrize("default", DEFAULTS)
def test_every_command_gives_the_same_under_another_default(default, run_python, tmp_path):
    """Printed tables, but for times; findings; records."""
    sound = tmp_path / "noise.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16_000)
        file.writeframes(random.Random(1).randbytes(2 * 16_000))

    def found(setting: str) -> dict:
        given = f"sound, setting = {str(sound)!r}, {setting!r}\n"
        output = run_python(f"{given}{COMMANDS}\n{setting}\nprint('found', json.dumps(outcomes()))")
        (line,) = (line for line in output.splitlines() if line.startswith("found {"))  # torch may have warned
        return json.loads(line.removeprefix("found "))

    if not _expected:
        _expected.update(found(""))
    got = found(DEFAULTS[default])
    assert all(ok is not False for _, ok, _ in got["doctor"]) and len(got) >= 14
    for name, what in got.items():
        assert what == _expected[name], name
