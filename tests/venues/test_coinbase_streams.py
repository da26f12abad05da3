"""Coinbase's streams: every frame is its number and its events, a bad answer, or nothing the kit needs."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadAnswer, UsageError
from kit.model import BookDelta, BookSnapshot, Candle, Channel, Quote, Side, Trade, Written
from kit.venues.base import Ack, Numbered, Subscription
from kit.venues.coinbase import COINBASE

SAID = "2026-09-27T15:50:02.999999999Z"
SAID_US = 1_790_524_202_999_999
DONE = "2026-09-27T15:50:01.5Z"
DONE_US = 1_790_524_201_500_000


def frame(channel: str, *events: dict[str, Any], number: int = 7) -> dict[str, Any]:
    return {"channel": channel, "timestamp": SAID, "sequence_num": number, "events": list(events)}


def said(frame: object) -> str:
    return json.dumps(frame, separators=(",", ":"))


def a_trade(ident: int, side: str, **changes: str) -> dict[str, str]:
    told = {"product_id": "BTC-USD", "trade_id": str(ident), "price": "65083.67", "size": "0.002", "time": DONE}
    return {**told, "side": side, **changes}


def a_level(side: str, price: str, qty: str, time: str = DONE) -> dict[str, str]:
    return {"side": side, "event_time": time, "price_level": price, "new_quantity": qty}


TICKER = {
    "type": "ticker", "product_id": "BTC-USD", "price": "65086.18", "volume_24_h": "2867.5", "best_bid": "65083.66",
    "best_ask": "65083.67", "best_bid_quantity": "0.2", "best_ask_quantity": "0.3",
}  # fmt: skip
BAR = {
    "start": "1790524200", "high": "4", "low": "1", "open": "2", "close": "3", "volume": "5", "product_id": "BTC-USD",
}  # fmt: skip
TRADES = frame("market_trades", {"type": "update", "trades": [a_trade(12, "SELL"), a_trade(11, "BUY")]})
QUOTES = frame("ticker", {"type": "update", "tickers": [TICKER]})
CANDLES = frame("candles", {"type": "snapshot", "candles": [BAR | {"start": "1790524500"}, BAR]})
LEVELS = [
    a_level("bid", "10.50", "1.0"),
    a_level("offer", "10.60", "0.30"),
    a_level("bid", "10.40", "0"),
]
SNAPSHOT = frame("l2_data", {"type": "snapshot", "product_id": "BTC-USD", "updates": LEVELS})
DELTA = frame("l2_data", {"type": "update", "product_id": "BTC-USD", "updates": LEVELS})
SUBSCRIPTIONS = frame("subscriptions", {"subscriptions": {"ticker": ["BTC-USD"]}})
SOUND = [TRADES, QUOTES, CANDLES, SNAPSHOT, DELTA, SUBSCRIPTIONS]


# ---- what frames say


def test_trades_come_newest_first_and_told_by_their_maker_and_leave_the_other_way_round() -> None:
    assert COINBASE.decode(said(TRADES)) == (
        Numbered(7),
        Trade("BTC-USD", 11, 65083.67, 0.002, DONE_US, Side.SELL),
        Trade("BTC-USD", 12, 65083.67, 0.002, DONE_US, Side.BUY),
    )


def test_a_ticker_is_a_quote_as_of_its_frame() -> None:
    quote = Quote("BTC-USD", 65083.66, 0.2, 65083.67, 0.3, time=SAID_US)
    assert COINBASE.decode(said(QUOTES)) == (Numbered(7), quote)


@pytest.mark.parametrize("change", [{"best_bid": ""}, {"best_ask": "0"}, {"best_ask": "", "best_ask_quantity": ""}])
def test_a_ticker_with_an_empty_side_is_no_quote(change: dict[str, str]) -> None:
    assert COINBASE.decode(said(frame("ticker", {"tickers": [TICKER | change]}))) == (Numbered(7),)


def test_a_bar_of_five_minutes_is_never_called_closed_nor_given_trades_it_was_not_told() -> None:
    number, first, second = COINBASE.decode(said(CANDLES))
    assert number == Numbered(7)
    assert isinstance(first, Candle)
    assert isinstance(second, Candle)
    assert (first.symbol, first.interval, first.time, first.event_time) == (
        "BTC-USD",
        "5m",
        1_790_524_200_000_000,
        SAID_US,
    )
    assert (first.open, first.high, first.low, first.close, first.volume) == (2, 4, 1, 3, 5)
    assert (first.closed, first.trades, second.time) == (False, 0, 1_790_524_500_000_000)
    assert isnan(first.quote_volume)


def test_a_snapshot_is_a_book_with_its_best_prices_first() -> None:
    shuffled = [*LEVELS, a_level("bid", "10.55", "2"), a_level("offer", "10.58", "3")]
    text = said(frame("l2_data", {"type": "snapshot", "product_id": "BTC-USD", "updates": shuffled}))
    bids, asks = [(10.55, 2.0), (10.5, 1.0), (10.4, 0.0)], [(10.58, 3.0), (10.6, 0.3)]
    assert COINBASE.decode(text) == (Numbered(7), BookSnapshot("BTC-USD", 0, bids, asks, DONE_US))


def test_an_update_is_a_delta_that_removes_with_zero() -> None:
    delta = BookDelta("BTC-USD", 0, 0, [(10.5, 1.0), (10.4, 0.0)], [(10.6, 0.3)], DONE_US)
    assert COINBASE.decode(said(DELTA)) == (Numbered(7), delta)


def test_a_book_event_without_changes_has_the_time_of_its_frame() -> None:
    text = said(frame("l2_data", {"type": "update", "product_id": "BTC-USD", "updates": []}))
    assert COINBASE.decode(text) == (Numbered(7), BookDelta("BTC-USD", 0, 0, [], [], SAID_US))


def test_several_events_of_one_frame_stay_in_order() -> None:
    eth = {"type": "update", "product_id": "ETH-USD", "updates": LEVELS}
    text = said(frame("l2_data", SNAPSHOT["events"][0], eth))
    number, snapshot, delta = COINBASE.decode(text)
    assert number == Numbered(7)
    assert isinstance(snapshot, BookSnapshot)
    assert isinstance(delta, BookDelta)
    assert (snapshot.symbol, delta.symbol) == ("BTC-USD", "ETH-USD")


def test_written_levels_keep_the_venues_zeros_and_are_equal_otherwise() -> None:
    for text in (said(SNAPSHOT), said(DELTA)):
        plain, written = COINBASE.decode(text), COINBASE.decode_written(text)
        assert written == plain
        _, book = written
        assert isinstance(book, BookSnapshot | BookDelta)
        assert all(isinstance(level, Written) for level in (*book.bids, *book.asks))
        assert [(level.price, level.qty) for level in book.bids if isinstance(level, Written)] == [
            ("10.50", "1.0"),
            ("10.40", "0"),
        ]
    for sound in (TRADES, QUOTES, SUBSCRIPTIONS):
        assert COINBASE.decode_written(said(sound)) == COINBASE.decode(said(sound))


# ---- answers to what we said


def test_an_ack_lists_all_that_is_subscribed_by_our_names() -> None:
    told = {
        "candles": ["ETH-USD"], "heartbeats": ["heartbeats"], "level2": ["BTC-USD", "ETH-USD"],
        "market_trades": ["BTC-USD"], "status": [], "ticker": ["BTC-USD"],
    }  # fmt: skip
    active = frozenset(
        {
            (Channel.CANDLE, "ETH-USD"),
            (Channel.BOOK, "BTC-USD"),
            (Channel.BOOK, "ETH-USD"),
            (Channel.TRADE, "BTC-USD"),
            (Channel.QUOTE, "BTC-USD"),
        }
    )
    assert COINBASE.decode(said(frame("subscriptions", {"subscriptions": told}))) == (
        Numbered(7),
        Ack(None, active=active),
    )


def test_an_ack_of_nothing_says_that_nothing_is_subscribed() -> None:
    text = said(frame("subscriptions", {"subscriptions": {}}))
    assert COINBASE.decode(text) == (Numbered(7), Ack(None, active=frozenset()))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"type":"error","message":"authentication failure"}', "authentication failure"),
        (
            '{"type":"error","message":"Failed to subscribe","reason":"X-USD is no product"}',
            "Failed to subscribe X-USD",
        ),
        ('{"type":"error"}', "an error without words"),
    ],
)
def test_an_error_is_an_ack_that_says_no(text: str, error: str) -> None:
    (ack,) = COINBASE.decode(text)
    assert isinstance(ack, Ack)
    assert ack.error.startswith(error)
    assert ack.active is None


@pytest.mark.parametrize(
    "channel", ["heartbeats", "status", "ticker_batch", "user", "futures_balance_summary", "of_next_year"]
)
def test_a_frame_the_kit_has_no_use_for_still_counts(channel: str) -> None:
    beat = frame(channel, {"current_time": "2026-08-09 21:05:48.85 +0000 UTC m=+41691.2", "heartbeat_counter": 41691})
    assert COINBASE.decode(said(beat)) == (Numbered(7),)


@pytest.mark.parametrize("text", ["{}", '{"type":"of_next_year"}', '{"channel":"x"}'])
def test_a_message_without_a_number_is_nothing(text: str) -> None:
    assert COINBASE.decode(text) == ()


@pytest.mark.parametrize("sound", SOUND)
def test_a_frame_reads_the_same_however_its_json_is_laid_out(sound: dict[str, Any]) -> None:
    usual = COINBASE.decode(said(sound))
    upside_down = dict(reversed(sound.items()))
    for text in (said(upside_down), json.dumps(sound, indent=1) + "\n", said(sound | {"client_id": ""})):
        for form in (text, text.encode()):
            assert repr(COINBASE.decode(form)) == repr(usual)  # a bar's nan is not equal to itself


# ---- what we say


def test_a_subscription_is_one_channel_for_many_products() -> None:
    names = {Channel.TRADE: "market_trades", Channel.QUOTE: "ticker", Channel.BOOK: "level2"}
    for channel, name in names.items():
        wanted = [Subscription(channel, "BTC-USD"), Subscription(channel, "ETH-USD")]
        told = {"product_ids": ["BTC-USD", "ETH-USD"], "channel": name}
        assert json.loads(COINBASE.subscribe(wanted, 1)) == {"type": "subscribe", **told}
        assert json.loads(COINBASE.unsubscribe(wanted, 2)) == {"type": "unsubscribe", **told}


def test_bars_are_never_asked_for() -> None:
    with pytest.raises(UsageError, match="folded from its trades"):
        COINBASE.subscribe([Subscription(Channel.CANDLE, "BTC-USD", "5m")], 1)


def test_every_connection_begins_with_heartbeats() -> None:
    [greeting] = COINBASE.streaming.greeting
    assert json.loads(greeting) == {"type": "subscribe", "channel": "heartbeats"}


# ---- rubbish


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "<html>",
        "[" * 100_000,
        '{"channel":"l2_data"',
        '{"channel":"l2_data"}',
        '{"channel":"heartbeats","sequence_num":-1}',
        said(TRADES | {"timestamp": SAID, "events": [{"trades": [a_trade(1, "HOLD")]}]}),
        said(TRADES | {"events": [{"trades": [a_trade(1, "BUY", price="nan")]}]}),
        said(TRADES | {"events": [{"trades": [a_trade(1, "BUY", time="now")]}]}),
        said(TRADES | {"sequence_num": None}),
        said(QUOTES | {"timestamp": "now"}),
        said(QUOTES | {"events": [{"tickers": [TICKER | {"best_bid": "-1"}]}]}),
        said(QUOTES | {"events": [{"tickers": [TICKER | {"best_bid": "nan"}]}]}),
        said(QUOTES | {"events": [{"tickers": [TICKER | {"best_bid": "much"}]}]}),
        said(DELTA | {"events": [{"type": "update", "product_id": "X", "updates": [a_level("ask", "1", "1")]}]}),
        said(DELTA | {"events": [{"type": "update", "product_id": "X", "updates": [a_level("bid", "inf", "1")]}]}),
        said(DELTA | {"events": [{"type": "update", "product_id": "X", "updates": [a_level("bid", "1", "-1")]}]}),
        said(DELTA | {"events": [{"type": "replace", "product_id": "X", "updates": []}]}),
        b"\xff\xfe",
        b'{"channel":"\xff","sequence_num":1}',
        "\ud800",
    ],
)
def test_a_frame_that_breaks_its_promise_is_a_bad_answer(text: str | bytes) -> None:
    for decode in (COINBASE.decode, COINBASE.decode_written):
        with pytest.raises(BadAnswer, match="Coinbase's stream frame can't be read"):
            decode(text)


@pytest.mark.parametrize("number", ["1_0", " 1", "1 ", "1\n", "infinity", "0x1", "\u0661", "1.", ".5", "1e", "+1"])
def test_a_level_is_written_as_a_plain_number_or_refused(number: str) -> None:
    with pytest.raises(BadAnswer):
        COINBASE.decode_written(
            said(DELTA | {"events": [{"type": "update", "product_id": "X", "updates": [a_level("bid", number, "1")]}]})
        )


NAMES = ["market_trades", "ticker", "candles", "l2_data", "subscriptions", "heartbeats"]


@given(
    st.text(max_size=40)
    | st.binary(max_size=40)
    | st.builds(
        lambda name, rest: f'{{"channel":"{name}",{rest}}}',
        st.sampled_from(NAMES),
        st.text(alphabet='{}[]":,0123456789sequence_numtimestaprds.', max_size=60),
    )
)
def test_garbage_frames_raise_bad_answer_and_nothing_else(text: str | bytes) -> None:
    for decode in (COINBASE.decode, COINBASE.decode_written):
        try:
            decode(text)
        except BadAnswer as error:
            assert len(str(error)) < 600  # noqa: PT017 - either end is fine; this is about the second


@given(st.sampled_from(SOUND), st.data())
def test_a_frame_with_a_few_characters_changed_is_read_or_refused(sound: dict[str, Any], data: st.DataObject) -> None:
    text = said(sound)
    at = data.draw(st.integers(0, len(text) - 1))
    spoilt = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    for decode in (COINBASE.decode, COINBASE.decode_written):
        try:
            events = decode(spoilt)
        except BadAnswer:
            continue
        assert all(
            isinstance(event, Ack | Numbered | Trade | Quote | Candle | BookSnapshot | BookDelta) for event in events
        )
