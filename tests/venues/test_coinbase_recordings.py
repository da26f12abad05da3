"""What Coinbase really sent, through the same codec: every frame reads, and the numbers agree with each other."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import pytest

from kit.model import BookDelta, BookSnapshot, Candle, Channel, Levels, Quote, Side, Trade, Written
from kit.venues.base import Ack, Event, Numbered
from kit.venues.coinbase import COINBASE

Find = Callable[[str], Path]
Sides = tuple[dict[float, float], dict[float, float]]


@pytest.fixture(scope="module")
def lines(recording: Find) -> list[dict[str, str]]:
    with gzip.open(recording("coinbase_advanced_first300.jsonl.gz"), "rt") as found:
        return [json.loads(line) for line in found]


@pytest.fixture(scope="module")
def frames(lines: list[dict[str, str]]) -> list[bytes]:
    return [line["data"].encode() for line in lines if line["t"] == "recv"]


@pytest.fixture(scope="module")
def events(frames: list[bytes]) -> list[Event]:
    """All events but the numbers, in order."""
    return [event for frame in frames for event in COINBASE.decode(frame)[1:]]


def test_every_frame_reads_as_what_it_is(frames: list[bytes], events: list[Event]) -> None:
    assert len(frames) == 300
    kinds = Counter(type(event) for event in events)
    assert kinds == {Trade: 224, BookDelta: 218, Candle: 201, Quote: 46, Ack: 5, BookSnapshot: 2}
    market = [event for event in events if not isinstance(event, Ack | Numbered)]
    assert {getattr(event, "symbol", "") for event in market} == {"BTC-USD", "ETH-USD"}


def test_the_numbers_of_a_connection_run_without_a_gap_over_all_channels(frames: list[bytes]) -> None:
    assert [COINBASE.decode(frame)[0] for frame in frames] == [Numbered(number) for number in range(300)]


def test_trade_ids_run_without_a_gap_across_snapshot_and_updates(events: list[Event]) -> None:
    for symbol in ("BTC-USD", "ETH-USD"):
        ids = [event.id for event in events if isinstance(event, Trade) and event.symbol == symbol]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert len(ids) > 100


def test_a_book_is_never_crossed_and_most_quotes_agree_with_it(events: list[Event]) -> None:
    books: dict[str, Sides] = {}
    agrees: Counter[bool] = Counter()
    for event in events:
        if isinstance(event, Quote) and event.symbol in books:
            agrees[best(books[event.symbol]) == (event.bid, event.ask)] += 1
        keep(books, event)
        for sides in books.values():
            bid, ask = best(sides)
            assert bid < ask
    assert (agrees[True], agrees[False]) == (37, 3)  # the ticker lags behind the book now and then


def test_takers_bought_at_the_ask_and_sold_at_the_bid(events: list[Event]) -> None:
    books: dict[str, Sides] = {}
    where: Counter[tuple[Side, str]] = Counter()
    for event in events:
        keep(books, event)
        if isinstance(event, Trade) and event.symbol in books:
            bid, ask = best(books[event.symbol])
            where[event.side, "ask" if event.price >= ask else "bid" if event.price <= bid else "between"] += 1
    assert where[Side.BUY, "ask"] == 13
    assert where[Side.SELL, "bid"] == 8
    assert where[Side.BUY, "bid"] == where[Side.SELL, "ask"] == 0


def keep(books: dict[str, Sides], event: Event) -> None:
    """Lay a book event on the books."""
    if isinstance(event, BookSnapshot):
        books[event.symbol] = (dict(event.bids), dict(event.asks))
    elif isinstance(event, BookDelta):
        for side, changes in zip(books[event.symbol], (event.bids, event.asks), strict=True):
            side.update(changes)
            for price in [price for price, qty in changes if not qty]:
                side.pop(price, None)


def best(sides: Sides) -> tuple[float, float]:
    return max(sides[0]), min(sides[1])


def test_a_snapshot_is_whole_before_its_ack(events: list[Event]) -> None:
    snapshots = {event.symbol: event for event in events if isinstance(event, BookSnapshot)}
    assert {symbol: (len(s.bids), len(s.asks)) for symbol, s in snapshots.items()} == {
        "BTC-USD": (18_764, 27_236),
        "ETH-USD": (6_935, 16_399),
    }
    btc = snapshots["BTC-USD"]
    assert (btc.last_id, btc.time, btc.bids[0]) == (0, 1_786_309_548_170_326, (65083.66, 0.20371215))
    so_far = events[: events.index(btc)]
    assert not any((Channel.BOOK, "BTC-USD") in (ack.active or ()) for ack in so_far if isinstance(ack, Ack))


def test_acks_list_more_and_more(events: list[Event]) -> None:
    lists = [event.active or frozenset() for event in events if isinstance(event, Ack)]
    assert all(before <= after for before, after in pairwise(lists))
    assert lists[-1] == {(channel, native) for channel in Channel for native in ("BTC-USD", "ETH-USD")}


def test_written_levels_are_those_of_the_wire_and_equal_otherwise(frames: list[bytes]) -> None:
    for frame in frames:
        plain, written = COINBASE.decode(frame), COINBASE.decode_written(frame)
        if not any(isinstance(event, BookSnapshot | BookDelta) for event in plain):
            continue
        assert written == plain
        wire = json.loads(frame)["events"][0]["updates"]
        told = sorted((change["side"], change["price_level"], change["new_quantity"]) for change in wire)
        assert told == sorted(texts(written))


def texts(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    """Side, price and quantity of all levels as they were written."""

    def of(side: str, levels: Levels) -> list[tuple[str, str, str]]:
        return [(side, level.price, level.qty) for level in levels if isinstance(level, Written)]

    books = [event for event in events if isinstance(event, BookSnapshot | BookDelta)]
    return [found for book in books for found in (*of("bid", book.bids), *of("offer", book.asks))]


def test_a_frame_of_five_megabytes_is_read_well_within_half_a_second(frames: list[bytes]) -> None:
    biggest = max(frames, key=len)
    assert len(biggest) > 5_000_000
    assert min(timed(biggest) for _ in range(3)) < 0.5


def timed(frame: bytes) -> float:
    began = perf_counter()
    COINBASE.decode(frame)
    return perf_counter() - began


def test_the_products_of_2026_are_instruments_under_the_names_of_their_books(lines: list[dict[str, str]]) -> None:
    [products] = [line["data"].encode() for line in lines if line["t"] == "http"]
    instruments = {instrument.native: instrument for instrument in COINBASE.instruments().read(products)}
    wire = {product["product_id"]: product for product in json.loads(products)["products"]}
    assert len(instruments) == 520
    assert instruments.keys() == {native for native, product in wire.items() if not product["alias"]}
    btc = instruments["BTC-USD"]
    assert (btc.symbol, f"{btc.tick:f}", f"{btc.lot:f}", f"{btc.max_qty:f}") == (
        "BTC/USD",
        "0.01",
        "0.00000001",
        "3400",
    )
    assert all(i.tick > 0 and i.lot > 0 and i.min_notional > 0 for i in instruments.values())
    assert Counter(i.status for i in instruments.values()) == {"trading": 495, "limit_only": 21, "delisted": 4}
