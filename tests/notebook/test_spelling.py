"""The spelling of code is part of every unnamed order's identity: what stands here must stand for ever."""

from __future__ import annotations

import ast

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from kit.notebook.spelling import spelled

SPELLINGS = {
    "broker.buy('BTC/USDT', 0.01)": "broker.buy('BTC/USDT', 0.01)",
    "broker.buy(symbol, 100 / price, **more)": "broker.buy(symbol, <BinOp left=100 op=<Div> right=price>, **more)",
    "broker.buy(*what, price=-1)": "broker.buy(<Starred value=what>, price=<UnaryOp op=<USub> operand=1>)",
    "buy(f\"{coins['a']}/USDT\")": "buy(<JoinedStr values=[<FormattedValue value=<Subscript value=coins slice='a'> "
    "conversion=-1>, '/USDT']>)",
    "for s, q in (('ö', 1), (x, 2)):\n    buy(s, q)": "<For target=<Tuple elts=[s, q]> iter=<Tuple elts=[<Tuple "
    "elts=['\\xf6', 1]>, <Tuple elts=[x, 2]>]> body=[buy(s, q)]>",
    "def f(x: int = 1, *, y, z=None):\n    return lambda: ...": "<FunctionDef name=f args=<arguments args=[<arg arg=x "
    "annotation=int>] kwonlyargs=[<arg arg=y>, <arg arg=z>] kw_defaults=[-, None] defaults=[1]> body=[<Return "
    "value=<Lambda args=<arguments> body=Ellipsis>>]>",
    "[await q async for q in z if not q]": "<ListComp elt=<Await value=q> generators=[<comprehension target=q iter=z "
    "ifs=[<UnaryOp op=<Not> operand=q>] is_async=1>]>",
    "a = 1\nb: int": "<Assign targets=[a] value=1>\n<AnnAssign target=b annotation=int simple=1>",
}


def spelling(code: str) -> str:
    transform = TransformerManager().transform_cell  # type: ignore[no-untyped-call]  # IPython's word for it
    return spelled(ast.parse(transform(code)), transform)


@pytest.mark.parametrize("code", SPELLINGS)
def test_code_has_one_spelling_for_ever(code: str) -> None:
    assert spelling(code) == SPELLINGS[code]


@pytest.mark.parametrize(
    "other",
    [
        'broker.buy( "BTC/USDT",\n  0.01,\n)  # now',
        "(broker\n .buy('BTC' '/USDT', .01))",
        "broker.buy(u'BTC/USDT', 1e-2)",
        "\n\n# a word before\nbroker.buy(r'''BTC/USDT''', 0.010)",
    ],
)
def test_layout_comments_and_quotes_are_not_part_of_it(other: str) -> None:
    assert spelling(other) == spelling("broker.buy('BTC/USDT', 0.01)")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("buy(1)", "buy('1')"),
        ("buy(1)", "buy(1.0)"),
        ("buy(x[1:])", "buy(x[:1])"),
        ("buy({**x})", "buy({None: x})"),
        ("buy(x, y)", "buy((x, y))"),
        ("buy(x)", "buy(*x)"),
        ("buy(x=y)", "buy(x == y)"),
        ("if x:\n    buy()\nelse:\n    sell()", "if x:\n    buy()\n    sell()"),
        ("async def f(): x", "def f(): x"),
        ("%%time\nbuy(1)", "%%capture\nbuy(1)"),
        ("%%time\nbuy(1)", "%%time\nbuy(2)"),
        ("%%bash\nbuy it", "%%bash\nbuy  it"),
    ],
)
def test_what_says_something_else_is_spelled_otherwise(one: str, other: str) -> None:
    assert spelling(one) != spelling(other)


def test_code_that_is_handed_to_a_magic_counts_as_code() -> None:
    assert spelling('%%time\n# measured\nbuy( "x" )') == spelling("%%time\nbuy('x')")
    assert spelling("%time buy( 1 )  # now") == spelling("%time buy(1)")
    assert spelling("%%time\n%time buy( 1 )") == spelling("%%time\n%time buy(1)")


def test_what_a_newer_python_adds_to_a_node_and_leaves_empty_is_not_part_of_it() -> None:
    """As ``type_params`` came to functions in 3.12."""

    class FunctionDef(ast.FunctionDef):
        _fields = (*(name for name in ast.FunctionDef._fields if name != "type_params"), "type_params", "more")

    old = ast.parse("def f():\n    buy(1)").body[0]
    new = FunctionDef(**dict(ast.iter_fields(old)) | {"type_params": [], "more": None})
    assert spelled(new, str) == spelled(old, str)
