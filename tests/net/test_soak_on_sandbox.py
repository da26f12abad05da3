"""Ten instruments on the embedded exchange through half an hour of drawn troubles, read all the while by other threads.

``KIT_SOAK_SECONDS=300`` makes it shorter, ``KIT_SOAK_SEED=n`` draws other troubles.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pandas as pd
import pytest

from kit.errors import BookUnsynced
from kit.market.feed import FeedState
from kit.net.live import Live
from kit.sandbox import launcher
from kit.sandbox.launcher import Handle
from kit.venue import Venue
from kit.venues.binance import BINANCE

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3_600)]

SECONDS = float(os.environ.get("KIT_SOAK_SECONDS", "1800"))
SEED = int(os.environ.get("KIT_SOAK_SEED", "1"))
INSTRUMENTS = 10
CALM = 60.0
"""Seconds without trouble at the end, for everything to come together."""
HISTORY = 5_000
"""Trades of each instrument that are compared with the exchange's own history."""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPERTAPE_HOME", str(tmp_path_factory.mktemp("soak")))
        handle = launcher.ensure("soak", seed=5)
        yield handle
        handle.stop()


@pytest.fixture
def venue(sandbox: Handle) -> Iterator[Venue]:
    made = Venue(BINANCE, "sandbox", sandbox.hosts, key=sandbox.key, sandbox=sandbox)
    yield made
    made.close()


class Reader(threading.Thread):
    """Reads everything that may be read, as users do, and keeps every error but the one that says STALE."""

    def __init__(self, lives: list[Live]) -> None:
        super().__init__(name="kit-test-reader", daemon=True)
        self.lives, self.over = lives, threading.Event()
        self.errors: list[str] = []
        self.reads = 0
        self.unsynced = 0

    def run(self) -> None:
        while not self.over.wait(0.05):
            for live in self.lives:
                try:
                    self.read(live)
                except BookUnsynced:
                    self.unsynced += 1
                except Exception as error:
                    self.errors.append(f"{live.symbol}: {error!r}")

    def read(self, live: Live) -> None:
        self.reads += 1
        frame, trades, quotes = live.frame, live.trades.tail(50), live.quotes.tail(50)
        assert frame.index.is_monotonic_increasing
        assert frame.index.is_unique
        assert frame["closed"].iloc[:-1].all()
        assert (trades["id"].diff().dropna() == 1).all()
        assert quotes.index.is_monotonic_increasing
        depth = live.depth(5)
        bids, asks = depth[depth["side"] == "bid"]["price"], depth[depth["side"] == "ask"]["price"]
        assert bids.max() < asks.min()


def trouble(random: Random, natives: list[str]) -> dict[str, Any]:
    """One of the troubles a live feed meets."""
    native = random.choice(natives).lower()
    stream = random.choice(("trade", "bookTicker", "depth*", "kline*"))
    drawn: dict[str, Any] = random.choice(
        (
            {"kind": "drop", "for_": random.uniform(0, 5)},
            {"kind": "drop", "for_": 2, "retry_after": 3},
            {"kind": "mute", "for_": random.uniform(2, 25)},
            {"kind": "mute", "for_": random.uniform(5, 30), "match": f"STREAM {native}@{stream}"},
            {"kind": "freeze", "for_": random.uniform(5, 30)},
            {"kind": "shutdown", "for_": random.uniform(3, 15)},
            {"kind": "gap", "match": f"STREAM {native}@{stream}", "times": random.randint(1, 5)},
            {"kind": "duplicate", "for_": 5, "match": f"STREAM {native}@{stream}"},
            {"kind": "tear", "match": f"STREAM {native}@{stream}"},
            {"kind": "delay", "ms": 3000, "times": 3, "match": "GET /api/v3/depth"},
            {"kind": "503", "match": "GET /api/v3/*", "times": random.randint(1, 6)},
            {"kind": "429", "match": "GET /api/v3/*", "times": 1, "retry_after": 3},
        )
    )
    return drawn


def test_frames_equal_the_exchanges_history_after_any_troubles_and_readers_see_nothing_but_stale(
    venue: Venue, sandbox: Handle
) -> None:
    random, struck = Random(SEED), Counter[str]()  # noqa: S311 - the seed is the point
    table = venue.instruments()
    symbols = list(table.index[:INSTRUMENTS])
    lives = [venue.live(symbol, "1s") for symbol in symbols]
    assert len(lives) == INSTRUMENTS
    reader = Reader(lives)
    reader.start()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until - CALM:
        drawn = trouble(random, list(table["native"][:INSTRUMENTS]))
        sandbox.fault(**drawn)
        struck[drawn["kind"]] += 1
        time.sleep(random.uniform(3, 20))
    sandbox.clear_faults()
    for live in lives:
        assert live.ready(CALM), f"{live!r}: {live.feeds}"
    time.sleep(5)
    reader.over.set()
    reader.join(10)
    print(
        f"\n{SECONDS:.0f} s, seed {SEED}: {dict(struck)}; {reader.reads} readings, {reader.unsynced} of books unsynced"
    )
    print(f"connections {lives[0].streams.connections}, handovers {lives[0].streams.supervisor.handovers}")
    assert reader.errors == []
    for live in lives:
        check(live, venue)


def check(live: Live, venue: Venue) -> None:
    """Candles and trades are the exchange's own; the book passes an audit, and its top is the quote's."""
    frame = live.frame
    closed = frame[frame["closed"]].drop(columns=["source", "recv_ts"])
    told = venue.candles(
        live.symbol, "1s", start=closed.index[0], end=closed.index[-1] + pd.Timedelta("1us"), progress=False
    )  # fmt: skip
    pd.testing.assert_frame_equal(closed, told, check_freq=False)
    trades = live.trades.tail(HISTORY).drop(columns=["source", "recv_ts"])
    history = venue.trades(live.symbol, start=trades.index[0], limit=HISTORY + 1_000, progress=False)
    both = history[history["id"].between(trades["id"].iloc[0], trades["id"].iloc[-1])]
    pd.testing.assert_frame_equal(
        trades.reset_index(drop=True).astype({"side": "str"}), both.reset_index(drop=True).astype({"side": "str"})
    )
    assert live.audit(30).empty
    assert live.state is FeedState.LIVE
