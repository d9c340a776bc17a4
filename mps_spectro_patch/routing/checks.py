"""Whether the kernels do a call with these arguments: its operator call, or the reason to fall back.

Whatever torch would refuse goes to the original too, so that the error is torch's own. Traceable by torch.compile.
"""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensor

from ..arguments import IstftArguments, StftArguments
from ..kernels import fft
from ..reasons import Call, Reason
from .context import asked_while_tracing

ELEMENTS_MAX = 2**31  # the kernels count elements in 32 bits
SAMPLES_MAX = 2**30  # and positions in a signal with room for what lies beyond its ends
ROWS_MAX = 2**20  # every row of istft takes at least one threadgroup
TENSORS = (torch.Tensor, torch.nn.Parameter, FakeTensor)
PAD_MODES = ("reflect", "constant", "replicate", "circular")
_HALF = (torch.float16, torch.bfloat16)
# Windows that a product with float32 or complex64 turns into that type.
_PROMOTED = (*_HALF, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def check_stft(arguments: tuple, copies: int = 1) -> Call | Reason:
    """The call of stft, or why not. copies: of the call, done at once. Traceable by torch.compile."""
    input, n_fft, hop_length, win_length, window, center, pad_mode, normalized, *rest = arguments
    onesided, return_complex, align_to_window = rest
    common = _check_common(input, n_fft, hop_length, win_length, window, center, normalized, onesided)
    if isinstance(common, Reason):
        return common
    hop, win = common
    complex_input = input.dtype is torch.complex64
    if input.dtype is not torch.float32 and not complex_input and input.dtype not in _HALF:
        return Reason.DTYPE
    complex_valued = complex_input or (window is not None and window.dtype is torch.complex64)
    if input.dtype in _HALF and (window is None or window.dtype is not torch.float32):
        return Reason.WINDOW  # half the precision, or half of something complex
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
    if input.dim() == 2 and pad == 0 and batch > 1 and frames > 1 and input.stride(0) <= hop * input.stride(1):
        if window is None or input.stride(0) > 0:  # a product with the window puts one row for all in order
            return Reason.ORDER
    bins = n_fft // 2 + 1 if sided else n_fft
    if padded >= SAMPLES_MAX or batch * padded >= ELEMENTS_MAX or batch * frames * bins >= ELEMENTS_MAX:
        return Reason.TOO_LARGE
    notices = ("stft_window",) if window is None else ()
    if return_complex is False:
        notices = (*notices, "real_output")
    way = hop % 2, _shift(n_fft, hop), win == n_fft, sided, input.dtype, pad_mode
    plan_key = "stft", n_fft, complex_valued
    call = StftArguments(n_fft, hop, win, pad, pad_mode, normalized, sided)
    return Call(call, return_complex is False, notices, plan_key, way)


def check_istft(arguments: tuple, copies: int = 1) -> Call | Reason:
    """The call of istft, or why not. copies: of the call, done at once. Traceable by torch.compile.

    arguments: torch's; behind them may be whether both ends are trimmed as "same" padding asks (see ends_of_same), and
    whether an envelope of zeros is forgiven.
    """
    input, n_fft, hop_length, win_length, window, center, normalized, onesided, length, return_complex = arguments[:10]
    same, forgiving = arguments[10:] or (False, False)
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
    if same:
        trim, samples = ends_of_same(n_fft, hop, win, frames)
        samples = samples if length is None else length
    elif length is None:
        samples = reach - 2 * trim
    else:
        samples = length
    if type(samples) is not int:
        return Reason.ARGUMENT
    if samples <= 0 or (length is None and center and n_fft == 1):  # the latter is a slice that ends at -0
        return Reason.LENGTH
    batch = copies * (input.shape[0] if input.dim() == 3 else 1)
    extent = max(reach, trim + samples)
    if extent >= SAMPLES_MAX or batch >= ROWS_MAX or batch * extent >= ELEMENTS_MAX or _span(input) >= ELEMENTS_MAX:
        return Reason.TOO_LARGE
    notices = ("istft_window",) if window is None else ()
    if samples > reach - trim:
        notices = (*notices, "length")
    way = hop % 2, _shift(n_fft, hop), win == n_fft, sided, window is not None and window.is_complex()
    plan_key = "istft", n_fft, return_complex
    call = IstftArguments(n_fft, hop, win, trim, normalized, sided, forgiving, samples, return_complex)
    return Call(call, False, notices, plan_key, way)


def ends_of_same(n_fft: int, hop_length: int, win_length: int, frames: int) -> tuple[int, int]:
    """(first sample, samples) of an istft with "same" padding: what the windows cover, less (win_length - hop_length)
    // 2 at both ends."""
    cut = (win_length - hop_length) // 2
    return (n_fft - win_length) // 2 + cut, win_length + hop_length * (frames - 1) - 2 * cut


def _span(input) -> int:
    """Elements from a tensor's first to its last, gaps included: how far the kernels count."""
    span = 1
    for size, stride in zip(input.shape, input.stride()):  # noqa: B905 (strict costs on the hot path)
        span += (size - 1) * stride
    return span


@asked_while_tracing(False)  # a search that dynamo had better not trace
def _supports(n_fft: int, complex_valued: bool) -> bool:
    return fft.supports(n_fft, complex_valued)


@asked_while_tracing(0)
def _shift(n_fft: int, hop_length: int) -> int:
    """0, or by how many registers a hop moves samples: an inverse kernel of its own."""
    return fft.inverse_plan(n_fft, hop_length).shift if fft.supports_real(n_fft) else 0


def _check_common(
    input, n_fft, hop_length, win_length, window, center, normalized, onesided
) -> tuple[int, int] | Reason:
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
    if type(window) not in TENSORS:
        return Reason.WINDOW
    if window.layout is not torch.strided or window.is_nested:
        return Reason.LAYOUT
    if window.dim() != 1 or window.shape[0] != win or window.device != input.device:
        return Reason.WINDOW
    return hop, win
