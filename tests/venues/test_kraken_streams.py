"""WebSocket v2: every frame is events, a bad answer, or nothing the kit needs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadAnswer, UnknownName
from kit.model import BookDelta, BookSnapshot, Candle, Channel, Quote, Side, Trade, Written
from kit.venues.base import Ack, Event, Subscription
from kit.venues.kraken import KRAKEN

TRADE: dict[str, Any] = {
    "symbol": "ETH/USD", "side": "sell", "price": 1877.31, "qty": 0.40000000, "ord_type": "market", "trade_id": 4665906,
    "timestamp": "2026-08-02T04:23:43.708706Z",
}  # fmt: skip
BAR: dict[str, Any] = {
    "symbol": "ETH/USD", "open": 1877.0, "high": 1880.5, "low": 1876.0, "close": 1879.25, "trades": 8, "volume": 2.5,
    "vwap": 1878.0, "interval_begin": "2026-08-02T04:25:00.000000000Z", "interval": 5,
    "timestamp": "2026-08-02T04:30:00.000000Z",
}  # fmt: skip
TICKER: dict[str, Any] = {
    "symbol": "ETH/USD", "bid": 1877.3, "bid_qty": 1.5, "ask": 1877.31, "ask_qty": 0.25, "last": 1877.3, "volume": 9.0,
    "vwap": 1878.0, "low": 1876.0, "high": 1880.5, "change": -1.0, "change_pct": -0.05,
}  # fmt: skip
BOOK = (
    '{"symbol":"ETH/USD","bids":[{"price":1877.30,"qty":2.00000000},{"price":1877.00,"qty":0.00000000}],'
    '"asks":[{"price":1878,"qty":1e-08}],"checksum":3310070434,"timestamp":"2026-08-02T04:23:43.217117Z"}'
)
AT = 1785644623_000_000
"""2026-08-02T04:23:43Z"""


def frame(channel: str, kind: str, *data: dict[str, Any]) -> str:
    return json.dumps({"channel": channel, "type": kind, "data": data}, separators=(",", ":"))


def book_frame(kind: str, data: str = BOOK) -> str:
    return f'{{"channel":"book","type":"{kind}","data":[{data}]}}'


EVENTS: list[tuple[str, Event]] = [
    (frame("trade", "update", TRADE), Trade("ETH/USD", 4665906, 1877.31, 0.4, AT + 708_706, Side.SELL)),
    (
        frame("ohlc", "update", BAR),
        Candle("ETH/USD", "5m", AT + 77_000_000, 1877.0, 1880.5, 1876.0, 1879.25, 2.5, 4695.0, 8, closed=False),
    ),
    (
        frame("ohlc", "snapshot", BAR).replace('"data"', '"timestamp":"2026-08-02T04:26:30.524394Z","data"'),
        Candle(
            "ETH/USD", "5m", AT + 77_000_000, 1877.0, 1880.5, 1876.0, 1879.25, 2.5, 4695.0, 8, False, AT + 167_524_394
        ),
    ),
    (frame("ticker", "update", TICKER), Quote("ETH/USD", 1877.3, 1.5, 1877.31, 0.25)),
    (
        frame("ticker", "snapshot", TICKER | {"timestamp": "2026-08-02T04:23:43.5Z"}),
        Quote("ETH/USD", 1877.3, 1.5, 1877.31, 0.25, 0, AT + 500_000),
    ),
    (
        book_frame("update"),
        BookDelta("ETH/USD", 0, 0, [(1877.3, 2.0), (1877.0, 0.0)], [(1878.0, 1e-8)], AT + 217_117, 3310070434),
    ),
    (
        book_frame("snapshot"),
        BookSnapshot("ETH/USD", 0, [(1877.3, 2.0), (1877.0, 0.0)], [(1878.0, 1e-8)], AT + 217_117, 3310070434),
    ),
]


@pytest.mark.parametrize(("text", "event"), EVENTS)
def test_a_frame_reads_the_same_as_text_or_bytes_and_however_its_json_is_laid_out(text: str, event: Event) -> None:
    moved = re.sub(r'("channel":"\w+"),("type":"\w+")', r"\2, \1", text)
    assert moved != text
    for layout in (text, text.encode(), moved, f" {text}\n"):
        assert list(KRAKEN.decode(layout)) == [event]
        assert list(KRAKEN.decode_written(layout)) == [event]


def test_every_level_of_a_book_remembers_its_digits() -> None:
    for kind in ("snapshot", "update"):
        [event] = KRAKEN.decode(book_frame(kind))
        assert isinstance(event, BookSnapshot | BookDelta)
        levels = [level for level in event.bids + event.asks if isinstance(level, Written)]
        assert [(level.price, level.qty) for level in levels] == [
            ("1877.30", "2.00000000"),
            ("1877.00", "0.00000000"),
            ("1878", "0.00000001"),
        ]


def test_several_trades_in_a_frame_are_several_events_in_their_order() -> None:
    later = TRADE | {"trade_id": 4665907, "side": "buy"}
    events = KRAKEN.decode(frame("trade", "update", TRADE, later))
    assert [event.id for event in events if isinstance(event, Trade)] == [4665906, 4665907]


def test_the_trades_and_bars_of_a_snapshot_come_oldest_first_whatever_their_order() -> None:
    earlier = TRADE | {"trade_id": 4665905}
    trades = KRAKEN.decode(frame("trade", "snapshot", TRADE, earlier))
    assert [event.id for event in trades if isinstance(event, Trade)] == [4665905, 4665906]
    before = BAR | {"interval_begin": "2026-08-02T04:20:00Z"}
    bars = KRAKEN.decode(frame("ohlc", "snapshot", BAR, before))
    assert [event.time for event in bars if isinstance(event, Candle)] == [
        AT + 77_000_000 - 300_000_000,
        AT + 77_000_000,
    ]


def test_a_snapshots_levels_come_best_first_whatever_their_order() -> None:
    data = '{"symbol":"X/Y","bids":[{"price":1.0,"qty":1},{"price":9.0,"qty":1},{"price":10.0,"qty":1}],"checksum":1,'
    data += '"asks":[{"price":20.0,"qty":1},{"price":12.0,"qty":1},{"price":110.0,"qty":1}]}'
    [snapshot] = KRAKEN.decode(book_frame("snapshot", data))
    assert isinstance(snapshot, BookSnapshot)
    assert [price for price, _ in snapshot.bids] == [10.0, 9.0, 1.0]
    assert [price for price, _ in snapshot.asks] == [12.0, 20.0, 110.0]
    assert snapshot.time == 0


# ---- what answers a request

ACKS = [
    (
        '{"method":"subscribe","result":{"channel":"book","symbol":"ETH/USD"},"success":true,"time_in":"2026-08-02T04:23:42Z"}',
        Ack(None, native="ETH/USD"),
    ),
    (
        '{"method":"subscribe","req_id":7,"result":{"channel":"trade","symbol":"BTC/USD"},"success":true}',
        Ack(7, native="BTC/USD"),
    ),
    (
        '{"method":"unsubscribe","req_id":8,"result":{"channel":"trade","symbol":"BTC/USD"},"success":true}',
        Ack(8, native="BTC/USD"),
    ),
    (
        '{"error":"Currency pair not supported XDG/USD","method":"subscribe","req_id":9,"success":false}',
        Ack(9, "Currency pair not supported XDG/USD", "XDG/USD"),
    ),
    (
        '{"error":"Subscription depth not supported","method":"subscribe","success":false,"symbol":"BTC/USD"}',
        Ack(None, "Subscription depth not supported", "BTC/USD"),
    ),
    ('{"method":"subscribe","req_id":3,"success":false}', Ack(3, "no words")),
]


@pytest.mark.parametrize(("text", "ack"), ACKS)
def test_each_symbol_has_an_ack_of_its_own_and_a_refusal_names_it(text: str, ack: Ack) -> None:
    assert list(KRAKEN.decode(text)) == [ack]


@pytest.mark.parametrize(
    "text",
    [
        '{"channel":"heartbeat"}',
        '{"Error":"Exceeded msg rate"}',
        '{"channel":"status","type":"update","data":[{"system":"online","connection_id":15413894943188002760}]}',
        '{"method":"pong","req_id":42,"time_in":"2023-09-25T09:05:00.123456Z","time_out":"2023-09-25T09:05:00.123500Z"}',
        '{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[{"symbol":"BTC/USD","qty_increment":1e-08}]}}',
        '{"channel":"level3","type":"update","data":[{"symbol":"BTC/USD"}]}',
        '{"channel":"trade","type":"update","data":[]}',
        "{}",
    ],
)
def test_frames_without_market_data_are_nothing(text: str) -> None:
    assert not KRAKEN.decode(text)


def test_a_bar_of_an_interval_our_calendar_has_not_is_nothing() -> None:
    assert not KRAKEN.decode(frame("ohlc", "update", BAR | {"interval": 21600}))


# ---- what is malformed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "<html>",
        '{"channel":"heartbeat"',
        '{"channel":5}',
        '{"channel":"trade"}',
        '{"channel":"trade","type":"update","data":[{}]}',
        frame("trade", "replay", TRADE),
        frame("trade", "update", TRADE | {"side": "both"}),
        frame("trade", "update", TRADE | {"trade_id": -1}),
        frame("trade", "update", TRADE | {"price": -1}),
        frame("trade", "update", TRADE | {"timestamp": "2026-08-02T04:23:43.708706"}),
        frame("trade", "update", TRADE | {"timestamp": "yesterday"}),
        frame("ticker", "update", TICKER | {"bid": None}),
        frame("ohlc", "update", BAR | {"volume": "many"}),
        book_frame("update", BOOK.replace("1877.30", '"nan"')),
        book_frame("update", BOOK.replace("1877.30", "-1877.30")),
        book_frame("update", BOOK.replace("1877.30", "1e999999999")),
        book_frame("update", BOOK.replace("1877.30", "{}")),
        book_frame("update", BOOK.replace("3310070434", "4294967296")),
        book_frame("update", BOOK.replace('"checksum":3310070434,', "")),
        book_frame("gossip"),
        "[" * 100_000,
        b"\xff\xfe",
        b'{"channel":"trade","type":"update","data":[{"symbol":"\xff"}]}',
        "\ud800",
    ],
)
def test_a_frame_that_breaks_its_promise_is_a_bad_answer(text: str | bytes) -> None:
    with pytest.raises(BadAnswer, match="Kraken"):
        KRAKEN.decode(text)


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)


@given(
    text=st.text(max_size=40)
    | st.binary(max_size=40)
    | st.builds(
        lambda name, kind, row, key, value: frame(name, kind, row | {key: value}),
        st.sampled_from(["trade", "ohlc", "ticker", "book", "status", "x"]),
        st.sampled_from(["snapshot", "update", ""]),
        st.sampled_from([TRADE, BAR, TICKER, json.loads(BOOK), {}]),
        st.sampled_from([*TRADE, *BAR, *TICKER, *json.loads(BOOK)]),
        VALUES | st.lists(st.dictionaries(st.sampled_from(["price", "qty"]), VALUES), max_size=3),
    )
    | st.builds(
        lambda text, at, new: text[:at] + new + text[at + 1 :],
        st.sampled_from([text for text, _ in EVENTS] + [text for text, _ in ACKS]),
        st.integers(0, 300),
        st.text(alphabet='{}[]":,0123456789.eE-', max_size=3),
    )
)
def test_garbage_frames_raise_bad_answer_and_nothing_else(text: str | bytes) -> None:
    try:
        KRAKEN.decode(text)
    except BadAnswer as error:
        assert len(str(error)) < 500  # noqa: PT017 - either end is fine; this is about the second


# ---- what is asked


@pytest.mark.parametrize(
    ("channel", "interval", "params", "dropped"),
    [
        (Channel.TRADE, "", {"channel": "trade"}, {"channel": "trade"}),
        (
            Channel.QUOTE,
            "",
            {"channel": "ticker", "event_trigger": "bbo"},
            {"channel": "ticker", "event_trigger": "bbo"},
        ),
        (
            Channel.BOOK,
            "",
            {"channel": "book", "depth": KRAKEN.streaming.depth},
            {"channel": "book", "depth": KRAKEN.streaming.depth},
        ),
        (Channel.CANDLE, "4h", {"channel": "ohlc", "interval": 240}, {"channel": "ohlc", "interval": 240}),
    ],
)
def test_one_text_asks_for_one_channel_of_many_instruments_and_one_drops_it(
    channel: Channel, interval: str, params: dict[str, Any], dropped: dict[str, Any]
) -> None:
    wanted = [Subscription(channel, native, interval) for native in ("BTC/USD", "ETH/USD")]
    symbols = {"symbol": ["BTC/USD", "ETH/USD"]}
    assert json.loads(KRAKEN.subscribe(wanted, 7)) == {
        "method": "subscribe", "params": params | symbols | {"snapshot": True}, "req_id": 7,
    }  # fmt: skip
    assert json.loads(KRAKEN.unsubscribe(wanted, 8)) == {
        "method": "unsubscribe", "params": dropped | symbols, "req_id": 8,
    }  # fmt: skip


def test_a_candle_stream_of_an_unknown_interval_is_refused() -> None:
    with pytest.raises(UnknownName):
        KRAKEN.subscribe([Subscription(Channel.CANDLE, "BTC/USD", "1w")], 1)
