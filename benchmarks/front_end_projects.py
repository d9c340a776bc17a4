"""The projects whose front ends benchmarks/front_end_share.py times: unmodified, on random weights of published sizes.

Each function makes jobs; what a project imports is imported in it, and is missing only there.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from mps_spectro_patch.cli.demo import AUDIO

ROOT = Path(__file__).parents[1]
Region = AbstractContextManager[Any]
STFT = (torch, "stft")
ISTFT = (torch, "istft")
SPEC = ((STFT, ISTFT), "torch.stft, torch.istft")


@dataclass(frozen=True)
class Job:
    """run(region): a whole inference, the part of it that counts inside `region`, from audio in memory to results.

    front_end: the (owner, attribute) of every function whose calls are the front end, and a word for them.
    """

    project: str
    model: str
    seconds: float
    run: Callable[[Region], None]
    front_end: tuple[tuple[tuple[Any, str], ...], str] = SPEC


@dataclass(frozen=True)
class Setting:
    """What the jobs are made for. tiny: small models and little audio, to see that everything works."""

    device: str
    tiny: bool

    def seconds(self, published: float) -> float:
        return 2.0 if self.tiny else published

    def audio(self, seconds: float, rate: int, channels: int) -> torch.Tensor:
        """[channels, samples] of the demo's recording, as often as it takes; its samples at whatever rate."""
        samples, _ = _recording()
        length = int(seconds * rate)
        return samples.repeat(1, -(-length // samples.shape[1]))[:channels, :length].contiguous()


def _recording() -> tuple[torch.Tensor, int]:
    soundfile = importlib.import_module("soundfile")
    samples, rate = soundfile.read(AUDIO, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


# --- audio-separator --------------------------------------------------------------------------------------------------

# As the checkpoints that are published; their files are as large.
PUBLISHED: dict[str, dict[str, Any]] = {
    "BS-Roformer": dict(dim=512, depth=12, dim_head=64, heads=8, linear_transformer_depth=0, dim_t=801,
                        freqs_per_bands=(*[2] * 24, *[4] * 12, *[12] * 8, *[24] * 8, *[48] * 8, 128, 129)),
    "Mel-Band Roformer": dict(dim=384, depth=6, dim_head=64, heads=8, num_bands=60, sample_rate=44100,
                              mask_estimator_depth=2, dim_t=801),
    "MDX23C": dict(growth=128, num_blocks_per_scale=2, num_channels=128, num_scales=5, dim_t=256),
    "MDX": dict(bins=3072, n_fft=6144),
    "HTDemucs": dict(channels=48, segment=Fraction(39, 5), depth=4, t_layers=5, t_heads=8, bottom_channels=512),
    "HDemucs": dict(channels=48, segment=10, depth=6),
}  # fmt: skip
_MDX_NET = dict(target_name="vocals", lr=0.0, optimizer="rmsprop", dim_c=4, dim_t=256, hop_length=1024, num_blocks=11,
                l=3, g=48, k=3, bn=8, bias=False, overlap=0)  # fmt: skip
_SEPARATED = ("BS-Roformer", "Mel-Band Roformer", "MDX23C", "MDX, onnx2torch", "HTDemucs", "HDemucs")


def audio_separator(setting: Setting) -> Iterator[Callable[[], Job]]:
    for name in _SEPARATED:
        yield lambda name=name: _separator_job(setting, name)


def _separator_job(setting: Setting, name: str) -> Job:
    models = _separator_models()
    package, soundfile = importlib.import_module("audio_separator.separator"), importlib.import_module("soundfile")
    kept = tempfile.TemporaryDirectory(prefix="front-end-share-")  # as long as run() is
    folder, key = Path(kept.name), name.partition(",")[0]
    models.write(folder / "models", {key: models.SMALL[key] if setting.tiny else _sized(folder, key)})
    seconds = setting.seconds(20.0)
    soundfile.write(folder / "mix.wav", setting.audio(seconds, 44_100, 2).T.numpy(), 44_100, subtype="FLOAT")
    models.forget_demucs()
    program = package.Separator(
        log_level=logging.ERROR, model_file_dir=str(folder / "models"), output_dir=str(folder / "out"),
        use_soundfile=True, **models.PARAMETERS.get(name, {}),
    )  # fmt: skip
    if program.torch_device.type != torch.device(setting.device).type:
        raise RuntimeError(f"audio-separator chose {program.torch_device}")
    program.load_model(models.MODELS[name])
    model = program.model_instance
    inference = "demix_demucs" if hasattr(model, "demix_demucs") else "demix"
    own = getattr(model, inference)

    def run(region: Region) -> None:
        def timed(*arguments: Any, **options: Any) -> Any:
            with region:
                return own(*arguments, **options)

        setattr(model, inference, timed)
        program.separate(str(Path(kept.name) / "mix.wav"))

    return Job("audio-separator", f"{name}, {_size(getattr(model, 'model_run', None), folder)}", seconds, run)


def _separator_models() -> Any:
    folder = str(ROOT / "integration_tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("separator_models")


def _sized(folder: Path, name: str) -> dict[str, Any]:
    options = dict(PUBLISHED[name])
    if name == "MDX":
        network = importlib.import_module("audio_separator.separator.uvr_lib_v5.mdxnet").ConvTDFNet
        model = network(dim_f=options["bins"], n_fft=options["n_fft"], **_MDX_NET).eval()
        options["network"] = folder / "network.onnx"
        torch.onnx.export(
            model, (torch.randn(1, 4, options["bins"], 32),), str(options["network"]), input_names=["input"],
            output_names=["output"], dynamo=False, opset_version=13, dynamic_axes={"input": {0: "batch", 3: "t"}},
        )  # fmt: skip
    return options


def _size(model: Any, folder: Path) -> str:
    """Its parameters in words; of a model that is loaded anew each time, by the size of its files."""
    if isinstance(model, torch.nn.Module):
        return f"{sum(one.numel() for one in model.parameters()) / 1e6:.1f} M"
    files = [file for file in (folder / "models").iterdir() if file.suffix in (".th", ".onnx")]
    return f"{sum(file.stat().st_size for file in files) / 4e6:.1f} M"


# --- Demucs -----------------------------------------------------------------------------------------------------------


def demucs(setting: Setting) -> Iterator[Callable[[], Job]]:
    for package in ("demucs", "demucs_infer"):
        yield lambda package=package: _demucs_job(setting, package)


def _demucs_job(setting: Setting, package: str) -> Job:
    with _only_theirs("demucs"):
        apply_model = importlib.import_module(f"{package}.apply").apply_model
        kind = importlib.import_module(f"{package}.htdemucs").HTDemucs
    models = _separator_models()
    options = (models.SMALL if setting.tiny else PUBLISHED)["HTDemucs"]
    torch.manual_seed(0)
    model, seconds = kind(**{**models.DEMUCS, **options}).eval().to(setting.device), setting.seconds(20.0)
    audio = setting.audio(seconds, 44_100, 2)[None]

    def run(region: Region) -> None:
        with torch.no_grad(), region:
            apply_model(model, audio, shifts=0, split=True, overlap=0.25, device=setting.device)

    return Job(package.replace("_", "-"), f"HTDemucs, {_size(model, Path())}", seconds, run)


@contextmanager
def _only_theirs(name: str) -> Iterator[None]:
    """The package of that name that pip installed, and not the one that audio-separator puts on sys.path."""
    path = list(sys.path)
    _separator_models().forget_demucs()
    sys.path[:] = [entry for entry in sys.path if not entry.endswith("uvr_lib_v5")]
    try:
        yield
    finally:
        sys.path[:] = path


# --- pitch ------------------------------------------------------------------------------------------------------------


def torchfcpe(setting: Setting) -> Iterator[Callable[[], Job]]:
    def make() -> Job:
        package = importlib.import_module("torchfcpe")
        model, seconds = package.spawn_bundled_infer_model(device=setting.device), setting.seconds(30.0)
        signal = setting.audio(seconds, 16_000, 1).to(setting.device)[..., None]

        def run(region: Region) -> None:
            with region:
                model.infer(signal, 16_000, decoder_mode="local_argmax", threshold=0.006)

        front_end = ((importlib.import_module("torchfcpe.mel_extractor").MelModule, "__call__"),)
        return Job("torchfcpe", f"its own weights, {_size(model, Path())}", seconds, run, (front_end, "MelModule"))

    yield make


def rmvpe(setting: Setting) -> Iterator[Callable[[], Job]]:
    def make() -> Job:
        found = importlib.util.find_spec("infer_rvc_python")
        if found is None:
            raise ImportError("infer-rvc-python is not installed")
        file = Path(found.submodule_search_locations[0]) / "lib" / "rmvpe.py"
        spec = importlib.util.spec_from_file_location("front_end_share_rmvpe", file)
        module = sys.modules["front_end_share_rmvpe"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            torch.save(module.E2E(4, 1, (2, 2)).state_dict(), f"{folder}/random.pt")
            estimator = module.RMVPE(f"{folder}/random.pt", is_half=False, device=setting.device)
        seconds = setting.seconds(30.0)
        signal = setting.audio(seconds, 16_000, 1)[0].numpy()

        def run(region: Region) -> None:
            with region:
                estimator.infer_from_audio(signal, thred=0.0)

        front_end = ((module.MelSpectrogram, "forward"),)
        size = _size(estimator.model, Path())
        return Job("RMVPE (infer-rvc-python)", f"E2E, {size}", seconds, run, (front_end, "MelSpectrogram"))

    yield make


# --- features ---------------------------------------------------------------------------------------------------------


def muq(setting: Setting) -> Iterator[Callable[[], Job]]:
    def make() -> Job:
        package = importlib.import_module("muq")
        features = importlib.import_module("muq.muq.modules.features")
        configuration = importlib.import_module("transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer")
        heads, inner = (4, 64) if setting.tiny else (16, 4096)
        config = configuration.Wav2Vec2ConformerConfig(
            num_attention_heads=heads, intermediate_size=inner, position_embeddings_type="rotary"
        )
        plain = {name: value for name, value in config.to_dict().items() if not isinstance(value, dict)}
        plain["_attn_implementation"] = "eager"
        size = dict(encoder_dim=64, encoder_depth=2, conv_dim=32) if setting.tiny else dict(encoder_dim=1024,
                    encoder_depth=12, conv_dim=512)  # fmt: skip
        statistics = {"melspec_2048_mean": 6.768, "melspec_2048_std": 18.418}
        torch.manual_seed(0)
        model = package.MuQ(package.MuQConfig(stat=statistics, w2v2_config=plain, **size)).eval().to(setting.device)
        seconds = setting.seconds(30.0)
        signal = setting.audio(seconds, 24_000, 1).to(setting.device)

        def run(region: Region) -> None:
            with torch.no_grad(), region:
                model(signal, output_hidden_states=True)

        front_end = ((features.MelSTFT, "__call__"),)
        return Job("MuQ", f"MuQ, {_size(model, Path())}", seconds, run, (front_end, "MelSTFT"))

    yield make


PROJECTS = {"torchfcpe": torchfcpe, "RMVPE": rmvpe, "audio-separator": audio_separator, "Demucs": demucs, "MuQ": muq}
