from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from kit.errors import UsageError
from kit.notebook.chart import FORMING, MOST_BARS, chart, equity_figure

Make = Callable[..., pd.DataFrame]


def fill_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": pd.to_datetime(["2026-01-01 00:03", "2026-01-01 00:05", "2026-01-01 00:05"], utc=True),
            "symbol": ["BTC/USDT", "BTC/USDT", "ETH/USDT"],
            "side": ["buy", "sell", "buy"],
            "qty": [Decimal("0.5"), Decimal("0.2"), Decimal(3)],
            "price": [Decimal("101.5"), Decimal(102), Decimal(9)],
        }
    )


def by_name(fig: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in fig.data}


def test_closed_bars_volume_and_the_forming_bar_are_drawn_apart(candle_frame: Make) -> None:
    traces = by_name(chart(candle_frame(10)))
    assert len(traces["closed"].x) == 9
    assert len(traces["forming"].x) == 1
    assert len(traces["volume"].y) == 10
    assert traces["forming"].increasing.line.color == FORMING


def test_times_stay_utc_and_exact(candle_frame: Make) -> None:
    shown = pd.DatetimeIndex(by_name(chart(candle_frame(3)))["closed"].x)
    assert list(shown) == list(pd.DatetimeIndex(candle_frame(3).index).tz_localize(None)[:2])


@pytest.mark.parametrize(("environment", "word"), [("SANDBOX", "SANDBOX"), ("TESTNET", "TESTNET"), ("DATA", "binance")])
def test_the_title_says_where_the_data_comes_from(environment: str, word: str, candle_frame: Make) -> None:
    assert word in chart(candle_frame(3, environment=environment)).layout.title.text


def test_fills_of_this_symbol_become_markers_and_others_stay_out(candle_frame: Make) -> None:
    traces = by_name(chart(candle_frame(10), fills=fill_frame()))
    assert list(traces["bought"].y) == [101.5]
    assert list(traces["sold"].y) == [102.0]
    assert traces["bought"].text == ("buy 0.5 @ 101.5",)


def test_fills_indexed_by_time_are_as_good(candle_frame: Make) -> None:
    assert list(by_name(chart(candle_frame(10), fills=fill_frame().set_index("time")))["bought"].y) == [101.5]


def test_holes_are_shaded(candle_frame: Make) -> None:
    hole = ["2026-01-01T00:03:00+00:00", "2026-01-01T00:05:00+00:00"]
    (shape,) = chart(candle_frame(10, holes=[hole])).layout.shapes
    assert [shape.x0, shape.x1] == hole
    assert shape.label.text == "no data"


def test_an_empty_frame_is_a_chart_that_says_so(candle_frame: Make) -> None:
    fig = chart(candle_frame(10).iloc[:0])
    assert fig.layout.annotations[0].text == "no candles in this range"
    assert "BTC/USDT" in fig.layout.title.text


def test_a_very_long_frame_is_drawn_with_wider_bars_and_says_so(candle_frame: Make) -> None:
    frame = candle_frame(10_001)
    fig = chart(frame)
    drawn = [trace for trace in fig.data if trace.type == "candlestick"]
    assert sum(len(trace.x) for trace in drawn) <= MOST_BARS
    assert max(trace.high.max() for trace in drawn) == frame["high"].max()
    assert by_name(fig)["volume"].y.sum() == frame["volume"].sum()
    assert "4 1m bars to a candle" in fig.layout.title.text


def test_a_frame_of_ones_own_needs_times_and_prices_only(candle_frame: Make) -> None:
    own = candle_frame(10)[["open", "high", "low", "close"]].tz_localize(None)
    traces = by_name(chart(own))
    assert len(traces["closed"].x) == 10
    assert traces["volume"].y.sum() == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "not from NoneType"),
        ("BTC/USDT", "not from str"),
        (pd.Series([1.0]), "not from Series"),
        (pd.DataFrame({"open": [1.0], "close": [1.0]}), "lack high, low"),
        (pd.DataFrame({name: [1.0] for name in ("open", "high", "low", "close")}), "lack times in its index"),
    ],
)
def test_what_can_not_be_drawn_is_told_what_is_missing(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        chart(given)


def test_what_are_no_fills_is_told_what_to_pass(candle_frame: Make) -> None:
    with pytest.raises(UsageError, match=r"fills=5: pass a DataFrame of fills, as broker\.fills"):
        chart(candle_frame(3), fills=5)  # type: ignore[arg-type]  # that is the test


def test_a_figure_needs_none_of_plotlys_renderers_which_cost_seconds() -> None:
    code = (
        "import sys; from kit.market.candles import empty; from kit.notebook.chart import chart; chart(empty({}));"
        "print(sorted({'plotly.io._renderers', 'IPython', 'ipywidgets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("as_series", [True, False])
def test_equity_is_drawn_with_its_drawdown(as_series: bool) -> None:
    index = pd.date_range("2026-01-01", periods=3, freq="h", tz="UTC")
    equity = pd.Series([Decimal(100), Decimal(110), Decimal(99)], index=index)
    traces = by_name(equity_figure(equity if as_series else equity.to_frame("equity")))
    assert list(traces["equity"].y) == [100.0, 110.0, 99.0]
    assert traces["drawdown"].y[-1] == pytest.approx(-0.1)


def test_no_equity_yet_is_said() -> None:
    empty = pd.Series([], index=pd.DatetimeIndex([], tz="UTC"), dtype="float64")
    assert equity_figure(empty).layout.annotations[0].text == "no equity yet"
