"""Pages of what is still going on: what one answer told of the bar that was forming, the next one tells again."""

from __future__ import annotations

import numpy as np
import pytest

from kit.clock import MINUTE, SECOND
from kit.market.candles import FLOATS, join
from kit.net.paging import Bars, Page, onwards, onwards_by_calendar

SIZE = 10
FIRST = 1_700_000_000 * SECOND // MINUTE * MINUTE


class Market:
    """Bars of a minute, of which the last one forms; with every question it goes on by ``pace`` minutes."""

    def __init__(self, minutes: float, pace: float = 0.0, silent: frozenset[int] = frozenset()) -> None:
        self.minutes, self.pace, self.silent = minutes, pace, silent
        self.asked = 0

    def ask(self, start: int | None, end: int | None, limit: int) -> Page:
        self.asked += 1
        whole, part = divmod(self.minutes, 1.0)
        self.minutes += self.pace
        numbers = [n for n in range(int(whole) + 1) if n not in self.silent]
        rows = [n for n in numbers if FIRST + n * MINUTE >= (start or 0) and (end is None or FIRST + n * MINUTE < end)]
        volume = np.array([1.0 if n < whole else part for n in rows[:limit]])
        columns = dict.fromkeys(FLOATS, volume)
        return {"time": np.array([FIRST + n * MINUTE for n in rows[:limit]], np.int64), **columns}


@pytest.mark.parametrize("minutes", [0.5, 8.5, 9.5, 10.5, 18.5, 19.5, 45.5])
def test_a_bar_that_was_forming_when_a_page_ended_is_told_again_by_the_next(minutes: float) -> None:
    market = Market(minutes, pace=0.7)
    page = join(list(onwards(Bars(market.ask, "1m", SIZE), FIRST)))
    assert (np.diff(page["time"]) == MINUTE).all()
    assert (page["volume"][:-1] == 1.0).all()


@pytest.mark.parametrize("minutes", [0.5, 8.5, 9.5, 10.5, 45.5])
def test_the_same_where_an_answer_is_about_so_many_minutes(minutes: float) -> None:
    market = Market(minutes, pace=0.7, silent=frozenset({3, 9, 20, 21, 22}))
    end = FIRST + round((minutes + 1) * MINUTE)
    page = join(list(onwards_by_calendar(Bars(market.ask, "1m", SIZE), FIRST, end)))
    told = ((page["time"] - FIRST) // MINUTE).tolist()
    assert told == [n for n in range(told[-1] + 1) if n not in market.silent]
    assert told[-1] >= int(minutes)
    assert (page["volume"][:-1] == 1.0).all()


def test_it_ends_at_a_venue_that_repeats_itself() -> None:
    market = Market(30.5)
    pages = onwards(Bars(lambda start, end, limit: market.ask(FIRST, end, limit), "1m", SIZE), FIRST)
    assert len(list(pages)) < 5
