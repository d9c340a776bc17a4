"""Runs one call: launches, verifies, survives what goes wrong, counts, remembers."""

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "": ("call_sites", "front_end_runner", "ready", "refusals", "runner", "selftest", "tuning"),
        "refusals": ("Refusal",),
        "tuning": ("chip",),
        "devices": ("best_device", "check_device", "require_device"),
    },
)
