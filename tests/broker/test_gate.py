"""What the gate lets through, what it says when it does not, and how one order passes all the same."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from kit.broker.desk import Desk
from kit.clock import MINUTE, SECOND, Offset, VenueClock
from kit.errors import Halted, RiskRefused, StalePicture
from kit.market.feed import FeedState
from kit.model import OrderRequest, OrderStatus, OrderType, Quote, Side
from kit.orders.ids import Intent
from kit.orders.risk import Limits
from kit.store.entries import Intended
from kit.venues.contract import CONTRACTS

World = Any  # the fixture of conftest.py

BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.1"))


def keyed(name: str) -> Intent:
    return Intent.keyed(name)


def test_a_refusal_names_everything_that_falls_short_and_the_way_past_it(world: World) -> None:
    world.market.state, world.market.age = FeedState.STALE, 12.0
    with pytest.raises(StalePicture, match=r"STALE.*12\.00 s ago.*despite=\('feed', 'quote'\)") as refused:
        world.desk.place(BUY, keyed("a"))
    assert [shortfall.name for shortfall in refused.value.shortfalls] == ["feed", "quote"]


def test_one_order_may_leave_despite_what_it_names_and_the_journal_keeps_it(world: World) -> None:
    world.market.age = 12.0
    record = world.desk.place(BUY, keyed("a"), despite=("quote",))
    assert record.status is OrderStatus.FILLED
    (intended,) = [e for e in world.desk.journal.history(record.client_id) if isinstance(e, Intended)]
    assert intended.despite == ("quote",)
    with pytest.raises(StalePicture):
        world.desk.place(BUY, keyed("the next one"))


def test_what_is_not_named_is_not_overlooked(world: World) -> None:
    world.market.age, world.desk.unreconciled = 12.0, "just opened"
    with pytest.raises(StalePicture, match="not reconciled") as refused:
        world.desk.place(BUY, keyed("a"), despite=("quote",))
    assert [shortfall.name for shortfall in refused.value.shortfalls] == ["account"]


def test_nothing_overlooks_the_kill_switch(world: World) -> None:
    world.desk.journal.halt("by hand")
    with pytest.raises(Halted):
        world.desk.place(BUY, keyed("a"), despite=("feed", "quote", "account", "clock"))
    assert world.venue.sent == []


def test_while_one_order_is_unanswered_no_other_leaves(world: World) -> None:
    world.venue.lose_request = True
    lost = world.desk.place(BUY, keyed("a"))
    world.venue.lose_request = False
    with pytest.raises(StalePicture, match=rf"{lost.client_id}.*not answered"):
        world.desk.place(BUY, keyed("b"))
    world.clock.advance(CONTRACTS["binance"].final_after)
    world.desk.ask(lost.client_id)
    assert world.desk.place(BUY, keyed("b")).status is OrderStatus.FILLED


def test_a_clock_that_was_never_measured_or_is_not_known_well_enough_sends_nothing(world: World) -> None:
    clock = VenueClock(world.clock)
    desk = Desk(
        "paper",
        "default",
        world.desk.journal,
        world.venue,
        clock,
        instruments=lambda symbol: world.desk.gate.look(symbol).instrument,
        picture=lambda symbol: world.market.picture(),
    )
    with pytest.raises(StalePicture, match="never measured"):
        desk.place(BUY, keyed("a"))
    clock.offset = Offset(0, 2 * SECOND)
    with pytest.raises(StalePicture, match=r"± 2\.00 s"):
        desk.place(BUY, keyed("a"))
    clock.offset = Offset(0, SECOND // 10)
    assert desk.place(BUY, keyed("a")).status is OrderStatus.FILLED


# -- what the limits are told


def limited(world: World, **limits: Any) -> Desk:
    world.limits = Limits(**limits)
    desk: Desk = world.restart()
    return desk


def test_orders_are_counted_over_the_last_minute(world: World) -> None:
    desk = limited(world, orders_per_minute=2)
    desk.place(BUY, keyed("a"))
    world.clock.advance(30 * SECOND)
    desk.place(BUY, keyed("b"))
    with pytest.raises(RiskRefused, match="2 orders were meant within the last minute"):
        desk.place(BUY, keyed("c"))
    assert desk.place(BUY, keyed("a")).status is OrderStatus.FILLED  # the same order, not one more
    world.clock.advance(30 * SECOND + 1)
    desk.place(BUY, keyed("c"))


def test_a_restart_does_not_forget_how_many_there_were(world: World) -> None:
    limited(world, orders_per_minute=1).place(BUY, keyed("a"))
    desk = world.restart()
    with pytest.raises(RiskRefused, match="within the last minute"):
        desk.place(BUY, keyed("b"))
    world.clock.advance(MINUTE + 1)
    desk.place(BUY, keyed("b"))


def test_the_collar_lies_around_the_mid(world: World) -> None:
    desk = limited(world, collar=Decimal("0.1"))
    far = msgspec.structs.replace(BUY, type=OrderType.LIMIT, price=Decimal("110.01"))
    with pytest.raises(RiskRefused, match="100"):
        desk.place(far, keyed("a"))
    desk.place(msgspec.structs.replace(far, price=Decimal(110)), keyed("a"))


def test_a_day_that_has_lost_enough_buys_nothing_more(world: World) -> None:
    desk = limited(world, daily_loss=Decimal(5))
    lost = [Decimal("4.99"), Decimal(5)]
    desk.gate.lost_today = lambda: lost[0]
    desk.place(BUY, keyed("a"))
    lost.pop(0)
    with pytest.raises(RiskRefused, match="lost"):
        desk.place(BUY, keyed("b"))


def test_a_quote_without_two_sides_has_no_middle(world: World) -> None:
    view = world.desk.gate.look("BTC/USDT")
    assert view.mid == 100
    half = Quote("BTC/USDT", 0.0, 0.0, 101.0, 1.0)
    assert msgspec.structs.replace(half, bid=99.0).mid == 100
    one_sided = type(view)(view.instrument, type(view.picture)(FeedState.LIVE, 0.0, half))
    assert one_sided.mid is None
