"""Whoever is told of a live instrument's events: on a thread of their own, each once and in order, at no one's cost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kit.errors import Lagged, NotYet, UsageError
from kit.model import BookDelta, Candle, Quote, Trade
from kit.net.live import Live

Eventually = Callable[[Callable[[], object]], None]
Tiny = Any  # the fixture of conftest.py


def test_a_callback_is_told_every_event_after_it_was_taken_in(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    told: list[object] = []
    seen: list[float] = []
    threads: set[str] = set()

    def callback(event: object, received: int) -> None:
        told.append(event)
        threads.add(threading.current_thread().name)
        if isinstance(event, Trade):
            seen.append(live.trades["price"].iloc[-1])

    follower = live.on_event(callback, slow="halt")
    tiny.trade(102.0)
    tiny.level("b", "99.80", "1.0")
    eventually(lambda: any(isinstance(event, Quote) for event in told))
    assert [type(event) for event in told] == [Trade, Candle, BookDelta, Quote]
    assert seen == [102.0]
    assert threads == {"kit-callback BTC/USDT"}
    follower.stop()
    tiny.trade(103.0)
    eventually(lambda: live.trades["price"].iloc[-1] == 103.0)
    assert len(told) == 4


def test_a_callback_may_wait_for_what_comes_next(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    versions: list[int] = []
    follower = live.on_event(lambda event, received: versions.append(live.wait(timeout=10)))
    tiny.trade(100.0)
    eventually(lambda: len(live.trades) == 7)
    tiny.trade(101.0)
    eventually(lambda: versions)
    follower.stop()
    assert follower.last_error is None


def test_a_callback_that_never_ends_costs_the_picture_nothing_and_is_told_what_it_missed(
    tiny: Tiny, live: Live, eventually: Eventually
) -> None:
    gate, told = threading.Event(), []

    def callback(event: object, received: int) -> None:
        gate.wait(10)
        told.append(event)

    follower = live.on_event(callback, capacity=3)
    for _ in range(10):
        tiny.trade(102.0)
    eventually(lambda: len(live.trades) == len(tiny.trades))
    eventually(lambda: follower.halted)
    gate.set()
    eventually(lambda: isinstance(follower.last_error, Lagged))
    trades = [event.id for event in told if isinstance(event, Trade)]
    assert trades == list(range(7, 7 + len(trades)))
    assert len(trades) + sum(missed.count for missed in follower.gaps) == 10
    follower.resume()
    tiny.trade(104.0)
    eventually(lambda: isinstance(told[-1], Candle) and told[-1].close == 104.0)
    follower.stop()


def test_a_callback_that_fails_is_called_again_and_does_not_cost_the_picture(
    tiny: Tiny, live: Live, eventually: Eventually
) -> None:
    calls: list[object] = []

    def broken(event: object, now: int) -> None:
        calls.append(event)
        raise ZeroDivisionError("my mistake")

    follower = live.on_event(broken)
    tiny.trade(102.0)
    eventually(lambda: live.trades["price"].iloc[-1] == 102.0 and len(calls) == 2)
    assert isinstance(follower.last_error, ZeroDivisionError)
    assert "my mistake" in repr(follower)


def test_watching_gives_the_events_one_by_one_until_the_end(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    watched: list[object] = []

    def watch() -> None:
        watched.extend(live.watch(slow="halt"))

    watcher = threading.Thread(target=watch, name="kit-test-watcher", daemon=True)
    before = len(live._feeder.taps)
    watcher.start()
    eventually(lambda: len(live._feeder.taps) > before)
    for price in (101.0, 102.0):
        tiny.trade(price)
    eventually(lambda: len(watched) == 4)
    live.close()
    watcher.join(10)
    assert not watcher.is_alive()
    assert [type(event) for event in watched] == [Trade, Candle] * 2
    assert len(live._feeder.taps) == before


def test_watching_in_vain_says_what_did_not_come(live: Live) -> None:
    with pytest.raises(NotYet, match=r"BTC/USDT: nothing new came within 0\.05 s; the feed is LIVE"):
        next(live.watch(timeout=0.05))


# -- on the thread of the sockets


def test_a_tap_sees_every_event_at_once(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    told: list[tuple[object, str]] = []
    leave = live.tap(lambda event, received: told.append((event, threading.current_thread().name)))
    tiny.trade(102.0)
    eventually(lambda: len(told) == 2)
    assert {thread for _, thread in told} == {"kit-streams"}
    leave()
    tiny.trade(103.0)
    eventually(lambda: live.trades["price"].iloc[-1] == 103.0)
    assert len(told) == 2


def test_waiting_on_the_thread_of_the_sockets_is_refused(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    errors: list[Exception] = []

    def tap(event: object, now: int) -> None:
        for wait in (lambda: live.wait(timeout=1), lambda: next(live.watch(timeout=1))):
            try:
                wait()
            except UsageError as error:
                errors.append(error)

    live.tap(tap)
    tiny.trade(100.0)
    eventually(lambda: len(errors) >= 2)


def test_a_tap_that_fails_does_not_cost_the_picture(tiny: Tiny, live: Live, eventually: Eventually) -> None:
    def broken(event: object, now: int) -> None:
        raise ZeroDivisionError("my mistake")

    live.tap(broken)
    tiny.trade(102.0)
    eventually(lambda: live.trades["price"].iloc[-1] == 102.0)
    assert "my mistake" in str(live.last_error)


def test_no_listener_is_lost_while_others_come_and_go(live: Live) -> None:
    enough, before = threading.Event(), len(live._feeder.taps)

    def come_and_go() -> None:
        while not enough.is_set():
            live.tap(lambda event, received: None)()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    others = [threading.Thread(target=come_and_go, name="kit-test-comes-and-goes") for _ in range(2)]
    for other in others:
        other.start()
    try:
        for _ in range(200):
            live.tap(lambda event, received: None)
    finally:
        enough.set()
        for other in others:
            other.join()
        sys.setswitchinterval(interval)
    assert len(live._feeder.taps) == before + 200
