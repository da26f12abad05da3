"""The order book on what real venues sent: Binance's own quotes, Kraken's checksums, Coinbase's 46,000 levels."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.market.book import Book, BookRule
from kit.model import BookDelta, BookSnapshot, Levels, Written

Find = Callable[[str], Path]
KRAKEN = {"kraken_v2_book_xrpusd.cbcap": 25, "kraken_v2_book_ethusd.cbcap": 25}
"""Recording -> the depth subscribed to."""


def floats(levels: list[list[str]]) -> Levels:
    return [(float(price), float(qty)) for price, qty in levels]


def test_binances_book_agrees_with_its_own_quotes(recording: Find) -> None:
    """Five minutes of BTCUSDT: after each diff the top equals the newest bookTicker whose update the book has."""
    book, applied, compared = Book("BTCUSDT"), 0, 0
    tickers: list[dict[str, str]] = []
    with gzip.open(recording("binance_spot_btcusdt_20240808.gz"), "rt") as lines:
        for line in lines:
            if not line.strip():
                continue
            message = json.loads(line.split(" ", 1)[1])
            data = message.get("data", message)
            if "lastUpdateId" in data:
                book.load(BookSnapshot("BTCUSDT", data["lastUpdateId"], floats(data["bids"]), floats(data["asks"])))
            elif data.get("e") == "depthUpdate":
                applied += book.apply(
                    BookDelta("BTCUSDT", data["U"], data["u"], floats(data["b"]), floats(data["a"]), data["E"] * 1000)
                )
                compared += agrees(book, tickers)
            elif "A" in data:
                tickers.append(data)
    assert applied > 3_000
    assert compared > 3_000
    assert book.epoch == 1


def agrees(book: Book, tickers: list[dict[str, str]]) -> bool:
    """Compare the top with the newest ticker that the book has reached; False when there is none."""
    if not book.synced:
        return False
    reached = next((ticker for ticker in reversed(tickers) if int(ticker["u"]) <= book.last_id), None)
    if reached is None:
        return False
    quote = book.best()
    told = (float(reached["b"]), float(reached["B"]), float(reached["a"]), float(reached["A"]))
    assert (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty) == told
    return True


def kraken(path: Path) -> Iterator[BookSnapshot | BookDelta]:
    """What the ``book`` channel said, each number as the text it was written in."""
    with path.open("rb") as tape:
        tape.readline()
        while header := tape.readline():
            frame = json.loads(tape.read(int(header.split()[1])), parse_float=str, parse_int=str)
            tape.readline()
            for data in frame["data"] if frame.get("channel") == "book" else ():
                bids, asks, told = written(data["bids"]), written(data["asks"]), int(data["checksum"])
                if frame["type"] == "snapshot":
                    yield BookSnapshot(data["symbol"], 0, bids, asks, 0, told)
                else:
                    yield BookDelta(data["symbol"], 0, 0, bids, asks, 0, told)


def written(levels: list[dict[str, str]]) -> Levels:
    return [Written.read(level["price"], level["qty"]) for level in levels]


def play(path: Path, book: Book) -> int:
    """How many messages went in."""
    messages = list(kraken(path))
    for message in messages:
        if isinstance(message, BookSnapshot):
            book.load(message)
        else:
            assert book.apply(message)
    return len(messages)


@pytest.mark.parametrize("name", KRAKEN)
def test_every_checksum_of_kraken_matches(recording: Find, name: str) -> None:
    book = Book(name, BookRule.CHECKSUM, KRAKEN[name])
    assert play(recording(name), book) == book.checksums_ok > 1_000
    assert book.checksums_failed == 0
    assert book.epoch == 1


@pytest.mark.parametrize("name", KRAKEN)
def test_the_levels_of_a_book_of_kraken_keep_their_text(recording: Find, name: str) -> None:
    """A price of the book is the venue's own digits, with the zeros that a float has lost."""
    book = Book(name, BookRule.CHECKSUM, KRAKEN[name])
    play(recording(name), book)
    levels = [level for level in book.bids(99) + book.asks(99) if isinstance(level, Written)]
    assert len(levels) == 2 * KRAKEN[name]
    assert all(level == (float(level.price), float(level.qty)) for level in levels)
    assert any(repr(level[1]) != level.qty for level in levels)


@pytest.mark.parametrize("name", KRAKEN)
def test_a_book_of_kraken_that_is_not_cut_keeps_levels_the_venue_no_longer_speaks_of(
    recording: Find, name: str
) -> None:
    """In these 40 s they don't reach the ten best, so the checksums still match: quiet minutes hide the missing cut."""
    book = Book(name, BookRule.CHECKSUM, depth=None)
    play(recording(name), book)
    assert len(book.bids(99)) > KRAKEN[name]
    assert len(book.asks(99)) > KRAKEN[name]


def coinbase(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Size and content of every frame that was received."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            record = json.loads(line)
            if record["t"] == "recv":
                yield len(record["data"]), json.loads(record["data"])


def side_of(event: dict[str, Any], side: str) -> Levels:
    updates = (update for update in event["updates"] if update["side"] == side)
    return [(float(update["price_level"]), float(update["new_quantity"])) for update in updates]


def test_coinbases_books_take_all_of_a_connection_without_a_gap(recording: Find) -> None:
    books = {name: Book(name, BookRule.CONNECTION) for name in ("BTC-USD", "ETH-USD")}
    plain: dict[tuple[str, str], dict[float, float]] = {}
    largest, unknown = 0, 0
    for number, (size, frame) in enumerate(coinbase(recording("coinbase_advanced_first300.jsonl.gz"))):
        assert frame["sequence_num"] == number
        for event in frame["events"] if frame["channel"] == "l2_data" else ():
            name, bids, asks = event["product_id"], side_of(event, "bid"), side_of(event, "offer")
            for side, levels in (("bid", bids), ("offer", asks)):
                known = plain.setdefault((name, side), {})
                unknown += sum(not qty and price not in known for price, qty in levels)
                known |= dict(levels)
                plain[name, side] = {price: qty for price, qty in known.items() if qty}
            if event["type"] == "snapshot":
                largest = max(largest, size)
                books[name].load(BookSnapshot(name, 0, bids, asks))
            else:
                assert books[name].apply(BookDelta(name, 0, 0, bids, asks, 0))
    assert largest > 5_000_000
    assert unknown > 0
    for name, book in books.items():
        assert book.bids(10**6) == sorted(plain[name, "bid"].items(), reverse=True)
        assert book.asks(10**6) == sorted(plain[name, "offer"].items())
    assert len(plain["BTC-USD", "bid"]) + len(plain["BTC-USD", "offer"]) > 45_000
