"""Following an account: its stream is listened to, and its venue is asked for what the stream may not have told.

What is due when is decided by ``cadence``; here it is done.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from kit.broker.cadence import FAST, Cadence, Due, Outlook
from kit.broker.desk import Desk
from kit.broker.reconcile import Difference, reconcile
from kit.clock import SECOND, Clock, WallClock
from kit.errors import KitError, RateLimited
from kit.model import OrderStatus, Report, ReportKind
from kit.orders.lifecycle import OrderRecord
from kit.venues.base import Standing

if TYPE_CHECKING:
    from kit.net.account_stream import Listener, News

FEW = 5
"""Open orders asked for one by one (weight 4 each at Binance); beyond, the venue lists them all (80)."""
KEPT = 100
"""Most differences remembered."""
LOOK = SECOND
"""µs between two looks at the clock while something is open: a wait does not count the time that a machine sleeps."""
UNSURE = SECOND
"""µs after the stream began during which something may have happened just before it began."""
_UNTOLD = (ReportKind.REJECTED, ReportKind.TRIGGERED)
"""What a stream need not tell: a venue's no has no order, and Binance does not tell a trigger."""


class Stream(Protocol):
    """The account's own stream (``kit.net.account_stream``)."""

    def start(self, listener: Listener) -> None: ...
    def renew(self, reason: str) -> None: ...
    def close(self) -> None: ...


class Follower:
    """Hears what the stream tells and asks the venue for the rest: thread ``kit-orders-<account>``.

    Without a stream open orders are asked for every ``every`` seconds; an unknown outcome always at once. Nothing open,
    nothing asked. A venue that does not answer is asked less and less often, and never given up. ``clock`` is ours.
    """

    def __init__(
        self, desk: Desk, stream: Stream | None = None, *, every: float = FAST / SECOND, clock: Clock | None = None
    ) -> None:
        self.last_error = ""
        """Why the last round failed; empty when it did not."""
        self.found: deque[Difference] = deque(maxlen=KEPT)
        """What comparisons with the venue have found meanwhile, the newest last."""
        self._desk, self._stream, self._clock = desk, stream, clock or WallClock()
        self._cadence = Cadence(self._clock.now(), fast=round(every * SECOND))
        self._short: dict[str, Standing] = {}
        self._since = 0
        self._down = "it has not begun yet"
        self._closed = False
        self._unwatch = desk.watch(self._happened)
        self._thread = threading.Thread(target=self._run, name=f"kit-orders-{desk.account_name}", daemon=True)
        self._thread.start()
        if stream is not None:
            stream.start(self)

    @property
    def state(self) -> str:
        """How news of the account come, in words."""
        with self._desk.changed:
            if self._stream is None:
                return "asking: there is no account stream"
            if not self._cadence.up:
                return f"asking: its stream is down ({self._down})"
            return "its stream" if self._cadence.proven else "its stream, not proven yet, and asking"

    @property
    def proven(self) -> bool:
        """True while the stream is known to tell everything."""
        with self._desk.changed:
            return self._cadence.proven

    def close(self) -> None:
        """Stop listening and asking. May be called twice."""
        if self._stream is not None:
            self._stream.close()
        with self._desk.changed:
            if not self._closed:
                self._unwatch()
            self._closed = True
            self._desk.changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # -- what the stream tells, on its thread

    def up(self, at: int) -> None:
        """From ``at`` (µs, the venue's clock) on the stream tells; what was before is read now."""
        with self._desk.changed:
            self._cadence.subscribed(self._clock.now())
            self._since, self._down = at + UNSURE, ""
            self._desk.changed.notify_all()

    def down(self, reason: str) -> None:
        """It tells nothing any more."""
        with self._desk.changed:
            self._cadence.lost()
            self._down = reason
            self._desk.changed.notify_all()

    def heard(self, news: News) -> None:
        """Take in a report, and look whether one is missing before it."""
        with self._desk.changed:
            self._cadence.news(self._clock.now())
            if isinstance(news, Standing):
                self._stands(news)
        if isinstance(news, Report):
            self._report(news)

    def _report(self, report: Report) -> None:
        """The lock is free meanwhile: whoever watches the desk may ask it something of another thread."""
        with self._desk.changed:
            record = self._desk.records.get(report.client_id)
            if record is not None and record.status is OrderStatus.UNKNOWN:
                self._suspect(record)
        if record is None:
            return
        if report.fill is not None:
            fill = msgspec.structs.replace(report.fill, symbol=record.request.symbol)
            report = msgspec.structs.replace(report, fill=fill)
        self._desk.ledger.on_report(report)

    def _stands(self, standing: Standing) -> None:
        """The sum of an order's fills is told with each: where ours is less, one has not come."""
        record = self._desk.records.get(standing.client_id)
        if record is None:
            return
        self._cadence.echoes.told(standing.client_id, standing.filled, final=standing.status.final)
        if standing.filled > record.filled:
            self._short[standing.client_id] = standing
            self._desk.changed.notify_all()

    # -- what became known, on any thread

    def _happened(self, record: OrderRecord, report: Report) -> None:
        """What came as an answer must come on the stream as well, if it happened while that was up."""
        with self._desk.changed:
            if self._cadence.up and report.time >= self._since and report.kind not in _UNTOLD:
                self._cadence.echoes.happened(
                    record.client_id, record.filled, self._clock.now(), final=record.status.final
                )
                self._desk.changed.notify_all()

    # -- what is due, on a thread of its own

    def _run(self) -> None:
        while (due := self._wait()) is not None:
            try:
                self._do(due)
            except Exception as error:  # a mistake here must not leave the account alone: it is asked for again
                self._answered([KitError(f"following the account failed: {error!r}")], whole=True)

    def _wait(self) -> Due | None:
        """What is due, once something is; None when it was closed."""
        with self._desk.changed:
            while not self._closed:
                due = self._cadence.due(self._outlook(), self._clock.now())
                if not due.idle:
                    return due
                self._desk.changed.wait(None if due.pause is None else min(due.pause, LOOK) / SECOND)
        return None

    def _outlook(self) -> Outlook:
        desk = self._desk
        doubtful = {record.client_id: record for record in desk.unresolved}
        self._short = {name: told for name, told in self._short.items() if desk.records[name].filled < told.filled}
        for record in doubtful.values():
            self._suspect(record)
        working = (record.client_id for record in desk.open_orders if not desk.being_sent(record.client_id))
        return Outlook(
            open=frozenset(working) - doubtful.keys(),
            doubtful=frozenset(doubtful),
            short=frozenset(self._short),
            unreconciled=bool(desk.unreconciled),
        )

    def _suspect(self, record: OrderRecord) -> None:
        """Believe the account no more until it was compared with its venue, once that has answered for the order."""
        if not self._desk.unreconciled:
            self._desk.unreconciled = f"the venue left order {record.client_id} unanswered for a time"

    def _do(self, due: Due) -> None:
        """One round."""
        if due.renew:
            self._renew(due.renew)
        elif due.silent:
            waited = self.last_error or "no answer"
            self._desk.unreconciled = f"the venue has been silent while orders are open ({waited})"
        elif due.reconcile is not None:
            self._reconcile(due.reconcile)
        else:
            self._ask_all(due)

    def _renew(self, reason: str) -> None:
        if self._stream is not None:
            self._stream.renew(reason)
        self.down(reason)

    def _reconcile(self, number: int) -> None:
        try:
            self.found.extend(reconcile(self._desk))
        except KitError as error:
            self._answered([error], whole=True)
            return
        with self._desk.changed:
            self._cadence.reconciled(number, self._clock.now())
        self._answered([], whole=False)

    def _ask_all(self, due: Due) -> None:
        errors: list[KitError] = []
        wanted = list(due.ask)
        with self._desk.changed:
            for client_id in due.ask:
                self._cadence.asked(client_id, self._clock.now())
            if due.poll:
                self._cadence.polled(self._clock.now())
        try:
            wanted += self._changed() if due.poll else []
        except KitError as error:
            errors.append(error)
        errors += [unanswered for client_id in wanted if (unanswered := self._ask(client_id))]
        self._answered(errors, whole=bool(errors) and len(errors) >= len(wanted))

    def _answered(self, errors: list[KitError], *, whole: bool) -> None:
        """Note how a round went; ``whole``: the venue answered nothing."""
        self.last_error = str(errors[0]) if errors else ""
        wait = max((error.retry_after for error in errors if isinstance(error, RateLimited)), default=0.0)
        with self._desk.changed:
            if whole:
                self._cadence.failed(self._clock.now(), round(wait * SECOND))
            else:
                self._cadence.answered(self._clock.now())

    def _ask(self, client_id: str) -> KitError | None:
        """Ask for one order; why it could not be answered for, which keeps no other waiting."""
        if self._closed:
            return None
        try:
            self._desk.ask(client_id)
        except KitError as error:
            return error
        return None

    def _changed(self) -> list[str]:
        """Open orders to ask for: all of a few, of many those that the venue's list does not confirm as they are."""
        doubtful = {record.client_id for record in self._desk.unresolved}
        records = [
            record
            for record in self._desk.open_orders
            if record.client_id not in doubtful and not self._desk.being_sent(record.client_id)
        ]
        if len(records) > FEW:
            listed = {state.client_id: state.filled for state in self._desk.gateway.open_orders()}
            records = [record for record in records if listed.get(record.client_id) != record.filled]
        return [record.client_id for record in records]
