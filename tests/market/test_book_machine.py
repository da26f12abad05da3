"""Books of each rule against a naive venue: any mix of updates and faults, and a reader that looks at any moment."""

from __future__ import annotations

from typing import ClassVar
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kit.errors import BookUnsynced, SequenceGap
from kit.market.book import Book, BookRule
from kit.model import BookDelta, BookSnapshot, Levels, Written

Changes = dict[str, str]
"""Price -> quantity."""


class Venue:
    """Two dicts of levels, and what the stream of its kind says of their changes. ``depth`` cuts what is streamed."""

    def __init__(self, kind: BookRule, depth: int | None) -> None:
        self.kind, self.depth, self.id = kind, depth, 0
        self.bids: dict[str, Written] = {}
        self.asks: dict[str, Written] = {}

    def shown(self) -> tuple[list[Written], list[Written]]:
        return sorted(self.bids.values(), reverse=True)[: self.depth], sorted(self.asks.values())[: self.depth]

    def change(self, bids: Changes, asks: Changes) -> BookDelta:
        """Say what is new among the best levels and what is gone; not what has only fallen out of ``depth``."""
        before, first = self.shown(), self.id + 1
        self.id += 1 + len(bids)
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, qty in levels.items():
                side.pop(price, None)
                if float(qty):
                    side[price] = Written.read(price, qty)
        after = self.shown()
        told = told_of(before[0], after[0], self.bids), told_of(before[1], after[1], self.asks)
        if self.kind is BookRule.IDS:
            return BookDelta("X", first, self.id, *told, 0)
        return BookDelta("X", 0, 0, *told, 0, self.checksum())

    def snapshot(self) -> BookSnapshot:
        bids, asks = self.shown()
        counted = self.id if self.kind is BookRule.IDS else 0
        return BookSnapshot("X", counted, list(bids), list(asks), 0, self.checksum())

    def checksum(self) -> int | None:
        return sum_of(*self.shown()) if self.kind is BookRule.CHECKSUM else None


def told_of(before: list[Written], after: list[Written], side: dict[str, Written]) -> Levels:
    gone: Levels = [Written.read(level.price, "0.0") for level in before if level.price not in side]
    return gone + [level for level in after if level not in before]


def sum_of(bids: list[Written], asks: list[Written]) -> int:
    """Kraken's checksum, worked out the plain way from whole numbers."""
    numbers = [number for level in [*asks[:10], *bids[:10]] for number in (level.price, level.qty)]
    return crc32("".join(str(int(number.replace(".", ""))) for number in numbers).encode())


def changes(low: int, high: int) -> st.SearchStrategy[Changes]:
    """Prices of two decimals, in cents; as text, 10.00 comes before 9.99."""
    prices = st.integers(low, high).map(lambda cents: f"{cents / 100:.2f}")
    return st.dictionaries(prices, st.sampled_from(["0.0", "0.10", "1.5", "20.0"]), max_size=6)


class BookAgainstVenue(RuleBasedStateMachine):
    """Updates come, are lost, come twice; snapshots come late. What a book shows was true at its last update."""

    kind: ClassVar[BookRule]
    depth: ClassVar[int | None] = None
    bids, asks = changes(995, 1_005), changes(1_006, 1_016)

    @initialize()
    def open(self) -> None:
        self.venue, self.book = Venue(self.kind, self.depth), Book("X", self.kind, self.depth)
        self.past: list[BookDelta] = []
        self.true = {0: self.venue.shown()}
        self.lost = False

    def change(self, bids: Changes, asks: Changes) -> BookDelta:
        self.past.append(self.venue.change(bids, asks))
        if self.counts:
            self.true[self.venue.id] = self.venue.shown()
        return self.past[-1]

    @property
    def counts(self) -> bool:
        return self.kind is BookRule.IDS

    def hear(self, delta: BookDelta) -> None:
        synced, last = self.book.synced, self.book.last_id
        try:
            taken = self.book.apply(delta)
        except SequenceGap:
            assert self.lost
            assert not self.book.synced
        else:
            assert taken is (synced and not (self.counts and delta.last_id <= last))
            assert not (taken and self.counts and delta.first_id > last + 1)
        if not self.counts:
            self.true[0] = self.venue.shown()

    @rule(bids=bids, asks=asks)
    def deliver(self, bids: Changes, asks: Changes) -> None:
        self.hear(self.change(bids, asks))

    @rule(bids=bids, asks=asks)
    def lose(self, bids: Changes, asks: Changes) -> None:
        self.change(bids, asks)
        self.lost = True
        if self.kind is BookRule.CONNECTION:  # whoever counts the connection's frames says so
            self.book.desync()

    @precondition(lambda self: self.counts and self.past)
    @rule(back=st.integers(1, 5))
    def repeat(self, back: int) -> None:
        self.hear(self.past[-min(back, len(self.past))])

    @rule()
    def desync(self) -> None:
        self.book.desync()

    @rule()
    def load(self) -> None:
        self.book.load(self.venue.snapshot())
        assert self.book.synced
        self.true[self.book.last_id] = self.venue.shown()
        self.lost = False

    @precondition(lambda self: self.counts)
    @rule()
    def ask(self) -> None:
        self.asked = self.venue.snapshot()

    @precondition(lambda self: hasattr(self, "asked"))
    @rule()
    def answer(self) -> None:
        self.lost = True  # what came since may not have been kept
        try:
            self.book.load(self.asked)
        except SequenceGap:
            assert self.asked.last_id < self.venue.id

    @invariant()
    def what_is_shown_was_true(self) -> None:
        if self.book.synced:
            assert (self.book.bids(99), self.book.asks(99)) == self.true[self.book.last_id]
        else:
            with pytest.raises(BookUnsynced):
                self.book.bids(1)


class CountedBook(BookAgainstVenue):
    kind = BookRule.IDS


class CheckedBook(BookAgainstVenue):
    kind, depth = BookRule.CHECKSUM, 5


class BookOfACountedConnection(BookAgainstVenue):
    kind = BookRule.CONNECTION


TestCountedBook = CountedBook.TestCase
TestCheckedBook = CheckedBook.TestCase
TestBookOfACountedConnection = BookOfACountedConnection.TestCase
TestCountedBook.settings = TestCheckedBook.settings = settings(max_examples=80, stateful_step_count=30)
TestBookOfACountedConnection.settings = settings(max_examples=40, stateful_step_count=30)


class Watched(Book):
    """A book with a reader that looks whenever no write is under way."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "revision" and not self.revision % 2 and self.synced:
            bids, asks = self.bids(1), self.asks(1)
            assert not (bids and asks and bids[0] >= asks[0]), "crossed"


LEVELS = st.lists(st.tuples(st.integers(1, 9).map(float), st.sampled_from([0.0, 1.0, 2.0])), max_size=4)


@given(st.lists(st.tuples(LEVELS, LEVELS), max_size=20), st.sampled_from([BookRule.IDS, BookRule.CONNECTION]))
def test_no_reader_sees_a_crossed_book_whatever_comes(messages: list[tuple[Levels, Levels]], kind: BookRule) -> None:
    book = Watched("X", kind)
    for last, (bids, asks) in enumerate(messages, 1):
        try:
            book.apply(BookDelta("X", last, last, bids, asks, 0))
            if not book.synced:
                book.load(BookSnapshot("X", last - 1, bids, asks))
        except SequenceGap:
            assert not book.synced
