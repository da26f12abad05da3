"""A strategy's hands: one instrument of one account, through the one order path."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal

from kit.broker.desk import Desk
from kit.model import ZERO, Instrument, OrderRequest, OrderType, Side
from kit.orders.account import reservation
from kit.orders.ids import Intent
from kit.orders.lifecycle import OrderRecord


class DeskTrader:
    """Turns a strategy's wishes into intents: named by strategy, decision time and leg, so a restart repeats none.

    ``price`` gives the instrument's last price, ``cost`` what a buyer must be ready to pay for it (by default the
    same); ``name`` tells strategies on one account apart.
    """

    def __init__(
        self,
        desk: Desk,
        instrument: Instrument,
        price: Callable[[], Decimal],
        name: str,
        *,
        cost: Callable[[], Decimal] | None = None,
    ) -> None:
        self._desk, self._price, self._name = desk, price, name
        self.instrument = instrument
        self._cost = cost or price
        self._share: float | None = None
        self._decided = 0
        self._leg = 0
        self.records: list[OrderRecord] = []
        self._open: list[OrderRecord] = []

    @property
    def position(self) -> Decimal:
        return self._desk.account.total(self.instrument.base)

    @property
    def cash(self) -> Decimal:
        return self._desk.account.free(self.instrument.quote)

    @property
    def equity(self) -> Decimal:
        """Quote currency and this instrument's position; what else the account holds is not the strategy's."""
        return self._desk.account.total(self.instrument.quote) + self.position * self._price()

    def target(self, share: float, time: int) -> OrderRecord | None:
        if share == self._share:
            return None
        wanted = Decimal(repr(float(share))) * self.equity / self._price()
        missing = wanted - self.position - self._pending()
        side = Side.BUY if missing > 0 else Side.SELL
        qty = self._affordable(abs(missing)) if side is Side.BUY else min(abs(missing), self._free_base())
        qty = self.instrument.qty(qty)
        placed = None
        if qty and qty >= self.instrument.min_qty and qty * self._price() >= self.instrument.min_notional:
            placed = self.order(self._market(side, qty), time)
        self._share = share
        return placed

    def order(self, request: OrderRequest, time: int) -> OrderRecord:
        placed = self._desk.place(request, self._intent(time))
        self._open.append(placed)
        self.records.append(placed)
        return placed

    def cancel_all(self) -> None:
        for record in self._still_open():
            self._desk.cancel(record.client_id)

    def _intent(self, time: int) -> Intent:
        self._leg = self._leg + 1 if time == self._decided else 0
        self._decided = time
        return Intent(("strategy", self._name, self.instrument.symbol, str(time), str(self._leg)))

    def _still_open(self) -> list[OrderRecord]:
        self._open = [record for record in self._open if not record.status.final]
        return self._open

    def _pending(self) -> Decimal:
        """What market orders on their way will still add to the position."""
        pending = (r for r in self._still_open() if r.request.type is OrderType.MARKET)
        return sum((r.request.side.sign * r.remaining for r in pending), ZERO)

    def _market(self, side: Side, qty: Decimal) -> OrderRequest:
        return OrderRequest(symbol=self.instrument.symbol, side=side, type=OrderType.MARKET, qty=qty)

    def _free_base(self) -> Decimal:
        return self._desk.account.free(self.instrument.base)

    def _affordable(self, qty: Decimal) -> Decimal:
        """``qty``, or as much of it as the free quote covers, with the room a market order must reserve."""
        _, amount = reservation(self.instrument, self._market(Side.BUY, qty), self._cost())
        if amount <= self.cash:
            return qty
        return self.instrument.qty(qty * self.cash / amount, rounding=ROUND_FLOOR)
