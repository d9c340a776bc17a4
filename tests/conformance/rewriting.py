"""From preprocessed Metal to what clang reads in OpenCL C++ mode, token by token; finds the kernels on the way.

Address spaces become OpenCL's, which are part of a type. What that mode has no room for is put differently:
attributes are taken out and kept, a threadgroup array becomes a reference of the same type, methods that name no
address space get that of threads. Rules about words and brackets alone are checked here, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mps_spectro_patch.kernels.compilers.msl.tokens import (
    OPENING,
    Token,
    literal,
    match_brackets,
    take_attributes,
    tokenize,
)

from .findings import Finding

SPACES = {"device": "__global", "constant": "__constant", "thread": "__private", "threadgroup": "__local"}
KERNEL = '__attribute__((annotate("metal.kernel"))) '
_OPENCL_WORDS = {"local", "global", "generic", "pipe", "read_only", "write_only", "read_write", "event_t", "queue_t"}
_REFUSED = {
    "double": "double", "try": "cplusplus", "catch": "cplusplus", "throw": "cplusplus", "virtual": "cplusplus",
    "new": "cplusplus", "delete": "cplusplus", "goto": "cplusplus", "typeid": "cplusplus", "asm": "cplusplus",
    "dynamic_cast": "cplusplus", "thread_local": "cplusplus",
}  # fmt: skip
_KEYWORDS = {"vertex", "fragment", "kernel", "half", "bfloat", "uint", "uchar", "ushort", "ulong", *SPACES}
_METHOD_TAIL = {"const", "volatile", "noexcept", *SPACES}
_NOT_METHODS = {"static", "friend", "typedef", "using", "static_assert", "enum", "=", "alignas"}


@dataclass
class Parameter:
    name: str
    attributes: dict[str, str]


@dataclass
class Kernel:
    """What the text says about a kernel and clang is not told."""

    name: str
    line: int
    attributes: dict[str, str]
    parameters: list[Parameter]
    is_template: bool


@dataclass
class Rewritten:
    text: str
    kernels: list[Kernel] = field(default_factory=list)
    instantiations: list[str] = field(default_factory=list)  # host names
    findings: list[Finding] = field(default_factory=list)


@dataclass
class _Scope:
    kind: str  # "file", "namespace", "class", "function", "kernel", "block", "data"
    name: str = ""
    end: int = 0
    variables: list[str] = field(default_factory=list)  # typedefs of a kernel's threadgroup variables


def rewrite(preprocessed: str) -> Rewritten:
    """Raises SyntaxError for brackets that do not match."""
    return _Rewriter(preprocessed).run()


class _Rewriter:
    def __init__(self, text: str) -> None:
        self.tokens = tokenize(text)
        self.result = Rewritten("")
        code = [t for t in self.tokens if t.kind in ("word", "number", "string", "char", "op")]
        self.code = take_attributes(code)
        self.closing = match_brackets(self.code)
        self.count = 0

    def run(self) -> Rewritten:
        self._words()
        self._scopes()
        self._rename()
        self.result.text = "".join(t.text for t in self.tokens)
        return self.result

    def _find(self, rule: str, token: Token, message: str) -> None:
        self.result.findings.append(Finding(rule, token.line, message))

    # --- words -------------------------------------------------------------------------------------------------------

    def _words(self) -> None:
        members = {t.text for p, t in zip(self.code, self.code[1:], strict=False) if p.text not in (".", "->")}
        for i, token in enumerate(self.code):
            before = self.code[i - 1].text if i else ""
            after = self.code[i + 1].text if i + 1 < len(self.code) else ""
            if token.kind == "number" and re.fullmatch(r"[\d.][\d.eE+-]*[lL]", token.text) and "." in token.text:
                self._find("double", token, f"{token.text} is a long double")
            if token.kind != "word":
                if token.text == "..." and before == ",":
                    self._find("cplusplus", token, "a function with C's variable arguments")
                continue
            if token.text in _REFUSED and not (token.text == "delete" and before == "="):
                self._find(_REFUSED[token.text], token, f"'{token.text}'")
            if token.text == "constexpr" and before == "if":
                self._find("cplusplus14", token, "'if constexpr'")
            if token.text == "std" and after == "::":
                self._find("standard-library", token, "a name in std::")
            if before in (".", "->") and re.fullmatch(r"s[0-9a-fA-F]+|lo|hi|even|odd", token.text):
                if token.text not in members:
                    self._find("vector", token, f"'.{token.text}' is OpenCL's")
            # A keyword where only a name can stand: between a type and what follows the name of a declaration.
            if token.text in _KEYWORDS and after in ("=", ";", ",", "[", ")") and before not in (
                "<", ",", "(", "const", "constexpr", ">", "typename", "::", "return", "volatile", "unsigned", "&",
                "kernel", "]", "typedef", "using", "class", "=", *SPACES,
            ) and i and self.code[i - 1].kind == "word":  # fmt: skip
                self._find("name-collision", token, f"'{token.text}' is a keyword")

    # --- scopes ------------------------------------------------------------------------------------------------------

    def _scopes(self) -> None:
        stack = [_Scope("file", end=len(self.code))]
        start = i = 0  # start: the first token of the declaration or statement that i is in
        while i < len(self.code):
            while len(stack) > 1 and i == stack[-1].end:
                self._leave(stack.pop())
                start = i + 1
            token, scope = self.code[i], stack[-1]
            if token.kind == "op" and token.text == ";":
                self._declaration(scope, start, i)
                start = i + 1
            elif token.kind == "op" and token.text == "{":
                kind, name = self._kind(scope, start, i)
                if kind in ("kernel", "function") and scope.kind == "class":
                    self._method(scope, start, i)
                if kind == "kernel":
                    self._kernel(start, i, name)
                if kind == "data":
                    i = self.closing[i]
                else:
                    stack.append(_Scope(kind, name, self.closing[i]))
                    start = i + 1
            elif token.text == "constant" and scope.kind in ("file", "namespace") and self._begins(start, i):
                self._constant(i)
            elif token.text == "threadgroup" and self._begins(start, i):
                end = self._threadgroup_variable(stack, i)
                i, start = end, end + 1 if end > i else start
            elif token.kind == "op" and token.text in ("(", "["):
                i = self.closing[i]
            elif token.text == ":" and scope.kind == "class" and i == start + 1:  # public:
                start = i + 1
            i += 1

    def _begins(self, start: int, i: int) -> bool:
        before = ("static", "const", "constexpr", "volatile", "alignas", "(", ")")
        return all(t.kind in ("attribute", "number") or t.text in before for t in self.code[start:i])

    def _kind(self, scope: _Scope, start: int, brace: int) -> tuple[str, str]:
        head = [t.text for t in self.code[start:brace]]
        if scope.kind in ("function", "kernel", "block"):
            is_data = brace > start and head[-1] not in (")", "else", "do", "const")
            return ("class", head[1]) if head and head[0] == "struct" else ("data" if is_data else "block", "")
        if "namespace" in head:
            return "namespace", ""
        depth, parens, assigned = 0, [], False
        first = self._angle(start + 1) + 1 if head[:2] == ["template", "<"] else start
        for i in range(first, brace):
            text = self.code[i].text
            depth += (text in OPENING and self.code[i].kind == "op") - (text in OPENING.values())
            if (
                text == "("
                and depth == 1
                and self.code[i - 1].kind == "word"
                and self.code[i - 1].text not in ("alignas", "decltype", "__attribute__")
            ):
                parens.append(i)
            assigned |= text == "=" and depth == 0 and self.code[i - 1].text != "operator"
        if parens and not assigned:
            marked = "kernel" in head or any(
                name == "kernel" for t in self.code[start:brace] for name, _ in t.attributes
            )
            return "kernel" if marked else "function", self.code[parens[0] - 1].text
        for word in ("struct", "class", "union"):
            if word in head and not assigned:
                return "class", next((h for h in head[head.index(word) + 1 :] if h.isidentifier()), "")
        return "data", ""

    def _declaration(self, scope: _Scope, start: int, end: int) -> None:
        head = self.code[start:end]
        if not head:
            return
        if scope.kind == "class":
            self._method(scope, start, end)
        marks = [t for t in head if t.text == "kernel"]
        names = {n: v for t in head for n, v in t.attributes}
        if head[0].text == "template" and head[1].text != "<" and (marks or "host_name" in names or "kernel" in names):
            for mark in marks:
                mark.text = ""
            self.result.instantiations.append(names.get("host_name", ""))
        elif marks:
            for mark in marks:
                mark.text = ""

    def _leave(self, scope: _Scope) -> None:
        if scope.kind != "kernel":
            return
        sizes = " + ".join(f"(sizeof({name}) + 15) / 16 * 16" for name in scope.variables) or "0"
        brace = self.code[scope.end]
        brace.text = f'static_assert({sizes} <= 32768, "msl: threadgroup memory of {scope.name}"); }}'

    # --- kernels -----------------------------------------------------------------------------------------------------

    def _kernel(self, start: int, brace: int, name: str) -> None:
        attributes: dict[str, str] = {}
        opening = next(i for i in range(start, brace) if self.code[i].text == "(" and self.code[i - 1].text == name)
        marked = False
        for token in self.code[start:opening]:
            attributes.update(token.attributes)
            if token.text == "kernel" or any(n == "kernel" for n, _ in token.attributes):
                token.text, marked = "" if marked else KERNEL, True
                token.kind = "attribute"
        parameters = []
        for group in self._split(opening + 1, self.closing[opening]):
            found = {n: v for t in group for n, v in t.attributes}
            words = [t.text for t in group if t.kind == "word"]
            plain = [t for t in group if t.kind != "attribute"]
            if words == ["void"] and len(plain) == 1:
                continue
            parameters.append(Parameter(words[-1] if words else "", found))
        is_template = self.code[start].text == "template"
        self.result.kernels.append(Kernel(name, self.code[opening].line, attributes, parameters, is_template))

    def _split(self, i: int, end: int) -> list[list[Token]]:
        groups: list[list[Token]] = [[]]
        angle = 0
        while i < end:
            token = self.code[i]
            angle += (token.text == "<") - (token.text == ">")
            stop = self.closing.get(i, i) if token.kind == "op" else i
            if token.text == "," and angle <= 0:
                groups.append([])
            else:
                groups[-1] += self.code[i : stop + 1]
            i = stop + 1
        return [group for group in groups if group]

    def _threadgroup_variable(self, stack: list[_Scope], i: int) -> int:
        """Rewrites the declaration that begins at i, unless it declares a pointer; returns the last token of it."""
        end = i
        while self.code[end].text != ";":
            end = self.closing.get(end, end) + 1 if self.code[end].kind == "op" else end + 1
        angle, last = 0, i + 1
        while last < end and (angle or self.code[last].text not in ("[", "=", ",", "(", "{")):
            angle += (self.code[last].text == "<") - (self.code[last].text == ">")
            if not angle and self.code[last].text in ("*", "&"):
                return i
            last += 1
        if self.code[last].text == "(" or self.code[last - 1].kind != "word" or last - 1 == i + 1:
            return i  # a function, or no declaration
        token, scope = self.code[last - 1], stack[-1]
        if scope.kind != "kernel":
            inside = any(s.kind == "kernel" for s in stack)
            where = "in a block" if inside else "outside a kernel"
            self._find("threadgroup-variable", token, f"'{token.text}' is declared {where}")
        type_text = " ".join(t.text for t in self.code[i + 1 : last - 1])
        written = []
        for group in self._split(last - 1, end):
            name = group[0].text
            if any(t.text in ("=", "{") for t in group):
                self._find("threadgroup-variable", group[0], f"'{name}' has an initialiser")
                group = group[: next(k for k, t in enumerate(group) if t.text in ("=", "{"))]
            self.count += 1
            alias = f"msl_threadgroup_{self.count}"
            if scope.kind == "kernel":
                scope.variables.append(alias)
            dimensions = "".join(t.text for t in group[1:])
            written.append(
                f"typedef {type_text} {alias}{dimensions}; __local {alias}& {name} = msl::shared<{alias}>();"
            )
        first = i
        while self.code[first - 1].text in ("static", "volatile", "const") or self.code[first - 1].kind == "attribute":
            first -= 1
        if self.code[first - 1].text == ")" and any(t.text == "alignas" for t in self.code[max(0, first - 6) : first]):
            while self.code[first].text != "alignas":
                first -= 1
        for t in self.code[first : end + 1]:
            t.text = ""
        self.code[first].text = " ".join(written)
        self.code[first].kind = "attribute"
        return end

    def _constant(self, i: int) -> None:
        """A variable at program scope is initialised before the program runs."""
        j = i + 1
        while self.code[j].text not in ("=", ";", "{", "(", "*", "&"):
            j = self.closing.get(j, j) + 1 if self.code[j].kind == "op" else j + 1
        if self.code[j].text in ("=", "{"):
            self.code[i].text = "__attribute__((require_constant_initialization)) __constant"
            self.code[i].kind = "attribute"

    # --- classes -----------------------------------------------------------------------------------------------------

    def _method(self, scope: _Scope, start: int, end: int) -> None:
        """A method that names no address space takes objects in that of threads only."""
        head = [t.text for t in self.code[start:end]]
        if any(word in head[:1] + head for word in _NOT_METHODS - {"=", "alignas"}):
            return
        i, conversion = start, False
        while i < end and self.code[i].text != "(":
            if self.code[i].text == "__attribute__":
                i = self.closing[i + 1]
            if self.code[i].text == "=" and self.code[i - 1].text != "operator":
                return
            if self.code[i].text == "operator":
                conversion = self.code[i + 1].kind == "word"
                if self.code[i + 1].text == "(":
                    i += 2
            i += 1
        if i >= end or conversion or self.code[i - 1].text in ("alignas", "decltype", scope.name):
            return
        tail = i = self.closing[i]
        i += 1
        while i < end and self.code[i].text in _METHOD_TAIL:
            if self.code[i].text in SPACES:
                return
            i += 1
        self.code[tail].text = ") __private"

    # --- the rest ----------------------------------------------------------------------------------------------------

    def _rename(self) -> None:
        for i, token in enumerate(self.code):
            after = self.code[i + 1].text if i + 1 < len(self.code) else ""
            if token.kind == "number" and re.search(r"(bf|BF)$", token.text):
                token.text = literal(token.text)
            elif token.kind != "word":
                continue
            elif token.text in SPACES:
                token.text = SPACES[token.text]
            elif token.text in _OPENCL_WORDS:
                token.text = f"msl_name_{token.text}"
            elif token.text in ("private", "protected") and after == ":":
                token.text = "public"
            elif token.text == "operator" and after.isidentifier() and self.code[i + 2].text == "(":
                self.code[i + 1].text = f"msl::plain<{after}>::type"  # else the vector's constructor macro is meant
            elif token.text == "vec" and after == "<":
                close = self._angle(i + 1)
                if self.code[close + 1].text == "(" and self.code[i - 1].text != "operator":
                    token.text, self.code[close].text = "msl::make<metal::vec", ">>"

    def _angle(self, i: int) -> int:
        depth = 0
        while True:
            depth += (self.code[i].text == "<") - (self.code[i].text == ">")
            if depth == 0:
                return i
            i = self.closing.get(i, i) + 1 if self.code[i].kind == "op" and self.code[i].text in OPENING else i + 1
