"""What the CPU build adds to the contract: the order of threads, poison, divergence, compiling, the cache."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mps_spectro_patch
from mps_spectro_patch.kernels import compile_shader
from mps_spectro_patch.kernels.compilers import simulator

pytestmark = pytest.mark.skipif(
    os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="about the simulator alone"
)

HEADER = "#include <metal_stdlib>\nusing namespace metal;\n"
SOURCE = (
    HEADER
    + """
kernel void rotate_left(device float* x, uint l [[thread_index_in_threadgroup]], uint n [[threads_per_threadgroup]]) {
  threadgroup float tile[256];
  tile[l] = x[l];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[l] = tile[(l + 1) % n];
}
kernel void rotate_without_barrier(device float* x, uint l [[thread_index_in_threadgroup]]) {
  threadgroup float tile[256];
  tile[l] = x[l];
  x[l] = l > 0 ? tile[l - 1] : 0;  // right only while threads run in order
}
kernel void uninitialised(device float* x, uint l [[thread_index_in_threadgroup]]) {
  threadgroup float tile[64];
  if (l < 32) tile[l] = 1;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[l] = tile[l];
}
kernel void divergent(device float* x, uint l [[thread_index_in_threadgroup]]) {
  if (l < 5) threadgroup_barrier(mem_flags::mem_threadgroup);
  else
    threadgroup_barrier(mem_flags::mem_device);
  x[l] = 1;
}
kernel void some_return_early(device float* x, uint l [[thread_index_in_threadgroup]]) {
  if (l % 3 == 0) return;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[l] = 1;
}
kernel void simd_steps(device float* x, uint l [[thread_index_in_threadgroup]]) {
  float v = x[l];
  if (l % 2 == 0) v = simd_sum(v);   // the even lanes
  for (uint k = 0; k < l % 4; ++k) v += simd_sum(0.5f);
  x[l] = simd_max(v);
}
kernel void simd_then_group(device float* x, uint l [[thread_index_in_threadgroup]],
                            uint s [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                            uint ss [[simdgroups_per_threadgroup]]) {
  threadgroup float parts[32];
  float sum = simd_sum(x[l]);
  if (lane == 0) parts[s] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float total = 0;
  for (uint k = 0; k < ss; ++k) total += parts[k];
  x[l] = total;
}
"""
)


@pytest.fixture(scope="module")
def library():
    return compile_shader(SOURCE, "simulator")


def results_under_seeds(kernel, x: torch.Tensor, group_size: int) -> set[tuple[float, ...]]:
    found = set()
    for seed in range(6):
        with simulator.test_mode(seed=seed):
            y = x.clone()
            kernel(y, group_size=group_size)
            found.add(tuple(y.tolist()))
    return found


def test_a_kernel_with_its_barriers_gives_one_result_under_every_seed(library):
    x = torch.arange(256.0)
    assert results_under_seeds(library.rotate_left, x, 256) == {tuple(x.roll(-1).tolist())}


def test_seeds_expose_a_missing_barrier(library):
    x = torch.arange(256.0)
    y = x.clone()
    library.rotate_without_barrier(y, group_size=256)
    assert y[1:].equal(x[:-1])  # in order it looks right
    assert len(results_under_seeds(library.rotate_without_barrier, x, 256)) > 1


def test_one_seed_gives_one_result(library):
    def run() -> list[float]:
        with simulator.test_mode(seed=3, poison=False):
            y = torch.arange(256.0)
            library.rotate_without_barrier(y, group_size=256)
            return y.tolist()

    assert run() == run()


def test_poison_shows_threadgroup_memory_that_was_never_written(library):
    x = torch.zeros(64)
    with simulator.test_mode():
        library.uninitialised(x, group_size=64)
    assert x[:32].equal(torch.ones(32)) and x[32:].isnan().all()


def test_test_mode_ends(library):
    with simulator.test_mode(seed=1):
        pass
    x = torch.zeros(64)
    library.uninitialised(x, group_size=64)
    assert not x.isnan().any()


def test_barrier_divergence_is_reported_with_kernel_and_lines(library):
    first, second = (
        1 + SOURCE[: SOURCE.index(text)].count("\n") for text in ("if (l < 5)", "threadgroup_barrier(mem_flags::mem_de")
    )
    where = rf"thread \(0, 0, 0\) .* line {first}, thread \(5, 0, 0\) .* line {second} \(kernel divergent\)"
    with pytest.raises(RuntimeError, match="barrier divergence: " + where):
        library.divergent(torch.zeros(16))
    x = torch.arange(4.0)  # and the simulator goes on
    library.rotate_left(x)
    assert x.tolist() == [1, 2, 3, 0]


def test_threads_that_ended_take_no_part_in_barriers(library):
    x = torch.zeros(9)
    library.some_return_early(x)
    assert x.tolist() == [0, 1, 1] * 3


def test_diverged_lanes_have_their_own_simd_operations_and_meet_again(library):
    x = torch.ones(32)
    library.simd_steps(x)
    # Even lanes hold 16; lane l then takes part in l % 4 rounds of 24, 16 and 8 lanes.
    assert x.tolist() == [16 + 12 + 8] * 32


@pytest.mark.parametrize("size", [1, 31, 32, 33, 300, 1024])
def test_simd_operations_see_the_threads_that_exist(library, size):
    for seed in (None, 1, 2):
        with simulator.test_mode(seed=seed):
            x = torch.arange(float(size))
            library.simd_then_group(x, group_size=size)
            assert x.tolist() == [size * (size - 1) / 2] * size


def test_many_groups_are_spread_over_the_cores(library):
    x = torch.arange(1000.0)
    one = compile_shader(
        HEADER + "kernel void one(device float* x, uint i [[thread_position_in_grid]]) { x[i] += 1; }", "simulator"
    ).one
    one(x, group_size=7)
    assert x.equal(torch.arange(1000.0) + 1)


def test_libraries_may_use_one_name_for_different_kernels():
    template = (
        HEADER
        + """
    template <typename T> kernel void f(device T* x, uint i [[thread_position_in_grid]]) {{
      threadgroup T tile[{n}]; tile[i] = {n}; x[i] = tile[i];
    }}
    template [[host_name("f_float")]] [[kernel]] decltype(f<float>) f<float>;"""
    )
    kernels = [compile_shader(template.format(n=n), "simulator").f_float for n in (32, 64)]
    x = torch.zeros(2)
    assert [kernel.static_thread_group_memory_length for kernel in kernels] == [128, 256]
    for kernel, n in zip(kernels, (32, 64), strict=True):
        kernel(x)
        assert x.tolist() == [n, n]


def _in_child(kernel, queue) -> None:
    x = torch.arange(8.0)
    for _ in range(3):
        kernel(x, group_size=4)
    queue.put(x.tolist())


def test_a_forked_child_can_launch(library):
    context = multiprocessing.get_context("fork")
    x = torch.arange(512.0)
    library.rotate_left(x, group_size=256)
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(library.some_return_early, queue))
    child.start()
    assert queue.get(timeout=60) == [0, 1, 1, 3, 4, 5, 6, 7]
    child.join()


def test_nothing_is_written_into_the_package(library, tmp_path, monkeypatch):
    rooms = [Path(simulator.__file__).parent, Path(mps_spectro_patch.__file__).parent]

    def files() -> set[Path]:
        return {path for room in rooms for path in room.rglob("*") if "__pycache__" not in path.parts}

    before = files()
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(tmp_path))
    compile_shader(HEADER + "kernel void f(device int* x) { x[0] = 1; }", "simulator")
    assert files() == before
    assert [path.suffix for path in sorted(tmp_path.iterdir(), key=lambda p: p.suffix)] == [".json", ".so"]


def test_a_cached_library_needs_no_second_compilation(tmp_path, monkeypatch):
    source = HEADER + "kernel void f(device int* x) { x[0] = 2; }"
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(tmp_path))
    compile_shader(source, "simulator")
    monkeypatch.setattr(simulator, "_compile", None)
    x = torch.zeros(1, dtype=torch.int32)
    compile_shader(source, "simulator").f(x)
    assert x.tolist() == [2]


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(tmp_path / "file" / "below"))
    x = torch.zeros(1, dtype=torch.int32)
    compile_shader(HEADER + "kernel void f(device int* x) { x[0] = 3; }", "simulator").f(x)
    assert x.tolist() == [3]


@pytest.mark.thorough
def test_processes_may_compile_the_same_source_at_once(tmp_path):
    code = f"""
import torch
from mps_spectro_patch.kernels import compile_shader
x = torch.zeros(1, dtype=torch.int32)
compile_shader({HEADER + "kernel void f(device int* x) { x[0] = 4; }"!r}, "simulator").f(x)
print(x.item())"""
    environment = {**os.environ, "MPS_SPECTRO_PATCH_CACHE": str(tmp_path)}
    children = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [child.communicate()[0].strip() for child in children] == ["4"] * 3
    # The kernels, the simulator, the precompiled header and the compiler's trial, each with a record, none half-made.
    assert len(list(tmp_path.glob("stdlib-*"))) == len(list(tmp_path.glob("compiler-*"))) == 2
    assert len(list(tmp_path.iterdir())) == 8


@pytest.fixture
def fresh_header(tmp_path, monkeypatch):
    """A cache folder without a precompiled header, and none remembered."""
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(tmp_path))
    precompiled = simulator._precompiled
    precompiled.cache_clear()
    yield tmp_path
    precompiled.cache_clear()


COMPILERS = [name for name in ("g++", "clang++") if shutil.which(name)]
MATHS = HEADER + "kernel void f(device float* x, uint i [[thread_position_in_grid]]) { x[i] = fma(x[i], 2.0f, 1.0f); }"


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_precompiled_header_is_used_and_changes_no_bit(compiler, fresh_header, monkeypatch):
    monkeypatch.setenv("CXX", compiler)
    read, run = [], subprocess.run

    def run_and_list_headers(command, **rest):
        done = run([*command, "-H"] if "-shared" in command else command, **rest)
        if "-shared" in command and isinstance(done.stderr, bytes):  # not when the compiler itself is tried
            read.append(done.stderr.decode())
        return done

    monkeypatch.setattr(subprocess, "run", run_and_list_headers)
    with_it = simulator._build(MATHS)[0].read_bytes()
    assert "host_launch.h" in read[-1] and "msl_vector.h" not in read[-1], "the text of the header was read"
    monkeypatch.undo()
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(simulator, "_precompiled", lambda *_: None)
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(fresh_header / "other"))
    assert simulator._build(MATHS)[0].read_bytes() == with_it


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("content", [b"", b"nonsense", None], ids=["empty", "nonsense", "not there"])
def test_a_header_that_the_compiler_does_not_take_is_done_without(compiler, content, fresh_header, monkeypatch):
    monkeypatch.setenv("CXX", compiler)
    bad = fresh_header / "bad"
    if content is not None:
        bad.write_bytes(content)
    monkeypatch.setattr(simulator, "_precompiled", lambda *_: bad)
    x = torch.ones(4)
    compile_shader(MATHS, "simulator").f(x)
    assert torch.equal(x, torch.full((4,), 3.0))


def test_a_compiler_that_makes_no_precompiled_header_still_compiles(fresh_header, monkeypatch):
    script = fresh_header / "cxx"
    script.write_text('#!/bin/sh\ncase "$*" in *c++-header*) exit 1;; esac\nexec c++ "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    x = torch.ones(4)
    compile_shader(MATHS, "simulator").f(x)
    assert torch.equal(x, torch.full((4,), 3.0)) and not list(fresh_header.glob("stdlib-*"))


def test_a_mistake_in_a_kernel_is_told_as_without_a_precompiled_header(monkeypatch):
    def told() -> str:
        with pytest.raises(SyntaxError) as caught:
            compile_shader(HEADER + "kernel void f(device float* x) { x[0] = nothing; }", "simulator")
        return str(caught.value)

    first = told()
    monkeypatch.setattr(simulator, "_precompiled", lambda *_: None)
    assert told() == first and "program_source:" in first


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"C\+\+ compiler.*install"):
        compile_shader(HEADER + "kernel void f() {}", "simulator")
