"""The journal against the venue: its word is taken, strangers are left alone, and silence is asked again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from kit.broker.following import Follower
from kit.broker.reconcile import reconcile, told
from kit.clock import MINUTE, SECOND
from kit.errors import VenueUnreachable
from kit.model import (
    Balance,
    Fill,
    Instrument,
    OrderRequest,
    OrderState,
    OrderStatus,
    OrderType,
    Report,
    ReportKind,
    Side,
)
from kit.orders.ids import Intent

World = Any  # the fixture of conftest.py

REST = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal("0.5"), price=Decimal(95))
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.5"))


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_an_answer_is_told_as_the_reports_that_would_have_said_it(world: World) -> None:
    record = world.desk.place(REST, Intent.keyed("a"))
    world.venue.trade(94, 0.3, told=False)
    state = world.venue.query(None, record.client_id)
    assert [report.kind for report in told(record.client_id, state)] == [ReportKind.ACCEPTED, ReportKind.FILLED]


def test_fills_missed_while_nobody_listened_are_found(world: World) -> None:
    record = world.desk.place(REST, Intent.keyed("a"))
    world.venue.trade(94, 9, told=False)
    assert record.status is OrderStatus.OPEN
    desk = world.restart()
    order, fill = reconcile(desk)
    assert (order.kind, order.ours, order.venue) == ("order", "open", "filled, 0.5 filled")
    assert (fill.kind, fill.venue) == ("fill", "0.5 at 95")
    assert reconcile(desk) == []
    assert desk.records[record.client_id].status is OrderStatus.FILLED
    assert desk.account.total("BTC") == Decimal("1.4995")


def test_an_order_that_can_not_be_answered_for_keeps_no_other_from_being_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (world.desk.place(REST, Intent.keyed(key)) for key in "ab")
    world.venue.trade(94, 9, told=False)
    query: Callable[[Instrument, str, int], OrderState | None] = world.venue.query

    def partly(instrument: Instrument, client_id: str, since: int = 0) -> OrderState | None:
        if client_id == first.client_id:
            raise VenueUnreachable("not all fills are shown yet")
        return query(instrument, client_id, since)

    monkeypatch.setattr(world.venue, "open_orders", list)
    monkeypatch.setattr(world.venue, "query", partly)
    world.desk.unreconciled = "just opened"
    with pytest.raises(VenueUnreachable, match="not all fills"):
        reconcile(world.desk)
    assert (first.status, second.status) == (OrderStatus.OPEN, OrderStatus.FILLED)
    assert world.desk.unreconciled


def test_what_others_did_is_shown_and_left_alone(world: World) -> None:
    other = type(world)(world.path.with_name("other.sqlite"))
    other.venue = other.desk.gateway = world.venue
    stranger = other.desk.place(REST, Intent.keyed("theirs"))
    world.venue.balances = lambda: [Balance("USDT", Decimal(900), Decimal(50)), Balance("BTC", Decimal(1))]
    order, balance = reconcile(world.desk)
    assert (order.kind, order.name) == ("order", stranger.client_id)
    assert "left alone" in order.verdict
    assert (balance.name, balance.ours, balance.venue) == ("USDT", "1000", "950")
    assert not other.venue.orders[stranger.client_id].status.final
    other.desk.journal.close()


def test_what_fills_between_two_answers_is_no_difference(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record = world.desk.place(REST, Intent.keyed("a"))

    def balances() -> list[Balance]:
        """Told after a fill that the list of orders, read before, did not show."""
        if not world.venue.orders[record.client_id].fills:
            world.venue.trade(94, 0.3, told=False)
        return [Balance("USDT", Decimal("971.5")), Balance("BTC", Decimal("1.2997"))]

    monkeypatch.setattr(world.venue, "balances", balances)
    assert [found.kind for found in reconcile(world.desk)] == ["order", "fill"]


def test_a_venue_that_can_not_be_asked_leaves_the_account_unreconciled(world: World) -> None:
    world.desk.unreconciled = "just opened"
    world.venue.unreachable = True
    with pytest.raises(VenueUnreachable):
        reconcile(world.desk)
    assert world.desk.unreconciled
    world.venue.unreachable = False
    reconcile(world.desk)
    assert not world.desk.unreconciled


# -- what was traded, by trade id


class Recalled:
    """Lists the executions of a venue in memory, as Binance's myTrades does; ``asked`` keeps from where on."""

    def __init__(self, world: World) -> None:
        self.world, self.asked, self.strangers = world, list[str](), list[Fill]()

    def now(self) -> int:
        return int(self.world.clock.now())

    def executions(self, instrument: Instrument, after: str) -> list[Fill]:
        self.asked.append(after)
        ours = [
            msgspec.structs.replace(fill, client_id="", venue_id=record.venue_id)
            for record in self.world.venue.orders.values()
            for fill in record.fills
        ]
        every = sorted([*ours, *self.strangers], key=lambda fill: int(fill.id))
        return [fill for fill in every if not after or int(fill.id) > int(after)]


@pytest.fixture
def recalled(world: World) -> Recalled:
    """The venue of ``world`` lists executions."""
    made = Recalled(world)
    world.venue.now, world.venue.executions = made.now, made.executions
    return made


def stranger(world: World, number: int) -> Fill:
    return Fill(
        id=str(number), client_id="", symbol="BTC/USDT", side=Side.SELL, qty=Decimal("0.1"), price=Decimal(95),
        fee=Decimal(0), fee_asset="USDT", time=world.clock.now(), venue_id="987654",
    )  # fmt: skip


def test_a_fill_of_an_order_that_is_over_is_found_by_its_trade_id_and_counted_once(
    world: World, recalled: Recalled
) -> None:
    record = world.desk.place(REST, Intent.keyed("a"))
    world.venue.trade(94, 0.3, told=False)
    world.venue.cancel(world.desk.journal.instruments["BTC/USDT"], record.client_id)
    over = Report(kind=ReportKind.CANCELED, client_id=record.client_id, time=world.clock.now())
    world.desk.ledger.on_report(over)  # told without the fill before it, and the process dies
    desk = world.restart()
    [found] = reconcile(desk)
    assert (found.kind, found.ours, found.venue) == ("fill", "", "0.3 at 95")
    assert record.client_id in found.verdict
    assert desk.records[record.client_id].filled == Decimal("0.3")
    assert desk.account.total("BTC") == Decimal("1.2997")
    assert reconcile(desk) == []


def test_a_strangers_execution_is_shown_and_never_counted(world: World, recalled: Recalled) -> None:
    record = world.desk.place(BUY, Intent.keyed("a"))
    recalled.strangers.append(stranger(world, 500))
    [found] = reconcile(world.desk)
    assert (found.kind, found.name, found.venue) == ("fill", "500", "0.1 at 95")
    assert "foreign" in found.verdict
    assert record.filled == Decimal("0.5")
    assert world.desk.account.total("BTC") == Decimal("1.4995")


def test_what_was_traded_before_the_account_was_opened_is_not_its_business(world: World, recalled: Recalled) -> None:
    world.desk.place(BUY, Intent.keyed("a"))
    recalled.strangers.append(msgspec.structs.replace(stranger(world, 1), time=world.clock.now() - SECOND))
    assert reconcile(world.desk) == []


def test_executions_are_compared_once_and_only_where_something_may_have_traded(
    world: World, recalled: Recalled
) -> None:
    reconcile(world.desk)
    assert recalled.asked == []
    record = world.desk.place(BUY, Intent.keyed("a"))
    last = record.fills[-1].id
    looks = []
    for _ in range(4):  # what is over is looked at until a minute has passed between two looks
        asked = len(recalled.asked)
        reconcile(world.desk)
        looks.append(recalled.asked[asked:])
        world.clock.advance(2 * MINUTE)
    assert looks == [[""], [""], [last], []]
    world.desk.place(REST, Intent.keyed("b"))
    world.restart()
    reconcile(world.desk)
    assert recalled.asked[-1] == last


def test_a_page_that_does_not_reach_back_to_the_first_known_fill_is_not_all(
    world: World, recalled: Recalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.desk.place(BUY, Intent.keyed("a"))
    world.clock.advance(1)
    lost = world.desk.place(REST, Intent.keyed("b"))
    world.venue.trade(94, 9, told=False)
    world.desk.ledger.on_report(
        Report(kind=ReportKind.EXPIRED, client_id=lost.client_id, time=world.clock.now(), venue_id=lost.venue_id)
    )
    world.clock.advance(1)
    last = world.desk.place(msgspec.structs.replace(BUY, qty=Decimal("0.1")), Intent.keyed("c"))
    every = recalled.executions
    monkeypatch.setattr(world.venue, "executions", lambda i, after: every(i, after) if after else every(i, after)[-1:])
    assert [found.name for found in reconcile(world.desk)] == [lost.fills[0].id]
    assert recalled.asked == ["", first.fills[0].id]
    assert last.fills


def test_an_order_that_was_given_up_is_asked_for_again_when_nobody_else_can_have_traded(
    world: World, recalled: Recalled
) -> None:
    world.venue.lose_answer = True
    record = world.desk.place(BUY, Intent.keyed("a"))
    gone = Report(kind=ReportKind.REJECTED, client_id=record.client_id, time=world.clock.now(), reason="never arrived")
    world.desk.ledger.on_report(gone)
    reconcile(world.desk)
    assert (record.status, record.filled) == (OrderStatus.FILLED, Decimal("0.5"))


def test_while_an_order_is_in_doubt_nobody_is_called_a_stranger(
    world: World, recalled: Recalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.venue.lose_answer = True
    record = world.desk.place(BUY, Intent.keyed("a"))
    query = world.venue.query
    monkeypatch.setattr(world.venue, "query", lambda instrument, client_id, since=0: None)  # not shown there yet
    assert reconcile(world.desk) == []
    assert world.desk.unresolved == [record]
    world.clock.advance(2 * MINUTE)
    monkeypatch.setattr(world.venue, "query", query)
    assert [found.kind for found in reconcile(world.desk)] == ["order", "fill"]
    assert record.status is OrderStatus.FILLED


def test_what_was_traded_while_an_order_was_in_doubt_is_looked_at_again(
    world: World, recalled: Recalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.venue.lose_answer = True
    record = world.desk.place(BUY, Intent.keyed("a"))
    query = world.venue.query
    monkeypatch.setattr(world.venue, "query", lambda instrument, client_id, since=0: None)
    monkeypatch.setattr(world.desk, "contract", replace(world.desk.contract, handling=3 * MINUTE))
    world.clock.advance(2 * MINUTE)
    assert reconcile(world.desk) == []
    world.clock.advance(2 * MINUTE)
    world.desk.ask(record.client_id)
    assert world.desk.open_orders == []  # given up
    monkeypatch.setattr(world.venue, "query", query)
    reconcile(world.desk)
    assert (record.status, record.filled) == (OrderStatus.FILLED, Decimal("0.5"))


@pytest.fixture
def following(world: World) -> Any:
    follower = Follower(world.desk, every=0.01)
    yield follower
    follower.close()
    follower.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "kit-orders-paper"]


def test_an_unknown_order_is_asked_for_at_once(world: World) -> None:
    follower = Follower(world.desk, every=60)
    world.venue.lose_answer = True
    record = world.desk.place(BUY, Intent.keyed("a"))
    until(lambda: record.status is OrderStatus.FILLED)
    follower.close()


def test_open_orders_are_followed(world: World, following: Follower) -> None:
    record = world.desk.place(REST, Intent.keyed("a"))
    world.venue.trade(94, 0.3, told=False)
    until(lambda: record.status is OrderStatus.PARTIAL)
    world.venue.trade(94, 0.3, told=False)
    until(lambda: record.status is OrderStatus.FILLED)


def test_of_many_open_orders_only_those_that_changed_are_asked_for(world: World, following: Follower) -> None:
    records = [world.desk.place(REST, Intent.keyed(f"{n}")) for n in range(8)]
    world.venue.trade(94, 0.75, told=False)
    until(lambda: sum((r.filled for r in records), Decimal(0)) == Decimal("0.75"))
    for record in records:
        world.venue.cancel(world.desk.journal.instruments["BTC/USDT"], record.client_id)
    until(lambda: all(record.status.final for record in records))


def test_a_venue_that_is_away_is_asked_until_it_is_back(world: World, following: Follower) -> None:
    world.venue.lose_answer = world.venue.unreachable = True
    record = world.desk.place(BUY, Intent.keyed("a"))
    until(lambda: "no connection" in following.last_error)
    assert record.status is OrderStatus.UNKNOWN
    world.venue.unreachable = False
    until(lambda: record.status is OrderStatus.FILLED)
    until(lambda: not following.last_error)


def test_an_order_the_venue_can_not_answer_for_keeps_no_other_waiting(
    world: World, following: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.desk.place(REST, Intent.keyed("a"))
    query: Callable[[Instrument, str, int], OrderState | None] = world.venue.query

    def partly(instrument: Instrument, client_id: str, since: int = 0) -> OrderState | None:
        if client_id == first.client_id:
            raise VenueUnreachable("not all fills are shown yet")
        return query(instrument, client_id, since)

    monkeypatch.setattr(world.venue, "query", partly)
    world.venue.lose_answer = True
    second = world.desk.place(BUY, Intent.keyed("b"))
    until(lambda: second.status is OrderStatus.FILLED)
    until(lambda: "not all fills" in following.last_error)


def test_an_order_that_never_arrived_ends_when_the_venue_can_not_be_working_on_it(world: World) -> None:
    world.venue.lose_request = True
    follower = Follower(world.desk, every=0.01)
    record = world.desk.place(BUY, Intent.keyed("a"))
    time.sleep(0.05)
    assert record.status is OrderStatus.UNKNOWN
    world.clock.advance(world.desk.contract.final_after)
    until(lambda: record.status is OrderStatus.REJECTED)
    follower.close()


def test_the_account_is_reconciled_by_itself(world: World, following: Follower) -> None:
    world.desk.unreconciled = "the venue was away"
    with world.desk.changed:
        world.desk.changed.notify_all()
    until(lambda: not world.desk.unreconciled)
