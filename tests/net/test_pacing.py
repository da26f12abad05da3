"""Pacing: never over a budget, never slower than the venue's own headers ask for, whoever shares it."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.clock import DAY, HOUR, MINUTE, SECOND
from kit.net.pacing import (
    A_FEW_ORDERS,
    ALL,
    EDGE,
    FOR_ACCOUNT,
    FOR_ORDERS,
    FOR_READS,
    FOR_SPARE,
    LATE,
    NOTABLE,
    NOTABLE_ORDERS,
    SOON,
    Pacer,
)
from kit.venues.base import Budget

WEIGHT, ORDERS = "X-MBX-USED-WEIGHT-1M", "X-MBX-ORDER-COUNT-10S"
RAW = Budget("RAW-REQUESTS-5M", 300_000, 5 * MINUTE)
BUDGETS = [Budget(WEIGHT, 6000, MINUTE), Budget(ORDERS, 100, 10 * SECOND), RAW]
T0 = 1_767_225_600_000_000 + SECOND
"""A second past a full minute."""


def pacer() -> Pacer:
    made = Pacer()
    made.learn(BUDGETS)
    return made


def test_nothing_waits_while_there_is_budget() -> None:
    steered = pacer()
    for _ in range(100):
        assert steered.wait(2, T0) == 0
        steered.answered(steered.send(2, T0), {WEIGHT: 10})


def test_questions_leave_room_for_orders_as_long_as_the_window_lasts() -> None:
    steered = pacer()
    steered.answered(steered.send(2, T0), {WEIGHT: 5500})
    assert steered.wait(1, T0, orders=1, share=ALL) == 0
    wait = steered.wait(100, T0)
    assert wait == pytest.approx(39 * SECOND, abs=SECOND)  # 1,200 are kept for the whole, so 400 for a third of it
    assert steered.wait(100, T0 + wait - SOON) > 0
    assert steered.wait(100, T0 + wait) == 0


@pytest.mark.parametrize("share", [FOR_SPARE, FOR_READS, FOR_ORDERS, FOR_ACCOUNT, ALL])
def test_what_others_depend_on_less_leaves_more(share: float) -> None:
    steered = pacer()
    steered.answered(steered.send(2, T0), {WEIGHT: int(6000 * share) - 1})
    assert steered.wait(1, T0, share=share) == 0
    assert steered.wait(70, T0, share=share) > 0


def test_the_header_counts_what_others_behind_this_address_use() -> None:
    steered = pacer()
    steered.answered(steered.send(2, T0), {WEIGHT: 5999})
    assert steered.wait(2, T0) == steered.wait(2, T0, share=ALL) == 59 * SECOND + EDGE
    steered.answered(steered.send(0, T0), {WEIGHT: 12})  # it is the truth, downwards too
    assert steered.wait(2, T0) == 0


def test_an_answer_that_was_overtaken_does_not_lower_the_count() -> None:
    steered = pacer()
    first, second = steered.send(2, T0), steered.send(2, T0)
    steered.answered(second, {WEIGHT: 5999})
    steered.answered(first, {WEIGHT: 3000})
    assert steered.wait(2, T0, share=ALL) > 0


def test_requests_in_flight_count_before_their_answers_do() -> None:
    steered = pacer()
    tickets = [steered.send(50, T0) for _ in range(104)]
    assert steered.wait(50, T0) == SOON  # what is on its way may be counted already: worth asking again
    for n, ticket in enumerate(tickets, 1):
        steered.answered(ticket, {WEIGHT: n})
    assert steered.wait(50, T0) == 0


def test_an_answer_that_never_came_counts_as_used() -> None:
    steered = pacer()
    for _ in range(104):
        steered.answered(steered.send(50, T0), {})
    assert steered.wait(50, T0) > SECOND
    assert steered.wait(50, T0 + MINUTE) == 0


def test_what_a_killed_process_had_sent_counts_until_the_venue_says_better() -> None:
    steered = pacer()
    for _ in range(119):
        steered.send(50, T0)
    steered.wait(2, T0 + LATE + 1)
    assert not steered.flying
    assert steered.wait(200, T0 + LATE + 1, share=ALL) > SECOND
    steered.answered(steered.send(2, T0 + LATE + 1), {WEIGHT: 900})
    assert steered.wait(200, T0 + LATE + 2) == 0


def test_an_answer_later_than_that_is_heard_and_not_counted_twice() -> None:
    steered = pacer()
    slow = steered.send(100, T0)
    steered.wait(2, T0 + LATE + 1)
    assert steered.meters[WEIGHT].until_free(5900, 0, ALL, T0 + LATE) == 0
    steered.answered(slow, {})
    assert steered.meters[WEIGHT].until_free(5900, 0, ALL, T0 + LATE) == 0
    steered.answered(slow, {WEIGHT: 101})
    assert steered.meters[WEIGHT].until_free(5900, 0, ALL, T0 + LATE) > 0


def test_an_answer_from_a_window_that_is_over_says_nothing_about_this_one() -> None:
    steered = pacer()
    late = steered.send(2, T0 + 57 * SECOND)
    steered.answered(steered.send(2, T0 + MINUTE), {WEIGHT: 2})
    steered.answered(late, {WEIGHT: 5999})
    assert steered.wait(5900, T0 + MINUTE, share=ALL) == 0


def test_what_leaves_at_a_windows_end_may_count_in_the_next() -> None:
    steered = pacer()
    end = T0 + 59 * SECOND
    for at in (end - EDGE // 2, end + EDGE // 2):
        steered.answered(steered.send(2000, at), {WEIGHT: 4000})
    assert steered.wait(2500, end + 2 * EDGE, share=ALL) > 0
    assert steered.wait(1900, end + 2 * EDGE, share=ALL) == 0


def test_the_old_count_holds_until_the_window_is_surely_over() -> None:
    steered = pacer()
    steered.answered(steered.send(2, T0), {WEIGHT: 6000})
    assert steered.wait(2, T0 + 59 * SECOND, share=ALL) == EDGE
    assert steered.wait(2, T0 + 59 * SECOND + EDGE, share=ALL) == 0


def test_a_clock_that_is_roughly_known_counts_in_both_windows_that_may_be_meant() -> None:
    steered = pacer()
    steered.answered(steered.send(2, T0), {WEIGHT: 4000})
    steered.blur, end = 2 * SECOND, T0 + 59 * SECOND
    assert steered.wait(2001, end + SECOND, share=ALL) > 0  # the old one may not be over
    steered.answered(steered.send(1000, end - 3 * SECOND), {WEIGHT: 5000})
    steered.answered(steered.send(500, end - SECOND), {WEIGHT: 5500})  # the new one may have begun
    assert steered.wait(5501, end + 3 * SECOND, share=ALL) > 0
    assert steered.wait(5500, end + 3 * SECOND, share=ALL) == 0


def test_windows_run_by_the_venues_clock() -> None:
    steered = pacer()
    steered.skew = -30 * SECOND
    steered.answered(steered.send(2, T0 + 31 * SECOND), {WEIGHT: 5999})
    assert steered.wait(2, T0 + 31 * SECOND) == 58 * SECOND + EDGE
    assert steered.wait(2, T0 + 90 * SECOND) == 0


def test_a_process_whose_clock_is_a_little_behind_does_not_bring_an_old_window_back() -> None:
    steered = pacer()
    steered.answered(steered.send(2, T0 + MINUTE), {WEIGHT: 5999})
    assert steered.wait(2, T0 + 58 * SECOND, share=ALL) > 0
    assert steered.wait(2, T0 + MINUTE, share=ALL) > 0
    assert steered.wait(2, T0 - HOUR, share=ALL) == 0  # so far behind, the clock was set


def test_a_full_order_count_stops_orders_and_nothing_else() -> None:
    steered = pacer()
    steered.answered(steered.send(1, T0, orders=1), {WEIGHT: 9, ORDERS: 100})
    assert steered.wait(1, T0, orders=1, share=ALL) == 9 * SECOND + EDGE
    assert steered.wait(25, T0) == steered.wait(1, T0, share=ALL) == 0


def test_orders_leave_room_for_as_many_cancels() -> None:
    steered, now, end = pacer(), T0, T0 + 59 * SECOND
    steered.answered(steered.send(2, T0), {WEIGHT: 6000 * 8 // 10})
    used, placed = 6000 * 8 // 10, 0
    while now < end:
        if not steered.wait(1, now, orders=1, share=FOR_ORDERS):
            used, placed = used + 1, placed + 1
            steered.answered(steered.send(1, now, orders=1), {WEIGHT: used})
            assert steered.wait(1, now, share=ALL) == 0
            used += 1
            steered.answered(steered.send(1, now), {WEIGHT: used})
        now += SECOND // 20
    assert placed > 550


def test_orders_are_counted_per_account_and_by_their_number() -> None:
    steered = pacer()
    steered.answered(steered.send(1, T0, orders=1, account="a"), {ORDERS: 98})
    assert steered.wait(1, T0, orders=2, account="a", share=ALL) == 0
    assert steered.wait(1, T0, orders=3, account="a", share=ALL) > 0
    assert steered.wait(1, T0, orders=3, account="b", share=ALL) == 0
    steered.send(1, T0, orders=99, account="b")
    assert steered.wait(1, T0, orders=2, account="b", share=ALL) > 0
    assert steered.wait(1, T0, orders=2, account="a", share=ALL) == 0


def test_raw_requests_count_one_each_and_connections_nothing() -> None:
    steered = Pacer([Budget("RAW-REQUESTS-5M", 10, 5 * MINUTE), Budget("CONNECTIONS-5M", 1, 5 * MINUTE)])
    for _ in range(10):
        assert steered.wait(50, T0, share=ALL) == 0
        steered.answered(steered.send(50, T0), {})
    assert steered.wait(1, T0, share=ALL) > MINUTE


def test_retry_after_is_a_floor_for_everything_when_a_question_was_turned_away() -> None:
    steered = pacer()
    steered.hold(T0 + 7 * SECOND, order=False)
    assert steered.wait(1, T0) == steered.wait(1, T0, orders=1, share=ALL) == 7 * SECOND
    steered.hold(T0 + 3 * SECOND, order=False)  # a shorter one does not shorten it
    assert steered.wait(1, T0) == 7 * SECOND
    assert steered.wait(1, T0 + 7 * SECOND) == 0


def test_an_order_turned_away_holds_the_orders_of_its_account_only() -> None:
    steered = pacer()
    steered.hold(T0 + 7 * SECOND, order=True, account="a")
    assert steered.wait(1, T0) == steered.wait(1, T0, orders=1, account="b") == 0
    assert steered.wait(1, T0, orders=1, account="a") == 7 * SECOND


def test_a_request_heavier_than_the_whole_budget_leaves_in_an_unused_window() -> None:
    steered = pacer()
    assert steered.wait(9000, T0) == 0


@pytest.mark.parametrize(("used", "worth"), [(0, False), (NOTABLE - 1, False), (NOTABLE, True)])
def test_budgets_are_worth_learning_once_use_is_notable(used: int, worth: bool) -> None:
    fresh = Pacer()
    fresh.answered(fresh.send(2, T0), {WEIGHT: used})
    assert fresh.worth_learning(T0) is fresh.notable(T0) is worth
    assert not fresh.notable(T0 + HOUR)


@pytest.mark.parametrize(
    ("used", "by_order"), [(A_FEW_ORDERS, False), (NOTABLE_ORDERS - 1, False), (NOTABLE_ORDERS, True)]
)
def test_a_few_orders_make_budgets_worth_a_question_and_some_more_an_orders_moment(used: int, by_order: bool) -> None:
    fresh = Pacer()
    fresh.answered(fresh.send(1, T0, orders=1, account="a"), {WEIGHT: 1, ORDERS: used})
    assert fresh.worth_learning(T0)
    assert fresh.worth_learning(T0, by_order=True) is by_order


def test_budgets_learned_late_begin_at_the_use_told_before_and_are_asked_for_again_after_a_day() -> None:
    fresh = Pacer()
    fresh.answered(fresh.send(2, T0), {WEIGHT: 5900})
    fresh.learn(BUDGETS, T0)
    assert fresh.wait(2, T0) > 0
    assert not fresh.worth_learning(T0 + SECOND)
    tomorrow = T0 + DAY + 1
    fresh.answered(fresh.send(2, tomorrow), {WEIGHT: NOTABLE})
    assert fresh.worth_learning(tomorrow)


def test_budgets_learned_again_change_no_count() -> None:
    steered = pacer()
    steered.answered(steered.send(2, T0), {WEIGHT: 5999})
    steered.learn(BUDGETS, T0)
    assert steered.wait(2, T0) > 0
    steered.learn([Budget(WEIGHT, 12_000, MINUTE)], T0)
    assert steered.wait(2, T0) == 0
    assert steered.wait(6_002, T0, share=ALL) > 0  # what was told is remembered


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
    assert asked[-1] - asked[0] < 100 / (9 - 1) * (SECOND + EDGE)


def test_a_burst_leaves_at_once_as_far_as_the_limit_reaches() -> None:
    steered = Pacer([Budget("REQUESTS", 10, 10 * SECOND, sliding=True)])
    for _ in range(9):
        assert steered.wait(1, T0) == 0
        steered.send(1, T0)
    assert steered.wait(1, T0 + SECOND) == 9 * SECOND + EDGE
    assert steered.wait(1, T0 + SECOND, share=ALL) == 0


def test_what_is_not_worth_waiting_for_leaves_some_of_it_to_the_rest() -> None:
    steered = Pacer([Budget("REQUESTS", 10, 10 * SECOND, sliding=True)])
    for _ in range(8):
        assert steered.wait(1, T0, share=FOR_SPARE) == 0
        steered.send(1, T0)
    assert steered.wait(1, T0, share=FOR_SPARE) > 0
    assert steered.wait(1, T0) == 0


def test_nothing_counts_for_longer_than_a_window_though_a_clock_was_set_back() -> None:
    steered = Pacer([Budget("REQUESTS", 10, 10 * SECOND, sliding=True)])
    for _ in range(10):
        steered.send(1, T0)
    assert steered.wait(1, T0 - DAY) == 10 * SECOND + EDGE
    assert steered.wait(1, T0 - DAY + 10 * SECOND + EDGE) == 0


# -- many processes ---------------------------------------------------------------------------------------------------


@dataclass
class World:
    """A venue that counts per window as requests arrive, and processes that share one pacer; seeded, no real time."""

    seed: int
    sliding: bool = False
    limit: int = 600
    window: int = 10 * SECOND
    now: int = T0
    over: int = 0
    counted: Counter[int] = field(default_factory=Counter)
    arrived: list[tuple[int, int]] = field(default_factory=list)
    waits: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311 - a seeded simulation
        name = "REQUESTS" if self.sliding else WEIGHT
        self.kept = msgspec.json.encode(Pacer([Budget(name, self.limit, self.window, sliding=self.sliding)]))
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.order = count()

    def at(self, when: int, do: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (when, next(self.order), do))

    def run(self, until: int) -> None:
        while self.queue and self.queue[0][0] <= until:
            self.now, _, do = heapq.heappop(self.queue)
            do()

    def open(self, skew: int, blur: int) -> Pacer:
        """The shared state, read as every process reads it."""
        pacer = msgspec.json.decode(self.kept, type=Pacer)
        pacer.skew, pacer.blur = skew, blur
        return pacer

    def keep(self, pacer: Pacer) -> None:
        self.kept = msgspec.json.encode(pacer)

    def serve(self, weight: int) -> dict[str, int]:
        self.arrived.append((self.now, weight))
        began = self.now - self.now % self.window
        self.counted[began] += weight
        self.over += self.counted[began] > self.limit and not self.sliding
        return {} if self.sliding else {WEIGHT: self.counted[began]}

    def asks(self, name: str, weights: tuple[int, ...], share: float, pause: int, clock: int) -> None:
        """A thread that asks for ever; its clock is wrong by ``clock``, of which it has measured nearly all."""
        blur = self.random.choice((0, 3 * EDGE))
        wrong = self.random.randint(-blur - EDGE // 4, blur + EDGE // 4)
        weight = self.random.choice(weights)

        def ask() -> None:
            pacer, ours = self.open(wrong - clock, blur), self.now + clock
            wait = pacer.wait(weight, ours, share=share)
            self.waits.setdefault(name, []).append(wait)
            ticket = None if wait else pacer.send(weight, ours)
            self.keep(pacer)
            if ticket is None:
                self.at(self.now + wait, ask)
                return
            out, back = (self.random.randint(1_000, 120_000) for _ in range(2))
            lost = self.random.random() < 0.02
            self.at(self.now + out, lambda: arrive(back, lost=lost))

            def arrive(back: int, *, lost: bool) -> None:
                used = self.serve(weight)
                self.at(self.now + back, lambda: hear({} if lost else used))

            def hear(used: dict[str, int]) -> None:
                if used or self.sliding or self.random.random() < 0.5:  # else its process was killed meanwhile
                    pacer = self.open(wrong - clock, blur)
                    pacer.answered(ticket, used)
                    self.keep(pacer)
                nonlocal weight
                weight = self.random.choice(weights)
                self.at(self.now + self.random.randint(0, pause), ask)

        self.at(self.now + self.random.randint(0, SECOND), ask)


@given(st.integers(0, 10_000))
@settings(max_examples=12)
def test_processes_that_ask_for_all_they_can_get_use_nearly_all_and_never_more(seed: int) -> None:
    world = World(seed)
    for n in range(8):
        world.asks("reads", (1, 2, 5, 20), FOR_READS, 30_000, clock=(n - 4) * SECOND)
    world.run(T0 + 60 * SECOND)
    assert world.over == 0
    whole = sorted(world.counted)[1:-1]
    assert min(world.counted[began] for began in whole) >= 0.9 * world.limit


@given(st.integers(0, 10_000))
@settings(max_examples=12)
def test_who_reads_all_it_can_get_does_not_hold_up_what_must_not_wait(seed: int) -> None:
    world = World(seed)
    for _ in range(8):
        world.asks("reads", (5, 20), FOR_READS, 10_000, clock=0)
    world.asks("cancels", (1,), ALL, 600_000, clock=0)
    world.run(T0 + 60 * SECOND)
    assert world.over == 0
    assert max(world.waits["cancels"]) <= 9 * EDGE
    assert max(world.waits["reads"]) > SECOND


@given(st.integers(0, 10_000))
@settings(max_examples=8)
def test_processes_share_a_budget_of_which_the_venue_tells_nothing(seed: int) -> None:
    world = World(seed, sliding=True, limit=30)
    for n in range(4):
        world.asks("reads", (1, 2), FOR_READS, 10_000, clock=n * EDGE // 10)
    world.run(T0 + 60 * SECOND)
    for at, _ in world.arrived:
        assert sum(weight for when, weight in world.arrived if at <= when < at + world.window) <= world.limit
    assert sum(weight for _, weight in world.arrived) >= 0.8 * world.limit * 6


@given(
    st.lists(st.tuples(st.integers(1, 250), st.integers(0, 3 * SECOND), st.booleans()), min_size=1, max_size=300),
    st.integers(0, MINUTE),
)
def test_no_sequence_of_requests_goes_over_the_budget(asks: list[tuple[int, int, bool]], phase: int) -> None:
    steered, now, minutes = pacer(), T0 + phase, Counter[int]()
    for weight, pause, order in asks:
        share = ALL if order else FOR_READS
        while wait := steered.wait(weight, now, orders=int(order), share=share):
            now += wait
        minutes[now // MINUTE] += weight
        steered.answered(steered.send(weight, now, orders=int(order)), {WEIGHT: minutes[now // MINUTE]})
        now += pause
    assert max(minutes.values()) <= 6000
