"""The order path side by side with what it stands on, one durable SQLite transaction; and opening a long past."""

from __future__ import annotations

import itertools
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from kit.broker.desk import Desk
from kit.broker.gateway import Accepted, Outcome
from kit.broker.paper_venue import PaperVenue
from kit.clock import WallClock
from kit.market.feed import FeedState, Picture
from kit.model import (
    Balance,
    Fees,
    Fill,
    Instrument,
    Levels,
    OrderRequest,
    OrderState,
    OrderType,
    Quote,
    Report,
    ReportKind,
    Side,
)
from kit.orders.ids import Intent, client_id
from kit.store.entries import Intended, Reported, Terms
from kit.store.journal import Journal, _statement
from kit.venues.contract import IN_PROCESS

BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.001")
)
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.5"))
QUOTE = Quote("BTC/USDT", 99.0, 9.0, 101.0, 9.0)
ORDERS = 50
ROUNDS = 15
PAST = 100_000
OWN_WORK = 36.0
"""What an order may cost, in CPU of a bare transaction of its bytes in memory: 30 to 31 were measured. Wished for are
150 µs; 260 to 380 were measured, by the mood of a machine that is none of the fastest: 707,000 instructions, three
quarters of them Python's own. The profile is flat: exact money, three entries, the risk checks, the fill simulator."""
AGAIN = 0.5
"""The same for an order that was placed already; 0.26 was measured."""
DURABLE = 0.75
"""Of the throughput of the bare transaction. Wished for is 0.8; 0.92 to 1.07 was measured on a busy disk, whose fsync
took 5 ms. Without its fsync the journal costs 80 µs of CPU an order and the bare transaction 21."""


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


def per_call(call: Callable[[int], object], numbers: Iterator[int], *, clock: Callable[[], float]) -> float:
    """Seconds a call by that clock, the best of a few short rounds: what else runs on the machine is not ours."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = clock()
        for number in itertools.islice(numbers, ORDERS):
            call(number)
        best = min(best, (clock() - began) / ORDERS)
    return best


def side_by_side(calls: Mapping[str, Callable[[int], object]], numbers: Iterator[int]) -> dict[str, float]:
    """Seconds a call of each, the median of many rounds taken in turns: a disk has its moods."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            took[name].append(per_round(call, numbers))
    return {name: statistics.median(times) for name, times in took.items()}


def per_round(call: Callable[[int], object], numbers: Iterator[int]) -> float:
    began = time.perf_counter()
    for number in itertools.islice(numbers, ORDERS):
        call(number)
    return (time.perf_counter() - began) / ORDERS


def desk_on(journal: Journal) -> Desk:
    if journal.terms is None:
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


def bare_transaction(path: Path, bodies: Sequence[str]) -> Callable[[int], object]:
    """What no durable order path can be faster than: one transaction of the same bytes, fsynced."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, body TEXT)")

    def write(number: int) -> None:
        db.execute("BEGIN IMMEDIATE")
        for body in bodies:
            db.execute("INSERT INTO entries (body) VALUES (?)", (body,))
        db.execute("COMMIT")

    return write


def entries_of(number: int) -> tuple[Intended, Reported, Reported]:
    """An order of the past: meant, accepted and filled."""
    side = Side.SELL if number % 2 else Side.BUY
    name, at = client_id("paper", "default", Intent.keyed(f"{number}")), 1_700_000_000_000_000 + number
    request = OrderRequest(symbol="BTC/USDT", side=side, type=OrderType.MARKET, qty=Decimal("0.010"))
    fill = Fill(
        id=f"{number}",
        client_id=name,
        symbol="BTC/USDT",
        side=side,
        qty=request.qty,
        price=Decimal("101.25"),
        fee=Decimal("0.00101250"),
        fee_asset="USDT",
        time=at,
    )
    accepted = Report(kind=ReportKind.ACCEPTED, client_id=name, time=at, venue_id=f"{number}")
    filled = Report(kind=ReportKind.FILLED, client_id=name, time=at, venue_id=f"{number}", fill=fill)
    return (
        Intended(client_id=name, session="default", parts=("key", f"{number}"), request=request, quote=QUOTE, time=at),
        Reported(report=accepted, time=at),
        Reported(report=filled, time=at),
    )


def bodies() -> list[str]:
    """What an order writes down."""
    return [msgspec.json.encode(entry).decode() for entry in entries_of(0)]


@pytest.mark.bench
def test_the_kits_own_work_on_an_order_is_small() -> None:
    """All but network and fsync: intent, id, rules, freshness, risk, journal, simulator, account."""
    journal = Journal(":memory:")
    desk, numbers = desk_on(journal), itertools.count()
    calls: dict[str, Callable[[int], object]] = {
        "bare transaction": bare_transaction(Path(":memory:"), bodies()),
        "a paper order": lambda n: desk.place(BUY, Intent.keyed(f"{n}")),
        "the same again": lambda n: desk.place(BUY, Intent.keyed("1")),
    }
    took = {name: per_call(call, numbers, clock=time.process_time) for name, call in calls.items()}
    bare, new, again = took.values()
    print()
    for name, seconds in took.items():
        print(f"{name:16} {seconds * 1e6:7.0f} µs of CPU, no fsync   {seconds / bare:.2f} x the bare transaction")
    journal.close()
    assert new < OWN_WORK * bare
    assert again < AGAIN * bare


@pytest.mark.bench
def test_a_durable_journal_is_as_fast_as_the_bare_transaction_it_needs(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "paper.sqlite")
    desk, numbers = desk_on(Journal(tmp_path / "orders.sqlite")), itertools.count()

    def write_down(number: int) -> None:
        intended, accepted, filled = entries[number % len(entries)]
        journal.intend(intended, BTC)
        journal.add(accepted, filled)

    entries = [entries_of(number) for number in range(3 * ROUNDS * ORDERS)]
    took = side_by_side(
        {
            "bare transaction": bare_transaction(tmp_path / "bare.sqlite", bodies()),
            "journal": write_down,
            "whole order": lambda n: desk.place(BUY, Intent.keyed(f"{n}")),
        },
        numbers,
    )
    bare = took["bare transaction"]
    for name, seconds in took.items():
        print(f"{name:16} {seconds * 1e6:7.0f} µs   {bare / seconds:.2f} x the throughput of the bare transaction")
    journal.close()
    desk.journal.close()
    assert bare / took["journal"] >= DURABLE


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_a_hundred_thousand_past_orders_open_at_once(tmp_path: Path) -> None:
    """Meant, accepted and filled each: the journal is checked, the account is known, every id is taken."""
    path = tmp_path / "paper.sqlite"
    fill_journal(path, PAST)
    folded = opened(path)
    best = min(opened(path) for _ in range(ROUNDS))
    print(f"\n{PAST} past orders: {best:.2f} s from the checkpoint, {folded:.2f} s folded from every entry")
    assert best < 2


def fill_journal(path: Path, orders: int) -> None:
    journal = Journal(path)
    desk_on(journal)
    journal.intend(entries_of(0)[0], BTC)
    journal._db.execute("BEGIN")
    journal.add(*entries_of(0)[1:])
    for number in range(1, orders):
        for entry in entries_of(number):
            journal._db.execute(*_statement(entry))
    journal._db.execute("COMMIT")
    journal.close()


def opened(path: Path) -> float:
    """Seconds until an order could be placed."""
    began = time.perf_counter()
    journal = Journal(path)
    desk = desk_on(journal)
    took = time.perf_counter() - began
    assert len(desk.records) == PAST
    assert not desk.open_orders
    assert desk.account.total("BTC") == 0
    journal.close()
    return took
