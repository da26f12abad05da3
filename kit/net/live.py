"""One instrument, live: history by REST and updates by WebSocket in one picture that any thread may read.

The thinking is in ``kit.market.mirror``, and ``kit.net.feeder`` feeds it; here it is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from kit.clock import Clock
from kit.errors import NotYet, UsageError
from kit.market import tables
from kit.market.book import BookRule
from kit.market.candles import Moment, labels, moment
from kit.market.feed import FeedState, Picture
from kit.market.mirror import Mirror
from kit.market.strand import Gap
from kit.model import BookSnapshot, Instrument, Quote, Trade
from kit.net.feeder import Feeder
from kit.net.follower import Callback, Follower
from kit.net.history import Rest
from kit.net.loop import Loop
from kit.net.outbox import BookChanged, Outbox
from kit.net.recorder import Recorder
from kit.net.shared_book import SharedBook
from kit.net.stream import Streams
from kit.venues.base import MarketCodec, MarketEvent, Subscription

WAITING = 10_000
"""Events that may wait for a slow consumer before it halts."""


class Live:
    """A live instrument. Every reading is of one moment, never blocks, and never changes afterwards.

    ``state`` is LIVE only when the connection is lively, candles and trades are complete and quote and book are in
    step with the venue. After a drop it is STALE, the last good picture stays readable (the book raises), what was
    missed is read by REST, and then it is LIVE again; the interval of lost quotes and depth is in ``gaps``.

    ``interval`` is one the venue has; ``environment`` is what every frame's ``attrs`` say (SANDBOX, DATA, …).
    """

    def __init__(
        self,
        codec: MarketCodec,
        rest: Rest,
        streams: Streams,
        *,
        loop: Loop,
        clock: Clock,
        instrument: Instrument,
        interval: str,
        environment: str,
        stale_after: float = 10.0,
        on_close: Callable[[Live], object] = lambda live: None,
        record: Callable[[str | Path], Recorder] | None = None,
    ) -> None:
        self.instrument, self.interval, self.environment = instrument, interval, environment
        self._codec, self._rest, self._loop, self._clock = codec, rest, loop, clock
        self._on_close, self._record = on_close, record
        self._mirror = Mirror(instrument.symbol, interval, codec.streaming, stale_after=stale_after)
        self._book = SharedBook(self._mirror.book)
        self._labels: dict[Any, Any] = {"symbol": self.symbol, "venue": codec.name, "environment": environment}
        self._boxes: list[Outbox] = []
        self._joining = threading.Lock()
        native = instrument.native
        self._feeder = Feeder(self._mirror, codec, rest, streams, native=native, loop=loop, clock=clock)

    @property
    def streams(self) -> Streams:
        """The connection that carries it."""
        return self._feeder.streams

    @property
    def subscriptions(self) -> list[Subscription]:
        """What it listens to there."""
        return self._feeder.subscriptions

    # -- what may be read, from any thread

    @property
    def symbol(self) -> str:
        """BASE/QUOTE."""
        return self.instrument.symbol

    @property
    def frame(self) -> pd.DataFrame:
        """Candles, history and now: the schema of ``kit.market.candles`` and ``source`` (rest, ws or backfill)
        and ``recv_ts``, when a row was received as it stands.

        A frame of your own: later updates don't show in it, and what you do to it shows nowhere else.
        """
        return self._mirror.candles.snapshot(
            labels(
                self.symbol,
                self.interval,
                self._codec.name,
                self.environment,
                self._mirror.holes,
                instrument=self.instrument,
            )
        )

    @property
    def trades(self) -> pd.DataFrame:
        """The newest public trades: index ``time`` (UTC), columns ``id price qty side source recv_ts``; side is the
        taker's."""
        return self._mirror.trades.snapshot(self._labels)

    def trades_after(self, last: int | None) -> list[Trade]:
        """The public trades kept here whose id is above ``last`` (all when None), oldest first, whether the stream or
        REST has brought them."""
        return self._mirror.trades.after(last, self.symbol)

    @property
    def last_trade(self) -> int | None:
        """The id of the newest public trade, None before any."""
        return self._mirror.trades.last_id

    @property
    def quotes(self) -> pd.DataFrame:
        """The newest best bids and asks, as they came: index ``recv_ts`` (UTC), the columns of
        ``kit.market.quote_ring``. Between two rows of different ``epoch`` some may be missing: ``gaps`` says when."""
        return self._mirror.quotes.snapshot(self._labels)

    @property
    def tops(self) -> pd.DataFrame:
        """The best bid and ask of the book after each change of it, in the columns of ``quotes``."""
        return self._mirror.tops.snapshot(self._labels)

    def depth(self, levels: int = 20) -> pd.DataFrame:
        """The book now, ``levels`` a side: columns ``side`` (bid, then ask) ``price qty``, best first; ``attrs`` tell
        ``last_id`` and ``epoch``. BookUnsynced while it is out of step."""
        bids, asks = self._book.sides(levels)
        snapshot = BookSnapshot(self.symbol, self._book.last_id, bids, asks)
        return tables.book(snapshot, levels, {**self._labels, "epoch": self._book.epoch})

    @property
    def feeds(self) -> pd.DataFrame:
        """Each channel by itself.

        ``state``, the ``connection`` that carries it, ``age`` and ``venue_age`` (s, since the last proof here, and
        since the venue's time of the newest message), ``framed`` (a frame has come since it was confirmed), ``quiet``
        (the last proof is REST's), and the ``reason`` why it is not LIVE.
        """
        now, venue_now = self._clock.now(), self._rest.clock.now()
        rows = {
            str(channel): {
                "state": str(feed.at(now)),
                "connection": feed.connection,
                "age": feed.age(now),
                "venue_age": feed.venue_age(venue_now),
                "framed": feed.framed,
                "quiet": feed.quiet,
                "reason": feed.reason,
            }
            for channel, feed in self._mirror.feeds.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("channel")

    @property
    def latency(self) -> pd.DataFrame:
        """How long after the venue's time messages arrive, per channel.

        ``count`` of the newest ones, and their ``min``, ``p50``, ``p99`` and ``max`` in ms, by the venue's clock as
        last measured (its error bound is ``attrs``' ``uncertainty_ms``). Channels whose messages carry no time have no
        row.
        """
        offset = self._rest.clock.offset
        told = {
            str(channel): asdict(delays)
            for channel, strand in self._mirror.strands.items()
            if (delays := strand.latency.summary(offset.offset if offset else 0)) is not None
        }
        columns = ["count", "min", "p50", "p99", "max"]
        frame = pd.DataFrame.from_dict(told, orient="index", columns=columns).rename_axis("channel")
        uncertainty = self._rest.clock.uncertainty
        frame.attrs = {**self._labels, "uncertainty_ms": None if uncertainty is None else uncertainty / 1000}
        return frame

    @property
    def quote(self) -> Quote | None:
        """Best bid and ask, None before the first; while not LIVE the last one known."""
        quote = self._mirror.quote
        return None if quote is None else msgspec.structs.replace(quote, symbol=self.symbol)

    @property
    def book(self) -> SharedBook:
        """The order book; reading it raises BookUnsynced while it is out of step."""
        return self._book

    @property
    def state(self) -> FeedState:
        """CONNECTING, SYNCING, LIVE, STALE or CLOSED, as of now."""
        return self._mirror.at(self._clock.now())

    @property
    def age(self) -> float:
        """Seconds since the picture was last proven current by data; ``inf`` before any."""
        return self._mirror.age(self._clock.now())

    @property
    def version(self) -> int:
        """Counts the changes of anything that can be read here."""
        return self._mirror.version

    @property
    def gaps(self) -> list[Gap]:
        """Intervals (µs) whose quotes and depth were lost."""
        return list(self._mirror.gaps)

    @property
    def reason(self) -> str:
        """Why the state is not LIVE; empty when it is."""
        return self._mirror.reason

    @property
    def last_error(self) -> str | None:
        """What last went wrong with the connection or with REST, None when nothing did."""
        return self._feeder.error or self.streams.last_error

    def picture(self, now: int) -> Picture:
        """State, age and quote as of ``now`` (µs): what decides whether an order may leave."""
        return Picture(self._mirror.at(now), self._mirror.age(now), self.quote)

    def closed_since(self, time: Moment | None, timeout: float = 0.0) -> pd.DataFrame:
        """Closed bars that opened after ``time`` (all when None), waiting up to ``timeout`` seconds for the first.

        Asked again and again with the open time of the last bar it gave, it gives every bar once, in order. No such
        bar in time: an empty frame.
        """
        after = None if time is None else moment(time, "time")
        ring = self._mirror.candles
        self._until(lambda: bool(len(ring.times)) and (after is None or ring.times[-1] > after), timeout)
        frame = self.frame
        chosen = (
            frame["closed"]
            if after is None
            else frame["closed"] & (frame.index > pd.Timestamp(after, unit="us", tz="UTC"))
        )
        return frame[chosen]

    # -- waiting and being told

    def wait(self, version: int | None = None, *, closed: bool = False, timeout: float | None = None) -> int:
        """Block until something is newer than ``version`` (default: than now), or until a bar closes; the new version.

        Raises NotYet when ``timeout`` seconds pass first, UsageError when this is closed.
        """
        seen = self.version if version is None else version
        closes = self._mirror.candles.closes
        if closed:
            came = self._until(lambda: self._mirror.candles.closes > closes, timeout)
        else:
            came = self._until(lambda: self.version > seen, timeout)
        if not came:
            self._not_yet("no bar closed" if closed else "nothing new came", timeout)
        return self.version

    def ready(self, timeout: float | None = None) -> bool:
        """Wait until the state is LIVE; False when ``timeout`` seconds pass first."""
        return self._until(lambda: self.state is FeedState.LIVE, timeout)

    def on_event(self, callback: Callback, *, slow: str = "conflate", capacity: int = WAITING) -> Follower:
        """Have ``callback(event, received µs)`` called for each market-data event, on a thread of its own.

        A callback that is slower than the market does without something, never the picture: with ``slow="conflate"``
        quotes and versions of the forming bar give way to newer ones and book updates come as ``BookChanged``; trades
        and closed bars, or with ``slow="halt"`` everything, wait until ``capacity`` of them do, and then the follower
        halts and records what it missed (``kit.net.outbox``). ``event.symbol`` is the venue's spelling. Events are the
        stream's own; what REST fills in later is in the frames only. ``stop()`` of what is returned ends it.
        """
        box = Outbox(capacity, slow)
        follower = Follower(self.symbol, callback, box, self.tap(box.put))
        with self._joining:
            self._boxes = [*(kept for kept in self._boxes if not kept.closed), box]
        return follower

    def watch(
        self, *, slow: str = "conflate", capacity: int = WAITING, timeout: float | None = None
    ) -> Iterator[MarketEvent | BookChanged]:
        """The market-data events as they come: ``for event in live.watch(): …``, until this is closed.

        ``slow`` and ``capacity`` as for ``on_event``; where events had to be missed, Lagged is raised, and watching
        anew goes on with the newest. NotYet when nothing comes for ``timeout`` seconds.
        """
        if self._loop.inside:
            raise UsageError("waiting inside a callback would stop the data that is waited for")
        box = Outbox(capacity, slow)
        leave = self.tap(box.put)
        with self._joining:
            self._boxes = [*(kept for kept in self._boxes if not kept.closed), box]
        try:
            while not self._feeder.closed:
                waited = box.take(timeout)
                if waited is not None:
                    yield waited[0]
                elif not self._feeder.closed:
                    self._not_yet("nothing new came", timeout)
        finally:
            leave()
            box.close()

    def tap(self, callback: Callback) -> Callable[[], None]:
        """As ``on_event``, but on the thread of the sockets, right after an event has been taken in.

        For what must see every event at once and is quick: everything waits for it. What is returned ends it.
        """
        with self._joining:
            self._feeder.taps = (*self._feeder.taps, callback)

        def stop() -> None:
            with self._joining:
                self._feeder.taps = tuple(kept for kept in self._feeder.taps if kept is not callback)

        return stop

    def _until(self, test: Callable[[], bool], timeout: float | None) -> bool:
        """Block until ``test`` holds: it is tried after every change."""
        if self._loop.inside:
            raise UsageError("waiting inside a callback would stop the data that is waited for")
        until = None if timeout is None else time.monotonic() + timeout
        with self._waking() as woken:
            while not test():
                left = None if until is None else until - time.monotonic()
                if self.state is FeedState.CLOSED or (left is not None and left <= 0):
                    return False
                woken.wait(left)
                woken.clear()
        return True

    @contextmanager
    def _waking(self) -> Iterator[threading.Event]:
        woken = threading.Event()
        self._feeder.waiters.add(woken)
        try:
            yield woken
        finally:
            self._feeder.waiters.discard(woken)

    def _not_yet(self, what: str, timeout: float | None) -> None:
        if self.state is FeedState.CLOSED:
            raise UsageError(f"{self!r}: it is closed and will not change any more; open it again with venue.live()")
        why = f" ({self.reason})" if self.reason else ""
        raise NotYet(f"{self.symbol}: {what} within {timeout:g} s; the feed is {self.state}{why}")

    # -- the book against REST, tapes, the end

    def audit(self, timeout: float = 15.0) -> pd.DataFrame:
        """Compare the book with REST while it goes on being read, and put it right where they differ.

        A frame of the differences: ``side price ours theirs`` (quantities; 0 is no level), empty when there are none.
        A book that was wrong is also a gap. Raises NotYet when no comparison came about within ``timeout`` seconds,
        UsageError at a venue whose updates carry no ids to compare by.
        """
        if self._codec.streaming.book is not BookRule.IDS:
            raise UsageError(
                f"{self._codec.name}'s books prove themselves with every update and carry no ids to compare by; "
                "nothing was asked"
            )
        depth = self._mirror.depth
        before = depth.audits
        self._feeder.audit()
        if not self._until(lambda: depth.audits > before, timeout):
            self._not_yet("no comparison of the book came about", timeout)
        columns = ["side", "price", "ours", "theirs"]
        return pd.DataFrame([(str(d.side), d.price, d.ours, d.theirs) for d in depth.differences], columns=columns)

    def retell(self) -> None:
        """Have the book told anew, for whoever has just begun to listen: a tape needs what it is built from."""
        self._feeder.retell()

    def record(self, path: str | Path) -> Recorder:
        """As ``venue.record``: a tape of everything on this venue, this instrument's frames among it."""
        if self._record is None:
            raise UsageError(f"{self!r} belongs to no venue that records; open it with venue.live()")
        return self._record(path)

    def close(self) -> None:
        """Stop following; what was read stays as it is. May be called twice, from any thread."""
        self._feeder.close(self._end)
        self._on_close(self)

    def _end(self) -> None:
        for box in self._boxes:
            box.close()

    def __repr__(self) -> str:
        state, age = self.state, self.age
        told = f", data {age:.1f} s old" if age < float("inf") else ""
        why = f" ({self.reason})" if self.reason and state is not FeedState.CLOSED else ""
        return f"<live {self.symbol} {self.interval} · {self.environment} · {state}{told}{why}>"
