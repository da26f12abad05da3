"""A journal as DataFrames: what it adds up to, readable while its owner writes, with columns when there is nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from kit.broker.accounts import journal as journal_of
from kit.errors import UnknownName
from kit.model import Fees, Fill, Instrument, OrderRequest, OrderType, Report, ReportKind, Side
from kit.store.entries import Doubted, Intended, Mark, Reported, Terms
from kit.store.journal import Journal
from kit.store.tables import read

BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.00001")
)
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal("0.5"), price=Decimal("99.10"))
START = 1_700_000_000_000_000


def intended(client_id: str, time: int, replaces: str = "") -> Intended:
    return Intended(
        client_id=client_id, session="day", parts=("key", client_id), request=BUY, time=START + time, replaces=replaces
    )


def filled(client_id: str, fill: str, qty: str, time: int) -> Reported:
    execution = Fill(
        id=fill,
        client_id=client_id,
        symbol="BTC/USDT",
        side=Side.BUY,
        qty=Decimal(qty),
        price=Decimal("99.10"),
        fee=Decimal("0.0001"),
        fee_asset="BTC",
        time=START + time,
    )
    report = Report(kind=ReportKind.FILLED, client_id=client_id, venue_id="7", time=START + time, fill=execution)
    return Reported(report=report, time=START + time + 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts" / "paper.sqlite"


@pytest.fixture
def owned(path: Path) -> Iterator[Journal]:
    """A journal whose owner is alive, and has just written."""
    journal = Journal(path)
    journal.terms = Terms(
        kind="paper",
        venue="binance",
        environment="SANDBOX",
        quote="USDT",
        cash={"USDT": Decimal(1000)},
        fees=Fees(),
        created=START,
    )
    journal.intend(intended("a", 0), BTC)
    journal.intend(intended("taken back", 1), BTC)
    journal.withdraw("taken back")
    journal.add(filled("a", "2", "0.2", 900))
    journal.intend(intended("b", 400, replaces="a"), BTC)
    journal.add(filled("a", "1", "0.3", 100))
    journal.add(Doubted(client_id="b", reason="no answer", time=START + 500))
    journal.mark(Mark(START + 900, Decimal("1000.5"), Decimal("970.27")))
    yield journal
    journal.close()


def moment(offset: int) -> pd.Timestamp:
    return pd.Timestamp(START + offset, unit="us", tz="UTC")


@pytest.mark.usefixtures("owned")
def test_a_journal_is_read_while_its_owner_writes(path: Path) -> None:
    tables = read(path)
    assert repr(tables) == "<journal of account 'paper': 7 entries, 2 orders, 2 fills, 1 marks>"
    assert list(tables.orders["id"]) == ["a", "b"]
    assert list(tables.orders["status"]) == ["filled", "unknown"]
    assert list(tables.orders["filled"]) == [0.5, 0.0]
    assert list(tables.orders["replaces"]) == ["", "a"]
    assert list(tables.fills["id"]) == ["1", "2"], "by time"
    assert list(tables.fills["time"]) == [moment(100), moment(900)]
    assert list(tables.marks["equity"]) == [1000.5]
    assert list(tables.marks.index) == [moment(900)]


@pytest.mark.usefixtures("owned")
def test_the_entries_are_the_files_own_words_in_the_order_of_writing(path: Path) -> None:
    entries = read(path).entries
    assert list(entries.index) == [1, 2, 3, 4, 5, 6, 7]
    assert entries.index.name == "seq"
    kinds = ["intended", "intended", "withdrawn", "reported", "intended", "reported", "doubted"]
    assert list(entries["kind"]) == kinds
    assert json.loads(entries["body"][1])["request"]["price"] == "99.10", "every digit"
    assert not entries["time"].is_monotonic_increasing, "the order is not that of the clock"


@pytest.mark.usefixtures("owned")
def test_every_frame_says_where_it_comes_from(path: Path) -> None:
    tables = read(path)
    for frame in (tables.entries, tables.orders, tables.fills, tables.marks):
        assert json.loads(json.dumps(frame.attrs)) == {
            "account": "paper",
            "kind": "paper",
            "venue": "binance",
            "environment": "SANDBOX",
            "quote": "USDT",
        }


def test_a_new_journal_has_every_column_and_no_row(path: Path) -> None:
    Journal(path).close()
    tables = read(path)
    for frame in (tables.entries, tables.orders, tables.fills, tables.marks):
        assert len(frame) == 0
    assert list(tables.entries.columns) == ["time", "kind", "order", "body"]
    assert str(tables.fills.dtypes["time"]) == str(tables.entries.dtypes["time"]) == "datetime64[us, UTC]"
    assert str(tables.fills.dtypes["qty"]) == "float64"
    assert tables.orders.attrs == {"account": "paper"}


@pytest.mark.usefixtures("owned")
def test_an_account_is_found_by_its_name_or_its_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAPERTAPE_HOME", str(tmp_path))
    for spelling in ("paper", path, str(path)):
        assert len(journal_of(spelling).orders) == 2
    with pytest.raises(UnknownName, match="did you mean 'paper'"):
        journal_of("papper")
    assert [kept.name for kept in path.parent.glob("papper*")] == [], "looking made nothing"
