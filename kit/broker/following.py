"""Following an account: asking the venue for what it has not said by itself."""

from __future__ import annotations

import threading
from functools import partial

from kit.broker.desk import Desk
from kit.broker.reconcile import reconcile
from kit.errors import KitError, RateLimited

EVERY = 2.0
"""Seconds between two questions about open orders."""
SLOWEST = 30.0
"""Seconds between two questions to a venue that does not answer."""
FEW = 5
"""Open orders asked for one by one (weight 4 each at Binance); beyond, the venue lists them all (80)."""


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
