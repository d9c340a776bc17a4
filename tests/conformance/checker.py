"""check(source): everything that can be said about a Metal text without Apple's compiler."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mps_spectro_patch.kernels.compilers import simulator

from . import frontend, tree
from .findings import Finding
from .rewriting import Rewritten, rewrite
from .signatures import Signature, signatures
from .uniformity import Uniformity

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"][^>"]*[>"])', re.MULTILINE)
_LIBRARY = re.compile(r"<(metal_\w+|simd/simd\.h|metal/metal)>|<c10/metal/\w+\.h>")


@dataclass
class Report:
    findings: list[Finding]
    signatures: list[Signature]

    def rules(self) -> set[str]:
        return {finding.rule for finding in self.findings}


def check(source: str, house: bool = False, deep: bool = True) -> Report:
    """house: this package's own rules as well. deep: the syntax tree too, which takes ten times as long as clang."""
    found = [
        Finding("ascii", _line(source, match), f"U+{ord(match[0]):04X}")
        for match in re.finditer(r"[^\x00-\x7f]", source)
    ][:3]
    for match in _INCLUDE.finditer(source):
        if not _LIBRARY.fullmatch(match[1]):
            found.append(Finding("standard-library", _line(source, match), f"#include {match[1]}"))
    if found:
        return Report(found, [])
    try:
        rewritten = rewrite(simulator.preprocess(source))
    except SyntaxError as error:
        return Report([Finding("syntax", 1, str(error))], [])
    parsed = frontend.parse(rewritten.text)
    found = rewritten.findings + parsed.findings
    described, objections = signatures(parsed.unit.cursor, rewritten.kernels)
    found += objections
    if deep:
        in_tree = tree.check(parsed.unit.cursor, house)
        parameters = {kernel.name: [p.attributes for p in kernel.parameters] for kernel in rewritten.kernels}
        in_tree += Uniformity(parsed.unit.cursor, parameters).findings()
        found += [replace(finding, line=parsed.lines[finding.line]) for finding in in_tree]
    if house:
        found += _unbounded(rewritten)
    return Report(sorted(set(found), key=lambda f: (f.line, f.rule)), described)


def _line(source: str, match: re.Match) -> int:
    return source[: match.start()].count("\n") + 1


def _unbounded(rewritten: Rewritten) -> list[Finding]:
    return [
        Finding("unbounded-group", kernel.line, kernel.name)
        for kernel in rewritten.kernels
        if "max_total_threads_per_threadgroup" not in kernel.attributes
    ]
