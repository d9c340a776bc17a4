"""A model folder for audio-separator: small random checkpoints in the published formats, and the lists that name them.

Nothing is fetched for them, because every file that the Separator would fetch is there.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch
import yaml

LIBRARY = "audio_separator.separator.uvr_lib_v5"
# How the Separator is to be told to run them; without, it takes MDX to numpy for onnxruntime.
PARAMETERS = {
    "MDX, onnx2torch": dict(
        mdx_params=dict(hop_length=1024, segment_size=64, overlap=0.25, batch_size=1, enable_denoise=False)
    ),
    "HTDemucs": dict(demucs_params=dict(segment_size="Default", shifts=0, overlap=0.25, segments_enabled=True)),
    "HDemucs": dict(demucs_params=dict(segment_size="Default", shifts=0, overlap=0.25, segments_enabled=True)),
}
MODELS = {
    "BS-Roformer": "small_bs_roformer.ckpt",
    "Mel-Band Roformer": "small_mel_band_roformer.ckpt",
    "MDX23C": "small_mdx23c.ckpt",
    "MDX, onnxruntime": "small_mdx.onnx",
    "MDX, onnx2torch": "small_mdx.onnx",
    "HTDemucs": "small_htdemucs.yaml",
    "HDemucs": "small_hdemucs.yaml",
}
STEREO = dict(num_channels=2, sample_rate=44100)
SEPARATE = {"training": dict(instruments=["Vocals", "Instrumental"], target_instrument="Vocals")}
DEMUCS = dict(
    sources=["drums", "bass", "other", "vocals"], channels=8, nfft=4096, cac=True, samplerate=44100, segment=3
)  # fmt: skip


def write(folder: Path) -> None:
    """Every model of MODELS."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    _write_roformer(folder, "bs_roformer", freqs_per_bands=(*[64] * 15, 65), linear_transformer_depth=0)
    _write_roformer(folder, "mel_band_roformer", num_bands=16, sample_rate=44100, mask_estimator_depth=1)
    _write_mdx23c(folder)
    _write_mdx(folder)
    with top_level_demucs():
        for name, options in (
            ("HTDemucs", dict(depth=4, t_layers=1, t_heads=2, bottom_channels=16)),
            ("HDemucs", dict(depth=6)),
        ):
            _write_demucs(folder, name, {**DEMUCS, **options})
    _write_json(folder / "vr_model_data.json", {})
    _write_json(folder / "download_checks.json", _lists())


@contextmanager
def top_level_demucs() -> Iterator[None]:
    """audio-separator's copy of Demucs under the name `demucs`, which published checkpoints ask for, and then gone."""
    path = list(sys.path)
    forget_demucs()
    library = Path(importlib.import_module(LIBRARY).__file__).parent
    sys.path.insert(0, str(library))
    try:
        yield
    finally:
        sys.path[:] = path
        forget_demucs()


def forget_demucs() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "demucs"]:
        del sys.modules[name]


def _write_roformer(folder: Path, kind: str, **options: Any) -> None:
    model = dict(
        dim=16, depth=1, stereo=True, num_stems=1, time_transformer_depth=1, freq_transformer_depth=1, dim_head=8,
        heads=2, attn_dropout=0.0, ff_dropout=0.0, flash_attn=True, dim_freqs_in=1025, stft_n_fft=2048,
        stft_hop_length=441, stft_win_length=2048, stft_normalized=False, **options,
    )  # fmt: skip
    audio = dict(STEREO, chunk_size=112455, dim_f=1024, dim_t=256, hop_length=441, n_fft=2048)
    config = dict(audio=audio, model=model, inference=dict(batch_size=1, dim_t=256, num_overlap=2), **SEPARATE)
    _write_yaml(folder / f"small_{kind}.yaml", config)
    loaded = yaml.safe_load((folder / f"small_{kind}.yaml").read_text())
    normal = importlib.import_module("audio_separator.separator.roformer.configuration_normalizer")
    loader = importlib.import_module("audio_separator.separator.roformer.roformer_loader").RoformerLoader()
    normalized = normal.ConfigurationNormalizer().normalize_config(loaded, kind, apply_defaults=True, validate=True)
    torch.save(getattr(loader, f"_create_{kind}")(normalized).state_dict(), folder / f"small_{kind}.ckpt")


def _write_mdx23c(folder: Path) -> None:
    from ml_collections import ConfigDict

    audio = dict(STEREO, chunk_size=130048, dim_f=4096, dim_t=128, hop_length=1024, n_fft=8192)
    model = dict(act="gelu", bottleneck_factor=4, growth=4, norm="InstanceNorm", num_blocks_per_scale=1, num_channels=4,
                 num_scales=2, num_subbands=4, scale=[2, 2])  # fmt: skip
    training = {**SEPARATE["training"], "target_instrument": None}
    config = dict(audio=audio, model=model, training=training, inference=dict(batch_size=1, dim_t=128, num_overlap=2))
    _write_yaml(folder / "small_mdx23c.yaml", config)
    network = importlib.import_module(f"{LIBRARY}.tfc_tdf_v3").TFC_TDF_net(ConfigDict(config), device="cpu")
    torch.save(network.state_dict(), folder / "small_mdx23c.ckpt")


def _write_mdx(folder: Path) -> None:
    """One convolution that mixes the channels."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    bins, n_fft = 2048, 4096
    weight = (numpy.eye(4) * 0.7 + 0.05).astype("float32").reshape(4, 4, 1, 1)
    shape = ["batch", 4, bins, "frames"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weight"], ["output"], kernel_shape=[1, 1])],
        "mdx",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "weight")],
    )
    file = folder / "small_mdx.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(file))
    parameters = dict(compensate=1.0, mdx_dim_f_set=bins, mdx_dim_t_set=8, mdx_n_fft_scale_set=n_fft,
                      primary_stem="Vocals")  # fmt: skip
    _write_json(folder / "mdx_model_data.json", {hashlib.md5(file.read_bytes()).hexdigest(): parameters})


def _write_demucs(folder: Path, name: str, options: dict[str, Any]) -> None:
    kind = getattr(importlib.import_module(f"demucs.{name.lower()}"), name)
    state = kind(**options).state_dict()
    torch.save(dict(klass=kind, args=(), kwargs=options, state=state), folder / f"{name.lower()}signature.th")
    _write_yaml(folder / f"small_{name.lower()}.yaml", dict(models=[f"{name.lower()}signature"]))


def _lists() -> dict[str, dict]:
    def pair(name: str) -> dict[str, str]:
        return {f"small_{name}.ckpt": f"small_{name}.yaml"}

    return {
        "vr_download_list": {}, "mdx_download_vip_list": {}, "mdx23c_download_vip_list": {},
        "mdx_download_list": {"MDX-Net Model: small": "small_mdx.onnx"},
        "mdx23c_download_list": {"MDX23C Model: small": pair("mdx23c")},
        "roformer_download_list": {
            f"Roformer Model: small {kind}": pair(kind) for kind in ("bs_roformer", "mel_band_roformer")
        },
        "demucs_download_list": {
            f"Demucs v4: small {name}": {f"{name}signature.th": f"{name}signature.th",
                                         f"small_{name}.yaml": f"small_{name}.yaml"}
            for name in ("htdemucs", "hdemucs")
        },
    }  # fmt: skip


def _write_yaml(file: Path, value: Any) -> None:
    file.write_text(yaml.safe_dump(json.loads(json.dumps(value))))


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value))
