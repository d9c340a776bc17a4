"""Compiling for the simulator stays short, or the suite would not."""

import resource

import pytest

from mps_spectro_patch.kernels import host, plan, real


@pytest.mark.parametrize("make", [plan.stft_plan, plan.istft_plan])
@pytest.mark.parametrize("n_fft", [1024, 7680, 8192])
def test_a_plan_compiles_within_4_seconds(n_fft, make, tmp_path, monkeypatch):
    host._simulator()  # built once per machine, not per plan
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(tmp_path))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    host.compile_shader(real.kernel_source(make(n_fft)))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    assert 0.05 < seconds < 4, "processor time of the compiler, which a busy machine does not stretch"
