"""Tensors whose values decide on the host: each is read back from its device once, when it is first seen.

It is known again by identity and version: a weak reference tells a reused address from the same tensor, the version
counter tells an in-place change. `tensor.data.mul_(2)` hides from both.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
_LIMIT = 64


class HostCopies(Generic[T]):
    """What `make` makes of tensors on the host. It gets memory that may be the tensor's own.

    rereads_learned: those that require a gradient are read every time, as numerical derivatives change them by .data.
    """

    def __init__(self, make: Callable[[torch.Tensor], T], rereads_learned: bool = False) -> None:
        self._make, self._rereads_learned = make, rereads_learned
        self._known: dict[int, tuple[weakref.ref, int, int, T]] = {}
        self._by_content: OrderedDict[tuple, T] = OrderedDict()
        self.read_backs = 0

    def __call__(self, tensor: torch.Tensor) -> T:
        # Inference tensors keep no version: an in-place change would go unnoticed, so those are read every time.
        is_known = not (tensor.is_inference() or self._rereads_learned and tensor.requires_grad)
        version = tensor._version if is_known else -1
        key = id(tensor)
        entry = self._known.get(key)
        address = tensor.data_ptr()  # `tensor.data = other` changes neither identity nor version
        if entry is not None and version >= 0 and entry[0]() is tensor and entry[1:3] == (version, address):
            return entry[3]
        self.read_backs += 1
        # To the CPU before any other type: Metal has no double to convert to on the way.
        values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        # Programs that make their tensor anew for every call find what was made of the last one by its contents.
        bytes_ = ctypes.string_at(values.data_ptr(), values.numel() * values.element_size())
        content = values.dtype, values.shape, bytes_
        made = self._by_content.get(content)
        if made is None:
            made = self._by_content[content] = self._make(values)
            if len(self._by_content) > _LIMIT:
                self._by_content.popitem(last=False)
        if version >= 0:
            reference = weakref.ref(tensor, lambda _, key=key: self._known.pop(key, None))
            self._known[key] = reference, version, address, made
        return made
