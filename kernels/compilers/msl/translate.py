"""Rewrites Metal Shading Language, token by token, into C++ that a host compiler or NVRTC accepts; finds the kernels.
Parses no types (the generated launchers deduce them from `decltype(&kernel)`), compiles nothing, knows no device."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .conditionals import Conditionals, names_classes
from .tokens import (
    OPENING,
    QUALIFIERS,
    Token,
    error,
    join_swizzles,
    literal,
    match_brackets,
    parts,
    take_attributes,
    tokenize,
)
from .variables import Target, ThreadgroupVariables

METAL_MACROS = "-D__METAL_VERSION__=310 -D__METAL__ -D__METAL_MACOS__ -D__HAVE_BFLOAT__".split()  # Apple's compiler's

# What a kernel parameter without a buffer may be, as an expression over `t`, where the thread stands (msl::Thread).
BUILTINS = {
    "thread_position_in_grid": "t.position",
    "threadgroup_position_in_grid": "t.group",
    "thread_position_in_threadgroup": "t.local",
    "threads_per_threadgroup": "t.actual",
    "dispatch_threads_per_threadgroup": "t.requested",
    "threads_per_grid": "t.threads",
    "grid_size": "t.threads",
    "threadgroups_per_grid": "t.groups",
    "grid_origin": "t.origin",
    "thread_index_in_threadgroup": "t.index",
    "thread_index_in_simdgroup": "t.lane",
    "simdgroup_index_in_threadgroup": "t.simdgroup",
    "simdgroups_per_threadgroup": "t.simdgroups",
    "dispatch_simdgroups_per_threadgroup": "(t.requested[0] * t.requested[1] * t.requested[2] + 31) / 32",
    "threads_per_simdgroup": "32",
    "thread_execution_width": "32",
    "thread_index_in_quadgroup": "t.index % 4",
    "quadgroup_index_in_threadgroup": "t.index / 4",
    "quadgroups_per_threadgroup": "(t.actual[0] * t.actual[1] * t.actual[2] + 3) / 4",
    "dispatch_quadgroups_per_threadgroup": "(t.requested[0] * t.requested[1] * t.requested[2] + 3) / 4",
}

_SCOPE_WORDS = ("inline", "namespace", "extern")
_INCLUDE = re.compile(r"\s*#\s*include\s*<(?:metal_|simd/|metal/)[^>]*>")
_METAL_WORDS = re.compile(r"\b(?:kernel|host_name|device|constant|thread|threadgroup)\b|\[\[")


@dataclass
class Parameter:
    """One kernel parameter: the buffer it reads (a C++ expression, usually a number) or the builtin it receives."""

    buffer: str | None
    builtin: str | None
    space: str = ""  # "device", "constant" or "" when a typedef hides it
    reference: bool = False


@dataclass
class Kernel:
    """A kernel as the library lists it: its name, the C++ expression that names the function, and where it lives."""

    name: str
    expression: str
    namespaces: tuple[str, ...]
    parameters: list[Parameter]
    max_threads: str | None  # the text inside [[max_total_threads_per_threadgroup(...)]]

    @property
    def needed(self) -> int | None:
        """The number of positional arguments the kernel reads; None where macros or constants hide it."""
        indices = [p.buffer for p in self.parameters if p.buffer is not None]
        return max((int(text) + 1 for text in indices), default=0) if all(map(str.isdigit, indices)) else None

    @property
    def buffers(self) -> int:
        """The same with 31, Metal's limit, for None."""
        return 31 if self.needed is None else self.needed


@dataclass
class Translation:
    text: str
    kernels: list[Kernel]


def strip_metal_includes(source: str) -> str:
    """Metal's own headers become one header of ours, so their includes go; line numbers stay."""
    return "\n".join("" if _INCLUDE.match(line) else line for line in source.split("\n"))


def needs_preprocessor(source: str) -> bool:
    """True where macros write or choose kernels, so that tokens alone cannot show them."""
    depth, macros, words = 0, set(), []
    for token in tokenize(strip_metal_includes(source)):
        if token.kind == "directive":
            head = re.match(r"\s*#\s*(\w+)\s*(\w*)(.*)", token.text, re.DOTALL)
            if head is None:
                continue
            if head[1] == "define":
                macros.add(head[2])
                if _METAL_WORDS.search(head[3]):
                    return True
            depth += {"if": 1, "ifdef": 1, "ifndef": 1, "endif": -1}.get(head[1], 0)
        elif token.kind == "word":
            if token.text == "kernel" and depth > 0:
                return True
            words.append(token.text)
    # `kernel void MACRO(...)(...)` or a bare INSTANTIATE(...) at file scope would be read as a declaration.
    return any(words[i] == "kernel" and words[i + 2] in macros for i in range(len(words) - 2))


def translate(source: str, target: Target) -> Translation:
    """`source` is Metal, already preprocessed where that is needed. Raises SyntaxError for what no Metal compiler
    reached through torch would accept, too."""
    return _Translator(source, target).run()


@dataclass
class _Declaration:
    scope: tuple[str, ...]
    start: int
    body: int | None  # index of the opening brace
    end: int  # index of the closing brace or semicolon
    is_kernel: bool = False
    removed: bool = False


def _opens_scope(head: list[str]) -> bool:
    return "namespace" in head or (len(head) == 2 and head[0] == "extern")


class _Translator:
    def __init__(self, source: str, target: Target) -> None:
        self.target = target
        self.tokens = tokenize(strip_metal_includes(source))
        self.conditional = any(t.kind == "directive" and re.match(r"\s*#\s*if", t.text) for t in self.tokens)
        # Only what the C++ grammar sees; blanks, comments and directives stay in `tokens` and keep the lines.
        self.code = [t for t in self.tokens if t.kind in ("word", "number", "string", "char", "op")]
        self.names_classes = names_classes(self.tokens)  # asked now: instantiations, which may alone say half, go
        self.declarations: list[_Declaration] = []
        self.definitions: dict[str, Kernel] = {}
        self.instantiations: list[tuple[str, str, tuple[str, ...]]] = []  # host name, expression, namespaces
        self.kernels: list[Kernel] = []

    def run(self) -> Translation:
        self.code = join_swizzles(take_attributes(self.code))
        self.closing = match_brackets(self.code)
        self.variables = ThreadgroupVariables(self.code, self.closing, self.target)
        self._walk(0, len(self.code), ())
        for declaration in self.declarations:
            self._declaration(declaration)
        bodies = self._bodies()
        self._rewrite_words()
        Conditionals(self.tokens, self.code, self.closing, self.names_classes).rewrite(bodies)
        self._drop_duplicates()
        for name, expression, namespaces in self.instantiations:
            base = re.match(r"[\w: ]*", expression).group().replace(" ", "").rsplit("::", 1)[-1]
            found = self.definitions.get(base)
            if found is None:
                raise SyntaxError(f"program_source: no kernel template named '{base}' for host_name(\"{name}\")")
            self.kernels.append(replace(found, name=name, expression=expression, namespaces=namespaces))
        return Translation("".join(t.text for t in self.tokens), self.kernels)

    # --- structure -------------------------------------------------------------------------------------------

    def _walk(self, i: int, end: int, scope: tuple[str, ...]) -> None:
        """Splits a namespace or class body into declarations."""
        while i < end:
            if self.code[i].text == ";":
                i += 1
                continue
            start, body, stop = i, None, None
            while i < end and stop is None:
                token = self.code[i]
                if token.text == ";":
                    stop = i
                elif token.text == "{":
                    close = self.closing[i]
                    head = [t.text for t in self.code[start:i]]
                    if _opens_scope(head):
                        names = tuple(h for h in head if h.isidentifier() and h not in _SCOPE_WORDS)
                        self._walk(i + 1, close, scope + names)
                        i = close + 1
                        break
                    body = i if body is None else body
                    i = close
                    if self._opens_function(start, body):
                        stop = i
                    elif any(h in ("struct", "class", "union") for h in head):
                        self._walk(body + 1, close, (*scope, " ".join(head)))
                elif token.text in OPENING:
                    i = self.closing[i]
                i += 1
            if stop is not None:
                self.declarations.append(_Declaration(scope, start, body, stop))
                i = stop + 1

    def _opens_function(self, start: int, brace: int) -> bool:
        if any(t.text == "->" for t in self.code[start:brace]):
            return True
        i = brace - 1
        while i > start and (self.code[i].text in QUALIFIERS or self.code[i].kind == "attribute"):
            i -= 1
        return self.code[i].text == ")"

    # --- kernels ---------------------------------------------------------------------------------------------

    def _declaration(self, declaration: _Declaration) -> None:
        start, end = declaration.start, declaration.end
        head_end = end if declaration.body is None else declaration.body
        marks, attributes, i = [], [], start
        while i < head_end:
            token = self.code[i]
            if token.kind == "attribute":
                attributes += token.attributes
                if any(name == "kernel" for name, _ in token.attributes):
                    marks.append(i)
            elif token.text == "kernel":
                marks.append(i)
            i = self.closing[i] + 1 if token.text in OPENING and i in self.closing else i + 1
        values = dict(attributes)
        explicit = self.code[start].text == "template" and self.code[start + 1].text != "<"
        if explicit and (marks or "host_name" in values):
            self._instantiation(declaration, values)
            return
        if not marks:
            if declaration.body is not None and self._opens_function(start, declaration.body):
                self.variables.rewrite(declaration.body, declaration.end, in_kernel=False)
            return
        declaration.is_kernel = True
        for i in marks:
            self.code[i].text = "MSL_KERNEL "
            self.code[i].kind = "word"
        self._kernel(declaration, values, head_end)

    def _kernel(self, declaration: _Declaration, attributes: dict[str, str], head_end: int) -> None:
        open_paren = self._parameter_list(declaration.start, head_end)
        name = self.code[open_paren - 1].text
        shown = attributes.get("host_name", "::".join((*declaration.scope, name)))
        limit = attributes.get("max_total_threads_per_threadgroup")
        kernel = Kernel(shown, name, declaration.scope, self._parameters(open_paren), limit)
        if declaration.body is None:
            return  # a prototype; the definition follows
        template = self.code[declaration.start].text == "template"
        if not template and name in self.definitions:
            raise error(self.code[open_paren - 1], f"redefinition of '{name}': kernels cannot be overloaded")
        self.definitions[name] = kernel
        if not template:
            self.kernels.append(kernel)
        self.variables.rewrite(declaration.body, declaration.end, in_kernel=True)

    def _parameter_list(self, start: int, end: int) -> int:
        """The parenthesis that opens the parameters: the one after `void name`."""
        for i in range(start, end):
            if self.code[i].text == "void":
                for j in range(i + 1, end):
                    if self.code[j].text == "(" and self.code[j - 1].kind == "word":
                        return j
        raise error(self.code[start], "kernel must return void")

    def _parameters(self, open_paren: int) -> list[Parameter]:
        groups = parts(self.code, self.closing, open_paren + 1, self.closing[open_paren])
        explicit = {value for group in groups for name, value in self._attributes_of(group) if name == "buffer"}
        free = (str(n) for n in range(31) if str(n) not in explicit)
        parameters = []
        for group in groups:
            words = [t.text for t in group]
            if words == ["void"]:
                continue
            attributes = dict(self._attributes_of(group))
            builtin = next((name for name in attributes if name in BUILTINS), None)
            space = next((w for w in reversed(words) if w in ("device", "constant")), "")  # of the outermost pointer
            if builtin is None and "buffer" not in attributes:
                known = [name for name in attributes if name in ("threadgroup", "texture", "sampler", "stage_in")]
                if known or "threadgroup" in words:
                    kind = (known or ["threadgroup"])[0]
                    raise error(group[0], f"a [[{kind}]] parameter cannot be bound from Python")
                foreign = [name for name in attributes if re.search(r"_in_|_per_", name)]
                if foreign:
                    raise error(group[0], f"unknown kernel attribute '{foreign[0]}'")
            buffer = None if builtin else attributes["buffer"] if "buffer" in attributes else next(free, "31")
            parameters.append(Parameter(buffer, builtin, space, "&" in words))
        return parameters

    @staticmethod
    def _attributes_of(group: list[Token]) -> list[tuple[str, str]]:
        return [pair for token in group for pair in token.attributes]

    def _instantiation(self, declaration: _Declaration, attributes: dict[str, str]) -> None:
        start, end = declaration.start, declaration.end
        tokens = self.code[start:end]
        words = [t.text for t in tokens]
        if "decltype" in words:  # template [[host_name("x")]] [[kernel]] decltype(f<T>) f<T>;
            first = self.closing[start + words.index("decltype") + 1] + 1
            last = end
        elif "void" in words:  # template [[host_name("x")]] kernel void f<T>(device T*, ...);
            first = start + words.index("void") + 1
            last = max((i for i in range(first, end) if self.closing.get(i) == end - 1), default=end)
        else:
            raise error(tokens[0], "an explicit kernel instantiation names its type by decltype or void")
        expression = " ".join(t.text for t in self.code[first:last] if t.text)
        if "host_name" in attributes:  # without one, Metal gives the function a mangled name nobody calls
            self.instantiations.append((attributes["host_name"], expression, declaration.scope))
        self._erase(declaration)

    # --- words and literals ----------------------------------------------------------------------------------

    def _rewrite_words(self) -> None:
        for i, token in enumerate(self.code):
            if token.kind == "number":
                token.text = literal(token.text)
            elif token.kind == "word" and token.text in ("device", "thread", "threadgroup"):
                token.text = ""  # the blanks around it stay
            elif token.kind == "word" and token.text == "constant":
                token.text = "" if self._has_const(i) else "const"
        for token in self.tokens:
            macro = re.match(r"(\s*#\s*define\s+\w+)([^#]*)$", token.text) if token.kind == "directive" else None
            if macro:
                parts = [literal(t.text) if t.kind == "number" else t.text for t in tokenize(macro[2])]
                token.text = macro[1] + "".join(parts)

    def _has_const(self, i: int) -> bool:
        for step in (-1, 1):
            j = i + step
            while 0 <= j < len(self.code) and (
                self.code[j].text in QUALIFIERS or self.code[j].text == "" or self.code[j].kind == "attribute"
            ):
                if self.code[j].text in ("const", "constexpr"):
                    return True
                j += step
        return False

    def _bodies(self) -> list[tuple[int, int]]:
        return [(d.body, d.end) for d in self.declarations if d.body and self._opens_function(d.start, d.body)]

    def _drop_duplicates(self) -> None:
        """Overloads that differ only in address space are one function once address spaces are gone."""
        seen: dict[tuple, str] = {}
        for declaration in self.declarations:
            if declaration.body is None or declaration.removed:
                continue
            head = tuple(t.text for t in self.code[declaration.start : declaration.body] if t.text.strip())
            body = " ".join(t.text for t in self.code[declaration.body : declaration.end + 1] if t.text.strip())
            key = (declaration.scope, head)
            if key not in seen:
                seen[key] = body
            elif seen[key] == body:
                self._erase(declaration)
            elif not self.conditional:  # two branches of one #if may define the same thing twice
                raise error(
                    self.code[declaration.start],
                    f"'{' '.join(head)}' is overloaded on the address space alone with different bodies, "
                    "which only Apple's compiler can tell apart",
                )

    def _erase(self, declaration: _Declaration) -> None:
        declaration.removed = True
        for token in self.code[declaration.start : declaration.end + 1]:
            token.text = ""
