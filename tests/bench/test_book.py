"""The order book: what a level costs to take in, the best bid and ask read after each message, beside its peers.

All are fed the same messages, decoded before, in one run: five minutes of BTCUSDT as Binance sent them, Coinbase's
BTC-USD with its 46,000 levels, and made-up ones that need no recording. The peers are the C library order-book,
sortedcontainers and ccxt's own book, each used as its users do; the first two are installed for this only.
Ratios are of CPU time, the best of interleaved rounds, so that a busy machine slows all alike.
"""

from __future__ import annotations

import gc
import gzip
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

import pytest

from kit.market.book import Book, BookRule
from kit.model import BookDelta, BookSnapshot, Levels

pytestmark = pytest.mark.bench


class Contestant(Protocol):
    """A book filled from a snapshot."""

    def run(self, deltas: Sequence[BookDelta]) -> tuple[float, float]:
        """Take all of it in, read the best bid and ask price after each, and tell the last ones."""
        ...


class Ours:
    def __init__(self, snapshot: BookSnapshot) -> None:
        self.book = Book("X", BookRule.IDS if snapshot.last_id else BookRule.CONNECTION)
        self.book.load(snapshot)

    def run(self, deltas: Sequence[BookDelta]) -> tuple[float, float]:
        apply, best = self.book.apply, self.book.best
        for delta in deltas:
            apply(delta)
            quote = best()
        return quote.bid, quote.ask


class OrderBookLibrary:
    def __init__(self, snapshot: BookSnapshot) -> None:
        self.book = pytest.importorskip("order_book").OrderBook()
        self.book.bids, self.book.asks = dict(snapshot.bids), dict(snapshot.asks)

    def run(self, deltas: Sequence[BookDelta]) -> tuple[float, float]:
        bids, asks = self.book.bids, self.book.asks
        for delta in deltas:
            store(bids, delta.bids)
            store(asks, delta.asks)
            bid, ask = bids.index(0), asks.index(0)
        return bid[0], ask[0]


class SortedContainers:
    def __init__(self, snapshot: BookSnapshot) -> None:
        made = pytest.importorskip("sortedcontainers").SortedDict
        self.bids, self.asks = made(snapshot.bids), made(snapshot.asks)

    def run(self, deltas: Sequence[BookDelta]) -> tuple[float, float]:
        bids, asks = self.bids, self.asks
        for delta in deltas:
            store(bids, delta.bids)
            store(asks, delta.asks)
            bid, ask = bids.peekitem(-1), asks.peekitem(0)
        return bid[0], ask[0]


class Ccxt:
    def __init__(self, snapshot: BookSnapshot) -> None:
        made = pytest.importorskip("ccxt.async_support.base.ws.order_book").OrderBook
        self.book = made({"bids": snapshot.bids, "asks": snapshot.asks})

    def run(self, deltas: Sequence[BookDelta]) -> tuple[float, float]:
        bids, asks = self.book["bids"], self.book["asks"]
        for delta in deltas:
            for price, qty in delta.bids:
                bids.store(price, qty)
            for price, qty in delta.asks:
                asks.store(price, qty)
            bid, ask = bids[0], asks[0]
        return bid[0], ask[0]


def store(side: Any, levels: Levels) -> None:
    """As users of a sorted mapping do."""
    for price, qty in levels:
        if qty:
            side[price] = qty
        elif price in side:
            del side[price]


def compare(title: str, snapshot: BookSnapshot, deltas: Sequence[BookDelta], rounds: int) -> dict[str, float]:
    """Print a table; how our time relates to each peer's."""
    makers: dict[str, Callable[[BookSnapshot], Contestant]] = {
        "ours": Ours,
        "order-book": OrderBookLibrary,
        "sortedcontainers": SortedContainers,
        "ccxt": Ccxt,
    }
    took = dict.fromkeys(makers, float("inf"))
    for _ in range(rounds):
        tops = set()
        for name, make in makers.items():
            contestant = make(snapshot)
            began = time.process_time()
            tops.add(contestant.run(deltas))
            took[name] = min(took[name], time.process_time() - began)
        assert len(tops) == 1
    levels = sum(len(delta.bids) + len(delta.asks) for delta in deltas)
    print(f"\n{title}: {len(deltas)} messages, {levels} levels\n{'':18}ns a level  ours/theirs")
    for name, seconds in took.items():
        print(f"{name:18}{seconds / levels * 1e9:10.0f}{took['ours'] / seconds:13.3f}")
    return {name: took["ours"] / seconds for name, seconds in took.items()}


def test_a_book_costs_a_fraction_of_its_peers_on_binances_messages(recording: Callable[[str], Path]) -> None:
    ratios = compare("Binance BTCUSDT", *binance(recording("binance_spot_btcusdt_20240808.gz")), rounds=5)
    assert ratios["order-book"] <= 0.4
    assert max(ratios["sortedcontainers"], ratios["ccxt"]) <= 0.6


def test_a_book_costs_a_fraction_of_its_peers_on_coinbases_messages(recording: Callable[[str], Path]) -> None:
    """Few levels a message, in a book that no cache holds."""
    ratios = compare("Coinbase BTC-USD", *coinbase(recording("coinbase_advanced_first300.jsonl.gz")), rounds=20)
    assert max(ratios["order-book"], ratios["ccxt"]) <= 0.4
    assert ratios["sortedcontainers"] <= 0.8


@pytest.mark.parametrize("levels", [100, 1_000])
def test_a_book_costs_less_than_its_peers_on_made_up_messages(levels: int) -> None:
    ratios = compare(f"made up, {levels} levels a side", *made_up(levels, messages=2_000, changes=20), rounds=15)
    assert max(ratios["order-book"], ratios["sortedcontainers"], ratios["ccxt"]) <= 0.8


def binance(path: Path) -> tuple[BookSnapshot, list[BookDelta]]:
    """The snapshot, and what followed it."""
    deltas = []
    with gzip.open(path, "rt") as lines:
        for line in filter(str.strip, lines):
            message = json.loads(line.split(" ", 1)[1])
            data = message.get("data", message)
            if "lastUpdateId" in data:
                snapshot = BookSnapshot("X", data["lastUpdateId"], pairs(data["bids"]), pairs(data["asks"]))
            elif data.get("e") == "depthUpdate":
                deltas.append(BookDelta("X", data["U"], data["u"], pairs(data["b"]), pairs(data["a"]), data["E"]))
    return snapshot, [delta for delta in deltas if delta.last_id > snapshot.last_id]


def coinbase(path: Path) -> tuple[BookSnapshot, list[BookDelta]]:
    """BTC-USD alone."""
    found: list[tuple[Levels, Levels]] = []
    with gzip.open(path, "rt") as lines:
        for record in map(json.loads, lines):
            frame = json.loads(record["data"]) if record["t"] == "recv" else {}
            for event in frame["events"] if frame.get("channel") == "l2_data" else ():
                if event["product_id"] == "BTC-USD":
                    told = [(up["side"], [up["price_level"], up["new_quantity"]]) for up in event["updates"]]
                    bids, asks = (pairs([level for at, level in told if at == side]) for side in ("bid", "offer"))
                    found.append((bids, asks))
    return BookSnapshot("X", 0, *found[0]), [BookDelta("X", 0, 0, *sides, 0) for sides in found[1:]]


def pairs(levels: list[list[str]]) -> Levels:
    return [(float(price), float(qty)) for price, qty in levels]


def made_up(levels: int, messages: int, changes: int) -> tuple[BookSnapshot, list[BookDelta]]:
    """A book of ``levels`` a side round a price that wanders; most that happens, happens near the touch."""
    draw, mid = Random(7), 1_000_000  # noqa: S311 - the seed is the point
    bids = {mid - step: 1.0 for step in range(1, levels)}
    asks = {mid + step: 1.0 for step in range(1, levels)}
    snapshot, deltas = BookSnapshot("X", 1, levels_of(bids), levels_of(asks)), []
    for last in range(2, messages + 2):
        mid += draw.choice((-1, 0, 0, 0, 1))
        changed: tuple[dict[int, float], dict[int, float]] = ({mid: 0.0}, {mid: 0.0})
        for _ in range(changes - 2):
            away = 1 + round(draw.expovariate(8 / levels))
            side, price = draw.choice(((0, mid - away), (1, mid + away)))
            changed[side][price] = draw.choice((0.0, 1.0, 2.5, 4.0))
        deltas.append(BookDelta("X", last, last, levels_of(changed[0]), levels_of(changed[1]), 0))
    return snapshot, deltas


def levels_of(side: dict[int, float]) -> Levels:
    return [(price / 100, qty) for price, qty in side.items()]


@pytest.mark.soak
def test_memory_is_flat_over_ten_million_level_updates() -> None:
    """The market runs away, so every price is new, and the book follows it."""
    book, last, updates, width, step = Book("X"), 1, 0, 2_000, 25
    book.load(BookSnapshot("X", 1, span(-width, 0, 1.0), span(0, width, 1.0)))
    sizes: list[tuple[int, int]] = []
    while updates < 10_000_000:
        mid = (last - 1) * step
        bids = span(mid, mid + step, 1.0) + span(mid - width, mid - width + step, 0.0)
        asks = span(mid, mid + step, 0.0) + span(mid + width, mid + width + step, 1.0)
        last += 1
        book.apply(BookDelta("X", last, last, bids, asks, 0))
        updates += len(bids) + len(asks)
        if last % 10_000 == 0:
            del bids, asks
            gc.collect()
            ladders = book._bids, book._asks
            sizes.append((sys.getallocatedblocks(), sum(sys.getsizeof(side.levels) for side in ladders)))
    print(f"\n{updates:,} level updates; blocks of memory and bytes of dicts at each tenth: {sizes}")
    for early, late in zip(sizes[0], map(max, *sizes), strict=True):
        assert late <= 1.01 * early
    assert [len(book.bids(10**6)), len(book.asks(10**6))] == [width, width]


def span(low: int, high: int, qty: float) -> Levels:
    """A level at every price above ``low`` up to ``high``."""
    return [(float(price), qty) for price in range(low + 1, high + 1)]
