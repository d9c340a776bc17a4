"""The checker on what the package generates: representatives of every kernel and some drawn by lot; or everything."""

from __future__ import annotations

import os
import random
import re
import shutil
from pathlib import Path

import pytest

from mps_spectro_patch import kernels
from mps_spectro_patch.kernels.launch import dispatch
from mps_spectro_patch.kernels.plans.fft import THREADGROUP_BYTES
from tests.conftest import SEED

from . import sources, sweep

ALL = os.environ.get("MPS_SPECTRO_CONFORMANCE") == "all"
DRAWN = 200


@pytest.mark.parametrize("traits, trees", [
    pytest.param(lambda source: {source.kernel}, 5, id="first"),
    pytest.param(sources.combined_traits, 50, id="all", marks=pytest.mark.thorough),
])  # fmt: skip
def test_no_representative_of_what_the_package_generates_is_flagged(traits, trees):
    """By clang, by a look at the tree of every shape of a declaration, and against what it is launched with."""
    outcome = sweep.sweep(given := sources.representatives(traits))
    assert outcome.sources == len(given) and outcome.trees >= trees
    assert not outcome.findings, f"{len(outcome.findings)} findings, the first: {outcome.findings[:3]}"


@pytest.mark.thorough
def test_nor_is_one_that_is_drawn_by_lot():
    everything = sources.everything()
    drawn = everything if ALL else random.Random(SEED).sample(everything, DRAWN)
    outcome = sweep.sweep(drawn)
    assert outcome.sources >= DRAWN and outcome.trees
    assert not outcome.findings, f"{len(outcome.findings)} findings, the first: {outcome.findings[:3]}"


def test_group_sizes_are_whole_and_at_most_1024():
    for source in sources.everything():
        assert isinstance(source.threads, int) and 1 <= source.threads <= 1024, source.label


def test_threadgroup_memory_of_every_plan_fits():
    plans = {source.plan for source in sources.everything()} - {None}
    assert max(which.threadgroup_bytes for which in plans) <= THREADGROUP_BYTES == 32_768


def test_everything_is_many_thousand_sources_and_representatives_have_all_their_traits():
    everything, chosen = sources.everything(), sources.representatives()
    assert len(everything) > 5000 and len(set(everything)) == len(everything)
    traits = sources.combined_traits
    assert set().union(*map(traits, chosen)) == set().union(*map(traits, everything))


def test_the_plans_of_a_kernel_are_those_of_all_its_sources():
    for kernel in ("msp_stft", "msp_istft", "msp_window_gradient", "msp_any_stft", "msp_any_istft"):
        assert set(sources.plans_of(kernel)) == {s.plan for s in sources.everything() if s.kernel == kernel}, kernel


def test_every_metal_file_is_part_of_some_source():
    """A new family has to show its sources: a module of kernels/launch with its KERNELS, and a way into sources.py."""
    folder = Path(kernels.__file__).parent / "metal"
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*.metal")}
    own = {dispatch._files()[source.kernel] for source in sources.everything()}
    assert own == {path for path in there if path.startswith("kernels/")}
    assert there == set().union(*map(sources.files, own))
    shown = {source.kernel for source in sources.everything()}
    assert shown == {name for family in sources.families() for name in family.KERNELS} == set(dispatch._files())


def test_a_file_is_put_in_its_place_once_and_a_text_includes_nothing_but_metals_library():
    for source in sources.representatives():
        assert re.findall(r"#include.*", source.text) == ["#include <metal_stdlib>"], source.label
        for path in sources.files(dispatch._files()[source.kernel]):
            first = dispatch._read(path).splitlines()[0]
            assert source.text.count(first + "\n") == 1, (source.label, path)


@pytest.mark.parametrize("changed", ["metal/overlap/envelope.metal", "launch/params.py"])
def test_the_digest_of_the_text_changes_with_a_file_of_any_folder_and_with_the_parameters(
    tmp_path, monkeypatch, changed
):
    shutil.copytree(Path(kernels.__file__).parent, tmp_path / "kernels", ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.setattr(dispatch, "_METAL", tmp_path / "kernels" / "metal")
    monkeypatch.setattr(dispatch, "__file__", str(tmp_path / "kernels" / "launch" / "dispatch.py"))
    digest = dispatch.text_digest.__wrapped__
    before = digest()
    assert before == dispatch.text_digest()
    path = tmp_path / "kernels" / changed
    path.write_text(path.read_text() + "\n")
    assert digest() != before


def test_a_file_that_is_not_there_is_an_error(monkeypatch):
    read = dispatch._read
    monkeypatch.setattr(dispatch, "_read", lambda path: read(path) + '#include "frames/nothing.metal"\n')
    with pytest.raises(FileNotFoundError, match="nothing.metal"):
        dispatch.kernel_text("msp_stft")
