"""What was mended in tests for MPS is red on the double of the device, in MPS's words, if somebody writes it again: a
program for each kind of mend, which passes with the simulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .. import like_mps

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(sys.platform != "linux", reason="a Mac has the device itself"),
    pytest.mark.skipif(like_mps.wanted(), reason="starts it itself"),
]
FLOAT64 = (
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. Please use float32"
)
COMPLEX128 = "Trying to convert ComplexDouble to the MPS backend but it does not have support for that dtype."
TO_NUMPY = "can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
GENERATOR = "Expected a 'mps' device type for generator but found 'cpu'"
ELSEWHERE = "Expected all tensors to be on the same device, but found at least two devices, mps:0 and cpu!"
KINDS = {
    "a double made there": ("torch.zeros(3, dtype=torch.float64, device=device)", FLOAT64),
    "a complex double made there": ("torch.zeros(3, dtype=torch.complex128, device=device)", COMPLEX128),
    "double()": ("x.double().cpu()", FLOAT64),
    "to(float64)": ("x.to(torch.float64)", FLOAT64),
    "to(complex128)": ("torch.fft.rfft(x).to(torch.complex128)", COMPLEX128),
    "a sum in double precision": ("x.sum(dtype=torch.float64)", FLOAT64),
    "a window of doubles": ("torch.hann_window(8, dtype=torch.float64, device=device)", FLOAT64),
    "a module of doubles": ("torch.nn.Linear(2, 2).to(device).double()", FLOAT64),
    "a double from the CPU": ("torch.ones(3).double().to(device)", FLOAT64),
    "a range under a default of double": ("default(torch.float64); torch.arange(0.0, 3.0, device=device)", FLOAT64),
    "random numbers under a default of double": ("default(torch.float64); torch.randn(3, device=device)", FLOAT64),
    "an array of numpy's": ("torch.from_numpy(numpy.zeros(3)).to(device)", FLOAT64),
    "a number of numpy's": ("torch.tensor(numpy.float64(1.5), device=device)", FLOAT64),
    "to numpy": ("x.numpy()", TO_NUMPY),
    "a conjugate to numpy": ("numpy.asarray(torch.fft.rfft(x).conj().resolve_conj())", TO_NUMPY),
    "the CPU's generator": ("torch.randn(3, device=device, generator=torch.Generator())", GENERATOR),
    "a reference of the CPU": ("assert (x - torch.ones(8)).isfinite().all()", ELSEWHERE),
    "a result on the CPU": ("torch.add(x, x, out=torch.empty(8))", ELSEWHERE),
    "a comparison with the CPU": ("torch.testing.assert_close(x, x.cpu())", "'device' do not match: mps:0 != cpu"),
    "a gradient in double precision": ("x.requires_grad_().double().sum().backward()", FLOAT64),
    "forward mode of a number": ("torch.func.jvp(lambda x: 2.0 * x.sum(), (x,), (x,))", "unsupported operand type(s)"),
    "an operator that it lacks": ("torch.linalg.eigvals(x.outer(x))", "not currently implemented for the MPS device."),
    "the CPU's tensor": ("kernels.compile_shader(ADD, name).add(torch.ones(3))", "Passed CPU tensor to MPS op"),
    "two threads": ("threads(lambda: [x.outer(x) @ x for _ in range(3000)])", "pytorch#197805"),
    "a child that was forked": ("fork(lambda: x + 1)", "pytorch#178037"),
}  # fmt: skip
BEGIN = """
import os, threading, traceback
import numpy, pytest, torch
from mps_spectro_patch import kernels

ADD = "kernel void add(device float* x, uint i [[thread_position_in_grid]]) { x[i] += 1; }"

@pytest.fixture(autouse=True)
def the_usual_default():
    yield
    default(torch.float32)

default = torch.set_default_dtype

def threads(work):
    started, wrong = threading.Barrier(2), []
    def run():
        started.wait()
        try:
            work()
        except RuntimeError as error:
            wrong.append(error)
    both = [threading.Thread(target=run) for _ in range(2)]
    [one.start() for one in both], [one.join() for one in both]
    if wrong:
        raise wrong[0]

def fork(work):
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            work()
        except RuntimeError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    assert not (said := os.read(reader, 9999)), said
"""
TEST = """
def test_{number}(device_name, torch_device):
    device, name = torch_device, device_name
    x = torch.arange(1, 9, device=device) / 8.0
    {code}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """By device: what became of each kind, and the words of its error."""
    path = tmp_path_factory.mktemp("mends") / "test_kinds.py"
    path.write_text(BEGIN + "".join(TEST.format(number=i, code=code) for i, (code, _) in enumerate(KINDS.values())))
    root = Path(__file__).parents[2]

    def on(device: str) -> dict[str, tuple[str, str]]:
        options = f"-p tests.conftest -p no:cacheprovider -n0 -vv -rA -m= --rootdir={root} -c{root / 'pyproject.toml'}"
        environment = {**os.environ, "MPS_SPECTRO_TEST_DEVICE": device, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", *options.split(), str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=root, timeout=400)
        told = re.findall(r"^(PASSED|FAILED) \S*::test_(\d+)(.*)$", done.stdout, re.MULTILINE)
        became = {list(KINDS)[int(number)]: (outcome, words) for outcome, number, words in told}
        assert set(became) == set(KINDS), done.stdout[-3000:] + done.stderr[-3000:]
        return became

    return on


def test_each_passes_with_the_simulator(run):
    assert {kind: words for kind, (outcome, words) in run("simulator").items() if outcome != "PASSED"} == {}


def test_each_is_red_in_mps_words_on_the_double(run):
    for kind, (outcome, words) in run(like_mps.NAME).items():
        assert outcome == "FAILED" and KINDS[kind][1] in words, kind
