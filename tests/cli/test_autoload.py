"""The .pth file: what MPS_SPECTRO_PATCH=1 does to any program after a plain installation, and what it costs."""

from __future__ import annotations

import shutil

import pytest

from mps_spectro_patch import autoload
from mps_spectro_patch.cli import commands

from .installed import Environment, build_wheel, make_environment

NAME = autoload.NAME


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Environment:
    folder = tmp_path_factory.mktemp("installed")
    return make_environment(folder / "venv", build_wheel(folder))


@pytest.fixture
def package(installed):
    """The installed package's folder, whole again after the test."""
    folder, kept = installed.packages / "mps_spectro_patch", installed.folder / "kept"
    shutil.copytree(folder, kept)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(kept, folder)


def test_the_file_has_two_lines_and_is_in_its_place(installed):
    text = (installed.packages / NAME).read_text()
    assert text == autoload.SOURCE.read_text() and text.count("\n") == 2


def test_any_program_is_accelerated_and_so_are_its_children(installed, tmp_path, device_name, torch_device):
    program = tmp_path / "program.py"
    program.write_text(f"""
import sys
assert not [name for name in sys.modules if name.startswith(("torch", "wrapt", "logging"))]
import multiprocessing, os, subprocess
import torch

def counts(_=None):
    x, w = torch.randn(2, 4000, device={str(torch_device)!r}), torch.hann_window(400, device={str(torch_device)!r})
    torch.stft(x, 400, 160, window=w, return_complex=True)
    import mps_spectro_patch
    return mps_spectro_patch.stats()["stft"].fast

if __name__ == "__main__":
    assert torch.__spec__.loader is torch.__loader__ and "startup" not in type(torch.__loader__).__module__
    print("here", counts())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print("spawned", pool.map(counts, [0])[0])
    if len(sys.argv) == 1:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, __file__, "again"])
""")
    result = installed.run(program, MPS_SPECTRO_PATCH="1", MPS_SPECTRO_PATCH_DEVICES=device_name)
    assert result.stdout.split() == ["here", "1", "spawned", "1"] * 2 and "mps_spectro" not in result.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("how", [["-m", "mps_spectro_patch"], ["bin/mps-spectro-patch"]])
def test_run_of_an_installed_package_becomes_the_programs_process(how, installed, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import sys, torch; print(sys.orig_argv[1:], torch.stft is not torch.functional.stft)")
    how = [str(installed.folder / word) if "/" in word else word for word in how]
    result = installed.run("-u", *how, "run", "--stats", program, "a", cwd=tmp_path)
    assert result.stdout == f"{['-u', str(program), 'a']} True\n"
    assert "no calls" in result.stderr and "autoload on" not in result.stderr, result.stderr


def test_without_the_variable_the_package_is_not_even_imported(installed):
    code = "import sys; print([name for name in sys.modules if 'mps_spectro' in name])"
    for variables in ({}, {"MPS_SPECTRO_PATCH": ""}):
        result = installed.run("-c", code, **variables)
        assert (result.stdout, result.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("variables", "milliseconds"), [({}, 2), ({"MPS_SPECTRO_PATCH": "1"}, 5)], ids=["unset", "set"]
)
def test_what_it_costs_at_interpreter_start(variables, milliseconds, installed):
    code = """
import sys, time, site
packages = sys.argv[1]
sys.path.append(packages)
start = time.perf_counter()
site.addpackage(packages, sys.argv[2], set())
print((time.perf_counter() - start) * 1e3)
assert ("mps_spectro_patch.startup" in sys.modules) == (sys.argv[3] == "1")
"""
    arguments = ("-S", "-c", code, installed.packages, NAME, "1" if variables else "0")
    installed.run(*arguments, **variables)  # compiles to bytecode
    times = []
    while len(times) < 30 and min(times, default=99) > milliseconds / 2:
        times.append(float(installed.run(*arguments, **variables).stdout))
    print(times)
    assert min(times) <= milliseconds  # a busy machine only adds


@pytest.mark.parametrize("how", ["raises", "syntax", "half gone", "gone"])
def test_a_broken_installation_is_survived_in_silence(how, installed, package):
    if how == "raises":
        (package / "startup.py").write_text("raise RuntimeError('broken')")
    elif how == "syntax":
        (package / "startup.py").write_text("def (")
    elif how == "half gone":
        (package / "startup.py").unlink()
    else:
        shutil.rmtree(package)
    result = installed.run("-c", "print('alive')", MPS_SPECTRO_PATCH="1")
    assert (result.stdout, result.stderr) == ("alive\n", "")


def test_a_broken_package_costs_one_warning_and_not_the_import_of_torch(installed, package):
    (package / "patching" / "layers.py").write_text("raise RuntimeError('broken')")
    result = installed.run("-c", "import torch; print(torch.stft is torch.functional.stft)", MPS_SPECTRO_PATCH="1")
    assert result.stdout == "True\n" and result.stderr.count("mps_spectro_patch stays off: broken") == 1


def test_a_missing_or_broken_torch_is_reported_as_ever(installed, tmp_path):
    code = "import sys; sys.path[:0] = sys.argv[1:]\ntry:\n import torch\nexcept Exception as error: print(repr(error))"
    (installed.packages / "torch_of_the_tests.pth").rename(tmp_path / "aside")
    try:
        result = installed.run("-c", code, MPS_SPECTRO_PATCH="1")
        assert "ModuleNotFoundError" in result.stdout and result.stderr == ""
        (tmp_path / "torch.py").write_text("raise OSError('no driver')")
        result = installed.run("-c", code + "\nsys.modules.pop('torch', None)\n" + code.partition("\n")[2], tmp_path,
                               MPS_SPECTRO_PATCH="1")  # fmt: skip
        assert result.stdout == "OSError('no driver')\n" * 2 and result.stderr == ""
    finally:
        (tmp_path / "aside").rename(installed.packages / "torch_of_the_tests.pth")


def test_autoload_off_and_on_manage_the_file(installed):
    def command(action):
        return installed.run("-m", "mps_spectro_patch", "autoload", action, MPS_SPECTRO_PATCH="1").stdout

    assert f"autoload is on: {installed.packages / NAME}" in command("status")
    assert "which enables" in command("status")
    assert "autoload is off" in command("off") and not (installed.packages / NAME).exists()
    assert "autoload is off" in command("off")
    assert "autoload is on" in command("on")
    assert (installed.packages / NAME).read_text() == autoload.SOURCE.read_text()


def test_what_cannot_be_written_is_a_sentence(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(autoload, "_folders", lambda: [tmp_path / "file" / "folder"])
    assert commands.main(["autoload", "on"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_pip_uninstall_removes_it(installed):
    """The last test of this file: nothing is left afterwards."""
    installed.pip("uninstall", "--quiet", "--yes", "mps-spectro-patch")
    assert not (installed.packages / NAME).exists() and not (installed.packages / "mps_spectro_patch").exists()
    result = installed.run("-c", "print('alive')", MPS_SPECTRO_PATCH="1")
    assert (result.stdout, result.stderr) == ("alive\n", "")
