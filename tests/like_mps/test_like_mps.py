"""The double of the device is what it says: torch's own tensors on mps:0, which refuse what MPS refuses."""

from __future__ import annotations

import pytest
import torch

import mps_spectro_patch as msp

from .. import like_mps

pytestmark = pytest.mark.device
here = pytest.mark.skipif(not like_mps.wanted(), reason=f"MPS_SPECTRO_TEST_DEVICE={like_mps.NAME} alone has it")
NO_DOUBLES = (
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. Please use float32"
)


@pytest.fixture
def x():
    return torch.arange(1.0, 7.0, device="mps").reshape(2, 3)


@here
def test_tensors_are_torchs_own(x):
    assert type(x) is torch.Tensor and x.is_mps and str(x.device) == "mps:0" and torch.backends.mps.is_available()
    row = x[1]
    row += 10
    assert x.tolist() == [[1, 2, 3], [14, 15, 16]] and x._version == 1 and row._is_view()
    for result in (x + 1, x @ x.T, torch.fft.rfft(x), x.clone(), torch.cat([x, x]), x.float(), x.cpu().to("mps")):
        assert result.is_mps and result.untyped_storage().device.type == "mps"
    assert torch.equal(x.cpu(), torch.tensor(x.tolist())) and not x.cpu().is_mps


@here
def test_gradients_transforms_and_bits_of_views(x):
    leaf = x.clone().requires_grad_()
    (leaf.square().sum() * 2).backward()
    assert leaf.grad.is_mps and torch.equal(leaf.grad, 4 * x)
    assert torch.equal(torch.func.vmap(torch.sum)(x), x.sum(1))
    assert torch.func.jvp(torch.square, (x,), (x,))[1].equal(2 * x * x)
    spectrum = torch.fft.rfft(x)
    turned = spectrum.conj()[:, 1:]
    assert turned.is_conj() and torch.equal(turned.resolve_conj().cpu(), spectrum.cpu().conj()[:, 1:].resolve_conj())
    with torch.inference_mode():
        assert torch.empty(2, device="mps").is_inference() and not x[0].is_inference()


@here
@pytest.mark.parametrize("make", [
    lambda x: x.double(), lambda x: x.to(torch.float64), lambda x: x.sum(dtype=torch.float64),
    lambda x: torch.zeros(2, dtype=torch.float64, device="mps"), lambda x: x.cpu().double().to("mps"),
    lambda x: torch.tensor([1.0], dtype=torch.float64, device="mps"),
    lambda x: torch.nn.Linear(2, 2).to("mps").double(),
])  # fmt: skip
def test_doubles_are_refused_in_its_words(make, x):
    with pytest.raises(TypeError, match=NO_DOUBLES):
        make(x)
    with pytest.raises(TypeError, match="Trying to convert ComplexDouble to the MPS backend"):
        torch.zeros(2, dtype=torch.complex128, device="mps")
    assert x.cpu().double().dtype is torch.float64  # references are the CPU's


@here
@pytest.mark.parametrize("error, message, act", [
    (TypeError, "can't convert mps:0 device type tensor to numpy", lambda x: x.numpy()),
    (RuntimeError, "Expected all tensors to be on the same device", lambda x: x + torch.ones(3)),
    (NotImplementedError, "not currently implemented for the MPS device", lambda x: torch.linalg.eigvals(x @ x.T)),
    (RuntimeError, "Expected a 'mps' device type for generator but found 'cpu'",
     lambda x: torch.rand(2, device="mps", generator=torch.Generator())),
    (RuntimeError, "Passed CPU tensor to MPS op", lambda x: library().add_one(torch.ones(3))),
    (SyntaxError, "nothing", lambda x: torch.mps.compile_shader("kernel void f(device float* x) { nothing; }")),
])  # fmt: skip
def test_what_mps_refuses_is_refused(error, message, act, x):
    with pytest.raises(error, match=message):
        act(x)


def library():
    return torch.mps.compile_shader(
        "kernel void add_one(device float* x, uint i [[thread_position_in_grid]]) {x[i]+=1;}"
    )


@here
def test_kernels_see_the_tensors_memory_and_offset(x):
    library().add_one(x[1])
    assert x.tolist() == [[1, 2, 3], [5, 6, 7]]
    with msp.accelerated(devices=("mps",), on_error="raise", on_fallback="raise"):
        signal, window = torch.randn(500, device="mps"), torch.hann_window(64, device="mps")
        spectrum = torch.stft(signal, 64, window=window, return_complex=True)
        assert (torch.istft(spectrum, 64, window=window, length=500) - signal).abs().max() < 1e-5
    assert spectrum.is_mps and msp.stats()["istft"].fast == 1


@here
def test_random_numbers_follow_the_devices_own_seed():
    first, state = torch.rand(3, device="mps"), torch.mps.get_rng_state()
    torch.manual_seed(5)
    one = torch.rand(3, device="mps")
    torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3, device="mps"), one) and not torch.equal(first, one)
    torch.mps.set_rng_state(state)
    assert torch.Generator("mps").device.type == "mps"


@here
def test_what_breaks_torch_on_a_mac_is_an_error(run_python):
    """In processes of their own, which have the device, too."""
    output = run_python(
        """
        import ctypes, os, threading
        backend = ctypes.CDLL(os.environ["MPS_SPECTRO_TEST_BACKEND"])

        def attempt(who):
            try:
                x + 1
                print(who, "worked")
            except RuntimeError as error:
                print(who, "pytorch#" + str(error).partition("pytorch#")[2])

        backend.like_mps_begin()
        thread = threading.Thread(target=attempt, args=("thread",))
        thread.start(), thread.join()
        backend.like_mps_end()
        attempt("parent")
        if (child := os.fork()) == 0:
            attempt("child")
            os.sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        print(x.device, backend.like_mps_at_once())
        """
    )
    lines = {line for line in output.splitlines() if line}
    assert {"thread pytorch#197805)", "parent worked", "child pytorch#178037)", "mps:0 1"} <= lines, output
