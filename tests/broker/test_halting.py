"""The kill switch: whoever throws it, open orders are cancelled, and the venue is asked whether they are."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

import kit
from kit import cli
from kit.broker import switch
from kit.broker.accounts import path_of
from kit.broker.gateway import Outcome, Refused
from kit.broker.halting import Halting, Watch, answer, halt, stop
from kit.clock import SECOND
from kit.errors import Halted, JournalUnwritable, UnknownName, VenueUnreachable
from kit.model import Instrument, OrderRequest, OrderType, Side, TimeInForce
from kit.orders.ids import Intent
from kit.orders.risk import Limits
from kit.runtime import home
from kit.sandbox import launcher
from kit.store.journal import Journal
from kit.venue import Venue
from kit.venues.binance import BINANCE

World = Any  # the fixture of conftest.py
ONE_PASS: Any = {"patience": 0.0, "at_once": 1}
"""In the test's own thread."""


def limit_buy(price: str = "95", qty: str = "0.5") -> OrderRequest:
    return OrderRequest(
        symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal(qty), price=Decimal(price),
        tif=TimeInForce.GTC,
    )  # fmt: skip


def place(world: World, *prices: str) -> list[str]:
    return [world.desk.place(limit_buy(price), Intent.keyed(price)).client_id for price in prices]


def test_a_halt_cancels_what_is_open_and_asks_the_venue_again(world: World) -> None:
    names = place(world, "95", "94")
    told = halt(world.desk, "enough", world.clock, **ONE_PASS)
    assert told.proven
    assert [world.desk.records[name].status for name in names] == ["canceled", "canceled"]
    assert world.venue.open_orders() == []
    assert f"canceled: buy 0.5 BTC/USDT limit 95 ({names[0]})" in told.over
    assert "nothing of it is open any more: the venue was asked again" in repr(told)
    with pytest.raises(Halted, match="enough"):
        place(world, "93")
    assert answer(world.desk.journal) == told


def test_what_filled_before_the_cancel_is_told_as_filled(world: World) -> None:
    place(world, "95")
    world.venue.trade(94, 0.2)
    (words,) = halt(world.desk, "enough", world.clock, **ONE_PASS).over
    assert words.startswith("canceled, 0.2 filled: buy 0.5 BTC/USDT limit 95")


def test_a_cancel_is_never_blocked_by_a_limit(world: World) -> None:
    place(world, "95")
    world.desk.gate.limits = Limits(open_orders=0, orders_per_minute=0, daily_loss=Decimal(1), symbols=())
    assert halt(world.desk, "enough", world.clock, **ONE_PASS).proven


def test_a_venue_that_cannot_be_asked_leaves_it_unproven(world: World) -> None:
    (name,) = place(world, "95")
    world.venue.unreachable = True
    told = halt(world.desk, "enough", world.clock, **ONE_PASS)
    assert not told.proven
    assert told.unproven == "no connection"
    assert "NOT PROVEN that nothing is open (no connection)" in repr(told)
    assert world.desk.records[name].status == "canceled", "the cancel itself had arrived"


def test_what_the_venue_still_lists_is_open_whatever_it_answered_to_the_cancel(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = place(world, "95")
    (state,) = world.venue.open_orders()
    monkeypatch.setattr(world.venue, "open_orders", lambda: [state])
    told = halt(world.desk, "enough", world.clock, **ONE_PASS)
    assert list(told.open.values()) == ["the venue lists it as open"]
    assert name in next(iter(told.open))
    assert not told.proven


def test_an_order_that_cannot_be_cancelled_is_told_with_the_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(world, "95")

    def no(instrument: Instrument, client_id: str) -> Outcome:
        return Refused("the matching engine sleeps")

    monkeypatch.setattr(world.venue, "cancel", no)
    told = halt(world.desk, "enough", world.clock, **ONE_PASS)
    assert "the matching engine sleeps" in "".join(told.open.values())
    assert "MAY BE OPEN: open: buy 0.5 BTC/USDT limit 95" in repr(told)


def test_foreign_orders_are_counted_and_left_alone(world: World, btc: Instrument) -> None:
    place(world, "95")
    world.venue.submit(btc, limit_buy("90"), "somebody else's")
    told = halt(world.desk, "enough", world.clock, **ONE_PASS)
    assert (told.foreign, told.proven) == (1, True)
    assert not world.venue.orders["somebody else's"].status.final
    assert "1 open orders at the venue are not this account's: left alone" in repr(told)


def test_a_halt_the_disk_does_not_take_cancels_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = place(world, "95")

    def full(reason: str) -> None:
        raise JournalUnwritable("no room")

    monkeypatch.setattr(world.desk.journal, "halt", full)
    with pytest.raises(JournalUnwritable) as caught:
        halt(world.desk, "enough", world.clock, **ONE_PASS)
    assert "nothing of it is open any more" in caught.value.__notes__[0]
    assert world.desk.records[name].status == "canceled"


def test_an_order_on_its_way_is_cancelled_when_it_is_there(world: World) -> None:
    """The flag is set while a call is already past it: that order is waited for."""
    told: list[Halting] = []
    halting = threading.Thread(target=lambda: told.append(halt(world.desk, "enough", world.clock, patience=5.0)))

    def meanwhile() -> None:
        world.venue.before = lambda: None
        halting.start()
        while not world.desk.journal.halted:
            time.sleep(0.001)

    world.venue.before = meanwhile
    (name,) = place(world, "95")
    halting.join(10)
    assert told[0].proven
    assert name in told[0].over[0]
    assert world.desk.records[name].status == "canceled"


def test_an_order_nobody_answered_for_may_be_open_until_the_venue_says(world: World) -> None:
    world.venue.lose_request = True
    (name,) = place(world, "95")
    world.venue.unreachable = True
    first = halt(world.desk, "enough", world.clock, **ONE_PASS)
    assert name in next(iter(first.open))
    assert "MAY BE OPEN: unknown: buy 0.5" in repr(first)
    world.venue.unreachable = False
    world.clock.advance(60 * SECOND)
    assert stop(world.desk, "enough", world.clock, **ONE_PASS).proven
    assert world.desk.records[name].status == "rejected"


def test_the_next_look_cancels_what_the_first_could_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    place(world, "95")
    with closing(Watch(world.desk, world.clock, every=60)) as watch, monkeypatch.context() as patch:
        assert watch.look() is None, "no flag, nothing to do"
        world.desk.journal.halt("lunch")
        patch.setattr(world.venue, "cancel", lambda *_: Refused("busy"))
        first = watch.look(**ONE_PASS)
        patch.undo()
        second = watch.look(**ONE_PASS)
        assert first is not None
        assert second is not None
        assert (first.proven, second.proven) == (False, True)
        assert watch.look() is None, "proven once, it is left at that"
        world.desk.journal.resume()
        world.desk.journal.halt("dinner")
        third = watch.look(**ONE_PASS)
        assert third is not None
        assert third.reason == "dinner"


def test_a_mistake_about_one_order_keeps_no_other_from_being_cancelled_nor_ends_the_watch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bad, good), cancel = place(world, "95", "94"), world.venue.cancel

    def clumsy(instrument: Instrument, client_id: str) -> object:
        if client_id == bad:
            raise RuntimeError("a mistake")
        return cancel(instrument, client_id)

    monkeypatch.setattr(world.venue, "cancel", clumsy)
    halting = stop(world.desk, "enough", world.clock, **ONE_PASS)
    assert list(halting.open.values()) == ["a mistake"]
    assert world.desk.records[good].status == "canceled"
    looks = iter([RuntimeError("can't start new thread")])

    def tired(self: Watch) -> object:
        for error in looks:
            raise error
        return look(self)

    look = Watch.look
    monkeypatch.setattr(Watch, "look", tired)
    monkeypatch.setattr(world.venue, "cancel", cancel)
    world.desk.journal.halt("enough")
    with closing(Watch(world.desk, world.clock, every=0.01)), world.desk.changed:
        assert world.desk.changed.wait_for(lambda: world.desk.records[bad].status.final, 5)


# -- from another process


@pytest.fixture
def elsewhere(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The account of ``world``, in the data folder that ``kit halt`` looks into."""
    world.desk.journal.close()
    world.path = home() / "accounts" / "paper.sqlite"
    world.path.parent.mkdir(parents=True, exist_ok=True)
    world.desk = world.open()
    yield world
    world.desk.journal.close()


def test_the_owner_notices_a_halt_from_outside_cancels_and_answers(elsewhere: World) -> None:
    (name,) = place(elsewhere, "95")
    with closing(Watch(elsewhere.desk, elsewhere.clock, every=0.05)):
        told = switch.halt("paper", "the phone rang")
    assert told.proven
    assert elsewhere.desk.records[name].status == "canceled"
    assert "the phone rang, by kit halt at " in told.reason
    assert name in told.over[0]


def test_a_second_halt_is_answered_for_itself(elsewhere: World) -> None:
    with closing(Watch(elsewhere.desk, elsewhere.clock, every=0.05)):
        first = switch.halt("paper", "one")
        second = switch.halt("paper", "two")
    assert (first.proven, second.proven) == (True, True)
    assert "two" in second.reason


def test_an_owner_that_does_not_answer_may_have_orders_open(elsewhere: World) -> None:
    (name,) = place(elsewhere, "95")
    told = switch.halt("paper", "now", patience=0.2)
    assert not told.proven
    assert name in next(iter(told.open))
    assert "in use by process" in told.unproven
    assert "has not answered within 0.2 s" in told.unproven
    with pytest.raises(Halted):
        place(elsewhere, "94")


def test_a_paper_account_that_nobody_runs_is_cancelled_in_its_journal(elsewhere: World) -> None:
    (name,) = place(elsewhere, "95")
    elsewhere.desk.journal.close()
    told = switch.halt("paper", "now")
    assert told.proven
    assert name in told.over[0]
    desk = elsewhere.open()
    assert desk.records[name].status == "canceled"
    assert desk.account.free("USDT") == 1000
    assert desk.journal.halted
    desk.journal.close()
    assert "now" in switch.resume("paper")
    with closing(Journal(elsewhere.path, readonly=True)) as reader:
        assert not reader.halted


def test_an_account_that_is_not_there_is_answered_with_the_nearest(elsewhere: World) -> None:
    with pytest.raises(UnknownName, match="did you mean 'paper'"):
        switch.halt("papr", "now")
    assert switch.accounts() == ["paper"]


def test_an_account_that_was_put_aside_is_not_among_them(elsewhere: World) -> None:
    elsewhere.path.with_name("paper.until-1.sqlite").write_bytes(elsewhere.path.read_bytes())
    assert switch.accounts() == ["paper"]


# -- on the sandbox


@pytest.fixture
def live_account(sandbox_venue: Venue) -> Iterator[kit.Broker]:
    broker = kit.live(sandbox_venue, account="halted-live")
    yield broker
    broker.close()


def resting(venue: Venue, broker: kit.Broker) -> kit.Order:
    return broker.buy("BTC/USDT", "0.001", price=round(venue.quote("BTC/USDT").bid * 0.95, 2), key="rests")


def test_a_live_account_that_a_process_owns_is_halted_from_a_terminal(
    sandbox_venue: Venue, live_account: kit.Broker
) -> None:
    order = resting(sandbox_venue, live_account)
    done = subprocess.run(
        [sys.executable, "-m", "kit.cli", "halt", "halted-live", "--reason", "the phone rang"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"canceled: buy 0.001 BTC/USDT limit {order.request.price} ({order.id})" in done.stdout
    assert "nothing of it is open any more: the venue was asked again" in done.stdout
    assert order.status == "canceled"
    with pytest.raises(Halted, match="the phone rang"):
        live_account.buy("BTC/USDT", "0.001", key="not now")
    assert switch.resume("halted-live")
    live_account.buy("BTC/USDT", "0.001", key="now").wait(20)


def test_a_live_account_that_nobody_owns_is_cancelled_at_its_venue(
    sandbox_venue: Venue, live_account: kit.Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = resting(sandbox_venue, live_account)
    live_account.close()
    asked: list[object] = []

    def connect(name: str, *, sandbox: str | None) -> Venue:
        asked.append((name, sandbox))
        return Venue(sandbox_venue.codec, "sandbox", sandbox_venue.hosts, key=sandbox_venue.rest.key)

    monkeypatch.setattr(switch, "connect", connect)
    told = switch.halt("halted-live", "now")
    assert asked == [("sandbox", "shared-by-tests")], "the journal remembers which sandbox it was"
    assert told.proven
    assert order.id in told.over[0]
    left = sandbox_venue.rest.do(sandbox_venue.trading.open_orders(None))
    assert order.id not in {state.client_id for state in left}


def test_a_live_account_whose_venue_is_out_of_reach_may_have_orders_open(
    sandbox_venue: Venue, live_account: kit.Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = resting(sandbox_venue, live_account)
    live_account.close()

    def connect(name: str, *, sandbox: str | None) -> Venue:
        raise VenueUnreachable("no way there")

    monkeypatch.setattr(switch, "connect", connect)
    told = switch.halt("halted-live", "now")
    assert order.id in next(iter(told.open))
    assert (told.proven, told.unproven) == (False, "no way there")


def test_a_key_that_is_not_found_is_told_with_the_way_to_give_one(
    sandbox_venue: Venue, live_account: kit.Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_account.close()
    keyless = Venue(sandbox_venue.codec, "sandbox", sandbox_venue.hosts)
    monkeypatch.setattr(switch, "connect", lambda name, *, sandbox: keyless)
    assert "PAPERTAPE_BINANCE_SANDBOX_KEY" in switch.halt("halted-live", "now").unproven


def test_closing_an_account_ends_its_watch(sandbox_venue: Venue) -> None:
    broker = kit.paper(sandbox_venue, account="watched")
    assert "kit-halt-watched" in {thread.name for thread in threading.enumerate()}
    broker.close()
    assert "kit-halt-watched" not in {thread.name for thread in threading.enumerate()}


def test_many_orders_are_cancelled_at_once(sandbox_venue: Venue) -> None:
    broker = kit.live(sandbox_venue, account="many")
    price = round(sandbox_venue.quote("BTC/USDT").bid * 0.95, 2)
    orders = [broker.buy("BTC/USDT", "0.001", price=price, key=f"order {number}") for number in range(20)]
    told = broker.halt("enough")
    assert told.proven
    assert {order.status for order in orders} == {"canceled"}
    assert len(told.over) == 20
    broker.close()


def test_an_account_that_is_opened_while_it_is_halted_cancels_what_was_left(sandbox_venue: Venue) -> None:
    broker = kit.paper(sandbox_venue, account="left")
    order = broker.buy("BTC/USDT", "0.001", price=20_000, key="rests")
    broker.close()
    with closing(Journal(path_of("left"), readonly=True)) as journal:
        journal.halt("while nobody was here")
    again = kit.paper(sandbox_venue, account="left")
    assert again.order(order.id).wait(10).status == "canceled"
    with pytest.raises(Halted, match="while nobody was here"):
        again.buy("BTC/USDT", "0.001", key="more")
    again.close()


KILLED = """
import os, signal, kit
venue = kit.connect("sandbox", sandbox="mine")
broker = kit.live(venue, account="dead")
order = broker.buy("BTC/USDT", "0.001", price=round(venue.quote("BTC/USDT").bid * 0.95, 2), key="rests")
print(order.status, order.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_what_a_killed_process_left_open_is_cancelled_from_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it for real: the process, its kill, the journal, the sandbox's name in it, the cancel at the venue."""
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == -signal.SIGKILL, done.stderr
    status, name = done.stdout.split()
    assert status == "open"
    sandbox = launcher.ensure("mine")
    try:
        assert cli.main(["halt", "dead"]) == 0
        assert f"({name})" in capsys.readouterr().out
        with closing(Venue(BINANCE, "sandbox", sandbox.hosts, key=sandbox.key)) as venue:
            assert venue.rest.do(BINANCE.open_orders(None)) == []
            state = venue.rest.do(BINANCE.query(venue.instrument("BTC/USDT"), name))
        assert state.status == "canceled"
    finally:
        sandbox.stop()
