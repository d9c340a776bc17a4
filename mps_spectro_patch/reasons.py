"""The words of routing: which way a call goes, and the reason why not the fast one. Plain data; decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from .arguments import IstftArguments, StftArguments


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

    __hash__ = str.__hash__  # Enum's is written in Python, and every fallback is counted by its reason

    DEVICE = "device", "the input is not on a device that is accelerated"
    OP = "op", "this function is not among the ops that are accelerated"
    TYPE = "type", "the input is not a plain tensor"
    MODE = "mode", "a torch function or dispatch mode is active and sees every call"
    TRANSFORM = "transform", "a functorch transform other than vmap and grad is active, or any in compiled code"
    FORWARD_AD = "forward_ad", "forward-mode differentiation is active"
    TRACING = "tracing", "the call is being recorded (torch.jit.trace, torch.export) to run without this package"
    ARGUMENT = (
        "argument",
        "an argument is missing, a size no integer or a switch no plain bool: torch decides what it means",
    )
    LAYOUT = "layout", "the input or window is sparse, nested or otherwise not strided"
    DTYPE = "dtype", "the input is not float32, float16, bfloat16 or complex64 (stft), or not complex64 (istft)"
    SHAPE = "shape", "the input has the wrong number of dimensions"
    EMPTY = "empty", "the input is empty"
    TOO_LARGE = "too_large", "input or output have 2**31 elements or more, a signal 2**30 samples, or istft 2**20 rows"
    ORDER = "order", "rows lie inside one another in memory: torch orders its output likewise"
    N_FFT = "n_fft", "there is no kernel for an n_fft of this size"
    HOP_LENGTH = "hop_length", "hop_length is not positive, or longer than the window (istft)"
    WIN_LENGTH = "win_length", "win_length is not in 1 to n_fft"
    WINDOW = "window", "the window is not 1-D of win_length, on the input's device, and of a type that fits"
    PAD_MODE = "pad_mode", "the padding mode is not reflect, constant, replicate or circular"
    PAD_LENGTH = "pad_length", "the padding is longer than this padding mode allows"
    TOO_SHORT = "too_short", "the signal is shorter than n_fft"
    ALIGN = "align_to_window", "align_to_window with center=True, or with an odd n_fft - win_length"
    SIDES = "sides", "a one-sided spectrum of something complex: torch raises"
    REAL_OUTPUT = "real_output", "stft of a real signal without return_complex: torch raises"
    BINS = "bins", "the number of frequency bins is neither n_fft // 2 + 1 nor n_fft, or does not fit onesided"
    LENGTH = "length", "the output is empty"
    NOLA = "nola", "the window's envelope is (almost) zero somewhere: torch raises"
    TUNED = "tuned", "too little work: torch was faster when `doctor --tune` measured this machine"
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


class Call(NamedTuple):
    """One call of an operator, and what is left to do around it."""

    arguments: StftArguments | IstftArguments  # the operator's, after input and window
    as_real: bool = False  # stft with return_complex=False: the result as pairs of real numbers
    notices: tuple[str, ...] = ()  # torch's own warnings that are due, see execution/torch_warnings.py
    plan: tuple[str, int, bool] = ("", 0, False)  # the op, n_fft, and whether samples or window are complex
    way: tuple = ()  # through the plan's kernels: what another call does not vouch for


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


# For every reason to fall back: what would have to change for the call to be fast. Shown by explain().
ADVICE = {
    Reason.DEVICE: "move the input to an accelerated device, or name its device in devices=",
    Reason.OP: "name this function in ops=",
    Reason.TYPE: "pass a plain torch.Tensor: x.as_subclass(torch.Tensor)",
    Reason.MODE: "leave the mode (a profiler, FlopCounterMode, ...) around the call",
    Reason.TRANSFORM: "use torch.func.vmap or grad in eager code, or no transform",
    Reason.FORWARD_AD: "use reverse-mode differentiation: backward(), torch.func.grad or vjp",
    Reason.TRACING: "nothing: what is recorded has to run without this package; call the function in eager mode",
    Reason.ARGUMENT: "give every size as an integer and every switch as a plain bool",
    Reason.LAYOUT: "make input and window dense: x.to_dense()",
    Reason.DTYPE: "convert the input, and its window too: x.float() for stft, x.to(torch.complex64) for istft",
    Reason.SHAPE: "reshape: stft takes [samples] or [rows, samples], istft [bins, frames] or [rows, bins, frames]",
    Reason.EMPTY: "nothing: there is nothing to compute",
    Reason.TOO_LARGE: "split the batch or the signal into parts",
    Reason.ORDER: "make the input contiguous, if another order of the output in memory is all right: x.contiguous()",
    Reason.N_FFT: "choose an n_fft that is even, to 16384, with half of it a product of 2, 3, 5 and 7; or any to 4096",
    Reason.HOP_LENGTH: "choose a hop_length of at least 1 and, for istft, at most win_length",
    Reason.WIN_LENGTH: "choose a win_length of 1 to n_fft",
    Reason.WINDOW: "pass a 1-D float32 window of win_length values on the input's device",
    Reason.PAD_MODE: "use pad_mode reflect, constant, replicate or circular",
    Reason.PAD_LENGTH: "pass a longer signal, pad_mode='constant', or center=False",
    Reason.TOO_SHORT: "pass at least n_fft samples, or center=True",
    Reason.ALIGN: "leave align_to_window out, or use center=False and an even n_fft - win_length",
    Reason.SIDES: "use onesided=False for complex signals, windows or outputs",
    Reason.REAL_OUTPUT: "pass return_complex=True",
    Reason.BINS: "pass n_fft // 2 + 1 bins, or n_fft with onesided=False",
    Reason.LENGTH: "pass more frames, or a length of at least 1",
    Reason.NOLA: "choose a window and hop_length whose squares, shifted and summed, are zero nowhere",
    Reason.TUNED: "nothing: torch is faster there; `doctor --tune off` or MPS_SPECTRO_PATCH_TUNED=0 forgets the rule",
    Reason.CAPTURE: "call the function once with this size before the capture",
    Reason.QUARANTINED: "see status() for what went wrong, and report it; a new process tries again",
    Reason.VERIFICATION: "report it: see status()",
    Reason.ERROR: "report it: see status()",
}
