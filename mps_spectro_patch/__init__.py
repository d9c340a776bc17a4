"""torch.stft and torch.istft as single fused Metal kernels, without editing the program that calls them.

This file only exports names and reads MPS_SPECTRO_PATCH. Importing it patches nothing (without that variable) and
compiles nothing.
"""

from .options import start_from_environment
from .patching import accelerated, disable, enable, is_enabled
from .report import explain, reset_stats, stats, status

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "accelerated",
    "disable",
    "enable",
    "explain",
    "is_enabled",
    "reset_stats",
    "stats",
    "status",
]

start_from_environment(enable)
