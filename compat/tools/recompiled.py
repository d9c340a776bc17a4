"""Functions compiled again from their own source with some fragments of it replaced; no file is changed.

For decisions in the middle of a project's function. The fragments are the feature test: if one is not there exactly
once, or the source is not what runs, the version is unknown and nothing is changed.
"""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import linecache
import weakref
from collections.abc import Callable, Mapping
from functools import reduce
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .overrides import override
from .project import Hook

Version = Mapping[str, str]  # fragment of the source -> what it becomes
_originals: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # what make() returned -> what it was given


class Recompiled:
    """A maker of such functions.

    versions: for each known version of the original, its fragments and their replacements. names: what the replacements
    use. signal_of(*arguments): the tensor whose device counts; without it, the first among the arguments.

    The new function runs for signals on a device that enable() names, the original for all others. A version that
    replaces nothing means that there is nothing to do.
    """

    def __init__(self, *versions: Version, signal_of: Callable | None = None, **names: Any) -> None:
        self.versions, self.signal_of, self.names = versions, signal_of, names

    def hook(self, module: str, attribute: str) -> Hook:
        return Hook(module, attribute, self.make, functools.partial(self.lacks, attribute))

    def make(self, original: Callable, active_options: Callable) -> Callable:
        version = self._version(original)
        if all(old == new for old, new in version.items()):
            return original
        changed = _compiled(original, version, self.names)
        # All of it is the project's code, and so are its errors: none is a reason to run the original as well.
        run = override(lambda *_, **__: True, lambda _, __, *args, **kwargs: changed(*args, **kwargs), self.signal_of)
        ours = run(original, active_options)
        _originals[ours] = original
        return ours

    def lacks(self, attribute: str, module: ModuleType) -> str | None:
        try:
            function = reduce(getattr, attribute.split("."), module)
        except AttributeError:
            return None  # patching/hooks.py says so
        try:
            self._version(_originals.get(function, function) if isinstance(function, FunctionType) else function)
        except LookupError as error:
            return f"it {error}"
        return None

    def _version(self, function: Callable) -> Version:
        text = text_of(function)
        for version in self.versions:
            if all(text.count(old) == 1 for old in version):
                return version
        raise LookupError("is written in another way")


def text_of(function: Callable) -> str:
    """The source of a plain function, certainly what runs. Raises LookupError where it cannot be had."""
    if type(function) is not FunctionType or function.__closure__:
        raise LookupError("is not a plain function")
    try:
        text = _source(function.__code__)  # of the code: a wrapper's would be that of what it wraps
        again = _code_in(_compile(parsed(text), function), function.__code__.co_name)
    except (OSError, SyntaxError, ValueError, TypeError) as error:
        raise LookupError(f"has no source that can be read ({error})") from None
    if _content(again) != _content(function.__code__):
        raise LookupError("is not what its file says")
    return text


def _source(code: CodeType) -> str:
    """inspect.getsource() without a look at every module: one that is loaded lazily might fail to."""
    lines = linecache.getlines(code.co_filename)
    if not lines:
        raise OSError("there is no such file")
    return "".join(inspect.getblock(lines[code.co_firstlineno - 1 :]))


def parsed(text: str) -> ast.FunctionDef:
    """The one function in the text. Raises ValueError for anything else, and for a decorated one."""
    indented = text[:1].isspace()
    statements = ast.parse("if True:\n" + text if indented else text).body
    function = statements[0].body[0] if indented else statements[0]
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        raise ValueError("a decorated function, or none")
    return function


def _compile(statement: ast.stmt, original: FunctionType) -> CodeType:
    flags = original.__code__.co_flags & __future__.annotations.compiler_flag
    module = ast.fix_missing_locations(ast.Module([statement], []))
    return compile(module, original.__code__.co_filename, "exec", flags, dont_inherit=True)


def _code_in(code: CodeType, name: str) -> CodeType:
    return next(found for found in code.co_consts if inspect.iscode(found) and found.co_name == name)


def _content(code: CodeType) -> tuple:
    """What tells one text from another. (Not the bytes: how torch.stft() is called depends on the module's imports.)"""
    constants = [value for value in code.co_consts if not inspect.iscode(value)]
    return code.co_names, code.co_varnames, constants


def _compiled(original: FunctionType, version: Version, names: Mapping[str, Any]) -> FunctionType:
    """The new function, which sees the module's names as they are at each call, and besides `names`."""
    text = _source(original.__code__)
    for old, new in version.items():
        text = text.replace(old, new)
    function = parsed(text)
    ast.increment_lineno(function, original.__code__.co_firstlineno - function.lineno)  # for tracebacks
    frame = ast.parse(f"def around({', '.join(names)}): pass").body[0]
    frame.body = [function, ast.parse(f"return {function.name}").body[0]]
    found: dict[str, Any] = {}
    exec(_compile(frame, original), original.__globals__, found)
    new = found["around"](**names)
    new.__defaults__, new.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
    return functools.update_wrapper(new, original)
