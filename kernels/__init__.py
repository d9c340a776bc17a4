"""Metal sources, FFT plans and the three compilers that run one on Apple GPUs, on NVIDIA GPUs and on the CPU.
Importing this compiles nothing and loads no compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:  # the public names; a type checker would take any name from __getattr__
    from .compilers import compile_shader as compile_shader
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "compilers": ("check_files", "compile_shader"),
            "compilers.cache_folder": ("cache_directory", "locked", "read_json", "wanted_directory", "write_file"),
            "launch": ("any_size", "feature_passes", "features", "kaldi", "smooth_size", "stft_loss", "transforms"),
            "launch.dispatch": ("Ready", "gapless", "kernel_text", "readable", "text_digest"),
            "plans": ("fft",),
            "plans.frozen": ("hashed_once",),
            "plans.geometry": ("IstftGeometry", "StftGeometry"),
            "plans.plan": ("Plan",),
            "tables.by_tensor": ("ByTensor", "TensorState"),
            "tables.envelope": ("inverse_envelope",),
            "tables.filterbank": ("Bands", "bands_of", "bases"),
            "tables.windows": ("whole_window",),
        },
    )
