"""What fills do to money: balances, reservations, positions and P&L, as a fold over fills.

Nothing here is rounded that a balance is made of: sums and products of venue amounts are exact in the
context used. The only division is the cost of a part of a position; its result is cut to 12 decimals and
what is cut off stays in the cost of the rest, so cash, cost and realized P&L always add up to the last digit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal, getcontext, setcontext
from functools import wraps
from typing import ParamSpec, TypeVar

import msgspec

from kit.errors import BadOrder, UsageError
from kit.model import EXACT, ZERO, Balance, Fill, Instrument, OrderRequest, Side

P = ParamSpec("P")
T = TypeVar("T")

MARKET_HEADROOM = Decimal("0.01")
"""How far above the reference price a market or stop buy reserves: it may pay more than the last quote."""

_COST_STEP = Decimal("1e-12")


def exactly(function: Callable[P, T]) -> Callable[P, T]:
    """``function`` in the context ``EXACT``, whatever its caller's is: a notebook may have set six digits."""

    @wraps(function)
    def exact(*args: P.args, **kwargs: P.kwargs) -> T:
        given = getcontext()
        if given is EXACT:
            return function(*args, **kwargs)
        try:
            setcontext(EXACT)
            return function(*args, **kwargs)
        finally:
            setcontext(given)

    return exact


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What was bought and not sold again, at average cost. Amounts in quote except ``qty`` (base).

    Buying q at p adds q x p to ``cost`` and q less a fee taken in base to ``qty``; a fee taken in quote is added to the
    cost. Selling q of a position moves the share q / qty of its cost out:
    ``realized`` += q x p - fee - that share. So realized P&L is net of the fees of both sides, and
    ``realized - cost`` is always the quote cash that has come in.
    """

    symbol: str
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    """Every fee so far, in quote: one taken in base is valued at its fill's price. One taken in a
    third asset (BNB) is not in it, nor in realized: it shows in that asset's balance."""

    @property
    def average_price(self) -> Decimal:
        """Quote paid per base still held, buying fees included; 0 when flat."""
        return self.cost / self.qty if self.qty else ZERO

    def unrealized(self, mark: Decimal) -> Decimal:
        """P&L in quote if the position were sold at ``mark`` without a fee."""
        return self.qty * mark - self.cost


class Reservation(msgspec.Struct, frozen=True):
    """What an order locks of an asset; ``rate`` is the lock per base quantity still to fill (None: what it spends)."""

    asset: str
    amount: Decimal
    rate: Decimal | None = None


def reservation(
    instrument: Instrument,
    request: OrderRequest,
    reference: Decimal | None,
    *,
    headroom: Decimal = MARKET_HEADROOM,
) -> tuple[str, Decimal]:
    """What an order locks: (asset, amount).

    A sell locks the base it sells. A buy with a limit locks quantity x limit in quote. A market buy locks
    quantity x ``reference`` x (1 + ``headroom``), a stop buy the same on its stop (or the reference, if higher).
    Raises BadOrder for a market buy when there is no reference price.
    """
    if request.side is Side.SELL:
        return instrument.base, request.qty
    if request.price is not None:
        return instrument.quote, request.qty * request.price
    prices = [price for price in (request.stop, reference) if price is not None]
    if not prices:
        raise BadOrder(f"a market buy of {instrument.symbol} needs a price to reserve money by; nothing was sent")
    worst = instrument.price(max(prices) * (1 + headroom), rounding=ROUND_CEILING)
    return instrument.quote, request.qty * worst


class AccountState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account at one moment, to be written down: totals by asset, locks by client id, positions by symbol."""

    total: dict[str, Decimal]
    reserved: dict[str, Reservation]
    positions: dict[str, Position]


class Account:
    """Balances and positions of one account: a fold over its fills. Any number of assets and instruments.

    The same fills in the same order give the same account to the last digit. A fill is a fact and is always
    taken; telling repeats apart is ``OrderRecord.apply``'s part. Not thread-safe: its owner locks.
    """

    def __init__(self, cash: Mapping[str, Decimal]) -> None:
        self._total: dict[str, Decimal] = dict(cash)
        self._locked: defaultdict[str, Decimal] = defaultdict(Decimal)
        self._reserved: dict[str, Reservation] = {}
        self._positions: dict[str, Position] = {}

    @property
    def state(self) -> AccountState:
        """All there is to it."""
        return AccountState(total=dict(self._total), reserved=dict(self._reserved), positions=dict(self._positions))

    @classmethod
    def restored(cls, state: AccountState) -> Account:
        """The account that was in that state."""
        account = cls(state.total)
        account._positions.update(state.positions)
        for client_id, held in state.reserved.items():
            account._reserved[client_id] = held
            account._locked[held.asset] = EXACT.add(account._locked[held.asset], held.amount)
        return account

    @exactly
    def apply(self, fill: Fill, instrument: Instrument) -> None:
        """Take in one fill: money moves, the position follows, and the order's lock shrinks by its share."""
        sign = fill.side.sign
        self._add(instrument.base, sign * fill.qty)
        self._add(instrument.quote, -sign * fill.notional)
        self._add(fill.fee_asset, -fill.fee)
        self._draw(fill)
        before = self._positions.get(instrument.symbol) or Position(symbol=instrument.symbol)
        step = _bought if fill.side is Side.BUY else _sold
        self._positions[instrument.symbol] = step(before, fill, instrument)

    @exactly
    def reserve(self, client_id: str, asset: str, amount: Decimal, *, qty: Decimal | None = None) -> None:
        """Lock ``amount`` of an asset for an order, in place of what it had locked before.

        With ``qty`` (the order's remaining base quantity) each fill frees its share, amount / qty per base,
        as Binance does for a limit filled better than its price; without, a fill frees what it spends.
        Not checked against what is free: ask ``free`` first. Raises UsageError for a negative amount.
        """
        if amount < 0:
            raise UsageError(f"order {client_id} can't reserve {amount} {asset}: the amount is negative")
        self.release(client_id)
        self._reserved[client_id] = Reservation(asset, amount, amount / qty if qty else None)
        self._locked[asset] += amount

    @exactly
    def release(self, client_id: str, amount: Decimal | None = None) -> None:
        """Free ``amount`` of what an order locks, or all of it. Nothing locked: nothing happens."""
        held = self._reserved.get(client_id)
        if held is None:
            return
        freed = held.amount if amount is None else min(amount, held.amount)
        self._locked[held.asset] -= freed
        rest = held.amount - freed
        if rest:
            self._reserved[client_id] = Reservation(held.asset, rest, held.rate)
        else:
            del self._reserved[client_id]

    def reserved(self, client_id: str) -> Decimal:
        """What an order still locks, in the asset it locks."""
        held = self._reserved.get(client_id)
        return held.amount if held else ZERO

    def total(self, asset: str) -> Decimal:
        """What the account holds of an asset, locked or not."""
        return self._total.get(asset, ZERO)

    @exactly
    def free(self, asset: str) -> Decimal:
        """What an asset has left for new orders. Negative only when fills cost more than was reserved."""
        return self.total(asset) - self._locked.get(asset, ZERO)

    def balances(self) -> dict[str, Balance]:
        """Every asset the account has ever held."""
        assets = sorted({*self._total, *(asset for asset, locked in self._locked.items() if locked)})
        return {asset: Balance(asset, self.free(asset), self._locked.get(asset, ZERO)) for asset in assets}

    def positions(self) -> dict[str, Position]:
        """Every instrument ever traded, flat ones too, by symbol."""
        return dict(self._positions)

    @exactly
    def equity(self, marks: Mapping[str, Decimal], quote: str) -> Decimal:
        """Everything the account holds, in ``quote``.

        ``marks`` are prices by our symbol; an asset is valued by ASSET/QUOTE or QUOTE/ASSET. Raises UsageError
        when a held asset has no mark: an unknown value is not zero.
        """
        return sum((_worth(asset, total, marks, quote) for asset, total in self._total.items() if total), ZERO)

    def _add(self, asset: str, amount: Decimal) -> None:
        self._total[asset] = self.total(asset) + amount

    def _draw(self, fill: Fill) -> None:
        held = self._reserved.get(fill.client_id)
        if held is None:
            return
        spent = fill.notional if fill.side is Side.BUY else fill.qty
        self.release(fill.client_id, spent if held.rate is None else held.rate * fill.qty)


def _worth(asset: str, total: Decimal, marks: Mapping[str, Decimal], quote: str) -> Decimal:
    if asset == quote:
        return total
    direct, inverse = f"{asset}/{quote}", f"{quote}/{asset}"
    if direct in marks:
        return total * marks[direct]
    if inverse in marks:
        return total / marks[inverse]
    raise UsageError(f"{total} {asset} has no price in {quote}: its equity is unknown; give a mark for {direct}")


def _fee_in_quote(fill: Fill, instrument: Instrument) -> Decimal:
    if fill.fee_asset == instrument.base:
        return fill.fee * fill.price
    return fill.fee if fill.fee_asset == instrument.quote else ZERO


def _bought(position: Position, fill: Fill, instrument: Instrument) -> Position:
    """Cost grows by what was paid; quantity by what was received."""
    in_base = fill.fee if fill.fee_asset == instrument.base else ZERO
    in_quote = fill.fee if fill.fee_asset == instrument.quote else ZERO
    return msgspec.structs.replace(
        position,
        qty=position.qty + fill.qty - in_base,
        cost=position.cost + fill.notional + in_quote,
        fees=position.fees + _fee_in_quote(fill, instrument),
    )


def _sold(position: Position, fill: Fill, instrument: Instrument) -> Position:
    """Average cost moves out with the quantity; the rest of the proceeds is profit or loss.

    What is sold beyond the position was in the account from the start: its cost is unknown, so it
    realizes nothing, and spot positions never go below zero.
    """
    in_base = fill.fee if fill.fee_asset == instrument.base else ZERO
    in_quote = fill.fee if fill.fee_asset == instrument.quote else ZERO
    gone = fill.qty + in_base
    covered = min(gone, position.qty)
    proceeds = _share(fill.notional - in_quote, covered, gone)
    cost = _share(position.cost, covered, position.qty)
    return msgspec.structs.replace(
        position,
        qty=position.qty - covered,
        cost=position.cost - cost,
        realized=position.realized + proceeds - cost,
        fees=position.fees + _fee_in_quote(fill, instrument),
    )


def _share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """``amount`` x part / whole: exact when it is all or nothing, else cut to 12 decimals."""
    if part == whole:
        return amount
    return (amount * part / whole).quantize(_COST_STEP, ROUND_HALF_EVEN) if part else ZERO
