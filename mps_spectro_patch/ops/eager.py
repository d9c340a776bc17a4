"""Calling an operator without torch's dispatcher, which costs as much as the operator's body.

Instead, eager calls use the body itself or one of two autograd.Functions: one that functorch accepts, and one for eager
mode only, which costs half as much (with setup_context, torch looks up the signature of forward in each call).
torch.compile gets the operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

from ..tensors import wants_gradient


class Ways:
    """How one operator is called: forward() in a forward pass, backward() in a backward pass.

    operator: the dispatcher's. body: the same as a Python function; the first arguments are tensors, at most three.
    setup, backward: setup_context and backward of autograd.Function. vmap: makes the batching rule from the function
    that is called one level below.
    """

    def __init__(
        self, name: str, operator: Callable, body: Callable, setup: Callable, backward: Callable,
        vmap: Callable[[Callable], Callable],
    ) -> None:  # fmt: skip
        self.operator, self.body = operator, body
        self.functional = _named(_functional(self, setup, backward, vmap), name, body)
        self.eager = _named(_eager(self, setup, backward), name, body)

    def forward(self, *arguments: Any) -> torch.Tensor:
        """For plain tensors or functorch's, while nothing is traced or compiled."""
        if is_transformed():
            return self.functional.apply(*arguments)
        if wants_gradient(*(a for a in arguments[:3] if isinstance(a, torch.Tensor))):
            return self.eager.apply(*arguments)
        return self.body(*arguments)

    def backward(self, *arguments: Any) -> torch.Tensor:
        """In a backward pass, which may itself be compiled, batched, transformed, recorded or seen by a mode."""
        if is_watched(arguments[0]):
            return self.operator(*arguments)
        if is_transformed():
            return self.functional.apply(*arguments)
        if torch.is_grad_enabled():
            return self.eager.apply(*arguments)
        return self.body(*arguments)


def is_watched(gradient: Any) -> bool:
    """Whether a backward pass is compiled, seen by a mode or a tensor subclass, or batched by torch.autograd.grad
    (is_grads_batched). All of these know operators only."""
    return (
        torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
        or type(gradient) is not torch.Tensor or torch._C._functorch.is_legacy_batchedtensor(gradient)
    )  # fmt: skip


def is_transformed() -> bool:
    """Whether a transform of functorch, or forward-mode differentiation, is active."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _functional(
    ways: Ways, setup: Callable, backward: Callable, vmap: Callable[[Callable], Callable]
) -> type[torch.autograd.Function]:
    """The body is looked up in `ways` when it is called, so that tests can replace it."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(*arguments):
            return ways.body(*arguments)

        @staticmethod
        def vmap(info, in_dims, *arguments):
            return rule(info, in_dims, *arguments)

    Function.setup_context, Function.backward = staticmethod(setup), staticmethod(backward)
    rule = vmap(Function.apply)
    return Function


def _eager(ways: Ways, setup: Callable, backward: Callable) -> type[torch.autograd.Function]:
    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *arguments):
            output = ways.body(*arguments)
            setup(ctx, arguments, output)
            return output

    Function.backward = staticmethod(backward)
    return Function


def _named(function: type[torch.autograd.Function], name: str, body: Callable) -> type[torch.autograd.Function]:
    function.__name__ = function.__qualname__ = "".join(part.capitalize() for part in name.split("_"))
    function.__doc__ = body.__doc__
    return function
