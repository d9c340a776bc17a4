"""`mps-spectro-patch run [options] PROGRAM arguments`: an unchanged program, accelerated, and what came of it.

The program runs in this process, as Python would have run it. Its child processes inherit the options by environment
variables. They are accelerated where the .pth file is installed (autoload.py), and are not in the report.
"""

from __future__ import annotations

import atexit
import contextlib
import linecache
import os
import runpy
import shutil
import sys
import sysconfig
import textwrap
import types
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from pkgutil import get_importer
from types import CodeType, TracebackType

from .. import autoload, startup
from ..errors import CommandError


def run_program(options: Namespace) -> int:
    """The command: the program's exit status. Raises CommandError for what a person can put right."""
    command = options.command_line
    if not command:
        raise CommandError("what shall be run? A script, -m and a module, or a program on PATH")
    is_file = not (options.is_module or options.is_code or command[0] == "-")
    found = find_program(command[0]) if is_file else ""
    if options.trace:
        options.trace = options.trace.absolute()  # the program may change the folder
        _check_writable(options.trace)
    _set_environment(options)
    if found and not is_ours_to_run(found):
        if options.stats or options.trace:
            _say(f"{found} is no program of this Python: --stats and --trace cannot look inside")
        elif "python" in os.path.basename(_interpreter(found)):
            other = f"a program of another Python, {_interpreter(found)}"
            _say(f"{found} is {other}: it is accelerated only if this package is installed there")
        try:
            os.execv(found, command)
        except OSError as error:
            raise CommandError(f"cannot run {found}: {error.strerror}") from None
    startup.when_torch_is_imported(then=lambda: _begin(options))
    if not autoload.installed():
        sys.addaudithook(_tell_of_children)
    end = partial(_end, options, os.getpid())
    atexit.register(end)  # after the program's threads and its own exit handlers
    try:
        return _run_as_python_does(options, found)
    except CommandError:
        atexit.unregister(end)
        raise


def _run_as_python_does(options: Namespace, found: str) -> int:
    """An exception that the program does not catch is shown as `python` shows it, without our functions."""
    first, *arguments = options.command_line
    try:
        if options.is_module:
            _run_module(first, arguments)
        elif options.is_code:
            _run_code(_compiled(first), "-c", arguments)
        elif first == "-":
            _run_code(compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True), "-", arguments)
        else:
            _run_file(found, arguments)
    except (SystemExit, KeyboardInterrupt, CommandError):
        raise
    except BaseException as error:
        error = error.with_traceback(_without_ours(error.__traceback__))
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_frame.f_globals is globals():
        traceback = traceback.tb_next
    return traceback


def _check_writable(file: Path) -> None:
    """Before the program runs, which may take hours."""
    try:
        is_new = not file.exists()
        file.open("ab").close()
        if is_new:
            file.unlink()
    except OSError as error:
        raise CommandError(f"cannot write {file}: {error.strerror}") from None


def _set_environment(options: Namespace) -> None:
    os.environ[startup.VARIABLE] = "1"
    for name in ("devices", "reach", "verify", "torchaudio"):
        value = getattr(options, name)
        if value is not None:
            os.environ[f"{startup.VARIABLE}_{name.upper()}"] = value


def find_program(name: str) -> str:
    """The file of that name, or the program: one of this Python before those on PATH, which may be another's."""
    if os.path.exists(name):
        return name
    folders = [os.path.dirname(sys.executable), sysconfig.get_path("scripts")]
    found = shutil.which(name, path=os.pathsep.join(folders)) or shutil.which(name)
    if found is None:
        raise CommandError(f"{name}: no such file, and no such program on PATH")
    return found


def is_ours_to_run(path: str) -> bool:
    """Whether this very Python would run it: a script, or a program that was installed beside this interpreter."""
    if os.path.isdir(path) or path.endswith((".py", ".pyw", ".pyz", ".pyc")):
        return True
    interpreter = _interpreter(path)
    if not interpreter:
        return not os.access(path, os.X_OK) or get_importer(path) is not None  # an archive
    is_beside = os.path.dirname(interpreter) == os.path.dirname(sys.executable)
    return interpreter == "/usr/bin/env python" or (is_beside and "python" in os.path.basename(interpreter))


def _interpreter(path: str) -> str:
    """What the first line of a program names, or nothing."""
    try:
        with open(path, "rb") as file:
            first = file.readline(512)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None
    words = first[2:].split() if first.startswith(b"#!") else []
    if words and words[0].endswith(b"/env"):
        return "/usr/bin/env python" if b"python" in first else "/usr/bin/env"
    return words[0].decode(errors="replace") if words else ""


def _run_module(name: str, arguments: Sequence[str]) -> None:
    sys.argv = [name, *arguments]
    _put_first_on_path(os.getcwd())
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except ImportError as error:
        if getattr(error, "name", None) is None and (name in str(error) or name.startswith(".")):  # runpy's own
            raise CommandError(str(error)) from None
        raise


def _run_file(path: str, arguments: Sequence[str]) -> None:
    file = os.path.abspath(path)
    importer = get_importer(file)
    if importer is not None:  # a folder, or an archive
        spec = importer.find_spec("__main__")
        if spec is None:
            raise CommandError(f"can't find '__main__' module in {file!r}")
        sys.argv = [path, *arguments]
        _put_first_on_path(None)
        sys.path.insert(0, file)
        sys.modules["__main__"] = module_from_spec(spec)
        exec(spec.loader.get_code("__main__"), vars(sys.modules["__main__"]))
        return
    loader: SourceFileLoader | SourcelessFileLoader
    try:
        if path.endswith(".pyc"):
            loader = SourcelessFileLoader("__main__", file)
            code = _code_of(loader)
        else:
            loader = SourceFileLoader("__main__", file)
            code = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None
    _run_code(code, path, arguments, loader)


def _code_of(loader: SourcelessFileLoader) -> CodeType:
    try:
        return loader.get_code("__main__")
    except (ImportError, EOFError, ValueError, TypeError) as error:  # another version's, or damaged
        raise CommandError(f"{loader.path} is no compiled program of this Python: {error}") from None


def _compiled(text: str) -> CodeType:
    """Code behind -c, as this version of Python takes it."""
    if sys.version_info >= (3, 14):
        text = textwrap.dedent(text)
    if sys.version_info >= (3, 13):  # tracebacks show its lines
        linecache.cache["<string>"] = len(text), None, [f"{line}\n" for line in text.splitlines()], "<string>"
    return compile(text, "<string>", "exec", dont_inherit=True)


def _run_code(code: CodeType, name: str, arguments: Sequence[str], loader=None) -> None:
    """In a module that stays: threads, exit handlers and pickles that the program leaves still find its names."""
    sys.argv = [name, *arguments]
    _put_first_on_path(os.path.dirname(os.path.realpath(loader.path)) if loader else "")
    module = types.ModuleType("__main__")
    module.__builtins__ = __builtins__
    if loader or name == "-":
        module.__file__ = loader.path if loader else code.co_filename
    module.__loader__ = loader or BuiltinImporter
    module.__spec__ = module.__package__ = None
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def _put_first_on_path(folder: str | None) -> None:
    """In place of what Python put there for us; with PYTHONSAFEPATH it puts nothing there."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[:1] = [] if folder is None else [folder]


_SPAWNING = ("multiprocessing.popen_spawn_posix", "multiprocessing.popen_spawn_win32", "multiprocessing.forkserver")
_told: list[bool] = []


def _tell_of_children(event: str, args: tuple) -> None:
    """Once, when the program starts another Python without the file that would enable the patch there."""
    if event == "subprocess.Popen":
        name = os.path.basename(os.fsdecode(args[0] or args[1][0]))
        is_missed = name.startswith("python") and "_inductor" not in str(args[1])  # whose workers only compile
    else:
        is_missed = event == "import" and args[0] in _SPAWNING
    if is_missed and not _told:
        _told.append(True)
        _say(
            "Python processes that the program starts are not accelerated: `mps-spectro-patch autoload on` changes that"
        )


def _begin(options: Namespace) -> None:
    from ..diagnostics import watch_calls

    if options.stats or options.trace:
        watch_calls(trace=options.trace is not None)
    if options.both_ways:
        from . import both_ways

        both_ways.start()


def _end(options: Namespace, process: int) -> None:
    if os.getpid() != process:  # a fork of the program comes by here, too
        return
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or nobody reads it: Python says so, or not
        sys.stdout.flush()
    if options.both_ways and "torch" in sys.modules:
        from . import both_ways

        both_ways.write(options.both_ways)
    if not (options.stats or options.trace):
        return
    if "torch" not in sys.modules:
        return _say("the program did not import torch")
    from ..diagnostics import report, stats, write_trace

    if options.stats:
        report().print(sys.stderr)
        print(stats(), file=sys.stderr)
    if options.trace:
        try:
            write_trace(options.trace)
        except OSError as error:
            _say(f"cannot write {options.trace}: {error.strerror}")


def _say(words: str) -> None:
    if sys.stderr is not None:
        print(f"mps-spectro-patch: {words}", file=sys.stderr)
