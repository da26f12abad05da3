"""An order book kept in step with its venue: a snapshot, deltas, and the venue's own proof that nothing is missing.

- Binance Spot counts updates ("How to manage a local order book correctly"): a delta continues the book when
  ``first_id <= book.last_id + 1 <= last_id``; one that ends at or before ``last_id`` is old and ignored; one that
  begins later leaves a gap. Real data has first deltas with ``first_id == last_id + 1`` exactly, so the test is on
  ``last_id + 1``, never on ``last_id``.
- Kraken counts nothing and sends a checksum of the result (guides "Book Checksum v2").
- Coinbase's connection counts its frames; the book itself has nothing to test.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import NoReturn, cast
from zlib import crc32

from kit.errors import BookUnsynced, SequenceGap
from kit.market.ladder import Ladder
from kit.model import BookDelta, BookSnapshot, Levels, Quote, Side, Written

HELD_DELTAS = 10_000
"""Deltas kept while a snapshot is awaited: 1,000 s of Binance's 100 ms stream."""

CHECKED = 10
"""Levels a side that a checksum is over."""


class BookRule(Enum):
    """How a venue proves that a book is complete."""

    IDS = "ids"
    """Updates are counted per instrument; the snapshot comes by REST (Binance)."""
    CHECKSUM = "checksum"
    """The snapshot comes first in the stream, and each update carries a checksum of the result (Kraken)."""
    CONNECTION = "connection"
    """The snapshot comes first in the stream, and the connection counts its frames (Coinbase)."""


def checksum(bids: Levels, asks: Levels) -> int:
    """CRC32 over the ten best asks, then the ten best bids: the digits of price and quantity without leading zeros.

    The levels are ``Written``, best first (Kraken, guides "Book Checksum v2").
    """
    best = cast("list[Written]", asks[:CHECKED] + bids[:CHECKED])
    texts = [text.replace(".", "").lstrip("0") for level in best for text in (level.price, level.qty)]
    return crc32("".join(texts).encode())


class Book:
    """One instrument's book. It is read only while in step with the venue; else every read raises ``BookUnsynced``.

    ``depth`` is how many levels a side the stream carries, None when all of them. With the rule IDS, deltas that come
    before a snapshot are kept and replayed on it; with the others they are leftovers of an older subscription, and
    ignored. Levels are handed out as they came in, so one that came ``Written`` still knows its text. One thread
    writes; ``revision`` is odd while it does, so that a reader in another thread can tell a torn read and read again.
    """

    def __init__(self, symbol: str, rule: BookRule = BookRule.IDS, depth: int | None = None) -> None:
        self.symbol = symbol
        self.rule = rule
        self.synced = False
        self.last_id = 0
        """The last update that is in the book; 0 where the venue does not count them."""
        self.epoch = 0
        """How many snapshots it was built from."""
        self.time = 0
        """Venue time of the last delta, or of a snapshot that has one, µs; 0 before any."""
        self.revision = 0
        self.checksums_ok = 0
        self.checksums_failed = 0
        self._counts = rule is BookRule.IDS
        self._depth = depth
        self._bids, self._asks = Ladder(Side.BUY, depth), Ladder(Side.SELL, depth)
        self._held: deque[BookDelta] = deque(maxlen=HELD_DELTAS)

    # -- writing

    def load(self, snapshot: BookSnapshot) -> None:
        """Start anew from ``snapshot`` and replay the deltas kept so far; readers see the result or what was before.

        Raises SequenceGap when the snapshot is older than the first kept delta (take another one, the deltas stay),
        and when it or a kept delta does not stand the venue's test (the book is unsynced then).
        """
        held = [delta for delta in self._held if delta.last_id > snapshot.last_id]
        if held and held[0].first_id > snapshot.last_id + 1:
            raise SequenceGap(
                f"{self.symbol}: the book snapshot ends at update {snapshot.last_id} and the stream begins at "
                f"{held[0].first_id}; the book stays unsynced until a newer snapshot comes"
            )
        shadow, rest = Book(self.symbol, self.rule, self._depth), iter(held)
        try:
            shadow._begin(snapshot)
            for delta in rest:
                shadow.apply(delta)
        except SequenceGap:
            shadow._held.extend(rest)
            self._become(shadow)
            raise
        self._become(shadow)

    def _begin(self, snapshot: BookSnapshot) -> None:
        self._bids.load(snapshot.bids)
        self._asks.load(snapshot.asks)
        self.last_id, self.time, self.synced = snapshot.last_id, snapshot.time, True
        self._prove(snapshot)

    def apply(self, delta: BookDelta) -> bool:
        """Apply one delta; False when it was old, kept for a snapshot to come, or left over.

        Raises SequenceGap, and leaves the book unsynced, when messages are missing before it, when it leaves the book
        crossed, or when the checksum does not match. With the rule IDS it is kept then for the next snapshot.
        """
        if not self.synced:
            self._keep(delta)
            return False
        if self._counts:
            if delta.last_id <= self.last_id:
                return False
            if delta.first_id > self.last_id + 1:
                self._refuse(delta, f"updates {self.last_id + 1} to {delta.first_id - 1} of the book never came")
        self.revision += 1
        try:
            if delta.bids:
                self._bids.apply(delta.bids)
            if delta.asks:
                self._asks.apply(delta.asks)
            self.last_id, self.time = delta.last_id, delta.time
            self._prove(delta)
        finally:
            self.revision += 1
        return True

    def _prove(self, change: BookDelta | BookSnapshot) -> None:
        """The book after ``change`` is not crossed, and is what its checksum says."""
        bids, asks = self._bids.near, self._asks.near
        if bids and asks and bids[-1] >= asks[0]:
            told = f"bid {bids[-1]}, ask {asks[0]}"
            self._refuse(change, f"the book is crossed after update {self.last_id} ({told}), so something is missing")
        if change.checksum is None:
            return
        if checksum(self._bids.top(CHECKED), self._asks.top(CHECKED)) != change.checksum:
            self.checksums_failed += 1
            self._refuse(change, "the book's checksum is not the venue's, so something is missing or was misread")
        self.checksums_ok += 1

    def _refuse(self, change: BookDelta | BookSnapshot, reason: str) -> NoReturn:
        self.desync()
        if isinstance(change, BookDelta):
            self._keep(change)
        raise SequenceGap(f"{self.symbol}: {reason}; it is not shown until a new snapshot is in")

    def _keep(self, delta: BookDelta) -> None:
        if self._counts:
            self._held.append(delta)

    def desync(self) -> None:
        """Say that messages may be missing: nothing is shown until the next snapshot. Kept deltas are dropped."""
        self.synced = False
        self._held.clear()

    def adopt(self, shadow: Book) -> None:
        """Show what ``shadow`` holds from now on, as a new epoch; readers see no moment without a book.

        Raises SequenceGap unless both are in step at the same update. The shadow is not to be used after that.
        """
        if not (self.synced and shadow.synced and self.last_id == shadow.last_id):
            raise SequenceGap(
                f"{self.symbol}: the book stands at update {self.last_id} and the one to replace it at "
                f"{shadow.last_id}; nothing was changed. Bring both to the same update first"
            )
        self._become(shadow)

    def _become(self, shadow: Book) -> None:
        self.revision += 1
        self._bids, self._asks, self._held = shadow._bids, shadow._asks, shadow._held
        self.last_id, self.time, self.synced = shadow.last_id, shadow.time or self.time, shadow.synced
        self.checksums_ok += shadow.checksums_ok
        self.checksums_failed += shadow.checksums_failed
        self.epoch += 1
        self.revision += 1

    # -- reading

    def bids(self, n: int) -> Levels:
        """The best ``n`` bids, highest first; BookUnsynced while out of step."""
        if not self.synced:
            self._refuse_reading()
        return self._bids.top(n)

    def asks(self, n: int) -> Levels:
        """The best ``n`` asks, lowest first; BookUnsynced while out of step."""
        if not self.synced:
            self._refuse_reading()
        return self._asks.top(n)

    def best(self) -> Quote:
        """Best bid and ask as of ``last_id``; BookUnsynced while out of step or when a side is empty."""
        if not self.synced:
            self._refuse_reading()
        bids, asks = self._bids, self._asks
        if not bids.near or not asks.near:
            raise BookUnsynced(f"{self.symbol}: one side of the book is empty, so there is no best bid and ask")
        bid, bid_qty = bids.levels[bids.near[-1]]
        ask, ask_qty = asks.levels[asks.near[0]]
        return Quote(self.symbol, bid, bid_qty, ask, ask_qty, self.last_id, self.time)

    def _refuse_reading(self) -> NoReturn:
        raise BookUnsynced(
            f"{self.symbol}: the book is not in step with the venue and not shown; no order should rest on it. "
            "It comes back by itself while its live frame is open: wait for the state LIVE"
        )
