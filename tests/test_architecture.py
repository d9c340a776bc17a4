"""The rooms as the code has them, and that the checker of tests/architecture.py finds what it is there for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .architecture import Package

ROOT = Path(__file__).parents[1]
EXCEPTIONS = {
    # (from a module, to a module): why.
    ("mps_spectro_patch.startup", "mps_spectro_patch.patching.install"): "it starts the patch of a program, once torch "
    "is imported; patching is imported when that happens",
}
INDEXED = re.compile(r"\bparams\s*\[(?!\[)")
ATTACHED = "from ..lazy import attach\n__getattr__, __dir__, __all__ = attach(__name__, {})\n"


def test_the_rooms_are_entered_by_their_doors_from_above_and_there_is_no_circle():
    package = Package(ROOT / "mps_spectro_patch", [ROOT / "kernels", ROOT / "compat"])
    assert len(package.modules) > 100 and len(package.arrows) > 400
    assert {package.room(name) for name in package.modules} >= {"cli", "patching", "ops", "kernels", "compat", ""}
    faults = package.faults(EXCEPTIONS)
    assert not faults, "\n".join(map(str, faults))


def test_parameters_of_kernels_have_names():
    files = sorted((ROOT / "kernels").rglob("*.metal"))
    assert len(files) > 15
    assert not [path.name for path in files if INDEXED.search(path.read_text(encoding="ascii"))]


def test_a_number_in_place_of_a_parameters_name_is_found():
    assert INDEXED.search("uint hop = params[3];") and INDEXED.search("params [MSP_HOP]")
    assert not INDEXED.search("constant Params& params [[buffer(5)]], uint n = params.hop; float x = my_params[0];")


# --- the checker -----------------------------------------------------------------------------------------------------

WHOLE = {
    "__init__.py": "from . import lazy, startup\n",
    "__main__.py": "from .cli import main\n",
    "lazy.py": "",
    "errors.py": "class Error(Exception):\n    _code = 1\n",
    "startup.py": "def begin():\n    from .patching import enable\n",
    "cli/__init__.py": ATTACHED.format('{"commands": ("main",)}'),
    "cli/commands.py": "from .. import patching\nfrom ..errors import Error\nfrom .running import run\n"
    "patching.enable()\n",
    "cli/running.py": "def run(): ...\n",
    "patching/__init__.py": ATTACHED.format('{"": ("layers",), "install": ("enable",)}'),
    "patching/install.py": "from ..execution import runner\nfrom ..routing import decide\nfrom . import layers\n",
    "patching/layers.py": "def _own(): ...\n",
    "execution/__init__.py": ATTACHED.format('{"": ("runner",)}'),
    "execution/runner.py": "from ..kernels import Plan, transforms\n_cache = {}\n",
    "routing/__init__.py": 'from .decision import decide\n\n__all__ = ["decide"]\n',
    "routing/decision.py": "def decide(): ...\ndef _inner(): ...\n",
    "kernels/__init__.py": ATTACHED.format('{"launch": ("transforms",), "plans.fft": ("Plan",)}'),
    "kernels/launch/__init__.py": "",
    "kernels/launch/transforms.py": "from ..plans.fft import Plan\n",
    "kernels/plans/__init__.py": "",
    "kernels/plans/fft.py": "class Plan:\n    _made = 0\n",
}  # fmt: skip
STARTUP = ("package.startup", "package.patching.install")


@pytest.fixture
def faults(tmp_path):
    """faults(file=text, ...) of a small package in which these files are added to, or come new."""

    def faults(changes: dict[str, str], exceptions=(STARTUP,)) -> list[tuple[str, str]]:
        for name, text in {**WHOLE, **{name: WHOLE.get(name, "") + text for name, text in changes.items()}}.items():
            path = tmp_path / ("" if name.startswith("kernels/") else "package") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        found = Package(tmp_path / "package", [tmp_path / "kernels"]).faults(exceptions)
        assert all(str(fault) for fault in found)
        return [(fault.kind, fault.where.removeprefix("package.")) for fault in found]

    return faults


def test_a_package_in_order_has_no_fault(faults):
    assert faults({}) == []


def test_an_exception_has_to_be_one(faults):
    assert {kind for kind, _ in faults({}, exceptions=())} == {"arrow up", "circle"}
    assert faults({}, [STARTUP, ("package.lazy", "package.cli.commands")]) == [("stale exception", "lazy")]


FAULTS = {
    "two modules import each other": (
        {"cli/running.py": "from . import commands\n"}, ("circle", "cli.commands")),
    "two modules import each other within functions": (
        {"patching/layers.py": "def f():\n    from .install import enable\n"}, ("circle", "patching.install")),
    "three modules in a circle": (
        {"cli/running.py": "from . import third\n", "cli/third.py": "from .commands import main\n"},
        ("circle", "cli.commands")),
    "two rooms of one level take from each other": (
        {"ops/__init__.py": '__all__ = ["f"]\nfrom .a import f\n', "ops/a.py": "from ..routing import decide\n",
         "routing/other.py": "from ..ops import f\n"}, ("circle", "ops")),
    "a room takes from a higher one": (
        {"execution/runner.py": "from ..patching import layers\n"}, ("arrow up", "execution.runner")),
    "within a function": (
        {"routing/decision.py": "def g():\n    from ..execution import runner\n"}, ("arrow up", "routing.decision")),
    "under a condition, by its whole name": (
        {"routing/decision.py": "if 0:\n    import package.execution.runner\n"}, ("arrow up", "routing.decision")),
    "by importlib": (
        {"routing/decision.py": "import importlib\nimportlib.import_module('package.execution')\n"},
        ("arrow up", "routing.decision")),
    "a plain module takes from a room": (
        {"errors.py": "from .kernels import Plan\n"}, ("arrow up", "errors")),
    "a room takes from the package, which is above all": (
        {"cli/running.py": "from .. import __version__\n"}, ("arrow up", "cli.running")),
    "within kernels, plans take from launch": (
        {"kernels/plans/fft.py": "from ..launch import transforms\n"}, ("arrow up", "kernels.plans.fft")),
    "a private name is imported": (
        {"patching/install.py": "from ..routing.decision import _inner\n"}, ("private name", "patching.install")),
    "of a plain module, too": (
        {"cli/running.py": "from ..errors import _secret\n"}, ("private name", "cli.running")),
    "a private name is read of a module": (
        {"patching/install.py": "runner._cache.clear()\n"}, ("private name", "patching.install")),
    "of a class": (
        {"execution/runner.py": "Plan._made\n"}, ("private name", "execution.runner")),
    "of a class of a plain module": (
        {"cli/commands.py": "Error._code\n"}, ("private name", "cli.commands")),
    "under another name": (
        {"patching/install.py": "from ..kernels import transforms as t\nx = t.more._inner\n"},
        ("private name", "patching.install")),
    "of a module reached through its room": (
        {"cli/commands.py": "patching.layers._own()\n"}, ("private name", "cli.commands")),
    "a private name is set": (
        {"patching/install.py": "runner._cache = {}\n"}, ("private name", "patching.install")),
    "a private name is read by getattr": (
        {"patching/install.py": "getattr(runner, '_cache')\n"}, ("private name", "patching.install")),
    "a private module": (
        {"kernels/_odd.py": "", "execution/runner.py": "from ..kernels import _odd\n"},
        ("private name", "execution.runner")),
    "a name that a room does not offer": (
        {"cli/running.py": "from ..routing import inner\n"}, ("past the door", "cli.running")),
    "a module that a room does not offer": (
        {"cli/running.py": "from ..patching import install\n"}, ("past the door", "cli.running")),
    "a module of a room, which names are taken from": (
        {"cli/running.py": "from ..patching.install import enable\n"}, ("past the door", "cli.running")),
    "even of one that is offered": (
        {"cli/running.py": "from ..patching.layers import Layer\n"}, ("past the door", "cli.running")),
    "a module by its whole name": (
        {"cli/running.py": "import package.patching.install\n"}, ("past the door", "cli.running")),
    "a module of a room's folder": (
        {"execution/runner.py": "from ..kernels.plans import fft\n"}, ("past the door", "execution.runner")),
    "a name that is read of a room": (
        {"cli/commands.py": "patching.install.enable()\n"}, ("past the door", "cli.commands")),
    "more than a dozen modules beside the rooms": (
        {f"m{number}.py": "" for number in range(12)}, ("too many modules", "package")),
    "a room without a place in the order": (
        {"helpers/__init__.py": ""}, ("unknown room", "helpers")),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_found(case, faults):
    changes, expected = FAULTS[case]
    assert expected in faults(changes)


RIGHT = {
    "names of one's own room may be private": {"cli/commands.py": "from .running import _inner\nrun._code\n"},
    "attributes of Python's own": {"patching/install.py": "runner.__name__\nrunner.__dict__\n"},
    "private names of torch": {"patching/install.py": "import torch\nfrom torch import _C\ntorch._C\n"},
    "a public module through its room": {"cli/commands.py": "patching.layers.f()\npatching.enable()\n"},
    "twelve modules": {f"m{number}.py": "" for number in range(9)},
    "a docstring or comment that names a room": {"kernels/plans/fft.py": "'from ..cli import main'  # import cli\n"},
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_no_fault(case, faults):
    assert faults(RIGHT[case]) == []
