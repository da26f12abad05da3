"""Best bids and asks in the order they came: what the venue told, or the top of the book after each update."""

from __future__ import annotations

import msgspec
import pandas as pd
import pytest

from kit.market import candles
from kit.market.quote_ring import QuoteRing
from kit.model import Quote


def quote(n: int, *, bid: float = 99.0, time: int = 0) -> Quote:
    return Quote("BTCUSDT", bid, 1.0, 101.0, 2.0, n, time)


def at(us: int) -> pd.Timestamp:
    return pd.Timestamp(us, unit="us", tz="UTC")


def test_quotes_are_indexed_by_when_they_were_received() -> None:
    made = QuoteRing(10)
    made.put(quote(5), "rest", 10)
    made.put(quote(6, bid=99.5, time=8), "ws", 20, epoch=2)
    frame = made.snapshot({"symbol": "BTC/USDT"})
    assert list(frame.columns) == ["bid", "bid_qty", "ask", "ask_qty", "update_id", "time", "source", "epoch"]
    assert frame.index.name == "recv_ts"
    assert frame.index.tolist() == [at(10), at(20)]
    assert frame["bid"].tolist() == [99.0, 99.5]
    assert frame[["bid_qty", "ask", "ask_qty"]].iloc[1].tolist() == [1.0, 101.0, 2.0]
    assert frame["update_id"].tolist() == [5, 6]
    assert frame["epoch"].tolist() == [0, 2]
    assert frame["source"].tolist() == ["rest", "ws"]
    assert frame.attrs == {"symbol": "BTC/USDT"}


def test_a_venue_that_sends_no_time_has_none_in_the_frame() -> None:
    made = QuoteRing(10)
    made.put(quote(5), "ws", 10)
    made.put(quote(6, time=8), "ws", 20)
    times = made.snapshot({})["time"]
    assert times.dtype == candles.UTC_US
    assert times.isna().tolist() == [True, False]
    assert times.iloc[1] == at(8)


def test_no_quotes_is_an_empty_frame_with_the_schema() -> None:
    frame = QuoteRing(10).snapshot({})
    assert frame.empty
    assert frame.index.dtype == candles.UTC_US
    assert [str(dtype) for dtype in frame.dtypes] == [
        *["float64"] * 4,
        "int64",
        "datetime64[us, UTC]",
        "category",
        "int64",
    ]


def test_every_quote_is_kept_even_if_nothing_changed() -> None:
    made = QuoteRing(10)
    assert [made.put(quote(n), "ws", n) for n in (1, 2, 3)] == [True, True, True]
    assert len(made) == made.version == 3


@pytest.mark.parametrize("changed", ["bid", "bid_qty", "ask", "ask_qty"])
def test_of_tops_only_the_changes_are_kept(changed: str) -> None:
    made = QuoteRing(10, changes_only=True)
    assert made.put(quote(1), "ws", 1) is True
    assert made.put(quote(2), "ws", 2) is False
    moved = msgspec.structs.replace(quote(3), **{changed: 50.0})
    assert made.put(moved, "ws", 3) is True
    assert made.put(msgspec.structs.replace(moved, update_id=4), "ws", 4) is False
    frame = made.snapshot({})
    assert frame["update_id"].tolist() == [1, 3]
    assert frame[changed].iloc[1] == 50.0


def test_the_same_top_in_a_new_epoch_is_told_again() -> None:
    made = QuoteRing(10, changes_only=True)
    made.put(quote(1), "ws", 1, epoch=1)
    assert made.put(quote(2), "ws", 2, epoch=2) is True
    assert made.snapshot({})["epoch"].tolist() == [1, 2]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 15, 16, 17, 18, 100])
def test_the_newest_quotes_stay_and_memory_is_bounded(count: int) -> None:
    made, sizes = QuoteRing(8), set()
    for n in range(count):
        made.put(quote(n), "ws", n)
        sizes.add(made._state[0].room.nbytes)
    assert made.snapshot({})["update_id"].tolist() == list(range(max(0, count - 8), count))
    assert made.version == count
    assert len(sizes) <= 1


def test_a_quote_frame_never_changes_and_is_the_readers_own() -> None:
    made = QuoteRing(40)
    for n in range(60):
        made.put(quote(n), "ws", n)
    frame = made.snapshot({})
    kept = frame.copy(deep=True)
    mine = made.snapshot({})
    mine.loc[:, "bid"] = 0.0
    mine["mid"] = 1.0
    for n in range(60, 500):
        made.put(quote(n), "ws", n)
    pd.testing.assert_frame_equal(frame, kept)
    assert mine["bid"].tolist() == [0.0] * 40
    assert made.snapshot({})["bid"].tolist() == [99.0] * 40
