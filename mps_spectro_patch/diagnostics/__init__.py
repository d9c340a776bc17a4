"""What people read: statistics, reports, explanations, status, the doctor."""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:  # the public names; a type checker would take any name from __getattr__
    from .call_report import report as report
    from .call_report import watch_calls as watch_calls
    from .call_report import write_trace as write_trace
    from .explanation import explain as explain
    from .patch_status import status as status
    from .statistics import reset_stats as reset_stats
    from .statistics import stats as stats
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "call_report": ("report", "watch_calls", "write_trace"),
            "doctor": ("run_doctor", "run_tuning"),
            "explanation": ("explain",),
            "first_run": ("run_first",),
            "patch_status": ("status",),
            "statistics": ("Stats", "reset_stats", "stats"),
        },
    )
