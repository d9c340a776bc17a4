"""Gives the two arms of `c ? h : 0.0f` one type where half, bfloat, a swizzle or a packed vector stands in one of them.
Metal does so by itself; in C++ these are classes. Tokens only: msl_conditional.h knows the types and does the work."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .tokens import OPENING, SWIZZLE, Token, after_angles

_CLASSES = re.compile(r"\b(?:half|bfloat)[234]?\b|\bpacked_\w+|\bHALF_\w+|\bM_\w+_H\b|\b\d[\d.eE+-]*(?:h|H|bf|BF)\b")
_DEFINE = re.compile(r"\s*#\s*define\b")
_COMMENT = re.compile(r"//.*|/\*.*?\*/", re.DOTALL)
_BRANCH = re.compile(r"\s*#\s*(?:if|el|endif)")
_PLAIN_WORDS = frozenset("true false nullptr NULL".split())  # NULL and 0 are null pointers only while they stand alone
_BEFORE = frozenset("return else do case".split())
_STATEMENTS = frozenset("if while for switch".split())
_TEMPLATES = frozenset(
    "template vec array atomic static_cast reinterpret_cast const_cast as_type integral_constant bool_constant "
    "numeric_limits enable_if conditional".split()
)
_TEMPLATE_NAME = re.compile(r"(?:is|make|remove|add)_\w+|\w+_(?:t|v)")


def names_classes(tokens: Iterable[Token]) -> bool:
    """Whether a source names half, bfloat or a packed vector at all, so that any conditional of it may need an arm."""
    return any(_names_class(token) for token in tokens)


def _names_class(token: Token) -> bool:
    if token.kind == "directive":
        return _DEFINE.match(token.text) is not None and _CLASSES.search(_COMMENT.sub(" ", token.text)) is not None
    return token.kind in ("word", "number") and _CLASSES.search(token.text) is not None


class Conditionals:
    """The conditional expressions of a translated source's function bodies; `everywhere` is what names_classes said."""

    def __init__(self, tokens: list[Token], code: list[Token], closing: dict[int, int], everywhere: bool) -> None:
        self.code = code
        self.place = {token: n for n, token in enumerate(tokens)}  # a token is equal only to itself
        self.branches = [n for n, t in enumerate(tokens) if t.kind == "directive" and _BRANCH.match(t.text)]
        self.everywhere = everywhere
        self.closing = dict(closing)
        self.opening = {last: first for first, last in closing.items()}
        self.templates = self._template_names()

    def rewrite(self, bodies: Iterable[tuple[int, int]]) -> None:
        """Rewrites those between each pair of braces; a source that needs nothing keeps its text to the letter."""
        found = []
        for start, end in bodies:
            marks = [i for i in range(start, end) if self._is(i, "?")]
            if not marks or not (self.everywhere or any(self._swizzle(i) for i in range(start, end))):
                continue
            angles = self._match_angles(start, end)
            for i in marks:
                if not any(first < i < last and self._innermost(i, first, last) for first, last in angles):
                    found += self._conditional(i, start, end)
        # Inner ones first, so that what an outer one adds to a shared token comes outside.
        for first, last, arms in sorted(set(found), key=lambda each: each[1] - each[0]):
            for begin, stop in arms:
                self.code[begin].text = "(" + self.code[begin].text
                self.code[stop].text += ", ::msl::arm())"
            self.code[first].text = " ::msl::chosen(" + self.code[first].text  # the blank: after a colon, not `:::`
            self.code[last].text += ")"

    # --- one conditional -------------------------------------------------------------------------------------

    def _conditional(self, mark: int, start: int, end: int) -> list[tuple[int, int, tuple[tuple[int, int], ...]]]:
        first, colon = self._first(mark, start), self._arm_end(mark + 1, end, ";")
        if not self._is(colon, ":") or first == mark:
            return []
        last = self._arm_end(colon + 1, end, ",;") - 1
        arms = (mark + 1, colon - 1), (colon + 1, last)
        if any(begin > stop for begin, stop in arms):
            return []
        if not self.everywhere and not any(self._swizzle(i) for arm in arms for i in range(arm[0], arm[1] + 1)):
            return []
        whole = self.place[self.code[first]], self.place[self.code[last]]
        if any(whole[0] < n < whole[1] for n in self.branches) or self._is_lvalue(first, last):
            return []
        wrapped = tuple(arm for arm in arms if not self._is_plain(*arm))
        return [(first, last, wrapped)] if wrapped else []

    def _first(self, mark: int, start: int) -> int:
        """Where the condition begins: after an opening bracket, a comma, an assignment, return ..."""
        i = mark - 1
        while i > start:
            token = self.code[i]
            if i in self.opening:
                opened = self.opening[i]
                if token.text == "}" and not self._continues(i + 1):
                    break  # a block's end, not a value's
                if token.text == ")" and self.code[opened - 1].text in _STATEMENTS | {"constexpr"}:
                    break
                i = opened
            elif token.kind == "op" and (token.text in ("(", "[", "{", ",", ";", "?", ":") or self._assigns(i)):
                break
            elif token.kind == "word" and token.text in _BEFORE:
                break
            i -= 1
        return i + 1

    def _continues(self, i: int) -> bool:
        return self.code[i].kind == "op" and self.code[i].text not in ("(", "*", "&", "-", "+", "!", "~", "::", ";")

    def _arm_end(self, i: int, end: int, stops: str) -> int:
        """Where the arm that begins at i ends: at a colon of its own, at one of the stops, at a closing bracket."""
        depth = 0
        while i < end and i not in self.opening and not any(self._is(i, stop) for stop in stops):
            if self._is(i, ":") and depth == 0:
                break
            depth += self._is(i, "?") - self._is(i, ":")
            i = self.closing.get(i, i) + 1
        return i

    def _is_plain(self, begin: int, stop: int) -> bool:
        """A literal, whose type is a builtin one for certain."""
        if begin == stop - 1 and self.code[begin].text in ("-", "+"):
            begin = stop
        token = self.code[begin]
        if begin != stop:
            return False
        return (
            token.text in _PLAIN_WORDS
            or token.kind in ("string", "char")
            or (token.kind == "number" and "half" not in token.text and "bfloat" not in token.text)
        )

    def _is_lvalue(self, first: int, last: int) -> bool:
        """Written to, or what a reference is bound to: both arms have one type then, and must stay what they are."""
        if self._is(first - 1, "=") and self._is(first - 3, "&"):
            i = first - 4
            while self.code[i].text not in ("{", "}", ";", "(", ","):
                if self.code[i].text in ("const", "constexpr"):
                    return False
                i -= 1
            return True
        opened, closed = first - 1, last + 1
        while self.closing.get(opened) == closed and self.code[opened].text == "(":
            opened, closed = opened - 1, closed + 1
        if opened == first - 1 or self.code[opened].text in _STATEMENTS:
            return False
        if self._is(opened, "&") and self.code[opened - 1].kind == "op" and opened - 1 not in self.opening:
            return self.code[opened - 1].text != "&"  # else &&
        if self._doubled(opened - 1, "+") or self._doubled(opened - 1, "-"):
            return True
        while self._is(closed, ".") or self._is(closed, "["):
            closed = self.closing[closed] + 1 if self._is(closed, "[") else closed + 2
        compound = closed
        while self.code[compound].text in ("+", "-", "*", "/", "%", "&", "|", "^", "<", ">") and compound < closed + 2:
            compound += 1
        return (
            self._doubled(closed, "+")
            or self._doubled(closed, "-")
            or (self._is(compound, "=") and self._assigns(compound))
        )

    # --- tokens ----------------------------------------------------------------------------------------------

    def _is(self, i: int, text: str) -> bool:
        return self.code[i].text == text and self.code[i].kind == "op"

    def _swizzle(self, i: int) -> bool:
        named = self.code[i].kind == "word" and self._is(i - 1, ".")
        return named and SWIZZLE.fullmatch(self.code[i].text) is not None

    def _touch(self, i: int, j: int) -> bool:
        return self.place[self.code[j]] - self.place[self.code[i]] == 1

    def _doubled(self, i: int, text: str) -> bool:
        return self._is(i, text) and self._is(i + 1, text) and self._touch(i, i + 1)

    def _assigns(self, i: int) -> bool:
        """Whether this `=` is an assignment (also += and the like), not part of ==, !=, <= or >=."""
        if not self._is(i, "=") or (self._is(i + 1, "=") and self._touch(i, i + 1)):
            return False
        before = self.code[i - 1].text if self._touch(i - 1, i) and self.code[i - 1].kind == "op" else ""
        return before not in ("=", "!", "<", ">") or (before in "<>" and self._doubled(i - 2, before))

    # --- template arguments ----------------------------------------------------------------------------------

    def _template_names(self) -> frozenset[str]:
        """What the source declares as a template: the word before the first bracket or semicolon of the declaration."""
        names, i = set(), 0
        while i < len(self.code) - 1:
            if self.code[i].text == "template" and self._is(i + 1, "<"):
                declared = i = after_angles(self.code, self.closing, i + 1)
                while i < len(self.code) and self.code[i].text not in ("(", "{", ";", "=", ":"):
                    i += 1
                names |= {t.text for t in self.code[max(declared, i - 1) : i] if t.kind == "word"}
            i += 1
        return frozenset(names)

    def _match_angles(self, start: int, end: int) -> list[tuple[int, int]]:
        """Pairs of < and > that hold template arguments; from here on they count as brackets."""
        pairs = []
        for i in range(end - 1, start, -1):  # from the right, so that inner ones are known
            if not self._is(i, "<") or self.code[i - 1].kind != "word":
                continue
            name = self.code[i - 1].text
            known = name in _TEMPLATES or name in self.templates or _TEMPLATE_NAME.fullmatch(name) is not None
            stop, simple = self._angle(i, end)
            if stop is not None and (
                known
                or self.code[i - 2].text == "template"
                or (simple and self._touch(i - 1, i) and self.code[stop + 1].text in ("(", "::", "{"))
            ):
                self.closing[i], self.opening[stop] = stop, i
                pairs.append((i, stop))
        return pairs

    def _angle(self, i: int, end: int) -> tuple[int | None, bool]:
        simple, i = True, i + 1
        while i < end:
            token = self.code[i]
            if token.kind == "op":
                if token.text == ">":
                    return i, simple
                if token.text in (";", "{") or i in self.opening:
                    return None, False
                if self._doubled(i, "&") or self._doubled(i, "|"):
                    return None, False
                simple &= token.text in ("::", ",", "*", "&", "(", "[", "<")
            i = self.closing.get(i, i) + 1
        return None, False

    def _innermost(self, i: int, first: int, last: int) -> bool:
        """Whether no other bracket lies between these angle brackets and token i."""
        before = (j for j in range(first + 1, min(i, last)) if self.code[j].text in OPENING)
        return not any(self.closing.get(j, i) > i for j in before)
