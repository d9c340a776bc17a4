"""Looks at the arguments of one call and answers: the fast path (and with what arguments), or the original and why.

Pure functions: no side effects, no device work, nothing launched. Whatever torch would refuse or warn about goes to
the original, so that errors and warnings are torch's own.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from .kernels import plan

ELEMENTS_MAX = 2**31  # the kernels count elements in 32 bits
SAMPLES_MAX = 2**30  # and positions in a signal with room for what lies beyond its ends
ROWS_MAX = 2**20  # every row of istft takes at least one threadgroup
_TENSORS = (torch.Tensor, torch.nn.Parameter, FakeTensor)



class Reason(str, Enum):
    """Why a call went to the original. Names are stable; `words` says it in a sentence."""

    words: str

    def __new__(cls, name: str, words: str) -> Reason:
        member = str.__new__(cls, name)
        member._value_ = name
        member.words = words
        return member

    def __str__(self) -> str:
        return self.value

    DEVICE = "device", "the input is not on a device that is accelerated"
    OP = "op", "this function is not among the ops that are accelerated"
    TYPE = "type", "the input is not a plain tensor"
    MODE = "mode", "a torch function or dispatch mode is active and sees every call"
    TRANSFORM = "transform", "a functorch transform (vmap, grad, jvp) is active"
    FORWARD_AD = "forward_ad", "forward-mode differentiation is active"
    TRACING = "tracing", "the call is being recorded (torch.jit.trace, torch.export) to run without this package"
    GRADIENT = "gradient", "gradients are needed"
    ARGUMENT = "argument", "an argument is missing or not a plain int or bool: torch decides what it means"
    LAYOUT = "layout", "the input or window is sparse, nested or otherwise not strided"
    DTYPE = "dtype", "the input is not float32 (stft) or complex64 (istft)"
    SHAPE = "shape", "the input has the wrong number of dimensions"
    EMPTY = "empty", "the input is empty"
    TOO_LARGE = "too_large", "input or output have 2**31 elements or more, a signal 2**30 samples, or istft 2**20 rows"
    ORDER = "order", "rows lie inside one another in memory: torch orders its output likewise"
    N_FFT = "n_fft", "there is no kernel for this n_fft: even, 16 to 8192, half of it a product of 2, 3, 5 and 7"
    HOP_LENGTH = "hop_length", "hop_length is not positive, or longer than the window (istft)"
    WIN_LENGTH = "win_length", "win_length is not in 1 to n_fft"
    WINDOW_NONE = "window_none", "no window was given: torch warns and takes a rectangular one"
    WINDOW = "window", "the window is not a plain 1-D float32 tensor of win_length on the input's device"
    PAD_MODE = "pad_mode", "the padding mode is not reflect, constant, replicate or circular"
    PAD_LENGTH = "pad_length", "the padding is longer than this padding mode allows"
    TOO_SHORT = "too_short", "the signal is shorter than n_fft"
    ALIGN = "align_to_window", "align_to_window is set"
    TWO_SIDED = "two_sided", "two-sided spectra have no kernel"
    REAL_OUTPUT = "real_output", "stft without return_complex=True (deprecated, torch warns)"
    COMPLEX_OUTPUT = "complex_output", "istft with return_complex=True"
    BINS = "bins", "the number of frequency bins is not n_fft // 2 + 1"
    LENGTH = "length", "the output is empty, or longer than the frames reach (torch warns and pads)"
    NOLA = "nola", "the window's envelope is (almost) zero somewhere: torch raises"
    CAPTURE = "capture", "a CUDA graph is being captured, and this size was never used before: call it once first"
    QUARANTINED = "quarantined", "this plan gave a wrong result or an error earlier in this process"
    VERIFICATION = "verification", "the fast result differed from the original's"
    ERROR = "error", "the fast path raised an unexpected error"


class UseOriginal(RuntimeError):
    """Raised by an operator that finds out late that the original must do this call."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.words)
        self.reason = reason


class FallbackError(RuntimeError):
    """With on_fallback="raise": a call on an accelerated device was not routed to the fast path."""


@dataclass(frozen=True)
class Route:
    """The answer for one call: `fast`, with the operator's `arguments`, or the `reason` for the original."""

    op: str
    reason: Reason | None
    arguments: tuple | None = None
    device: str = ""
    plan: str = ""
    note: str = ""

    @property
    def fast(self) -> bool:
        return self.reason is None

    def __str__(self) -> str:
        place = f" on {self.device}" if self.device else ""
        answer = f"fast ({self.plan})" if self.reason is None else f"original, {self.reason}: {self.reason.words}"
        return f"torch.{self.op}{place}: {answer}" + (f" [{self.note}]" if self.note else "")


def route_stft(input, n_fft, hop_length=None, win_length=None, window=None, center=True, pad_mode="reflect",
               normalized=False, onesided=None, return_complex=None, align_to_window=None, *,
               flags: tuple[str, ...] = ("is_mps",)) -> Route:
    """How torch.stft with these arguments would go if tensors with one of `flags` are accelerated."""
    arguments = (input, n_fft, hop_length, win_length, window, center, pad_mode, normalized, onesided, return_complex,
                 align_to_window)
    return route("stft", flags, arguments)


def route_istft(input, n_fft, hop_length=None, win_length=None, window=None, center=True, normalized=False,
                onesided=None, length=None, return_complex=False, *, flags: tuple[str, ...] = ("is_mps",)) -> Route:
    """How torch.istft with these arguments would go if tensors with one of `flags` are accelerated."""
    arguments = (input, n_fft, hop_length, win_length, window, center, normalized, onesided, length, return_complex)
    return route("istft", flags, arguments)


def route(op: str, flags: tuple[str, ...], arguments: tuple) -> Route:
    decision = decide(op, flags, arguments)
    device = str(getattr(arguments[0], "device", ""))
    if isinstance(decision, Reason):
        return Route(op, decision, device=device)
    return Route(op, None, decision, device, plan_name(op, decision[0]))


def plan_name(op: str, n_fft: int) -> str:
    return (plan.stft_plan if op == "stft" else plan.istft_plan)(n_fft).describe()


def decide(op: str, flags: tuple[str, ...], arguments: tuple) -> tuple | Reason:
    """The operator's arguments after input and window, or the reason for the original: a Route without its dressing."""
    reason = untouched(arguments[0], flags)
    return decide_touched(op, arguments) if reason is None else reason


def decide_touched(op: str, arguments: tuple) -> tuple | Reason:
    """decide() for an input that untouched() lets pass."""
    input, window = arguments[0], arguments[4]
    reason = _surroundings(input, window)
    if reason is not None:
        return reason
    check = check_stft if op == "stft" else check_istft
    # What no signature holds is looked at every time; the rest of the answer is remembered.
    if type(input) is FakeTensor or window is None or _transforms() or forward_ad._current_level >= 0:
        return check(*arguments)
    if torch.is_grad_enabled() and (input.requires_grad or getattr(window, "requires_grad", True)):
        return check(*arguments)
    try:
        signature = (
            input.shape, input.stride(), input.dtype, input.device, input.layout,
            window.shape, window.dtype, window.device, window.layout,
            arguments[1:4], arguments[5:], tuple(map(type, arguments)),
        )  # fmt: skip
        known = _answers.get(signature)
    except (RuntimeError, TypeError, AttributeError):  # a tensor without strides, a list where an int should be, ...
        return check(*arguments)
    if known is None:
        known = check(*arguments)
        if len(_answers) >= _ANSWERS_MAX:
            _answers.clear()
        _answers[signature] = known
    return known


# Answers by signature; the two functions differ in the number of their arguments. Types are part of a signature
# because 1, 1.0 and True are equal, and torch takes them differently.
_answers: dict[tuple, tuple | Reason] = {}
_ANSWERS_MAX = 4096


def decide_compiled(op: str, devices: tuple[str, ...], arguments: tuple) -> tuple | Reason:
    """decide() in the words that torch.compile can trace, and traces to nothing. There is no mode or tracing there."""
    if not isinstance(arguments[0], torch.Tensor) or arguments[0].device.type not in devices:
        return Reason.DEVICE
    return check_stft(*arguments) if op == "stft" else check_istft(*arguments)


def untouched(input, flags: tuple[str, ...]) -> Reason | None:
    """The reason why this input is none of our business, in the fewest steps: this is what every other call pays."""
    if type(input) not in _TENSORS:
        return Reason.TYPE
    for flag in flags:
        if getattr(input, flag):
            return None
    return Reason.DEVICE


def _transforms() -> bool:
    """Whether a functorch transform (vmap, grad, jvp) is active."""
    return torch._C._are_functorch_transforms_active()


# What torch.compiler.assume_constant_result() does, without importing all of dynamo: while a graph is traced, dynamo
# asks us instead of tracing the C function, which not every version can. It guards on the stack of transforms itself.
_transforms._dynamo_marked_constant = True  # type: ignore[attr-defined]


def is_exporting() -> bool:
    """Whether torch.export is at work. The flag itself: before 2.13 dynamo takes torch.compiler.is_exporting() for true
    in every compilation, and old versions have neither."""
    return getattr(torch.compiler, "_is_exporting_flag", False) or (is_compiling() and _dynamo_is_exporting())


def _dynamo_is_exporting() -> bool:
    """Strict export sets no flag in torch 2.7; dynamo's translator of the moment knows."""
    try:
        translator = sys.modules["torch._dynamo.symbolic_convert"].InstructionTranslator.current_tx()
    except (KeyError, AttributeError):  # no dynamo, or none at work in this thread
        return False
    return bool(getattr(translator, "export", False))


_dynamo_is_exporting._dynamo_marked_constant = True  # type: ignore[attr-defined]  # asked while tracing, as _transforms()


def _surroundings(input, window) -> Reason | None:
    """What is going on around the call that an operator of ours would hide from, or that would hide from it."""
    if torch._C._len_torch_function_stack() and not all(map(_only_sets_the_device, _get_current_function_mode_stack())):
        return Reason.MODE
    if torch._C._len_torch_dispatch_stack() and not all(
        isinstance(mode, FakeTensorMode) for mode in _get_current_dispatch_mode_stack()
    ):
        return Reason.MODE
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    if wrapped(input) or (isinstance(window, torch.Tensor) and wrapped(window)):  # escaped from a finished transform
        return Reason.TRANSFORM
    if torch._C._get_tracing_state() is not None or is_exporting():
        return Reason.TRACING
    return None


def _only_sets_the_device(mode) -> bool:
    """Whether this is the mode behind torch.set_default_device(), which concerns constructors only."""
    module = sys.modules.get("torch.utils._device")
    return module is not None and type(mode) is module.DeviceContext


def check_stft(input, n_fft, hop_length, win_length, window, center, pad_mode, normalized, onesided, return_complex,
               align_to_window) -> tuple | Reason:
    """(n_fft, hop_length, win_length, center, pad_mode, normalized), or why not. Traceable by torch.compile."""
    if return_complex is not True:
        return Reason.REAL_OUTPUT
    if onesided is not None and onesided is not True:
        return Reason.TWO_SIDED
    if align_to_window is not None and (align_to_window is not False or center is not False):
        return Reason.ALIGN
    common = _check_common(input, torch.float32, n_fft, hop_length, win_length, window, center, normalized)
    if isinstance(common, Reason):
        return common
    hop, win = common
    if input.dim() not in (1, 2):
        return Reason.SHAPE
    samples = input.shape[-1]
    if center:
        if type(pad_mode) is not str or pad_mode not in ("reflect", "constant", "replicate", "circular"):
            return Reason.PAD_MODE
        pad = n_fft // 2
        if (pad_mode == "reflect" and pad >= samples) or (pad_mode == "circular" and pad > samples):
            return Reason.PAD_LENGTH
        samples = samples + 2 * pad
    else:
        pad_mode = "reflect"  # torch does not even look at it then
    if n_fft > samples:
        return Reason.TOO_SHORT
    if _span(input) >= ELEMENTS_MAX:
        return Reason.TOO_LARGE
    batch = input.shape[0] if input.dim() == 2 else 1
    frames = 1 + (samples - n_fft) // hop
    if not center and batch > 1 and frames > 1 and 0 < input.stride(0) < hop * input.stride(1):
        return Reason.ORDER
    if samples >= SAMPLES_MAX or batch * samples >= ELEMENTS_MAX or batch * frames * (n_fft // 2 + 1) >= ELEMENTS_MAX:
        return Reason.TOO_LARGE
    return n_fft, hop, win, center, pad_mode, normalized


def check_istft(input, n_fft, hop_length, win_length, window, center, normalized, onesided, length,
                return_complex) -> tuple | Reason:
    """(n_fft, hop_length, win_length, center, normalized, length), or why not. Traceable by torch.compile."""
    if return_complex is not False:
        return Reason.COMPLEX_OUTPUT
    if onesided is not None and onesided is not True:
        return Reason.TWO_SIDED
    common = _check_common(input, torch.complex64, n_fft, hop_length, win_length, window, center, normalized)
    if isinstance(common, Reason):
        return common
    hop, win = common
    if hop > win:
        return Reason.HOP_LENGTH
    if input.dim() not in (2, 3):
        return Reason.SHAPE
    bins, frames = input.shape[-2], input.shape[-1]
    if bins != n_fft // 2 + 1:
        return Reason.BINS
    if onesided is None and bins == n_fft:  # n_fft = 2: torch takes two bins for a two-sided spectrum
        return Reason.TWO_SIDED
    reach = n_fft + hop * (frames - 1)
    trim = n_fft // 2 if center else 0
    if length is None:
        samples = reach - 2 * trim
    elif type(length) is int:
        samples = length
    else:
        return Reason.ARGUMENT
    if samples <= 0 or samples > reach - trim:
        return Reason.LENGTH
    batch = input.shape[0] if input.dim() == 3 else 1
    if reach >= SAMPLES_MAX or batch >= ROWS_MAX or batch * reach >= ELEMENTS_MAX or _span(input) >= ELEMENTS_MAX:
        return Reason.TOO_LARGE
    return n_fft, hop, win, center, normalized, samples


def _span(input) -> int:
    """Elements from a tensor's first to its last, gaps included: how far the kernels count."""
    span = 1
    for size, stride in zip(input.shape, input.stride()):  # noqa: B905 (strict costs on the hot path)
        span += (size - 1) * stride
    return span


def _check_common(input, dtype, n_fft, hop_length, win_length, window, center, normalized) -> tuple[int, int] | Reason:
    """(hop_length, win_length) with torch's defaults, or why not: what stft and istft have in common."""
    if _transforms():
        return Reason.TRANSFORM
    if forward_ad._current_level >= 0:
        return Reason.FORWARD_AD
    if window is None:
        return Reason.WINDOW_NONE
    if type(window) not in _TENSORS:
        return Reason.WINDOW
    # In compiled code requires_grad and is_grad_enabled() are known while tracing, so this holds there as well.
    if torch.is_grad_enabled() and (input.requires_grad or window.requires_grad):
        return Reason.GRADIENT
    if type(n_fft) is not int or type(center) is not bool or type(normalized) is not bool:
        return Reason.ARGUMENT
    hop = n_fft // 4 if hop_length is None else hop_length
    win = n_fft if win_length is None else win_length
    if type(hop) is not int or type(win) is not int or hop >= ELEMENTS_MAX:
        return Reason.ARGUMENT
    if input.dtype is not dtype:
        return Reason.DTYPE
    if input.layout is not torch.strided or input.is_nested or window.layout is not torch.strided or window.is_nested:
        return Reason.LAYOUT
    if input.numel() == 0:
        return Reason.EMPTY
    if not plan.supports(n_fft):
        return Reason.N_FFT
    if hop <= 0:
        return Reason.HOP_LENGTH
    if not 0 < win <= n_fft:
        return Reason.WIN_LENGTH
    if window.dtype is not torch.float32 or window.dim() != 1 or window.shape[0] != win:
        return Reason.WINDOW
    if window.device != input.device:
        return Reason.WINDOW
    return hop, win
