"""What an account is worth, and what the day has cost."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from kit.broker.worth import Worth
from kit.clock import DAY
from kit.model import OrderRequest, OrderType, Quote, Side
from kit.orders.ids import Intent
from kit.store.entries import Mark
from kit.store.journal import Journal

World = Any  # the fixture of conftest.py


def order(side: Side, qty: str) -> OrderRequest:
    return OrderRequest(symbol="BTC/USDT", side=side, type=OrderType.MARKET, qty=Decimal(qty))


@pytest.fixture
def worth(world: World) -> Iterator[Worth]:
    def quote(symbol: str) -> Quote | None:
        shown: Quote = world.market.quote
        return shown

    made = Worth(world.desk.ledger, world.desk.journal.terms, quote, world.clock)
    yield made
    made.close()


def test_the_mid_values_what_is_held(world: World, worth: Worth) -> None:
    world.desk.place(order(Side.BUY, "0.5"), Intent.keyed("a"))
    equity, cash, unpriced = worth.now()
    held = world.desk.account.total("BTC")
    assert cash == 1000 - Decimal("50.5")
    assert equity == cash + held * 100
    assert unpriced == []


def test_what_has_no_price_is_named_and_makes_the_days_loss_unknown(world: World, worth: Worth) -> None:
    assert worth.now() == (Decimal(1000), Decimal(1000), ["BTC"])
    assert worth.lost_today() is None


def test_without_a_mark_before_it_the_day_began_with_the_opening_at_prices_of_now(world: World, worth: Worth) -> None:
    world.desk.place(order(Side.BUY, "0.5"), Intent.keyed("a"))
    assert worth.lost_today() == Decimal("0.5") * 1 + Decimal("0.0005") * 100  # half the spread, and the fee


def test_a_day_begins_with_the_last_mark_before_it(world: World, worth: Worth) -> None:
    world.desk.place(order(Side.BUY, "0.5"), Intent.keyed("a"))
    (mark,) = world.desk.journal.marks()
    world.clock.advance(DAY)
    world.market.show(89, 91)
    equity, _, _ = worth.now()
    assert worth.lost_today() == mark.equity - equity
    assert worth.lost_today() == world.desk.account.total("BTC") * 10


def test_the_day_is_looked_up_once(world: World, worth: Worth, monkeypatch: pytest.MonkeyPatch) -> None:
    world.desk.place(order(Side.BUY, "0.5"), Intent.keyed("a"))
    world.clock.advance(DAY)
    asked: list[int] = []
    marks = Journal.marks

    def counted(journal: Journal) -> list[Mark]:
        asked.append(1)
        return marks(journal)

    monkeypatch.setattr(Journal, "marks", counted)
    for _ in range(3):
        worth.lost_today()
    assert len(asked) == 1
    world.clock.advance(DAY)
    worth.lost_today()
    assert len(asked) == 2
