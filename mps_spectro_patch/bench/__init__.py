"""`mps-spectro-patch bench`: this package, torch and peers timed side by side on the device that is there.

cases.py says what is timed, contestants.py by whom, timing.py how; measuring.py does it, the rest shows the results.
"""

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "": ("contestants", "markdown", "sweep", "tables", "timing"),
        "accelerator": ("Accelerator",),
        "cases": ("Case",),
        "command": ("run_bench", "time_seeds_cases"),
        "measuring": ("relative_error",),
        "progress": ("Progress",),
        "result_files": ("results_folder",),
    },
)
