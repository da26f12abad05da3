"""The order book: Binance's sequence rule, against a naive model and against a recording of the real venue."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kit.errors import BookUnsynced, SequenceGap
from kit.market.book import Book
from kit.model import BookDelta, BookSnapshot, Levels


def delta(first: int, last: int, bids: Levels | None = None, asks: Levels | None = None) -> BookDelta:
    return BookDelta("X", first, last, bids or [], asks or [], 0)


def snapshot(last: int, bids: Levels | None = None, asks: Levels | None = None) -> BookSnapshot:
    return BookSnapshot("X", last, bids or [(9.0, 1.0)], asks or [(11.0, 1.0)])


def loaded(last: int = 10) -> Book:
    book = Book("X")
    book.load(snapshot(last, [(9.0, 1.0), (8.0, 2.0), (7.0, 3.0)], [(12.0, 5.0), (11.0, 4.0)]))
    return book


def test_sides_are_read_best_price_first() -> None:
    book = loaded()
    assert book.bids(2) == [(9.0, 1.0), (8.0, 2.0)]
    assert book.asks(9) == [(11.0, 4.0), (12.0, 5.0)]
    quote = book.best()
    assert (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty, quote.update_id) == (9.0, 1.0, 11.0, 4.0, 10)


def test_a_book_without_a_snapshot_is_not_shown() -> None:
    book = Book("X")
    for read in (lambda: book.bids(1), lambda: book.asks(1), book.best):
        with pytest.raises(BookUnsynced, match="wait for the state LIVE"):
            read()


def test_a_book_with_an_empty_side_has_no_best() -> None:
    book = loaded()
    book.apply(delta(11, 11, asks=[(11.0, 0.0), (12.0, 0.0)]))
    assert book.asks(5) == []
    with pytest.raises(BookUnsynced, match="one side"):
        book.best()


def test_quantities_are_absolute_and_zero_removes() -> None:
    book = loaded()
    assert book.apply(delta(11, 12, [(9.0, 0.0), (8.0, 7.0), (8.5, 1.0)], [(10.0, 1.0), (55.0, 0.0)]))
    assert book.bids(3) == [(8.5, 1.0), (8.0, 7.0), (7.0, 3.0)]
    assert book.asks(1) == [(10.0, 1.0)]
    assert book.last_id == 12


def test_an_old_delta_is_ignored() -> None:
    book = loaded(10)
    assert book.apply(delta(9, 10, [(9.0, 0.0)])) is False
    assert book.best().bid == 9.0


@pytest.mark.parametrize(("first", "last"), [(11, 11), (11, 15), (5, 11), (10, 12)])
def test_a_delta_continues_the_book_when_the_next_update_is_in_it(first: int, last: int) -> None:
    book = loaded(10)
    assert book.apply(delta(first, last))
    assert book.last_id == last


def test_a_missing_update_is_a_gap_and_hides_the_book() -> None:
    book = loaded(10)
    with pytest.raises(SequenceGap, match="updates 11 to 11 of the book never came"):
        book.apply(delta(12, 13))
    assert not book.synced
    with pytest.raises(BookUnsynced):
        book.bids(1)


def test_the_delta_behind_a_gap_is_kept_for_the_next_snapshot() -> None:
    book = loaded(10)
    with pytest.raises(SequenceGap):
        book.apply(delta(12, 13, [(9.5, 2.0)]))
    book.load(snapshot(12))
    assert book.last_id == 13
    assert book.best().bid == 9.5
    assert book.epoch == 2


def test_deltas_that_came_before_the_snapshot_are_replayed_on_it() -> None:
    book = Book("X")
    for change in (delta(8, 10, [(1.0, 1.0)]), delta(11, 12, [(9.5, 1.0)]), delta(13, 13, [(9.5, 0.0), (9.6, 2.0)])):
        assert book.apply(change) is False
    book.load(snapshot(10))
    assert book.last_id == 13
    assert book.bids(9) == [(9.6, 2.0), (9.0, 1.0)]


def test_a_snapshot_older_than_the_stream_is_refused_and_the_deltas_stay() -> None:
    book = Book("X")
    book.apply(delta(12, 13, [(9.5, 1.0)]))
    with pytest.raises(SequenceGap, match="ends at update 10 and the stream begins at 12"):
        book.load(snapshot(10))
    assert not book.synced
    book.load(snapshot(12))
    assert book.best().bid == 9.5


def test_a_gap_among_kept_deltas_leaves_the_rest_for_a_newer_snapshot() -> None:
    book = Book("X")
    for change in (delta(11, 11), delta(13, 13), delta(14, 14, [(9.7, 1.0)])):
        book.apply(change)
    with pytest.raises(SequenceGap):
        book.load(snapshot(10))
    book.load(snapshot(12))
    assert book.last_id == 14
    assert book.best().bid == 9.7


def test_a_crossed_book_is_never_shown() -> None:
    book = loaded(10)
    with pytest.raises(SequenceGap, match="crossed"):
        book.apply(delta(11, 11, [(11.0, 1.0)]))
    with pytest.raises(BookUnsynced):
        book.best()


def test_the_revision_is_even_between_writes_and_changes_with_each() -> None:
    book = loaded(10)
    before = book.revision
    book.apply(delta(11, 11))
    assert before % 2 == 0
    assert book.revision == before + 2


class BookAgainstModel(RuleBasedStateMachine):
    """A venue as two dicts and a counter; a book that sees its deltas, late, twice, or not at all."""

    prices = st.integers(1, 30)

    @initialize()
    def open(self) -> None:
        self.venue: dict[str, dict[float, float]] = {"bids": {}, "asks": {}}
        self.id = 0
        self.old: list[BookDelta] = []
        self.book = Book("X")

    def change(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> BookDelta:
        """Bids stay below 100 and asks above: the venue is never crossed."""
        sides = {"bids": [(float(p), float(q)) for p, q in bids], "asks": [(100.0 + p, float(q)) for p, q in asks]}
        for side, levels in sides.items():
            self.venue[side] |= dict(levels)
            self.venue[side] = {price: qty for price, qty in self.venue[side].items() if qty}
        first, self.id = self.id + 1, self.id + 1 + len(bids)
        made = BookDelta("X", first, self.id, sides["bids"], sides["asks"], 0)
        self.old.append(made)
        return made

    levels = st.lists(st.tuples(prices, st.integers(0, 3)), max_size=6, unique_by=lambda level: level[0])

    @rule(bids=levels, asks=levels)
    def deliver(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
        synced, behind = self.book.synced, self.book.last_id < self.id
        change = self.change(bids, asks)
        if synced and behind:
            with pytest.raises(SequenceGap):
                self.book.apply(change)
        else:
            assert self.book.apply(change) is synced

    @rule(bids=levels, asks=levels)
    def lose(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
        self.change(bids, asks)

    @precondition(lambda self: self.old)
    @rule(back=st.integers(1, 5))
    def repeat(self, back: int) -> None:
        late = self.old[-min(back, len(self.old))]
        if self.book.synced and late.last_id <= self.book.last_id:
            assert self.book.apply(late) is False

    @rule()
    def load(self) -> None:
        sides = {side: list(levels.items()) for side, levels in self.venue.items()}
        self.book.load(BookSnapshot("X", self.id, sides["bids"], sides["asks"]))

    @invariant()
    def equals_the_venue_when_in_step(self) -> None:
        if self.book.synced and self.book.last_id == self.id:
            assert self.book.bids(99) == sorted(self.venue["bids"].items(), reverse=True)
            assert self.book.asks(99) == sorted(self.venue["asks"].items())


TestBookAgainstModel = BookAgainstModel.TestCase


def test_the_real_venues_book_agrees_with_its_own_quotes(recording: Callable[[str], Path]) -> None:
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


def floats(levels: list[list[str]]) -> Levels:
    return [(float(price), float(qty)) for price, qty in levels]
