"""The call contract of torch.mps.compile_shader, on whichever compiler MPS_SPECTRO_TEST_DEVICE names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mps_spectro_patch.kernels import compile_shader
from tests.conformance.contract import at_least, release_of

HEADER = "#include <metal_stdlib>\nusing namespace metal;\n"


@pytest.fixture(scope="module")
def library(device_name):
    """Kernels that write down what they were given."""
    return compile_shader(
        HEADER
        + """
template <typename T>
kernel void copy(constant T* from [[buffer(0)]], device T* to [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  to[i] = from[i];
}
#define INSTANTIATE(T) \\
  template [[host_name("copy_" #T)]] [[kernel]] decltype(copy<T>) copy<T>;
INSTANTIATE(long) INSTANTIATE(float) INSTANTIATE(int) INSTANTIATE(float2)

// Apple GPUs misread less than four bytes that are inlined in `constant` memory (pytorch#188560).
template <typename T>
kernel void copy_narrow(device const T* from [[buffer(0)]], device T* to [[buffer(1)]],
                        uint i [[thread_position_in_grid]]) {
  to[i] = from[i];
}
#define INSTANTIATE_NARROW(T) \\
  template [[host_name("copy_" #T)]] [[kernel]] decltype(copy_narrow<T>) copy_narrow<T>;
INSTANTIATE_NARROW(half) INSTANTIATE_NARROW(bfloat) INSTANTIATE_NARROW(short) INSTANTIATE_NARROW(char)
INSTANTIATE_NARROW(uchar)

kernel void scale(device float* x [[buffer(0)]], constant float& factor [[buffer(1)]], constant int& n [[buffer(2)]],
                  uint i [[thread_position_in_grid]]) {
  if (i < uint(n)) x[i] *= factor;
}
kernel void add_one(device float* x, uint i [[thread_position_in_grid]]) { x[i] += 1.0; }
kernel void from_device(const device long* from, device long* to, uint i [[thread_position_in_grid]]) {
  to[i] = from[i];
}
kernel void gather(device float* constant* rows [[buffer(0)]], device float* out [[buffer(1)]],
                   uint i [[thread_position_in_grid]]) {
  out[i] = rows[i][i];
}
kernel void positions1(device int* out, uint p [[thread_position_in_grid]], uint l [[thread_position_in_threadgroup]],
                       uint g [[threadgroup_position_in_grid]], uint n [[threads_per_threadgroup]],
                       uint d [[dispatch_threads_per_threadgroup]], uint t [[threads_per_grid]],
                       uint gs [[threadgroups_per_grid]], uint lane [[thread_index_in_simdgroup]],
                       uint s [[simdgroup_index_in_threadgroup]], uint ss [[simdgroups_per_threadgroup]],
                       uint w [[threads_per_simdgroup]]) {
  int values[11] = {int(p), int(l), int(g), int(n), int(d), int(t), int(gs), int(lane), int(s), int(ss), int(w)};
  for (int k = 0; k < 11; ++k) out[p * 11 + k] = values[k];
}
kernel void positions3(device int* out, ushort3 p [[thread_position_in_grid]], ushort3 n [[threads_per_threadgroup]],
                       ushort3 t [[threads_per_grid]], ushort3 l [[thread_position_in_threadgroup]],
                       ushort index [[thread_index_in_threadgroup]]) {
  int at = (p.z * t.y + p.y) * t.x + p.x;
  out[at * 4 + 0] = n.x * 100 + n.y * 10 + n.z;
  out[at * 4 + 1] = l.x * 100 + l.y * 10 + l.z;
  out[at * 4 + 2] = index;
  out[at * 4 + 3] += 1;
}
kernel void group_of(device int* out, uint2 p [[thread_position_in_grid]], uint2 n [[threads_per_threadgroup]],
                     uint2 t [[threads_per_grid]]) {
  out[p.y * t.x + p.x] = n.x * 10000 + n.y;
}
[[max_total_threads_per_threadgroup(64)]] kernel void bounded(device int* out, uint i [[thread_position_in_grid]],
                                                             uint n [[threads_per_threadgroup]]) {
  out[i] = n;
}
kernel void reverse(device float* x, uint i [[thread_position_in_grid]], uint l [[thread_index_in_threadgroup]],
                    uint n [[threads_per_threadgroup]], uint g [[threadgroup_position_in_grid]]) {
  threadgroup float tile[256];
  threadgroup int unused[3];
  unused[0] = 0;
  tile[l] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = tile[n - 1 - l] + unused[0] * 0;
}
kernel void hungry(device float* x, uint i [[thread_index_in_threadgroup]]) {
  threadgroup float tile[9216];
  tile[i] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = tile[9215 - i];
}
namespace inner { kernel void named(device float* x) { x[0] = 7; } }
""",
        device_name,
    )


@pytest.fixture
def since_2_8(torch_device) -> None:
    if torch_device.type == "mps" and not at_least(release_of(torch.__version__), "2.8"):
        pytest.skip("torch 2.7 does otherwise: tests/conformance/contract.py")


@pytest.fixture
def received(library, torch_device):
    """What a kernel that declares `constant T*` (a narrow type: `device const T*`) reads from an argument."""
    dtypes = {
        "long": torch.int64, "float": torch.float32, "half": torch.float16, "bfloat": torch.bfloat16,
        "int": torch.int32, "short": torch.int16, "char": torch.int8, "uchar": torch.uint8,
    }  # fmt: skip

    def run(argument, metal_type, count=1, **options):
        out = torch.zeros(count, dtype=dtypes[metal_type], device=torch_device)
        getattr(library, f"copy_{metal_type}")(argument, out, threads=count, **options)
        return out.tolist()

    return run


def test_tensors_are_buffers_and_the_first_ones_numel_is_the_number_of_threads(library, torch_device):
    x = torch.arange(1000.0, device=torch_device)
    assert library.add_one(x) is None
    assert torch.equal(x.cpu(), torch.arange(1000.0) + 1)


def test_a_tensor_is_bound_at_its_offset_and_its_strides_are_ignored(library, torch_device):
    base = torch.zeros(24, device=torch_device)
    library.add_one(base[3:].view(3, 7).t()[2:], threads=4)
    assert base.cpu().nonzero().flatten().tolist() == [5, 6, 7, 8]


def test_a_parameter_subclass_and_a_gradient_are_tensors(library, torch_device):
    x = torch.nn.Parameter(torch.zeros(3, device=torch_device))
    library.add_one(x)
    assert x.detach().tolist() == [1, 1, 1]


def test_complex_tensors_are_pairs_of_floats(library, torch_device):
    z, out = torch.randn(5, dtype=torch.complex64, device=torch_device), torch.zeros(5, 2, device=torch_device)
    library.copy_float2(z, out, threads=5)
    assert torch.equal(torch.view_as_real(z), out)


def test_ints_are_int64_and_bools_are_ints(received):
    assert received(-(2**40), "long") == [-(2**40)]
    assert received(True, "long") == [1]


def test_an_int_is_readable_through_a_narrower_type(library, torch_device):
    x = torch.ones(8, device=torch_device)
    library.scale(x, 2.0, 5)
    assert x.tolist() == [2] * 5 + [1] * 3


def test_floats_are_float32(received):
    assert received(0.1, "float") == torch.tensor([0.1]).tolist()
    assert received(1e300, "float") == [float("inf")]


def test_a_list_takes_its_type_from_its_first_element(received):
    assert received([1, 2**40, True], "long", 3) == [1, 2**40, 1]
    assert received((1.5, 2), "float", 2) == [1.5, 2.0]


@pytest.mark.parametrize(
    "cast, metal_type, argument, expected",
    [
        ("int32", "int", [1, -2, 2**32 + 3], [1, -2, 3]), ("int16", "short", [70000], [4464]),
        ("int8", "char", [200], [-56]), ("uint8", "uchar", [-1, 256], [255, 0]), ("int32", "int", [1.9, -1.9], [1, -1]),
        ("fp16", "half", [1.5, 3], [1.5, 3.0]), ("fp16", "half", [100000], [float("inf")]),
        ("bf16", "bfloat", [1.5, 3], [1.5, 3.0]), ("fp16", "half", [7], [7.0]), ("int8", "char", 300, [44]),
        ("bf16", "bfloat", 257, [256.0]),
    ],
)  # fmt: skip
def test_arg_casts_change_the_type_of_scalars_and_lists(received, cast, metal_type, argument, expected):
    count = len(expected)
    assert received(argument, metal_type, count, arg_casts=cast) == expected
    assert received(argument, metal_type, count, arg_casts={0: cast}) == expected


def test_a_dict_of_casts_leaves_other_arguments_alone(library, torch_device):
    x = torch.ones(4, device=torch_device)
    library.scale(x, 2.5, 3, arg_casts={2: "int32"})
    assert x.tolist() == [2.5, 2.5, 2.5, 1]


def test_arg_casts_never_touch_tensors(received, torch_device):
    assert received(torch.tensor([1.5], device=torch_device), "float", arg_casts="int8") == [1.5]


def test_a_list_may_be_read_through_a_device_pointer(library, torch_device):
    out = torch.zeros(3, dtype=torch.int64, device=torch_device)
    library.from_device([4, 5, 6], out, threads=3)
    assert out.tolist() == [4, 5, 6]


def test_a_tensor_may_be_read_through_a_constant_reference(library, torch_device):
    x = torch.ones(4, device=torch_device)
    library.scale(x, torch.tensor([3.0], device=torch_device), 4)
    assert x.tolist() == [3] * 4


def test_a_long_list_is_passed_whole(received):
    assert received(list(range(500)), "long", 500) == list(range(500))


def test_a_zero_dimensional_cpu_tensor_is_a_value_and_double_is_float(received, since_2_8):
    assert received(torch.tensor(0.25, dtype=torch.float64), "float") == [0.25]


def test_a_list_of_tensors_is_an_array_of_addresses(library, torch_device, since_2_8):
    rows, out = torch.arange(9.0, device=torch_device).view(3, 3), torch.zeros(3, device=torch_device)
    library.gather(list(rows), out, threads=3)
    assert out.tolist() == [0, 4, 8]


def test_one_dimensional_positions(library, torch_device):
    out = torch.zeros(100, 11, dtype=torch.int32, device=torch_device)
    library.positions1(out, threads=100, group_size=48)
    expected = []
    for p in range(100):
        group, local = divmod(p, 48)
        n = min(48, 100 - 48 * group)
        expected.append([p, local, group, n, 48, 100, 3, local % 32, local // 32, (n + 31) // 32, 32])
    assert out.tolist() == expected


def test_three_dimensional_edge_groups_are_partial(library, torch_device):
    out = torch.zeros(3, 5, 7, 4, dtype=torch.int32, device=torch_device)
    library.positions3(out, threads=(7, 5, 3), group_size=(4, 3, 2))
    for z in range(3):
        for y in range(5):
            for x in range(7):
                nx, ny, nz = min(4, 7 - x // 4 * 4), min(3, 5 - y // 3 * 3), min(2, 3 - z // 2 * 2)
                lx, ly, lz = x % 4, y % 3, z % 2
                assert out[z, y, x].tolist() == [
                    nx * 100 + ny * 10 + nz, lx * 100 + ly * 10 + lz, (lz * ny + ly) * nx + lx, 1,
                ]  # fmt: skip


def test_without_a_group_size_a_line_is_one_group_and_a_plane_is_cut_into_lines(library, torch_device):
    out = torch.zeros(2, 3, dtype=torch.int32, device=torch_device)
    library.group_of(out, threads=(3, 2))
    assert out.unique().tolist() == [30001]
    line = torch.zeros(100, dtype=torch.int32, device=torch_device)
    library.bounded(line)
    assert line.tolist() == [64] * 64 + [36] * 36


def test_more_rows_of_groups_than_a_gpu_counts_in_y(library, torch_device):
    out = torch.zeros(70000, 1, dtype=torch.int32, device=torch_device)
    library.group_of(out, threads=[1, 70000], group_size=[1, 1])
    assert out.unique().tolist() == [10001]


def test_threadgroup_memory_is_shared_by_a_group(library, torch_device):
    x = torch.arange(512.0, device=torch_device)
    library.reverse(x, group_size=256)
    assert torch.equal(x.cpu(), torch.arange(512.0).view(2, 256).flip(1).flatten())


@pytest.mark.parametrize(
    "declarations",
    [
        "threadgroup float a[64];\n  threadgroup int b[32];",
        "threadgroup float a[64]; threadgroup int b[32];",
        "\n#if 1\n  threadgroup float a[64];\n#else\n  threadgroup float a[1];\n#endif\n  threadgroup int b[32];\n",
        "threadgroup float a[64];\n#ifndef ABSENT\n  threadgroup int b[32];\n#endif\n",
        "threadgroup float a[64]; // first\n  /* second */ alignas(16) threadgroup int b[32];",
    ],
)
def test_every_threadgroup_array_is_shared_however_it_is_declared(device_name, torch_device, declarations):
    library = compile_shader(
        HEADER
        + f"""
kernel void mirror(device float* x, device int* y, uint l [[thread_index_in_threadgroup]]) {{
  {declarations}
  a[l] = x[l];
  if (l < 32) b[l] = y[l];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[l] = a[63 - l];
  if (l < 32) y[l] = b[31 - l];
}}""",
        device_name,
    )
    assert library.mirror.static_thread_group_memory_length == 64 * 4 + 32 * 4
    x, y = torch.arange(64.0), torch.arange(32, dtype=torch.int32)
    mirrored = x.clone().to(torch_device), y.clone().to(torch_device)
    library.mirror(*mirrored, threads=64, group_size=64)
    assert torch.equal(mirrored[0].cpu(), x.flip(0)) and torch.equal(mirrored[1].cpu(), y.flip(0))


def test_a_grid_without_threads_does_nothing(library, torch_device):
    if torch_device.type == "mps":
        pytest.skip("Metal leaves it undefined")
    library.add_one(torch.zeros(0, device=torch_device))
    library.group_of(torch.zeros(0, dtype=torch.int32, device=torch_device), threads=(0, 4))


def test_the_properties_of_a_kernel(library):
    assert library.bounded.max_threads_per_threadgroup == 64
    assert library.add_one.max_threads_per_threadgroup <= 1024
    assert library.reverse.thread_execution_width == 32
    assert 1024 <= library.reverse.static_thread_group_memory_length <= 1056
    assert library.add_one.static_thread_group_memory_length == 0


def test_dir_lists_the_kernels(library):
    assert {"copy_long", "copy_float2", "scale", "bounded", "inner::named"} <= set(dir(library))
    assert "copy" not in dir(library)


def test_a_missing_kernel_raises_torchs_error(library):
    with pytest.raises(RuntimeError, match="^Failed to create function state object for: nothing$"):
        library.nothing  # noqa: B018


def test_too_much_threadgroup_memory_is_refused_when_the_kernel_is_taken(library):
    with pytest.raises(RuntimeError, match=r"memory size \(36864\) exceeds the maximum threadgroup memory allowed"):
        library.hungry  # noqa: B018


@pytest.mark.parametrize(
    "source", ["kernel void f(device float* x) { x[0] = y; }", "kernel void f(device flota* x) {}"]
)
def test_bad_metal_is_a_syntax_error_that_names_the_line(device_name, source):
    with pytest.raises(SyntaxError, match="program_source:?.*3"):
        compile_shader(HEADER + source, device_name)


@pytest.mark.parametrize(
    "argument, message",
    [
        (None, "Unsupported argument type"), ("text", "Unsupported argument type"),
        (torch.float32, "Unsupported argument type"), (1j, "Unsupported argument type"),
        ([], "Empty list/tuple can not be an argument to metal kernel"), (["a"], "Unexpected argument types"),
        ([None], "Unexpected argument types"), ([1, 2.5], "Unable to cast Python instance"),
        (2**70, "Unable to cast Python instance"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_bound_raises_torchs_error(library, torch_device, argument, message):
    with pytest.raises(RuntimeError, match=message):
        library.copy_long(argument, torch.zeros(1, dtype=torch.int64, device=torch_device), threads=1)


@pytest.mark.parametrize("casts", ["fp32", "int64", {0: "uint32"}])
def test_an_unknown_cast_raises_torchs_error(library, torch_device, casts):
    with pytest.raises(RuntimeError, match="Unsupported cast instruction"):
        library.copy_long(1, torch.zeros(1, dtype=torch.int64, device=torch_device), threads=1, arg_casts=casts)


def test_threads_that_are_unknown_raise_torchs_error(library):
    with pytest.raises(RuntimeError, match="Number of threads is undefined or has wrong dimension"):
        library.copy_long(1, 2)


@pytest.mark.parametrize("threads", [(), (1, 1, 1, 1), -1, "4"])
def test_threads_of_a_wrong_shape_are_refused(library, torch_device, threads):
    with pytest.raises(RuntimeError):
        library.add_one(torch.zeros(4, device=torch_device), threads=threads)


def test_a_group_of_another_rank_than_the_grid_is_refused(library, torch_device):
    with pytest.raises(RuntimeError):
        library.add_one(torch.zeros(4, device=torch_device), threads=4, group_size=(2, 2))


def test_a_group_over_the_limit_raises_torchs_error(library, torch_device):
    with pytest.raises(ValueError, match="^Threadgroup size exceeds 64 limit$"):
        library.bounded(torch.zeros(100, dtype=torch.int32, device=torch_device), group_size=65)


def test_a_tensor_of_another_device_is_refused(library, torch_device):
    with pytest.raises(RuntimeError):
        library.add_one(torch.zeros(4, device="meta"))
    if torch_device.type != "cpu":
        with pytest.raises(RuntimeError, match="Passed CPU tensor to"):
            library.add_one(torch.zeros(4))


def test_a_fake_tensor_is_refused(library, device_name):
    from torch._subclasses.fake_tensor import FakeTensorMode

    if device_name == "mps":
        pytest.skip("torch has its own words, or none")
    with FakeTensorMode():
        fake = torch.zeros(4, device="cpu" if device_name == "simulator" else device_name)
    with pytest.raises(RuntimeError, match="fake tensor"):
        library.add_one(fake)


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match='"mps", "cuda" or "simulator"'):
        compile_shader("", "cpu")


def test_a_device_that_is_not_there_is_a_clear_error():
    if not torch.backends.mps.is_available():
        with pytest.raises(RuntimeError, match="MPS is not available"):
            compile_shader("", "mps")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match=r"CUDA is not available|pip install mps-spectro-patch\[cuda\]"):
            compile_shader("", "cuda")


def test_importing_the_room_loads_no_compiler():
    code = """import sys, torch  # newer ones load cuda.bindings themselves
before = set(sys.modules)
import mps_spectro_patch.kernels
loaded = [m for m in set(sys.modules) - before if m.startswith(("cuda", "mps_spectro_patch.kernels."))]
print([m for m in loaded if m.rsplit(".")[-1] in ("simulator", "cuda", "mps", "bindings")])"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_buffers_and_offsets_beyond_two_gigabytes(device_name, torch_device):
    library = compile_shader(
        HEADER
        + """
kernel void mark(device uchar* x [[buffer(0)]], device uchar* last [[buffer(1)]], constant ulong& far [[buffer(2)]],
                 uint i [[thread_position_in_grid]]) {
  x[far + i] = uchar(i + 1);
  last[i] = 9;
}
""",
        device_name,
    )
    far = 2**31 + 5
    x = torch.empty(far + 100, dtype=torch.uint8, device=torch_device)  # pages that nobody touches cost nothing
    library.mark(x, x[far + 50 :], far, threads=3)
    assert x[far : far + 3].tolist() == [1, 2, 3] and x[far + 50 : far + 53].tolist() == [9, 9, 9]
