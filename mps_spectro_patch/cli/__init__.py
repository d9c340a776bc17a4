"""The command line: `python -m mps_spectro_patch COMMAND`."""

from ..lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "commands": ("main",),
        "notebook": ("load_ipython_extension", "unload_ipython_extension"),
    },
)
