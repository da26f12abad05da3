"""Candles from trades, one trade at a time, as the venue itself would sum them up."""

from __future__ import annotations

from decimal import Decimal

from kit.market.candles import floor_time, interval_us, next_time
from kit.model import EXACT, Candle, Trade


class Fold:
    """The forming bar of one instrument and interval, kept by its trades.

    Amounts are summed in decimals, as venues do: a volume is the float nearest to the exact sum, which is what reading
    the venue's own text gives (it holds for amounts of up to 15 digits; more a float does not keep). A float sum of the
    same trades differs in its last places.

    Trades come in the order of their ids. The first bar is as whole as what was told of it: ``forming`` is the bar so
    far, with the id of its last trade in ``last_trade``. A bar in which nobody trades is not told at all. UnknownName
    for an interval nobody knows.
    """

    def __init__(self, symbol: str, interval: str, forming: Candle | None = None) -> None:
        interval_us(interval)
        self.symbol, self.interval = symbol, interval
        self.bar = forming
        """The bar so far, None before the first trade."""
        self._end = 0
        if forming is not None:
            self._end = next_time(forming.time, interval)
            self._volume, self._quote_volume = _exact(forming.volume), _exact(forming.quote_volume)

    def add(self, trade: Trade) -> Candle:
        """Count one trade; the bar as it then is. Trades that are in it already change nothing.

        A trade dated before the bar, though its id is higher, counts in it: the bar before is final.
        """
        bar = self.bar
        if bar is None or trade.time >= self._end:
            return self._open(trade)
        if trade.id <= bar.last_trade:
            return bar
        price, qty = _exact(trade.price), _exact(trade.qty)
        self._volume = EXACT.add(self._volume, qty)
        self._quote_volume = EXACT.fma(price, qty, self._quote_volume)
        high = trade.price if trade.price > bar.high else bar.high
        low = trade.price if trade.price < bar.low else bar.low
        return self._tell(trade, bar.time, bar.open, high, low, bar.trades + 1)

    def _open(self, trade: Trade) -> Candle:
        """The first trade of a bar."""
        self._end = next_time(trade.time, self.interval)
        self._volume = _exact(trade.qty)
        self._quote_volume = EXACT.multiply(_exact(trade.price), self._volume)
        price = trade.price
        return self._tell(trade, floor_time(trade.time, self.interval), price, price, price, 1)

    def _tell(self, trade: Trade, time: int, opened: float, high: float, low: float, trades: int) -> Candle:
        self.bar = Candle(
            symbol=self.symbol,
            interval=self.interval,
            time=time,
            open=opened,
            high=high,
            low=low,
            close=trade.price,
            volume=float(self._volume),
            quote_volume=float(self._quote_volume),
            trades=trades,
            closed=False,
            event_time=trade.time,
            last_trade=trade.id,
        )
        return self.bar


def _exact(value: float) -> Decimal:
    """The number that the venue wrote: the shortest one that reads as this float."""
    return Decimal(float.__repr__(value))
