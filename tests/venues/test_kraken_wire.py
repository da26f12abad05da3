"""REST bodies of Kraken, written by hand in the documented shapes, become the nouns or a BadAnswer."""

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
from kit.venues.kraken import KRAKEN
from kit.venues.kraken_wire import digits


def body(result: Any, error: tuple[str, ...] = ()) -> bytes:
    return json.dumps({"error": list(error), "result": result}).encode()


PAIR: dict[str, Any] = {
    "altname": "XBTUSD", "wsname": "XBT/USD", "aclass_base": "currency", "base": "XXBT", "aclass_quote": "currency",
    "quote": "ZUSD", "lot": "unit", "cost_decimals": 5, "pair_decimals": 1, "lot_decimals": 8, "lot_multiplier": 1,
    "leverage_buy": [2, 3], "leverage_sell": [2, 3], "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]],
    "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40, "ordermin": "0.00005", "costmin": "0.5",
    "tick_size": "0.1", "status": "online", "long_position_limit": 80, "short_position_limit": 80,
}  # fmt: skip


def test_a_pair_is_an_instrument_under_the_name_that_websocket_v2_knows() -> None:
    [instrument] = KRAKEN.instruments().read(body({"XXBTZUSD": PAIR}))
    assert instrument == Instrument(
        symbol="BTC/USD",
        native="BTC/USD",
        base="BTC",
        quote="USD",
        tick=Decimal("0.1"),
        lot=Decimal("0.00000001"),
        min_qty=Decimal("0.00005"),
        min_notional=Decimal("0.5"),
        status="trading",
    )


@pytest.mark.parametrize(
    ("wsname", "native", "asked"),
    [
        ("XBT/USD", "BTC/USD", "XBTUSD"),
        ("XDG/EUR", "DOGE/EUR", "XDGEUR"),
        ("XDG/XBT", "DOGE/BTC", "XDGXBT"),
        ("ETH/XBT", "ETH/BTC", "ETHXBT"),
        ("WBTC/XBT", "WBTC/BTC", "WBTCXBT"),
        ("AAPLx/USD", "AAPLx/USD", "AAPLxUSD"),
    ],
)
def test_bitcoin_and_dogecoin_bear_their_common_names_and_are_asked_for_by_the_old_ones(
    wsname: str, native: str, asked: str
) -> None:
    [instrument] = KRAKEN.instruments().read(body({"whatever": PAIR | {"wsname": wsname}}))
    assert (instrument.symbol, instrument.native) == (native, native)
    assert dict(KRAKEN.quote(instrument.native).params) == {"pair": asked}


def test_a_pair_that_takes_no_orders_now_keeps_its_status_and_one_without_a_stream_is_left_out() -> None:
    answer = body({"A": PAIR | {"status": "cancel_only"}, "B": {k: v for k, v in PAIR.items() if k != "wsname"}})
    assert [i.status for i in KRAKEN.instruments().read(answer)] == ["cancel_only"]


@pytest.mark.parametrize(
    "change", [{"tick_size": "nan"}, {"lot_decimals": -1}, {"wsname": "XBTUSD"}, {"ordermin": "1e5"}, {"status": None}]
)
def test_a_pair_with_rules_that_are_none_is_a_bad_answer(change: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer, match="AssetPairs"):
        KRAKEN.instruments().read(body({"XXBTZUSD": PAIR | change}))


def test_the_clock_is_told_in_whole_seconds() -> None:
    answer = body({"unixtime": 1762820224, "rfc1123": "Tue, 11 Nov 25 00:17:04 +0000"})
    assert KRAKEN.time().read(answer) == 1762820224_000_000


# ---- candles

MINUTE = 60_000_000
T0 = 1762777020_000_000
ROWS = [
    [1762777020, "106038.2", "106044.3", "106030.0", "106040.1", "106039.6", "0.08317981", 3],
    [1762777080, "106040.1", "106040.1", "106040.1", "106040.1", "0.0", "0.00000000", 0],
    [1762777140, "106040.0", "106050.5", "106040.0", "106050.5", "106045.0", "2.00000000", 4],
    [1762777200, "106050.5", "106050.5", "106050.5", "106050.5", "106050.5", "0.10000000", 1],
]
OHLC = body({"XXBTZUSD": ROWS, "last": 1762777140})


def opens(start: int | None, end: int | None, limit: int, answer: bytes = OHLC) -> list[int]:
    columns = KRAKEN.candles("BTC/USD", "1m", start, end, limit).read(answer)
    return [int(time - T0) // MINUTE for time in columns["time"]]


def test_ohlc_rows_become_columns_with_the_quote_volume_that_the_average_price_tells() -> None:
    columns = KRAKEN.candles("BTC/USD", "1m", None, None, 720).read(OHLC)
    assert columns["time"].tolist() == [T0 + n * MINUTE for n in range(4)]
    assert columns["high"].tolist() == [106044.3, 106040.1, 106050.5, 106050.5]
    assert columns["volume"].tolist() == [0.08317981, 0.0, 2.0, 0.1]
    assert columns["quote_volume"].tolist() == [106039.6 * 0.08317981, 0.0, 212090.0, 106050.5 * 0.1]
    assert columns["trades"].tolist() == [3, 0, 4, 1]
    kinds = {name: column.dtype for name, column in columns.items()}
    assert kinds.pop("time") == kinds.pop("trades") == np.int64
    assert set(kinds) == {"open", "high", "low", "close", "volume", "quote_volume"}
    assert set(kinds.values()) == {np.dtype(np.float64)}


@pytest.mark.parametrize(
    ("start", "end", "limit", "wanted"),
    [
        (None, None, 720, [0, 1, 2, 3]),
        (None, None, 2, [2, 3]),
        (None, T0 + 2 * MINUTE, 720, [0, 1]),
        (None, T0 + 2 * MINUTE + 1, 1, [2]),
        (T0 + MINUTE, None, 720, [1, 2, 3]),
        (T0 + 1, None, 2, [1, 2]),
        (T0 + MINUTE, T0 + 2 * MINUTE, 720, [1]),
        (T0 + 9 * MINUTE, None, 720, []),
    ],
)
def test_the_reader_keeps_what_was_asked_for_because_kraken_always_answers_with_the_newest(
    start: int | None, end: int | None, limit: int, wanted: list[int]
) -> None:
    assert opens(start, end, limit) == wanted


def test_no_candles_are_empty_columns() -> None:
    columns = KRAKEN.candles("BTC/USD", "1m", None, None, 9).read(body({"X": [], "last": 0}))
    assert {name: (len(column), column.dtype.name) for name, column in columns.items()} == {
        "time": (0, "int64"), "open": (0, "float64"), "high": (0, "float64"), "low": (0, "float64"),
        "close": (0, "float64"), "volume": (0, "float64"), "quote_volume": (0, "float64"), "trades": (0, "int64"),
    }  # fmt: skip


def test_candles_out_of_order_or_twice_are_a_bad_answer() -> None:
    for rows in (ROWS[::-1], [ROWS[0], *ROWS]):
        with pytest.raises(BadAnswer, match="order of time"):
            opens(None, None, 720, body({"X": rows, "last": 0}))


# ---- trades

PRINTS = [
    ["30243.40000", "0.34507674", 1688669597.8277369, "b", "m", "", 61044952],
    ["30243.30000", "0.00376960", 1688669598.2804112, "s", "l", "", 61044953],
    ["30243.30000", "0.01235716", 1688669602.698379, "s", "m", "", 61044954],
    ["30244.00000", "1.00000000", 1688669603, "b", "l", "", 61044955],
]
TRADES = body({"XXBTZUSD": PRINTS, "last": "1688671969993150842"})
FIRST = 61044952


def ids(trades: list[Trade]) -> list[int]:
    return [trade.id - FIRST for trade in trades]


def test_prints_tell_the_takers_side_and_their_time_cut_to_the_microsecond() -> None:
    trades = KRAKEN.trades("BTC/USD").read(TRADES)
    assert trades[0] == Trade("BTC/USD", 61044952, 30243.4, 0.34507674, 1688669597_827_736, Side.BUY)
    assert [trade.side for trade in trades] == [Side.BUY, Side.SELL, Side.SELL, Side.BUY]
    assert [trade.time for trade in trades[1:]] == [1688669598_280_411, 1688669602_698_379, 1688669603_000_000]


def test_the_oldest_print_comes_first_in_whatever_order_they_are_told() -> None:
    shuffled = body({"XXBTZUSD": PRINTS[::-1], "last": "0"})
    assert ids(KRAKEN.trades("BTC/USD").read(shuffled)) == [0, 1, 2, 3]


def test_prints_of_a_range_are_those_in_it() -> None:
    start, end = 1688669598_280_411, 1688669602_698_379
    assert ids(KRAKEN.trades_between("BTC/USD", start, end).read(TRADES)) == [1]
    assert ids(KRAKEN.trades_between("BTC/USD", start, end + 1).read(TRADES)) == [1, 2]


def test_the_last_print_is_the_newest_and_none_where_there_was_no_trade() -> None:
    call = KRAKEN.last_trade("BTC/USD")
    last = call.read(TRADES)
    assert last is not None
    assert last.id == FIRST + 3
    assert call.read(body({"XXBTZUSD": [], "last": "0"})) is None


@pytest.mark.parametrize("time", ["x", -1.5, 1e300, None, True, [], {}, "1688669597.8.1"])
def test_a_print_without_a_time_is_a_bad_answer(time: Any) -> None:
    rows = body({"XXBTZUSD": [["1", "1", time, "b", "m", "", 1]], "last": "0"})
    with pytest.raises(BadAnswer, match="Trades"):
        KRAKEN.trades("BTC/USD").read(rows)


# ---- book, quote


def test_depth_is_a_snapshot_that_counts_no_updates() -> None:
    depth = {"asks": [["30384.10000", "2.059", 1688671659]], "bids": [["30297.00000", "1.115", 1688671636]]}
    snapshot = KRAKEN.book("BTC/USD", 100).read(body({"XXBTZUSD": depth}))
    assert snapshot == BookSnapshot("BTC/USD", 0, [(30297.0, 1.115)], [(30384.1, 2.059)])


def test_ticker_is_a_quote_without_a_time() -> None:
    ticker = {
        "a": ["30300.10000", "1", "1.250"], "b": ["30300.00000", "2", "2.500"], "c": ["30303.20000", "0.00067643"],
        "v": ["1.0", "2.0"], "p": ["1.0", "2.0"], "t": [23329, 80463], "l": ["1.0", "2.0"], "h": ["1.0", "2.0"],
        "o": "30502.80000",
    }  # fmt: skip
    quote = KRAKEN.quote("BTC/USD").read(body({"XXBTZUSD": ticker}))
    assert quote == Quote("BTC/USD", 30300.0, 2.5, 30300.1, 1.25)


# ---- what is not what was promised

READERS: list[Callable[[bytes], Any]] = [
    KRAKEN.instruments().read,
    KRAKEN.time().read,
    KRAKEN.candles("BTC/USD", "1m", None, None, 9).read,
    KRAKEN.trades("BTC/USD").read,
    KRAKEN.trades_between("BTC/USD", 0, 9).read,
    KRAKEN.last_trade("BTC/USD").read,
    KRAKEN.book("BTC/USD", 9).read,
    KRAKEN.quote("BTC/USD").read,
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "answer",
    [
        b"", b"[]", b"{}", b"null", b"<html>", b"\xff", b"[" * 100_000, b'{"error":["EService:Busy"]}', b'{"error":[]',
        b'{"result":{"X":[]}}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_answer_is_a_bad_answer(read: Callable[[bytes], Any], answer: bytes) -> None:
    with pytest.raises(BadAnswer, match="Kraken"):
        read(answer)


@pytest.mark.parametrize("read", READERS[3:])
def test_an_answer_about_two_pairs_or_none_is_a_bad_answer(read: Callable[[bytes], Any]) -> None:
    results: list[dict[str, Any]] = [{}, {"last": 1}, {"A": [], "B": []}]
    for result in results:
        with pytest.raises(BadAnswer, match="one pair was asked for"):
            read(body(result))


SHAPED = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.integers()
    | st.sampled_from(["1.0", "b", "m", "", "x"]),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.sampled_from(["a", "b", "bids", "asks"]), inner),
    max_leaves=12,
)


@given(result=SHAPED | st.dictionaries(st.sampled_from(["XXBTZUSD", "last"]), SHAPED), raw=st.binary(max_size=40))
def test_garbage_raises_bad_answer_and_nothing_else(result: Any, raw: bytes) -> None:
    for read in READERS:
        for answer in (body(result), raw):
            try:
                read(answer)
            except BadAnswer as error:
                assert len(str(error)) < 500  # noqa: PT017 - either end is fine; this is about the second


# ---- digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.00000000", "0.00000000"), ("1877.30", "1877.30"), (50000, "50000"), (0, "0"), ("1e-08", "0.00000001"),
        ("1.50E-7", "0.000000150"), ("1.5e3", "1500"), ("0e-8", "0.00000000"),
    ],
)  # fmt: skip
def test_digits_are_the_venues_own_and_an_exponent_is_spelled_out(value: Any, text: str) -> None:
    assert digits(value) == text


@pytest.mark.parametrize(
    "value",
    [
        "1e999999999", "1e-999999999", "1e99999999999999999999", 10**60, "-1.0", "-0.0", -1, "nan", "Infinity",
        "", True, None, [], {}, 1.5,
    ],
)  # fmt: skip
def test_digits_of_what_is_no_plain_number_are_an_error_and_never_a_gigabyte(value: Any) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        digits(value)


@given(whole=st.integers(0, 10**15), places=st.integers(0, 12))
def test_digits_keep_every_zero(whole: int, places: int) -> None:
    text = f"{whole / 10**places:.{places}f}"
    assert digits(text) == text
