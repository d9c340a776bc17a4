"""`mps-spectro-patch run`: the program sees what it would see under `python`, and is accelerated; what is reported."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import py_compile
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mps_spectro_patch.cli import commands, running

from ..outputs import FULL

SEES = """
import sys, os, traceback
def annotated(x: undefined_unless_annotations_are_inherited = None): pass
if __name__ == "__main__":
    os.chdir("/")
    file = globals().get("__file__")
    print([frame.filename for frame in traceback.extract_stack()], sys.orig_argv, sys.path)
    print(list(vars()), "sitecustomize" in sys.modules)
    print([sys.argv, __name__, file, file and os.path.exists(file), __spec__ and __spec__.name, __loader__.__class__])
    sys.exit(7)
"""
PROGRAM = """
import pickle, sys, atexit, threading, time
import torch

class Mine:
    pass

def transform(x, window):
    return torch.stft(x, 400, 160, window=window, return_complex=True)

x, window = torch.randn(2, 4000, device=sys.argv[1]), torch.hann_window(400, device=sys.argv[1])
for _ in range(70):
    transform(x, window)
transform(x.to("meta"), window.to("meta"))
assert type(pickle.loads(pickle.dumps(Mine()))) is Mine
atexit.register(lambda: (transform(x, window), print("left", Mine.__name__)))
threading.Thread(target=lambda: (time.sleep(0.2), transform(x, window))).start()
"""


@pytest.fixture
def run(tmp_path):
    """Runs the command in a new process; returns its result."""

    def run(*arguments: object, stdin: str | None = None, **variables: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "mps_spectro_patch", "run", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, input=stdin, env={**os.environ, **variables}
        )

    return run


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("safe", ["", "1"])
@pytest.mark.parametrize(
    "kind", ["script", "relative", "link", "compiled", "module", "code", "stdin", "program", "folder", "archive"]
)
def test_a_program_sees_what_it_sees_under_python(kind, safe, run, tmp_path):
    text = SEES.replace("undefined_unless_annotations_are_inherited", "int")
    folder = tmp_path / "bin"
    folder.mkdir()
    arguments = ["--stats", "-m", "--devices"]
    if kind == "script":
        command = [write(folder / "sees.py", text)]
    elif kind == "relative":
        command = [write(folder / "sees.py", text).relative_to(tmp_path)]
    elif kind == "link":
        (tmp_path / "link.py").symlink_to(write(folder / "sees.py", text))
        command = ["link.py"]
    elif kind == "compiled":
        py_compile.compile(str(write(folder / "sees.py", text)), str(folder / "sees.pyc"))
        command = [folder / "sees.pyc"]
    elif kind == "code":
        command = ["-c", text]
    elif kind == "stdin":
        command = ["-"]
    elif kind == "module":
        write(tmp_path / "sees.py", text)
        command = ["-m", "sees"]
    elif kind == "archive":
        with zipfile.ZipFile(tmp_path / "sees", "w") as archive:
            archive.writestr("__main__.py", text)
        command = ["sees"]
    elif kind == "folder":
        write(folder / "__main__.py", text)
        command = [folder.name]
    else:
        program = write(folder / "sees", f"#!{sys.executable}\n{text}")
        program.chmod(0o755)
        command = ["sees"]
    given = text if kind == "stdin" else None
    variables = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONSAFEPATH": safe}
    if safe and kind == "module":
        variables["PYTHONPATH"] = str(tmp_path)
    result = run(*command, *arguments, stdin=given, **variables)
    python = [folder / "sees"] if kind == "program" else command
    expected = subprocess.run([sys.executable, *map(str, python), *arguments], cwd=tmp_path, capture_output=True,
                              text=True, input=given, env={**os.environ, **variables})  # fmt: skip
    assert (result.stdout, result.returncode, result.stderr) == (expected.stdout, 7, ""), (result, expected)


def test_annotations_are_not_inherited_from_us_and_errors_are_the_programs(run, tmp_path):
    result = run(write(tmp_path / "sees.py", SEES))
    assert result.returncode == 1 and "NameError: name 'undefined_unless" in result.stderr


FAILS = """
import sys
def inner():
    raise ValueError("of the program")
try:
    inner()
except ValueError:
    pass
{hook}
inner()
"""


@pytest.mark.parametrize("hook", ["", "sys.excepthook = lambda kind, error, tb: print(tb.tb_frame.f_code.co_filename)"])
@pytest.mark.parametrize("kind", ["script", "module", "code", "broken"])
def test_an_error_is_shown_as_python_shows_it(kind, hook, run, tmp_path):
    text = FAILS.format(hook=hook) if kind != "broken" else "x = = 1"
    file = write(tmp_path / "fails.py", text)
    command = {"module": ["-m", "fails"], "code": ["-c", text]}.get(kind, [str(file)])
    result = run(*command)
    expected = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (1, expected.stdout, expected.stderr)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("command", "given"), [(["-m", "pdb", "a.py"], "w\nc\nw\nu\nw\nq\n"), (["a.py"], "w\nu\nw\nc\n")]
)
def test_a_debugger_sees_the_frames_that_it_sees_under_python(command, given, run, tmp_path):
    write(tmp_path / "a.py", "import torch\ndef inner():\n    breakpoint()\n    return torch\ninner()\n")
    expected = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, input=given)
    result = run(*command, stdin=given)
    assert "-> inner()" in result.stdout
    assert (result.stdout, result.stderr) == (expected.stdout, expected.stderr)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "flags", [["-u", "-m"], ["-um"], ["-OO", "-X", "dev", "-Wignore:m:DeprecationWarning", "-sPqm"]]
)
def test_the_program_is_run_with_the_flags_that_run_was_started_with(flags, tmp_path):
    shows = "import sys; print(sys.flags, sys.warnoptions, sys._xoptions, sys.stdout.write_through, sys.orig_argv)"
    program = write(tmp_path / "a.py", shows)
    if sys.version_info < (3, 11):
        flags = [flag.replace("P", "") for flag in flags]
    started = [sys.executable, *flags, "mps_spectro_patch", "run", str(program), "-m"]
    result = subprocess.run(started, capture_output=True, text=True, cwd=tmp_path)
    as_module = [*flags[:-1], *([flags[-1][:-1]] if len(flags[-1]) > 2 else [])]
    expected = subprocess.run([sys.executable, *as_module, str(program), "-m"], capture_output=True, text=True)
    assert result.stdout == expected.stdout and "sys.flags" in result.stdout, (result, expected)


@pytest.mark.thorough
@pytest.mark.parametrize("own", [None, "", "print('the own one')", "raise ImportError('its error')", "import absent"])
@pytest.mark.parametrize("path", [None, "", "more"])
def test_the_environments_own_start_up_module_and_path_are_as_under_python(own, path, run, tmp_path):
    (tmp_path / "more").mkdir()
    if own is not None:
        write(tmp_path / "more" / "sitecustomize.py", own)
    shows = "import os, sys; print(dict(os.environ), sys.path, 'sitecustomize' in sys.modules)"
    program = write(tmp_path / "a.py", shows.replace("dict(os.environ)", "os.environ.get('PYTHONPATH')"))
    given = {} if path is None else {"PYTHONPATH": path and str(tmp_path / path)}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    python, ours = [sys.executable], [sys.executable, "-m", "mps_spectro_patch", "run"]
    expected, got = (
        subprocess.run([*start, str(program)], capture_output=True, text=True, env={**kept, **given}, cwd=tmp_path)
        for start in (python, ours)
    )
    said = expected.stdout.splitlines()[-1:]  # its own start-up module speaks in the process of the command, too
    assert got.stdout.splitlines()[-1:] == said and said
    assert got.stdout.count("the own one") == 2 * expected.stdout.count("the own one")
    assert got.stderr == 2 * expected.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("flag", ["-I", "-E"])
def test_a_python_that_looks_at_no_variables_is_refused_in_a_sentence(flag, tmp_path):
    program = write(tmp_path / "a.py", "print(1)")
    started = [sys.executable, flag, "-m", "mps_spectro_patch", "run", str(program)]
    result = subprocess.run(started, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "MPS_SPECTRO_PATCH=1 python -I script.py does" in result.stderr


@pytest.mark.thorough
@pytest.mark.parametrize(
    "command", [["-m", "no_such_module"], ["tests"], ["-m", "..tests"], ["old.pyc"], ["half.pyc"], ["-c", "x = = 1"]]
)
def test_what_python_itself_refuses_it_refuses_in_its_words(command, run, tmp_path):
    (tmp_path / "tests").mkdir()
    write(tmp_path / "old.pyc", "of an older Python")
    (tmp_path / "half.pyc").write_bytes(importlib.util.MAGIC_NUMBER + bytes(12) + b"\xe3")
    expected = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path)
    result = run(*command)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", expected.stderr)


def test_a_program_of_this_python_comes_before_anothers(tmp_path, monkeypatch):
    for folder in ("this", "other"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "tool", f"#!/opt/{folder}/bin/python\n").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "this" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    assert running.find_program("tool") == str(tmp_path / "this" / "tool")


def test_a_program_of_another_python_says_so(run, tmp_path):
    other = tmp_path / "python-of-others"
    other.symlink_to("/bin/cat")
    program = write(tmp_path / "theirs", f"#!{other}\n")
    program.chmod(0o755)
    result = run(program)
    assert result.stdout.startswith("#!") and f"another Python, {other}" in result.stderr


def test_torch_is_not_imported_for_it(run, tmp_path):
    result = run("--stats", write(tmp_path / "a.py", "import sys; print('torch' in sys.modules)"))
    assert result.stdout == "False\n" and "did not import torch" in result.stderr


def test_the_options_reach_the_program_and_its_children(run, tmp_path, monkeypatch):
    monkeypatch.delenv("MPS_SPECTRO_PATCH_SELFTEST", raising=False)  # that of all tests
    text = "import os; print({k: v for k, v in sorted(os.environ.items()) if k.startswith('MPS_SPECTRO_PATCH')})"
    options = "--devices", "mps,cuda", "--reach", "references", "--verify", "off", "--torchaudio"
    result = run(*options, write(tmp_path / "a.py", text))
    expected = {"": "1", "_DEVICES": "mps,cuda", "_REACH": "references", "_TORCHAUDIO": "1", "_VERIFY": "off"}
    before = {name: value for name, value in os.environ.items() if name.startswith("MPS_SPECTRO_PATCH")}
    options = {f"MPS_SPECTRO_PATCH{name}": value for name, value in expected.items()}
    assert ast.literal_eval(result.stdout) == {**before, **options}


@pytest.mark.parametrize("given", [True, False])
def test_torchaudios_front_ends_are_patched_where_that_is_asked_for(given, run, tmp_path):
    program = "import torch, mps_spectro_patch as msp; print(bool(msp.status().options.torchaudio))"
    result = run(*["--torchaudio"] * given, write(tmp_path / "a.py", program))
    assert result.stdout == f"{given}\n", result


def test_stats_and_trace_tell_every_call(run, tmp_path, device_name, torch_device):
    program = write(tmp_path / "program.py", PROGRAM)
    result = run("--stats", "--trace", "trace.json", "--devices", device_name, "--reach", "attribute", program,
                 torch_device)  # fmt: skip
    assert result.returncode == 0 and result.stdout == "left Mine\n"
    line = next(line for line in result.stderr.splitlines() if "72" in line and "transform" in line)
    for word in ("program.py:9", "torch.stft", "2x4000", "n_fft=400", "fast", str(torch_device)):
        assert word in line.replace("│", " "), (word, line)
    assert "meta" in result.stderr and "device: the input is not on a device" in result.stderr
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) == 73 and {event["args"]["outcome"] for event in events} == {"fast", "device"}
    for event in events:
        assert event["name"] == "torch.stft" and event["ph"] == "X" and event["dur"] > 0
        assert event["args"]["from"].endswith("program.py:9") and {"ts", "pid", "tid"} <= event.keys()


POOL = "import multiprocessing as m\nif __name__ == '__main__': m.get_context('{}').Pool(1).map(abs, [1])"
CHILD = "import subprocess, sys, pathlib\nfor _ in range(2): subprocess.run({}, stdin=subprocess.DEVNULL)"
STARTS = {
    "spawn": POOL.format("spawn"),
    "forkserver": POOL.format("forkserver"),
    "list": CHILD.format("[sys.executable, '-c', '']"),
    "path": CHILD.format("pathlib.Path(sys.executable).resolve()"),
    "fork": POOL.format("fork"),
    "another program": CHILD.format("['true']"),
    "a worker of inductor's": CHILD.format("[sys.executable, '-c', '# torch/_inductor']"),
}
NOT_MISSED = ("fork", "another program", "a worker of inductor's")


@pytest.mark.parametrize("starts", STARTS)
@pytest.mark.parametrize("is_installed", [False, True])
def test_python_processes_that_are_not_reached_are_told_once(starts, is_installed, run, tmp_path):
    program = write(tmp_path / "program.py", STARTS[starts])
    main = f"""
import sys
from mps_spectro_patch import autoload
from mps_spectro_patch.cli import main
autoload.installed = lambda: [1] * {is_installed}
sys.exit(main(["run", {str(program)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", main], capture_output=True, text=True, cwd=tmp_path)
    told = done.stderr.count("`mps-spectro-patch autoload on` changes that")
    assert (done.returncode, told) == (0, int(not is_installed and starts not in NOT_MISSED)), done.stderr


def test_a_program_of_another_kind_runs_with_the_variables_set(run):
    result = run("--stats", "env")
    assert "MPS_SPECTRO_PATCH=1" in result.stdout and "cannot look inside" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "what shall be run"),
        (["no-such-program"], "no such file, and no such program on PATH"),
        (["--devices", "cpu", "x.py"], "'cpu' is refused"),
        (["--verify", "maybe", "x.py"], "verify='maybe'"),
        (["--reach", "far", "x.py"], "reach='far'"),
        (["--trace", "no/folder/trace.json", "-c", "1"], "folder/trace.json: No such file"),
        (["./no-interpreter"], "cannot run ./no-interpreter: No such file"),
        (["./of-no-kind"], "cannot run ./of-no-kind: Exec format error"),
        (["unreadable"], "cannot read unreadable: "),
    ],
)
def test_what_a_person_can_put_right_is_a_sentence_and_exit_status_2(arguments, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, text in {"no-interpreter": "#!/no/interpreter\n", "of-no-kind": "\x7f"}.items():
        write(tmp_path / name, text).chmod(0o755)
    (tmp_path / "unreadable").symlink_to("/proc/self/mem" if sys.platform == "linux" else tmp_path / "tests.sock")
    if sys.platform != "linux":
        socket.socket(socket.AF_UNIX).bind(str(tmp_path / "tests.sock"))
    monkeypatch.setenv("MPS_SPECTRO_PATCH", "0")
    assert commands.main(["run", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.thorough
@pytest.mark.parametrize("redirected", [">&-", "2>&-", ">&- 2>&-", FULL])
@pytest.mark.parametrize("arguments", [["-c", "print(1); import sys; print(sys.stdout, file=sys.stderr)"], ["absent"]])
def test_output_that_nobody_takes_is_what_it_is_under_python(arguments, redirected, tmp_path):
    """Programs are started so by cron, by daemons and without a console."""
    shell = f'"$0" "$@" {redirected}'
    python = [sys.executable, *arguments]
    ours = [sys.executable, "-m", "mps_spectro_patch", "run", *arguments]
    expected, got = (
        subprocess.run(["sh", "-c", shell, *command], capture_output=True, text=True) for command in (python, ours)
    )
    if arguments == ["absent"]:
        told = "mps-spectro-patch: absent: no such file, and no such program on PATH\n"
        assert (got.returncode, got.stdout, got.stderr) == (2, "", "" if "2>&-" in redirected else told)
    else:
        assert got == expected or (got.returncode, got.stdout, got.stderr) == (
            expected.returncode, expected.stdout, expected.stderr,
        ), (got, expected)  # fmt: skip


def test_a_trace_that_cannot_be_written_does_not_hide_the_programs_end(run, tmp_path):
    (tmp_path / "folder").mkdir()
    program = write(tmp_path / "a.py", "import os, torch; os.rmdir('folder'); raise SystemExit(5)")
    result = run("--trace", "folder/trace.json", program)
    assert result.returncode == 5 and "cannot write" in result.stderr


def test_a_trace_is_written_where_it_was_asked_for_whatever_the_program_does(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    program = write(tmp_path / "a.py", "import os, torch; os.chdir('elsewhere')")
    assert run("--trace", "trace.json", program).returncode == 0
    assert (tmp_path / "trace.json").exists()


def test_status_tells_the_patch_and_the_autoload(capsys):
    assert commands.main(["status"]) == 0
    output = capsys.readouterr().out
    assert "torch.stft: not patched" in output and "autoload is o" in output
