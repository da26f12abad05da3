"""What the exchange keeps about an order, and how each report changes it. Pure.

A ``VenueOrder`` is a value: every report makes a new one, so whoever holds one holds how it stood then.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kit.model import Balance, Fill, OrderRequest, OrderStatus, OrderType, Report, ReportKind, Side, TimeInForce
from kit.orders.lifecycle import TABLE, Event

ZERO = Decimal(0)

KINDS: dict[str, tuple[OrderType, bool]] = {
    "LIMIT": (OrderType.LIMIT, False),
    "LIMIT_MAKER": (OrderType.LIMIT, True),
    "MARKET": (OrderType.MARKET, False),
    "STOP_LOSS": (OrderType.STOP, False),
    "STOP_LOSS_LIMIT": (OrderType.STOP_LIMIT, False),
}
"""Binance's order types that this exchange takes -> (our type, post-only)."""

STATUSES: dict[OrderStatus, str] = {
    OrderStatus.OPEN: "NEW",
    OrderStatus.PARTIAL: "PARTIALLY_FILLED",
    OrderStatus.FILLED: "FILLED",
    OrderStatus.CANCELED: "CANCELED",
    OrderStatus.EXPIRED: "EXPIRED",
    OrderStatus.REJECTED: "REJECTED",
}


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it was asked for: Binance's parameters, read but not yet judged."""

    native: str
    side: Side
    kind: str
    client_id: str
    qty: Decimal | None = None
    quote_qty: Decimal | None = None
    price: Decimal | None = None
    stop: Decimal | None = None
    tif: TimeInForce = TimeInForce.GTC

    def request(self, symbol: str, qty: Decimal) -> OrderRequest:
        """The same in the kit's words."""
        kind, post_only = KINDS[self.kind]
        return OrderRequest(
            symbol=symbol,
            side=self.side,
            type=kind,
            qty=qty,
            price=self.price,
            stop=self.stop,
            tif=self.tif,
            post_only=post_only,
        )


class VenueOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order the exchange has accepted, as it stands. Times are µs; ``working`` is 0 until it is on the book."""

    id: int
    account: str
    native: str
    client_id: str
    kind: str
    request: OrderRequest
    created: int
    updated: int
    quote_qty: Decimal = ZERO
    status: OrderStatus = OrderStatus.OPEN
    working: int = 0
    filled: Decimal = ZERO
    filled_quote: Decimal = ZERO
    cancel_id: str = ""

    @property
    def expiry_reason(self) -> str:
        """Why it expired, in Binance's words (enums.md, "Expiry Reasons"); empty when it did not."""
        if self.status is not OrderStatus.EXPIRED:
            return ""
        if self.request.tif is TimeInForce.FOK:
            return "UNFILLED_FOK_ORDER_EXPIRED"
        if self.request.tif is TimeInForce.IOC:
            return "UNFILLED_IOC_QUANTITY_EXPIRED"
        return "INSUFFICIENT_LIQUIDITY"

    def after(self, report: Report, cancel_id: str = "") -> VenueOrder:
        """The order as it stands once ``report`` has happened."""
        filled, quote = self.filled, self.filled_quote
        if report.fill is not None:
            filled, quote = filled + report.fill.qty, quote + report.fill.notional
        event = _event(report.kind, complete=filled >= self.request.qty)
        return msgspec.structs.replace(
            self,
            updated=report.time,
            status=TABLE[self.status][event],
            filled=filled,
            filled_quote=quote,
            working=report.time if event is Event.TRIGGERED else self.working,
            cancel_id=cancel_id if event is Event.CANCELED else self.cancel_id,
        )


def _event(kind: ReportKind, *, complete: bool) -> Event:
    if kind is ReportKind.FILLED:
        return Event.ALL_FILLED if complete else Event.PART_FILLED
    return Event(kind.value)


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One fill of one order, with the ids Binance would give it."""

    id: int
    order_id: int
    account: str
    native: str
    fill: Fill


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to an order: what must be durable before anybody hears of it."""

    order: VenueOrder
    report: Report
    execution: Execution | None
    balances: tuple[Balance, ...]
    """The account's balances of both assets, after it happened."""
