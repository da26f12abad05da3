"""What is particular to venues' tapes: numbers as written, answers by question or by shape, and names."""

from __future__ import annotations

import json

import pytest

from kit.errors import BadAnswer
from kit.model import BookDelta, BookSnapshot, Trade, Written
from kit.venues.taped import QUOTES, Taped, divide, named, recognised

DELTA = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 2, "b": [["1.50000000", "0.00000000"]], "a": []}
DEPTH = {"lastUpdateId": 7, "bids": [["1.50", "2.00"]] * 21, "asks": [["1.60", "3.0"]]}
TICKER = {
    "channel": "ticker",
    "type": "update",
    "data": [{"symbol": "BTC/USD", "bid": 1, "bid_qty": 1, "ask": 2, "ask_qty": 1}],
}
COINBASE = {
    "channel": "ticker",
    "timestamp": "2026-08-09T21:05:48Z",
    "sequence_num": 1,
    "events": [
        {
            "tickers": [
                {
                    "product_id": "BTC-USD",
                    "best_bid": "1",
                    "best_bid_quantity": "1",
                    "best_ask": "2",
                    "best_ask_quantity": "1",
                }
            ]
        }
    ],
}


def raw(told: object) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


def binance() -> Taped:
    taped = named("binance")
    assert taped is not None
    return taped


def texts(levels: list[tuple[float, float]]) -> list[tuple[str, str]]:
    return [(level.price, level.qty) for level in levels if isinstance(level, Written)]


@pytest.mark.parametrize(
    "frame", [DELTA, {"stream": "btcusdt@depth@100ms", "data": DELTA}, {"data": DELTA, "stream": "btcusdt@depth"}]
)
def test_a_change_of_binances_book_keeps_its_digits_however_it_is_wrapped(frame: dict[str, object]) -> None:
    (event,) = binance().decode(raw(frame))
    assert isinstance(event, BookDelta)
    assert texts(event.bids) == [("1.50000000", "0.00000000")]
    assert event.bids == [(1.5, 0.0)]


@pytest.mark.parametrize("level", [["1.5", 2.0], ["1.5", "NaN"], ["-1.5", "1"], ["1.5"]])
def test_a_level_that_is_not_two_texts_of_numbers_is_no_frame(level: list[object]) -> None:
    with pytest.raises(BadAnswer, match="Binance"):
        binance().decode(raw({**DELTA, "b": [level]}))


def test_a_book_by_rest_is_told_by_its_question_and_keeps_its_digits() -> None:
    book = binance().answer("https://there/api/v3/depth?symbol=btcusdt&limit=1000", raw(DEPTH))
    assert isinstance(book, BookSnapshot)
    assert (book.symbol, book.last_id) == ("BTCUSDT", 7)
    assert texts(book.asks) == [("1.60", "3.0")]


def test_without_a_question_a_book_is_nameless_and_a_short_one_none() -> None:
    book = binance().answer("", raw(DEPTH))
    assert isinstance(book, BookSnapshot)
    assert book.symbol == ""
    assert binance().answer("", raw({**DEPTH, "bids": DEPTH["bids"][:20]})) is None  # type: ignore[index]  # a list


@pytest.mark.parametrize("path", ["klines?symbol=BTCUSDT", "depth?limit=1000", "depth?symbol=BTCUSDT&limit=5", "time"])
def test_other_answers_are_of_no_use(path: str) -> None:
    assert binance().answer(f"https://there/api/v3/{path}", raw(DEPTH)) is None


def test_a_book_that_cannot_be_read_is_a_bad_answer() -> None:
    with pytest.raises(BadAnswer, match="depth"):
        binance().answer("https://there/api/v3/depth?symbol=BTCUSDT", b'{"lastUpdateId":1,"bids":')


def test_an_aggregate_ends_with_the_last_trade_it_sums_up() -> None:
    aggregate = raw({"e": "aggTrade", "s": "BTCUSDT", "a": 1, "p": "1", "q": "1", "f": 5, "l": 9, "T": 1, "m": True})
    (trade,) = binance().decode(aggregate)
    assert isinstance(trade, Trade)
    assert (trade.id, binance().last_id(aggregate, trade)) == (5, 9)


@pytest.mark.parametrize(
    ("frame", "venue"), [(DELTA, "binance"), (TICKER, "kraken"), (COINBASE, "coinbase"), ({"event": "heartbeat"}, None)]
)
def test_a_language_is_known_by_what_it_says_of_a_market(frame: dict[str, object], venue: str | None) -> None:
    taped = recognised([raw({"result": None, "id": 1}), b"rubbish", raw(frame)])
    assert (taped and taped.codec.name) == venue


def test_a_venue_of_binances_protocol_and_the_sandbox_speak_binance() -> None:
    assert [named(name) for name in ("BINANCE_US", "sandbox")] == [binance()] * 2
    assert named("binance_futures") is None


@pytest.mark.parametrize(
    ("native", "halves"),
    [
        ("BTCUSDT", ("BTC", "USDT")),
        ("BTCFDUSD", ("BTC", "FDUSD")),
        ("BTCUSD", ("BTC", "USD")),
        ("USDT", ("", "")),
        ("QQQ", ("", "")),
    ],
)
def test_a_native_name_is_divided_by_what_is_paid_with(native: str, halves: tuple[str, str]) -> None:
    assert divide(native) == halves
    assert "USDT" in QUOTES


@pytest.mark.parametrize(("venue", "native"), [("kraken", "BTC/USD"), ("coinbase", "BTC-USD"), ("binance", "BTCUSD")])
def test_names_are_spelled_as_ours(venue: str, native: str) -> None:
    taped = named(venue)
    assert taped is not None
    assert taped.symbol(native, {}) == "BTC/USD"


def test_krakens_ack_tells_how_deep_a_book_is() -> None:
    taped = named("kraken")
    assert taped is not None
    ack = {"method": "subscribe", "success": True, "result": {"channel": "book", "depth": 25, "symbol": "BTC/USD"}}
    assert taped.depth(raw(ack)) == ("BTC/USD", 25)
    assert taped.depth(raw({"method": "subscribe", "success": False, "error": "no"})) is None
    assert taped.depth(raw({**ack, "result": {"channel": "trade", "symbol": "BTC/USD"}})) is None
