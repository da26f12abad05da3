"""The whole order path on a real exchange process: sockets, HTTP, SQLite, kill -9."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal

import pandas as pd
import pytest

import kit
from kit.errors import StalePicture, VenueRefused
from kit.market.feed import FeedState
from kit.model import OrderStatus
from kit.net.live import Live
from kit.venue import Venue

SYMBOL = "BTC/USDT"


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """A sandbox of this file's own: its tests break it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPERTAPE_HOME", str(tmp_path_factory.mktemp("broken-sandbox")))
        venue = kit.connect("sandbox", sandbox="broken-by-tests", seed=11)
    yield venue
    venue.close()
    assert venue.sandbox is not None
    venue.sandbox.stop()


@pytest.fixture
def live(venue: Venue) -> Iterator[Live]:
    live = venue.live(SYMBOL)
    until(lambda: live.age < 1 and live.ready(timeout=0))  # what a test before has muted is missed by the next frame
    yield live
    assert venue.sandbox is not None
    venue.sandbox.clear_faults()


@pytest.fixture
def paper(venue: Venue, live: Live) -> Iterator[kit.Broker]:
    broker = kit.paper(venue, cash=10_000)
    yield broker
    broker.close()


@pytest.fixture
def account(venue: Venue, live: Live, request: pytest.FixtureRequest) -> Iterator[kit.Broker]:
    """A live account; named after the test, as all share the sandbox's one account and its ids."""
    broker = kit.live(venue, account=f"live-{hash(request.node.name) % 10**9}")
    yield broker
    broker.close()


def below(live: Live, share: str) -> Decimal:
    """A limit price so far below the market."""
    assert live.quote is not None
    return live.instrument.price(Decimal(repr(live.quote.bid)) * (1 - Decimal(share)))


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_same_key_twice_is_one_order(paper: kit.Broker) -> None:
    first = paper.buy(SYMBOL, "0.01", key="entry").wait(timeout=10)
    again = paper.buy(SYMBOL, "0.01", key="entry")
    assert (again.id, again.rerun) == (first.id, True)
    assert first.status is OrderStatus.FILLED
    assert first.latency is not None
    assert first.latency >= 0.05
    assert len(paper.orders) == 1
    assert paper.balances.set_index("asset").loc["BTC", "total"] == pytest.approx(0.01 * 0.999)


def test_a_broker_opens_the_live_frame_it_needs(venue: Venue) -> None:
    broker = kit.paper(venue, cash=10_000, account="opens")
    order = broker.buy("ETH/USDT", "0.1", key="a").wait(timeout=10)
    assert order.status is OrderStatus.FILLED
    assert venue.live("ETH/USDT").state is FeedState.LIVE
    broker.close()


def test_no_order_leaves_while_the_socket_is_cut(venue: Venue, live: Live, paper: kit.Broker) -> None:
    assert venue.sandbox is not None
    venue.sandbox.fault("drop", for_=2)
    until(lambda: live.state is not FeedState.LIVE)
    with pytest.raises(StalePicture, match="nothing was sent"):
        paper.buy(SYMBOL, "0.01", key="blind")
    assert len(paper.orders) == 0
    assert live.ready(timeout=30)
    assert paper.buy(SYMBOL, "0.01", key="blind").wait(timeout=10).status is OrderStatus.FILLED


def test_what_the_market_trades_while_the_socket_is_cut_fills_what_rests(venue: Venue, live: Live) -> None:
    assert venue.sandbox is not None
    paper = kit.paper(venue, cash={"USDT": 10_000, "BTC": 1}, account="cut")
    for n in range(8):  # until the market has moved while nobody saw it
        for off in (1, 2, 4, 8):
            assert live.quote is not None
            paper.buy(SYMBOL, "0.001", price=live.instrument.price(live.quote.bid - off), key=f"buy {n} {off}")
            paper.sell(SYMBOL, "0.001", price=live.instrument.price(live.quote.ask + off), key=f"sell {n} {off}")
        cut = time.time()
        venue.sandbox.fault("drop", for_=2)
        until(lambda: live.state is not FeedState.LIVE)
        time.sleep(0.2)  # what filled before has been told by now
        resting = paper.orders.query("status == 'open'")
        assert live.ready(timeout=30)
        missed = live.trades.query("source == 'backfill'").loc[pd.Timestamp(cut, unit="s", tz="UTC") :]
        buys, sells = resting.query("side == 'buy'"), resting.query("side == 'sell'")
        met = {*buys[buys["price"] > missed["price"].min()]["id"], *sells[sells["price"] < missed["price"].max()]["id"]}
        if met:
            break
    assert met
    until(lambda: bool(paper.fills["time"].isin(missed.index).any()))
    fills = paper.fills
    late = fills[fills["time"].isin(missed.index)]
    assert late["maker"].all()
    assert set(late["order"]) <= met
    paper.close()


@pytest.mark.parametrize("opening", [kit.paper, kit.live])
def test_an_account_may_demand_a_fresher_picture(venue: Venue, live: Live, opening: Callable[..., kit.Broker]) -> None:
    assert venue.sandbox is not None
    name = f"fresh-{opening.__name__}"
    strict = opening(venue, account=name, freshness=kit.Freshness(quote=0.5))
    loose = opening(venue, account=f"{name}-enough", freshness=kit.Freshness(quote=8))
    venue.sandbox.fault("mute")
    until(lambda: live.age > 1.5)  # a thread that was kept waiting may be as old as the limit, and young again at once
    with pytest.raises(
        StalePicture, match=r"[1-9]\.\d\d s ago, and at most 0\.5 s are allowed.*despite='quote'"
    ) as refused:
        strict.buy(SYMBOL, "0.01", price=below(live, "0.05"), key="patient")
    assert [(short.name, short.allowed) for short in refused.value.shortfalls] == [("quote", 0.5)]
    heard_again = threading.Timer(0.5, venue.sandbox.clear_faults)  # a paper order rests once a picture has come
    heard_again.start()
    assert loose.buy(SYMBOL, "0.01", price=below(live, "0.05"), key="patient").status is OrderStatus.OPEN
    heard_again.join()
    again = opening(venue, account=name, freshness=kit.Freshness(quote=8))
    assert strict.closed
    for broker in (loose, again):
        broker.cancel_all()
        broker.close()


def test_a_taken_order_nobody_answered_for_is_found_by_its_id(venue: Venue, account: kit.Broker) -> None:
    assert venue.sandbox is not None
    venue.sandbox.fault("mute", for_=4)  # the account's stream would tell before the answer is missed
    venue.sandbox.fault("no_answer", match="POST /api/v3/order")
    order = account.buy(SYMBOL, "0.01", key="lost")
    assert account.buy(SYMBOL, "0.01", key="lost").id == order.id
    assert order.wait(timeout=20).status is OrderStatus.FILLED
    history = [type(entry).__name__ for entry in account.desk.journal.history(order.id)]
    assert history[:2] == ["Intended", "Doubted"]
    assert account.fills["qty"].sum() == pytest.approx(0.01)
    assert account.reconcile().empty


@pytest.mark.parametrize("status", ["503", "504"])
def test_a_server_error_is_unknown_and_resolved(venue: Venue, account: kit.Broker, status: str) -> None:
    assert venue.sandbox is not None
    venue.sandbox.fault(status, match="POST /api/v3/order")
    order = account.buy(SYMBOL, "0.01", key="error")
    assert order.wait(timeout=20).status is OrderStatus.FILLED
    assert account.reconcile().empty


def test_a_rate_limit_is_waited_out_or_refused_and_never_doubles(venue: Venue, account: kit.Broker) -> None:
    assert venue.sandbox is not None
    venue.sandbox.fault("429", match="POST /api/v3/order", times=1, retry_after=1)
    order = account.buy(SYMBOL, "0.01", key="limited").wait(timeout=20)
    assert order.status in (OrderStatus.FILLED, OrderStatus.REJECTED)
    assert account.fills["qty"].sum() == pytest.approx(0.01 if order.status is OrderStatus.FILLED else 0)
    assert account.reconcile().empty


def test_what_the_venue_refuses_is_said_in_its_words(account: kit.Broker, live: Live) -> None:
    assert live.quote is not None
    price = live.instrument.price(live.quote.ask * 1.01)
    order = account.buy(SYMBOL, "0.01", price=price, post_only=True, key="would-take")
    assert order.status is OrderStatus.REJECTED
    assert "immediately match" in order.reason
    assert account.reconcile().empty


def test_open_orders_of_a_live_account_survive_and_are_followed(venue: Venue, account: kit.Broker, live: Live) -> None:
    order = account.buy(SYMBOL, "0.01", price=below(live, "0.02"), key="rests")
    assert order.status is OrderStatus.OPEN
    name = account.account
    account.close()
    again = kit.live(venue, account=name)
    found = again.buy(SYMBOL, "0.01", price=order.request.price, key="rests")
    assert (found.id, found.rerun, found.status) == (order.id, True, OrderStatus.OPEN)
    dearer = again.amend(found, price=below(live, "0.01"))
    assert (found.status, dearer.status) == (OrderStatus.CANCELED, OrderStatus.OPEN)
    assert dearer.cancel().status is OrderStatus.CANCELED
    assert again.reconcile().empty
    again.close()


def test_an_account_opens_though_its_venue_refuses_to_tell_of_an_order(
    venue: Venue, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its instrument is delisted: the account can be looked at and halted, and no order leaves it."""

    def delisted(_: object) -> object:
        raise VenueRefused("Invalid symbol.", code=-1121)

    monkeypatch.setattr("kit.broker.accounts.reconcile", delisted)
    monkeypatch.setattr("kit.broker.following.reconcile", delisted)
    with closing(kit.live(venue, account="delisted")) as broker:
        assert "Invalid symbol." in repr(broker)
        with pytest.raises(StalePicture, match="Invalid symbol"):
            broker.buy(SYMBOL, "0.01", key="a")


def test_an_unanswered_cancel_is_resolved_too(venue: Venue, account: kit.Broker, live: Live) -> None:
    assert venue.sandbox is not None
    order = account.buy(SYMBOL, "0.01", price=below(live, "0.02"), key="rests")
    venue.sandbox.fault("no_answer", match="DELETE /api/v3/order")
    assert [each.id for each in account.cancel_all()] == [order.id]
    assert order.wait(timeout=20).status is OrderStatus.CANCELED


TRADER = """
import json, os, sys, time, kit
venue = kit.connect("sandbox", sandbox="broken-by-tests")
broker = kit.paper(venue, cash=10_000, account="survivor")
bought = broker.buy("BTC/USDT", "0.01", key="bought").wait(timeout=20)
resting = broker.buy("BTC/USDT", "0.01", price=sys.argv[1], key="rests")
told = {"bought": bought.id, "rests": resting.id, "cash": str(broker.cash), "fills": len(broker.fills)}
print(json.dumps(told), flush=True)
time.sleep(60)
"""


def test_a_killed_process_finds_its_account_as_it_was(
    venue: Venue, live: Live, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert venue.sandbox is not None
    monkeypatch.setenv("PAPERTAPE_HOME", str(venue.sandbox.place.parent.parent))
    with subprocess.Popen(
        [sys.executable, "-c", TRADER, str(below(live, "0.03"))], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        before = json.loads(child.stdout.readline())
        child.kill()
    broker = kit.paper(venue, cash=10_000, account="survivor")
    assert str(broker.cash) == before["cash"]
    assert len(broker.fills) == before["fills"]
    assert broker.buy(SYMBOL, "0.01", key="bought").id == before["bought"]
    resting = broker.order(before["rests"])
    assert resting.status is OrderStatus.OPEN
    assert resting.cancel().status is OrderStatus.CANCELED
    assert len(broker.orders) == 2
    broker.close()


def test_an_order_is_decided_on_the_frame_that_is_open_already(sandbox_venue: Venue) -> None:
    """Not on another of its own, which could still be STALE when the one the user looks at is LIVE again."""
    live = sandbox_venue.live("SOL/USDT", "1s")
    assert live.ready(timeout=30)
    broker = kit.paper(sandbox_venue, account="follows", latency=0.0)
    broker.buy("SOL/USDT", 1, key="once")
    open_frames = [followed for followed in sandbox_venue._lives if followed.symbol == "SOL/USDT"]
    assert open_frames == [live]
    live.close()
    assert broker.buy("SOL/USDT", 1, key="twice").wait(timeout=30).status == "filled"
    opened = sandbox_venue.followed("SOL/USDT")
    assert opened is not None
    assert opened.interval == "1m"
    broker.close()
    opened.close()


def test_a_live_account_says_what_it_is_for_and_a_paper_one_need_not(sandbox_venue: Venue) -> None:
    live, paper = kit.live(sandbox_venue, account="notice"), kit.paper(sandbox_venue, account="no-notice")
    assert "no advice" in repr(live)
    assert not paper.notice
    live.close()
    paper.close()
