"""What was made of a tensor's values, found again as long as the tensor has not changed.

Neither the tensor nor its memory is kept, nor a weak reference to it: torch.utils.swap_tensors(), and with it
load_state_dict() and Module.to(), refuses tensors that have one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch.multiprocessing.reductions import StorageWeakRef

T = TypeVar("T")
_LIMIT = 64


class TensorState:
    """A tensor at one moment: is_of() tells later whether a tensor is the same one with the same values.

    Known again is the tensor's dictionary of attributes, which is kept, so that its id is not used again. It belongs to
    one tensor, and swap_tensors() moves it together with the values. What changes the values without a new version is
    not noticed: `tensor.data.mul_(2)`, or a collective of torch.distributed.
    """

    __slots__ = ("attributes", "version", "address", "layout", "storage")

    def __init__(self, tensor: torch.Tensor) -> None:
        """tensor: not one of inference mode, which has no version."""
        self.attributes, self.version = tensor.__dict__, tensor._version
        # `tensor.data = other` changes neither of these.
        self.address, self.layout = tensor.data_ptr(), (tensor.stride(), tensor.shape)
        self.storage = StorageWeakRef(tensor.untyped_storage())

    def is_of(self, tensor: torch.Tensor) -> bool:
        return (
            tensor.__dict__ is self.attributes
            and tensor._version == self.version
            and tensor.data_ptr() == self.address
            and (tensor.stride(), tensor.shape) == self.layout
            and not self.storage.expired()
        )


class ByTensor(Generic[T]):
    """What was made of tensors. What was made of those that are gone is dropped, a few of them later than others."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[TensorState, T]] = {}  # by the id of the dictionary
        self._enough = _LIMIT

    def __len__(self) -> int:
        return len(self._known)

    def find(self, tensor: torch.Tensor) -> T | None:
        entry = self._known.get(id(tensor.__dict__))
        return entry[1] if entry is not None and entry[0].is_of(tensor) else None

    def keep(self, state: TensorState, made: T) -> None:
        """state: of the tensor, from before its values were read."""
        self._known[id(state.attributes)] = state, made
        if len(self._known) > self._enough:
            self._known = {key: entry for key, entry in list(self._known.items()) if not entry[0].storage.expired()}
            self._enough = max(_LIMIT, 2 * len(self._known))


class HostCopies(ByTensor[T]):
    """What `make` makes of tensors on the host. It gets memory that may be the tensor's own. Each is read back from its
    device once, when it is first seen.

    rereads_learned: those that require a gradient are read every time, as numerical derivatives change them by .data.
    """

    def __init__(self, make: Callable[[torch.Tensor], T], rereads_learned: bool = False) -> None:
        super().__init__()
        self._make, self._rereads_learned = make, rereads_learned
        self._by_content: list[tuple[tuple, T]] = []  # the last one first
        self.read_backs = 0

    def __call__(self, tensor: torch.Tensor) -> T:
        rereads = self._rereads_learned and tensor.requires_grad
        made = None if rereads else self.find(tensor)
        if made is not None:
            return made
        self.read_backs += 1
        return self._learn(tensor, tensor, not rereads)

    def learn(self, tensor: torch.Tensor, source: torch.Tensor) -> None:
        """That `tensor` has just been made as a copy of `source`, on the CPU: so it need not be read back."""
        self._learn(tensor, source, True)

    def _learn(self, tensor: torch.Tensor, source: torch.Tensor, keeps: bool) -> T:
        # Inference tensors keep no version: an in-place change would go unnoticed, so those are read every time.
        state = TensorState(tensor) if keeps and not tensor.is_inference() else None
        # To the CPU before any other type: Metal has no double to convert to on the way.
        values = source.detach().cpu().resolve_conj().resolve_neg().contiguous()
        # Programs that make their tensor anew for every call find what was made of the last one by its contents.
        bytes_ = ctypes.string_at(values.data_ptr(), values.numel() * values.element_size())
        content = values.dtype, values.shape, bytes_
        # Compared, and not hashed: that takes longer than all else here.
        made = next((made for known, made in self._by_content if known == content), None)
        if made is None:
            made = self._make(values)
            self._by_content = [(content, made), *self._by_content[: _LIMIT - 1]]
        if state is not None:
            self.keep(state, made)
        return made
