"""Bars that are folded from trades: never a sum that the venue's bar never was, and closed by REST's word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kit.clock import MINUTE, SECOND
from kit.market.book import BookRule
from kit.market.candles import FLOATS
from kit.market.feed import FeedState
from kit.market.folded_strand import REFRESH
from kit.market.mirror import Mirror
from kit.market.strand import LAG_TRIES, Ask, Need
from kit.market.streamed import Streamed
from kit.model import Channel, Side, Trade

OPENS = 1_700_000_000 * SECOND // MINUTE * MINUTE
NOW = OPENS + 20 * SECOND


def trade(number: int, time: int, qty: float = 1.0) -> Trade:
    return Trade("X", number, 100.0 + number, qty, time, Side.BUY)


def bars(*volumes: float, first: int = OPENS) -> dict[str, npt.NDArray[Any]]:
    """REST's bars: neither trades nor their worth are told."""
    count = len(volumes)
    columns = {name: np.full(count, 100.0) for name in FLOATS}
    columns |= {"volume": np.array(volumes, np.float64), "quote_volume": np.full(count, np.nan)}
    return {"time": first + MINUTE * np.arange(count), "trades": np.zeros(count, np.int64), **columns}


class Desk:
    """A mirror, and what it has asked REST and has not been told yet."""

    def __init__(self, held: Sequence[Trade], told: dict[str, npt.NDArray[Any]], trade_rows: int = 100) -> None:
        streamed = Streamed(book=BookRule.CONNECTION, bars=False, quotes=False, says_closed=False)
        self.mirror = Mirror("X", "1m", streamed, trade_rows=trade_rows)
        self.now = NOW
        self.asked: dict[Need, Ask] = {}
        self.mirror.start()
        self.mirror.up(Channel.TRADE, 1, NOW)
        self.answer(Need.TRADES, list(held))
        self.answer(Need.CANDLES, told)

    def connect_again(self) -> None:
        self.mirror.down(Channel.TRADE, "gone", self.now)
        self.now += SECOND
        self.mirror.up(Channel.TRADE, 2, self.now)

    def take(self, made: Trade, after: int = 0) -> None:
        self.now += after
        self.mirror.take(made, self.now)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.now += SECOND // 4
            self.mirror.tick(self.now)
            self._look()

    def _look(self) -> None:
        self.asked |= {ask.need: ask for ask in self.mirror.asks(self.now)}

    def answer(self, need: Need, value: Any) -> None:
        self._look()
        self.mirror.answer(self.asked.pop(need), value, self.now)

    @property
    def forming(self) -> tuple[int, float, int]:
        """Minutes since OPENS, volume and trades of the newest bar."""
        bar = self.mirror.candles.forming
        assert bar is not None
        return (bar.time - OPENS) // MINUTE, bar.volume, bar.trades


BEFORE, SINCE = trade(7, OPENS - SECOND), [trade(number, OPENS + number * SECOND) for number in (8, 9)]


def test_a_bar_is_the_fold_of_its_trades_where_they_are_all_held() -> None:
    desk = Desk([BEFORE, *SINCE], bars(2.0))
    assert desk.forming == (0, 2.0, 2)
    desk.take(trade(10, NOW))
    assert desk.forming == (0, 3.0, 3)
    assert desk.mirror.candle.feed.state is FeedState.LIVE


def test_nothing_is_added_to_a_bar_that_rest_told_of_which_trades_it_holds_is_not_known() -> None:
    desk = Desk(SINCE, bars(5.0))
    desk.take(trade(10, NOW))
    assert desk.forming == (0, 5.0, 0)
    desk.wait(REFRESH / SECOND + 1)
    assert desk.asked[Need.CANDLES].start == OPENS
    desk.answer(Need.CANDLES, bars(6.0))
    assert desk.forming == (0, 6.0, 0)
    assert desk.mirror.candle.feed.state is FeedState.LIVE


def test_such_a_bar_is_asked_for_until_no_trade_has_come_lately() -> None:
    desk = Desk(SINCE, bars(5.0))
    desk.take(trade(10, NOW))
    answers = 0
    for _ in range(8):
        desk.wait(REFRESH / SECOND)
        if Need.CANDLES in desk.asked:
            answers += 1
            desk.answer(Need.CANDLES, bars(6.0))
    assert answers == 1


def test_what_rest_brought_is_in_the_bar_too() -> None:
    desk = Desk([BEFORE, *SINCE], bars(2.0))
    desk.take(trade(11, NOW))
    assert desk.forming == (0, 2.0, 2)
    desk.answer(Need.TRADES, [trade(10, NOW)])
    assert desk.forming == (0, 4.0, 4)


def test_a_bar_is_closed_by_rests_word_when_the_next_has_begun() -> None:
    desk = Desk([BEFORE, *SINCE], bars(2.0))
    desk.take(trade(10, OPENS + MINUTE), after=MINUTE)
    assert desk.forming == (0, 2.0, 2)
    desk.answer(Need.CANDLES, bars(2.5, 1.0))
    assert desk.forming == (1, 1.0, 1)
    assert desk.mirror.candles.snapshot({})["volume"].tolist() == [2.5, 1.0]


def test_rest_that_never_tells_of_the_bar_is_not_waited_for_for_ever() -> None:
    desk = Desk(SINCE, bars(5.0))
    desk.take(trade(10, OPENS + MINUTE), after=MINUTE)
    for tries in range(LAG_TRIES + 1):
        assert desk.forming[0] == 0, f"closed after {tries} answers"
        desk.wait(0 if tries == 0 else 5)
        desk.answer(Need.CANDLES, bars(5.0))
    assert desk.forming == (1, 1.0, 1)
    desk.take(trade(11, OPENS + MINUTE + 1))
    assert desk.forming == (1, 2.0, 2)


def test_after_a_reconnect_the_fold_goes_on_with_what_was_missed() -> None:
    desk = Desk([BEFORE, *SINCE], bars(2.0))
    desk.connect_again()
    desk.answer(Need.CANDLES, bars(4.0))
    desk.answer(Need.TRADES, [*SINCE, trade(10, NOW), trade(11, NOW)])
    assert desk.forming == (0, 4.0, 4)


def test_a_bar_with_more_trades_than_are_kept_is_not_put_together_over_the_hole() -> None:
    desk = Desk([BEFORE, *SINCE], bars(2.0), trade_rows=5)
    desk.connect_again()
    desk.answer(Need.CANDLES, bars(40.0))
    missed = [trade(number, NOW) for number in range(43, 48)]
    desk.answer(Need.TRADES, missed[1:])
    desk.answer(Need.TRADES, missed)
    assert desk.forming == (0, 40.0, 0)


def test_a_market_at_rest_is_asked_for_its_next_bar_in_pauses_that_double() -> None:
    desk = Desk([BEFORE, *SINCE], bars(2.0))
    asked = []
    for _ in range(4 * 160):
        desk.wait(0.25)
        if Need.CANDLES in desk.asked:
            asked.append(round((desk.now - OPENS - MINUTE) / SECOND))
            desk.answer(Need.CANDLES, bars(2.0))
    assert asked == [5, 15, 35, 75]
