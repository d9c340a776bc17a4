"""torch.func.vmap over the operators: a batch dimension becomes more rows. Batched windows are computed one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import operators
from .operators import NAMESPACE

_SUMMED_OVER_ROWS = ("stft_window_gradient", "istft_window_gradient")


def rule(name: str, function: Callable[..., torch.Tensor]) -> Callable[..., tuple[torch.Tensor, int]]:
    """The vmap rule of an operator, in terms of `function`, which is the operator one level below."""

    def fold(info: Any, in_dims: tuple, first: torch.Tensor, window: torch.Tensor, *arguments: Any):
        if in_dims[1] is not None:
            return each(info, in_dims, first, window, *arguments)
        first = first.movedim(in_dims[0], 0)
        result = function(first.reshape(-1, *first.shape[2:]), window, *arguments)
        return result.unflatten(0, first.shape[:2]), 0

    def each(info: Any, in_dims: tuple, *arguments: Any):
        results = []
        for index in range(info.batch_size):
            chosen = (
                argument if dim is None else argument.select(dim, index)
                for argument, dim in zip(arguments, in_dims, strict=True)
            )
            results.append(function(*chosen))
        return torch.stack(results), 0

    return each if name in _SUMMED_OVER_ROWS else fold


for _name in operators.NAMES:
    torch.library.register_vmap(
        f"{NAMESPACE}::{_name}", rule(_name, getattr(operators, _name)), lib=operators.namespace
    )
