"""For every reason to fall back: what would have to change for the call to be fast. Shown by explain()."""

from __future__ import annotations

from .reasons import Reason

ADVICE = {
    Reason.DEVICE: "move the input to an accelerated device, or name its device in devices=",
    Reason.OP: "name this function in ops=",
    Reason.TYPE: "pass a plain torch.Tensor: x.as_subclass(torch.Tensor)",
    Reason.MODE: "leave the mode (a profiler, FlopCounterMode, ...) around the call",
    Reason.TRANSFORM: "use torch.func.vmap or grad in eager code, or no transform",
    Reason.FORWARD_AD: "use reverse-mode differentiation: backward(), torch.func.grad or vjp",
    Reason.TRACING: "nothing: what is recorded has to run without this package; call the function in eager mode",
    Reason.ARGUMENT: "give every size as a plain int and every switch as a plain bool",
    Reason.LAYOUT: "make input and window dense: x.to_dense()",
    Reason.DTYPE: "convert the input: x.float() for stft, x.to(torch.complex64) for istft",
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
