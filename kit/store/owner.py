"""One process owns an account: a lock beside its journal, which the system gives back when the process dies."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from kit.errors import AccountBusy, JournalUnwritable


def own(path: Path) -> FileLock:
    """The account's lock, taken. Raises AccountBusy when another process has it, JournalUnwritable without a folder."""
    lock = FileLock(f"{path}.lock", timeout=0, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise AccountBusy(_busy(path)) from None
    except OSError as error:
        raise JournalUnwritable(
            f"{path.parent} can't be written ({error}): no account can be opened there, so nothing was sent. Give the "
            "folder back its write permission, or choose another with PAPERTAPE_HOME"
        ) from None
    return lock


def _busy(path: Path) -> str:
    owner = _owner(path)
    return (
        f"account {path.stem!r} is in use by process {owner or 'unknown'}"
        f"{' (this one)' if owner == str(os.getpid()) else ''}: an account has one owner, so nothing was opened. "
        "Shut that notebook or script down, or choose another account="
    )


def _owner(path: Path) -> str:
    """The process that wrote itself down as the owner; empty when that can't be read."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        for (value,) in db.execute("SELECT value FROM meta WHERE key = 'owner'"):
            return str(value)
    return ""
