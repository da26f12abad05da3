from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadOrder
from kit.model import Instrument, OrderRequest, OrderType, Side
from kit.orders.rules import RULES, check, parse_amount, plain

D = Decimal


def limit(qty: str = "1", price: str = "100", **more: Any) -> OrderRequest:
    return OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=D(qty), price=D(price), **more)


def market(qty: str = "1") -> OrderRequest:
    return OrderRequest(symbol="BTC/USDT", side=Side.SELL, type=OrderType.MARKET, qty=D(qty))


def stop(qty: str = "1", at: str = "100") -> OrderRequest:
    return OrderRequest(symbol="BTC/USDT", side=Side.SELL, type=OrderType.STOP, qty=D(qty), stop=D(at))


def broken(instrument: Instrument, request: OrderRequest, reference: str | None = None) -> tuple[str, str]:
    violation = check(instrument, request, D(reference) if reference else None)
    assert violation is not None
    return violation.filter, violation.message


def test_an_order_within_the_rules_breaks_none(btc: Instrument) -> None:
    for request in (limit(), market(), stop()):
        assert check(btc, request, D(100)) is None


@pytest.mark.parametrize(
    ("request_", "filter_", "words"),
    [
        (limit(price="100.005"), "PRICE_FILTER", "100.005 is not a multiple of the tick 0.01; nearest: 100 or 100.01"),
        (limit(price="0.001"), "PRICE_FILTER", "price 0.001 is below the minimum 0.01; nearest: 0.01"),
        (limit(price="1000000.01"), "PRICE_FILTER", "price 1000000.01 is above the maximum 1000000; nearest: 1000000"),
        (stop(at="99.999"), "PRICE_FILTER", "stop price 99.999 is not a multiple of the tick 0.01; nearest: 99.99"),
        (limit(qty="0.0153"), "LOT_SIZE", "0.0153 is not a multiple of the lot 0.001; nearest: 0.015 or 0.016"),
        (limit(qty="0.0001"), "LOT_SIZE", "quantity 0.0001 is below the minimum 0.001; nearest: 0.001"),
        (limit(qty="100.5"), "LOT_SIZE", "quantity 100.5 is above the maximum 100; nearest: 100"),
        (market(qty="10.5"), "MARKET_LOT_SIZE", "quantity 10.5 is above the maximum 10; nearest: 10"),
        (limit(qty="0.01"), "NOTIONAL", "is worth 1 USDT, below the minimum notional 10; nearest quantity: 0.1"),
        (limit(qty="99", price="20000"), "NOTIONAL", "above the maximum notional 1000000; nearest quantity: 50"),
        (market(qty="0.01"), "NOTIONAL", "0.01 BTC at 50 is worth 0.5 USDT"),
        (stop(qty="0.01", at="60"), "NOTIONAL", "0.01 BTC at 60 is worth 0.6 USDT"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named_as_binance_names_it_and_says_the_nearest_valid_value(
    btc: Instrument, request_: OrderRequest, filter_: str, words: str
) -> None:
    name, message = broken(btc, request_, "50")
    assert name == filter_
    assert words in message


def test_the_first_broken_rule_in_binances_order_is_the_one_told(btc: Instrument) -> None:
    request = limit(qty="0.0153", price="100.005")
    assert broken(btc, request)[0] == "PRICE_FILTER"
    assert [name for name, _ in RULES] == ["MARKET_CLOSED", "PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE", "NOTIONAL"]


def test_the_price_grid_starts_at_zero_not_at_the_minimum(btc: Instrument) -> None:
    """Binance: price % tickSize == 0, not (price - minPrice) % tickSize."""
    odd = msgspec.structs.replace(btc, tick=D("0.05"), min_price=D("0.03"))
    assert check(odd, limit(price="100.05")) is None
    assert broken(odd, limit(price="100.03"))[0] == "PRICE_FILTER"


def test_a_rule_set_to_zero_is_off(btc: Instrument) -> None:
    free = Instrument(symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=D(0), lot=D(0))
    for request in (limit(qty="0.00000001", price="0.123456789"), market(qty="999999")):
        assert check(free, request, D(1)) is None


def test_a_market_orders_worth_goes_by_the_reference_price_and_is_not_judged_without_one(btc: Instrument) -> None:
    assert check(btc, market(qty="0.01"), None) is None
    assert check(btc, market(qty="0.01"), D(5000)) is None
    excused = msgspec.structs.replace(btc, notional_applies_to_market=False)
    assert check(excused, market(qty="0.01"), D(50)) is None


def test_a_market_that_is_not_trading_takes_nothing(btc: Instrument) -> None:
    name, message = broken(msgspec.structs.replace(btc, status="break"), limit())
    assert name == "MARKET_CLOSED"
    assert "not trading (break)" in message


@pytest.mark.parametrize("qty", ["NaN", "sNaN", "Infinity", "-1", "0", "1e300"])
def test_a_request_made_by_hand_with_a_wild_quantity_is_refused_and_does_not_crash(btc: Instrument, qty: str) -> None:
    assert broken(btc, limit(qty=qty))[0] == "LOT_SIZE"


def test_a_nearest_value_that_the_limits_forbid_is_not_suggested(btc: Instrument) -> None:
    high = msgspec.structs.replace(btc, min_qty=D("0.0155"))
    assert broken(high, limit(qty="0.0157", price="10000"))[1].endswith("nearest: 0.016")


@given(qty=st.decimals("0.0005", "120", places=5), price=st.decimals("0.005", "20000", places=4))
def test_taking_the_suggestion_cures_the_complaint(btc: Instrument, qty: Decimal, price: Decimal) -> None:
    request = limit(str(qty), str(price))
    violation = check(btc, request)
    if violation is None:
        assert qty % btc.lot == 0
        assert price % btc.tick == 0
        return
    field = "price" if violation.filter == "PRICE_FILTER" else "qty"
    for suggestion in violation.message.rpartition(": ")[2].split(" or "):
        cured = check(btc, msgspec.structs.replace(request, **{field: D(suggestion)}))
        assert cured is None or cured.filter != violation.filter


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (1, "1"),
        (0.1, "0.1"),
        ("0.10", "0.10"),
        (D("1.5"), "1.5"),
        (np.float64(0.3), "0.3"),
        (np.float32(0.3), "0.3"),
        (np.int64(7), "7"),
        (1e-8, "1E-8"),
    ],
)
def test_an_amount_is_what_was_typed(value: object, amount: str) -> None:
    parsed = parse_amount("qty", value)
    assert parsed == D(amount)
    assert isinstance(parsed, Decimal)


@pytest.mark.parametrize(
    "value",
    [0, -1, 0.0, -0.1, float("nan"), float("inf"), "-inf", "NaN", D("sNaN"), True, np.True_, None, "much", "", [1],
     1e300],
)  # fmt: skip
def test_what_is_no_amount_is_refused_by_name_before_anything_is_sent(value: object) -> None:
    with pytest.raises(BadOrder, match=r"qty=.*nothing was sent"):
        parse_amount("qty", value)


@given(st.decimals("0.00000001", "1000000000", places=8))
def test_plain_amounts_have_no_exponent_and_lose_nothing(amount: Decimal) -> None:
    assert D(plain(amount)) == amount
    assert "E" not in plain(amount)
