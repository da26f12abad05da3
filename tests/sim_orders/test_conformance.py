"""What each venue's contract about client ids means for an order: the desk against exactly those rules.

All contracts, spoken in the kit's own nouns; and Binance's once more, through its codec and its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kit.broker.desk import Desk
from kit.broker.reconcile import reconcile
from kit.clock import MINUTE, SECOND
from kit.errors import OutcomeUnknown, StalePicture, Unreached
from kit.model import OrderRequest, OrderStatus, OrderType, Side
from kit.orders.ids import Intent
from kit.orders.lifecycle import OrderRecord
from kit.venues.contract import Lookup, Repeat, Scope
from tests.sim_orders.faults import Mix
from tests.sim_orders.market import BTC
from tests.sim_orders.test_sim_orders import VOICES
from tests.sim_orders.venue import Taken
from tests.sim_orders.voice import Question, Voice
from tests.sim_orders.world import START, World

ENTRY = Intent.keyed("entry")


class Bench:
    """A world in which nothing happens by itself but time, and the account's stream is silent unless connected."""

    def __init__(self, voice: Voice, folder: Path) -> None:
        self.voice, self.contract = voice, voice.contract
        self.world = World(0, voice, folder, mix=Mix())
        self.world.venue.step(BTC.symbol, START, trade=False)
        self.world.venue.listener = self.world.stream.push
        self.world.door.before = self._count
        self.world.agenda.after = lambda: None
        self.sent = 0
        """How often the desk has sent an order."""
        self.open()

    @property
    def desk(self) -> Desk:
        return self.world.desk

    def open(self) -> None:
        """A process opens the account and compares it with the venue."""
        self.world.open()
        self.world.stream.close()

    def connect(self) -> None:
        """The account's stream begins to tell."""
        follower = self.world.process.follower if self.world.process else None
        assert follower is not None
        self.world.stream.start(follower)
        self.wait(SECOND)

    def restart(self) -> None:
        """The process is killed, and another one begins."""
        self.desk.journal.close()
        self.world.process = None
        self.open()

    def befalls(self, *fates: str) -> None:
        """What happens to the next requests, one after the other ("" is nothing)."""
        self.world.door.script = list(fates)

    def wait(self, microseconds: int) -> None:
        self.world.agenda.until(self.world.agenda.now + microseconds)

    def limit(self, side: Side = Side.BUY, ticks: int = -50) -> OrderRequest:
        """Far from the market, unless ``ticks`` say otherwise."""
        price = self.world.venue.markets[BTC.symbol].price(ticks)
        return OrderRequest(symbol=BTC.symbol, side=side, type=OrderType.LIMIT, qty=Decimal("0.1"), price=price)

    def place(self, request: OrderRequest | None = None, *, key: str = "entry") -> OrderRecord:
        try:
            return self.desk.place(request or self.limit(), Intent.keyed(key), despite=("account",))
        finally:
            self.befalls()

    def ask(self, record: OrderRecord) -> OrderRecord:
        """Have the venue asked, and the answer taken."""
        return self.desk.ask(record.client_id)

    @property
    def taken(self) -> list[Taken]:
        """The orders that the venue has taken up."""
        return self.world.venue.taken

    def post(self, request: OrderRequest, client_id: str) -> list[Any]:
        """An order past the desk, as another program of the same account would send it."""
        return list(self.world.door.do(self.voice.codec.order(BTC, request, client_id)))

    def _count(self, question: Question) -> None:
        self.sent += question.what == "order"


@pytest.fixture(params=list(VOICES))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(VOICES[request.param], tmp_path)
    yield made
    made.world.close()


def only(bench: Bench, scope: Scope) -> None:
    """Leave out the venues of the other kind."""
    if bench.contract.scope is not scope:
        pytest.skip(f"ids are unique among {bench.contract.scope} here")


# -- the same id again


def test_a_repeat_while_the_first_is_open_is_no_second_order(bench: Bench) -> None:
    """Refused in a way that says nothing against the first, or answered with it."""
    bench.post(bench.limit(), "same")
    if bench.contract.repeat is Repeat.REFUSED:
        with pytest.raises(OutcomeUnknown):
            bench.post(bench.limit(), "same")
    else:
        assert [report.venue_id for report in bench.post(bench.limit(), "same")] == [bench.taken[0].venue_id]
    assert len(bench.taken) == 1


def test_once_the_first_is_over_its_id_makes_a_second_order_or_never_again(bench: Bench) -> None:
    bench.post(bench.limit(ticks=9), "same")
    assert bench.taken[0].status.final
    if bench.contract.scope is Scope.OPEN:
        assert bench.post(bench.limit(ticks=9), "same")
    elif bench.contract.repeat is Repeat.REFUSED:
        with pytest.raises(OutcomeUnknown):
            bench.post(bench.limit(ticks=9), "same")
    else:
        assert bench.post(bench.limit(ticks=9), "same")[0].venue_id == bench.taken[0].venue_id
    assert len(bench.taken) == (2 if bench.contract.scope is Scope.OPEN else 1)


def test_an_unanswered_order_is_sent_again_only_where_its_id_guards_it_for_ever(bench: Bench) -> None:
    bench.befalls("mute", "")
    record = bench.place(bench.limit(ticks=9))
    assert bench.sent == (2 if bench.contract.scope is Scope.ACCOUNT else 1)
    assert len(bench.taken) == 1
    bench.wait(SECOND)
    assert bench.ask(record).status is OrderStatus.FILLED
    assert record.filled == Decimal("0.1")


@pytest.mark.parametrize("no", ["limited", "unsent", "mute"])
def test_a_no_to_the_second_sending_says_nothing_about_the_first(bench: Bench, no: str) -> None:
    only(bench, Scope.ACCOUNT)
    bench.befalls("mute", no)
    record = bench.place()
    assert record.status is OrderStatus.UNKNOWN
    assert bench.ask(record).status is OrderStatus.OPEN


def test_a_refusal_of_the_first_sending_is_believed(bench: Bench) -> None:
    bench.befalls("limited")
    assert bench.place().status is OrderStatus.REJECTED
    assert bench.taken == []


def test_a_refusal_after_the_stream_has_told_of_the_order_is_about_a_copy_of_the_request(bench: Bench) -> None:
    bench.connect()
    bench.befalls("disowned")
    record = bench.place()
    assert record.status is OrderStatus.OPEN
    assert bench.taken[0].status is OrderStatus.OPEN


def test_a_cell_that_is_run_again_places_nothing_whatever_came_of_the_first(bench: Bench) -> None:
    for fates in (("",), ("mute", "mute"), ("lost", "lost"), ("late", "lost")):
        bench.befalls(*fates)
        key = "-".join(fates)
        first = bench.place(key=key)
        sent = bench.sent
        assert bench.place(key=key) is first
        bench.restart()
        assert bench.place(key=key).client_id == first.client_id
        assert bench.sent == sent


# -- what became of it


def test_a_lost_answer_is_found_by_asking(bench: Bench) -> None:
    bench.befalls("mute", "mute")
    record = bench.place()
    assert record.status is OrderStatus.UNKNOWN
    assert bench.desk.reserved(record.client_id) == record.request.qty * (record.request.price or 0)
    assert bench.ask(record).status is OrderStatus.OPEN
    assert record.venue_id == bench.taken[0].venue_id


def test_nothing_else_leaves_until_an_unanswered_order_is_found(bench: Bench) -> None:
    bench.befalls("mute", "mute")
    record = bench.place()
    with pytest.raises(StalePicture, match="not answered for yet"):
        bench.desk.place(bench.limit(), Intent.keyed("next"))
    bench.ask(record)
    assert bench.desk.place(bench.limit(), Intent.keyed("next")).status is OrderStatus.OPEN


def test_an_order_that_never_arrived_is_given_up_when_the_contract_allows_and_not_before(bench: Bench) -> None:
    bench.befalls("lost", "lost")
    record = bench.place()
    gone_at = record.updated + bench.contract.final_after - (bench.desk._clock.now() - bench.world.agenda.now)
    for before in (bench.contract.final_after - SECOND, SECOND // 2):
        bench.world.agenda.until(gone_at - before)
        assert bench.ask(record).status is OrderStatus.UNKNOWN
        assert bench.desk.reserved(record.client_id)
    bench.world.agenda.until(gone_at)
    assert bench.ask(record).status is OrderStatus.REJECTED
    assert not bench.desk.reserved(record.client_id)


def test_an_order_that_arrives_at_the_last_moment_and_shows_late_is_still_found(bench: Bench) -> None:
    """Taken up when the deadline ends, missing from every lookup until the lag ends."""
    bench.befalls("lost", "lost")
    record, venue = bench.place(), bench.world.venue
    bench.world.agenda.until(record.updated + bench.contract.deadline)
    venue.place(BTC.symbol, record.request, record.client_id, bench.world.agenda.now)
    while record.status is not OrderStatus.OPEN:
        assert record.status is OrderStatus.UNKNOWN
        bench.world.door._seen = lambda now: now - bench.contract.lag  # type: ignore[method-assign]
        bench.wait(SECOND // 4)
        bench.ask(record)
    assert bench.world.agenda.now >= venue.taken[0].time + bench.contract.lag


def test_what_comes_after_the_deadline_is_never_taken_up(bench: Bench) -> None:
    bench.befalls("lost", "lost")
    bench.place()
    question = bench.voice.asked(bench.voice.codec.order(BTC, bench.limit(), "late"))
    sent = bench.world.agenda.now
    bench.wait(bench.contract.deadline + SECOND)
    bench.world.door._arrive(question, sent, "", [])
    assert bench.taken == []


def test_who_is_restarted_waits_as_long_as_one_who_has_just_sent(bench: Bench) -> None:
    """The process that died may have sent it in its last moment."""
    bench.befalls("lost", "lost")
    client_id = bench.place().client_id
    bench.wait(bench.contract.final_after)
    bench.restart()
    record = bench.desk.records[client_id]
    assert bench.ask(record).status is OrderStatus.UNKNOWN
    bench.wait(bench.contract.final_after)
    assert bench.ask(record).status is OrderStatus.REJECTED


def test_a_question_that_fails_changes_nothing(bench: Bench) -> None:
    record = bench.place()
    for fate in ("unsent", "lost", "broken", "limited"):
        bench.befalls(fate)
        with pytest.raises(Unreached):
            bench.ask(record)
        bench.befalls(fate)
        with pytest.raises(Unreached):
            reconcile(bench.desk)
    assert record.status is OrderStatus.OPEN


def test_a_cancel_that_is_not_answered_is_in_doubt_until_the_venue_is_asked(bench: Bench) -> None:
    record = bench.place()
    bench.befalls("mute")
    with pytest.raises(OutcomeUnknown):
        bench.desk.cancel(record.client_id)
    bench.wait(SECOND)
    assert bench.ask(record).status is OrderStatus.CANCELED


def test_a_cancel_that_lost_the_race_finds_the_fill(bench: Bench) -> None:
    record = bench.place(bench.limit(ticks=9))
    assert record.status is OrderStatus.FILLED or bench.contract.lookup is Lookup.LISTED
    bench.desk.cancel(record.client_id)
    assert record.status is OrderStatus.FILLED


# -- an id that others have used


def test_an_older_order_of_the_same_id_is_not_taken_for_ours(bench: Bench) -> None:
    """The account was begun anew: the same cell means the same id, and the venue may have an order of it."""
    client_id = bench.desk.client_id(ENTRY)
    bench.post(bench.limit(ticks=9), client_id)
    bench.wait(5 * MINUTE)
    bench.befalls("mute", "mute")
    record = bench.place()
    bench.ask(record)
    if bench.contract.scope is Scope.OPEN:
        assert (record.status, record.venue_id) == (OrderStatus.OPEN, bench.taken[1].venue_id)
    else:
        bench.wait(bench.contract.final_after)
        assert bench.ask(record).status is OrderStatus.REJECTED
        assert not bench.desk.reserved(client_id)
    assert not record.fills


def test_where_a_network_itself_doubles_an_order_both_are_counted(bench: Bench) -> None:
    """Among open orders only, nobody can keep a copy from becoming an order once the first is over; money is right."""
    only(bench, Scope.OPEN)
    bench.connect()
    record = bench.place(bench.limit(ticks=9))
    bench.wait(SECOND)
    bench.world.venue.place(BTC.symbol, record.request, record.client_id, bench.world.agenda.now)
    bench.wait(SECOND)
    assert record.filled == 2 * record.request.qty
    assert {b.asset: b.total for b in bench.world.venue.balances()} == {
        name: balance.total for name, balance in bench.desk.account.balances().items()
    }
