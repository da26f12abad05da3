"""Bars of a venue that streams none of the wanted interval: folded from trades, each final by REST's word. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kit.clock import SECOND
from kit.market.candle_strand import CandleStrand
from kit.market.candles import floor_time, next_time, open_times
from kit.market.fold import Fold
from kit.market.strand import LAG_TRIES, Ask, Due, Host
from kit.market.trade_ring import TradeRing
from kit.model import Side, Trade

REFRESH = 5 * SECOND
"""µs between two questions how far a bar has come whose trades are not all held."""


class FoldedStrand(CandleStrand):
    """As a strand of bars, fed by the trades of ``trades``.

    The forming bar is the fold of its trades where they are all held. Else it is REST's version of it, asked for again
    while trades come: which of them a version holds is not told, so none can be added to it. When the next bar begins,
    REST is asked for this one once more before it is closed, so that a closed bar is the venue's own.
    """

    def __init__(self, host: Host, symbol: str, interval: str, capacity: int, trades: TradeRing, *, stale_after: float):
        super().__init__(host, interval, capacity, says_closed=False, stale_after=stale_after)
        self._symbol, self._trades = symbol, trades
        self._fold: Fold | None = None
        """Of the forming bar from its first trade on; None where that is not held."""
        self._counted = 0
        """The newest trade that the bars were told of."""

    def traded(self, trade: Trade, now: int) -> None:
        """A trade came, and is in the ring if it is in its turn."""
        if (self._wary or now - self.feed.proven > self.feed.stale_after) and not self.listens(now):
            return
        if self.due is None and trade.id == self._trades.last_id:
            if trade.id == self._counted + 1 or self.ring.last_time is None or not self._answerable:
                self._count(trade, "ws", now)
            else:
                self.catch_up(now)
        self.taken(now)

    def catch_up(self, now: int) -> None:
        """Count what REST has brought into the ring."""
        last = self._trades.last_id
        if self._up and self.due is None and last is not None and last > self._counted:
            self._refold(now)

    def trailing(self, trade: int, heard: int, now: int) -> None:
        """A version of REST's, whose answers may be a little old, is good until a trade came not long before it."""
        super().trailing(trade, heard, now)
        if self._up and self._fold is None and self.due is None and trade and self._told < heard + REFRESH:
            self.ask_for(Due(max(now, self._told + REFRESH), self.ring.last_time))

    def _count(self, trade: Trade, source: str, now: int, *, lagging: bool = False) -> None:
        """The next trade; ``lagging``: REST does not tell of its bar and is not waited for any more."""
        self._counted, last = trade.id, self.ring.last_time
        alone = lagging or not self._answerable
        if last is not None and not alone and floor_time(trade.time, self.interval) > last:
            self.ask_for(Due(now, last))
        elif self._fold is not None or last is None or alone:
            self._fold = self._fold or Fold(self._symbol, self.interval)
            self.ring.put(self._fold.add(trade), source, now)

    def _read(self, ask: Ask, columns: Mapping[str, npt.NDArray[Any]], now: int) -> None:
        times, due = columns["time"], self.due
        newest = self._trades.last_time
        lags = newest is not None and (not len(times) or floor_time(newest, self.interval) > times[-1])
        if lags and due is not None and due.lags < LAG_TRIES:
            due.lagged(now, due.lags)
            return
        super()._read(ask, columns, now)
        if self.due is None:
            self._refold(now, lagging=lags)

    def _refold(self, now: int, *, lagging: bool = False) -> None:
        """Count the trades of the forming bar: on from where the fold is, or from the first where that is held."""
        forming, held = self.ring.forming, unbroken(self._trades.snapshot({}))
        self._counted = self._trades.last_id or 0
        if forming is None:
            self._fold = None
            return
        ids, times = held["id"].to_numpy(), open_times(held)
        bar = self._fold.bar if self._fold is not None else None
        if bar is not None and bar.time == forming.time and len(ids) and ids[0] <= bar.last_trade + 1:
            first = int(np.searchsorted(ids, bar.last_trade + 1))
        else:
            first = int(np.searchsorted(times, forming.time))
            self._fold = Fold(self._symbol, self.interval) if first else None
        if self._fold is None:
            first = int(np.searchsorted(times, next_time(forming.time, self.interval)))
        columns = [held[name].to_numpy()[first:].tolist() for name in ("id", "price", "qty")]
        for number, price, qty, time in zip(*columns, times[first:].tolist(), strict=True):
            self._count(Trade(self._symbol, number, price, qty, time, Side.BUY), "backfill", now, lagging=lagging)
            if self.due is not None:
                return


def unbroken(held: pd.DataFrame) -> pd.DataFrame:
    """The trades after the last step in their ids."""
    steps = np.flatnonzero(np.diff(held["id"].to_numpy()) != 1)
    return held[int(steps[-1]) + 1 :] if len(steps) else held
