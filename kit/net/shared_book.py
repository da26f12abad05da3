"""A live order book, as other threads may read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kit.errors import BookUnsynced
from kit.market.book import Book
from kit.model import Levels, Quote

T = TypeVar("T")


class SharedBook:
    """A book read from other threads than the one that writes it: each read is of one moment.

    Every read raises BookUnsynced while the book is out of step with the venue.
    """

    def __init__(self, book: Book) -> None:
        self._book = book

    def bids(self, n: int) -> Levels:
        """The best ``n`` bids as (price, quantity), highest first."""
        return self._read(lambda: self._book.bids(n))

    def asks(self, n: int) -> Levels:
        """The best ``n`` asks as (price, quantity), lowest first."""
        return self._read(lambda: self._book.asks(n))

    def sides(self, n: int) -> tuple[Levels, Levels]:
        """The best ``n`` bids and asks of the same moment."""
        return self._read(lambda: (self._book.bids(n), self._book.asks(n)))

    def best(self) -> Quote:
        """Best bid and ask of the book; it may be up to 100 ms behind ``live.quote``."""
        return self._read(self._book.best)

    @property
    def synced(self) -> bool:
        """True while the book is in step with the venue, so that it can be read."""
        return self._book.synced

    @property
    def last_id(self) -> int:
        """The venue's id of the last update in the book; 0 where it does not count them."""
        return self._book.last_id

    @property
    def epoch(self) -> int:
        """How many snapshots the book was built from so far."""
        return self._book.epoch

    def _read(self, take: Callable[[], T]) -> T:
        """Read again when a write fell into the reading; the writer never waits."""
        while True:
            before = self._book.revision
            try:
                value = take()
            except (KeyError, IndexError, BookUnsynced):  # torn, if a level or a side went while it was read
                if before % 2 == 0 and self._book.revision == before:
                    raise
                value = None
            if before % 2 == 0 and value is not None and self._book.revision == before:
                return value
            time.sleep(0)

    def __repr__(self) -> str:
        where = f"at update {self.last_id}" if self.synced else "not in step with the venue"
        return f"<book of {self._book.symbol}, {where}>"
