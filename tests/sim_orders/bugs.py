"""Mistakes that programs like this one have made, each planted by a patch. The simulation must catch them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from kit.broker import reconcile as reconciling
from kit.broker.desk import Desk
from kit.broker.following import Follower
from kit.broker.gate import Gate
from kit.broker.gateway import Outcome, Refused, Unknown
from kit.broker.ledger import DOUBTFUL, Ledger
from kit.broker.live import LiveGateway
from kit.errors import KitError
from kit.model import Instrument, OrderState, OrderStatus, Report, ReportKind
from kit.orders import ids
from kit.orders.account import Account
from kit.orders.ids import Intent
from kit.orders.lifecycle import TABLE, Event, OrderRecord
from kit.store.entries import Doubted, Intended, Reported
from kit.venues.contract import Contract
from tests.planting import Bugs, Patch, noting, wrap
from tests.sim_orders.market import INSTRUMENTS

BUGS: Bugs = {}
bug = noting(BUGS)


# -- what silence means


@bug()
def a_timeout_means_that_the_order_is_dead(patch: Patch) -> None:
    def made(submit: Callable[..., Outcome]) -> Callable[..., Outcome]:
        def hasty(self: LiveGateway, *order: Any) -> Outcome:
            outcome = submit(self, *order)
            return Refused(outcome.reason) if isinstance(outcome, Unknown) else outcome

        return hasty

    wrap(patch, LiveGateway, "submit", made)


@bug()
def the_same_id_is_sent_again_where_ids_guard_open_orders_only(patch: Patch) -> None:
    patch.setattr(Contract, "resendable", property(lambda self: True))


@bug(show="slow")
def an_order_is_given_up_after_three_questions(patch: Patch) -> None:
    asked: Counter[int] = Counter()

    def made(is_lost: Callable[..., bool]) -> Callable[..., bool]:
        def impatient(self: Desk, record: OrderRecord, now: int) -> bool:
            asked[id(record)] += 1
            return record.status in DOUBTFUL and asked[id(record)] >= 3

        return impatient

    wrap(patch, Desk, "_is_lost", made)


@bug(show="slow")
def after_a_restart_not_found_is_final_at_once(patch: Patch) -> None:
    def is_lost(self: Desk, record: OrderRecord, asked: int) -> bool:
        waited = asked - record.updated >= self.contract.final_after
        return record.status in DOUBTFUL and (waited or record.updated < self._opened)

    patch.setattr(Desk, "_is_lost", is_lost)


@bug(show="slow")
def lookups_are_taken_to_show_everything_at_once(patch: Patch) -> None:
    patch.setattr(Contract, "final_after", property(lambda self: 0))


@bug(show="silent")
def a_no_to_the_second_sending_is_believed(patch: Patch) -> None:
    def send(self: Desk, instrument: Instrument, entry: Intended, record: OrderRecord) -> None:
        outcome = self._submit(instrument, entry)
        if isinstance(outcome, Unknown) and self.contract.resendable and not self.ledger.journal.halted:
            outcome = self._submit(instrument, entry)
        self._settle(record, outcome)

    patch.setattr(Desk, "_send", send)


@bug()
def a_failed_read_means_that_nothing_is_there(patch: Patch) -> None:
    def made(ask: Callable[..., OrderRecord]) -> Callable[..., OrderRecord]:
        def blind(self: Desk, client_id: str) -> OrderRecord:
            try:
                return ask(self, client_id)
            except KitError:
                self.ledger.on_report(self._report(client_id, ReportKind.CANCELED, "it is not there"))
                return self.ledger.order(client_id)

        return blind

    wrap(patch, Desk, "ask", made)


@bug(show="hands")
def an_account_that_could_not_be_compared_counts_as_compared(patch: Patch) -> None:
    def made(place: Callable[..., OrderRecord]) -> Callable[..., OrderRecord]:
        def blithe(self: Desk, *args: Any, **options: Any) -> OrderRecord:
            self.unreconciled = ""
            return place(self, *args, **options)

        return blithe

    wrap(patch, Desk, "place", made)


# -- the journal


@bug()
def an_order_is_written_down_after_it_was_sent(patch: Patch) -> None:
    later: list[Callable[[], None]] = []

    def intend(self: Ledger, entry: Intended, instrument: Instrument) -> OrderRecord:
        later.append(partial(self.journal.intend, entry, instrument))
        return self._begin(entry)

    def made(settle: Callable[..., None]) -> Callable[..., None]:
        def late(self: Desk, record: OrderRecord, outcome: Outcome) -> None:
            later.pop()()
            settle(self, record, outcome)

        return late

    patch.setattr(Ledger, "instrument", lambda self, record: INSTRUMENTS[record.request.symbol])
    patch.setattr(Ledger, "intend", intend)
    wrap(patch, Desk, "_settle", made)


@bug()
def what_was_heard_is_not_written_down(patch: Patch) -> None:
    def made(write: Callable[..., None]) -> Callable[..., None]:
        def forgetful(self: Ledger, entries: Iterable[Reported | Doubted]) -> None:
            write(self, [e for e in entries if not (isinstance(e, Reported) and e.report.kind is ReportKind.FILLED)])

        return forgetful

    wrap(patch, Ledger, "_write", made)


# -- orders and money


@bug()
def a_fill_is_counted_twice(patch: Patch) -> None:
    def fill(self: OrderRecord, report: Report) -> bool:
        assert report.fill is not None
        self.fills.append(report.fill)
        self.filled += report.fill.qty
        self.filled_quote += report.fill.notional
        event = Event.PART_FILLED if self.remaining else Event.ALL_FILLED
        return self._move(event, report.time, report.venue_id, report.reason) or True

    patch.setattr(OrderRecord, "_fill", fill)


@bug()
def a_late_acknowledgement_reopens_an_order(patch: Patch) -> None:
    for status in (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED):
        patch.setitem(TABLE[status], Event.ACCEPTED, OrderStatus.OPEN)


@bug()
def a_fill_after_the_cancel_is_dropped(patch: Patch) -> None:
    def made(apply: Callable[..., bool]) -> Callable[..., bool]:
        return lambda self, report: False if self.status.final else apply(self, report)

    wrap(patch, OrderRecord, "apply", made)


@bug()
def a_lock_outlives_its_order(patch: Patch) -> None:
    def made(release: Callable[..., None]) -> Callable[..., None]:
        def keeping(self: Account, client_id: str, amount: Any = None) -> None:
            if amount is not None:
                release(self, client_id, amount)

        return keeping

    wrap(patch, Account, "release", made)


@bug()
def one_more_of_the_same_has_the_same_id(patch: Patch) -> None:
    def made(client_id: Callable[..., str]) -> Callable[..., str]:
        return lambda account, session, intent: client_id(account, session, Intent(intent.parts))

    wrap(patch, ids, "client_id", made)


@bug()
def the_id_is_drawn_anew_each_time(patch: Patch) -> None:
    drawn: Counter[str] = Counter()

    def made(client_id: Callable[..., str]) -> Callable[..., str]:
        def other(account: str, session: str, intent: Intent) -> str:
            drawn[intent.parts[-1]] += 1
            return client_id(account, session, Intent((*intent.parts, str(drawn[intent.parts[-1]])), intent.again))

        return other

    wrap(patch, ids, "client_id", made)


@bug(show="hands")
def the_halt_flag_is_not_read(patch: Patch) -> None:
    patch.setattr(Gate, "refuse_halted", lambda self: None)


@bug(show="hands")
def strangers_are_cancelled(patch: Patch) -> None:
    def made(strangers: Callable[..., Any]) -> Callable[..., Any]:
        def tidy(desk: Desk, listed: list[OrderState]) -> Any:
            for state in listed:
                if state.client_id not in desk.records:
                    desk.gateway.cancel(desk.gate._instruments(state.request.symbol), state.client_id)
            return strangers(desk, listed)

        return tidy

    wrap(patch, reconciling, "_strangers", made)


@bug()
def fills_of_orders_that_are_over_are_not_looked_for(patch: Patch) -> None:
    patch.setattr(reconciling, "_executions", lambda desk: iter(()))
    patch.setattr(Follower, "_stands", lambda self, standing: None)
