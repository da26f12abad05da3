"""REST bodies of Coinbase as nouns: in the documented shapes, and refused in any other."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadAnswer
from kit.market.candles import FLOATS
from kit.model import BookSnapshot, Quote, Side, Trade
from kit.venues.base import Call
from kit.venues.coinbase import COINBASE
from kit.venues.coinbase_wire import micros

PRODUCT: dict[str, Any] = {
    "product_id": "SOL-USD", "price": "150.1", "base_increment": "0.00000001", "quote_increment": "0.01",
    "quote_min_size": "1", "quote_max_size": "25000000", "base_min_size": "0.00000001", "base_max_size": "1274000",
    "base_name": "Solana", "quote_name": "US Dollar", "is_disabled": False, "new": False, "status": "online",
    "cancel_only": False, "limit_only": False, "post_only": False, "trading_disabled": False, "auction_mode": False,
    "product_type": "SPOT", "quote_currency_id": "USD", "base_currency_id": "SOL", "alias": "",
    "alias_to": ["SOL-USDC"], "view_only": False, "price_increment": "0.01", "best_bid_price": "",
}  # fmt: skip
PRINT = {
    "trade_id": "73", "product_id": "SOL-USD", "price": "150.10", "size": "0.25", "time": "2026-09-27T15:50:01.000042Z",
    "side": "SELL", "bid": "", "ask": "", "exchange": "coinbase",
}  # fmt: skip
BAR = {"start": "1790000040", "low": "1.5", "high": "4", "open": "2", "close": "3", "volume": "5.25"}
BOOK = {
    "product_id": "SOL-USD",
    "bids": [{"price": "150", "size": "2"}, {"price": "149.99", "size": "1"}],
    "asks": [{"price": "150.02", "size": "3"}, {"price": "150.03", "size": "4"}],
    "time": "2026-09-27T15:50:02.123456789Z",
}
AT = 1_790_524_202_123_456


def read(call: Call[Any], body: object) -> Any:
    return call.read(json.dumps(body).encode())


# ---- instruments


def instruments(*changes: dict[str, Any]) -> list[Any]:
    listed: list[Any] = read(COINBASE.instruments(), {"products": [PRODUCT | change for change in changes]})
    return listed


def test_an_instrument_has_the_products_steps_and_limits() -> None:
    [sol] = instruments({})
    assert (sol.symbol, sol.native, sol.base, sol.quote, sol.status) == ("SOL/USD", "SOL-USD", "SOL", "USD", "trading")
    assert (sol.tick, sol.lot) == (Decimal("0.01"), Decimal("0.00000001"))
    assert (sol.min_qty, sol.max_qty) == (Decimal("0.00000001"), Decimal(1_274_000))
    assert (sol.min_notional, sol.max_notional) == (Decimal(1), Decimal(25_000_000))
    assert sol.notional_applies_to_market


def test_an_alias_is_no_instrument_of_its_own_and_neither_is_a_future() -> None:
    alias = {"product_id": "SOL-USDC", "quote_currency_id": "USDC", "alias": "SOL-USD", "alias_to": []}
    own_book = {"product_id": "EURC-USDC", "base_currency_id": "EURC", "quote_currency_id": "USDC"}
    future = {"product_id": "BIT-28JUL23-CDE", "product_type": "FUTURE"}
    assert [i.symbol for i in instruments({}, alias, own_book, future)] == ["SOL/USD", "EURC/USDC"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"status": "delisted", "trading_disabled": True}, "delisted"),
        ({"status": "offline"}, "offline"),
        ({"trading_disabled": True, "limit_only": True}, "trading_disabled"),
        ({"is_disabled": True}, "is_disabled"),
        ({"view_only": True}, "view_only"),
        ({"cancel_only": True, "post_only": True}, "cancel_only"),
        ({"auction_mode": True}, "auction_mode"),
        ({"post_only": True, "limit_only": True}, "post_only"),
        ({"limit_only": True}, "limit_only"),
    ],
)
def test_a_status_says_what_stands_in_the_way_of_trading(change: dict[str, Any], status: str) -> None:
    assert instruments(change)[0].status == status


# ---- candles


def test_candles_come_newest_first_and_leave_oldest_first() -> None:
    later = BAR | {"start": "1790000100", "close": "9"}
    columns = read(COINBASE.candles("SOL-USD", "1m", 1_790_000_040_000_000, None, 300), {"candles": [later, BAR]})
    assert columns["time"].tolist() == [1_790_000_040_000_000, 1_790_000_100_000_000]
    told = {name: columns[name].tolist() for name in ("open", "high", "low", "close", "volume")}
    assert told == {"open": [2, 2], "high": [4, 4], "low": [1.5, 1.5], "close": [3, 9], "volume": [5.25, 5.25]}


def test_what_coinbase_does_not_tell_of_a_bar_is_not_made_up() -> None:
    columns = read(COINBASE.candles("SOL-USD", "1m", 1_790_000_040_000_000, None, 300), {"candles": [BAR]})
    assert np.isnan(columns["quote_volume"]).all()
    assert columns["trades"].tolist() == [0]


def test_no_candles_are_empty_columns_of_the_same_types() -> None:
    call = COINBASE.candles("SOL-USD", "1m", 1_790_000_040_000_000, None, 300)
    for columns in (read(call, {"candles": []}), read(call, {"candles": [BAR]})):
        assert set(columns) == {"time", *FLOATS, "trades"}
        assert {columns[name].dtype for name in FLOATS} == {np.dtype(np.float64)}
        assert columns["time"].dtype == columns["trades"].dtype == np.int64


# ---- trades, book, time


def test_a_print_is_told_by_its_taker() -> None:
    found = read(COINBASE.trades("SOL-USD"), {"trades": [PRINT, PRINT | {"trade_id": "72", "side": "BUY"}]})
    assert found == [
        Trade("SOL-USD", 72, 150.1, 0.25, 1_790_524_201_000_042, Side.SELL),
        Trade("SOL-USD", 73, 150.1, 0.25, 1_790_524_201_000_042, Side.BUY),
    ]


def test_a_book_has_its_best_prices_first_and_no_number() -> None:
    expected = BookSnapshot("SOL-USD", 0, [(150.0, 2.0), (149.99, 1.0)], [(150.02, 3.0), (150.03, 4.0)], AT)
    for body in (BOOK, BOOK | {side: list(reversed(BOOK[side])) for side in ("bids", "asks")}):
        assert read(COINBASE.book("SOL-USD", 2), {"pricebook": body, "last": "150.01"}) == expected


def test_a_quote_is_the_top_of_the_book_with_its_quantities() -> None:
    assert read(COINBASE.quote("SOL-USD"), {"pricebook": BOOK}) == Quote("SOL-USD", 150, 2, 150.02, 3, time=AT)


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_an_empty_side_has_no_quote_but_is_a_book(side: str) -> None:
    body = {"pricebook": BOOK | {side: []}}
    with pytest.raises(BadAnswer, match="one side of the book"):
        read(COINBASE.quote("SOL-USD"), body)
    assert getattr(read(COINBASE.book("SOL-USD", 5), body), side) == []


def test_the_clock_is_told_in_milliseconds() -> None:
    body = {"iso": "2026-09-27T15:50:02Z", "epochSeconds": "1790524202", "epochMillis": "1790524202123"}
    assert read(COINBASE.time(), body) == 1_790_524_202_123_000


# ---- times


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("2026-08-09T21:05:48.228568804Z", 228_568),
        ("2026-08-09T21:05:48.999999999Z", 999_999),
        ("2026-08-09T21:05:48.35161Z", 351_610),
        ("2026-08-09T21:05:48.9Z", 900_000),
        ("2026-08-09T21:05:48Z", 0),
    ],
)
def test_a_time_of_any_precision_is_microseconds_and_never_later_than_it_was(text: str, after: int) -> None:
    assert micros(text) == 1_786_309_548_000_000 + after


@given(st.integers(0, 2**52))
def test_a_time_reads_back(time: int) -> None:
    assert micros(f"{np.datetime64(time, 'us')}Z") == time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-08-09",
        "2026-08-09T21:05:48",
        "2026-08-09T21:05:48+02:00",
        "2026-13-09T21:05:48Z",
        "2026-08-09T24:05:48Z",
        "2026-08-09 21:05:48Z",
        "2026-08-09T21:05:48.Z",
        "2026-08-09T21:05:48.1234567890Z",
        "1969-12-31T23:59:59Z",
        "٢٠٢٦-08-09T21:05:48Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|month|hour"):
        micros(text)


# ---- rubbish

CALLS: list[Call[Any]] = [
    COINBASE.instruments(),
    COINBASE.time(),
    COINBASE.candles("SOL-USD", "1m", 1_790_000_040_000_000, None, 300),
    COINBASE.trades("SOL-USD"),
    COINBASE.trades_between("SOL-USD", 0, 2**50),
    COINBASE.last_trade("SOL-USD"),
    COINBASE.book("SOL-USD", 5),
    COINBASE.quote("SOL-USD"),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"<html>", b"\xff", b"[" * 100_000, b'{"error":"x"}'])
def test_a_body_that_breaks_its_promise_is_a_bad_answer(call: Call[Any], body: bytes) -> None:
    with pytest.raises(BadAnswer, match=r"Coinbase's .* can't be read") as refusal:
        call.read(body)
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    ("call", "body"),
    [
        (COINBASE.instruments(), {"products": [PRODUCT | {"price_increment": "fine"}]}),
        (COINBASE.instruments(), {"products": [PRODUCT | {"base_max_size": "1e400"}]}),
        (COINBASE.candles("SOL-USD", "1m", 0, None, 300), {"candles": [BAR | {"high": "nan"}]}),
        (COINBASE.candles("SOL-USD", "1m", 1_790_000_040_000_000, None, 300), {"candles": [BAR, BAR]}),
        (COINBASE.candles("SOL-USD", "1m", 0, None, 300), {"candles": [BAR | {"start": "-1"}]}),
        (COINBASE.trades("SOL-USD"), {"trades": [PRINT | {"price": "-1"}]}),
        (COINBASE.trades("SOL-USD"), {"trades": [PRINT | {"side": "UNKNOWN_ORDER_SIDE"}]}),
        (COINBASE.trades("SOL-USD"), {"trades": [PRINT | {"time": "yesterday"}]}),
        (COINBASE.trades("BTC-USD"), {"trades": [PRINT]}),
        (COINBASE.book("BTC-USD", 5), {"pricebook": BOOK}),
        (COINBASE.book("SOL-USD", 5), {"pricebook": BOOK | {"bids": [{"price": "inf", "size": "1"}]}}),
        (COINBASE.time(), {"epochMillis": "soon"}),
    ],
)
def test_a_value_that_can_not_be_is_a_bad_answer(call: Call[Any], body: object) -> None:
    with pytest.raises(BadAnswer):
        read(call, body)


SOUND: list[tuple[Call[Any], dict[str, Any]]] = [
    (COINBASE.instruments(), {"products": [PRODUCT]}),
    (COINBASE.candles("SOL-USD", "1m", 0, None, 300), {"candles": [BAR]}),
    (COINBASE.trades("SOL-USD"), {"trades": [PRINT]}),
    (COINBASE.quote("SOL-USD"), {"pricebook": BOOK}),
]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def spoilt(body: Any, path: list[int], junk: Any) -> Any:
    """``body`` with ``junk`` in one place of it."""
    if not path or not body or not isinstance(body, dict | list):
        return junk
    names: list[Any] = sorted(body) if isinstance(body, dict) else list(range(len(body)))
    name, copy = names[path[0] % len(names)], body.copy()
    copy[name] = spoilt(body[name], path[1:], junk)
    return copy


@given(st.sampled_from(SOUND), st.lists(st.integers(0, 40), min_size=1, max_size=4), JUNK)
def test_junk_anywhere_in_a_body_is_read_or_refused_and_nothing_else(
    sound: tuple[Call[Any], dict[str, Any]], path: list[int], junk: Any
) -> None:
    call, body = sound
    try:
        read(call, spoilt(body, path, junk))
    except BadAnswer as error:
        assert len(str(error)) < 600  # noqa: PT017 - either end is fine; this is about the second


@given(st.sampled_from(CALLS), st.binary(max_size=60))
def test_garbage_is_a_bad_answer_and_nothing_else(call: Call[Any], body: bytes) -> None:
    with pytest.raises(BadAnswer):
        call.read(body)


@given(st.sampled_from(SOUND), st.integers(0, 200))
def test_a_body_cut_short_is_a_bad_answer(sound: tuple[Call[Any], dict[str, Any]], length: int) -> None:
    call, body = sound
    whole = json.dumps(body).encode()
    with pytest.raises(BadAnswer):
        call.read(whole[: min(length, len(whole) - 1)])
