"""The simulator's guarded arguments: an access outside of a tensor, or of a list, is an error that says where."""

from __future__ import annotations

import os

import pytest
import torch

from mps_spectro_patch.kernels import compile_shader
from mps_spectro_patch.kernels.compilers import simulator

pytestmark = pytest.mark.skipif(
    os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="about the simulator alone"
)

SOURCE = """#include <metal_stdlib>
using namespace metal;
kernel void move(device const float* from [[buffer(0)]], device float* to [[buffer(1)]], constant int* p [[buffer(2)]],
                 uint i [[thread_position_in_grid]]) {
  to[int(i) + p[1]] = from[int(i) + p[0]];
}
kernel void last_of_list(device int* to [[buffer(0)]], constant int* p [[buffer(1)]], constant int& n [[buffer(2)]]) {
  to[0] = p[n];
}
kernel void row(device const float* x [[buffer(0)]], device float* to [[buffer(1)]],
                uint i [[thread_position_in_grid]]) {
  to[i] = x[i];
}
"""


@pytest.fixture(scope="module")
def library():
    return compile_shader(SOURCE, "simulator")


def move(library, shift_from: int, shift_to: int, count: int = 7, dtype=torch.float32) -> torch.Tensor:
    source, target = torch.arange(float(count)).to(dtype), torch.zeros(count, dtype=dtype)
    library.move(source, target, [shift_from, shift_to], threads=count, arg_casts={2: "int32"})
    return target


@pytest.mark.parametrize("guard", ["start", "end"])
@pytest.mark.parametrize("count", [1, 7, 1024, 5000])
def test_what_stays_inside_gives_the_same_results(library, guard, count):
    with simulator.test_mode(guard=guard):
        assert move(library, 0, 0, count).equal(torch.arange(float(count)))


@pytest.mark.parametrize("shifts, guard, where", [
    ((1, 0), "end", "byte 28 of argument 0, which has 28"), ((0, 1), "end", "byte 28 of argument 1, which has 28"),
    ((-1, 0), "start", "byte -4 of argument 0, which has"), ((0, -1), "start", "byte -4 of argument 1, which has"),
    ((4_000_000, 0), "end", "argument 0"), ((0, -4_000_000), "end", "argument 1"),
])  # fmt: skip
def test_one_element_outside_is_an_error_that_names_thread_argument_and_byte(library, shifts, guard, where):
    with simulator.test_mode(guard=guard):
        with pytest.raises(RuntimeError, match=rf"outside of every buffer: thread \(\d, 0, 0\).*{where}.*kernel move"):
            move(library, *shifts)
        assert move(library, 0, 0).equal(torch.arange(7.0))  # and the simulator goes on


def test_reading_beyond_a_list_is_an_error(library):
    target = torch.zeros(1, dtype=torch.int32)
    casts = {1: "int32", 2: "int32"}
    with simulator.test_mode(guard="end"):
        library.last_of_list(target, [5, 6, 7], 2, threads=1, arg_casts=casts)
        assert target.tolist() == [7]
        with pytest.raises(RuntimeError, match="byte 12 of argument 1, which has 12"):
            library.last_of_list(target, [5, 6, 7], 3, threads=1, arg_casts=casts)


def test_what_lies_between_the_elements_of_a_view_is_nan(library):
    x, target = torch.ones(4, 3), torch.zeros(12)
    with simulator.test_mode(guard="end"):
        library.row(x[:, :2], target, threads=11)
    assert target.isnan().tolist() == [i % 3 == 2 and i < 11 for i in range(12)]


def test_without_a_guard_nothing_changes(library):
    with simulator.test_mode(guard="end"):
        pass
    base = torch.arange(9.0)
    library.move(base[1:3], base[4:6], [1, 1], threads=2, arg_casts={2: "int32"})  # inside of `base` after all
    assert base.tolist() == [0, 1, 2, 3, 4, 2, 3, 7, 8]
