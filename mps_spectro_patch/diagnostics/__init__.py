"""What people read: statistics, reports, explanations, status, the doctor."""

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "": ("doctor", "doctor_front_ends", "doctor_kernels"),
        "doctor": ("run", "tune"),
        "doctor_kernels": ("Finding",),
        "explanation": ("explain",),
        "call_report": ("report", "watch_calls", "write_trace"),
        "patch_status": ("status",),
        "statistics": ("Stats", "reset_stats", "stats"),
    },
)
