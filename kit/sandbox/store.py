"""What a sandbox keeps on disk: accounts, keys, orders and fills in one SQLite file that only its user can read.

``commit`` returns when the changes are on the disk (WAL, synchronous=FULL): a kill -9 after an answer loses
nothing that was answered.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

import msgspec

from kit.errors import StoreError
from kit.sandbox.auth import Credential, KeyKind
from kit.sandbox.receipts import Change, Execution, VenueOrder

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, cash BLOB NOT NULL, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS keys (
  key TEXT PRIMARY KEY, account TEXT NOT NULL, kind TEXT NOT NULL, material TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS fills (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""


class Store:
    """One sandbox's file. Used from one thread. Raises StoreError when the disk does not take or give."""

    def __init__(self, path: Path) -> None:
        self.name = path.parent.name
        path.touch(mode=0o600)  # before SQLite makes it: -wal and -shm take their mode from it
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_TABLES)
        except sqlite3.Error as error:
            self._db.close()
            raise StoreError(
                f"the sandbox's file {path} can't be used ({error}); move it away to start anew"
            ) from error

    def close(self) -> None:
        self._db.close()

    # -- small facts --------------------------------------------------------------------------------------------------

    def get(self, name: str) -> str | None:
        """A fact about the sandbox (its seed, its tape, when it was last awake), or None."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return row and str(row[0])

    def put(self, name: str, value: object) -> None:
        """Keep a fact, in place of what stood there."""
        self._write([("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, str(value)))])

    # -- accounts -----------------------------------------------------------------------------------------------------

    def add_account(self, name: str, cash: Mapping[str, Decimal], created: int) -> None:
        self._write([("INSERT INTO accounts VALUES (?, ?, ?)", (name, msgspec.json.encode(dict(cash)), created))])

    def add_key(self, credential: Credential) -> None:
        row = (credential.key, credential.account, credential.kind.value, credential.material)
        self._write([("INSERT INTO keys VALUES (?, ?, ?, ?)", row)])

    def accounts(self) -> list[tuple[str, dict[str, Decimal], int]]:
        """(name, opening balances, created µs) of every account."""
        rows = self._db.execute("SELECT name, cash, created FROM accounts ORDER BY rowid")
        return [(name, msgspec.json.decode(cash, type=dict[str, Decimal]), created) for name, cash, created in rows]

    def credentials(self) -> list[Credential]:
        rows = self._db.execute("SELECT key, account, kind, material FROM keys ORDER BY rowid")
        return [Credential(key, account, KeyKind(kind), material) for key, account, kind, material in rows]

    # -- orders -------------------------------------------------------------------------------------------------------

    def commit(self, changes: Iterable[Change]) -> None:
        """Make changes durable, all or none."""
        statements: list[tuple[str, tuple[object, ...]]] = []
        for change in changes:
            body = msgspec.json.encode(change.order)
            statements.append(("INSERT OR REPLACE INTO orders VALUES (?, ?)", (change.order.id, body)))
            if change.execution is not None:
                body = msgspec.json.encode(change.execution)
                statements.append(("INSERT INTO fills VALUES (?, ?)", (change.execution.id, body)))
        if statements:
            self._write(statements)

    def orders(self) -> list[VenueOrder]:
        rows = self._db.execute("SELECT body FROM orders ORDER BY id")
        return [msgspec.json.decode(body, type=VenueOrder) for (body,) in rows]

    def fills(self) -> list[Execution]:
        rows = self._db.execute("SELECT body FROM fills ORDER BY id")
        return [msgspec.json.decode(body, type=Execution) for (body,) in rows]

    def _write(self, statements: Iterable[tuple[str, tuple[object, ...]]]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                self._db.execute(statement, values)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(
                f"the sandbox could not write down what happened ({error}); nothing of it stands"
            ) from error
