"""What of compat is wanted: declares the hooks of its projects, and says in a line each what became of them."""

from __future__ import annotations

from collections.abc import Iterable

from . import compat, extras, lookalikes
from .compat.project import Hook, Project

_declared: set[str] = set()


def group(name: str) -> str:
    """The group in extras.py of a project."""
    return f"compat.{name}"


def declare(names: Iterable[str]) -> None:
    for name in names:
        if name not in _declared:
            _declared.add(name)
            for hook in compat.load(name).hooks:
                if isinstance(hook, Hook):
                    extras.declare(group(name), hook.module, hook.attribute, hook.make, hook.fits)
                else:
                    lookalikes.declare(lookalikes.Lookalike(group(name), *hook))


def state() -> dict[str, str]:
    """Project -> "applied: ...", "waits for its import", "not installed", or why it is installed and not patched."""
    return {name: _state(compat.load(name)) for name in sorted(_declared) if extras.is_wanted(group(name))}


def _state(project: Project) -> str:
    hooks = extras.state(group(project.name))
    applied = [what for what, state in hooks.items() if state == "patched"]
    refused = {what: state.removeprefix("not patched: ") for what, state in hooks.items() if ": unknown" in state}
    version = project.version()
    here = f"{project.distribution} {version}" if version else "found"
    note = f" ({project.note})" if project.note and (applied or version) else ""
    if refused:
        words = "; ".join(f"{what}: {why}" for what, why in refused.items())
        return f"{here}, not patched there: {words}" + (f"; applied: {', '.join(applied)}" if applied else "")
    if applied:
        return f"applied{f' to {here}' if version else ''}: {', '.join(applied)}{note}"
    others = {what: state for what, state in hooks.items() if not state.endswith("waits for the import")}
    if others:
        return f"{here}: " + "; ".join(f"{what} {state}" for what, state in others.items())
    if project.is_installed():
        return f"{here}, waits for its import{note}"
    return "not installed" if project.packages else "no such class is imported"
