"""Market streams: every frame is an event, a bad answer, or nothing the kit needs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadAnswer, UnknownName
from kit.model import BookDelta, Candle, Channel, Quote, Side, Trade, Written
from kit.venues.base import Ack, Event, Goodbye, Subscription
from kit.venues.binance import BINANCE

TRADE = {
    "e": "trade", "E": 1672515782136, "s": "BNBBTC", "t": 12345, "p": "0.001", "q": "100", "T": 1672515782130,
    "m": True, "M": True,
}  # fmt: skip
AGGREGATE = {
    "e": "aggTrade", "E": 1672515782136, "s": "BNBBTC", "a": 99, "p": "0.001", "q": "100", "f": 100, "l": 105,
    "T": 1672515782130, "m": False, "M": True,
}  # fmt: skip
KLINE: dict[str, Any] = {
    "e": "kline", "E": 1672515782136, "s": "BNBBTC",
    "k": {
        "t": 1672515780000, "T": 1672515839999, "s": "BNBBTC", "i": "1m", "f": 100, "L": 200, "o": "0.0010",
        "c": "0.0020", "h": "0.0025", "l": "0.0005", "v": "1000", "n": 100, "x": True, "q": "1.0000", "V": "500",
        "Q": "0.500", "B": "123456",
    },
}  # fmt: skip
TICKER = {"u": 400900217, "s": "BNBUSDT", "b": "25.35190000", "B": "31.21", "a": "25.36520000", "A": "40.66"}
DEPTH = {
    "e": "depthUpdate", "E": 1672515782136, "s": "BNBBTC", "U": 157, "u": 160, "b": [["0.0024", "10"]],
    "a": [["0.0026", "0.00000000"]],
}  # fmt: skip
SHUTDOWN = {"e": "serverShutdown", "E": 1770123456789}

EVENTS: list[tuple[str, dict[str, Any], Event]] = [
    ("bnbbtc@trade", TRADE, Trade("BNBBTC", 12345, 0.001, 100.0, 1672515782130000, Side.SELL)),
    ("bnbbtc@aggTrade", AGGREGATE, Trade("BNBBTC", 100, 0.001, 100.0, 1672515782130000, Side.BUY)),
    (
        "bnbbtc@kline_1m",
        KLINE,
        Candle(
            symbol="BNBBTC",
            interval="1m",
            time=1672515780000000,
            open=0.001,
            high=0.0025,
            low=0.0005,
            close=0.002,
            volume=1000.0,
            quote_volume=1.0,
            trades=100,
            closed=True,
            event_time=1672515782136000,
            last_trade=200,
        ),
    ),
    ("bnbusdt@bookTicker", TICKER, Quote("BNBUSDT", 25.3519, 31.21, 25.3652, 40.66, 400900217)),
    (
        "bnbbtc@depth@100ms",
        DEPTH,
        BookDelta("BNBBTC", 157, 160, [(0.0024, 10.0)], [(0.0026, 0.0)], 1672515782136000),
    ),
    ("bnbbtc@depth", DEPTH, BookDelta("BNBBTC", 157, 160, [(0.0024, 10.0)], [(0.0026, 0.0)], 1672515782136000)),
    ("!serverShutdown", SHUTDOWN, Goodbye(1770123456789000)),
]


@pytest.mark.parametrize(("name", "data", "event"), EVENTS)
def test_an_event_reads_the_same_raw_combined_and_however_its_json_is_laid_out(
    name: str, data: dict[str, Any], event: Event
) -> None:
    compact = json.dumps({"stream": name, "data": data}, separators=(",", ":"))
    spaced = json.dumps({"data": data, "stream": name}, indent=1) + "\n"
    for text in (compact, compact + "\n", spaced, json.dumps(data), compact.encode()):
        assert BINANCE.decode(text) == (event,)


def test_on_request_the_levels_of_a_book_keep_the_digits_they_were_written_with() -> None:
    raw = json.dumps(DEPTH)
    for text in (raw, raw.encode(), json.dumps({"stream": "bnbbtc@depth@100ms", "data": DEPTH})):
        (delta,) = BINANCE.decode_written(text)
        assert isinstance(delta, BookDelta)
        assert BINANCE.decode(text) == (delta,)
        [bid], [ask] = delta.bids, delta.asks
        assert isinstance(bid, Written)
        assert isinstance(ask, Written)
        assert (bid.price, bid.qty, ask.price, ask.qty) == ("0.0024", "10", "0.0026", "0.00000000")
    for name, data, event in EVENTS:
        if not isinstance(event, BookDelta):
            assert BINANCE.decode_written(json.dumps({"stream": name, "data": data})) == (event,)
    with pytest.raises(BadAnswer):
        BINANCE.decode_written(json.dumps(DEPTH | {"b": [["nan", "1"]]}))


def test_a_stream_is_told_by_its_own_name_and_not_by_what_its_frame_says() -> None:
    other = json.dumps({"stream": "bnbbtc@trade", "data": DEPTH | {"s": "x@depth"}}, separators=(",", ":"))
    with pytest.raises(BadAnswer):
        BINANCE.decode(other)
    hidden = json.dumps({"data": TRADE | {"s": "x@bookTicker"}, "stream": "bnbbtc@trade"}, separators=(",", ":"))
    (trade,) = BINANCE.decode(hidden)
    assert isinstance(trade, Trade)


def test_a_forming_candle_is_not_closed() -> None:
    (candle,) = BINANCE.decode(json.dumps(KLINE | {"k": KLINE["k"] | {"x": False}}))
    assert isinstance(candle, Candle)
    assert not candle.closed


@pytest.mark.parametrize(
    ("text", "ack"),
    [
        ('{"result":null,"id":1}', Ack(1)),
        ('{"id":"a","result":["btcusdt@trade"]}', Ack("a")),
        ('{"error":{"code":2,"msg":"Invalid request: unknown variant"},"id":3}', Ack(3, "unknown variant (2)")),
        ('{"code":3,"msg":"Invalid JSON: expected value","id":null}', Ack(None, "expected value (3)")),
    ],
)
def test_an_answer_to_a_subscription_is_an_ack(text: str, ack: Ack) -> None:
    (got,) = BINANCE.decode(text)
    assert isinstance(got, Ack)
    assert got.id == ack.id
    assert got.error.endswith(ack.error)
    assert bool(got.error) == bool(ack.error)


@pytest.mark.parametrize(
    "text",
    [
        '{"stream":"ethusdt@depth20","data":{"lastUpdateId":1,"bids":[],"asks":[]}}',
        '{"lastUpdateId":1,"bids":[],"asks":[]}',
        '{"stream":"ethusdt@ticker","data":{"e":"24hrTicker","E":1,"s":"ETHUSDT","b":"1"}}',
        '{"stream":"!ticker@arr","data":[{"e":"24hrTicker"}]}',
        '{"stream":"btcusdt@kline_1d@+08:00","data":{}}',
        '{"e":"referencePrice","s":"BTCUSDT","r":"1.0","t":1}',
        "{}",
    ],
)
def test_events_the_kit_has_no_use_for_are_nothing(text: str) -> None:
    assert BINANCE.decode(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "<html>",
        '{"stream":"btcusdt@trade","data":{}}',
        '{"stream":"btcusdt@trade","data":[]}',
        '{"stream":"btcusdt@trade","data":{"e":"trade"',
        '{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"X","b":"nan","B":"1","a":"1","A":"1"}}',
        '{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"X","b":"-1","B":"1","a":"1","A":"1"}}',
        '{"e":"kline","E":1,"s":"X","k":{"t":1}}',
        "[" * 100_000,
        b"\xff\xfe",
        b'{"stream":"btcusdt@trade","data":"\xff"}',
    ],
)
def test_a_frame_that_breaks_its_promise_is_a_bad_answer(text: str | bytes) -> None:
    with pytest.raises(BadAnswer):
        BINANCE.decode(text)


@given(
    text=st.text(max_size=40)
    | st.binary(max_size=40)
    | st.builds(
        lambda name, data: f'{{"stream":"x@{name}","data":{data}}}',
        st.sampled_from(["trade", "bookTicker", "kline_1m", "depth@100ms", "x"]),
        st.text(alphabet='{}[]":,0123456789estpqTmuUbBaA.', max_size=40),
    )
)
def test_garbage_frames_raise_bad_answer_and_nothing_else(text: str | bytes) -> None:
    for decode in (BINANCE.decode, BINANCE.decode_written, BINANCE.decode_user):
        try:
            decode(text)
        except BadAnswer as error:
            assert len(str(error)) < 500  # noqa: PT017 - either end is fine; this is about the second


def test_subscriptions_are_one_text_of_lower_case_streams() -> None:
    wanted = [
        Subscription(Channel.TRADE, "BTCUSDT"),
        Subscription(Channel.QUOTE, "BTCUSDT"),
        Subscription(Channel.BOOK, "BTCUSDT"),
        Subscription(Channel.CANDLE, "BTCUSDT", "1M"),
    ]
    names = ["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms", "btcusdt@kline_1M"]
    assert json.loads(BINANCE.subscribe(wanted, 7)) == {"method": "SUBSCRIBE", "params": names, "id": 7}
    assert json.loads(BINANCE.unsubscribe(wanted, 8)) == {"method": "UNSUBSCRIBE", "params": names, "id": 8}


def test_a_candle_stream_of_an_unknown_interval_is_refused() -> None:
    with pytest.raises(UnknownName):
        BINANCE.subscribe([Subscription(Channel.CANDLE, "BTCUSDT", "7m")], 1)
