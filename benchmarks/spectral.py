"""Times torch.stft / torch.istft with and without the patch's kernels on one NVIDIA GPU and writes the table.

    python benchmarks/spectral.py                  # needs a CUDA device; writes benchmarks/results/<device>.{json,md}

device: milliseconds per call from captured CUDA graphs that rotate among inputs larger than the cache (torch.istft
synchronises and cannot be captured: the sum of its kernels' times from the profiler). wall: one synchronised call,
median. GB/s: inputs once plus outputs once over device time, next to a device-to-device copy measured in the same run.
"+ gradient" is the call and the gradient of its input; "round trip" is stft, istft and the gradient of the signal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import mps_spectro_patch as msp

CASES = [  # rows, samples, n_fft, hop
    (4, 160_000, 1024, 256),
    (4, 1_320_000, 1024, 256),
    (16, 1_320_000, 1024, 256),
    (2, 2_650_000, 2048, 512),
    (2, 2_650_000, 2048, 441),
    (2, 2_650_000, 4096, 1024),
    (2, 2_650_000, 6144, 1024),
    (2, 2_650_000, 7680, 1024),
    (2, 2_650_000, 8192, 1024),
    (64, 480_000, 400, 160),
]
LONG = 2_000_000  # samples from which gradients are not timed: they differ from the others by their FFTs only
FOOTPRINT = 400_000_000  # bytes that the rotated inputs and outputs cover at least: several times the L2 cache


def copy_rate() -> float:
    """GB/s of a large device-to-device copy, bytes read plus bytes written."""
    source = torch.randn(256 * 1024 * 1024, device="cuda")
    target = torch.empty_like(source)
    milliseconds = captured([lambda: target.copy_(source)], per_graph=4)
    return 2 * source.numel() * 4 / milliseconds / 1e6


def captured(calls: list[Callable[[], object]], per_graph: int = 8, replays: int = 15) -> float:
    """Milliseconds of device time per call, from a graph of at least `per_graph` calls."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls:
            call()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    count = max(per_graph, len(calls))
    with torch.cuda.graph(graph, stream=stream):
        for index in range(count):
            calls[index % len(calls)]()
    times = []
    for _ in range(replays):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / count)
    return statistics.median(times[2:])


def profiled(calls: list[Callable[[], object]]) -> float:
    """Milliseconds of device time per call, as the sum of the kernels' own times."""
    for call in calls:
        call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for call in calls * 3:
            call()
        torch.cuda.synchronize()
    total = sum(event.self_device_time_total for event in profile.key_averages())
    return total / 1000 / (3 * len(calls))


def wall(calls: list[Callable[[], object]], repeats: int = 30) -> float:
    """Milliseconds of one synchronised call, median."""
    for call in calls:
        call()
    times = []
    for index in range(repeats):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        calls[index % len(calls)]()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def relative_error(got: torch.Tensor, reference: torch.Tensor) -> float:
    return float((got - reference).abs().pow(2).sum().sqrt() / reference.abs().pow(2).sum().sqrt())


def measure(rows: int, samples: int, n_fft: int, hop_length: int) -> dict:
    window = torch.hann_window(n_fft, device="cuda")
    frames = 1 + samples // hop_length
    moved = rows * (samples * 4 + frames * (n_fft // 2 + 1) * 8)
    sets = max(2, -(-FOOTPRINT // moved))
    signals = [torch.randn(rows, samples, device="cuda") for _ in range(sets)]
    options = dict(n_fft=n_fft, hop_length=hop_length, window=window)
    original_stft, original_istft = torch.functional.stft, torch._VF.istft
    spectra = [original_stft(signal, return_complex=True, **options) for signal in signals]
    result: dict = dict(rows=rows, samples=samples, n_fft=n_fft, hop_length=hop_length, megabytes=moved / 1e6)

    tasks = {
        "stft": [lambda s=s: torch.stft(s, return_complex=True, **options) for s in signals],
        "istft": [lambda s=s: torch.istft(s, length=samples, **options) for s in spectra],
    }
    if samples < LONG:
        tasks |= gradient_tasks(signals, spectra, options)
    result["torch"] = {
        name: dict(device=captured(calls) if name.startswith("stft") else profiled(calls), wall=wall(calls))
        for name, calls in tasks.items()
    }
    # In float64 and the first row only, so that the reference fits beside the rest.
    double = [signals[0][:1].double()], [spectra[0][:1].to(torch.complex128)]
    wide = dict(n_fft=n_fft, hop_length=hop_length, window=window.double())
    references = {
        "stft": original_stft(double[0][0], return_complex=True, **wide),
        "istft": original_istft(double[1][0], length=samples, **wide),
    }
    if len(tasks) > 2:
        references |= {name: calls[0]() for name, calls in gradient_tasks(*double, wide).items()}
    msp.reset_stats()
    with msp.accelerated(devices=("cuda",), on_fallback="raise"):
        result["patched"] = {
            name: dict(
                error=relative_error(calls[0]()[:1].to(references[name].dtype), references[name]),
                device=captured(calls),
                wall=wall(calls),
            )
            for name, calls in tasks.items()
        }
    return result


def gradient_tasks(signals: list[torch.Tensor], spectra: list[torch.Tensor], options: dict) -> dict:
    """Calls that return the gradient of the input for some gradient of the result."""
    samples = signals[0].shape[1]

    def stft(signal: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        signal.requires_grad_()
        return torch.autograd.grad(torch.stft(signal, return_complex=True, **options), signal, gradient)[0]

    def istft(spectrum: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        spectrum.requires_grad_()
        return torch.autograd.grad(torch.istft(spectrum, length=samples, **options), spectrum, gradient)[0]

    def round_trip(signal: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        signal.requires_grad_()
        back = torch.istft(torch.stft(signal, return_complex=True, **options), length=samples, **options)
        return torch.autograd.grad(back, signal, gradient)[0]

    signals, spectra = [signal.detach() for signal in signals], [spectrum.detach() for spectrum in spectra]
    pairs = list(zip(signals, spectra, strict=True))
    return {
        "stft + gradient": [lambda a=a, b=b: stft(a.detach(), b) for a, b in pairs],
        "istft + gradient": [lambda a=a, b=b: istft(b.detach(), a) for a, b in pairs],
        "round trip + gradient": [lambda a=a: round_trip(a.detach(), a) for a in signals],
    }


def table(results: list[dict], rate: float) -> str:
    lines = [
        "| case | op | torch device | ours device | factor | torch wall | ours wall | factor "
        "| GB/s | of copy rate | rel. L2 error |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        case = f"B{r['rows']} T{r['samples']} n{r['n_fft']} h{r['hop_length']}"
        for op, ours in r["patched"].items():
            theirs = r["torch"][op]
            passes = 4 if op.startswith("round") else 2 if "gradient" in op else 1
            speed = passes * r["megabytes"] / ours["device"]
            gain = {kind: theirs[kind] / ours[kind] for kind in ("device", "wall")}
            lines.append(
                f"| {case} | {op} | {theirs['device']:.4f} | {ours['device']:.4f} | {gain['device']:.2f}x "
                f"| {theirs['wall']:.3f} | {ours['wall']:.3f} | {gain['wall']:.2f}x "
                f"| {speed:.0f} | {100 * speed / rate:.0f} % | {ours['error']:.1e} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--cases", type=int, nargs="*", help="indices into the list of cases (default: all)")
    options = parser.parse_args()
    rate = copy_rate()
    chosen = CASES if options.cases is None else [CASES[index] for index in options.cases]
    results = []
    for case in chosen:
        results.append(measure(*case))
        torch.cuda.empty_cache()
    name = torch.cuda.get_device_name()
    today = time.strftime("%Y-%m-%d")
    head = f"{name}, torch {torch.__version__}, {today}; device-to-device copy {rate:.0f} GB/s; milliseconds"
    text = f"# {head}\n\n{table(results, rate)}\n"
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    stem = name.lower().replace(" ", "-")
    (options.out / f"{stem}.md").write_text(text)
    (options.out / f"{stem}.json").write_text(
        json.dumps(dict(device=name, torch=torch.__version__, copy_rate=rate, results=results), indent=1)
    )


if __name__ == "__main__":
    main()
