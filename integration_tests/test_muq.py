"""MuQ, unmodified, with random weights; and processes that are spawned, as SongFormer spawns them.

    pip install torchaudio torchvision librosa einops soundfile tqdm
    pip install --no-deps muq transformers==4.51.1 tokenizers==0.21.1 huggingface-hub==0.30.1 safetensors regex \\
        easydict nnAudio x_clip ftfy wcwidth
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from front_ends import DEVICE, OFFLINE, accelerated, both_ways, relative, sweep

import mps_spectro_patch as msp
from tests.compat.transfers import CountingFakeMode, moved_in_name
from tests.parity import mps_guard

pytest_plugins = ("front_ends",)
pytestmark = pytest.mark.usefixtures("offline")
muq = pytest.importorskip("muq", reason="muq is not installed, or not all that it imports")
RATE = 24_000
STATISTICS = {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}


def make_model():
    from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerConfig

    config = Wav2Vec2ConformerConfig(num_attention_heads=4, intermediate_size=64, position_embeddings_type="rotary")
    plain = {name: value for name, value in config.to_dict().items() if not isinstance(value, dict)}
    plain["_attn_implementation"] = "eager"
    torch.manual_seed(0)
    return muq.MuQ(muq.MuQConfig(encoder_dim=64, encoder_depth=2, conv_dim=32, stat=STATISTICS, w2v2_config=plain))


@pytest.fixture(scope="module")
def model():
    return make_model().eval().to(DEVICE)


def test_its_hidden_states_are_the_same_and_its_front_end_one_launch(model, launches, tmp_path):
    signal = sweep(2, RATE).to(DEVICE)[None]
    with torch.no_grad():
        expected = model(signal, output_hidden_states=True)
        with accelerated():
            assert msp.status().projects["muq"].startswith("applied to muq 0.")
            got = model(signal, output_hidden_states=True)
            assert len(launches) == 1
            model.save_pretrained(tmp_path)
            again = muq.MuQ.from_pretrained(str(tmp_path)).eval().to(DEVICE)(signal)
    for one, other in zip(got["hidden_states"], expected["hidden_states"], strict=True):
        assert relative(one, other) < 1e-4
    assert relative(again["last_hidden_state"], expected["last_hidden_state"]) < 1e-4


@pytest.mark.parametrize("is_db", [False, True])
def test_its_front_end(is_db, launches):
    from muq.muq.modules.features import MelSTFT

    mel, signal = MelSTFT(is_db=is_db).to(DEVICE), torch.randn(2, RATE, device=DEVICE)
    expected = mel(signal)
    with accelerated():
        got = mel(signal)
    assert len(launches) == 1 and relative(got, expected) < 1e-5 and got.stride() == expected.stride()


def test_no_audio_leaves_an_apple_gpu():
    """Nor does it without the patch. (The tensors have no values.)"""
    from muq.muq.modules.features import MelSTFT

    mps_guard.register()
    for patched in (False, True):
        mel = MelSTFT(is_db=True)
        with CountingFakeMode() as fake:
            moved_in_name(mel.mel_stft)
            signal = torch.zeros(1, RATE, device="mps:0")
            fake.seen.clear()
            with msp.accelerated(devices=("mps",) if patched else (), on_error="raise", on_fallback="raise"):
                got = mel.to(signal.device)(signal)
        assert got.shape == (1, 128, 101) and str(got.device) == "mps:0" and not fake.seen


def test_spawned_processes_inherit_it(installed, tmp_path):
    """By the command line; the files of the project stay as they are."""
    folder = Path(importlib.util.find_spec("muq").origin).parent
    before = {path: path.read_bytes() for path in folder.rglob("*.py")}
    program = tmp_path / "program.py"
    program.write_text(f"""{OFFLINE}
import multiprocessing
import torch

def work(number):
    from muq.muq.modules.features import MelSTFT
    torch.manual_seed(0)
    x = torch.randn(1, 24000).to({DEVICE!r})  # not a smooth one: decibels of its empty bands would be those of rounding
    total = float(MelSTFT(is_db=True).to({DEVICE!r})(x).double().sum())
    return total, "mps_spectro_patch" in MelSTFT.__call__.__code__.co_filename

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for total, ours in pool.map(work, range(2)):
            print(total, ours)
""")
    sums = {}
    for way, text in both_ways(program, installed).items():
        lines = [line.split() for line in text.splitlines() if line.endswith(("True", "False"))]
        assert [ours for _, ours in lines] == [str(way != "by itself")] * 2, text
        sums[way] = float(lines[0][0])
    assert max(abs(one / sums["by itself"] - 1) for one in sums.values()) < 1e-5
    assert {path: path.read_bytes() for path in folder.rglob("*.py")} == before
