"""A market that wanders: a small book a side and prints at its top, all drawn from the seed."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from kit.model import Instrument, Levels, Quote, Side, Trade

DEPTH = 3


def _instrument(base: str) -> Instrument:
    return Instrument(
        symbol=f"{base}/USDT",
        native=f"{base}USDT",
        base=base,
        quote="USDT",
        tick=Decimal("0.01"),
        lot=Decimal("0.001"),
        min_qty=Decimal("0.001"),
        min_notional=Decimal(5),
    )


BTC, ETH = _instrument("BTC"), _instrument("ETH")
INSTRUMENTS = {instrument.symbol: instrument for instrument in (BTC, ETH)}
NATIVES = {instrument.native: instrument.symbol for instrument in (BTC, ETH)}


class Shown:
    """One picture of the displayed book; it never changes."""

    def __init__(self, bids: Levels, asks: Levels) -> None:
        self._bids, self._asks = bids, asks

    def bids(self, n: int) -> Levels:
        return self._bids[:n]

    def asks(self, n: int) -> Levels:
        return self._asks[:n]


class Market:
    """One instrument's public market."""

    def __init__(self, instrument: Instrument, middle: int, random: Random) -> None:
        self.instrument, self._random = instrument, random
        self._middle, self._trades = middle, 0
        """In ticks."""
        self.step()

    def step(self) -> None:
        """Another picture."""
        random = self._random
        self._middle += random.choice((-3, -1, 0, 0, 1, 3))
        gap = random.randint(1, 2)
        self.book = Shown(self._side(-1, gap), self._side(1, gap))
        (bid, bid_qty), (ask, ask_qty) = self.book.bids(1)[0], self.book.asks(1)[0]
        self.quote = Quote(self.instrument.symbol, bid, bid_qty, ask, ask_qty)

    def trade(self, now: int) -> Trade:
        """A print at the top of the book."""
        random, self._trades = self._random, self._trades + 1
        side = random.choice((Side.BUY, Side.SELL))
        price = self.quote.ask if side is Side.BUY else self.quote.bid
        return Trade(self.instrument.symbol, self._trades, price, random.randint(1, 400) / 1000, now, side)

    def price(self, ticks: int) -> Decimal:
        """So many ticks above the middle."""
        return (self._middle + ticks) * self.instrument.tick

    def _side(self, sign: int, gap: int) -> Levels:
        random, tick = self._random, self.instrument.tick
        ticks = [self._middle + sign * (gap + step) for step in range(DEPTH)]
        return [(float(at * tick), (20 + int(280 * random.random())) / 1000) for at in ticks]
