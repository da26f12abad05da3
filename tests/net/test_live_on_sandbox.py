"""A live instrument on the embedded exchange, in its own process, with its faults: whole again after every one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import kit.venue
from kit.clock import WallClock
from kit.errors import BookUnsynced
from kit.market.feed import FeedState
from kit.model import Channel
from kit.net.live import Live
from kit.net.loop import Loop
from kit.net.stream import Streams
from kit.net.supervisor import Backoff
from kit.net.tape import Answered, Opened, Received, records
from kit.sandbox import launcher
from kit.sandbox.launcher import Handle
from kit.venue import Venue
from kit.venues.base import Hosts
from kit.venues.binance import BINANCE

Eventually = Callable[[Callable[[], object]], None]
Open = Callable[..., Live]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    """One sandbox process for this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPERTAPE_HOME", str(tmp_path_factory.mktemp("sandbox")))
        handle = launcher.ensure("live-tests", seed=11)
        yield handle
        handle.stop()


@pytest.fixture
def venue(sandbox: Handle) -> Iterator[Venue]:
    sandbox.clear_faults()
    made = Venue(BINANCE, "sandbox", sandbox.hosts, key=sandbox.key, sandbox=sandbox)
    yield made
    made.close()


@pytest.fixture
def opened(venue: Venue, loop: Loop) -> Iterator[Open]:
    """Opens live bars of a second, with short pauses."""
    streams = Streams(BINANCE, venue.hosts, loop=loop, clock=WallClock(), seed=3, mute_after=2.0)
    streams.supervisor.backoff = Backoff(3, first=0.05)
    made: list[Live] = []

    def open_live(symbol: str = "BTC/USDT", **options: Any) -> Live:
        told: dict[str, Any] = {
            "instrument": venue.instrument(symbol),
            "interval": "1s",
            "environment": "SANDBOX",
        } | options
        made.append(Live(BINANCE, venue.rest, streams, loop=loop, clock=WallClock(), **told))
        assert made[-1].ready(20)
        return made[-1]

    yield open_live
    for live in made:
        live.close()
    streams.close()


def passed(live: Live, seconds: int) -> None:
    """Wait for so many bars to close."""
    for _ in range(seconds):
        live.wait(closed=True, timeout=20)


def check(live: Live, venue: Venue) -> None:
    """Candles and trades equal the venue's own history exactly; the book's top is the quote."""
    frame = live.frame
    closed = frame[frame["closed"]].drop(columns=["source", "recv_ts"])
    told = venue.candles(
        live.symbol, live.interval, start=closed.index[0], end=frame.index[len(closed) - 1] + pd.Timedelta("1us"),
        progress=False,
    )  # fmt: skip
    pd.testing.assert_frame_equal(closed, told, check_freq=False)
    trades = live.trades
    history = venue.trades(live.symbol, start=trades.index[-300], limit=1000, progress=False)
    both = history[history["id"].isin(trades["id"])]
    assert len(both) >= 300
    mine = trades[trades["id"] >= both["id"].iloc[0]]
    assert mine["id"].tolist() == both["id"].tolist()
    assert mine["price"].tolist() == both["price"].tolist()
    assert agrees(live)


def agrees(live: Live) -> bool:
    """Book and quote agree as soon as both have seen the same update."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with suppress(BookUnsynced):
            book, quote = live.book.best(), live.quote
            if quote and (book.bid, book.bid_qty, book.ask) == (quote.bid, quote.bid_qty, quote.ask):
                return True
        time.sleep(0.01)
    return False


def test_history_flows_into_the_stream_without_a_seam(opened: Open, venue: Venue) -> None:
    live = opened()
    passed(live, 3)
    assert live.state is FeedState.LIVE
    assert set(live.frame["source"]) == {"rest", "ws"}
    assert live.gaps == []
    check(live, venue)


def test_after_a_drop_the_frame_equals_the_venues_candles(
    opened: Open, venue: Venue, sandbox: Handle, eventually: Eventually
) -> None:
    live = opened()
    sandbox.fault("drop", for_=2)
    eventually(lambda: live.state is FeedState.STALE)
    with pytest.raises(BookUnsynced):
        live.book.best()
    assert live.ready(20)
    passed(live, 2)
    check(live, venue)
    assert "backfill" in set(live.frame["source"])
    assert {gap.channel for gap in live.gaps} == {Channel.QUOTE, Channel.BOOK}


def test_after_a_mute_socket_the_frame_equals_the_venues_candles(
    opened: Open, venue: Venue, sandbox: Handle, eventually: Eventually
) -> None:
    live = opened(stale_after=1.5)
    sandbox.fault("mute", for_=4)
    eventually(lambda: live.state is FeedState.STALE)
    eventually(lambda: live.state is FeedState.LIVE)
    passed(live, 2)
    check(live, venue)
    assert live.gaps


def test_lost_frames_are_noticed_and_filled_in(
    opened: Open, venue: Venue, sandbox: Handle, eventually: Eventually
) -> None:
    live = opened()
    epoch = live.book.epoch
    sandbox.fault("gap", match="STREAM btcusdt@depth*", times=2)
    sandbox.fault("gap", match="STREAM btcusdt@trade", times=1)
    eventually(lambda: live.book.epoch > epoch)
    assert live.ready(20)
    passed(live, 2)
    check(live, venue)


def test_a_planned_end_of_the_connection_goes_unnoticed(
    opened: Open, venue: Venue, sandbox: Handle, eventually: Eventually
) -> None:
    live, states = opened(), set()
    sandbox.fault("shutdown", for_=4)

    def handed_over() -> bool:
        states.add(live.state)
        return live.streams.supervisor.handovers == 1

    eventually(handed_over)
    passed(live, 3)  # past the end of the old connection
    assert states | {live.state} == {FeedState.LIVE}
    assert live.gaps == []
    assert live.feeds["connection"].unique().tolist() == [1]
    assert live.streams.connections == 2
    check(live, venue)


def test_two_instruments_share_a_connection_and_come_back_together(
    opened: Open, venue: Venue, sandbox: Handle, eventually: Eventually
) -> None:
    lives = [opened(), opened("ETH/USDT")]
    assert lives[0].streams.connections == 1
    sandbox.fault("drop")
    eventually(lambda: all(live.gaps for live in lives))
    for live in lives:
        passed(live, 1)
        check(live, venue)


def test_a_venues_live_frame_is_ready_when_it_is_handed_out_and_the_same_when_asked_again(venue: Venue) -> None:
    live = venue.live("btc-usdt")
    assert live.state is FeedState.LIVE
    assert len(live.frame) > 900
    assert venue.live("BTC/USDT") is live
    live.close()
    again = venue.live("BTC/USDT")
    assert again is not live
    assert again.state is FeedState.LIVE


def test_a_venues_tape_tells_its_connections_apart_and_ends_with_it(venue: Venue, tmp_path: Path) -> None:
    plain, coalesced = venue.live("BTC/USDT"), venue.live("BTC/USDT", coalesce=0.005)
    assert plain is not coalesced
    tape = plain.record(tmp_path / "tape.jsonl.gz")
    other = venue.record(tmp_path / "other.jsonl.gz")
    other.close()
    epochs = plain.book.epoch, coalesced.book.epoch
    time.sleep(1.0)
    assert (plain.book.epoch, coalesced.book.epoch) == epochs  # to be recorded costs the picture nothing
    assert {plain.state, coalesced.state} == {FeedState.LIVE}
    venue.close()
    assert not tape.recording
    told = list(records(tape.path))
    opened = [each.conn for each in told if isinstance(each, Opened)]
    assert len(opened) == len(set(opened)) == 2
    assert {each.conn for each in told if isinstance(each, Received)} == set(opened)
    assert any(isinstance(each, Answered) and "/depth" in each.url for each in told)


def test_a_venue_that_is_not_there_is_said_so_and_not_waited_for_long(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit.venue, "OPENING", 0.2)
    venue.hosts = Hosts(venue.hosts.rest, "ws://127.0.0.1:9")
    live = venue.live("SOL/USDT")
    assert live.state is FeedState.CONNECTING
    assert "no connection" in live.reason
    assert live.frame.empty
