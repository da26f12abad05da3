"""What a simulated order may take from: the displayed book, or the volume of a print or a bar, less what we took.

The venue's book knows nothing of simulated orders, so what they took is remembered here, level by level
(design law 5: nothing fills from liquidity it has already consumed).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, Protocol

from kit.model import ZERO, Instrument, Levels, Side

FIRST_READ = 8
"""Levels asked of the book at first; each further read asks four times as many."""

WATCHED = 64
"""How deep what we took is compared with each new picture. Deeper levels keep their debt until they come near."""


class Depth(Protocol):
    """A picture of the displayed book. ``kit.market.book.Book`` is one; it raises BookUnsynced while it is none."""

    def bids(self, n: int) -> Levels:
        """Up to ``n`` bids, highest first."""
        ...

    def asks(self, n: int) -> Levels:
        """Up to ``n`` asks, lowest first."""
        ...


class Level(NamedTuple):
    """What is offered at one price, in exact money; ``key`` is the price as the book spells it."""

    price: Decimal
    qty: Decimal
    key: float = 0.0


class Source(Protocol):
    """Where offers come from, and what remembers that they were taken."""

    def take(self, level: Level) -> None:
        """Take ``level.qty`` away for good."""
        ...


@dataclass
class Volume:
    """A quantity that traded once, in a print or over a bar: what is left of it for one account's orders."""

    left: Decimal

    def at(self, price: Decimal) -> list[Level]:
        """All that is left, offered at ``price``."""
        return [Level(price, self.left)] if self.left > 0 else []

    def take(self, level: Level) -> None:
        """Take ``level.qty`` away for good."""
        self.left -= level.qty


class Liquidity:
    """The side of the book that takers of one side meet, for one account.

    What was taken at a level stays taken while the level shows it: quantity added since is fresh and may be taken,
    a level that shrank owes at most what it shows (whoever traded there took what we had left), and a level
    that has gone takes its debt with it.
    """

    def __init__(self, instrument: Instrument, taker: Side) -> None:
        self._instrument = instrument
        self._taker = taker
        self._taken: dict[float, Decimal] = {}

    def shown(self, depth: Depth, n: int) -> Levels:
        """The book's own levels, best first, as floats."""
        return depth.asks(n) if self._taker is Side.BUY else depth.bids(n)

    def best(self, depth: Depth) -> Level | None:
        """The best displayed level, whatever we took there."""
        for key, qty in self.shown(depth, 1):
            return Level(self._instrument.price(key), self._instrument.qty(qty), key)
        return None

    def walk(self, depth: Depth) -> Iterator[Level]:
        """Levels with something left for us, best first; the book is asked for more only as they are wanted."""
        for key, displayed in self._each(depth):
            left = self._instrument.qty(displayed) - self._taken.get(key, ZERO)
            if left > 0:
                yield Level(self._instrument.price(key), left, key)

    def queue(self, depth: Depth, price: Decimal) -> Decimal | None:
        """What is displayed at ``price``: 0 where the book shows a gap, None where the picture doesn't reach."""
        want, near = float(price), float(self._instrument.tick) / 2
        for key, displayed in self._each(depth):
            if abs(key - want) <= near:
                return self._instrument.qty(displayed)
            if (key - want) * self._taker.sign > 0:
                return ZERO
        return None

    def take(self, level: Level) -> None:
        """Remember that ``level.qty`` was taken there."""
        self._taken[level.key] = self._taken.get(level.key, ZERO) + level.qty

    def see(self, depth: Depth) -> None:
        """Compare what we took with a new picture and forget what it shows to be over."""
        if not self._taken:
            return
        picture = self.shown(depth, WATCHED)
        displayed = dict(picture)
        for key, taken in list(self._taken.items()):
            in_view = bool(picture) and (picture[-1][0] - key) * self._taker.sign >= 0
            if in_view:
                self._taken[key] = min(taken, self._instrument.qty(displayed.get(key, 0.0)))
        self._taken = {key: taken for key, taken in self._taken.items() if taken}

    def _each(self, depth: Depth) -> Iterator[tuple[float, float]]:
        seen, n = 0, FIRST_READ
        while True:
            levels = self.shown(depth, n)
            yield from levels[seen:]
            if len(levels) < n:
                return
            seen, n = n, 4 * n
