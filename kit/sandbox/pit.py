"""One instrument's trading floor: how far its market has been followed, and each account's orders in it. Pure.

The market is followed event by event only while somebody cares: a subscriber, or a working order. A floor
nobody looked at takes a fresh picture when it is needed again. Users' orders meet the market's events and
displayed depth; their fills leave no print on the public tape and no mark on the public book.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

from kit.clock import DAY, HOUR, MINUTE
from kit.errors import SequenceGap
from kit.market.book import Book
from kit.market.candles import next_time
from kit.model import BookDelta, Candle, Fees, Instrument, Report, Trade
from kit.orders.matching import Simulator
from kit.sandbox.market import CandleColumns, Market, MarketEvent

EVERY_LEVEL = 1_000_000
LARGEST_STEP = MINUTE
"""A silence longer than this (a suspended machine, a restart) is caught up from trades and bars, not event by event."""
TRADES_FOR = 10 * MINUTE
MINUTE_BARS_FOR = DAY
HOUR_BARS_FOR = 366 * DAY
PAGE = 1_000

Listener = Callable[[MarketEvent], None]
Told = tuple[str, Report]
"""An account and what happened to one of its orders."""


class Pit:
    """One instrument's floor. ``at`` is the time (µs) up to which the market's events were applied, 0: asleep."""

    def __init__(self, native: str, market: Market, fees: Fees, ids: Callable[[], int]) -> None:
        self.native = native
        self.market = market
        self.book = Book(native)
        self.at = 0
        self.last_trade: Trade | None = None
        self.simulators: dict[str, Simulator] = {}
        self.listeners: list[Listener] = []
        self._fees = fees
        self._ids = ids

    @property
    def instrument(self) -> Instrument:
        return self.market.instruments[self.native]

    @property
    def awake(self) -> bool:
        """True while a subscriber or a working order needs the market followed."""
        return bool(self.listeners) or any(simulator.working for simulator in self.simulators.values())

    def simulator(self, account: str) -> Simulator:
        """The account's orders here."""
        if account not in self.simulators:
            self.simulators[account] = Simulator(self.instrument, self._fees, ids=self._ids)
            self._remind()
        return self.simulators[account]

    @property
    def reference(self) -> Decimal:
        """The last price; before any trade, the middle of the book."""
        last = self.last_trade.price if self.last_trade else self.book.best().mid
        return self.instrument.price(last)

    def advance(self, now: int) -> list[Told]:
        """Follow the market up to ``now``; what that did to working orders, in order.

        Listeners hear every event, except in a silence that is too long to follow: they find a gap, as after a
        venue's own trouble.
        """
        if now <= self.at:
            return []
        if not self.at or now - self.at > LARGEST_STEP:
            told = self.catch_up(self.at, now) if self.at else []
            self.look(now)
            return told + self._show(now)
        told = []
        for event in self.market.events(self.native, after=self.at, until=now):
            told += self._meet(event)
            for listener in self.listeners:
                listener(event)
        self.at = now
        return told

    def rest(self) -> None:
        """Stop following the market; the next ``advance`` takes a fresh picture."""
        self.at = 0

    def look(self, now: int) -> None:
        """Take the picture of ``now``."""
        self.book.desync()
        self.book.load(self.market.book(self.native, now=now, limit=EVERY_LEVEL))
        newest = self.market.trades(self.native, now=now, limit=1)
        self.last_trade = newest[-1] if newest else None
        self.at = now
        self._remind()

    def _remind(self) -> None:
        """Tell simulators that followed nothing what traded last: a stop order needs to know."""
        for simulator in self.simulators.values():
            if self.last_trade is not None and not simulator.working:
                simulator.on_trade(self.last_trade, self.last_trade.time)

    def catch_up(self, since: int, now: int) -> list[Told]:
        """What working orders met in a silence from ``since`` to ``now`` (µs).

        Its first ten minutes (and on to the full hour) and its last ten are replayed print by print. Between
        them bars stand in, minutes for the last day and hours for a year before that, which fill a resting
        order only where the market went through its price. What lies further back is not looked at, and
        displayed depth of the past is not replayed.
        """
        told: list[Told] = []
        head = min(now, next_time(since + TRADES_FOR, "1h"))
        tail = max(head, now - now % MINUTE - TRADES_FOR)
        for trade in self._trades(since, head):
            told += self._meet(trade)
        for candle in self._bars(head, tail):
            told += self._each(lambda simulator, bar=candle: simulator.on_bar(bar, bar.time))  # type: ignore[misc]
        for trade in self._trades(tail, now):
            told += self._meet(trade)
        return told

    def _meet(self, event: MarketEvent) -> list[Told]:
        if isinstance(event, Trade):
            self.last_trade = event
            return self._each(lambda simulator: simulator.on_trade(event, event.time))
        if isinstance(event, BookDelta):
            return self._follow(event)
        return []

    def _follow(self, delta: BookDelta) -> list[Told]:
        try:
            self.book.apply(delta)
        except SequenceGap:  # a tape with a hole in it: take the market's own word for the book
            self.book.desync()
            self.book.load(self.market.book(self.native, now=delta.time, limit=EVERY_LEVEL))
        return self._show(delta.time)

    def _show(self, now: int) -> list[Told]:
        return self._each(lambda simulator: simulator.on_book(self.book, now))

    def _each(self, act: Callable[[Simulator], list[Report]]) -> list[Told]:
        return [(name, report) for name, simulator in self.simulators.items() for report in act(simulator)]

    def _trades(self, after: int, until: int) -> Iterator[Trade]:
        if after >= until:
            return
        page = self.market.trades(self.native, now=until, start=after + 1, end=until, limit=PAGE)
        while page and page[0].time <= until:
            yield from (trade for trade in page if trade.time <= until)
            page = self.market.trades(self.native, now=until, from_id=page[-1].id + 1, limit=PAGE)

    def _bars(self, start: int, end: int) -> Iterator[Candle]:
        """Bars that tile [start, end): hours where that is long ago, minutes from there on."""
        hours_end = max(start, end - end % HOUR - MINUTE_BARS_FOR)
        yield from self._tiled("1h", max(start, hours_end - HOUR_BARS_FOR), hours_end)
        yield from self._tiled("1m", hours_end, end)

    def _tiled(self, interval: str, start: int, end: int) -> Iterator[Candle]:
        while start < end:
            columns = self.market.candles(
                self.native, interval, now=self.at_most(end), start=start, end=end - 1, limit=PAGE
            )
            bars = [candle for candle in candles(self.native, interval, columns) if candle.trades]
            yield from bars
            if not len(columns["time"]):
                return
            start = next_time(int(columns["time"][-1]), interval)

    def at_most(self, now: int) -> int:
        """``now``, or the market's end when that came first."""
        return now if self.market.ends is None else min(now, self.market.ends)


def candles(native: str, interval: str, columns: CandleColumns) -> list[Candle]:
    """Columns as bars, all closed."""
    names = ("time", "open", "high", "low", "close", "volume", "quote_volume", "trades")
    rows = zip(*(columns[name].tolist() for name in names), strict=True)
    return [
        Candle(native, interval, time, open_, high, low, close, volume, quote_volume, trades, closed=True)
        for time, open_, high, low, close, volume, quote_volume, trades in rows
    ]
