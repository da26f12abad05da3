"""The order path side by side with what it stands on: one durable SQLite transaction."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from kit.broker.desk import Desk
from kit.broker.gateway import Accepted, Outcome
from kit.broker.paper_venue import PaperVenue
from kit.clock import WallClock
from kit.market.feed import FeedState, Picture
from kit.model import Balance, Fees, Instrument, Levels, OrderRequest, OrderState, OrderType, Quote, Side
from kit.orders.ids import Intent
from kit.store.entries import Intended, Terms
from kit.store.journal import Journal
from kit.venues.contract import IN_PROCESS

BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.001")
)
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.5"))
QUOTE = Quote("BTC/USDT", 99.0, 9.0, 101.0, 9.0)
ORDERS = 300
ROUNDS = 3


class Still:
    """A book that never moves and never ends."""

    def bids(self, n: int) -> Levels:
        return [(99.0, 1e9)]

    def asks(self, n: int) -> Levels:
        return [(101.0, 1e9)]


class Instant:
    """The paper venue with no latency and a market that shows something at once: the path without its waiting."""

    contract = IN_PROCESS

    def __init__(self, clock: WallClock) -> None:
        self.venue, self.clock, self.book = PaperVenue(Fees(), latency=0, seed=1), clock, Still()

    def listen(self, listener: object) -> None: ...
    def cancel(self, instrument: Instrument, client_id: str) -> Outcome:
        return Accepted()

    def submit(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Outcome:
        now = self.clock.now()
        self.venue.send(instrument, request, client_id, None, now)
        self.venue.see(instrument, self.book, None, None, now)
        return Accepted([report for answer in self.venue.answers(now) for report in answer.reports])

    def query(self, instrument: Instrument, client_id: str, since: int) -> OrderState | None:
        return None

    def open_orders(self) -> list[OrderState]:
        return []

    def balances(self) -> list[Balance]:
        return []

    def close(self) -> None: ...


def per_call(call: Callable[[int], object], numbers: Iterator[int]) -> float:
    """Seconds a call, the best of a few rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for number in itertools.islice(numbers, ORDERS):
            call(number)
        best = min(best, (time.perf_counter() - began) / ORDERS)
    return best


def desk_on(journal: Journal) -> Desk:
    journal.terms = Terms(
        kind="paper",
        venue="",
        environment="",
        quote="USDT",
        cash={"USDT": Decimal("1e12")},
        fees=Fees(),
        created=0,
    )
    clock = WallClock()
    picture = Picture(FeedState.LIVE, 0.0, QUOTE)
    return Desk("bench", "s", journal, Instant(clock), clock, instruments=lambda s: BTC, picture=lambda s: picture)


def bare_transaction(path: Path, body: str) -> Callable[[int], object]:
    """What no durable order path can be faster than: one insert of the same bytes, fsynced."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, body TEXT)")
    return lambda number: db.execute("INSERT INTO entries (body) VALUES (?)", (body,))


@pytest.mark.bench
def test_the_order_path_costs_little_beside_its_one_durable_write(tmp_path: Path) -> None:
    on_disk, in_memory = Journal(tmp_path / "paper.sqlite"), Journal(":memory:")
    durable, memory = desk_on(on_disk), desk_on(in_memory)
    numbers = itertools.count()
    first = durable.place(BUY, Intent.keyed("first"))
    (intended,) = (e for e in on_disk.history(first.client_id) if isinstance(e, Intended))
    row = on_disk._read("SELECT body FROM entries WHERE client_id = ? AND seq = 1", (intended.client_id,))
    bare = per_call(bare_transaction(tmp_path / "bare.sqlite", str(row[0][0])), numbers)
    whole = per_call(lambda n: durable.place(BUY, Intent.keyed(f"{n}")), numbers)
    kit = per_call(lambda n: memory.place(BUY, Intent.keyed(f"{n}")), numbers)
    again = per_call(lambda n: durable.place(BUY, Intent.keyed("first")), numbers)
    print(
        f"\nbare durable transaction {bare * 1e6:7.0f} µs"
        f"\norder, journal on disk   {whole * 1e6:7.0f} µs   {whole / bare:.2f} x bare"
        f"\norder, journal in memory {kit * 1e6:7.0f} µs   {kit / bare:.2f} x bare"
        f"\nthe same intent again    {again * 1e6:7.0f} µs   {again / bare:.2f} x bare"
    )
    on_disk.close()
    in_memory.close()
    # Where fsync costs nothing (a RAM disk) only the kit's own work is left: it may take that much by itself.
    own_work = 400e-6
    assert whole < 3 * bare + own_work
    assert kit < own_work
