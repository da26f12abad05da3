"""One count for all processes of this machine that ask the same venue from the same address, kept in a small database.

What is allowed is counted per address and account, not per process: several notebooks share it. Each request reads the
pacer and writes it back in one SQLite transaction (10 µs; a file lock of its own costs twenty times that), so a process
that is killed leaves it whole. Nothing is synced to the disk: after a power cut the venue's headers tell what is used.
Where the folder can't be shared (read-only, a network disk without locks) a process counts alone, and says so.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from kit.clock import DAY, Offset
from kit.errors import StoreError
from kit.net.pacing import Pacer
from kit.venues.base import Budget

FILE = "pacing.sqlite"
SHAPE = 1
"""The shape of what is kept: a kit that keeps another keeps it in another row."""
BUSY = 2.0
"""Seconds to wait for another process: each holds the file for some 50 µs, unless it is stopped just then."""
AGAIN = 60.0
"""Seconds until a file that could not be shared is tried again."""
FORGET = 4 * DAY
"""µs after which what nobody asks is forgotten: the longest ban is three days (rest-api.md, "IP Limits")."""

_ENCODE, _DECODE = msgspec.json.Encoder().encode, msgspec.json.Decoder(Pacer).decode
_KEEP = (
    "INSERT INTO pacing (scope, at, state) VALUES (?, ?, ?) "
    "ON CONFLICT (scope) DO UPDATE SET at = excluded.at, state = excluded.state"
)

log = logging.getLogger("kit.net.pacing")


class SharedPacing:
    """The pacer of one address at one venue. Safe to use from any thread and, with a ``home``, any process.

    ``scope`` names venue and address; ``budgets`` are those known beforehand, else they are learned.
    """

    def __init__(
        self, scope: Callable[[], str], home: Callable[[], Path] | None = None, budgets: Sequence[Budget] = ()
    ) -> None:
        self.measured: Offset | None = None
        """The venue's clock against this process's, once it was measured."""
        self.pacer = Pacer(list(budgets))
        """As it was when this process last used it."""
        self.path: Path | None = None
        """Where it is kept; None while this process counts alone."""
        self._scope, self._home, self._budgets = scope, home, list(budgets)
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._parents: sqlite3.Connection | None = None
        self._key, self._pid = "", 0
        self._read = b""
        """What ``pacer`` was made of: where nobody wrote since, it need not be made again."""
        self._alone_until = 0.0

    @contextmanager
    def open(self) -> Iterator[Pacer]:
        """The pacer, for us alone until the block ends; what is done to it is then everybody's."""
        with self._lock:
            try:
                self._take()
                if self.measured is not None:
                    self.pacer.skew, self.pacer.blur = self.measured.offset, self.measured.uncertainty
                yield self.pacer
            finally:
                self._give_back()

    def close(self) -> None:
        """Share no more. What is on its way is counted by this process alone."""
        with self._lock:
            self._home = self.path = None
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    def _take(self) -> None:
        """Begin a transaction and read, where it can be shared."""
        if self._home is None or time.monotonic() < self._alone_until:
            return
        try:
            if self._db is None or self._pid != os.getpid():
                self._db = self._connect(self._home())
            if self._db.in_transaction:  # a cell was interrupted just there
                self._db.execute("ROLLBACK")
            self._db.execute("BEGIN IMMEDIATE")
            row = self._db.execute("SELECT state FROM pacing WHERE scope = ?", (self._key,)).fetchone()
        except (sqlite3.Error, OSError, StoreError) as error:
            self._part(error)
            return
        if row is not None and row[0] != self._read:
            with suppress(msgspec.MsgspecError):  # not ours: what this process knows takes its place
                self.pacer = _DECODE(row[0])
        if self._budgets and self.pacer.budgets != self._budgets:
            self.pacer.learn(self._budgets)

    def _give_back(self) -> None:
        """Write, and end the transaction."""
        if self._db is None or not self._db.in_transaction:
            return
        try:
            self._read = _ENCODE(self.pacer)
            self._db.execute(_KEEP, (self._key, time.time_ns() // 1_000, self._read))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._part(error)

    def _connect(self, home: Path) -> sqlite3.Connection:
        """The database, made when there is none, and made anew when a power cut has spoiled it."""
        self._parents, self._db = self._db, None  # after a fork: it must not be used here, nor even closed
        self._key, self._pid, self._read = f"{self._scope()} {SHAPE}", os.getpid(), b""
        self.path = path = home / FILE
        try:
            return _opened(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            for each in (path, path.with_name(f"{FILE}-wal"), path.with_name(f"{FILE}-shm")):
                each.unlink(missing_ok=True)
            return _opened(path)

    def _part(self, error: Exception) -> None:
        """Count alone for a while, and say so once."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()  # an open transaction is rolled back
        self._db = self.path = None
        if not self._alone_until:
            log.warning(
                "what is asked of %s can't be counted together with other programs (%s): this one keeps to the "
                "limits by itself, several at once may ask too much",
                self._scope(),
                error,
            )
        self._alone_until = time.monotonic() + AGAIN


def _opened(path: Path) -> sqlite3.Connection:
    """The database, ready for use. Where several make it at once SQLite may refuse without waiting: they try again."""
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

    again = Retrying(
        retry=retry_if_exception(_busy), stop=stop_after_delay(BUSY), wait=wait_random(0.005, 0.02), reraise=True
    )
    return again(_made, path)


def _busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _made(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY)
    try:
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE IF NOT EXISTS pacing (scope TEXT PRIMARY KEY, at INTEGER, state BLOB)")
        db.execute("DELETE FROM pacing WHERE at < ?", (time.time_ns() // 1_000 - FORGET,))
    except BaseException:
        db.close()
        raise
    return db
