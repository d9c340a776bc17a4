"""benchmarks/apple_code: what it reads and writes, everywhere; what it sees, where it is set up.

MPS_SPECTRO_APPLE_CODE is the folder that benchmarks/apple_code/setup.sh has set up.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest

from benchmarks.apple_code import __main__ as instrument
from benchmarks.apple_code import calls, folder, kernels, opencl, page, results
from benchmarks.apple_code.calls import Call
from benchmarks.apple_code.kernels import Listed
from mps_spectro_patch.kernels.compilers import simulator
from mps_spectro_patch.kernels.launch import dispatch, smooth_size
from mps_spectro_patch.kernels.plans import fft
from tests.conformance import sources

HERE = Path(folder.__file__).parent
SAID = """SPIR-V WARNING: something
DEMAND: 262
SHADER-DB:  - MESA_SHADER_COMPUTE shader: 2805 inst, 2127 alu, 2127 fscib, 228 ic, 20198 bytes, 255 regs, \
314 uniforms, 28 scratch, 384 threads, 1 loops, 7:9 spills:fills
INFO: msp_stft g13g gprs=256 preamble_gprs=8 push=156 scratch=20 preamble_scratch=0 local=17408 size=2 main=1
"""
ROOT = os.environ.get("MPS_SPECTRO_APPLE_CODE", "")
set_up = pytest.mark.skipif(not ROOT, reason="needs MPS_SPECTRO_APPLE_CODE, a folder of benchmarks/apple_code/setup.sh")
KEPT = results.read()


def listed(name: str, call: Call, number: int = 0) -> Listed:
    kernel, defines, threads = calls.launches(call)[number]
    return Listed(name, call.n_fft, kernel, defines, threads, [call])


# --- everywhere ------------------------------------------------------------------------------------------------------


def test_counts_are_read_from_what_mesa_says():
    found = folder.counts(SAID)
    assert found == folder.Counts(262, 384, 2805, 2127, 7, 9, 28, 17408)
    for line in ("DEMAND: 262\n", "INFO: ", "MESA_SHADER_COMPUTE"):
        with pytest.raises(folder.Failed):
            folder.counts(SAID.replace(line, ""))


def test_a_folder_that_is_not_set_up_is_refused(tmp_path):
    with pytest.raises(folder.Failed, match="setup.sh"):
        folder.Folder(tmp_path)


def test_the_table_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(results.text(KEPT.digest, KEPT.versions, KEPT.rows))
    assert results.read(path) == KEPT and path.read_text() == results.TABLE.read_text()
    columns = "kernel n_fft variant licm demand threads instructions alu spills fills scratch local_bytes groups error"
    assert [field.name for field in fields(results.Row)] == columns.split()


def test_the_page_and_the_cycles_are_those_of_the_table():
    assert page.PAGE.read_text() == page.text(KEPT), "run python -m benchmarks.apple_code.page"
    assert page.CYCLES.read_text() == page.cycles_text(KEPT), "run python -m benchmarks.apple_code.page"


# A source that stands for others: the gradient of stft(onesided=False) with this hop.
FEW_SPILLS = {("msp_istft_registers, adjoint, two sided, shift 2", 512): 10}


def test_up_to_8192_one_kernel_spills_or_uses_scratch_memory():
    spilling = [row for row in KEPT.rows if row.n_fft <= 8192 and (row.spills or row.fills or row.scratch)]
    assert [row for row in spilling if row.spills > FEW_SPILLS.get((row.kernel, row.n_fft), -1)] == []
    assert page.spilling(KEPT) == []


def test_features_and_stft_take_at_most_so_many_cycles():
    most = {("stft", 400): 1000, ("log-mel", 400): 1150, ("log-mel", 1024): 1000, ("spectrogram", 1024): 1100}
    assert {key: KEPT.find(*key, "steady").alu <= cycles for key, cycles in most.items()} == dict.fromkeys(most, True)


@pytest.mark.parametrize("n_fft", kernels.SIZES)
def test_every_size_of_the_list_is_in_the_table(n_fft):
    overlap = fft.istft_plan(n_fft).overlap
    names = ["stft", f"istft, {overlap}", f"adjoint of stft, {overlap}", "adjoint of istft", "spectrogram", "loss",
             "gradient of spectrogram", "gradient of loss"]  # fmt: skip
    names += ["istft, hop n/4", "adjoint of stft, hop n/4"] if fft.registers_plan(n_fft, n_fft // 4) else []
    names += ["log-mel"] if n_fft <= 8192 else []
    for name in names:
        assert all(KEPT.find(name, n_fft, licm=licm) for licm in (0, 1)), name
    assert (KEPT.find("stft", n_fft, "steady") is not None) is (n_fft in kernels.STEADY) and not KEPT.find(
        "istf", n_fft
    )


def test_every_kernel_of_the_package_is_in_the_table():
    shown = {row.kernel.split(",")[0] for row in KEPT.rows}
    own = {"msp_stft": "stft", "msp_istft": "istft", "msp_istft_registers": "istft", "msp_features": "spectrogram",
           "msp_features_gradient": "gradient of spectrogram", "msp_stft_loss": "loss",
           "msp_stft_loss_gradient": "gradient of loss"}  # fmt: skip
    assert {own.get(name, name) for name in dispatch._files()} <= shown


@pytest.mark.thorough
def test_kernels_of_the_table_ran_on_the_cpu_and_were_right():
    """But for the few that no call launches, and those that shuffle."""
    ran = [row for row in KEPT.rows if row.error]
    assert len(ran) > 0.85 * len({(row.kernel, row.n_fft) for row in KEPT.rows})
    for row in ran:
        if not row.kernel.startswith(("gradient of loss", "msp_stft_loss_g")):
            assert float(row.error) <= (3e-5 if "gradient" in row.kernel else 1e-5), row


def test_what_is_worse_is_told_and_what_is_as_good_is_not():
    row = KEPT.find("stft", 1024)
    assert not KEPT.worse([row, replace(row, instructions=row.instructions - 100), replace(row, kernel="another")])
    for name, value in (("spills", row.spills + 1), ("scratch", 4), ("threads", row.threads - 64), ("demand", 300),
                        ("groups", row.groups - 1), ("local_bytes", row.local_bytes + 16),
                        ("instructions", row.instructions * 1.02)):  # fmt: skip
        (words,) = KEPT.worse([replace(row, **{name: value})])
        assert f": {name} " in words


def test_a_core_has_as_many_groups_as_registers_and_memory_allow():
    assert [results.groups(512, 128, 17408), results.groups(384, 128, 4096), results.groups(384, 256, 0)] == [3, 3, 1]


def test_a_kernel_becomes_one_of_opencl_that_takes_scalars_by_value():
    done = opencl.written(smooth_size.kernel_source(fft.stft_plan(64)), "msp_stft")
    assert done.values == (False,) * 7 + (True,) and done.text.count("__kernel") == 1
    assert "reqd_work_group_size(128, 1, 1)" in done.text and "[[" not in done.text
    with pytest.raises(ValueError, match="no kernel"):
        opencl.written("#include <metal_stdlib>\n", "msp_stft")


def test_of_several_kernels_in_a_text_one_is_left():
    assert opencl.written(dispatch.kernel_text("msp_limit"), "msp_limit").text.count("__kernel") == 1


@pytest.mark.thorough
def test_every_line_of_steady_is_for_some_kernel():
    some = [Call(operation, 64) for operation in ("stft", "istft adjoint", "istft", "features", "features gradient")]
    some += [Call("istft", 64, 16), Call("stft adjoint", 64, 16), Call("loss", 64), Call("stft", 19)]
    made = [launch for call in some for launch in calls.launches(call)]
    texts = [opencl.written(dispatch.kernel_text(name, defines), name).text for name, defines, _ in made]
    for pattern in opencl.STEADY:
        assert any(re.search(pattern, text) for text in texts), pattern


@pytest.mark.thorough
@pytest.mark.parametrize("operation", calls.OPERATIONS)
def test_the_simulator_agrees_with_what_float64_says_of_a_call(operation):
    call = Call(operation, 60, bands=8 if "features" in operation or "kaldi" in operation else 0)
    expected = call.expected()
    error = float((call.run() - expected).abs().norm() / expected.abs().norm())
    assert error <= calls.OPERATIONS[operation].limit


def test_nothing_is_launched_where_launches_are_listed():
    assert calls.launches(Call("stft", 64))[0][::2] == ("msp_stft", fft.stft_plan(64).threads)
    assert isinstance(dispatch.kernel("msp_limit", "", "cpu"), simulator.Kernel)


@pytest.mark.thorough
def test_sources_of_the_conformance_tests_are_reached_by_calls_where_a_launch_has_them():
    some = [s for s in sources.everything() if "n_fft=36 " in s.label or "points=18 " in s.label]
    reached = {source.kernel for source in some if kernels._reaching(source)}
    assert {
        "msp_stft",
        "msp_istft",
        "msp_istft_registers",
        "msp_features",
        "msp_stft_loss",
        "msp_window_gradient",
    } <= reached


def test_the_set_up_names_no_host_and_its_patch_has_no_lines_of_context():
    script, patch = (HERE / "setup.sh").read_text(), (HERE / "mesa-25.0.7.patch").read_text()
    assert "://" not in script and "mesa-$mesa.patch" in script and "MIT" in script
    subprocess.run(["bash", "-n", HERE / "setup.sh", HERE / "compile.sh"], check=True)
    assert not re.search(r"^ ", patch, re.MULTILINE)


# --- where it is set up ----------------------------------------------------------------------------------------------

STFT, ISTFT = Call("stft", 1024), Call("istft", 1024, 256)
NAMES = {STFT: "stft", ISTFT: "istft, hop n/4"}
LOOP = "  for (uint step = 0; step < steps; ++step) {\n"
FRAME = "    float2 v[MSP_VALUES];\n"
EVERY = "for (int q = 0; q < MspFirst::COUNT; ++q) "
STORED = "msp_store_bin(bins, k, pair.low);"
RADIX = "inline void msp_radix(thread float2* v) {"
CALLED = "__attribute__((noinline)) float2 msp_called(const thread float2* from, int q) { return from[q]; }\n"
# What is done to a kernel: (its call, what of the text, what instead; and once more); and what is worse then.
MUTATIONS = {
    "an index kept per lane": (
        STFT, [(LOOP, f"  int own[16];\n  {EVERY}own[q] = MspFirst::index(q, lane_index) % params.hop_length;\n{LOOP}"),
               (FRAME, f"{FRAME}    {EVERY}own[q] += params.hop_length;\n"),
               (STORED, f"{STORED} {EVERY}if (own[q] == -7) bins[k + q] = float2(0.0f, 0.0f);")], "demand",
    ),
    "a table in registers": (
        STFT, [(LOOP, f"  float2 table[16];\n  {EVERY}table[q] = twiddles[q * 8 + lane_index % 8];\n{LOOP}"),
               (STORED, "msp_store_bin(bins, k, pair.low + table[2 * t] + table[2 * t + 1]);")], "demand",
    ),
    "a called function": (
        STFT, [("[[max_total_threads", CALLED + "[[max_total_threads"),
               (STORED, "msp_store_bin(bins, k, pair.low + msp_called(lane < params.pad ? v : weight, t));")],
        "scratch",
    ),
    "a larger threadgroup array": (
        STFT, [("exchange[MSP_FRAMES * MSP_EXCHANGE_SIZE];", "exchange[MSP_FRAMES * MSP_EXCHANGE_SIZE + 512];")],
        "local_bytes",
    ),
    "values that a lane picks as it runs": (
        STFT, [(STORED, "msp_store_bin(bins, k, pair.low + v[(t + lane) % MSP_VALUES]);")], "instructions",
    ),
    "a frame kept for the next one": (
        STFT, [(LOOP, f"  float2 last[16];\n  {EVERY}last[q] = float2(0.0f, 0.0f);\n{LOOP}"),
               (STORED, "msp_store_bin(bins, k, pair.low + last[2 * t]); last[2 * t] = v[2 * t];"
                        " last[2 * t + 1] = v[2 * t + 1] + last[2 * t + 1];")], "demand",
    ),
    "a division per value": (
        STFT, [(STORED, "msp_store_bin(bins, k % params.hop_length, pair.low);")], "instructions",
    ),
    "two ways to read samples": (
        STFT, [("if (paired && MSP_WIDE_SAMPLES) {", "if (paired && MSP_WIDE_SAMPLES && start % 3 == 0) {")],
        "instructions",
    ),
    "an address per sample": (
        STFT, [("samples)[msp_first_behind(q, lane)];", "samples)[msp_first_behind(q, lane) * (start | 1) % 8192];")],
        "instructions",
    ),
    "sums kept twice": (
        ISTFT, [("  float2 sums[MspLast::COUNT];\n", f"  float2 sums[MspLast::COUNT], more[MspLast::COUNT];\n"
                 f"  {EVERY}more[q] = input[q];\n"),
                ("sums[q] = sums[q] + v[q];", "{ more[q] = more[q] / 2 + v[q]; sums[q] = sums[q] + v[q] + more[q]; }")],
        "spills",
    ),
    "another number": (STFT, [("0.5f * MSP_INNER_WEIGHT * scale", "0.50001f * MSP_INNER_WEIGHT * scale")], "error"),
}  # fmt: skip


def mutated(text: str, changes: list[tuple[str, str]]) -> str:
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.thorough
@pytest.mark.parametrize("name", MUTATIONS)
def test_what_is_made_worse_is_still_in_the_text(name):
    call, changes, _ = MUTATIONS[name]
    (one, *_) = calls.launches(call)
    mutated(dispatch.kernel_text(*one[:2]), changes)


@pytest.fixture
def processor():
    made = folder.Processor(folder.Folder(Path(ROOT)))
    yield made
    made.close()


def told(call: Call, processor: folder.Processor, on_cpu: bool) -> list[str]:
    """What the instrument says of a call's kernel: what is worse than the kept results, or that it failed."""
    rows, failure = instrument.measured(listed(NAMES[call], call), processor, on_cpu)
    return [failure] if failure else KEPT.worse(rows)


@set_up
@pytest.mark.thorough
@pytest.mark.parametrize("call", [STFT, ISTFT], ids=lambda call: call.operation)
def test_a_kernel_of_the_tree_is_as_good_as_kept(call, processor):
    assert told(call, processor, on_cpu=True) == []


@set_up
@pytest.mark.thorough
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_worse_kernel_is_caught(name, processor, monkeypatch):
    call, changes, what = MUTATIONS[name]
    original = dispatch.kernel_text
    monkeypatch.setattr(dispatch, "kernel_text", lambda kernel, defines="": mutated(original(kernel, defines), changes))
    found = told(call, processor, on_cpu=what == "error")
    assert found and any(f"{what} " in words for words in found), found
