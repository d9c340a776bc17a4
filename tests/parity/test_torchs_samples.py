"""The samples with which torch tests its own stft and istft (OpInfo), under its transforms and traces: where torch's
function works, the patched one gives the same type, shape, strides and need of a gradient, and right values."""

from __future__ import annotations

import sys
import unittest
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import mps_spectro_patch as msp
from tests.precision import wide

from .compare import moving_strides

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def samples(torch_device) -> list[tuple[str, Callable, list[torch.Tensor]]]:
    """(what it is, a function of tensors, the tensors), of every sample that is of single precision."""
    # torch's own test cases are derived from a class of this package, which its samples do not need.
    sys.modules.setdefault("expecttest", SimpleNamespace(TestCase=unittest.TestCase))
    from torch.testing._internal.common_methods_invocations import op_db

    found = []
    for info in op_db:
        if info.name not in ("stft", "istft"):
            continue
        for dtype in set(info.dtypes) & {torch.float32, torch.complex64}:
            for sample in info.sample_inputs(torch_device, dtype, requires_grad=False):
                options = dict(zip(("n_fft", "hop_length"), sample.args, strict=False)) | sample.kwargs
                found.append(
                    (f"{info.name} of {list(sample.input.shape)}, {options}", *_split(info.name, sample, options))
                )
    assert len(found) > 20
    return found


def _split(op, sample, options):
    tensors = {name: value for name, value in options.items() if isinstance(value, torch.Tensor)}
    others = {name: value for name, value in options.items() if name not in tensors}

    def call(input, *given):
        return getattr(torch, op)(input, **others, **dict(zip(tensors, given, strict=True)))

    return call, [sample.input, *tensors.values()]


def loss(result):
    return torch.view_as_real(result).square().sum() if result.is_complex() else result.square().sum()


def gradient(call):
    """d loss / d input, as a function that can be traced."""

    return lambda *tensors: torch.func.grad(lambda *given: loss(call(*given)))(*tensors).contiguous()


def batched(call, count, **dims):
    """As vmap batches `call`, the first tensor only."""

    def of_many(input, *others):
        many = torch.stack([input * (1 + number) for number in range(count)], dims.get("in_dims", 0))
        return torch.func.vmap(lambda one: call(one, *others), **dims)(many)

    return of_many


def fake(call, tensors):
    mode = FakeTensorMode(shape_env=ShapeEnv())
    with mode:
        return call(*(mode.from_tensor(tensor, static_shapes=False) for tensor in tensors))


def compiled(call, tensors, **options):
    torch._dynamo.reset()
    call = torch.compile(call, backend="eager", fullgraph=True, **options)
    longer = torch.cat([tensors[0], tensors[0]], -1)  # at another length, too
    return torch.cat([call(longer, *tensors[1:]).flatten(), call(*tensors).flatten()])


def ahead_of_time(call, tensors):
    from functorch.compile import aot_function, nop

    input = tensors[0].clone().requires_grad_()
    result = aot_function(call, fw_compiler=nop, bw_compiler=nop, dynamic=True)(input, *tensors[1:])
    loss(result).backward()
    return torch.cat([result.detach().flatten(), input.grad.flatten().to(result.dtype)])


# The way, and of how many samples one: tracing takes time.
WAYS = {
    "vmap": (lambda call, tensors: batched(call, 3)(*tensors), 1),
    "vmap over the last dimension": (lambda call, tensors: batched(call, 3, in_dims=-1, out_dims=-1)(*tensors), 1),
    "vmap, nested": (lambda call, tensors: batched(batched(call, 2), 3)(*tensors), 1),
    "vmap, nested the other way": (
        lambda call, tensors: batched(batched(call, 2, in_dims=-1, out_dims=1), 3, in_dims=1)(*tensors), 1
    ),
    "vmap of a flat view": (lambda call, tensors: batched(lambda *given: call(*given).view(-1), 2)(*tensors), 1),
    "vmap of a gradient": (lambda call, tensors: batched(gradient(call), 2)(*tensors), 1),
    "make_fx": (lambda call, tensors: make_fx(call)(*tensors)(*tensors), 1),
    "make_fx with symbols": (lambda call, tensors: make_fx(call, tracing_mode="symbolic")(*tensors)(*tensors), 7),
    "make_fx of a gradient with symbols": (
        lambda call, tensors: make_fx(gradient(call), tracing_mode="symbolic")(*tensors)(*tensors), 10
    ),
    "fake tensors": (fake, 1),
    "aot_function": (ahead_of_time, 10),
    "compile": (compiled, 9),
    "compile with symbols": (lambda call, tensors: compiled(call, tensors, dynamic=True), 6),
}  # fmt: skip


def outcome(way, call, tensors):
    try:
        return way(call, tensors)
    except Exception as error:
        return error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_what_works_with_torchs_function_works_and_looks_the_same(way, samples, on):
    way, step = WAYS[way]
    compared = 0
    for what, call, tensors in samples[::step]:
        theirs = outcome(way, call, tensors)
        if isinstance(theirs, Exception):
            continue
        msp.enable(**on, verify="off")  # compiled code knows enable() only
        try:
            ours = outcome(way, call, tensors)
        finally:
            msp.disable()
        if isinstance(ours, Exception):
            raise AssertionError(what) from ours
        compared += 1
        assert ours.dtype is theirs.dtype and ours.requires_grad == theirs.requires_grad, what
        assert ours.shape == theirs.shape and moving_strides(ours) == moving_strides(theirs), what
        if way is not fake:
            right = way(call, [wide(tensor) for tensor in tensors])
            error = (ours.to(right.device) - right).norm() / right.norm()
            assert error < 1e-6, (what, float(error))
    assert compared >= len(samples[::step]) // 3


def test_the_samples_are_accelerated(samples, on):
    with warnings.catch_warnings(), msp.accelerated(**on, verify="off"):
        warnings.simplefilter("ignore")
        for _, call, tensors in samples:
            call(*tensors)
        assert sum(op.fast for op in msp.stats().values()) > len(samples) // 2
