"""The exchange itself: accounts, keys, orders, balances, and matching in its market. Pure: it is told the time.

A user's order is matched against the market's displayed book and prints by the kit's one fill simulator. It
leaves no footprint there: nobody else sees it, no print of it appears on the public tape, and two users of
the same sandbox don't trade with one another. Order and trade ids of users are the exchange's own, counted up.

Every change is put into ``take()`` in the order it happened. Whoever runs the exchange makes them durable
before it answers anybody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from kit.model import Balance, Fees, Fill, Instrument, OrderRequest, OrderType, Report, ReportKind, Side
from kit.orders.account import Account, reservation
from kit.orders.rules import check
from kit.sandbox.auth import Credential
from kit.sandbox.budgets import OrderBudget
from kit.sandbox.market import Market
from kit.sandbox.pit import Pit, Told
from kit.sandbox.receipts import ZERO, Change, Execution, Ticket, VenueOrder
from kit.sandbox.refusals import (
    DUPLICATE_ORDER,
    INSUFFICIENT_BALANCE,
    MARKET_CLOSED,
    UNKNOWN_ORDER,
    WOULD_TRIGGER,
    Refusal,
)

MAX_ORDERS = 200
MAX_STOPS = 5
"""Open orders, and among them untriggered stops, that an account may have in one symbol."""
BOOK_LEVELS = 5_000
"""How deep an order at market is valued."""
STOP_HEADROOM = Decimal("0.05")
"""How far above its stop price a stop buy at market locks, and may spend: what will be asked isn't known yet."""


@dataclass
class Member:
    """One account of the exchange."""

    name: str
    ledger: Account
    created: int
    orders: dict[int, VenueOrder] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    """Client id -> order id of open orders."""
    fills: list[Execution] = field(default_factory=list)
    budget: OrderBudget = field(default_factory=OrderBudget)
    updated: int = 0


class Exchange:
    """Accounts and their orders in one market. ``first_id`` is above every id it gave out before."""

    def __init__(self, market: Market, *, fees: Fees | None = None, first_id: int = 1) -> None:
        self.market = market
        self.fees = fees or Fees()
        self.members: dict[str, Member] = {}
        self.keys: dict[str, Credential] = {}
        self.pits: dict[str, Pit] = {}
        self._next_id = first_id
        self._changes: list[Change] = []

    # -- who ----------------------------------------------------------------------------------------------------------

    def open_account(self, name: str, cash: Mapping[str, Decimal], now: int) -> Member:
        """A new account with opening balances (asset -> amount)."""
        member = self.members[name] = Member(name, Account(cash), now, updated=now)
        return member

    def register(self, credential: Credential) -> None:
        """Let a key speak for an account."""
        self.keys[credential.key] = credential

    # -- the market ---------------------------------------------------------------------------------------------------

    def instrument(self, native: str) -> Instrument:
        """The instrument; refuses a symbol that isn't traded here."""
        if native not in self.market.instruments:
            raise Refusal("BAD_SYMBOL")
        return self.market.instruments[native]

    def closed(self, now: int) -> bool:
        """True once the market has ended."""
        return self.market.ends is not None and now >= self.market.ends

    def pit(self, native: str) -> Pit:
        """The floor of one symbol."""
        if native not in self.pits:
            self.instrument(native)
            self.pits[native] = Pit(native, self.market, self.fees, self._id)
        return self.pits[native]

    def wake(self, pit: Pit, now: int) -> None:
        """Bring a floor up to ``now``, so that whoever listens from here on hears what follows."""
        self._absorb(pit, pit.advance(now))

    def advance(self, now: int) -> None:
        """Follow every market that somebody cares about up to ``now``, and match."""
        for pit in self.pits.values():
            if pit.awake:
                self._absorb(pit, pit.advance(now))
            else:
                pit.rest()

    # -- orders -------------------------------------------------------------------------------------------------------

    def test(self, account: str, ticket: Ticket, now: int) -> None:
        """Judge an order as ``place`` would, without placing it."""
        pit = self._at(ticket.native, now)
        self._judge(self.members[account], pit, ticket, now)

    def screen(self, account: str, ticket: Ticket, now: int) -> None:
        """Judge an order by the filters alone."""
        pit = self._at(ticket.native, now)
        self._filters(self.members[account], pit, ticket.request(pit.instrument.symbol, self._quantity(pit, ticket)))

    def place(self, account: str, ticket: Ticket, now: int) -> VenueOrder:
        """Accept an order and match it against the picture of ``now``; refuses with the venue's words."""
        member = self.members[account]
        pit = self._at(ticket.native, now)
        request, budget = self._judge(member, pit, ticket, now)
        simulator = pit.simulator(account)
        simulator.on_book(pit.book, now)
        reports = simulator.submit(ticket.client_id, request, now, budget=budget)
        if reports[0].kind is ReportKind.REJECTED:
            raise Refusal("NEW_ORDER_REJECTED", reports[0].reason)
        order = _accepted(member, ticket, request, reports[0])
        member.orders[order.id], member.open[order.client_id] = order, order.id
        _reserve(member, pit.instrument, order)
        self._absorb(pit, [(account, report) for report in reports])
        return member.orders[order.id]

    def cancel(self, account: str, order: VenueOrder, now: int, cancel_id: str) -> VenueOrder:
        """Cancel an open order; ``cancel_id`` names the cancel itself."""
        pit = self._at(order.native, now)
        reports = pit.simulator(account).cancel(order.client_id, now) if self._is_open(account, order) else []
        if not reports:
            raise Refusal("CANCEL_REJECTED", UNKNOWN_ORDER)
        self._absorb(pit, [(account, report) for report in reports], cancel_id)
        return self.members[account].orders[order.id]

    def find(self, account: str, native: str, order_id: int | None, client_id: str | None) -> VenueOrder | None:
        """The order by the venue's id, else the newest one by the client's (an open one is always the newest)."""
        member = self.members[account]
        if order_id is not None:
            order = member.orders.get(order_id)
            found = order if order and order.native == native else None
            if found and client_id is not None and found.client_id != client_id:
                raise Refusal("ID_MISMATCH")
            return found
        same = (o for o in reversed(member.orders.values()) if (o.client_id, o.native) == (client_id, native))
        return next(same, None)

    def open_orders(self, account: str, native: str | None) -> list[VenueOrder]:
        """Open orders of one symbol, or of all, oldest first."""
        member = self.members[account]
        found = [member.orders[order_id] for order_id in member.open.values()]
        return sorted((o for o in found if native in (None, o.native)), key=lambda o: o.id)

    def balances(self, account: str) -> dict[str, Balance]:
        """What the account holds; every asset traded here, zero ones too."""
        assets = {asset for i in self.market.instruments.values() for asset in (i.base, i.quote)}
        held = self.members[account].ledger.balances()
        return {asset: held.get(asset, Balance(asset, ZERO)) for asset in sorted(assets | held.keys())}

    def fresh_client_id(self) -> str:
        """An id for an order or a cancel whose sender gave none."""
        return hashlib.sha256(b"%d" % self._id()).hexdigest()[:22]

    def take(self) -> list[Change]:
        """What has changed since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes

    # -- after a restart ----------------------------------------------------------------------------------------------

    def restore(self, orders: Iterable[VenueOrder], fills: Iterable[Execution]) -> None:
        """Put back what was durable: fills are folded into balances, open orders rest again (behind the queue)."""
        for fill in sorted(fills, key=lambda each: each.id):
            member = self.members[fill.account]
            member.fills.append(fill)
            member.ledger.apply(fill.fill, self.instrument(fill.native))
            member.updated = max(member.updated, fill.fill.time)
        for order in sorted(orders, key=lambda each: each.id):
            self.members[order.account].orders[order.id] = order
            if not order.status.final:
                self._reopen(order)

    def catch_up(self, seen: int, now: int) -> None:
        """Match restored orders against what the market did while nobody looked (see Pit.catch_up).

        ``seen`` is when the market was last known to be followed; an order that changed later is taken up from there.
        """
        until = now if self.market.ends is None else min(now, self.market.ends)
        orders = [member.orders[i] for member in self.members.values() for i in member.open.values()]
        for native in {order.native for order in orders}:
            since = max(seen, *(order.updated for order in orders if order.native == native))
            if since < until:
                self._absorb(self.pits[native], self.pits[native].catch_up(since, until))

    def _reopen(self, order: VenueOrder) -> None:
        member, pit = self.members[order.account], self.pit(order.native)
        member.open[order.client_id] = order.id
        _reserve(member, pit.instrument, order)
        pit.simulator(order.account).restore(
            order.request,
            order.client_id,
            str(order.id),
            order.filled,
            order.created,
            triggered=order.request.stop is not None and bool(order.working),
            budget=member.ledger.reserved(order.client_id) if order.request.price is None else None,
        )

    # -- judging ------------------------------------------------------------------------------------------------------

    def _at(self, native: str, now: int) -> Pit:
        """The floor of a symbol with everything up to ``now`` already matched."""
        pit = self.pit(native)
        self.wake(pit, now)
        return pit

    def _judge(self, member: Member, pit: Pit, ticket: Ticket, now: int) -> tuple[OrderRequest, Decimal | None]:
        """The request, and what a market buy may spend; refuses what the venue would."""
        if self.closed(now):
            raise Refusal("INVALID_MESSAGE", MARKET_CLOSED)
        request = ticket.request(pit.instrument.symbol, self._quantity(pit, ticket))
        self._filters(member, pit, request)
        if ticket.client_id in member.open:
            raise Refusal("NEW_ORDER_REJECTED", DUPLICATE_ORDER)
        if request.stop is not None and _triggers(request, pit.reference):
            raise Refusal("NEW_ORDER_REJECTED", WOULD_TRIGGER)
        asset, amount = _needs(pit, request)
        free = member.ledger.free(asset)
        if amount > free:
            raise Refusal("NEW_ORDER_REJECTED", INSUFFICIENT_BALANCE)
        return request, _budget(request, ticket, free, amount)

    def _quantity(self, pit: Pit, ticket: Ticket) -> Decimal:
        """The quantity asked for; for a quote amount, what the displayed book gives for it, on the lot."""
        if ticket.qty is not None:
            return ticket.qty
        qty, money = ZERO, ticket.quote_qty or ZERO
        for price, shown in _levels(pit, ticket.side):
            part = min(shown, money / price)
            qty, money = qty + part, money - part * price
            if money <= 0:
                break
        rounded = pit.instrument.qty(qty)
        if not rounded:
            raise Refusal("NEW_ORDER_REJECTED", "Order book liquidity is less than symbol minimum quantity.")
        return rounded

    def _filters(self, member: Member, pit: Pit, request: OrderRequest) -> None:
        violation = check(pit.instrument, request, pit.reference)
        if violation is not None:
            raise Refusal("INVALID_MESSAGE", f"Filter failure: {violation.filter}")
        resting = self.open_orders(member.name, pit.native)
        if len(resting) >= MAX_ORDERS:
            raise Refusal("INVALID_MESSAGE", "Filter failure: MAX_NUM_ORDERS")
        stops = [order for order in resting if order.request.stop is not None and not order.working]
        if request.stop is not None and len(stops) >= MAX_STOPS:
            raise Refusal("INVALID_MESSAGE", "Filter failure: MAX_NUM_ALGO_ORDERS")

    # -- what happened ------------------------------------------------------------------------------------------------

    def _absorb(self, pit: Pit, told: Iterable[Told], cancel_id: str = "") -> None:
        """Fold reports into orders, balances and the list of changes."""
        for account, report in told:
            member = self.members[account]
            before = member.orders[member.open[report.client_id]]
            order = before.after(report, cancel_id)
            member.orders[order.id] = order
            execution = self._settle(member, pit, order, report.fill) if report.fill else None
            if order.status.final:
                member.ledger.release(order.client_id)
                del member.open[order.client_id]
                if order.filled:
                    member.budget.give_back(report.time)
            member.updated = max(member.updated, report.time)
            balances = self.balances(account)
            both = (balances[pit.instrument.base], balances[pit.instrument.quote])
            self._changes.append(Change(order=order, report=report, execution=execution, balances=both))

    def _settle(self, member: Member, pit: Pit, order: VenueOrder, fill: Fill) -> Execution:
        """Money moves for one fill."""
        member.ledger.apply(fill, pit.instrument)
        execution = Execution(id=int(fill.id), order_id=order.id, account=member.name, native=pit.native, fill=fill)
        member.fills.append(execution)
        return execution

    def _is_open(self, account: str, order: VenueOrder) -> bool:
        return self.members[account].open.get(order.client_id) == order.id

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id - 1


def _accepted(member: Member, ticket: Ticket, request: OrderRequest, report: Report) -> VenueOrder:
    """A new order, before anything has happened to it; a stop is not on the book until it is triggered."""
    return VenueOrder(
        id=int(report.venue_id),
        account=member.name,
        native=ticket.native,
        client_id=ticket.client_id,
        kind=ticket.kind,
        request=request,
        quote_qty=ticket.quote_qty or ZERO,
        created=report.time,
        updated=report.time,
        working=report.time if request.stop is None else 0,
    )


def _reserve(member: Member, instrument: Instrument, order: VenueOrder) -> None:
    """Lock what an order may still take. One at market never rests, so it locks nothing."""
    if order.request.type is OrderType.MARKET:
        return
    rest = msgspec.structs.replace(order.request, qty=order.request.qty - order.filled)
    asset, amount = reservation(instrument, rest, None, headroom=STOP_HEADROOM)
    member.ledger.reserve(order.client_id, asset, amount, qty=rest.qty)


def _needs(pit: Pit, request: OrderRequest) -> tuple[str, Decimal]:
    """The asset and amount an account must have free to place the order."""
    if request.side is Side.BUY and request.type is OrderType.MARKET:
        return pit.instrument.quote, _cost(pit, request.qty)
    return reservation(pit.instrument, request, None, headroom=STOP_HEADROOM)


def _budget(request: OrderRequest, ticket: Ticket, free: Decimal, locked: Decimal) -> Decimal | None:
    """The most a buy without a price may spend, in quote."""
    if request.side is Side.SELL or request.price is not None:
        return None
    if request.stop is not None:
        return locked
    return ticket.quote_qty or free


def _levels(pit: Pit, side: Side) -> list[tuple[Decimal, Decimal]]:
    """What is displayed against an order of this side, best first."""
    shown = pit.book.asks(BOOK_LEVELS) if side is Side.BUY else pit.book.bids(BOOK_LEVELS)
    return [(pit.instrument.price(price), pit.instrument.qty(qty)) for price, qty in shown]


def _cost(pit: Pit, qty: Decimal) -> Decimal:
    """What buying ``qty`` at market costs, as far as the displayed book goes."""
    cost = ZERO
    for price, shown in _levels(pit, Side.BUY):
        part = min(shown, qty)
        cost, qty = cost + part * price, qty - part
        if not qty:
            break
    return cost


def _triggers(request: OrderRequest, last: Decimal) -> bool:
    """True when a stop order would trigger at the last price."""
    stop = request.stop or ZERO
    return last >= stop if request.side is Side.BUY else last <= stop
