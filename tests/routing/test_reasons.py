"""Which calls are fast, and for the rest which reason is given: the routing table, on tensors that are never computed.

The tensors are fake MPS tensors (torch's FakeTensorMode), so this runs, and means the same, where there is no MPS.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import mps_spectro_patch as msp
from mps_spectro_patch.reasons import ADVICE, Reason, Route

from ..routes import route_istft, route_stft

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


PLAIN = (400, 160, 400, 200, "reflect", False, True)
TWO_SIDED = (400, 160, 400, 200, "reflect", False, False)
FAST_STFT = {
    "plain": ({}, PLAIN),
    "one dimension": (dict(input=mps(4000)), PLAIN),
    "default hop": (dict(hop_length=None), (400, 100, 400, 200, "reflect", False, True)),
    "short window": (dict(win_length=300, window=mps(300)), (400, 160, 300, 200, "reflect", False, True)),
    "not centred": (dict(center=False), (400, 160, 400, 0, "constant", False, True)),
    "not centred, padding not looked at": (dict(center=False, pad_mode=7), (400, 160, 400, 0, "constant", False, True)),
    "constant": (dict(pad_mode="constant"), (400, 160, 400, 200, "constant", False, True)),
    "replicate": (dict(pad_mode="replicate", input=mps(1)), (400, 160, 400, 200, "replicate", False, True)),
    "circular": (dict(pad_mode="circular", input=mps(200)), (400, 160, 400, 200, "circular", False, True)),
    "reflect, just long enough": (dict(input=mps(201)), PLAIN),
    "normalized": (dict(normalized=True), (400, 160, 400, 200, "reflect", True, True)),
    "onesided": (dict(onesided=True), PLAIN),
    "two-sided": (dict(onesided=False), TWO_SIDED),
    "hop longer than n_fft": (dict(hop_length=5000), (400, 5000, 400, 200, "reflect", False, True)),
    "align False, not centred": (
        dict(center=False, align_to_window=False),
        (400, 160, 400, 0, "constant", False, True),
    ),
    "align, not centred": (
        dict(center=False, align_to_window=True, win_length=300, window=mps(300)),
        (400, 160, 300, 50, "constant", False, True),
    ),
    "largest": (dict(n_fft=8192, window=mps(8192), input=mps(9000)), (8192, 160, 8192, 4096, "reflect", False, True)),
    "no window": (dict(window=None), PLAIN),
    "real output": (dict(return_complex=False), PLAIN),
    "window of integers": (dict(window=mps(400, dtype=torch.int64)), PLAIN),
    "window of halves": (dict(window=mps(400, dtype=torch.bfloat16)), PLAIN),
    "half": (dict(input=mps(2, 4000, dtype=torch.float16)), PLAIN),
    "bfloat16": (dict(input=mps(2, 4000, dtype=torch.bfloat16)), PLAIN),
    "gradient of the input": (dict(input=mps(2, 4000, requires_grad=True)), PLAIN),
    "gradient of the window": (dict(window=mps(400, requires_grad=True)), PLAIN),
    "complex": (dict(input=mps(2, 4000, dtype=torch.complex64), return_complex=None), TWO_SIDED),
    "complex window": (dict(window=mps(400, dtype=torch.complex64), return_complex=None), TWO_SIDED),
    "complex both": (
        dict(input=mps(2, 4000, dtype=torch.complex64), window=mps(400, dtype=torch.complex64), onesided=False),
        TWO_SIDED,
    ),
    "odd size": (dict(n_fft=399, window=mps(399)), (399, 160, 399, 199, "reflect", False, True)),
    "prime size": (dict(n_fft=1021, window=mps(1021)), (1021, 160, 1021, 510, "reflect", False, True)),
}
SLOW_STFT = {
    Reason.TYPE: dict(input=[1.0]),
    Reason.DEVICE: dict(input=torch.zeros(2, 4000), window=torch.zeros(400)),
    Reason.ARGUMENT: dict(n_fft=400.0),
    Reason.DTYPE: dict(input=mps(2, 4000, dtype=torch.float64), window=mps(400, dtype=torch.float64)),
    Reason.SHAPE: dict(input=mps(1, 2, 4000)),
    Reason.EMPTY: dict(input=mps(0, 4000)),
    Reason.TOO_LARGE: dict(input=mps(2**17, 2**14)),
    Reason.N_FFT: dict(n_fft=32_768, window=mps(32_768), input=mps(2, 70_000)),
    Reason.HOP_LENGTH: dict(hop_length=0),
    Reason.WIN_LENGTH: dict(win_length=401, window=mps(401)),
    Reason.WINDOW: dict(window=mps(399)),
    Reason.PAD_MODE: dict(pad_mode="bogus"),
    Reason.PAD_LENGTH: dict(input=mps(200)),
    Reason.TOO_SHORT: dict(input=mps(399), center=False),
    Reason.ALIGN: dict(center=False, align_to_window=True, win_length=399, window=mps(399)),
    Reason.SIDES: dict(input=mps(2, 4000, dtype=torch.complex64), onesided=True),
    Reason.REAL_OUTPUT: dict(return_complex=None),
}
INVERSE = (400, 160, 400, 200, False, True, False, 4000, False)
FAST_ISTFT = {
    "plain": ({}, INVERSE),
    "no batch dimension": (dict(input=mps(201, 26, dtype=torch.complex64)), INVERSE),
    "length": (dict(length=3999), (400, 160, 400, 200, False, True, False, 3999, False)),
    "length all there is": (dict(length=4200), (400, 160, 400, 200, False, True, False, 4200, False)),
    "length beyond": (dict(length=4201), (400, 160, 400, 200, False, True, False, 4201, False)),
    "not centred": (dict(center=False), (400, 160, 400, 0, False, True, False, 4400, False)),
    "normalized, onesided": (
        dict(normalized=True, onesided=True),
        (400, 160, 400, 200, True, True, False, 4000, False),
    ),
    "one frame, length": (
        dict(input=mps(1, 201, 1, dtype=torch.complex64), length=7),
        (400, 160, 400, 200, False, True, False, 7, False),
    ),
    "hop as long as the window": (dict(hop_length=400), (400, 400, 400, 200, False, True, False, 10000, False)),
    "no window": (dict(window=None), INVERSE),
    "gradient of the window": (dict(window=mps(400, requires_grad=True)), INVERSE),
    "two-sided": (
        dict(input=mps(2, 400, 26, dtype=torch.complex64)),
        (400, 160, 400, 200, False, False, False, 4000, False),
    ),
    "complex output": (
        dict(input=mps(2, 400, 26, dtype=torch.complex64), return_complex=True),
        (400, 160, 400, 200, False, False, False, 4000, True),
    ),
    "complex window": (
        dict(input=mps(2, 400, 26, dtype=torch.complex64), window=mps(400, dtype=torch.complex64), return_complex=True),
        (400, 160, 400, 200, False, False, False, 4000, True),
    ),
    "two bins": (
        dict(input=mps(2, 2, 26, dtype=torch.complex64), n_fft=2, hop_length=1, window=mps(2)),
        (2, 1, 2, 1, False, False, False, 25, False),
    ),
}
SLOW_ISTFT = {
    Reason.SIDES: dict(return_complex=True),
    Reason.BINS: dict(onesided=False),
    Reason.DTYPE: dict(input=mps(2, 201, 26)),
    Reason.SHAPE: dict(input=mps(201, dtype=torch.complex64)),
    Reason.EMPTY: dict(input=mps(2, 201, 0, dtype=torch.complex64)),
    Reason.LENGTH: dict(length=0),
    Reason.HOP_LENGTH: dict(hop_length=301, win_length=300, window=mps(300)),
    Reason.WINDOW: dict(window=mps(400, dtype=torch.complex64)),
    Reason.ARGUMENT: dict(length=4000.0),
    Reason.N_FFT: dict(n_fft=32_768, window=mps(32_768), input=mps(2, 16_385, 9, dtype=torch.complex64)),
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


@pytest.mark.parametrize("length", [0, -1])
def test_istft_lengths_that_torch_refuses_go_to_the_original(length):
    assert istft(length=length).reason is Reason.LENGTH
    one_frame = mps(1, 201, 1, dtype=torch.complex64)
    assert istft(input=one_frame).reason is Reason.LENGTH  # nothing is left after trimming


@pytest.mark.parametrize("wrong", [True, 400.0, "400", None, torch.tensor(400.0), torch.tensor([400])])
def test_sizes_that_are_not_plain_integers_go_to_the_original(wrong):
    assert stft(n_fft=wrong).reason is Reason.ARGUMENT
    if wrong is not None:
        assert stft(hop_length=wrong).reason is Reason.ARGUMENT and stft(win_length=wrong).reason is Reason.ARGUMENT


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_signal_falls_back_for_its_window_and_is_told_so(dtype):
    for window in (mps(400, dtype=dtype), None, mps(400, dtype=torch.complex64)):
        route = stft(input=mps(2, 4000, dtype=dtype), window=window)
        assert route.reason is Reason.WINDOW and "float32 window" in ADVICE[route.reason]


@pytest.mark.parametrize(
    "window",
    [[1.0] * 400, mps(1, 400), mps(400, dtype=torch.float64), torch.ones(400)],
    ids=["list", "2-D", "float64", "another device"],
)
def test_windows_that_are_not_plain_go_to_the_original(window):
    assert stft(window=window).reason is Reason.WINDOW and istft(window=window).reason is Reason.WINDOW


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
    torch.func.jvp(ask, (signal,), (signal,))
    with torch.autograd.forward_ad.dual_level():
        ask(signal)
    with torch.device("cpu"):
        ask(signal)
    assert reasons == [Reason.MODE, Reason.MODE, None, Reason.TRANSFORM, Reason.FORWARD_AD, None]


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
