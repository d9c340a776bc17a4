"""A kernel's Metal text as C++ for OpenCL that clang compiles: what tests/conformance/rewriting.py makes of it for its
checks, with real kernels. metal.h, which it includes, is Metal's library as far as the kernels use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mps_spectro_patch.kernels.compilers import simulator
from tests.conformance.rewriting import KERNEL, Kernel, rewrite
from tests.conformance.signatures import number

_SCALARS = {"float", "int", "uint"}
_POSITIONS = {"threadgroup_position_in_grid": "agx_group()", "thread_index_in_threadgroup": "agx_thread()"}
# What decides between the way of almost all frames and that of the others, in rewritten text: counts of instructions
# are those of almost all frames then, and nothing else is. Every line is for some kernel.
STEADY = {
    r"\b\w*params\.paired_\w+ != 0": "true",
    r"\bbool interior = [^;]*;": "bool interior = true;",
    r"\binterior = interior && [^;]*;": "",
    r"\bif \(start >= 0 && start \+ [^{]*\) \{": "if (true) {",
    r"\bif \(bin_stride == 1\)": "if (true)",
    r"\bconst bool steady = [^;]*;": "const bool steady = true;",
    r"\bplace\.steady\([^;]*?hop_length\)(?=\);)": "true",
    r"\bif \(params\.hop_length % 2 == 0\)": "if (true)",
    r"\bconst bool is_edge = run < [^;]*;": "const bool is_edge = false;",
    r"\bif \(live\)": "if (true)",
    r"\bif \(!live\)": "if (false)",
}


@dataclass(frozen=True)
class Written:
    """The text; by position, which parameters are bound by value."""

    text: str
    values: tuple[bool, ...]


def written(source: str, name: str) -> Written:
    """Raises ValueError where the checker objects to the text, or it has no such kernel."""
    done = rewrite(simulator.preprocess(source))
    if done.findings:
        raise ValueError(f"{name}: {done.findings[0]}")
    if name not in {kernel.name for kernel in done.kernels}:
        raise ValueError(f"no kernel {name}")
    text = re.sub(r"__local (msl_threadgroup_\d+)& (\w+) = msl::shared<\1>\(\);", r"__local \1 \2;", done.text)
    text = text.replace("INFINITY", "MSL_INFINITY")
    values: tuple[bool, ...] = ()
    for kernel in done.kernels:
        head = re.search(re.escape(KERNEL.strip()) + r"\s*void\s+" + kernel.name + r"\s*\(", text)
        assert head is not None, kernel.name
        closing = _closing(text, head.end() - 1)
        body = text.index("{", closing)
        if kernel.name != name:
            text = text[: head.start()] + text[_closing(text, body) + 1 :]
            continue
        bound, inside, values = _parameters(kernel, text[head.end() : closing])
        threads = number(kernel.attributes["max_total_threads_per_threadgroup"])
        whole = text[body + 1 :]
        for parameter in kernel.parameters:  # OpenCL has no copy of a struct in constant memory
            copied = rf"\bconst (Msp\w+) (\w+) = (\*?{parameter.name}(?:\[[^;]*\])?);"
            whole = re.sub(copied, r"const __constant \1& \2 = \3;", whole)
        sizes = f"reqd_work_group_size({threads}, 1, 1), intel_reqd_sub_group_size(32)"
        start = f"__attribute__(({sizes})) __kernel void {name}({bound}) {{{inside}"
        text = text[: head.start()] + start + whole
    return Written(f'#include "metal.h"\n{text}', values)


def steady(text: str) -> str:
    """Only the way of almost all frames; the same text where it knows no other."""
    for pattern, instead in STEADY.items():
        text = re.sub(pattern, instead, text)
    return text


def _parameters(kernel: Kernel, declared: str) -> tuple[str, str, tuple[bool, ...]]:
    """(those that are bound, what the kernel begins with, which are bound by value)."""
    bound, values, inside = [], [], ""
    parts = _split(re.sub(r"\[\[.*?\]\]", "", declared))
    for part, parameter in zip(parts, kernel.parameters, strict=True):
        position = next((name for name in parameter.attributes if name in _POSITIONS), None)
        position = next((name for name in parameter.attributes if name in _POSITIONS), None)
        reference = re.search(r"__constant\s+(\w+)\s*&\s*(\w+)", part)
        if position is not None:
            inside += f" const uint {parameter.name} = {_POSITIONS[position]};"
            continue
        values.append(reference is not None and reference[1] in _SCALARS)
        if reference is None:
            bound.append(part)
        elif values[-1]:
            bound.append(f"{reference[1]} {reference[2]}")
        else:  # Mesa knows no struct that comes by value
            bound.append(f"__constant {reference[1]}* {reference[2]}_at")
            inside += f" __constant {reference[1]}& {reference[2]} = *{reference[2]}_at;"
    return ", ".join(bound), inside, tuple(values)


def _split(declared: str) -> list[str]:
    """At the commas that no bracket holds."""
    parts, depth = [""], 0
    for letter in declared:
        depth += (letter in "(<") - (letter in ")>")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _closing(text: str, opening: int) -> int:
    """Where the bracket at `opening` is closed."""
    pair = text[opening], {"(": ")", "{": "}"}[text[opening]]
    depth = 0
    for i in _places(text, opening, pair):
        depth += 1 if text[i] == pair[0] else -1
        if not depth:
            return i
    raise ValueError(f"'{pair[0]}' is not closed")


def _places(text: str, start: int, pair: tuple[str, str]) -> Iterator[int]:
    return (match.start() for match in re.compile("[" + re.escape("".join(pair)) + "]").finditer(text, start))
