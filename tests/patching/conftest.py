"""What the tests of the patch layer share: processes in which torch.compile is at work."""

from __future__ import annotations

import textwrap

import pytest

from tests import like_mps

COMPILING = """
import mps_spectro_patch as msp

from mps_spectro_patch.execution import call_cache
from mps_spectro_patch.kernels.launch import features, transforms

def runs_ours(function):
    # Whether calling it ran a kernel of ours, also from code that inductor generated.
    names = {transforms: ("stft", "istft", "ready_stft", "ready_istft"), features: ("features", "ready_features")}
    launched = []
    kept = {(library, name): getattr(library, name) for library in names for name in names[library]}
    call_cache.clear()
    for (library, name), real in kept.items():
        setattr(library, name, lambda *args, real=real: launched.append(1) or real(*args))
    try:
        function()
    finally:
        for (library, name), real in kept.items():
            setattr(library, name, real)
    return bool(launched)

def import_dynamo():
    torch.compile(lambda a: a + 1, backend="eager")(x)

def early_bound(signal):
    return original_stft(signal, 400, 160, 400, window, return_complex=True).abs()

def round_trip(signal):
    spectrum = torch.stft(signal, 400, 160, 400, window, return_complex=True)
    return torch.istft(spectrum, 400, 160, 400, window, length=signal.shape[-1])

expected = magnitude(x)

def check(function, ours, backend="eager", **options):
    compiled = torch.compile(function, fullgraph=True, backend=backend, **options)
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)
    assert runs_ours(lambda: compiled(x)) is ours, (function, backend)
    return compiled
"""


def compiles_with(backend: str) -> None:
    """For tests whose compiled code has kernels that torch writes itself."""
    if backend == "inductor" and like_mps.wanted():
        pytest.skip("like-mps is not a Mac: inductor writes Metal of its own, which only Apple's compiler takes")


@pytest.fixture
def run_compiled(run_python, tmp_path, forker):
    """run_python() with the helpers above and a compile cache that the runs of one test share. torch's compiler is
    imported beforehand, unless that is what a test is about: anew=True."""

    def run(code, anew=False, **environment):
        program = COMPILING + textwrap.dedent(code)
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path)
        return run_python(program, forker=None if anew else forker, **environment)

    return run
