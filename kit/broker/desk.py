"""The one order path: intent, id, rules, freshness, risk, journal, gateway, journal, account.

Every order of the kit passes here, whoever meant it and whoever executes it: a paper account, a
live account and a backtest differ in clock, picture and gateway only. ``gate`` says whether an order may leave,
``ledger`` keeps what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal

from kit.broker.gate import Gate, View
from kit.broker.gateway import Accepted, Gateway, Outcome, Refused, Unknown
from kit.broker.interrupts import interruptible, whole
from kit.broker.ledger import DOUBTFUL, Ledger, Watcher
from kit.broker.reconcile import told
from kit.clock import HOUR, MINUTE, SECOND, Clock
from kit.errors import BadOrder, IntentExpired, OutcomeUnknown, StoreError, Unreached
from kit.market.feed import Picture
from kit.model import Instrument, OrderRequest, OrderState, OrderStatus, Report, ReportKind
from kit.orders import ids, risk
from kit.orders.account import exactly
from kit.orders.freshness import Freshness
from kit.orders.ids import Intent
from kit.orders.lifecycle import OrderRecord
from kit.orders.request import describe
from kit.store.entries import Intended
from kit.store.journal import Journal
from kit.venues.contract import Repeat, Scope

NAMESAKE = 10 * SECOND
"""An order of our id that ended so long (µs) before our intent is an older one: venues take ids again. Clocks differ by
less, for a venue refuses what is signed so far off."""

MEANT_FOR = 12 * HOUR
"""How long running a cell again means the order it placed; later it must be said what is meant."""


class Desk:
    """One account's order path. Safe to call from any thread; nothing is locked while a gateway is waited for.

    ``instruments`` and ``picture`` answer for a symbol of ours. What an unanswered order's fate is, is decided by the
    gateway's contract.
    """

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
        freshness: Freshness = Freshness(),  # noqa: B008 - frozen
    ) -> None:
        self.account_name, self.session = account_name, session
        self.journal, self.gateway, self.contract = journal, gateway, gateway.contract
        self.ledger = Ledger(journal, clock, headroom=limits.headroom)
        self.gate = Gate(
            self.ledger,
            clock,
            name=account_name,
            instruments=instruments,
            picture=picture,
            limits=limits,
            freshness=freshness,
        )
        self.records, self.intents = self.ledger.records, self.ledger.intents
        self.account, self.changed = self.ledger.account, self.ledger.changed
        self._clock, self._opened = clock, clock.now()
        self._placed: dict[tuple[str, tuple[str, ...]], int] = {}
        gateway.listen(self.ledger.on_report)

    # -- orders

    @exactly
    def place(
        self,
        request: OrderRequest,
        intent: Intent,
        now: int | None = None,
        *,
        replaces: str = "",
        despite: tuple[str, ...] = (),
    ) -> OrderRecord:
        """The order of ``intent``: placed now, or the one it placed before.

        ``despite`` names the demands of freshness (``kit.orders.freshness.NAMES``) that this order overlooks.
        Raises BadOrder, StalePicture, RiskRefused, Halted, IntentExpired or JournalUnwritable: then nothing
        was sent. What the venue refuses is a REJECTED record; what it leaves unanswered an UNKNOWN one.
        """
        name = self.client_id(intent)
        known = self._known(name, intent, request, now)
        if known is not None:
            return known
        view = self.gate.look(request.symbol)
        entry = Intended(
            client_id=name,
            session=self.session,
            parts=intent.parts,
            again=intent.again,
            implicit=intent.implicit,
            request=request,
            quote=view.picture.quote,
            replaces=replaces,
            despite=despite,
            time=self._clock.now() if now is None else now,
        )
        return self._known_or_sent(intent, entry, view)

    @exactly
    def cancel(self, client_id: str, *, to_amend: bool = False) -> OrderRecord:
        """Ask for a cancel and wait for the answer; the record says what came of it.

        An order that was amended is cancelled as what it was amended to, and the record is that one's.
        What was to be amended and is cancelled for good (not ``to_amend``) is amended no more. An order that is being
        sent is cancelled once it has been. Raises UnknownName for an id nobody knows, OutcomeUnknown when the venue did
        not answer, Unreached when the cancel took no effect on an open order.
        """
        record = self.ledger.chain(client_id)[-1]
        client_id = record.client_id
        if not to_amend:
            self._amend_no_more(client_id)
        if self.being_sent(client_id):
            with self.changed:
                self.changed.wait_for(lambda: not self.being_sent(client_id))
        if record.status.final:
            return record
        outcome = self.gateway.cancel(self.ledger.instrument(record), client_id)
        if isinstance(outcome, Accepted):
            self.ledger.hear(outcome.reports)
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

        "No such order" is final once the venue can no longer be working on it (the contract's ``final_after``).
        """
        record = self.ledger.order(client_id)
        asked = self._clock.now()
        state = self.gateway.query(self.ledger.instrument(record), client_id, record.created)
        if state is not None and _is_ours(record, state, asked):
            self.ledger.hear(told(client_id, state))
        elif state is not None and self.contract.scope is Scope.ACCOUNT:
            self._refuse_namesake(record)
        elif self._is_lost(record, asked):
            self.ledger.on_report(self._report(client_id, ReportKind.REJECTED, "it never reached the venue"))
        elif self._is_namesake(record, asked):
            self._refuse_namesake(record)
        return record

    def known(self, intent: Intent, request: OrderRequest, now: int | None = None) -> OrderRecord | None:
        """The order ``intent`` has placed already, None when it has not.

        Raises BadOrder when that was another order, IntentExpired when nobody named the intent and it is
        too long ago for a re-run to mean it again.
        """
        return self._known(self.client_id(intent), intent, request, now)

    def _known(self, client_id: str, intent: Intent, request: OrderRequest, now: int | None) -> OrderRecord | None:
        record = self.ledger.find(client_id)
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

    def vet(self, request: OrderRequest, *, replaces: str) -> None:
        """Raise BadOrder, Halted, StalePicture or RiskRefused if the order could not leave now in place of another."""
        view = self.gate.look(request.symbol)
        with self.changed:
            self.gate.admit(request, view, replaces=replaces)

    def times_placed(self, intent: Intent) -> int:
        """How many orders of this session have the parts of ``intent``: its repeats are numbered without a gap."""
        number = self._placed.get((self.session, intent.parts), 0)
        while self.client_id(Intent(intent.parts, number)) in self.records:
            number += 1
        self._placed[self.session, intent.parts] = number
        return number

    def client_id(self, intent: Intent) -> str:
        """The client order id of an intent in this session of the account."""
        return ids.client_id(self.account_name, self.session, intent)

    @property
    def open_orders(self) -> list[OrderRecord]:
        """Every order that may still fill, oldest first."""
        return list(self.ledger.working.values())

    @property
    def unresolved(self) -> list[OrderRecord]:
        """Orders the venue has not answered for and that are not being sent at this moment."""
        return self.ledger.unresolved

    @property
    def unreconciled(self) -> str:
        """Why the account has to be compared with its venue; empty when it was. No order leaves meanwhile."""
        return self.gate.unreconciled

    @unreconciled.setter
    def unreconciled(self, reason: str) -> None:
        with self.changed:
            self.gate.unreconciled = reason
            self.changed.notify_all()

    def being_sent(self, client_id: str) -> bool:
        """True while a call waits for the venue's answer to the order."""
        return client_id in self.ledger.sending

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call ``watcher(record, report)`` after every report that was new; the result ends it."""
        return self.ledger.watch(watcher)

    def reserved(self, client_id: str) -> Decimal:
        """What an order still locks of the asset it spends."""
        return self.ledger.reserved(client_id)

    def close(self) -> None:
        """Write down what the disk had no room for when it was heard, if it has by now."""
        self.ledger.close()

    # -- inside

    @whole
    def _known_or_sent(self, intent: Intent, entry: Intended, view: View) -> OrderRecord:
        """Written down and sent, unless another thread was first with the same intent."""
        sending = ""
        try:
            with self.changed:
                known = self._known(entry.client_id, intent, entry.request, entry.time)
                if known is not None:
                    return known
                self.gate.admit(entry.request, view, despite=entry.despite)
                sending = entry.client_id
                self.ledger.sending.add(sending)
                record = self.ledger.intend(entry, view.instrument)
            self._send(view.instrument, entry, record)
        finally:
            self._sent(sending)
        return record

    def _send(self, instrument: Instrument, entry: Intended, record: OrderRecord) -> None:
        """Hand the order over and take the outcome; whatever happens on the way, the journal says so."""
        outcome = self._submit(instrument, entry)
        if isinstance(outcome, Unknown) and self.contract.resendable and not self.journal.halted:
            again = self._submit(instrument, entry)
            # a no to the second sending may be about the first: that it exists, or has taken the money
            outcome = again if isinstance(again, Accepted) else outcome
        self._settle(record, outcome)

    def _submit(self, instrument: Instrument, entry: Intended) -> Outcome:
        try:
            with interruptible():
                return self.gateway.submit(instrument, entry.request, entry.client_id)
        except BaseException as error:  # a cell interrupted while it waits, too: the order may be there
            self.ledger.doubt(entry.client_id, f"interrupted by {type(error).__name__} while it was being sent")
            raise

    def _sent(self, client_id: str) -> None:
        """Nobody waits for an answer to the order any more."""
        with self.changed:
            self.ledger.sending.discard(client_id)
            self.changed.notify_all()

    def _settle(self, record: OrderRecord, outcome: Outcome) -> None:
        client_id = record.client_id
        if isinstance(outcome, Accepted) and self._tells_of_another(outcome, record):
            self._refuse_namesake(record)
        elif isinstance(outcome, Accepted):
            self.ledger.hear(outcome.reports)
            if record.status is OrderStatus.INTENDED:
                self.ledger.on_report(self._report(client_id, ReportKind.ACCEPTED))
        elif isinstance(outcome, Unknown):
            self.ledger.doubt(client_id, outcome.reason)
        elif record.status in DOUBTFUL:  # else the stream has told of it already: the no was to a copy of the request
            self.ledger.on_report(self._report(client_id, ReportKind.REJECTED, outcome.reason))

    def _amend_no_more(self, client_id: str) -> None:
        with suppress(StoreError):  # a full disk keeps no cancel back
            if self.journal.get(amending(client_id)):
                self.journal.set(amending(client_id), "", durable=True)

    def _tells_of_another(self, outcome: Accepted, record: OrderRecord) -> bool:
        """The answer is an older order's. Only a venue that answers a repeat with the original gives such a one:
        elsewhere a yes is to our order, whatever our clock was when it was meant."""
        repeats = self.contract.repeat is Repeat.ORIGINAL
        return repeats and any(report.time < record.created - NAMESAKE for report in outcome.reports)

    def _refuse_namesake(self, record: OrderRecord) -> None:
        """The venue, which takes an id once, answered with an older order: ours can't come to be."""
        if not record.fills:
            reason = (
                "nothing was placed: the venue has an older order of this id, from before this account's journal. "
                "Another key=, or another session= of the account, makes another id"
            )
            self.ledger.on_report(self._report(record.client_id, ReportKind.REJECTED, reason))

    def _report(self, client_id: str, kind: ReportKind, reason: str = "") -> Report:
        return Report(kind=kind, client_id=client_id, time=self._clock.now(), reason=reason)

    def _is_lost(self, record: OrderRecord, asked: int) -> bool:
        """The venue, ``asked`` when it could no longer be working on the order, does not know it."""
        return record.status in DOUBTFUL and self._overdue(record, asked)

    def _is_namesake(self, record: OrderRecord, asked: int) -> bool:
        """The venue, which answers a repeat with the original, has acknowledged an order that it does not show."""
        acknowledged = record.status is OrderStatus.OPEN and self.contract.repeat is Repeat.ORIGINAL
        return acknowledged and self._overdue(record, asked)

    def _overdue(self, record: OrderRecord, asked: int) -> bool:
        """What the venue does not show by ``asked`` does not exist.

        A process that died had sent it before this one began, whatever its clock said: that may have been set back.
        """
        earlier = record.updated < self._opened or record.updated > asked + MINUTE
        return asked - (self._opened if earlier else record.updated) >= self.contract.final_after


def amending(client_id: str) -> str:
    """Under this label the journal keeps what an order is being amended to, before it is cancelled for that."""
    return f"amending {client_id}"


def _is_ours(record: OrderRecord, state: OrderState, asked: int) -> bool:
    """An order of our id that ended long before ours was meant is an older one; so is one that was asked for otherwise,
    unless the venue has named it before: a venue knows our id from another machine, or from a journal that was lost.

    A clock that was ahead when it was meant has been set back by the time it is ``asked`` for.
    """
    if not record.venue_id and _terms(record.request) != _terms(state.request):
        return False
    return not state.status.final or state.time >= min(record.created, asked) - NAMESAKE


def _terms(request: OrderRequest) -> tuple[object, ...]:
    return request.side, request.type, request.qty, request.price, request.stop


def _same_order(record: OrderRecord, request: OrderRequest, intent: Intent) -> None:
    """The same intent can't mean another order. What a cell computes anew (quantity, prices) may have moved."""
    placed = record.request
    kind = (placed.symbol, placed.side, placed.type) == (request.symbol, request.side, request.type)
    if placed == request or (kind and intent.implicit):
        return
    name = f"key={intent.parts[-1]!r}" if intent.parts[:1] == ("key",) else "this call of this cell"
    raise BadOrder(
        f"{name} has placed {describe(placed)} already and can't also mean {describe(request)}; nothing was sent. "
        "Another key= is another order, again=True places one more of this"
    )
