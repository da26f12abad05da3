"""The journal's tables, version by version, and how an older file becomes a newer one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from kit.errors import StoreError

APPLICATION_ID = 0x70617065
"""``pape`` in SQLite's header: the mark of a papertape journal."""

_ENTRIES = """CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    client_id TEXT NOT NULL,
    body TEXT NOT NULL
)"""
_OF_AN_ORDER = "CREATE INDEX entries_of_an_order ON entries (client_id, seq)"
_GROWING = (  # an intent may be taken back and meant again, and entries only ever grow in number
    """CREATE TRIGGER one_order_an_intent BEFORE INSERT ON entries WHEN new.kind = 'intended' AND
        (SELECT kind FROM entries WHERE client_id = new.client_id ORDER BY seq DESC LIMIT 1) <> 'withdrawn'
        BEGIN SELECT raise(ABORT, 'this intent has its order'); END""",
    """CREATE TRIGGER nothing_is_rewritten BEFORE UPDATE ON entries
        BEGIN SELECT raise(ABORT, 'the journal only grows'); END""",
    """CREATE TRIGGER nothing_is_removed BEFORE DELETE ON entries
        BEGIN SELECT raise(ABORT, 'the journal only grows'); END""",
    "CREATE INDEX withdrawals ON entries (seq) WHERE kind = 'withdrawn'",
)
_MARKS = """CREATE TABLE marks (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    equity TEXT NOT NULL,
    cash TEXT NOT NULL
)"""
_CHECKPOINTS = "CREATE TABLE checkpoints (seq INTEGER PRIMARY KEY, body TEXT NOT NULL, digest TEXT NOT NULL)"

SCHEMA: Sequence[str] = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE instruments (symbol TEXT PRIMARY KEY, facts TEXT NOT NULL) WITHOUT ROWID",
    _ENTRIES,
    _OF_AN_ORDER,
    *_GROWING,
    _MARKS,
    _CHECKPOINTS,
)
"""A new file. An order costs the disk every page that it touches: there is no index that only opening would read."""

MIGRATIONS: Sequence[Sequence[str]] = (
    ("DROP INDEX one_order_an_intent", *_GROWING),
    (_CHECKPOINTS,),
    (  # AUTOINCREMENT kept a count in a table of its own, of numbers that never come back anyway
        "DROP INDEX IF EXISTS intents",
        "ALTER TABLE entries RENAME TO older",
        *(f"DROP TRIGGER {name}" for name in ("one_order_an_intent", "nothing_is_rewritten", "nothing_is_removed")),
        _ENTRIES,
        "INSERT INTO entries SELECT seq, time, kind, client_id, body FROM older",
        "DROP TABLE older",
        _OF_AN_ORDER,
        *_GROWING,
        "ALTER TABLE marks RENAME TO older",
        _MARKS,
        "INSERT INTO marks SELECT seq, time, equity, cash FROM older",
        "DROP TABLE older",
    ),
)
"""What makes a file of version n, counted from 1, one of the next."""

NEWEST = len(MIGRATIONS) + 1
"""The version of a new file; SQLite keeps it as ``user_version``."""


class Cursor(Protocol):
    """What a statement found."""

    def fetchone(self) -> tuple[object, ...] | None: ...
    def fetchall(self) -> list[tuple[object, ...]]: ...


class Connection(Protocol):
    """What the journal asks of a database: ``sqlite3``'s own in autocommit mode, or a test's that loses power."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: str, values: Sequence[object] = ..., /) -> Cursor: ...
    def close(self) -> None: ...


def migrate(db: Connection, path: Path | None, *, readonly: bool) -> None:
    """Bring the schema to the newest version, each step in a transaction of its own; ``readonly`` changes nothing.

    Raises StoreError when the file is not ours, or from the future.
    """
    application, version = number(db, "PRAGMA application_id"), number(db, "PRAGMA user_version")
    tables = number(db, "SELECT count(*) FROM sqlite_master")
    if (tables or readonly) and application != APPLICATION_ID:
        raise StoreError(f"{path} is not a papertape journal: nothing was read or written. Choose another account=")
    if version > NEWEST:
        raise StoreError(
            f"{path} was written by a newer papertape (schema {version}, this one knows {NEWEST}): "
            "nothing was changed. Upgrade papertape, or choose another account="
        )
    if readonly:
        return
    db.execute("PRAGMA journal_mode=WAL")
    if not tables:
        _take(db, SCHEMA, NEWEST)
        return
    for older in range(version, NEWEST):
        _take(db, MIGRATIONS[older - 1], older + 1)


def _take(db: Connection, statements: Sequence[str], version: int) -> None:
    """Bring the schema to a version, in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    for statement in statements:
        db.execute(statement)
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={version}")
    db.execute("COMMIT")


def number(db: Connection, sql: str) -> int:
    """The one whole number that a statement gives."""
    row = db.execute(sql).fetchone()
    return int(str(row[0])) if row else 0
