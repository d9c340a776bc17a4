"""Runs a few lines of Metal over tensors, for the tests of what Metal text can use. Not a test itself."""

from __future__ import annotations

import functools

import pytest
import torch

from mps_spectro_patch.kernels import compile_shader

HEADER = "#include <metal_stdlib>\nusing namespace metal;\n"


@pytest.fixture(scope="module")
def run(device_name, torch_device):
    """run(body, *tensors, threads=n): runs a kernel body in which a, b, c are the tensors and i is the thread."""
    names = {torch.float32: "float", torch.int32: "int", torch.float16: "half", torch.int64: "long", torch.int8: "char"}
    names |= {torch.uint8: "uchar", torch.int16: "short", torch.bfloat16: "bfloat"}

    @functools.cache
    def compiled(body, types, before):
        parameters = ", ".join(
            f"device {t}* {n} [[buffer({k})]]" for k, (n, t) in enumerate(zip("abcd", types, strict=False))
        )
        attributes = "uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]]"
        source = f"{HEADER}{before}\nkernel void body({parameters}, {attributes}) {{ {body} }}"
        return compile_shader(source, device_name)

    def call(body, *tensors, threads, group_size=None, types=None, before=""):
        held = [t.to(torch_device) for t in tensors]
        types = tuple(types or (names[t.dtype] for t in tensors))
        compiled(body, types, before).body(*held, threads=threads, group_size=group_size)
        return [t.cpu() for t in held]

    return call


def floats(*values):
    return torch.tensor(values, dtype=torch.float32)


def ints(*values):
    return torch.tensor(values, dtype=torch.int32)
