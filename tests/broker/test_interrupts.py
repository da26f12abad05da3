"""The stop button at any step of an order: nothing is counted by half, sent twice or left locked."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from kit.broker import desk, ledger, past
from kit.broker.interrupts import interruptible, whole
from kit.clock import MINUTE
from kit.model import OrderRequest, OrderType, Side
from kit.orders import account
from kit.orders.ids import Intent
from kit.store import journal

World = Any  # the fixture of conftest.py

PATH = {module.__file__ for module in (desk, ledger, past, account, journal)}
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.LIMIT, qty=Decimal("0.5"), price=Decimal(101))
EVERY = 9
"""Every ninth line is enough for each run of the tests."""


class Button:
    """Pressed before the n-th line of the order path."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in PATH:
            return None
        self.left -= event == "line"
        if event == "line" and self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return self


@pytest.fixture(autouse=True)
def _button() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pressed(n: int, call: Callable[[], object]) -> bool:
    """Make the call and press the button at its n-th line; False when there are not so many."""
    button, before = Button(n), sys.gettrace()
    sys.settrace(button)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return button.left <= 0


def standing(world: World) -> tuple[object, ...]:
    return list(world.desk.records.values()), world.desk.account.balances(), world.desk.account.positions()


def free(lock: threading.Condition) -> bool:
    """Another thread gets the lock."""
    got: list[bool] = []

    def take() -> None:
        got.append(lock.acquire(timeout=1))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return got == [True]


@pytest.fixture
def make(make_world: Any, tmp_path: Path) -> Iterator[Any]:
    """One world after the other, each with a journal of its own."""
    made: list[World] = []

    def fresh(n: int) -> World:
        made.append(make_world(tmp_path / f"{n}.sqlite"))
        return made[-1]

    yield fresh
    for world in made:
        world.desk.journal.close()


def placing(world: World) -> Callable[[], object]:
    return lambda: world.desk.place(BUY, Intent.keyed("entry"))


def asking(world: World) -> Callable[[], object]:
    """The order was placed and filled, and its answer lost."""
    world.venue.lose_answer = True
    placed = world.desk.place(BUY, Intent.keyed("entry"))
    return lambda: world.desk.ask(placed.client_id)


@pytest.mark.parametrize("action", [placing, asking])
def test_whatever_line_is_interrupted_the_order_is_placed_once_and_counted_whole(
    make: Any, action: Callable[[World], Callable[[], object]]
) -> None:
    n = 1
    while pressed(n, action(world := make(n))):
        assert free(world.desk.changed)
        assert not world.desk.ledger.sending
        world.desk.place(BUY, Intent.keyed("entry"))  # the cell is run again
        assert len(world.venue.sent) <= 1
        world.clock.advance(MINUTE)
        for record in world.desk.open_orders:
            world.desk.ask(record.client_id)
        (record,) = world.desk.records.values()
        assert world.desk.account.total("USDT") == 1000 - record.filled * 101
        assert record.filled == (BUY.qty if world.venue.sent else 0)
        assert world.desk.reserved(record.client_id) == 0
        kept = standing(world)
        world.restart()
        assert standing(world) == kept
        n += EVERY
    assert n > 100


def test_a_whole_is_done_to_its_end_and_its_open_part_is_not() -> None:
    done = []

    @whole
    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("kept waiting")
        try:
            with interruptible():
                done.append("never reached")
        finally:
            signal.raise_signal(signal.SIGINT)
            done.append("kept waiting again")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["kept waiting", "kept waiting again"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_whole_within_the_open_part_of_another_is_whole() -> None:
    done = []

    @whole
    def inner() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("inner")

    @whole
    def outer() -> None:
        with interruptible():
            inner()
            done.append("never reached")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert done == ["inner"]
