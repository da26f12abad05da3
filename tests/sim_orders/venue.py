"""A venue that keeps exactly a contract's rules about client ids, and every amount to the last digit.

It is the truth that the desk is compared with, so it shares no bookkeeping with it: orders are matched by the fill
simulator, what they come to is added up here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

import msgspec

from kit.model import (
    ZERO,
    Balance,
    Fees,
    Fill,
    Instrument,
    OrderRequest,
    OrderState,
    OrderStatus,
    Report,
    ReportKind,
    Side,
)
from kit.orders.matching import Simulator
from kit.venues.base import Standing
from kit.venues.contract import Contract, Repeat, Scope
from tests.sim_orders.market import Market

OURS, FOREIGN = "ours", "foreign"
_ENDINGS = {
    ReportKind.CANCELED: OrderStatus.CANCELED,
    ReportKind.EXPIRED: OrderStatus.EXPIRED,
    ReportKind.REJECTED: OrderStatus.REJECTED,
}


class No(Exception):
    """What the venue refuses, and why: ``duplicate``, ``money``, ``gone``, ``unknown`` or ``rule``."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind, self.words = kind, words


@dataclass(frozen=True)
class Moment:
    """Where an order stood from ``time`` on, with the first ``fills`` of its fills."""

    time: int
    status: OrderStatus
    fills: int
    reason: str


@dataclass(eq=False)
class Taken:
    """An order that the venue has taken up."""

    client_id: str
    venue_id: str
    instrument: Instrument
    request: OrderRequest
    owner: str
    time: int
    fills: list[Fill] = field(default_factory=list)
    past: list[Moment] = field(default_factory=list)
    cancelled: bool = False
    """By a cancel, which gives it another client id in Binance's answers."""

    @property
    def status(self) -> OrderStatus:
        return self.past[-1].status

    @property
    def filled(self) -> Decimal:
        return sum((fill.qty for fill in self.fills), ZERO)

    def state(self, seen: int) -> OrderState | None:
        """The order as it stood at ``seen``, without the fills themselves; None before it was taken up."""
        then = next((moment for moment in reversed(self.past) if moment.time <= seen), None)
        if then is None:
            return None
        fills = self.fills[: then.fills]
        return OrderState(
            client_id=self.client_id,
            venue_id=self.venue_id,
            symbol=self.instrument.symbol,
            status=then.status,
            request=self.request,
            filled=sum((fill.qty for fill in fills), ZERO),
            filled_quote=sum((fill.notional for fill in fills), ZERO),
            time=then.time,
            reason=then.reason,
        )

    def fills_by(self, seen: int) -> list[Fill]:
        """Those that had happened at ``seen``."""
        then = next((moment for moment in reversed(self.past) if moment.time <= seen), None)
        return self.fills[: then.fills] if then else []


Heard = Callable[[Taken, Report, Standing], None]


class Venue:
    """One account at a venue. Times are its own clock's, µs."""

    def __init__(
        self,
        contract: Contract,
        markets: Mapping[str, Market],
        cash: Mapping[str, Decimal],
        *,
        fees: Fees = Fees(),  # noqa: B008 - frozen
        money_first: bool = False,
    ) -> None:
        self.contract, self.markets = contract, markets
        self.taken: list[Taken] = []
        """Every order it has taken up, the oldest first."""
        self.listener: Heard = lambda taken, report, standing: None
        self.total = dict(cash)
        self._money_first = money_first
        """It looks at the money before it looks at the id."""
        ids = count(1)
        self._simulators = {
            symbol: Simulator(market.instrument, fees, ids=lambda: next(ids)) for symbol, market in markets.items()
        }
        self._working: dict[str, Taken] = {}

    # -- orders

    def place(self, symbol: str, request: OrderRequest, client_id: str, now: int, owner: str = OURS) -> Taken:
        """The order, taken up now or the one that has the id already; raises No."""
        checks = (self._check_money, self._original) if self._money_first else (self._original, self._check_money)
        for check in checks:
            original = check(symbol, request, client_id)
            if original is not None:
                return original
        simulator = self._simulators[symbol]
        budget = self.free(simulator.instrument.quote) if request.side is Side.BUY and request.price is None else None
        reports = simulator.submit(client_id, request, now, budget=budget)
        if reports[0].kind is ReportKind.REJECTED:
            raise No("rule", reports[0].reason)
        taken = Taken(client_id, reports[0].venue_id, simulator.instrument, request, owner, now)
        self.taken.append(taken)
        self._working[client_id] = taken
        self._tell(reports)
        return taken

    def cancel(self, client_id: str, now: int) -> Taken:
        """The order, which is over now; raises No where there is none open."""
        taken = self._working.get(client_id)
        if taken is None:
            raise No("gone", "Unknown order sent.")
        taken.cancelled = True
        self._tell(self._simulators[taken.instrument.symbol].cancel(client_id, now))
        return taken

    def find(self, client_id: str, seen: int) -> Taken | None:
        """The newest order of an id that shows at ``seen``."""
        return next((t for t in reversed(self.taken) if t.client_id == client_id and t.time <= seen), None)

    def open_at(self, seen: int) -> Iterator[tuple[Taken, OrderState]]:
        """Every order that was open at ``seen``."""
        for taken in self.taken:
            state = taken.state(seen)
            if state and not state.status.final:
                yield taken, state

    # -- the market goes on

    def step(self, symbol: str, now: int, *, trade: bool) -> None:
        """Another picture, and perhaps a print."""
        market, simulator = self.markets[symbol], self._simulators[symbol]
        market.step()
        self._tell(simulator.on_book(market.book, now))
        if trade:
            self._tell(simulator.on_trade(market.trade(now), now))

    # -- money

    def free(self, asset: str) -> Decimal:
        """What is not locked by open orders."""
        return self.total.get(asset, ZERO) - self._locked(asset)

    def balances(self) -> list[Balance]:
        """What the account holds."""
        return [Balance(asset, self.free(asset), self._locked(asset)) for asset in self.total]

    # -- inside

    def _original(self, symbol: str, request: OrderRequest, client_id: str) -> Taken | None:
        known = self._working.get(client_id)
        if self.contract.scope is Scope.ACCOUNT:
            known = next((taken for taken in self.taken if taken.client_id == client_id), None)
        if known is not None and self.contract.repeat is Repeat.REFUSED:
            raise No("duplicate", "Duplicate order sent.")
        return known

    def _check_money(self, symbol: str, request: OrderRequest, client_id: str) -> None:
        instrument, market = self.markets[symbol].instrument, self.markets[symbol]
        price = request.price or Decimal(repr(market.quote.ask))
        buys = request.side is Side.BUY
        asset, needed = (instrument.quote, request.qty * price) if buys else (instrument.base, request.qty)
        if needed > self.free(asset):
            raise No("money", "Account has insufficient balance for requested action.")

    def _locked(self, asset: str) -> Decimal:
        locked = ZERO
        for taken in self._working.values():
            left = taken.request.qty - taken.filled
            if taken.request.side is Side.SELL and taken.instrument.base == asset:
                locked += left
            elif taken.request.side is Side.BUY and taken.instrument.quote == asset:
                locked += left * (taken.request.price or ZERO)
        return locked

    def _tell(self, reports: Iterable[Report]) -> None:
        for report in reports:
            taken = self._working[report.client_id]
            self._note(taken, report)
            self.listener(taken, report, Standing(taken.client_id, taken.status, taken.filled))

    def _note(self, taken: Taken, report: Report) -> None:
        fill = report.fill
        if fill is not None:
            taken.fills.append(msgspec.structs.replace(fill, venue_id=taken.venue_id))
            self._move(taken, fill)
        status = _ENDINGS.get(report.kind)
        if status is None:
            left = taken.request.qty - taken.filled
            status = OrderStatus.FILLED if not left else OrderStatus.PARTIAL if taken.fills else OrderStatus.OPEN
        taken.past.append(Moment(report.time, status, len(taken.fills), report.reason))
        if status.final:
            del self._working[taken.client_id]

    def _move(self, taken: Taken, fill: Fill) -> None:
        sign = fill.side.sign
        moves = (
            (taken.instrument.base, sign * fill.qty),
            (taken.instrument.quote, -sign * fill.qty * fill.price),
            (fill.fee_asset, -fill.fee),
        )
        for asset, amount in moves:
            self.total[asset] = self.total.get(asset, ZERO) + amount
