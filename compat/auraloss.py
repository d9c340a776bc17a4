"""auraloss: each of its STFT losses in two launches, its gradient in one; the sizes of a loss together where it gives
their mean alone. stable-audio-tools has a changed copy.
"""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from ..front_ends import LossCall, losses
from .tools.modules import does_what_its_class_does, is_from
from .tools.overrides import override
from .tools.project import Hook, Project
from .tools.structure import structure_in

_TORCHS = sys.modules["torch.nn.modules.loss"]
_DISTANCES = {"L1Loss": False, "MSELoss": True}  # whether it is squared
_CONVERGENCE = "SpectralConvergenceLoss.forward"
# Of each method: the names that it has, those that it may have, keywords of calls, constants.
_STFT = {"torch", "stft", "fft_size", "hop_size", "win_length", "window", "sqrt", "clamp", "real", "imag", "eps"}
_FORWARD = {
    "apply_reduction", "linstft", "logstft", "output", "reduction", "scale", "scale_invariance", "size", "spectralconv",
    "stft", "to", "view", "w_lin_mag", "w_log_mag", "w_sc", "window", "device",
}  # fmt: skip
_MAY_HAVE = {
    "fb", "functional", "matmul", "mse_loss", "nn", "normalized_complex_distance_loss", "perceptual_weighting",
    "phs_loss", "phs_used", "prefilter", "retain_batch_dim", "sum", "torch", "unsqueeze", "w_phs",
}  # fmt: skip
_METHODS = {
    "STFTLoss.forward": (_FORWARD, _MAY_HAVE, {"reduction", "retain_batch_dim"}, {0.0, 1, 2, -1, -2, "loss", "full"}),
    "STFTLoss.stft": (_STFT, {"angle", "phs_used"}, {"return_complex", "min"}, {2}),
    "STFTMagnitudeLoss.forward": ({"torch", "log", "distance"}, {"log_fac", "log_eps"}, set(), set()),
    _CONVERGENCE: ({"torch", "norm"}, {"mean", "unsqueeze"}, {"p", "dim"}, {"fro", -1, -2}),
}
_SEVERAL = {
    "MultiResolutionSTFTLoss.forward": (
        {"stft_losses", "output", "append", "len"}, set(), set(), {0.0, 1, 2, 3, 4, "full", "loss"}
    ),
}  # fmt: skip


class _Version(NamedTuple):
    """What distinguishes the versions."""

    per_row: bool  # convergence has its norms over each row,
    is_mean: bool  # whose mean is its result
    has_full: bool  # 0.2.1 has no output="full": it looks for a variable that is not there


# dynamo before that cannot follow the questions that are asked here; then the stft of the original are fast.
_IS_TRACEABLE = torch.__version__ >= (2, 13)
_versions: dict[str, _Version] = {}  # by module


def _differs(module: ModuleType, methods: dict[str, tuple[set, set, set, set]]) -> str | None:
    for attribute, (needed, known, keywords, constants) in methods.items():
        found = structure_in(module, attribute)
        if found is None:
            return f"it has no {attribute}"
        if missing := needed - set(found.names):
            return f"{attribute} has no {min(missing)}"
        other = {*(set(found.names) - needed - known), *(found.keywords - keywords), *(found.constants - constants)}
        if other:
            return f"{attribute} uses {min(map(str, other))}"
    return None


def _lacks(module: ModuleType) -> str | None:
    if difference := _differs(module, _METHODS):
        return difference
    forward, convergence = structure_in(module, "STFTLoss.forward"), structure_in(module, _CONVERGENCE)
    per_row, is_mean = "dim" in convergence.keywords, "mean" in convergence.names
    if not per_row and len(convergence.names) > 2:
        return f"{_CONVERGENCE} is of another shape"
    _versions[module.__name__] = _Version(per_row, is_mean, "phs_loss" not in forward.names)
    return None


def _loss(module, input, target) -> Tensor | tuple | None:
    if is_dynamo_compiling() and not _IS_TRACEABLE:
        return None
    home = sys.modules.get(type(module).__module__)
    if home is None or not (isinstance(input, Tensor) and isinstance(target, Tensor)):
        return None
    call = _call(module, home)
    if call is None or (hasattr(module, "perceptual_weighting") and input.dim() != 3):
        return None
    try:
        if getattr(module, "perceptual_weighting", False):
            rows = input.shape[0] * input.shape[1]
            module.prefilter.to(input.device)
            input, target = module.prefilter(input.view(rows, 1, -1), target.view(rows, 1, -1))
        input, target = input.view(-1, input.size(-1)), target.view(-1, target.size(-1))
    except RuntimeError:  # no such view: the original says so
        return None
    module.window = module.window.to(input.device)
    found = losses.try_fused(input, target, module.window, call, f"{home.__name__.partition('.')[0]}.STFTLoss")
    if found is None or module.output == "loss":
        return None if found is None else found[0]
    return found[0], *losses.weighted_terms(found[1], (call.convergence, call.log, call.linear)), 0.0


def _mean(module, x, y) -> Tensor | None:
    """The mean of the module's losses, where each is known by now; None: each for itself."""
    parts = module.stft_losses
    if is_dynamo_compiling() or type(parts) is not torch.nn.ModuleList or not isinstance(y, Tensor):
        return None
    calls, windows = [], []
    for loss in parts._modules.values():
        home = sys.modules.get(type(loss).__module__)
        call = None if home is None or home.__name__ not in _versions else _call(loss, home)
        if call is None or loss.output != "loss" or getattr(loss, "perceptual_weighting", False):
            return None
        calls.append(call)
        windows.append(loss.window)
    if x.dim() != 3 or x.shape != y.shape or not (x.is_contiguous() and y.is_contiguous()):
        return None
    project, rows = home.__name__.partition(".")[0], (-1, x.shape[-1])
    names = f"{project}.MultiResolutionSTFTLoss", f"{project}.STFTLoss"
    return losses.try_mean(x.view(rows), y.view(rows), windows, losses.mean_of(*calls), *names)


def _call(module, home: ModuleType) -> LossCall | None:
    """What the module computes, if it consists of what its project makes it of, and nobody listens in between."""
    if not does_what_its_class_does(module, "STFTLoss", home) or not is_from(type(module).stft, home):
        return None
    if "stft" in vars(module) or not _is_plain_function(home, "apply_reduction"):
        return None
    convergence, log, linear = map(module._modules.get, ("spectralconv", "logstft", "linstft"))
    if not does_what_its_class_does(convergence, "SpectralConvergenceLoss", home):
        return None
    name = None
    for part in (log, linear):
        if not does_what_its_class_does(part, "STFTMagnitudeLoss", home):
            return None
        distance = part._modules.get("distance")
        name = type(distance).__name__ if name is None else name
        if not does_what_its_class_does(distance, name, _TORCHS) or distance.reduction != module.reduction:
            return None
    if name not in _DISTANCES or log.log is not True or linear.log is not False:
        return None
    if module.scale is not None or module.scale_invariance or module.w_phs or _lookup(module, "phs_used", False):
        return None
    sizes = module.fft_size, module.hop_size, module.win_length
    numbers = module.eps, module.w_sc, module.w_log_mag, module.w_lin_mag
    numbers = *numbers, _lookup(log, "log_fac", 1.0), _lookup(log, "log_eps", 0.0)
    is_usual = module.output in ("loss", "full") and module.reduction in ("mean", "sum")
    if not is_usual or {*map(type, sizes)} != {int} or not isinstance(module.window, Tensor):
        return None
    if not {*map(type, numbers)} <= {int, float}:
        return None
    version, is_full, is_mean = _versions[home.__name__], module.output == "full", module.reduction == "mean"
    if (is_full and not version.has_full) or (version.per_row and not version.is_mean and (is_full or not is_mean)):
        return None
    return losses.loss_call(*sizes, *numbers, squared=_DISTANCES[name], per_row=version.per_row, mean=is_mean)


def _lookup(module, name: str, usual: float) -> object:
    """An attribute that not all versions have: torch's modules are slow to say that there is none."""
    return vars(module).get(name, getattr(type(module), name, usual))


def _is_plain_function(home: ModuleType, name: str) -> bool:
    """Whether the project's own function is there."""
    function = getattr(home, name, None)
    return is_from(function, home) or is_from(function, sys.modules.get("auraloss.utils"))


_MODULES = "auraloss.freq", "stable_audio_tools.training.losses.auraloss"
PROJECT = Project(
    "auraloss",
    hooks=(
        *(Hook(module, "STFTLoss.forward", override(_loss), _lacks) for module in _MODULES),
        *(
            Hook(module, "MultiResolutionSTFTLoss.forward", override(_mean), partial(_differs, methods=_SEVERAL))
            for module in _MODULES
        ),
    ),
    distribution="auraloss",
    packages=("auraloss", "stable_audio_tools"),
    tested=("0.2", "0.5"),
)
