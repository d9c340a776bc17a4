"""Calling an operator without torch's dispatcher, which costs as much as the operator's body.

Instead, eager calls use the body itself or one of two autograd.Functions: one that functorch accepts, and one for eager
mode only, which costs half as much (with setup_context, torch looks up the signature of forward in each call).
torch.compile gets the operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..stops import stops
from ..tensors import wants_gradient
from . import batching
from .operators import NAMESPACE, namespace
from .surviving import survived


class Ways:
    """How one operator is called: forward() in a forward pass, backward() in a backward pass.

    body: the same as a Python function; of forward() its first three arguments may be tensors that ask for gradients.
    setup, backward: setup_context and backward of autograd.Function. with_rows: see batching.rule(). The operator gets
    these derivatives, too.
    """

    def __init__(self, name: str, body: Callable, setup: Callable, backward: Callable, with_rows: int) -> None:
        self.name, self.body, self.operator = name, body, getattr(getattr(torch.ops, NAMESPACE), name).default
        self.functional = _functional(self, setup, backward, with_rows, name == "stft")
        self.eager = _eager(self, setup, backward)
        path, rule = f"{NAMESPACE}::{name}", batching.rule(with_rows, self.operator, name == "stft")
        torch.library.register_autograd(path, backward, setup_context=setup, lib=namespace)
        torch.library.register_vmap(path, rule, lib=namespace)

    def forward(self, *arguments: Any) -> Tensor:
        """For plain tensors or functorch's, while nothing is traced or compiled."""
        if is_transformed():
            return self.functional.apply(*arguments)
        if wants_gradient(*(a for a in arguments[:3] if isinstance(a, Tensor))):
            return self.eager.apply(*arguments)
        return self.body(*arguments)

    def backward(self, *arguments: Any) -> Tensor:
        """In a backward pass, which may itself be compiled, batched, transformed, recorded or seen by a mode."""
        if torch.compiler.is_compiling():
            return self.operator(*arguments)
        try:
            return self._backward(*arguments)
        except stops():
            raise
        except Exception as error:
            return survived(self.name, error, *arguments)

    def _backward(self, *arguments: Any) -> Tensor:
        if needs_operator(next(one for one in arguments if one is not None)):
            return self.operator(*arguments)
        if is_transformed():
            return self.functional.apply(*arguments)
        if torch.is_grad_enabled():
            return self.eager.apply(*arguments)
        return self.body(*arguments)


def needs_operator(gradient: Any) -> bool:
    """Whether a backward pass is compiled, seen by a mode or a tensor subclass, or batched by torch.autograd.grad
    (is_grads_batched). All of these know operators only."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
        return True
    return type(gradient) is not Tensor or torch._C._functorch.is_legacy_batchedtensor(gradient)


def is_plain(gradient: Any) -> bool:
    """Whether the gradient is what it seems, and nobody wants to know how a backward pass is made."""
    return not (needs_operator(gradient) or is_transformed() or torch.is_grad_enabled())


def kept(window: Tensor, n_fft: int) -> Tensor:
    """As it is kept for the backward pass. Of a short window torch keeps a copy, which the program cannot change."""
    return window if window.shape[0] == n_fft else window.clone()


def is_transformed() -> bool:
    """Whether a transform of functorch, or forward-mode differentiation, is active."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _functional(
    ways: Ways, setup: Callable, backward: Callable, with_rows: int, contiguous: bool
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
    rule = batching.rule(with_rows, Function.apply, contiguous)
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
