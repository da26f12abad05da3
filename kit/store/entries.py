"""What a journal holds: an account's terms, what was meant, what was heard, and what it was worth."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kit.model import Fees, OrderRequest, Quote, Report
from kit.orders.lifecycle import OrderRecord


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What an account was opened with; it never changes afterwards."""

    kind: str
    venue: str
    environment: str
    quote: str
    cash: dict[str, Decimal]
    fees: Fees
    created: int


class Intended(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order was decided on, at ``time`` (µs) and with ``quote`` in view.

    ``parts``, ``again`` and ``implicit`` are the intent's; ``replaces`` is the client id of the
    order that this one amends, ``despite`` which demands of freshness it was told to overlook.
    """

    client_id: str
    session: str
    parts: tuple[str, ...]
    request: OrderRequest
    time: int
    again: int = 0
    implicit: bool = False
    quote: Quote | None = None
    replaces: str = ""
    despite: tuple[str, ...] = ()


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """The venue said something about an order; heard at ``time``."""

    report: Report
    time: int

    @property
    def client_id(self) -> str:
        return self.report.client_id


class Doubted(msgspec.Struct, frozen=True, kw_only=True):
    """An order was sent and its outcome is unknown since ``time``."""

    client_id: str
    reason: str
    time: int


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """The intent written as entry ``seq`` was taken back before anything was sent: it never counted."""

    client_id: str
    seq: int
    time: int


Entry = Intended | Reported | Doubted
"""What counts: a withdrawn intent and its withdrawal leave nothing to fold."""


class Mark(msgspec.Struct, frozen=True):
    """What the account was worth at ``time`` (µs), in its quote asset."""

    time: int
    equity: Decimal
    cash: Decimal


def fold(records: dict[str, OrderRecord], entry: Entry) -> bool:
    """Apply one entry to the order it is about; False when it says nothing new."""
    if isinstance(entry, Intended):
        records[entry.client_id] = begun(entry)
        return True
    return heard(records[entry.client_id], entry)


def begun(entry: Intended) -> OrderRecord:
    """The order of an intent, of which nothing was heard yet."""
    return OrderRecord(client_id=entry.client_id, request=entry.request, created=entry.time)


def heard(record: OrderRecord, entry: Reported | Doubted) -> bool:
    """Apply what was heard of an order; False when it says nothing new."""
    if isinstance(entry, Reported):
        return record.apply(entry.report)
    return record.unanswered(entry.reason, entry.time)
