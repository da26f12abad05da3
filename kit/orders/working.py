"""An order as the fill simulator holds it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kit.model import ZERO, OrderRequest, Side, TimeInForce


@dataclass
class Working:
    """An order at the venue that may still fill.

    ``queue_ahead`` is the displayed quantity that must trade at the order's price before the order does (None:
    not known, so only a trade through the price fills it). ``since`` is its arrival, µs UTC. ``waiting`` is True
    until it has met its first picture or bar, and again from a stop's trigger to the next one. ``budget`` is
    what a market or stop buy may still spend, in quote (None: not limited).
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

    @property
    def dormant(self) -> bool:
        """A stop that has not been triggered."""
        return self.request.stop is not None and not self.triggered

    @property
    def rests(self) -> bool:
        """What is not filled at once stays in the book."""
        return self.request.price is not None and self.request.tif is TimeInForce.GTC

    def accepts(self, price: Decimal) -> bool:
        """The price is the limit or better."""
        limit = self.request.price
        return limit is None or (price <= limit if self.request.side is Side.BUY else price >= limit)

    def beaten_by(self, price: Decimal) -> bool:
        """The market stands strictly through the limit: below a buy's, above a sell's."""
        limit = self.request.price
        return limit is not None and (price < limit if self.request.side is Side.BUY else price > limit)

    def reached_by(self, price: Decimal) -> bool:
        """The market stands at the stop or beyond: above a buy's, below a sell's."""
        stop = self.request.stop
        return stop is not None and (price >= stop if self.request.side is Side.BUY else price <= stop)


def price_first(order: Working) -> Decimal:
    """A sort key: the best price for the other side comes first; sorting is stable, so then the oldest."""
    return -order.request.side.sign * (order.request.price or ZERO)
