"""A full disk is a clear no: what was not written was not meant, and the same journal goes on once there is room."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from kit.errors import JournalUnwritable
from kit.model import Instrument, OrderRequest, OrderType, Side
from kit.store.entries import Intended
from kit.store.journal import Journal

BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.00001")
)
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.5"))


def intended(number: int) -> Intended:
    name = f"{number}"
    return Intended(client_id=name, session="default", parts=("key", name), request=BUY, time=number)


def fill_up(journal: Journal) -> int:
    """Write until the disk is full; the intent it refused."""
    for number in itertools.count():
        why = refusal(journal, number)
        if why:
            assert "could not be written down was not sent. Make room on the disk" in why
            return number
    raise AssertionError


def refusal(journal: Journal, number: int) -> str:
    """Why an intent could not be written; empty when it was."""
    try:
        journal.intend(intended(number), BTC)
    except JournalUnwritable as error:
        return str(error)
    return ""


def goes_on(path: Path, journal: Journal, refused: int) -> None:
    """All that was promised is there, nothing else; with room again the same intent is written, and stays."""
    assert [order.created for order in journal.orders()] == list(range(refused))
    journal.intend(intended(refused), BTC)
    journal.close()
    with closing(Journal(path)) as again:
        assert [order.created for order in again.orders()] == list(range(refused + 1))


def test_sqlite_says_that_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "paper.sqlite"
    journal = Journal(path)
    pages = journal._read("PRAGMA page_count")[0][0]
    journal._db.execute(f"PRAGMA max_page_count={pages + 3}")
    refused = fill_up(journal)
    journal._db.execute("PRAGMA max_page_count=1000000")
    goes_on(path, journal, refused)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on what a process may write")
@pytest.mark.parametrize("room", range(0, 20_000, 1_111))
def test_the_system_refuses_the_rest_of_a_write(tmp_path: Path, room: int) -> None:
    """The limit ends somewhere in a frame of the log: a torn record, under the eyes of a living process."""
    path = tmp_path / "paper.sqlite"
    journal = Journal(path)
    with limited(path.with_name("paper.sqlite-wal").stat().st_size + room):
        refused = fill_up(journal)
    goes_on(path, journal, refused)


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes."""
    import resource  # there is none on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_real_file_system_without_room(tmp_path: Path, small_disk: Callable[[Path], None]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    small_disk(disk)
    ballast, path = disk / "ballast", disk / "paper.sqlite"
    ballast.write_bytes(b"0" * 100_000)
    journal = Journal(path)
    refused = fill_up(journal)
    ballast.unlink()
    goes_on(path, journal, refused)


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path], None]]:
    """Mounts a RAM disk of 400 kB on a folder; skips where that is not allowed."""
    mounted: list[Path] = []

    def mount(folder: Path) -> None:
        command = ["mount", "-t", "tmpfs", "-o", "size=400k", "papertape-test", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount here")
        if done.returncode:
            pytest.skip("only root may mount a small disk")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
