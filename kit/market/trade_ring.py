"""The live frame of public trades."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from kit.market.candles import index
from kit.market.ring import SOURCE_CODE, SOURCES, UNTOLD, Block, Parts, Tail, categories, moments, places
from kit.model import Side, Trade

SIDES = pd.CategoricalDtype([Side.BUY.value, Side.SELL.value])
_BUY = Side.BUY
_ID, _AMOUNTS, _SIDE, _SOURCE, _RECEIVED = places(0), places(1, 2), places(3), places(4), places(5)


class TradeRing(Tail):
    """The newest ``capacity`` public trades of one instrument, ascending by id, each id once.

    Its frame: index ``time`` (UTC, the venue's), columns ``id price qty side source recv_ts``. The side is the taker's,
    ``recv_ts`` when the trade was received (UTC).
    """

    COLUMNS: ClassVar[pd.Index] = pd.Index(["id", "price", "qty", "side", "source", "recv_ts"])

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, floats=2, ints=3, codes=2)
        self.last_id: int | None = None
        self.last_time: int | None = None
        """Venue time (µs) of the newest trade, None while empty."""

    def put(self, trade: Trade, source: str, received: int = 0) -> bool:
        """Take one trade, received at ``received`` (µs); False when its id is not above the newest."""
        if self.last_id is not None and trade.id <= self.last_id:
            return False
        block, whole, stop = self._state
        if stop == block.rows:
            block, whole, stop = self._go_on()
        side = 0 if trade.side is _BUY else 1  # as in SIDES; a look-up would hash a member of an enum, which is slow
        block.pack(
            block.room, stop * block.size,
            trade.price, trade.qty, trade.time, trade.id, received or UNTOLD, side, SOURCE_CODE[source],
        )  # fmt: skip
        self._state = (block, whole, stop + 1)
        self.last_id, self.last_time = trade.id, trade.time
        return True

    def after(self, last: int | None, symbol: str) -> list[Trade]:
        """The trades kept here whose id is above ``last`` (all when None), oldest first, as trades of ``symbol``."""
        if last is not None and last == self.last_id:
            return []
        block, _, stop = self._state
        start = max(0, stop - self.capacity)
        if last is not None:
            start += int(np.searchsorted(block.ints[1, start:stop], last, side="right"))
        (price, qty), (time, ids, _) = (columns[:, start:stop].tolist() for columns in (block.floats, block.ints))
        sides = [_BUY if code == 0 else Side.SELL for code in block.codes[0, start:stop].tolist()]
        return [Trade(symbol, *told) for told in zip(ids, price, qty, time, sides, strict=True)]

    def _index(self, block: Block) -> pd.DatetimeIndex:
        return index(block.ints[0])

    def _parts(self, block: Block) -> Parts:
        return [
            (block.ints[1:2], _ID),
            (block.floats, _AMOUNTS),
            (categories(block.codes[0], SIDES), _SIDE),
            (categories(block.codes[1], SOURCES), _SOURCE),
            (moments(block.ints[2]), _RECEIVED),
        ]
