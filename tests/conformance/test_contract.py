"""The contract's table on all three compilers, and on Apple's own where this runs on a Mac.

The simulator and CUDA keep the newest release's contract. Apple's compiler keeps that of the torch that is installed:
entries of a later release must fail there.
"""

from __future__ import annotations

import pytest
import torch

from mps_spectro_patch.kernels import compile_shader
from mps_spectro_patch.kernels.compilers import cuda

from .contract import CASTS, ENTRIES, KEYWORDS, PROPERTIES, RELEASES, SOURCE, SURFACE, at_least, release_of

DEVICES = {"simulator": "cpu", "cuda": "cuda", "mps": "mps"}


@pytest.fixture(scope="module", params=["simulator", "cuda", pytest.param("mps", marks=pytest.mark.device)])
def compiler(request):
    """(name, library, function that moves a tensor to its device)."""
    name = request.param
    if name == "mps" and not torch.backends.mps.is_available():
        pytest.skip("Apple's own compiler: there is no Apple GPU here to try this line of the contract on")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU here: NVRTC compiles the table's kernels below, and nothing launches them")
    device = torch.device(DEVICES[name])
    return name, compile_shader(SOURCE, name), lambda tensor: tensor.to(device)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name.replace(" ", "-"))
def test_the_contract(compiler, entry):
    name, library, make = compiler
    is_later = name == "mps" and not at_least(release_of(torch.__version__), entry.since)
    if is_later and entry.before is not None:
        assert entry.run(library, make) == entry.before
    elif is_later:
        with pytest.raises((RuntimeError, TypeError, ValueError)):
            entry.run(library, make)
    elif entry.error is not None:
        with pytest.raises(entry.error, match=entry.message):
            entry.run(library, make)
    else:
        assert entry.run(library, make) == entry.expected


def test_nvrtc_compiles_the_tables_kernels_without_a_gpu(nvrtc):
    source = SOURCE.split("kernel void hungry")[0]  # that one is too large for CUDA as well
    assert cuda.compile_unit(cuda.unit(cuda.translation(source)), (9, 0)).startswith(b"\x7fELF")


@pytest.mark.parametrize("name", DEVICES)
def test_bad_metal_is_a_syntax_error_with_the_compilers_words(name, request):
    if name == "cuda":
        request.getfixturevalue("nvrtc")
    source = "#include <metal_stdlib>\nkernel void f(device float* x) { x[0] = nothing; }\n"
    if name == "mps" and not torch.backends.mps.is_available():
        with pytest.raises(RuntimeError, match="MPS is not available"):
            compile_shader(source, name)
    elif name == "cuda" and not torch.cuda.is_available():
        with pytest.raises(SyntaxError, match="nothing"):
            cuda.compile_unit(cuda.unit(cuda.translation(source)), (9, 0))
    else:
        with pytest.raises(SyntaxError, match="nothing"):
            compile_shader(source, name)


def test_the_table_covers_every_release_and_only_grows():
    assert RELEASES[0] == "2.7" and RELEASES[-1] == "2.15"
    for earlier, later in zip(RELEASES, RELEASES[1:], strict=False):
        assert SURFACE[earlier] <= SURFACE[later] and KEYWORDS[earlier] <= KEYWORDS[later]
    assert {entry.since for entry in ENTRIES} <= set(RELEASES)


def test_the_installed_torch_has_the_documented_surface():
    """Here, too: the Python side of torch.mps is the same on every platform."""
    release = release_of(torch.__version__)
    if release not in SURFACE:
        pytest.skip(f"the table ends at {RELEASES[-1]}, this is {release}: extend it")
    missing = {name for name in SURFACE[release] if not hasattr(torch.mps, name)}
    assert not missing
    assert hasattr(torch.mps, "load_metallib") == at_least(release, "2.13")


def test_the_table_of_casts_and_properties_is_what_the_simulator_has(compiler):
    name, library, make = compiler
    if name == "simulator":
        for cast in CASTS:
            library.longs([1], make(torch.zeros(1, dtype=torch.int64)), threads=1, arg_casts=cast)
    assert all(isinstance(getattr(library.bounded, name), int) for name in PROPERTIES)
