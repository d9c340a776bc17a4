"""`mps-spectro-patch demo`: examples/denoise.py on real audio, once as it is and once accelerated, and what came of it.

Runs the script as `python denoise.py` would, in this process; only measures and compares, and patches nothing itself.
"""

from __future__ import annotations

import contextlib
import io
import math
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch

from ..bench import Progress, results_folder
from ..diagnostics import Stats, explain, reset_stats, stats, status
from ..errors import CommandError
from ..examples import denoise
from ..execution import best_device, check_device, device_error
from ..options import ACCELERATORS
from ..patching import accelerated, disable
from .sound import as_wav

SCRIPT = Path(denoise.__file__)
AUDIO = SCRIPT.parent / "audio" / "guitar_on_vinyl.wav"
N_FFT, HOP = 2048, 512  # of the script's long windows; its short ones are a quarter of both
REPEATS, PATIENCE = 3, 30.0  # later runs, and seconds after which no more of them are started

EXPECTATION = {
    "simulator": (
        "The simulator runs the Metal kernels on the CPU, thread by thread. It is slow, and its times say nothing "
        "about a GPU: they are left out here. No Apple GPU has been timed yet. Times on an NVIDIA GPU are in "
        "benchmarks/results/."
    ),
    "cuda": (
        "These are the Metal kernels, compiled for this NVIDIA GPU. A few seconds of sound are little work for it: "
        "most of the time above is spent outside the kernels. Kernel times are in benchmarks/results/."
    ),
    "mps": (
        "No Apple GPU has been timed by the authors yet: the times above are as good as any there are. "
        "Please report them."
    ),
}


def run_demo(audio: Path | None, out: Path, device: str | None) -> int:
    """The command: 0, or 1 if a kernel failed. Raises CommandError for what a person can put right."""
    audio = audio or AUDIO
    if device is None and (error := device_error(device := best_device())) is not None and device != "simulator":
        print(f"{device} does not work here ({type(error).__name__}: {error}): the simulator is used")
        device = "simulator"
    check_device(device)
    disable()  # MPS_SPECTRO_PATCH=1 would accelerate the plain run too
    files = [out / f"{audio.stem}{ending}" for ending in ("_plain.wav", "_accelerated.wav", ".png")]
    with tempfile.TemporaryDirectory() as folder:
        wav, length = as_wav(audio, Path(folder))
        with results_folder(out, files):
            print(f"{SCRIPT.name}, a program that only knows torch, unmodified, on {audio}: {length}")
            return _run_on(wav, files, device)


def _run_on(audio: Path, files: list[Path], device: str) -> int:
    plain_file, fast_file, picture = files
    place = ACCELERATORS[device]
    words = {"simulator": "the Metal kernels on the CPU (slow, for looking inside)", "mps": "the Apple GPU"}
    print(f"device: {device}, {words.get(device) or torch.cuda.get_device_name()}")

    with Progress(2 * (1 + REPEATS) + 1) as progress:
        plain, _ = _measure(audio, plain_file, place, nullcontext(), partial(progress.step, "as it is"))
        scope = accelerated(devices=(device,))
        fast, counts = _measure(audio, fast_file, place, scope, partial(progress.step, "accelerated"))
        progress.step("in float64, to compare with")
        exact = _in_float64(audio)
    with _default_dtype(torch.float32):
        before, rate, _ = denoise.read_wav(str(audio))
    signal = {"plain": _read(plain_file), "accelerated": _read(fast_file), "float64": exact}

    _print_routes(counts, device)
    if device != "simulator":  # its times say nothing
        _print_times(plain, fast)
    print("\ndifference between the outputs, relative to the output")
    for one, other in (("accelerated", "plain"), ("accelerated", "float64"), ("plain", "float64")):
        names = f"{one} - {other}".replace("float64", "the same script in float64 on the CPU")
        print(f"  {names:<52}{_decibels(signal[one], signal[other])}")

    print(f"\nwritten\n  {plain_file}\n  {fast_file}")
    if _draw(picture, before, signal["accelerated"], signal["plain"], rate):
        print(f"  {picture}  (before, after, and the difference that acceleration made)")
    else:
        print('  no picture: it needs matplotlib, pip install "mps-spectro-patch[demo]"')
    print(f"\n{EXPECTATION[device]}")
    if status().quarantined:
        print("\nSome kernels failed here (see above). torch's own results were used instead; please report this.")
        return 1
    return 0


def _measure(
    audio: Path, output: Path, device: str, around: AbstractContextManager, tell: Callable[[], None]
) -> tuple[list[float], Stats]:
    """Seconds of each run, and how the calls of the last were routed. tell() before each."""
    seconds: list[float] = []
    with around:
        while len(seconds) <= REPEATS and (not seconds or sum(seconds) < PATIENCE):
            reset_stats()
            tell()
            start = time.perf_counter()
            _run_script(audio, output, device)  # ends with the samples in a file, so nothing is left to wait for
            seconds.append(time.perf_counter() - start)
        return seconds, stats()


def _run_script(audio: Path, output: Path, device: str, precision: torch.dtype = torch.float32) -> None:
    """`python denoise.py audio output --device ... --bits 32` (32, so that rounding hides no difference)."""
    arguments = [str(audio), str(output), "--device", device, "--n-fft", str(N_FFT), "--hop", str(HOP), "--bits", "32"]
    before, sys.argv = sys.argv, [str(SCRIPT), *arguments]
    complaint = io.StringIO()
    try:
        with _default_dtype(precision), contextlib.redirect_stderr(complaint):
            runpy.run_path(str(SCRIPT), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise CommandError(complaint.getvalue().strip() or str(end.code)) from None
    finally:
        sys.argv = before
    sys.stderr.write(complaint.getvalue())  # warnings of ours and of torch are for the person at the keyboard


def _print_routes(counts: Stats, device: str) -> None:
    print("\nrouted (one run)        calls     fast  original")
    for op, count in counts.items():
        print(f"  torch.{op:<14}{count.calls:>8} {count.fast:>8} {count.calls - count.fast:>9}")
    print("why")
    place = ACCELERATORS[device]
    with accelerated(devices=(device,)):
        for n_fft in (N_FFT, N_FFT // 4):
            signal, window = (
                torch.zeros(4 * n_fft, dtype=torch.float32, device=place),
                torch.hann_window(n_fft, dtype=torch.float32, device=place),
            )
            spectrum = torch.zeros(n_fft // 2 + 1, 16, dtype=torch.complex64, device=place)
            print(f"  {explain(torch.stft, signal, n_fft, n_fft // 4, window=window, return_complex=True)}")
            print(f"  {explain(torch.istft, spectrum, n_fft, n_fft // 4, window=window)}")
    for op, count in counts.items():
        for reason, calls in count.fallback.items():
            print(f"  torch.{op}: {calls} of {count.calls} went to torch's own: {reason.words}")
    for bad in status().quarantined:
        print(f"  not used any more: {bad.plan}: {bad.why.splitlines()[0]}")


def _print_times(plain: list[float], fast: list[float]) -> None:
    print("\ntime of the whole script      first run    then, best of", REPEATS)
    for name, (first, *later) in (("as it is", plain), ("accelerated", fast)):
        print(f"  {name:<26}{first:>8.3f} s    {min(later or [first]):>8.3f} s")
    print("  (the first accelerated run compiles the kernels or takes them from a cache, and compares each with torch)")


def _decibels(one: torch.Tensor, other: torch.Tensor) -> str:
    difference, size = float((one - other).square().mean()), float(other.square().mean())
    if difference == 0:
        return "none at all"
    return f"{10 * math.log10(difference / size):.1f} dB" if size else "the output is silent"


def _read(file: Path) -> torch.Tensor:
    with _default_dtype(torch.float32):
        return denoise.read_wav(str(file))[0].double()


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """For the script, whose samples have torch's."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _in_float64(audio: Path) -> torch.Tensor:
    """What the script makes of it in float64 on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        _run_script(audio, Path(folder, "float64.wav"), "cpu", torch.float64)
        return _read(Path(folder, "float64.wav"))


def _draw(file: Path, before: torch.Tensor, after: torch.Tensor, plain: torch.Tensor, rate: int) -> bool:
    """Spectrograms of the first channel, in dB relative to the loudest point of `before`. False without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    sounds = torch.stack([before[0].double(), after[0], after[0] - plain[0]])
    window = torch.hann_window(1024, dtype=torch.float64, device="cpu")
    spectra = torch.stft(sounds, 1024, 256, window=window, return_complex=True)
    levels = 20 * spectra.abs().clamp(min=1e-15).log10()
    levels -= levels[0].max()
    titles = ("before", "after: denoised, accelerated", "accelerated minus plain (another scale)")
    ranges = ((-100, 0), (-100, 0), (-240, -100))
    look = dict(origin="lower", aspect="auto", cmap="magma", interpolation="nearest")
    extent = (0, before.shape[1] / rate, 0, rate / 2000)
    figure = Figure(figsize=(10, 9), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    for axis, level, title, (low, high) in zip(axes, levels.numpy(), titles, ranges, strict=True):
        picture = axis.imshow(level, vmin=low, vmax=high, extent=extent, **look)
        axis.set(title=title, ylabel="kHz")
        figure.colorbar(picture, ax=axis, label="dB")
    axes[-1].set_xlabel("seconds")
    figure.savefig(file, dpi=100)
    return True
