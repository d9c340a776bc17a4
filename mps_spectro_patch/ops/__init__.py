"""The operators: what the kernels do, as torch knows it, with derivatives and batching."""

from . import (
    composite,
    composite_features,
    composite_kaldi,
    composite_losses,
    features,
    kaldi,
    losses,
    losses_together,
    mean_of_losses,
    operators,
    replay,
    surviving,
    torch_library,
)
from .gradients import eager_istft, eager_stft
from .operators import istft, stft

__all__ = [
    "composite", "composite_features", "composite_kaldi", "composite_losses", "eager_istft", "eager_stft", "features",
    "istft", "kaldi", "losses", "losses_together", "mean_of_losses", "operators", "replay", "stft", "surviving",
    "torch_library",
]  # fmt: skip
