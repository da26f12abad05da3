"""A slow consumer: the newest of what is a state, all of what is not, or a halt that says what was missed."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import Lagged, UnknownName, UsageError
from kit.model import BookDelta, BookSnapshot, Candle, Quote, Side, Trade
from kit.net.outbox import BookChanged, Missed, Outbox


def trade(n: int, symbol: str = "BTC/USDT") -> Trade:
    return Trade(symbol, n, 100.0, 1.0, n, Side.BUY)


def quote(n: int, symbol: str = "BTC/USDT") -> Quote:
    return Quote(symbol, 99.0, 1.0, 101.0, 1.0, n)


def bar(time: int, trades: int, *, closed: bool = False, interval: str = "1m") -> Candle:
    return Candle("BTC/USDT", interval, time, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, trades, closed)


def delta(n: int, symbol: str = "BTC/USDT") -> BookDelta:
    return BookDelta(symbol, n, n, [(99.0, 1.0)], [], n)


def box(*events: Any, capacity: int = 100, slow: str = "conflate") -> Outbox:
    made = Outbox(capacity, slow)
    for n, event in enumerate(events):
        made.put(event, n)
    return made


def drained(made: Outbox) -> list[Any]:
    """Everything that waits, in its order."""
    told = []
    while (item := made.take(0)) is not None:
        told.append(item[0])
    return told


# -- one that keeps up


def test_a_consumer_that_keeps_up_sees_everything_with_its_time() -> None:
    made = Outbox(10)
    for n, event in enumerate([quote(1), quote(2), trade(1), bar(0, 1), bar(0, 2), bar(0, 2, closed=True)]):
        made.put(event, 50 + n)
        assert made.take(0) == (event, 50 + n)
    assert made.take(0) is None
    assert made.conflated == 0


# -- conflate


def test_of_what_is_a_state_the_newest_waits_in_the_place_of_the_older() -> None:
    made = box(quote(1), trade(1), quote(2), trade(2), quote(3))
    assert made.take(0) == (quote(3), 4)
    assert drained(made) == [trade(1), trade(2)]
    assert made.conflated == 2


def test_instruments_and_intervals_are_kept_apart() -> None:
    events = [quote(1), quote(1, "ETH/USDT"), bar(0, 1), bar(0, 1, interval="5m"), delta(1), delta(1, "ETH/USDT")]
    marked = [*events[:4], BookChanged("BTC/USDT"), BookChanged("ETH/USDT")]
    assert drained(box(*events)) == marked
    assert drained(box(*events, *events)) == marked


def test_updates_of_a_book_come_as_one_mark_that_it_changed() -> None:
    snapshot = BookSnapshot("BTC/USDT", 1, [], [])
    assert drained(box(snapshot, delta(2), delta(3))) == [BookChanged("BTC/USDT")]


def test_a_closed_bar_takes_the_place_of_its_versions_and_none_follows_it() -> None:
    made = box(bar(0, 1), trade(1), bar(0, 2), bar(0, 3, closed=True), bar(60, 1), bar(60, 2))
    assert drained(made) == [trade(1), bar(0, 3, closed=True), bar(60, 2)]


def test_every_trade_and_closed_bar_waits_in_order() -> None:
    events = [trade(1), bar(0, 1, closed=True), trade(2), trade(3), bar(60, 1, closed=True)]
    assert drained(box(*events)) == events


def test_memory_is_bounded_however_far_the_consumer_is_behind() -> None:
    made = Outbox(10)
    for n in range(10_000):
        made.put([trade(n), quote(n), delta(n), bar(n // 100, n)][n % 4], n)
    assert len(made) <= 13


# -- halt


def test_when_too_much_waits_it_halts_hands_out_what_it_holds_and_says_what_was_missed() -> None:
    made = box(*(trade(n) for n in range(6)), capacity=3)
    assert made.halted
    assert [made.take(0) for _ in range(3)] == [(trade(n), n) for n in range(3)]
    for _ in range(2):
        with pytest.raises(Lagged, match=r"3 events .*00:00:00.000003\+00:00 to .*00:00:00.000005.*resume\(\)"):
            made.take(0)
    assert made.gaps == (Missed(3, 5, 3),)


def test_after_resume_it_goes_on_and_the_gap_is_recorded() -> None:
    made = box(*(trade(n) for n in range(5)), capacity=3)
    assert made.gaps == (Missed(3, 4, 2),)
    assert [made.take(0) for _ in range(3)]
    made.resume()
    assert not made.halted
    assert made.take(0) is None
    made.put(trade(9), 9)
    assert made.take(0) == (trade(9), 9)
    made.resume()
    assert made.gaps == (Missed(3, 4, 2),)


def test_a_halt_at_the_edge_loses_nothing_that_fitted() -> None:
    made = box(trade(0), trade(1), trade(2), capacity=3)
    assert not made.halted
    assert drained(made) == [trade(0), trade(1), trade(2)]
    made.put(trade(3), 3)
    assert drained(made) == [trade(3)]


def test_states_are_told_after_a_halt_as_they_are_then() -> None:
    made = box(trade(0), quote(1), trade(1), capacity=1)
    made.put(quote(2), 5)
    made.put(delta(2), 6)
    made.put(delta(3), 7)
    assert [made.take(0), made.take(0)] == [(trade(0), 0), (quote(2), 5)]
    made.put(quote(3), 8)
    with pytest.raises(Lagged):
        made.take(0)
    made.resume()
    assert drained(made) == [BookChanged("BTC/USDT"), quote(3)]


def test_resuming_before_all_is_taken_hands_out_the_rest_without_an_error() -> None:
    made = box(*(trade(n) for n in range(4)), capacity=3)
    made.take(0)
    made.resume()
    made.put(trade(7), 7)
    assert drained(made) == [trade(1), trade(2), trade(7)]
    assert made.gaps == (Missed(3, 3, 1),)


def test_with_the_policy_halt_nothing_is_conflated() -> None:
    events = [quote(1), quote(2), delta(1), delta(2), bar(0, 1), bar(0, 2)]
    assert drained(box(*events, slow="halt")) == events
    made = box(*events, capacity=4, slow="halt")
    assert [made.take(0) for _ in range(4)] == [(event, n) for n, event in enumerate(events[:4])]
    with pytest.raises(Lagged, match="2 events"):
        made.take(0)


def test_a_policy_nobody_knows_and_a_box_without_room_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'conflate'"):
        Outbox(10, "conflat")
    with pytest.raises(UsageError, match="capacity=0"):
        Outbox(0)


# -- closing and waiting


def test_a_closed_box_hands_out_what_waits_and_then_says_that_nothing_comes() -> None:
    made = box(trade(1))
    made.close()
    made.put(trade(2), 2)
    assert made.take() == (trade(1), 0)
    assert made.take() is None


def test_who_waits_is_woken_by_an_event_and_by_the_end() -> None:
    made, told = Outbox(10), queue.SimpleQueue[Any]()

    def consume() -> None:
        while (item := made.take(60)) is not None:
            told.put(item[0])

    consumer = threading.Thread(target=consume, name="kit-test-consumer", daemon=True)
    consumer.start()
    for n in range(3):
        time.sleep(0.01)
        made.put(trade(n), n)
        assert told.get(timeout=5) == trade(n)
    time.sleep(0.01)
    made.close()
    consumer.join(5)
    assert not consumer.is_alive()


def test_nothing_in_time_is_none() -> None:
    began = time.monotonic()
    assert Outbox(10).take(0.02) is None
    assert 0.015 < time.monotonic() - began < 5


def test_between_two_threads_no_trade_is_lost_and_the_newest_quote_comes_last() -> None:
    made, told = Outbox(100_000), list[Any]()

    def consume() -> None:
        while (item := made.take(10)) is not None:
            told.append(item[0])

    consumer = threading.Thread(target=consume, name="kit-test-consumer", daemon=True)
    consumer.start()
    for n in range(5_000):
        made.put(trade(n), n)
        made.put(quote(n), n)
    made.close()
    consumer.join(20)
    assert [event.id for event in told if isinstance(event, Trade)] == list(range(5_000))
    ids = [event.update_id for event in told if isinstance(event, Quote)]
    assert ids == sorted(ids)
    assert ids[-1] == 4_999


class Consumer:
    """Takes from a box, resumes it when it halts, and remembers by number what it was told."""

    def __init__(self, made: Outbox) -> None:
        self.box = made
        self.told: list[int] = []
        self.quotes: dict[str, int] = {}

    def take(self) -> bool:
        try:
            item = self.box.take(0)
        except Lagged:
            self.box.resume()
            return True
        if item is None:
            return False
        event, number = item
        if isinstance(event, Quote):
            assert number >= self.quotes.get(event.symbol, -1)
            self.quotes[event.symbol] = number
        else:
            self.told.append(number)
        return True


@given(st.lists(st.sampled_from(["trade", "bar", "quote A", "quote B", "quote C", "take", "resume"])))
def test_whatever_happens_every_event_is_told_or_counted_and_the_newest_state_is_told(steps: list[str]) -> None:
    made = Outbox(3)
    consumer, sent, quotes = Consumer(made), list[int](), dict[str, int]()
    for n, what in enumerate(steps):
        if what in ("trade", "bar"):
            made.put(trade(n) if what == "trade" else bar(n, 1, closed=True), n)
            sent.append(n)
        elif what in ("take", "resume"):
            consumer.take() if what == "take" else made.resume()
        else:
            made.put(quote(n, what), n)
            quotes[what] = n
        assert len(made) <= 3 + 3
    while consumer.take():
        pass
    missed = [n for n in sent if any(gap.start <= n <= gap.end for gap in made.gaps)]
    assert sorted([*consumer.told, *missed]) == sent
    assert consumer.told == sorted(consumer.told)
    assert sum(gap.count for gap in made.gaps) == len(missed)
    assert consumer.quotes == quotes
