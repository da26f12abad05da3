"""What may be read of a live instrument, beside its bars and trades: quotes, depth, feeds, delays, a tape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kit.errors import BookUnsynced, UsageError
from kit.net.live import Live

Eventually = Callable[[Callable[[], object]], None]
Open = Callable[..., Live]
Tiny = Any  # the fixture of conftest.py
CHANNELS = ["trade", "candle", "quote", "book"]
TOP = ["bid", "bid_qty", "ask", "ask_qty"]


def test_every_row_says_when_it_was_received(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    opened, before = live.frame, live._clock.now()
    tiny.trade(102.0)
    tiny.level("b", "99.50", "1.0")
    eventually(lambda: live.quote and live.quote.bid == 99.5)
    after = live._clock.now()
    frame, trades, quotes = live.frame, live.trades, live.quotes
    pd.testing.assert_series_equal(frame["recv_ts"][:-1], opened["recv_ts"][:-1])  # a closed bar stands as it was read
    for received in (frame["recv_ts"].iloc[-1], trades["recv_ts"].iloc[-1], quotes.index[-1]):
        assert pd.Timestamp(before, unit="us", tz="UTC") <= received <= pd.Timestamp(after, unit="us", tz="UTC")
    assert trades["recv_ts"].is_monotonic_increasing


def test_quotes_are_kept_as_they_came_and_begin_anew_after_a_loss(
    tiny: Tiny, live: Live, eventually: Eventually
) -> None:
    for qty in ("4.0", "5.0"):
        tiny.level("b", "99.00", qty)
    eventually(lambda: live.quotes["bid_qty"].iloc[-1] == 5.0)
    quotes = live.quotes
    assert quotes[TOP].to_numpy().tolist() == [[99.0, qty, 101.0, 1.0] for qty in (1.0, 3.0, 4.0, 5.0)]
    assert quotes["source"].tolist() == ["rest", "ws", "ws", "ws"]
    assert quotes["update_id"].tolist() == [100, 101, 102, 103]
    assert quotes["epoch"].nunique() == 1
    assert quotes.attrs == {"symbol": "BTC/USDT", "venue": "binance", "environment": "SANDBOX"}
    tiny.drop()
    eventually(lambda: len(live.gaps) == 2 and live.ready(10))
    tiny.level("b", "99.00", "6.0")
    eventually(lambda: live.quotes["bid_qty"].iloc[-1] == 6.0)
    assert live.quotes["epoch"].iloc[-1] > quotes["epoch"].iloc[-1]


def test_tops_are_the_books_own_best_and_only_what_changed(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    before = len(live.tops)
    tiny.level("b", "98.00", "1.0")
    tiny.level("a", "100.50", "2.0")
    eventually(lambda: live.tops["ask"].iloc[-1] == 100.5)
    tops = live.tops
    assert len(tops) == before + 1
    assert list(tops.columns) == list(live.quotes.columns)
    best = live.book.best()
    assert tops[TOP].iloc[-1].tolist() == [best.bid, best.bid_qty, best.ask, best.ask_qty]


def test_depth_is_the_book_as_a_frame_or_raises(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    for price, qty in (("98.00", "5.0"), ("97.00", "6.0")):
        tiny.level("b", price, qty)
    eventually(lambda: live.book.last_id == tiny.update)
    depth = live.depth(2)
    assert depth.to_dict("list") == {
        "side": ["bid", "bid", "ask"], "price": [99.0, 98.0, 101.0], "qty": [3.0, 5.0, 1.0],
    }  # fmt: skip
    assert depth.attrs == {
        "symbol": "BTC/USDT", "venue": "binance", "environment": "SANDBOX", "last_id": tiny.update, "epoch": 1,
    }  # fmt: skip
    assert len(live.depth()) == 4
    tiny.refuse = 10_000
    tiny.drop()
    eventually(lambda: live.state == "STALE")
    with pytest.raises(BookUnsynced):
        live.depth()


def test_feeds_tell_of_each_channel_by_itself(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    feeds = live.feeds
    assert feeds.index.tolist() == CHANNELS
    assert feeds["state"].tolist() == ["LIVE"] * 4
    assert feeds["connection"].tolist() == [1] * 4
    assert feeds["framed"].tolist() == [False, False, True, True]  # nothing was traded, and that was asked
    assert feeds["quiet"].tolist() == [True, True, False, False]
    assert (feeds["age"] < 10).all()
    tiny.refuse = 3
    tiny.drop()
    eventually(lambda: live.state == "STALE")
    broken = live.feeds
    assert broken["state"].tolist() == ["STALE"] * 4
    assert broken["reason"].str.contains("connection").all()
    eventually(lambda: live.ready(10))
    assert live.feeds["connection"].nunique() == 1
    assert live.feeds["connection"].iloc[0] > 1


def test_one_channel_out_of_step_leaves_the_others_live(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    tiny.failing["/api/v3/depth"] = 400
    tiny.lose = 1
    tiny.level("b", "98.00", "1.0")
    tiny.level("b", "98.00", "2.0")
    eventually(lambda: live.feeds.loc["book", "state"] == "STALE")
    feeds = live.feeds
    assert feeds["state"].tolist() == ["LIVE", "LIVE", "LIVE", "STALE"]
    assert live.state == "STALE"
    assert live.reason == feeds.loc["book", "reason"] != ""
    tiny.failing.clear()
    assert live.ready(10)


def test_latency_is_told_per_channel_by_the_venues_clock(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    eventually(lambda: live.latency.attrs["uncertainty_ms"] is not None)
    for _ in range(3):
        tiny.trade(102.0)
    eventually(lambda: "trade" in live.latency.index and live.latency.loc["trade", "count"] == 3)
    latency = live.latency
    assert list(latency.columns) == ["count", "min", "p50", "p99", "max"]
    assert set(latency.index) == {"trade", "candle", "book"}  # Binance's quotes carry no time
    trade = latency.loc["trade"]
    assert trade["min"] <= trade["p50"] <= trade["p99"] <= trade["max"]
    assert abs(trade["p50"]) < 60_000
    assert latency.attrs["symbol"] == "BTC/USDT"
    assert latency.attrs["uncertainty_ms"] > 0


def test_a_live_frame_that_belongs_to_no_venue_says_so_when_it_is_to_be_recorded(live: Live, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"open it with venue\.live"):
        live.record(tmp_path / "tape.jsonl.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_recording_is_the_venues(tiny: Tiny, opened: Open, tmp_path: Path) -> None:
    asked: list[object] = []
    live = opened(record=asked.append)
    live.record(tmp_path / "tape.jsonl.gz")
    assert asked == [tmp_path / "tape.jsonl.gz"]


def test_an_audit_compares_the_book_with_rest_and_puts_it_right(tiny: Tiny, live: Live) -> None:
    assert live.audit().empty
    assert live.gaps == []
    tiny.sides["b"]["98.00"] = "7.0"  # nobody is told
    found = live.audit()
    assert found.to_dict("list") == {"side": ["buy"], "price": [98.0], "ours": [0.0], "theirs": [7.0]}
    assert live.book.bids(2) == [(99.0, 3.0), (98.0, 7.0)]
    assert [gap.channel for gap in live.gaps] == ["book"]
    assert live.state == "LIVE"
