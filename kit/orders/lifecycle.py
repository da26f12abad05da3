"""Where an order can go from where it stands: one table, and the record that lives by it.

The table is total: a venue's word never has nowhere to go. Money decides in doubt: a fill is counted
whenever it comes, and an order that shows a sign of life after it was thought dead is alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from kit.errors import BadAnswer
from kit.model import EXACT, ZERO, Fill, OrderRequest, OrderStatus, Report, ReportKind


class Event(StrEnum):
    """What can happen to an order: the report kinds, fills told apart by what they leave, and silence."""

    ACCEPTED = "accepted"
    TRIGGERED = "triggered"
    PART_FILLED = "part filled"
    ALL_FILLED = "all filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNANSWERED = "unanswered"


def _row(
    *,
    accepted: OrderStatus,
    triggered: OrderStatus,
    part_filled: OrderStatus,
    canceled: OrderStatus,
    expired: OrderStatus,
    rejected: OrderStatus,
    unanswered: OrderStatus,
) -> dict[Event, OrderStatus]:
    """One status's ways on. All filled means FILLED, wherever the order stood."""
    return {
        Event.ACCEPTED: accepted,
        Event.TRIGGERED: triggered,
        Event.PART_FILLED: part_filled,
        Event.ALL_FILLED: OrderStatus.FILLED,
        Event.CANCELED: canceled,
        Event.EXPIRED: expired,
        Event.REJECTED: rejected,
        Event.UNANSWERED: unanswered,
    }


_S = OrderStatus

TABLE: Mapping[OrderStatus, Mapping[Event, OrderStatus]] = {
    _S.INTENDED: _row(
        accepted=_S.OPEN,
        triggered=_S.OPEN,  # the stream overtook the answer to the order call
        part_filled=_S.PARTIAL,  # the same: a fill before the acknowledgement
        canceled=_S.CANCELED,  # cancelled before its acknowledgement was read
        expired=_S.EXPIRED,  # an IOC or FOK answered in one word
        rejected=_S.REJECTED,
        unanswered=_S.UNKNOWN,
    ),
    _S.UNKNOWN: _row(
        accepted=_S.OPEN,  # it had arrived: the timeout was only ours
        triggered=_S.OPEN,
        part_filled=_S.PARTIAL,
        canceled=_S.CANCELED,
        expired=_S.EXPIRED,
        rejected=_S.REJECTED,  # a late no, or "no such order" once the venue's deadline makes that final
        unanswered=_S.UNKNOWN,
    ),
    _S.OPEN: _row(
        accepted=_S.OPEN,
        triggered=_S.OPEN,
        part_filled=_S.PARTIAL,
        canceled=_S.CANCELED,
        expired=_S.EXPIRED,
        rejected=_S.REJECTED,  # accepted by the gate, refused further in (Alpaca), or a stop refused at its trigger
        unanswered=_S.OPEN,  # the stream has already proven that it arrived
    ),
    _S.PARTIAL: _row(
        accepted=_S.PARTIAL,  # the acknowledgement comes after the fill
        triggered=_S.PARTIAL,
        part_filled=_S.PARTIAL,
        canceled=_S.CANCELED,
        expired=_S.EXPIRED,
        rejected=_S.PARTIAL,  # what has filled was not refused: this answers a repeat ("Duplicate order sent")
        unanswered=_S.PARTIAL,
    ),
    _S.FILLED: _row(
        accepted=_S.FILLED,
        triggered=_S.FILLED,
        part_filled=_S.FILLED,  # an overfill: more than was asked; it is ours and it is counted
        canceled=_S.FILLED,  # the cancel lost the race
        expired=_S.FILLED,
        rejected=_S.FILLED,
        unanswered=_S.FILLED,
    ),
    _S.CANCELED: _row(
        accepted=_S.CANCELED,  # a late acknowledgement wakes nothing
        triggered=_S.CANCELED,
        part_filled=_S.CANCELED,  # executed before the cancel, told after it
        canceled=_S.CANCELED,
        expired=_S.CANCELED,  # the first word stands
        rejected=_S.CANCELED,
        unanswered=_S.CANCELED,
    ),
    _S.EXPIRED: _row(
        accepted=_S.EXPIRED,
        triggered=_S.EXPIRED,
        part_filled=_S.EXPIRED,  # the expiry overtook the fill
        canceled=_S.EXPIRED,
        expired=_S.EXPIRED,
        rejected=_S.EXPIRED,
        unanswered=_S.EXPIRED,
    ),
    _S.REJECTED: _row(
        accepted=_S.OPEN,  # "no such order" was concluded too early: it is there, so it counts again
        triggered=_S.OPEN,
        part_filled=_S.PARTIAL,  # the same, told by its fill
        canceled=_S.CANCELED,
        expired=_S.EXPIRED,
        rejected=_S.REJECTED,
        unanswered=_S.REJECTED,
    ),
}

_PLAIN = {
    ReportKind.ACCEPTED: Event.ACCEPTED,
    ReportKind.TRIGGERED: Event.TRIGGERED,
    ReportKind.CANCELED: Event.CANCELED,
    ReportKind.EXPIRED: Event.EXPIRED,
    ReportKind.REJECTED: Event.REJECTED,
}


@dataclass
class OrderRecord:
    """One order's life so far: a fold over what was said about it. Times are µs UTC."""

    client_id: str
    request: OrderRequest
    created: int
    status: OrderStatus = OrderStatus.INTENDED
    venue_id: str = ""
    filled: Decimal = ZERO
    filled_quote: Decimal = ZERO
    fills: list[Fill] = field(default_factory=list)
    triggered: bool = False
    reason: str = ""
    updated: int = 0

    def __post_init__(self) -> None:
        self.updated = max(self.updated, self.created)

    @property
    def remaining(self) -> Decimal:
        """What is still to be filled; 0 after an overfill."""
        return max(EXACT.subtract(self.request.qty, self.filled), ZERO)

    @property
    def average_price(self) -> Decimal | None:
        """Quote paid or received per base; None before the first fill."""
        return self.filled_quote / self.filled if self.filled else None

    def apply(self, report: Report) -> bool:
        """Take in what the venue said. False: nothing new in it (a repeat), and nothing changed.

        A fill counts once by its id. Raises BadAnswer for a fill report without its fill, ValueError for
        another order's report: that is a bug on this side.
        """
        if report.client_id != self.client_id:
            raise ValueError(f"report on {report.client_id} given to order {self.client_id}")
        if report.kind is ReportKind.FILLED:
            return self._fill(report)
        return self._move(_PLAIN[report.kind], report.time, report.venue_id, report.reason)

    def unanswered(self, reason: str, now: int) -> bool:
        """The order was sent and nobody knows: UNKNOWN, unless the stream has already said more."""
        return self._move(Event.UNANSWERED, now, "", reason)

    def _fill(self, report: Report) -> bool:
        fill = report.fill
        if fill is None:
            raise BadAnswer(f"order {self.client_id}: the venue reports a fill without saying which; ask for its fills")
        if any(known.id == fill.id for known in self.fills):
            return False
        self.fills.append(fill)
        self.filled = EXACT.add(self.filled, fill.qty)  # a record may be read in any context, a notebook's too
        self.filled_quote = EXACT.add(self.filled_quote, EXACT.multiply(fill.qty, fill.price))
        self._move(
            Event.PART_FILLED if self.remaining else Event.ALL_FILLED, report.time, report.venue_id, report.reason
        )
        self.updated = max(self.updated, report.time)
        return True

    def _move(self, event: Event, time: int, venue_id: str, reason: str) -> bool:
        """Step through the table; True when anything of the record is new."""
        before = (self.status, self.venue_id, self.triggered)
        self.status = TABLE[self.status][event]
        self.venue_id = self.venue_id or venue_id
        self.triggered = self.triggered or event is Event.TRIGGERED
        if self.status is not before[0]:
            self.reason = reason
        changed = before != (self.status, self.venue_id, self.triggered)
        if changed:
            self.updated = max(self.updated, time)
        return changed
