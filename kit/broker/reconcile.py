"""The journal against the venue: after a start, after silence, after an order nobody answered for."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from kit.errors import KitError, RateLimited
from kit.model import OrderState, OrderStatus, Report, ReportKind

if TYPE_CHECKING:
    from kit.broker.desk import Desk

EVERY = 2.0
"""Seconds between two questions about open orders."""
SLOWEST = 30.0
"""Seconds between two questions to a venue that does not answer."""
FEW = 5
"""Open orders asked for one by one (weight 4 each at Binance); beyond, the venue lists them all (80)."""

_ENDINGS = {
    OrderStatus.CANCELED: ReportKind.CANCELED,
    OrderStatus.EXPIRED: ReportKind.EXPIRED,
    OrderStatus.REJECTED: ReportKind.REJECTED,
}


@dataclass(frozen=True)
class Difference:
    """Where the journal and the venue disagree, and what that means."""

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
    """Take the venue's word for every order that is not over, and say what else differs.

    Foreign orders are shown and left alone. Raises Unreached (or what else the venue said) when it can't be
    asked: then the account stays as it was, and unreconciled if it was that.
    """
    for record in desk.open_orders:
        if not desk.being_sent(record.client_id):
            desk.ask(record.client_id)
    strangers = [
        Difference("order", state.client_id, "", state.venue_id, "foreign: not placed by this account, left alone")
        for state in desk.gateway.open_orders()
        if state.client_id not in desk.records
    ]
    moved = [
        Difference("balance", balance.asset, f"{ours:f}", f"{balance.total:f}", "moved outside this account")
        for balance in desk.gateway.balances()
        if (ours := desk.account.total(balance.asset)) != balance.total
    ]
    desk.unreconciled = ""
    return strangers + moved


class Follower:
    """Asks the venue for what it has not said by itself: thread ``kit-orders-<account>``.

    Open orders are asked for every ``every`` seconds, an unknown outcome at once; nothing open, nothing asked.
    A venue that does not answer is asked less and less often, and never given up.
    """

    def __init__(self, desk: Desk, *, every: float = EVERY) -> None:
        self.last_error = ""
        """Why the last round failed; empty when it did not."""
        self._desk, self._every = desk, every
        self._failures = 0
        self._retry_after = 0.0
        self._asked: set[str] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"kit-orders-{desk.account_name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop asking. May be called twice."""
        with self._desk.changed:
            self._closed = True
            self._desk.changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            with self._desk.changed:
                idle = not (self._desk.open_orders or self._desk.unreconciled)
                self._desk.changed.wait_for(partial(self._woken, idle=idle), None if idle else self._pause())
            if not self._closed:
                self._round()

    def _woken(self, *, idle: bool) -> bool:
        """Closed, or an unknown outcome was not asked for yet; after a time with nothing to ask: there is something."""
        if idle:
            return bool(self._closed or self._desk.open_orders or self._desk.unreconciled)
        return self._closed or any(record.client_id not in self._asked for record in self._desk.unresolved)

    def _pause(self) -> float:
        backed_off: float = self._every * 2**self._failures
        return max(self._retry_after, min(SLOWEST, backed_off))

    def _round(self) -> None:
        """Ask for everything that is open, once."""
        try:
            if self._desk.unreconciled:
                reconcile(self._desk)
            wanted = self._wanted()
            errors = [error for client_id in wanted if (error := self._ask(client_id))]
        except KitError as error:
            wanted, errors = [], [error]
        self.last_error = str(errors[0]) if errors else ""
        self._retry_after = max((e.retry_after for e in errors if isinstance(e, RateLimited)), default=0.0)
        self._failures = min(self._failures + 1, 10) if errors and len(errors) >= len(wanted) else 0

    def _ask(self, client_id: str) -> KitError | None:
        """Ask for one order; why it could not be answered for, which keeps no other waiting."""
        if self._closed:
            return None
        self._asked.add(client_id)
        try:
            self._desk.ask(client_id)
        except KitError as error:
            return error
        return None

    def _wanted(self) -> list[str]:
        """Orders to ask for: all open ones, or of many those the venue's list does not confirm as they are."""
        records = [r for r in self._desk.open_orders if not self._desk.being_sent(r.client_id)]
        if len(records) > FEW:
            listed = {state.client_id: state.filled for state in self._desk.gateway.open_orders()}
            records = [r for r in records if listed.get(r.client_id) != r.filled or r in self._desk.unresolved]
        return [record.client_id for record in records]
