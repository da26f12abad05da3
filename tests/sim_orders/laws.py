"""What must hold at every step, and what must be so in the end. A breach is an AssertionError that tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from kit.broker.desk import Desk
from kit.broker.ledger import DOUBTFUL
from kit.broker.reconcile import Difference
from kit.model import EXACT, ZERO, Fill, OrderStatus, Side
from kit.orders.ids import Intent
from kit.orders.lifecycle import OrderRecord
from kit.venues.contract import Scope
from tests.sim_orders.venue import FOREIGN, OURS, Taken, Venue
from tests.sim_orders.voice import Question

if TYPE_CHECKING:
    from kit.store.journal import Journal

Money = tuple[str, Decimal, Decimal, Decimal, str]


def _money(fill: Fill) -> Money:
    return fill.side, fill.qty, fill.price, fill.fee, fill.fee_asset


class Laws:
    """Watches one account from its beginning: the desk on this side, the venue on that one."""

    def __init__(self, venue: Venue, start: int) -> None:
        self._venue, self._start = venue, start
        self._names: dict[str, Intent] = {}
        self._ids: dict[tuple[tuple[str, ...], int], str] = {}
        self._sent: Counter[str] = Counter()

    # -- at every step

    def named(self, intent: Intent, client_id: str) -> None:
        """Each intent has an id of its own, and keeps it."""
        other = self._names.setdefault(client_id, intent)
        assert other == intent, f"{intent} and {other} are one order, {client_id}"

    def sending(self, desk: Desk, question: Question, *, compared: bool) -> None:
        """What is about to leave was written down, may leave, and has not left before where ids guard nothing.

        ``compared``: the account was compared with the venue since there was reason to.
        """
        client_id = question.client_id
        if question.what == "cancel":
            assert client_id in desk.records, f"a stranger's order is being cancelled: {client_id}"
        if question.what != "order":
            return
        assert desk.journal.history(client_id), f"{client_id} leaves and is not in the journal"
        assert not desk.journal.halted, f"{client_id} leaves while the account is halted"
        entry = desk.intents[client_id]
        first = self._ids.setdefault((entry.parts, entry.again), client_id)
        assert first == client_id, f"{entry.parts} leaves as {client_id} and has left as {first}"
        again = self._sent[client_id] > 0
        self._sent[client_id] += 1
        if again:
            assert self._venue.contract.scope is Scope.ACCOUNT, f"{client_id} is sent again where ids guard nothing"
            assert self._sent[client_id] <= 2, f"{client_id} is sent {self._sent[client_id]} times"
        elif "account" not in entry.despite:
            assert compared, f"{client_id} leaves though the account was not compared with the venue"
            others = [record.client_id for record in desk.unresolved if record.client_id != client_id]
            assert not others, f"{client_id} leaves while {others} are not answered for"

    def taken(self, taken: Taken) -> None:
        """The venue has one order for an intent, ever."""
        same = [other for other in self._ours() if other.client_id == taken.client_id]
        assert len(same) <= 1, f"the venue has {len(same)} orders {taken.client_id}: a second one was opened"

    def order(self, record: OrderRecord) -> None:
        """What the desk says of an order was never more than is so."""
        taken = self._of(record.client_id)
        if taken is None:
            known = record.status in (*DOUBTFUL, OrderStatus.REJECTED)
            assert known or self._older(record), f"{record.client_id} is {record.status}, and the venue has none"
            assert not record.fills, f"{record.client_id} has fills, and the venue has no such order"
            return
        told = f"{record.client_id} is {record.status} here, {taken.status} at the venue"
        assert record.status is not OrderStatus.REJECTED, told
        assert not record.status.final or record.status is taken.status, told
        real = {fill.id: _money(fill) for fill in taken.fills}
        heard = {fill.id: _money(fill) for fill in record.fills}
        assert len(heard) == len(record.fills), f"{record.client_id}: a fill is counted twice"
        assert heard.items() <= real.items(), f"{record.client_id}: {heard} is not within {real}"
        assert record.filled == sum((fill.qty for fill in record.fills), ZERO), f"{record.client_id}: filled is wrong"

    def money(self, desk: Desk, cash: Mapping[str, Decimal]) -> None:
        """What is held is the opening ``cash`` and the fold of all fills; what is locked is what open orders lock."""
        account, expected = desk.account, dict(cash)
        records = list(desk.records.values())
        for record in records:
            if record.fills:
                _flow(expected, record.fills)
        held = {asset: balance.total for asset, balance in account.balances().items()}
        assert {a: v for a, v in held.items() if v} == {a: v for a, v in expected.items() if v}, (
            "money was made or lost"
        )
        for record in records:
            _locked(desk, record)
        locked = sum((balance.locked for balance in account.balances().values()), ZERO)
        reserved = sum((account.reserved(record.client_id) for record in desk.open_orders), ZERO)
        assert locked == reserved, f"{locked} is locked, open orders reserve {reserved}"

    def profit(self, desk: Desk) -> None:
        """What came in is what was realized less what is still in a position, where every sale was covered."""
        for symbol, position in desk.account.positions().items():
            fills = sorted((f for r in desk.records.values() for f in r.fills if f.symbol == symbol), key=_when)
            assert position.qty >= 0
            if any(fill.side is Side.SELL for fill in fills):
                continue
            base, quote = symbol.split("/")
            flows: dict[str, Decimal] = {}
            _flow(flows, fills)
            assert position.realized - position.cost == flows.get(quote, ZERO), f"{symbol}: cost is not what was paid"
            assert position.qty == flows.get(base, ZERO), f"{symbol}: the position is not what was received"

    def stopped(self) -> None:
        """After a halt that was proven, nothing of the account is open."""
        alive = [taken.client_id for taken in self._ours() if not taken.status.final]
        assert not alive, f"the halt was proven, and {alive} are open"

    # -- in the end

    def settled(self, desk: Desk, differences: Sequence[Difference]) -> None:
        """Every order is as the venue has it, every fill is counted, and the balances are the venue's."""
        assert not desk.unresolved, f"nobody knows about {[r.client_id for r in desk.unresolved]}"
        for taken in self._ours():
            record = desk.records.get(taken.client_id)
            assert record is not None, f"the venue has {taken.client_id}, and the account does not know it"
            here, there = (record.status, record.filled), (taken.status, taken.filled)
            assert here == there, f"{taken.client_id} is {here} here, {there} at the venue"
            assert record.venue_id == taken.venue_id, f"{taken.client_id} is another order here"
            missing = {fill.id for fill in taken.fills} - {fill.id for fill in record.fills}
            assert not missing, f"{taken.client_id}: fills {missing} are lost"
        for record in desk.records.values():
            self.order(record)
            alone = self._of(record.client_id) is None
            assert not alone or record.status is OrderStatus.REJECTED, f"{record.client_id} is {record.status}"
        self._balanced(desk)
        self._judged(differences)

    def reopened(self, desk: Desk, journal: Journal, again: Desk) -> None:
        """What the journal holds is what was there."""
        records = dict(desk.records.items())
        assert dict(again.records.items()) == records, "other orders are read than were written"
        assert again.account.balances() == desk.account.balances(), "other balances are read than were written"
        assert again.account.positions() == desk.account.positions(), "other positions are read than were written"
        assert {r.client_id: r for r in journal.orders()} == records

    # -- inside

    def _ours(self) -> list[Taken]:
        return [taken for taken in self._venue.taken if taken.owner == OURS and taken.time >= self._start]

    def _of(self, client_id: str) -> Taken | None:
        return next((taken for taken in self._ours() if taken.client_id == client_id), None)

    def _older(self, record: OrderRecord) -> bool:
        """An order of an earlier account has the id for ever: the venue may have answered with it."""
        return record.status is OrderStatus.OPEN and self._venue.find(record.client_id, self._start) is not None

    def _foreign(self) -> dict[str, Decimal]:
        """What others have moved since the beginning."""
        flows: dict[str, Decimal] = {}
        for taken in self._venue.taken:
            if taken.owner == FOREIGN:
                _flow(flows, [fill for fill in taken.fills if fill.time >= self._start])
        return flows

    def _balanced(self, desk: Desk) -> None:
        foreign = self._foreign()
        for asset, total in self._venue.total.items():
            here = desk.account.total(asset) + foreign.get(asset, ZERO)
            assert here == total, f"{asset}: {here} here, {total} at the venue"

    def _judged(self, differences: Sequence[Difference]) -> None:
        foreign = self._foreign()
        for found in differences:
            moved = found.kind in ("balance", "position") and foreign.get(found.name)
            assert "foreign" in found.verdict or moved, f"after all has settled: {found}"


def _when(fill: Fill) -> int:
    return int(fill.id)


def _flow(into: dict[str, Decimal], fills: Sequence[Fill]) -> None:
    """Add up what fills move."""
    for fill in fills:
        base, quote = fill.symbol.split("/")
        sign = fill.side.sign
        for asset, amount in (
            (base, sign * fill.qty),
            (quote, -sign * fill.qty * fill.price),
            (fill.fee_asset, -fill.fee),
        ):
            into[asset] = EXACT.add(into.get(asset, ZERO), amount)


def _locked(desk: Desk, record: OrderRecord) -> None:
    """An order locks what it may still spend, and nothing once it is over."""
    reserved, request = desk.account.reserved(record.client_id), record.request
    if record.status.final:
        assert not reserved, f"{record.client_id} is {record.status} and locks {reserved}"
    elif request.side is Side.SELL:
        assert reserved == record.remaining, f"{record.client_id} locks {reserved} for {record.remaining} to sell"
    elif request.price is not None:
        needed = EXACT.multiply(record.remaining, request.price)
        assert reserved == needed, f"{record.client_id} locks {reserved}, may spend {needed}"
    else:
        assert reserved >= 0
