"""Prints and the bars made of them, in whole ticks and lots: sums and comparisons are exact until the last division.

A bar without prints has no volume and its four prices are the last price before it, as Binance's klines do.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kit.market.candles import bar_count, bars_before, ends, floor_time, next_time
from kit.model import Instrument, Side, Trade
from kit.sandbox.chance import Floats, Ints
from kit.sandbox.market import CandleColumns

Flags = npt.NDArray[np.bool_]


class Prints(NamedTuple):
    """Public trades in the order they happened; ids run on from ``first_id``."""

    first_id: int
    time: Ints
    price: Ints
    """In ticks."""
    lots: Ints
    bought: Flags
    """The taker bought."""

    def part(self, start: int, stop: int) -> Prints:
        """Those at the positions ``start`` to ``stop - 1``."""
        piece = slice(start, stop)
        return Prints(self.first_id + start, self.time[piece], self.price[piece], self.lots[piece], self.bought[piece])


_NONE = np.empty(0, np.int64)
NO_PRINTS = Prints(0, _NONE, _NONE, _NONE, np.empty(0, np.bool_))


class Bars(NamedTuple):
    """Bars as columns: prices in ticks, volumes in lots, turnovers in ticks times lots; ``bought_``: by takers."""

    time: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    lots: Ints
    turnover: Ints
    prints: Ints
    bought_lots: Ints
    bought_turnover: Ints
    first_id: Ints
    """Of the first print in the bar, or of the next one after a bar without prints."""

    def part(self, start: int, stop: int) -> Bars:
        """Those at the positions ``start`` to ``stop - 1``."""
        return Bars(*(column[start:stop] for column in self))


def joined(parts: Sequence[Bars]) -> Bars:
    """Bars one after the other."""
    return parts[0] if len(parts) == 1 else Bars(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def fold(bars: Bars, opens: Ints) -> Bars:
    """Longer bars, which open at ``opens``, from shorter ones that fill each of them."""
    at = np.searchsorted(bars.time, opens)
    last = np.append(at[1:], len(bars.time)) - 1
    return Bars(
        time=opens,
        open=bars.open[at],
        high=np.maximum.reduceat(bars.high, at),
        low=np.minimum.reduceat(bars.low, at),
        close=bars.close[last],
        lots=np.add.reduceat(bars.lots, at),
        turnover=np.add.reduceat(bars.turnover, at),
        prints=np.add.reduceat(bars.prints, at),
        bought_lots=np.add.reduceat(bars.bought_lots, at),
        bought_turnover=np.add.reduceat(bars.bought_turnover, at),
        first_id=bars.first_id[at],
    )


def bars_of(prints: Prints, opens: Ints, price_before: int) -> Bars:
    """Bars that open at ``opens`` of prints in them; ``price_before`` is the last price before them all."""
    at = np.append(np.searchsorted(prints.time, opens), len(prints.time))
    first, after, count = at[:-1], at[1:], np.diff(at)
    full = count > 0
    price = np.append(prints.price, price_before)  # -1 is the price before all
    close = price[after - 1]
    high, low = close.copy(), close.copy()
    if full.any():
        high[full] = np.maximum.reduceat(prints.price, first[full])
        low[full] = np.minimum.reduceat(prints.price, first[full])
    turnover = prints.price * prints.lots
    return Bars(
        time=opens,
        open=np.where(full, price[first], close),
        high=high,
        low=low,
        close=close,
        lots=_sums(prints.lots, at),
        turnover=_sums(turnover, at),
        prints=count,
        bought_lots=_sums(prints.lots * prints.bought, at),
        bought_turnover=_sums(turnover * prints.bought, at),
        first_id=prints.first_id + first,
    )


def _sums(column: Ints, at: npt.NDArray[np.intp]) -> Ints:
    """Sums between each two neighbouring positions."""
    before = np.concatenate(([0], np.cumsum(column)))
    total: Ints = np.diff(before[at])
    return total


class Scale(NamedTuple):
    """Whole steps of an instrument as numbers: exact division, so a price reads as the venue would write it."""

    tick: Decimal
    lot: Decimal

    @classmethod
    def of(cls, instrument: Instrument) -> Scale:
        """The instrument's own steps."""
        return cls(instrument.tick, instrument.lot)

    def prices(self, ticks: Ints) -> Floats:
        """Ticks as prices."""
        return _exact(ticks, self.tick)

    def amounts(self, lots: Ints) -> Floats:
        """Lots as quantities."""
        return _exact(lots, self.lot)

    def columns(self, bars: Bars) -> CandleColumns:
        """Bars as the columns that a market answers with."""
        full = bars.prints > 0
        turnover = self.tick * self.lot
        return {
            "time": bars.time,
            **{name: self.prices(getattr(bars, name)) for name in ("open", "high", "low", "close")},
            "volume": self.amounts(bars.lots),
            "quote_volume": _exact(bars.turnover, turnover),
            "trades": bars.prints,
            "taker_base": self.amounts(bars.bought_lots),
            "taker_quote": _exact(bars.bought_turnover, turnover),
            "first_id": np.where(full, bars.first_id, -1),
            "last_id": np.where(full, bars.first_id + bars.prints - 1, -1),
        }

    def trades(self, native: str, prints: Prints) -> list[Trade]:
        """Prints as trades."""
        rows = zip(
            self.prices(prints.price).tolist(),
            self.amounts(prints.lots).tolist(),
            prints.time.tolist(),
            prints.bought.tolist(),
            strict=True,
        )
        return [
            Trade(native, number, price, qty, time, Side.BUY if bought else Side.SELL)
            for number, (price, qty, time, bought) in enumerate(rows, prints.first_id)
        ]


def _exact(steps: Ints, step: Decimal) -> Floats:
    numerator, denominator = step.as_integer_ratio()
    scaled: Floats = (steps if numerator == 1 else steps * numerator) / denominator
    return scaled


def open_times(interval: str, *, begins: int, now: int, start: int | None, end: int | None, limit: int) -> Ints:
    """Open times (µs) of the bars that :meth:`kit.sandbox.market.Market.candles` is asked for."""
    newest = now if end is None else min(now, end)
    first = floor_time(begins, interval)
    if start is not None:
        first = max(first, next_time(start - 1, interval))
    count = bar_count(first, newest + 1, interval) if now >= begins else 0
    if start is None and count > limit:
        first = bars_before(newest, interval, limit - 1)
    opens = [first]
    for _ in range(min(count, limit) - 1):
        opens.append(next_time(opens[-1], interval))
    return np.array(opens if count else [], dtype=np.int64)


def bars_end(opens: Ints, interval: str, now: int) -> int:
    """The first moment that is in none of the bars, or has not come."""
    return min(int(ends(opens[-1:], interval)[0]), now + 1)
