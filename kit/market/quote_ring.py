"""The live frame of best bids and asks: the venue's own quotes, or the top of the book."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from kit.market.candles import index
from kit.market.ring import SOURCE_CODE, SOURCES, UNTOLD, Block, Parts, Tail, categories, moments, places
from kit.model import Quote

_PRICES, _COUNTS, _TIME, _SOURCE = places(0, 1, 2, 3), places(4, 7), places(5), places(6)


class QuoteRing(Tail):
    """The newest ``capacity`` best bids and asks of one instrument, in the order in which they were received.

    Its frame: index ``recv_ts`` (UTC), columns ``bid bid_qty ask ask_qty update_id time source epoch``. The index is
    when the quote was received, because Binance's bookTicker carries no time (web-socket-streams.md); ``time`` is the
    venue's, NaT where it sends none. Between two rows of different ``epoch`` quotes may be missing: no venue gives
    those back. With ``changes_only`` a row equal in prices and quantities to the one before it, in the same epoch, is
    left out.
    """

    COLUMNS: ClassVar[pd.Index] = pd.Index(["bid", "bid_qty", "ask", "ask_qty", "update_id", "time", "source", "epoch"])

    def __init__(self, capacity: int, *, changes_only: bool = False) -> None:
        super().__init__(capacity, floats=4, ints=4, codes=1)
        self.changes_only = changes_only
        self._last: Quote | None = None
        self._epoch = self._received = 0

    def put(self, quote: Quote, source: str, received: int, epoch: int = 0) -> bool:
        """Take one quote, received at ``received`` (µs); False when it is left out.

        One that was held back while newer ones came is dated as they are: rows stand in the order they were told in.
        """
        if self.changes_only:
            if self._repeats(quote, epoch):
                return False
            self._last, self._epoch = quote, epoch
        if received < self._received:  # noqa: PLR1730 - every quote comes by here, and max() costs three times as much
            received = self._received
        block, whole, stop = self._state
        if stop == block.rows:
            block, whole, stop = self._go_on()
        block.pack(
            block.room, stop * block.size,
            quote.bid, quote.bid_qty, quote.ask, quote.ask_qty,
            received, quote.time or UNTOLD, quote.update_id, epoch, SOURCE_CODE[source],
        )  # fmt: skip
        self._state = (block, whole, stop + 1)
        self._received = received
        return True

    def _repeats(self, quote: Quote, epoch: int) -> bool:
        last = self._last
        if last is None or epoch != self._epoch or quote.bid != last.bid or quote.ask != last.ask:
            return False
        return quote.bid_qty == last.bid_qty and quote.ask_qty == last.ask_qty

    def _index(self, block: Block) -> pd.DatetimeIndex:
        return index(block.ints[0]).rename("recv_ts")

    def _parts(self, block: Block) -> Parts:
        return [
            (block.floats, _PRICES),
            (block.ints[2:], _COUNTS),
            (moments(block.ints[1]), _TIME),
            (categories(block.codes[0], SOURCES), _SOURCE),
        ]
