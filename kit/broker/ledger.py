"""An account's orders and money: what its journal adds up to, kept as more is heard.

Everything here is a fold over entries. What is heard counts first and is written down then: a full disk undoes no fill.
What is meant is written down first and counts then: nothing leaves that could be forgotten.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal

from kit.clock import MINUTE, Clock
from kit.errors import JournalUnwritable, UnknownName
from kit.model import Instrument, OrderStatus, Quote, Report, Side
from kit.orders.account import MARKET_HEADROOM, Account, exactly, reservation
from kit.orders.ids import Intent
from kit.orders.lifecycle import OrderRecord
from kit.store.entries import Doubted, Entry, Intended, Reported, fold
from kit.store.journal import Journal

DOUBTFUL = (OrderStatus.INTENDED, OrderStatus.UNKNOWN)
"""What an order is that the venue has not answered for."""

Watcher = Callable[[OrderRecord, Report], None]


class Ledger:
    """One account's records and balances. Safe to call from any thread.

    ``changed`` guards it and is notified after every change. ``headroom`` is how far above the market a buy at market
    reserves.
    """

    @exactly
    def __init__(self, journal: Journal, clock: Clock, *, headroom: Decimal = MARKET_HEADROOM) -> None:
        self.journal = journal
        self.records: dict[str, OrderRecord] = {}
        self.intents: dict[str, Intended] = {}
        self.working: dict[str, OrderRecord] = {}
        """Every order that may still fill, oldest first."""
        self.sending: set[str] = set()
        """Orders for whose answer a call waits at this moment."""
        self.changed = threading.Condition(threading.RLock())
        terms = journal.terms
        self.account = Account(terms.cash if terms else {})
        self._clock, self._headroom = clock, headroom
        self._placed: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._meant: deque[int] = deque()
        self._unwritten: list[Reported | Doubted] = []
        self._watchers: list[Watcher] = []
        for entry in journal.entries():
            self._fold(entry)

    def order(self, client_id: str) -> OrderRecord:
        """The order of that client id; raises UnknownName."""
        try:
            return self.records[client_id]
        except KeyError:
            raise UnknownName("order", client_id, self.records, "(broker.orders lists this account's)") from None

    def instrument(self, record: OrderRecord) -> Instrument:
        """The instrument as it was when the order was meant."""
        return self.journal.instruments[record.request.symbol]

    @property
    def unresolved(self) -> list[OrderRecord]:
        """Orders the venue has not answered for and that are not being sent at this moment."""
        return [r for r in list(self.working.values()) if r.status in DOUBTFUL and r.client_id not in self.sending]

    def times_placed(self, session: str, intent: Intent) -> int:
        """How many orders of a session have the parts of ``intent``, repeats included."""
        return self._placed[session, intent.parts]

    def meant_since(self, time: int) -> int:
        """How many orders were meant at ``time`` (µs) or later; a minute of them is remembered."""
        return sum(meant >= time for meant in self._meant)

    def reserved(self, client_id: str) -> Decimal:
        """What an order still locks of the asset it spends."""
        with self.changed:
            return self.account.reserved(client_id)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call ``watcher(record, report)`` after every report that was new; the result ends it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    @exactly
    def intend(self, entry: Intended, instrument: Instrument) -> None:
        """Write an intent down, then count with it. Raises JournalUnwritable: then it was never meant."""
        with self.changed:
            self._flush()
            try:
                self.journal.intend(entry, instrument)
            except (KeyboardInterrupt, SystemExit):  # a cell interrupted while the disk was busy
                self.journal.withdraw(entry.client_id)
                raise
            self._fold(entry)
            self.changed.notify_all()

    def hear(self, reports: Iterable[Report]) -> None:
        """Take in what the venue says, in its order."""
        for report in reports:
            self.on_report(report)

    @exactly
    def on_report(self, report: Report) -> None:
        """Take in one report: a repeat changes nothing, a stranger's is not ours to keep."""
        with self.changed:
            record = self.records.get(report.client_id)
            entry = Reported(report=report, time=self._clock.now())
            if record is None or not self._fold(entry):
                return
            self._write(entry)
            self.changed.notify_all()
        for watcher in list(self._watchers):
            watcher(record, report)

    @exactly
    def doubt(self, client_id: str, reason: str) -> None:
        """The order was sent and nobody knows what became of it."""
        with self.changed:
            entry = Doubted(client_id=client_id, reason=reason, time=self._clock.now())
            if self._fold(entry):
                self._write(entry)
                self.changed.notify_all()

    def close(self) -> None:
        """Write down what the disk had no room for when it was heard, if it has by now."""
        with self.changed, suppress(JournalUnwritable):
            self._flush()

    # -- inside

    def _fold(self, entry: Entry) -> bool:
        """Apply one entry to orders and account; False when it says nothing new."""
        before = self.records.get(entry.client_id)
        was_final = before is not None and before.status.final
        if not fold(self.records, entry):
            return False
        record = self.records[entry.client_id]
        if isinstance(entry, Intended):
            self.intents[entry.client_id] = entry
            self._count(entry)
            self._reserve(entry, record)
        elif isinstance(entry, Reported) and entry.report.fill is not None:
            self.account.apply(entry.report.fill, self.instrument(record))
        if record.status.final:
            self.working.pop(record.client_id, None)
            self.account.release(record.client_id)
        elif was_final:
            self._reserve(self.intents[record.client_id], record)
        return True

    def _count(self, entry: Intended) -> None:
        self._placed[entry.session, entry.parts] += 1
        self._meant.append(entry.time)
        while self._meant[0] < entry.time - MINUTE:
            self._meant.popleft()

    def _reserve(self, entry: Intended, record: OrderRecord) -> None:
        """Lock what the order may still spend."""
        self.working[record.client_id] = record
        instrument, request = self.instrument(record), entry.request
        reference = reference_price(instrument, request.side, entry.quote)
        asset, amount = reservation(instrument, request, reference, headroom=self._headroom)
        by_share = request.price is not None or request.side is Side.SELL
        left = amount * record.remaining / request.qty
        self.account.reserve(record.client_id, asset, left, qty=record.remaining if by_share else None)

    def _write(self, entry: Reported | Doubted) -> None:
        """Write an answer down, or keep it until the disk has room: it has happened all the same."""
        self._unwritten.append(entry)
        with suppress(JournalUnwritable):
            self._flush()

    def _flush(self) -> None:
        """Write what is still unwritten, oldest first; raises JournalUnwritable."""
        while self._unwritten:
            self.journal.add(self._unwritten[0])
            del self._unwritten[0]


def reference_price(instrument: Instrument, side: Side, quote: Quote | None) -> Decimal | None:
    """What a taker of ``side`` would pay or get now: the ask for a buy, the bid for a sell."""
    if quote is None:
        return None
    return instrument.price(quote.ask if side is Side.BUY else quote.bid)
