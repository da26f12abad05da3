"""The mirror against a venue, a lossy connection and a slow, lagging REST, all made of plain Python and a seed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kit.clock import MINUTE, SECOND
from kit.errors import BookUnsynced
from kit.market import trade_strand
from kit.market.book import BookRule
from kit.market.candles import FLOATS, no_columns, open_times
from kit.market.feed import Feed, FeedEvent, FeedState
from kit.market.mirror import Mirror
from kit.market.strand import PAGE, Ask, Need
from kit.market.streamed import Streamed
from kit.model import BookDelta, BookSnapshot, Candle, Channel, Quote, Side, Trade
from kit.venues.binance import BINANCE

MarketEvent = Candle | Trade | Quote | BookDelta
START = 1_700_000_000 * SECOND // MINUTE * MINUTE
ATTRS: dict[str, Any] = {}


class Venue:
    """A market that keeps everything it ever said. ``happens`` returns what its streams say about it."""

    def __init__(self, history: int = 5) -> None:
        self.page = PAGE
        self.trades: list[Trade] = []
        self.bars: list[Candle] = []
        self.levels: dict[int, dict[float, float]] = {1: {99.0: 1.0, 98.0: 1.0}, -1: {101.0: 1.0, 102.0: 1.0}}
        self.update = 100
        for minute in range(history):
            self.trade(START + (minute - history) * MINUTE, 100.0)

    def trade(self, now: int, price: float) -> list[MarketEvent]:
        said = self.roll(now)
        self.trades.append(Trade("X", len(self.trades) + 1, price, 1.0, now, Side.BUY))
        bar = self.bars[-1]
        prices = (bar.open, max(bar.high, price), min(bar.low, price), price) if bar.trades else (price,) * 4
        self.bars[-1] = Candle("X", "1m", bar.time, *prices, bar.volume + 1, bar.volume + price, bar.trades + 1, False)
        return [*said, self.trades[-1], self.bars[-1]]

    def roll(self, now: int) -> list[MarketEvent]:
        """Close the bars that end by ``now``; a bar without trades is flat, as Binance's are."""
        said: list[MarketEvent] = []
        while not self.bars or self.bars[-1].time + MINUTE <= now:
            opens = now // MINUTE * MINUTE
            price = 100.0
            if self.bars:
                last = self.bars[-1]
                done = Candle("X", "1m", last.time, last.open, last.high, last.low, last.close, last.volume,
                              last.quote_volume, last.trades, True)  # fmt: skip
                self.bars[-1] = done
                said.append(done)
                opens, price = last.time + MINUTE, last.close
            self.bars.append(Candle("X", "1m", opens, price, price, price, price, 0.0, 0.0, 0, False))
            said.append(self.bars[-1])
        return said

    def level(self, sign: int, price: float, qty: float) -> list[MarketEvent]:
        side, before = self.levels[sign], self.quote()
        if qty or len(side) > 1:
            side[price] = qty
            self.levels[sign] = {p: q for p, q in side.items() if q}
        self.update += 1
        change = [(price, self.levels[sign].get(price, 0.0))]
        delta = BookDelta("X", self.update, self.update, change if sign == 1 else [], change if sign == -1 else [], 0)
        quote = self.quote()
        moved = (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty) != (
            before.bid, before.bid_qty, before.ask, before.ask_qty)  # fmt: skip
        return [delta, quote] if moved else [delta]

    def quote(self) -> Quote:
        bid, ask = max(self.levels[1]), min(self.levels[-1])
        return Quote("X", bid, self.levels[1][bid], ask, self.levels[-1][ask], self.update)

    def answer(self, ask: Ask) -> Any:
        """What REST says now."""
        match ask.need:
            case Need.CANDLES:
                bars = [bar for bar in self.bars if ask.start is None or bar.time >= ask.start][: self.page]
                kinds = {"time": "i8", "trades": "i8", **dict.fromkeys(FLOATS, "f8")}
                return {name: np.array([getattr(bar, name) for bar in bars], kind) for name, kind in kinds.items()}
            case Need.TRADES if ask.start is None:
                return self.trades[-self.page :]
            case Need.TRADES:
                return [trade for trade in self.trades if trade.id >= (ask.start or 0)][: self.page]
            case Need.BOOK | Need.TOUCH | Need.AUDIT:
                return BookSnapshot(
                    "X", self.update, sorted(self.levels[1].items(), reverse=True), sorted(self.levels[-1].items())
                )
            case Need.LAST_TRADE:
                return self.trades[-1]
            case _:
                return self.quote()


class Scene:
    """A mirror, its venue, and the clock; everything is told at once unless a test says otherwise."""

    def __init__(self, venue: Venue | None = None, **options: Any) -> None:
        self.venue, self.now, self.links = venue or Venue(), START, 0
        self.mirror = Mirror("X", "1m", **options)
        self.mirror.start()

    def after(self, seconds: float) -> Scene:
        self.now += round(seconds * SECOND)
        return self

    def up(self) -> Scene:
        self.links += 1
        for channel in Channel:
            self.mirror.up(channel, self.links, self.now)
        return self

    def down(self, reason: str) -> Scene:
        for channel in Channel:
            self.mirror.down(channel, reason, self.now)
        return self

    def tell(self, events: list[MarketEvent]) -> Scene:
        for event in events:
            self.mirror.take(event, self.now)
        return self

    def answer(self, *needs: Need) -> list[Ask]:
        """Answer what is asked (only ``needs`` when given) until nothing is; what was left unanswered."""
        left: list[Ask] = []
        while asks := self.mirror.asks(self.now):
            for ask in asks:
                if ask.need is Need.RENEWAL:
                    self.renew(ask.channel)
                elif needs and ask.need not in needs:
                    left.append(ask)
                else:
                    self.mirror.answer(ask, self.venue.answer(ask), self.now)
        return left

    def renew(self, channel: Channel) -> None:
        """The channel is subscribed to anew, at once."""
        self.mirror.down(channel, "asked for anew", self.now)
        self.mirror.up(channel, self.links, self.now)

    def prove(self) -> Scene:
        """A frame of each channel."""
        self.tell(self.venue.level(1, 99.0, 2.0)).tell(self.venue.trade(self.now, 100.5))
        return self.tell([self.venue.quote()])

    def live(self) -> Scene:
        self.up().answer()
        self.prove()
        assert self.state() is FeedState.LIVE
        return self

    def state(self) -> FeedState:
        return self.mirror.at(self.now)

    def check(self) -> None:
        """The mirror shows what the venue is."""
        bars, frame = self.venue.bars, self.mirror.candles.snapshot(ATTRS)
        assert frame["trades"].tolist() == [bar.trades for bar in bars]
        assert frame["closed"].tolist() == [bar.closed for bar in bars]
        assert frame["close"].tolist() == [bar.close for bar in bars]
        assert open_times(frame).tolist() == [bar.time for bar in bars]
        assert self.mirror.trades.snapshot(ATTRS)["id"].tolist() == [trade.id for trade in self.venue.trades]
        assert self.mirror.book.bids(99) == sorted(self.venue.levels[1].items(), reverse=True)
        assert self.mirror.book.asks(99) == sorted(self.venue.levels[-1].items())
        quote, told = self.mirror.quote, self.venue.quote()
        assert quote is not None
        assert (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty) == (told.bid, told.bid_qty, told.ask, told.ask_qty)


def sources(scene: Scene) -> list[str]:
    return list(scene.mirror.candles.snapshot(ATTRS)["source"])


# -- coming up


def test_everything_is_asked_for_once_the_subscriptions_are_confirmed() -> None:
    scene = Scene()
    assert scene.mirror.asks(scene.now) == []
    scene.up()
    assert {ask.need for ask in scene.mirror.asks(scene.now)} == {Need.CANDLES, Need.TRADES, Need.QUOTE, Need.BOOK}
    assert scene.mirror.asks(scene.now) == []


@pytest.mark.parametrize("missing", [Need.CANDLES, Need.TRADES, Need.QUOTE, Need.BOOK])
def test_it_is_not_live_while_anything_is_missing(missing: Need) -> None:
    scene = Scene().up()
    left = scene.answer(*({Need.CANDLES, Need.TRADES, Need.QUOTE, Need.BOOK} - {missing}))
    scene.tell(
        [
            event
            for event in scene.venue.level(1, 99.0, 2.0)
            if missing is not Need.QUOTE or isinstance(event, BookDelta)
        ]
    )
    scene.tell(scene.venue.trade(scene.now, 100.5))
    assert scene.state() is FeedState.SYNCING
    scene.mirror.answer(left[0], scene.venue.answer(left[0]), scene.now)
    scene.tell([scene.venue.quote()])
    assert scene.state() is FeedState.LIVE
    scene.check()


def test_answers_alone_do_not_make_it_live_a_first_frame_does() -> None:
    scene = Scene().up()
    scene.answer()
    assert scene.state() is FeedState.SYNCING
    assert scene.prove().state() is FeedState.LIVE


def test_a_quiet_market_is_proven_by_a_quote_that_equals_ours() -> None:
    scene = Scene().up()
    scene.answer()
    scene.after(5).mirror.tick(scene.now)
    assert scene.answer() == []
    assert scene.state() is FeedState.LIVE
    assert scene.mirror.age(scene.now) == 0.0


def test_history_and_stream_join_without_a_seam_or_a_duplicate() -> None:
    scene = Scene().up()
    asks = scene.mirror.asks(scene.now)
    answers = [scene.venue.answer(ask) for ask in asks]
    for second in (10, 50, 30):
        scene.after(second).tell(scene.venue.trade(scene.now, 100.0 + second))
    for ask, answer in zip(asks, answers, strict=True):
        scene.mirror.answer(ask, answer, scene.now)
    scene.check()
    assert sources(scene) == ["rest"] * 4 + ["ws"] * 3


def test_an_older_rest_answer_does_not_turn_the_forming_bar_back() -> None:
    scene = Scene().live()
    ask = Ask(Need.CANDLES, Channel.CANDLE, scene.mirror.candles.last_time, None, scene.now, 1)
    old = scene.venue.answer(ask)
    scene.tell(scene.venue.trade(scene.now, 100.7))
    scene.mirror.candles.extend(old, np.array([False]), "backfill")
    scene.check()


def test_frames_before_the_confirmation_are_left_to_rest() -> None:
    scene = Scene()
    scene.tell(scene.venue.trade(scene.now, 100.5))
    assert len(scene.mirror.trades) == 0
    scene.live().check()


# -- going down and coming back


def test_a_drop_makes_it_stale_hides_the_book_and_keeps_the_last_good_frame() -> None:
    scene = Scene().live()
    before = scene.mirror.candles.snapshot(ATTRS)
    scene.down("cut")
    assert scene.state() is FeedState.STALE
    with pytest.raises(BookUnsynced):
        scene.mirror.book.best()
    pd.testing.assert_frame_equal(scene.mirror.candles.snapshot(ATTRS), before)
    assert scene.mirror.quote is not None


def test_after_a_drop_it_is_what_it_would_have_been_without() -> None:
    scene = Scene().live()
    lost_from = scene.now
    scene.after(3).down("cut")
    for _ in range(4):
        scene.venue.trade(scene.after(40).now, 101.0)
        scene.venue.level(1, 98.5, 3.0)
    scene.up()
    assert scene.state() is FeedState.STALE
    scene.answer()
    scene.tell(scene.venue.trade(scene.after(1).now, 101.5)).tell(scene.venue.level(1, 98.5, 4.0)).tell(
        [scene.venue.quote()]
    )
    assert scene.state() is FeedState.LIVE
    scene.check()
    assert sources(scene)[-3:] == ["backfill", "backfill", "ws"]
    assert scene.mirror.trades.snapshot(ATTRS)["source"].tolist()[-5:] == ["backfill"] * 4 + ["ws"]
    assert {(gap.start, gap.end, gap.reason, gap.channel) for gap in scene.mirror.gaps} == {
        (lost_from, scene.now, "cut", channel) for channel in (Channel.QUOTE, Channel.BOOK)
    }


def test_the_bar_that_closed_during_a_drop_is_the_venues_bar() -> None:
    scene = Scene().live()
    scene.tell(scene.venue.trade(scene.now, 100.2))
    scene.down("cut")
    scene.venue.trade(scene.after(30).now, 123.0)
    scene.venue.roll(scene.after(40).now)
    scene.up().answer()
    scene.tell(scene.venue.trade(scene.now, 100.0))
    scene.check()
    assert 123.0 in set(scene.mirror.candles.snapshot(ATTRS)["high"])


def test_whoever_sees_it_live_again_sees_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers are in other threads: one may look right after the state has changed."""
    scene, advance, seen = Scene().live(), Feed.advance, []

    def watched(feed: Feed, event: FeedEvent, reason: str = "") -> FeedState:
        state = advance(feed, event, reason)
        seen.append((state, len(scene.mirror.gaps)))
        return state

    monkeypatch.setattr(Feed, "advance", watched)
    scene.down("cut")
    scene.up().answer()
    scene.tell([scene.venue.quote()])
    scene.prove()
    assert [gaps for state, gaps in seen if state is FeedState.LIVE][-1] == 2


def test_a_second_drop_during_the_recovery_loses_nothing_and_is_one_gap() -> None:
    scene = Scene().live()
    scene.down("first cut")
    scene.venue.trade(scene.after(70).now, 101.0)
    scene.up()
    late = [(ask, scene.venue.answer(ask)) for ask in scene.mirror.asks(scene.now)]
    scene.down("second cut")
    scene.venue.level(1, 98.0, 9.0)
    scene.up().mirror.asks(scene.now)
    for ask, answer in late:  # they tell of the time before the second cut
        scene.mirror.answer(ask, answer, scene.now)
    scene.tell([scene.venue.quote()])
    assert scene.state() is FeedState.STALE
    assert not scene.mirror.book.synced
    scene.down("third cut")
    scene.up()
    scene.answer()
    scene.tell(scene.venue.trade(scene.now, 101.0))
    scene.check()
    scene.prove()
    assert [gap.reason for gap in scene.mirror.gaps if gap.channel is Channel.BOOK] == ["first cut"]


def test_more_trades_than_a_page_are_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trade_strand, "PAGE", 10)
    scene = Scene().live()
    scene.venue.page = 10
    scene.down("cut")
    for _ in range(64):
        scene.venue.trade(scene.after(7).now, 101.0)
    scene.up().answer()
    scene.prove().check()
    assert scene.state() is FeedState.LIVE


def test_no_more_trades_are_read_than_the_ring_can_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trade_strand, "PAGE", 10)
    scene = Scene(trade_rows=25).live()
    scene.venue.page = 10
    scene.down("cut")
    for _ in range(500):
        scene.venue.trade(scene.now, 101.0)
    scene.up()
    asked = 0
    while asks := scene.mirror.asks(scene.now):
        asked += sum(ask.need is Need.TRADES for ask in asks)
        for ask in asks:
            scene.mirror.answer(ask, scene.venue.answer(ask), scene.now)
    assert asked <= 4
    assert scene.mirror.trades.snapshot(ATTRS)["id"].tolist() == [trade.id for trade in scene.venue.trades[-25:]]


# -- what goes missing on a connection that stands


Happening = Callable[[Venue, int], list[MarketEvent]]


@pytest.mark.parametrize(
    ("need", "happening"),
    [
        (Need.TRADES, lambda venue, now: venue.trade(now, 101.0)),
        (Need.BOOK, lambda venue, now: venue.level(1, 98.0, float(now % 7 + 1))),
        (Need.CANDLES, lambda venue, now: venue.roll(now)),
    ],
)
def test_a_hole_is_noticed_and_only_what_is_missing_is_asked_for(need: Need, happening: Happening) -> None:
    """Of three things of a kind the second is lost: the third shows it, REST fills it."""
    scene = Scene(stale_after=600).live()
    step = 60 if need is Need.CANDLES else 1
    scene.after(step).tell(happening(scene.venue, scene.now))
    happening(scene.venue, scene.after(step).now)
    scene.after(step).tell(happening(scene.venue, scene.now))
    assert scene.state() is FeedState.STALE
    asks = scene.mirror.asks(scene.now)
    assert [ask.need for ask in asks] == [need]
    scene.mirror.answer(asks[0], scene.venue.answer(asks[0]), scene.now)
    assert scene.state() is FeedState.LIVE
    scene.check()
    lost = [gap.channel for gap in scene.mirror.gaps]  # trades and bars are had from REST; quotes were lost with them
    assert lost == [Channel.QUOTE, Channel.BOOK] if need is Need.BOOK else [Channel.QUOTE]


@pytest.mark.parametrize("built", [False, True], ids=["shown by what is kept", "seen behind the snapshot"])
def test_updates_lost_while_the_book_awaits_its_snapshot_tell_that_quotes_were_lost_too(built: bool) -> None:
    """The snapshot makes the book whole again, and the quotes that went the same way stay lost."""
    scene = Scene(stale_after=600).up()
    book = next(ask for ask in scene.answer(Need.CANDLES, Need.TRADES, Need.QUOTE) if ask.need is Need.BOOK)
    scene.tell(scene.venue.level(1, 98.0, 5.0)).tell([scene.venue.quote()])
    heard = scene.now
    scene.venue.level(1, 99.0, 6.0)  # the touch changes, and changes back, and nobody hears of it
    scene.venue.level(1, 99.0, 1.0)
    scene.after(1)
    if built:
        scene.mirror.answer(book, scene.venue.answer(book), scene.now)
    assert not scene.mirror.gaps
    scene.tell(scene.venue.level(1, 98.0, 7.0))
    assert [(gap.start, gap.end, gap.channel) for gap in scene.mirror.gaps] == [(heard, scene.now, Channel.QUOTE)]


def test_a_bar_that_only_rest_has_told_of_is_asked_for_once_more_where_no_closing_is_said() -> None:
    """Kraken says no close: REST's version may be some seconds old when the next bar begins."""
    scene = Scene(streamed=Streamed(says_closed=False), stale_after=600)
    scene.up()
    old = {ask: scene.venue.answer(ask) for ask in scene.mirror.asks(scene.now)}
    scene.venue.trade(scene.now, 105.0)  # before the stream says a word, after REST has answered
    for ask, answer in old.items():
        scene.mirror.answer(ask, answer, scene.now)
    scene.tell(scene.venue.trade(scene.after(61).now, 100.0)[-2:])
    asks = [ask for ask in scene.mirror.asks(scene.now) if ask.need is Need.CANDLES]
    assert [ask.start for ask in asks] == [scene.mirror.candles.last_time]
    scene.mirror.answer(asks[0], scene.venue.answer(asks[0]), scene.now)
    scene.answer()
    frame = scene.mirror.candles.snapshot(ATTRS)
    assert frame["trades"].tolist() == [bar.trades for bar in scene.venue.bars]
    assert scene.mirror.gaps == ()


def test_duplicates_and_late_copies_change_nothing() -> None:
    scene = Scene().live()
    said = [*scene.venue.trade(scene.now, 100.5), *scene.venue.level(1, 99.0, 7.0)]
    newer = [*scene.venue.trade(scene.now, 100.9), *scene.venue.level(1, 99.0, 8.0)]
    scene.tell(said).tell(newer).tell(said).tell(said[::-1])
    scene.check()
    assert scene.state() is FeedState.LIVE


def test_a_snapshot_older_than_the_stream_is_asked_for_again_later() -> None:
    scene = Scene().up()
    old = scene.venue.answer(Ask(Need.BOOK, Channel.BOOK, None, None, 0, 0))
    scene.venue.level(1, 98.0, 5.0)
    scene.tell(scene.venue.level(1, 98.0, 6.0))
    book = next(ask for ask in scene.answer(Need.CANDLES, Need.TRADES, Need.QUOTE) if ask.need is Need.BOOK)
    scene.mirror.answer(book, old, scene.now)
    assert scene.mirror.asks(scene.now) == []
    scene.after(1).answer()
    scene.check()


def test_rest_that_lags_behind_the_stream_is_asked_again_until_it_has_the_rows() -> None:
    scene = Scene().live()
    scene.down("cut")
    scene.up()
    asks = scene.mirror.asks(scene.now)
    lagging = [scene.venue.answer(ask) for ask in asks]
    scene.venue.trade(scene.after(59).now, 105.0)
    scene.tell(scene.venue.trade(scene.after(2).now, 100.0))
    for ask, answer in zip(asks, lagging, strict=True):
        scene.mirror.answer(ask, answer, scene.now)
    assert scene.state() is FeedState.STALE
    scene.after(1).answer()
    scene.prove().answer()
    assert scene.prove().state() is FeedState.LIVE
    scene.check()


def test_rows_the_venue_never_shows_are_believed_missing_after_a_while_and_noted() -> None:
    scene = Scene().live()
    venue = scene.venue
    venue.trade(scene.after(61).now, 100.0)
    venue.trade(scene.after(61).now, 100.0)
    said = venue.trade(scene.after(61).now, 100.0)
    del venue.trades[-3:-1]
    del venue.bars[-3:-1]
    scene.tell(said[-2:])
    for _ in range(20):
        scene.answer()
        scene.after(10).prove()
    assert scene.state() is FeedState.LIVE
    assert scene.mirror.trades.last_id == venue.trades[-1].id
    assert scene.mirror.holes == [
        [pd.Timestamp(t, unit="us", tz="UTC").isoformat() for t in (START + MINUTE, START + 3 * MINUTE)]
    ]


def test_rest_that_fails_is_asked_again_after_growing_pauses() -> None:
    scene = Scene().up()
    pauses = []
    for _ in range(7):
        began = scene.now
        while not (asks := scene.mirror.asks(scene.now)):
            scene.after(0.05)
        pauses.append((scene.now - began) / SECOND)
        for ask in asks:
            scene.mirror.failed(ask, scene.now, "no answer")
    assert pauses == pytest.approx([0, 0.25, 0.5, 1, 2, 4, 8], abs=0.06)
    assert scene.mirror.reason == "no answer"
    scene.after(10).answer()
    scene.tell(scene.venue.trade(scene.now, 100.0))
    scene.check()


def test_a_venue_that_asks_for_patience_gets_it() -> None:
    scene = Scene().up()
    for ask in scene.mirror.asks(scene.now):
        scene.mirror.failed(ask, scene.now, "429", wait=30.0)
    assert scene.after(29).mirror.asks(scene.now) == []
    assert scene.after(1).mirror.asks(scene.now)


# -- silence


def test_silence_is_looked_into_before_it_makes_the_feed_stale() -> None:
    scene = Scene().live()
    for _ in range(40):
        scene.after(1).mirror.tick(scene.now)
        assert scene.answer() == []
        assert scene.state() is FeedState.LIVE
    assert scene.mirror.age(scene.now) <= 5.0


def test_a_mute_feed_goes_stale_for_the_quote_has_moved_without_it() -> None:
    scene = Scene().live()
    scene.venue.level(1, 99.5, 1.0)
    for _ in range(11):
        scene.after(1).mirror.tick(scene.now)
        scene.answer()
    assert scene.state() is FeedState.STALE
    assert scene.mirror.feeds[Channel.QUOTE].age(scene.now) == 11.0
    assert scene.mirror.gaps == ()  # it goes on
    for _ in range(60):
        scene.after(1).mirror.tick(scene.now)
        assert scene.state() is FeedState.STALE
    with pytest.raises(BookUnsynced):
        scene.mirror.book.best()


@pytest.mark.parametrize("noticed", [True, False])
def test_nothing_is_trusted_across_a_silence_noticed_by_the_clock_or_by_the_next_data(noticed: bool) -> None:
    scene = Scene().live()
    scene.venue.trade(scene.now, 104.0)
    scene.venue.level(1, 99.5, 1.0)
    scene.after(11)
    if noticed:
        scene.mirror.tick(scene.now)
    scene.tell(scene.venue.level(1, 97.0, 1.0)[-1:])
    assert scene.state() is FeedState.STALE
    scene.answer()
    scene.prove().answer()
    assert scene.state() is FeedState.LIVE
    scene.check()


def test_a_venue_whose_update_ids_begin_again_is_followed_after_a_reconnect() -> None:
    scene = Scene().live()
    scene.down("the venue restarts")
    scene.venue.update = 3
    scene.up().answer()
    scene.tell(scene.venue.level(1, 99.7, 1.0))
    scene.check()


def test_a_book_that_stands_still_while_quotes_move_on_is_not_shown() -> None:
    """One stream of a connection may fall silent alone: the others keep the age young."""
    scene = Scene().live()
    for n in range(100):
        scene.after(0.1)
        events = scene.venue.level(1, 99.0, 1.0 + n % 7)
        scene.tell([event for event in events if not isinstance(event, BookDelta)])
        scene.mirror.tick(scene.now)
        if scene.state() is not FeedState.LIVE:
            break
    assert 5 < (scene.now - START) / SECOND < 6
    assert "stands still" in scene.mirror.reason
    with pytest.raises(BookUnsynced):
        scene.mirror.book.best()
    assert (Need.RENEWAL, Channel.BOOK) in [(ask.need, ask.channel) for ask in scene.mirror.asks(scene.now)]
    scene.renew(Channel.BOOK)
    scene.answer()
    scene.prove()
    assert scene.state() is FeedState.LIVE
    assert scene.mirror.book.bids(99) == sorted(scene.venue.levels[1].items(), reverse=True)


def in_stream() -> tuple[Scene, Callable[[], list[Any]]]:
    """A venue that tells its book in the stream, without ids, and what tells it whole."""
    scene = Scene(streamed=Streamed(book=BookRule.CONNECTION), stale_after=600)
    whole = Ask(Need.BOOK, Channel.BOOK, None, None, 0, 0)
    scene.up().answer()
    scene.tell([scene.venue.answer(whole)]).tell(scene.venue.trade(scene.now, 100.5)).tell([scene.venue.quote()])
    assert scene.state() is FeedState.LIVE
    return scene, lambda: [scene.venue.answer(whole)]


def test_a_book_without_ids_that_stands_still_while_trades_come_is_asked_for_anew() -> None:
    scene, _ = in_stream()
    scene.venue.level(1, 98.0, 5.0)  # below the best bid, and on a channel that is mute
    scene.after(3).tell(scene.venue.trade(scene.now, 100.5))
    for _ in range(2):
        scene.mirror.tick(scene.now)
        assert scene.mirror.depth.feed.state is FeedState.LIVE
        scene.after(5)
    scene.mirror.tick(scene.now)
    assert [ask.need for ask in scene.mirror.asks(scene.now) if ask.channel is Channel.BOOK] == [Need.RENEWAL]


@pytest.mark.parametrize("mute", [False, True])
def test_a_book_that_the_next_connection_tells_otherwise_was_mute_on_the_one_before(mute: bool) -> None:
    scene, whole = in_stream()
    heard = scene.now
    if mute:
        scene.venue.level(1, 98.0, 5.0)
    scene.after(3).tell(whole())
    told = [(gap.start, gap.end, gap.channel) for gap in scene.mirror.gaps]
    assert told == [(heard, scene.now, channel) for channel in (Channel.BOOK, Channel.QUOTE) if mute]
    assert scene.state() is FeedState.LIVE
    assert scene.mirror.book.bids(9) == sorted(scene.venue.levels[1].items(), reverse=True)


def test_a_channel_that_fell_silent_beside_lively_ones_is_asked_after_until_it_is_subscribed_to_anew() -> None:
    scene, renewed = Scene().live(), []
    for n in range(400):
        scene.after(0.25)
        events = [*scene.venue.level(1, 99.0, 1.0 + n % 7), *scene.venue.trade(scene.now, 100.0)]
        scene.tell([event for event in events if isinstance(event, Trade | Candle)])  # quotes and book are deaf
        scene.mirror.tick(scene.now)
        for ask in scene.mirror.asks(scene.now):
            if ask.need is Need.RENEWAL:
                renewed.append(ask.channel)
            else:
                scene.mirror.answer(ask, scene.venue.answer(ask), scene.now)
    assert {Channel.QUOTE, Channel.BOOK} <= set(renewed)
    assert scene.state() is FeedState.STALE


def test_a_closed_mirror_asks_for_nothing_and_takes_nothing() -> None:
    scene = Scene().live()
    scene.mirror.close()
    scene.tell(scene.venue.trade(scene.now, 100.0)).mirror.tick(scene.now)
    assert scene.mirror.asks(scene.now) == []
    assert scene.state() is FeedState.CLOSED


# -- the book against REST


def test_an_audit_finds_a_wrong_level_and_puts_it_right_without_blanking_the_book() -> None:
    scene = Scene().live()
    scene.tell([BookDelta("X", scene.venue.update + 1, scene.venue.update + 1, [(98.0, 7.0)], [], 0)])  # a lie
    scene.venue.update += 1
    scene.mirror.audit(scene.now)
    (ask,) = [ask for ask in scene.mirror.asks(scene.now) if ask.need is Need.AUDIT]
    answer = scene.venue.answer(ask)
    scene.tell(scene.venue.level(1, 97.0, 1.0))
    scene.mirror.answer(ask, answer, scene.now)
    assert scene.state() is FeedState.LIVE
    assert [(found.price, found.ours, found.theirs) for found in scene.mirror.depth.differences] == [(98.0, 7.0, 1.0)]
    assert scene.mirror.book.epoch == 2
    assert [gap.channel for gap in scene.mirror.gaps] == [Channel.BOOK]
    scene.check()


def test_an_audit_of_a_right_book_is_no_gap() -> None:
    scene = Scene().live()
    scene.mirror.audit(scene.now)
    scene.answer()
    assert (scene.mirror.depth.audits, scene.mirror.depth.differences, scene.mirror.gaps) == (1, (), ())


def test_a_book_whose_market_walks_towards_what_it_was_not_told_of_is_told_anew_before_it_gets_there() -> None:
    scene = Scene(snapshot_levels=2).live()
    assert scene.mirror.book.epoch == 1
    scene.after(6).tell(scene.venue.level(1, 99.0, 0.0)).tell([scene.venue.quote()])
    scene.mirror.tick(scene.now)
    scene.tell(scene.venue.level(1, 97.0, 1.0))
    scene.answer()
    assert scene.mirror.book.epoch == 2
    assert scene.mirror.gaps == ()
    assert scene.state() is FeedState.LIVE


def test_a_market_that_has_left_what_the_book_was_told_of_hides_the_book_until_it_is_told_anew() -> None:
    scene = Scene(snapshot_levels=2).live()
    scene.tell(scene.venue.level(1, 97.0, 1.0)).tell(scene.venue.level(1, 98.0, 0.0))
    scene.tell(scene.venue.level(1, 99.0, 0.0))
    with pytest.raises(BookUnsynced):
        scene.mirror.book.best()
    assert scene.state() is FeedState.STALE
    scene.answer()
    scene.prove()
    assert scene.mirror.book.bids(9) == sorted(scene.venue.levels[1].items(), reverse=True)


# -- a real venue


def test_five_minutes_of_the_real_venue_are_followed_without_a_gap(recording: Callable[[str], Path]) -> None:
    """Binance BTCUSDT through codec and mirror: every trade, one snapshot, and a book whose top is the quote's."""
    mirror = Mirror("BTCUSDT", "1m", rest=frozenset({Need.BOOK, Need.TRADES, Need.CANDLES}))
    seen = compared = 0
    mirror.start()
    with gzip.open(recording("binance_spot_btcusdt_20240808.gz")) as lines:
        for line in filter(None, map(bytes.strip, lines)):
            stamp, text = line.split(b" ", 1)
            now = int(stamp) // 1000
            if not seen:
                for channel in Channel:
                    mirror.up(channel, 1, now)
                asks = {ask.need: ask for ask in mirror.asks(now)}
                mirror.answer(asks[Need.CANDLES], no_columns(), now)
                mirror.answer(asks[Need.TRADES], [], now)
            seen += 1
            if b'"lastUpdateId"' in text[:80]:
                told = json.loads(text)
                answer = json.dumps(told.get("data", told)).encode()
                mirror.answer(asks[Need.BOOK], BINANCE.book("BTCUSDT", 1000).read(answer), now)
                continue
            event = next(iter(BINANCE.decode(text)), None)
            assert isinstance(event, Candle | Trade | Quote | BookDelta)
            mirror.take(event, now)
            compared += mirror.book.synced and agree(mirror)
    states = {channel: feed.state for channel, feed in mirror.feeds.items()}
    assert states.pop(Channel.CANDLE) is FeedState.SYNCING  # none were recorded
    assert set(states.values()) == {FeedState.LIVE}
    assert mirror.gaps == ()
    assert mirror.book.epoch == 1
    assert len(mirror.trades) == 9_757
    assert compared > 500


def agree(mirror: Mirror) -> bool:
    """Where quote and book tell of the same update they tell the same prices."""
    book, quote = mirror.book.best(), mirror.quote
    if quote is None or quote.update_id != book.update_id:
        return False
    assert (quote.bid, quote.bid_qty, quote.ask, quote.ask_qty) == (book.bid, book.bid_qty, book.ask, book.ask_qty)
    return True


# -- everything at once, by the seed


class Storm(Scene):
    """Steps drawn from a seed: the market moves, the connection drops, mutes and repeats, REST lags and fails."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = Random(seed)  # noqa: S311 - the seed is the point
        self.mute = self.connected = False
        self.flying: list[tuple[int, Ask, Any]] = []
        self.said: list[MarketEvent] = []
        self.log: list[str] = []
        self.finals: dict[int, list[float]] = {}

    def market(self) -> None:
        draw = self.random.random()
        if draw < 0.5:
            events = self.venue.trade(self.now, 100 + round(self.random.uniform(-1, 1), 1))
        elif draw < 0.9:
            sign = self.random.choice((1, -1))
            events = self.venue.level(sign, 100 - sign * self.random.randint(1, 6), float(self.random.randint(0, 3)))
        else:
            events = self.venue.roll(self.now)
        self.said += events
        if self.connected and not self.mute:
            self.tell(events)

    def trouble(self) -> None:
        draw = self.random.random()
        if self.connected and draw < 0.02:
            self.connected = self.mute = False
            self.down("cut")
        elif self.connected and draw < 0.04:
            self.mute = not self.mute
        elif self.connected and self.said and draw < 0.08:
            self.tell([event for event in self.said[-self.random.randint(1, 9) :] if not self.mute])
        elif not self.connected and draw < 0.3:
            self.connected = True
            self.up()

    def rest(self, *, healthy: bool = False) -> None:
        self.mirror.tick(self.now)
        for ask in self.mirror.asks(self.now):
            if ask.need is Need.RENEWAL:
                self.renew(ask.channel)
                continue
            answer = self.venue.answer(ask) if healthy or self.random.random() < 0.9 else None
            self.flying.append((self.now + (0 if healthy else self.random.randint(0, 3) * SECOND), ask, answer))
        landed = [flight for flight in self.flying if flight[0] <= self.now]
        self.flying = [flight for flight in self.flying if flight[0] > self.now]
        for _, ask, answer in landed:
            if answer is None:
                self.mirror.failed(ask, self.now, "no answer")
            else:
                self.mirror.answer(ask, answer, self.now)

    def safe(self) -> None:
        """What must hold at every step."""
        frame = self.mirror.candles.snapshot(ATTRS)
        finals = frame[frame["closed"]]
        columns = [finals[name].tolist() for name in ("open", "close", "trades")]
        for time, *values in zip(open_times(finals).tolist(), *columns, strict=True):
            assert self.finals.setdefault(time, values) == values
        assert frame["closed"][:-1].all()
        ids = self.mirror.trades.snapshot(ATTRS)["id"].to_numpy()
        assert (np.diff(ids) == 1).all()
        if self.mirror.book.synced:
            assert self.mirror.book.best().bid < self.mirror.book.best().ask
        if self.mirror.at(self.now) is FeedState.LIVE:
            assert self.connected
            assert self.mirror.book.synced
        self.log.append(f"{self.now} {self.mirror.at(self.now)} {self.mirror.version} {len(frame)}")

    def run(self) -> Storm:
        for _ in range(150):
            self.after(self.random.choice((0.01, 0.1, 1, 3)))
            self.trouble()
            self.market()
            self.rest()
            self.safe()
        return self

    def heal(self) -> None:
        self.mute = False
        if not self.connected:
            self.connected = True
            self.up()
        for _ in range(60):
            self.after(1)
            self.market()
            self.rest(healthy=True)
            self.safe()
        self.tell(self.venue.trade(self.now, 100.0))
        self.tell(self.venue.level(1, 99.0, 9.0))
        self.rest(healthy=True)


@pytest.mark.parametrize("seed", range(40))
def test_after_any_storm_the_mirror_equals_the_venue(seed: int) -> None:
    storm = Storm(seed).run()
    storm.heal()
    assert storm.state() is FeedState.LIVE
    storm.check()


def test_the_same_seed_gives_the_same_storm() -> None:
    assert Storm(7).run().log == Storm(7).run().log
