"""Where files are kept, and which libraries are loaded: those that this user alone can have written, as written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import pytest
import torch

from mps_spectro_patch.kernels.compilers import cache_folder as cache
from mps_spectro_patch.kernels.compilers import simulator

needs_compiler = pytest.mark.skipif(
    os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") != "simulator", reason="about the simulator alone"
)
SOURCE = "#include <metal_stdlib>\nusing namespace metal;\nkernel void f(device int* x) { x[0] = 42; }"
SOMEBODY = 54321  # a user without a name


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The wanted folder, made by us; the simulator's runtime still comes from the usual one."""
    if os.environ.get("MPS_SPECTRO_TEST_DEVICE", "simulator") == "simulator":
        simulator._simulator()
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(tmp_path / "cache"))
    return cache.cache_directory()


@pytest.fixture
def owned(monkeypatch):
    """owned(path) has a path belong to somebody else; owned(path, "lstat") only the link, "stat" what it leads to."""

    def give(path: Path, *asked_by: str) -> None:
        def asking(real):
            def ask(asked, *args, **options):
                found = list(real(asked, *args, **options)[:10])
                if not isinstance(asked, int) and os.fspath(asked) == str(path):
                    found[4] = SOMEBODY
                return os.stat_result(found)

            return ask

        for name in asked_by or ("stat", "lstat"):
            monkeypatch.setattr(os, name, asking(getattr(os, name)))

    return give


def result(library: simulator.Library) -> int:
    x = torch.zeros(1, dtype=torch.int32)
    library.f(x)
    return x.item()


def replace(path: Path, content: bytes) -> None:
    """As another file: the old one may be loaded."""
    other = path.with_suffix(".new")
    other.write_bytes(content)
    other.chmod(path.stat().st_mode)
    os.replace(other, path)


def libraries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.so"))


# --- whose it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_what_we_make_is_for_this_user_alone_whatever_the_umask(tmp_path, monkeypatch, umask):
    place = tmp_path / "above" / "below"
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(place))
    before = os.umask(umask)
    try:
        assert cache.cache_directory() == place
        cache.keep_library("key", b"code", None)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (place, place.parent)} == {0o700}
    assert [path.stat().st_mode & 0o777 for path in place.iterdir()] == [0o600, 0o600]
    assert cache.find_library("key") is not None


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_folder_that_others_can_write_to_is_not_used_and_said_so_once(folder, mode, caplog):
    folder.chmod(mode)
    for _ in range(2):
        assert cache.cache_directory().name.startswith("mps_spectro_patch-")
    assert cache.cache_directory().stat().st_mode & 0o777 == 0o700
    (record,) = caplog.records
    assert record.levelname == "WARNING" and f"chmod go-w {folder}" in record.message
    assert record.name.startswith("mps_spectro_patch.")


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750])
def test_a_folder_that_others_can_read_is_used(folder, mode, caplog):
    folder.chmod(mode)
    assert cache.cache_directory() == folder and not caplog.records


def test_a_folder_of_another_user_is_not_used(folder, owned, caplog):
    owned(folder)
    assert cache.cache_directory() != folder and "belongs to another user" in caplog.text


@pytest.mark.parametrize("asked_by", ["lstat", "stat"])
def test_a_link_of_or_to_another_user_is_not_followed(tmp_path, folder, monkeypatch, owned, caplog, asked_by):
    link = tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", str(link))
    assert cache.cache_directory() == link and not caplog.records
    owned(link, asked_by)
    assert cache.cache_directory() != link and "belongs to another user" in caplog.text


def test_a_temporary_folder_that_somebody_made_in_place_of_ours_is_not_used(folder, owned):
    folder.chmod(0o777)
    first = cache.cache_directory()
    assert cache.cache_directory() == first
    owned(first)
    assert cache.cache_directory() not in (first, folder)


@needs_compiler
@pytest.mark.parametrize("open_to_all", ["folder", "library", "record", "nothing"])
def test_a_planted_library_is_not_loaded(folder, tmp_path, open_to_all):
    """It comes with a record that fits, as from somebody who knows how we write them."""
    marker = tmp_path / "marker"
    evil = simulator._compile(
        f'#include <cstdio>\n__attribute__((constructor)) void run() {{ fclose(fopen("{marker}", "w")); }}', []
    )
    path, names = simulator._build(SOURCE)
    planted, _ = cache.keep_library(path.name.partition("-")[0], evil, names)
    what = {"folder": folder, "library": planted, "record": next(folder.glob("*.json"))}
    if open_to_all == "nothing":  # the trap works
        with pytest.raises(AttributeError):
            simulator.compile_shader(SOURCE)
        assert marker.exists()
        return
    what[open_to_all].chmod(0o777)
    assert result(simulator.compile_shader(SOURCE)) == 42
    assert not marker.exists()


@needs_compiler
@pytest.mark.parametrize("suffix", [".so", ".json"])
def test_a_file_of_another_user_is_not_used_but_written_anew(folder, suffix, owned, monkeypatch, caplog):
    path, _ = simulator._build(SOURCE)
    owned(path if suffix == ".so" else next(folder.glob("*.json")))
    made = []
    compile_ = simulator._compile
    monkeypatch.setattr(simulator, "_compile", lambda *args: made.append(compile_(*args)) or made[-1])
    assert result(simulator.compile_shader(SOURCE)) == 42
    assert len(made) == 1 and "belongs to another user" in caplog.text


# --- whether it is as it was written ---------------------------------------------------------------------------------


def _halved(path: Path) -> None:
    replace(path, path.read_bytes()[: path.stat().st_size // 2])


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    replace(path, bytes(content))


DAMAGE = {
    "cut to half": _halved,
    "one bit": _flipped,
    "empty": lambda path: replace(path, b""),
    "garbage": lambda path: replace(path, b"\xff" * path.stat().st_size),
    "gone": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir(0o700)),
}


@needs_compiler
@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "a folder"])
@pytest.mark.parametrize("suffix", [".so", ".json"])
def test_a_damaged_file_is_built_again_quietly_and_once(folder, damage, suffix, monkeypatch, caplog, recwarn):
    simulator._build(SOURCE)  # which loads nothing
    (path,) = folder.glob(f"*{suffix}")
    DAMAGE[damage](path)
    assert result(simulator.compile_shader(SOURCE)) == 42
    assert not caplog.records and not recwarn.list
    monkeypatch.setattr(simulator, "_compile", None)
    assert result(simulator.compile_shader(SOURCE)) == 42
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("which", [0, 1])
def test_nothing_damaged_is_found(folder, damage, which):
    cache.keep_library("key", b"some code", ["about"])
    assert cache.find_library("key") == (libraries(folder)[0], ["about"])
    DAMAGE[damage](sorted(folder.iterdir())[which])
    assert cache.find_library("key") is None


@pytest.mark.parametrize("text", [
    "null", "3", "[]", "{}", '"x"', "[" * 100_000, "\xff",
    '{"sha256": 3}', '{"sha256": null}', '{"sha256": "a\\u0000b"}',
])  # fmt: skip
def test_whatever_a_record_holds_nothing_is_raised(folder, text):
    cache.keep_library("key", b"some code", ["about"])
    replace(folder / "key-record.json", text.encode("latin-1"))
    assert cache.find_library("key") is None


@pytest.mark.parametrize("change", [{"about": ["other"]}, {"size": 8}, {"size": None}, {"sha256": "0" * 64}])
def test_a_record_that_says_something_else_is_not_believed(folder, change):
    cache.keep_library("key", b"some code", ["about"])
    record = json.loads((folder / "key-record.json").read_text())
    replace(folder / "key-record.json", json.dumps({**record, **change}).encode())
    assert cache.find_library("key") is None


def test_a_library_always_fits_its_record_while_many_are_written_at_once(folder):
    """As with a compiler that writes no two libraries alike."""
    cache.keep_library("key", b"0", 0)
    over = threading.Event()

    def write(writer: int) -> None:
        number = writer
        while not over.is_set():
            cache.keep_library("key", str(number % 40).encode(), number % 40)
            number += 4

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    found = [cache.find_library("key") for _ in range(300)]
    over.set()
    for writer in writers:
        writer.join()
    assert None not in found and all(path.read_bytes() == str(about).encode() for path, about in found)
    assert len({about for _, about in found}) > 1
    assert len(list(folder.iterdir())) <= 41


def test_a_file_is_left_as_it_was_when_writing_fails(folder, monkeypatch):
    cache.write_file(folder / "file", b"before")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        cache.write_file(folder / "file", b"after")
    assert [path.read_bytes() for path in folder.iterdir()] == [b"before"]


@pytest.mark.parametrize("lock", [None, "refused"])
def test_a_folder_that_cannot_be_locked_is_used_all_the_same(folder, monkeypatch, lock):
    def refuse(*_):
        raise OSError("not on this file system")

    monkeypatch.setattr(cache, "fcntl", lock and types.SimpleNamespace(LOCK_EX=2, LOCK_UN=8, flock=refuse))
    with cache.locked(folder):
        cache.keep_library("key", b"code", None)
    assert cache.find_library("key") is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_child_that_is_forked_meanwhile_does_not_keep_the_folder_locked(folder):
    import fcntl

    def is_free() -> bool:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True

    reading, writing = os.pipe()
    with cache.locked(folder):
        child = os.fork()
        if not child:
            os.close(writing)
            os.read(reading, 1)  # until the parent is done
            os._exit(0)
        assert not is_free()
    assert is_free()
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0
    os.close(reading)


def test_looking_at_a_library_takes_less_than_a_millisecond(folder):
    cache.keep_library("key", os.urandom(100_000), [["kernel", 5]] * 8)
    seconds = []
    for _ in range(50):
        begin = time.perf_counter()
        assert cache.find_library("key") is not None
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 1e-3


# --- where it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", ["~/x", "~"])
def test_a_tilde_is_the_users_home(tmp_path, monkeypatch, chosen):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MPS_SPECTRO_PATCH_CACHE", chosen)
    monkeypatch.chdir(tmp_path)
    assert cache.cache_directory() == Path(chosen.replace("~", str(tmp_path))) and not (tmp_path / "~").exists()


@pytest.mark.parametrize(("platform", "variables", "expected"), [
    ("linux", {}, "~/.cache/mps_spectro_patch"),
    ("linux", {"XDG_CACHE_HOME": "/somewhere"}, "/somewhere/mps_spectro_patch"),
    ("darwin", {"XDG_CACHE_HOME": "/somewhere"}, "~/Library/Caches/mps_spectro_patch"),
    ("darwin", {"MPS_SPECTRO_PATCH_CACHE": "/chosen"}, "/chosen"),
])  # fmt: skip
def test_the_place_is_the_systems_place_for_caches(monkeypatch, platform, variables, expected):
    for name in ("MPS_SPECTRO_PATCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache.wanted_directory() == Path(expected).expanduser()


WITHOUT_HOME = """
import os, pwd
import torch
import mps_spectro_patch as msp
from mps_spectro_patch.kernels.compilers import cache_folder as cache
msp.enable(devices=())  # imports what the other user may not be allowed to read
msp.disable()
if os.geteuid() == 0:
    os.setuid(54321)
else:
    pwd.getpwuid = {}.__getitem__
os.environ.pop("HOME", None)
msp.enable(devices=())
msp.disable()
print(cache.cache_directory())
"""


def test_a_user_without_home_and_name_gets_a_folder_for_the_process():
    with tempfile.TemporaryDirectory() as temporary:  # tmp_path is within a folder that this user may not enter
        os.chmod(temporary, 0o777)
        environment = {"PATH": os.environ["PATH"], "TMPDIR": temporary}
        done = subprocess.run([sys.executable, "-c", WITHOUT_HOME], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).parent == Path(temporary)
        assert os.listdir(temporary) == [], "it is removed at the end"


FORKING = """
import multiprocessing, os
from mps_spectro_patch.kernels.compilers import cache_folder as cache

def in_child(before):
    import shutil
    if not before:
        shutil.rmtree(cache._temporary, True)
    print(cache.cache_directory(), flush=True)

here = cache.cache_directory()
for before in (True, False):
    child = multiprocessing.get_context("fork").Process(target=in_child, args=(before,))
    child.start()
    child.join()
    assert here.is_dir() == before
print(here, cache.cache_directory())
"""


def test_a_forked_child_shares_the_temporary_folder_and_leaves_it(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    places = {"MPS_SPECTRO_PATCH_CACHE": str(tmp_path / "file"), "TMPDIR": str(tmp_path / "temporary")}
    environment = {**os.environ, **places}
    done = subprocess.run([sys.executable, "-c", FORKING], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shared, anew, here, last = done.stdout.split()
    assert shared == here and len({here, anew, last}) == 3
    assert os.listdir(tmp_path / "temporary") == []
