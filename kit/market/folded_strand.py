"""Bars of a venue that streams none of the wanted interval: folded from trades, each final by REST's word. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kit.market.candle_strand import CandleStrand
from kit.market.candles import floor_time, open_times
from kit.market.fold import Fold
from kit.market.strand import LAG_TRIES, Ask, Due, Host
from kit.market.trade_ring import TradeRing
from kit.model import Candle, Side, Trade


class FoldedStrand(CandleStrand):
    """As a strand of bars, fed by the trades of ``trades``.

    The forming bar is the fold of its trades where they are all held, else REST's version of it and the trades since.
    When the next begins, REST is asked for it once more before it is closed, so that a closed bar is the venue's own.
    """

    def __init__(self, host: Host, symbol: str, interval: str, capacity: int, trades: TradeRing, *, stale_after: float):
        super().__init__(host, interval, capacity, says_closed=False, stale_after=stale_after)
        self._symbol, self._trades = symbol, trades
        self._fold = Fold(symbol, interval)

    def traded(self, trade: Trade, now: int) -> None:
        """A trade came, and is in the ring if it is in its turn."""
        if (self._wary or now - self.feed.proven > self.feed.stale_after) and not self.listens(now):
            return
        if self.due is None and trade.id == self._trades.last_id:
            self._grow(trade, now)
        self.taken(now)

    def _grow(self, trade: Trade, now: int) -> None:
        last = self.ring.last_time
        bar = self._fold.add(trade)
        if last is None or bar.time == last or not self._answerable:
            self.ring.put(bar, "ws", now)
        elif bar.time > last:
            self.ask_for(Due(now, last))

    def _read(self, ask: Ask, columns: Mapping[str, npt.NDArray[Any]], now: int) -> None:
        times, due = columns["time"], self.due
        newest = self._trades.last_time
        lags = newest is not None and (not len(times) or floor_time(newest, self.interval) > times[-1])
        if lags and due is not None and due.lags < LAG_TRIES:
            due.lagged(now, due.lags)
            return
        super()._read(ask, columns, now)
        if self.due is None:
            self._refold(now)

    def _refold(self, now: int) -> None:
        """The forming bar once more, from its trades."""
        forming = self.ring.forming
        if forming is None:
            return
        held = self._trades.snapshot({})
        times = open_times(held)
        first = int(np.searchsorted(times, forming.time))
        whole = first > 0
        self._fold = Fold(self._symbol, self.interval, None if whole else _as_told(forming, self._trades.last_id))
        columns = [held[name].to_numpy()[first:].tolist() for name in ("id", "price", "qty")]
        for number, price, qty, time in zip(*columns, times[first:].tolist(), strict=True) if whole else ():
            self.ring.put(self._fold.add(Trade(self._symbol, number, price, qty, time, Side.BUY)), "backfill", now)


def _as_told(forming: Candle, last_trade: int | None) -> Candle:
    """REST's version of a bar, which holds every trade until then."""
    values = {name: getattr(forming, name) for name in forming.__struct_fields__}
    return Candle(**{**values, "last_trade": last_trade or 0})
