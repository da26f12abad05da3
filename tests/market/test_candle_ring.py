"""Candles as they form: nothing torn, nothing late, nothing unbounded, and no bar closed twice."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from kit.market import candles
from kit.market.candle_ring import CandleRing
from kit.model import Candle

MINUTE = 60_000_000
ATTRS = candles.labels("BTC/USDT", "1m", "binance", "SANDBOX")


def bar(n: int, *, close: float = 1.0, volume: float = 10.0, trades: int = 1, closed: bool = True) -> Candle:
    return Candle("BTCUSDT", "1m", n * MINUTE, 1.0, 2.0, 0.5, close, volume, 10.0 * close, trades, closed)


def ring(*bars: Candle, capacity: int = 100) -> CandleRing:
    made = CandleRing(capacity)
    for one in bars:
        made.put(one, "ws", one.time + 7)
    return made


def at(us: int) -> pd.Timestamp:
    return pd.Timestamp(us, unit="us", tz="UTC")


def test_the_frame_has_the_candle_schema_a_source_and_when_it_was_received() -> None:
    frame = ring(bar(0), bar(1, closed=False)).snapshot(ATTRS)
    plain = candles.empty(ATTRS)
    assert list(frame.columns) == [*plain.columns, "source", "recv_ts"]
    assert frame.index.dtype == plain.index.dtype
    assert frame.index.name == "time"
    assert [str(dtype) for dtype in frame.dtypes[:-2]] == [str(dtype) for dtype in plain.dtypes]
    assert frame.attrs == ATTRS
    assert frame["closed"].tolist() == [True, False]
    assert frame["source"].tolist() == ["ws", "ws"]
    assert frame["recv_ts"].dtype == candles.UTC_US
    assert frame["recv_ts"].tolist() == [at(7), at(MINUTE + 7)]


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


def test_a_row_tells_when_it_was_received_as_it_stands() -> None:
    made = CandleRing(10)
    made.put(bar(1, trades=1, closed=False), "ws", 11)
    made.put(bar(1, trades=2, closed=False), "ws", 12)
    assert made.snapshot(ATTRS)["recv_ts"].tolist() == [at(12)]
    made.put(bar(1, trades=2, closed=False), "rest", 13)
    assert made.snapshot(ATTRS)["recv_ts"].tolist() == [at(12)]
    made.put(bar(1, trades=2), "ws", 14)
    made.put(bar(1, trades=2), "ws", 15)
    assert made.snapshot(ATTRS)["recv_ts"].tolist() == [at(14)]


def test_the_next_bar_closes_a_bar_as_it_was_received_last() -> None:
    made = CandleRing(10)
    made.put(bar(1, closed=False), "rest", 11)
    made.put(bar(2, closed=False), "ws", 12)
    frame = made.snapshot(ATTRS)
    assert frame["recv_ts"].tolist() == [at(11), at(12)]
    assert frame["source"].tolist() == ["rest", "ws"]


def test_who_does_not_say_when_it_was_received_gets_no_moment() -> None:
    made = CandleRing(10)
    made.put(bar(0), "rest")
    made.put(bar(1, closed=False), "rest")
    assert made.snapshot(ATTRS)["recv_ts"].isna().all()


def test_rest_corrects_the_bar_that_is_forming() -> None:
    made = ring(bar(0), bar(1, close=1.5, trades=5, closed=False))
    assert made.put(bar(1, close=1.6, trades=8, closed=False), "backfill", 99) is True
    frame = made.snapshot(ATTRS)
    assert frame["close"].tolist() == [1.0, 1.6]
    assert frame["source"].tolist() == ["ws", "backfill"]
    assert frame["closed"].tolist() == [True, False]


def test_where_trades_are_not_counted_the_volume_tells_which_version_is_newer() -> None:
    made = ring(bar(1, close=1.5, volume=5.0, trades=0, closed=False))
    assert made.put(bar(1, volume=4.0, trades=0, closed=False), "rest") is False
    assert made.put(bar(1, close=1.7, volume=6.0, trades=0, closed=False), "rest") is True
    assert made.snapshot(ATTRS)["close"].tolist() == [1.7]


def test_a_version_without_a_count_is_compared_with_a_counted_one_by_volume() -> None:
    made = ring(bar(1, close=1.5, volume=5.0, trades=40, closed=False))
    assert made.put(bar(1, close=1.4, volume=4.0, trades=0, closed=False), "rest") is False
    assert made.put(bar(1, close=1.4, volume=5.0, trades=0, closed=False), "rest") is False
    assert made.put(bar(1, close=1.6, volume=6.0, trades=0, closed=False), "rest") is True
    assert made.put(bar(1, close=1.6, volume=6.0, trades=41, closed=False), "ws") is True
    assert made.snapshot(ATTRS)["trades"].tolist() == [41]


def test_of_two_versions_that_count_the_same_the_later_told_stays() -> None:
    made = ring(bar(1, close=1.5, trades=5, closed=False))
    assert made.put(bar(1, close=1.6, trades=5, closed=False), "rest") is True
    assert made.snapshot(ATTRS)["close"].tolist() == [1.6]


def test_a_version_that_says_the_same_again_changes_nothing() -> None:
    made = ring(bar(1, trades=5, closed=False))
    version, frame = made.version, made.snapshot(ATTRS)
    assert made.put(bar(1, trades=5, closed=False), "rest") is False
    assert made.version == version
    assert np.shares_memory(frame["close"].to_numpy(), made.snapshot(ATTRS)["close"].to_numpy())


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


def test_a_page_closes_the_forming_bar_as_the_stream_told_it() -> None:
    made = ring(bar(0, close=1.5, closed=False))
    columns = {"time": np.arange(1, 4) * MINUTE, "trades": np.full(3, 2)}
    columns |= {name: np.full(3, 3.0) for name in candles.FLOATS}
    made.extend(columns, np.array([True, True, False]), "backfill", 99)
    frame = made.snapshot(ATTRS)
    assert frame["source"].tolist() == ["ws", "backfill", "backfill", "backfill"]
    assert frame["recv_ts"].tolist() == [at(7), at(99), at(99), at(99)]
    assert frame["close"].tolist() == [1.5, 3.0, 3.0, 3.0]
    assert frame["closed"].tolist() == [True, True, True, False]


def test_a_page_longer_than_the_ring_leaves_its_newest_bars() -> None:
    made = CandleRing(5)
    columns = {
        "time": np.arange(40) * MINUTE,
        **{name: np.arange(40.0) for name in candles.FLOATS},
        "trades": np.arange(40),
    }
    assert made.extend(columns, np.arange(40) < 39, "rest", 7) == 40
    frame = made.snapshot(ATTRS)
    assert frame["trades"].tolist() == [35, 36, 37, 38, 39]
    assert frame["closed"].tolist() == [True] * 4 + [False]
    assert frame["recv_ts"].tolist() == [at(7)] * 5
    assert (made.version, made.closes, made.last_time) == (40, 39, 39 * MINUTE)


@st.composite
def pages(draw: st.DrawFn) -> tuple[list[int], list[int], list[bool]]:
    numbers = sorted(draw(st.sets(st.integers(0, 30), max_size=20)))
    trades = [draw(st.integers(1, 4)) for _ in numbers]
    return numbers, trades, [draw(st.booleans()) for _ in numbers]


@given(st.lists(pages(), max_size=4), st.integers(1, 7))
def test_a_page_taken_at_once_is_the_same_as_its_bars_one_by_one(
    told: list[tuple[list[int], list[int], list[bool]]], capacity: int
) -> None:
    once, each = CandleRing(capacity), CandleRing(capacity)
    for numbers, trades, closed in told:
        rows = [bar(n, trades=count, closed=done) for n, count, done in zip(numbers, trades, closed, strict=True)]
        columns = {name: np.array([getattr(row, name) for row in rows], float) for name in candles.FLOATS}
        counts = {name: np.array([getattr(row, name) for row in rows], np.int64) for name in ("time", "trades")}
        taken = once.extend(columns | counts, np.array(closed, bool), "backfill", 9)
        assert taken == sum(each.put(row, "backfill", 9) for row in rows)
        pd.testing.assert_frame_equal(once.snapshot(ATTRS), each.snapshot(ATTRS))
        assert (once.version, once.closes, once.last_time, len(once)) == (
            each.version,
            each.closes,
            each.last_time,
            len(each),
        )


def test_memory_is_bounded_by_rows() -> None:
    made = CandleRing(50)
    blocks = set()
    for n in range(1_000):
        made.put(bar(n, closed=False), "ws")
        blocks.add(made._state[0].room.nbytes)
    frame = made.snapshot(ATTRS)
    assert len(frame) == 50
    assert frame.index[-1] == at(999 * MINUTE)
    assert blocks == {101 * 80}
    assert len(made) == 50


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
    assert list(again.columns) == [*candles.COLUMNS, "source", "recv_ts"]
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


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(1, 9), st.booleans()), max_size=25),
    st.integers(2, 6),
)
def test_no_bar_is_ever_closed_twice_with_different_values(
    steps: list[tuple[int, int, int, bool]], capacity: int
) -> None:
    made, final = CandleRing(capacity), dict[int, tuple[object, ...]]()
    for count, (n, trades, close, closed) in enumerate(steps):
        made.put(bar(n, close=close, volume=close, trades=trades, closed=closed), "ws", count + 1)
        frame = made.snapshot(ATTRS)
        told = (frame[name].tolist() for name in ("close", "trades", "recv_ts"))
        for time, done, *row in zip(candles.open_times(frame).tolist(), frame["closed"], *told, strict=True):
            if done:
                assert final.setdefault(time, tuple(row)) == tuple(row)
