"""The checker's own quality: kernels with one mistake each, all of them flagged, and right ones, none of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import checker
from .findings import RULES

_HERE = Path(__file__).parent
WRONG, RIGHT = sorted(_HERE.glob("wrong/*.metal")), sorted(_HERE.glob("right/*.metal"))


def test_the_corpora_are_large_enough():
    assert len(WRONG) >= 60 and len(RIGHT) >= 30


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_mistake_is_flagged_by_the_rule_that_it_breaks(path):
    source = path.read_text(encoding="utf-8")
    rule, reason = re.match(r"// ([\w-]+): (.+)", source).groups()
    assert re.match(r"MSL \d|C\+\+14|Metal Feature Set Tables|torch\.mps\.compile_shader", reason), "no rule of Metal's"
    findings = checker.check(source).findings
    assert rule in {finding.rule for finding in findings}, list(map(str, findings))
    assert any(finding.line > 1 for finding in findings if finding.rule == rule), "flagged on the comment"


@pytest.mark.parametrize("path", RIGHT, ids=lambda path: path.stem)
def test_a_right_kernel_is_not_flagged(path):
    report = checker.check(path.read_text(encoding="ascii"))
    assert not report.findings, list(map(str, report.findings))
    assert report.signatures, "no kernel was seen"


def test_every_rule_of_metals_has_a_wrong_kernel():
    shown = {re.match(r"// ([\w-]+):", path.read_text(encoding="utf-8"))[1] for path in WRONG}
    house = {rule for rule, words in RULES.items() if words.startswith("house rule")}
    assert shown == RULES.keys() - house


HEADER = "#include <metal_stdlib>\nusing namespace metal;\n"


@pytest.mark.parametrize(
    "rule, statement",
    [
        ("shuffle", "x[i] = simd_shuffle(x[i], ushort(i));"), ("shuffle", "x[i] = quad_shuffle(x[i], ushort(1));"),
        ("trigonometry", "x[i] = sin(x[i]);"), ("trigonometry", "x[i] = metal::precise::cos(x[i]);"),
        ("trigonometry", "x[i] = fast::exp(x[i]);"), ("unbounded-group", "x[i] = 1.0f;"),
    ],
)  # fmt: skip
def test_house_rules_are_for_our_kernels_only(rule, statement):
    bound = "" if rule == "unbounded-group" else "[[max_total_threads_per_threadgroup(64)]] "
    parameters = "device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]"
    source = f"{HEADER}{bound}kernel void f({parameters}) {{ {statement} }}"
    assert checker.check(source, house=True).rules() == {rule}
    assert not checker.check(source).findings


def test_a_finding_names_the_line_of_the_source_as_it_was_given():
    source = HEADER + "#define TWO 2\n\nkernel void f(device float* x [[buffer(0)]]) {\n  x[0] = TWO;\n  x[1] = y;\n}\n"
    assert [finding.line for finding in checker.check(source).findings] == [7]
