"""What a call with a gradient costs on this machine before any of it is an STFT.

    python benchmarks/autograd_floor.py --device cuda

Eight numbers, doubled: alone, with their gradient, by one torch.autograd.Function and by two. Each waited for; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

WAIT = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize, "cpu": lambda: None}


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def milliseconds(call: Callable[[], object], wait: Callable[[], None], warm_up: int = 200, times: int = 400) -> float:
    for _ in range(warm_up):
        call()
    seconds = []
    for _ in range(times):
        wait()
        start = time.perf_counter()
        call()
        wait()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=WAIT, default="cuda" if torch.cuda.is_available() else "cpu")
    device = parser.parse_args().device
    x, given = torch.randn(8, device=device, requires_grad=True), torch.ones(8, device=device)
    calls: dict[str, Callable[[], object]] = {
        "doubled": lambda: given * 2,
        "doubled, and the gradient": lambda: torch.autograd.grad(x * 2, x, given),
        "by an autograd.Function": lambda: torch.autograd.grad(Doubled.apply(x), x, given),
        "by two of them": lambda: torch.autograd.grad(Doubled.apply(Doubled.apply(x)), x, given),
    }
    for name, call in calls.items():
        print(f"{name:<28}{milliseconds(call, WAIT[device]):.4f} ms")


if __name__ == "__main__":
    main()
