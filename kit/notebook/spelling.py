"""Code in one spelling: what it says, whatever its layout, comments, quotes, or the Python that reads it.

An order's identity depends on it for as long as the account lives, so ``ast.unparse`` won't do: how it quotes f-strings
and where it puts parentheses has changed between Python versions (cpython #127975). Names, attributes, constants and
calls are written as usual, because people read them in ``broker.orders``; everything else by its node's name.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

Transform = Callable[[str], str]
"""IPython's: cell text, magics and all, to Python."""

_UNSAID = {"ctx", "kind", "type_comment", "type_ignores"}
"""Fields that only repeat what the place of the node, or its value, says."""


def spelled(node: ast.AST, transform: Transform) -> str:
    """The one spelling of a piece of code. What is handed to a magic counts as code too, where it is Python."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Constant(value=value):
            return ascii(value)  # what counts as printable is another matter in another Python
        case ast.Attribute(value=owner, attr=name):
            return f"{spelled(owner, transform)}.{name}"
        case ast.keyword(arg=name, value=value):
            return f"{'**' if name is None else f'{name}='}{spelled(value, transform)}"
        case ast.Call(func=called):
            return f"{spelled(called, transform)}({', '.join(_arguments(node, transform))})"
        case ast.Module(body=lines):
            return "\n".join(spelled(line, transform) for line in lines)
        case ast.Expr(value=value):
            return spelled(value, transform)
    said = ((name, value) for name, value in ast.iter_fields(node) if name not in _UNSAID and value not in (None, []))
    return " ".join([f"<{type(node).__name__}", *(f"{name}={_part(value, transform)}" for name, value in said)]) + ">"


def _part(value: object, transform: Transform) -> str:
    """What a field of a node holds: a node, a list, or a bare name or number."""
    if isinstance(value, ast.AST):
        return spelled(value, transform)
    if isinstance(value, list):
        return f"[{', '.join('-' if item is None else _part(item, transform) for item in value)}]"
    return str(value)


def _arguments(call: ast.Call, transform: Transform) -> list[str]:
    arguments = [spelled(argument, transform) for argument in (*call.args, *call.keywords)]
    match call:
        case ast.Call(
            func=ast.Attribute(attr="run_cell_magic" | "run_line_magic"), args=[*_, ast.Constant(value=str(body))]
        ):
            arguments[len(call.args) - 1] = ascii(_handed_over(body, transform))
    return arguments


def _handed_over(body: str, transform: Transform) -> str:
    """IPython hands code over to a magic as text, comments and all."""
    try:
        return spelled(ast.parse(transform(body)), transform)
    except SyntaxError:
        return body  # not Python: %%bash and its like
