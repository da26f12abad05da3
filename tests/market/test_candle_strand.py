"""Bars after an outage that the venue does not remember the beginning of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kit.clock import MINUTE, SECOND
from kit.market.candle_strand import CandleStrand
from kit.market.candles import FLOATS, iso, open_times
from kit.market.strand import LAG_TRIES, Ask, Host, Need

OPENS = 1_700_000_000 * SECOND // MINUTE * MINUTE


def bars(first: int, *volumes: float) -> dict[str, npt.NDArray[Any]]:
    count = len(volumes)
    columns = {name: np.full(count, 100.0) for name in FLOATS} | {"volume": np.array(volumes, np.float64)}
    return {"time": OPENS + MINUTE * (first + np.arange(count)), "trades": np.ones(count, np.int64), **columns}


def strand(capacity: int = 100) -> CandleStrand:
    host = Host(frozenset(Need), needs=lambda: None, lost=lambda gap: None, missed=lambda gap: None)
    made = CandleStrand(host, "1m", capacity, says_closed=False, stale_after=60.0)
    made.start()
    made.up(1, OPENS)
    made.answer(asked(made, OPENS), bars(-2, 2.0, 2.0, 0.5), OPENS)
    made.down("gone", OPENS + SECOND)
    return made


def asked(made: CandleStrand, now: int) -> Ask:
    (ask,) = made.asks(now)
    return ask


def test_a_bar_that_was_left_half_told_longer_ago_than_the_venue_remembers_is_a_hole_and_not_closed() -> None:
    made, now = strand(), OPENS + 12 * MINUTE
    made.up(2, now)
    made.answer(asked(made, now), bars(5, *[2.0] * 7, 1.0), now)
    assert made.complete
    frame = made.ring.snapshot({})
    minutes = ((open_times(frame) - OPENS) // MINUTE).tolist()
    assert minutes == [-2, -1, *range(5, 13)]
    assert frame["closed"].tolist() == [True] * 9 + [False]
    assert made.holes == [[iso(OPENS), iso(OPENS + 5 * MINUTE)]]


def test_who_tells_neither_the_bar_that_is_held_nor_a_later_one_is_asked_again() -> None:
    made, now = strand(), OPENS + 30 * SECOND
    made.up(2, now)
    for _ in range(LAG_TRIES):
        made.answer(asked(made, now), bars(0), now)
        assert not made.complete
        now += 10 * SECOND
    made.answer(asked(made, now), bars(0, 0.75), now)
    assert made.ring.forming is not None
    assert made.ring.forming.volume == 0.75


def test_a_dropped_bar_leaves_what_had_closed_before_it() -> None:
    made = strand()
    made.ring.drop_forming()
    assert made.ring.last_time == OPENS - MINUTE
    assert made.ring.forming is None
    made.ring.drop_forming()
    assert len(made.ring) == 2
