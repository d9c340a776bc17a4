"""Metal text as tokens: splitting it, taking attributes out, matching brackets, giving literals their Metal type.
What the tokens mean is kernels/compilers/msl/translate.py's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<directive>^[ \t]*\#(?:\\\n|[^\n])*)
      | (?P<comment>//(?:\\\n|[^\n])*|/\*.*?\*/)
      | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<char>'(?:\\.|[^'\\\n])*')
      | (?P<number>\.?\d(?:[eEpP][+-]|['\w.])*)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<newline>\n)
      | (?P<space>(?:[^\S\n]|\\\n)+)
      | (?P<op>::|->|\.\.\.|\[\[|.)""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_LINE_MARKER = re.compile(r"[ \t]*#[ \t]*(?:line[ \t]+)?(\d+)")
LETTERS = "xyzwrgba"
SWIZZLE = re.compile(r"[xyzw]{2,4}|[rgba]{2,4}")
OPENING = {"(": ")", "{": "}", "[": "]"}
QUALIFIERS = frozenset("static inline extern constexpr const volatile device constant thread threadgroup".split())


@dataclass(eq=False)
class Token:
    kind: str
    text: str
    line: int
    attributes: list[tuple[str, str]] = field(default_factory=list)


def tokenize(source: str) -> list[Token]:
    tokens, line = [], 1
    for match in _TOKEN.finditer(source):
        tokens.append(Token(match.lastgroup or "op", match.group(), line))
        marker = _LINE_MARKER.match(match.group()) if tokens[-1].kind == "directive" else None
        line = int(marker[1]) - 1 if marker else line + match.group().count("\n")
    return tokens


def take_attributes(tokens: list[Token]) -> list[Token]:
    """The tokens with every [[...]] replaced by one empty token that carries the attributes."""
    code, i = [], 0
    while i < len(tokens):
        token = tokens[i]
        if token.text != "[[" or token.kind != "op":
            code.append(token)
            i += 1
            continue
        depth, j = 2, i + 1
        while depth and j < len(tokens):
            depth += {"[": 1, "[[": 2, "]": -1}.get(tokens[j].text, 0)
            j += 1
        if depth:
            raise error(token, "attribute without its closing ']]'")
        token.attributes = _parse_attributes(tokens[i + 1 : j - 2])
        for blank in tokens[i:j]:
            blank.text = ""
        token.kind = "attribute"
        code.append(token)
        i = j
    return code


def join_swizzles(tokens: list[Token]) -> list[Token]:
    """The tokens with v.wzyx.xy as v.wz. Names that the text declares may be members: struct { float2 xy; }."""
    words = [i for i, token in enumerate(tokens) if token.kind == "word"]
    declared = {tokens[i].text for i in words if i and tokens[i - 1].text not in (".", "->")}
    code: list[Token] = []
    for token in tokens:
        code.append(token)
        while len(code) >= 4 and code[-4].text in (".", "->") and code[-2].text == ".":
            first, dot, second = code[-3:]
            joined = None if first.text in declared else _joined(first.text, second.text)
            if joined is None:
                break
            first.text, dot.text, second.text = joined, "", ""
            del code[-2:]
    return code


def _joined(first: str, second: str) -> str | None:
    if not SWIZZLE.fullmatch(first) or not re.fullmatch("[xyzw]{1,4}|[rgba]{1,4}", second):
        return None
    places = [LETTERS.index(letter) % 4 for letter in second]
    return "".join(first[place] for place in places) if max(places) < len(first) else None


def match_brackets(tokens: list[Token]) -> dict[int, int]:
    """The index of the closing bracket for that of each opening one."""
    closing, stack = {}, []
    for i, token in enumerate(tokens):
        if token.kind != "op":
            continue
        if token.text in OPENING:
            stack.append(i)
        elif token.text in (")", "}", "]"):
            if not stack or OPENING[tokens[stack[-1]].text] != token.text:
                raise error(token, f"extraneous '{token.text}'")
            closing[stack.pop()] = i
    if stack:
        raise error(tokens[stack[-1]], f"'{tokens[stack[-1]].text}' is never closed")
    return closing


def after_angles(tokens: list[Token], closing: dict[int, int], i: int) -> int:
    """The index after the > that ends the template arguments which the < at i begins."""
    depth = 0
    while i < len(tokens):
        depth += {"<": 1, ">": -1}.get(tokens[i].text, 0)
        i = closing.get(i, i) + 1
        if depth == 0:
            break
    return i


def parts(code: list[Token], closing: dict[int, int], i: int, end: int) -> list[list[Token]]:
    """Comma-separated parts, commas inside brackets and template arguments left alone."""
    groups: list[list[Token]] = []
    current: list[Token] = []
    angle = 0
    while i < end:
        token = code[i]
        stop = closing[i] if token.kind == "op" and i in closing else i
        if token.text in ("<", ">") and token.kind == "op":
            angle += 1 if token.text == "<" else -1
        if token.text == "," and angle <= 0:
            groups.append(current)
            current = []
        else:
            current += code[i : stop + 1]
        i = stop + 1
    return [*groups, current] if current or groups else []


def literal(text: str) -> str:
    """Metal has no double: a bare 1.0 is a float, 1.0h a half, 1.0bf a bfloat."""
    match = re.fullmatch(r"((?:\d[\d']*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(h|H|bf|BF|)", text)
    if match is None:
        return text + "f" if re.fullmatch(r"0[xX][\da-fA-F.]+[pP][+-]?\d+", text) else text
    digits, suffix = match.groups()
    is_float = any(c in digits for c in ".eE")
    if not suffix:
        return digits + "f" if is_float else text
    kind = "half" if suffix in "hH" else "bfloat"
    return f"{kind}({digits if is_float else digits + '.0'}f)"


def error(token: Token, message: str) -> SyntaxError:
    return SyntaxError(f"program_source:{token.line}: error: {message}")


def _parse_attributes(tokens: list[Token]) -> list[tuple[str, str]]:
    found, i = [], 0
    while i < len(tokens):
        name = tokens[i].text
        i += 1
        while i + 1 < len(tokens) and tokens[i].text == "::":  # clang::optnone
            name += "::" + tokens[i + 1].text
            i += 2
        arguments = []
        if i < len(tokens) and tokens[i].text == "(":
            depth = 0
            while i < len(tokens):
                depth += {"(": 1, ")": -1}.get(tokens[i].text, 0)
                arguments.append(tokens[i])
                i += 1
                if depth == 0:
                    break
        inner = arguments[1:-1]
        if name == "host_name":  # adjacent string literals are one name, as in C
            found.append((name, "".join(t.text[1:-1] for t in inner)))
        else:
            found.append((name, " ".join(t.text for t in inner)))
        if i < len(tokens) and tokens[i].text == ",":
            i += 1
    return found
