"""The live gateway: what the venue's answers mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kit.broker.gateway import Accepted, Refused, Unknown
from kit.broker.live import LiveGateway
from kit.broker.reconcile import reconcile
from kit.clock import ManualClock
from kit.errors import VenueRefused, VenueUnreachable
from kit.model import Instrument, OrderRequest, OrderStatus, OrderType, Side, TimeInForce
from kit.orders.ids import Intent
from kit.venues.base import Call
from kit.venues.binance import BINANCE


class Venue:
    """Answers a call by its method and endpoint, and keeps what was asked."""

    def __init__(self, **answers: Callable[[dict[str, str]], object]) -> None:
        self.answers, self.asked = answers, list[str]()
        self.clock = ManualClock(1)

    def do(self, call: Call[Any]) -> Any:
        name = f"{call.method}_{call.path.rpartition('/')[2]}"
        self.asked.append(name)
        return call.read(json.dumps(self.answers[name](dict(call.params))).encode())


def order(status: str, filled: str) -> dict[str, object]:
    return {
        "symbol": "BTCUSDT",
        "orderId": 7,
        "clientOrderId": "a",
        "price": "100",
        "origQty": "2",
        "executedQty": filled,
        "cummulativeQuoteQty": "0",
        "status": status,
        "timeInForce": "GTC",
        "type": "LIMIT",
        "side": "BUY",
        "time": 1,
        "updateTime": 2,
    }


def trade(number: int) -> dict[str, object]:
    return {
        "symbol": "BTCUSDT",
        "id": number,
        "orderId": 7,
        "price": "100",
        "qty": "0.001",
        "commission": "0",
        "commissionAsset": "BTC",
        "time": 2,
        "isBuyer": True,
        "isMaker": True,
    }


def page(params: dict[str, str]) -> list[dict[str, object]]:
    """Fills 10 to 1,510 of an order, a thousand at a time: the newest unless it is said from where."""
    every = range(10, 1511)
    chosen = [n for n in every if n >= int(params["fromId"])][:1000] if "fromId" in params else every[-1000:]
    return [trade(n) for n in chosen]


CANCELLED = {"symbol": "BTCUSDT", "origClientOrderId": "a", "orderId": 7, "status": "CANCELED"}


def test_an_order_the_venue_has_no_words_for_is_refused(btc: Instrument) -> None:
    venue = Venue()
    fok = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal(1), tif=TimeInForce.FOK)
    outcome = LiveGateway(venue, BINANCE).submit(btc, fok, "a")
    assert isinstance(outcome, Refused)
    assert "fill-or-kill" in outcome.reason
    assert venue.asked == []


def test_an_order_of_more_fills_than_a_page_holds_is_told_whole(btc: Instrument) -> None:
    venue = Venue(GET_order=lambda _: order("PARTIALLY_FILLED", "1.501"), GET_myTrades=page)
    state = LiveGateway(venue, BINANCE).query(btc, "a", 0)
    assert state is not None
    assert [fill.id for fill in state.fills] == [str(n) for n in range(10, 1511)]


def test_fills_that_are_not_all_shown_yet_are_asked_for_again(btc: Instrument) -> None:
    venue = Venue(GET_order=lambda _: order("PARTIALLY_FILLED", "1.6"), GET_myTrades=page)
    with pytest.raises(VenueUnreachable, match="asked again"):
        LiveGateway(venue, BINANCE).query(btc, "a", 0)
    assert venue.asked == ["GET_order"] + ["GET_myTrades"] * 3


def test_executions_are_listed_from_a_trade_id_on_page_by_page(btc: Instrument) -> None:
    venue = Venue(GET_myTrades=page)
    gateway = LiveGateway(venue, BINANCE)
    assert [fill.id for fill in gateway.executions(btc, "9")] == [str(n) for n in range(10, 1511)]
    assert [fill.id for fill in gateway.executions(btc, "1509")] == ["1510"]
    assert [fill.id for fill in gateway.executions(btc, "1510")] == []
    assert venue.asked == ["GET_myTrades"] * 5
    assert [fill.id for fill in gateway.executions(btc, "")] == [str(n) for n in range(511, 1511)]
    assert gateway.now() == 1


@pytest.mark.parametrize("shown", ["NEW", "PARTIALLY_FILLED"])
def test_a_cancel_is_unknown_while_the_venue_still_shows_the_order(btc: Instrument, shown: str) -> None:
    """What it had filled by then is not known, and an amendment must not place it again."""
    venue = Venue(DELETE_order=lambda _: CANCELLED, GET_order=lambda _: order(shown, "0"))
    outcome = LiveGateway(venue, BINANCE).cancel(btc, "a")
    assert isinstance(outcome, Unknown)
    venue.answers["GET_order"] = lambda _: order("CANCELED", "0")
    assert isinstance(LiveGateway(venue, BINANCE).cancel(btc, "a"), Accepted)
    state = LiveGateway(venue, BINANCE).query(btc, "a", 0)
    assert state is not None
    assert state.status is OrderStatus.CANCELED


def test_an_order_that_was_forgotten_for_so_long_that_the_venue_has_archived_it_is_over(world: Any) -> None:
    """It was cancelled by other hands over 90 days ago: all that is told since is -2026."""
    order = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal("0.5"), price=Decimal(95))
    record = world.desk.place(order, Intent.keyed("forgotten"))

    def archived(_: object) -> object:
        raise VenueRefused("archived", code=-2026)

    venue = Venue(
        GET_order=archived,
        GET_openOrders=lambda _: [],
        GET_myTrades=lambda _: [],
        GET_account=lambda _: {"balances": []},
    )
    world.desk.gateway = LiveGateway(venue, BINANCE)
    reconcile(world.desk)
    assert (record.status, record.filled) == (OrderStatus.EXPIRED, 0)
    assert world.desk.account.free("USDT") == 1000
