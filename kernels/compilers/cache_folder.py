"""Where on this machine files of ours are kept: MPS_SPECTRO_PATCH_CACHE, or the system's place for a user's caches."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path


def wanted_directory() -> Path:
    """The place, whether it is there or not."""
    chosen = os.environ.get("MPS_SPECTRO_PATCH_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mps_spectro_patch"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mps_spectro_patch"


def cache_directory() -> Path:
    """A folder that can be written to: the wanted one, made if need be, else one for this process alone."""
    path = wanted_directory()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if os.access(path, os.W_OK):
            return path
    except OSError:
        pass
    return _temporary_directory()


@lru_cache(maxsize=1)
def _temporary_directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="mps_spectro_patch-"))
