"""What an instrument allows: the venue's filters, checked before anything is sent.

The rules are Binance Spot's (filters.md); a venue with fewer leaves the limits at 0, which disables them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from numbers import Real

import msgspec

from kit.errors import BadOrder
from kit.model import Instrument, OrderRequest, OrderType, on_grid

LARGEST = Decimal("1e15")
"""No venue's amounts come near it; beyond it Decimal's 28 digits no longer hold 8 decimals and a product."""


@dataclass(frozen=True)
class Violation:
    """The first rule an order breaks: Binance's name of the filter, and words with the nearest valid value."""

    filter: str
    message: str


def parse_amount(name: str, value: object) -> Decimal:
    """A price or quantity a person typed, as exact money.

    int, str and Decimal are taken as they are, a float (numpy's too) by its shortest repr: 0.1 means 0.1.
    Raises BadOrder for NaN, infinity, zero, negatives, booleans, text that is no number, and anything
    above 1e15.
    """
    amount = _decimal(name, value)
    if not amount.is_finite():
        raise BadOrder(f"{name}={value} is not an amount; nothing was sent: give a finite number above 0")
    if amount <= 0:
        raise BadOrder(f"{name}={value} must be above 0; nothing was sent")
    if amount > LARGEST:
        raise BadOrder(f"{name}={value} is larger than any venue trades; nothing was sent")
    return amount


def _decimal(name: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Real | str | Decimal):
        raise BadOrder(f"{name}={value!r} is not a number; nothing was sent: give an int, float, str or Decimal")
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise BadOrder(f"{name}={value!r} is not a number; nothing was sent") from None


def plain(amount: Decimal) -> str:
    """An amount as people write it: no exponent, no trailing zeros."""
    return f"{amount.normalize():f}"


def check(instrument: Instrument, request: OrderRequest, reference: Decimal | None = None) -> Violation | None:
    """The first rule the order breaks, in Binance's order, or None.

    Before the filters: ``MARKET_CLOSED`` when the instrument is not trading (Binance: "Market is closed.").
    ``reference`` is the price that values a market order (quote per base); None leaves its notional unchecked.
    """
    for name, rule in RULES:
        message = rule(instrument, request, reference)
        if message:
            return Violation(name, message)
    return None


class Steps(msgspec.Struct, frozen=True):
    """Where amounts may stand: multiples of ``step`` from ``low`` to ``high`` (0: not limited).

    The grid starts at 0, not at the minimum (filters.md: ``price % tickSize == 0``).
    """

    name: str
    step: Decimal
    low: Decimal
    high: Decimal

    def objection(self, what: str, value: Decimal) -> str:
        """What is wrong with an amount: none at all, too low, too high, between two steps; or nothing."""
        if not value.is_finite() or value <= 0 or value > LARGEST:
            return f"{what} {value} is not an amount above 0"
        if self.low and value < self.low:
            wrong, near = f"below the minimum {plain(self.low)}", [self._up(self.low)]
        elif self.high and value > self.high:
            wrong, near = f"above the maximum {plain(self.high)}", [self._down(self.high)]
        elif self.step and value % self.step:
            wrong = f"not a multiple of the {self.name} {plain(self.step)}"
            near = [n for n in (self._down(value), self._up(value)) if self._allows(n)]
        else:
            return ""
        return f"{what} {plain(value)} is {wrong}; nearest: {' or '.join(map(plain, near))}"

    def _allows(self, value: Decimal) -> bool:
        return value > 0 and value >= self.low and (not self.high or value <= self.high)

    def _up(self, value: Decimal) -> Decimal:
        return on_grid(value, self.step, ROUND_CEILING)

    def _down(self, value: Decimal) -> Decimal:
        return on_grid(value, self.step, ROUND_FLOOR)


def _closed(instrument: Instrument, _request: OrderRequest, _reference: Decimal | None) -> str:
    if instrument.status == "trading":
        return ""
    return f"{instrument.symbol} is not trading ({instrument.status}); wait until the venue opens it"


def _price_filter(instrument: Instrument, request: OrderRequest, _reference: Decimal | None) -> str:
    """PRICE_FILTER holds for the stop price too."""
    steps = Steps("tick", instrument.tick, instrument.min_price, instrument.max_price)
    for name, price in (("price", request.price), ("stop price", request.stop)):
        objection = "" if price is None else steps.objection(name, price)
        if objection:
            return objection
    return ""


def _lot_size(instrument: Instrument, request: OrderRequest, _reference: Decimal | None) -> str:
    steps = Steps("lot", instrument.lot, instrument.min_qty, instrument.max_qty)
    return steps.objection("quantity", request.qty)


def _market_lot_size(instrument: Instrument, request: OrderRequest, _reference: Decimal | None) -> str:
    if request.type is not OrderType.MARKET:
        return ""
    steps = Steps("market lot", instrument.market_lot, instrument.market_min_qty, instrument.market_max_qty)
    return steps.objection("quantity", request.qty)


def _notional(instrument: Instrument, request: OrderRequest, reference: Decimal | None) -> str:
    """A stop without a limit is valued at its stop, a market order at the reference price."""
    price = request.price or request.stop or reference
    if price is None or (request.price is None and not instrument.notional_applies_to_market):
        return ""
    worth, low, high = request.qty * price, instrument.min_notional, instrument.max_notional
    if low and worth < low:
        wrong, near = f"below the minimum notional {plain(low)}", on_grid(low / price, instrument.lot, ROUND_CEILING)
    elif high and worth > high:
        wrong, near = f"above the maximum notional {plain(high)}", on_grid(high / price, instrument.lot, ROUND_FLOOR)
    else:
        return ""
    said = f"{plain(request.qty)} {instrument.base} at {plain(price)} is worth {plain(worth)} {instrument.quote}"
    return f"{said}, {wrong}; nearest quantity: {plain(near)}"


Rule = Callable[[Instrument, OrderRequest, Decimal | None], str]
"""What is wrong, or the empty string."""

RULES: tuple[tuple[str, Rule], ...] = (
    ("MARKET_CLOSED", _closed),
    ("PRICE_FILTER", _price_filter),
    ("LOT_SIZE", _lot_size),
    ("MARKET_LOT_SIZE", _market_lot_size),
    ("NOTIONAL", _notional),
)
"""Name and rule, in the order in which the filters stand in Binance's exchangeInfo."""
