"""The torch.library operators: schemas, bodies and fake kernels.

Arguments are valid: routing has checked them, for direct callers too. Batches are rows: inputs are [rows, samples],
spectra [rows, bins, frames]. Gradients follow torch's convention for complex numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ..arguments import ISTFT_SHARED, IstftArguments, StftArguments, schema
from ..kernels import IstftGeometry, Ready, StftGeometry, transforms
from ..reasons import Reason, UseOriginal
from ..tensors import without_bits
from . import composite, torch_library
from .surviving import surviving

NAMESPACE = "mps_spectro_patch"

stft_geometry = lru_cache(maxsize=1024)(StftGeometry)  # cached, because small calls are mostly overhead
istft_geometry = lru_cache(maxsize=1024)(IstftGeometry)

_STFT, _ISTFT, _SHARED = schema(StftArguments), schema(IstftArguments), schema(IstftArguments, ISTFT_SHARED)
_INPUTS = {
    "stft": f"Tensor input, Tensor window, {_STFT}",
    "stft_adjoint": f"Tensor gradient, Tensor window, SymInt samples, {_STFT}, bool complex_input",
    "stft_window_gradient": f"Tensor gradient, Tensor input, Tensor window, {_STFT}",
    "istft": f"Tensor input, Tensor window, {_ISTFT}",
    "istft_adjoint": f"Tensor gradient, Tensor window, SymInt frames, {_SHARED}",
    "istft_window_gradient": f"Tensor gradient, Tensor input, Tensor window, {_SHARED}",
}
NAMES = tuple(_INPUTS)


def run_stft(input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    """[rows, samples] to [rows, bins, frames] complex64, in torch's memory order. arguments: StftArguments."""
    geometry = stft_geometry(*input.shape, *arguments)
    return transforms.stft(without_bits(input), without_bits(window), geometry)


def run_stft_adjoint(gradient: Tensor, window: Tensor, samples: int, *arguments: Any) -> Tensor:
    """The gradient [rows, samples] of stft's input, for that of its output. arguments: StftArguments, complex_input."""
    *arguments, complex_input = arguments
    geometry = stft_geometry(gradient.shape[0], samples, *arguments)
    return transforms.stft_adjoint(without_bits(gradient), without_bits(window), geometry, complex_input)


def run_stft_window_gradient(gradient: Tensor, input: Tensor, window: Tensor, *arguments: Any) -> Tensor:
    """The gradient [win_length] of stft's window, for that of its output. arguments: StftArguments."""
    geometry = stft_geometry(*input.shape, *arguments)
    return transforms.stft_window_gradient(without_bits(gradient), without_bits(input), window, geometry)


def run_istft(input: Tensor, window: Tensor, *arguments: Any, strict: bool = True) -> Tensor:
    """[rows, bins, frames] to [rows, length]. arguments: IstftArguments.

    strict: raise UseOriginal where torch must decide whether the spectrum can be inverted.
    """
    rows, _, frames = input.shape
    *overlap, return_complex = arguments
    geometry = istft_geometry(rows, frames, *overlap)
    signal = transforms.istft(without_bits(input), without_bits(window), geometry, return_complex)
    if signal is not None:
        return signal
    if strict:
        raise UseOriginal(Reason.NOLA)
    # In a compiled graph there is no falling back later: torch's function is called here, and raises torch's error.
    return composite.istft(input, window, *arguments)


def ready(op: str, input: Tensor, window: Tensor, arguments: tuple) -> Ready | None:
    """run_stft or run_istft as a function of input and window alone, for plain tensors. None: there is none."""
    if op == "stft":
        return transforms.ready_stft(input, window, stft_geometry(*input.shape, *arguments))
    *overlap, return_complex = arguments
    geometry = istft_geometry(input.shape[0], input.shape[2], *overlap)
    return transforms.ready_istft(input, window, geometry, return_complex)


def run_istft_adjoint(gradient: Tensor, window: Tensor, frames: int, *shared: Any) -> Tensor:
    """The gradient [rows, bins, frames] of istft's input, for that of its output. shared: of IstftArguments."""
    rows, length = gradient.shape
    geometry = istft_geometry(rows, frames, *shared, length)
    return _invertible(transforms.istft_adjoint(without_bits(gradient), without_bits(window), geometry))


def run_istft_window_gradient(gradient: Tensor, input: Tensor, window: Tensor, *shared: Any) -> Tensor:
    """The gradient [win_length] of istft's window, for that of its output. input: the spectrum, or its parts
    [rows, bins, frames, 2]. shared: of IstftArguments."""
    input = composite.of_parts(input)
    rows, _, frames = input.shape
    geometry = istft_geometry(rows, frames, *shared, gradient.shape[1])
    gradient, input, window = map(without_bits, (gradient, input, window))
    return _invertible(transforms.istft_window_gradient(gradient, input, window, geometry))


def _invertible(result: Tensor | None) -> Tensor:
    if result is None:
        raise RuntimeError("the window's envelope is zero somewhere: istft has no gradient")
    return result


def _fake_stft(input, window, *arguments):
    call = StftArguments(*arguments)
    frames = 1 + (input.shape[1] + 2 * call.pad - call.n_fft) // call.hop_length
    return _fake_spectrum(input, call.n_fft, frames, call.onesided)


def _fake_stft_adjoint(gradient, window, samples, *arguments):
    *_, complex_input = arguments
    return _fake_signal(gradient, samples, complex_input)


def _fake_window_gradient(gradient, input, window, *arguments):
    return window.new_empty(window.shape)


def _fake_istft(input, window, *arguments):
    call = IstftArguments(*arguments)
    return _fake_signal(input, call.length, call.return_complex)


def _fake_istft_adjoint(gradient, window, frames, *shared):
    n_fft, *_, onesided, _ = shared
    return _fake_spectrum(gradient, n_fft, frames, onesided)


def _fake_signal(tensor, samples, is_complex):
    return tensor.new_empty((tensor.shape[0], samples), dtype=torch.complex64 if is_complex else torch.float32)


def _fake_spectrum(tensor, n_fft, frames, onesided):
    bins = n_fft // 2 + 1 if onesided else n_fft
    shape = tensor.shape[0], bins, frames
    return tensor.new_empty_strided(shape, (frames * bins, 1, bins), dtype=torch.complex64)


_BODIES = {
    "stft": (run_stft, _fake_stft),
    "stft_adjoint": (run_stft_adjoint, _fake_stft_adjoint),
    "stft_window_gradient": (run_stft_window_gradient, _fake_window_gradient),
    "istft": (partial(run_istft, strict=False), _fake_istft),
    "istft_adjoint": (run_istft_adjoint, _fake_istft_adjoint),
    "istft_window_gradient": (run_istft_window_gradient, _fake_window_gradient),
}


def _own_namespace() -> torch.library.Library:
    """The namespace of that name, or one with a number, if another copy of this package has defined it."""
    for number in itertools.count(1):
        try:
            return torch_library.make(NAMESPACE if number == 1 else f"{NAMESPACE}_{number}", "DEF")
        except RuntimeError as error:  # a namespace can be defined once
            if "Only a single TORCH_LIBRARY" not in str(error):
                raise


namespace = _own_namespace()
NAMESPACE = namespace.ns


def define(name: str, inputs: str, body: Callable, fake: Callable, returns: str = "Tensor") -> torch._ops.OpOverload:
    """An operator of ours. Every one takes tensors of any strides and says so: else inductor copies them to the strides
    of eager mode, by a kernel of its own, and on a GPU those know no complex numbers."""
    if hasattr(getattr(torch.ops, NAMESPACE), name):  # the module that defines it is loaded again
        return getattr(getattr(torch.ops, NAMESPACE), name).default
    namespace.define(f"{name}({inputs}) -> {returns}", tags=torch.Tag.flexible_layout)
    # One registration for all backends: the kernels choose their compiler by the tensor's device.
    namespace.impl(name, surviving(name, body), "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", surviving(name, fake), lib=namespace)
    return getattr(getattr(torch.ops, NAMESPACE), name).default


stft, stft_adjoint, stft_window_gradient, istft, istft_adjoint, istft_window_gradient = (
    define(name, inputs, *_BODIES[name]) for name, inputs in _INPUTS.items()
)
