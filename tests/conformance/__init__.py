"""What can be known about our Metal text, and about how it is launched, without Apple's compiler.

checker.py takes any Metal text: rewriting.py turns it into what clang (libclang, OpenCL C++ mode) reads with metal.h as
the library, frontend.py runs it, tree.py, signatures.py and uniformity.py look at what clang does not object to. The
rules, with their sections of Apple's specification, are in findings.py. sources.py lists all that the package can
generate; right/ and wrong/ are what the checker itself is judged by.

    MPS_SPECTRO_CONFORMANCE=all python -m pytest tests/conformance/test_sources.py   # every source

Known to be looser than Apple's compiler: bool vectors are int vectors, constructors of vectors through a template
parameter, textures, anything that only an optimiser sees. Known to be stricter: house rules, and a method without an
address space called on a temporary.
"""
