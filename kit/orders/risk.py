"""Reasons not to send an order: small checks over one context, asked in turn.

They guard against one's own slip (a zero too many, a limit on the wrong side of the market), not against
the market. The instrument's own rules are in ``rules``. A check is asked about orders only: a cancel is never blocked.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from kit.errors import BadOrder
from kit.model import ZERO, Instrument, OrderRequest, OrderType, Side
from kit.orders.account import MARKET_HEADROOM, Account, reservation
from kit.orders.rules import parse_amount, plain


def _check_count(name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise BadOrder(f"{name}={value!r} is no count of orders: give a whole number, or None for no limit")


def _names(given: object) -> frozenset[str]:
    """The names of instruments in ``given``, which may be a single one."""
    listed: list[object] = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if wrong := [name for name in listed if not (isinstance(name, str) and name.strip())]:
        raise BadOrder(f"symbols={wrong[0]!r}: an instrument is named in text, such as BTC/USDT")
    return frozenset(str(name).strip().upper() for name in listed)


@dataclass(frozen=True)
class Limits:
    """What an account allows itself; None: not limited. Amounts in the instrument's quote, typed as in an order.

    Raises BadOrder for what is no amount, no count or no instrument's name.
    """

    order_notional: Decimal | None = None
    """Largest worth of one order."""
    position_notional: Decimal | None = None
    """Largest worth of what may be held of one instrument, open buys included."""
    collar: Decimal | None = Decimal("0.1")
    """How far through the market an order may reach, as a share of the mid."""
    open_orders: int | None = 200
    """Most orders open at once in one instrument (Binance Spot's MAX_NUM_ORDERS is 200)."""
    headroom: Decimal = MARKET_HEADROOM
    """How far above the reference a market buy must be affordable."""
    orders_per_minute: int | None = None
    """Most orders meant within any 60 seconds, amendments included."""
    daily_loss: Decimal | None = None
    """Loss of equity since 00:00 UTC, in the account's quote asset, from which on nothing is bought any more."""
    symbols: Iterable[str] | None = None
    """The only instruments that may be traded, as BASE/QUOTE; kept as a frozenset."""

    def __post_init__(self) -> None:
        for name in ("order_notional", "position_notional", "collar", "headroom", "daily_loss"):
            typed = getattr(self, name)
            if typed:
                object.__setattr__(self, name, parse_amount(name, typed))
        for name in ("open_orders", "orders_per_minute"):
            _check_count(name, getattr(self, name))
        if self.symbols is not None:
            object.__setattr__(self, "symbols", _names(self.symbols))


class Context(msgspec.Struct, frozen=True):
    """What a check may look at. ``reference`` is what a taker would pay or get now, None when unknown."""

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
    mid: Decimal | None = None
    """The middle of bid and ask; None where there are not two sides: then the reference stands in for it."""
    sent_lately: int = 0
    """Orders that this account meant within the last 60 seconds, whatever became of them."""
    lost_today: Decimal | None = None
    """Equity at 00:00 UTC (or at the account's later beginning) less equity now, in the account's quote asset: above 0
    is a loss. None when it can't be told, as while something that is held has no price."""

    @property
    def price(self) -> Decimal | None:
        """What the order is valued at: its limit, else its stop, else the reference."""
        return self.request.price or self.request.stop or self.reference


Check = Callable[[Context], str | None]


def first_objection(context: Context) -> str | None:
    """The first check's reason against the order, None when there is none."""
    return next((reason for check in CHECKS if (reason := check(context))), None)


def allowed_symbol(context: Context) -> str | None:
    """Nothing but the instruments that are named, where any are. A name that is nearly this one's may be a slip."""
    names, symbol = context.limits.symbols, context.instrument.symbol
    if names is None or symbol in names:
        return None
    near = difflib.get_close_matches(symbol, names, n=1, cutoff=0.8)
    slip = f"; is its {near[0]!r} meant to be {symbol!r}?" if near else "; add it there if it is meant"
    return f"limits.symbols allows {', '.join(sorted(names)) or 'none'} and not {symbol}{slip}"


def order_rate(context: Context) -> str | None:
    """No more than so many orders a minute: a loop that has run wild is slow."""
    most = context.limits.orders_per_minute
    if most is None or context.sent_lately < most:
        return None
    return (
        f"{context.sent_lately} orders were meant within the last minute, the limit is {most}; wait for the minute to "
        "pass, or raise orders_per_minute"
    )


def open_order_count(context: Context) -> str | None:
    """No more than so many orders open at once."""
    most = context.limits.open_orders
    if most is None or context.open_orders < most:
        return None
    return (
        f"{context.open_orders} orders are open in {context.instrument.symbol}, the limit is {most}; "
        "cancel some first, or raise open_orders"
    )


def collar(context: Context) -> str | None:
    """A price far through the market is a slip of the finger, or a market that is not there: a buy far above the mid, a
    sell far below.

    A limit is measured by itself, an order at market by what a taker would get. A stop's limit is measured from its
    stop: by then the market stands there.
    """
    request, share, mid = context.request, context.limits.collar, context.mid or context.reference
    price = context.reference if request.type is OrderType.MARKET else request.price
    if price is None or share is None or mid is None:
        return None
    anchor = mid if request.stop is None else request.stop
    edge = anchor * (1 + request.side.sign * share)
    if (price - edge) * request.side.sign <= 0:
        return None
    how = "market at" if request.price is None else "limit"
    return (
        f"{request.side} {how} {plain(price)} is more than {share:%} through the market at {plain(anchor)}; "
        f"the collar ends at {plain(context.instrument.price(edge))}: stay within it, or widen the limits' collar"
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
    return _too_much(context, "the order is worth", worth, "order_notional", most)


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
    return _too_much(context, "the position would be worth", worth, "position_notional", most)


def daily_loss(context: Context) -> str | None:
    """A day that has cost so much is over for buying.

    Selling goes on: on a spot account it only makes positions smaller, and nobody should be held in what they want to
    be rid of.
    """
    most, lost = context.limits.daily_loss, context.lost_today
    if most is None or context.request.side is Side.SELL:
        return None
    if lost is None:
        return "today's loss can't be told while something held has no price, so nothing is bought; follow its market"
    if lost < most:
        return None
    return (
        f"the account has lost {plain(lost)} since 00:00 UTC, the limit for a day is {plain(most)}; selling goes on, "
        "buying does tomorrow, or when daily_loss is raised"
    )


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


CHECKS: tuple[Check, ...] = (
    allowed_symbol,
    order_rate,
    open_order_count,
    collar,
    order_notional,
    position_notional,
    daily_loss,
    balance,
)


def _too_much(context: Context, what: str, worth: Decimal, limit: str, most: Decimal) -> str:
    quote = context.instrument.quote
    return f"{what} {plain(worth)} {quote}, the limit is {plain(most)}; ask for less or raise {limit}"
