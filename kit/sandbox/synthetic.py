"""A synthetic market: seeded, several instruments, any moment since 2017 computable on demand.

Nothing is stored and nothing runs: every answer is computed from the seed and the moment asked for, so any window of
history comes out bit-identical, and history flows into the present without a seam. The price path is in
:mod:`kit.sandbox.path`, takers and their prints in :mod:`kit.sandbox.flow`, the book in :mod:`kit.sandbox.ladder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

import numpy as np
from msgspec import Struct

from kit.clock import DAY, MINUTE
from kit.errors import BadRange, UnknownName
from kit.market.candles import interval_us, iso
from kit.model import BookSnapshot, Instrument, Quote, Trade
from kit.sandbox.bars import NO_PRINTS, Bars, Scale, bars_end, bars_of, fold, joined, open_times
from kit.sandbox.chance import Ints
from kit.sandbox.flow import FIRST_ID, Flow, slot_of
from kit.sandbox.ladder import Ladder
from kit.sandbox.market import CandleColumns, MarketEvent
from kit.sandbox.path import CHUNK_MINUTES, GENESIS, Shape


class Listing(Struct, frozen=True):
    """An instrument and how it behaves."""

    instrument: Instrument
    shape: Shape


def _listing(symbol: str, tick: str, lot: str, shape: Shape) -> Listing:
    base, quote = symbol.split("/")
    instrument = Instrument(
        symbol=symbol,
        native=base + quote,
        base=base,
        quote=quote,
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_qty=Decimal(lot),
        max_qty=900_000_000 * Decimal(lot),
        market_max_qty=10_000_000 * Decimal(lot),
        min_price=Decimal(tick),
        max_price=100_000_000 * Decimal(tick),
        min_notional=Decimal(5),
        max_notional=Decimal(9_000_000),
    )
    return Listing(instrument, shape)


LISTINGS = (
    _listing(
        "BTC/USDT",
        "0.01",
        "0.00001",
        Shape(centre=5_000_000, volatility=0.6, rate=60, size=1000, spread=60, gap=12, life=5, pace=1),
    ),
    _listing(
        "ETH/USDT",
        "0.01",
        "0.0001",
        Shape(centre=280_000, volatility=0.75, rate=40, size=1500, spread=12, gap=3, life=5, pace=1),
    ),
    _listing(
        "BNB/USDT",
        "0.01",
        "0.001",
        Shape(centre=62_000, volatility=0.6, rate=24, size=900, spread=6, gap=2, life=6, pace=2),
    ),
    _listing(
        "XRP/USDT",
        "0.00001",
        "0.1",
        Shape(centre=110_000, volatility=0.85, rate=32, size=6000, spread=8, gap=2, life=6, pace=2),
    ),
    _listing(
        "SOL/USDT",
        "0.01",
        "0.001",
        Shape(centre=14_000, volatility=0.95, rate=20, size=2000, spread=2, gap=1, life=7, pace=2),
    ),
    _listing(
        "DOGE/USDT",
        "0.00001",
        "1",
        Shape(centre=16_000, volatility=1.0, rate=12, size=900, spread=3, gap=1, life=8, pace=3),
    ),
    _listing(
        "ADA/USDT",
        "0.00001",
        "0.1",
        Shape(centre=60_000, volatility=0.95, rate=26, size=5000, spread=5, gap=2, life=7, pace=2),
    ),
    _listing(
        "LINK/USDT",
        "0.001",
        "0.01",
        Shape(centre=17_000, volatility=0.9, rate=24, size=1500, spread=3, gap=1, life=7, pace=2),
    ),
    _listing(
        "AVAX/USDT",
        "0.001",
        "0.01",
        Shape(centre=25_000, volatility=1.0, rate=24, size=1200, spread=4, gap=1, life=7, pace=3),
    ),
    _listing(
        "BCH/USDT",
        "0.01",
        "0.001",
        Shape(centre=48_000, volatility=0.8, rate=22, size=400, spread=6, gap=2, life=7, pace=3),
    ),
    # the quiet one: seconds without any change, minutes with a single print
    _listing(
        "PAXG/USDT",
        "0.01",
        "0.0001",
        Shape(centre=260_000, volatility=0.16, rate=1.5, size=800, spread=60, gap=6, life=16, pace=12),
    ),
)
"""What a synthetic market trades unless told otherwise: from busy to quiet."""


class Synthetic:
    """A market made of chance; see :class:`kit.sandbox.market.Market` for what it answers."""

    begins = GENESIS
    ends = None

    def __init__(self, seed: int = 7, listings: Sequence[Listing] = LISTINGS) -> None:
        self.label = f"synthetic, seed {seed}"
        self.instruments: Mapping[str, Instrument] = {one.instrument.native: one.instrument for one in listings}
        self._lines = {one.instrument.native: _Line(seed, one) for one in listings}

    def trades(
        self,
        native: str,
        *,
        now: int,
        from_id: int | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
    ) -> list[Trade]:
        line = self._line(native)
        after = line.flow.count(now if end is None else min(now, end))
        if from_id is None and start is None:
            first = max(0, after - limit)
        else:
            first = max(
                0 if from_id is None else from_id - FIRST_ID, 0 if start is None else line.flow.count(start - 1)
            )
            after = min(after, first + limit)
        return line.scale.trades(native, line.flow.numbered(first, after))

    def candles(
        self,
        native: str,
        interval: str,
        *,
        now: int,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
    ) -> CandleColumns:
        line = self._line(native)
        opens = open_times(interval, begins=GENESIS, now=now, start=start, end=end, limit=limit)
        return line.scale.columns(line.bars(opens, interval, now))

    def book(self, native: str, *, now: int, limit: int = 1000) -> BookSnapshot:
        return self._line(native).ladder.snapshot(_slot(now), limit)

    def quote(self, native: str, *, now: int) -> Quote:
        return self._line(native).ladder.quote(_slot(now))

    def events(self, native: str, *, after: int, until: int) -> list[MarketEvent]:
        line = self._line(native)
        after = max(after, GENESIS)
        happened: list[MarketEvent] = []
        for slot in range(slot_of(after) + 1, slot_of(until) + 1):
            happened += line.ladder.change(slot)
        happened += line.scale.trades(native, line.flow.numbered(line.flow.count(after), line.flow.count(until)))
        return sorted(happened, key=lambda event: event.time)

    def _line(self, native: str) -> _Line:
        try:
            return self._lines[native]
        except KeyError:
            raise UnknownName("symbol", native, self._lines) from None


class _Line:
    """One instrument of the market, and its bars."""

    def __init__(self, seed: int, listing: Listing) -> None:
        self.scale = Scale.of(listing.instrument)
        self.flow = Flow(seed, listing.instrument.native, listing.shape)
        self.ladder = Ladder(seed, listing.instrument, self.flow)
        self._day = lru_cache(maxsize=4096)(lambda day: self._folded(day * DAY, (day + 1) * DAY))

    def bars(self, opens: Ints, interval: str, now: int) -> Bars:
        """The bars that open at ``opens``, as far as they had come by ``now``."""
        if not len(opens):
            return bars_of(NO_PRINTS, opens, 0)
        start, end = int(opens[0]), bars_end(opens, interval, now)
        step = interval_us(interval)
        if 0 < step < MINUTE:
            return self._printed(opens, end)
        days = step % DAY == 0
        return fold(self._days(start, end) if days else self._minutes(start, end), opens)

    def _days(self, start: int, end: int) -> Bars:
        """Bars of the days from ``start``, the last one cut at ``end``."""
        parts = [self._day(day) for day in range(max(start, GENESIS) // DAY, end // DAY)]
        today = end - end % DAY
        if today < end:
            parts.append(self._folded(today, end))
        return joined(parts)

    def _folded(self, start: int, end: int) -> Bars:
        """One bar from ``start`` to ``end``."""
        return fold(self._minutes(start, end), np.array([start]))

    def _minutes(self, start: int, end: int) -> Bars:
        """Bars of the minutes from ``start``, the last one cut at ``end``."""
        first, after = (max(0, time - GENESIS) // MINUTE for time in (start, end))
        parts = [
            self.flow.minutes(chunk).part(
                max(0, first - chunk * CHUNK_MINUTES), min(CHUNK_MINUTES, after - chunk * CHUNK_MINUTES)
            )
            for chunk in range(first // CHUNK_MINUTES, -(-after // CHUNK_MINUTES))
        ]
        minute = GENESIS + after * MINUTE
        if minute < end:
            parts.append(self._printed(np.array([minute]), end))
        return joined(parts)

    def _printed(self, opens: Ints, end: int) -> Bars:
        """Bars from single prints, the last one cut at ``end``."""
        first, after = self.flow.count(int(opens[0]) - 1), self.flow.count(end - 1)
        before = self.flow.numbered(max(0, first - 1), first)
        price = int(before.price[-1]) if first else self.ladder.touch(0).ask
        return bars_of(self.flow.numbered(first, after), opens, price)


def _slot(now: int) -> int:
    if now < GENESIS:
        raise BadRange(f"the synthetic market begins at {iso(GENESIS)}; ask for a later time")
    return slot_of(now)
