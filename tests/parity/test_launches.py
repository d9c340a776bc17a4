"""How much work a call is, once everything is known: one launch, no other computation, nothing read back.

Launches are counted where kernels leave the compiler; other work by torch's profiler, which sees every aten operation.
"""

from __future__ import annotations

import sys

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from mps_spectro_patch.execution import call_cache
from mps_spectro_patch.kernels.launch import dispatch
from mps_spectro_patch.kernels.tables import envelope

from .modes import Mode, leaves

pytestmark = [
    pytest.mark.usefixtures("enabled"),
    pytest.mark.filterwarnings("ignore:stft with return_complex=False"),
    pytest.mark.filterwarnings("ignore:The length of signal is shorter"),
    pytest.mark.filterwarnings("ignore:A window was not provided"),
]
# Memory without contents, and other ways to look at memory that is there.
FREE = {
    f"aten::{name}" for name in (
        "empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "view", "_unsafe_view", "reshape",
        "as_strided", "as_strided_", "unsqueeze", "unsqueeze_", "squeeze", "squeeze_", "transpose", "transpose_", "t",
        "permute", "narrow", "slice", "select", "expand", "expand_as", "detach", "detach_", "alias", "view_as_real",
        "view_as_complex", "real", "resolve_conj", "resolve_neg", "contiguous", "is_nonzero", "_reshape_alias", "to",
        "lift_fresh", "view_as", "conj", "_conj", "unflatten", "flatten", "_has_compatible_shallow_copy_type",
    )
}  # fmt: skip
S16 = dict(n_fft=16, hop_length=4, win_length=16, return_complex=True)
I16 = dict(n_fft=16, hop_length=4, win_length=16)
ONE_LAUNCH = {
    "stft": Mode("stft", (2, 100), S16),
    "stft, one dimension": Mode("stft", (100,), S16),
    "stft, not centred": Mode("stft", (2, 100), S16 | dict(center=False)),
    "stft, constant": Mode("stft", (2, 100), S16 | dict(pad_mode="constant")),
    "stft, replicate": Mode("stft", (2, 100), S16 | dict(pad_mode="replicate")),
    "stft, circular": Mode("stft", (2, 100), S16 | dict(pad_mode="circular")),
    "stft, aligned": Mode("stft", (2, 100), S16 | dict(center=False, align_to_window=True, win_length=10), 10),
    "stft, short window": Mode("stft", (2, 100), S16 | dict(win_length=9), 9),
    "stft, normalized": Mode("stft", (2, 100), S16 | dict(normalized=True)),
    "stft, two-sided": Mode("stft", (2, 100), S16 | dict(onesided=False)),
    "stft, real output": Mode("stft", (2, 100), S16 | dict(return_complex=False)),
    "stft, odd hop": Mode("stft", (2, 100), S16 | dict(hop_length=5)),
    "stft, odd n_fft": Mode("stft", (2, 100), S16 | dict(n_fft=15, win_length=15), 15),
    "stft, prime n_fft": Mode("stft", (2, 100), S16 | dict(n_fft=13, win_length=13), 13),
    "stft, complex signal": Mode("stft", (2, 100), S16, complex_input=True),
    "stft, complex window": Mode("stft", (2, 100), S16, complex_window=True),
    "istft": Mode("istft", (2, 9, 20), I16),
    "istft, no batch dimension": Mode("istft", (9, 20), I16),
    "istft, not centred": Mode("istft", (2, 9, 20), I16 | dict(center=False)),
    "istft, length shorter": Mode("istft", (2, 9, 20), I16 | dict(length=50)),
    "istft, length longer": Mode("istft", (2, 9, 20), I16 | dict(length=120)),
    "istft, short window": Mode("istft", (2, 9, 20), I16 | dict(win_length=9), 9),
    "istft, normalized": Mode("istft", (2, 9, 20), I16 | dict(normalized=True)),
    "istft, two-sided": Mode("istft", (2, 16, 20), I16 | dict(onesided=False)),
    "istft, odd hop": Mode("istft", (2, 9, 20), I16 | dict(hop_length=5)),
    "istft, odd n_fft": Mode("istft", (2, 8, 20), I16 | dict(n_fft=15, win_length=15), 15),
    "istft, prime n_fft": Mode("istft", (2, 7, 20), I16 | dict(n_fft=13, win_length=13), 13),
    "istft, complex output": Mode("istft", (2, 16, 20), I16 | dict(return_complex=True)),
    "istft, complex window": Mode("istft", (2, 16, 20), I16 | dict(return_complex=True), complex_window=True),
}


class CountingLibrary:
    """A compiled library whose kernels note each launch."""

    def __init__(self, library, launched: list[str]) -> None:
        self._library, self._launched = library, launched

    def __getattr__(self, name: str):
        kernel = getattr(self._library, name)
        return (CountingPreparable if hasattr(kernel, "prepare") else CountingKernel)(kernel, name, self._launched)


class CountingKernel:
    def __init__(self, kernel, name: str, launched: list[str]) -> None:
        self._kernel, self._name, self._launched = kernel, name, launched

    def __getattr__(self, name: str):
        return getattr(self._kernel, name)

    def __call__(self, *args, **options) -> None:
        self._launched.append(self._name)
        self._kernel(*args, **options)


class CountingPreparable(CountingKernel):
    def prepare(self, *args, **options):
        prepared = self._kernel.prepare(*args, **options)

        def run(*tensors) -> None:
            self._launched.append(self._name)
            prepared(*tensors)

        return run


def forget_recipes() -> None:
    """Launches that are prepared already hold kernels that nobody counts."""
    package = dispatch.__name__.rpartition(".")[0]
    for name, module in list(sys.modules.items()):
        for function in list(vars(module).values()) if name.startswith(f"{package}.") else ():
            if hasattr(function, "cache_clear"):
                function.cache_clear()
    call_cache.clear()


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels that were launched since, in order."""
    names: list[str] = []
    compile_shader = dispatch.compile_shader
    monkeypatch.setattr(
        dispatch, "compile_shader", lambda *args: CountingLibrary(compile_shader(*args), names), raising=True
    )
    forget_recipes()
    yield names
    forget_recipes()


def work(function, launched: list[str]) -> tuple[int, set[str], int]:
    """What function() does the third time: (launches, other aten operations, windows read back)."""
    function(), function()
    launched.clear()
    read_backs = envelope.read_backs()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        function()
    operations = {event.name for event in profiler.events() if event.name.startswith("aten::")}
    return len(launched), operations - FREE, envelope.read_backs() - read_backs


@pytest.mark.parametrize("mode", ONE_LAUNCH)
def test_a_forward_is_one_launch_and_nothing_else(mode, launched, torch_device):
    mode = ONE_LAUNCH[mode]
    input, window = mode.inputs(torch_device)
    assert work(lambda: mode(input, window), launched) == (1, set(), 0)


@pytest.mark.parametrize("mode", ONE_LAUNCH)
def test_a_forward_with_a_graph_is_one_launch_and_nothing_else(mode, launched, torch_device):
    mode = ONE_LAUNCH[mode]
    input, window = leaves(mode.inputs(torch_device), (True, False))
    # Of a short window a copy is kept, as torch keeps its padded one: the program may change its own in the meantime.
    copied = {"aten::clone", "aten::copy_"} if mode.win_length < mode.options["n_fft"] else set()
    assert work(lambda: mode(input, window), launched) == (1, copied, 0)


# torch copies the gradient of view_as_real() by itself, patched or not.
@pytest.mark.parametrize("mode", [mode for mode in ONE_LAUNCH if mode != "stft, real output"])
def test_a_backward_is_one_launch_and_nothing_else(mode, launched, torch_device):
    mode = ONE_LAUNCH[mode]
    input, window = leaves(mode.inputs(torch_device), (True, False))
    result = mode(input, window)
    cotangent = torch.randn_like(result)
    backward = lambda: torch.autograd.grad(result, input, cotangent, retain_graph=True)  # noqa: E731
    assert work(backward, launched) == (1, set(), 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_signals_are_read_by_the_kernel(dtype, launched, torch_device):
    mode = ONE_LAUNCH["stft"]
    input, window = mode.inputs(torch_device)
    half = input.to(dtype)
    assert work(lambda: mode(half, window), launched) == (1, set(), 0)


@pytest.mark.parametrize("op", ["stft", "istft"])
def test_no_window_costs_nothing_either(op, launched, torch_device):
    mode = ONE_LAUNCH[op]
    input, _ = mode.inputs(torch_device)
    assert work(lambda: mode(input, None), launched) == (1, set(), 0)


LAYOUTS = {
    "bins next to each other": lambda x: x.mT.contiguous().mT,
    "frames next to each other": lambda x: x.contiguous(),
    "every second frame": lambda x: torch.stack([x, x], -1).flatten(-2)[..., ::2],
    "without its first bin's neighbour": lambda x: torch.cat([x, x], -2)[..., : x.shape[-2], :],
    "one row for all": lambda x: x[:1].expand(4, -1, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", ["istft", "istft, odd n_fft", "istft, complex output"])
def test_spectra_are_read_in_any_layout_without_a_copy(mode, layout, launched, torch_device):
    mode = ONE_LAUNCH[mode]
    input, window = mode.inputs(torch_device)
    input = LAYOUTS[layout](input)
    assert work(lambda: mode(input, window), launched) == (1, set(), 0)


@pytest.mark.parametrize("cotangent", ["contiguous", "frames next to each other", "expanded"])
@pytest.mark.parametrize("mode", ["stft", "istft", "stft, odd n_fft"])
def test_gradients_are_read_in_any_layout_without_a_copy(mode, cotangent, launched, torch_device):
    mode = ONE_LAUNCH[mode]
    input, window = leaves(mode.inputs(torch_device), (True, False))
    result = mode(input, window)
    given = {
        "contiguous": torch.randn_like(result).contiguous(),
        "frames next to each other": torch.randn_like(result.mT).mT,
        "expanded": torch.randn_like(result[:1]).expand(result.shape),
    }[cotangent]
    backward = lambda: torch.autograd.grad(result, input, given, retain_graph=True)  # noqa: E731
    assert work(backward, launched) == (1, set(), 0)


@pytest.mark.parametrize("row", [("signal", "offset"), ("signal", "rows apart"), ("window", "offset")])
def test_signals_and_windows_are_read_where_they_are(row, launched, torch_device):
    which, how = row
    mode = ONE_LAUNCH["stft"]
    input, window = mode.inputs(torch_device)
    if which == "window":
        window = torch.cat([window, window])[3:19]
    else:
        input = torch.cat([input, input], -1)[:, 3:103] if how == "offset" else torch.cat([input, input])[::2]
    assert work(lambda: mode(input, window), launched) == (1, set(), 0)


@pytest.mark.parametrize("op", ["stft", "istft"])
@pytest.mark.parametrize("which", [(True, False), (False, True), (True, True)])
def test_a_backward_does_only_what_is_asked_for(op, which, monkeypatch, torch_device):
    from mps_spectro_patch.kernels.launch import transforms

    done = []
    for name in (f"ready_{op}_adjoint", f"{op}_adjoint", f"{op}_window_gradient"):
        function, name_then = getattr(transforms, name), name
        name = name.removeprefix("ready_")
        monkeypatch.setattr(transforms, name_then, lambda *args, _name=name, _function=function, **options: (
            done.append(_name), _function(*args, **options)
        )[1])  # fmt: skip
    mode = ONE_LAUNCH[op]
    input, window = leaves(mode.inputs(torch_device), which)
    result = mode(input, window)
    assert not done
    result.backward(torch.randn_like(result))
    assert sorted(done) == [
        name for name, wanted in zip((f"{op}_adjoint", f"{op}_window_gradient"), which, strict=True) if wanted
    ]


@pytest.mark.parametrize("op", ["stft", "istft"])
def test_a_known_window_is_never_read_back(op, launched, torch_device):
    mode = ONE_LAUNCH[op]
    input, window = mode.inputs(torch_device)
    mode(input, window)
    before = envelope.read_backs()
    for length in range(3):  # other shapes, the same window
        mode(torch.cat([input] * (length + 1), -1), window)
    assert envelope.read_backs() == before


@pytest.mark.parametrize(
    "mode",
    [
        "stft",
        "stft, two-sided",
        "stft, odd n_fft",
        "stft, complex signal",
        "istft",
        "istft, length shorter",
        "istft, odd n_fft",
        "istft, complex output",
    ],
)
def test_forward_and_backward_can_be_captured_in_a_cuda_graph(mode, torch_device):
    if torch_device.type != "cuda":
        pytest.skip("CUDA graphs are CUDA's")
    mode = ONE_LAUNCH[mode]
    input, window = leaves(mode.inputs(torch_device), (True, False))

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        result = mode(input, window)
        return result, torch.autograd.grad(result, input, cotangent)[0]

    cotangent = torch.randn_like(mode(input, window))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            both()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        result, gradient = both()
    with torch.no_grad():
        input.copy_(input.flip(-1))
    graph.replay()
    expected, expected_gradient = both()
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(gradient, expected_gradient)
