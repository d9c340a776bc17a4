"""reach="dispatcher": kernels on torch's operators. Who arrives, that gradients are right, and that it is undone."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import launches
from mps_spectro_patch.ops import composite
from mps_spectro_patch.patching import install, torch_operators

from .conftest import compiles_with

STFT, ISTFT = torch.stft, torch.istft
OPERATORS = ("aten::stft.center", "aten::istft")


@pytest.fixture
def reach(on):
    """Enables with this reach; anything that is not fast is an error."""
    msp.enable(**on, reach="dispatcher", on_error="raise")
    yield
    msp.disable()
    assert not torch_operators.registered()


def fast() -> tuple[int, int]:
    return msp.stats()["stft"].fast, msp.stats()["istft"].fast


def close(got, want, tolerance=1e-4):
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


def registrations(op: str) -> str:
    return torch._C._dispatch_dump(op)


def scripted(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(function)


def test_nothing_stands_at_torch_stft_and_every_way_in_arrives(signal, reach):
    assert torch.stft is STFT and torch.istft is ISTFT
    close(signal.stft(), signal.spectrum)
    close(STFT(signal.x, 400, 160, 400, signal.window, return_complex=True), signal.spectrum)
    close(signal.x.stft(400, 160, 400, signal.window, return_complex=True), signal.spectrum)
    padded = torch.nn.functional.pad(signal.x[None], (200, 200), "reflect")[0]
    arguments = (400, 160, 400, signal.window, False, "constant", False, True, True)
    close(torch.ops.aten.stft.center(padded, *arguments), signal.spectrum)
    assert fast() == (4, 0)
    close(signal.istft(), signal.x)
    close(signal.spectrum.istft(400, 160, 400, signal.window, length=4000), signal.x)
    close(torch._VF.istft(signal.spectrum, 400, 160, 400, signal.window, length=4000), signal.x)
    assert fast() == (4, 3)


def test_an_operator_that_somebody_else_has_registered_changes_nothing(on, monkeypatch):
    real = torch.library.Library.impl

    def impl(library, name, *arguments, **options):  # as torch 2.7 to 2.10 do it
        if name == "stft.center":
            raise RuntimeError("there's already a kernel registered from python")
        return real(library, name, *arguments, **options)

    monkeypatch.setattr(torch.library.Library, "impl", impl)
    for enable in (msp.enable, msp.accelerated(**on, reach="dispatcher").__enter__):
        with pytest.raises(RuntimeError, match="reach='dispatcher' is not possible .*already a kernel"):
            enable(**on, reach="dispatcher") if enable is msp.enable else enable()
        assert not msp.is_enabled() and not torch_operators.registered() and not install.is_held("stft")
    msp.enable(**on)
    with pytest.raises(RuntimeError):
        msp.enable(**on, reach="dispatcher")
    assert msp.status().options.reach == "attribute" and msp.status().patched["stft"] == "patched"
    msp.disable()
    assert torch.stft is STFT and not install._holders


def test_torchscript_arrives_whether_it_was_compiled_before_or_after(signal, on):
    def both(x: torch.Tensor, w: torch.Tensor):
        spectrum = torch.stft(x, 400, 160, 400, w, return_complex=True)
        return torch.istft(spectrum, 400, 160, 400, w, length=x.shape[-1])

    before = scripted(both)
    msp.enable(**on, reach="dispatcher")
    after = scripted(both)
    for function in (before, after):
        close(function(signal.x, signal.window), signal.x)
    assert fast() == (2, 2)
    msp.disable()
    close(before(signal.x, signal.window), signal.x)
    assert fast() == (2, 2)


@pytest.mark.parametrize("needs", ["signal", "window", "both"])
def test_gradients_are_torchs(needs, signal, on):
    def gradients():
        leaves = [signal.x.clone(), signal.window.clone() + 0.1]
        names = ("signal", "window")
        wanted = [leaves[i].requires_grad_() for i in range(2) if needs in (names[i], "both")]
        spectrum = torch.stft(leaves[0], 400, 100, 400, leaves[1], return_complex=True)
        again = torch.istft(spectrum.abs() * spectrum, 400, 100, 400, leaves[1], length=4000)
        return torch.autograd.grad(again.square().sum(), wanted)

    want = gradients()
    msp.enable(**on, reach="dispatcher", on_error="raise", on_fallback="raise", verify="always")
    got = gradients()
    msp.disable()
    assert fast() == (1, 1) and len(got) == len(want)
    for mine, right in zip(got, want, strict=True):
        assert float((mine - right).norm() / right.norm()) < 1e-5


def test_second_derivatives_of_the_window_do_not_run_in_circles(signal, reach):
    window = signal.window.clone().add_(0.1).requires_grad_()
    again = torch.istft(signal.spectrum, 400, 100, 400, window)
    first = torch.autograd.grad(again.square().sum(), window, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), window)[0]
    assert torch.isfinite(second).all()


def test_inference_mode_and_no_grad_are_fast(signal, reach):
    with torch.inference_mode():
        x = signal.x.clone()
        close(torch.stft(x, 400, 160, 400, signal.window, return_complex=True), signal.spectrum)
    with torch.no_grad():
        close(signal.stft(), signal.spectrum)
    assert fast() == (2, 0)


def test_forward_mode_and_transforms_give_torchs_results(signal, reach):
    def f(x):
        return torch.stft(x, 400, 160, 400, signal.window, return_complex=True).abs().sum()

    got = torch.func.jvp(f, (signal.x,), (signal.x,))[1], torch.func.grad(f)(signal.x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batched = torch.func.vmap(f)(signal.x)
    msp.disable()
    want = torch.func.jvp(f, (signal.x,), (signal.x,))[1], torch.func.grad(f)(signal.x)
    close(got[0], want[0]), close(got[1], want[1], 1e-3)
    assert float(got[0]) != 0  # with a kernel on the device's own key only, the tangent would silently be lost
    close(batched.sum(), f(signal.x))


def test_torchs_own_warnings_are_still_given(run_python):
    output = run_python(
        """
        import mps_spectro_patch as msp
        msp.enable(devices=devices, reach="dispatcher", on_fallback="raise")
        torch.stft(x, 400, 160, return_complex=True)
        assert msp.stats()["stft"].fast == 1
        """
    )
    assert output.count("A window was not provided") == 1


@pytest.mark.thorough
def test_compiled_code_is_right_and_its_cache_on_disk_is_not_poisoned(run_compiled):
    compiles_with("inductor")
    for enabled in (True, False):  # the second finds what the first left
        run_compiled(
            f"""
            if {enabled}:
                msp.enable(devices=devices, reach="dispatcher")
            check(magnitude, False, "inductor")  # traced code is left to torch
            """
        )


def test_what_runs_beside_a_graph_break_is_not_compiled_itself(run_compiled):
    run_compiled(
        """
        msp.enable(devices=devices, reach="dispatcher")
        spectrum = torch.stft(x, 400, 160, window=window, return_complex=True)
        with warnings.catch_warnings(record=True) as told:
            signal = torch.compile(lambda s: torch.istft(s, 400, 160, window=window), backend="eager")(spectrum)
        torch.testing.assert_close(signal, x[:, : signal.shape[1]], rtol=1e-4, atol=1e-4)
        assert not told and msp.stats()["istft"].fast == 1, (told, msp.stats())
        """
    )


def test_errors_and_fallbacks_are_torchs(signal, reach):
    with pytest.raises(RuntimeError, match="return_complex"):
        torch.stft(signal.x, 400, window=signal.window)
    signal.refused()
    assert {str(reason) for reason in msp.stats()["stft"].fallback} == {"real_output", "n_fft"}


def test_a_wrong_result_is_noticed_by_comparison_with_the_operator_itself(signal, reach, monkeypatch):
    right = launches.ops.eager_stft
    monkeypatch.setattr(launches.ops, "eager_stft", lambda *args: right(*args) * 1.01)
    with pytest.warns(RuntimeWarning, match="differs"):
        close(signal.stft(), signal.spectrum)
    close(signal.stft(), signal.spectrum)
    assert {str(reason) for reason in msp.stats()["stft"].fallback} == {"verification", "quarantined"}


def test_both_keys_are_registered_for_the_chosen_devices_only_and_removed(on, torch_device):
    before = {op: registrations(op) for op in OPERATORS}
    msp.enable(devices=("mps", *on["devices"]), reach="dispatcher")
    keys = {"cpu": "CPU", "cuda": "CUDA", "mps": "MPS"}
    chosen = {"MPS", keys[torch_device.type]}
    for op in OPERATORS:
        for key in keys.values():
            for prefix in ("", "Autograd"):
                kernel = torch._C._dispatch_has_kernel_for_dispatch_key(op, prefix + key)
                assert kernel == (key in chosen), (op, prefix + key)
    msp.disable()
    assert {op: registrations(op) for op in OPERATORS} == before


def test_only_the_chosen_op_is_registered(signal, on):
    msp.enable(**on, ops="istft", reach="dispatcher")
    signal.stft(), signal.istft()
    assert len(msp.status().registered) == 1 and fast() == (0, 1) and msp.stats()["stft"].calls == 0
    msp.disable()


def test_nobody_is_missed_and_status_says_what_is_registered(signal, reach):
    status = msp.status()
    assert not status.early_references and status.patched == {"stft": "not patched", "istft": "not patched"}
    assert len(status.registered) == 2 and "registered: aten::stft.center on" in str(status)
    assert "dispatcher" in msp.explain(torch.stft, signal.x, 400, window=signal.window, return_complex=True).note


def test_a_scope_acts_for_the_code_inside_only_and_mixes_with_the_other_reach(signal, on):
    answers = []
    with msp.accelerated(**on, reach="dispatcher"):
        signal.stft()
        thread = threading.Thread(target=lambda: answers.append(signal.stft()))
        thread.start()
        thread.join()
        assert fast() == (1, 0)
        with msp.accelerated(**on):  # this one patches the attribute, and the operator stays out of its way
            signal.stft()
        assert fast() == (2, 0) and msp.stats()["stft"].calls == 2
        with msp.accelerated(devices=()):
            signal.stft()
        signal.stft()
    assert fast() == (3, 0) and not torch_operators.registered()
    close(answers[0], signal.spectrum)


def test_changing_the_reach_leaves_nothing_of_the_one_before(signal, on):
    msp.enable(**on, reach="dispatcher")
    msp.enable(**on)
    assert torch.stft is not STFT and not torch_operators.registered() and signal.is_fast()
    msp.enable(**on, reach="dispatcher")
    assert torch.stft is STFT and torch_operators.registered() and signal.is_fast()
    msp.disable()


def test_what_composite_functions_call_is_torchs(signal, reach):
    composite.istft(signal.spectrum, signal.window, 400, 160, 400, 200, False, True, False, 4000, False)
    assert msp.stats()["istft"].calls == 0


def is_older_than(*version: int) -> bool:
    return tuple(map(int, torch.__version__.split(".")[:2])) < version


def test_somebody_elses_registration_is_back_after_ours(signal, on, torch_device):
    key = {"cpu": "AutogradCPU", "cuda": "AutogradCUDA", "mps": "AutogradMPS"}[torch_device.type]
    calls = []

    def theirs(*args, **kwargs):
        calls.append(1)
        return torch_operators.original("istft")(*args, **kwargs)

    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.impl("istft", theirs, key)
        try:
            try:
                msp.enable(**on, reach="dispatcher")
            except RuntimeError as error:  # older versions allow one registration only: nothing is changed then
                assert is_older_than(2, 13) and "already a kernel registered" in str(error)
                assert not msp.is_enabled() and not torch_operators.registered()
            else:
                signal.istft()
                assert not calls and fast() == (0, 1)
                msp.disable()
            before = fast()
            signal.istft()
            assert calls and fast() == before
        finally:
            library._destroy()


def test_threads_that_call_while_it_comes_and_goes_get_right_results(signal, on, threads):
    stop, errors = threading.Event(), []

    def caller():
        try:
            while not stop.is_set():
                close(signal.stft(), signal.spectrum)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        msp.enable(**on, reach="dispatcher")
        stop.wait(0.01)
        msp.disable()
    stop.set()
    for thread in threads:
        thread.join()
    if is_older_than(2, 9):  # the last ones stayed, as threads may have been inside them
        msp.enable(**on, reach="dispatcher")
        msp.disable()
    assert not errors and not torch_operators.registered()


def test_without_a_way_to_keep_kernels_alive_they_are_only_removed_where_no_thread_can_be_inside(
    signal, on, monkeypatch
):
    monkeypatch.setattr(torch_operators, "_get_kernel", None)  # as before torch 2.9
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    msp.enable(**on, reach="dispatcher")
    msp.disable()
    left = msp.status().registered
    signal.stft()
    stop.set()
    thread.join()
    assert len(left) == 2 and all("inert" in what for what in left) and msp.stats()["stft"].calls == 0
    msp.enable(**on, reach="dispatcher")
    assert signal.is_fast()
    msp.disable()
    alone = threading.active_count() == 1
    assert alone is not bool(msp.status().registered)
    monkeypatch.undo()
    msp.disable()
    assert not msp.status().registered
