"""One side of a book against a plain dict: whatever is changed, the best levels are the dict's best, in order."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.market import ladder as module
from kit.market.ladder import Ladder
from kit.model import Level, Levels, Side, Written

PRICES = st.integers(1, 60).map(lambda tick: tick / 4)
"""From 0.25 to 15.0: as text, 10.0 comes before 9.75."""
MESSAGES = st.lists(st.lists(st.tuples(PRICES, st.integers(0, 3).map(float)), max_size=8), max_size=30)
SIDES = st.sampled_from(Side)


class Naive:
    """A dict that is sorted at every look."""

    def __init__(self, side: Side, depth: int | None) -> None:
        self.side, self.depth = side, depth
        self.levels: dict[float, float] = {}

    def apply(self, levels: Iterable[Level]) -> None:
        self.levels |= dict(levels)
        self.levels = {price: qty for price, qty in self.levels.items() if qty}
        if self.depth:
            self.levels = dict(self.top(self.depth))

    def top(self, n: int) -> Levels:
        return sorted(self.levels.items(), reverse=self.side is Side.BUY)[:n]


def check(ladder: Ladder, naive: Naive) -> None:
    whole = naive.top(len(naive.levels))
    for n in (0, 1, 2, 5, 100, 10_000):
        assert ladder.top(n) == whole[:n]
    assert len(ladder.levels) == len(whole)
    assert len(ladder.near) <= (naive.depth or module.MOST)
    if whole:
        assert ladder.near[-1 if naive.side is Side.BUY else 0] == whole[0][0]
    else:
        assert not ladder.near


@given(SIDES, st.one_of(st.none(), st.integers(1, 6)), st.lists(st.tuples(PRICES, st.just(1.0))), MESSAGES)
def test_after_any_messages_a_side_is_what_a_plain_dict_holds(
    side: Side, depth: int | None, opening: Levels, messages: list[Levels]
) -> None:
    """With so few prices kept in order, every way to sort, cut and run out of them is taken."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("LEAST", 2), ("KEPT", 4), ("MOST", 7)):
            patch.setattr(module, name, value)
        ladder, naive = Ladder(side, depth), Naive(side, depth)
        ladder.load(opening)
        naive.apply(opening)
        check(ladder, naive)
        for levels in messages:
            ladder.apply(levels)
            naive.apply(levels)
            check(ladder, naive)


@pytest.mark.parametrize("side", Side)
def test_a_side_of_thousands_of_levels_follows_a_market_that_wanders(side: Side) -> None:
    draw = random.Random(5)  # noqa: S311 - a made-up market, not a secret
    ladder, naive, mid = Ladder(side), Naive(side, None), 10_000
    opening = [(float(mid - side.sign * step), 1.0) for step in range(1, 2_000)]
    ladder.load(opening)
    naive.apply(opening)
    for _ in range(200):
        mid += draw.randint(-40, 40)
        gone = [(price, 0.0) for price, _ in naive.top(200) if side.sign * (price - mid) >= 0]
        come = {float(mid - side.sign * round(draw.expovariate(0.01) + 1)): draw.random() for _ in range(20)}
        ladder.apply([*gone, *come.items()])
        naive.apply([*gone, *come.items()])
        check(ladder, naive)


@pytest.mark.parametrize("side", Side)
def test_any_level_may_go_come_back_and_go_again(side: Side) -> None:
    """The last of the prices kept in order too."""
    ladder, naive = Ladder(side), Naive(side, None)
    opening = [(float(price), 1.0) for price in range(1, 2 * module.MOST)]
    ladder.load(opening)
    naive.apply(opening)
    for price, qty in opening:
        for change in (0.0, 2.0, 0.0, qty):
            ladder.apply([(price, change)])
            naive.apply([(price, change)])
        check(ladder, naive)


def test_the_levels_handed_out_are_the_ones_that_came_in() -> None:
    ladder, first, second = Ladder(Side.SELL), Written.read("9.50", "1.0"), Written.read("9.50", "2.00")
    ladder.load([first])
    assert ladder.top(1)[0] is first
    ladder.apply([second])
    assert ladder.top(1)[0] is second


@pytest.mark.parametrize(("side", "left"), [(Side.BUY, [10.0, 9.75]), (Side.SELL, [9.0, 9.75])])
def test_a_cut_side_loses_its_worst_price_by_value_not_by_text(side: Side, left: list[float]) -> None:
    ladder = Ladder(side, depth=2)
    ladder.load([(price, 1.0) for price in (9.0, 10.0)])
    ladder.apply([(9.75, 1.0)])
    assert [price for price, _ in ladder.top(9)] == left


def test_a_cut_side_is_cut_after_the_whole_message_not_within_it() -> None:
    ladder = Ladder(Side.BUY, depth=2)
    ladder.load([(10.0, 1.0), (9.0, 1.0)])
    ladder.apply([(11.0, 1.0), (10.0, 0.0)])
    assert ladder.top(9) == [(11.0, 1.0), (9.0, 1.0)]
