"""verify, on_error, on_fallback: what happens when the fast path is wrong, fails, or is not taken."""

from __future__ import annotations

import errno
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import comparison, launches, quarantine, verification
from mps_spectro_patch.kernels.launch import transforms
from mps_spectro_patch.reasons import FallbackError, Reason, UseOriginal

STFT, ISTFT = torch.stft, torch.istft


@pytest.fixture
def broken(monkeypatch):
    """Replaces an operator by `change(result of the original)`; returns the list of its calls."""
    launches.load_operators()
    calls = []

    def breaks(op, change):
        real = launches.prepare

        def prepare(which, input, window, call):
            def launch(input, window):
                calls.append(op)
                return change(launches.composite(op, call, input, window))

            return launch if which == op else real(which, input, window, call)

        monkeypatch.setattr(launches, "prepare", prepare)
        return calls

    return breaks


def raises(error: BaseException):
    def change(_):
        raise error

    return change


def with_one_bin_lost(result):
    result = result.clone()
    result[0, 7] = 0
    return result


@pytest.mark.parametrize("op", ["stft", "istft"])
def test_a_wrong_result_warns_once_and_the_original_is_used_from_then_on(op, signal, on, broken):
    calls = broken(op, with_one_bin_lost if op == "stft" else lambda y: y * 1.01)
    call, expected = getattr(signal, op), {"stft": signal.spectrum, "istft": signal.x}[op]
    with msp.accelerated(**on):
        with pytest.warns(RuntimeWarning, match=rf"fast torch\.{op} differs .*n_fft=400.*report") as seen:
            torch.testing.assert_close(call(), expected, rtol=1e-4, atol=1e-4)
        assert len(seen) == 1 and torch.__version__ in str(seen[0].message) and seen[0].filename.endswith("conftest.py")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            torch.testing.assert_close(call(), expected, rtol=1e-4, atol=1e-4)
    assert len(calls) == 1
    assert msp.stats()[op].fallback == {"verification": 1, "quarantined": 1}
    assert [bad.op for bad in msp.status().quarantined] == [op] and "n_fft=400" in str(msp.status())


def test_only_the_bad_plan_is_put_aside(signal, on, broken):
    broken("stft", lambda y: y * 2 if y.shape[1] == 201 else y)
    with msp.accelerated(**on):
        with pytest.warns(RuntimeWarning):
            signal.stft()
        torch.stft(signal.x, 512, window=torch.hann_window(512, device=signal.x.device), return_complex=True)
    assert msp.stats()["stft"].fast == 1


def test_verify_first_compares_the_first_call_of_a_plan_only(signal, on, broken):
    good = [True, False]
    broken("stft", lambda y: y if good.pop(0) else y * 2)
    with msp.accelerated(**on):
        signal.stft()
        torch.testing.assert_close(signal.stft(), signal.spectrum * 2)


def test_verify_always_compares_every_call(signal, on, broken):
    good = [True, False]
    broken("stft", lambda y: y if good.pop(0) else y * 2)
    with msp.accelerated(**on, verify="always"):
        signal.stft()
        with pytest.warns(RuntimeWarning, match="differs"):
            torch.testing.assert_close(signal.stft(), signal.spectrum)


def test_verify_off_trusts(signal, on, broken):
    broken("stft", lambda y: y * 2)
    with msp.accelerated(**on, verify="off"):
        torch.testing.assert_close(signal.stft(), signal.spectrum * 2)


def test_an_error_of_the_original_during_verification_is_the_answer(signal, on, broken):
    def original(*_, **__):
        raise RuntimeError("torch's own")

    broken("stft", lambda y: y)
    torch.stft = original
    with msp.accelerated(**on), pytest.raises(RuntimeError, match="torch's own"):
        signal.stft()
    torch.stft = STFT
    assert not quarantine.plans


def test_operators_never_see_the_bits_of_conjugate_and_negative_views(signal, on, monkeypatch):
    launches.load_operators()
    seen = []

    def operator(input, window, *_):
        seen.append(input.is_conj() or input.is_neg() or window.is_neg())
        raise UseOriginal(Reason.NOLA)

    monkeypatch.setattr(launches.ops, "eager_stft", operator)
    monkeypatch.setattr(launches.ops, "eager_istft", operator)
    negative = torch.complex(signal.window, signal.window).conj().imag
    assert negative.is_neg() and signal.spectrum.conj().is_conj()
    with msp.accelerated(**on):
        torch.stft(negative, 400, 160, 400, negative, pad_mode="constant", return_complex=True)
        torch.istft(signal.spectrum.conj(), 400, 160, 400, negative)
    assert seen == [False, False]


@pytest.mark.parametrize("kind", [ValueError, SyntaxError, AttributeError, OSError, RuntimeError])
def test_an_unexpected_error_warns_once_and_the_original_is_used_from_then_on(kind, signal, on, broken):
    calls = broken("stft", raises(kind("lost")))
    with msp.accelerated(**on):
        with pytest.warns(RuntimeWarning, match=f"raised {kind.__name__}: lost .*n_fft=400") as seen:
            torch.testing.assert_close(signal.stft(), signal.spectrum)
        torch.testing.assert_close(signal.stft(), signal.spectrum)
    assert len(seen) == 1 and len(calls) == 1 and seen[0].filename.endswith("conftest.py")
    assert msp.stats()["stft"].fallback == {"error": 1, "quarantined": 1}


def test_on_error_raise_lets_the_error_through(signal, on, broken):
    broken("stft", raises(ValueError("lost")))
    with msp.accelerated(**on, on_error="raise"), pytest.raises(ValueError, match="lost"):
        signal.stft()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_are_never_swallowed(error, signal, on, broken):
    broken("stft", raises(error()))
    with msp.accelerated(**on), pytest.raises(error):
        signal.stft()
    assert not quarantine.plans


def test_where_torch_fails_as_well_the_plan_is_not_blamed(signal, on, broken):
    def original(*_, **__):
        raise RuntimeError("torch's own")

    broken("stft", raises(ValueError("ours")))
    torch.stft = original
    with msp.accelerated(**on), pytest.raises(RuntimeError, match="torch's own"):
        signal.stft()
    torch.stft = STFT
    assert not quarantine.plans


SHORTAGES = [
    torch.OutOfMemoryError("full"), MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB)"),
    RuntimeError("Invalid buffer size: 12.00 GiB"), RuntimeError("CUDA error: CUDA_ERROR_OUT_OF_MEMORY"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:116] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    SyntaxError("cc1plus: out of memory allocating 65536 bytes"),
    RuntimeError("Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"),
    RuntimeError("Failed to allocate private MTLBuffer for size 4096"), RuntimeError("std::bad_alloc"),
    RuntimeError("CUDA call failed: cudaErrorMemoryAllocation"), RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    SyntaxError("g++: fatal error: Killed signal terminated program cc1plus"),
    RuntimeError("Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)"),
    SyntaxError("Compiler encountered XPC_ERROR_CONNECTION_INTERRUPTED (is the OS shutting down?)"),
    RuntimeError("CUDA error: the launch timed out and was terminated"), InterruptedError(errno.EINTR, "by a signal"),
]  # fmt: skip


@pytest.mark.parametrize("error", SHORTAGES, ids=repr)
def test_what_passes_falls_back_and_the_next_call_is_fast(error, signal, on, broken):
    failures = [error]

    def short_once(result):
        if failures:
            raise failures.pop()
        return result

    broken("stft", short_once)
    with msp.accelerated(**on):
        with pytest.warns(RuntimeWarning, match="could not be taken now"):
            torch.testing.assert_close(signal.stft(), signal.spectrum)
        torch.testing.assert_close(signal.stft(), signal.spectrum, rtol=1e-4, atol=1e-4)
    assert msp.stats()["stft"].fallback == {"error": 1} and msp.stats()["stft"].fast == 1 and not quarantine.plans


@pytest.mark.parametrize("error", [RuntimeError("no memory in this sentence"), ValueError("out of memory")], ids=repr)
def test_other_errors_are_no_shortage(error, signal, on, broken):
    broken("stft", raises(error))
    with msp.accelerated(**on), pytest.warns(RuntimeWarning, match="not accelerated again"):
        torch.testing.assert_close(signal.stft(), signal.spectrum)
    assert quarantine.plans


@pytest.mark.parametrize("op", ["stft", "istft"])
@pytest.mark.parametrize("error", SHORTAGES[:4], ids=repr)
def test_without_memory_for_the_comparison_the_fast_result_is_given_and_compared_next_time(op, error, signal, on):
    """The original fails only because the fast result is held beside its own: without the patch it might fit."""
    calls, failures = [], [error]
    real = getattr(torch, op)

    def original(*args, **kwargs):
        calls.append(op)
        if failures:
            raise failures.pop()
        return real(*args, **kwargs)

    setattr(torch, op, original)
    try:
        with msp.accelerated(**on):
            for compared in (1, 2, 2):
                expected = {"stft": signal.spectrum, "istft": signal.x}[op]
                torch.testing.assert_close(getattr(signal, op)(), expected, rtol=1e-4, atol=1e-4)
                assert len(calls) == compared
    finally:
        setattr(torch, op, real)
    assert msp.stats()[op].fast == 3 and not msp.stats()[op].fallback and not quarantine.plans


def test_a_judgement_that_runs_out_of_memory_is_none(signal, on, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(verification.comparison, "difference", lambda *_, **__: raises(SHORTAGES[3])(None))
        with msp.accelerated(**on):
            torch.testing.assert_close(signal.stft(), signal.spectrum, rtol=1e-4, atol=1e-4)
            assert not verification.verified
    with msp.accelerated(**on):
        signal.stft()
    assert verification.verified and msp.stats()["stft"].fast == 2 and not quarantine.plans


@pytest.mark.thorough
def test_gradients_that_run_out_of_memory_are_compared_next_time(signal, on, monkeypatch):
    x = signal.x.clone().requires_grad_()
    with monkeypatch.context() as patch:
        patch.setattr(launches, "composite", lambda *_: raises(SHORTAGES[3])(None))
        with msp.accelerated(**on):
            torch.stft(x, 400, 160, 400, signal.window, return_complex=True)
            assert not verification.verified
    with msp.accelerated(**on):
        torch.stft(x, 400, 160, 400, signal.window, return_complex=True)
    assert len(verification.verified) == 1 and msp.stats()["stft"].fast == 2 and not quarantine.plans


def test_an_operator_may_hand_the_call_to_the_original_with_a_reason(signal, on, broken):
    broken("istft", raises(UseOriginal(Reason.NOLA)))
    with msp.accelerated(**on):
        torch.testing.assert_close(signal.istft(), signal.x, rtol=1e-4, atol=1e-4)
    assert msp.stats()["istft"].fallback == {"nola": 1} and not quarantine.plans


def test_strict_mode_raises_on_an_accelerated_device_and_names_the_reason(signal, on):
    with msp.accelerated(**on, on_fallback="raise"):
        signal.stft()
        if not signal.x.is_mps:  # which has no doubles
            with pytest.raises(FallbackError, match=r"torch\.stft was not accelerated \(dtype\)"):
                torch.stft(signal.x.double(), 400, window=signal.window.double(), return_complex=True)
        with pytest.raises(FallbackError, match=r"torch\.stft was not accelerated \(type\)"):
            torch.stft(signal.x.as_subclass(type("Sub", (torch.Tensor,), {})), 400, return_complex=True)
        torch.stft(signal.x.to("meta"), 400, window=signal.window.to("meta"), return_complex=True)


def test_a_result_is_right_if_it_is_another_rounding():
    x = torch.randn(3, 50, dtype=torch.complex64)
    assert not comparison.difference(x * (1 + 1e-6), x)
    assert not comparison.difference(x * 1e-20, x * 1e-20) and not comparison.difference(x * 0, x * 0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x * 1.001,
        lambda x: x.conj().resolve_conj(),
        lambda x: x.roll(1, -1),
        lambda x: torch.where(torch.arange(50) == 3, torch.nan, x),
        lambda x: x.to(torch.complex128),
        lambda x: x[:2],
        lambda x: x.mT.contiguous().mT,
        lambda x: x * 0,
    ],
    ids=["scaled", "conjugated", "shifted", "nan", "dtype", "shape", "strides", "zero"],
)
def test_a_result_is_wrong_if_anything_that_a_caller_sees_is(wrong):
    x = torch.randn(3, 50, dtype=torch.complex64)
    assert comparison.difference(wrong(x), x)


def test_silence_must_stay_silent():
    assert comparison.difference(torch.full((4,), 1e-3), torch.zeros(4))


def test_elements_that_are_not_finite_in_the_reference_are_not_compared():
    want = torch.tensor([1.0, torch.inf, torch.nan, 2.0])
    assert not comparison.difference(torch.tensor([1.0, 5.0, 6.0, 2.0]), want)
    assert comparison.difference(torch.tensor([1.0, torch.inf, torch.nan, torch.nan]), want)


def test_the_envelope_is_the_one_that_istft_divides_by():
    window = torch.hamming_window(24)
    ones = torch.istft(torch.stft(torch.ones(400), 32, 8, 24, window, return_complex=True), 32, 8, 24, window)
    weight = comparison.envelope(window, (32, 8, 24, 16, False, True, False, 400, False), 51)
    assert weight.shape == ones.shape and weight.max() == 1
    squares = torch.nn.functional.pad(window, (4, 4)).square()
    total = torch.zeros(32 + 8 * 50)
    for frame in range(51):
        total[8 * frame : 8 * frame + 32] += squares
    torch.testing.assert_close(weight, total[16:416] / total[16:416].max())


def test_samples_where_the_envelope_almost_vanishes_do_not_condemn_a_plan():
    """istft divides by an envelope as small as 1e-11 there: rounding grows to percents in any correct one."""
    window = torch.hann_window(400)
    spectrum = torch.stft(torch.randn(4000), 400, 160, window=window, return_complex=True)
    reach = 400 + 160 * (spectrum.shape[1] - 1) - 200
    want = torch.istft(spectrum, 400, 160, window=window, length=reach)
    exact = torch.istft(spectrum.to(torch.complex128), 400, 160, window=window.double(), length=reach).float()
    noisy = want + (want - exact) * 100  # a hundred times float32's error, most of it in the last samples
    weight = comparison.envelope(window, (400, 160, 400, 200, False, True, False, reach, False), spectrum.shape[1])
    assert comparison.difference(noisy, want) and not comparison.difference(noisy, want, weight)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need CUDA")
def test_nothing_is_compared_while_a_cuda_graph_is_captured():
    x, window = torch.randn(2, 4000, device="cuda"), torch.hann_window(400, device="cuda")
    with msp.accelerated(devices=("cuda",), verify="off"):
        torch.stft(x, 400, 160, window=window, return_complex=True)  # compiled before the capture
    graph = torch.cuda.CUDAGraph()
    with msp.accelerated(devices=("cuda",), verify="always"), torch.cuda.graph(graph):
        result = torch.stft(x, 400, 160, window=window, return_complex=True)
    x.normal_()
    graph.replay()
    torch.testing.assert_close(result, STFT(x, 400, 160, window=window, return_complex=True), rtol=1e-4, atol=1e-4)


def test_a_wrong_gradient_warns_once_and_the_original_is_used_from_then_on(signal, on, monkeypatch):
    launches.load_operators()
    real = transforms.ready_stft_adjoint
    monkeypatch.setattr(
        transforms, "ready_stft_adjoint", lambda *a, **k: lambda *tensors: real(*a, **k)(*tensors) * 1.01
    )
    x = signal.x.clone().requires_grad_()
    calls = []
    x.register_hook(lambda gradient: calls.append(gradient))
    with msp.accelerated(**on):
        signal.stft()  # without gradients the plan is as good as ever
        assert msp.stats()["stft"].fast == 1
        with pytest.warns(RuntimeWarning, match=r"fast torch\.stft differs .*gradient of the input.*n_fft=400"):
            result = torch.stft(x, 400, 160, 400, signal.window, return_complex=True)
        assert not calls and not verification.verified or quarantine.plans
        result.abs().square().sum().backward()
    reference = signal.x.clone().requires_grad_()
    STFT(reference, 400, 160, 400, signal.window, return_complex=True).abs().square().sum().backward()
    torch.testing.assert_close(x.grad, reference.grad)
    assert len(calls) == 1


def test_right_gradients_are_compared_once_and_move_nothing_of_the_programs(signal, on, monkeypatch):
    state = torch.get_rng_state()
    compared = []
    real = comparison.gradient_difference
    monkeypatch.setattr(comparison, "gradient_difference", lambda *a: compared.append(real(*a)) or compared[-1])
    x, window = signal.x.clone().requires_grad_(), signal.window.clone().requires_grad_()
    with msp.accelerated(**on, on_error="raise", on_fallback="raise"):
        for _ in range(2):
            spectrum = torch.stft(x, 400, 100, 400, window, return_complex=True)
            torch.istft(spectrum, 400, 100, 400, window)
    assert compared == ["", ""] and x.grad is None and window.grad is None
    assert torch.equal(state, torch.get_rng_state())
