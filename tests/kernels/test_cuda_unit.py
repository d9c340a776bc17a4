"""The CUDA text made of Metal, through NVRTC alone: that needs no GPU, so it is checked wherever the libraries are."""

from __future__ import annotations

import pytest

from mps_spectro_patch.kernels.compilers import cuda
from mps_spectro_patch.kernels.launch import smooth_size
from mps_spectro_patch.kernels.plans import fft
from tests.tiers import some

pytestmark = pytest.mark.usefixtures("nvrtc")

EVERYTHING = """#include <metal_stdlib>
using namespace metal;
constant float table[4] = {1.0, 2.0, 3.0, 4.0};
struct Settings { float gain; int shift; };
template <typename T>
kernel void f(device T* x [[buffer(0)]], constant Settings& settings [[buffer(1)]], constant long* list [[buffer(2)]],
              uint3 p [[thread_position_in_grid]], uint3 n [[threads_per_threadgroup]],
              uint l [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup T tile[64];
  threadgroup atomic_uint count;
  if (l == 0) atomic_store_explicit(&count, 0u, memory_order_relaxed);
  tile[l] = x[p.x] * T(settings.gain) + T(table[l % 4]);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  atomic_fetch_add_explicit(&count, uint(list[lane]), memory_order_relaxed);
  float2 v = float2(tile[n.x - 1 - l], simd_sum(1.0f)).yx;
  x[p.x] = T(v.x + v.y);
}
template [[host_name("f_float")]] [[kernel]] decltype(f<float>) f<float>;
template [[host_name("f_half")]] [[kernel]] decltype(f<half>) f<half>;
"""


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
def test_metal_becomes_machine_code(capability, checked):
    image = cuda.compile_unit(cuda.unit(cuda.translation(EVERYTHING), checked=checked), capability)
    assert image.startswith(b"\x7fELF") and b"msl_kernel_0" in image and b"msl_kernel_1" in image


def test_a_device_newer_than_nvrtc_gets_ptx():
    image = cuda.compile_unit(cuda.unit(cuda.translation(EVERYTHING)), (99, 9))
    assert b".visible .entry msl_kernel_0" in image


def test_bad_metal_is_a_syntax_error_with_nvrtcs_log():
    with pytest.raises(SyntaxError, match=r"program_source\(2\).*nothing"):
        cuda.compile_unit(cuda.unit(cuda.translation("\nkernel void f(device nothing* x) {}")), (8, 0))


@pytest.mark.parametrize("n_fft", some([400, 1024, 8192], [400]))
def test_the_packages_own_kernels_become_machine_code(n_fft):
    for make in (fft.stft_plan, fft.istft_plan):
        text = cuda.unit(cuda.translation(smooth_size.kernel_source(make(n_fft))))
        assert cuda.compile_unit(text, (9, 0)).startswith(b"\x7fELF")
