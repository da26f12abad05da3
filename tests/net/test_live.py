"""A live instrument against a real socket and real REST: seamless, honest about trouble, whole again afterwards."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from kit.errors import BookUnsynced, NotYet, UsageError
from kit.market import candles, trade_strand
from kit.market.feed import FeedState
from kit.model import Channel
from kit.net.live import Live

Eventually = Callable[[Callable[[], object]], None]
Tiny = Any  # the fixture of conftest.py
Open = Callable[..., Live]


def by_rest(tiny: Tiny) -> pd.DataFrame:
    """What the venue's own history says."""
    names = ("open", "high", "low", "close", "volume", "trades")
    places = (1, 2, 3, 4, 5, 8)
    return pd.DataFrame(
        {name: [float(bar[place]) for bar in tiny.bars] for name, place in zip(names, places, strict=True)},
        index=pd.DatetimeIndex([bar[0] * 1000 for bar in tiny.bars], dtype=candles.UTC_US, name="time"),
    )


def check(live: Live, tiny: Tiny) -> None:
    """Candles, trades, quote and book are the venue's, at once or as soon as the last frames are in."""
    until = time.monotonic() + 5
    while True:
        try:
            return equal(live, tiny)
        except (AssertionError, BookUnsynced):
            if time.monotonic() > until:
                raise
            time.sleep(0.005)


def equal(live: Live, tiny: Tiny) -> None:
    frame, told = live.frame, by_rest(tiny)
    pd.testing.assert_frame_equal(frame[told.columns].astype("float64"), told)
    assert frame["closed"].tolist() == [True] * (len(told) - 1) + [False]
    assert live.trades["id"].tolist() == [trade["id"] for trade in tiny.trades]
    bid, bid_qty, ask, ask_qty = (float(number) for number in tiny._top())
    for quote in (live.quote, live.book.best()):
        assert quote is not None
        assert (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty) == (bid, bid_qty, ask, ask_qty)


# -- the picture


def test_history_and_stream_are_one_frame(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    tiny.trade(100.5)
    tiny.trade(101.5, at=tiny.now + 60_000)
    eventually(lambda: len(live.frame) == 7)
    eventually(lambda: live.frame["close"].iloc[-1] == 101.5)
    check(live, tiny)
    assert live.frame["source"].tolist() == ["rest"] * 5 + ["ws"] * 2
    assert live.state is FeedState.LIVE
    assert live.age < 10
    assert live.reason == ""
    assert live.gaps == []


def test_every_frame_says_where_it_comes_from(live: Live) -> None:
    assert live.frame.attrs["environment"] == "SANDBOX"
    assert live.frame.attrs["symbol"] == "BTC/USDT"
    assert live.trades.attrs == {"symbol": "BTC/USDT", "venue": "binance", "environment": "SANDBOX"}


def test_quote_and_book_speak_of_our_symbol(live: Live) -> None:
    assert live.quote is not None
    assert live.quote.symbol == live.book.best().symbol == "BTC/USDT"
    assert live.book.bids(1) == [(99.0, 3.0)]
    assert live.book.asks(5) == [(101.0, 1.0)]


def test_before_any_data_there_is_an_empty_frame_no_quote_and_no_age(tiny: Tiny, opened: Open) -> None:
    tiny.refuse = 10_000
    live = opened()
    assert live.frame.empty
    assert list(live.frame.columns) == [*candles.COLUMNS, "source", "recv_ts"]
    assert live.trades.empty
    assert live.quote is None
    assert live.age == float("inf")
    assert live.state is FeedState.CONNECTING
    with pytest.raises(BookUnsynced):
        live.book.best()


def test_the_repr_says_what_where_and_how_old(live: Live) -> None:
    assert repr(live).startswith("<live BTC/USDT 1m · SANDBOX · LIVE, data 0.")
    assert "at update" in repr(live.book)


def test_two_intervals_of_one_symbol_share_the_connection(
    tiny: Tiny, live: Live, opened: Open, eventually: Eventually
) -> None:
    other = opened(interval="5m")
    eventually(lambda: len(tiny.streams) == 5)
    tiny.trade(103.0)
    eventually(lambda: live.frame["close"].iloc[-1] == 103.0)
    assert tiny.handshakes == 1
    other.close()
    eventually(lambda: len(tiny.streams) == 4)
    assert live.state is FeedState.LIVE


def test_a_picture_is_what_the_desk_asks_for(live: Live) -> None:
    now = live._clock.now()
    fresh, old = live.picture(now), live.picture(now + 11_000_000)
    assert fresh.state is FeedState.LIVE
    assert fresh.quote == live.quote
    assert old.state is FeedState.STALE
    assert old.age > 10


# -- trouble


def test_after_a_drop_the_frame_is_the_one_it_would_have_been_without(
    tiny: Tiny, live: Live, eventually: Eventually
) -> None:
    tiny.refuse = 3
    tiny.drop()
    eventually(lambda: live.state is FeedState.STALE)
    tiny.trade(105.0)
    tiny.trade(95.0, at=tiny.now + 150_000)
    tiny.level("b", "98.50", "7.0")
    with pytest.raises(BookUnsynced, match="wait for the state LIVE"):
        live.book.bids(1)
    eventually(lambda: len(live.frame) == 8 and len(live.trades) == len(tiny.trades))
    tiny.trade(96.0)
    assert live.ready(10)
    check(live, tiny)
    assert live.frame["source"].tolist() == ["rest"] * 5 + ["backfill"] * 2 + ["ws"]
    assert live.trades["source"].tolist()[-3:] == ["backfill", "backfill", "ws"]
    assert {gap.channel for gap in live.gaps} == {Channel.QUOTE, Channel.BOOK}
    assert all(gap.start < gap.end <= live._clock.now() for gap in live.gaps)


def test_a_lost_frame_of_the_book_resyncs_the_book_alone(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    asked = len(tiny.asked)
    tiny.lose = 1
    tiny.level("b", "98.00", "1.0")
    tiny.level("b", "98.00", "2.0")
    eventually(lambda: live.book.epoch == 2 and live.state is FeedState.LIVE)
    check(live, tiny)
    assert tiny.asked[asked] == "/api/v3/depth"
    assert not {"/api/v3/klines", "/api/v3/trades"} & set(tiny.asked[asked:])
    assert {gap.channel for gap in live.gaps} == {Channel.QUOTE, Channel.BOOK}  # a quote may have been lost with it


def test_lost_trades_are_filled_in_by_their_ids(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    tiny.lose = 4
    tiny.trade(101.0)
    tiny.trade(102.0)
    tiny.trade(103.0)
    eventually(lambda: len(live.trades) == len(tiny.trades) and live.state is FeedState.LIVE)
    check(live, tiny)
    assert live.trades["source"].tolist()[-2:] == ["backfill", "backfill"]
    assert [gap.channel for gap in live.gaps] == [Channel.QUOTE]


def test_a_trade_lost_with_other_frames_is_found_though_the_market_falls_quiet(
    tiny: Tiny, live: Live, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trade_strand, "GRACE", 200_000)
    tiny.lose = 3
    tiny.trade(101.0)
    tiny.level("b", "98.00", "1.0")
    tiny.level("b", "98.00", "2.0")  # by its id a frame of the book is missing; nothing tells of the trade
    eventually(lambda: len(live.trades) == len(tiny.trades))
    assert live.ready(10)
    check(live, tiny)


def test_a_mute_feed_goes_stale_and_is_whole_again_later(
    tiny: Tiny, opened: Open, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trade_strand, "GRACE", 200_000)
    live = opened(stale_after=1.5)
    assert live.ready(10)
    tiny.mute = True
    tiny.trade(104.0)
    tiny.level("b", "99.50", "1.0")
    eventually(lambda: live.state is FeedState.STALE)
    assert live.age > 1.4
    tiny.mute = False

    def healed() -> bool:
        tiny.level("b", "97.00", f"{time.monotonic():.3f}")
        return live.ready(0.2)

    eventually(healed)
    eventually(lambda: len(live.trades) == len(tiny.trades))  # REST's newest trade tells of the one that was lost
    assert live.ready(10)
    check(live, tiny)
    assert {gap.channel for gap in live.gaps} == {Channel.QUOTE, Channel.BOOK}


def test_a_quiet_market_stays_live_for_rest_confirms_the_quote(
    tiny: Tiny, opened: Open, eventually: Eventually
) -> None:
    live = opened(stale_after=2.0)
    assert live.ready(10)
    asked = tiny.asked.count("/api/v3/depth")
    states = []
    while tiny.asked.count("/api/v3/depth") < asked + 4:
        states.append(live.state)
        time.sleep(0.01)
    assert set(states) == {FeedState.LIVE}
    assert live.feeds.loc[["quote", "book"], "quiet"].all()
    assert tiny.handshakes == 1


def test_rest_that_fails_is_a_reason_to_read_and_is_asked_again(
    tiny: Tiny, opened: Open, eventually: Eventually
) -> None:
    tiny.failing["/api/v3/klines"] = 400
    live = opened()
    eventually(lambda: live.last_error)
    tiny.level("b", "99.00", "3.0")
    assert live.state is FeedState.SYNCING
    assert live.reason
    assert live.frame.empty
    del tiny.failing["/api/v3/klines"]
    eventually(lambda: len(live.frame) == 6)
    tiny.level("b", "99.00", "4.0")
    assert live.ready(10)
    check(live, tiny)


def test_a_goodbye_costs_no_data_and_nobody_notices(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    states, streams = set(), live.streams
    tiny.tell({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1}})

    def handed_over() -> bool:
        tiny.trade(102.0)
        tiny.level("b", "98.00", f"{time.monotonic():.3f}")
        states.add(live.state)
        return streams.supervisor.handovers == 1

    eventually(handed_over)
    assert tiny.handshakes == 2
    check(live, tiny)
    states.add(live.state)
    assert states == {FeedState.LIVE}
    assert live.gaps == []
    assert live.trades["source"].tolist() == ["rest"] * 6 + ["ws"] * (len(tiny.trades) - 6)


# -- waiting and being told


def test_waiting_ends_with_the_next_change_at_once(tiny: Tiny, live: Live) -> None:
    seen = live.version
    threading.Timer(0.1, lambda: tiny.trade(102.0)).start()
    began = time.monotonic()
    assert live.wait(timeout=10) > seen
    assert time.monotonic() - began < 5
    assert live.wait(seen) > seen


def test_waiting_for_a_bar_ends_when_it_closes(tiny: Tiny, live: Live) -> None:
    threading.Timer(0.1, tiny.roll).start()
    live.wait(closed=True, timeout=10)
    assert live.frame["closed"].tolist()[:6] == [True] * 6


def test_waiting_in_vain_says_what_did_not_come_and_where_the_feed_stands(live: Live) -> None:
    with pytest.raises(NotYet, match=r"BTC/USDT: no bar closed within 0\.05 s; the feed is LIVE"):
        live.wait(closed=True, timeout=0.05)
    with pytest.raises(TimeoutError):
        live.wait(live.version + 10_000, timeout=0.05)


def test_a_waiter_is_told_when_the_feed_is_closed(live: Live) -> None:
    threading.Timer(0.1, live.close).start()
    with pytest.raises(UsageError, match="it is closed"):
        live.wait(closed=True)


def test_every_closed_bar_is_given_once_and_in_order(tiny: Tiny, live: Live) -> None:
    given: list[pd.Timestamp] = []
    last = live.closed_since(None).index[-1]
    stop = threading.Event()

    def drive() -> None:
        for minute in range(12):
            tiny.trade(100.0 + minute, at=tiny.now + 60_000)
            if minute == 5:
                tiny.drop()
            stop.wait(0.02)

    driver = threading.Thread(target=drive, name="kit-test-driver", daemon=True)
    driver.start()
    until = time.monotonic() + 20
    while len(given) < 12 and time.monotonic() < until:
        bars = live.closed_since(last, timeout=1)
        assert bars["closed"].all()
        given += list(bars.index)
        last = given[-1] if given else last
    driver.join()
    assert given == [pd.Timestamp(bar[0], unit="ms", tz="UTC") for bar in tiny.bars[5:-1]]
    assert live.closed_since(last).empty


# -- threads


def test_data_flows_while_the_users_thread_blocks_and_its_own_loop_runs(
    tiny: Tiny, live: Live, eventually: Eventually
) -> None:
    async def cell() -> int:
        before = live.version
        tiny.trade(102.0)
        time.sleep(0.2)  # a cell that blocks
        return live.version - before

    assert asyncio.run(cell()) > 0


SCRIPT = """
import asyncio, sys
from decimal import Decimal
from kit.clock import WallClock
from kit.model import Instrument
from kit.net.live import Live
from kit.net.loop import Loop
from kit.net.rest import Rest
from kit.net.stream import Streams
from kit.notebook.nest import nest_asyncio
from kit.runtime import runtime
from kit.venues.base import Hosts
from kit.venues.binance import BINANCE

hosts, clock = Hosts(sys.argv[1], sys.argv[2]), WallClock()
loop = runtime.get(Loop, "streams", Loop)
streams = Streams(BINANCE, hosts, loop=loop, clock=clock, seed=1)
btc = Instrument(symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal(1))
live = Live(BINANCE, Rest(BINANCE, hosts, clock=clock), streams, loop=loop, clock=clock, instrument=btc,
            interval="1m", environment="SANDBOX", stale_after=1.0)

async def cell():
    nest_asyncio()
    async def inner():
        return live.ready(10)
    return asyncio.run(inner())

assert asyncio.run(cell())
print(len(live.frame))
"""


def test_nested_asyncio_is_no_matter_and_a_process_that_just_ends_says_nothing(tiny: Tiny) -> None:
    """A user's patched loop leaves ours alone; at exit the runtime ends what nobody closed."""
    arguments = [sys.executable, "-W", "error::ResourceWarning", "-c", SCRIPT, tiny.hosts.rest, tiny.hosts.stream]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout.strip(), ran.stderr, ran.returncode) == ("6", "", 0)


def test_readers_never_see_a_crossed_or_torn_book(tiny: Tiny, live: Live) -> None:
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            bids, asks = live.book.bids(50), live.book.asks(50)
            if bids != sorted(bids, reverse=True) or asks != sorted(asks) or not bids[0][1]:
                wrong.append((bids, asks))

    reader = threading.Thread(target=read, name="kit-test-reader", daemon=True)
    reader.start()
    for n in range(400):
        tiny.level("b", f"{98 - n % 40 / 100:.2f}", str(n % 3))
    stop.set()
    reader.join()
    assert wrong == []


def test_closing_ends_it_and_keeps_the_last_frame(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    frame = live.frame
    live.close()
    live.close()
    assert live.state is FeedState.CLOSED
    pd.testing.assert_frame_equal(live.frame, frame)
    eventually(lambda: tiny.streams == set())
    with pytest.raises(BookUnsynced):
        live.book.best()


def test_the_owner_is_told_of_the_end(opened: Open) -> None:
    ended: list[Live] = []
    live = opened(on_close=ended.append)
    live.close()
    assert ended[0] is live
