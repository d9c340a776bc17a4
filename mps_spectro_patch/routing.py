"""Looks at the arguments of one call and answers: the fast path (and with what arguments), or the original and why.

Pure functions: no side effects, no device work, nothing launched. Whatever torch would refuse or warn about goes to
the original, so that errors and warnings are torch's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from . import refusals
from .kernels import plan
from .reasons import Call, Reason, Route

# Asked on every call: found once.
_compiler = torch.compiler
_function_modes, _dispatch_modes = torch._C._len_torch_function_stack, torch._C._len_torch_dispatch_stack
_are_transforms_active = torch._C._are_functorch_transforms_active
_is_wrapped, _tracing_state = torch._C._functorch.is_functorch_wrapped_tensor, torch._C._get_tracing_state

ELEMENTS_MAX = 2**31  # the kernels count elements in 32 bits
SAMPLES_MAX = 2**30  # and positions in a signal with room for what lies beyond its ends
ROWS_MAX = 2**20  # every row of istft takes at least one threadgroup
_TENSORS = (torch.Tensor, torch.nn.Parameter, FakeTensor)
_HALF = (torch.float16, torch.bfloat16)
# Windows that a product with float32 or complex64 turns into that type.
_PROMOTED = (*_HALF, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
PAD_MODES = ("reflect", "constant", "replicate", "circular")


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
    return dressed(op, decide(op, flags, arguments), arguments[0])


def dressed(op: str, decision: Call | Reason, input) -> Route:
    """A decision with everything that a reader wants to know."""
    device = str(getattr(input, "device", ""))
    if isinstance(decision, Reason):
        return Route(op, decision, device=device)
    return Route(op, None, decision.arguments, device, plan.describe(*decision.plan, decision.arguments[1]))


def decide(op: str, flags: tuple[str, ...], arguments: tuple) -> Call | Reason:
    """The operator's call, or the reason for the original: a Route without its dressing."""
    reason = untouched(arguments[0], flags)
    return decide_touched(op, arguments) if reason is None else reason


def decide_touched(
    op: str, arguments: tuple, signature: tuple | None = None, known: Call | Reason | None = None
) -> Call | Reason:
    """decide() for an input that untouched() lets pass. signature, known: of look_up(), if it was asked."""
    input, window = arguments[0], arguments[4]
    # A function mode, or a trace, would see us look.
    if signature is None and type(input) is not FakeTensor and not _function_modes() and _tracing_state() is None:
        signature, known = look_up(arguments)
    if type(known) is Reason:  # then the original is right, whatever is going on
        return known
    transforms = _transforms()
    reason = _surroundings(input, window, transforms)
    if reason is not None:
        return reason
    check = check_stft if op == "stft" else check_istft
    # What no signature holds is looked at every time; the rest of the answer is remembered.
    if forward_ad._current_level >= 0:
        return Reason.FORWARD_AD
    if transforms:
        return check(*arguments, copies=_copies(input, window))
    if signature is None:
        return check(*arguments)
    if known is None:
        known = check(*arguments)
        if _least_work is not None and isinstance(known, Call) and _work(input, known) < _least_work(op, input.device):
            # Not remembered: whether a gradient is wanted, where a kernel saves most, is not in the signature.
            return known if _wants_gradient(input, window) else Reason.TUNED
        if len(_answers) >= _ANSWERS_MAX:
            _answers.clear()
        _answers[signature] = known
    return known


def look_up(arguments: tuple) -> tuple[tuple | None, Call | Reason | None]:
    """(what an answer depends on, as far as it can be remembered; the answer that was given to such a call before).

    The first is None for what cannot be looked up. An answer is always the same object, until it is forgotten.
    """
    input, window = arguments[0], arguments[4]
    try:
        signature = (
            input.shape, input.stride(), input.dtype, input.device, input.layout,
            None if window is None else (window.shape, window.dtype, window.device, window.layout),
            arguments[1:4], arguments[5:], tuple(map(type, arguments)),
        )  # fmt: skip
        return signature, _answers.get(signature)
    except (RuntimeError, TypeError, AttributeError):  # a tensor without strides, a list instead of an int, ...
        return None, None


# Answers by signature; the two functions differ in the number of their arguments. Types are part of a signature
# because 1, 1.0 and True are equal, and torch takes them differently.
_answers: dict[tuple, Call | Reason] = {}
_ANSWERS_MAX = 4096
# The least work worth a kernel in calls without a gradient, by op and device. None: nobody measured it (tuning.py).
_least_work: Callable[[str, torch.device], int] | None = None


def set_rule(least_work: Callable[[str, torch.device], int] | None) -> bool:
    """Which eager calls are too small from now on: those with fewer rows * frames * n_fft than `least_work` says.
    Whether that is news."""
    global _least_work
    if least_work is _least_work:
        return False
    _least_work = least_work
    _answers.clear()
    refusals.clear()
    return True


def _work(input: torch.Tensor, call: Call) -> int:
    """rows * frames * n_fft of a call that check_stft() or check_istft() let pass."""
    op, n_fft, _ = call.plan
    if op == "istft":
        return (input.shape[0] if input.dim() == 3 else 1) * input.shape[-1] * n_fft
    _, hop, _, pad, *_ = call.arguments
    rows = input.shape[0] if input.dim() == 2 else 1
    return rows * (1 + (input.shape[-1] + 2 * pad - n_fft) // hop) * n_fft


def _wants_gradient(input: torch.Tensor, window: torch.Tensor | None) -> bool:
    return torch.is_grad_enabled() and (input.requires_grad or (window is not None and window.requires_grad))


def decide_compiled(op: str, devices: tuple[str, ...], arguments: tuple) -> Call | Reason:
    """decide() in the words that torch.compile can trace, and traces to nothing. There is no mode or tracing there."""
    if not isinstance(arguments[0], torch.Tensor) or arguments[0].device.type not in devices:
        return Reason.DEVICE
    if _transforms():
        return Reason.TRANSFORM
    if forward_ad._current_level >= 0:
        return Reason.FORWARD_AD
    return check_stft(*arguments) if op == "stft" else check_istft(*arguments)


def untouched(input, flags: tuple[str, ...]) -> Reason | None:
    """The reason why this input is none of our business, in the fewest steps: this is what every other call pays."""
    if type(input) not in _TENSORS:
        return Reason.TYPE
    for flag in flags:
        if getattr(input, flag):
            return None
    return Reason.DEVICE


def _transforms() -> str:
    """Functorch's transforms that are active: none (""), those our operators have rules for ("rules"), or "others"."""
    if not _are_transforms_active():
        return ""
    kinds = {interpreter.key() for interpreter in torch._C._functorch.get_interpreter_stack() or ()}
    known = {torch._C._functorch.TransformType.Vmap, torch._C._functorch.TransformType.Grad}
    return "rules" if kinds <= known else "others"


# What torch.compiler.assume_constant_result() does, without importing all of dynamo: while a graph is traced, dynamo
# asks us instead of tracing the C function, which not every version can. It guards on the stack of transforms itself.
_transforms._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _copies(input, window) -> int:
    """How many calls become one: the sizes of the dimensions that vmap hides, all together."""
    copies = 1
    for tensor in (input, window):
        if not isinstance(tensor, torch.Tensor):
            continue
        hidden = tensor
        while torch._C._functorch.is_functorch_wrapped_tensor(hidden):
            hidden = torch._C._functorch.get_unwrapped(hidden)
        copies *= max(1, hidden.numel() // max(1, tensor.numel()))
    return copies


def is_exporting() -> bool:
    """Whether torch.export is at work. The flag itself: before 2.13 dynamo takes torch.compiler.is_exporting() for true
    in every compilation, and old versions have neither."""
    return getattr(_compiler, "_is_exporting_flag", False) or (is_compiling() and _dynamo_is_exporting())


def _dynamo_is_exporting() -> bool:
    """Strict export sets no flag in torch 2.7; dynamo's translator of the moment knows."""
    try:
        translator = sys.modules["torch._dynamo.symbolic_convert"].InstructionTranslator.current_tx()
    except (KeyError, AttributeError):  # no dynamo, or none at work in this thread
        return False
    return bool(getattr(translator, "export", False))


_dynamo_is_exporting._dynamo_marked_constant = True  # type: ignore[attr-defined]  # asked while tracing, as _transforms()


def _surroundings(input, window, transforms: str) -> Reason | None:
    """What is going on around the call that an operator of ours would hide from, or that would hide from it."""
    if _function_modes() and not all(map(_only_sets_the_device, _get_current_function_mode_stack())):
        return Reason.MODE
    if _dispatch_modes() and not all(
        isinstance(mode, FakeTensorMode) for mode in _get_current_dispatch_mode_stack()
    ):
        return Reason.MODE
    if transforms == "others":
        return Reason.TRANSFORM
    if not transforms and (_is_wrapped(input) or (isinstance(window, torch.Tensor) and _is_wrapped(window))):
        return Reason.TRANSFORM  # escaped from a finished transform
    if _tracing_state() is not None or is_exporting():
        return Reason.TRACING
    return None


def is_plain_eager() -> bool:
    """Whether nothing at all is going on around the code that calls. (It may also be that something harmless is.)"""
    return not (
        _function_modes() or _dispatch_modes() or _are_transforms_active() or forward_ad._current_level >= 0
        or _tracing_state() is not None or getattr(_compiler, "_is_exporting_flag", False)
    )  # fmt: skip


def _only_sets_the_device(mode) -> bool:
    """Whether this is the mode behind torch.set_default_device(), which concerns constructors only."""
    module = sys.modules.get("torch.utils._device")
    return module is not None and type(mode) is module.DeviceContext


def check_stft(input, n_fft, hop_length, win_length, window, center, pad_mode, normalized, onesided, return_complex,
               align_to_window, copies=1) -> Call | Reason:
    """The call of (n_fft, hop_length, win_length, pad, pad_mode, normalized, onesided), or why not. copies: of the
    call, done at once. Traceable by torch.compile."""
    common = _check_common(input, n_fft, hop_length, win_length, window, center, normalized, onesided)
    if isinstance(common, Reason):
        return common
    hop, win = common
    complex_input = input.dtype is torch.complex64
    if input.dtype is not torch.float32 and not complex_input and input.dtype not in _HALF:
        return Reason.DTYPE
    complex_valued = complex_input or (window is not None and window.dtype is torch.complex64)
    if input.dtype in _HALF and (window is None or window.dtype is not torch.float32):
        return Reason.DTYPE  # half the precision, or half of something complex
    if window is not None and window.dtype not in (torch.float32, torch.complex64) and window.dtype not in _PROMOTED:
        return Reason.WINDOW
    if return_complex is None and not complex_valued:
        return Reason.REAL_OUTPUT
    if return_complex is not None and type(return_complex) is not bool:
        return Reason.ARGUMENT
    if onesided is True and complex_valued:
        return Reason.SIDES
    if not _supports(n_fft, complex_valued):
        return Reason.N_FFT
    if input.dim() not in (1, 2):
        return Reason.SHAPE
    samples = input.shape[-1]
    pad = 0
    if center:
        if align_to_window is not None:
            return Reason.ALIGN
        if type(pad_mode) is not str or pad_mode not in PAD_MODES:
            return Reason.PAD_MODE
        pad = n_fft // 2
        if (pad_mode == "reflect" and pad >= samples) or (pad_mode == "circular" and pad > samples):
            return Reason.PAD_LENGTH
    else:
        pad_mode = "constant"  # torch does not even look at it then
        if align_to_window is not None and type(align_to_window) is not bool:
            return Reason.ARGUMENT
        if n_fft > samples:
            return Reason.TOO_SHORT
        if align_to_window:
            if (n_fft - win) % 2:
                return Reason.ALIGN
            pad = (n_fft - win) // 2
    padded = samples + 2 * pad
    if n_fft > padded:
        return Reason.TOO_SHORT
    if _span(input) >= ELEMENTS_MAX:
        return Reason.TOO_LARGE
    sided = not complex_valued if onesided is None else onesided
    batch = copies * (input.shape[0] if input.dim() == 2 else 1)
    frames = 1 + (padded - n_fft) // hop
    if pad == 0 and batch > 1 and frames > 1 and input.stride(0) <= hop * input.stride(1):
        if window is None or input.stride(0) > 0:  # a product with the window puts one row for all in order
            return Reason.ORDER
    bins = n_fft // 2 + 1 if sided else n_fft
    if padded >= SAMPLES_MAX or batch * padded >= ELEMENTS_MAX or batch * frames * bins >= ELEMENTS_MAX:
        return Reason.TOO_LARGE
    notices: tuple[str, ...] = ()
    if window is None:
        notices = ("stft_window",)
    if return_complex is False:
        notices = (*notices, "real_output")
    way = hop % 2, _shift(n_fft, hop), win == n_fft, sided, input.dtype, pad_mode
    plan_key = "stft", n_fft, complex_valued
    return Call((n_fft, hop, win, pad, pad_mode, normalized, sided), return_complex is False, notices, plan_key, way)


def check_istft(input, n_fft, hop_length, win_length, window, center, normalized, onesided, length,
                return_complex, copies=1) -> Call | Reason:
    """The call of (n_fft, hop_length, win_length, center, normalized, onesided, length, return_complex), or why not.
    copies: of the call, done at once. Traceable by torch.compile."""
    common = _check_common(input, n_fft, hop_length, win_length, window, center, normalized, onesided)
    if isinstance(common, Reason):
        return common
    hop, win = common
    if type(return_complex) is not bool:
        return Reason.ARGUMENT
    if input.dtype is not torch.complex64:
        return Reason.DTYPE
    if window is not None and window.dtype is not torch.float32:
        if window.dtype is not torch.complex64 or not return_complex:
            return Reason.WINDOW  # squared in its own type, or refused
    if not _supports(n_fft, return_complex):
        return Reason.N_FFT
    if hop > win:
        return Reason.HOP_LENGTH
    if input.dim() not in (2, 3):
        return Reason.SHAPE
    bins, frames = input.shape[-2], input.shape[-1]
    sided = bins != n_fft if onesided is None else onesided  # n_fft = 2: two bins are a two-sided spectrum
    if bins != (n_fft // 2 + 1 if sided else n_fft):
        return Reason.BINS
    if sided and return_complex:
        return Reason.SIDES
    reach = n_fft + hop * (frames - 1)
    trim = n_fft // 2 if center else 0
    if length is None:
        samples = reach - 2 * trim
    elif type(length) is int:
        samples = length
    else:
        return Reason.ARGUMENT
    if samples <= 0 or (length is None and center and n_fft == 1):  # the latter is a slice that ends at -0
        return Reason.LENGTH
    batch = copies * (input.shape[0] if input.dim() == 3 else 1)
    extent = max(reach, trim + samples)
    if extent >= SAMPLES_MAX or batch >= ROWS_MAX or batch * extent >= ELEMENTS_MAX or _span(input) >= ELEMENTS_MAX:
        return Reason.TOO_LARGE
    notices: tuple[str, ...] = ()
    if window is None:
        notices = ("istft_window",)
    if samples > reach - trim:
        notices = (*notices, "length")
    way = hop % 2, _shift(n_fft, hop), win == n_fft, sided, window is not None and window.is_complex()
    plan_key = "istft", n_fft, return_complex
    return Call((n_fft, hop, win, center, normalized, sided, samples, return_complex), False, notices, plan_key, way)


def _span(input) -> int:
    """Elements from a tensor's first to its last, gaps included: how far the kernels count."""
    span = 1
    for size, stride in zip(input.shape, input.stride()):  # noqa: B905 (strict costs on the hot path)
        span += (size - 1) * stride
    return span


def _supports(n_fft: int, complex_valued: bool) -> bool:
    return plan.supports(n_fft, complex_valued)


def _shift(n_fft: int, hop_length: int) -> int:
    """0, or by how many registers a hop moves samples: an inverse kernel of its own."""
    return plan.inverse_plan(n_fft, hop_length).shift if plan.supports_real(n_fft) else 0


_shift._dynamo_marked_constant = True  # type: ignore[attr-defined]
_supports._dynamo_marked_constant = True  # type: ignore[attr-defined]  # a search that dynamo had better not trace


def _check_common(input, n_fft, hop_length, win_length, window, center, normalized,
                  onesided) -> tuple[int, int] | Reason:
    """(hop_length, win_length) with torch's defaults, or why not: what stft and istft have in common."""
    if type(n_fft) is not int or type(center) is not bool or type(normalized) is not bool:
        return Reason.ARGUMENT
    if onesided is not None and type(onesided) is not bool:
        return Reason.ARGUMENT
    hop = n_fft // 4 if hop_length is None else hop_length
    win = n_fft if win_length is None else win_length
    if type(hop) is not int or type(win) is not int or hop >= ELEMENTS_MAX:
        return Reason.ARGUMENT
    if input.layout is not torch.strided or input.is_nested:
        return Reason.LAYOUT
    if input.numel() == 0:
        return Reason.EMPTY
    if hop <= 0:
        return Reason.HOP_LENGTH
    if not 0 < win <= n_fft:
        return Reason.WIN_LENGTH
    if window is None:
        return hop, win
    if type(window) not in _TENSORS:
        return Reason.WINDOW
    if window.layout is not torch.strided or window.is_nested:
        return Reason.LAYOUT
    if window.dim() != 1 or window.shape[0] != win or window.device != input.device:
        return Reason.WINDOW
    return hop, win
