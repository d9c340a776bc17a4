"""Launches against kernels: the rules one by one, every launch that the package has, and that none is left out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from mps_spectro_patch.kernels.launch import dispatch, features, params, smooth_size, transforms
from mps_spectro_patch.kernels.launch.params import Params
from mps_spectro_patch.kernels.plans import fft
from tests import tiers
from tests.kernels import feature_hazards
from tests.kernels.test_hazards import OPERATIONS, Case

from . import recording
from .binding import mismatches
from .checker import check

SOURCE = """#include <metal_stdlib>
using namespace metal;
[[max_total_threads_per_threadgroup(64)]]
kernel void f(device float* x [[buffer(0)]], const device float2* z [[buffer(1)]], constant int* p [[buffer(2)]],
              constant float& scale [[buffer(3)]], constant long& n [[buffer(4)]], uint i [[thread_position_in_grid]]) {
  x[i] = z[i].x * scale * float(p[0] + p[3]) + float(n);
}
"""
X, Z, P = torch.zeros(64), torch.zeros(64, dtype=torch.complex64), [1, 2, 3, 4]
CASTS = {2: "int32"}


@pytest.fixture(scope="module")
def signature():
    report = check(SOURCE)
    assert not report.findings
    return report.signatures[0]


def test_a_fitting_launch_is_not_objected_to(signature):
    assert not mismatches(signature, [X, Z, P, 1.0, 5], 128, 64, CASTS)
    assert not mismatches(signature, [X, torch.zeros(64, 2), tuple(P), 1.0, 5], (128,), (64,), CASTS)


@pytest.mark.parametrize("change, words", [
    ({"args": [X, Z, P, 1.0]}, "4 arguments"), ({"casts": {}}, "passed as long"),
    ({"casts": {2: "int16"}}, "passed as short"), ({"casts": "int32"}, "cast floats"),
    ({"casts": {2: "int32", 0: "int32"}}, "takes none"),
    ({"args": [X, Z, [1, 2, 3], 1.0, 5]}, "3 numbers are passed, 4 are read"),
    ({"args": [X, Z, [1, 2, 3, 4.0], 1.0, 5]}, "more than one type"), ({"args": [X, Z, P, 1, 5]}, "passed as long"),
    ({"args": [X, Z, P, 1.0, 5.0]}, "passed as float"), ({"casts": {2: "int32", 4: "int32"}}, "passed as int"),
    ({"args": [X, Z, torch.zeros(4, dtype=torch.int32), 1.0, 5]}, "constant memory"),
    ({"args": [X, Z, 7, 1.0, 5]}, "number"),
    ({"args": [X, [1.0], P, 1.0, 5]}, "inline data"), ({"args": [X.double(), Z, P, 1.0, 5]}, "float64"),
    ({"args": [X.half(), Z, P, 1.0, 5]}, "float16"), ({"args": [X, Z.conj(), P, 1.0, 5]}, "conjugate"),
    ({"args": [X, Z, P, 1.0, True]}, "bool"), ({"args": [X, Z, P, torch.tensor(1.0), 5]}, "without dimensions"),
    ({"args": [X, Z, [0] * 2000, 1.0, 5]}, "8000 bytes"), ({"args": [X, Z, P, None, 5]}, "cannot be bound"),
    ({"threads": 100}, "whole groups"), ({"group": 32}, "max_total"), ({"group": None}, "both are given"),
    ({"threads": None}, "both are given"), ({"group": (64, 1)}, "one rank"), ({"threads": 0}, "whole groups"),
    ({"threads": 4096, "group": 2048}, "2048 threads"), ({"threads": 64.0}, "both are given"),
])  # fmt: skip
def test_what_does_not_fit_is_said(signature, change, words):
    values = {"args": [X, Z, P, 1.0, 5], "threads": 128, "group": 64, "casts": CASTS} | change
    found = mismatches(signature, values["args"], values["threads"], values["group"], values["casts"])
    assert any(words in sentence for sentence in found), found


def test_a_tensor_that_fits_elsewhere_may_stand_in_for_an_unneeded_one_but_not_be_written():
    source = """#include <metal_stdlib>
kernel void f(const device float* x [[buffer(0)]], const device int* unused [[buffer(1)]], device half* y [[buffer(2)]],
              uint i [[thread_position_in_grid]]) { y[i] = half(x[i]); }"""
    (signature,) = check(source).signatures
    half = X.half()
    assert not mismatches(signature, [X, X, half], 64, 64, None)
    assert "argument 1" in mismatches(signature, [X, X + 1, half], 64, 64, None)[0]
    assert "argument 2" in mismatches(signature, [X, X, X], 64, 64, None)[0]


@dataclass(frozen=True)
class BandParams(Params):
    rows: int
    stride: int
    mirrored: bool


@dataclass(frozen=True)
class BandScale(Params):
    factor: float
    offset: float


STRUCTS = """#include <metal_stdlib>
using namespace metal;
%s
kernel void f(device float* x [[buffer(0)]], constant MspBandParams& params [[buffer(1)]],
              constant MspBandScale& scale [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  x[i] = scale.factor * float(params.rows) + scale.offset;
}
"""
DECLARED = {"params": BandParams.declaration(), "scale": BandScale.declaration()}
GIVEN = [X, BandParams(1, 2, True), BandScale(0.5, 1.0)]


def struct_mismatches(args: list, casts: dict | None = None, **changed: str) -> list[str]:
    (signature,) = check(STRUCTS % "".join((DECLARED | changed).values())).signatures
    return mismatches(signature, args, 64, 64, {1: "int32"} if casts is None else casts)


def test_parameters_fit_the_struct_that_is_made_of_their_class_and_so_do_their_lists():
    assert GIVEN[1].packed() == [1, 2, 1] and all(type(number) is int for number in GIVEN[1].packed())
    assert GIVEN[2].packed() == [0.5, 1.0]
    assert DECLARED["params"] == "struct MspBandParams {\n  int rows;\n  int stride;\n  int mirrored;\n};\n"
    assert not struct_mismatches(GIVEN) and not struct_mismatches([X, [1, 2, 1], [0.5, 1.0]])


def test_behind_a_pointer_there_may_be_several_structs_and_no_part_of_one():
    several = STRUCTS.replace("MspBandScale& scale", "MspBandScale* scale").replace("scale.", "scale[1].")
    (signature,) = check(several % "".join(DECLARED.values())).signatures

    def found(scale, casts=None):
        return mismatches(signature, [*GIVEN[:2], scale], 64, 64, casts or {1: "int32"})

    assert not found([0.5, 1.0, 0.25, 2.0]) and not found([0.5, 1.0])
    assert "3 numbers are passed as float" in found([0.5, 1.0, 0.25])[0]
    assert "4 numbers are passed as long" in found([1, 2, 3, 4])[0]
    assert "Metal takes 4096" in found([0.5, 1.0] * 513)[0]


@pytest.mark.parametrize("members, what", [
    ("int rows; int stride; int mirrored; int more;", "a member too many"), ("int rows; int stride;", "one too few"),
    ("int stride; int rows; int mirrored;", "another order"), ("int rows; int stride; float mirrored;", "another type"),
    ("int rows; int stride; bool mirrored;", "another type"), ("int rows; long stride; int mirrored;", "another type"),
    ("int rows; uint stride; int mirrored;", "another type"), ("int rows; int step; int mirrored;", "another name"),
])  # fmt: skip
def test_a_struct_that_is_not_its_class_is_found(members, what):
    changed = f"struct MspBandParams {{ {members} }};\n"
    (found,) = struct_mismatches(GIVEN, params=changed)
    assert found.startswith("argument 1 ('params'): BandParams with the members"), what
    if what in ("a member too many", "one too few", "another type"):  # a list has no names and no order
        (found,) = struct_mismatches([X, [1, 2, 1], GIVEN[2]], params=changed)
        assert "3 numbers are passed as int" in found


@pytest.mark.parametrize("args, casts, words", [
    ([X, GIVEN[2], GIVEN[1]], {1: "int32"}, "BandScale with the members"),
    ([X, GIVEN[1], [0.5, 1.0, 2.0]], {1: "int32"}, "3 numbers are passed as float"),
    (GIVEN, {}, "3 numbers are passed as long"), (GIVEN, {1: "int32", 2: "int32"}, "2 numbers are passed as int"),
    ([X, 7, GIVEN[2]], {1: "int32"}, "a number, declared"), ([X, [True, 2, 1], GIVEN[2]], {1: "int32"}, "one type"),
    ([X, torch.zeros(3, dtype=torch.int32), GIVEN[2]], {}, "constant memory"),
])  # fmt: skip
def test_what_does_not_fit_a_struct_is_said(args, casts, words):
    found = struct_mismatches(args, casts)
    assert any(words in sentence for sentence in found), found


def test_members_of_two_kinds_are_not_one_list():
    @dataclass(frozen=True)
    class Mixed(Params):
        rows: int
        factor: float

    with pytest.raises(AssertionError, match="Mixed cannot be bound as one list"):
        Mixed(1, 0.5).packed()


def test_a_launch_with_the_parameters_of_another_kernel_fails_the_test_that_makes_it(monkeypatch):
    recording.forget()
    original = params.declarations

    def changed(text: str) -> str:
        return original(text).replace("  int frames;\n  int total_frames;\n", "  int total_frames;\n  int frames;\n")

    monkeypatch.setattr(dispatch, "declarations", changed)
    with pytest.raises(AssertionError, match=r"argument 6 \('given'\): StftParams with the members"):
        transforms.stft(torch.zeros(2, 99), torch.ones(16), Case(16, True).forward)
    monkeypatch.undo()
    recording.forget()


def run_every_launch() -> None:
    for n_fft in (16, 7, 8):
        for operation in OPERATIONS.values():
            operation(Case(n_fft, True, pad_mode="constant"))
    for operation in (operation for name, operation in OPERATIONS.items() if name not in feature_hazards.OPERATIONS):
        case = {"dtype": torch.complex64, "window_dtype": torch.complex64, "complex_output": True}
        operation(Case(16, False, **case))
    transforms.stft(torch.zeros(2, 99).half(), torch.ones(16), Case(16, True).forward)


def test_every_launch_in_the_code_is_made_and_fits_its_kernel():
    recording.forget()
    with recording.recorded() as sites:
        run_every_launch()
        assert not recording.sites_not_in(sites), "launches that are not made: drive them in run_every_launch()"


def test_a_launch_that_is_not_made_is_named():
    everything = recording.sites_not_in(set())
    assert len(everything) >= 5
    one = sorted(everything)[0]
    assert recording.sites_not_in({one}) == everything - {one}


def test_a_kernel_is_parsed_once_for_all_its_sizes():
    """Whatever the number of stages, of lanes, of points: only the limit of threads is each size's own."""
    recording.forget()
    kinds = set()
    for n_fft in (16, 18, 64, 400, 2048, 8192):
        for which, kind in (
            (fft.stft_plan(n_fft), smooth_size.Kind("msp_stft")),
            (fft.istft_plan(n_fft), smooth_size.Kind("msp_istft", adjoint=True)),
        ):
            found = recording.signature_of(kind.name, which.defines() + kind.defines())
            assert found.max_threads == which.threads and found.kernel == kind.name
        which = fft.registers_plan(n_fft, n_fft // which.radices[-1])
        if which is not None:
            found = recording.signature_of("msp_istft_registers", which.defines() + smooth_size.Kind("").defines())
            assert found.max_threads == which.threads
    for n_fft in (7, 22, 1085, 1933, 400):
        name, defines, which = features.launched(n_fft, 40, False, scale="clamp")
        kinds.add((name, *(line for line in defines.splitlines() if "BLUESTEIN" in line or "PACKED" in line)))
        assert recording.signature_of(name, defines).max_threads == which.threads
    assert recording._signature.cache_info().misses == 3 + len(kinds) == 6


def test_a_launch_that_does_not_fit_fails_the_test_that_makes_it(monkeypatch):
    recording.forget()
    monkeypatch.setitem(dispatch.SAMPLE_TYPES, torch.float16, "float")  # reads half as float
    with pytest.raises(AssertionError, match=r"does not fit it: \[\"argument 0 \('input'\): a tensor of torch.float16"):
        transforms.stft(torch.zeros(2, 99).half(), torch.ones(16), Case(16, True).forward)
    monkeypatch.undo()
    recording.forget()


class _Session:
    """What the hook at the end of a run looks at."""

    def __init__(self, **options) -> None:
        self.exitstatus = 0
        option = {"keyword": "", "markexpr": "", "collectonly": False, **options}
        self.config = type("Config", (), {"option": type("Option", (), option)(), "args": ["tests"],
                                          "getini": lambda self, name: ["tests"]})()  # fmt: skip


def test_a_run_of_the_whole_suite_or_of_its_first_tier_fails_where_a_launch_was_never_made(capsys):
    with recording.recorded() as sites:
        for session in (_Session(), _Session(markexpr=tiers.FIRST)):
            recording.pytest_sessionfinish(session, 0)
            assert session.exitstatus == 1 and "smooth_size.py:" in capsys.readouterr().err
        parts = {"keyword": "some"}, {"markexpr": tiers.SECOND}, {"markexpr": "slow"}, {"collectonly": True}
        for part in (_Session(**options) for options in parts):
            recording.pytest_sessionfinish(part, 0)
            assert part.exitstatus == 0
        node = type("Node", (), {"workeroutput": {"launch_sites": recording.sites_not_in(set())}})
        recording.pytest_testnodedown(node, None)  # what a worker of pytest-xdist has seen
        recording.pytest_sessionfinish(session := _Session(), 0)
        assert session.exitstatus == 0 and sites
