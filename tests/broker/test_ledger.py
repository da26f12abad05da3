"""A ledger opens the same account from a checkpoint as from all entries, and believes none that does not fit."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.broker import ledger as ledgers
from kit.broker.ledger import Ledger
from kit.clock import ManualClock
from kit.errors import JournalUnwritable
from kit.model import Fees, Fill, OrderRequest, OrderType, Quote, Report, ReportKind, Side
from kit.store import checkpoint as checkpoints
from kit.store.entries import Doubted, Intended, Reported, Terms
from kit.store.journal import Journal
from tests.broker.conftest import BTC

TERMS = Terms(
    kind="paper",
    venue="binance",
    environment="SANDBOX",
    quote="USDT",
    cash={"USDT": Decimal(1_000_000)},
    fees=Fees(),
    created=0,
)
QUOTE = Quote("BTC/USDT", 99.0, 1.0, 101.0, 1.0)
EVERY = 4


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are written every few entries."""
    monkeypatch.setattr(ledgers, "EVERY", EVERY)


class Day:
    """An account being used: what happens is numbered, and so is time."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path, ManualClock(1)
        self.ledger = self.open()

    def open(self) -> Ledger:
        journal = Journal(self.path)
        if journal.terms is None:
            journal.terms = TERMS
        return Ledger(journal, self.clock)

    def reopen(self) -> Ledger:
        self.ledger.journal.close()
        self.ledger = self.open()
        return self.ledger

    def buy(self, name: str, qty: str = "1", price: str | None = "100", replaces: str = "") -> None:
        self.clock.advance(1)
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        request = OrderRequest(
            symbol="BTC/USDT",
            side=Side.BUY,
            type=kind,
            qty=Decimal(qty),
            price=None if price is None else Decimal(price),
        )
        parts = ("once", name) if name.startswith("u") else ("key", name)
        self.ledger.intend(
            Intended(
                client_id=name,
                session="s",
                parts=parts,
                request=request,
                quote=QUOTE,
                replaces=replaces,
                time=self.clock.now(),
            ),
            BTC,
        )

    def hear(self, kind: ReportKind, name: str, venue_id: str = "") -> None:
        self.clock.advance(1)
        self.ledger.on_report(Report(kind=kind, client_id=name, time=self.clock.now(), venue_id=venue_id))

    def fill(self, name: str, number: int, qty: str = "0.5") -> None:
        self.clock.advance(1)
        fill = Fill(
            id=f"{number}",
            client_id=name,
            symbol="BTC/USDT",
            side=Side.BUY,
            qty=Decimal(qty),
            price=Decimal(100) - number,
            fee=Decimal("0.0001"),
            fee_asset="BTC",
            time=self.clock.now(),
        )
        report = Report(kind=ReportKind.FILLED, client_id=name, time=fill.time, venue_id=f"{number}00", fill=fill)
        self.ledger.on_report(report)


def picture(ledger: Ledger) -> object:
    """Everything a ledger says of its account."""
    return (
        dict(ledger.records),
        dict(ledger.intents),
        list(ledger.working),
        ledger.account.balances(),
        ledger.account.positions(),
        [ledger.reserved(name) for name in ledger.records],
        ledger.replaced,
        ledger.unkeyed,
        ledger.highest_id,
        ledger.last_prices,
        ledger.meant_since(0),
    )


def plainly(path: Path) -> object:
    """The same, folded from every entry."""
    copy = path.with_name("copy.sqlite")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("DELETE FROM checkpoints")
        target.commit()
    with closing(Journal(copy)) as journal:
        return picture(Ledger(journal, ManualClock(1)))


def kept(journal: Journal) -> int:
    """Up to which entry the checkpoint goes; 0 without one that is believed."""
    found = checkpoints.latest(journal)
    return found.seq if found else 0


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    made = Day(tmp_path / "paper.sqlite")
    yield made
    made.ledger.journal.close()


def live(day: Day) -> None:
    """Nine entries: one order is over, one is open with half of it filled, one is in doubt, one is an amendment."""
    day.buy("a")
    day.fill("a", 1)
    day.fill("a", 2)
    day.buy("u", price=None)
    day.fill("u", 3)
    day.buy("c")
    day.ledger.doubt("c", "no answer")
    day.hear(ReportKind.CANCELED, "c")
    day.buy("d", replaces="c")


def test_an_account_opened_from_a_checkpoint_is_the_account(day: Day) -> None:
    live(day)
    before = picture(day.ledger)
    again = day.reopen()
    assert kept(again.journal) == 2 * EVERY
    assert picture(again) == before == plainly(day.path)


def test_orders_that_are_over_are_read_when_they_are_asked_for(day: Day) -> None:
    live(day)
    ledger = day.reopen()
    assert list(ledger.records) == ["a", "u", "c", "d"]
    assert len(ledger.records) == 4
    assert "a" in ledger.records
    assert "x" not in ledger.records
    assert set(ledger._past.loaded) == {"u", "d"}, "the open order, and what came after the checkpoint"
    assert ledger.records["a"].filled == 1
    assert ledger.records.get("x") is None
    assert ledger.records["a"] is ledger.order("a"), "one record an order, whoever asks"


def test_a_late_fill_finds_its_order_in_the_past_and_counts_once(day: Day) -> None:
    live(day)
    day.reopen()
    day.fill("c", 7, "0.25")
    day.fill("c", 7, "0.25")
    day.fill("a", 1)
    assert day.ledger.records["c"].filled == Decimal("0.25")
    assert day.ledger.records["a"].filled == 1
    before = picture(day.ledger)
    assert picture(day.reopen()) == before == plainly(day.path)


def test_what_the_disk_has_not_taken_is_in_no_checkpoint(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint with a fill that is not in the entries would count it once more when the venue tells it again."""
    day.buy("a", qty="9")
    add, room = day.ledger.journal.add, iter([False] * EVERY + [True] * EVERY)

    def fuller(*entries: Reported | Doubted) -> None:
        if not next(room, False):
            raise JournalUnwritable("the disk is full")
        add(*entries)

    monkeypatch.setattr(ledgers, "AT_ONCE", 1)
    monkeypatch.setattr(day.ledger.journal, "add", fuller)
    for number in range(EVERY + 2):
        day.fill("a", number)
    assert day.ledger.records["a"].filled == Decimal("0.5") * (EVERY + 2)
    ledger = day.reopen()
    assert ledger.records["a"].filled == Decimal("0.5") * EVERY
    assert picture(ledger) == plainly(day.path)
    day.fill("a", EVERY + 1)
    assert day.ledger.account.total("BTC") == (Decimal("0.5") - Decimal("0.0001")) * (EVERY + 1)


def test_an_entry_that_was_written_and_not_folded_stops_the_checkpoints(day: Day) -> None:
    """A call interrupted at the wrong moment: the next process folds everything, and what it means is known again."""
    day.buy("a")
    interrupted = Intended(
        client_id="b", session="s", parts=("key", "b"), request=day.ledger.records["a"].request, time=5
    )
    day.ledger.journal.intend(interrupted, BTC)
    for number in range(3 * EVERY):
        day.fill("a", number, "0.01")
    assert kept(day.ledger.journal) == 0
    ledger = day.reopen()
    assert list(ledger.working) == ["a", "b"]
    assert kept(ledger.journal) == ledger.journal.last, "folded by one that knows them all"


@pytest.mark.parametrize(
    "damage",
    [
        'UPDATE checkpoints SET body = replace(body, \'"USDT":"\', \'"USDT":"9\')',
        "UPDATE checkpoints SET digest = 'x'",
        "UPDATE checkpoints SET body = substr(body, 1, 50)",
        "UPDATE checkpoints SET body = ''",
        "DELETE FROM checkpoints",
    ],
)
def test_a_damaged_checkpoint_is_not_believed(day: Day, damage: str) -> None:
    live(day)
    before = picture(day.ledger)
    day.ledger.journal._db.execute(damage)
    assert kept(day.ledger.journal) == 0
    assert picture(day.reopen()) == before
    assert kept(day.ledger.journal) == day.ledger.journal.last, "and another is written"


def forged(day: Day, forge: Callable[[str], str]) -> None:
    """A checkpoint that says something else and is whole in itself."""
    journal = day.ledger.journal
    row = journal.checkpoint()
    assert row is not None
    body = forge(row[0])
    assert body != row[0]
    journal.keep_checkpoint(1, body, checkpoints._digest(body))


@pytest.mark.parametrize(
    "forge",
    [
        lambda body: body.replace('"fold":1', '"fold":0'),
        lambda body: body.replace('"fold":1', '"fold":2'),
        lambda body: body.replace('"seq":8', '"seq":7'),
        lambda body: body.replace('"seq":8', '"seq":99'),
        lambda body: body.replace('"orders":3', '"orders":4'),
        lambda body: body.replace('"fold":1', '"fold":1,"more":1'),
    ],
    ids=["older", "newer", "another entry", "beyond the end", "another number of orders", "unknown field"],
)
def test_a_checkpoint_of_something_else_is_not_believed(day: Day, forge: Callable[[str], str]) -> None:
    live(day)
    before = picture(day.ledger)
    forged(day, forge)
    assert picture(day.reopen()) == before == plainly(day.path)


def test_a_checkpoint_of_another_account_is_not_believed(day: Day, tmp_path: Path) -> None:
    live(day)
    other = Day(tmp_path / "other.sqlite")
    for number in range(8):
        other.buy(f"{number}")
    row = other.ledger.journal.checkpoint()
    other.ledger.journal.close()
    assert row is not None
    before = picture(day.ledger)
    day.ledger.journal.keep_checkpoint(8, *row)
    assert picture(day.reopen()) == before


def test_an_account_in_memory_writes_no_checkpoint() -> None:
    journal = Journal.in_memory({"USDT": Decimal(1000)})
    ledger = Ledger(journal, ManualClock(1))
    request = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal(1), price=Decimal(1))
    for number in range(3 * EVERY):
        name = f"{number}"
        entry = Intended(client_id=name, session="s", parts=("key", name), request=request, time=number)
        ledger.intend(entry, BTC)
    assert journal.checkpoint() is None
    journal.close()


STEPS = st.tuples(
    st.sampled_from(["buy", "fill", "accepted", "triggered", "canceled", "expired", "rejected", "doubt", "reopen"]),
    st.sampled_from(["a", "b", "u1", "u2"]),
    st.integers(1, 6),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_a_checkpoint_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("day")
    day = Day(folder / "paper.sqlite")
    for kind, name, number in steps:
        _step(day, kind, name, number)
    before = picture(day.ledger)
    assert picture(day.reopen()) == before == plainly(day.path)
    day.ledger.journal.close()
    shutil.rmtree(folder)


def _step(day: Day, kind: str, name: str, number: int) -> None:
    if kind == "reopen":
        day.reopen()
    elif name not in day.ledger.records:
        day.buy(name, qty="2", price=None if number == 1 else f"{99 + number}", replaces="a" if name == "b" else "")
    elif kind == "fill":
        day.fill(name, number)
    elif kind == "doubt":
        day.ledger.doubt(name, "no answer")
    elif kind != "buy":
        day.hear(ReportKind(kind), name, f"{number}")
