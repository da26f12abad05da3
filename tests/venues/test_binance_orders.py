"""Answers about orders: what happened, exactly; and never another order's story."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadAnswer, OutcomeUnknown
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
    TimeInForce,
)
from kit.venues.base import Call
from kit.venues.binance import BINANCE

TIME = 1_507_725_176_595
REQUEST = OrderRequest(symbol="BTC/USDT", side=Side.SELL, type=OrderType.MARKET, qty=Decimal(10))
FULL: dict[str, Any] = {
    "symbol": "BTCUSDT", "orderId": 28, "orderListId": -1, "clientOrderId": "mine-1", "transactTime": TIME,
    "price": "0.00000000", "origQty": "10.00000000", "executedQty": "10.00000000",
    "cummulativeQuoteQty": "39998.00000000", "status": "FILLED", "timeInForce": "GTC", "type": "MARKET",
    "side": "SELL", "workingTime": TIME, "selfTradePreventionMode": "NONE",
    "fills": [
        {"price": "4000.00", "qty": "8.00", "commission": "4.0", "commissionAsset": "USDT", "tradeId": 56},
        {"price": "3999.00", "qty": "2.00", "commission": "1.5", "commissionAsset": "USDT", "tradeId": 57},
    ],
}  # fmt: skip
QUERIED: dict[str, Any] = {
    "symbol": "BTCUSDT", "orderId": 1, "orderListId": -1, "clientOrderId": "mine-1", "price": "0.1",
    "origQty": "1.0", "executedQty": "0.5", "cummulativeQuoteQty": "0.05", "status": "PARTIALLY_FILLED",
    "timeInForce": "IOC", "type": "LIMIT", "side": "BUY", "stopPrice": "0.0", "icebergQty": "0.0", "time": TIME,
    "updateTime": TIME + 1, "isWorking": True, "workingTime": TIME, "origQuoteOrderQty": "0.000000",
}  # fmt: skip


def body(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture
def placing(btcusdt: Instrument) -> Call[list[Report]]:
    return BINANCE.order(btcusdt, REQUEST, "mine-1")


def test_a_full_answer_tells_acceptance_and_every_fill_with_its_fee(placing: Call[list[Report]]) -> None:
    accepted, first, second = placing.read(body(FULL))
    assert accepted == Report(kind=ReportKind.ACCEPTED, client_id="mine-1", time=TIME * 1_000, venue_id="28")
    assert first.fill == Fill(
        id="56",
        client_id="mine-1",
        symbol="BTC/USDT",
        side=Side.SELL,
        qty=Decimal(8),
        price=Decimal(4_000),
        fee=Decimal(4),
        fee_asset="USDT",
        time=TIME * 1_000,
        venue_id="28",
    )
    assert second.kind is ReportKind.FILLED
    assert [report.fill.id for report in (first, second) if report.fill] == ["56", "57"]


def test_a_market_order_that_ran_out_of_book_says_so(placing: Call[list[Report]]) -> None:
    part = FULL | {
        "executedQty": "8.0",
        "status": "EXPIRED",
        "fills": FULL["fills"][:1],
        "expiryReason": "INSUFFICIENT_LIQUIDITY",
    }
    kinds = [report.kind for report in placing.read(body(part))]
    assert kinds == [ReportKind.ACCEPTED, ReportKind.FILLED, ReportKind.EXPIRED]
    assert "ran out" in placing.read(body(part))[-1].reason
    assert "INSUFFICIENT_LIQUIDITY" in placing.read(body(part))[-1].reason


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        ("NEW", [ReportKind.ACCEPTED]),
        ("PENDING_NEW", [ReportKind.ACCEPTED]),
        ("CANCELED", [ReportKind.ACCEPTED, ReportKind.CANCELED]),
        ("EXPIRED", [ReportKind.ACCEPTED, ReportKind.EXPIRED]),
        ("EXPIRED_IN_MATCH", [ReportKind.ACCEPTED, ReportKind.EXPIRED]),
        ("REJECTED", [ReportKind.REJECTED]),
    ],
)
def test_every_status_an_order_can_start_with_is_told(
    placing: Call[list[Report]], status: str, kinds: list[ReportKind]
) -> None:
    reports = placing.read(body(FULL | {"status": status, "executedQty": "0.0", "fills": []}))
    assert [report.kind for report in reports] == kinds
    assert ("self-trade" in reports[-1].reason) == (status == "EXPIRED_IN_MATCH")


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": "ETHUSDT"},
        {"clientOrderId": "yours"},
        {"status": "DREAMING"},
        {"fills": FULL["fills"][:1]},
        {"executedQty": "1e1"},
        {"orderId": None},
        {"transactTime": -1},
        {"side": "BOTH"},
    ],
)
def test_an_order_answer_that_does_not_add_up_leaves_the_outcome_unknown(
    placing: Call[list[Report]], change: dict[str, Any]
) -> None:
    with pytest.raises(OutcomeUnknown, match="ask with the client id"):
        placing.read(body(FULL | change))


@given(garbage=st.binary(max_size=80))
def test_rubbish_after_placing_an_order_is_unknown_never_a_failure(garbage: bytes) -> None:
    instrument = Instrument(symbol="A/B", native="AB", base="A", quote="B", tick=Decimal("0.01"), lot=Decimal("0.01"))
    for call in (BINANCE.order(instrument, REQUEST, "mine-1"), BINANCE.cancel(instrument, "mine-1")):
        with pytest.raises(OutcomeUnknown):
            call.read(garbage)


def test_an_order_test_needs_no_words_in_its_answer(btcusdt: Instrument) -> None:
    assert BINANCE.order_test(btcusdt, REQUEST, "mine-1").read(b"{}") is None


CANCELLED: dict[str, Any] = {
    "symbol": "BTCUSDT", "origClientOrderId": "mine-1", "orderId": 28, "clientOrderId": "cancel-77",
    "transactTime": TIME, "price": "2.0", "origQty": "1.0", "executedQty": "0.0", "status": "CANCELED", "side": "BUY",
}  # fmt: skip


def test_a_cancel_is_told_of_the_order_and_not_of_the_cancels_own_id(btcusdt: Instrument) -> None:
    [report] = BINANCE.cancel(btcusdt, "mine-1").read(body(CANCELLED))
    assert report == Report(kind=ReportKind.CANCELED, client_id="mine-1", time=TIME * 1_000, venue_id="28")


def test_a_cancel_answered_for_another_order_is_unknown(btcusdt: Instrument) -> None:
    with pytest.raises(OutcomeUnknown):
        BINANCE.cancel(btcusdt, "cancel-77").read(body(CANCELLED))


def test_a_queried_order_tells_where_it_stands(btcusdt: Instrument) -> None:
    assert BINANCE.query(btcusdt, "mine-1").read(body(QUERIED)) == OrderState(
        client_id="mine-1",
        venue_id="1",
        symbol="BTC/USDT",
        status=OrderStatus.PARTIAL,
        request=OrderRequest(
            symbol="BTC/USDT",
            side=Side.BUY,
            type=OrderType.LIMIT,
            qty=Decimal(1),
            price=Decimal("0.1"),
            tif=TimeInForce.IOC,
        ),
        filled=Decimal("0.5"),
        filled_quote=Decimal("0.05"),
        time=(TIME + 1) * 1_000,
    )


def test_a_cancelled_order_keeps_the_id_it_was_asked_by(btcusdt: Instrument) -> None:
    answer = QUERIED | {"clientOrderId": "cancel-77", "status": "CANCELED"}
    assert BINANCE.query(btcusdt, "mine-1").read(body(answer)).client_id == "mine-1"


def test_a_quote_amount_the_venue_no_longer_has_is_not_a_number_and_not_zero(btcusdt: Instrument) -> None:
    answer = QUERIED | {"cummulativeQuoteQty": "-1.00000000"}
    assert BINANCE.query(btcusdt, "mine-1").read(body(answer)).filled_quote.is_nan()


@pytest.mark.parametrize(
    ("wire", "kind", "post_only"),
    [
        ("LIMIT", OrderType.LIMIT, False),
        ("LIMIT_MAKER", OrderType.LIMIT, True),
        ("MARKET", OrderType.MARKET, False),
        ("STOP_LOSS", OrderType.STOP, False),
        ("STOP_LOSS_LIMIT", OrderType.STOP_LIMIT, False),
        ("TAKE_PROFIT", OrderType.STOP, False),
        ("TAKE_PROFIT_LIMIT", OrderType.STOP_LIMIT, False),
    ],
)
def test_every_type_of_open_order_is_understood_even_one_placed_by_other_hands(
    btcusdt: Instrument, wire: str, kind: OrderType, post_only: bool
) -> None:
    answer = [QUERIED | {"type": wire, "timeInForce": "GTC", "status": "NEW"}]
    [state] = BINANCE.open_orders(btcusdt).read(body(answer))
    assert (state.request.type, state.request.post_only) == (kind, post_only)
    [anywhere] = BINANCE.open_orders(None).read(body(answer))
    assert anywhere.symbol == "BTCUSDT"


def test_an_order_of_another_symbol_in_the_answer_is_a_bad_answer(btcusdt: Instrument) -> None:
    stranger = QUERIED | {"symbol": "ETHUSDT"}
    for call, answer in ((BINANCE.query(btcusdt, "mine-1"), stranger), (BINANCE.open_orders(btcusdt), [stranger])):
        with pytest.raises(BadAnswer, match="ETHUSDT"):
            call.read(body(answer))


def test_own_trades_become_fills_named_by_the_venues_order_id(btcusdt: Instrument) -> None:
    row = {
        "symbol": "BTCUSDT", "id": 28457, "orderId": 100234, "orderListId": -1, "price": "4.00000100", "qty": "12.0",
        "quoteQty": "48.000012", "commission": "10.1", "commissionAsset": "BNB", "time": TIME, "isBuyer": True,
        "isMaker": True, "isBestMatch": True,
    }  # fmt: skip
    [fill] = BINANCE.fills(btcusdt, venue_order_id="100234", from_id=None).read(body([row]))
    assert fill == Fill(
        id="28457",
        client_id="",
        symbol="BTC/USDT",
        side=Side.BUY,
        qty=Decimal(12),
        price=Decimal("4.000001"),
        fee=Decimal("10.1"),
        fee_asset="BNB",
        time=TIME * 1_000,
        maker=True,
        venue_id="100234",
    )


def test_balances_are_exact() -> None:
    answer = {"makerCommission": 15, "balances": [{"asset": "BTC", "free": "4723846.89208129", "locked": "0.1"}]}
    expected = [Balance("BTC", Decimal("4723846.89208129"), Decimal("0.1"))]
    assert BINANCE.balances().read(body(answer)) == expected
