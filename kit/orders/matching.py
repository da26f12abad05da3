"""THE fill simulator: paper, backtest and sandbox all fill orders here. (Signatures first; bodies follow.)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from kit.model import Candle, Fees, Instrument, Levels, OrderRequest, Report, Trade


class Depth(Protocol):
    """A picture of the displayed book. ``kit.market.book.Book`` is one."""

    def bids(self, n: int) -> Levels: ...
    def asks(self, n: int) -> Levels: ...


@dataclass
class Working:
    """An order at the venue that may still fill.

    ``queue_ahead`` is the displayed quantity that must trade at the order's price before the order does
    (None: not known, so only a trade through the price fills it). ``since`` is the arrival, µs UTC.
    ``waiting`` is True until the order has met its first picture (or bar).
    ``budget`` caps what a market buy may spend, in quote.
    """

    client_id: str
    venue_id: str
    request: OrderRequest
    remaining: Decimal
    since: int
    queue_ahead: Decimal | None = None
    triggered: bool = False
    waiting: bool = True
    budget: Decimal | None = None


class Simulator:
    """One account's orders in one instrument. Not thread-safe: one caller at a time."""

    def __init__(
        self, instrument: Instrument, fees: Fees, *, ids: Callable[[], int], bar_spread: Decimal = Decimal(0)
    ) -> None:
        raise NotImplementedError

    @property
    def working(self) -> Mapping[str, Working]:
        """The orders that may still fill, by client id, oldest first."""
        raise NotImplementedError

    def submit(self, client_id: str, request: OrderRequest, now: int, *, budget: Decimal | None = None) -> list[Report]:
        """An order arrives: ACCEPTED and what happens at once, or one REJECTED report.

        It matches against the last picture ``on_book`` gave; without one it waits for the first (or for
        the next bar). ``budget`` (quote) is the most a market or stop buy may spend: what it does not cover
        EXPIREs. An id that is already working is ignored: [].
        """
        raise NotImplementedError

    def cancel(self, client_id: str, now: int) -> list[Report]:
        """CANCELED, or [] when there is nothing to cancel."""
        raise NotImplementedError

    def on_book(self, depth: Depth, now: int) -> list[Report]:
        """The displayed book as of ``now``. The object is kept and read again at the next ``submit``."""
        raise NotImplementedError

    def on_trade(self, trade: Trade, now: int) -> list[Report]:
        """A public print: triggers stops, fills resting limits behind their queue."""
        raise NotImplementedError

    def on_bar(self, candle: Candle, now: int) -> list[Report]:
        """A bar that opened at or after an order's arrival: open, worse extreme, other extreme, close."""
        raise NotImplementedError

    def restore(
        self,
        request: OrderRequest,
        client_id: str,
        venue_id: str,
        filled: Decimal,
        now: int,
        *,
        triggered: bool = False,
    ) -> None:
        """Put an open order back after a restart; its place in the queue is lost. No report."""
        raise NotImplementedError
