"""Stream frames from a scripted market in virtual time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from kit.clock import MINUTE, SECOND
from kit.model import Fees, Side
from kit.sandbox.feeds import TICK, Channel, Feed, parse
from kit.sandbox.pit import Pit
from kit.sandbox.wire import milliseconds


def feed_of(market: Any, begins: int) -> Feed:
    pit = Pit("BTCUSDT", market, Fees(), iter(range(1, 100)).__next__)
    pit.advance(begins)
    made = Feed(pit, lambda kind, now, stamp: {"kind": kind, "t": stamp(now)}, last=begins)
    pit.listeners.append(made.hear)
    return made


def run(feed: Feed, streams: list[str], start: int, end: int, step: int = TICK) -> list[tuple[str, Any]]:
    """Every frame of ``streams`` in (start, end], tick by tick."""
    wanted = {stream: found[1] for stream in streams if (found := parse(stream, ("BTCUSDT",)))}
    told = []
    for now in range(start + step, end + 1, step):
        feed.pit.advance(now)
        told += [(frame.stream, frame.make(milliseconds)) for frame in feed.frames(wanted, now)]
    return told


class TestNames:
    @pytest.mark.parametrize(
        ("name", "channel"),
        [
            ("btcusdt@trade", Channel("trade")),
            ("btcusdt@kline_1s", Channel("kline", "1s", period=SECOND)),
            ("btcusdt@kline_1M", Channel("kline", "1M", period=2 * SECOND)),
            ("btcusdt@depth", Channel("depth", period=SECOND)),
            ("btcusdt@depth@100ms", Channel("depth", period=TICK)),
            ("btcusdt@depth20@1000ms", Channel("depth", levels=20, period=SECOND)),
            ("btcusdt@ticker", Channel("ticker", period=SECOND)),
        ],
    )
    def test_a_stream_is_named_as_the_venue_names_it(self, name: str, channel: Channel) -> None:
        assert parse(name, ("BTCUSDT",)) == ("BTCUSDT", channel)

    @pytest.mark.parametrize(
        "name", ["BTCUSDT@trade", "btcusdt@trades", "btcusdt@kline_7m", "btcusdt@depth7", "nosuch@trade", "", "btcusdt"]
    )
    def test_any_other_name_is_silent(self, name: str) -> None:
        assert parse(name, ("BTCUSDT",)) is None


class TestBars:
    def test_a_bar_is_told_every_two_seconds_when_it_changed_and_once_when_it_closes(
        self, market: Any, begins: int
    ) -> None:
        market.btc.trade(3 * SECOND, 100.0, 1.0).trade(50 * SECOND, 101.0, 1.0, Side.SELL)
        told = run(feed_of(market, begins), ["btcusdt@kline_1m"], begins, begins + 2 * MINUTE)
        bars = [frame["k"] for _, frame in told]
        at = [(frame["E"] - begins // 1000) / 1000 for _, frame in told]
        assert [(time, bar["n"], bar["x"]) for time, bar in zip(at, bars, strict=True)] == [
            (2.0, 0, False),
            (4.0, 1, False),
            (50.0, 2, False),
            (60.0, 2, True),
            (60.0, 0, False),
            (120.0, 0, True),
            (120.0, 0, False),
        ]
        assert (bars[3]["f"], bars[3]["L"], bars[5]["f"], bars[5]["L"]) == (1, 2, -1, -1)
        assert bars[5]["o"] == bars[5]["c"] == bars[3]["c"] == "101.00000000"

    def test_every_bar_of_a_long_pause_is_closed_once(self, market: Any, begins: int) -> None:
        feed = feed_of(market, begins)
        run(feed, ["btcusdt@kline_1m"], begins, begins + SECOND)
        told = run(feed, ["btcusdt@kline_1m"], begins + SECOND, begins + 3 * MINUTE, step=3 * MINUTE - SECOND)
        told += run(feed, ["btcusdt@kline_1m"], begins + 3 * MINUTE, begins + 3 * MINUTE + 4 * SECOND)
        assert [frame["k"]["x"] for _, frame in told] == [True, True, True, False]
        opens = [frame["k"]["t"] for _, frame in told]
        assert opens == [(begins + n * MINUTE) // 1000 for n in range(4)]

    def test_a_stream_left_and_joined_again_does_not_tell_old_bars(self, market: Any, begins: int) -> None:
        feed = feed_of(market, begins)
        run(feed, ["btcusdt@kline_1m"], begins, begins + 4 * SECOND)
        run(feed, [], begins + 4 * SECOND, begins + 3 * MINUTE)
        told = run(feed, ["btcusdt@kline_1m"], begins + 3 * MINUTE, begins + 3 * MINUTE + 4 * SECOND)
        assert {frame["k"]["t"] for _, frame in told} == {(begins + 3 * MINUTE) // 1000}


class TestBooks:
    def test_diffs_of_a_tick_are_one_frame_and_chain(self, market: Any, begins: int) -> None:
        market.btc.book(10_000, bids=[(99.5, 1.0)]).book(20_000, bids=[(99.5, 0.0)], asks=[(101.0, 3.0)])
        market.btc.book(150_000, bids=[(98.0, 4.0)])
        told = run(feed_of(market, begins), ["btcusdt@depth@100ms"], begins, begins + 300_000)
        assert [(frame["U"], frame["u"]) for _, frame in told] == [(1001, 1002), (1003, 1003)]
        assert told[0][1]["b"] == [["99.50000000", "0.00000000"]]
        assert told[0][1]["a"] == [["101.00000000", "3.00000000"]]

    @pytest.mark.parametrize(("stream", "period"), [("btcusdt@depth@100ms", TICK), ("btcusdt@depth", SECOND)])
    def test_ticks_that_come_early_or_late_lose_no_diff(
        self, market: Any, begins: int, stream: str, period: int
    ) -> None:
        """A busy machine's ticks drift: two fall into one period, and none into the next."""
        for event in range(200):
            market.btc.book(event * 17_000 + 1, bids=[(99.0 - event, 1.0)])
        feed, told = feed_of(market, begins), []
        for tick in range(1, 5 * SECOND // TICK):
            now = begins + tick * TICK + (tick * 37_000) % 90_000 - 40_000
            feed.pit.advance(now)
            told += feed.frames({stream: Channel("depth", period=period)}, now)
        frames = [frame.make(milliseconds) for frame in told]
        assert (frames[0]["U"], frames[-1]["u"]) == (1001, 1200)
        assert all(after["U"] == before["u"] + 1 for before, after in pairwise(frames))

    def test_the_slow_stream_gathers_a_second(self, market: Any, begins: int) -> None:
        for tick in range(5):
            market.btc.book(tick * 300_000 + 1, bids=[(99.0 - tick, 1.0)])
        told = run(feed_of(market, begins), ["btcusdt@depth"], begins, begins + 3 * SECOND)
        assert [(frame["U"], frame["u"]) for _, frame in told] == [(1001, 1004), (1005, 1005)]

    def test_the_top_levels_are_told_when_the_book_has_changed(self, market: Any, begins: int) -> None:
        market.btc.book(150_000, bids=[(100.5, 1.0)])
        told = run(feed_of(market, begins), ["btcusdt@depth5@100ms"], begins, begins + 500_000)
        assert [(frame["lastUpdateId"], frame["bids"][0][0]) for _, frame in told] == [
            (1000, "100.00000000"),
            (1001, "100.50000000"),
        ]


def test_prints_and_quotes_come_in_order(market: Any, begins: int) -> None:
    market.btc.trade(10, 100.0, 1.0).quote(20, 100.0, 101.0).trade(30, 101.0, 2.0, Side.SELL)
    streams = ["btcusdt@trade", "btcusdt@aggTrade", "btcusdt@bookTicker"]
    told = run(feed_of(market, begins), streams, begins, begins + TICK)
    assert [frame["t"] for stream, frame in told if stream.endswith("@trade")] == [1, 2]
    assert [frame["m"] for stream, frame in told if stream.endswith("@aggTrade")] == [False, True]
    assert [frame for stream, frame in told if stream.endswith("@bookTicker")] == [
        {
            "u": 1000,
            "s": "BTCUSDT",
            "b": "100.00000000",
            "B": "1.00000000",
            "a": "101.00000000",
            "A": "1.00000000",
        }
    ]


def test_day_statistics_are_told_once_a_second_when_they_changed(market: Any, begins: int) -> None:
    feed = feed_of(market, begins)
    told = run(feed, ["btcusdt@ticker", "btcusdt@miniTicker"], begins, begins + 3 * SECOND)
    assert [stream for stream, _ in told] == ["btcusdt@ticker", "btcusdt@miniTicker"]
