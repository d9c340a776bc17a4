"""What people read: statistics, reports, explanations, status, the doctor."""

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "call_report": ("report", "watch_calls", "write_trace"),
        "doctor": ("run_doctor", "run_tuning"),
        "explanation": ("explain",),
        "patch_status": ("status",),
        "statistics": ("Stats", "reset_stats", "stats"),
    },
)
