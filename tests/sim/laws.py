"""What must hold of a mirror at every moment, told by somebody who knows the venue's whole past.

Never LIVE on a gap, exactly: whenever a channel's feed is LIVE for a reader, all that the venue had published of that
channel until a while ago is in what is shown; the while is the age at which the feed goes STALE, and ``SLACK`` for the
way there (latency, a REST answer that was a little old, the beat of the clock). And whatever the state, nothing that is
shown is other than the venue's: each trade and each closed bar is its own, the forming bar is one of its versions, the
quote is one that it said, and the book's levels, as far down as its snapshot went, are the venue's book as of the last
update that the book says it holds. ``mirror.at`` is LIVE only when all four channels are.

What is wrong raises AssertionError at the moment it can be seen.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence, Set
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from kit.clock import SECOND
from kit.market.candles import FLOATS, Times, open_times
from kit.market.feed import FeedState
from kit.market.mirror import Mirror
from kit.market.quote_strand import prices
from kit.model import BookSnapshot, Candle, Channel, Quote
from tests.sim.network import Mute
from tests.sim.venue import LOT, NEVER, START, TICK, Market
from tests.sim.voice import Bar, stream

Numbers = set[tuple[Channel, int]]
"""Of quotes and changes of the book: what ``Seat.taken`` knows them by."""

SLACK = 3 * SECOND
TOP = 20
"""Levels a side that are compared."""
FEW = 6
"""Closed bars that are looked at together: to look costs more than the rest of the run."""


class Witness:
    """Looks at one mirror again and again."""

    def __init__(self, market: Market, mirror: Mirror) -> None:
        self.market, self.mirror = market, mirror
        self.live_since: dict[Channel, int] = {}
        """The venue's time at which each channel was first LIVE."""
        self._feeds = mirror.feeds
        self._shown: list[tuple[pd.DataFrame, pd.DataFrame]] = []
        self._epoch = 0
        self._book_seen: tuple[int, int] | None = None
        self._built: dict[int, int] = {}
        """When, by our clock -> the last update of a snapshot: the frames up to it are not missed after that."""
        self._audit = 0, 0.0, float("inf")
        self._told: tuple[int, float, float] | None = None
        self._floor, self._ceiling = 0.0, float("inf")
        self._quote_seen: Quote | None = None
        self._quote_place = 0
        self._last_trade = 0
        self._candles_seen = -1
        self._newest_bar = (0, 0.0)
        self._closed_seen = self._unread = 0
        self._finals: dict[int, tuple[float | None, ...]] = {}
        self._laws = {
            Channel.BOOK: self._book,
            Channel.QUOTE: self._quote,
            Channel.TRADE: self._trades,
            Channel.CANDLE: self._candles,
        }

    def told(self, snapshot: BookSnapshot, limit: int, *, audit: bool) -> None:
        """REST's book has come: if the book is built anew, it is from this one, and known no further down.

        At once, unless it is an audit's: that one may be taken over later.
        """
        floor = snapshot.bids[-1][0] if len(snapshot.bids) >= limit else 0.0
        ceiling = snapshot.asks[-1][0] if len(snapshot.asks) >= limit else float("inf")
        known = snapshot.last_id, floor, ceiling
        if audit:
            self._audit = known
        else:
            self._told = known

    def look(self, channel: Channel, now: int, time: int, late: int) -> FeedState:
        """Compare what is shown at our time ``now`` with the venue's past up to its own ``time``; the state found.

        ``late`` (µs) is how long frames have been on their way of late.
        """
        feed = self._feeds[channel]
        state = feed.at(now)
        if state is FeedState.LIVE:
            self.live_since.setdefault(channel, time)
        try:
            if self.mirror.book.epoch != self._epoch:
                self._epoch = self.mirror.book.epoch
                self._built[now], self._floor, self._ceiling = self._told or self._audit
            self._told = None
            self._laws[channel](time - feed.stale_after - SLACK - late, state is FeedState.LIVE)
        except AssertionError as broken:
            raise AssertionError(f"{self.market.native} {channel}: {broken}") from None
        return state

    # -- the book

    def _book(self, since: int, live: bool) -> None:
        book = self.mirror.book
        assert book.synced or not live, "LIVE, and the book can't be read"
        if not book.synced:
            return
        seen = (book.epoch, book.last_id)
        if seen != self._book_seen:
            self._book_seen = seen
            self._compare_book(book.bids(TOP), book.asks(TOP), book.last_id)
        if live:
            known = bisect_left(self.market.change_times, since)
            assert book.last_id >= self.market.first_update + known - 1, "LIVE, and the book stands still"

    def _compare_book(self, bids: list[Any], asks: list[Any], update: int) -> None:
        assert bids, f"no bids at {update}"
        assert asks, f"no asks at {update}"
        assert bids[0][0] < asks[0][0], f"the book is crossed at {update}: {bids[0]} {asks[0]}"
        true_bids, true_asks = self.market.top_at(update, TOP)
        touch, its = (bids[0], asks[0]), (true_bids[0], true_asks[0])
        assert touch == its, f"the touch at {update} is not the venue's: {touch} {its}"
        shown = [level for level in bids if level[0] >= self._floor], [x for x in asks if x[0] <= self._ceiling]
        true = [x for x in true_bids if x[0] >= self._floor], [x for x in true_asks if x[0] <= self._ceiling]
        assert shown == true, f"the book at {update} is not the venue's:\n{shown}\n{true}"

    # -- the quote

    def _quote(self, since: int, live: bool) -> None:
        quote, market = self.mirror.quote, self.market
        assert quote is not None or not live, "LIVE without a quote"
        if quote is None:
            return
        if quote is not self._quote_seen:
            place = market.quote_place(quote)
            assert place is not None, f"the venue never quoted {quote}"
            before = self._quote_seen.update_id if self._quote_seen is not None else 0
            back = live and before and quote.update_id and place < self._quote_place
            assert not back, f"the quote went back to {quote}"
            self._quote_seen, self._quote_place = quote, place
        if live:
            place = market.quote_place(msgspec.structs.replace(quote, update_id=0))  # it may have come back
            assert place is not None
            over = market.quote_times[place + 1] if place + 1 < len(market.quote_times) else since
            assert over >= since, f"LIVE, and the quote was another one {(since - over) / SECOND:.2f} s too long ago"

    # -- trades

    def _trades(self, since: int, live: bool) -> None:
        last = self.mirror.trades.last_id
        if last is None:
            assert not live or not bisect_left(self.market.print_times, since), "LIVE without trades"
            return
        assert last >= self._last_trade, "trades went back"
        self._last_trade = last
        if live:
            known = self.market.first_id + bisect_left(self.market.print_times, since) - 1
            assert last >= known, f"LIVE, and trades {last + 1} to {known} are missing"

    def check_trades(self) -> None:
        """All the rows that are kept."""
        frame = self.mirror.trades.snapshot({})
        ids = frame["id"].to_numpy()
        if not len(ids):
            return
        steps = np.flatnonzero(np.diff(ids) != 1)
        assert not len(steps), f"trades {ids[steps[:3]]} are not followed by the next"
        places = ids - self.market.first_id
        prints = self.market.prints[int(places[0]) : int(places[-1]) + 1]
        assert frame["price"].tolist() == [made.ticks / TICK for made in prints], "prices of trades"
        assert frame["qty"].tolist() == [made.lots / LOT for made in prints], "quantities of trades"
        assert open_times(frame).tolist() == [made.time for made in prints], "times of trades"
        sells = (frame["side"] == "sell").tolist()
        assert sells == [made.buyer_is_maker for made in prints], "sides of trades"

    # -- candles

    def _candles(self, since: int, live: bool) -> None:
        ring = self.mirror.candles
        if ring.version != self._candles_seen:
            self._candles_seen = ring.version
            if ring.forming is not None:
                self._compare_forming(ring.forming)
                newest = ring.forming.time, self._progress(ring.forming)
                assert newest >= self._newest_bar, f"the forming bar went back: {newest}"
                self._newest_bar = newest
            if ring.closes != self._closed_seen:
                self._compare_closed(ring.closes - self._closed_seen)
                self._closed_seen = ring.closes
        if live:
            self._fresh_bar(since)

    def _progress(self, bar: Candle) -> float:
        """What grows from one version of a bar to the next."""
        return bar.trades

    def _fresh_bar(self, since: int) -> None:
        ring, market = self.mirror.candles, self.market
        at = bisect_left(market.push_times, since) - 1
        if at < 0:
            return
        place, trades, closed = market.pushes[at]
        assert (ring.last_time or 0) >= market.opens(place), "LIVE, and a bar is missing"
        if ring.last_time == market.opens(place) and ring.forming is not None:
            assert not closed, "LIVE, and a bar that has closed is still forming"
            assert ring.forming.trades >= trades, "LIVE, and the forming bar stands still"

    def _compare_forming(self, bar: Candle) -> None:
        place = (bar.time - self.market.first_bar) // self.market.step
        its = self.market.version_of(place, bar.trades)
        assert its is not None, f"the venue's bar never was {bar}"
        mine = bar.open, bar.high, bar.low, bar.close, bar.volume, bar.quote_volume
        assert self._same(mine, amounts(its)), f"the forming bar is not the venue's: {mine} {its}"

    def _compare_closed(self, closes: int) -> None:
        """The bars that have closed since the last look have closed at the venue; some looks later: are its own."""
        market = self.market
        for time in self.mirror.candles.times[-closes:].tolist():
            assert (time - market.first_bar) // market.step < len(market.finals), f"bar {time} closed before its time"
        self._unread += closes
        if self._unread >= FEW:
            self.check_candles(self._unread)
            self._unread = 0

    def _same(self, mine: tuple[float, ...], its: tuple[float, ...]) -> bool:
        return mine == its

    def _closed_bar(self, time: int, values: tuple[float, ...]) -> None:
        assert self._finals.setdefault(time, values) == values, f"the bar {time} closed twice: {values}"
        place = (time - self.market.first_bar) // self.market.step
        assert place < len(self.market.finals), f"the bar {time} was closed before the venue closed it"
        its = self.market.finals[place]
        same = self._same(values[:6], amounts(its)) and values[6] == its[6]
        assert same, f"the closed bar {time} is not the venue's: {values} {its}"

    def check_candles(self, rows: int = 0) -> None:
        """The last rows, or all that are kept."""
        frame = self.mirror.candles.snapshot({})[-rows:]
        times = open_times(frame)
        self._in_order(times)
        closed = frame["closed"].to_numpy()
        assert closed[:-1].all(), "a bar that has a next one is not closed"
        columns = [frame[name].tolist() for name in (*FLOATS, "trades")]
        for time, final, *values in zip(times.tolist(), closed.tolist(), *columns, strict=True):
            if final:
                self._closed_bar(time, tuple(values))

    def _in_order(self, times: Times) -> None:
        assert (np.diff(times) == self.market.step).all(), "bars are missing or out of order"

    # -- quotes and tops

    def check_quotes(self) -> None:
        """All the rows that are kept are the venue's, in its order."""
        market = self.market
        for name, ring in (("quote", self.mirror.quotes), ("top", self.mirror.tops)):
            frame = ring.snapshot({})
            assert frame.index.is_monotonic_increasing, f"{market.native} {name}s out of the order of their receipt"
            said = [tuple(row) for row in frame[["bid", "bid_qty", "ask", "ask_qty"]].to_numpy().tolist()]
            epochs, updates = frame["epoch"].tolist(), frame["update_id"].tolist()
            for prices_, update in zip(said, updates, strict=True):
                bids, asks = market.top_at(update, TOP) if update else ([], [])
                its = (*bids[0], *asks[0]) if update else prices_
                assert prices_ == its, f"{market.native} {name}: at {update} it was {its}, not {prices_}"
            rows = [row for row in zip(epochs, updates, strict=True) if row[1]]
            assert rows == sorted(rows), f"{market.native} {name}s that go back within an epoch"

    # -- frames that were handed out

    def keep_frames(self) -> None:
        """Take snapshots now, to be looked at again later."""
        mirror = self.mirror
        for ring in (mirror.candles, mirror.trades, mirror.quotes, mirror.tops):
            frame = ring.snapshot({})
            self._shown.append((frame, frame.copy(deep=True)))

    def check_frames(self) -> None:
        """No frame that was handed out has changed since."""
        for frame, copy in self._shown:
            same = frame.equals(copy) and frame.index.equals(copy.index)
            assert same, f"a frame that was handed out has changed:\n{frame}\n{copy}"

    # -- when all is over

    def finish(self) -> None:
        """The market stands still: what is shown is what the venue is."""
        market, mirror = self.market, self.mirror
        self.check_trades()
        self.check_candles()
        self.check_quotes()
        self.check_frames()
        assert not mirror.depth.differences, f"the book was wrong: {mirror.depth.differences}"
        assert mirror.trades.last_id == market.first_id + len(market.prints) - 1, "the last trades are missing"
        self._finish_book()
        self._finish_holes()
        forming = mirror.candles.forming
        if forming is None or forming.time < market.opens(len(market.finals)):
            assert not market.bar[6], f"the last bar is missing: {forming}"
        else:
            self._finish_bar(forming)

    def _finish_holes(self) -> None:
        assert not self.mirror.holes, f"holes where the venue has none: {self.mirror.holes}"

    def _finish_bar(self, forming: Candle) -> None:
        assert forming.trades == self.market.bar[6], f"the last bar is behind: {forming}"

    def _finish_book(self) -> None:
        market, book, quote = self.market, self.mirror.book, self.mirror.quote
        assert book.last_id == market.first_update + len(market.changes) - 1, "the book is behind"
        assert quote is not None
        assert market.quote_place(quote) == len(market.quotes) - 1, "the quote is behind"
        self._compare_book(book.bids(TOP), book.asks(TOP), book.last_id)

    def compare(self, calm: Witness) -> None:
        """What is shown is what ``calm``'s mirror shows, except where from and when, as far back as both reach."""
        mine, other = self.mirror, calm.mirror
        for one, its in ((mine.candles, other.candles), (mine.trades, other.trades)):
            frames = [ring.snapshot({}).drop(columns=["source", "recv_ts"]) for ring in (one, its)]
            start = max(frame.index[0] for frame in frames)
            ours, theirs = (frame[frame.index > start] for frame in frames)
            pd.testing.assert_frame_equal(ours, theirs)
        assert mine.quote is not None
        assert other.quote is not None
        assert prices(mine.quote) == prices(other.quote)
        assert mine.book.last_id == other.book.last_id
        floor, ceiling = max(self._floor, calm._floor), min(self._ceiling, calm._ceiling)
        books = [
            ([x for x in book.bids(TOP) if x[0] >= floor], [x for x in book.asks(TOP) if x[0] <= ceiling])
            for book in (mine.book, other.book)
        ]
        assert books[0] == books[1]

    def unseeable(self, lost: Set[int], mutes: Sequence[Mute], taken: Numbers) -> Numbers:
        """What may be lost without a trace, of the frames ``lost`` one by one and those of channels that were mute.

        bookTicker's ids are not contiguous: one that is lost while all of the book comes through leaves no trace. But
        a channel that is mute for longer than a feed may be without proof must have been found out.
        """
        market, found = self.market, set()
        unseen = self._feeds[Channel.QUOTE].stale_after + SLACK
        quotes = [mute for mute in mutes if mute.stream == stream(market.native, Channel.QUOTE)]
        for number, time in zip(market.quote_ids, market.quote_times, strict=True):
            flush = bisect_left(market.flush_ids, number)
            told = flush < len(market.flush_ids) and (Channel.BOOK, market.flush_ids[flush]) in taken
            found_out = any(mute.since <= time and mute.until - time > unseen for mute in quotes)
            if number in lost or (told and not found_out):
                found.add((Channel.QUOTE, number))
        return found

    def _published(self) -> dict[Channel, list[tuple[int, int]]]:
        """Number and time of all that was said and can't be had again."""
        market = self.market
        return {
            Channel.BOOK: list(zip(market.flush_ids, market.flush_times, strict=True)),
            Channel.QUOTE: list(zip(market.quote_ids, market.quote_times, strict=True)),
        }

    def check_gaps(self, taken: Numbers, clock: Callable[[int], int], lag: int) -> None:
        """Quotes and changes of the book that did not come after the channel was first LIVE lie in recorded gaps.

        ``clock`` is what our clock said at a time of the venue's, ``lag`` how long (µs) a message may be on its way.
        """
        market = self.market
        for gap in self.mirror.gaps:
            assert 0 < gap.start <= gap.end, f"{market.native}: a gap that begins at no time or after its end: {gap}"
        for channel, numbers in self._published().items():
            gaps = [(gap.start, gap.end) for gap in self.mirror.gaps if gap.channel is channel]
            since = self.live_since.get(channel, NEVER)
            for number, time in numbers:
                if time > since and (channel, number) not in taken:
                    said = clock(time)
                    came = max(said + lag, clock(time + lag))  # our clock may have been set while it was on its way
                    known = any(
                        start <= came and (said <= end or number <= self._built.get(end, 0)) for start, end in gaps
                    )
                    told_of = f"{market.native} {channel} {number} of {(said - START) / SECOND:.3f} s"
                    seconds = [((start - START) / SECOND, (end - START) / SECOND) for start, end in gaps]
                    assert known, f"{told_of} never came, and no gap says so: {seconds}"


def amounts(bar: Bar) -> tuple[float, ...]:
    """A bar's prices and volumes as the wire says them."""
    o, h, low, c, v, q = bar[:6]
    return o / TICK, h / TICK, low / TICK, c / TICK, v / LOT, q / (TICK * LOT)
