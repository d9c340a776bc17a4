"""The checker on what the package generates: representatives of every plan and kernel here, everything on demand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mps_spectro_patch import kernels
from mps_spectro_patch.kernels.plan import THREADGROUP_BYTES

from . import checker, sources

ALL = os.environ.get("MPS_SPECTRO_CONFORMANCE") == "all"


@pytest.fixture(scope="module")
def checked() -> list[tuple[sources.Generated, checker.Report]]:
    representatives = set(sources.representatives())
    some = sources.everything() if ALL else representatives
    # The tree of the others is that of a representative with other numbers in it.
    return [(source, checker.check(source.text, house=True, deep=source in representatives)) for source in some]


def test_no_source_that_the_package_generates_is_flagged(checked):
    flagged = [f"{source.label}: {finding}" for source, report in checked for finding in report.findings]
    assert not flagged, f"{len(flagged)} findings, the first: {flagged[:3]}"


def test_every_kernel_is_bounded_by_what_it_is_launched_with(checked):
    for source, report in checked:
        limits = {signature.kernel: signature.max_threads for signature in report.signatures}
        assert limits.get(source.kernel) == source.threads, source.label


def test_group_sizes_are_whole_and_at_most_1024():
    for source in sources.everything():
        assert isinstance(source.threads, int) and 1 <= source.threads <= 1024, source.label


def test_threadgroup_memory_of_every_plan_fits():
    plans = {source.plan for source in sources.everything()} - {None}
    assert max(which.threadgroup_bytes for which in plans) <= THREADGROUP_BYTES == 32_768


def test_everything_is_many_thousand_sources_and_representatives_have_all_their_traits():
    everything, chosen = sources.everything(), sources.representatives()
    assert len(everything) > 5000 and len(set(everything)) == len(everything)
    assert set().union(*map(sources.traits, chosen)) == set().union(*map(sources.traits, everything))


def test_every_metal_file_is_part_of_some_source():
    """A new family has to show its sources: a module of kernels/ with its _PARTS, and a way into sources.py."""
    there = {path.stem for path in Path(kernels.__file__).parent.glob("*.metal")}
    assert there == {part for source in sources.everything() for part in source.parts}
    assert there == set().union(*map(sources.files, sources.families()))
