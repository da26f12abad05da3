"""What an account is worth, and what the day has cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from kit.broker.halting import Watch
from kit.broker.worth import Worth
from kit.clock import DAY
from kit.errors import RiskRefused
from kit.model import OrderRequest, OrderType, Quote, Side
from kit.orders.ids import Intent
from kit.orders.risk import Limits

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


def test_what_has_no_price_is_named_and_costs_nothing(world: World, worth: Worth) -> None:
    assert worth.now() == (Decimal(1000), Decimal(1000), ["BTC"])
    assert worth.lost_today() == 0


def test_a_day_loses_the_spread_the_fees_and_what_the_market_takes(world: World, worth: Worth) -> None:
    assert worth.lost_today() == 0  # the first look
    world.desk.place(order(Side.BUY, "0.5"), Intent.keyed("a"))
    assert worth.lost_today() == Decimal("0.5") * 1 + Decimal("0.0005") * 100
    world.market.show(89, 91)
    assert worth.lost_today() == Decimal("50.5") - Decimal("0.4995") * 90
    world.market.show(149, 151)
    assert worth.lost_today() == Decimal("50.5") - Decimal("0.4995") * 150  # a gain


def test_a_new_day_begins_with_what_there_is_then(world: World, worth: Worth) -> None:
    worth.lost_today()
    world.desk.place(order(Side.BUY, "0.5"), Intent.keyed("a"))
    world.clock.advance(DAY)
    assert worth.lost_today() == 0
    world.market.show(89, 91)
    assert worth.lost_today() == Decimal("0.4995") * 10


def test_the_day_begins_at_midnight_and_not_with_its_first_order(world: World, worth: Worth) -> None:
    world.desk.place(order(Side.BUY, "0.5"), Intent.keyed("a"))
    world.clock.advance(DAY)
    looked = threading.Event()

    def lost_today() -> Decimal | None:
        lost = worth.lost_today()
        looked.set()
        return lost

    world.desk.gate.limits, world.desk.gate.lost_today = Limits(daily_loss=Decimal(10)), lost_today
    with closing(Watch(world.desk, world.clock, every=0.01)):
        assert looked.wait(5)
        world.market.show(69, 71)
    with pytest.raises(RiskRefused, match="daily_loss"):
        world.desk.place(order(Side.BUY, "0.5"), Intent.keyed("b"))


def test_a_restart_does_not_forgive_the_day(world: World, worth: Worth) -> None:
    worth.lost_today()
    world.desk.place(order(Side.BUY, "0.5"), Intent.keyed("a"))
    lost = worth.lost_today()
    desk = world.restart()
    again = Worth(desk.ledger, desk.journal.terms, lambda symbol: world.market.quote, world.clock)
    assert again.lost_today() == lost
    again.close()


def test_a_position_without_a_price_makes_the_days_loss_unknown(
    world: World, worth: Worth, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.desk.place(order(Side.BUY, "0.5"), Intent.keyed("a"))
    monkeypatch.setattr(worth, "prices", dict)
    assert worth.lost_today() is None
