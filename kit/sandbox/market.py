"""What the sandbox exchange asks of a market: one face for a synthetic market and for a replayed tape.

A market is a function of time. It is asked with ``now`` and never says anything that happened after it, so
the same market object answers a REST question about last year and feeds the live streams, without a seam.
Nothing the exchange's users do changes it.

Times are µs since the epoch, UTC; instruments are named by their native symbol (``BTCUSDT``). Asking for a symbol
that is not in ``instruments`` raises :class:`kit.errors.UnknownName`, as does an unknown interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kit.model import BookDelta, BookSnapshot, Instrument, Quote, Trade

CandleColumns = Mapping[str, npt.NDArray[np.generic]]
"""``kit.venues.base.Columns`` and what Binance's klines carry beside it.

int64 ``time`` (open, µs), float64 ``open high low close volume quote_volume``, int64 ``trades``;
float64 ``taker_base taker_quote`` (the part of both volumes whose taker bought);
int64 ``first_id last_id`` (ids of the first and last trade, -1 in a bar without trades).
"""

MarketEvent = Trade | BookDelta | Quote


class Market(Protocol):
    """A market as it was and is; every method is a pure function of its arguments."""

    @property
    def label(self) -> str:
        """Where the data comes from, in a few words for people: ``"synthetic, seed 7"``."""
        ...

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """What is traded, by native symbol."""
        ...

    @property
    def begins(self) -> int:
        """Nothing happened before; the first moment at which every book is known."""
        ...

    @property
    def ends(self) -> int | None:
        """Nothing happens after (a tape's end), or ``None``: it goes on."""
        ...

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
        """Prints up to ``now`` in the order they happened; ids are contiguous.

        ``start`` and ``end`` are inclusive. With ``from_id`` or ``start``: the oldest ``limit`` from there;
        without: the newest ``limit`` (up to ``end``).
        """
        ...

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
        """Bars whose open time lies in ``[start, end]``, ascending; the last one may still be forming.

        With ``start``: the oldest ``limit`` from there; without: the newest ``limit`` (up to ``end``). A bar
        without trades has zero volume and its four prices are the close before it, as Binance's klines do.
        """
        ...

    def book(self, native: str, *, now: int, limit: int = 1000) -> BookSnapshot:
        """The book shown at ``now``, at most ``limit`` levels a side."""
        ...

    def quote(self, native: str, *, now: int) -> Quote:
        """Best bid and ask shown at ``now``."""
        ...

    def events(self, native: str, *, after: int, until: int) -> list[MarketEvent]:
        """What happened in ``(after, until]``, in time order.

        Deltas chain (``first_id == previous last_id + 1``) and cover the whole book: applied to
        ``book(after)`` with every level, they give ``book(until)``.
        """
        ...
