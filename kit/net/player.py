"""One instrument of a tape: what its stream brought, counted, and what the code of live frames makes of it. Pure.

A tape answers one question only, for the book; so trades and bars are what the stream brought. Silence proves nothing:
what had come would be on the tape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from kit.market.latency import Latency
from kit.market.mirror import Mirror
from kit.market.strand import Ask, Need
from kit.model import BookSnapshot, Channel
from kit.venues.base import MarketEvent, Streaming, Subscription

INTERVAL = "1m"
"""Of the bars that are folded from trades where a venue streams none."""
FOREVER = 1e9
"""Seconds that a channel may be silent."""


class Mishap(NamedTuple):
    """Something that went wrong at ``time`` (µs)."""

    time: int
    words: str


@dataclass
class Prints:
    """The ids of the trades that came. They are contiguous at Binance, Kraken and Coinbase (measured)."""

    first_id: int | None = None
    last_id: int | None = None
    gaps: int = 0
    """Holes; each is one, however many trades are missing."""
    missing: int = 0

    def add(self, first: int, last: int) -> None:
        """A trade, or an aggregate of several; one that came before is no hole."""
        if self.last_id is None:
            self.first_id = first
        elif first > self.last_id + 1:
            self.gaps += 1
            self.missing += first - self.last_id - 1
        self.last_id = max(self.last_id or 0, last)


class Player:
    """One instrument of a tape: what its stream brought, counted, and what its mirror makes of it."""

    def __init__(self, native: str, symbol: str, streaming: Streaming, depth: int | None, rows: int) -> None:
        self.native, self.symbol = native, symbol
        self.events = dict.fromkeys(Channel, 0)
        self.prints = Prints()
        self.latency = Latency(rows)
        self.mishaps: list[Mishap] = []
        """When the book was lost, and why."""
        self.asked: Ask | None = None
        """The question for the book that no answer has met yet."""
        self._streaming, self._rows = replace(streaming, depth=depth or streaming.depth), rows
        self.mirror = self._mirror(INTERVAL, rows)
        self.mirrors: tuple[Mirror, ...] = (self.mirror,)
        self.bars: dict[str, Mirror] = {}
        """Interval -> the mirror that keeps its bars, in the order in which they were met."""
        self._whole = False

    def _mirror(self, interval: str, rows: int) -> Mirror:
        mirror = Mirror(
            self.symbol,
            interval,
            self._streaming,
            trade_rows=rows,
            quote_rows=rows,
            stale_after=FOREVER,
            rest=frozenset({Need.BOOK}),
        )
        mirror.start()
        return mirror

    def _listener(self, sub: Subscription) -> Mirror | None:
        """Who takes in what ``sub`` brings: None for what a live frame of this venue makes of something else."""
        rules = self._streaming
        if sub.channel is Channel.CANDLE and rules.bars:
            return self.bars.get(sub.interval) or self._framed(sub.interval)
        made = (sub.channel is Channel.CANDLE and not rules.bars) or (sub.channel is Channel.QUOTE and not rules.quotes)
        return None if made else self.mirror

    def _framed(self, interval: str) -> Mirror:
        """Who keeps the bars of an interval that is met for the first time."""
        mirror = self.mirror
        if interval != mirror.interval:
            mirror = self._mirror(interval, 1)
            self.mirrors = (*self.mirrors, mirror)
        self.bars[interval] = mirror
        return mirror

    def up(self, sub: Subscription, conn: int, now: int) -> None:
        """A connection has begun to carry it."""
        listener = self._listener(sub)
        if listener is not None:
            listener.up(sub.channel, conn, now)
            self._look(now)

    def down(self, sub: Subscription, reason: str, now: int) -> None:
        """None carries it any more."""
        listener = self._listener(sub)
        if listener is not None:
            listener.down(sub.channel, reason, now)
            self._look(now)
        if sub.channel is Channel.BOOK:
            self.asked = None

    def take(self, event: MarketEvent, sub: Subscription, now: int) -> None:
        """What the stream brought."""
        self.events[sub.channel] += 1
        listener = self._listener(sub)
        if listener is not None:
            listener.take(event, now)
            self._look(now)

    def answer(self, book: BookSnapshot, now: int) -> None:
        """The book that was asked for."""
        if self.asked is not None:
            ask, self.asked = self.asked, None
            self.mirror.answer(ask, book, now)
            self._look(now)

    def tick(self, now: int) -> None:
        """Time has passed."""
        for mirror in self.mirrors:
            mirror.tick(now)
        self._look(now)

    def asks(self, now: int) -> Iterator[Channel]:
        """The channels to be asked for anew; a question for the book is kept until it is answered."""
        for mirror in self.mirrors:
            for ask in mirror.asks(now) if mirror.restless else ():
                if ask.need is Need.RENEWAL:
                    yield ask.channel
                else:
                    self.asked = ask

    def _look(self, now: int) -> None:
        """Note when the book is lost."""
        whole = self.mirror.book.synced
        if self._whole and not whole:
            self.mishaps.append(Mishap(now, self.mirror.depth.feed.reason))
        self._whole = whole
