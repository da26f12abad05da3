from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from kit.model import Instrument, Levels, Side
from kit.orders.depth import Level, Liquidity, Volume

D = Decimal


@dataclass
class Picture:
    """A book that counts what it is asked for."""

    bid_levels: Levels = field(default_factory=list)
    ask_levels: Levels = field(default_factory=list)
    asked: int = 0

    def bids(self, n: int) -> Levels:
        self.asked = max(self.asked, n)
        return self.bid_levels[:n]

    def asks(self, n: int) -> Levels:
        self.asked = max(self.asked, n)
        return self.ask_levels[:n]


def asks(*levels: tuple[float, float]) -> Picture:
    return Picture(ask_levels=list(levels))


@pytest.fixture
def offered(btc: Instrument) -> Liquidity:
    """What buyers meet."""
    return Liquidity(btc, Side.BUY)


def prices_and_quantities(liquidity: Liquidity, picture: Picture) -> list[tuple[Decimal, Decimal]]:
    return [(level.price, level.qty) for level in liquidity.walk(picture)]


def test_a_walk_is_what_is_displayed_in_exact_money(offered: Liquidity) -> None:
    """Prices to the nearest tick, quantities down to the lot; what is less than a lot is nothing."""
    shown = asks((100.00999999, 1.2345), (100.02, 0.0009), (100.03, 2.0))
    assert prices_and_quantities(offered, shown) == [(D("100.01"), D("1.234")), (D("100.03"), D("2"))]


def test_sellers_meet_the_bids(btc: Instrument) -> None:
    picture = Picture(bid_levels=[(99.0, 1.0), (98.0, 2.0)], ask_levels=[(100.0, 5.0)])
    assert [level.price for level in Liquidity(btc, Side.SELL).walk(picture)] == [D(99), D(98)]


def test_a_deep_book_is_read_only_as_deep_as_it_is_walked(offered: Liquidity) -> None:
    deep = asks(*((100.0 + i, 1.0) for i in range(5000)))
    walk = offered.walk(deep)
    next(walk)
    assert deep.asked <= 8
    for _ in range(20):
        next(walk)
    assert deep.asked <= 32
    assert len(list(offered.walk(deep))) == 5000


def take(liquidity: Liquidity, picture: Picture, qty: str) -> None:
    level = next(iter(liquidity.walk(picture)))
    liquidity.take(level._replace(qty=D(qty)))


def left(liquidity: Liquidity, picture: Picture) -> list[tuple[float, Decimal]]:
    liquidity.see(picture)
    return [(level.key, level.qty) for level in liquidity.walk(picture)]


def test_what_was_taken_is_not_offered_again_while_the_level_shows_it(offered: Liquidity) -> None:
    picture = asks((100.0, 1.0), (101.0, 1.0))
    take(offered, picture, "0.6")
    assert left(offered, picture) == [(100.0, D("0.4")), (101.0, D(1))]
    take(offered, picture, "0.4")
    assert left(offered, asks((100.0, 1.0), (101.0, 1.0))) == [(101.0, D(1))]


def test_what_is_added_to_a_level_is_fresh(offered: Liquidity) -> None:
    """The level twitches by a hair twenty times a second: that is not another 1.0 to buy each time."""
    take(offered, asks((100.0, 1.0)), "1")
    assert left(offered, asks((100.0, 1.01))) == [(100.0, D("0.01"))]
    assert left(offered, asks((100.0, 1.5))) == [(100.0, D("0.5"))]


def test_what_leaves_a_level_was_what_we_had_left_there(offered: Liquidity) -> None:
    """2.0 shown, 1.0 ours; somebody takes 1.0 of it: in a world where we traded, nothing is left."""
    take(offered, asks((100.0, 2.0)), "1")
    assert left(offered, asks((100.0, 1.0))) == []
    assert left(offered, asks((100.0, 0.25))) == []
    assert left(offered, asks((100.0, 1.25))) == [(100.0, D(1))]


def test_a_level_that_goes_takes_its_debt_with_it(offered: Liquidity) -> None:
    take(offered, asks((100.0, 1.0)), "1")
    assert left(offered, asks((101.0, 1.0))) == [(101.0, D(1))]
    assert left(offered, asks((100.0, 1.0))) == [(100.0, D(1))]


def test_a_level_that_only_left_the_view_still_owes(offered: Liquidity) -> None:
    """A picture that ends before the level says nothing about it."""
    take(offered, asks((100.0, 1.0)), "1")
    assert left(offered, asks((98.0, 1.0), (99.0, 1.0))) == [(98.0, D(1)), (99.0, D(1))]
    offered.see(asks())
    assert left(offered, asks((100.0, 1.0))) == []


def test_looking_costs_nothing_when_nothing_was_taken(offered: Liquidity) -> None:
    picture = asks((100.0, 1.0))
    offered.see(picture)
    assert picture.asked == 0
    take(offered, picture, "1")
    offered.see(asks((101.0, 1.0)))
    picture.asked = 0
    offered.see(picture)
    assert picture.asked == 0


def test_the_queue_is_what_is_displayed_at_the_price(btc: Instrument) -> None:
    """A buy queues among the bids: what sellers meet."""
    bids = Picture(bid_levels=[(99.0, 1.0), (98.5, 2.5)])
    beside = Liquidity(btc, Side.SELL)
    assert beside.queue(bids, D("98.5")) == D("2.5")
    assert beside.queue(bids, D("99.5")) == 0
    assert beside.queue(bids, D("98.8")) == 0
    assert beside.queue(bids, D("90")) is None
    assert beside.queue(Picture(), D("90")) is None


def test_a_volume_is_used_up(btc: Instrument) -> None:
    volume = Volume(D("1.5"))
    assert volume.at(D(7)) == [Level(D(7), D("1.5"))]
    volume.take(Level(D(7), D(1)))
    assert volume.left == D("0.5")
    volume.take(Level(D(7), D("0.5")))
    assert volume.at(D(7)) == []
