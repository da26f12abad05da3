"""What one sandbox holds, over a real file and a scripted market: written down before it is told, resumed after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kit.clock import HOUR, MINUTE, SECOND, ManualClock
from kit.errors import StoreError, UsageError
from kit.model import OrderStatus, Side, TimeInForce
from kit.sandbox.faults import Plan
from kit.sandbox.front import Request
from kit.sandbox.hall import DEFAULT_ACCOUNT, Hall
from kit.sandbox.home import Terms
from kit.sandbox.markets import open_market
from kit.sandbox.receipts import Change, Ticket, VenueOrder
from kit.sandbox.store import Store

D = Decimal


@pytest.fixture
def clock(begins: int) -> ManualClock:
    return ManualClock(begins)


@pytest.fixture
def reopened(tmp_path: Path, market: Any, clock: ManualClock) -> Iterator[Callable[[], Hall]]:
    """``reopened()`` is the hall as a new process would find it; the file is never closed in between, as in a crash."""
    stores: list[Store] = []

    def open_hall() -> Hall:
        stores.append(Store(tmp_path / "sandbox.sqlite"))
        return Hall(market, stores[-1], Plan(), clock, clock)

    yield open_hall
    for store in stores:
        store.close()


def limit(hall: Hall, price: str, client_id: str = "a", side: Side = Side.BUY) -> VenueOrder:
    ticket = Ticket(
        native="BTCUSDT", side=side, kind="LIMIT", client_id=client_id, qty=D(1), price=D(price), tif=TimeInForce.GTC
    )
    order = hall.exchange.place(DEFAULT_ACCOUNT, ticket, hall.clock.now())
    assert hall.settle()
    return order


def found(hall: Hall, client_id: str = "a") -> VenueOrder:
    order = hall.exchange.find(DEFAULT_ACCOUNT, "BTCUSDT", None, client_id)
    assert order is not None
    return order


def test_what_is_told_is_already_on_the_disk(reopened: Any, tmp_path: Path) -> None:
    hall: Hall = reopened()
    seen: list[list[VenueOrder]] = []

    def look(_changes: list[Change]) -> None:
        other = Store(tmp_path / "sandbox.sqlite")
        seen.append(other.orders())
        other.close()

    hall.tell = look
    limit(hall, "99")
    assert [[order.client_id for order in orders] for orders in seen] == [["a"]]


def test_a_new_process_finds_keys_balances_and_open_orders(reopened: Any) -> None:
    hall: Hall = reopened()
    limit(hall, "99")
    limit(hall, "105", "b", Side.SELL)
    again: Hall = reopened()
    assert again.credential == hall.credential
    assert again.credential.material == hall.credential.material
    assert again.exchange.balances(DEFAULT_ACCOUNT) == hall.exchange.balances(DEFAULT_ACCOUNT)
    assert again.exchange.open_orders(DEFAULT_ACCOUNT, None) == hall.exchange.open_orders(DEFAULT_ACCOUNT, None)
    assert limit(again, "98", "c").id > found(hall, "b").id


def test_an_order_is_not_filled_by_what_happened_before_it(reopened: Any, market: Any, clock: ManualClock) -> None:
    market.btc.trade(30 * SECOND, 90.0, 5.0, Side.SELL)
    hall: Hall = reopened()
    clock.advance(MINUTE)
    limit(hall, "99")
    clock.advance(MINUTE)
    assert found(reopened()).status is OrderStatus.OPEN


def test_a_fill_is_not_counted_again_after_a_restart(reopened: Any, market: Any, clock: ManualClock) -> None:
    market.btc.trade(30 * SECOND, 98.0, 0.4, Side.SELL)
    hall: Hall = reopened()
    limit(hall, "99")
    clock.advance(MINUTE)
    hall.advance(clock.now())
    assert found(hall).filled == D("0.4")
    clock.advance(HOUR)
    again: Hall = reopened()
    assert found(again).filled == D("0.4")
    assert again.exchange.balances(DEFAULT_ACCOUNT)["USDT"].locked == D("59.4")


def test_what_was_crossed_while_nobody_ran_is_filled_durably(reopened: Any, market: Any, clock: ManualClock) -> None:
    market.btc.trade(2 * HOUR, 98.0, 3.0, Side.SELL)
    limit(reopened(), "99")
    clock.advance(3 * HOUR)
    assert found(reopened()).status is OrderStatus.FILLED
    assert found(reopened()).filled == D(1)


def test_when_the_disk_is_full_the_outcome_is_unknown_and_the_sandbox_ends(reopened: Any) -> None:
    hall: Hall = reopened()
    told: list[list[Change]] = []
    hall.tell = told.append
    hall._store._db.execute("PRAGMA max_page_count = 1")  # no page more than there are
    for number in range(200):
        ticket = Ticket(native="BTCUSDT", side=Side.BUY, kind="LIMIT", client_id=f"o{number}", qty=D(1), price=D(99))
        hall.exchange.place(DEFAULT_ACCOUNT, ticket, hall.clock.now())
        answer = hall.answer(Request("GET", "/api/v3/ping"))
        if answer.status != 200:
            break
    assert (answer.status, answer.body["code"]) == (503, -1006)
    assert isinstance(hall.broken, StoreError)
    assert len(told) == number == len(hall._store.orders())


def test_a_sandbox_keeps_the_market_it_was_made_with(tmp_path: Path) -> None:
    store = Store(tmp_path / "sandbox.sqlite")
    _, _, made = open_market(Terms(), store)
    assert made.seed == 7
    assert open_market(Terms(), store)[2] == made
    with pytest.raises(UsageError, match="seed 8"):
        open_market(Terms(seed=8), store)
    with pytest.raises(UsageError, match="replay"):
        open_market(Terms(replay="/some/tape.gz"), store)
    store.close()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"
    path.write_text("not a database, and long enough that SQLite reads a header from it" * 20)
    with pytest.raises(StoreError, match="can't be used"):
        Store(path)
