"""Windows and filterbanks whose values are part of a launch, changed and exchanged in every way that torch has: what is
known of them is never used for others, and keeps no program from changing, swapping, copying or saving them."""

from __future__ import annotations

import copy
import pickle
import random

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.front_ends import FrontEnd, compute
from mps_spectro_patch.kernels.tables.envelope import read_backs
from tests.precision import wide as doubled

N_FFT, HOP = 64, 16

pytestmark = pytest.mark.usefixtures("unsampled")


def random_window(device):
    return torch.rand(N_FFT, device=device) + 0.5


class Inverted:
    """istft, whose window decides."""

    shape = (N_FFT,)

    def __init__(self, device) -> None:
        self.spectrum = torch.randn(2, N_FFT // 2 + 1, 12, dtype=torch.complex64, device=device)

    def __call__(self, window):
        got = torch.istft(self.spectrum, N_FFT, HOP, window=window)
        with msp.accelerated(devices=()):
            return got, torch.istft(doubled(self.spectrum), N_FFT, HOP, window=doubled(window))


class Banded:
    """A front end, whose filterbank decides."""

    shape = (2, N_FFT // 2 + 1)

    def __init__(self, device) -> None:
        self.x, self.window = torch.randn(2, 300, device=device), torch.hann_window(N_FFT, device=device)

    def __call__(self, basis):
        call = FrontEnd(N_FFT, HOP, N_FFT)
        got = compute.compute(self.x, self.window, basis, call)
        return got, compute.compute(*map(doubled, (self.x, self.window, basis)), call, use_kernels=False)


@pytest.fixture(params=[Inverted, Banded])
def subject(request, torch_device):
    return request.param(torch_device)


def agrees(subject, tensor):
    got, right = subject(tensor)
    torch.testing.assert_close(got.detach(), right.detach().to(got), rtol=1e-4, atol=1e-4)


def test_a_tensor_that_was_used_can_be_swapped(subject, fused, torch_device):
    """torch refuses that for tensors that somebody refers to weakly."""
    one, other = (torch.rand(subject.shape, device=torch_device) + 0.5 for _ in range(2))
    for _ in range(3):
        agrees(subject, one), agrees(subject, other)
        torch.utils.swap_tensors(one, other)
    before = read_backs()
    agrees(subject, one)
    assert read_backs() == before  # what is known of the values has moved with them


@pytest.fixture
def swapping():
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.parametrize("change", [
    lambda module: module.load_state_dict({name: 2 * value for name, value in module.state_dict().items()}),
    lambda module: module._apply(lambda tensor: 2 * tensor),
], ids=["load_state_dict", "to"])  # fmt: skip
def test_modules_can_be_loaded_and_moved_in_swap_mode(subject, change, fused, swapping, torch_device):
    module = torch.nn.Module()
    module.own = torch.nn.Parameter(torch.rand(subject.shape, device=torch_device) + 0.5, requires_grad=False)
    for _ in range(3):
        agrees(subject, module.own)
        change(module)


def test_a_front_end_of_ours_can_be_loaded_and_moved_in_swap_mode(fused, swapping, torch_device):
    module = msp.LogMelSpectrogramTransform(sample_rate=16000, n_fft=64, hop_length=16, n_mels=8).to(torch_device)
    x = torch.randn(2, 400, device=torch_device)
    expected = [module(x) for _ in range(2)][1]
    module.load_state_dict(copy.deepcopy(module.state_dict()))
    module._apply(torch.clone)
    for tensor in (*module.buffers(), *module.parameters()):
        torch.utils.swap_tensors(tensor, tensor.clone())
    assert torch.equal(module(x), expected)


def test_what_is_saved_of_a_tensor_does_not_show_that_it_was_used(subject, fused, torch_device):
    tensor = torch.rand(subject.shape, device=torch_device)
    before = pickle.dumps(tensor)
    agrees(subject, tensor)
    assert pickle.dumps(tensor) == before and not vars(copy.deepcopy(tensor)) and not vars(tensor)


CHANGES = {
    "in place": lambda t: t.mul_(torch.rand(()) + 0.5),
    "one value": lambda t: t[..., 3:4].fill_(random.random() + 0.5) is None or t,
    "new data": lambda t: setattr(t, "data", torch.rand_like(t) + 0.5),
    "data of the past": lambda t: setattr(t, "data", PAST.pop()) if PAST else None,
    "every second of more": lambda t: setattr(t, "data", wide(t)),
    "set_": lambda t: t.set_(torch.rand_like(t) + 0.5),
    "swapped": lambda t: torch.utils.swap_tensors(t, torch.rand_like(t) + 0.5),
    "an alias, changed in the meantime": lambda t: t.data.mul_(1.5).data,
    "an alias of another version": lambda t: t.detach(),
    "a new tensor": lambda t: torch.rand_like(t) + 0.5,
    "a copy": copy.deepcopy,
    "attributes": lambda t: setattr(t, "name_of_somebody", [t.shape]),
    "attributes of another": lambda t: setattr(t, "__dict__", {}),
    "a parameter": lambda t: torch.nn.Parameter(t.detach(), requires_grad=False),
    "nothing": lambda t: None,
}
PAST: list[torch.Tensor] = []


@pytest.mark.thorough
def test_a_collective_changes_a_window_in_secret_and_the_program_can_tell(run_python, torch_device):
    """As README.md says. A process group of one process is enough for scatter() to write."""
    if torch_device.type == "mps":
        pytest.skip("torch has no collectives for tensors on MPS")
    output = run_python("""
    import mps_spectro_patch as msp
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    spectrum = torch.stft(x, 400, 160, window=window, return_complex=True)
    other = torch.hamming_window(400, device=device) + 1
    right = torch.istft(spectrum, 400, 160, window=other)
    with msp.accelerated(devices=devices):
        for _ in range(2):
            torch.istft(spectrum, 400, 160, window=window)
        before = window._version
        dist.scatter(window, [other.clone()])
        print(torch.equal(window, other), window._version == before)
        print(torch.allclose(torch.istft(spectrum, 400, 160, window=window), right, atol=1e-3))
        torch.autograd.graph.increment_version(window)
        print(torch.allclose(torch.istft(spectrum, 400, 160, window=window), right, atol=1e-3))
    dist.destroy_process_group()
    """)
    assert output == "True True\nFalse\nTrue\n", "if collectives are recorded now, README.md should no longer say so"


def wide(tensor):
    """As large, and at the same place as the memory before it, perhaps."""
    both = torch.rand(2, *tensor.shape, device=tensor.device) + 0.5
    PAST.append(both[0])
    return both.view(*tensor.shape[:-1], -1)[..., ::2]


def test_whatever_was_changed_is_noticed(subject, fused, torch_device):
    """Every second change is followed by no call: memory and addresses are used again before anybody looks."""
    PAST.clear()
    tensor, names = torch.rand(subject.shape, device=torch_device) + 0.5, []
    for turn in range(100):
        names.append(random.choice(list(CHANGES)))
        new = CHANGES[names[-1]](tensor)
        tensor = tensor if new is None else new
        if turn % 2:
            try:
                agrees(subject, tensor)
                agrees(subject, tensor)
            except AssertionError as error:
                raise AssertionError(f"after {names[-6:]}") from error
