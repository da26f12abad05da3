"""From what a person typed to an order request."""

from __future__ import annotations

from decimal import Decimal

from kit.errors import UnknownName
from kit.model import OrderRequest, OrderType, Side, TimeInForce
from kit.orders.rules import parse_amount, plain

Amount = int | float | str | Decimal
"""A price or quantity as typed; a float is read by its shortest repr, so 0.1 means 0.1."""

TYPES = {
    (False, False): OrderType.MARKET,
    (True, False): OrderType.LIMIT,
    (False, True): OrderType.STOP,
    (True, True): OrderType.STOP_LIMIT,
}
"""(has a price, has a stop) -> type."""


def requested(
    symbol: str,
    side: Side,
    qty: Amount,
    *,
    price: Amount | None = None,
    stop: Amount | None = None,
    tif: TimeInForce | str = TimeInForce.GTC,
    post_only: bool = False,
) -> OrderRequest:
    """The request; its type follows from what is given: nothing, a price, a stop, or both.

    Raises BadOrder for an amount that is none, UnknownName for a mistyped time in force.
    """
    if tif not in set(TimeInForce):
        raise UnknownName("time in force", tif, TimeInForce)
    return OrderRequest(
        symbol=symbol,
        side=side,
        type=TYPES[price is not None, stop is not None],
        qty=parse_amount("qty", qty),
        price=None if price is None else parse_amount("price", price),
        stop=None if stop is None else parse_amount("stop", stop),
        tif=TimeInForce(tif),
        post_only=post_only,
    )


def describe(request: OrderRequest) -> str:
    """An order request in words: ``buy 0.5 BTC/USDT limit 60000``."""
    words = [request.side, plain(request.qty), request.symbol, request.type]
    words += [plain(price) for price in (request.stop, request.price) if price is not None]
    words += [request.tif] if request.tif != "gtc" else []
    words += ["post-only"] if request.post_only else []
    return " ".join(words)
