"""torch.func.vmap over the operators: a batch becomes more rows; a batched window or filterbank is done one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def rule(
    with_rows: int, function: Callable[..., Tensor], contiguous: bool = False
) -> Callable[..., tuple[Tensor, int]]:
    """The vmap rule of an operator, in terms of `function`, which is the operator one level below.

    with_rows: so many tensors, the first ones, have rows as the result has. 0: the result, or each of several, is
    summed over them. contiguous: the result is. torch has no rules for its functions, and stacks their results: those
    strides are the ones that a program sees.
    """

    def batched(info: Any, in_dims: tuple, *arguments: Any):
        if any(dim is not None for dim in in_dims[with_rows:]):
            pairs = list(zip(arguments, in_dims, strict=True))
            results = [
                function(*(one if dim is None else one.select(dim, index) for one, dim in pairs))
                for index in range(info.batch_size)
            ]
            if isinstance(results[0], tuple):
                return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0,) * len(results[0])
            return torch.stack(results), 0
        folded = []
        for tensor, dim in zip(arguments[:with_rows], in_dims[:with_rows], strict=True):
            batch = tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            folded.append(batch.flatten(0, 1))
        result = function(*folded, *arguments[with_rows:])
        result = result.unflatten(0, (info.batch_size, -1))
        return result.contiguous() if contiguous else result, 0

    return batched
