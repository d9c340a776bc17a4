"""Times this package's front ends against torchaudio's composition on one NVIDIA GPU, checks memory, writes the table.

    python benchmarks/mel.py                  # needs a CUDA device; writes benchmarks/results/<device>-mel.{json,md}

theirs: torchaudio's modules where torchaudio is installed, else the same functions of torch (stft, abs, pow, matmul),
then clamp and log as the program in question has them. device: milliseconds per call from captured CUDA graphs that
rotate among inputs larger than the cache. wall: one synchronised call, median. "+ gradient": the call and the gradient
of its waveform, in one graph. memory: what one call allocates at its peak, in units of its output; the spectrum alone
would be `spectrum` of them (the backward pass is held to stay well below it, too). error: the largest difference of
logarithms from float64 where the reference is well above the clamp.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from spectral import captured, wall

import mps_spectro_patch as msp

FOOTPRINT = 400_000_000  # bytes that the rotated inputs and outputs cover at least: several times the L2 cache
SETS_MAX = 40


@dataclass(frozen=True)
class Case:
    """One front end and the input it is timed with; what the issue asks of it, as (kind, factor) pairs."""

    name: str
    rows: int
    samples: int
    n_fft: int
    hop_length: int
    bands: int
    ours: Callable[[], Callable]
    theirs: Callable[[], Callable]
    gradient: bool = False
    asked: tuple[tuple[str, float], ...] = ()


def torchaudio_mel(**options) -> torch.nn.Module:
    try:
        import torchaudio
    except ImportError:
        return ComposedMel(**options).cuda()
    return torchaudio.transforms.MelSpectrogram(**options).cuda()


class ComposedMel(torch.nn.Module):
    """torchaudio.transforms.MelSpectrogram, call by call."""

    def __init__(self, sample_rate, n_fft, hop_length, n_mels, f_min=0.0, f_max=None, power=2.0, norm=None,
                 mel_scale="htk", pad_mode="reflect"):  # fmt: skip
        super().__init__()
        self.n_fft, self.hop_length, self.power, self.pad_mode = n_fft, hop_length, power, pad_mode
        self.register_buffer("window", torch.hann_window(n_fft))
        basis = msp.melscale_fbanks(n_freqs=n_fft // 2 + 1, f_min=f_min, f_max=f_max or sample_rate / 2, n_mels=n_mels,
                                    sample_rate=sample_rate, norm=norm, mel_scale=mel_scale)  # fmt: skip
        self.register_buffer("fb", basis.t().contiguous())

    def forward(self, waveform):
        shape = waveform.shape
        spectrum = torch.stft(waveform.reshape(-1, shape[-1]), self.n_fft, self.hop_length, self.n_fft, self.window,
                              pad_mode=self.pad_mode, return_complex=True)  # fmt: skip
        spectrum = spectrum.reshape(shape[:-1] + spectrum.shape[-2:])
        power = spectrum.abs() if self.power == 1.0 else spectrum.abs().pow(self.power)
        return torch.matmul(power.transpose(-1, -2), self.fb).transpose(-1, -2)


def clamped_log(mel: Callable) -> Callable:
    return lambda x: torch.log(torch.clamp(mel(x), min=1e-5))


def whisper(mel: Callable) -> Callable:
    """openai/whisper's log_mel_spectrogram over its own mel product."""

    def run(x):
        log_spec = torch.clamp(mel(x)[..., :-1], min=1e-10).log10()
        log_spec = torch.maximum(log_spec, log_spec.max() - 8.0)
        return (log_spec + 4.0) / 4.0

    return run


MUQ = dict(sample_rate=24000, n_fft=2048, hop_length=240, n_mels=128)


def muq_db() -> Callable:
    mel = torchaudio_mel(**MUQ)
    return lambda x: 10.0 * torch.log10(torch.clamp(mel(x), min=1e-10))


def rmvpe_basis(slaney: str) -> torch.Tensor:
    return msp.melscale_fbanks(n_freqs=513, f_min=30 if slaney == "htk" else 0, f_max=8000, n_mels=128,
                               sample_rate=16000, norm="slaney", mel_scale=slaney).cuda()  # fmt: skip


def rmvpe(keyshift: float, x: torch.Tensor, basis: torch.Tensor, windows: dict) -> torch.Tensor:
    """RMVPE's wrapper, which keeps its windows."""
    n_fft = round(1024 * 2 ** (keyshift / 12))
    if keyshift not in windows:
        windows[keyshift] = torch.hann_window(n_fft, device=x.device)
    spectrum = torch.stft(x, n_fft, 160, n_fft, windows[keyshift], center=True, return_complex=True)
    magnitude = torch.sqrt(spectrum.real.pow(2) + spectrum.imag.pow(2))
    if keyshift != 0:
        if magnitude.size(1) < 513:
            magnitude = torch.nn.functional.pad(magnitude, (0, 0, 0, 513 - magnitude.size(1)))
        magnitude = magnitude[:, :513, :] * 1024 / n_fft
    return torch.log(torch.clamp(torch.matmul(basis, magnitude), min=1e-5))


def fcpe(keyshift: float, x: torch.Tensor, basis: torch.Tensor, windows: dict) -> torch.Tensor:
    """torchfcpe's wrapper behind its padding, which is the same on either side."""
    n_fft = round(1024 * 2 ** (keyshift / 12))
    if keyshift not in windows:
        windows[keyshift] = torch.hann_window(n_fft, device=x.device)
    spectrum = torch.stft(x, n_fft, 160, n_fft, windows[keyshift], center=False, return_complex=True)
    magnitude = torch.sqrt(spectrum.real.pow(2) + spectrum.imag.pow(2) + 1e-9)
    if keyshift != 0:
        if magnitude.size(1) < 513:
            magnitude = torch.nn.functional.pad(magnitude, (0, 0, 0, 513 - magnitude.size(1)))
        magnitude = magnitude[:, :513, :] * 1024 / n_fft
    return torch.log(torch.clamp(torch.matmul(basis, magnitude), min=1e-5))


def dynamic(keyshift: float, scale: str, **options) -> Callable:
    module = msp.DynamicMelSpectrogramTransform(
        sample_rate=16000, n_fft=1024, hop_length=160, mel_basis=rmvpe_basis(scale), output_scale="log", **options
    ).cuda()
    return lambda x: module(x, keyshift=keyshift)


def compat(**options) -> Callable:
    return msp.CompatMelSpectrogramTransform(**options).cuda()


PLAIN = dict(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=80)
MAMBA = dict(sample_rate=16000, n_fft=2048, hop_length=512, pad_mode="constant", n_mels=256, f_min=30.0, f_max=8000.0,
             power=1.0, norm="slaney")  # fmt: skip
WHISPER = dict(sample_rate=16000, n_fft=400, hop_length=160, n_mels=80, norm="slaney", mel_scale="slaney")


def log_case(name, rows, samples, options, **more) -> Case:
    return Case(
        name, rows, samples, options["n_fft"], options["hop_length"], options["n_mels"],
        lambda: compat(output_scale="log", **options), lambda: clamped_log(torchaudio_mel(**options)), **more,
    )  # fmt: skip


def dynamic_case(keyshift: float) -> list[Case]:
    n_fft = round(1024 * 2 ** (keyshift / 12))
    return [
        Case(
            f"RMVPE keyshift {keyshift:+g}", 1, 160_000, n_fft, 160, 128,
            lambda: dynamic(keyshift, "htk", pad_mode="reflect"),
            lambda: partial(_with, rmvpe, keyshift, rmvpe_basis("htk"), {}), asked=(("wall", 6.0),),
        ),
        Case(
            f"torchfcpe keyshift {keyshift:+g}", 1, 160_864, n_fft, 160, 128,
            lambda: dynamic(keyshift, "slaney", center=False, magnitude_eps=1e-9),
            lambda: partial(_with, fcpe, keyshift, rmvpe_basis("slaney"), {}), asked=(("wall", 6.0),),
        ),
    ]  # fmt: skip


def _with(function, keyshift, basis, windows, x):
    return function(keyshift, x, basis.to(x.dtype), windows)


CASES = [
    log_case("log-mel", 4, 1_320_000, PLAIN, gradient=True, asked=(("device", 6.0), ("gradient", 5.0))),
    log_case("log-mel", 4, 160_000, PLAIN, gradient=True),
    log_case("mamba_amt", 1, 491_520, MAMBA, asked=(("wall", 5.0),)),
    log_case("mamba_amt", 8, 491_520, MAMBA, asked=(("device", 5.0),)),
    Case("Whisper 30 s", 1, 480_000, 400, 160, 80, lambda: msp.WhisperLogMelTransform().cuda(),
         lambda: whisper(torchaudio_mel(**WHISPER)), asked=(("wall", 5.0),)),
    Case("MuQ 30 s, dB", 1, 720_000, 2048, 240, 128, lambda: compat(output_scale="db", **MUQ), muq_db),
    *(case for keyshift in (0, 3, -4, 0.5, -12, 12) for case in dynamic_case(keyshift)),
]  # fmt: skip


def with_gradient(function: Callable) -> Callable:
    def run(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x), x, weight)[0]

    return run


def timed(function: Callable, signals: list[torch.Tensor], wanted: Case) -> dict:
    with torch.no_grad():
        calls = [partial(function, x) for x in signals]
        result = dict(device=captured(calls), wall=wall(calls))
    if wanted.gradient:
        run = with_gradient(function)
        weights = [torch.randn_like(function(x)) for x in signals]
        calls = [partial(run, x, w) for x, w in zip(signals, weights, strict=True)]
        result |= dict(gradient=captured(calls), gradient_wall=wall(calls))
    return result


def peak(function: Callable, *arguments: torch.Tensor) -> int:
    """Bytes that a call allocates at its peak, output included."""
    function(*arguments)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    function(*arguments)
    return torch.cuda.max_memory_allocated() - before


def forward_peak(function: Callable, x: torch.Tensor) -> float:
    """peak() of a call in units of its output."""
    with torch.no_grad():
        return peak(function, x) / function(x).nbytes


def error(got: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest difference of logarithms, away from the clamp and from bands that happen to cancel."""
    judged = reference > reference.mean(-1, keepdim=True) - 2.0
    judged &= reference > reference.amin() + 0.7
    return float(((got.double() - reference).abs() * judged).max())


def measure(wanted: Case) -> dict:
    frames = 1 + wanted.samples // wanted.hop_length
    moved = wanted.rows * 4 * (wanted.samples + frames * wanted.bands)
    sets = min(SETS_MAX, max(2, -(-FOOTPRINT // moved)))
    signals = [torch.randn(wanted.rows, wanted.samples, device="cuda") for _ in range(sets)]
    theirs, ours = wanted.theirs(), wanted.ours()
    result = dict(
        name=wanted.name, rows=wanted.rows, samples=wanted.samples, n_fft=wanted.n_fft, megabytes=moved / 1e6,
        spectrum=(wanted.n_fft // 2 + 1) * 8 / (wanted.bands * 4), asked=dict(wanted.asked),
        theirs=timed(theirs, signals, wanted), their_memory=forward_peak(theirs, signals[0]),
    )  # fmt: skip
    with msp.accelerated(devices=("cuda",), on_error="raise", verify="off"):
        result["ours"] = timed(ours, signals, wanted)
        result["our_memory"] = forward_peak(ours, signals[0])
        result["gradient_spectrum_avoided"] = True
        if wanted.gradient:
            spectrum = wanted.rows * frames * (wanted.n_fft // 2 + 1) * 8
            used = peak(with_gradient(ours), signals[0], torch.randn_like(ours(signals[0])))
            result["gradient_spectrum_avoided"] = used < 0.6 * spectrum
        got = ours(signals[0][:1])
    # The composition of this package in float64 (tests/mel hold it to the formulas); the first row only.
    result["error"] = error(got, ours(signals[0][:1].double()))
    # An output, and partial maxima where there is a second launch; a spectrum would be far more.
    result["spectrum_avoided"] = result["our_memory"] < min(1.25, 1 + 0.5 * result["spectrum"])
    return result


def factors(result: dict) -> dict[str, float]:
    return {kind: result["theirs"][kind] / result["ours"][kind] for kind in result["ours"]}


def table(results: list[dict]) -> str:
    kinds = ("device", "wall", "gradient", "gradient_wall")
    lines = [
        "| case | " + " | ".join(f"{kind}: theirs -> ours" for kind in kinds) + " | memory: theirs -> ours (of output) "
        "| spectrum | error | asked, reached |",
        "|---" * (len(kinds) + 5) + "|",
    ]
    for r in results:
        gain = factors(r)
        cells = [
            f"{r['theirs'][kind]:.4f} -> {r['ours'][kind]:.4f} ({gain[kind]:.1f}x)" if kind in gain else ""
            for kind in kinds
        ]
        asked = ", ".join(
            f"{kind} {factor:g}x: {'yes' if gain[kind] >= factor else 'NO'}" for kind, factor in r["asked"].items()
        )
        cells.append(f"{r['their_memory']:.2f} -> {r['our_memory']:.2f} | {r['spectrum']:.1f} | {r['error']:.1e}")
        case = f"{r['name']} B{r['rows']} T{r['samples']} n{r['n_fft']}"
        lines.append(f"| {case} | " + " | ".join(cells) + f" | {asked} |")
    return "\n".join(lines)


def failures(results: list[dict]) -> list[str]:
    """What was asked and not reached."""
    found = []
    for r in results:
        gain = factors(r)
        name = f"{r['name']} B{r['rows']}"
        for kind, want in r["asked"].items():
            if gain[kind] < want:
                found.append(f"{name}: {kind} {gain[kind]:.2f}x < {want:g}x")
        if not r["gradient_spectrum_avoided"]:
            found.append(f"{name}: the backward pass allocates as much as a spectrum")
        if not r["spectrum_avoided"]:
            found.append(f"{name}: {r['our_memory']:.2f} outputs allocated")
        if not r["error"] <= 2e-5 * (10 if "dB" in r["name"] else 1):
            found.append(f"{name}: error {r['error']:.1e}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--cases", type=int, nargs="*", help="indices into the list of cases (default: all)")
    options = parser.parse_args()
    chosen = CASES if options.cases is None else [CASES[index] for index in options.cases]
    results = []
    for wanted in chosen:
        results.append(measure(wanted))
        torch.cuda.empty_cache()
    name = torch.cuda.get_device_name()
    head = f"{name}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}; milliseconds"
    missed = failures(results)
    verdict = "\n".join(f"* missed: {line}" for line in missed) or "Everything that was asked for was reached."
    text = f"# Front ends: {head}\n\n{table(results)}\n\n{verdict}\n"
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    stem = name.lower().replace(" ", "-") + "-mel"
    (options.out / f"{stem}.md").write_text(text)
    (options.out / f"{stem}.json").write_text(
        json.dumps(dict(device=name, torch=torch.__version__, results=results), indent=1)
    )
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
