"""A book's self-audit: is it still what the venue says over REST? Readers and the book itself notice nothing of it.

A second book, the shadow, is built from a snapshot asked for while the stream goes on. Rolled forward to the same
update it must show the same levels. It knows the snapshot's own price range only, so only that is compared (Binance:
levels outside the snapshot stay unknown until they change).
"""

from __future__ import annotations

from math import inf
from sys import maxsize
from typing import NamedTuple

from kit.errors import SequenceGap
from kit.market.book import Book
from kit.model import BookDelta, BookSnapshot, Levels, Side


class Difference(NamedTuple):
    """A price at which the book and REST disagree; a quantity of 0 means no level."""

    side: Side
    price: float
    ours: float
    theirs: float


class Audit:
    """One comparison of a book of the rule IDS, begun before the snapshot is asked for and dropped when it is done.

    From the moment of asking, each delta that goes to the book is given to ``take`` too.
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self._since = book.last_id
        self.shadow = Book(book.symbol)
        """The book that REST and the deltas since make; after a difference, ``book.adopt`` takes it over."""

    def take(self, delta: BookDelta) -> None:
        """A delta of the stream. Raises SequenceGap where one is missing: the audit is void, and so is the book."""
        self.shadow.apply(delta)

    def settle(self, snapshot: BookSnapshot) -> list[Difference] | None:
        """Where book and REST disagree; None while they don't stand at the same update: ask again after the next delta.

        Raises SequenceGap when the snapshot is older than the audit: take another one.
        """
        if snapshot.last_id < self._since:
            raise SequenceGap(
                f"{self._book.symbol}: the book snapshot to compare with ends at update {snapshot.last_id}, before "
                f"{self._since} where the comparison began; nothing was changed. Take another snapshot"
            )
        if not self.shadow.synced:
            self.shadow.load(snapshot)
        if not self._book.synced or self._book.last_id != self.shadow.last_id:
            return None
        low = min((price for price, _ in snapshot.bids), default=-inf)
        high = max((price for price, _ in snapshot.asks), default=inf)
        return [
            *_differences(Side.BUY, self._book.bids(maxsize), self.shadow.bids(maxsize), low, inf),
            *_differences(Side.SELL, self._book.asks(maxsize), self.shadow.asks(maxsize), -inf, high),
        ]


def _differences(side: Side, ours: Levels, theirs: Levels, low: float, high: float) -> list[Difference]:
    """Best price first."""
    mine, told = dict(ours), dict(theirs)
    prices = sorted({price for price in mine | told if low <= price <= high}, reverse=side is Side.BUY)
    pairs = [Difference(side, price, mine.get(price, 0.0), told.get(price, 0.0)) for price in prices]
    return [pair for pair in pairs if pair.ours != pair.theirs]
