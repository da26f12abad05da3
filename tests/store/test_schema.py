"""The journal only grows, one intent has one order, and a file of an older version becomes one of the newest."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from kit.errors import JournalUnwritable, StoreError
from kit.model import Instrument, OrderRequest, OrderStatus, OrderType, Report, ReportKind, Side
from kit.store.entries import Entry, Intended, Reported
from kit.store.journal import Journal
from kit.store.schema import APPLICATION_ID, MIGRATIONS, NEWEST

BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.00001")
)
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.5"))

SCHEMA_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE instruments (symbol TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    client_id TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE UNIQUE INDEX one_order_an_intent ON entries (client_id) WHERE kind = 'intended';
CREATE INDEX entries_of_an_order ON entries (client_id, seq);
CREATE TABLE marks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    equity TEXT NOT NULL,
    cash TEXT NOT NULL
);
"""
"""As papertape wrote it until November 2026: kept here word for word, whatever becomes of the migrations."""


def intended(client_id: str, time: int = 10) -> Intended:
    return Intended(client_id=client_id, session="default", parts=("key", client_id), request=BUY, time=time)


def accepted(client_id: str) -> Reported:
    return Reported(report=Report(kind=ReportKind.ACCEPTED, client_id=client_id, time=11, venue_id="7"), time=12)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "paper.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    made = Journal(path)
    yield made
    made.close()


def of_schema_1(path: Path, *entries: Entry) -> None:
    """A journal as the first version left it."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"{SCHEMA_1} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=1;")
        for entry in entries:
            kind = "intended" if isinstance(entry, Intended) else "reported"
            row = (entry.time, kind, entry.client_id, msgspec.json.encode(entry).decode())
            db.execute("INSERT INTO entries (time, kind, client_id, body) VALUES (?, ?, ?, ?)", row)
        db.execute("INSERT INTO instruments VALUES (?, ?)", (BTC.symbol, msgspec.json.encode(BTC).decode()))
        db.commit()


def built(path: Path) -> dict[str, str]:
    """What the file holds, by name, as it was declared; SQLite's own tables are its own."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    return {name: " ".join(sql.split()) for name, sql in rows}


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        found: tuple[int] = db.execute("PRAGMA user_version").fetchone()
        return found[0]


def test_a_file_of_the_first_version_is_read_taken_over_and_written_on(path: Path) -> None:
    of_schema_1(path, intended("a"), accepted("a"), intended("b"))
    with closing(Journal(path)) as journal:
        assert list(journal.entries()) == [intended("a"), accepted("a"), intended("b")]
        assert journal.instruments == {"BTC/USDT": BTC}
        with pytest.raises(JournalUnwritable, match="this intent has its order"):
            journal.intend(intended("a"), BTC)
        journal.withdraw("b")
        journal.intend(intended("b", time=99), BTC)
        assert [order.created for order in journal.orders()] == [10, 99]
    assert version(path) == NEWEST


@pytest.mark.parametrize("indexed", [False, True])
def test_a_file_that_was_brought_up_to_date_is_built_as_a_new_one(path: Path, tmp_path: Path, indexed: bool) -> None:
    of_schema_1(path, intended("a"))
    if indexed:  # the third version had this one
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE INDEX intents ON entries (seq, client_id) WHERE kind = 'intended'")
    Journal(path).close()
    Journal(tmp_path / "new.sqlite").close()
    assert built(path) == built(tmp_path / "new.sqlite")


def test_a_reader_takes_an_older_file_as_it_is(path: Path) -> None:
    """It may not write, and the owner may be the older version."""
    of_schema_1(path, intended("a"))
    with closing(Journal(path, readonly=True)) as reader:
        assert list(reader.entries()) == [intended("a")]
    assert version(path) == 1


def test_a_migration_is_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_schema_1(path, intended("a"))
    broken = (*MIGRATIONS, ("DROP TRIGGER one_order_an_intent", "DROP TABLE no_such_table"))
    monkeypatch.setattr("kit.store.schema.MIGRATIONS", broken)
    monkeypatch.setattr("kit.store.schema.NEWEST", NEWEST + 1)
    with pytest.raises(JournalUnwritable, match="no_such_table"):
        Journal(path)
    monkeypatch.undo()
    assert version(path) == NEWEST, "the steps before it stand, of the last one nothing"
    with closing(Journal(path)) as journal, pytest.raises(JournalUnwritable, match="this intent has its order"):
        journal.intend(intended("a"), BTC)


def test_a_journal_of_a_newer_papertape_is_left_alone(path: Path) -> None:
    Journal(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={NEWEST + 1}")
    for readonly in (False, True):
        with pytest.raises(StoreError, match=r"newer papertape.*nothing was changed"):
            Journal(path, readonly=readonly)
    assert version(path) == NEWEST + 1


@pytest.mark.parametrize("rewriting", ["DELETE FROM entries", "UPDATE entries SET time = 0"])
def test_nothing_that_was_written_is_changed_or_removed(journal: Journal, rewriting: str) -> None:
    journal.intend(intended("a"), BTC)
    with pytest.raises(sqlite3.IntegrityError, match="the journal only grows"):
        journal._db.execute(rewriting)
    assert list(journal.entries()) == [intended("a")]


def test_an_intent_taken_back_never_counted_and_may_be_meant_again(journal: Journal) -> None:
    journal.intend(intended("a"), BTC)
    journal.intend(intended("b"), BTC)
    journal.withdraw("a")
    assert [order.client_id for order in journal.orders()] == ["b"]
    assert journal.history("a") == []
    journal.intend(intended("a", time=50), BTC)
    journal.add(accepted("a"))
    assert journal.history("a") == [intended("a", time=50), accepted("a")]
    assert [order.status for order in journal.orders()] == [OrderStatus.INTENDED, OrderStatus.OPEN]
    kinds = [kind for _, _, kind, _, _ in journal.rows()]
    assert kinds == ["intended", "intended", "withdrawn", "intended", "reported"], "the file tells the whole story"


def test_only_an_intent_of_which_nothing_was_heard_is_taken_back(journal: Journal) -> None:
    journal.withdraw("never written")
    journal.intend(intended("a"), BTC)
    journal.add(accepted("a"))
    journal.withdraw("a")
    assert list(journal.entries()) == [intended("a"), accepted("a")]
    with pytest.raises(JournalUnwritable, match="this intent has its order"):
        journal.intend(intended("a"), BTC)


def test_what_was_taken_back_stays_so_after_a_restart(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.intend(intended("a"), BTC)
        journal.withdraw("a")
        journal.withdraw("a")
    with closing(Journal(path)) as journal:
        assert list(journal.entries()) == []
        journal.intend(intended("a"), BTC)
