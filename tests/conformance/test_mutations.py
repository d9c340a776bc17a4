"""Mistakes made on purpose in our own kernels and launches: each is caught, and by the check that is named here."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import pytest
import torch

from mps_spectro_patch.kernels.compilers import simulator
from mps_spectro_patch.kernels.launch import any_size, dispatch, smooth_size
from mps_spectro_patch.kernels.plans import fft
from tests.kernels.test_hazards import OPERATIONS, Case

from ..outputs import poisoned_outputs
from . import recording
from .checker import check

_HOP = 2  # of "istft in registers"


@dataclass(frozen=True)
class Mutation:
    """`old` becomes `new` in a file; `by` is what catches it: "checker: RULE", "launch size", "order", ..."""

    file: str
    old: str
    new: str
    by: str
    operation: str = "stft"
    n_fft: int = 64
    count: int = 1  # of replacements; 0: all


MUTATIONS = {
    "an address space dropped": Mutation(
        "fft/stockham.metal", "msp_twiddle(thread float2* v,", "msp_twiddle(float2* v,", "checker: address-space"),
    "another address space": Mutation(
        "fft/stockham.metal", "threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* table, int lane) {",
        "device MSP_EXCHANGE_TYPE* shared, const device float2* table, int lane) {", "checker: address-space"),
    "a threadgroup array enlarged": Mutation(
        "kernels/stft.metal", "exchange[MSP_FRAMES * MSP_EXCHANGE_SIZE]",
        "exchange[2 * MSP_FRAMES * MSP_EXCHANGE_SIZE]",
        "checker: threadgroup-memory", n_fft=8192),
    "a barrier in a divergent branch": Mutation(
        "overlap/walk.metal", "    threadgroup_barrier(mem_flags::mem_threadgroup);\n    const MspStep step =",
        "    if (live) threadgroup_barrier(mem_flags::mem_threadgroup);\n    const MspStep step =", "checker: barrier",
        "istft"),
    "an early return": Mutation(
        "kernels/any_stft.metal", "  const uint row_index = frame / frames;", "  if (!live) return;\n"
        "  const uint row_index = frame / frames;", "checker: barrier", n_fft=7),
    "a double constant": Mutation(
        "butterflies.metal", "const float h = 0.707106781186547524f;\n  float2 even",
        "const double h = 0.707106781186547524;\n  float2 even", "checker: double"),
    "a function that Metal has not": Mutation(
        "kernels/any_istft.metal", "max(run_begin * params.hop_length,",
        "std::max(run_begin * params.hop_length,", "checker: standard-library", "istft", 7),
    "an ambiguous call": Mutation(
        "overlap/gather.metal", "min(j, MSP_FRAMES - 1)", "min(uint(j), MSP_FRAMES - 1)", "checker: ambiguous",
        "istft"),
    "a vector of too many parts": Mutation(
        "frames/bins.metal", "*middle = float2(0.0f, 0.0f);", "*middle = float2(0.0f, 0.0f, 0.0f);", "checker: vector",
        "istft"),
    "a limit on threads that is not the launch's": Mutation(
        "kernels/stft.metal", "[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]",
        "[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES * 2)]]", "launch size"),
    "two buffers at one index": Mutation(
        "kernels/stft.metal", "MspStftParams* given [[buffer(6)]]", "MspStftParams* given [[buffer(5)]]",
        "checker: buffer-index"),
    "a barrier removed": Mutation(
        "fft/stockham.metal", "#define MSP_SYNC() threadgroup_barrier(mem_flags::mem_threadgroup)",
        "#define MSP_SYNC()",
        "order", n_fft=2048),
    "a barrier of a simdgroup removed": Mutation(
        "fft/stockham.metal", "#define MSP_SYNC() simdgroup_barrier(mem_flags::mem_threadgroup)",
        "#define MSP_SYNC()", "order",
        "istft_adjoint", 1024),
    "a barrier of the overlap removed": Mutation(
        "overlap/walk.metal", "    threadgroup_barrier(mem_flags::mem_threadgroup);\n    const MspStep step =",
        "    const MspStep step =", "order", "istft", 64),
    "a barrier before the hops that wait removed": Mutation(
        "kernels/istft_registers.metal", "  threadgroup_barrier(mem_flags::mem_threadgroup);\n  if (!is_edge && slot <",
        "  if (!is_edge && slot <", "order", "istft in registers", 16),
    "a hop that waits in another's place": Mutation(
        "kernels/istft_registers.metal", "waiting[(slot - 1) * MSP_WAITING + step * MSP_SHIFT * MSP_LAST_P + pair] =",
        "waiting[(slot - 1) * MSP_WAITING + pair] =", "poison", "istft in registers", 16),
    "an index off by one": Mutation(
        "kernels/stft.metal", "bins[MSP_HALF] =", "bins[MSP_HALF + 1] =", "guard"),
    "a sample read too early": Mutation(
        "frames/padding.metal", "if (t < 0 || t >= samples) {", "if (t < -1 || t >= samples) {", "guard"),
    "a window read too far": Mutation(
        "frames/window.metal", "b < win_length ? window[b]", "b <= win_length ? window[b]", "guard", "short window"),
    "a parameter that its class has not": Mutation(
        "kernels/any_stft.metal", "params.adjoint != 0", "params.no_adjoint != 0", "checker: undeclared", n_fft=7),
    "a bin that nobody writes": Mutation(
        "kernels/stft.metal", "msp_store_bin(bins, MSP_HALF / 2,", "if (false) msp_store_bin(bins, MSP_HALF / 2,",
        "poison"),
    "a part of threadgroup memory that nobody writes": Mutation(
        "fft/stockham.metal", "  for (int q = 0; q < WRITER::COUNT; ++q) {",
        "  for (int q = 1; q < WRITER::COUNT; ++q) {",
        "poison", n_fft=400, count=0),
    "a cast forgotten in Python": Mutation("dispatch.py", "arg_casts=casts", "arg_casts={}", "binding"),
    "arguments swapped in Python": Mutation("smooth_size.py", "None, params, scale]", "None, scale, params]",
        "binding"),
    "half a threadgroup in Python": Mutation(
        "dispatch.py", "threads=groups * threads,", "threads=groups * threads - 1,", "binding"),
}  # fmt: skip


def test_there_are_at_least_ten_and_every_kind_of_check_catches_some():
    kinds = {mutation.by.split(":")[0] for mutation in MUTATIONS.values()}
    assert len(MUTATIONS) >= 10 and kinds == {"checker", "launch size", "order", "guard", "poison", "binding"}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_caught(name, monkeypatch):
    mutation = MUTATIONS[name]
    mutate(mutation, monkeypatch)
    try:
        assert mutation.by in (caught := catches(mutation)), f"{name}: caught by {caught or 'nothing'}"
    finally:
        monkeypatch.undo()
        recording.forget()


def test_without_a_mutation_nothing_is_caught():
    recording.forget()
    for operation, n_fft in {(m.operation, m.n_fft) for m in MUTATIONS.values()}:
        assert not catches(Mutation("", "", "", "", operation, n_fft)), (operation, n_fft)


def mutate(mutation: Mutation, monkeypatch) -> None:
    if mutation.file.endswith(".metal"):
        original = dispatch._read

        def read(path: str) -> str:
            text = original(path)
            if path != mutation.file:
                return text
            assert mutation.old in text, "the mutation no longer fits the text"
            return text.replace(mutation.old, mutation.new, mutation.count or -1)

        monkeypatch.setattr(dispatch, "_read", read)
    else:
        module, function = (dispatch, "recipe") if mutation.file == "dispatch.py" else (smooth_size, "_recipe")
        wrapped = getattr(module, function)
        text = inspect.getsource(wrapped.__wrapped__ if hasattr(wrapped, "__wrapped__") else wrapped)
        assert mutation.old in text, "the mutation no longer fits the text"
        scope: dict = {}
        text = "from __future__ import annotations\n" + text.replace(mutation.old, mutation.new)
        exec(compile(text, "mutated", "exec"), vars(module), scope)
        changed = scope[function]
        monkeypatch.setattr(module, function, recording.wrap_recipe(changed) if module is dispatch else changed)
    recording.forget()


def catches(mutation: Mutation) -> set[str]:
    """The checks that object, each made as CI makes it."""
    case, run = prepare(mutation)
    report = check(text_of(mutation), house=True)
    caught = {f"checker: {rule}" for rule in report.rules()}
    if caught:
        return caught
    if report.signatures[0].max_threads != threads_of(mutation):
        caught.add("launch size")
    try:
        plain = run(case)
        for seed in range(4):
            with simulator.test_mode(seed=seed, poison=False):
                if not torch.equal(run(case), plain):
                    caught.add("order")
        with simulator.test_mode(), poisoned_outputs():
            if torch.view_as_real(run(case) + 0j).isnan().any():
                caught.add("poison")
    except AssertionError as error:
        assert "does not fit it" in str(error)
        return caught | {"binding"}
    for guard in ("start", "end"):
        try:
            with simulator.test_mode(guard=guard, poison=False):
                run(case)
        except RuntimeError as error:
            assert "outside of every buffer" in str(error)
            caught.add("guard")
    return caught


def prepare(mutation: Mutation) -> tuple[Case, object]:
    torch.manual_seed(5)
    if mutation.operation == "short window":
        case = Case(mutation.n_fft, True)
        case.forward = type(case.forward)(**{**vars(case.forward), "win_length": 50})
        case.window = torch.rand(50) + 0.2
        return case, OPERATIONS["stft"]
    if mutation.operation == "istft in registers":
        return Case(mutation.n_fft, True, hop_length=_HOP), OPERATIONS["istft"]
    return Case(mutation.n_fft, True), OPERATIONS[mutation.operation]


def text_of(mutation: Mutation) -> str:
    operation, n_fft = mutation.operation, mutation.n_fft
    if not fft.supports_real(n_fft):
        name = "msp_any_istft" if operation == "istft" else "msp_any_stft"
        how = fft.transform(n_fft, False, operation == "istft")
        return any_size.kernel_source(n_fft, False, any_size.Kind(name, how.bluestein, how.packed, False))
    if operation == "istft in registers":
        return smooth_size.kernel_source(fft.registers_plan(n_fft, _HOP))
    if operation == "istft":
        return smooth_size.kernel_source(fft.istft_plan(n_fft))
    kind = smooth_size.Kind("msp_stft", adjoint=operation == "istft_adjoint")
    return smooth_size.kernel_source(fft.stft_plan(n_fft), kind)


def threads_of(mutation: Mutation) -> int:
    operation, n_fft = mutation.operation, mutation.n_fft
    if not fft.supports_real(n_fft):
        return fft.transform(n_fft, False, operation == "istft").plan.threads
    if operation == "istft in registers":
        return fft.registers_plan(n_fft, _HOP).threads
    return (fft.istft_plan if operation == "istft" else fft.stft_plan)(n_fft).threads
