"""The venue's list of what an account has traded against what its journal knows, by trade id.

Open orders tell their fills when they are asked for. What an order that is over has filled (told after its end, or
forgotten in a power cut) shows only here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from kit.clock import MINUTE, SECOND
from kit.model import Fill, Instrument, OrderStatus, Report, ReportKind

if TYPE_CHECKING:
    from kit.broker.desk import Desk
    from kit.orders.lifecycle import OrderRecord
    from kit.store.journal import Journal

SETTLED = MINUTE
"""µs after which the venue's list holds what had been traded: what is older is looked at once."""
EARLIER, LATER = 5 * MINUTE, 5 * SECOND
"""µs: an order that was given up may have been meant so long before an execution that nobody has placed, or, as clocks
differ, so little after it."""


@runtime_checkable
class Recalling(Protocol):
    """A gateway to a venue that lists an account's executions, whoever placed their orders."""

    def now(self) -> int:
        """The venue's clock, µs."""
        ...

    def executions(self, instrument: Instrument, after: str) -> list[Fill]:
        """Those after the one of that trade id, oldest first; for an empty id the newest (a page of them)."""
        ...


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where executions were compared; the journal keeps it."""

    done: int = 0
    """Orders of which the journal says nothing after this entry are compared for good."""
    entry: int = 0
    """The journal's last entry at ``time`` (µs): what was over by then will be settled ``SETTLED`` later."""
    time: int = 0
    last: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Symbol -> the last trade id that was settled."""

    @classmethod
    def read(cls, journal: Journal) -> Mark:
        """The mark that was left, else one at the beginning."""
        text = journal.get("compared")
        return cls() if text is None else msgspec.json.decode(text, type=cls)

    def moved(self, entry: int, now: int, last: Mapping[str, str]) -> Mark:
        """The mark after one more comparison, begun at ``now`` when the journal's last entry was ``entry``."""
        if self.time and now - self.time < SETTLED:
            return msgspec.structs.replace(self, last=last)
        return Mark(done=self.entry, entry=entry, time=now, last=last)


def missed(desk: Desk) -> Iterator[tuple[Fill, OrderRecord | None]]:
    """Executions that were not known: with the order they were counted for now; None: not of this account's orders.

    Only instruments in which an order of ours may have traded since the last comparison are looked at. Raises Unreached
    when the venue can't be asked.
    """
    gateway, journal = desk.gateway, desk.journal
    if not isinstance(gateway, Recalling):
        return
    mark, entry, now = Mark.read(journal), journal.last, gateway.now()
    last, began = dict(mark.last), journal.terms.created if journal.terms else 0
    for symbol, records in _touched(desk, mark.done).items():
        listed = _listed(gateway, journal.instruments[symbol], last.get(symbol, ""), records)
        doubtful = any(record in desk.unresolved or desk.being_sent(record.client_id) for record in records)
        yield from _compared(desk, records, [fill for fill in listed if fill.time >= began], doubtful=doubtful)
        settled = [fill.id for fill in listed if fill.time <= now - SETTLED]
        if settled and not doubtful:
            last[symbol] = settled[-1]
    moved = mark.moved(entry, now, last)
    if moved != mark:
        journal.set("compared", msgspec.json.encode(moved).decode())


def _touched(desk: Desk, after: int) -> dict[str, list[OrderRecord]]:
    """By instrument, the orders that are open, and those of which something was written after that entry."""
    names = dict.fromkeys(record.client_id for record in desk.open_orders)
    names |= dict.fromkeys(entry.client_id for entry in desk.journal.entries(after=after))
    orders: defaultdict[str, list[OrderRecord]] = defaultdict(list)
    for name in names:
        record = desk.records[name]
        orders[record.request.symbol].append(record)
    return orders


def _listed(gateway: Recalling, instrument: Instrument, last: str, records: Iterable[OrderRecord]) -> list[Fill]:
    """What was not compared yet, oldest first: all after ``last``; without one all after the first that is known."""
    listed = gateway.executions(instrument, last)
    known = [fill for record in records for fill in list(record.fills)]
    first = min(known, key=lambda fill: fill.time, default=None)
    if last or first is None or not listed or listed[0].time <= first.time:
        return listed
    return gateway.executions(instrument, first.id)


def _compared(
    desk: Desk, records: list[OrderRecord], fills: list[Fill], *, doubtful: bool
) -> Iterator[tuple[Fill, OrderRecord | None]]:
    """What is not known of these; while an order may still turn out to be theirs, those of nobody are left alone."""
    placed = {record.venue_id for record in records if record.venue_id}
    strange = [fill for fill in fills if fill.venue_id not in placed]
    if not doubtful:
        _ask_again(desk, records, strange)
    orders = {record.venue_id: record for record in records if record.venue_id}
    for fill in fills:
        record = orders.get(fill.venue_id)
        if record is None and not doubtful:
            yield fill, None
        elif record is not None and _count(desk, record, fill):
            yield fill, record


def _ask_again(desk: Desk, records: list[OrderRecord], strange: list[Fill]) -> None:
    """Ask once more for orders that were given up, where an execution that nobody has placed may be theirs."""
    for record in records:
        given_up = record.status is OrderStatus.REJECTED and not record.venue_id
        if given_up and any(_may_be_of(record, fill) for fill in strange):
            desk.ask(record.client_id)


def _may_be_of(record: OrderRecord, fill: Fill) -> bool:
    return fill.side is record.request.side and fill.time - EARLIER <= record.created <= fill.time + LATER


def _count(desk: Desk, record: OrderRecord, fill: Fill) -> bool:
    """Count an execution for its order; False when that was done already."""
    if any(known.id == fill.id for known in list(record.fills)):
        return False
    client_id, ours = record.client_id, msgspec.structs.replace(fill, client_id=record.client_id)
    desk.ledger.on_report(
        Report(kind=ReportKind.FILLED, client_id=client_id, time=fill.time, venue_id=fill.venue_id, fill=ours)
    )
    return True
