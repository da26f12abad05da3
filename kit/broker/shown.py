"""What an order may count on: the worse of book and quote, which a venue sends apart, and a book of one moment."""

from __future__ import annotations

from collections.abc import Callable

from kit.model import Levels, Quote
from kit.orders.matching import Depth

WHOLE = 1_000_000
"""Levels: more than any book has."""


class Worse:
    """A book without what the quote shows to be gone: levels better than its price, more than its quantity there.

    Binance sends the quote at every change and the book every 100 ms (web-socket-streams.md); whichever is
    newer, taking the worse of the two is never better than the market showed (design law 5).
    """

    def __init__(self, depth: Depth, quote: Quote) -> None:
        self._depth, self._quote = depth, quote

    def bids(self, n: int) -> Levels:
        """Up to ``n`` bids, highest first."""
        return _without(self._depth.bids, n, self._quote.bid, self._quote.bid_qty, sign=-1)

    def asks(self, n: int) -> Levels:
        """Up to ``n`` asks, lowest first."""
        return _without(self._depth.asks, n, self._quote.ask, self._quote.ask_qty, sign=1)


class Still:
    """A book as it is now. One that is written on another thread may change, or fall out of step, between two reads."""

    def __init__(self, depth: Depth) -> None:
        self._bids, self._asks = depth.bids(WHOLE), depth.asks(WHOLE)

    def bids(self, n: int) -> Levels:
        """Up to ``n`` bids, highest first."""
        return self._bids[:n]

    def asks(self, n: int) -> Levels:
        """Up to ``n`` asks, lowest first."""
        return self._asks[:n]


def _without(read: Callable[[int], Levels], n: int, best: float, qty: float, *, sign: int) -> Levels:
    """The first ``n`` levels at ``best`` or worse; at ``best`` no more than ``qty``."""
    gone = 0
    while True:
        levels = read(n + gone)
        kept = [(p, min(q, qty) if p == best else q) for p, q in levels if (p - best) * sign >= 0]
        if len(kept) >= n or len(levels) < n + gone:
            return kept[:n]
        gone = max(len(levels) - len(kept), gone + 1)
