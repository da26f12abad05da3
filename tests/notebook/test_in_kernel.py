"""The notebook room in a real kernel on the sandbox: what JupyterLab does, without a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.kernel import Kernel

WIDGET = "application/vnd.jupyter.widget-view+json"
Say = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def say(sandbox_home: Path) -> Iterator[Say]:
    """``say(code, cell_id)`` runs a cell and returns what it displays, by MIME type; ``stream`` is what it printed."""
    kernel = Kernel(sandbox_home)
    yield lambda code, cell_id: kernel.run(code, {"cellId": cell_id})
    kernel.close()


START = """
import kit, threading
venue = kit.connect(seed=7)
live = venue.live("BTC/USDT", "1m")
assert live.ready(30)
broker = kit.paper(venue, cash=10_000, account="kernel")
order = broker.buy("BTC/USDT", 0.01)
order.wait(10)
order.id
"""


def test_a_cell_that_imports_the_kit_and_orders_finds_its_order_when_run_again(say: Say) -> None:
    first, again = (say(START, "11111111-aaaa")["text/plain"] for _ in range(2))
    assert first == again
    assert say("len(broker.orders)", "22222222-aaaa")["text/plain"] == "1"


def test_an_order_and_its_account_show_what_became_of_them(say: Say) -> None:
    order = say("order", "33333333-aaaa")
    assert "filled" in order["text/html"]
    assert "paper on SANDBOX" in order["text/html"]
    account = say("broker", "44444444-aaaa")["text/html"]
    assert all(word in account for word in ("SANDBOX", "BTC/USDT", "USDT", "Open orders"))


def test_a_live_frame_is_a_widget_with_a_picture_for_where_there_is_none(say: Say) -> None:
    shown = say("live", "55555555-aaaa")
    assert {WIDGET, "text/html", "text/plain"} <= set(shown)
    assert "<svg" in shown["text/html"]
    say("live", "55555555-aaaa")
    count = say("sum(t.name == 'kit-views' for t in threading.enumerate())", "66666666-aaaa")
    assert count["text/plain"] == "1"


def test_a_backtest_shows_its_figure_and_its_statistics(say: Say) -> None:
    code = """
class Hold(kit.Strategy):
    def next(self):
        self.target(0.5)

candles = venue.candles("BTC/USDT", "1h", limit=50)
kit.backtest(Hold(), candles)
"""
    shown = say(code, "77777777-aaaa")
    assert "application/vnd.plotly.v1+json" in shown
    assert "max drawdown" in shown["text/html"]
    assert "fees" in shown["text/html"]
    assert " more</div>" not in shown["text/html"]
    assert "SANDBOX" in shown["text/html"]


def test_a_chart_of_candles_is_plotly_output(say: Say) -> None:
    assert "application/vnd.plotly.v1+json" in say("kit.chart(candles, fills=broker.fills)", "88888888-aaaa")


def test_the_extension_lets_a_cell_call_asyncio_run_and_can_be_loaded_twice(say: Say) -> None:
    say("%load_ext kit\n%reload_ext kit", "99999999-aaaa")
    code = "import asyncio\nasync def two():\n    await asyncio.sleep(0)\n    return 2\nasyncio.run(two())"
    assert say(code, "aaaaaaaa-aaaa")["text/plain"] == "2"
    assert say("live", "bbbbbbbb-aaaa").get(WIDGET)


def test_an_extension_taken_back_leaves_plain_representations(say: Say) -> None:
    say("%unload_ext kit", "cccccccc-aaaa")
    assert WIDGET not in say("live", "dddddddd-aaaa")
