"""An order book kept in step with its venue: a snapshot, deltas, and the sequence rule that proves nothing is missing.

The rule is Binance Spot's ("How to manage a local order book correctly"): a delta continues the book when
``first_id <= book.last_id + 1 <= last_id``; one that ends at or before ``last_id`` is old and ignored; one that
begins later leaves a gap. Real data has first deltas with ``first_id == last_id + 1`` exactly, so the test is on
``last_id + 1``, never on ``last_id``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from enum import Enum

from kit.errors import BookUnsynced, SequenceGap
from kit.model import BookDelta, BookSnapshot, Levels, Quote

HELD_DELTAS = 10_000
"""Deltas kept while a snapshot is awaited: 1,000 s of Binance's 100 ms stream."""


class BookRule(Enum):
    """How a venue proves that a book is complete."""

    IDS = "ids"
    """Updates are counted per instrument; the snapshot comes by REST (Binance)."""
    CHECKSUM = "checksum"
    """The snapshot comes first in the stream, and each update carries a checksum of the result (Kraken)."""
    CONNECTION = "connection"
    """The snapshot comes first in the stream, and the connection counts its frames (Coinbase)."""


class Ladder:
    """One side's levels. Keys are ``sign * price``, ascending, so that the best price is last on both sides."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.qtys: dict[float, float] = {}
        self.keys: list[float] = []

    def load(self, levels: Levels) -> None:
        """Have these levels and no others."""
        self.qtys = {self.sign * price: qty for price, qty in levels if qty}
        self.keys = sorted(self.qtys)

    def apply(self, levels: Levels) -> None:
        """Set absolute quantities; 0 removes, and removing what is not there is normal."""
        sign, qtys, keys = self.sign, self.qtys, self.keys
        for price, qty in levels:
            key = sign * price
            if qty:
                if key not in qtys:
                    insort(keys, key)
                qtys[key] = qty
            elif key in qtys:
                del qtys[key]
                del keys[bisect_left(keys, key)]

    def top(self, n: int) -> Levels:
        """The best ``n`` levels, best first."""
        sign, qtys = self.sign, self.qtys
        return [(sign * key, qtys[key]) for key in self.keys[: -n - 1 : -1]]


class Book:
    """One instrument's book. It is read only while in step with the venue; else every read raises ``BookUnsynced``.

    Deltas that come before a snapshot are kept and replayed on it. One thread writes; ``revision`` is odd while it
    does, so that a reader in another thread can tell a torn read and take it again.
    """

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.synced = False
        self.last_id = 0
        """The last update that is in the book."""
        self.epoch = 0
        """How many snapshots it was built from."""
        self.time = 0
        """Venue time of the last delta, µs; 0 before any."""
        self.revision = 0
        self._bids = Ladder(1)
        self._asks = Ladder(-1)
        self._held: deque[BookDelta] = deque(maxlen=HELD_DELTAS)

    def load(self, snapshot: BookSnapshot) -> None:
        """Start anew from ``snapshot`` and replay the deltas kept so far.

        Raises SequenceGap when the snapshot is older than the first kept delta: take another one, the deltas stay.
        """
        held = [delta for delta in self._held if delta.last_id > snapshot.last_id]
        if held and held[0].first_id > snapshot.last_id + 1:
            raise SequenceGap(
                f"{self.symbol}: the book snapshot ends at update {snapshot.last_id} and the stream begins at "
                f"{held[0].first_id}; the book stays unsynced until a newer snapshot comes"
            )
        self.revision += 1
        self._bids.load(snapshot.bids)
        self._asks.load(snapshot.asks)
        self.last_id, self.synced = snapshot.last_id, True
        self.epoch += 1
        self.revision += 1
        self._held.clear()
        self._replay(held)

    def _replay(self, held: list[BookDelta]) -> None:
        for position, delta in enumerate(held):
            try:
                self.apply(delta)
            except SequenceGap:
                self._held.extend(held[position + 1 :])
                raise

    def apply(self, delta: BookDelta) -> bool:
        """Apply one delta; False when it was old, or kept for a snapshot to come.

        Raises SequenceGap, and leaves the book unsynced with this delta kept, when messages are missing before it
        or when it leaves the book crossed.
        """
        if not self.synced:
            self._held.append(delta)
            return False
        if delta.last_id <= self.last_id:
            return False
        if delta.first_id > self.last_id + 1:
            self.desync()
            self._held.append(delta)
            raise SequenceGap(
                f"{self.symbol}: updates {self.last_id + 1} to {delta.first_id - 1} of the book never came; "
                "it is not shown until a new snapshot is in"
            )
        self.revision += 1
        self._bids.apply(delta.bids)
        self._asks.apply(delta.asks)
        self.last_id, self.time = delta.last_id, delta.time
        self.revision += 1
        self._refuse_crossed()
        return True

    def _refuse_crossed(self) -> None:
        bids, asks = self._bids.keys, self._asks.keys
        if bids and asks and bids[-1] >= -asks[-1]:
            bid, ask = bids[-1], -asks[-1]
            self.desync()
            raise SequenceGap(
                f"{self.symbol}: the book is crossed after update {self.last_id} (bid {bid}, ask {ask}), so something "
                "is missing; it is not shown until a new snapshot is in"
            )

    def desync(self) -> None:
        """Say that messages may be missing: nothing is shown until the next snapshot. Kept deltas are dropped."""
        self.synced = False
        self._held.clear()

    def bids(self, n: int) -> Levels:
        """The best ``n`` bids, highest first; BookUnsynced while out of step."""
        self._require_sync()
        return self._bids.top(n)

    def asks(self, n: int) -> Levels:
        """The best ``n`` asks, lowest first; BookUnsynced while out of step."""
        self._require_sync()
        return self._asks.top(n)

    def best(self) -> Quote:
        """Best bid and ask as of ``last_id``; BookUnsynced while out of step or when a side is empty."""
        bids, asks = self.bids(1), self.asks(1)
        if not bids or not asks:
            raise BookUnsynced(f"{self.symbol}: one side of the book is empty, so there is no best bid and ask")
        return Quote(self.symbol, *bids[0], *asks[0], update_id=self.last_id, time=self.time)

    def _require_sync(self) -> None:
        if not self.synced:
            raise BookUnsynced(
                f"{self.symbol}: the book is not in step with the venue and not shown; no order should rest on it. "
                "It comes back by itself while its live frame is open: wait for the state LIVE"
            )
