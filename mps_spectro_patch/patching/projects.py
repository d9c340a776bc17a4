"""What of compat is wanted: declares the hooks of its projects, and says in a line each what became of them."""

from __future__ import annotations

from collections.abc import Iterable

from .. import compat
from ..compat import Alias, Hook, Project
from . import class_hooks, hooks, module_aliases

_declared: set[str] = set()


def group(name: str) -> str:
    """The group in patching/hooks.py of a project."""
    return f"compat.{name}"


def declare(names: Iterable[str]) -> None:
    """Twice is once."""
    for name in names:
        _declared.add(name)
        for hook in compat.load(name).hooks:
            if isinstance(hook, Hook):
                hooks.declare(group(name), hook.module, hook.attribute, hook.make, hook.fits, concerns=hook.concerns)
            elif isinstance(hook, Alias):
                module_aliases.declare(group(name), *hook)
            else:
                class_hooks.declare(class_hooks.Lookalike(group(name), *hook))


def state() -> dict[str, str]:
    """Project -> "applied: ...", "waits for its import", "not installed", or why it is installed and not patched."""
    return {name: _state(compat.load(name)) for name in sorted(_declared) if hooks.is_wanted(group(name))}


def _state(project: Project) -> str:
    states = {**hooks.state(group(project.name)), **module_aliases.state(group(project.name))}
    applied = [what for what, state in states.items() if state == "patched"]
    refused = {what: state.removeprefix("not patched: ") for what, state in states.items() if ": unknown" in state}
    version = project.version()
    here = f"{project.distribution} {version}" if version else "found"
    note = f" ({project.note})" if project.note and (applied or version) else ""
    if refused:
        words = "; ".join(f"{what}: {why}" for what, why in refused.items())
        return f"{here}, not patched there: {words}" + (f"; applied: {', '.join(applied)}" if applied else "")
    if applied:
        return f"applied{f' to {here}' if version else ''}: {', '.join(applied)}{note}"
    others = {what: state for what, state in states.items() if not state.endswith("waits for the import")}
    if others:
        return f"{here}: " + "; ".join(f"{what} {state}" for what, state in others.items())
    if project.is_installed():
        return f"{here}, waits for its import{note}"
    return "not installed" if project.packages else "no such class is imported"
