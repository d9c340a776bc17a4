"""Compiling for the simulator stays short, or the suite would not."""

import resource

import pytest

from mps_spectro_patch.kernels.compilers import simulator
from mps_spectro_patch.kernels.launch import smooth_size
from mps_spectro_patch.kernels.plans import fft


@pytest.mark.parametrize("make", [fft.stft_plan, fft.istft_plan])
@pytest.mark.parametrize("n_fft", [1024, 7680, 8192])
def test_a_plan_compiles_within_4_seconds(n_fft, make, tmp_path, monkeypatch):
    simulator._simulator()  # built once per machine, not per plan
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(tmp_path))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    simulator.compile_shader(smooth_size.kernel_source(make(n_fft)))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    assert 0.05 < seconds < 4, "processor time of the compiler, which a busy machine does not stretch"
