"""The projects of compat: declares their hooks, and says in a line each what became of them."""

from __future__ import annotations

from collections.abc import Iterable

from .. import compat
from ..compat import Alias, Hook, Project
from ..options import logger
from . import class_hooks, hooks, module_aliases

_declared: dict[str, Project] = {}
_left_out: dict[str, str] = {}  # whose modules cannot be imported, as in a frozen program that lacks them


def declare(names: Iterable[str]) -> None:
    """Declaring a project twice has no further effect."""
    for name in names:
        try:
            project = _declared[name] = compat.load(name)
        except ImportError as error:
            if name not in _left_out:
                logger.warning("compat.%s cannot be imported and is left out: %s", name, error)
            _left_out[name] = f"left out, its module cannot be imported: {error}"
            continue
        for hook in project.hooks:
            kind = type(hook).__name__  # by name: a module that is loaded again has another class of it
            if kind == Hook.__name__:
                hooks.declare(project.group, *hook)
            elif kind == Alias.__name__:
                module_aliases.declare(project.group, *hook)
            else:
                class_hooks.declare(project.group, hook)


def states() -> dict[str, str]:
    """Project -> "applied: ...", "waits for its import", "not installed", or why it is installed and not patched.

    Only those that the option `compat` asks for: the functions of the others are told one by one, by hooks.states().
    """
    states = {
        name: _state(project)
        for name, project in sorted(_declared.items())
        if not project.has_own_option and hooks.is_wanted(project.group)
    }
    return states | {name: why for name, why in _left_out.items() if hooks.is_wanted(f"compat.{name}")}


def _state(project: Project) -> str:
    group = project.group
    states = {**hooks.states(group), **module_aliases.states(group), **class_hooks.left_alone(group)}
    applied = [what for what, state in states.items() if state == "patched"]
    refused = {what: state.removeprefix("not patched: ") for what, state in states.items() if ": unknown" in state}
    others = {what: state for what, state in states.items() if not state.endswith("waits for the import")}
    if not others and not project.is_installed():
        return "not installed" if project.packages else "no such class is imported"
    version = project.version()
    here = f"{project.distribution} {version}" if version else "found"
    note = f" ({project.note})" if project.note and (applied or version) else ""
    if refused:
        words = "; ".join(f"{what}: {why}" for what, why in refused.items())
        return f"{here}, not patched there: {words}" + (f"; applied: {', '.join(applied)}" if applied else "")
    if applied:
        return f"applied{f' to {here}' if version else ''}: {', '.join(applied)}{note}"
    if others:
        return f"{here}: " + "; ".join(f"{what} {state}" for what, state in others.items())
    return f"{here}, waits for its import{note}"
