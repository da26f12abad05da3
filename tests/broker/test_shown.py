"""The worse of book and quote: never better than either showed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kit.broker.shown import Worse
from kit.model import Levels, Quote


class Book:
    def __init__(self, bids: Levels, asks: Levels) -> None:
        self._bids, self._asks = bids, asks

    def bids(self, n: int) -> Levels:
        return self._bids[:n]

    def asks(self, n: int) -> Levels:
        return self._asks[:n]


BOOK = Book([(99.0, 1.0), (98.0, 2.0), (97.0, 3.0)], [(101.0, 1.0), (102.0, 2.0), (103.0, 3.0)])


def quote(bid: float, ask: float, qty: float = 9.0) -> Quote:
    return Quote("BTCUSDT", bid, qty, ask, qty)


def test_levels_that_the_quote_has_passed_are_gone() -> None:
    seen = Worse(BOOK, quote(98.0, 102.0))
    assert seen.asks(1) == [(102.0, 2.0)]
    assert seen.asks(5) == [(102.0, 2.0), (103.0, 3.0)]
    assert seen.bids(2) == [(98.0, 2.0), (97.0, 3.0)]


def test_a_quote_better_than_the_book_promises_nothing() -> None:
    seen = Worse(BOOK, quote(100.0, 100.5))
    assert (seen.bids(3), seen.asks(3)) == (BOOK.bids(3), BOOK.asks(3))


def test_at_the_best_price_the_smaller_quantity_counts() -> None:
    assert Worse(BOOK, quote(99.0, 101.0, qty=0.25)).asks(2) == [(101.0, 0.25), (102.0, 2.0)]


PRICES = st.lists(st.integers(1, 60), min_size=0, max_size=40, unique=True)


@given(PRICES, st.integers(1, 60), st.integers(1, 50))
def test_what_is_asked_for_is_given_however_much_is_gone(prices: list[int], best: int, n: int) -> None:
    asks = [(float(price), 1.0) for price in sorted(prices)]
    bids = [(float(price), 1.0) for price in sorted(prices, reverse=True)]
    seen = Worse(Book(bids, asks), quote(best, best))
    assert seen.asks(n) == [level for level in asks if level[0] >= best][:n]
    assert seen.bids(n) == [level for level in bids if level[0] <= best][:n]
