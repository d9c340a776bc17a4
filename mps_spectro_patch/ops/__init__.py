"""The operators: what the kernels do, as torch knows it, with derivatives and batching."""

from . import batching, composite, operators  # noqa: F401 (registers the rules)
from .gradients import eager_istft, eager_stft
from .operators import istft, stft

__all__ = ["composite", "eager_istft", "eager_stft", "istft", "operators", "stft"]
