"""Stands in for torchaudio where it is not installed: its names, structure and formulas, for what is patched."""

from . import functional, transforms

__all__ = ["functional", "transforms"]
