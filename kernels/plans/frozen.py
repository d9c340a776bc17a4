"""Frozen dataclasses as keys of the caches that every call looks into: their hash is worked out once."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def hashed_once(cls: type[T]) -> type[T]:
    """Class decorator, outside of @dataclass(frozen=True): caches the hash that the dataclass has."""
    work_out = cls.__hash__

    def __hash__(self: Any) -> int:
        known = self.__dict__.get("_hash")
        if known is None:
            known = self.__dict__["_hash"] = work_out(self)
        return known

    def __getstate__(self: Any) -> dict[str, Any]:  # another process hashes strings otherwise
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}

    cls.__hash__, cls.__getstate__ = __hash__, __getstate__  # type: ignore[method-assign, attr-defined]
    return cls
