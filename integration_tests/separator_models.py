"""A model folder for audio-separator: random checkpoints in the published formats, and the lists that name them.

They are small; benchmarks/front_end_projects.py asks for published sizes. Nothing is fetched for them, because every
file that the Separator would fetch is there.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Iterator, Mapping
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
    "BS-Roformer": "random_bs_roformer.ckpt",
    "Mel-Band Roformer": "random_mel_band_roformer.ckpt",
    "MDX23C": "random_mdx23c.ckpt",
    "MDX, onnxruntime": "random_mdx.onnx",
    "MDX, onnx2torch": "random_mdx.onnx",
    "HTDemucs": "random_htdemucs.yaml",
    "HDemucs": "random_hdemucs.yaml",
}
STEREO = dict(num_channels=2, sample_rate=44100)
ROFORMER = dict(depth=1, stereo=True, num_stems=1, time_transformer_depth=1, freq_transformer_depth=1, attn_dropout=0.0,
                ff_dropout=0.0, flash_attn=True, dim_freqs_in=1025, stft_n_fft=2048, stft_hop_length=441,
                stft_win_length=2048, stft_normalized=False)  # fmt: skip
SEPARATE = {"training": dict(instruments=["Vocals", "Instrumental"], target_instrument="Vocals")}
DEMUCS = dict(sources=["drums", "bass", "other", "vocals"], nfft=4096, cac=True, samplerate=44100)
# What write() makes of each; dim_t: the frames that a model is given at once.
SMALL: dict[str, dict[str, Any]] = {
    "BS-Roformer": dict(dim=16, dim_head=8, heads=2, freqs_per_bands=(*[64] * 15, 65), linear_transformer_depth=0,
                        dim_t=256),
    "Mel-Band Roformer": dict(dim=16, dim_head=8, heads=2, num_bands=16, sample_rate=44100, mask_estimator_depth=1,
                              dim_t=256),
    "MDX23C": dict(growth=4, num_blocks_per_scale=1, num_channels=4, num_scales=2, dim_t=128),
    "MDX": dict(bins=2048, n_fft=4096),
    "HTDemucs": dict(channels=8, segment=3, depth=4, t_layers=1, t_heads=2, bottom_channels=16),
    "HDemucs": dict(channels=8, segment=3, depth=6),
}  # fmt: skip


def write(folder: Path, sizes: Mapping[str, dict[str, Any]] = SMALL) -> None:
    """The models that `sizes` names, some or all of those in SMALL."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "mdx_model_data.json", {})
    for name, options in sizes.items():
        if "Roformer" in name:
            _write_roformer(folder, name.lower().replace("-", "_").replace(" ", "_"), **options)
        elif "Demucs" in name:
            with top_level_demucs():
                _write_demucs(folder, name, {**DEMUCS, **options})
        else:
            {"MDX23C": _write_mdx23c, "MDX": _write_mdx}[name](folder, **options)
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


def _write_roformer(folder: Path, kind: str, dim_t: int, **options: Any) -> None:
    audio = dict(STEREO, chunk_size=441 * (dim_t - 1), dim_f=1024, dim_t=dim_t, hop_length=441, n_fft=2048)
    inference = dict(batch_size=1, dim_t=dim_t, num_overlap=2)
    config = dict(audio=audio, model={**ROFORMER, **options}, inference=inference, **SEPARATE)
    _write_yaml(folder / f"random_{kind}.yaml", config)
    loaded = yaml.safe_load((folder / f"random_{kind}.yaml").read_text())
    normal = importlib.import_module("audio_separator.separator.roformer.configuration_normalizer")
    loader = importlib.import_module("audio_separator.separator.roformer.roformer_loader").RoformerLoader()
    normalized = normal.ConfigurationNormalizer().normalize_config(loaded, kind, apply_defaults=True, validate=True)
    torch.save(getattr(loader, f"_create_{kind}")(normalized).state_dict(), folder / f"random_{kind}.ckpt")


def _write_mdx23c(folder: Path, dim_t: int, **options: Any) -> None:
    from ml_collections import ConfigDict

    audio = dict(STEREO, chunk_size=1024 * (dim_t - 1), dim_f=4096, dim_t=dim_t, hop_length=1024, n_fft=8192)
    model = dict(act="gelu", bottleneck_factor=4, norm="InstanceNorm", num_subbands=4, scale=[2, 2], **options)
    training = {**SEPARATE["training"], "target_instrument": None}
    inference = dict(batch_size=1, dim_t=dim_t, num_overlap=2)
    config = dict(audio=audio, model=model, training=training, inference=inference)
    _write_yaml(folder / "random_mdx23c.yaml", config)
    network = importlib.import_module(f"{LIBRARY}.tfc_tdf_v3").TFC_TDF_net(ConfigDict(config), device="cpu")
    torch.save(network.state_dict(), folder / "random_mdx23c.ckpt")


def _write_mdx(folder: Path, bins: int, n_fft: int, network: Path | None = None) -> None:
    """network: an ONNX file, in place of one convolution that mixes the channels."""
    file = folder / "random_mdx.onnx"
    if network:
        network.replace(file)
    else:
        _write_convolution(file, bins)
    parameters = dict(compensate=1.0, mdx_dim_f_set=bins, mdx_dim_t_set=8, mdx_n_fft_scale_set=n_fft,
                      primary_stem="Vocals")  # fmt: skip
    _write_json(folder / "mdx_model_data.json", {_mdx_hash(file): parameters})


def _mdx_hash(file: Path) -> str:
    """Of the last 10,000 KiB."""
    return hashlib.md5(file.read_bytes()[-10_000 * 1024 :]).hexdigest()


def _write_convolution(file: Path, bins: int) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = (numpy.eye(4) * 0.7 + 0.05).astype("float32").reshape(4, 4, 1, 1)
    shape = ["batch", 4, bins, "frames"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weight"], ["output"], kernel_shape=[1, 1])],
        "mdx",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(file))


def _write_demucs(folder: Path, name: str, options: dict[str, Any]) -> None:
    kind = getattr(importlib.import_module(f"demucs.{name.lower()}"), name)
    state = kind(**options).state_dict()
    torch.save(dict(klass=kind, args=(), kwargs=options, state=state), folder / f"{name.lower()}signature.th")
    _write_yaml(folder / f"random_{name.lower()}.yaml", dict(models=[f"{name.lower()}signature"]))


def _lists() -> dict[str, dict]:
    def pair(name: str) -> dict[str, str]:
        return {f"random_{name}.ckpt": f"random_{name}.yaml"}

    return {
        "vr_download_list": {}, "mdx_download_vip_list": {}, "mdx23c_download_vip_list": {},
        "mdx_download_list": {"MDX-Net Model: random": "random_mdx.onnx"},
        "mdx23c_download_list": {"MDX23C Model: random": pair("mdx23c")},
        "roformer_download_list": {
            f"Roformer Model: random {kind}": pair(kind) for kind in ("bs_roformer", "mel_band_roformer")
        },
        "demucs_download_list": {
            f"Demucs v4: random {name}": {f"{name}signature.th": f"{name}signature.th",
                                         f"random_{name}.yaml": f"random_{name}.yaml"}
            for name in ("htdemucs", "hdemucs")
        },
    }  # fmt: skip


def _write_yaml(file: Path, value: Any) -> None:
    file.write_text(yaml.safe_dump(json.loads(json.dumps(value))))


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value))
