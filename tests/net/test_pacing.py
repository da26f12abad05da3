"""Pacing: never over a budget, never slower than the venue's own headers ask for."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import HOUR, MINUTE, SECOND
from kit.net.pacing import EDGE, FOR_READS, NOTABLE, Pacer
from kit.venues.base import Budget

WEIGHT, ORDERS = "X-MBX-USED-WEIGHT-1M", "X-MBX-ORDER-COUNT-10S"
BUDGETS = [
    Budget(WEIGHT, 6000, MINUTE),
    Budget(ORDERS, 100, 10 * SECOND),
    Budget("RAW-REQUESTS-5M", 300_000, 5 * MINUTE),
]
T0 = 1_767_225_600_000_000


def pacer() -> Pacer:
    made = Pacer()
    made.learn(BUDGETS)
    return made


def test_nothing_waits_while_there_is_budget() -> None:
    steered = pacer()
    for _ in range(100):
        assert steered.wait(2, T0) == 0
        steered.answered(steered.send(2, T0), {WEIGHT: 10})


def test_questions_leave_room_for_orders() -> None:
    steered = pacer()
    steered.answered(steered.send(2, T0), {WEIGHT: int(6000 * FOR_READS)})
    assert steered.wait(2, T0 + SECOND) == 59 * SECOND + EDGE
    assert steered.wait(1, T0 + SECOND, order=True) == 0


def test_the_header_counts_what_other_processes_use() -> None:
    steered = pacer()
    steered.answered(steered.send(2, T0), {WEIGHT: 5999})
    assert steered.wait(2, T0) > 0
    assert steered.wait(2, T0, order=True) > 0
    steered.answered(steered.send(0, T0), {WEIGHT: 12})  # it is the truth, downwards too
    assert steered.wait(2, T0) == 0


def test_requests_in_flight_count_before_their_answers_do() -> None:
    steered = pacer()
    tickets = [steered.send(50, T0) for _ in range(102)]
    assert steered.wait(50, T0) > 0
    for n, ticket in enumerate(tickets, 1):
        steered.answered(ticket, {WEIGHT: n})
    assert steered.wait(50, T0) == 0


def test_an_answer_that_never_came_counts_as_used() -> None:
    steered = pacer()
    for _ in range(102):
        steered.answered(steered.send(50, T0), {})
    assert steered.wait(50, T0) > 0
    assert steered.wait(50, T0 + MINUTE) == 0


def test_an_answer_from_a_window_that_is_over_says_nothing_about_this_one() -> None:
    steered = pacer()
    late = steered.send(2, T0 + 59 * SECOND)
    steered.answered(steered.send(2, T0 + MINUTE), {WEIGHT: 2})
    steered.answered(late, {WEIGHT: 5999})
    assert steered.wait(2, T0 + MINUTE) == 0


def test_windows_run_by_the_venues_clock() -> None:
    steered = pacer()
    steered.skew = -30 * SECOND
    steered.answered(steered.send(2, T0 + 31 * SECOND), {WEIGHT: 5999})
    assert steered.wait(2, T0 + 31 * SECOND) == 59 * SECOND + EDGE
    assert steered.wait(2, T0 + 90 * SECOND) == 0


def test_a_full_order_count_stops_orders_and_nothing_else() -> None:
    steered = pacer()
    steered.answered(steered.send(1, T0, order=True), {WEIGHT: 9, ORDERS: 100})
    assert steered.wait(1, T0, order=True) == 10 * SECOND + EDGE
    assert steered.wait(25, T0) == 0


def test_a_full_order_count_stops_no_cancel() -> None:
    steered = pacer()
    steered.answered(steered.send(1, T0, order=True), {WEIGHT: int(6000 * FOR_READS), ORDERS: 100})
    for _ in range(200):
        assert steered.wait(1, T0, urgent=True) == 0
        steered.answered(steered.send(1, T0), {WEIGHT: int(6000 * FOR_READS)})


def test_retry_after_is_a_floor_for_everything_when_a_question_was_turned_away() -> None:
    steered = pacer()
    steered.hold(T0 + 7 * SECOND, order=False)
    assert steered.wait(1, T0) == steered.wait(1, T0, order=True) == 7 * SECOND
    steered.hold(T0 + 3 * SECOND, order=False)  # a shorter one does not shorten it
    assert steered.wait(1, T0) == 7 * SECOND
    assert steered.wait(1, T0 + 7 * SECOND) == 0


def test_an_order_turned_away_holds_orders_only() -> None:
    steered = pacer()
    steered.hold(T0 + 7 * SECOND, order=True)
    assert steered.wait(1, T0) == 0
    assert steered.wait(1, T0, order=True) == 7 * SECOND


def test_a_request_heavier_than_the_whole_budget_leaves_in_an_unused_window() -> None:
    steered = pacer()
    assert steered.wait(9000, T0) == 0


@pytest.mark.parametrize(("used", "worth"), [(0, False), (NOTABLE - 1, False), (NOTABLE, True)])
def test_budgets_are_worth_learning_once_use_is_notable(used: int, worth: bool) -> None:
    fresh = Pacer()
    fresh.answered(fresh.send(2, T0), {WEIGHT: used})
    assert fresh.worth_learning is worth


def test_budgets_learned_late_begin_at_the_use_told_before() -> None:
    fresh = Pacer()
    fresh.answered(fresh.send(2, T0), {WEIGHT: 5800})
    fresh.learn(BUDGETS)
    assert not fresh.worth_learning
    assert fresh.wait(2, T0) > 0


def test_a_venue_that_tells_nothing_is_asked_no_more_than_its_limit_in_any_stretch_of_time() -> None:
    asked: list[int] = []
    steered, now = Pacer([Budget("REQUESTS", 10, SECOND, sliding=True)]), T0
    steered.skew = -HOUR
    while len(asked) < 100:
        wait = steered.wait(1, now)
        now += wait
        assert wait <= SECOND + EDGE
        if not wait:
            steered.answered(steered.send(1, now), {})
            asked.append(now)
            now += SECOND // 50
        steered.skew = HOUR  # the clock has been measured: that changes nothing
    assert all(later - at > SECOND for at, later in zip(asked, asked[10:], strict=False))
    assert asked[-1] - asked[0] < 100 / (10 * FOR_READS - 1) * (SECOND + EDGE)


def test_a_burst_leaves_at_once_as_far_as_the_limit_reaches() -> None:
    steered = Pacer([Budget("REQUESTS", 10, 10 * SECOND, sliding=True)])
    for _ in range(8):
        assert steered.wait(1, T0) == 0
        steered.send(1, T0)
    assert steered.wait(1, T0 + SECOND) == 9 * SECOND + EDGE
    assert steered.wait(1, T0 + SECOND, urgent=True) == 0


def test_what_is_not_worth_waiting_for_leaves_some_of_it_to_the_rest() -> None:
    steered = Pacer([Budget("REQUESTS", 10, 10 * SECOND, sliding=True)])
    for _ in range(7):
        assert steered.wait(1, T0, spare=True) == 0
        steered.send(1, T0)
    assert steered.wait(1, T0, spare=True) > 0
    assert steered.wait(1, T0) == 0


@dataclass
class Venue:
    """Counts weight per minute as Binance does, and remembers its worst minute."""

    minutes: dict[int, int] = field(default_factory=dict)

    def asked(self, weight: int, now: int) -> dict[str, int]:
        minute = now // MINUTE
        self.minutes[minute] = self.minutes.get(minute, 0) + weight
        return {WEIGHT: self.minutes[minute]}


@given(
    st.lists(st.tuples(st.integers(1, 250), st.integers(0, 3 * SECOND), st.booleans()), min_size=1, max_size=300),
    st.integers(0, MINUTE),
)
def test_no_sequence_of_requests_goes_over_the_budget(asks: list[tuple[int, int, bool]], phase: int) -> None:
    venue, steered, now = Venue(), pacer(), T0 + phase
    for weight, pause, order in asks:
        now += steered.wait(weight, now, order=order)
        assert steered.wait(weight, now, order=order) == 0
        steered.answered(steered.send(weight, now, order=order), venue.asked(weight, now))
        now += pause
    assert max(venue.minutes.values()) <= 6000
