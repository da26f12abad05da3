"""Reasons not to send an order: small checks over one context, asked in turn.

They guard against one's own slip (a zero too many, a limit on the wrong side of the market), not against
the market. The instrument's own rules are in ``rules``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from kit.model import ZERO, Instrument, OrderRequest, OrderType, Side
from kit.orders.account import MARKET_HEADROOM, Account, reservation
from kit.orders.rules import parse_amount, plain


@dataclass(frozen=True)
class Limits:
    """What an account allows itself; None: not limited. Amounts in the instrument's quote, typed as in an order.

    Raises BadOrder for what is no amount.
    """

    order_notional: Decimal | None = None
    """Largest worth of one order."""
    position_notional: Decimal | None = None
    """Largest worth of what may be held of one instrument, open buys included."""
    collar: Decimal | None = Decimal("0.1")
    """How far through the market a limit may reach, as a share of the reference price."""
    open_orders: int | None = 200
    """Most orders open at once in one instrument (Binance Spot's MAX_NUM_ORDERS is 200)."""
    headroom: Decimal = MARKET_HEADROOM
    """How far above the reference a market buy must be affordable."""

    def __post_init__(self) -> None:
        for name in ("order_notional", "position_notional", "collar", "headroom"):
            typed = getattr(self, name)
            if typed:
                object.__setattr__(self, name, parse_amount(name, typed))


@dataclass(frozen=True)
class Context:
    """What a check may look at. ``reference`` is the market's price now (the mid), None when unknown."""

    instrument: Instrument
    request: OrderRequest
    account: Account
    reference: Decimal | None
    limits: Limits = Limits()
    open_orders: int = 0
    """Orders of this instrument that are not final."""
    open_buys: Decimal = ZERO
    """Base quantity that open buys of this instrument may still add."""
    freed: Decimal = ZERO
    """What an order that this one replaces gives back of the asset both spend."""

    @property
    def price(self) -> Decimal | None:
        """What the order is valued at: its limit, else its stop, else the reference."""
        return self.request.price or self.request.stop or self.reference


Check = Callable[[Context], str | None]


def first_objection(context: Context) -> str | None:
    """The first check's reason against the order, None when there is none."""
    return next((reason for check in CHECKS if (reason := check(context))), None)


def open_order_count(context: Context) -> str | None:
    """No more than so many orders open at once."""
    most = context.limits.open_orders
    if most is None or context.open_orders < most:
        return None
    return (
        f"{context.open_orders} orders are open in {context.instrument.symbol}, the limit is {most}; cancel some first"
    )


def collar(context: Context) -> str | None:
    """A limit far through the market is a slip of the finger: a buy far above it, a sell far below."""
    request, share, reference = context.request, context.limits.collar, context.reference
    if request.price is None or share is None or reference is None:
        return None
    anchor = reference if request.stop is None else request.stop
    edge = anchor * (1 + request.side.sign * share)
    if (request.price - edge) * request.side.sign <= 0:
        return None
    return (
        f"{request.side} limit {plain(request.price)} is more than {share:%} through the market at {plain(anchor)}; "
        f"the collar ends at {plain(context.instrument.price(edge))}"
    )


def order_notional(context: Context) -> str | None:
    """No single order worth more than so much."""
    most, price = context.limits.order_notional, context.price
    if most is None:
        return None
    if price is None:
        return "the order's worth can't be told without a market price; wait for one"
    worth = context.request.qty * price
    if worth <= most:
        return None
    return _too_much(context, "the order is worth", worth, "one order", most)


def position_notional(context: Context) -> str | None:
    """No position worth more than so much, counting what open buys may add. Sells only make it smaller."""
    most, price = context.limits.position_notional, context.price
    if most is None or context.request.side is Side.SELL:
        return None
    if price is None:
        return "the position's worth can't be told without a market price; wait for one"
    held = context.account.total(context.instrument.base)
    worth = (held + context.open_buys + context.request.qty) * price
    if worth <= most:
        return None
    return _too_much(context, "the position would be worth", worth, "one position", most)


def balance(context: Context) -> str | None:
    """The account must be able to pay: base for a sell; quote for a buy, at the worst price it may get."""
    request, instrument = context.request, context.instrument
    if request.side is Side.BUY and context.price is None:
        return "a market buy can't be funded without a market price; wait for one"
    asset, needed = reservation(instrument, request, context.reference, headroom=context.limits.headroom)
    free = context.account.free(asset) + context.freed
    if needed <= free:
        return None
    most = instrument.qty(max(free, ZERO) * request.qty / needed)
    up_to = "up to " if request.type in (OrderType.MARKET, OrderType.STOP) and request.side is Side.BUY else ""
    return f"it needs {up_to}{plain(needed)} {asset} and {plain(free)} is free; {_way_out(context, asset, most)}"


def _way_out(context: Context, asset: str, most: Decimal) -> str:
    """What to do when ``most`` is all that can be paid for."""
    if most:
        return f"{context.request.side} at most {plain(most)}, or free some by cancelling an order"
    return "free some by cancelling an order" if context.account.total(asset) else "this account holds none of it"


CHECKS: tuple[Check, ...] = (open_order_count, collar, order_notional, position_notional, balance)


def _too_much(context: Context, what: str, worth: Decimal, of_what: str, most: Decimal) -> str:
    quote = context.instrument.quote
    return f"{what} {plain(worth)} {quote}, the limit for {of_what} is {plain(most)}; ask for less or raise the limit"
