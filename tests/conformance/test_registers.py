"""What kernels keep in registers stays there: in clang's LLVM IR of them at -O2, no array is left in memory.

A loop over an array in registers that is not unrolled (MSP_UNROLL, metal/registers.metal), or a function that is given
one and is not put in place (MSP_INLINE), leaves the array in memory: on a GPU, in device memory.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.apple_code import opencl
from mps_spectro_patch.kernels import text_digest

from . import sources

VERSIONS = range(30, 14, -1)  # 14 leaves one array of zeros that 16 and 19 do not
CLANG = next(filter(None, (shutil.which(f"clang-{version}") for version in VERSIONS)), None)
HEADERS = str(Path(opencl.__file__).parent)
PARTS = 8

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(CLANG is None, reason="no clang-15 or later here: apt install clang-16"),
]


def llvm(source: str, kernel: str) -> str:
    command = [
        CLANG, "-S", "-emit-llvm", "-O2", "-x", "cl", "-cl-std=clc++2021", "-target", "spir64-unknown-unknown",
        "-cl-single-precision-constant", "-cl-no-signed-zeros", "-Wno-everything",
        "-Xclang", "-finclude-default-header", "-Xclang", "-fdeclare-opencl-builtins", "-I", HEADERS, "-", "-o", "-",
    ]  # fmt: skip
    text = opencl.written(source, kernel).text
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:1000]
    assert f"@{kernel}(" in done.stdout
    return done.stdout


def arrays(ir: str) -> list[str]:
    """What is kept in memory and is an array, or has one in it."""
    types = dict(re.findall(r"^(%\S+) = type (.*)$", ir, re.MULTILINE))

    def has_array(kind: str) -> bool:
        return "[" in kind or any(has_array(types[name]) for name in re.findall(r"%[\w.:\"]+", kind) if name in types)

    return [kind for kind in re.findall(r"= alloca (.*?), align", ir) if has_array(kind)]


@pytest.mark.parametrize("part", range(PARTS))
def test_no_representative_has_an_array_in_memory(part):
    given = sources.representatives()[part::PARTS]
    assert len(given) > 10
    found = {source.label: left for source in given if (left := arrays(llvm(source.text, source.kernel)))}
    assert not found, text_digest()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda text: text.replace('_Pragma("clang loop unroll(full)")', '_Pragma("clang loop unroll(disable)")'),
        lambda text: text.replace("__attribute__((always_inline))", "__attribute__((noinline))"),
    ],
)
def test_it_would_be_seen(wrong):
    source = next(one for one in sources.representatives() if one.kernel == "msp_stft")
    assert not arrays(llvm(source.text, source.kernel))
    changed = wrong(source.text)
    assert changed != source.text
    assert arrays(llvm(changed, source.kernel))
