"""The journal: nothing is sent that it does not hold, and reading it again gives what was there."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import AccountBusy, JournalUnwritable, StoreError
from kit.model import Fees, Fill, Instrument, OrderRequest, OrderStatus, OrderType, Report, ReportKind, Side
from kit.store.entries import Doubted, Entry, Intended, Mark, Reported, Terms
from kit.store.journal import Journal, set_aside

BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.00001")
)
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.5"))
TERMS = Terms(
    kind="paper",
    venue="binance",
    environment="SANDBOX",
    quote="USDT",
    cash={"USDT": Decimal("10000.50")},
    fees=Fees(),
    created=1,
)


def intended(client_id: str = "a", time: int = 10) -> Intended:
    return Intended(client_id=client_id, session="default", parts=("key", client_id), request=BUY, time=time)


def filled(client_id: str = "a", fill: str = "1", qty: str = "0.5", time: int = 12) -> Reported:
    execution = Fill(
        id=fill,
        client_id=client_id,
        symbol="BTC/USDT",
        side=Side.BUY,
        qty=Decimal(qty),
        price=Decimal("100.25"),
        fee=Decimal("0.0005"),
        fee_asset="BTC",
        time=time,
    )
    report = Report(kind=ReportKind.FILLED, client_id=client_id, venue_id="7", time=time, fill=execution)
    return Reported(report=report, time=time)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts" / "paper.sqlite"


def test_what_was_written_is_read_again_as_it_was(path: Path) -> None:
    journal = Journal(path)
    written: list[Entry] = [
        intended("a"),
        filled("a"),
        intended("b"),
        Doubted(client_id="b", reason="timeout", time=20),
    ]
    for entry in written:
        journal.intend(entry, BTC) if isinstance(entry, Intended) else journal.add(entry)
    before = journal.orders()
    journal.close()

    again = Journal(path)
    assert list(again.entries()) == written
    assert again.orders() == before
    assert again.instruments == {"BTC/USDT": BTC}
    assert [order.status for order in before] == [OrderStatus.FILLED, OrderStatus.UNKNOWN]
    again.close()


def test_money_keeps_every_digit(path: Path) -> None:
    journal = Journal(path)
    journal.terms = TERMS
    journal.mark(Mark(5, Decimal("10000.000000000000000001"), Decimal("1E-8")))
    journal.close()
    again = Journal(path)
    assert again.terms == TERMS
    assert again.marks() == [Mark(5, Decimal("10000.000000000000000001"), Decimal("1E-8"))]
    again.close()


def test_an_intent_is_on_the_disk_before_intend_returns(path: Path) -> None:
    """The durable write is FULL; the answers after it are NORMAL again."""
    journal = Journal(path)
    levels: list[str] = []
    assert isinstance(journal._db, sqlite3.Connection)
    journal._db.set_trace_callback(levels.append)
    journal.intend(intended(), BTC)
    journal.add(filled())
    once = [line for line, _ in itertools.groupby(levels)]  # a statement with a trigger is told twice
    said = [line.split(" ")[0] if "PRAGMA" not in line else line for line in once]
    assert said == [
        "PRAGMA synchronous=FULL",
        "BEGIN",
        "INSERT",
        "INSERT",
        "COMMIT",
        "PRAGMA synchronous=NORMAL",
        "INSERT",
    ]
    journal.close()


def test_one_intent_is_written_once(path: Path) -> None:
    journal = Journal(path)
    journal.intend(intended(), BTC)
    with pytest.raises(JournalUnwritable):
        journal.intend(intended(), BTC)
    assert len(list(journal.entries())) == 1
    journal.close()


def test_a_second_owner_is_told_whose_it_is(path: Path) -> None:
    journal = Journal(path)
    with pytest.raises(AccountBusy, match=rf"'paper' is in use by process {os.getpid()} \(this one\).*account="):
        Journal(path)
    with pytest.raises(AccountBusy):
        set_aside(path, 1)
    journal.close()
    Journal(path).close()


def test_another_process_reads_and_halts_but_does_not_write(path: Path) -> None:
    journal = Journal(path)
    journal.intend(intended(), BTC)
    code = (
        "import sys\nfrom kit.store.journal import Journal\nfrom kit.errors import AccountBusy, JournalUnwritable\n"
        "try: Journal(sys.argv[1])\nexcept AccountBusy as error: print(error)\n"
        "reader = Journal(sys.argv[1], readonly=True)\nprint(len(reader.orders()))\nreader.halt('enough')\n"
        "try: reader.set('session', 'x')\nexcept JournalUnwritable: print('read only')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    busy, orders, readonly = done.stdout.strip().splitlines()
    assert f"process {os.getpid()}:" in busy
    assert (orders, readonly) == ("1", "read only")
    assert journal.halted == "enough"
    journal.resume()
    assert journal.halted == ""
    journal.close()


def test_the_owner_died_and_the_account_is_free_again(path: Path) -> None:
    code = (
        "import sys, os, msgspec\nfrom kit.store.journal import Journal, Intended\nfrom kit.model import Instrument\n"
        "journal = Journal(sys.argv[1])\n"
        "read = msgspec.json.decode\n"
        "journal.intend(read(sys.argv[2], type=Intended), read(sys.argv[3], type=Instrument))\n"
        "os._exit(9)\n"
    )
    arguments = [msgspec.json.encode(value).decode() for value in (intended(), BTC)]
    subprocess.run([sys.executable, "-c", code, str(path), *arguments], check=False, timeout=60)
    journal = Journal(path)
    assert list(journal.entries()) == [intended()]
    journal.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system that forks")
def test_a_forked_worker_writes_nothing_and_so_sends_nothing(path: Path) -> None:
    """It would place orders that the owner never hears of, reserves nothing for, and does not halt."""
    with closing(Journal(path)) as journal:
        child = os.fork()
        if child == 0:
            try:
                journal.intend(intended("a"), BTC)
            except JournalUnwritable as error:
                os._exit(0 if "is a fork" in str(error) else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        journal.intend(intended("a"), BTC)
        assert journal.last == 1


def test_a_file_that_is_no_journal_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"symbol,price\n" * 400)
    with pytest.raises(StoreError, match="reset=True"):
        Journal(path)
    assert path.read_bytes().startswith(b"symbol,price")


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE cookies (name TEXT)")
    db.commit()
    db.close()
    for readonly in (False, True):
        with pytest.raises(StoreError, match="not a papertape journal"):
            Journal(path, readonly=readonly)


def test_a_damaged_journal_says_so(path: Path) -> None:
    journal = Journal(path)
    for number in range(200):
        journal.intend(intended(str(number)), BTC)
    journal.close()
    data = bytearray(path.read_bytes())
    data[4096 : len(data) // 2] = os.urandom(len(data) // 2 - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        Journal(path)


def test_a_torn_last_record_costs_only_itself(path: Path, tmp_path: Path) -> None:
    """A power cut in the middle of a write: the WAL's last frame is half there."""
    journal = Journal(path)
    journal.intend(intended("a"), BTC)
    journal.intend(intended("b"), BTC)
    torn = tmp_path / "torn" / "paper.sqlite"
    torn.parent.mkdir()
    torn.write_bytes(path.read_bytes())
    wal = path.with_name("paper.sqlite-wal").read_bytes()
    torn.with_name("paper.sqlite-wal").write_bytes(wal[:-1000])
    journal.close()
    survivor = Journal(torn)
    assert list(survivor.entries()) == [intended("a")]
    survivor.intend(intended("b"), BTC)
    survivor.close()


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="needs a folder this user may not write")
def test_a_folder_without_write_permission_is_a_clear_no(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(JournalUnwritable, match="can't be written"):
        Journal(folder / "paper.sqlite")


def test_a_folder_that_can_not_be_is_a_clear_no(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalUnwritable, match=r"can't be written.*nothing was sent.*PAPERTAPE_HOME"):
        Journal(tmp_path / "file" / "paper.sqlite")


def test_a_closed_journal_says_so(path: Path) -> None:
    journal = Journal(path)
    journal.close()
    with pytest.raises(StoreError, match=r"'paper' is closed.*opens it again"):
        journal.marks()
    with pytest.raises(JournalUnwritable, match=r"'paper' is closed.*opens it again"):
        journal.halt("too late")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET body = replace(body, 'market', 'mrkt')",
        "UPDATE entries SET body = substr(body, 1, 40)",
        "UPDATE instruments SET facts = '[]'",
        "INSERT INTO meta VALUES ('terms', '{}')",
    ],
)
def test_an_entry_that_can_not_be_read_is_damage_and_not_a_decoders_error(path: Path, damage: str) -> None:
    journal = Journal(path)
    journal.intend(intended(), BTC)
    journal._db.execute("DROP TRIGGER nothing_is_rewritten")
    journal._db.execute(damage)
    journal.close()
    told = pytest.raises(StoreError, match=r"damaged.*nothing was written to it.*reset=True")
    with told, closing(Journal(path, readonly=True)) as reader:
        list(reader.entries())
        reader.history("a")
        assert reader.terms is None


def test_a_clock_that_jumps_back_changes_no_order_of_things(path: Path) -> None:
    """What was written last happened last, whatever time it says."""
    journal = Journal(path)
    told: list[Intended | Reported] = [
        intended("a", time=1000),
        filled("a", "1", "0.2", time=900),
        intended("b", time=5),
        filled("a", "2", "0.3", 1),
    ]
    for entry in told:
        journal.intend(entry, BTC) if isinstance(entry, Intended) else journal.add(entry)
    journal.mark(Mark(1000, Decimal(1), Decimal(1)))
    journal.mark(Mark(5, Decimal(2), Decimal(2)))
    journal.close()
    again = Journal(path)
    assert list(again.entries()) == told
    assert [order.client_id for order in again.orders()] == ["a", "b"]
    assert [fill.id for fill in again.orders()[0].fills] == ["1", "2"]
    assert [mark.time for mark in again.marks()] == [1000, 5]
    again.close()


def test_set_aside_keeps_the_old_account(path: Path) -> None:
    assert set_aside(path, 77) is None
    journal = Journal(path)
    journal.intend(intended(), BTC)
    journal.close()
    kept = set_aside(path, 77)
    assert kept is not None
    assert not path.exists()
    old = Journal(kept, readonly=True)
    assert list(old.entries()) == [intended()]
    old.close()


def test_set_aside_keeps_what_only_the_log_holds_in_the_one_file_it_moves(path: Path) -> None:
    """The process may be killed after its first rename: then nothing of the old account is missing, or in the new."""
    journal = Journal(path)
    journal.intend(intended(), BTC)
    reader = Journal(path, readonly=True)  # keeps the log from being cleared away
    journal.close()
    kept = set_aside(path, 77)
    reader.close()
    assert kept is not None
    alone = kept.rename(kept.with_name("alone.sqlite"))
    with closing(Journal(alone, readonly=True)) as old:
        assert list(old.entries()) == [intended()]


def test_threads_write_whole_entries(path: Path) -> None:
    journal = Journal(path)

    def write(name: str) -> None:
        for number in range(20):
            journal.intend(intended(f"{name}{number}"), BTC)

    threads = [threading.Thread(target=write, args=(name,), name=f"kit-test-{name}") for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.orders()) == 60
    journal.close()


KINDS = st.sampled_from(["accepted", "fill", "doubt", "canceled", "expired"])


@given(st.lists(st.tuples(st.sampled_from("abc"), KINDS, st.integers(1, 4)), max_size=40))
def test_replaying_gives_the_same_orders(steps: list[tuple[str, str, int]]) -> None:
    """Whatever was said, in whatever order, twice read is twice the same."""
    journal = Journal(":memory:")
    for client_id in "abc":
        journal.intend(intended(client_id), BTC)
    for time, (client_id, kind, number) in enumerate(steps, start=20):
        journal.add(_entry(client_id, kind, number, time))
    orders = journal.orders()
    assert journal.orders() == orders
    for order in orders:
        fills = {f"{number}" for who, kind, number in steps if who == order.client_id and kind == "fill"}
        assert order.filled == sum((Decimal("0.1") for _ in fills), Decimal(0))
    journal.close()


def _entry(client_id: str, kind: str, number: int, time: int) -> Reported | Doubted:
    if kind == "fill":
        return filled(client_id, str(number), "0.1", time)
    if kind == "doubt":
        return Doubted(client_id=client_id, reason="no answer", time=time)
    return Reported(report=Report(kind=ReportKind(kind), client_id=client_id, time=time), time=time)
