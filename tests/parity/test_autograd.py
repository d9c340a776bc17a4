"""What programs do with the graph of a call: keep it, free it, change its tensors, hook into it, run it elsewhere.

Everything is done twice, patched and unpatched, and must end the same: in the same error, or the same numbers.
"""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import mps_spectro_patch as msp

from .compare import outcome, unpatched
from .modes import MODES, Mode, leaves

pytestmark = [
    pytest.mark.usefixtures("enabled"),
    pytest.mark.filterwarnings("ignore:stft with return_complex=False"),
    pytest.mark.filterwarnings("ignore:The length of signal is shorter"),
]
PAIR = ["stft, reflect", "stft, one dimension", "stft, not centred", "stft, real output", "istft, plain",
        "istft, no batch dimension", "istft, length longer", "istft, complex output"]  # fmt: skip
pair = pytest.mark.parametrize("mode", PAIR)


def both(program, mode: Mode, device: torch.device, which=(True, True), **options):
    """(result, error) of program(call, input, window), which must be the same patched and unpatched."""
    tensors = mode.inputs(device)
    ours = outcome(program, mode, *leaves(tensors, which), **options)
    with unpatched():
        theirs = outcome(program, mode, *leaves(tensors, which), **options)
    assert ours.warnings == theirs.warnings
    assert ours.error == theirs.error
    same(ours.result, theirs.result)
    return ours.result, ours.error


def same(ours, theirs) -> None:
    if isinstance(theirs, torch.Tensor):
        assert (ours.shape, ours.dtype, ours.requires_grad) == (theirs.shape, theirs.dtype, theirs.requires_grad)
        scale = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * scale)
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            same(mine, other)
    else:
        assert ours == theirs


def loss_of(result: torch.Tensor) -> torch.Tensor:
    real = torch.view_as_real(result) if result.is_complex() else result
    return (real * torch.linspace(-1, 1, real.numel(), device=real.device).view(real.shape)).sum()


@pair
@pytest.mark.parametrize("which", [(True, False), (False, True), (True, True)])
def test_the_graph_can_be_kept_and_is_gone_when_not(mode, which, torch_device):
    def twice(call, input, window, retain):
        loss = loss_of(call(input, window))
        loss.backward(retain_graph=retain)
        loss.backward()
        return [tensor.grad for tensor in (input, window) if tensor.requires_grad]

    _, error = both(twice, MODES[mode], torch_device, which, retain=True)
    assert error is None
    _, error = both(twice, MODES[mode], torch_device, which, retain=False)
    assert error is not None and "backward through the graph a second time" in error[1]


@pytest.mark.filterwarnings("ignore:A window was not provided")
@pytest.mark.parametrize("op", ["stft", "istft"])
def test_the_graph_is_gone_without_a_window_too(op, torch_device):
    def twice(call, input, window):
        options = {name: value for name, value in call.options.items() if name != "win_length"}
        loss = loss_of(getattr(torch, op)(input, **options))
        loss.backward()
        loss.backward()

    _, error = both(twice, MODES["stft, reflect" if op == "stft" else "istft, plain"], torch_device, (True, False))
    assert error is not None


@pair
@pytest.mark.parametrize("changed", ["input", "window", "result"])
@pytest.mark.parametrize("which", [(True, False), (False, True), (True, True)])
def test_tensors_changed_in_place_before_the_backward(mode, changed, which, torch_device):
    """Never a wrong gradient. Where torch raises because it had kept the tensor, we may do without it."""

    def change(call, input, window, change=True):
        moved_input, moved_window = input * 1, window * 1  # leaves cannot be changed
        result = call(moved_input, moved_window)
        if changed == "result":
            result.mul_(2)  # known to autograd, so part of the function
        elif change:
            with torch.no_grad():
                {"input": moved_input, "window": moved_window}[changed].mul_(3)
        loss_of(result).backward()
        return [tensor.grad for tensor in (input, window) if tensor.requires_grad]

    mode = MODES[mode]
    tensors = mode.inputs(torch_device)
    ours = outcome(change, mode, *leaves(tensors, which))
    with unpatched():
        theirs = outcome(change, mode, *leaves(tensors, which))
        right = outcome(change, mode, *leaves(tensors, which), change=False)
    if theirs.error is None:
        assert ours.error is None
        same(ours.result, theirs.result)
    elif ours.error is None:
        same(ours.result, right.result)
    else:
        assert ours.error[0] is theirs.error[0]
        assert "modified by an inplace operation" in ours.error[1]


@pair
def test_a_window_changed_in_place_raises_torchs_error(mode, torch_device):
    def change(call, input, window):
        moved = window * 1
        result = call(input, moved)
        with torch.no_grad():
            moved.add_(1)
        loss_of(result).backward()

    mode = MODES[mode]
    tensors = mode.inputs(torch_device)
    ours = outcome(change, mode, *leaves(tensors, (True, False)))
    with unpatched():
        theirs = outcome(change, mode, *leaves(tensors, (True, False)))
    assert theirs.error is not None and ours.error is not None and ours.error[0] is theirs.error[0]
    assert "modified by an inplace operation" in ours.error[1]


@pair
@pytest.mark.parametrize("grad", [True, False])
def test_results_can_be_changed_in_place(mode, grad, torch_device):
    def change(call, input, window):
        result = call(input, window)
        result *= 2
        result[..., 0] = 0
        result.add_(1).neg_()
        if grad:
            loss_of(result).backward()
            return result, input.grad, window.grad
        return (result,)

    _, error = both(change, MODES[mode], torch_device, (grad, grad))
    assert error is None


@pair
@pytest.mark.parametrize("grad", [True, False])
def test_results_can_be_detached_in_place_and_required_to_have_a_gradient(mode, grad, torch_device):
    def detach(call, input, window):
        return call(input, window).detach_()

    def require(call, input, window):
        result = call(input, window).requires_grad_()
        loss_of(result).backward()
        return (result.grad if result.is_leaf else input.grad,)

    both(detach, MODES[mode], torch_device, (grad, grad))
    both(require, MODES[mode], torch_device, (grad, grad))


@pair
def test_hooks_see_and_change_gradients(mode, torch_device):
    def hooked(call, input, window):
        seen = []
        input.register_hook(lambda gradient: gradient * 2)
        window.register_hook(lambda gradient: seen.append(gradient.clone()))
        result = call(input * 1, window)
        result.retain_grad()
        result.register_hook(lambda gradient: gradient * 3)
        result.grad_fn.register_hook(lambda inward, outward: seen.append(torch.tensor(len(outward))))
        result.grad_fn.register_prehook(lambda outward: seen.append(outward[0].clone()))
        input.register_post_accumulate_grad_hook(lambda tensor: seen.append(tensor.grad.clone()))
        loss_of(result).backward()
        return [input.grad, window.grad, result.grad, len(seen)]

    _, error = both(hooked, MODES[mode], torch_device)
    assert error is None


@pair
def test_module_hooks(mode, torch_device):
    def hooked(call, input, window):
        class Module(torch.nn.Module):
            def forward(self, signal):
                return call(signal, window)

        seen = []
        module = Module()
        module.register_full_backward_hook(lambda module, inward, outward: seen.append((inward[0], outward[0])))
        result = module(input)
        loss_of(result).backward()
        return [input.grad, *seen[0]]

    _, error = both(hooked, MODES[mode], torch_device)
    assert error is None


@pair
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(mode, reentrant, torch_device):
    def checkpointed(call, input, window):
        result = checkpoint(call, input, window, use_reentrant=reentrant)
        loss_of(result).backward()
        return input.grad, window.grad

    _, error = both(checkpointed, MODES[mode], torch_device)
    assert error is None


@pair
def test_saved_tensors_can_be_packed_away(mode, torch_device):
    def packed(call, input, window):
        with torch.autograd.graph.save_on_cpu():
            result = call(input * 1, window * 1)
        loss_of(result).backward()
        return input.grad, window.grad

    _, error = both(packed, MODES[mode], torch_device)
    assert error is None


@pair
def test_saved_tensors_may_come_back_as_others(mode, torch_device):
    def packed(call, input, window):
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach() * 1, lambda tensor: tensor * 2):
            result = call(input * 1, window * 1)
        loss_of(result).backward()  # gradients of other numbers, with no error

    both(packed, MODES[mode], torch_device)


@pair
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_anomaly_mode_and_a_chosen_input(mode, torch_device):
    def anomalous(call, input, window):
        with torch.autograd.set_detect_anomaly(True):
            loss_of(call(input, window)).backward(inputs=[window])
        return input.grad is None, window.grad

    _, error = both(anomalous, MODES[mode], torch_device)
    assert error is None


@pair
def test_backward_in_another_thread_and_after_disable(mode, device_name, torch_device):
    def elsewhere(call, input, window):
        loss = loss_of(call(input, window))
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
        return input.grad, window.grad

    _, error = both(elsewhere, MODES[mode], torch_device)
    assert error is None

    tensors = MODES[mode].inputs(torch_device)
    input, window = leaves(tensors, (True, True))
    result = MODES[mode](input, window)
    (first,) = torch.autograd.grad(loss_of(result), input, create_graph=True)
    msp.disable()
    torch.autograd.backward([loss_of(result), first.abs().square().sum()])
    other, other_window = leaves(tensors, (True, True))
    result = MODES[mode](other, other_window)
    (first,) = torch.autograd.grad(loss_of(result), other, create_graph=True)
    torch.autograd.backward([loss_of(result), first.abs().square().sum()])
    same((input.grad, window.grad), (other.grad, other_window.grad))


def test_a_graph_made_inside_a_scope_is_run_outside_of_it(device_name, torch_device):
    mode = MODES["stft, reflect"]
    msp.disable()
    input, window = leaves(mode.inputs(torch_device), (True, True))
    with msp.accelerated(devices=(device_name,), on_error="raise", verify="off"):
        loss = loss_of(mode(input, window))
    loss.backward()
    ours = input.grad, window.grad
    input, window = leaves(mode.inputs(torch_device), (True, True))
    loss_of(mode(input, window)).backward()
    same(ours, (input.grad, window.grad))


@pair
def test_gradients_add_up_over_several_uses(mode, torch_device):
    def used(call, input, window):
        first, second = call(input, window), call(input * 2, window)
        (loss_of(first) + loss_of(second)).backward()
        loss_of(call(input, window)).backward()
        return input.grad, window.grad

    _, error = both(used, MODES[mode], torch_device)
    assert error is None


@pair
def test_parts_of_the_result_that_nobody_uses(mode, torch_device):
    def part(call, input, window):
        result = call(input, window)
        loss_of(result[..., :1]).backward()
        unused = torch.autograd.grad(loss_of(input * 1), [input, window], allow_unused=True)
        return input.grad, window.grad, unused[1] is None

    _, error = both(part, MODES[mode], torch_device)
    assert error is None


@pair
def test_a_call_keeps_nothing_alive_once_its_result_is_gone(mode, torch_device):
    input, window = leaves(MODES[mode].inputs(torch_device), (True, True))
    result = MODES[mode](input * 1, window)
    reference = weakref.ref(input), weakref.ref(window), weakref.ref(result)
    del input, window, result
    gc.collect()
    assert [alive() for alive in reference] == [None, None, None]


@pytest.mark.parametrize("op", ["stft", "istft"])
def test_a_learned_window_learns_the_same(op, torch_device):
    mode = MODES["stft, reflect" if op == "stft" else "istft, plain"]

    def train(call, input, window):
        optimizer = torch.optim.Adam([window], lr=0.02)
        losses = []
        for _ in range(5):  # the optimizer changes the window in place: nothing known of it may be kept
            optimizer.zero_grad()
            loss = call(input, window).abs().square().sum()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses), window

    _, error = both(train, mode, torch_device, (False, True))
    assert error is None


@pair
def test_no_grad_and_detached_tensors_need_no_graph(mode, torch_device):
    def without(call, input, window):
        with torch.no_grad():
            first = call(input, window)
        second = call(input.detach(), window.detach())
        with torch.no_grad(), torch.enable_grad():
            third = call(input, window)
        return first, second, third

    _, error = both(without, MODES[mode], torch_device)
    assert error is None


@pair
def test_functional_derivatives(mode, torch_device):
    def derivatives(call, input, window):
        arguments = (input.detach(), window.detach())
        with torch.no_grad():
            direction = tuple(torch.ones_like(one) for one in arguments)
        real = lambda *given: loss_of(call(*given)).square()  # noqa: E731
        _, products = torch.autograd.functional.vjp(real, arguments)
        _, second = torch.autograd.functional.vhp(real, arguments, direction)
        return *products, *second

    if MODES[mode].op == "istft":
        pytest.skip("torch.autograd.functional.vhp wants real inputs")
    _, error = both(derivatives, MODES[mode], torch_device)
    assert error is None
