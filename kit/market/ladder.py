"""One side of an order book: every level by its price, and the best prices in order.

A changed quantity is one store in a dict. In order are only the prices near the touch, where nearly everything happens:
a short list that is cheap to insert in, whatever the size of the book. It is sorted anew when it has run low and cut
when it has grown long, so it is bounded by itself and the dict by the book.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from math import inf

from kit.model import Level, Levels, Side

LEAST, KEPT, MOST = 16, 48, 96
"""Prices kept in order: at least so many, if there are as many; so many after a sort or a cut; at most so many."""


class Ladder:
    """One side's levels, the very objects that came in.

    With ``depth``, what is worse than its best ``depth`` levels is forgotten after each change: a venue that streams so
    many levels never says what becomes of the others (Kraken).
    """

    __slots__ = ("_bids", "_depth", "_high", "_least", "_low", "_most", "levels", "near")

    def __init__(self, side: Side, depth: int | None = None) -> None:
        self.levels: dict[float, Level] = {}
        self.near: list[float] = []
        """The best prices, ascending; a bid's best is the last, an ask's the first. Empty only when the side is."""
        self._bids = side is Side.BUY
        self._depth = depth
        self._low, self._high = -inf, inf
        self._least, self._most = 0, depth or MOST

    def load(self, levels: Levels) -> None:
        """Have these levels and no others; those of quantity 0 are none."""
        self.levels = {level[0]: level for level in levels if level[1]}
        self._order(sorted(self.levels))

    def apply(self, levels: Levels) -> None:
        """Set absolute quantities; 0 removes, and removing what is not there is normal."""
        held, near, low, high = self.levels, self.near, self._low, self._high
        for level in levels:
            price, qty = level
            if qty:
                if low <= price <= high and price not in held:
                    insort(near, price)
                held[price] = level
            elif held.pop(price, None) is not None and low <= price <= high:
                del near[bisect_left(near, price)]
        if len(near) > self._most:
            self._order(near)
        elif len(near) < self._least:
            self._order(sorted(held))

    def top(self, n: int) -> Levels:
        """The best ``n`` levels, best first."""
        prices, levels = self.near, self.levels
        if n > len(prices) and self._least:
            prices = sorted(levels)
        return list(map(levels.__getitem__, prices[: -n - 1 : -1] if self._bids else prices[:n]))

    def _order(self, prices: list[float]) -> None:
        """Keep the best of these ascending ``prices`` in order; they are the best there are."""
        kept = self._depth or KEPT
        self.near = prices[-kept:] if self._bids else prices[:kept]
        if self._depth:
            for price in prices[:-kept] if self._bids else prices[kept:]:
                del self.levels[price]
        whole = len(self.near) == len(self.levels)
        self._low = self.near[0] if self._bids and not whole else -inf
        self._high = self.near[-1] if not self._bids and not whole else inf
        self._least = 0 if whole else LEAST
