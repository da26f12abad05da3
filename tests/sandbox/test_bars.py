"""Prints and their bars, in whole steps."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.clock import DAY, MINUTE, SECOND
from kit.market.candles import bar_count, floor_time, next_time
from kit.model import Side
from kit.sandbox.bars import NO_PRINTS, Bars, Prints, Scale, bars_end, bars_of, fold, joined, open_times

START = 1_790_000_040 * SECOND  # a full minute
SCALE = Scale(Decimal("0.01"), Decimal("0.00001"))


@st.composite
def printed(draw: st.DrawFn) -> Prints:
    """Up to 40 prints within ten minutes."""
    rows = draw(
        st.lists(st.tuples(st.integers(0, 599), st.integers(1, 9), st.integers(1, 9), st.booleans()), max_size=40)
    )
    rows.sort(key=lambda row: row[0])
    time, price, lots, bought = np.array(rows, np.int64).reshape(-1, 4).T
    return Prints(100, START + time * SECOND, price, lots, bought == 1)


def rows(bars: Bars) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for column in bars), strict=True))


@given(printed())
def test_bars_say_what_their_prints_say(prints: Prints) -> None:
    opens = START + np.arange(10) * MINUTE
    before = 5
    for opened, bar in zip(opens, rows(bars_of(prints, opens, before)), strict=True):
        inside = np.flatnonzero((prints.time >= opened) & (prints.time < opened + MINUTE))
        price, lots, bought = prints.price[inside], prints.lots[inside], prints.bought[inside]
        four = (price[0], price.max(), price.min(), price[-1]) if len(inside) else (before,) * 4
        first_id = prints.first_id + np.searchsorted(prints.time, opened)
        sums = (lots.sum(), (price * lots).sum(), len(inside), lots[bought].sum(), (price * lots)[bought].sum())
        assert bar == (opened, *four, *sums, first_id)
        before = four[-1]


@given(printed(), st.sampled_from([2, 5, 10]))
def test_folded_minutes_are_longer_bars_when_each_begins_with_a_print(prints: Prints, length: int) -> None:
    minutes = START + np.arange(10) * MINUTE
    full = Prints(
        prints.first_id,
        np.sort(np.concatenate((minutes, prints.time))),
        np.resize(prints.price, len(prints.time) + 10) if len(prints.price) else np.full(10, 5),
        np.arange(len(prints.time) + 10),
        np.zeros(len(prints.time) + 10, bool),
    )
    opens = minutes[::length]
    assert rows(fold(bars_of(full, minutes, 1), opens)) == rows(bars_of(full, opens, 1))


def test_bars_are_joined_end_to_end() -> None:
    opens = START + np.arange(4) * MINUTE
    bars = bars_of(NO_PRINTS, opens, 3)
    assert rows(joined([bars.part(0, 1), bars.part(1, 4)])) == rows(bars)


def test_steps_become_the_numbers_a_venue_writes() -> None:
    steps = np.array([6183763, 1, 10**9])
    assert SCALE.prices(steps).tolist() == [61837.63, 0.01, 10_000_000.0]
    assert SCALE.amounts(steps).tolist() == [61.83763, 0.00001, 10_000.0]
    assert Scale(Decimal("0.25"), Decimal(5)).prices(np.array([3])).tolist() == [0.75]
    assert Scale(Decimal("0.25"), Decimal(5)).amounts(np.array([3])).tolist() == [15.0]


def test_a_bar_without_prints_names_no_trades() -> None:
    columns = SCALE.columns(bars_of(NO_PRINTS, np.array([START]), 250))
    assert all(columns[name].tolist() == [2.5] for name in ("open", "high", "low", "close"))
    assert all(columns[name].tolist() == [0.0] for name in ("volume", "quote_volume", "taker_base", "taker_quote"))
    assert [columns[name].tolist() for name in ("time", "trades", "first_id", "last_id")] == [[START], [0], [-1], [-1]]


def test_prints_become_trades() -> None:
    prints = Prints(9, np.array([START, START]), np.array([100, 101]), np.array([7, 8]), np.array([True, False]))
    told = [(t.symbol, t.id, t.price, t.qty, t.time, t.side) for t in SCALE.trades("X", prints)]
    assert told == [("X", 9, 1.0, 0.00007, START, Side.BUY), ("X", 10, 1.01, 0.00008, START, Side.SELL)]


@pytest.mark.parametrize("interval", ["1s", "3m", "1d", "3d", "1w", "1M"])
@given(data=st.data())
def test_bars_asked_for_are_those_between_start_and_end(interval: str, data: st.DataObject) -> None:
    begins = START - 400 * DAY
    moment = st.integers(begins - DAY, START + DAY)
    now, limit = data.draw(moment), data.draw(st.integers(1, 5))
    start, end = data.draw(st.none() | moment), data.draw(st.none() | moment)
    opens = open_times(interval, begins=begins, now=now, start=start, end=end, limit=limit).tolist()
    lowest = max(floor_time(begins, interval), -(2**62) if start is None else start)
    highest = min(now, now if end is None else end)
    assert all(lowest <= opened <= highest and floor_time(opened, interval) == opened for opened in opens)
    possible = bar_count(lowest, highest + 1, interval) if now >= begins else 0
    assert len(opens) == min(limit, possible)
    if opens:
        assert opens == sorted(set(opens))
        if start is None:
            assert next_time(opens[-1], interval) > highest
        else:
            assert opens[0] == next_time(lowest - 1, interval)
        assert bars_end(np.array(opens), interval, now) == min(next_time(opens[-1], interval), now + 1)
