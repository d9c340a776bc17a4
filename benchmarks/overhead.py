"""What the patch costs where it does nothing: per call, per import, per interpreter start. Needs no GPU.

    python benchmarks/overhead.py          # prints a table

A call's cost is the median of what a patched call takes more than the unpatched one beside it; a process's the least of
many: a busy machine only adds. Each cost stands beside its bound; the exit status is 1 if one is exceeded. A call is
measured around torch's own work, which leaves little of ours in the processor's caches: it costs three times what
test_environment.py finds for it alone.
"""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
PTH = "mps_spectro_patch_autoload.pth"


def main() -> int:
    rows = [
        ("call on another device, reach=attribute", *per_call("attribute", "mps"), 2.0, "us"),
        ("call on another device, reach=references", *per_call("references", "mps"), 2.0, "us"),
        ("torch.functional.stft on another device, references", *per_call("references", "mps", 4000, True), 2.0, "us"),
        ("call on another device, reach=dispatcher", *per_call("dispatcher", "mps"), 0.5, "us"),
        ("call without a kernel on an accelerated device", *per_call("attribute", "simulator"), 5.0, "us"),
        ("import of enable, disable and accelerated, beyond torch", importing(), 0.0, 20.0, "ms"),
        (".pth file at interpreter start, variable not set", starting(False), 0.0, 2.0, "ms"),
        (".pth file at interpreter start, variable set", starting(True), 0.0, 5.0, "ms"),
    ]
    print(f"{'':<56}{'costs':>12}{'of':>12}{'bound':>12}")
    exceeded = False
    for what, cost, of, bound, unit in rows:
        limit = f"{bound:.1f} {unit}"
        base = f"{of:.1f} {unit}" if of else ""
        exceeded |= cost > bound
        print(f"{what:<56}{f'{cost:.3f} {unit}':>12}{base:>12}{limit:>12}")
    return int(exceeded)


def per_call(reach: str, device: str, rounds: int = 4000, functional: bool = False) -> tuple[float, float]:
    """(microseconds that the patch adds to torch.stft of a small CPU tensor, microseconds of the unpatched call)."""
    import torch

    import mps_spectro_patch as msp

    torch.set_num_threads(1)
    dtype = torch.float32 if device == "mps" else torch.float64  # no kernel takes float64
    x, window = torch.randn(512, dtype=dtype), torch.hann_window(400, dtype=dtype)
    own = torch.functional.stft

    def unpatched() -> None:
        own(x, 400, 160, window=window, center=False, return_complex=True)

    def patched() -> None:
        torch.stft(x, 400, 160, window=window, center=False, return_complex=True)

    def patched_in_functional() -> None:
        torch.functional.stft(x, 400, 160, window=window, center=False, return_complex=True)

    if functional:
        patched = patched_in_functional
    if reach != "dispatcher":
        with msp.accelerated(devices=(device,), reach=reach):
            for _ in range(4000):  # what is refused is remembered when calls are no longer looked at one by one
                patched()
            return in_turns(unpatched, patched, rounds)

    # Here the operator is what is patched, so torch's function is the same one; what changes is the registration, after
    # which the first calls take longer.
    def least() -> float:
        return min(block(patched, 20) for _ in range(10))

    def registered() -> float:
        with msp.accelerated(devices=(device,), reach=reach):
            return least()

    pairs = [(least(), registered()) for _ in range(rounds // 40)]
    return median(second - first for first, second in pairs), median(first for first, _ in pairs)


def in_turns(first: Callable[[], None], second: Callable[[], None], rounds: int) -> tuple[float, float]:
    """(what second takes more than first, what first takes), in microseconds: medians over calls beside each other."""
    more, base = [], []
    for _ in range(rounds):
        before, one, other, after = (block(function, 1) for function in (first, second, second, first))
        more += [one - before, other - after]
        base += [before, after]
    return median(more), median(base)


def block(function: Callable[[], None], count: int) -> float:
    """Microseconds per call of a block of them."""
    start = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - start) / count * 1e6


def importing(times: int = 7) -> float:
    """Milliseconds of importing what every program uses, once torch is there. The rest is loaded when it is used."""
    with tempfile.TemporaryDirectory() as cache:
        code = f"""
import sys, time
sys.dont_write_bytecode, sys.pycache_prefix = False, {cache!r}  # bytecode, as after any installation
import torch
start = time.perf_counter()
from mps_spectro_patch import accelerated, disable, enable
print((time.perf_counter() - start) * 1e3)
"""
        return min(float(python("-c", code)) for _ in range(times))


def starting(is_set: bool, times: int = 15) -> float:
    """Milliseconds that Python spends on the .pth file when it starts."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "mps_spectro_patch")
        package.mkdir()
        shutil.copy(ROOT / package.name / PTH, folder)
        for name in ("__init__.py", "lazy.py", "pending.py", "startup.py"):  # nothing else is imported, or it fails
            py_compile.compile(shutil.copy(ROOT / package.name / name, package), doraise=True)  # as pip does
        code = """
import sys, time, site
sys.path.append(sys.argv[1])
start = time.perf_counter()
site.addpackage(sys.argv[1], sys.argv[2], set())
print((time.perf_counter() - start) * 1e3)
assert ("mps_spectro_patch.startup" in sys.modules) == (sys.argv[3] == "1")
"""
        variables = {"MPS_SPECTRO_PATCH": "1"} if is_set else {}
        arguments = ("-I", "-S", "-c", code, folder, PTH, str(int(is_set)))
        return min(float(python(*arguments, **variables)) for _ in range(times))


def python(*arguments: str, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MPS_SPECTRO_PATCH")}
    result = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True,
                            env={**kept, **variables})  # fmt: skip
    return result.stdout


if __name__ == "__main__":
    sys.exit(main())
