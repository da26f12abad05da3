"""Rings inside, plain frames outside: nothing torn, nothing late, nothing unbounded."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.market import candles
from kit.market.frame import CandleRing, TradeRing
from kit.model import Candle, Side, Trade

MINUTE = 60_000_000
ATTRS = candles.labels("BTC/USDT", "1m", "binance", "SANDBOX")


def bar(n: int, *, close: float = 1.0, trades: int = 1, closed: bool = True) -> Candle:
    return Candle("BTCUSDT", "1m", n * MINUTE, 1.0, 2.0, 0.5, close, 10.0, 10.0 * close, trades, closed)


def ring(*bars: Candle, capacity: int = 100) -> CandleRing:
    made = CandleRing(capacity)
    for one in bars:
        made.put(one, "ws")
    return made


def trade(id_: int) -> Trade:
    return Trade("BTCUSDT", id_, 100.0 + id_, 0.5, id_ * 1_000, Side.BUY if id_ % 2 else Side.SELL)


# -- candles


def test_the_frame_has_the_candle_schema_and_a_source() -> None:
    frame = ring(bar(0), bar(1, closed=False)).snapshot(ATTRS)
    plain = candles.empty(ATTRS)
    assert list(frame.columns) == [*plain.columns, "source"]
    assert frame.index.dtype == plain.index.dtype
    assert frame.index.name == "time"
    assert [str(dtype) for dtype in frame.dtypes[:-1]] == [str(dtype) for dtype in plain.dtypes]
    assert frame.attrs == ATTRS
    assert frame["closed"].tolist() == [True, False]
    assert frame["source"].tolist() == ["ws", "ws"]


def test_an_empty_ring_is_an_empty_frame_with_the_schema() -> None:
    frame = CandleRing(10).snapshot(ATTRS)
    assert frame.empty
    assert list(frame.columns) == list(ring(bar(0)).snapshot(ATTRS).columns)


def test_the_forming_bar_is_updated_in_place() -> None:
    made = ring(bar(0), bar(1, close=1.5, trades=2, closed=False), bar(1, close=1.7, trades=3, closed=False))
    frame = made.snapshot(ATTRS)
    assert frame["close"].tolist() == [1.0, 1.7]
    assert frame["trades"].tolist() == [1, 3]


def test_an_earlier_version_of_the_forming_bar_is_ignored() -> None:
    made = ring(bar(1, trades=5, close=1.5, closed=False))
    assert made.put(bar(1, trades=4, closed=False), "rest") is False
    assert made.snapshot(ATTRS)["close"].tolist() == [1.5]


def test_a_closed_bar_is_final() -> None:
    made = ring(bar(1, close=1.5))
    assert made.put(bar(1, close=9.9, trades=99), "backfill") is False
    assert made.snapshot(ATTRS)["close"].tolist() == [1.5]
    assert made.snapshot(ATTRS)["source"].tolist() == ["ws"]


def test_the_venues_word_closes_a_bar_and_so_does_the_next_bar() -> None:
    made = ring(bar(0, closed=False), bar(0, trades=1), bar(1, closed=False), bar(2, closed=False))
    assert made.snapshot(ATTRS)["closed"].tolist() == [True, True, False]
    assert made.closes == 2


def test_a_bar_older_than_the_newest_is_ignored() -> None:
    made = ring(bar(5))
    assert made.put(bar(4), "backfill") is False
    assert len(made) == 1


def test_many_bars_are_taken_at_once_and_joined_to_what_is_there() -> None:
    made = ring(bar(0), bar(1, trades=1, closed=False))
    columns = {
        "time": np.arange(4) * MINUTE,
        **{name: np.full(4, 3.0) for name in candles.FLOATS},
        "trades": np.full(4, 2),
    }
    assert made.extend(columns, np.array([True, True, True, False]), "backfill") == 3
    frame = made.snapshot(ATTRS)
    assert frame["source"].tolist() == ["ws", "backfill", "backfill", "backfill"]
    assert frame["closed"].tolist() == [True, True, True, False]
    assert frame["close"].tolist() == [1.0, 3.0, 3.0, 3.0]


def test_memory_is_bounded_by_rows() -> None:
    made = CandleRing(50)
    blocks = set()
    for n in range(1_000):
        made.put(bar(n, closed=False), "ws")
        blocks.add(made._state[0].floats.shape)
    frame = made.snapshot(ATTRS)
    assert len(frame) == 50
    assert frame.index[-1] == pd.Timestamp(999 * MINUTE, unit="us", tz="UTC")
    assert blocks == {(6, 101)}


def test_a_frame_handed_out_never_changes() -> None:
    made = ring(*(bar(n) for n in range(30)), bar(30, closed=False), capacity=20)
    frame = made.snapshot(ATTRS)
    kept = frame.copy(deep=True)
    for n in range(30, 200):
        made.put(bar(n, close=7.0, trades=9), "ws")
    pd.testing.assert_frame_equal(frame, kept)


def test_a_frame_is_the_readers_own() -> None:
    made = ring(bar(0), bar(1))
    mine = made.snapshot(ATTRS)
    mine["sma"] = mine["close"].rolling(2).mean()
    mine.iloc[0, 3] = 99.0
    mine.loc[:, "volume"] = 0.0
    again = made.snapshot(ATTRS)
    assert list(again.columns) == [*candles.COLUMNS, "source"]
    assert again["close"].tolist() == [1.0, 1.0]
    assert again["volume"].tolist() == [10.0, 10.0]
    assert mine.iloc[0, 3] == 99.0


def test_an_unchanged_ring_is_not_built_again() -> None:
    made = ring(bar(0), bar(1))
    first, second = made.snapshot(ATTRS), made.snapshot(ATTRS)
    assert np.shares_memory(first["close"].to_numpy(), second["close"].to_numpy())
    made.put(bar(2), "ws")
    assert len(made.snapshot(ATTRS)) == 3


def test_the_version_counts_changes_only() -> None:
    made = ring(bar(0))
    version = made.version
    made.put(bar(0), "ws")
    assert made.version == version
    made.put(bar(1, closed=False), "ws")
    assert made.version == version + 1


def test_readers_in_other_threads_never_see_a_torn_row() -> None:
    made, stop, torn = CandleRing(64), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            frame = made.snapshot(ATTRS)
            number = frame.index.asi8 // MINUTE  # type: ignore[attr-defined]  # the schema says DatetimeIndex
            whole = (frame["close"] == frame["trades"]) & (frame["open"] == number)
            ordered = frame.index.is_monotonic_increasing and frame.index.is_unique and (np.diff(number) == 1).all()
            if not (whole.all() and ordered and frame["closed"][:-1].all()):
                torn.append(frame)

    readers = [threading.Thread(target=read, name=f"kit-test-{n}", daemon=True) for n in range(2)]
    for reader in readers:
        reader.start()
    for n in range(6_000):
        for version in range(3):
            count = n * 3 + version
            row = (float(n), 0.0, 0.0, float(count), 0.0, 0.0)
            made.put(Candle("X", "1m", n * MINUTE, *row, count, version == 2), "ws")
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5), st.booleans()), max_size=60), st.integers(1, 6))
def test_the_ring_equals_a_plain_list_kept_by_the_same_rules(steps: list[tuple[int, int, bool]], capacity: int) -> None:
    made = CandleRing(capacity)
    model: list[tuple[int, int, bool]] = []
    for n, trades, closed in steps:
        made.put(bar(n, trades=trades, closed=closed), "ws")
        if not model or n > model[-1][0]:
            if model:
                model[-1] = (*model[-1][:2], True)
            model.append((n, trades, closed))
        elif n == model[-1][0] and not model[-1][2] and (closed or trades >= model[-1][1]):
            model[-1] = (n, trades, closed)
    frame = made.snapshot(ATTRS)
    seen = list(zip((candles.open_times(frame) // MINUTE).tolist(), frame["trades"], frame["closed"], strict=True))
    assert seen == model[-capacity:]


# -- trades


def test_trades_are_kept_once_by_id() -> None:
    made = TradeRing(10)
    taken = [made.put(trade(n), "ws") for n in (1, 2, 2, 1, 3)]
    assert taken == [True, True, False, False, True]
    assert made.last_id == 3


def test_the_trade_frame_is_indexed_by_time_and_says_where_rows_came_from() -> None:
    made = TradeRing(10)
    made.put(trade(1), "rest")
    made.put(trade(2), "ws")
    frame = made.snapshot({"symbol": "BTC/USDT"})
    assert list(frame.columns) == ["id", "price", "qty", "side", "source"]
    assert frame["side"].tolist() == ["buy", "sell"]
    assert frame["source"].tolist() == ["rest", "ws"]
    assert frame.index[1] == pd.Timestamp("1970-01-01 00:00:00.002", tz="UTC")
    assert frame.attrs == {"symbol": "BTC/USDT"}


def test_no_trades_is_an_empty_frame_with_the_schema() -> None:
    assert list(TradeRing(5).snapshot({}).columns) == ["id", "price", "qty", "side", "source"]


def test_a_trade_frame_never_changes_and_is_the_readers_own() -> None:
    made = TradeRing(40)
    for n in range(60):
        made.put(trade(n), "ws")
    frame = made.snapshot({})
    kept = frame.copy(deep=True)
    mine = made.snapshot({})
    mine.loc[:, "price"] = 0.0
    for n in range(60, 500):
        made.put(trade(n), "ws")
    mine.iloc[0, 2] = 77.0
    pd.testing.assert_frame_equal(frame, kept)
    assert made.snapshot({})["id"].tolist() == list(range(460, 500))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 15, 16, 17, 18, 100])
def test_the_newest_trades_stay(count: int) -> None:
    made = TradeRing(8)
    for n in range(count):
        made.put(trade(n), "ws")
    assert made.snapshot({})["id"].tolist() == list(range(max(0, count - 8), count))
    assert len(made) == min(count, 8)
