"""The checker's own quality: kernels with one mistake each, all of them flagged, and right ones, none of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import checker
from .findings import RULES

_HERE = Path(__file__).parent
WRONG, RIGHT = sorted(_HERE.glob("wrong/*.metal")), sorted(_HERE.glob("right/*.metal"))


# "// RULE: PLACE, words" of what is refused; of what is not, "// RULE: undefined, PLACE: words" or as _LESS has it.
_LESS = ("undefined", "accepted with a warning")
_PLACES = r"MSL \d[\d.]*|Metal Feature Set Tables|torch\.mps\.compile_shader"
_HEAD = re.compile(rf"// ([\w-]+): (?:({'|'.join(_LESS)}), )?({_PLACES})")


def head(path: Path) -> tuple[str, str | None]:
    """(rule, what it is less than refused)."""
    match = _HEAD.match(path.read_text(encoding="utf-8"))
    assert match, f"{path.name} names no rule of Metal's"
    return match[1], match[2]


def test_the_corpora_are_large_enough():
    refused = [path for path in WRONG if head(path)[1] is None]
    assert len(refused) >= 60 and len(RIGHT) >= 30


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_mistake_is_flagged_by_the_rule_that_it_breaks(path):
    rule, _ = head(path)
    findings = checker.check(path.read_text(encoding="utf-8")).findings
    assert rule in {finding.rule for finding in findings}, list(map(str, findings))
    assert any(finding.line > 1 for finding in findings if finding.rule == rule), "flagged on the comment"


def test_what_is_undefined_or_only_warned_of_is_not_passed_off_as_refused():
    """Rules that Apple's compiler does not enforce, by what is documented about them."""
    kinds = {rule: {kind for r, kind in map(head, WRONG) if r == rule} for rule, _ in map(head, WRONG)}
    undefined = {rule for rule, found in kinds.items() if "undefined" in found}
    assert undefined == {"barrier", "cast", "index", "shift", "type"} and kinds["cplusplus14"] == {_LESS[1]}
    assert all(kinds[rule] == {"undefined"} for rule in undefined - {"type"}), kinds


@pytest.mark.parametrize("path", RIGHT, ids=lambda path: path.stem)
def test_a_right_kernel_is_not_flagged(path):
    report = checker.check(path.read_text(encoding="ascii"))
    assert not report.findings, list(map(str, report.findings))
    assert report.signatures, "no kernel was seen"


def test_every_rule_of_metals_has_a_wrong_kernel():
    shown = {head(path)[0] for path in WRONG}
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
