"""Whether a function does, statement by statement, what a known text says: for code that many projects have copied.

Names of variables may differ, and comments, docstrings, annotations and lines.
"""

from __future__ import annotations

import ast
from types import FunctionType

from .recompiled import parsed, text_of


def form_of(function: FunctionType | str) -> str | None:
    """The same for two functions, or texts of functions, that do the same. None for a function whose source cannot be
    had, or is not what runs."""
    try:
        tree = parsed(function if isinstance(function, str) else text_of(function))
    except (LookupError, ValueError):
        return None
    arguments = [*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs]
    stored = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    variables: dict[str, str] = {}
    for name in (*(one.arg for one in arguments), *stored):
        variables.setdefault(name, f"_{len(variables)}")
    tree = _Bare(variables).visit(tree)
    if tree.body and isinstance(tree.body[0], ast.Expr) and isinstance(tree.body[0].value, ast.Constant):
        del tree.body[0]
    return ast.dump(tree)


class _Bare(ast.NodeTransformer):
    """Without what does not matter."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.name, node.returns = "_", None
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self.variables.get(node.arg, node.arg))

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.variables.get(node.id, node.id), node.ctx)
