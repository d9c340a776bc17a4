"""Front ends that projects make of torchaudio: the real torchaudio in MusicFM's, LinkSeg's and mamba_amt's formulas.

These projects are in no registry. Where a checkout of one is on the path (MusicFM's parent folder, LinkSeg's `src`
or its parent, mamba_amt's folder), its own code is tested besides; else that is skipped.

    pip install torchaudio
    PYTHONPATH=folder_that_holds_musicfm:LinkSeg/src:mamba_amt python -m pytest integration_tests
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import types

import pytest
import torch
from front_ends import DEVICE, OFFLINE, accelerated, both_ways, relative, sweep

import mps_spectro_patch as msp
from tests.compat.transfers import CountingFakeMode, moved_in_name
from tests.parity import mps_guard

pytest_plugins = ("front_ends",)
pytestmark = pytest.mark.usefixtures("offline")
torchaudio = pytest.importorskip("torchaudio", reason="torchaudio is not installed")
T = torchaudio.transforms


class MelSTFT(torch.nn.Module):  # MusicFM's
    def __init__(self, sample_rate=24000, n_fft=2048, hop_length=240, n_mels=128, is_db=True):
        super().__init__()
        self.mel_stft = T.MelSpectrogram(sample_rate, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels)
        self.is_db = is_db
        self.amplitude_to_db = T.AmplitudeToDB()

    def forward(self, waveform):
        return self.amplitude_to_db(self.mel_stft(waveform)) if self.is_db else self.mel_stft(waveform)


class MelSpectrogram(torch.nn.Module):  # mamba_amt's
    def __init__(self, n_mels=256, sample_rate=16000, filter_length=2048, hop_length=512):
        super().__init__()
        self.mel_transform = T.MelSpectrogram(
            sample_rate, filter_length, hop_length=hop_length, f_min=30, f_max=8000, n_mels=n_mels, power=1.0,
            pad_mode="constant", norm="slaney",
        )  # fmt: skip

    def forward(self, y):
        return torch.log(torch.clamp(self.mel_transform(y), min=1e-5))


class FrameEncoder(torch.nn.Module):  # the head of LinkSeg's
    def __init__(self):
        super().__init__()
        self.spec = T.MelSpectrogram(22050, n_fft=1024, f_min=0, f_max=11025, n_mels=64, hop_length=256, power=2)
        self.amplitude_to_db = T.AmplitudeToDB()
        self.frontend = torch.nn.Conv2d(1, 4, 3)

    def forward(self, x):
        x = self.spec(x)
        x = self.amplitude_to_db(x)
        return self.frontend(x.unsqueeze(1))


PROJECTS = {  # name of ours: the module that the class lives in, the class, and where its waveforms come from
    "musicfm": ("musicfm.modules.features", MelSTFT, lambda: sweep(2, 24_000)[None]),
    "mamba_amt": ("mamba_amt.data.mel", MelSpectrogram, lambda: sweep(2)[None]),
    "linkseg": ("models", FrameEncoder, lambda: sweep(2, 22_050)[: 2 * 16_382].reshape(2, 16_382)),
}


@pytest.fixture(params=PROJECTS)
def project(request, monkeypatch):
    """Its name, its class in the module that it has in the project, and a waveform."""
    place, cls, waveform = PROJECTS[request.param]
    parts = place.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    setattr(sys.modules[place], cls.__name__, cls)
    return request.param, cls, waveform()


def test_the_same_numbers_in_one_launch_and_strict_checkpoints(project, launches):
    name, cls, waveform = project
    torch.manual_seed(0)
    front_end, waveform = cls().to(DEVICE), waveform.to(DEVICE)
    original = cls.forward
    state = front_end.state_dict()
    with torch.no_grad():
        expected = front_end(waveform)
        with accelerated():
            assert msp.status().projects[name].startswith("applied") and cls.forward is not original
            got = front_end(waveform)
            cls().to(DEVICE).load_state_dict(state, strict=True)
    assert len(launches) == 1 and relative(got, expected) < 1e-4 and cls.forward is original
    assert list(cls().state_dict()) == list(state)


def test_no_audio_leaves_an_apple_gpu(project):
    """Nor does it without the patch. (The tensors have no values. Convolutions of such tensors fail: none is run.)"""
    name, cls, waveform = project
    mps_guard.register()
    shapes = []
    for patched in (False, True):
        front_end = cls()
        if name == "linkseg":
            front_end.frontend = torch.nn.Identity()
        with CountingFakeMode() as fake, torch.no_grad():
            moved_in_name(front_end)
            signal = torch.zeros(waveform.shape, device="mps:0")
            fake.seen.clear()
            with msp.accelerated(devices=("mps",) if patched else (), on_error="raise", on_fallback="raise"):
                got = front_end(signal)
        assert str(got.device) == "mps:0" and not fake.seen
        shapes.append(got.shape)
    assert shapes[0] == shapes[1]


def test_by_the_command_line(installed, tmp_path):
    """A program with a module called `models`, as LinkSeg's."""
    (tmp_path / "models.py").write_text(
        f"import torch\nimport torchaudio\nT = torchaudio.transforms\n\n{inspect.getsource(FrameEncoder)}"
    )
    program = tmp_path / "predict.py"
    program.write_text(f"""{OFFLINE}
import torch
from models import FrameEncoder
torch.manual_seed(0)
encoder, x = FrameEncoder().to({DEVICE!r}), torch.randn(3, 16382).to({DEVICE!r})
print("sum", float(encoder(x).detach().double().square().sum()))
print("ours", "mps_spectro_patch" in FrameEncoder.forward.__code__.co_filename)
""")
    before = (tmp_path / "models.py").read_bytes()
    sums = {}
    for way, text in both_ways(program, installed).items():
        lines = dict(line.split(" ", 1) for line in text.splitlines() if line.startswith(("sum", "ours")))
        assert lines["ours"] == str(way != "by itself"), text
        sums[way] = float(lines["sum"])
    assert max(abs(one / sums["by itself"] - 1) for one in sums.values()) < 1e-5
    assert (tmp_path / "models.py").read_bytes() == before


# --- the projects' own code ------------------------------------------------------------------------------------------


def own(cls: str, *modules: str):
    """The class in the first of the modules that is there."""
    errors = []
    for module in modules:
        try:
            return getattr(importlib.import_module(module), cls)
        except (ImportError, AttributeError) as error:
            errors.append(str(error))
    pytest.skip(f"no checkout of the project is on the path: {', '.join(errors)}")


def compare(name: str, front_end, waveform, launches) -> None:
    with torch.no_grad():
        expected = front_end(waveform)
        with accelerated():
            got = front_end(waveform)
            assert msp.status().projects[name].startswith("applied")
    assert len(launches) == 1 and relative(got, expected) < 1e-4


def test_musicfms_own_code(launches):
    front_end = own("MelSTFT", "musicfm.modules.features")(is_db=True).to(DEVICE)
    compare("musicfm", front_end, sweep(2, 24_000)[None].to(DEVICE), launches)


def test_mamba_amts_own_code(launches, monkeypatch):
    if importlib.util.find_spec("mamba_amt") is None:
        pytest.skip("no checkout of mamba_amt is on the path")
    root = importlib.util.find_spec("mamba_amt").submodule_search_locations[0]
    for name in ("mamba_amt", "mamba_amt.data"):  # whose bodies import compiled kernels and data sets' readers
        package = types.ModuleType(name)
        package.__path__ = [root] if name == "mamba_amt" else [f"{root}/data"]
        monkeypatch.setitem(sys.modules, name, package)
    mel = own("MelSpectrogram", "mamba_amt.data.mel")(256, 16_000, 2048, 512, mel_fmin=30, mel_fmax=8000).to(DEVICE)
    compare("mamba_amt", mel, sweep(2)[None].to(DEVICE), launches)


def test_linksegs_own_code(launches):
    torch.manual_seed(0)
    encoder = own("FrameEncoder", "models", "src.models")().to(DEVICE).eval()
    compare("linkseg", encoder, PROJECTS["linkseg"][2]().to(DEVICE), launches)
