"""Gives kernels their threadgroup variables: `__shared__` for NVRTC, references into a group's memory for the host."""

from __future__ import annotations

from typing import Literal

from .tokens import QUALIFIERS, Token, after_angles, error, parts

Target = Literal["host", "cuda"]
_FUNDAMENTAL = frozenset("unsigned signed short int long char float half bool double".split())


class ThreadgroupVariables:
    """Those of a translated source. closing: by bracket, the one that closes it."""

    def __init__(self, code: list[Token], closing: dict[int, int], target: Target) -> None:
        self.code, self.closing, self.target = code, closing, target
        self.count = 0

    def rewrite(self, body: int, end: int, in_kernel: bool) -> None:
        """Those between two braces."""
        i = body + 1
        while i < end:
            if self.code[i].text == "threadgroup" and self._begins_statement(i):
                i = self._rewritten(i, in_kernel)
            i += 1

    def _begins_statement(self, i: int) -> bool:
        i = self._before_blanks(i)
        if self.code[i].text == ")":  # alignas(16) threadgroup float a[4];
            opening = next(o for o, c in self.closing.items() if c == i)
            i = self._before_blanks(opening - 1) if self.code[opening - 1].text == "alignas" else i
        return self.code[i].kind == "written" or self.code[i].text in ("{", "}", ";", ":")

    def _before_blanks(self, i: int) -> int:
        i -= 1
        while self.code[i].text in QUALIFIERS | {""} or self.code[i].kind == "attribute":  # "": rewritten before
            i -= 1
        return i

    def _rewritten(self, start: int, in_kernel: bool) -> int:
        """Rewrites `threadgroup T a[N], b;` and returns the index of its semicolon; `start` where it is a pointer."""
        i = self._skip_type(start + 1)
        name = self.code[i]
        named = self.code[i + 1].text in ("[", ",", ";", "=") or self.code[i + 1].kind == "attribute"
        if name.kind != "word" or not named:
            return start
        if not in_kernel:
            raise error(name, f"threadgroup variable '{name.text}' must be declared in a kernel function")
        type_text = " ".join(t.text for t in self.code[start + 1 : i] if t.text not in ("volatile", ""))
        semicolon = i
        while self.code[semicolon].text != ";":
            semicolon = self.closing.get(semicolon, semicolon) + 1
        written = []
        for group in parts(self.code, self.closing, i, semicolon):
            if any(t.text == "=" for t in group):
                raise error(group[0], f"threadgroup variable '{group[0].text}' cannot have an initializer")
            dimensions = " ".join(t.text for t in group[1:])
            if self.target == "cuda":
                written.append(f"__shared__ {type_text} {group[0].text}{dimensions};")
                continue
            n = self.count = self.count + 1
            written.append(
                f"struct msl_tag_{n} {{}}; typedef {type_text} msl_type_{n}{dimensions}; msl_type_{n} &{group[0].text}"
                f" = ::msl::threadgroup_variable<msl_tag_{n}, msl_type_{n}>();"
            )
        first = start
        while self.code[first - 1].text in ("static", "volatile", "const") or self.code[first - 1].kind == "attribute":
            first -= 1
        if self.target == "host" and self.code[first - 1].text == ")":  # a reference takes no alignas
            opening = next(o for o, c in self.closing.items() if c == first - 1)
            first = opening - 1 if self.code[opening - 1].text == "alignas" else first
        for token in self.code[first : semicolon + 1]:
            token.text = ""
        self.code[first].text = " ".join(written)
        self.code[first].kind = "written"
        return semicolon

    def _skip_type(self, i: int) -> int:
        """The index after the type that starts at i (names, ::, template arguments)."""
        fundamental = False
        while self.code[i].text in QUALIFIERS | {"typename", "struct"} or self.code[i].kind == "attribute":
            i += 1
        while self.code[i].text in _FUNDAMENTAL:
            fundamental = True
            i += 1
        while not fundamental:
            i += 1
            if self.code[i].text == "<":
                i = after_angles(self.code, self.closing, i)
            if self.code[i].text != "::":
                break
            i += 1
        while self.code[i].text in QUALIFIERS:
            i += 1
        return i
