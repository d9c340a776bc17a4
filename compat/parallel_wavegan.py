"""ParallelWaveGAN's stft_loss.py, of which many vocoders have a copy: each of its STFT losses in two launches and the
gradient in one, and its function `stft`, which makes magnitudes, in one.

The copies are recognised by their code, under any module name. What a function does must be, statement by statement,
what one of the versions below does; only names of variables may differ. Whatever does anything else is left alone. So
are the oldest copies, which do not tell torch.stft what to return: that is an error in torch today.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import product
from types import FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.compiler import is_compiling

from ..execution import torch_warnings
from ..front_ends import compute, is_its_class_alone, losses, resolve
from .tools.overrides import original_of, override
from .tools.project import ClassHook, FunctionHook, Project
from .tools.same_code import form_of

_FLOOR = 1e-7  # of |X|^2

_STFT = """\
def stft(x, fft_size, hop_size, win_length, window):
    {spectrum}
    {parts}
    return torch.sqrt(torch.clamp({square}, min=1e-7)){order}
"""
_TRANSFORM = "x_stft = torch.stft(x, fft_size, hop_size, win_length, {window}, return_complex={complex})"
_KNOWS_TORCH = """if is_pytorch_17plus:
        {transform}
    else:
        x_stft = torch.stft(x, fft_size, hop_size, win_length, {window})"""
_AS_REAL = "x_stft = torch.view_as_real(torch.stft(x, fft_size, hop_size, win_length, {window}, return_complex=True))"
_INDEXED, _NAMED = "real = x_stft[..., 0]; imag = x_stft[..., 1]", "real = x_stft.real; imag = x_stft.imag"
_SPECTRA = (  # how it is made, how its parts are taken, whether torch warns of the real result
    (_TRANSFORM.replace("{complex}", "False"), _INDEXED, True),
    (_KNOWS_TORCH.replace("{transform}", _TRANSFORM.replace("{complex}", "False")), _INDEXED, True),
    (_TRANSFORM.replace("{complex}", "True"), _NAMED, False),
    (_TRANSFORM.replace("{complex}", "True") + "; x_stft = torch.view_as_real(x_stft)", _INDEXED, False),
    (_AS_REAL, _INDEXED, False),
)
_SQUARES = "real ** 2 + imag ** 2", "real.pow(2) + imag.pow(2)"
_FORWARD = """\
def forward(self, x, y):
    x_mag = stft(x, self.fft_size, self.{hop}, self.win_length, {window})
    y_mag = stft(y, self.fft_size, self.{hop}, self.win_length, {window})
    sc_loss = self.{convergence}(x_mag, y_mag)
    mag_loss = self.log_stft_magnitude_loss(x_mag, y_mag)
    return sc_loss, mag_loss
"""
_PART = "def forward(self, x_mag, y_mag):\n    return {}"


class _Magnitudes(NamedTuple):
    """What is known of a function `stft`."""

    warns: bool
    moves: bool  # the window to the signal's device
    order: str
    asks: bool  # whether this is torch 1.7 or later


class _Loss(NamedTuple):
    """What is known of STFTLoss.forward: names of its attributes."""

    hop: str
    convergence: str
    moves: bool


@cache
def _known() -> dict[str | None, Any]:
    """By the form of a function: _Magnitudes, _Loss, or the name of a part."""
    found: dict[str | None, Any] = {}
    places = (("{}", False), ("{}.to(x.device)", True))
    orders = "", ".transpose(2, 1)", ".transpose(1, 2)"
    for (spectrum, parts, warns), square, order, (place, moves) in product(_SPECTRA, _SQUARES, orders, places):
        text = _STFT.format(
            spectrum=spectrum.format(window=place.format("window")), parts=parts, square=square, order=order
        )
        asks = spectrum.startswith("if")
        found[form_of(text)] = _Magnitudes(warns, moves, order, asks)
    names = product(("shift_size", "hop_size"), ("spectral_convergenge_loss", "spectral_convergence_loss"), places)
    for hop, convergence, (place, moves) in names:
        text = _FORWARD.format(hop=hop, convergence=convergence, window=place.format("self.window"))
        found[form_of(text)] = _Loss(hop, convergence, moves)
    found[form_of(_PART.format('torch.norm(y_mag - x_mag, p="fro") / torch.norm(y_mag, p="fro")'))] = "convergence"
    for one, other in (("x_mag", "y_mag"), ("y_mag", "x_mag")):
        found[form_of(_PART.format(f"F.l1_loss(torch.log({one}), torch.log({other}))"))] = "log"
    return found


_found: WeakKeyDictionary[FunctionType, Any] = WeakKeyDictionary()


def _what_is(function: object) -> Any:
    """What is known of a function, or None; whatever it uses must be torch's."""
    function = original_of(function)
    if type(function) is not FunctionType:
        return None
    if function not in _found:
        plain = function.__defaults__ is function.__kwdefaults__ is function.__closure__ is None
        _found[function] = _known().get(form_of(function)) if plain else None
    known, names = _found[function], function.__globals__
    if known is None or ("torch" in function.__code__.co_names and names.get("torch") is not torch):
        return None
    if known == "log" and names.get("F") is not torch.nn.functional:
        return None
    return None if getattr(known, "asks", False) and names.get("is_pytorch_17plus") is not True else known


def _magnitudes(original, x, fft_size, hop_size, win_length, window) -> Tensor | None:
    """[rows, samples] to [rows, bins, frames] or, transposed, [rows, frames, bins]."""
    known = None if is_compiling() else _what_is(original)
    window = None if known is None else _window(window, x, known.moves)
    if window is None or not _are_sizes(fft_size, hop_size, win_length):
        return None
    try:
        call = resolve(fft_size, hop_size, win_length, power=1.0, floor=_FLOOR)
    except ValueError:
        return None
    result = compute.try_fused(x, window, None, call, "parallel_wavegan.stft")
    if result is None:
        return None
    if known.warns:
        torch_warnings.give(("real_output",))
    return result.transpose(2, 1) if known.order else result


def _override_stft(original, active_options):
    return override(partial(_magnitudes, original))(original, active_options)


def _losses(module, x, y) -> tuple[Tensor, Tensor] | None:
    """STFTLoss.forward: (spectral convergence, distance of the logarithms)."""
    forward = original_of(type(module).forward)
    loss = None if is_compiling() else _what_is(forward)
    known = None if loss is None else _what_is(forward.__globals__.get("stft"))
    if type(loss) is not _Loss or type(known) is not _Magnitudes or not is_its_class_alone(module):
        return None
    parts = {loss.convergence: "convergence", "log_stft_magnitude_loss": "log"}
    for name, what in parts.items():
        part = getattr(module, name, None)
        if (
            not isinstance(part, torch.nn.Module)
            or not is_its_class_alone(part)
            or _what_is(type(part).forward) != what
        ):
            return None
    sizes = tuple(getattr(module, name, None) for name in ("fft_size", loss.hop, "win_length"))
    window = _window(getattr(module, "window", None), x, loss.moves or known.moves)
    if window is None or not isinstance(y, Tensor) or not _are_sizes(*sizes):
        return None
    found = losses.try_fused(x, y, window, losses.loss_call(*sizes, _FLOOR), "parallel_wavegan.STFTLoss")
    if found is None:
        return None
    if known.warns:
        torch_warnings.give(("real_output",))
    return losses.apart(found[1], (0, 1))


def _window(window: Any, x: Any, moves: bool) -> Tensor | None:
    """The window for a batch of signals, or None where torch.stft had better look at them. moves: it goes to their
    device."""
    if not (isinstance(x, Tensor) and isinstance(window, Tensor)) or x.dim() != 2 or x.layout is not torch.strided:
        return None
    if not x.dtype is window.dtype is torch.float32:
        return None
    window = window.to(x.device) if moves else window
    return window if window.device == x.device else None


def _are_sizes(*sizes: Any) -> bool:
    return set(map(type, sizes)) == {int}


def _recognises(cls: type) -> bool | str:
    """Whether it is such a class, in a module with such a function."""
    forward = original_of(vars(cls).get("forward"))
    if not issubclass(cls, torch.nn.Module) or type(forward) is not FunctionType:
        return False
    stft = forward.__globals__.get("stft")
    if type(_what_is(forward)) is _Loss and type(_what_is(stft)) is _Magnitudes:
        return True
    is_like_it = {"stft", "fft_size", "win_length"} <= set(forward.__code__.co_names) and _is_like_it(stft)
    return "it is written in another way" if is_like_it else False


def _recognises_function(function: FunctionType) -> bool | str:
    if type(_what_is(function)) is _Magnitudes:
        return True
    return "it is written in another way" if _is_like_it(function) and original_of(function) is function else False


def _is_like_it(function: object) -> bool:
    names = set(getattr(original_of(function), "__code__", _is_like_it.__code__).co_names)
    return {"torch", "stft", "sqrt"} <= names


PROJECT = Project(
    "parallel_wavegan",
    hooks=(
        ClassHook("STFTLoss", "forward", override(_losses), _recognises),
        FunctionHook("stft", _override_stft, _recognises_function),
    ),
)
