"""What can be known about our Metal text, and about how it is launched, without Apple's compiler.

checker.py takes any Metal text: rewriting.py turns it into what clang (libclang, OpenCL C++ mode) reads with metal.h as
the library, frontend.py runs it, tree.py, signatures.py and uniformity.py look at what clang does not object to. The
rules, with their sections of Apple's specification, are in findings.py. sources.py lists all that the package can
generate and sweep.py checks them, some in every run of the tests, and all by

    python -m tests.conformance.sweep     # an hour; the outcome is kept as benchmarks/results/metal-conformance.md

(or MPS_SPECTRO_CONFORMANCE=all with test_sources.py). right/ and wrong/ are what the checker itself is judged by.

Known to be looser than Apple's compiler: bool vectors are int vectors, constructors of vectors through a template
parameter, textures, anything that only an optimiser sees. Known to be stricter: house rules, and a method without an
address space called on a temporary.
"""
