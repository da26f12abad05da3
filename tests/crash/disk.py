"""A journal's database through ``apsw``, so that a test sees every write and every fsync that SQLite makes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import apsw

from kit.store.schema import Connection

Step = Callable[[str], None]
"""Told what SQLite is about to do to the disk."""


class Rows:
    """A statement's rows, fetched at once."""

    def __init__(self, rows: Sequence[tuple[object, ...]]) -> None:
        self._rows = list(rows)

    def fetchone(self) -> tuple[object, ...] | None:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[tuple[object, ...]]:
        return self._rows


class Database:
    """An apsw connection with sqlite3's manners: what fails raises what ``sqlite3`` would raise."""

    def __init__(self, path: Path | str, vfs: str) -> None:
        with _spoken():
            self._db = apsw.Connection(str(path), vfs=vfs)
            self._db.set_busy_timeout(5000)

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Rows:
        with _spoken():
            return Rows([tuple(row) for row in self._db.execute(sql, values)])

    def close(self) -> None:
        with _spoken():
            self._db.close()


@contextmanager
def _spoken() -> Iterator[None]:
    try:
        yield
    except apsw.ConstraintError as error:
        raise sqlite3.IntegrityError(str(error)) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise sqlite3.DatabaseError(str(error)) from error
    except apsw.Error as error:
        raise sqlite3.OperationalError(str(error)) from error


class Stepwise(apsw.VFS):
    """The system's own files; ``step`` is told before each change to them and after each fsync."""

    def __init__(self, name: str, step: Step) -> None:
        self.name, self.step = name, step
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's
        return _StepwiseFile(name, flags, self.step)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's
        self.step("delete")
        super().xDelete(filename, syncdir)


class _StepwiseFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], step: Step) -> None:
        self._step = step
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's
        self._step("write")
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's
        self._step("truncate")
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's
        self._step("fsync")
        super().xSync(flags)
        self._step("fsynced")


def stepwise(step: Step) -> Callable[[Path | str], Connection]:
    """A way to open journals whose every change of the disk is told to ``step`` before it is made."""
    vfs = Stepwise("papertape-stepwise", step)
    return lambda path: Database(path, vfs.name)


# -- power cuts

SECTOR = 512
"""A disk writes whole sectors; a write of more may stop between two of them."""


class Platter:
    """What is on the disk for certain, file by file, and what the system was told to write since the last fsync."""

    def __init__(self) -> None:
        self._safe: dict[Path, bytearray] = {}
        self._pending: dict[Path, list[tuple[int, bytes]]] = {}

    def opened(self, path: Path) -> None:
        """What a file held before anybody looked was synced long ago."""
        if path not in self._pending and path not in self._safe and path.exists() and path.stat().st_size:
            self._safe[path] = bytearray(path.read_bytes())

    def write(self, path: Path, offset: int, data: bytes) -> None:
        self._pending.setdefault(path, []).append((offset, data))

    def truncate(self, path: Path, size: int) -> None:
        """Kept apart from writes by having no data: the file ends there."""
        self._pending.setdefault(path, []).append((size, b""))

    def sync(self, path: Path) -> None:
        image = self._safe.setdefault(path, bytearray())
        for offset, data in self._pending.pop(path, []):
            _put(image, offset, data)

    def delete(self, path: Path) -> None:
        self._safe.pop(path, None)
        self._pending.pop(path, None)

    def cut(self, folder: Path, chance: Random) -> None:
        """The power fails: into ``folder`` goes what a disk may hold then.

        Of what was not synced all, nothing, the beginning or any part may have arrived, and a write may be torn.
        """
        folder.mkdir(parents=True)
        for path in sorted({*self._safe, *self._pending}):
            image = bytearray(self._safe.get(path, b""))
            arrived = _arrived(self._pending.get(path, []), chance)
            for offset, data in arrived:
                _put(image, offset, data)
            if path in self._safe or arrived:
                (folder / path.name).write_bytes(image)


def _arrived(pending: Sequence[tuple[int, bytes]], chance: Random) -> list[tuple[int, bytes]]:
    manner = chance.choice(("all", "none", "beginning", "any"))
    if manner == "beginning":
        kept = list(pending[: chance.randint(0, len(pending))])
        return [*kept[:-1], *(_torn(write, chance) for write in kept[-1:])]
    if manner == "any":
        return [_torn(write, chance) for write in pending if chance.random() < 0.5]
    return list(pending) if manner == "all" else []


def _torn(write: tuple[int, bytes], chance: Random) -> tuple[int, bytes]:
    """A write of which perhaps only the first sectors have arrived."""
    offset, data = write
    if len(data) <= SECTOR or chance.random() < 0.5:
        return write
    return offset, data[: SECTOR * chance.randint(1, len(data) // SECTOR)]


def _put(image: bytearray, offset: int, data: bytes) -> None:
    if not data:
        del image[offset:]
        return
    image.extend(bytes(max(0, offset - len(image))))
    image[offset : offset + len(data)] = data


class Recorded(Stepwise):
    """The system's own files, with a ``platter`` that knows what a power cut would leave of them."""

    def __init__(self, name: str, step: Step, platter: Platter) -> None:
        self.platter = platter
        super().__init__(name, step)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's
        return _RecordedFile(name, flags, self.step, self.platter)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's
        super().xDelete(filename, syncdir)
        self.platter.delete(Path(filename))


class _RecordedFile(_StepwiseFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], step: Step, platter: Platter) -> None:
        self._path = Path(str(name.filename() if isinstance(name, apsw.URIFilename) else name))
        self._platter = platter
        platter.opened(self._path)
        super().__init__(name, flags, step)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's
        super().xWrite(data, offset)
        self._platter.write(self._path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's
        super().xTruncate(newsize)
        self._platter.truncate(self._path, newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's
        self._step("fsync")
        apsw.VFSFile.xSync(self, flags)
        self._platter.sync(self._path)
        self._step("fsynced")


def recorded(step: Step, platter: Platter) -> Callable[[Path | str], Connection]:
    """A way to open journals of which ``platter`` knows what would be left; checkpoints come often."""
    vfs = Recorded("papertape-recorded", step, platter)

    def connect(path: Path | str) -> Connection:
        db = Database(path, vfs.name)
        db.execute("PRAGMA wal_autocheckpoint=20")
        return db

    return connect
