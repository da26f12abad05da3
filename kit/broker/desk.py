"""The one order path: intent, id, rules, freshness, risk, journal, gateway, journal, account.

Every order of the kit passes here, whoever meant it and whoever executes it: a paper account, a
live account and a backtest differ in clock, picture and gateway only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal

from kit.broker.gateway import Accepted, Gateway, Outcome, Refused
from kit.broker.reconcile import told
from kit.clock import HOUR, MINUTE, SECOND, Clock
from kit.errors import (
    BadOrder,
    Halted,
    IntentExpired,
    JournalUnwritable,
    OutcomeUnknown,
    RiskRefused,
    StalePicture,
    UnknownName,
    Unreached,
)
from kit.market.feed import FeedState, Picture
from kit.model import Instrument, OrderRequest, OrderStatus, Quote, Report, ReportKind, Side
from kit.orders import ids, risk, rules
from kit.orders.account import Account, exactly, reservation
from kit.orders.ids import Intent
from kit.orders.lifecycle import OrderRecord
from kit.store.entries import Doubted, Entry, Intended, Reported, fold
from kit.store.journal import Journal

FRESH = 10.0
"""Seconds since the picture was last proven current, beyond which no order leaves."""

NAMESAKE = MINUTE
"""An order of our id that ended so long (µs) before our intent is an older one: venues take ids again."""

LOST_AFTER = 15 * SECOND
"""Binance's 10 s server timeout and 5 s of recvWindow (rest-api.md): nothing of a request comes to life later."""

MEANT_FOR = 12 * HOUR
"""How long running a cell again means the order it placed; later it must be said what is meant."""

Watcher = Callable[[OrderRecord, Report], None]


class Desk:
    """One account's order path, and what its journal adds up to.

    Safe to call from any thread. ``changed`` is notified after every change; its lock is never held
    while a gateway is waited for. ``instruments`` and ``picture`` answer for a symbol of ours.
    ``lost_after`` is how long (µs) after sending the venue's "no such order" is final; 0 for a venue in this process.
    """

    @exactly
    def __init__(
        self,
        account_name: str,
        session: str,
        journal: Journal,
        gateway: Gateway,
        clock: Clock,
        *,
        instruments: Callable[[str], Instrument],
        picture: Callable[[str], Picture],
        limits: risk.Limits = risk.Limits(),  # noqa: B008 - frozen
        lost_after: int = LOST_AFTER,
    ) -> None:
        self.account_name, self.session = account_name, session
        self.journal, self.gateway, self.limits, self.lost_after = journal, gateway, limits, lost_after
        self.records: dict[str, OrderRecord] = {}
        self.intents: dict[str, Intended] = {}
        self.changed = threading.Condition(threading.RLock())
        self.unreconciled = ""
        """Why the account can't be believed; empty when it can. No order leaves meanwhile."""
        self._clock, self._instruments, self._picture = clock, instruments, picture
        self._opened = clock.now()
        self._working: dict[str, OrderRecord] = {}
        self._sending: set[str] = set()
        self._unwritten: list[Reported | Doubted] = []
        self._watchers: list[Watcher] = []
        terms = journal.terms
        self.account = Account(terms.cash if terms else {})
        for entry in journal.entries():
            self._fold(entry)
        gateway.listen(self.on_report)

    # -- orders

    @exactly
    def place(
        self, request: OrderRequest, intent: Intent, now: int | None = None, *, replaces: str = ""
    ) -> OrderRecord:
        """The order of ``intent``: placed now, or the one it placed before.

        Raises BadOrder, StalePicture, RiskRefused, Halted, IntentExpired or JournalUnwritable: then nothing
        was sent. What the venue refuses is a REJECTED record; what it leaves unanswered an UNKNOWN one.
        """
        known = self.known(intent, request, now)
        if known is not None:
            return known
        instrument, picture = self._instruments(request.symbol), self._picture(request.symbol)
        self._vet(instrument, request, picture)
        sending = ""
        try:
            with self.changed:
                known = self.known(intent, request, now)
                if known is not None:
                    return known
                self._refuse_halted()
                self._refuse_risk(instrument, request, picture)
                entry = Intended(
                    client_id=self.client_id(intent),
                    session=self.session,
                    parts=intent.parts,
                    again=intent.again,
                    implicit=intent.implicit,
                    request=request,
                    quote=picture.quote,
                    replaces=replaces,
                    time=self._clock.now() if now is None else now,
                )
                sending = entry.client_id
                self._sending.add(sending)
                self._intend(entry, instrument)
            outcome = self._send(instrument, entry)
        finally:
            self._sent(sending)
        self._settle(sending, outcome)
        return self.records[sending]

    @exactly
    def cancel(self, client_id: str) -> OrderRecord:
        """Ask for a cancel and wait for the answer; the record says what came of it.

        An order that is being sent is cancelled once it has been. Raises UnknownName for an id nobody knows,
        OutcomeUnknown when the venue did not answer, Unreached when the cancel took no effect on an open order.
        """
        record = self.order(client_id)
        with self.changed:
            self.changed.wait_for(lambda: not self.being_sent(client_id))
        if record.status.final:
            return record
        outcome = self.gateway.cancel(self._known_instrument(record), client_id)
        if isinstance(outcome, Accepted):
            self._hear(outcome.reports)
        elif isinstance(outcome, Refused):
            with suppress(Unreached):
                self.ask(client_id)  # nothing left to cancel: what became of it?
            if not record.status.final:
                raise Unreached(
                    f"the cancel of {client_id} took no effect ({outcome.reason}): the order is {record.status} "
                    "and may still fill. The same cancel may be asked for again"
                )
        else:
            raise OutcomeUnknown(
                f"the cancel of {client_id} was sent and not answered ({outcome.reason}): the order may still fill. "
                "It is asked for until the venue answers; the order's status will say"
            )
        return record

    @exactly
    def ask(self, client_id: str) -> OrderRecord:
        """Ask the venue what became of an order and take its word; raises Unreached when it can't be asked.

        "No such order" is final once the venue can no longer be working on it (``lost_after``).
        """
        record = self.order(client_id)
        state = self.gateway.query(self._known_instrument(record), client_id)
        if state is not None and (not state.status.final or state.time >= record.created - NAMESAKE):
            self._hear(told(client_id, state))
        elif self._is_lost(record):
            self._hear([self._report(client_id, ReportKind.REJECTED, "it never reached the venue")])
        return record

    def known(self, intent: Intent, request: OrderRequest, now: int | None = None) -> OrderRecord | None:
        """The order ``intent`` has placed already, None when it has not.

        Raises BadOrder when that was another order, IntentExpired when nobody named the intent and it is
        too long ago for a re-run to mean it again.
        """
        record = self.records.get(self.client_id(intent))
        if record is None:
            return None
        _same_order(record, request, intent)
        age = (self._clock.now() if now is None else now) - record.created
        if intent.implicit and age > MEANT_FOR:
            raise IntentExpired(
                f"this cell placed {describe(record.request)} {age / HOUR:.0f} h ago ({record.client_id}, "
                f"{record.status}): too long ago to be sure that it is meant again. Nothing was sent. "
                "again=True places one more, key='…' names the intent, kit.paper(…, session='…') begins a new session"
            )
        return record

    def order(self, client_id: str) -> OrderRecord:
        """The order of that client id; raises UnknownName."""
        try:
            return self.records[client_id]
        except KeyError:
            raise UnknownName("order", client_id, self.records, "(broker.orders lists this account's)") from None

    def client_id(self, intent: Intent) -> str:
        """The client order id of an intent in this session of the account."""
        return ids.client_id(self.account_name, self.session, intent)

    def times_placed(self, intent: Intent) -> int:
        """How many orders of this session have the parts of ``intent``, repeats included."""
        return sum(e.parts == intent.parts and e.session == self.session for e in list(self.intents.values()))

    @property
    def open_orders(self) -> list[OrderRecord]:
        """Every order that may still fill, oldest first."""
        return list(self._working.values())

    # -- may it leave?

    @exactly
    def vet(self, request: OrderRequest, *, replaces: str) -> None:
        """Raise BadOrder, Halted, StalePicture or RiskRefused if the order could not leave now in place of another."""
        instrument, picture = self._instruments(request.symbol), self._picture(request.symbol)
        self._vet(instrument, request, picture)
        with self.changed:
            self._refuse_risk(instrument, request, picture, replaces)

    def _vet(self, instrument: Instrument, request: OrderRequest, picture: Picture) -> None:
        violation = rules.check(instrument, request, reference_price(instrument, request.side, picture.quote))
        if violation is not None:
            raise BadOrder(f"{violation.filter}: {violation.message}; nothing was sent")
        self._refuse_halted()
        self._refuse_stale(request.symbol, picture)

    def _refuse_halted(self) -> None:
        halted = self.journal.halted
        if halted:
            raise Halted(
                f"account {self.account_name!r} is halted ({halted}): nothing was sent; broker.resume() ends it"
            )

    def _refuse_stale(self, symbol: str, picture: Picture) -> None:
        if self.unreconciled:
            raise StalePicture(
                f"account {self.account_name!r} is not reconciled with its venue ({self.unreconciled}): "
                "nothing was sent. It is tried again by itself; broker.reconcile() tries now"
            )
        if picture.state is FeedState.LIVE and picture.age <= FRESH:
            return
        raise StalePicture(
            f"the picture of {symbol} is {picture.state} and was last proven current {picture.age:.1f} s ago; "
            f"orders leave on a LIVE picture of at most {FRESH:.0f} s, so nothing was sent. "
            f"{_WAY_ON.get(picture.state, _WAIT)}"
        )

    def _refuse_risk(self, instrument: Instrument, request: OrderRequest, picture: Picture, replaces: str = "") -> None:
        reference = reference_price(instrument, request.side, picture.quote)
        objection = risk.first_objection(self._context(instrument, request, reference, replaces))
        if objection is not None:
            raise RiskRefused(f"{describe(request)} was not sent: {objection}")

    def _context(
        self, instrument: Instrument, request: OrderRequest, reference: Decimal | None, replaces: str
    ) -> risk.Context:
        """What the risk checks look at, as if the order ``replaces`` were gone already."""
        working = [record for record in self._working.values() if record.client_id != replaces]
        open_here = [record for record in working if record.request.symbol == instrument.symbol]
        buys = sum((record.remaining for record in open_here if record.request.side is Side.BUY), Decimal(0))
        freed = self.account.reserved(replaces)
        return risk.Context(
            instrument, request, self.account, reference, self.limits, len(open_here), buys, freed=freed
        )

    # -- what the venue says

    @exactly
    def on_report(self, report: Report) -> None:
        """Take in one report, from any thread: a repeat changes nothing, a stranger's is not ours to keep."""
        with self.changed:
            record = self.records.get(report.client_id)
            entry = Reported(report=report, time=self._clock.now())
            if record is None or not self._fold(entry):
                return
            self._write(entry)
            self.changed.notify_all()
        for watcher in list(self._watchers):
            watcher(record, report)

    def doubt(self, client_id: str, reason: str) -> None:
        """The order was sent and nobody knows what became of it."""
        with self.changed:
            entry = Doubted(client_id=client_id, reason=reason, time=self._clock.now())
            if self._fold(entry):
                self._write(entry)
                self.changed.notify_all()

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call ``watcher(record, report)`` after every report that was new; the result ends it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    @property
    def unresolved(self) -> list[OrderRecord]:
        """Orders the venue has not answered for and that are not being sent at this moment."""
        doubtful = (OrderStatus.INTENDED, OrderStatus.UNKNOWN)
        return [r for r in self.open_orders if r.status in doubtful and not self.being_sent(r.client_id)]

    def being_sent(self, client_id: str) -> bool:
        """True while a call waits for the venue's answer to the order."""
        return client_id in self._sending

    def reserved(self, client_id: str) -> Decimal:
        """What an order still locks of the asset it spends."""
        with self.changed:
            return self.account.reserved(client_id)

    def close(self) -> None:
        """Write down what the disk had no room for when it was heard, if it has by now."""
        with self.changed, suppress(JournalUnwritable):
            self._flush()

    # -- inside

    def _intend(self, entry: Intended, instrument: Instrument) -> None:
        """Write an intent down, then count with it."""
        self._flush()
        try:
            self.journal.intend(entry, instrument)
        except (KeyboardInterrupt, SystemExit):  # a cell interrupted while the disk was busy
            self.journal.withdraw(entry.client_id)
            raise
        self._fold(entry)
        self.changed.notify_all()

    def _send(self, instrument: Instrument, entry: Intended) -> Outcome:
        """Hand the order over; whatever happens on the way, the journal says so."""
        try:
            return self.gateway.submit(instrument, entry.request, entry.client_id)
        except BaseException as error:  # a cell interrupted while it waits, too: the order may be there
            self.doubt(entry.client_id, f"interrupted by {type(error).__name__} while it was being sent")
            raise

    def _sent(self, client_id: str) -> None:
        """Nobody waits for an answer to the order any more."""
        with self.changed:
            self._sending.discard(client_id)
            self.changed.notify_all()

    def _settle(self, client_id: str, outcome: Outcome) -> None:
        if isinstance(outcome, Accepted):
            self._hear(outcome.reports)
            if self.records[client_id].status is OrderStatus.INTENDED:
                self.on_report(self._report(client_id, ReportKind.ACCEPTED))
        elif isinstance(outcome, Refused):
            self.on_report(self._report(client_id, ReportKind.REJECTED, outcome.reason))
        else:
            self.doubt(client_id, outcome.reason)

    def _hear(self, reports: Iterable[Report]) -> None:
        for report in reports:
            self.on_report(report)

    def _report(self, client_id: str, kind: ReportKind, reason: str = "") -> Report:
        return Report(kind=kind, client_id=client_id, time=self._clock.now(), reason=reason)

    def _is_lost(self, record: OrderRecord) -> bool:
        unanswered = record.status in (OrderStatus.INTENDED, OrderStatus.UNKNOWN)
        return unanswered and self._clock.now() - max(record.updated, self._opened) >= self.lost_after

    def _fold(self, entry: Entry) -> bool:
        """Apply one entry to orders and account; False when it says nothing new."""
        before = self.records.get(entry.client_id)
        was_final = before is not None and before.status.final
        if not fold(self.records, entry):
            return False
        record = self.records[entry.client_id]
        if isinstance(entry, Intended):
            self.intents[entry.client_id] = entry
            self._reserve(entry, record)
        elif isinstance(entry, Reported) and entry.report.fill is not None:
            self.account.apply(entry.report.fill, self._known_instrument(record))
        if record.status.final:
            self._working.pop(record.client_id, None)
            self.account.release(record.client_id)
        elif was_final:
            self._reserve(self.intents[record.client_id], record)
        return True

    def _reserve(self, entry: Intended, record: OrderRecord) -> None:
        """Lock what the order may still spend."""
        self._working[record.client_id] = record
        instrument, request = self._known_instrument(record), entry.request
        reference = reference_price(instrument, request.side, entry.quote)
        asset, amount = reservation(instrument, request, reference, headroom=self.limits.headroom)
        by_share = request.price is not None or request.side is Side.SELL
        left = amount * record.remaining / request.qty
        self.account.reserve(record.client_id, asset, left, qty=record.remaining if by_share else None)

    def _known_instrument(self, record: OrderRecord) -> Instrument:
        return self.journal.instruments[record.request.symbol]

    def _write(self, entry: Reported | Doubted) -> None:
        """Write an answer down, or keep it until the disk has room: it has happened all the same."""
        self._unwritten.append(entry)
        try:
            self._flush()
        except JournalUnwritable:
            return

    def _flush(self) -> None:
        """Write what is still unwritten, oldest first; raises JournalUnwritable."""
        while self._unwritten:
            self.journal.add(self._unwritten[0])
            del self._unwritten[0]


_WAIT = "Wait for it: venue.live(symbol).ready(timeout=10) is True when it is"
_WAY_ON = {
    FeedState.IDLE: "Start it with venue.live(symbol)",
    FeedState.STALE: "It reconnects and catches up by itself; try again when live.state is LIVE (live.reason says what "
    "holds it up; a sandbox that was started again has new addresses: kit.connect() finds them)",
    FeedState.CLOSED: "Open it again with venue.live(symbol)",
}


def reference_price(instrument: Instrument, side: Side, quote: Quote | None) -> Decimal | None:
    """What a taker of ``side`` would pay or get now: the ask for a buy, the bid for a sell."""
    if quote is None:
        return None
    return instrument.price(quote.ask if side is Side.BUY else quote.bid)


def describe(request: OrderRequest) -> str:
    """An order request in words: ``buy 0.5 BTC/USDT limit 60000``."""
    words = [request.side, rules.plain(request.qty), request.symbol, request.type]
    words += [rules.plain(price) for price in (request.stop, request.price) if price is not None]
    words += [request.tif] if request.tif != "gtc" else []
    words += ["post-only"] if request.post_only else []
    return " ".join(words)


def _same_order(record: OrderRecord, request: OrderRequest, intent: Intent) -> None:
    """The same intent can't mean another order. What a cell computes anew (quantity, prices) may have moved."""
    placed = record.request
    kind = (placed.symbol, placed.side, placed.type) == (request.symbol, request.side, request.type)
    if placed == request or (kind and intent.implicit):
        return
    name = f"key={intent.parts[-1]!r}" if intent.parts[:1] == ("key",) else "this intent"
    raise BadOrder(
        f"{name} has placed {describe(placed)} already and can't also mean {describe(request)}; nothing was sent. "
        "Another key= is another order, again=True places one more of this"
    )
