"""What an order may count on when book and quote differ: a venue sends them apart, so one is behind the other."""

from __future__ import annotations

from collections.abc import Callable

from kit.model import Levels, Quote
from kit.orders.matching import Depth


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


def _without(read: Callable[[int], Levels], n: int, best: float, qty: float, *, sign: int) -> Levels:
    """The first ``n`` levels at ``best`` or worse; at ``best`` no more than ``qty``."""
    gone = 0
    while True:
        levels = read(n + gone)
        kept = [(p, min(q, qty) if p == best else q) for p, q in levels if (p - best) * sign >= 0]
        if len(kept) >= n or len(levels) < n + gone:
            return kept[:n]
        gone = max(len(levels) - len(kept), gone + 1)
