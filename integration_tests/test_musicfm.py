"""MusicFM itself, end to end with random weights: no registry has it, so it takes a checkout.

git clone https://github.com/minzwon/musicfm FOLDER/musicfm
pip install torchaudio einops
pip install --no-deps transformers==4.51.1 tokenizers==0.21.1 huggingface-hub==0.30.1 safetensors regex
PYTHONPATH=FOLDER python -m pytest integration_tests/test_musicfm.py
"""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from front_ends import DEVICE, accelerated, relative, sweep

import mps_spectro_patch as msp

pytest_plugins = ("front_ends",)
pytestmark = pytest.mark.usefixtures("offline")
if importlib.util.find_spec("musicfm") is None:
    pytest.skip("no checkout of MusicFM is on the path", allow_module_level=True)
conformer = pytest.importorskip("transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer")
RATE = 24_000


@pytest.fixture
def model(tmp_path, monkeypatch):
    """As its README makes it, small, from a checkpoint with the names that are published."""
    from musicfm.model.musicfm_25hz import MusicFM25Hz

    config = conformer.Wav2Vec2ConformerConfig(
        num_attention_heads=4, intermediate_size=64, position_embeddings_type="rotary", attn_implementation="eager"
    )  # which it would look up in a hub
    monkeypatch.setattr(conformer.Wav2Vec2ConformerConfig, "from_pretrained", lambda name: config)
    statistics, checkpoint = tmp_path / "stats.json", tmp_path / "pretrained.pt"
    statistics.write_text(json.dumps({"melspec_2048_mean": 6.77, "melspec_2048_std": 18.42}))
    sizes = dict(encoder_dim=64, encoder_depth=2, conv_dim=32, stat_path=str(statistics))
    torch.manual_seed(0)
    weights = MusicFM25Hz(**sizes, model_path=None).state_dict()
    torch.save({"state_dict": {f"model.{name}": value for name, value in weights.items()}}, checkpoint)
    return lambda: MusicFM25Hz(**sizes, model_path=str(checkpoint)).eval().to(DEVICE)


def test_its_latents_are_the_same_and_its_front_end_one_launch(model, launches):
    signal = sweep(2, RATE).to(DEVICE)[None]
    with torch.no_grad():
        logits, hidden = model().get_predictions(signal)
        latent = model().get_latent(signal, layer_ix=2)
        with accelerated():
            loaded = model()  # strictly: the names of its buffers are what they were
            assert msp.status().projects["musicfm"].startswith("applied")
            got_logits, got_hidden = loaded.get_predictions(signal)
            assert len(launches) == 1
            got_latent = loaded.get_latent(signal, layer_ix=2)
    assert relative(got_latent, latent) < 1e-4
    for one, other in zip(got_hidden, hidden, strict=True):
        assert relative(one, other) < 1e-4
    for name, values in logits.items():
        assert relative(got_logits[name], values) < 1e-4
