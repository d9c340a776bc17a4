"""Which calls are fast, and for the rest which reason is given: the routing table, on tensors that are never computed.

The tensors are fake MPS tensors (torch's FakeTensorMode), so this runs, and means the same, where there is no MPS.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import mps_spectro_patch as msp
from mps_spectro_patch.routing import Reason, Route, route_istft, route_stft

FAKE = FakeTensorMode(allow_non_fake_inputs=True)


def mps(*shape, dtype=torch.float32, **options):
    with FAKE:
        return torch.empty(*shape, dtype=dtype, device="mps", **options)


def stft(**change) -> Route:
    arguments = dict(input=mps(2, 4000), n_fft=400, hop_length=160, window=mps(400), return_complex=True)
    return route_stft(**{**arguments, **change})


def istft(**change) -> Route:
    arguments = dict(input=mps(2, 201, 26, dtype=torch.complex64), n_fft=400, hop_length=160, window=mps(400))
    return route_istft(**{**arguments, **change})


FAST_STFT = {
    "plain": ({}, (400, 160, 400, True, "reflect", False)),
    "one dimension": (dict(input=mps(4000)), (400, 160, 400, True, "reflect", False)),
    "default hop": (dict(hop_length=None), (400, 100, 400, True, "reflect", False)),
    "short window": (dict(win_length=300, window=mps(300)), (400, 160, 300, True, "reflect", False)),
    "not centred": (dict(center=False), (400, 160, 400, False, "reflect", False)),
    "not centred, padding not looked at": (dict(center=False, pad_mode=7), (400, 160, 400, False, "reflect", False)),
    "constant": (dict(pad_mode="constant"), (400, 160, 400, True, "constant", False)),
    "replicate": (dict(pad_mode="replicate", input=mps(1)), (400, 160, 400, True, "replicate", False)),
    "circular": (dict(pad_mode="circular", input=mps(200)), (400, 160, 400, True, "circular", False)),
    "reflect, just long enough": (dict(input=mps(201)), (400, 160, 400, True, "reflect", False)),
    "normalized": (dict(normalized=True), (400, 160, 400, True, "reflect", True)),
    "onesided": (dict(onesided=True), (400, 160, 400, True, "reflect", False)),
    "hop longer than n_fft": (dict(hop_length=5000), (400, 5000, 400, True, "reflect", False)),
    "align False, not centred": (dict(center=False, align_to_window=False), (400, 160, 400, False, "reflect", False)),
    "largest": (dict(n_fft=8192, window=mps(8192), input=mps(9000)), (8192, 160, 8192, True, "reflect", False)),
}
SLOW_STFT = {
    Reason.TYPE: dict(input=[1.0]),
    Reason.DEVICE: dict(input=torch.zeros(2, 4000), window=torch.zeros(400)),
    Reason.GRADIENT: dict(input=mps(2, 4000, requires_grad=True)),
    Reason.ARGUMENT: dict(n_fft=400.0),
    Reason.DTYPE: dict(input=mps(2, 4000, dtype=torch.float16)),
    Reason.SHAPE: dict(input=mps(1, 2, 4000)),
    Reason.EMPTY: dict(input=mps(0, 4000)),
    Reason.TOO_LARGE: dict(input=mps(2**17, 2**14)),
    Reason.N_FFT: dict(n_fft=22, window=mps(22)),
    Reason.HOP_LENGTH: dict(hop_length=0),
    Reason.WIN_LENGTH: dict(win_length=401, window=mps(401)),
    Reason.WINDOW_NONE: dict(window=None),
    Reason.WINDOW: dict(window=mps(399)),
    Reason.PAD_MODE: dict(pad_mode="bogus"),
    Reason.PAD_LENGTH: dict(input=mps(200)),
    Reason.TOO_SHORT: dict(input=mps(399), center=False),
    Reason.ALIGN: dict(center=False, align_to_window=True),
    Reason.TWO_SIDED: dict(onesided=False),
    Reason.REAL_OUTPUT: dict(return_complex=None),
}
FAST_ISTFT = {
    "plain": ({}, (400, 160, 400, True, False, 4000)),
    "no batch dimension": (dict(input=mps(201, 26, dtype=torch.complex64)), (400, 160, 400, True, False, 4000)),
    "length": (dict(length=3999), (400, 160, 400, True, False, 3999)),
    "length all there is": (dict(length=4200), (400, 160, 400, True, False, 4200)),
    "not centred": (dict(center=False), (400, 160, 400, False, False, 4400)),
    "normalized, onesided": (dict(normalized=True, onesided=True), (400, 160, 400, True, True, 4000)),
    "one frame, length": (dict(input=mps(1, 201, 1, dtype=torch.complex64), length=7), (400, 160, 400, True, False, 7)),
    "hop as long as the window": (dict(hop_length=400), (400, 400, 400, True, False, 10000)),
}
SLOW_ISTFT = {
    Reason.COMPLEX_OUTPUT: dict(return_complex=True),
    Reason.TWO_SIDED: dict(onesided=False),
    Reason.BINS: dict(input=mps(2, 400, 26, dtype=torch.complex64)),
    Reason.DTYPE: dict(input=mps(2, 201, 26)),
    Reason.SHAPE: dict(input=mps(201, dtype=torch.complex64)),
    Reason.EMPTY: dict(input=mps(2, 201, 0, dtype=torch.complex64)),
    Reason.LENGTH: dict(length=4201),
    Reason.HOP_LENGTH: dict(hop_length=301, win_length=300, window=mps(300)),
    Reason.WINDOW_NONE: dict(window=None),
    Reason.ARGUMENT: dict(length=4000.0),
    Reason.GRADIENT: dict(window=mps(400, requires_grad=True)),
    Reason.TOO_LARGE: dict(input=mps(2**12, 201, 2**12, dtype=torch.complex64)),
}


@pytest.mark.parametrize("samples", [2**30 - 1000, 2**30, 2**31 - 1])
def test_positions_beyond_a_signals_ends_still_fit_32_bits(samples):
    long = stft(input=mps(samples), hop_length=2**20)
    assert long.fast == (samples < 2**30 - 400) and (long.fast or long.reason is Reason.TOO_LARGE)


def test_istft_of_more_rows_than_a_grid_holds_goes_to_the_original():
    assert istft(input=mps(2**20, 201, 2, dtype=torch.complex64)).reason is Reason.TOO_LARGE
    assert istft(input=mps(2**10, 201, 2, dtype=torch.complex64)).fast


@pytest.mark.parametrize("hop_length", [2**31, 2**63])
def test_a_hop_beyond_any_integer_of_the_kernels_goes_to_the_original(hop_length):
    assert stft(hop_length=hop_length).reason is Reason.ARGUMENT


@pytest.mark.parametrize("case", FAST_STFT)
def test_stft_is_fast_and_its_arguments_are_normalised(case):
    change, arguments = FAST_STFT[case]
    route = stft(**change)
    assert route.fast and route.arguments == arguments and route.device.startswith("mps")


@pytest.mark.parametrize("case", FAST_ISTFT)
def test_istft_is_fast_and_its_arguments_are_normalised(case):
    change, arguments = FAST_ISTFT[case]
    route = istft(**change)
    assert route.fast and route.arguments == arguments


@pytest.mark.parametrize("reason", SLOW_STFT)
def test_stft_goes_to_the_original_for_a_reason(reason):
    route = stft(**SLOW_STFT[reason])
    assert not route.fast and route.reason is reason and route.arguments is None
    assert reason.words in str(route)


@pytest.mark.parametrize("reason", SLOW_ISTFT)
def test_istft_goes_to_the_original_for_a_reason(reason):
    assert istft(**SLOW_ISTFT[reason]).reason is reason


@pytest.mark.parametrize("length", [0, -1, 4201])
def test_istft_lengths_that_torch_refuses_or_pads_go_to_the_original(length):
    assert istft(length=length).reason is Reason.LENGTH
    one_frame = mps(1, 201, 1, dtype=torch.complex64)
    assert istft(input=one_frame).reason is Reason.LENGTH  # nothing is left after trimming


@pytest.mark.parametrize("wrong", [True, 400.0, "400", None, torch.tensor(400)])
def test_sizes_that_are_not_plain_integers_go_to_the_original(wrong):
    assert stft(n_fft=wrong).reason is Reason.ARGUMENT
    if wrong is not None:
        assert stft(hop_length=wrong).reason is Reason.ARGUMENT and stft(win_length=wrong).reason is Reason.ARGUMENT


@pytest.mark.parametrize(
    "window", [[1.0] * 400, mps(1, 400), mps(400, dtype=torch.float16), torch.ones(400)],
    ids=["list", "2-D", "float16", "another device"],
)
def test_windows_that_are_not_plain_go_to_the_original(window):
    assert stft(window=window).reason is Reason.WINDOW and istft(window=window).reason is Reason.WINDOW


def test_needing_no_gradient_is_fast_even_if_the_input_could():
    with torch.no_grad():
        assert stft(input=mps(2, 4000, requires_grad=True)).fast
    with torch.inference_mode():
        assert stft(input=mps(2, 4000)).fast


def test_nested_and_sparse_tensors_go_to_the_original():
    signal, window = torch.zeros(2, 4000), torch.ones(400)
    for input in (signal.to_sparse(), torch.nested.nested_tensor([signal[0], signal[0]])):
        route = route_stft(input, 400, 160, window=window, return_complex=True, flags=("is_cpu",))
        assert route.reason is Reason.LAYOUT


def test_modes_transforms_and_forward_mode_are_seen():
    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    class Dispatch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    signal, window, reasons = torch.zeros(2, 4000), torch.ones(400), []

    def ask(x):
        reasons.append(route_stft(x, 400, 160, window=window, return_complex=True, flags=("is_cpu",)).reason)
        return x

    with Mode():
        ask(signal)
    with Dispatch():
        ask(signal)
    torch.func.vmap(ask)(signal)
    with torch.autograd.forward_ad.dual_level():
        ask(signal)
    with torch.device("cpu"):
        ask(signal)
    assert reasons == [Reason.MODE, Reason.MODE, Reason.TRANSFORM, Reason.FORWARD_AD, None]


def test_tensor_subclasses_go_to_the_original():
    class Sub(torch.Tensor):
        pass

    assert route_stft(torch.zeros(4000).as_subclass(Sub), 400, flags=("is_cpu",)).reason is Reason.TYPE


def test_what_is_not_a_tensor_is_not_even_asked_for_its_device():
    asked = []

    class Watched:
        def __getattr__(self, name):
            asked.append(name)
            raise AttributeError(name)

    with msp.accelerated(on_fallback="raise"), pytest.raises(AttributeError, match="dim"):
        torch.stft(Watched(), 400)
    assert "is_mps" not in asked and msp.stats()["stft"].fallback == {"device": 1}


@pytest.mark.parametrize("one_dimension", [False, True])
def test_fake_mps_tensors_go_all_the_way_through_the_operators(one_dimension):
    signal, window = mps(4000) if one_dimension else mps(2, 4000), mps(400)
    batch = () if one_dimension else (2,)
    with FAKE, msp.accelerated(verify="always"):
        spectrum = torch.stft(signal, 400, 160, window=window, return_complex=True)
        output = torch.istft(spectrum, 400, 160, window=window)
    assert spectrum.shape == (*batch, 201, 26) and spectrum.stride()[-2:] == (1, 201) and spectrum.is_mps
    assert output.shape == (*batch, 4000) and output.dtype is torch.float32 and output.is_mps
    assert msp.stats()["stft"].fast == msp.stats()["istft"].fast == 1
