"""The feature kernels' text: becomes NVIDIA machine code, and stays within what Metal allows."""

from __future__ import annotations

import pytest

from mps_spectro_patch.kernels.compilers import cuda
from mps_spectro_patch.kernels.launch import dispatch, features
from mps_spectro_patch.kernels.plans import fft
from tests.tiers import some

CASES = [  # both families and ends, every way through features.metal once
    (400, True, False, 2.0), (400, True, True, 1.0), (8192, True, True, 1.3), (1218, True, False, 1.0),
    (1218, False, True, 1.0),
]  # fmt: skip


@pytest.mark.parametrize("n_fft, banded, gradient, power", some(CASES, [CASES[0], CASES[4]]))
def test_they_become_machine_code(n_fft, banded, gradient, power, nvrtc):
    text = cuda.unit(cuda.translation(features.kernel_source(n_fft, banded, gradient, power, scale="clamp")))
    assert cuda.compile_unit(text, (9, 0)).startswith(b"\x7fELF")


@pytest.mark.thorough
@pytest.mark.parametrize("n_fft, gradient, power", [(400, False, 1.0), (400, True, 1.0), (1218, True, 1.3)])
def test_a_floor_becomes_machine_code(n_fft, gradient, power, nvrtc):
    source = features.kernel_source(n_fft, False, gradient, power, scale="clamp", floored=True)
    text = cuda.unit(cuda.translation(source))
    assert cuda.compile_unit(text, (9, 0)).startswith(b"\x7fELF")


@pytest.mark.thorough
@pytest.mark.parametrize("n_fft", [400, 1024, 1218])
def test_a_contiguous_layout_becomes_machine_code(n_fft, nvrtc):
    text = cuda.unit(cuda.translation(features.kernel_source(n_fft, power=1.0, scale="clamp", contiguous=True)))
    assert cuda.compile_unit(text, (9, 0)).startswith(b"\x7fELF")


@pytest.mark.thorough
@pytest.mark.parametrize("scale", features.SCALES)
@pytest.mark.parametrize("n_fft, gradient", [(400, False), (400, True), (1218, False), (1218, True)])
def test_every_scale_becomes_machine_code(n_fft, gradient, scale, nvrtc):
    source = features.kernel_source(n_fft, gradient=gradient, scale=scale)
    assert f"#define MSP_SCALE {features.SCALES[scale]}\n" in source
    text = cuda.unit(cuda.translation(source))
    assert cuda.compile_unit(text, (9, 0)).startswith(b"\x7fELF")


def test_few_bins_of_an_odd_frame_become_machine_code(nvrtc):
    source = features.kernel_source(1933, scale="clamp", used=513)
    assert "#define MSP_FOLDED 1" in source
    assert cuda.compile_unit(cuda.unit(cuda.translation(source)), (9, 0)).startswith(b"\x7fELF")


def test_the_second_launches_become_machine_code(nvrtc):
    text = cuda.unit(cuda.translation(dispatch.kernel_text("msp_limit")))
    image = cuda.compile_unit(text, (9, 0))
    assert image.startswith(b"\x7fELF") and b"msl_kernel_2" in image


def test_threadgroups_fit_into_32_kilobytes_and_1024_threads():
    for n_fft in range(2, fft.MAX_N_FFT + 1):
        if not fft.supports(n_fft):
            continue
        for bands, gradient in ((0, False), (0, True), (80, False), (256, True)):
            program = features._program(n_fft, bands, gradient)
            if program is None:
                assert bands and n_fft > 8000  # powers do not fit beside the transform: the product is torch's there
                continue
            assert 8 * program.plan.frames * program.slot_pairs <= fft.THREADGROUP_BYTES
            assert program.plan.threads <= 1024
            if n_fft % 2 and not gradient:  # few bins have a kernel wherever all have one
                for used in (1, n_fft // 8 + 1, n_fft // 4 + 1):
                    few = features._program(n_fft, bands, gradient, used)
                    assert few is not None and 8 * few.plan.frames * few.slot_pairs <= fft.THREADGROUP_BYTES


@pytest.mark.parametrize("n_fft", [50, 400, 2048, 8192, 15, 1218])
def test_the_text_keeps_to_the_metal_subset(n_fft):
    kernels = [features.kernel_source(n_fft, gradient=gradient, scale="clamp") for gradient in (False, True)]
    text = "".join(kernels) + dispatch.kernel_text("msp_limit")
    assert text.isascii()
    for word in ("double", "atomic_", "sin(", "cos(", "if constexpr", "auto ", "[&]", "[=]", "simd_shuffle("):
        assert word not in text.replace("metal::", ""), word
