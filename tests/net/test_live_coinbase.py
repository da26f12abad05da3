"""Coinbase, live: a small Coinbase on loopback speaks its streams and REST, and the frames equal its market."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from kit.clock import MINUTE, SECOND
from kit.market import candles
from kit.market.feed import FeedState
from kit.market.strand import Gap
from kit.model import Channel
from kit.net.live import Live
from kit.net.loop import Loop
from kit.venues.coinbase import COINBASE
from tests.net.loopback import START, Desk, agrees, equal, trading
from tests.net.tiny_coinbase import TinyCoinbase

Eventually = Callable[[Callable[[], object]], None]
BTC, ETH = "BTC-USD", "ETH-USD"
TOLD = ["open", "high", "low", "close", "volume"]


@pytest.fixture
def desk(loop: Loop) -> Iterator[Desk]:
    """A desk at a small Coinbase where either instrument has traded for some minutes; in every third nobody did."""
    tiny = TinyCoinbase()
    for minute in range(8):
        for native in (BTC, ETH) if minute % 3 else ():
            for step in range(3):
                tiny.trade(native, f"{100 + minute}.{step}0", "0.1234", side="sell" if step else "buy")
        tiny.roll()
    tiny.trade(BTC, "110.00", "0.5")
    tiny.trade(ETH, "110.00", "0.5")
    with trading(tiny, COINBASE, loop) as made:
        yield made


@pytest.fixture
def tiny(desk: Desk) -> TinyCoinbase:
    assert isinstance(desk.tiny, TinyCoinbase)
    return desk.tiny


@pytest.fixture
def live(desk: Desk, tiny: TinyCoinbase, eventually: Eventually) -> Live:
    live = desk.open(BTC)
    assert live.ready(10), live.reason
    eventually(lambda: whole(live, tiny))
    return live


def whole(live: Live, tiny: TinyCoinbase) -> bool:
    """The frames are the market's, and known to be."""
    market = tiny.markets[live.instrument.native]
    return live.state is FeedState.LIVE and agrees(lambda: equal(live, market, market.bars(), TOLD))


def lost(live: Live) -> list[Gap]:
    """The gaps in what REST can give back."""
    return [gap for gap in live.gaps if gap.channel in (Channel.TRADE, Channel.CANDLE)]


def test_history_and_stream_are_one_picture(live: Live, tiny: TinyCoinbase, eventually: Eventually) -> None:
    tiny.trade(BTC, "105.10", "0.3")
    tiny.level(BTC, "bids", "99.50", "3.0")
    tiny.level(BTC, "asks", "101.00", "0")
    tiny.trade(BTC, "104.10", "0.1", side="sell")
    eventually(lambda: whole(live, tiny))
    market = tiny.markets[BTC]
    equal(live, market, market.bars(), TOLD)
    assert live.frame["trades"].iloc[-1] == 3
    assert live.gaps == []
    assert live.last_error is None


def test_bars_in_which_nobody_traded_are_holes_and_not_made_up(live: Live) -> None:
    minutes = (candles.open_times(live.frame) - START) // MINUTE
    assert minutes.tolist() == [1, 2, 4, 5, 7, 8]
    assert [hole[0][14:16] for hole in live.frame.attrs["holes"]] == [
        candles.iso(START + n * MINUTE)[14:16] for n in (3, 6)
    ]


def test_a_bar_is_folded_from_trades_and_closed_with_what_rest_says_of_it(
    live: Live, tiny: TinyCoinbase, eventually: Eventually
) -> None:
    tiny.trade(BTC, "111.00", "0.7")
    eventually(lambda: live.frame["volume"].iloc[-1] == 1.2)
    assert live.frame["source"].iloc[-1] == "ws"
    tiny.corrected[START + 8 * MINUTE] = "1.25"  # what the streams did not tell
    tiny.roll()
    tiny.trade(BTC, "112.00", "0.3")
    eventually(lambda: len(live.frame) == 7 and live.state is FeedState.LIVE)
    closed, forming = live.frame.iloc[-2], live.frame.iloc[-1]
    assert (closed["volume"], closed["close"], closed["closed"]) == (1.25, 111.0, True)
    assert (forming["volume"], forming["close"], forming["closed"]) == (0.3, 112.0, False)


def test_an_outage_is_read_back_to_where_it_began(
    desk: Desk, live: Live, tiny: TinyCoinbase, eventually: Eventually
) -> None:
    asked = len(tiny.asked)
    tiny.drop()
    for minute in range(6):
        for step in range(60):
            tiny.trade(BTC, f"{110 + minute}.{step:02}", "0.01", after=SECOND // 4)
        tiny.roll()
    desk.rest.sync()  # some minutes have passed in no time
    tiny.level(BTC, "bids", "99.75", "2.0")
    eventually(lambda: whole(live, tiny))
    assert len([name for name, given in tiny.asked[asked:] if name == "ticker" and "start" in given]) >= 4
    assert lost(live) == []
    assert live.trades["id"].is_monotonic_increasing


def test_a_frame_that_is_missing_costs_the_connection(
    desk: Desk, live: Live, tiny: TinyCoinbase, eventually: Eventually
) -> None:
    other = desk.open(ETH)
    eventually(lambda: whole(other, tiny))
    tiny.lose = 1
    tiny.level(BTC, "bids", "99.50", "3.0")
    tiny.level(ETH, "bids", "99.50", "3.0")
    eventually(lambda: tiny.connections == 2)
    eventually(lambda: whole(live, tiny) and whole(other, tiny))
    assert "did not come" in str(live.last_error)
    assert desk.streams.supervisor.sequence_gaps == 1
    assert {gap.channel for gap in live.gaps} == {Channel.BOOK, Channel.QUOTE}


def test_a_subscription_that_is_refused_is_told_in_words(
    desk: Desk, tiny: TinyCoinbase, eventually: Eventually
) -> None:
    tiny.refuses = "failure to subscribe"
    live = desk.open(BTC)
    eventually(lambda: live.last_error is not None)
    assert "the venue refused a subscription: failure to subscribe" in str(live.last_error)
    assert live.state is not FeedState.LIVE
