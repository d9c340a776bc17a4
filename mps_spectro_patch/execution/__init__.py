"""Runs one call: launches, verifies, survives what goes wrong, counts, remembers."""

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "": (
            "comparison",
            *("call_cache", "call_sites", "counters", "from_caller", "launches", "parts", "quarantine", "runner"),
            *("selftest", "torch_warnings", "trouble", "tuning", "verification"),
        ),
        "launches": ("load_operators",),
        "tuning": ("chip",),
        "devices": ("best_device", "check_device", "device_error", "require_device"),
    },
)
