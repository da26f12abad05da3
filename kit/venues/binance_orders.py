"""Binance Spot, orders: intents -> parameters, answers -> what happened to an order.

Everything here is exact: amounts are text on the wire and ``Decimal`` inside. Readers raise
``ValueError`` or a sibling on malformed bodies, as in ``binance_wire``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from kit.errors import BadOrder
from kit.model import (
    ZERO,
    Balance,
    Fill,
    OrderRequest,
    OrderState,
    OrderStatus,
    OrderType,
    Report,
    ReportKind,
    Side,
    TimeInForce,
)
from kit.venues.base import Params
from kit.venues.binance_wire import Stamp
from kit.venues.wire import decoder, excerpt, money

CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
"""fix-api.md states this pattern; for REST nothing is stated, so nothing wider is relied on."""

TYPES: dict[tuple[OrderType, bool], str] = {
    (OrderType.MARKET, False): "MARKET",
    (OrderType.LIMIT, False): "LIMIT",
    (OrderType.LIMIT, True): "LIMIT_MAKER",
    (OrderType.STOP, False): "STOP_LOSS",
    (OrderType.STOP_LIMIT, False): "STOP_LOSS_LIMIT",
}
_KIT_TYPES = {wire: kit for kit, wire in TYPES.items()} | {
    "TAKE_PROFIT": (OrderType.STOP, False),  # placed by other hands: like a stop it waits for a trigger
    "TAKE_PROFIT_LIMIT": (OrderType.STOP_LIMIT, False),
}
_TIMED = {"LIMIT", "STOP_LOSS_LIMIT"}
"""Types that take timeInForce; the others refuse the parameter (-1106)."""

_STATUS = {
    "NEW": OrderStatus.OPEN,
    "PENDING_NEW": OrderStatus.OPEN,
    "PARTIALLY_FILLED": OrderStatus.PARTIAL,
    "PENDING_CANCEL": OrderStatus.OPEN,  # documented as unused
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}
_ENDINGS = {
    OrderStatus.CANCELED: ReportKind.CANCELED,
    OrderStatus.REJECTED: ReportKind.REJECTED,
    OrderStatus.EXPIRED: ReportKind.EXPIRED,
}
_REASONS = {
    "INSUFFICIENT_LIQUIDITY": "the book ran out of quantity",
    "UNFILLED_IOC_QUANTITY_EXPIRED": "an IOC order does not rest: the unfilled part ended",
    "UNFILLED_FOK_ORDER_EXPIRED": "an FOK order fills whole or not at all",
    "EXECUTION_RULE_PRICE_RANGE_EXCEEDED": "filling on would have left the venue's allowed price range",
    "EXPIRED_IN_MATCH": "it would have traded with the same account (self-trade prevention)",
}


def amount(name: str, value: Decimal | None) -> str:
    """A price or quantity as the wire wants it: plain digits, never an exponent, no padding zeros."""
    if value is None or not value.is_finite() or value <= 0 or abs(value.adjusted()) > 30:
        raise BadOrder(f"{name} must be a positive number, not {value}; nothing was sent")
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def order_params(native: str, request: OrderRequest, client_id: str) -> Params:
    """The parameters of POST /api/v3/order; raises BadOrder for what Binance has no words for."""
    if not CLIENT_ID.fullmatch(client_id):
        raise BadOrder(f"client id {client_id!r} is not 1-36 of A-Z a-z 0-9 - _; nothing was sent")
    wire = TYPES[request.type, request.post_only]
    if wire not in _TIMED and request.tif is TimeInForce.FOK:
        raise BadOrder(f"Binance has no fill-or-kill {request.type} order: use a limit order; nothing was sent")
    params = [("symbol", native), ("side", request.side.upper()), ("type", wire)]
    if wire in _TIMED:
        params.append(("timeInForce", request.tif.upper()))
    params.append(("quantity", amount("quantity", request.qty)))
    if request.price is not None:
        params.append(("price", amount("price", request.price)))
    if request.stop is not None:
        params.append(("stopPrice", amount("stop", request.stop)))
    return (*params, ("newClientOrderId", client_id), ("newOrderRespType", "FULL"))


# ---- answers


class _Execution(msgspec.Struct, rename="camel"):
    price: str
    qty: str
    commission: str
    commission_asset: str
    trade_id: int


class _Placed(msgspec.Struct, rename="camel"):
    symbol: str
    order_id: int
    client_order_id: str
    transact_time: Stamp
    executed_qty: str
    status: str
    side: str
    fills: list[_Execution] = []
    expiry_reason: str | None = None


class _Cancelled(msgspec.Struct, rename="camel"):
    symbol: str
    orig_client_order_id: str
    order_id: int
    status: str
    transact_time: Stamp = 0


class _Order(msgspec.Struct, rename="camel"):
    symbol: str
    order_id: int
    client_order_id: str
    price: str
    orig_qty: str
    executed_qty: str
    cummulative_quote_qty: str  # the venue's spelling
    status: str
    time_in_force: str
    type: str
    side: str
    stop_price: str = "0"
    time: Stamp = 0
    update_time: Stamp = 0
    expiry_reason: str | None = None


class _Own(msgspec.Struct, rename="camel"):
    symbol: str
    id: int
    order_id: int
    price: str
    qty: str
    commission: str
    commission_asset: str
    time: Stamp
    is_buyer: bool
    is_maker: bool


class _Asset(msgspec.Struct):
    asset: str
    free: str
    locked: str


class _Account(msgspec.Struct):
    balances: list[_Asset]


_placed = decoder(_Placed)
_cancelled = decoder(_Cancelled)
_order = decoder(_Order)
_orders = decoder(list[_Order])
_own = decoder(list[_Own])
_account = decoder(_Account)


def status(wire: str) -> OrderStatus:
    """A venue status as ours; ValueError for one nobody documented."""
    if wire not in _STATUS:
        raise ValueError(f"unknown order status {excerpt(wire)!r}")
    return _STATUS[wire]


def ending(wire: str) -> ReportKind | None:
    """The report that tells this venue status, None while the order lives or when its fills tell it."""
    return _ENDINGS.get(status(wire))


def reason(*words: str | None) -> str:
    """The first thing the venue said about why an order ended, with what it means."""
    said = next((word for word in words if word and word != "NONE"), "")
    return f"{_REASONS[said]} ({said})" if said in _REASONS else said


def require(what: str, asked: str, answered: str) -> None:
    """ValueError unless the answer is about what was asked: another order's answer must not be taken for ours."""
    if asked != answered:
        raise ValueError(f"asked about {what} {asked}, answered about {excerpt(answered)}")


def placed(body: bytes, native: str, symbol: str, client_id: str) -> list[Report]:
    """POST order (FULL) -> accepted, its fills, and how it ended if it did."""
    wire = _placed(body)
    require("symbol", native, wire.symbol)
    require("order", client_id, wire.client_order_id)
    time, venue_id = wire.transact_time * 1_000, str(wire.order_id)
    end = ending(wire.status)
    why = reason(wire.expiry_reason, wire.status if wire.status == "EXPIRED_IN_MATCH" else None)
    if end is ReportKind.REJECTED:
        return [Report(kind=end, client_id=client_id, time=time, venue_id=venue_id, reason=why)]
    fills = [_fill(fill, wire, symbol) for fill in wire.fills]
    if sum((fill.qty for fill in fills), ZERO) != money(wire.executed_qty):
        raise ValueError("the fills do not add up to executedQty")
    reports = [Report(kind=ReportKind.ACCEPTED, client_id=client_id, time=time, venue_id=venue_id)]
    reports += [
        Report(kind=ReportKind.FILLED, client_id=client_id, time=time, venue_id=venue_id, fill=fill) for fill in fills
    ]
    if end is not None:
        reports.append(Report(kind=end, client_id=client_id, time=time, venue_id=venue_id, reason=why))
    return reports


def _fill(wire: _Execution, order: _Placed, symbol: str) -> Fill:
    """An execution told with the acknowledgement: it took, for nothing of the order rested yet."""
    return Fill(
        id=str(wire.trade_id),
        client_id=order.client_order_id,
        symbol=symbol,
        side=Side(order.side.lower()),
        qty=money(wire.qty),
        price=money(wire.price),
        fee=money(wire.commission),
        fee_asset=wire.commission_asset,
        time=order.transact_time * 1_000,
        venue_id=str(order.order_id),
    )


def cancelled(body: bytes, native: str, client_id: str) -> list[Report]:
    """DELETE order -> its end. ``origClientOrderId`` is the order; ``clientOrderId`` would be the cancel's own id."""
    wire = _cancelled(body)
    require("symbol", native, wire.symbol)
    require("order", client_id, wire.orig_client_order_id)
    kind = ending(wire.status) or ReportKind.CANCELED
    time = wire.transact_time * 1_000
    return [Report(kind=kind, client_id=client_id, time=time, venue_id=str(wire.order_id))]


def state(body: bytes, native: str, symbol: str, client_id: str) -> OrderState:
    """GET order by client id -> where it stands. The id asked for is the order's, even after a cancel renamed it."""
    wire = _order(body)
    require("symbol", native, wire.symbol)
    return _state(wire, symbol, client_id)


def states(body: bytes, native: str | None, symbol: str) -> list[OrderState]:
    """openOrders -> their states, named natively when all instruments were asked for."""
    wires = _orders(body)
    if native is None:
        return [_state(wire, wire.symbol, wire.client_order_id) for wire in wires]
    for wire in wires:
        require("symbol", native, wire.symbol)
    return [_state(wire, symbol, wire.client_order_id) for wire in wires]


def _state(wire: _Order, symbol: str, client_id: str) -> OrderState:
    quote = money(wire.cummulative_quote_qty)
    return OrderState(
        client_id=client_id,
        venue_id=str(wire.order_id),
        symbol=symbol,
        status=status(wire.status),
        request=_request(wire, symbol),
        filled=money(wire.executed_qty),
        # Negative is the venue's "not available", told for some historical orders (rest-api.md).
        filled_quote=quote if quote >= 0 else Decimal("NaN"),
        time=(wire.update_time or wire.time) * 1_000,
        reason=reason(wire.expiry_reason, wire.status if wire.status == "EXPIRED_IN_MATCH" else None),
    )


def _request(wire: _Order, symbol: str) -> OrderRequest:
    if wire.type not in _KIT_TYPES:
        raise ValueError(f"unknown order type {excerpt(wire.type)!r}")
    kind, post_only = _KIT_TYPES[wire.type]
    return OrderRequest(
        symbol=symbol,
        side=Side(wire.side.lower()),
        type=kind,
        qty=money(wire.orig_qty),
        price=money(wire.price) if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
        stop=money(wire.stop_price) if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
        tif=TimeInForce.GTC if post_only else TimeInForce(wire.time_in_force.lower()),
        post_only=post_only,
    )


def fills(body: bytes, native: str, symbol: str) -> list[Fill]:
    """myTrades -> fills. They name their order by ``venue_id`` only: the venue does not tell the client id here."""
    wires: Sequence[_Own] = _own(body)
    for wire in wires:
        require("symbol", native, wire.symbol)
    return [
        Fill(
            id=str(wire.id),
            client_id="",
            symbol=symbol,
            side=Side.BUY if wire.is_buyer else Side.SELL,
            qty=money(wire.qty),
            price=money(wire.price),
            fee=money(wire.commission),
            fee_asset=wire.commission_asset,
            time=wire.time * 1_000,
            maker=wire.is_maker,
            venue_id=str(wire.order_id),
        )
        for wire in wires
    ]


def balances(body: bytes) -> list[Balance]:
    """account -> what it holds."""
    return [Balance(a.asset, money(a.free), money(a.locked)) for a in _account(body).balances]
