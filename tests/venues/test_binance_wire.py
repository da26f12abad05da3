"""Answers about the market: read exactly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadAnswer
from kit.model import BookSnapshot, Instrument, Quote, Side, Trade
from kit.venues.base import Budget, Call
from kit.venues.binance import BINANCE
from kit.venues.wire import excerpt, money

KLINE = [
    1_499_040_000_000, "0.01634790", "0.80000000", "0.01575800", "0.01577100", "148976.11427815",
    1_499_040_059_999, "2434.19055334", 308, "1756.87402397", "28.46694368", "0",
]  # fmt: skip


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def symbol(filters: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    fields = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": filters}
    return fields | more


FILTERS: list[dict[str, Any]] = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "maxPrice": "1000000.00000000", "tickSize": "0.01000000"},
    {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
    {"filterType": "ICEBERG_PARTS", "limit": 100},
    {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "92.00000000", "stepSize": "0.00000000"},
    {"filterType": "PERCENT_PRICE", "multiplierUp": "5", "multiplierDown": "0.2", "avgPriceMins": 5},
    {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000},
    {"filterType": "A_FILTER_OF_NEXT_YEAR", "limit": {"nested": [1, 2]}},
]
NOTIONAL = {
    "filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True,
    "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5,
}  # fmt: skip


def read_symbol(value: dict[str, Any]) -> Instrument:
    [instrument] = BINANCE.instruments().read(body({"timezone": "UTC", "symbols": [value]}))
    return instrument


def test_every_filter_becomes_a_rule_of_the_instrument() -> None:
    assert read_symbol(symbol([*FILTERS, NOTIONAL])) == Instrument(
        symbol="BTC/USDT",
        native="BTCUSDT",
        base="BTC",
        quote="USDT",
        tick=Decimal("0.01"),
        lot=Decimal("0.00001"),
        min_qty=Decimal("0.00001"),
        max_qty=Decimal(9000),
        market_max_qty=Decimal(92),
        min_price=Decimal("0.01"),
        max_price=Decimal(1_000_000),
        min_notional=Decimal(5),
        max_notional=Decimal(9_000_000),
    )


def test_rules_have_neither_padding_zeros_nor_exponents() -> None:
    instrument = read_symbol(symbol([*FILTERS, NOTIONAL]))
    assert str(instrument.tick) == "0.01"
    assert str(instrument.max_price) == "1000000"


def test_the_older_notional_filter_is_understood() -> None:
    older = {"filterType": "MIN_NOTIONAL", "minNotional": "10.0000", "applyToMarket": False, "avgPriceMins": 5}
    instrument = read_symbol(symbol([*FILTERS, older]))
    assert (instrument.min_notional, instrument.notional_applies_to_market) == (Decimal(10), False)
    assert read_symbol(symbol([older, NOTIONAL])).min_notional == Decimal(5)


def test_an_instrument_that_does_not_trade_says_so() -> None:
    assert read_symbol(symbol([], status="CANCEL_ONLY")).status == "cancel_only"
    assert read_symbol(symbol([], isSpotTradingAllowed=False)).status == "no_spot_trading"


def test_budgets_are_what_the_venue_says_and_are_named_like_the_headers_that_count_them() -> None:
    limits = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
        {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000},
    ]
    budgets = BINANCE.budgets().read(body({"rateLimits": limits, "symbols": [symbol(FILTERS)]}))
    assert budgets == [
        Budget("X-MBX-USED-WEIGHT-1M", 6000, 60_000_000),
        Budget("X-MBX-ORDER-COUNT-10S", 100, 10_000_000),
        Budget("X-MBX-ORDER-COUNT-1D", 200_000, 86_400_000_000),
        Budget("RAW-REQUESTS-5M", 300_000, 300_000_000),
    ]
    headers = {"x-mbx-used-weight-1m": "17", "X-MBX-ORDER-COUNT-10S": "3", "x-mbx-used-weight": "17", "Date": "x"}
    assert BINANCE.used(headers) == {"X-MBX-USED-WEIGHT-1M": 17, "X-MBX-ORDER-COUNT-10S": 3}
    assert set(BINANCE.used(headers)) <= {budget.name for budget in budgets}


def read_candles(rows: list[Any]) -> dict[str, Any]:
    return dict(BINANCE.candles("X", "1m", None, None, 10).read(body(rows)))


def test_candles_become_columns_in_microseconds_and_floats() -> None:
    later = [1_499_040_060_000, *KLINE[1:]]
    columns = read_candles([KLINE, later])
    assert columns["time"].tolist() == [1_499_040_000_000_000, 1_499_040_060_000_000]
    expected = {
        "open": 0.0163479,
        "high": 0.8,
        "low": 0.015758,
        "close": 0.015771,
        "volume": 148976.11427815,
        "quote_volume": 2434.19055334,
    }
    assert {name: column[0] for name, column in columns.items() if column.dtype == np.float64} == expected
    assert columns["trades"].tolist() == [308, 308]
    assert columns["time"].dtype == columns["trades"].dtype == np.int64


def test_no_candles_are_empty_columns() -> None:
    assert {name: len(column) for name, column in read_candles([]).items()} == dict.fromkeys(
        ("time", "open", "high", "low", "close", "volume", "quote_volume", "trades"), 0
    )


@pytest.mark.parametrize("price", ["NaN", "inf", "-1", "", "1_0", "0x1", " 1", "1e999", None, True, [1]])
def test_a_price_that_is_no_price_is_a_bad_answer(price: object) -> None:
    with pytest.raises(BadAnswer):
        read_candles([[KLINE[0], price, *KLINE[2:]]])


def test_candles_out_of_order_are_a_bad_answer() -> None:
    with pytest.raises(BadAnswer, match="order of time"):
        read_candles([KLINE, KLINE])


def test_trades_tell_the_takers_side() -> None:
    row = {"id": 28457, "price": "4.00000100", "qty": "12.0", "quoteQty": "48.0", "time": 1_499_865_549_590}
    rows = [row | {"isBuyerMaker": True, "isBestMatch": True}, row | {"id": 28458, "isBuyerMaker": False}]
    time = 1_499_865_549_590_000
    expected = [
        Trade("BTCUSDT", 28457, 4.000001, 12.0, time, Side.SELL),
        Trade("BTCUSDT", 28458, 4.000001, 12.0, time, Side.BUY),
    ]
    assert BINANCE.trades("BTCUSDT").read(body(rows)) == expected
    assert BINANCE.trades_from("BTCUSDT", 28457).read(body(rows)) == expected


def test_an_aggregate_is_named_by_the_first_trade_it_sums_up() -> None:
    row = {"a": 26129, "p": "0.01633102", "q": "4.70443515", "f": 27781, "l": 27783, "T": 1498793709153, "m": True}
    [trade] = BINANCE.trades_between("BNBBTC", 0, 1).read(body([row | {"M": True}]))
    assert trade == Trade("BNBBTC", 27781, 0.01633102, 4.70443515, 1498793709153000, Side.SELL)


def test_a_book_keeps_every_level() -> None:
    answer = {"lastUpdateId": 9, "bids": [["4.0", "431.0"], ["3.9", "9.0"]], "asks": [["4.000002", "12.0"]]}
    snapshot = BINANCE.book("BNBBTC", 100).read(body(answer))
    assert snapshot == BookSnapshot("BNBBTC", 9, [(4.0, 431.0), (3.9, 9.0)], [(4.000002, 12.0)])


def test_a_quote_of_another_symbol_is_not_taken_for_ours() -> None:
    answer = {"symbol": "LTCBTC", "bidPrice": "4.0", "bidQty": "431", "askPrice": "4.000002", "askQty": "9"}
    assert BINANCE.quote("LTCBTC").read(body(answer)) == Quote("LTCBTC", 4.0, 431.0, 4.000002, 9.0)
    with pytest.raises(BadAnswer, match="asked for BTCUSDT"):
        BINANCE.quote("BTCUSDT").read(body(answer))


def test_the_venues_clock_is_read_in_microseconds() -> None:
    assert BINANCE.time().read(b'{"serverTime":1499827319559}') == 1_499_827_319_559_000


READERS: list[Callable[[], Call[Any]]] = [
    BINANCE.instruments,
    BINANCE.budgets,
    BINANCE.time,
    lambda: BINANCE.candles("X", "1m", None, None, 1),
    lambda: BINANCE.trades("X"),
    lambda: BINANCE.trades_between("X", 0, 1),
    lambda: BINANCE.book("X", 1),
    lambda: BINANCE.quote("X"),
    BINANCE.balances,
    lambda: BINANCE.open_orders(None),
]


def good_or_bad_answer(call: Call[Any], answer: bytes) -> None:
    try:
        call.read(answer)
    except BadAnswer as error:
        assert len(str(error)) < 500  # noqa: PT017 - either end is fine; this is about the second


@pytest.mark.parametrize("make", READERS)
@given(garbage=st.binary(max_size=60))
def test_garbage_is_a_bad_answer_and_nothing_else(make: Callable[[], Call[Any]], garbage: bytes) -> None:
    good_or_bad_answer(make(), garbage)


NAMES = st.sampled_from(["symbol", "id", "bids", "e", "T"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("1.5"),
    lambda inner: st.lists(inner, max_size=13) | st.dictionaries(NAMES, inner),
    max_leaves=20,
)


@pytest.mark.parametrize("make", READERS)
@given(value=JSON)
def test_any_other_json_is_a_bad_answer_and_nothing_else(make: Callable[[], Call[Any]], value: object) -> None:
    good_or_bad_answer(make(), body(value))


@pytest.mark.parametrize("make", READERS)
def test_a_body_cut_short_html_or_nested_without_end_is_a_bad_answer(make: Callable[[], Call[Any]]) -> None:
    for answer in (b"", b"<html>nginx</html>", b"[" * 100_000, b'{"a":' * 100_000, b'["\xff\xfe"]', b'{"symbols":[{'):
        with pytest.raises(BadAnswer):
            make().read(answer)


@given(st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False))
def test_exact_amounts_survive_the_wire_digit_by_digit(value: Decimal) -> None:
    assert f"{money(f'{value:f}'):f}" == f"{value:f}"


@given(st.floats(min_value=0, max_value=1e15, allow_nan=False))
def test_a_float_survives_the_wire_as_text_or_as_a_number(value: float) -> None:
    for spelled in (repr(value), value):
        answer = {"lastUpdateId": 1, "bids": [[spelled, "1"]], "asks": []}
        assert BINANCE.book("X", 1).read(body(answer)).bids == [(value, 1.0)]


@pytest.mark.parametrize("text", ["NaN", "1e5", "", "1.", ".5", "+1", "1,0", "\u0661", "1e999999999", "0" * 99])
def test_money_is_plain_digits_or_malformed(text: str) -> None:
    with pytest.raises(ValueError, match="plain decimal"):
        money(text)


def test_an_excerpt_shows_no_long_token_no_control_characters_and_not_much() -> None:
    secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    shown = excerpt(f"<p>X-MBX-APIKEY: {secret}\r\n\x1b[31m signature={secret}</p>{'é' * 999}".encode())
    assert secret[:16] not in shown
    assert len(shown) <= 120
    assert shown.isprintable()
    assert excerpt("Filter failure: EXCHANGE_MAX") == "Filter failure: EXCHANGE_MAX"
