"""`%load_ext mps_spectro_patch` in a notebook, and `%unload_ext mps_spectro_patch`. Does not need IPython."""

from __future__ import annotations

from typing import Any

from ..patching import disable, enable


def load_ipython_extension(ipython: Any) -> None:
    """enable(), with its options from the environment variables. Prints which devices it is on."""
    done = enable()
    missing = [f"{what}: {why}" for what, why in done.skipped if what in done.options.devices]
    print("; ".join([str(done).partition("\n")[0], *missing]))


def unload_ipython_extension(ipython: Any) -> None:
    """disable()."""
    disable()
