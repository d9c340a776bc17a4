"""Where on this machine files of ours are kept: MPS_SPECTRO_PATCH_CACHE, or the system's place for a user's caches.

A library runs code when it is loaded. So only what this user alone can have written is loaded, and only as it was
written; other files of ours may hold anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from multiprocessing import util
from pathlib import Path
from typing import Any, TypeVar

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_T = TypeVar("_T")
_logger = logging.getLogger(__name__)
_temporary: Path | None = None


def wanted_directory() -> Path:
    """The place, whether it is there or not. OSError for a user without a home."""
    chosen = os.environ.get("MPS_SPECTRO_PATCH_CACHE")
    if not chosen:
        caches = "~/Library/Caches" if sys.platform == "darwin" else os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        chosen = os.path.join(caches, "mps_spectro_patch")
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f"{chosen}: {error}") from None


def cache_directory() -> Path:
    """A folder that this user can write to, and no other: the wanted one, made if need be, else one of this process."""
    with contextlib.suppress(OSError):
        path = wanted_directory()
        for folder in (*reversed(path.parents), path):
            folder.mkdir(mode=0o700, exist_ok=True)
        if os.access(path, os.W_OK) and _is_ours_alone(path):
            return path
    return _temporary_directory()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time, of those that share the folder. All at once where it cannot be locked."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems lock nothing
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # closing is not enough: a child that was forked has it open, too
        os.close(handle)


def write_file(path: Path, data: bytes) -> None:
    """In one step: processes that do the same at once see all of it or nothing. Readable for this user only."""
    file = tempfile.NamedTemporaryFile(dir=path.parent, delete=False)
    try:
        with file:
            file.write(data)
        os.replace(file.name, path)
    except BaseException:
        os.unlink(file.name)
        raise


def read_json(path: Path, parse: Callable[[Any], _T]) -> _T | None:
    """What `parse` makes of a file's content: None where there is no file, and with one warning where it raises."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as error:  # anything can be in a file
        _warn(f"{path} is ignored: {type(error).__name__}: {error}")
    return None


def keep_library(key: str, library: bytes, about: Any) -> tuple[Path, Any]:
    """Writes a library and, beside it, what there is to say about it with the size and hash of both. Returns it as
    find_library() will."""
    digest = _hash(library, about)
    path = cache_directory() / _library_name(key, digest)
    write_file(path, library)
    record = {"size": len(library), "sha256": digest, "about": about}
    write_file(path.with_name(_record_name(key)), json.dumps(record).encode())
    return path, about


def find_library(key: str) -> tuple[Path, Any] | None:
    """A library that may be loaded, and what was said about it. None, build it again, if it is not as it was kept."""
    listing = cache_directory() / _record_name(key)
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        if not _is_ours_alone(listing):
            return None
        record = json.loads(listing.read_bytes())
        path = listing.with_name(_library_name(key, record["sha256"]))
        if not _is_ours_alone(path) or path.stat().st_size != record["size"]:
            return None
        if _hash(path.read_bytes(), record["about"]) == record["sha256"]:
            return path, record["about"]
    return None


def _hash(library: bytes, about: Any) -> str:
    return hashlib.sha256(library + json.dumps(about).encode()).hexdigest()


def _library_name(key: str, digest: str) -> str:
    """By its content: a compiler may write no two alike, and of those built at once each fits its own record."""
    return f"{key}-{digest[:16]}.so"


def _record_name(key: str) -> str:
    return f"{key}-record.json"  # "{key}.json" is the first version's, which may share the folder


def _is_ours_alone(path: Path) -> bool:
    """Whether only this user can have written it, and a link to it. Of the folders above it nothing is known."""
    if os.name == "nt":  # has no such owners
        return True
    user, found = os.geteuid(), os.stat(path)
    if found.st_uid != user or os.lstat(path).st_uid not in (user, 0):
        _warn(f"{path} is not used: it belongs to another user")
    elif found.st_mode & 0o022:
        _warn(f"{path} is not used: other users can write to it (chmod go-w {path})")
    else:
        return True
    return False


def _temporary_directory() -> Path:
    """Removed when the process that made it ends, a child of multiprocessing included."""
    global _temporary
    if not (_temporary and _temporary.is_dir() and _is_ours_alone(_temporary)):
        _temporary = Path(tempfile.mkdtemp(prefix="mps_spectro_patch-"))
        util.Finalize(None, shutil.rmtree, (_temporary, True), exitpriority=-100)  # of this process alone
    return _temporary


@lru_cache(maxsize=256)
def _warn(text: str) -> None:
    """Once."""
    _logger.warning(text)
