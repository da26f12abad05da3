"""Public trades: each once, in order, and a frame of them never changes."""

from __future__ import annotations

import threading

import msgspec
import numpy as np
import pandas as pd
import pytest

from kit.market import candles
from kit.market.trade_ring import TradeRing
from kit.model import Side, Trade

COLUMNS = ["id", "price", "qty", "side", "source", "recv_ts"]


def trade(id_: int) -> Trade:
    return Trade("BTCUSDT", id_, 100.0 + id_, 0.5, id_ * 1_000, Side.BUY if id_ % 2 else Side.SELL)


def test_trades_are_kept_once_by_id() -> None:
    made = TradeRing(10)
    taken = [made.put(trade(n), "ws") for n in (1, 2, 2, 1, 3)]
    assert taken == [True, True, False, False, True]
    assert (made.last_id, made.last_time, made.version) == (3, 3_000, 3)


def test_the_trade_frame_is_indexed_by_time_and_says_where_rows_came_from() -> None:
    made = TradeRing(10)
    made.put(trade(1), "rest")
    made.put(trade(2), "ws", 2_300)
    frame = made.snapshot({"symbol": "BTC/USDT"})
    assert list(frame.columns) == COLUMNS
    assert frame["side"].tolist() == ["buy", "sell"]
    assert frame["source"].tolist() == ["rest", "ws"]
    assert frame["recv_ts"].dtype == candles.UTC_US
    assert frame["recv_ts"].isna().tolist() == [True, False]
    assert frame["recv_ts"].iloc[1] == pd.Timestamp(2_300, unit="us", tz="UTC")
    assert frame.index[1] == pd.Timestamp("1970-01-01 00:00:00.002", tz="UTC")
    assert frame.attrs == {"symbol": "BTC/USDT"}


def test_trades_after_one_are_told_as_they_were_taken() -> None:
    made = TradeRing(40)
    assert made.after(None, "BTC/USDT") == []
    for n in range(0, 400, 2):
        made.put(trade(n), "ws")
    kept = [msgspec.structs.replace(trade(n), symbol="BTC/USDT") for n in range(320, 400, 2)]
    assert made.after(None, "BTC/USDT") == made.after(7, "BTC/USDT") == kept
    assert made.after(391, "BTC/USDT") == made.after(390, "BTC/USDT") == kept[-4:]
    assert made.after(398, "BTC/USDT") == made.after(500, "BTC/USDT") == []


def test_no_trades_is_an_empty_frame_with_the_schema() -> None:
    assert list(TradeRing(5).snapshot({}).columns) == COLUMNS


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


def test_readers_in_other_threads_never_see_a_torn_trade() -> None:
    made, stop, torn = TradeRing(64), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            frame = made.snapshot({})
            ids = frame["id"].to_numpy()
            whole = (frame["price"] == 100.0 + ids) & (candles.open_times(frame) == ids * 1_000)
            received = (frame["recv_ts"] - frame.index) == pd.Timedelta(5, "us")
            if not (whole.all() and received.all() and (np.diff(ids) == 1).all()):
                torn.append(frame)

    readers = [threading.Thread(target=read, name=f"kit-test-{n}", daemon=True) for n in range(2)]
    for reader in readers:
        reader.start()
    for n in range(6_000):
        made.put(trade(n), "ws", n * 1_000 + 5)
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []
