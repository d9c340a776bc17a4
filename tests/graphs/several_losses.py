"""What tests of several STFT losses between two signals share: programs, compiling them, comparing with float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from functorch.compile import nop
from torch._dynamo.backends.common import aot_autograd

import mps_spectro_patch as msp
from mps_spectro_patch.execution import launches
from mps_spectro_patch.graphs import rewriting

SIZES = (64, 16, 48), (30, 7, 30), (128, 24, 100)


def magnitude(x, sizes, windows):
    spectrum = torch.stft(x, *sizes, windows[sizes].to(x), return_complex=True)
    return torch.sqrt(torch.clamp(spectrum.real**2 + spectrum.imag**2, min=1e-7))


def terms(x, y, sizes, windows):
    x, y = (magnitude(one.reshape(-1, one.shape[-1]), sizes, windows) for one in (x, y))
    return torch.norm(y - x, p="fro") / torch.norm(y, p="fro"), F.l1_loss(torch.log(y), torch.log(x))


def each(x, y, windows):
    return [sum(terms(x, y, sizes, windows)) for sizes in SIZES]


def as_auraloss(x, y, windows):
    total = 0.0
    for sizes in SIZES:
        convergence, log = terms(x, y, sizes, windows)
        total += ((1.0 * convergence) + (1.0 * log) + 0.0 + (0.0 * 0.0)).mean()
    total /= len(SIZES)
    return total


def of_two_sums(x, y, windows):
    """ParallelWaveGAN's, and what its programs do with them."""
    convergence = log = 0
    for sizes in SIZES:
        one, other = terms(x, y, sizes, windows)
        convergence += one
        log += other
    return 2.5 * (convergence / len(SIZES) + log / len(SIZES))


@pytest.fixture
def windows(torch_device):
    made = {sizes: (torch.rand(sizes[2]) + 0.5).to(torch_device) for sizes in SIZES}
    made["modules"] = [msp.STFTLoss(*sizes, w_lin_mag=0.25).to(torch_device) for sizes in SIZES]
    return made


@pytest.fixture
def signals(torch_device):
    """They differ in loudness by the sample, so that few bins are equally loud in both."""
    x, y = torch.randn(2, 2, 1, 500)
    return x.to(torch_device), (y * torch.linspace(0.2, 3, 500)).to(torch_device)


@pytest.fixture
def compiled(device_name):
    """compiled(function): with the pass over its graph, which then runs in Python or, `traced`, as inductor would get
    it. Its attribute `found` has the functions that each graph calls."""
    torch._dynamo.reset()
    msp.enable(devices=[device_name], on_error="raise")

    def make(function, traced=False, **options):
        def backend(graph_module, inputs):
            rewriting.rewrite(graph_module.graph, None)
            graph_module.recompile()
            result.found.append([node.target for node in graph_module.graph.nodes if node.op == "call_function"])
            return aot_autograd(fw_compiler=nop)(graph_module, inputs) if traced else graph_module.forward

        def result(*given):
            return run(*given)

        run, result.found = torch.compile(function, backend=backend, **options), []
        return result

    yield make
    msp.disable()
    torch._dynamo.reset()


def with_gradients(function, x, y, windows, of_both=False):
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_(of_both)
    results = function(x, y, windows)
    results = results if isinstance(results, tuple) else (results,)
    sum(one.sum() * (place + 1) for place, one in enumerate(results)).backward()
    return [*results, x.grad, *([y.grad] if of_both else [])]


def wide(windows):
    modules = [copy.deepcopy(one).cpu().double() for one in windows["modules"]]
    return {**{sizes: windows[sizes].cpu().double() for sizes in SIZES}, "modules": modules}


def agree(function, exact, x, y, windows, of_both=False):
    right = with_gradients(exact, x.cpu().double(), y.cpu().double(), wide(windows), of_both)
    for got, want in zip(with_gradients(function, x, y, windows, of_both), right, strict=True):
        assert got.shape == want.shape
        assert float((got.cpu().double() - want).detach().norm()) < 5e-3 * float(want.detach().norm())


def counts(found):
    ops = launches.ops
    return found.count(ops.losses_together.mean_of_losses), found.count(ops.losses.stft_loss)
