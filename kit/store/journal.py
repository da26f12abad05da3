"""What an account has meant, sent and heard: one SQLite file, written before anything leaves.

The journal is a list of entries that only grows; their order is that of their numbers, whatever the
clock did meanwhile. Orders, fills and balances are folds over it, so reading it again gives exactly
what was there before the process died. An intent is on the disk (``synchronous=FULL``) before its
order is sent; answers are written with ``NORMAL``: they survive the death of the process, and a power
cut loses at most what the venue can tell again.

One process owns a journal and writes entries; any process may read it and set its halt flag.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from kit.errors import JournalUnwritable, StoreError
from kit.model import Fees, Instrument
from kit.orders.lifecycle import OrderRecord
from kit.store.entries import Doubted, Entry, Intended, Mark, Reported, Terms, Withdrawn, fold
from kit.store.owner import own
from kit.store.schema import Connection, migrate

_KINDS: Mapping[type, str] = {
    Intended: "intended",
    Reported: "reported",
    Doubted: "doubted",
    Withdrawn: "withdrawn",
}
_DECODERS: Mapping[str, msgspec.json.Decoder[Entry]] = {
    "intended": msgspec.json.Decoder(Intended),
    "reported": msgspec.json.Decoder(Reported),
    "doubted": msgspec.json.Decoder(Doubted),
}
_encode = msgspec.json.Encoder().encode
_ENTRY = "INSERT INTO entries (time, kind, client_id, body) VALUES (?, ?, ?, ?)"
_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_FACTS = "INSERT INTO instruments VALUES (?, ?) ON CONFLICT (symbol) DO UPDATE SET facts = excluded.facts"

LAST = 2**63 - 1
"""No entry's number is above it."""

Statement = tuple[str, tuple[object, ...]]


def on_disk(path: Path | str) -> Connection:
    """SQLite's own connection, in autocommit mode; it waits 5 s for whoever writes at that moment."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)


class Journal:
    """One account's journal. ``":memory:"`` keeps it in memory: backtests and tests.

    Raises AccountBusy when another process owns it (``readonly=True`` reads it all the same),
    StoreError when the file is no journal or is damaged. Every write raises JournalUnwritable when
    the disk does not take it; the same journal can be used again once there is room. ``connect`` opens
    the database, and raises what ``sqlite3`` raises.
    """

    def __init__(
        self, path: Path | str, *, readonly: bool = False, connect: Callable[[Path | str], Connection] = on_disk
    ) -> None:
        self.path = None if str(path) == ":memory:" else Path(path)
        self.readonly = readonly
        self._lock = threading.RLock()
        self._closed = False
        self._process = os.getpid()
        self._connect = connect
        self._owner = None if readonly or self.path is None else own(self.path)
        with ExitStack() as undo:
            undo.callback(self._disown)
            self._db = self._open()
            undo.callback(self._db.close)
            self._instruments = self._read_instruments()
            undo.pop_all()

    @classmethod
    def in_memory(cls, cash: Mapping[str, Decimal], *, kind: str = "backtest", fees: Fees = Fees()) -> Journal:  # noqa: B008 - frozen
        """A journal that ends with its process, opened with ``cash``; the first asset is the quote."""
        journal = cls(":memory:")
        quote = next(iter(cash), "")
        journal.terms = Terms(kind=kind, venue="", environment="", quote=quote, cash=dict(cash), fees=fees, created=0)
        return journal

    # -- what is written

    def intend(self, entry: Intended, instrument: Instrument) -> None:
        """Put an intent on the disk, for good, before its order is sent."""
        statements = [_statement(entry)]
        if self._instruments.get(instrument.symbol) != instrument:
            statements.append((_FACTS, (instrument.symbol, _text(instrument))))
        self._write(statements, durable=True)
        self._instruments[instrument.symbol] = instrument

    def withdraw(self, client_id: str) -> None:
        """Take back an intent whose order will not be sent: the call was interrupted while it was written.

        The intent may or may not have been written; where it was, the withdrawal stands after it and it may be
        meant again.
        """
        last = "SELECT seq, kind, time FROM entries WHERE client_id = ? ORDER BY seq DESC LIMIT 1"
        for seq, kind, time in self._read(last, (client_id,)):
            if kind == "intended":
                self._write([_statement(Withdrawn(client_id=client_id, seq=seq, time=time))], durable=True)

    def add(self, *entries: Reported | Doubted) -> None:
        """Write down what was heard, or that nothing was: all of it or nothing, in one statement (at most 8,000)."""
        rows = [value for entry in entries for value in _statement(entry)[1]]
        self._write([(_ENTRY + ", (?, ?, ?, ?)" * (len(entries) - 1), tuple(rows))])

    def mark(self, mark: Mark) -> None:
        """Write down what the account is worth."""
        row = (mark.time, str(mark.equity), str(mark.cash))
        self._write([("INSERT INTO marks (time, equity, cash) VALUES (?, ?, ?)", row)])

    # -- what is read

    def entries(self, *, after: int = 0, upto: int = LAST) -> Iterator[Entry]:
        """Every entry that counts, in the order it was written; of those numbered above ``after``, up to ``upto``."""
        sql = "SELECT seq, kind, body FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq"
        return self._decoded(self._read(sql, (after, upto)))

    def history(self, client_id: str, *, upto: int = LAST) -> list[Entry]:
        """What was meant, sent and heard of one order, up to entry ``upto``."""
        sql = "SELECT seq, kind, body FROM entries WHERE client_id = ? AND seq <= ? ORDER BY seq"
        return list(self._decoded(self._read(sql, (client_id, upto))))

    def names(self, upto: int = LAST) -> list[str]:
        """The client id of every order, in the order of their intents, up to entry ``upto``."""
        rows = self._read(
            "SELECT seq, client_id FROM entries WHERE kind = 'intended' AND seq <= ? ORDER BY seq", (upto,)
        )
        taken_back = self._taken_back()
        return [client_id for seq, client_id in rows if seq not in taken_back]

    @property
    def last(self) -> int:
        """The number of the last entry; 0 before the first."""
        return int(self._read("SELECT coalesce(max(seq), 0) FROM entries")[0][0])

    def row(self, seq: int) -> str | None:
        """An entry as it is written, in one text; None when there is none of that number."""
        rows = self._read("SELECT time, kind, client_id, body FROM entries WHERE seq = ?", (seq,))
        return f"{rows[0]}" if rows else None

    def checkpoint(self) -> tuple[str, str] | None:
        """The last checkpoint that was kept, and its digest."""
        rows = self._read("SELECT body, digest FROM checkpoints ORDER BY seq DESC LIMIT 1")
        return rows[0] if rows else None

    def keep_checkpoint(self, seq: int, body: str, digest: str) -> None:
        """Keep a checkpoint of the entries up to ``seq``, in place of any other."""
        row = "INSERT INTO checkpoints VALUES (?, ?, ?)", (seq, body, digest)
        self._write([("DELETE FROM checkpoints", ()), row])

    def rows(self) -> list[tuple[int, int, str, str, str]]:
        """Every entry as it is written: seq, time (µs), kind, client id and body, withdrawn intents too."""
        return self._read("SELECT seq, time, kind, client_id, body FROM entries ORDER BY seq")

    def orders(self) -> list[OrderRecord]:
        """Every order as the entries leave it, in the order of their intents."""
        records: dict[str, OrderRecord] = {}
        for entry in self.entries():
            fold(records, entry)
        return list(records.values())

    def marks(self) -> list[Mark]:
        """What the account was worth at each mark, in the order of writing."""
        rows = self._read("SELECT time, equity, cash FROM marks ORDER BY seq")
        return [Mark(time, Decimal(equity), Decimal(cash)) for time, equity, cash in rows]

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """The instruments the account has traded, as they were at the last order."""
        return self._instruments

    # -- terms and flags

    @property
    def terms(self) -> Terms | None:
        """What the account was opened with; None before it was."""
        text = self.get("terms")
        with _damage(self.path):
            return None if text is None else msgspec.json.decode(text, type=Terms)

    @terms.setter
    def terms(self, terms: Terms) -> None:
        self.set("terms", _text(terms), durable=True)

    def get(self, key: str) -> str | None:
        """A remembered label (``session``, ``halt`` …), None when there is none."""
        rows = self._read("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def set(self, key: str, value: str, *, durable: bool = False) -> None:
        """Remember a label."""
        self._write([(_META, (key, value))], durable=durable)

    @property
    def halted(self) -> str:
        """Why the account is halted; empty when it is not. Read from the file: any process may have set it."""
        return self.get("halt") or ""

    def halt(self, reason: str) -> None:
        """Set the halt flag; works from a process that only reads the journal, too."""
        with self._lock, self._as_writer():
            self.set("halt", reason or "halted", durable=True)

    def resume(self) -> None:
        """Take the halt flag down."""
        with self._lock, self._as_writer():
            self._write([("DELETE FROM meta WHERE key = 'halt'", ())], durable=True)

    def close(self) -> None:
        """Close the file and give up its ownership."""
        with self._lock:
            self._closed = True
            self._db.close()
            self._disown()

    # -- inside

    def _disown(self) -> None:
        if self._owner is not None:
            self._owner.release()
            self._owner = None

    def _open(self) -> Connection:
        if self.path is not None and self.readonly and not self.path.exists():
            raise StoreError(f"there is no account at {self.path}: nothing was read")
        try:
            with ExitStack() as undo:
                db = self._connect(":memory:" if self.path is None else self.path)
                undo.callback(db.close)
                self._prepare(db)
                undo.pop_all()
        except sqlite3.OperationalError as error:
            raise JournalUnwritable(_unwritten(self.path, error)) from error
        return db

    def _prepare(self, db: Connection) -> None:
        with _damage(self.path):
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA fullfsync=ON")  # macOS: its fsync leaves the data in the drive's own cache
            migrate(db, self.path, readonly=self.readonly)
            ((verdict,),) = db.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        if self._owner is not None:
            db.execute(_META, ("owner", str(os.getpid())))
        if self.readonly:
            db.execute("PRAGMA query_only=ON")

    def _read_instruments(self) -> dict[str, Instrument]:
        rows = self._read("SELECT symbol, facts FROM instruments")
        with _damage(self.path):
            return {symbol: msgspec.json.decode(facts, type=Instrument) for symbol, facts in rows}

    def _decoded(self, rows: list[tuple[int, str, str]]) -> Iterator[Entry]:
        """Rows (seq, kind, body) as entries, without withdrawn intents and their withdrawals."""
        with _damage(self.path):
            taken_back = self._taken_back()
            yield from (_DECODERS[kind].decode(body) for seq, kind, body in rows if seq not in taken_back)

    def _taken_back(self) -> Set[int]:
        found = self._read("SELECT seq, body FROM entries WHERE kind = 'withdrawn'")
        return {number for seq, body in found for number in (seq, msgspec.json.decode(body, type=Withdrawn).seq)}

    def _read(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self._lock:
            if self._closed:
                raise StoreError(_shut(self.path))
            try:
                return self._db.execute(sql, values).fetchall()
            except (sqlite3.OperationalError, sqlite3.ProgrammingError) as error:
                raise StoreError(f"the journal {self.path or 'in memory'} could not be read ({error})") from error
            except sqlite3.DatabaseError as error:
                raise _damaged(self.path, error) from error

    def _write(self, statements: Sequence[Statement], *, durable: bool = False) -> None:
        """Execute the statements as one transaction, on the disk when ``durable``."""
        durable = durable and self.path is not None
        if self.path is not None and os.getpid() != self._process:  # looked at first: a forked lock may never be free
            raise JournalUnwritable(_forked(self.path, self._process))
        with self._lock:
            if self._closed:
                raise JournalUnwritable(_shut(self.path))
            try:
                if durable:
                    self._db.execute("PRAGMA synchronous=FULL")
                self._execute(statements)
            except sqlite3.Error as error:
                self._roll_back()
                raise JournalUnwritable(_unwritten(self.path, error)) from error
            except BaseException:  # a cell interrupted between two statements
                self._roll_back()
                raise
            finally:
                if durable:
                    with suppress(sqlite3.Error):
                        self._db.execute("PRAGMA synchronous=NORMAL")

    def _execute(self, statements: Sequence[Statement]) -> None:
        if len(statements) == 1:
            self._db.execute(*statements[0])
            return
        self._db.execute("BEGIN IMMEDIATE")
        for statement in statements:
            self._db.execute(*statement)
        self._db.execute("COMMIT")

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    @contextmanager
    def _as_writer(self) -> Iterator[None]:
        """A reader sets the halt flag, and nothing else."""
        if not self.readonly:
            yield
            return
        self._db.execute("PRAGMA query_only=OFF")
        try:
            yield
        finally:
            self._db.execute("PRAGMA query_only=ON")


def set_aside(path: Path, now: int) -> Path | None:
    """Move an account's journal out of the way, keeping it; where it is now, None when there was none.

    Raises AccountBusy when a process owns it, JournalUnwritable when it can't be moved.
    """
    if not path.exists():
        return None
    kept = path.with_name(f"{path.stem}.until-{now}{path.suffix}")
    lock = own(path)
    try:
        with suppress(sqlite3.Error), closing(on_disk(path)) as db:  # what is in the log belongs to what is kept
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for ending in ("", "-wal", "-shm"):
            part = path.with_name(path.name + ending)
            if part.exists():
                part.rename(kept.with_name(kept.name + ending))
    except OSError as error:
        raise JournalUnwritable(f"{path} can't be put aside ({error}); nothing was begun anew") from None
    finally:
        lock.release()
    return kept


def _statement(entry: Entry | Withdrawn) -> Statement:
    return _ENTRY, (entry.time, _KINDS[type(entry)], entry.client_id, _text(entry))


def _text(value: object) -> str:
    return _encode(value).decode()


@contextmanager
def _damage(path: Path | None) -> Iterator[None]:
    """What SQLite or a decoder says of what it can't make sense of, as a StoreError."""
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except (sqlite3.DatabaseError, msgspec.DecodeError, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path | None, error: Exception) -> StoreError:
    return StoreError(
        f"{path} is damaged or not a papertape journal ({error}): nothing was written to it. "
        "Restore it from a copy, or open the account with reset=True, which keeps this file beside a new one"
    )


def _shut(path: Path | None) -> str:
    return (
        f"account {path.stem if path else 'in memory'!r} is closed in this process: nothing was read, written or sent; "
        "kit.paper(…) or kit.live(…) opens it again"
    )


def _forked(path: Path, process: int) -> str:
    return (
        f"account {path.stem!r} is open in process {process}, of which this is a fork: nothing was written or sent. "
        "Its owner would hear nothing of an order from here, nor halt it: trade there, let workers compute"
    )


def _unwritten(path: Path | None, error: sqlite3.Error) -> str:
    return (
        f"the journal {path or 'in memory'} could not be written ({error}): what could not be written down was not "
        "sent. Make room on the disk or give the folder back its write permission, then try again"
    )
