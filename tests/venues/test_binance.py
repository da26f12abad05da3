"""Requests: where they go, what they carry, what they cost, and which of them may be repeated."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadOrder, UnknownName
from kit.model import Instrument, OrderRequest, OrderType, Side, TimeInForce
from kit.orders.ids import Intent, client_id
from kit.venues.base import Auth, ById, Call, Codec, Effect
from kit.venues.binance import BINANCE, Binance
from kit.venues.binance_orders import amount
from kit.venues.coinbase import COINBASE
from kit.venues.kraken import KRAKEN

REQUEST = OrderRequest(
    symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal("0.01"), price=Decimal("60000.10")
)


def test_binance_is_a_codec() -> None:
    codec: Codec = Binance()
    assert codec.name == "binance"


def test_only_the_live_environment_moves_real_money() -> None:
    assert {name for name, hosts in BINANCE.environments.items() if hosts.real_money} == {"live"}
    assert set(BINANCE.environments) == {"live", "data", "testnet", "demo"}
    assert BINANCE.environments["data"].ws_api is None
    assert BINANCE.stream_url(BINANCE.environments["data"]) == "wss://data-stream.binance.vision/stream"


def test_a_range_is_half_open_though_the_wire_counts_both_ends_in_milliseconds() -> None:
    call = BINANCE.candles("BTCUSDT", "1m", 60_000_000, 180_000_000, 5_000)
    assert dict(call.params) == {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "startTime": "60000",
        "endTime": "179999",
        "limit": "1000",
    }
    between = dict(BINANCE.trades_between("BTCUSDT", 1_001, 2_001).params)
    assert (between["startTime"], between["endTime"]) == ("2", "2")


def test_an_interval_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean"):
        BINANCE.candles("BTCUSDT", "1min", None, None, 10)


@pytest.mark.parametrize(
    ("limit", "sent", "weight"), [(1, 1, 5), (100, 100, 5), (101, 101, 25), (1_000, 1_000, 50), (9_999, 5_000, 250)]
)
def test_a_book_costs_by_its_depth(limit: int, sent: int, weight: int) -> None:
    call = BINANCE.book("BTCUSDT", limit)
    assert (dict(call.params)["limit"], call.weight) == (str(sent), weight)


def test_old_trades_are_asked_for_by_id_here_alone() -> None:
    assert [codec.name for codec in (BINANCE, KRAKEN, COINBASE) if isinstance(codec, ById)] == ["binance"]
    assert BINANCE.trades("BTCUSDT").path == "/api/v3/trades"
    call = BINANCE.trades_from("BTCUSDT", 7)
    assert call.path == "/api/v3/historicalTrades"
    assert dict(call.params)["fromId"] == "7"


def test_some_instruments_are_asked_for_by_name() -> None:
    assert dict(BINANCE.instruments(["BTCUSDT"]).params)["symbol"] == "BTCUSDT"
    assert dict(BINANCE.instruments(["BTCUSDT", "币USDT"]).params)["symbols"] == '["BTCUSDT","币USDT"]'


def test_only_placing_and_cancelling_have_effects(btcusdt: Instrument) -> None:
    writes: list[Call[Any]] = [BINANCE.order(btcusdt, REQUEST, "a"), BINANCE.cancel(btcusdt, "a")]
    reads: list[Call[Any]] = [
        BINANCE.order_test(btcusdt, REQUEST, "a"),
        BINANCE.query(btcusdt, "a"),
        BINANCE.open_orders(None),
        BINANCE.open_orders(btcusdt),
        BINANCE.balances(),
        BINANCE.fills(btcusdt, venue_order_id="1", from_id=None),
    ]
    assert {(call.method, call.effect, call.auth) for call in writes} == {
        ("POST", Effect.WRITE, Auth.SIGNED),
        ("DELETE", Effect.WRITE, Auth.SIGNED),
    }
    assert [call.orders for call in writes] == [1, 0]
    assert {(call.effect, call.auth, call.orders) for call in reads} == {(Effect.READ, Auth.SIGNED, 0)}
    public: list[Call[Any]] = [
        BINANCE.time(),
        BINANCE.instruments(),
        BINANCE.budgets(),
        BINANCE.quote("X"),
        BINANCE.book("X", 5),
    ]
    assert {(call.effect, call.auth) for call in public} == {(Effect.READ, Auth.NONE)}


def test_account_questions_cost_what_the_venue_says(btcusdt: Instrument) -> None:
    assert BINANCE.open_orders(None).weight == 80
    assert BINANCE.open_orders(btcusdt).weight == 6
    assert BINANCE.fills(btcusdt, venue_order_id="1", from_id=None).weight == 5
    assert BINANCE.fills(btcusdt, venue_order_id=None, from_id=3).weight == 20
    assert dict(BINANCE.fills(btcusdt, venue_order_id=None, from_id=3).params)["fromId"] == "3"


def order(**changes: object) -> OrderRequest:
    """REQUEST with other words: price and stop only where they are given."""
    fields: dict[str, Any] = {"symbol": "BTC/USDT", "side": Side.SELL, "type": OrderType.MARKET, "qty": Decimal("0.5")}
    return OrderRequest(**(fields | changes))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (order(), {"type": "MARKET"}),
        (order(tif=TimeInForce.IOC), {"type": "MARKET"}),
        (
            order(type=OrderType.LIMIT, price=Decimal("61000.50"), tif=TimeInForce.FOK),
            {"type": "LIMIT", "price": "61000.5", "timeInForce": "FOK"},
        ),
        (order(type=OrderType.LIMIT, price=Decimal(100), post_only=True), {"type": "LIMIT_MAKER", "price": "100"}),
        (order(type=OrderType.STOP, stop=Decimal("1E+3")), {"type": "STOP_LOSS", "stopPrice": "1000"}),
        (
            order(type=OrderType.STOP_LIMIT, stop=Decimal(90), price=Decimal("0.00000001")),
            {"type": "STOP_LOSS_LIMIT", "stopPrice": "90", "price": "0.00000001", "timeInForce": "GTC"},
        ),
    ],
)
def test_each_kind_of_order_is_said_in_binances_words(
    btcusdt: Instrument, request_: OrderRequest, expected: dict[str, str]
) -> None:
    call = BINANCE.order(btcusdt, request_, "id-1")
    common = {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "quantity": "0.5",
        "newClientOrderId": "id-1",
        "newOrderRespType": "FULL",
    }
    assert dict(call.params) == common | expected
    assert BINANCE.order_test(btcusdt, request_, "id-1").params == call.params
    assert BINANCE.order_test(btcusdt, request_, "id-1").path == "/api/v3/order/test"


def test_what_binance_can_not_say_is_refused_before_it_is_sent(btcusdt: Instrument) -> None:
    with pytest.raises(BadOrder, match="fill-or-kill"):
        BINANCE.order(btcusdt, order(tif=TimeInForce.FOK), "a")
    for bad in ("", "x" * 37, "a b", "ä", "a\n"):
        with pytest.raises(BadOrder, match="client id"):
            BINANCE.order(btcusdt, REQUEST, bad)
    for qty in ("NaN", "Infinity", "0", "-1", "1E+999999999"):
        with pytest.raises(BadOrder, match="quantity"):
            BINANCE.order(btcusdt, order(qty=Decimal(qty)), "a")


def test_an_id_made_by_the_kit_is_one_binance_takes(btcusdt: Instrument) -> None:
    made = client_id("paper", "default", Intent.keyed("k"))
    assert set(made) <= set(BINANCE.client_id_alphabet)
    assert len(made) <= BINANCE.client_id_length
    BINANCE.order(btcusdt, REQUEST, made)


@given(st.decimals(min_value=Decimal("1e-18"), max_value=Decimal("1e18"), allow_nan=False, allow_infinity=False))
def test_an_amount_is_written_in_plain_digits_and_reads_back_the_same(value: Decimal) -> None:
    text = amount("price", value)
    assert re.fullmatch(r"\d+(\.\d*[1-9])?", text)
    assert Decimal(text) == value
