"""The checker over many sources: as it is over one, only sooner."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from mps_spectro_patch.kernels.compilers import simulator
from tests.conftest import SEED

from . import shapes, sources, sweep
from .rewriting import rewrite

HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"
KERNEL = """template <int SIZE> inline float msp_first(threadgroup float* all) {{ return all[SIZE - {less}]; }}
[[max_total_threads_per_threadgroup({lanes} * 2)]]
kernel void f(device float* x [[buffer({first})]], device float* y [[buffer(1)]],
              uint i [[thread_index_in_threadgroup]]) {{
  threadgroup float shared[{size}];
  float own[4];
  shared[i] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  own[{index}] = msp_first<{size}>(shared);
  y[i] = own[{index}] + {more};
}}
"""


@dataclass(frozen=True)
class Text:
    """Stands for sources.Generated."""

    label: str
    text: str
    threads: int = 128
    kernel: str = "f"


def kernel(label: str, threads: int = 128, **numbers: object) -> Text:
    values = dict(lanes=64, first=0, size=2048, index=3, less=1, more="1.5f") | numbers
    return Text(label, HEAD + KERNEL.format(**values), threads)


def test_numbers_in_a_rewritten_shape_give_what_rewriting_gives():
    some = random.Random(SEED).sample(sources.everything(), 24)
    for source, text in zip(some, sweep.preprocessed([source.text for source in some]), strict=True):
        shaped, numbers = shapes.shape(text)
        direct, filled = rewrite(simulator.preprocess(source.text)), shapes.Mould(shaped).fill(numbers)
        assert [replace(k, line=0) for k in filled.kernels] == [replace(k, line=0) for k in direct.kernels]
        assert shapes._MARKERS.sub("", filled.text) == shapes._MARKERS.sub("", direct.text)


def test_the_same_kernel_in_other_sizes_is_one_shape_and_one_tree():
    outcome = sweep.sweep([kernel(f"{size}", size=size) for size in (128, 2048, 8192)])
    assert (outcome.sources, outcome.shapes, outcome.trees, outcome.findings) == (3, 1, 1, [])


@pytest.mark.parametrize("numbers, words", [
    (dict(size=8193), "threadgroup memory of f"), (dict(index=4), "index: array index 4"),
    (dict(lanes=32), "launched with 128 threads, its text says 64"), (dict(lanes=64, threads=64), "launched with 64"),
    (dict(first=1), "two parameters at buffer 1"), (dict(first=31), "buffer 31"), (dict(more="double(1)"), "double"),
])  # fmt: skip
def test_a_mistake_in_one_of_many_is_found_whatever_came_before_it(numbers, words):
    outcome = sweep.sweep([kernel("right"), kernel("wrong", **numbers), kernel("right again", size=64)])
    assert outcome.findings and all(finding.startswith("wrong: ") for finding in outcome.findings)
    assert any(words in finding for finding in outcome.findings), outcome.findings


def test_a_text_that_is_no_program_is_a_finding():
    wrong = Text("wrong", kernel("wrong").text + "inline float msp_open() { return (1; }\n")
    first, *_ = sweep.sweep([kernel("right"), wrong]).findings
    assert first.startswith("wrong: line 1: syntax")


def test_every_tree_looks_at_one_of_every_shape_of_a_text():
    other = "inline float msp_other() { return 1; }\n"
    both = [kernel("a"), kernel("b", more="2.5f"), Text("a, other", kernel("a").text + other)]
    both.append(Text("b, other", both[1].text + other))
    assert [sweep.sweep(both, every).trees for every in (False, True)] == [3, 4]


def test_processes_side_by_side_find_what_one_finds():
    given = [
        kernel("right"),
        kernel("wrong", more="double(1)"),
        kernel("right again", size=64),
        kernel("more", size=32),
    ]
    one, several = sweep.sweep(given), sweep.side_by_side(given, 2, False)
    assert (several.sources, several.findings) == (one.sources, one.findings) and one.findings


def test_the_report_has_the_numbers_and_the_findings():
    outcome = sweep.Outcome(44_000, 2400, 260, 170, 1800.4, 1700.1, ["n_fft=16: line 3: shift: no"])
    text = sweep.report(outcome, "python -m tests.conformance.sweep", "abc")
    for words in ("44,000", "2,400", "| 1,800, 1,700 |", "| findings | 1 |", "| abc, Metal", "* n_fft=16: line 3"):
        assert words in text
