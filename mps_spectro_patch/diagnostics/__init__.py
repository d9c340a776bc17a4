"""What people read: statistics, reports, explanations, status, the doctor."""

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "": ("doctor", "doctor_front_ends", "doctor_kernels"),
        "doctor": ("run", "tune"),
        "doctor_kernels": ("Finding",),
        "explaining": ("explain",),
        "reporting": ("Stats", "report", "reset_stats", "stats", "status", "watch_calls", "write_trace"),
    },
)
