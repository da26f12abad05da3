"""Following an account: what its stream tells, what its venue has to be asked for, and what is believed meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

import kit
from kit.broker.cadence import Cadence
from kit.broker.following import Follower
from kit.clock import HOUR, SECOND, ManualClock
from kit.errors import StalePicture, VenueUnreachable
from kit.model import Balance, Fill, OrderRequest, OrderStatus, OrderType, Report, ReportKind, Side
from kit.net.account_stream import Listener, News
from kit.orders.ids import Intent
from kit.orders.lifecycle import OrderRecord
from kit.venue import Venue
from kit.venues.base import Holdings, Standing

World = Any  # the fixture of conftest.py

REST = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal("0.5"), price=Decimal(95))
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.5"))
SYMBOL = "BTC/USDT"


def until(holds: Callable[[], object], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Tape:
    """A stream that tells what a test says, from the test's own thread."""

    def __init__(self) -> None:
        self.renewed: list[str] = []
        self.closed = 0
        self.listener: Listener | None = None

    def start(self, listener: Listener) -> None:
        self.listener = listener

    def renew(self, reason: str) -> None:
        self.renewed.append(reason)

    def close(self) -> None:
        self.closed += 1

    def up(self, at: int = 0) -> None:
        assert self.listener is not None
        self.listener.up(at)

    def down(self) -> None:
        assert self.listener is not None
        self.listener.down("it broke")

    def tell(self, *news: News) -> None:
        assert self.listener is not None
        for each in news:
            self.listener.heard(each)


def fill(record: OrderRecord, number: int, qty: str, filled: str) -> tuple[Report, Standing]:
    """A fill as Binance tells it: natively named, and with the sum of all fills behind it."""
    made = Fill(
        id=str(number), client_id=record.client_id, symbol="BTCUSDT", side=Side.BUY, qty=Decimal(qty),
        price=Decimal(95), fee=Decimal(0), fee_asset="BTC", time=record.created + number,
    )  # fmt: skip
    told = Report(kind=ReportKind.FILLED, client_id=record.client_id, time=made.time, venue_id="7", fill=made)
    status = OrderStatus.FILLED if Decimal(filled) == record.request.qty else OrderStatus.PARTIAL
    return told, Standing(record.client_id, status, Decimal(filled))


def accepted(record: OrderRecord) -> tuple[Report, Standing]:
    told = Report(kind=ReportKind.ACCEPTED, client_id=record.client_id, time=record.created, venue_id="7")
    return told, Standing(record.client_id, OrderStatus.OPEN, Decimal(0))


def later(world: World, clock: ManualClock, seconds: int) -> None:
    """Time passes, and the follower looks at its clock."""
    with world.desk.changed:
        clock.advance(seconds * SECOND)
        world.desk.changed.notify_all()


@pytest.fixture
def tape() -> Tape:
    return Tape()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0)


@pytest.fixture
def following(world: World, tape: Tape, clock: ManualClock) -> Iterator[Follower]:
    """On a clock that stands still: nothing is polled, and what is owed is done at once."""
    made = Follower(world.desk, tape, clock=clock)
    yield made
    made.close()
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "kit-orders-paper"]


@pytest.fixture
def asked(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The orders the venue is asked for, in turn."""
    ids, ask = list[str](), world.desk.ask

    def asking(client_id: str) -> OrderRecord:
        ids.append(client_id)
        record: OrderRecord = ask(client_id)
        return record

    monkeypatch.setattr(world.desk, "ask", asking)
    return ids


@pytest.fixture
def compared(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each comparison with the venue."""
    made = list[int]()

    def comparing() -> list[Balance]:
        made.append(1)
        return []

    monkeypatch.setattr(world.venue, "balances", comparing)
    return made


def test_what_the_stream_tells_is_counted_without_asking(
    world: World, following: Follower, tape: Tape, asked: list[str], compared: list[int]
) -> None:
    tape.up()
    until(lambda: compared)
    record = world.desk.place(REST, Intent.keyed("a"))
    tape.tell(*fill(record, 1, "0.2", "0.2"), *fill(record, 2, "0.3", "0.5"))
    assert record.status is OrderStatus.FILLED
    assert [each.symbol for each in record.fills] == ["BTC/USDT", "BTC/USDT"]
    assert world.desk.account.total("BTC") == Decimal("1.5")
    assert asked == []


def test_news_that_come_twice_or_late_or_after_an_answer_count_once(
    world: World, following: Follower, tape: Tape
) -> None:
    record = world.desk.place(REST, Intent.keyed("a"))
    tape.up()
    first, second = fill(record, 1, "0.2", "0.2"), fill(record, 2, "0.3", "0.5")
    world.desk.ledger.on_report(msgspec.structs.replace(second[0], client_id=record.client_id))  # as an answer
    tape.tell(*second, *first, *second, *accepted(record))
    assert (record.status, record.filled) == (OrderStatus.FILLED, Decimal("0.5"))
    assert world.desk.account.total("BTC") == Decimal("1.5")


def test_a_fill_that_was_not_told_shows_in_the_next_one_and_is_asked_for_at_once(
    world: World, following: Follower, tape: Tape, asked: list[str], compared: list[int]
) -> None:
    record = world.desk.place(REST, Intent.keyed("a"))
    tape.up()
    until(lambda: compared and following.last_error == "")
    world.venue.trade(94, 0.3, told=False)
    world.venue.trade(94, 0.1, told=False)
    lost, told = world.venue.orders[record.client_id].fills
    report = Report(kind=ReportKind.FILLED, client_id=record.client_id, time=told.time, venue_id="7", fill=told)
    tape.tell(report, Standing(record.client_id, OrderStatus.PARTIAL, lost.qty + told.qty))
    until(lambda: record.filled == Decimal("0.4"))
    assert asked == [record.client_id]
    assert sorted(each.id for each in record.fills) == sorted([lost.id, told.id])


def test_whoever_watches_the_desk_may_wait_for_another_thread_that_looks_at_it(
    world: World, following: Follower, tape: Tape, compared: list[int]
) -> None:
    def look(record: OrderRecord, report: Report) -> None:
        asking = threading.Thread(target=world.desk.reserved, args=(record.client_id,))
        asking.start()
        asking.join(2)
        free.append(not asking.is_alive())

    free = list[bool]()
    tape.up()
    until(lambda: compared)
    record = world.desk.place(REST, Intent.keyed("a"))
    end = world.desk.watch(look)
    tape.tell(*fill(record, 1, "0.2", "0.2"))
    assert free == [True]
    end()


def test_strangers_orders_are_nobodys_here(world: World, following: Follower, tape: Tape) -> None:
    record = world.desk.place(REST, Intent.keyed("a"))
    tape.up()
    theirs = OrderRecord("theirs", REST, record.created)
    tape.tell(*fill(theirs, 1, "0.2", "0.2"), Holdings((), 1))
    assert list(world.desk.records) == [record.client_id]
    until(lambda: following.proven)


def test_what_was_before_the_stream_is_read_before_it_is_believed(
    world: World, following: Follower, tape: Tape
) -> None:
    record = world.desk.place(REST, Intent.keyed("a"))
    world.venue.trade(94, 9, told=False)
    tape.up()
    until(lambda: record.status is OrderStatus.FILLED)
    assert [each.kind for each in following.found] == ["order", "fill"]
    assert "not proven" in following.state
    tape.tell(Holdings((), 1))
    assert (following.proven, following.state) == (True, "its stream")
    tape.down()
    assert not following.proven
    assert "it broke" in following.state


def test_an_unanswered_order_that_the_stream_tells_of_has_the_account_compared_first(
    world: World, following: Follower, tape: Tape, clock: ManualClock, compared: list[int]
) -> None:
    tape.up()
    until(lambda: compared)
    world.venue.lose_answer = world.venue.unreachable = True
    record = world.desk.place(BUY, Intent.keyed("a"))
    until(lambda: following.last_error)
    tape.tell(*accepted(record))
    with pytest.raises(StalePicture, match="unanswered for a time"):
        world.desk.place(BUY, Intent.keyed("b"))
    world.venue.lose_answer = world.venue.unreachable = False
    later(world, clock, 60)
    until(lambda: not world.desk.unreconciled)
    assert len(compared) == 2
    assert world.desk.place(BUY, Intent.keyed("b")).status is OrderStatus.FILLED


def test_a_stream_that_tells_of_an_unanswered_order_before_it_was_noticed_has_it_compared_too(
    world: World, following: Follower, tape: Tape, compared: list[int]
) -> None:
    tape.up()
    until(lambda: compared)
    world.venue.lose_answer = True
    with world.desk.changed:  # nobody looks in between
        record = world.desk.place(REST, Intent.keyed("a"))
        tape.tell(*accepted(record))
        assert record.status is OrderStatus.OPEN
        assert record.client_id in world.desk.unreconciled
    until(lambda: not world.desk.unreconciled)
    assert len(compared) == 2


def test_a_stream_that_does_not_tell_of_an_order_is_given_up(
    world: World, following: Follower, tape: Tape, clock: ManualClock, compared: list[int]
) -> None:
    tape.up(world.clock.now() - 2 * SECOND)
    until(lambda: compared)
    tape.tell(Holdings((), 1))
    record = world.desk.place(REST, Intent.keyed("a"))
    assert following.proven
    later(world, clock, 3)
    until(lambda: tape.renewed)
    assert record.client_id in tape.renewed[0]
    assert not following.proven


def test_an_order_of_before_the_stream_needs_no_echo(
    world: World, following: Follower, tape: Tape, clock: ManualClock, compared: list[int]
) -> None:
    record = world.desk.place(REST, Intent.keyed("a"))
    world.venue.trade(94, 9, told=False)
    tape.up(world.clock.now() + SECOND)
    until(lambda: record.status is OrderStatus.FILLED and compared)
    tape.tell(Holdings((), 1))
    later(world, clock, 3)
    time.sleep(0.02)
    assert tape.renewed == []
    assert following.proven


def test_no_order_leaves_after_a_silence_until_the_account_was_compared(world: World, tape: Tape) -> None:
    follower = Follower(world.desk, tape, every=0.001)
    follower._cadence = Quick(follower._clock.now(), fast=1_000)
    record = world.desk.place(REST, Intent.keyed("a"))
    world.venue.unreachable = True
    until(lambda: world.desk.unreconciled)
    assert "silent while orders are open" in world.desk.unreconciled
    with pytest.raises(StalePicture, match="silent"):
        world.desk.place(BUY, Intent.keyed("b"))
    world.venue.trade(94, 9, told=False)
    world.venue.unreachable = False
    until(lambda: not world.desk.unreconciled)
    assert record.status is OrderStatus.FILLED
    follower.close()
    assert tape.closed == 1


def test_a_machine_that_slept_does_not_believe_its_account_for_long(
    world: World, following: Follower, tape: Tape, clock: ManualClock
) -> None:
    """Waits do not count sleep: nobody would look at the clock before the rest of a pause is over."""
    record = world.desk.place(REST, Intent.keyed("a"))
    tape.up()
    tape.tell(*accepted(record))
    until(lambda: following.proven)
    world.venue.trade(94, 9, told=False)
    clock.advance(HOUR)
    until(lambda: record.status is OrderStatus.FILLED)


class Quick(Cadence):
    """Silence begins after hundredths of a second."""

    def _silence(self, seen: Any) -> int:
        whole = super()._silence(seen)
        return whole - 10 * SECOND + 20_000 if whole < 1 << 61 else whole


def test_a_mistake_while_following_leaves_no_account_alone(
    world: World, following: Follower, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [ZeroDivisionError("a mistake"), VenueUnreachable("away")]
    reads = world.venue.open_orders
    monkeypatch.setattr(world.venue, "open_orders", lambda: (_ for _ in ()).throw(broken.pop()) if broken else reads())
    monkeypatch.setattr(following._cadence, "failed", lambda now, retry_after=0: None)
    record = world.desk.place(REST, Intent.keyed("a"))
    world.venue.trade(94, 9, told=False)
    tape.up()
    until(lambda: record.status is OrderStatus.FILLED)
    assert broken == []


# -- on a real exchange process


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """A sandbox of this file's own: its tests break it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPERTAPE_HOME", str(tmp_path_factory.mktemp("followed-sandbox")))
        venue = kit.connect("sandbox", sandbox="followed-by-tests", seed=11)
    yield venue
    venue.close()
    assert venue.sandbox is not None
    venue.sandbox.stop()


@pytest.fixture
def account(venue: Venue, request: pytest.FixtureRequest) -> Iterator[kit.Broker]:
    assert venue.live(SYMBOL).ready(timeout=20)
    broker = kit.live(venue, account=f"followed-{hash(request.node.name) % 10**9}")
    until(lambda: "not proven" in follower_of(broker).state)
    yield broker
    broker.close()
    assert venue.sandbox is not None
    venue.sandbox.clear_faults()


def follower_of(broker: kit.Broker) -> Follower:
    return next(part for part in broker._closing if isinstance(part, Follower))


def below(venue: Venue, share: str) -> Decimal:
    return venue.instrument(SYMBOL).price(Decimal(repr(venue.quote(SYMBOL).bid)) * (1 - Decimal(share)))


def test_one_order_proves_the_stream_and_a_cancel_by_other_hands_is_heard_at_once(
    venue: Venue, account: kit.Broker
) -> None:
    order = account.buy(SYMBOL, "0.01", price=below(venue, "0.02"), key="rests")
    until(lambda: follower_of(account).proven)
    began = time.monotonic()
    venue.rest.do(venue.trading.cancel(venue.instrument(SYMBOL), order.id))
    until(lambda: order.status is OrderStatus.CANCELED)
    assert time.monotonic() - began < 1.5  # polling would take 20 s by now
    assert account.reconcile().empty


def test_what_happens_while_the_socket_is_cut_is_found_when_it_is_back(venue: Venue, account: kit.Broker) -> None:
    assert venue.sandbox is not None
    order = account.buy(SYMBOL, "0.01", price=below(venue, "0.02"), key="rests")
    until(lambda: follower_of(account).proven)
    venue.sandbox.fault("drop", for_=1)
    until(lambda: "down" in follower_of(account).state)
    venue.rest.do(venue.trading.cancel(venue.instrument(SYMBOL), order.id))
    until(lambda: order.status is OrderStatus.CANCELED)
    until(lambda: "stream" in follower_of(account).state and "down" not in follower_of(account).state, 15)
    assert account.reconcile().empty


def test_an_account_whose_events_are_lost_doubled_and_torn_ends_as_the_venue_has_it(
    venue: Venue, account: kit.Broker
) -> None:
    assert venue.sandbox is not None
    proving = account.buy(SYMBOL, "0.01", price=below(venue, "0.02"), key="proves")
    until(lambda: follower_of(account).proven)
    for kind, chance in (("gap", 0.3), ("duplicate", 0.3), ("tear", 0.05)):
        venue.sandbox.fault(kind, match="USER *", chance=chance, times=1000, for_=6)
    for number in range(12):
        venue.sandbox.fault("gap", match="USER executionReport")  # at least the first word of each
        account.buy(SYMBOL, "0.01", key=f"buy {number}", despite="account")
        if number % 3:
            account.sell(SYMBOL, "0.01", key=f"sell {number}", despite="account")
        else:
            resting = account.buy(SYMBOL, "0.01", price=below(venue, "0.02"), key=f"rests {number}", despite="account")
            venue.rest.do(venue.trading.cancel(venue.instrument(SYMBOL), resting.id))
    venue.sandbox.clear_faults()
    proving.cancel()
    until(lambda: not account.desk.unreconciled and not account.desk.open_orders, 30)
    assert account.reconcile().empty
    fills = venue.rest.do(venue.trading.fills(venue.instrument(SYMBOL), venue_order_id=None, from_id=None))
    ours = {fill.id: fill for fill in fills if fill.venue_id in set(account.orders["venue_id"])}
    assert len(account.fills) == len(ours)
    held = {balance.asset: balance.total for balance in venue.rest.do(venue.trading.balances())}
    mine = account.balances.set_index("asset")["total"]
    assert {asset: mine[asset] for asset in ("BTC", "USDT")} == {a: float(held[a]) for a in ("BTC", "USDT")}


def test_a_mute_stream_is_found_out_by_the_next_order_and_polling_takes_its_place(
    venue: Venue, account: kit.Broker
) -> None:
    assert venue.sandbox is not None
    follower = follower_of(account)
    time.sleep(1)  # an order within the stream's first second proves nothing against it
    order = account.buy(SYMBOL, "0.01", price=below(venue, "0.02"), key="rests")
    until(lambda: follower.proven)
    venue.sandbox.fault("mute", for_=4)
    account.amend(order, price=below(venue, "0.03"))
    began = time.monotonic()
    until(lambda: "was not told within 2 s" in follower.state)
    assert time.monotonic() - began < 3.5
    [resting] = account.desk.open_orders
    venue.rest.do(venue.trading.cancel(venue.instrument(SYMBOL), resting.client_id))
    until(lambda: resting.status is OrderStatus.CANCELED)  # polled
    assert account.reconcile().empty
