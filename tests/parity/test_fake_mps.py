"""The MPS branch is taken wherever the package says it is: on fake MPS tensors, which need no Apple GPU.

The results have no values, but the shape, strides and type that the unpatched call gives on the CPU.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import mps_spectro_patch as msp

from . import mps_guard
from .compare import assert_same_tensor, unpatched
from .modes import MODES, Mode

# Sizes between MODES' own: the largest of each family, and what keyshift front ends ask for.
SIZES = (1, 2, 3, 5, 16, 17, 22, 441, 512, 813, 1023, 1024, 1085, 1218, 2039, 2048, 4093, 4095, 4096, 6000, 8192)
LAYOUTS = {
    "stft, offset": ("stft", lambda x: torch.cat([x, x], -1)[..., 3:-5]),
    "stft, every second sample": ("stft", lambda x: torch.cat([x, x], -1)[..., ::2]),
    "stft, transposed": ("stft", lambda x: x.mT.contiguous().mT),
    "stft, expanded": ("stft", lambda x: x[:1].expand(5, -1)),
    "stft, negated": ("stft", torch._neg_view),
    "istft, bins next to each other": ("istft", lambda x: x.mT.contiguous().mT),
    "istft, conjugated": ("istft", torch.conj),
    "istft, expanded": ("istft", lambda x: x[:1].expand(5, -1, -1)),
    "istft, every second frame": ("istft", lambda x: torch.cat([x, x], -1)[..., ::2]),
}
ODDITIES = {
    "stft, n_fft as long as the signal": ("stft", (2, 400), dict(center=False)),
    "stft, default hop and window length": ("stft", (2, 4000), dict(hop_length=None, win_length=None)),
    "stft, return_complex None with a complex signal": ("stft", (2, 4000), dict(return_complex=None)),
    "stft, onesided": ("stft", (2, 4000), dict(onesided=True)),
    "stft, aligned False": ("stft", (2, 4000), dict(center=False, align_to_window=False)),
    "istft, onesided": ("istft", (2, 201, 11), dict(onesided=True)),
}


@pytest.fixture(autouse=True)
def _enabled():
    mps_guard.register()
    msp.enable(devices=("mps",), on_error="raise", on_fallback="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    msp.disable()


def compare(mode: Mode, tensors, fake: FakeTensorMode) -> None:
    """tensors: on the CPU; their fake twins on mps:0 go the fast way, forward and backward."""
    with unpatched():
        theirs = mode(*tensors)
    with fake:
        ours = [None if one is None else as_fake(one, fake) for one in tensors]
        assert all(one is None or (type(one) is FakeTensor and str(one.device) == "mps:0") for one in ours)
        route = msp.explain(getattr(torch, mode.op), ours[0], window=ours[1], **mode.options)
        assert route.fast, route
        result = mode(*ours)
    assert str(result.device) == "mps:0" and type(result) is FakeTensor
    with fake:
        on_cpu = torch.empty_strided(result.shape, result.stride(), dtype=result.dtype, device="cpu")
        theirs_fake = torch.empty_strided(theirs.shape, theirs.stride(), dtype=theirs.dtype, device="cpu")
    assert_same_tensor(on_cpu, theirs_fake)
    assert result.requires_grad == theirs.requires_grad and result.is_conj() == theirs.is_conj()
    if theirs.requires_grad:
        compare_backward(ours, tensors, result, theirs, fake)


def compare_backward(ours, tensors, result, theirs, fake) -> None:
    wanted = [number for number, one in enumerate(tensors) if one is not None and one.requires_grad]
    right = torch.autograd.grad(theirs, [tensors[number] for number in wanted], torch.ones_like(theirs))
    with fake:
        found = mps_guard.pull_back(result, torch.ones_like(result))
    gradients = [found[id(ours[number])] for number in wanted]
    for mine, other in zip(gradients, right, strict=True):
        assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
        assert str(mine.device) == "mps:0"


def as_fake(tensor: torch.Tensor, fake: FakeTensorMode) -> torch.Tensor:
    """Its twin on mps:0: the same shape, strides, bits and type."""
    offset, conjugate, negative = tensor.storage_offset(), tensor.is_conj(), tensor.is_neg()
    reach = 1 + offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    memory = torch.empty(reach, dtype=tensor.dtype, device="mps:0")
    twin = memory.as_strided(tensor.shape, tensor.stride(), offset)
    if conjugate:
        twin = twin.conj()
    if negative:
        twin = torch._neg_view(twin)
    return twin.requires_grad_(tensor.requires_grad)


@pytest.fixture
def fake() -> FakeTensorMode:
    return FakeTensorMode()


@pytest.mark.parametrize("which", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode(mode, which, fake):
    mode = MODES[mode]
    tensors = [one.requires_grad_(wanted) for one, wanted in zip(mode.inputs(torch.device("cpu")), which, strict=True)]
    compare(mode, tensors, fake)


@pytest.mark.parametrize("case", LAYOUTS)
def test_every_layout(case, fake):
    op, layout = LAYOUTS[case]
    mode = MODES["stft, reflect" if op == "stft" else "istft, plain"]
    input, window = mode.inputs(torch.device("cpu"))
    compare(mode, (layout(input), window), fake)


@pytest.mark.parametrize("case", ODDITIES)
def test_what_arguments_mean_when_they_are_not_given(case, fake):
    op, shape, options = ODDITIES[case]
    defaults = dict(n_fft=400, hop_length=160, win_length=400) | (dict(return_complex=True) if op == "stft" else {})
    mode = Mode(op, shape, defaults | options, 400, complex_input="complex signal" in case)
    compare(mode, mode.inputs(torch.device("cpu")), fake)


@pytest.mark.parametrize("op", ["stft", "istft"])
def test_no_window(op, fake):
    mode = MODES["stft, reflect" if op == "stft" else "istft, plain"]
    input, _ = mode.inputs(torch.device("cpu"))
    compare(mode, (input, None), fake)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_signals(dtype, fake):
    mode = MODES["stft, reflect"]
    input, window = mode.inputs(torch.device("cpu"))
    compare(mode, (input.to(dtype), window), fake)


@pytest.mark.parametrize("n_fft", SIZES)
def test_sizes(n_fft, fake):
    hop = max(1, n_fft // 4)
    mode = Mode("stft", (1, 2 * n_fft), dict(n_fft=n_fft, hop_length=hop, return_complex=True), n_fft)
    compare(mode, mode.inputs(torch.device("cpu")), fake)
    mode = Mode("istft", (1, n_fft // 2 + 1, 3), dict(n_fft=n_fft, hop_length=hop, onesided=True), n_fft)
    if n_fft > 1:
        compare(mode, mode.inputs(torch.device("cpu")), fake)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("op", ["stft", "istft"])
@pytest.mark.thorough
def test_every_size_up_to_4096_is_fast(op, complex_valued, fake):
    slow = []
    with fake:
        for n_fft in range(1, 4097):
            window = torch.empty(n_fft, device="mps")
            if op == "stft":
                input = torch.empty(2 * n_fft + 1, device="mps", dtype=torch.complex64 if complex_valued else None)
                route = msp.explain(torch.stft, input, n_fft, 4, window=window, return_complex=True)
            else:
                bins = n_fft if complex_valued else n_fft // 2 + 1
                input = torch.empty(bins, 4, device="mps", dtype=torch.complex64)
                route = msp.explain(
                    torch.istft,
                    input,
                    n_fft,
                    min(4, n_fft),
                    window=window,
                    center=False,
                    onesided=not complex_valued,
                    return_complex=complex_valued,
                )
            if not route.fast:
                slow.append(n_fft)
    assert not slow, f"{len(slow)} sizes are slow, such as {slow[:10]}"


def test_other_devices_are_left_alone(fake):
    mode = MODES["stft, reflect"]
    input, window = mode.inputs(torch.device("cpu"))
    assert not msp.explain(torch.stft, input, window=window, **mode.options).fast
    mode(input, window)
    with fake:
        input = torch.empty(2, 100)
        assert mode(input, torch.empty(16)).device.type == "cpu"
    assert msp.stats()["stft"].fast == 0
