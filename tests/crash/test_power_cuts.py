"""The power fails at any write: every intent that may have left is there, and no torn file is taken for a whole one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from kit.errors import StoreError
from kit.model import Fill, OrderRequest, OrderType, Report, ReportKind, Side
from kit.store.entries import Doubted, Intended, Mark, Reported
from kit.store.journal import Journal
from kit.store.schema import Connection, Cursor
from tests.crash.disk import Platter, recorded
from tests.sandbox.conftest import BTC

BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.5"))


def intended(name: str, time: int) -> Intended:
    return Intended(client_id=name, session="s", parts=("key", name), request=BUY, time=time)


def filled(name: str, time: int) -> Reported:
    fill = Fill(
        id=name,
        client_id=name,
        symbol="BTC/USDT",
        side=Side.BUY,
        qty=Decimal("0.5"),
        price=Decimal(100),
        fee=Decimal(0),
        fee_asset="BTC",
        time=time,
    )
    return Reported(report=Report(kind=ReportKind.FILLED, client_id=name, time=time, fill=fill), time=time)


@dataclass
class Accident:
    """A journal being written, with the power cut at every step: ``left`` is one disk per cut.

    What of the unsynced writes has arrived is drawn anew at each.
    """

    folder: Path
    seed: int
    platter: Platter = field(default_factory=Platter)
    sent: list[str] = field(default_factory=list)
    halted: bool = False
    left: list[tuple[Path, list[str], bool]] = field(default_factory=list)
    ready: bool = False

    def step(self, kind: str) -> None:
        if not self.ready:
            return
        place = self.folder / f"cut-{len(self.left)}"
        self.platter.cut(place, Random(f"{self.seed} {len(self.left)}"))  # noqa: S311 - which writes arrive
        self.left.append((place / "paper.sqlite", list(self.sent), self.halted))

    def write(self, connect: Callable[[Path | str], Connection]) -> list[tuple[int, str]]:
        """A day in a journal's life; every entry that was written, by number."""
        journal = Journal(self.folder / "paper.sqlite", connect=connect)
        self.ready = True
        chance = Random(self.seed)  # noqa: S311 - what the day brings
        for number in range(12):
            name = f"order-{number}"
            journal.intend(intended(name, number), BTC)
            if chance.random() < 0.2:
                journal.withdraw(name)
                continue
            self.sent.append(name)
            if chance.random() < 0.3:
                journal.add(Doubted(client_id=name, reason="no answer", time=number))
            if chance.random() < 0.7:
                journal.add(filled(name, number))
                journal.mark(Mark(number, Decimal(number), Decimal(1)))
        journal.halt("enough")
        self.halted = True
        journal.set("session", "evening")
        written = [(seq, body) for seq, _, _, _, body in journal.rows()]
        journal.close()
        return written


def check(path: Path, sent: Sequence[str], written: Sequence[tuple[int, str]], *, halted: bool) -> None:
    """The laws of a disk after the cut: it opens, it is a beginning of what was written, what left is in it."""
    with closing(Journal(path)) as journal:
        found = [(seq, body) for seq, _, _, _, body in journal.rows()]
        assert found == list(written[: len(found)])
        known = {order.client_id for order in journal.orders()}
        assert set(sent) <= known, f"{set(sent) - known} reached the venue and nobody knows"
        assert bool(journal.halted) >= halted, "a halt that was set is set no more"
        journal.intend(intended("tomorrow's", 99), BTC)


@pytest.fixture
def accident(ram: Path, request: pytest.FixtureRequest) -> Accident:
    return Accident(ram, request.param)


@pytest.mark.parametrize(
    "accident", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 100))], indirect=True
)
def test_whatever_arrived_before_the_power_failed_no_order_that_left_is_forgotten(
    accident: Accident, record_property: Callable[[str, object], None]
) -> None:
    written = accident.write(recorded(accident.step, accident.platter))
    for path, sent, halted in accident.left:
        check(path, sent, written, halted=halted)
    print(f"\n{len(accident.left)} power cuts")
    record_property("power cuts", len(accident.left))


class Careless:
    """A database that is told to sync and doesn't."""

    def __init__(self, inner: Connection, level: str) -> None:
        self._inner, self._level = inner, level

    @property
    def in_transaction(self) -> bool:
        return self._inner.in_transaction

    def execute(self, sql: str, values: Sequence[object] = (), /) -> Cursor:
        careless = f"PRAGMA synchronous={self._level}"
        return self._inner.execute(careless if sql.startswith("PRAGMA synchronous") else sql, values)

    def close(self) -> None:
        self._inner.close()


@pytest.mark.parametrize(("level", "found"), [("NORMAL", "forgotten"), ("OFF", "damaged")])
def test_a_journal_that_does_not_sync_its_intents_is_found_out(ram: Path, level: str, found: str) -> None:
    """These cuts can tell: the same day, written by one who thinks that a commit is enough."""
    accident = Accident(ram, seed=1)
    opened = recorded(accident.step, accident.platter)
    written = accident.write(lambda path: Careless(opened(path), level))
    assert any(verdict(path, sent, written, halted=halted) == found for path, sent, halted in accident.left)


def verdict(path: Path, sent: Sequence[str], written: Sequence[tuple[int, str]], *, halted: bool) -> str:
    try:
        check(path, sent, written, halted=halted)
    except AssertionError:
        return "forgotten"
    except StoreError:
        return "damaged"
    return "whole"
