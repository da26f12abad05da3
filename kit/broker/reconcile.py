"""The journal against the venue: after a start, after silence, after an order nobody answered for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from kit.broker.executions import missed
from kit.errors import KitError
from kit.model import Balance, Fill, OrderState, OrderStatus, Report, ReportKind
from kit.orders.rules import plain

if TYPE_CHECKING:
    from kit.broker.desk import Desk
    from kit.orders.lifecycle import OrderRecord

_ENDINGS = {
    OrderStatus.CANCELED: ReportKind.CANCELED,
    OrderStatus.EXPIRED: ReportKind.EXPIRED,
    OrderStatus.REJECTED: ReportKind.REJECTED,
}


_MONEY = ("balance", "position")


@dataclass(frozen=True)
class Difference:
    """Where the journal and the venue disagreed, and what that means. ``kind``: order, fill, balance or position."""

    kind: str
    name: str
    ours: str
    venue: str
    verdict: str


def told(client_id: str, state: OrderState) -> list[Report]:
    """A venue's answer about an order as the reports that would have said the same; what is known is told again."""

    def said(kind: ReportKind, reason: str = "") -> Report:
        return Report(kind=kind, client_id=client_id, venue_id=state.venue_id, time=state.time, reason=reason)

    fills = [msgspec.structs.replace(fill, client_id=client_id) for fill in state.fills]
    ending = _ENDINGS.get(state.status)
    reports = [] if ending is ReportKind.REJECTED else [said(ReportKind.ACCEPTED)]
    reports += [msgspec.structs.replace(said(ReportKind.FILLED), fill=fill, time=fill.time) for fill in fills]
    return [*reports, said(ending, state.reason)] if ending else reports


def reconcile(desk: Desk) -> list[Difference]:
    """Take the venue's word for every order that may not be over, and say what else differs.

    Foreign orders are shown and left alone. Raises Unreached (or what else the venue said) when it can't be
    asked: then the account stays as it was, and unreconciled if it was that.
    """
    found = _compared(desk)
    if desk.open_orders and any(difference.kind in _MONEY for difference in found):
        before = [difference for difference in found if difference.kind not in _MONEY]
        found = list(dict.fromkeys([*before, *_compared(desk)]))  # what filled between two answers is none any more
    desk.unreconciled = ""
    return found


def _compared(desk: Desk) -> list[Difference]:
    """One look at everything."""
    listed = desk.gateway.open_orders()
    found = [*_orders(desk, listed), *_strangers(desk, listed), *_executions(desk)]
    return [*found, *_balances(desk, desk.gateway.balances())]


def _orders(desk: Desk, listed: list[OrderState]) -> Iterator[Difference]:
    """Our orders, each asked for unless the venue's list shows it as we have it.

    One that can't be answered for keeps no other waiting: it is raised in the end.
    """
    failed: KitError | None = None
    shown = {state.client_id: state for state in listed}
    suspects = {record.client_id: record for record in desk.open_orders}
    suspects |= {name: desk.records[name] for name in shown if name in desk.records}  # open there, over here
    for client_id, record in suspects.items():
        if desk.being_sent(client_id) or _as_listed(record, shown.get(client_id)):
            continue
        before, fills = _standing(record), {fill.id for fill in record.fills}
        try:
            desk.ask(client_id)
        except KitError as error:
            failed = error
            continue
        if _standing(record) != before:
            verdict = record.reason if record.status is OrderStatus.REJECTED else "the venue's word was taken"
            yield Difference("order", client_id, before, _standing(record), verdict)
        yield from (_counted(fill, record) for fill in list(record.fills) if fill.id not in fills)
    if failed is not None:
        raise failed


def _counted(fill: Fill, record: OrderRecord) -> Difference:
    verdict = f"of order {record.client_id}: not heard of before, counted now"
    return Difference("fill", fill.id, "", _amount(fill), verdict)


def _amount(fill: Fill) -> str:
    return f"{plain(fill.qty)} at {plain(fill.price)}"


def _executions(desk: Desk) -> Iterator[Difference]:
    """What was traded and not known, of orders that are over too."""
    for fill, record in missed(desk):
        if record is not None:
            yield _counted(fill, record)
        else:
            verdict = f"foreign: {fill.side} of {fill.symbol} by an order this account did not place, never counted"
            yield Difference("fill", fill.id, "", _amount(fill), verdict)


def _as_listed(record: OrderRecord, state: OrderState | None) -> bool:
    """Open here and there, and as much of it filled."""
    acknowledged = record.status in (OrderStatus.OPEN, OrderStatus.PARTIAL)
    return state is not None and acknowledged and (state.filled, state.venue_id) == (record.filled, record.venue_id)


def _standing(record: OrderRecord) -> str:
    return f"{record.status}, {plain(record.filled)} filled" if record.filled else f"{record.status}"


def _strangers(desk: Desk, listed: list[OrderState]) -> Iterator[Difference]:
    for state in listed:
        if state.client_id not in desk.records:
            yield Difference(
                "order", state.client_id, "", state.venue_id, "foreign: not placed by this account, left alone"
            )


def _balances(desk: Desk, told_balances: list[Balance]) -> Iterator[Difference]:
    """What is held of each asset; at a spot venue a position is that of its base asset."""
    if not told_balances:
        return
    venue = {balance.asset: balance.total for balance in told_balances}
    with desk.changed:
        ours = {asset: balance.total for asset, balance in desk.account.balances().items()}
        traded = {desk.journal.instruments[symbol].base for symbol in desk.account.positions()}
    for asset in sorted({*ours, *venue}):
        here, there = ours.get(asset, 0), venue.get(asset, 0)
        if here != there:
            kind = "position" if asset in traded else "balance"
            yield Difference(kind, asset, f"{here:f}", f"{there:f}", "moved outside this account")
