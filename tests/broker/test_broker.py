"""The broker: what a person types, what comes back, and the frames it is shown in."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kit.broker.broker import Broker
from kit.broker.gateway import Outcome, Refused, Unknown
from kit.broker.order import Order
from kit.clock import HOUR
from kit.errors import (
    BadOrder,
    Halted,
    IntentExpired,
    JournalUnwritable,
    NotYet,
    OutcomeUnknown,
    RiskRefused,
    StalePicture,
    UnknownName,
    UsageError,
)
from kit.market.feed import FeedState
from kit.model import Instrument, OrderStatus, OrderType, Quote, Side
from kit.orders.ids import Intent
from kit.orders.lifecycle import OrderRecord
from kit.runtime import runtime

World = Any  # the fixture of conftest.py
CELL = Intent(("cell", "id:1", "broker.buy(…)", "0"), implicit=True)


class Markets:
    """One instrument, followed when ``follows`` is True."""

    def __init__(self, world: World, btc: Instrument) -> None:
        self.world, self.btc, self.follows = world, btc, True

    def instrument(self, symbol: str) -> Instrument:
        if symbol.upper().replace("/", "") != "BTCUSDT":
            raise UnknownName("symbol", symbol, ["BTC/USDT"])
        return self.btc

    def quote(self, symbol: str) -> Quote | None:
        quote: Quote = self.world.market.quote
        return quote if self.follows else None


@pytest.fixture
def broker(world: World, btc: Instrument) -> Iterator[Broker]:
    terms = world.desk.journal.terms
    made = Broker(world.desk, terms, Markets(world, btc), world.clock, [])
    yield made
    made.close()


def reopened(broker: Broker, world: World, btc: Instrument) -> Broker:
    """The same account after kill -9."""
    return Broker(world.restart(), broker.terms, Markets(world, btc), world.clock, [])


@pytest.fixture
def in_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cell_intent", lambda subject, terms: CELL)


# -- what a person types


@pytest.mark.parametrize("qty", [0.5, "0.5", Decimal("0.5")])
def test_amounts_may_be_typed_as_anything_that_is_a_number(broker: Broker, qty: Any) -> None:
    order = broker.buy("btcusdt", qty, key="a")
    assert order.request.qty == Decimal("0.5")
    assert order.request.symbol == "BTC/USDT"


@pytest.mark.parametrize(
    ("price", "stop", "kind"),
    [(None, None, "market"), (95, None, "limit"), (None, 110, "stop"), (110, 109, "stop_limit")],
)
def test_the_prices_say_what_kind_of_order_it_is(broker: Broker, price: Any, stop: Any, kind: str) -> None:
    assert broker.buy("BTC/USDT", 0.5, price=price, stop=stop, key="a").request.type == kind


def test_a_type_that_is_said_must_fit_the_prices(broker: Broker) -> None:
    with pytest.raises(BadOrder, match="a limit order takes a price="):
        broker.buy("BTC/USDT", 0.5, type="limit", key="a")
    assert broker.buy("BTC/USDT", 0.5, price=95, type=OrderType.LIMIT, key="a").status is OrderStatus.OPEN


@pytest.mark.parametrize("qty", [0, -1, float("nan"), float("inf"), True, "many", None, "0.0001"])
def test_a_quantity_that_is_none_is_not_sent(broker: Broker, world: World, qty: Any) -> None:
    with pytest.raises(BadOrder, match="nothing was sent"):
        broker.buy("BTC/USDT", qty, key="a")
    assert not world.venue.sent


@pytest.mark.parametrize("price", [0, -1, float("nan"), 95.001, "cheap"])
def test_a_price_that_is_none_is_not_sent(broker: Broker, world: World, price: Any) -> None:
    with pytest.raises(BadOrder, match="nothing was sent"):
        broker.buy("BTC/USDT", 0.5, price=price, key="a")
    assert not world.venue.sent


def test_a_mistyped_word_is_answered_with_the_nearest(broker: Broker) -> None:
    with pytest.raises(UnknownName, match="time in force 'gct'; did you mean 'gtc'"):
        broker.buy("BTC/USDT", 0.5, tif="gct", key="a")
    with pytest.raises(UnknownName, match="order type 'limt'; did you mean 'limit'"):
        broker.buy("BTC/USDT", 0.5, type="limt", key="a")
    with pytest.raises(UnknownName, match="did you mean 'BTC/USDT'"):
        broker.buy("BTC/USTD", 0.5, key="a")
    with pytest.raises(UsageError, match="a key is a text"):
        broker.buy("BTC/USDT", 0.5, key="")


# -- one intent


def test_a_cell_run_again_gives_the_same_order_and_says_so(broker: Broker, world: World, in_cell: None) -> None:
    first, again = broker.buy("BTC/USDT", 0.5), broker.buy("BTC/USDT", 0.5)
    assert (first.id, first.rerun, again.rerun) == (again.id, False, True)
    assert "the same order, placed 2023-11-14" in repr(again)
    assert "again=True places one more" in again.note
    assert world.venue.sent == [first.id]


def test_a_cell_run_again_finds_its_order_though_the_picture_is_stale(
    broker: Broker, world: World, in_cell: None
) -> None:
    first = broker.buy("BTC/USDT", 0.5)
    world.market.state = FeedState.STALE
    assert broker.buy("BTC/USDT", 0.5).id == first.id


def test_a_cell_whose_price_has_moved_is_told_what_was_asked(broker: Broker, in_cell: None) -> None:
    broker.buy("BTC/USDT", 0.5, price=95)
    assert "asked now: buy 0.5 BTC/USDT limit 96" in broker.buy("BTC/USDT", 0.5, price=96).note


def test_a_cell_run_again_after_half_a_day_must_say_what_it_means(broker: Broker, world: World, in_cell: None) -> None:
    broker.buy("BTC/USDT", 0.5)
    world.clock.advance(13 * HOUR)
    with pytest.raises(IntentExpired, match="again=True"):
        broker.buy("BTC/USDT", 0.5)
    assert "number 2" in broker.buy("BTC/USDT", 0.5, again=True).note


def test_again_is_one_more_each_time_and_after_a_restart(
    broker: Broker, world: World, btc: Instrument, in_cell: None
) -> None:
    ids = {broker.buy("BTC/USDT", 0.1).id, *(broker.buy("BTC/USDT", 0.1, again=True).id for _ in range(2))}
    assert len(ids) == 3
    later = reopened(broker, world, btc)
    assert later.buy("BTC/USDT", 0.1, again=True).id not in ids
    later.close()


def test_without_key_or_cell_every_call_is_an_order_and_the_repr_counts_them(broker: Broker) -> None:
    assert broker.buy("BTC/USDT", 0.1).id != broker.buy("BTC/USDT", 0.1).id
    assert "2 placed without a key" in repr(broker)


def test_a_refused_intent_is_handed_back(broker: Broker, world: World, in_cell: None, monkeypatch: Any) -> None:
    refused: list[Intent] = []
    monkeypatch.setattr(runtime, "intent_refused", refused.append)
    world.market.state = FeedState.STALE
    with pytest.raises(StalePicture):
        broker.buy("BTC/USDT", 0.5)
    assert refused == [CELL]


def test_what_an_order_is_about_is_told_to_the_cell(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over symbols may change its order, or have one of them refused."""
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(runtime, "cell_intent", lambda *what: told.append(what))
    broker.buy("BTC/USDT", 0.5, price=95)
    broker.sell("BTC/USDT", 0.5, price=105)
    assert [subject for subject, _ in told] == ["buy BTC/USDT", "sell BTC/USDT"]
    assert [terms for _, terms in told] == ["buy 0.5 BTC/USDT limit 95", "sell 0.5 BTC/USDT limit 105"]


@pytest.mark.parametrize(
    ("verb", "said"), [("look", "nothing was sent"), ("submit", r"may have been sent: broker\.order\('.+'\) says")]
)
def test_an_interrupted_order_call_says_what_it_means_for_the_money(
    broker: Broker, world: World, monkeypatch: pytest.MonkeyPatch, verb: str, said: str
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(broker.desk.gate if verb == "look" else world.venue, verb, stopped)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        broker.buy("BTC/USDT", 0.5, price=95, key="a")
    (note,) = interrupt.value.__notes__
    assert re.search(said, note)


# -- cancel, amend, halt


def test_cancel_takes_an_order_or_its_id(broker: Broker) -> None:
    a, b = (broker.buy("BTC/USDT", 0.5, price=95, key=key) for key in "ab")
    assert broker.cancel(a).status is OrderStatus.CANCELED
    assert broker.cancel(b.id).status is OrderStatus.CANCELED
    assert b.cancel().status is OrderStatus.CANCELED
    with pytest.raises(UnknownName):
        broker.cancel("nobody")


def test_cancel_all_leaves_nothing_open(broker: Broker) -> None:
    for key in "abc":
        broker.buy("BTC/USDT", 0.5, price=95, key=key)
    assert [order.status for order in broker.cancel_all("BTC/USDT")] == [OrderStatus.CANCELED] * 3
    assert broker.cancel_all() == []


def test_cancel_all_goes_on_when_one_cancel_takes_no_effect(
    broker: Broker, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = (broker.buy("BTC/USDT", 0.5, price=95, key=key) for key in "abc")
    cancel: Callable[[Instrument, str], Outcome] = world.venue.cancel

    def partly(instrument: Instrument, client_id: str) -> Outcome:
        return Refused("no connection") if client_id == first.id else cancel(instrument, client_id)

    monkeypatch.setattr(world.venue, "cancel", partly)
    assert [str(order.status) for order in broker.cancel_all()] == ["open", "canceled", "canceled"]


def test_amend_replaces_what_is_left(broker: Broker, world: World) -> None:
    old = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    world.venue.trade(94, 0.2)
    new = broker.amend(old, price=96)
    assert (old.status, old.filled) == (OrderStatus.CANCELED, Decimal("0.2"))
    assert (new.request.qty, new.request.price) == (Decimal("0.3"), Decimal(96))
    assert broker.orders["replaces"].tolist() == ["", old.id]


@pytest.mark.parametrize("cancel", [lambda broker, order: broker.cancel(order), lambda broker, order: order.cancel()])
def test_who_cancels_an_order_cancels_what_it_was_amended_to(
    broker: Broker, cancel: Callable[[Broker, Order], Order]
) -> None:
    """The name in the notebook is the first order's: the one that replaced it must not go on resting unseen."""
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    latest = broker.amend(broker.amend(order, price=94), price=93)
    cancelled = cancel(broker, order)
    assert (cancelled.id, cancelled.status) == (latest.id, OrderStatus.CANCELED)
    assert cancelled.note == f"what {order.id} was amended to"
    assert not broker.cancel_all()


def test_the_same_amendment_again_changes_nothing(broker: Broker, world: World) -> None:
    """A cell with buy and amend in it, run twice."""
    for _ in range(2):
        order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
        world.venue.trade(94, 0.2)
        amended = broker.amend(order, price=93, qty=0.6)
    assert amended.rerun
    assert amended.request.qty == Decimal("0.4")
    assert len(world.venue.sent) == 2


def test_an_amendment_whose_process_died_half_way_goes_on(
    broker: Broker, world: World, btc: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    world.venue.trade(94, 0.2)

    def dies(*what: object, **how: object) -> None:
        raise SystemExit

    monkeypatch.setattr(world.desk, "place", dies)
    with pytest.raises(SystemExit):
        broker.amend(order, price=93)
    again = reopened(broker, world, btc)
    assert again.order(order.id).status is OrderStatus.CANCELED
    assert "nothing to amend" in again.amend(order.id, price=92).note  # that is another amendment
    new = again.amend(order.id, price=93)
    assert (new.request.qty, new.request.price) == (Decimal("0.3"), Decimal(93))
    assert again.amend(order.id, price=93).id == new.id
    assert len(world.venue.sent) == 2


CANCELS: dict[str, Callable[[Broker, Order], object]] = {
    "broker.cancel": lambda broker, order: broker.cancel(order),
    "order.cancel": lambda broker, order: order.cancel(),
    "cancel_all": lambda broker, order: broker.cancel_all(),
    "halt": lambda broker, order: broker.halt(),
}


@pytest.mark.parametrize("way", CANCELS)
def test_an_order_cancelled_by_hand_is_not_amended_any_more(
    broker: Broker, world: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    cancel = world.venue.cancel
    monkeypatch.setattr(world.venue, "cancel", lambda *what: Unknown("no answer"))
    with pytest.raises(OutcomeUnknown):
        broker.amend(order, price=93)
    monkeypatch.setattr(world.venue, "cancel", cancel)
    CANCELS[way](broker, order)
    broker.resume()
    assert "nothing to amend" in broker.amend(order, price=93).note
    assert len(world.venue.sent) == 1


def test_a_full_disk_keeps_no_cancel_back(broker: Broker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor when what was to become of the order is to be forgotten."""
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    with monkeypatch.context() as patch:
        patch.setattr(world.venue, "cancel", lambda *what: Unknown("no answer"))
        with pytest.raises(OutcomeUnknown):
            broker.amend(order, price=93)

    def full(*what: object, **how: object) -> None:
        raise JournalUnwritable("the disk is full")

    monkeypatch.setattr(world.desk.journal, "_write", full)
    assert broker.cancel(order).status is OrderStatus.CANCELED


def test_an_amendment_that_lost_the_race_says_so(broker: Broker, world: World) -> None:
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    world.venue.trade(94, 9, told=False)
    same = broker.amend(order, price=93)
    assert (same.id, same.status) == (order.id, OrderStatus.FILLED)
    assert "filled before the cancel" in same.note
    assert "nothing to amend" in broker.amend(order, price=92).note
    assert len(world.venue.sent) == 1


def test_an_amendment_below_what_has_filled_only_cancels(broker: Broker, world: World) -> None:
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    world.venue.trade(94, 0.3)
    same = broker.amend(order, qty=0.2)
    assert same.status is OrderStatus.CANCELED
    assert "nothing left to place" in same.note
    assert len(world.venue.sent) == 1


def test_an_amendment_that_could_not_be_placed_cancels_nothing(broker: Broker, world: World) -> None:
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    with pytest.raises(BadOrder, match="PRICE_FILTER"):
        broker.amend(order, price=95.001)
    world.market.state = FeedState.STALE
    with pytest.raises(StalePicture):
        broker.amend(order, price=96)
    assert order.status is OrderStatus.OPEN
    market = broker.order(order)
    assert market.id == order.id


def test_an_amendment_that_can_not_be_paid_for_cancels_nothing(broker: Broker) -> None:
    order = broker.buy("BTC/USDT", 5, price=95, key="a")
    with pytest.raises(RiskRefused, match=r"buy 50.*was not sent: it needs 4750 USDT and 1000 is free"):
        broker.amend(order, qty=50)
    with pytest.raises(RiskRefused, match="through the market"):
        broker.amend(order, price=150)
    assert order.status is OrderStatus.OPEN
    assert len(broker.orders) == 1


def test_an_amendment_may_spend_what_the_order_it_replaces_has_locked(broker: Broker) -> None:
    order = broker.buy("BTC/USDT", 8, price=95, key="a")
    assert broker.cash == 240
    assert broker.amend(order, qty=10).status is OrderStatus.OPEN
    assert broker.cash == 50


def test_an_amendment_refused_after_the_cancel_says_what_stands(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    cancel = broker.desk.cancel

    def then_halted(client_id: str, **how: Any) -> OrderRecord:
        record = cancel(client_id, **how)
        broker.desk.journal.halt("from another process")
        return record

    monkeypatch.setattr(broker.desk, "cancel", then_halted)
    with pytest.raises(Halted) as refused:
        broker.amend(order, qty=0.4)
    assert "is cancelled; nothing stands in its place" in refused.value.__notes__[0]


def test_an_order_at_market_has_no_price_to_amend(broker: Broker) -> None:
    stop = broker.buy("BTC/USDT", 0.5, stop=110, key="a")
    with pytest.raises(BadOrder, match="no limit price"):
        broker.amend(stop, price=100)
    assert broker.amend(stop, qty=0.4).request.stop == 110


def test_halt_cancels_what_is_open_and_lets_nothing_leave(broker: Broker, world: World, btc: Instrument) -> None:
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    told = broker.halt("enough")
    assert told.proven
    assert order.id in told.over[0]
    assert order.status is OrderStatus.CANCELED
    assert "HALTED: enough" in repr(broker)
    later = reopened(broker, world, btc)
    with pytest.raises(Halted):
        later.buy("BTC/USDT", 0.5, key="b")
    later.resume()
    assert later.halted == ""
    later.buy("BTC/USDT", 0.5, key="b")
    later.close()


# -- frames


@pytest.mark.parametrize("name", ["orders", "fills", "positions", "balances", "equity"])
def test_frames_have_the_same_columns_and_types_when_they_are_empty(broker: Broker, name: str) -> None:
    before = getattr(broker, name)
    broker.buy("BTC/USDT", 0.5, key="a")
    broker.sell("BTC/USDT", 0.2, price=150, key="b")
    after = getattr(broker, name)
    assert before.dtypes.to_dict() == after.dtypes.to_dict()
    assert len(after) > len(before) or name == "balances"
    assert after.attrs["environment"] == "SANDBOX"
    times = [after.index, *(after[c] for c in after)] if name == "equity" else [after[c] for c in after]
    assert all(str(t.dtype) == "datetime64[us, UTC]" for t in times if "datetime" in str(t.dtype))
    assert json.loads(json.dumps(after.attrs)) == after.attrs


def test_the_frames_tell_what_happened(broker: Broker, world: World) -> None:
    order = broker.buy("BTC/USDT", 0.5, key="a")
    fill = broker.fills.iloc[0]
    assert (fill["price"], fill["qty"], fill["fee"], fill["fee_asset"]) == (101.0, 0.5, 0.0005, "BTC")
    assert fill["order"] == order.id
    position = broker.positions.iloc[0]
    assert (position["symbol"], position["mark"]) == ("BTC/USDT", 100.0)
    assert position["qty"] == pytest.approx(0.4995)
    assert broker.cash == Decimal("949.5")
    balances = broker.balances.set_index("asset")
    assert balances.loc["BTC", "total"] == pytest.approx(1.4995)
    row = broker.orders.iloc[0]
    assert (row["status"], row["intent"], row["session"]) == ("filled", "key a", "default")


def test_equity_begins_with_the_account_and_ends_now(broker: Broker, world: World) -> None:
    broker.buy("BTC/USDT", 0.5, key="a")
    world.clock.advance(HOUR)
    world.market.show(109, 111)
    equity = broker.equity["equity"]
    assert equity.tolist() == pytest.approx([1000, 949.5 + 1.4995 * 100, 949.5 + 1.4995 * 110])
    assert equity.index.is_monotonic_increasing


def test_what_has_no_price_is_said_to_be_missing_from_equity(broker: Broker) -> None:
    assert broker.equity.attrs["unpriced"] == ["BTC"]


def test_where_no_quote_is_followed_the_last_fill_is_the_price(broker: Broker) -> None:
    broker.buy("BTC/USDT", 0.5, key="a")
    broker._markets.follows = False  # type: ignore[attr-defined]  # the test's own market
    assert broker.positions.iloc[0]["mark"] == 101.0


def test_everything_is_there_after_a_restart(broker: Broker, world: World, btc: Instrument) -> None:
    broker.buy("BTC/USDT", 0.5, key="a")
    broker.buy("BTC/USDT", 0.5, price=95, key="b")
    names = ("orders", "fills", "positions", "balances", "equity")
    before = {name: getattr(broker, name) for name in names}
    later = reopened(broker, world, btc)
    for name in names:
        pd.testing.assert_frame_equal(getattr(later, name), before[name])
        assert getattr(later, name).attrs == before[name].attrs
    assert later.order(broker.buy("BTC/USDT", 0.5, price=95, key="b").id).status is OrderStatus.OPEN
    later.close()


# -- the living order


def test_an_order_changes_by_itself(broker: Broker, world: World) -> None:
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    assert (order.status, order.filled, order.average_price) == ("open", Decimal(0), None)
    world.venue.trade(94, 0.2)
    assert (order.status, order.filled, order.remaining) == ("partial", Decimal("0.2"), Decimal("0.3"))
    assert order.fills["maker"].tolist() == [True]
    assert order.updated > order.created
    assert "partial 0.2 at 95" in repr(order)


def test_waiting_ends_with_the_order_or_says_not_yet(broker: Broker, world: World) -> None:
    order = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    with pytest.raises(NotYet, match=r"buy 0\.5 BTC/USDT limit 95 is open after 0\.01 s, 0 filled; it goes on"):
        order.wait(timeout=0.01)
    trading = threading.Timer(0.02, world.venue.trade, (94, 9))
    trading.name = "kit-test-trade"
    trading.start()
    assert order.wait(timeout=10).status is OrderStatus.FILLED
    trading.join()


def test_why_tells_the_price_and_what_the_market_showed(broker: Broker) -> None:
    order = broker.buy("BTC/USDT", 1.5, key="a")
    assert order.why() == (
        "filled 1.5 at 101.33333333 (taker, 2 prices, 101 to 102); bid 99, ask 101 on arrival, answered in 0 ms; "
        "33.0 bp worse than the ask 101 it was decided on"
    )
    assert order.latency == 0


def test_why_tells_what_is_missing(broker: Broker, world: World) -> None:
    resting = broker.buy("BTC/USDT", 0.5, price=95, key="a")
    assert resting.why() == (
        "open: rests at 95 until the market trades through it, or at it once the queue ahead is done "
        "(best ask last seen 101); nothing filled"
    )
    stop = broker.sell("BTC/USDT", 0.5, stop=90, key="b")
    assert stop.why() == "open: waits for a trade at 90 or below (best bid last seen 99); nothing filled"
    world.venue.trade(94, 0.2)
    assert "; filled 0.2 of 0.5 at 95 (maker, 1 price)" in resting.why()
    assert "canceled: canceled on request" in resting.cancel().why()
    refused = broker.buy("BTC/USDT", 0.5, price=101, post_only=True, key="c")
    assert refused.why() == "rejected: Order would immediately match and take.; nothing filled"
    world.venue.lose_answer = True
    assert "asked with its id, it is not sent again (no answer)" in broker.buy("BTC/USDT", 0.5, key="d").why()


# -- the end


def test_a_closed_broker_still_shows_and_no_longer_sends(broker: Broker) -> None:
    broker.buy("BTC/USDT", 0.5, key="a")
    broker.close()
    broker.close()
    assert len(broker.orders) == 1
    assert repr(broker).endswith("closed>")
    acts: list[Callable[[], object]] = [
        lambda: broker.buy("BTC/USDT", 0.5, key="b"),
        lambda: broker.cancel(broker.orders["id"].iloc[0]),
        lambda: broker.amend(broker.orders["id"].iloc[0], qty=1),
        broker.cancel_all,
        broker.halt,
        broker.resume,
        broker.reconcile,
    ]
    for act in acts:
        with pytest.raises(UsageError, match=r"closed: nothing was sent; kit\.paper"):
            act()


@pytest.mark.parametrize("called", [None, 5, ["an id"], pd.Series(["an id"])])
def test_what_is_no_order_is_told_so(broker: Broker, called: Any) -> None:
    for verb in (broker.order, broker.cancel, broker.amend):
        with pytest.raises(UsageError, match="neither an order nor the id of one"):
            verb(called)


def test_a_mistyped_name_is_told_the_nearest_and_that_nothing_was_sent(broker: Broker) -> None:
    mistyped: list[dict[str, Any]] = [{"symbol": "BTC/USD"}, {"tif": "gtd"}, {"type": "markt"}]
    for wrong in mistyped:
        order: dict[str, Any] = {"symbol": "BTC/USDT", "qty": 0.5, **wrong}
        with pytest.raises(UnknownName, match=r"did you mean .*; nothing was sent"):
            broker.buy(**order)
    with pytest.raises(UsageError, match=r"again='no'.*nothing was sent"):
        broker.buy("BTC/USDT", 0.5, again="no")  # type: ignore[arg-type]  # that is the test
    assert broker.orders.empty


def test_an_order_is_of_its_account(broker: Broker) -> None:
    order = broker.buy("BTC/USDT", 0.5, key="a")
    assert isinstance(broker.order(order), Order)
    assert (order.request.side, order.reason) == (Side.BUY, order.reason)
    assert Path(str(broker.desk.journal.path)).exists()
