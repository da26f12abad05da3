"""Clocks never run backwards, and an offset knows how wrong it may be."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import SECOND, ManualClock, Offset, VenueClock, WallClock, elapsed


def test_a_manual_clock_moves_only_when_told_and_only_forward() -> None:
    clock = ManualClock(5)
    clock.advance(2)
    assert clock.now() == 7
    with pytest.raises(ValueError, match="backwards"):
        clock.set(6)


def test_the_wall_clock_never_turns_back() -> None:
    clock = WallClock()
    times = [clock.now() for _ in range(1000)]
    assert times == sorted(times)


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_step_of_the_system_clock_does_not_show(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Whether the machine slept or its clock was set can't be told from the clock that was set."""
    clock, system = WallClock(), time.time_ns
    before = clock.now()
    monkeypatch.setattr(time, "time_ns", lambda: system() + step * 10**9)
    assert before <= clock.now() < before + 60 * SECOND


def test_sleep_counts() -> None:
    """Linux and macOS: the counter is one that runs on; where there is none, the monotonic clock does."""
    counts = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    expected = time.monotonic_ns() if counts is None else time.clock_gettime_ns(counts)
    assert 0 <= elapsed() - expected < SECOND * 1_000


GRAINS = st.sampled_from([0, 1, 7, 1_000, SECOND])


def told(time: int, grain: int) -> int:
    """What a venue says that cuts its time to a multiple of ``grain``."""
    return time - time % grain if grain else time


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(-(10**9), 10**9), GRAINS)
def test_the_true_offset_lies_within_the_uncertainty(out: int, back: int, true: int, grain: int) -> None:
    sent = 10**12
    measured = Offset.measured(sent, sent + out + back, told(sent + out + true, grain), grain)
    assert abs(measured.offset - true) <= measured.uncertainty
    assert measured.uncertainty <= (out + back + grain + 1) / 2


def test_a_venues_clock_is_ours_plus_the_offset() -> None:
    clock = VenueClock(ManualClock(1_000))
    assert clock.now() == 1_000
    clock.offset = Offset(250, 10)
    assert clock.now() == 1_250


def test_a_venues_clock_is_certain_for_a_while_after_it_was_measured() -> None:
    ours = ManualClock(1_000)
    clock = VenueClock(ours)
    certain = [clock.certain]
    clock.offset = Offset(250, 10)
    for pause in (0, VenueClock.GOOD_FOR - 1, 1):
        ours.advance(pause)
        certain.append(clock.certain)
    assert certain == [False, True, True, False]


def test_a_measurement_over_a_slow_round_trip_does_not_replace_a_better_one_until_drift_has_made_that_worse() -> None:
    ours = ManualClock(0)
    clock = VenueClock(ours)
    clock.offset = Offset(1_000, 100)
    clock.offset = Offset(1_300, 5_000)
    assert clock.offset == Offset(1_000, 100)
    ours.advance(200 * SECOND)
    assert clock.uncertainty == 100 + 200 * VenueClock.DRIFT
    clock.offset = Offset(1_300, 5_000)
    assert clock.offset == Offset(1_300, 5_000)


def test_a_clock_that_was_set_is_believed_at_once() -> None:
    clock = VenueClock(ManualClock(0))
    clock.offset = Offset(1_000, 100)
    clock.offset = Offset(-3_600 * SECOND, 5_000)
    assert clock.now() == -3_600 * SECOND


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**8)), min_size=1), GRAINS)
def test_however_often_it_is_measured_the_true_time_lies_within_the_uncertainty(
    trips: list[tuple[int, int, int]], grain: int
) -> None:
    ours, true = ManualClock(10**12), 123_456
    clock = VenueClock(ours)
    for out, back, pause in trips:
        sent = ours.now()
        ours.advance(out + back)
        clock.offset = Offset.measured(sent, ours.now(), told(sent + out + true, grain), grain)
        ours.advance(pause)
        assert abs(clock.now() - ours.now() - true) <= (clock.uncertainty or 0)


def test_a_clock_is_due_for_a_measurement_once_in_a_while_whoever_asks() -> None:
    ours = ManualClock(10**12)
    clock = VenueClock(ours)
    assert [clock.due(60 * SECOND) for _ in range(3)] == [True, False, False]
    ours.advance(60 * SECOND)
    assert [clock.due(60 * SECOND) for _ in range(2)] == [True, False]
