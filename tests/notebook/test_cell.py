from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kit.errors import UsageError
from kit.notebook import install
from kit.notebook.cell import CellIdentity, _asking, keeps_ids
from kit.orders.ids import Intent
from kit.runtime import runtime

Running = Callable[..., list[Intent]]


class Recorder:
    """Stands where a broker would: asks for the intent of each order and keeps it."""

    def __init__(self) -> None:
        self.intents: list[Intent] = []

    def buy(self, *args: object, **kwargs: object) -> int:
        intent = runtime.cell_intent("", repr(args))
        assert intent is not None
        self.intents.append(intent)
        return len(self.intents)


@pytest.fixture
def run(shell: Any) -> Running:
    """``run(code, cell_id)`` runs a cell of a notebook and returns the intents of its orders."""
    recorder = shell.user_ns["broker"] = Recorder()
    install(shell)

    def run(code: str, cell_id: str | None = "a1b2c3d4") -> list[Intent]:
        recorder.intents.clear()
        shell.run_cell(code, store_history=True, cell_id=cell_id).raise_error()
        return list(recorder.intents)

    return run


def test_running_a_cell_again_is_the_same_intent(run: Running) -> None:
    first, again = run("broker.buy('BTC/USDT', 1)"), run("broker.buy('BTC/USDT', 1)")
    assert first == again
    assert first[0].implicit


def test_another_cell_with_the_same_code_is_another_intent(run: Running) -> None:
    assert run("broker.buy(1)", "cell-1") != run("broker.buy(1)", "cell-2")


def test_an_edited_comment_or_another_line_does_not_buy_twice(run: Running) -> None:
    first = run("broker.buy('BTC/USDT', 1)")
    assert run('# wait for it\n\nx = 3\nbroker.buy( "BTC/USDT",  1 )  # now') == first


def test_another_quantity_in_the_same_cell_is_another_intent(run: Running) -> None:
    assert run("broker.buy('BTC/USDT', 1)") != run("broker.buy('BTC/USDT', 2)")


def test_the_values_of_a_call_do_not_matter_only_its_spelling(run: Running) -> None:
    run("price = 10")
    first = run("broker.buy('BTC/USDT', 100 / price)")
    run("price = 11", "other")
    assert run("broker.buy('BTC/USDT', 100 / price)") == first


def test_every_pass_of_a_loop_is_its_own_intent_and_the_same_one_when_run_again(run: Running) -> None:
    code = "for q in (1, 2, 3):\n    broker.buy('BTC/USDT', q)"
    first = run(code)
    assert len({intent.parts for intent in first}) == 3
    assert run(code) == first


def test_a_comprehension_is_a_loop_too(run: Running) -> None:
    code = "[broker.buy('BTC/USDT', q) for q in (1, 2)]"
    first = run(code)
    assert len(set(first)) == 2
    assert run(code) == first


def test_two_calls_on_one_line_are_two_intents(run: Running) -> None:
    code = "broker.buy(1); broker.buy(1); broker.buy(2)"
    first = run(code)
    assert len(set(first)) == 3
    assert run(code) == first


def test_two_calls_in_one_expression_are_two_intents(run: Running) -> None:
    assert len(set(run("[broker.buy(1), broker.buy(2)]"))) == 2


def test_a_call_spread_over_lines_is_the_call_on_one_line(run: Running) -> None:
    assert run("(broker\n   .buy(\n       1,\n       2,\n   ))") == run("broker.buy(1, 2)")


def test_an_order_through_a_function_of_another_cell_belongs_to_the_cell_that_called_it(run: Running) -> None:
    define = "def enter(q):\n    return broker.buy('BTC/USDT', q)"
    run(define, "definitions")
    one, two = run("enter(1)", "cell-1"), run("enter(1)", "cell-2")
    assert one != two
    run(define + "\n\n# moved about", "definitions")
    assert run("enter(1)", "cell-1") == one


def test_a_function_of_the_same_cell_counts_by_the_call_of_the_cell(run: Running) -> None:
    code = "def enter(q):\n    return broker.buy(q)\nenter(1)\nenter(1)\nenter(2)"
    first = run(code)
    assert [intent.parts[2] for intent in first] == ["enter(1)", "enter(1)", "enter(2)"]
    assert len(set(first)) == 3


def test_a_cell_magic_does_not_make_comments_count(run: Running) -> None:
    first = run("%%time\nbroker.buy(1)\nbroker.buy(2)")
    assert len(set(first)) == 2
    assert run("%%time\n# measured\nbroker.buy( 1 )\nbroker.buy(2)") == first


def test_a_cell_run_by_a_magic_is_part_of_the_cell_that_holds_it(run: Running) -> None:
    code = "%%capture\nbroker.buy(1)"
    first = run(code, "cell-1")
    assert first == run(code, "cell-1")
    assert first != run(code, "cell-2")


def test_top_level_await_is_an_ordinary_call(run: Running) -> None:
    code = "async def enter():\n    return broker.buy(1)\nawait enter()"
    first = run(code)
    assert len(first) == 1
    assert run(code) == first


def test_without_cell_ids_the_code_is_the_cell(run: Running) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = run("x = 1\nbroker.buy(x)", None)
        assert run("x = 1  # the size\nbroker.buy(x)", None) == first
        assert run("x = 2\nbroker.buy(x)", None) != first


def test_cells_merged_by_their_code_are_warned_about_once_and_told_of_key(run: Running) -> None:
    run("broker.buy(1)", None)
    with pytest.warns(UserWarning, match=r"key=") as caught:
        run("# again\nbroker.buy(1)", None)
    assert (caught[0].lineno, "kit" in caught[0].filename) == (2, False), "it points at the line of the cell"
    run("broker.buy(1)", None)


def test_a_document_address_is_no_stable_id(run: Running) -> None:
    vscode = "vscode-notebook-cell:/home/me/a.ipynb#W2sZmlsZQ%3D%3D"
    first = run("broker.buy(1)", vscode)
    assert run("broker.buy(1)", vscode) == first  # the same address: known to be one cell, no warning
    with pytest.warns(UserWarning, match="does not tell cells apart"):
        assert run("broker.buy(1)", vscode.replace("W2", "W3")) == first


def test_where_the_code_is_the_cell_an_edit_that_repeats_an_order_is_warned_about(run: Running) -> None:
    vscode = "vscode-notebook-cell:/home/me/a.ipynb#W2sZmlsZQ%3D%3D"
    first = run("broker.buy(1)", vscode)
    with pytest.warns(UserWarning, match=r"edited since it ordered.*placed once more.*key="):
        assert run("print(broker.buy(1))", vscode) != first
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run("print(broker.buy(1))  # now", vscode)
        run("broker.buy(2)", vscode)
        run("x = 3\nbroker.buy(1)", "1a2b3c4d")
        run("x = 4\nbroker.buy(1)", "1a2b3c4d")


def test_a_thread_must_name_its_orders(run: Running) -> None:
    code = """
        import threading
        caught = []
        def work():
            try:
                broker.buy(1)
            except Exception as error:
                caught.append(error)
        thread = threading.Thread(target=work); thread.start(); thread.join()
        raise caught[0]
    """
    with pytest.raises(UsageError, match="key="):
        run(code)


def test_an_asyncio_task_must_name_its_orders(run: Running) -> None:
    code = "import asyncio\nasync def enter():\n    broker.buy(1)\nawait asyncio.gather(enter(), enter())"
    with pytest.raises(UsageError, match="key="):
        run(code)


def test_a_loop_started_by_a_cell_must_name_its_orders(shell: Any, run: Running) -> None:
    shell.autoawait = False
    with pytest.raises(UsageError, match="asyncio task"):
        run("import asyncio\nasync def enter():\n    broker.buy(1)\nasyncio.run(enter())")


def test_a_callback_between_cells_must_name_its_orders(shell: Any, run: Running) -> None:
    run("def clicked():\n    broker.buy(1)")
    with pytest.raises(UsageError, match="button"):
        shell.user_ns["clicked"]()


def test_a_loop_in_which_a_pass_was_refused_does_not_give_its_turn_to_the_next(shell: Any, run: Running) -> None:
    """Else the next run of the cell, where nothing is refused, would place the last one's order a second time."""
    cells = runtime.find(CellIdentity, "cells")
    assert cells is not None
    shell.user_ns["refuse"] = lambda: cells.refused(shell.user_ns["broker"].intents[-1])
    code = """
        caught = []
        for qty in (1, 2, 3):
            try:
                broker.buy(qty)
                if refused: refuse()
            except Exception as error:
                caught.append(error)
    """
    run("refused = True", "other")
    assert len(run(code)) == 1
    first, *others = shell.user_ns["caught"]
    assert isinstance(first, UsageError)
    assert re.search(
        r"refused when it asked for \(1,\), and now it asks for \(2,\).*key=.*nothing was sent", str(first)
    )
    assert len(others) == 1
    run("refused = False", "other")
    assert len(set(run(code))) == 3


def test_a_cell_that_failed_half_way_goes_on_when_run_again(run: Running) -> None:
    run("broken = True", "other")
    code = "broker.buy(1)\nif broken: 1 / 0\nbroker.buy(1)\nbroker.buy(2)"
    with pytest.raises(ZeroDivisionError):
        run(code)
    run("broken = False", "other")
    first = run(code)
    assert len(set(first)) == 3
    assert run(code) == first


def test_a_subshell_that_runs_a_cell_meanwhile_does_not_take_over_the_cell(shell: Any, run: Running) -> None:
    shell.user_ns["beside"] = lambda code: shell.run_cell(code, store_history=False, cell_id="b0b0")
    code = """
        import threading
        broker.buy(1)
        thread = threading.Thread(target=beside, args=("broker.buy(1)",)); thread.start(); thread.join()
        broker.buy(1)
    """
    cells = [(intent.parts[1], intent.parts[-1]) for intent in run(code)]
    assert cells == [("id:a1b2c3d4", "0"), ("id:b0b0", "0"), ("id:a1b2c3d4", "1")]


def test_a_notebook_that_keeps_no_ids_is_told_by_its_code(
    run: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterLab makes ids up each time it opens a notebook of a format before 4.5."""
    old = tmp_path / "old.ipynb"
    old.write_text('{"nbformat": 4, "nbformat_minor": 4, "cells": [], "metadata": {}}')
    monkeypatch.setenv("JPY_SESSION_NAME", str(old))
    first = run("broker.buy(1)", "3a7ffc3a-066f-4816-bce1-1f25fbfee37c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run("broker.buy(1)", "3a7ffc3a-066f-4816-bce1-1f25fbfee37c") == first
    with pytest.warns(UserWarning, match=r"before nbformat 4\.5\) keeps no cell ids.*key="):
        assert run("broker.buy(1)", "63de5733-1431-43db-9b35-3e25b5b3e323") == first


@pytest.mark.parametrize(
    "text", ['{"nbformat": 4, "nbformat_minor": 5}', '{"nbformat": 5, "nbformat_minor": 0}', "{", "[]"]
)
def test_a_notebook_is_taken_to_keep_ids_unless_it_says_otherwise(tmp_path: Path, text: str) -> None:
    notebook = tmp_path / "a.ipynb"
    assert keeps_ids(notebook), "renamed since"
    notebook.write_text(text)
    assert keeps_ids(notebook)


def test_the_identity_of_a_cell_is_for_ever(run: Running) -> None:
    """A changed value here would place the orders of every running account a second time."""
    code = "for qty in (1, 2):\n    broker.buy('BTC/USDT', qty)  # now"
    assert run(code)[1].parts == ("cell", "id:a1b2c3d4", "broker.buy('BTC/USDT', qty)", "", "1")
    hashed = "code:484973a3ad0d51e19e5f634c4c0ace1d"
    assert run(code, None)[1].parts == ("cell", hashed, "broker.buy('BTC/USDT', qty)", "", "1")


def test_an_order_refused_before_it_was_written_down_is_tried_again_as_the_same_intent(
    shell: Any, run: Running
) -> None:
    cells = runtime.find(CellIdentity, "cells")
    assert cells is not None
    shell.user_ns["refuse"] = lambda: cells.refused(shell.user_ns["broker"].intents[-1])
    tried = run("for _ in range(3):\n    broker.buy(1); refuse()\n    refuse()")
    assert len(set(tried)) == 1
    assert run("for _ in range(3):\n    broker.buy(1)")[0] == tried[0]


def test_the_kit_can_be_imported_by_the_very_cell_that_orders(shell: Any) -> None:
    recorder = shell.user_ns["broker"] = Recorder()
    shell.get_parent = lambda: {"metadata": {"cellId": "a1b2c3d4"}}
    code = "from kit.notebook import install_if_ipython as i; i(); broker.buy(1)"
    shell.run_cell(code, store_history=True, cell_id="a1b2c3d4").raise_error()
    shell.run_cell(code, store_history=True, cell_id="a1b2c3d4").raise_error()
    assert recorder.intents[0] == recorder.intents[1]
    assert recorder.intents[0].parts[1] == "id:a1b2c3d4"


def test_where_python_keeps_no_columns_the_statement_is_the_call() -> None:
    """As under ``python -X no_debug_ranges``."""
    code = SimpleNamespace(co_positions=lambda: iter([(2, None, None, None)]))
    frame: Any = SimpleNamespace(f_code=code, f_lasti=0, f_lineno=2)
    assert ast.unparse(_asking(ast.parse("x = 1\nbroker.buy(x)\n"), frame)) == "broker.buy(x)"
