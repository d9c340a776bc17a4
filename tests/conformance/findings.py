"""What the checker can object to: each rule's name, where Apple documents it, and the finding that carries it."""

from __future__ import annotations

from dataclasses import dataclass

# Sections are those of Apple's "Metal Shading Language Specification", version 4; FST is "Metal Feature Set Tables".
RULES = {
    "address-space": "4: a pointer or reference names its address space, and does not change it",
    "kernel-parameter": "4, 5.1: kernels return void and take device, constant or threadgroup pointers and references",
    "program-scope": "4.2: variables at program scope are constant and initialised at compile time",
    "threadgroup-variable": "4.4: threadgroup variables live in kernel bodies, without initialisers",
    "double": "2.1: there is no double and no long double",
    "cplusplus": "1.4: no exceptions, virtual functions, new, delete, goto, lambdas (before 3.2), RTTI, thread_local",
    "cplusplus14": "1.4: the language is C++14: no if constexpr, structured bindings or fold expressions",
    "standard-library": "1.4: the C++ standard library is not there",
    "recursion": "1.4: no recursive function calls",
    "undeclared": "6: only what the Metal standard library declares",
    "ambiguous": "6: functions are overloaded for exact types; a call that fits several is ambiguous",
    "name-collision": "1.4, 5, 6: Metal's keywords, and under `using namespace metal` its functions, are taken",
    "vector": "2.2: constructors and swizzles that vector types have",
    "conversion": "2.2, 2.19: vectors and bfloat do not convert by themselves",
    "type": "1.4: C++14's own rules",
    "shift": "3.1: a shift by the width of the type or more, or by less than nothing, is not what C++ makes of it",
    "cast": "1.4, C++14 4.9: a float is cast to an integer type that has room for it; beyond that nothing is promised",
    "index": "1.4, C++14 5.7: an index beyond the array",
    "attribute": "5.2: attributes on parameters of the types that they are defined for, one width for all positions",
    "buffer-index": "5.2.1, FST: buffer indices are given, unique and below 31",
    "threadgroup-memory": "FST: at most 32,768 bytes of threadgroup memory",
    "group-size": "FST: at most 1,024 threads in a threadgroup",
    "barrier": "6.9.1: every thread of the group reaches the barrier",
    "atomic": "2.6, 6.15: the operations that an atomic type has in an address space",
    "ascii": "torch.mps.compile_shader takes the text as ASCII",
    "syntax": "1.4: it is a program at all",
    # Not Apple's rules but this package's: right on every Mac, slow or inexact on some.
    "shuffle": "house rule: only xor, up and down shuffles, the others are emulated",
    "trigonometry": "house rule: no sin, cos or fast:: functions; tables come from the host in float64",
    "unbounded-group": "house rule: a kernel says by max_total_threads_per_threadgroup what it is launched with",
}


@dataclass(frozen=True)
class Finding:
    rule: str
    line: int  # of the source as it was given
    message: str

    def __post_init__(self) -> None:
        assert self.rule in RULES, self.rule

    def __str__(self) -> str:
        return f"line {self.line}: {self.rule}: {self.message}  [{RULES[self.rule]}]"
