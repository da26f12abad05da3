"""One order as its owner holds it: a living object, every reading of which is of this moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

import pandas as pd

from kit.broker import frames
from kit.broker.desk import Desk
from kit.broker.why import answered_after, why
from kit.errors import NotYet
from kit.model import OrderRequest, OrderStatus, Quote
from kit.orders.lifecycle import OrderRecord
from kit.orders.request import describe
from kit.store import tables


class Order:
    """An order of an account. It changes by itself as the venue reports.

    ``rerun`` is True when the call that gave it placed nothing, because its intent had placed this order
    already; ``note`` says so in words.
    """

    def __init__(
        self,
        desk: Desk,
        record: OrderRecord,
        *,
        label: str = "",
        rerun: bool = False,
        note: str = "",
        quote: Callable[[str], Quote | None] = lambda symbol: None,
    ) -> None:
        self.rerun, self.note = rerun, note
        self._desk, self._record, self._label, self._quote = desk, record, label, quote

    @property
    def id(self) -> str:
        """The client order id: the same for the same intent, at every venue."""
        return self._record.client_id

    @property
    def request(self) -> OrderRequest:
        return self._record.request

    @property
    def status(self) -> OrderStatus:
        return self._record.status

    @property
    def filled(self) -> Decimal:
        """Base quantity filled so far."""
        return self._record.filled

    @property
    def remaining(self) -> Decimal:
        """Base quantity still to fill."""
        return self._record.remaining

    @property
    def average_price(self) -> Decimal | None:
        """Quote per base paid or received so far; None before the first fill."""
        return self._record.average_price

    @property
    def reason(self) -> str:
        """The venue's words on where the order stands."""
        return self._record.reason

    @property
    def created(self) -> pd.Timestamp:
        """When it was decided, UTC."""
        return _utc(self._record.created)

    @property
    def updated(self) -> pd.Timestamp:
        """When it last changed, UTC."""
        return _utc(self._record.updated)

    @property
    def fills(self) -> pd.DataFrame:
        """Its executions, in the columns of ``broker.fills``."""
        origin = tables.origin(self._desk.journal, self._desk.account_name)
        return frames.fills(list(self._record.fills), {**origin, "order": self.id})

    @property
    def latency(self) -> float | None:
        """Seconds from the decision to the venue's first word; None before it."""
        return answered_after(self._desk.journal.history(self.id))

    def why(self) -> str:
        """One line: why it filled at that price, or why not (yet)."""
        history = self._desk.journal.history(self.id)
        return why(self._record, history, self._quote(self.request.symbol))

    def cancel(self) -> Order:
        """Ask for a cancel and wait for the answer; a cancel that lost the race shows in ``status``.

        What is cancelled is what the order was amended to, if it was; that order is returned.
        """
        ended = self._desk.cancel(self.id)
        if ended.client_id == self.id:
            return self
        note = f"what {self.id} was amended to"
        return Order(self._desk, ended, label=self._label, note=note, quote=self._quote)

    def wait(self, timeout: float | None = None) -> Order:
        """Block until nothing more can happen to the order.

        Raises NotYet when ``timeout`` seconds pass first: the order goes on.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._desk.changed:
            while not self.status.final:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise NotYet(
                        f"{describe(self.request)} is {self.status} after {timeout:g} s, "
                        f"{self.filled:f} filled; it goes on, and waiting again is safe"
                    )
                self._desk.changed.wait(left)
        return self

    def __repr__(self) -> str:
        at = f" at {round(self.average_price, 8).normalize():f}" if self.average_price is not None else ""
        part = f" {self.filled.normalize():f}" if self.status is not OrderStatus.FILLED and self.filled else ""
        note = f" · {self.note}" if self.note else ""
        return f"<order {describe(self.request)} · {self.status}{part}{at} · {self._label} · {self.id}{note}>"


def _utc(micros: int) -> pd.Timestamp:
    return pd.Timestamp(micros, unit="us", tz="UTC")
