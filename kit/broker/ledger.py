"""An account's orders and money: what its journal adds up to, kept as more is heard.

Everything here is a fold over entries. What is heard counts first and is written down then: a full disk undoes no fill.
What is meant is written down first and counts then: nothing leaves that could be forgotten.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal

from kit.broker.interrupts import interrupt_now, whole
from kit.broker.past import Past
from kit.clock import MINUTE, Clock
from kit.errors import JournalUnwritable, UnknownName
from kit.model import Fill, Instrument, OrderStatus, Quote, Report, Side
from kit.orders.account import MARKET_HEADROOM, Account, exactly, reservation
from kit.orders.lifecycle import OrderRecord
from kit.store.checkpoint import EVERY, Checkpoint, fingerprint, keep, latest
from kit.store.entries import Doubted, Entry, Intended, Reported, begun, heard
from kit.store.journal import Journal

DOUBTFUL = (OrderStatus.INTENDED, OrderStatus.UNKNOWN)
"""What an order is that the venue has not answered for."""

AT_ONCE = 500
"""Entries in one write at most."""

Watcher = Callable[[OrderRecord, Report], None]


class Ledger:
    """One account's records and balances. Safe to call from any thread.

    ``changed`` guards it and is notified after every change. ``headroom`` is how far above the market a buy at market
    reserves.
    """

    @exactly
    def __init__(self, journal: Journal, clock: Clock, *, headroom: Decimal = MARKET_HEADROOM) -> None:
        self.journal = journal
        self.working: dict[str, OrderRecord] = {}
        """Every order that may still fill, oldest first."""
        self.sending: set[str] = set()
        """Orders for whose answer a call waits at this moment."""
        self.replaced: dict[str, str] = {}
        """Client id of an amended order -> that of the one in its place."""
        self.unkeyed = 0
        """How many orders nobody named: plain calls of a script."""
        self.highest_id = 0
        """The highest whole number that the venue has used for an id of an order or a fill."""
        self.changed = threading.Condition(threading.RLock())
        self._clock, self._headroom = clock, headroom
        self._prices: dict[str, tuple[int, Decimal]] = {}
        self._meant: deque[int] = deque()
        self._unwritten: list[Reported | Doubted] = []
        self._watchers: list[Watcher] = []
        self._read()

    def find(self, client_id: str) -> OrderRecord | None:
        """The order of that client id; None when there is none."""
        found = self._past.get(client_id)
        return found[0] if found else None

    def order(self, client_id: str) -> OrderRecord:
        """The order of that client id; raises UnknownName."""
        found = self.find(client_id)
        if found is None:
            raise UnknownName("order", client_id, self.records, "(broker.orders lists this account's)")
        return found

    def chain(self, client_id: str) -> list[OrderRecord]:
        """An order and what it was amended to, in turn; raises UnknownName."""
        chain = [self.order(client_id)]
        while (latest := self.replaced.get(chain[-1].client_id)) is not None:
            chain.append(self.order(latest))
        return chain

    def instrument(self, record: OrderRecord) -> Instrument:
        """The instrument as it was when the order was meant."""
        return self.journal.instruments[record.request.symbol]

    @property
    def unresolved(self) -> list[OrderRecord]:
        """Orders the venue has not answered for and that are not being sent at this moment."""
        return [r for r in list(self.working.values()) if r.status in DOUBTFUL and r.client_id not in self.sending]

    @property
    def last_prices(self) -> dict[str, Decimal]:
        """The price of the last fill of every instrument."""
        return {symbol: price for symbol, (_, price) in list(self._prices.items())}

    def meant_since(self, time: int) -> int:
        """How many orders were meant in the minute from ``time`` (µs) on.

        Earlier ones are forgotten then, and those of a clock that has been set back since.
        """
        with self.changed:
            while self._meant and not time <= self._meant[0] <= time + 2 * MINUTE:
                self._meant.popleft()
            return len(self._meant)

    def reserved(self, client_id: str) -> Decimal:
        """What an order still locks of the asset it spends."""
        with self.changed:
            return self.account.reserved(client_id)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call ``watcher(record, report)`` after every report that was new; the result ends it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    @whole
    @exactly
    def intend(self, entry: Intended, instrument: Instrument) -> OrderRecord:
        """Write an intent down, then count with it: its order. Raises JournalUnwritable: then it was never meant."""
        with self.changed:
            self._flush()
            try:
                self.journal.intend(entry, instrument)
                interrupt_now()
            except (KeyboardInterrupt, SystemExit):  # a cell interrupted while the disk was busy
                self.journal.withdraw(entry.client_id)
                raise
            record = self._begin(entry)
            self._written(1)
            self.changed.notify_all()
            return record

    def on_report(self, report: Report) -> None:
        """Take in one report, from any thread."""
        self.hear((report,))

    @whole
    @exactly
    def hear(self, reports: Iterable[Report]) -> None:
        """Take in what the venue says, in its order: a repeat changes nothing, a stranger's is not ours to keep.

        What is new of it is written down in one go.
        """
        news, now = [], self._clock.now()
        with self.changed:
            for report in reports:
                record = self.find(report.client_id)
                entry = Reported(report=report, time=now)
                if record is not None and self._hear(entry, record):
                    news.append((entry, record))
            if not news:
                return
            self._write(entry for entry, _ in news)
            self.changed.notify_all()
        for entry, record in news:
            for watcher in list(self._watchers):
                watcher(record, entry.report)

    @whole
    @exactly
    def doubt(self, client_id: str, reason: str) -> None:
        """The order was sent and nobody knows what became of it."""
        with self.changed:
            entry = Doubted(client_id=client_id, reason=reason, time=self._clock.now())
            if self._hear(entry, self.records[client_id]):
                self._write((entry,))
                self.changed.notify_all()

    def close(self) -> None:
        """Write down what the disk had no room for when it was heard, if it has by now."""
        with self.changed, suppress(JournalUnwritable):
            self._flush()

    # -- inside

    def _read(self) -> None:
        """Fold what the journal holds: the last checkpoint and what came after, or everything."""
        checkpoint = latest(self.journal)
        self._past = Past(self.journal, checkpoint.seq if checkpoint else 0)
        if checkpoint is not None and len(self._past.names) != checkpoint.orders:
            checkpoint, self._past = None, Past(self.journal, 0)
        self.records, self.intents = self._past.records, self._past.intents
        terms = self.journal.terms
        self.account = Account(terms.cash if terms else {})
        self._upto = self._kept = 0
        if checkpoint is not None:
            self._take_up(checkpoint)
        for entry in self.journal.entries(after=self._kept):
            self._fold(entry)
        self._upto = self.journal.last
        self._keep()

    def _take_up(self, checkpoint: Checkpoint) -> None:
        self._upto = self._kept = checkpoint.seq
        self.account = Account.restored(checkpoint.account)
        self.working.update({name: self.records[name] for name in checkpoint.working})
        self.replaced.update(checkpoint.replaced)
        self.unkeyed, self.highest_id = checkpoint.unkeyed, checkpoint.highest
        self._prices.update(checkpoint.prices)
        self._meant.extend(checkpoint.meant)

    def _fold(self, entry: Entry) -> None:
        """Apply one entry to orders and account."""
        if isinstance(entry, Intended):
            self._begin(entry)
        else:
            self._hear(entry, self.records[entry.client_id])

    def _hear(self, entry: Reported | Doubted, record: OrderRecord) -> bool:
        """Apply what was heard of an order; False when it says nothing new."""
        was_final = record.status.final
        if not heard(record, entry):
            return False
        if isinstance(entry, Reported):
            self._count(entry.report, record)
        if record.status.final:
            self.working.pop(record.client_id, None)
            self.account.release(record.client_id)
        elif was_final:
            self._reserve(self.intents[record.client_id], record)
        return True

    def _begin(self, entry: Intended) -> OrderRecord:
        record = begun(entry)
        self._past.put(record, entry)
        self.unkeyed += entry.parts[:1] == ("once",)
        if entry.replaces:
            self.replaced[entry.replaces] = entry.client_id
        self._meant.append(entry.time)
        while self._meant[0] < entry.time - MINUTE:
            self._meant.popleft()
        self._reserve(entry, record)
        return record

    def _count(self, report: Report, record: OrderRecord) -> None:
        """What a report that was new means for the money, and which ids are taken."""
        self._take_id(report.venue_id)
        fill = report.fill
        if fill is not None:
            self._take_id(fill.id)
            self.account.apply(fill, self.instrument(record))
            self._price(fill)

    def _take_id(self, name: str) -> None:
        if name.isdecimal():
            self.highest_id = max(self.highest_id, int(name))

    def _price(self, fill: Fill) -> None:
        known = self._prices.get(fill.symbol)
        if known is None or known[0] <= fill.time:
            self._prices[fill.symbol] = fill.time, fill.price

    def _reserve(self, entry: Intended, record: OrderRecord) -> None:
        """Lock what the order may still spend."""
        self.working[record.client_id] = record
        instrument, request = self.instrument(record), entry.request
        reference = reference_price(instrument, request.side, entry.quote)
        asset, amount = reservation(instrument, request, reference, headroom=self._headroom)
        by_share = request.price is not None or request.side is Side.SELL
        left = amount * record.remaining / request.qty
        self.account.reserve(record.client_id, asset, left, qty=record.remaining if by_share else None)

    def _write(self, entries: Iterable[Reported | Doubted]) -> None:
        """Write answers down, or keep them until the disk has room: they have happened all the same."""
        self._unwritten.extend(entries)
        with suppress(JournalUnwritable):
            self._flush()

    def _flush(self) -> None:
        """Write what is still unwritten, oldest first; raises JournalUnwritable."""
        while self._unwritten:
            some = self._unwritten[:AT_ONCE]
            self.journal.add(*some)
            del self._unwritten[: len(some)]
            self._written(len(some))

    def _written(self, number: int) -> None:
        """So many more entries are on the disk and have been folded."""
        self._upto += number
        self._keep()

    def _keep(self) -> None:
        """Write a checkpoint when it is time, and when the journal's entries are exactly what was folded here."""
        if self._upto - self._kept < EVERY or self._unwritten or self.journal.path is None:
            return
        self._kept = self._upto
        with suppress(JournalUnwritable):  # the entries are there, and they are what counts
            if self.journal.last == self._upto:
                keep(self.journal, self._checkpoint())

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            seq=self._upto,
            entry=fingerprint(self.journal, self._upto),
            account=self.account.state,
            orders=len(self.records),
            working=tuple(self.working),
            prices=self._prices,
            replaced=self.replaced,
            meant=tuple(self._meant),
            unkeyed=self.unkeyed,
            highest=self.highest_id,
        )


def reference_price(instrument: Instrument, side: Side, quote: Quote | None) -> Decimal | None:
    """What a taker of ``side`` would pay or get now: the ask for a buy, the bid for a sell."""
    if quote is None:
        return None
    return instrument.price(quote.ask if side is Side.BUY else quote.bid)
