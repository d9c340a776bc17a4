"""clang, by way of libclang, as a front end for Metal: OpenCL C++ mode, C++14, Metal's library from metal.h.

Gives the syntax tree and what clang objects to, as findings. Generates no code.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import clang.cindex as cindex

from .findings import Finding

_HEADER = Path(__file__).parent / "metal.h"
_ARGUMENTS = [
    "-x", "cl", "-cl-std=clc++2021", "-target", "x86_64-unknown-linux-gnu", "-cl-no-stdinc",
    "-cl-single-precision-constant", "-cl-ext=+cl_khr_fp16,-cl_khr_fp64,-__opencl_c_fp64", "-ferror-limit=30",
    # Of the warnings those that speak of another meaning in Metal, or of no meaning at all.
    "-Wno-everything", "-Wshift-count-overflow", "-Wshift-count-negative", "-Wshift-negative-value", "-Warray-bounds",
    "-Wreturn-type", "-Wdivision-by-zero", "-Wc++98-c++11-c++14-compat", "-Wincompatible-pointer-types",
    "-Wtautological-constant-out-of-range-compare", "-Wint-to-pointer-cast", "-Wliteral-conversion",
]  # fmt: skip

# The first that matches clang's words.
_RULES = [
    (r"msl: threadgroup memory", "threadgroup-memory"),
    (r"msl: (vector constructor|as_type)", "vector"),
    (r"does not have a constant initializer|program scope variable|"
     r"variable in constant address space must be initialized", "program-scope"),
    (r"address space|read-only variable", "address-space"),
    (r"no matching function for call to '(atomic_|detail)", "atomic"),
    (r"'double'|cl_khr_fp64", "double"),
    (r"ambiguous", "ambiguous"),
    (r"redefinition of|declared as different kind|expected unqualified-id.*keyword", "name-collision"),
    (r"identifier 'std'", "standard-library"),
    (r"use of undeclared|no member named|unknown type name|no type named|is not a class, namespace|"
     r"no template named|did you mean|file not found", "undeclared"),
    (r"implicit conversions between vector|convert between vector|vector values|scalar operand type has greater rank|"
     r"cannot (initialize|convert).*(vector of|bfloat|half)|from incompatible type.*(vector of|half|bfloat)|"
     r"no viable conversion", "conversion"),
    (r"vector component|not assignable \(contains duplicate|vector is not|vector type|excess elements in vector|"
     r"member reference base type '[^']*' is not a structure", "vector"),
    (r"shift", "shift"),
    (r"array index", "index"),
    (r"C\+\+ ?standards before C\+\+17|incompatible with C\+\+ standards", "cplusplus14"),
    (r"exceptions|virtual|lambda|typeid|'new'|'delete'|goto|dynamic_cast|'throw'|'try'|"
     r"default new|default delete|thread_local|address of function|function pointer|pointers to functions|variadic",
     "cplusplus"),
    (r"no matching function for call to", "type"),
    (r"expected|extraneous|unterminated|unmatched", "syntax"),
]  # fmt: skip


@dataclass
class Parsed:
    unit: cindex.TranslationUnit
    findings: list[Finding]
    lines: list[int]  # of the source, by line of the text that clang read


def parse(text: str) -> Parsed:
    """Templates with what they are filled with: an incomplete unit, which is all that one file of many is, leaves
    their insides out."""
    arguments = [*_ARGUMENTS, "-include-pch", _precompiled()]
    unit = _index().parse("program_source", arguments, [("program_source", text)])
    lines = _lines(text)
    found = []
    for diagnostic in unit.diagnostics:
        if diagnostic.severity < cindex.Diagnostic.Warning or _is_copy_from_constant(diagnostic):
            continue
        if diagnostic.spelling.startswith(("too many errors", "unknown argument")):
            continue
        message = diagnostic.spelling
        rule = next((rule for pattern, rule in _RULES if re.search(pattern, message)), "type")
        notes = [note.spelling for note in diagnostic.children]
        if rule in ("type", "conversion"):
            telling = next((words for words in (message, *notes) if _changes_space(words)), None)
            if telling is not None:
                rule = "address-space"
                message += f" ({telling})" if telling is not message else ""
        # Where it was instantiated tells a reader more than the library's header does.
        place = next(
            (
                d.location
                for d in (diagnostic, *diagnostic.children)
                if d.location.file and d.location.file.name == "program_source" and "in file included" not in d.spelling
            ),
            diagnostic.location,
        )
        found.append(Finding(rule, lines[min(place.line, len(lines) - 1)], message))
    return Parsed(unit, found, lines)


def _changes_space(message: str) -> bool:
    """Whether the types that clang quotes point into different address spaces."""
    if "address space" in message:
        return True
    types = re.findall(r"'([^']*)'", message)
    spaces = set(re.findall(r"__(?:global|constant|local|generic)\b", " ".join(types)))
    if any(re.search(r"__private [\w ]+[*&]|^(?:const )?__private [A-Z]\w*$", type) for type in types):
        spaces.add("__private")
    return len(spaces) > 1


def _lines(text: str) -> list[int]:
    """What line markers make of each line; libclang tells the lines of the text itself."""
    lines, number = [0], 1
    for line in text.split("\n"):
        marker = re.match(r"\s*#\s*(?:line\s+)?(\d+)", line)
        number = int(marker[1]) - 1 if marker else number
        lines.append(max(number, 1))
        number += 1
    return lines


def _is_copy_from_constant(diagnostic: cindex.Diagnostic) -> bool:
    """Metal copies a struct out of any address space; here the implicit constructor does not take `constant`."""
    notes = [note.spelling for note in diagnostic.children if "candidate" in note.spelling]
    return bool(notes) and all(
        "implicit " in note
        and ("'__constant' to object in address space '__generic'" in note or "requires 0 arguments" in note)
        for note in notes
    )


@lru_cache(maxsize=1)
def _index() -> cindex.Index:
    return cindex.Index.create(excludeDecls=True)


@lru_cache(maxsize=1)
def _precompiled() -> str:
    unit = cindex.Index.create().parse(str(_HEADER), _ARGUMENTS, options=4 | cindex.TranslationUnit.PARSE_INCOMPLETE)
    errors = [str(d) for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
    assert not errors, errors
    folder = tempfile.mkdtemp(prefix="mps_spectro_conformance-")
    path = os.path.join(folder, "metal.pch")
    unit.save(path)
    return path
