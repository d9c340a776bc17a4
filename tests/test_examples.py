"""Every public name is explained by its docstring: parameters, result, errors, and an example that runs."""

from __future__ import annotations

import doctest
import inspect
import re

import pytest
import torch

import mps_spectro_patch as msp

PUBLIC = {name: getattr(msp, name) for name in msp.__all__ if name not in ("__version__", "kernels")}
PUBLIC["kernels.compile_shader"] = msp.kernels.compile_shader
SECTIONS = ("Args", "Shape", "Returns", "Raises", "Example")


def section(name: str, title: str) -> str:
    """The text below `title:` in a docstring in Google's style, or nothing."""
    text = inspect.getdoc(PUBLIC[name]) or ""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)*)", text + "\n", re.MULTILINE)
    return found[1].strip("\n") if found else ""


def parameters(name: str) -> list[str]:
    more = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    return [one.name for one in inspect.signature(PUBLIC[name]).parameters.values() if one.kind not in more]


def described(name: str) -> list[str]:
    return re.findall(r"^    \*{0,2}(\w+): \S", section(name, "Args"), re.MULTILINE)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_runs(name):
    text, names = inspect.getdoc(PUBLIC[name]) or "", {"torch": torch, "msp": msp}
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert len(example.examples) == section(name, "Example").count(">>> ") > 0
    said: list[str] = []
    failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append).failed
    assert not failed, "".join(said)


@pytest.mark.parametrize("name", PUBLIC)
def test_it_starts_with_one_line_and_has_the_sections_in_their_order(name):
    lines = (inspect.getdoc(PUBLIC[name]) or "").splitlines()
    assert re.search(r"\S[.:]$", lines[0]) and lines[1:2] == [""]
    titles = [line[:-1] for line in lines if re.fullmatch(r"[A-Z]\w+:", line)]
    assert titles == [title for title in SECTIONS if title in titles]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_is_described_in_the_order_of_the_signature(name):
    known = parameters(name)
    assert [one for one in described(name) if one in known] == known


@pytest.mark.parametrize("name", PUBLIC)
def test_nothing_is_described_that_is_no_parameter(name):
    signature = inspect.signature(PUBLIC[name])
    takes_more = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in signature.parameters.values())
    assert takes_more or described(name) == parameters(name)


@pytest.mark.parametrize("name", [name for name in PUBLIC if parameters(name)])
def test_the_errors_are_named(name):
    assert re.match(r"    \w+(Error|Fallback): \S|    Nothing", section(name, "Raises"))


@pytest.mark.parametrize("name", PUBLIC)
def test_the_result_is_described(name):
    thing = PUBLIC[name]
    if inspect.isclass(thing):
        assert bool(section(name, "Shape")) == issubclass(thing, torch.nn.Module)
    else:
        assert section(name, "Returns") or inspect.signature(thing).return_annotation in (None, "None")


@pytest.mark.parametrize("package", [msp, msp.kernels], ids=["mps_spectro_patch", "kernels"])
def test_dir_lists_public_names_only(package):
    assert dir(package) == sorted(package.__all__)


def test_help_lists_public_functions_and_classes_only():
    import pydoc

    text = pydoc.render_doc(msp, renderer=pydoc.plaintext)
    listed = re.findall(r"^    (?:class )?(\w+) ?(?:\(|$)", text.split("CLASSES")[1], re.MULTILINE)
    listed = {name for name in listed if hasattr(msp, name)}
    things = {name for name in msp.__all__ if name not in ("__version__", "kernels")}
    assert listed == things
