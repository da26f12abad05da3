"""Kraken, live: a small Kraken on loopback speaks WebSocket v2 and REST, and the frames equal its market."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from kit.errors import BookUnsynced
from kit.market.feed import FeedState
from kit.model import Channel
from kit.net.live import Live
from kit.net.loop import Loop
from kit.venues.base import Budget
from kit.venues.kraken import Kraken
from tests.net.loopback import Desk, agrees, equal, trading
from tests.net.tiny_kraken import TinyKraken

Eventually = Callable[[Callable[[], object]], None]
BTC, ETH = "BTC/USD", "ETH/USD"


class Unpaced(Kraken):
    """Tests need not wait for what the real one allows."""

    def budgets(self) -> Sequence[Budget]:
        return ()


@pytest.fixture
def desk(loop: Loop) -> Iterator[Desk]:
    """A desk at a small Kraken where either instrument has traded for some minutes."""
    tiny = TinyKraken()
    for minute in range(5):
        for native in (BTC, ETH):
            for step in range(3):
                tiny.trade(native, f"{100 + minute}.{step}0", "0.12340000", side="sell" if step else "buy")
        tiny.roll()
    with trading(tiny, Unpaced(), loop) as made:
        yield made


@pytest.fixture
def tiny(desk: Desk) -> TinyKraken:
    assert isinstance(desk.tiny, TinyKraken)
    return desk.tiny


@pytest.fixture
def live(desk: Desk, tiny: TinyKraken, eventually: Eventually) -> Live:
    live = desk.open(BTC)
    assert live.ready(10), live.reason
    eventually(lambda: whole(live, tiny))
    return live


def whole(live: Live, tiny: TinyKraken) -> bool:
    """The frames are the market's, and known to be."""
    native = live.instrument.native
    return live.state is FeedState.LIVE and agrees(lambda: equal(live, tiny.markets[native], tiny.bars(native)))


def test_history_and_stream_are_one_picture(live: Live, tiny: TinyKraken, eventually: Eventually) -> None:
    tiny.trade(BTC, "105.10", "0.50000000")
    tiny.level(BTC, "bids", "99.50", "3.00000000")
    tiny.level(BTC, "asks", "101.00", "0")
    tiny.roll()
    tiny.trade(BTC, "106.10", "0.25000000", side="sell")
    eventually(lambda: whole(live, tiny))
    equal(live, tiny.markets[BTC], tiny.bars(BTC))
    assert live.gaps == []
    assert live.last_error is None


def test_an_outage_is_read_whole_however_long(desk: Desk, live: Live, tiny: TinyKraken, eventually: Eventually) -> None:
    tiny.drop()
    for minute in range(30):
        for step in range(45):
            tiny.trade(BTC, f"{110 + minute}.{step:02}", side="sell" if step % 2 else "buy")
        tiny.roll()
    desk.rest.sync()  # half an hour has passed in no time
    tiny.level(BTC, "bids", "99.75", "2.00000000")
    eventually(lambda: whole(live, tiny))
    assert set(live.trades["source"][15:]) <= {"backfill", "ws"}
    assert [gap.channel for gap in live.gaps if gap.channel in (Channel.TRADE, Channel.CANDLE)] == []
    assert tiny.connections == 2


def test_what_kraken_has_forgotten_is_a_hole(desk: Desk, live: Live, tiny: TinyKraken, eventually: Eventually) -> None:
    tiny.drop()
    tiny.roll(1_000)
    tiny.trade(BTC, "90.00")
    desk.rest.sync()
    eventually(lambda: live.state is FeedState.LIVE and live.frame["close"].iloc[-1] == 90.0)
    frame = live.frame
    assert len(frame) == 5 + 721  # the sixth bar was half told when the socket dropped: nobody knows how it ended
    ((begin, end),) = frame.attrs["holes"]
    assert begin < end
    assert end == frame.index[5].isoformat()


def test_a_wrong_checksum_costs_that_book_alone(
    desk: Desk, live: Live, tiny: TinyKraken, eventually: Eventually
) -> None:
    other = desk.open(ETH)
    eventually(lambda: whole(other, tiny))
    asked, said = len(tiny.asked), len(tiny.said)
    tiny.lies.add(BTC)
    tiny.level(BTC, "bids", "99.50", "3.00000000")
    eventually(lambda: live.book.epoch == 2 and agrees(live.book.best))
    eventually(lambda: whole(live, tiny))
    words = [(each["method"], each["params"]["channel"], each["params"]["symbol"]) for each in tiny.said[said:]]
    assert words == [("unsubscribe", "book", [BTC]), ("subscribe", "book", [BTC])]
    assert "book" not in {name.lower() for name, _ in tiny.asked[asked:]}
    assert {gap.channel for gap in live.gaps} <= {Channel.BOOK, Channel.QUOTE}
    assert any("checksum" in gap.reason for gap in live.gaps)
    assert (other.state, other.gaps, other.book.epoch) == (FeedState.LIVE, [], 1)
    assert tiny.connections == 1


def test_a_subscription_that_is_refused_is_told_in_words(desk: Desk, tiny: TinyKraken, eventually: Eventually) -> None:
    tiny.withdrawn.add(ETH)
    live = desk.open(ETH)
    eventually(lambda: live.last_error is not None)
    assert "refused" in str(live.last_error)
    assert "Currency pair not supported ETH/USD" in str(live.last_error)
    assert live.state is not FeedState.LIVE
    with pytest.raises(BookUnsynced):
        live.book.best()
