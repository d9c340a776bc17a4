"""What goes on around a call changes nothing that is not changed in torch: modes, contexts, threads, the last call.

Most of this is about what a fast path keeps between calls (windows of ones, tables, envelopes, answers): it must not
show, whatever the circumstances in which it was first made.
"""

from __future__ import annotations

import copy
import pickle
import threading
import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import mps_spectro_patch as msp

from .compare import assert_close, assert_same_tensor, outcome, unpatched
from .modes import MODES, Mode, doubles, leaves

pytestmark = pytest.mark.usefixtures("enabled")
MIXED = ["stft, reflect", "stft, one dimension", "stft, two-sided", "stft, real output", "stft, odd n_fft",
         "stft, complex signal", "istft, plain", "istft, no batch dimension", "istft, length longer",
         "istft, odd n_fft", "istft, complex output"]  # fmt: skip
mixed = pytest.mark.parametrize("mode", MIXED)


def same_outcome(function, *args):
    """function(*args), patched and unpatched: compared with float64 if it gives a tensor."""
    ours = outcome(function, *args)
    with unpatched():
        theirs, exact = outcome(function, *args), outcome(function, *doubles_of(args))
    assert ours.warnings == theirs.warnings
    assert ours.error == theirs.error
    if theirs.result is not None:
        assert_same_tensor(ours.result, theirs.result)
        assert_close(ours.result, theirs.result, theirs.result if exact.result is None else exact.result)
    return ours


def doubles_of(args):
    return [doubles([one])[0] if isinstance(one, torch.Tensor) else one for one in args]


@mixed
def test_inference_mode(mode, torch_device):
    mode = MODES[mode]
    input, window = mode.inputs(torch_device)

    def inside(input, window):
        with torch.inference_mode():
            return mode(input, window)

    same_outcome(inside, input, window)
    with torch.inference_mode():
        input, window = input.clone(), window.clone()
    assert input.is_inference()
    same_outcome(mode, input, window)
    same_outcome(inside, input, window)
    same_outcome(mode, input, mode.inputs(torch_device)[1].requires_grad_())


CONTEXTS = {
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "FakeTensorMode": FakeTensorMode,
    "default float64": lambda: default_dtype(torch.float64),
    "default device meta": lambda: torch.device("meta"),
    "another stream of random numbers": lambda: torch.random.fork_rng(devices=[]),
    "deterministic algorithms": lambda: deterministic(),
}


class default_dtype:
    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __enter__(self) -> None:
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *_: object) -> None:
        torch.set_default_dtype(self.before)


class deterministic:
    def __enter__(self) -> None:
        torch.use_deterministic_algorithms(True, warn_only=True)

    def __exit__(self, *_: object) -> None:
        torch.use_deterministic_algorithms(False)


@pytest.mark.filterwarnings("ignore:A window was not provided")
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("window", ["none", "float32", "int64"])
@pytest.mark.parametrize("op", ["stft", "istft"])
def test_what_is_first_made_in_one_context_serves_in_every_other(op, window, context, torch_device):
    """A window of ones, a converted one, tables: an inference tensor among them could not be saved for a backward."""
    # A length that nothing else here has, so that what is kept for it is made where this test says.
    win = 20 + list(CONTEXTS).index(context) * 6 + ["none", "float32", "int64"].index(window) * 2 + (op == "stft")
    options = dict(n_fft=64, hop_length=4, win_length=win)
    shape = (2, 33, 5) if op == "istft" else (2, 100)
    mode = Mode(op, shape, options | (dict(return_complex=True) if op == "stft" else {}), win)
    input, given = mode.inputs(torch_device)
    given = {"none": None, "float32": given, "int64": torch.arange(1, win + 1, device=torch_device)}[window]
    with CONTEXTS[context]():
        if context == "FakeTensorMode":
            outcome(mode, *(
                None if one is None else torch.empty(one.shape, dtype=one.dtype, device=torch_device)
                for one in (input, given)
            ))  # fmt: skip
        else:
            outcome(mode, input, given)

    def differentiated(input, given):
        input = input.detach().requires_grad_()
        result = mode(input, given)
        return result.detach(), torch.autograd.grad(result, input, torch.ones_like(result))[0]

    ours = differentiated(input, given)
    with unpatched():
        theirs, exact = differentiated(input, given), differentiated(*doubles_of([input, given]))
    assert_same_tensor(ours[0], theirs[0])
    for mine, other, right in zip(ours, theirs, exact, strict=True):
        assert (mine.shape, mine.dtype, mine.device) == (other.shape, other.dtype, other.device)
        assert_close(mine, other, right, rel_l2=1e-6, max_abs=3e-6)


@mixed
@pytest.mark.parametrize("context", [name for name in CONTEXTS if name != "FakeTensorMode"])
def test_calls_in_contexts(mode, context, torch_device):
    mode = MODES[mode]

    def inside(input, window):
        with CONTEXTS[context]():
            return mode(input, window)

    same_outcome(inside, *mode.inputs(torch_device))


@mixed
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("given", ["single", "half signal", "half window", "half both"])
def test_autocast(mode, dtype, given, torch_device):
    mode = MODES[mode]
    input, window = mode.inputs(torch_device)
    if given in ("half signal", "half both") and not input.is_complex():
        input = input.to(dtype)
    if given in ("half window", "half both"):
        window = window.to(dtype)

    def inside(input, window):
        with torch.autocast(torch_device.type, dtype):
            result = mode(input, window)
            return result @ result.mT if not result.is_complex() and result.dim() == 2 else result

    same_outcome(inside, input, window)


@mixed
def test_results_are_tensors_of_their_own(mode, torch_device):
    mode = MODES[mode]
    input, window = mode.inputs(torch_device)
    first = mode(input, window)
    kept = first.clone()
    second = mode(input, window)
    with torch.no_grad():
        second.zero_()
    assert torch.equal(first, kept)
    with torch.no_grad():
        input.zero_(), window.zero_()
    assert torch.equal(first, kept)
    assert first.untyped_storage().nbytes() >= first.numel() * first.element_size()
    with torch.no_grad():
        first.resize_(first.numel() * 2)


@mixed
def test_results_survive_pickle_copy_and_share_memory(mode, torch_device):
    mode = MODES[mode]
    result = mode(*mode.inputs(torch_device))
    torch.testing.assert_close(pickle.loads(pickle.dumps(result)), result)
    assert copy.deepcopy(result).stride() == result.stride()
    if torch_device.type == "cpu":
        result.share_memory_()


def test_the_last_calls_of_many_windows_do_not_mix(torch_device):
    """Windows at reused addresses, changed in place, in .data, through a view, and by out=."""
    mode = MODES["istft, plain"]
    input, window = mode.inputs(torch_device)
    changes = [
        lambda: window.mul_(2),
        lambda: window[3:5].add_(1),
        lambda: torch.add(window, 1, out=window),
        lambda: window.copy_(torch.rand(16) + 0.2),
        lambda: window.fill_(0.5),
        lambda: setattr(window, "data", torch.rand(16, device=torch_device) + 0.3),
        lambda: window.zero_(),
        lambda: window.add_(1),
        lambda: window.set_(torch.rand(16, device=torch_device) + 0.3),
    ]
    same_outcome(mode, input, window)
    for change in changes:
        change()
        same_outcome(mode, input, window)
        same_outcome(MODES["stft, reflect"], torch.randn(2, 27, device=torch_device), window)
    for number in range(20):  # freed and made again, likely at one address
        same_outcome(mode, input, torch.rand(16, device=torch_device) + 0.2 + number % 3)
    same_outcome(mode, input, torch.zeros(16, device=torch_device))


def test_threads(torch_device, threads):
    names = ["stft, reflect", "stft, odd n_fft", "istft, plain", "istft, two-sided", "stft, complex signal"]
    wrong: list[BaseException] = []

    def call(name: str, seed: int) -> None:
        try:
            mode = MODES[name]
            tensors = mode.inputs(torch_device, seed)
            for _ in range(10):
                input, window = leaves(tensors, (True, True))
                result = mode(input, window)
                result.abs().sum().backward()
                torch.testing.assert_close(result.detach(), expected[name, seed], rtol=1e-4, atol=1e-4)
        except BaseException as error:
            wrong.append(error)

    with unpatched():
        expected = {
            (name, seed): MODES[name](*MODES[name].inputs(torch_device, seed)) for name in names for seed in (1, 2)
        }
    threads = [threading.Thread(target=call, args=key) for key in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]


class Subclass(torch.Tensor):
    pass


class Logging(torch.Tensor):
    calls: list = []

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.calls.append(getattr(function, "__name__", str(function)))
        return super().__torch_function__(function, types, args, kwargs or {})


@mixed
@pytest.mark.parametrize("kind", [Subclass, Logging, torch.nn.Parameter, torch.nn.Buffer])
@pytest.mark.parametrize("which", ["input", "window"])
def test_subclasses(mode, kind, which, torch_device):
    mode = MODES[mode]
    input, window = mode.inputs(torch_device)

    def call(input, window):
        if which == "input":
            return mode(input.as_subclass(kind) if kind in (Subclass, Logging) else kind(input), window)
        return mode(input, window.as_subclass(kind) if kind in (Subclass, Logging) else kind(window))

    Logging.calls.clear()
    ours = call(input, window)
    logged = Logging.calls.copy()
    Logging.calls.clear()
    with unpatched():
        theirs = call(input, window)
    assert type(ours) is type(theirs)
    assert calls(logged) == calls(Logging.calls)
    assert_same_tensor(ours, theirs)
    plain = [one.detach().as_subclass(torch.Tensor) for one in (ours, theirs)]
    assert_close(*plain, plain[1], rel_l2=1e-5, max_abs=1e-5)


def calls(seen: list[str]) -> list[str]:
    """Less the looks at attributes (is_mps), which whoever decides about a call cannot do without."""
    return [name for name in seen if name != "__get__"]


class Functions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.seen.append(getattr(function, "__name__", str(function)))
        return function(*args, **(kwargs or {}))


class Dispatches(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


@mixed
@pytest.mark.parametrize("kind", [Functions, Dispatches])
def test_modes_see_what_they_saw(mode, kind, torch_device):
    mode = MODES[mode]
    input, window = mode.inputs(torch_device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with kind() as ours:
            mode(input, window)
        with unpatched(), kind() as theirs:
            mode(input, window)
    assert calls(ours.seen) == calls(theirs.seen)


@mixed
def test_meta_tensors(mode):
    mode = MODES[mode]
    input, window = (one.to("meta") for one in mode.inputs(torch.device("cpu")))
    ours = outcome(mode, input, window)
    with unpatched():
        theirs = outcome(mode, input, window)
    assert ours.error == theirs.error and ours.warnings == theirs.warnings
    if theirs.result is not None:
        assert_same_tensor(ours.result, theirs.result)


@pytest.mark.parametrize("verify", ["off", "first", "always"])
@pytest.mark.parametrize(
    "case",
    ["stft, no window", "stft, real output", "stft, both", "istft, no window", "istft, length longer", "istft, both"],
)
def test_each_warning_is_given_as_often_as_torch_gives_it(case, verify, device_name, torch_device):
    op, what = case.split(", ")
    mode = MODES["stft, reflect" if op == "stft" else "istft, plain"]
    input, window = mode.inputs(torch_device)
    options = dict(mode.options)
    if what in ("no window", "both"):
        window = None
    if what in ("real output", "both") and op == "stft":
        options["return_complex"] = False
    if what in ("length longer", "both") and op == "istft":
        options["length"] = 60
    msp.disable()
    with msp.accelerated(devices=(device_name,), on_error="raise", verify=verify):
        for _ in range(3):
            ours = outcome(getattr(torch, op), input, window=window, **options)
            with unpatched():
                theirs = outcome(getattr(torch, op), input, window=window, **options)
            assert ours.warnings == theirs.warnings
            assert_same_tensor(ours.result, theirs.result)


@pytest.mark.parametrize("case", ["stft, no window", "stft, real output", "istft, no window", "istft, length longer"])
def test_warnings_are_once_per_process_like_torchs(case, run_python):
    """And once for both: torch's own first call after ours says nothing any more, and the other way round."""
    call = {
        "stft, no window": "torch.stft(x, 400, return_complex=True)",
        "stft, real output": "torch.stft(x, 400, window=window, return_complex=False)",
        "istft, no window": "torch.istft(X, 400)",
        "istft, length longer": "torch.istft(X, 400, window=window, length=9000)",
    }[case]
    code = f"""
    import mps_spectro_patch as msp
    X = original_stft(x, 400, window=window, return_complex=True)

    def said():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            {call}
        return [str(one.message)[:40] for one in caught]

    enabled = {{enabled}}
    for on in enabled:
        if on:
            msp.enable(devices=devices, on_error="raise")
        print("said", said())
        msp.disable()
    """

    def lines(enabled):
        program = code.replace("{enabled}", repr(enabled)).replace("{{", "{").replace("}}", "}")
        printed = run_python(program)
        return [line for line in printed.splitlines() if line.startswith("said")]

    expected = lines([False, False])
    assert expected[0] != expected[1] == "said []"
    assert lines([True, True]) == expected
    assert lines([True, False]) == expected
    assert lines([False, True]) == expected


@pytest.mark.parametrize("case", ["stft, no window", "stft, real output", "istft, length longer"])
def test_warnings_turned_into_errors_are_errors(case, torch_device):
    op, what = case.split(", ")
    mode = MODES["stft, reflect" if op == "stft" else "istft, plain"]
    input, window = mode.inputs(torch_device)
    options = (
        dict(mode.options)
        | {"no window": {}, "real output": dict(return_complex=False), "length longer": dict(length=60)}[what]
    )

    def call():
        torch.set_warn_always(True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return getattr(torch, op)(input, window=None if what == "no window" else window, **options)
        except Exception as error:
            return type(error), str(error).split(" (Triggered")[0]
        finally:
            torch.set_warn_always(False)

    ours = call()
    with unpatched():
        theirs = call()
    assert isinstance(theirs, tuple) and ours == theirs
