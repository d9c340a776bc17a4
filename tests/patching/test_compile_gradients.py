"""Whole graphs with gradients, of every argument and with lengths that change, by every backend of torch.compile."""

import pytest

from tests.tiers import some

from .conftest import compiles_with

SETTING = """
import torch._dynamo.testing
msp.enable(devices=devices, on_error="raise")
warnings.simplefilter("ignore")
window.requires_grad_()

def complete(signal, window):  # gradients of signal and window, through both functions
    spectrum = torch.stft(signal, 400, 100, 400, window, return_complex=True)
    return torch.istft(spectrum.abs() * spectrum, 400, 100, 400, window, length=signal.shape[-1] - 50)

def unpatched(function, *inputs):
    msp.disable()
    try:
        return gradients(function, *inputs)
    finally:
        msp.enable(devices=devices, on_error="raise")

def gradients(function, *inputs):
    inputs = [value.detach().requires_grad_() for value in inputs]
    result = function(*inputs)
    result = torch.view_as_real(result) if result.is_complex() else result
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1)).to(device)
    return result, *torch.autograd.grad((result * weights).sum(), inputs)

def agree(function, reference, *inputs):
    for got, want in zip(gradients(function, *inputs), unpatched(reference, *inputs)):
        assert got.shape == want.shape and got.dtype == want.dtype, (got.shape, want.shape, got.dtype, want.dtype)
        error = float((got - want).norm() / want.norm())
        assert error < 1e-5, error
"""


@pytest.mark.parametrize("backend", some(["eager", "aot_eager", "inductor"], ["aot_eager"]))
def test_forward_and_backward_are_one_graph(backend, run_compiled):
    compiles_with(backend)
    run_compiled(
        SETTING
        + f"""
for shape in ((2, 4000), (4000,)):
    torch._dynamo.reset()
    signal = torch.randn(shape, device=device)
    compiled = torch.compile(complete, fullgraph=True, backend={backend!r})
    agree(compiled, complete, signal, window)
    agree(compiled, complete, signal, window)
"""
    )


@pytest.mark.parametrize("backend", some(["eager", "aot_eager", "inductor"], ["aot_eager"]))
def test_lengths_that_change_do_not_compile_again(backend, run_compiled):
    compiles_with(backend)
    run_compiled(
        SETTING
        + f"""
counter = torch._dynamo.testing.CompileCounterWithBackend({backend!r})
compiled = torch.compile(complete, fullgraph=True, backend=counter, dynamic=True)
for samples in (4000, 4400, 5003, 70_000):
    agree(compiled, complete, torch.randn(2, samples, device=device), window)
assert counter.frame_count == 1, counter.frame_count
"""
    )


@pytest.mark.thorough
def test_what_torch_lets_one_leave_out_is_traced_too(run_compiled):
    run_compiled(
        SETTING
        + """
spectrum = torch.stft(torch.randn(2, 4000, device=device), 400, 100, window=window.detach(), return_complex=True)
cases = {
    "no window": (lambda a: torch.stft(a, 400, 100, return_complex=True), x),
    "real output": (lambda a: torch.stft(a, 400, 100, window=window, return_complex=False), x),
    "two-sided": (lambda a: torch.stft(a, 400, 100, window=window, onesided=False, return_complex=True), x),
    "short window": (lambda a: torch.stft(a, 400, 100, 300, window[:300], return_complex=True), x),
    "not centred": (lambda a: torch.stft(a, 400, 100, 400, window, False, return_complex=True), x),
    "aligned": (
        lambda a: torch.stft(a, 400, 100, 300, window[:300], False, return_complex=True, align_to_window=True), x
    ),
    "circular": (lambda a: torch.stft(a, 400, 100, 400, window, True, "circular", return_complex=True), x),
    "complex": (lambda a: torch.stft(torch.complex(a, a.flip(-1)), 400, 100, window=window), x),
    "odd size": (lambda a: torch.stft(a, 217, 50, window=window[:217], return_complex=True), x),
    "istft, no window": (lambda a: torch.istft(a, 400, 100), spectrum),
    # Not a window that ends in zeros: the last samples would be divided by next to nothing, and rounding grow.
    "istft, longer": (lambda a: torch.istft(a, 400, 100, window=window + 0.1, length=5000), spectrum),
    "istft, no batch": (lambda a: torch.istft(a[0], 400, 100, window=window), spectrum),
}
for name, (function, given) in cases.items():
    torch._dynamo.reset()
    print(name)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    agree(compiled, function, given)
    assert runs_ours(lambda: compiled(given)), name
    got, want = compiled(given), function(given)
    got, want = ([s for n, s in zip(one.shape, one.stride()) if n > 1] for one in (got, want))
    assert got == want
"""
    )


@pytest.mark.thorough
def test_programs_that_share_a_cache_on_disk_have_graphs_of_their_own(run_compiled):
    compiles_with("inductor")
    # Each order both ways: a graph of the patched program must not serve an unpatched one, nor the reverse.
    for enabled in (False, True, False, True):
        run_compiled(
            f"""
            import torch._functorch.config
            torch._functorch.config.enable_autograd_cache = True
            if {enabled}:
                msp.enable(devices=devices)

            def step(signal):
                signal = signal.detach().requires_grad_()
                magnitude(signal).square().sum().backward()
                return signal.grad

            def compiled_step(signal):
                signal = signal.detach().requires_grad_()
                compiled(signal).square().sum().backward()
                return signal.grad

            compiled = torch.compile(magnitude, fullgraph=True, backend="inductor")
            torch.testing.assert_close(compiled_step(x), step(x), rtol=1e-3, atol=1e-2)
            assert runs_ours(lambda: compiled_step(x)) is {enabled}
            """
        )


def test_a_backward_pass_after_disable_still_works(run_compiled):
    run_compiled(
        SETTING
        + """
compiled = torch.compile(complete, fullgraph=True, backend="aot_eager")
signal = torch.randn(2, 4000, device=device, requires_grad=True)
result = compiled(signal, window)
msp.disable()
result.sum().backward()
assert signal.grad.isfinite().all() and window.grad.isfinite().all()
"""
    )


@pytest.mark.thorough
def test_inductors_code_has_several_losses_as_one_operator(run_compiled):
    run_compiled("""
from torch._inductor.utils import run_and_get_code

warnings.simplefilter("ignore")
plain = msp.MultiResolutionSTFTLoss((64, 128), (16, 24), (48, 100)).to(device)
signals = torch.randn(2, 3, 1, 500)

def step(loss):
    leaf, y = signals[0].to(device).requires_grad_(), signals[1].to(device)
    result = loss(leaf, y)
    result /= 2
    result.backward()
    return result.detach(), leaf.grad

want = step(plain)
msp.enable(devices=devices, on_error="raise")
got, texts = run_and_get_code(step, torch.compile(plain, fullgraph=True))
for one, other in zip(got, want):
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))
calls = [text.count("mps_spectro_patch.stft_losses") for text in texts]
assert len(texts) == 2 and all(calls), texts
assert not any("mps_spectro_patch.stft_loss." in text for text in texts)
""")
