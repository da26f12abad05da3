"""One instrument, live: history by REST and updates by WebSocket in one picture that any thread may read.

The thinking is in ``kit.market.mirror``; here it is given its sockets, its REST answers and its clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from kit.clock import MINUTE, Clock
from kit.errors import KitError, NotYet, RateLimited, UsageError
from kit.market import tables
from kit.market.book import BookRule
from kit.market.candles import Moment, labels, moment
from kit.market.feed import FeedState, Picture
from kit.market.mirror import Mirror
from kit.market.strand import DEPTH, PAGE, Ask, Gap, Need
from kit.model import BookSnapshot, Channel, Instrument, Quote
from kit.net.follower import Callback, Follower
from kit.net.history import History, Rest
from kit.net.loop import Loop
from kit.net.outbox import BookChanged, Outbox
from kit.net.recorder import Recorder
from kit.net.shared_book import SharedBook
from kit.net.stream import Streams
from kit.net.supervisor import BEAT
from kit.venues.base import Call, MarketCodec, MarketEvent, Subscription

WAITING = 10_000
"""Events that may wait for a slow consumer before it halts."""
MEASURE_EVERY = MINUTE
"""µs between two measurements of the venue's clock."""
TOUCH = 5
"""Levels a side that tell whether a silent book is a quiet one."""


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
        self.streams, self.subscriptions = streams, subscriptions(codec, instrument.native, interval)
        """What carries it, and what it listens to there."""
        self._codec, self._rest, self._loop, self._clock = codec, rest, loop, clock
        self._on_close, self._record = on_close, record
        self._closed = False
        rules = codec.streaming
        self._mirror = Mirror(
            instrument.symbol,
            interval,
            rule=rules.book,
            depth=rules.depth,
            bars=rules.bars,
            quotes=rules.quotes,
            says_closed=rules.says_closed,
            stale_after=stale_after,
        )
        self._book = SharedBook(self._mirror.book)
        self._labels: dict[Any, Any] = {"symbol": self.symbol, "venue": codec.name, "environment": environment}
        self._callbacks: tuple[Callback, ...] = ()
        self._boxes: list[Outbox] = []
        self._joining = threading.Lock()
        self._waiters: set[threading.Event] = set()
        self._error: str | None = None
        self._mirror.start()
        streams.subscribe(self.subscriptions, self)
        loop.post(self._beat)

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
        return self._error or self.streams.last_error

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
            while not self._closed:
                waited = box.take(timeout)
                if waited is not None:
                    yield waited[0]
                elif not self._closed:
                    self._not_yet("nothing new came", timeout)
        finally:
            leave()
            box.close()

    def tap(self, callback: Callback) -> Callable[[], None]:
        """As ``on_event``, but on the thread of the sockets, right after an event has been taken in.

        For what must see every event at once and is quick: everything waits for it. What is returned ends it.
        """
        with self._joining:
            self._callbacks = (*self._callbacks, callback)

        def stop() -> None:
            with self._joining:
                self._callbacks = tuple(kept for kept in self._callbacks if kept is not callback)

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
        self._waiters.add(woken)
        try:
            yield woken
        finally:
            self._waiters.discard(woken)

    def _not_yet(self, what: str, timeout: float | None) -> None:
        if self.state is FeedState.CLOSED:
            raise UsageError(f"{self!r}: it is closed and will not change any more; open it again with venue.live()")
        why = f" ({self.reason})" if self.reason else ""
        raise NotYet(f"{self.symbol}: {what} within {timeout:g} s; the feed is {self.state}{why}")

    # -- on the loop's thread: what the streams tell their listener

    def up(self, subscription: Subscription, link: int, now: int) -> None:
        """The venue has confirmed a subscription."""
        self._mirror.up(subscription.channel, link, now)
        self._follow(now)

    def down(self, subscription: Subscription, reason: str, now: int) -> None:
        """Nothing more comes of a subscription."""
        self._mirror.down(subscription.channel, reason, now)
        self._follow(now)

    def take(self, event: MarketEvent, now: int) -> None:
        """An event, received at ``now`` (µs)."""
        mirror = self._mirror
        mirror.take(event, now)
        for callback in self._callbacks:
            self._tell(callback, event, now)
        if mirror.restless or self._waiters:
            self._follow(now)

    def _tell(self, callback: Callback, event: MarketEvent, now: int) -> None:
        try:
            callback(event, now)
        except Exception as error:  # the user's mistake must not cost the picture
            self._error = f"a callback failed: {error!r}"

    def _beat(self) -> None:
        """Look at the clock, and again in a moment."""
        if self._closed:
            return
        now = self._clock.now()
        self._mirror.tick(now)
        self._follow(now)
        if self._rest.clock.due(MEASURE_EVERY):
            self._loop.spawn(self._measure())
        self._loop.later(BEAT, self._beat)

    async def _measure(self) -> None:
        """The venue's clock against ours, anew: quartz drifts."""
        with suppress(KitError):  # the next measurement follows
            await self._loop.in_thread(self._rest.sync)

    def _follow(self, now: int) -> None:
        """Ask what is due, and wake who waits."""
        for ask in self._mirror.asks(now):
            if ask.need is Need.RENEWAL:
                self.streams.renew(next(sub for sub in self.subscriptions if sub.channel is ask.channel))
            elif ask.need in (Need.BOOK, Need.AUDIT) and not self.streams.snapshots.take(now):
                self._mirror.failed(ask, now, "waiting for its turn to ask for the book", wait=1.0)
            else:
                self._loop.spawn(self._ask(ask))
        for waiter in tuple(self._waiters):
            waiter.set()

    async def _ask(self, ask: Ask) -> None:
        try:
            value = await self._loop.in_thread(partial(self._told, ask))
        except KitError as error:
            self._error = str(error)
            wait = error.retry_after if isinstance(error, RateLimited) else 0.0
            self._mirror.failed(ask, self._clock.now(), self._error, wait)
        else:
            if self._mirror.answer(ask, value, self._clock.now()):
                self.streams.vouch()
        self._follow(self._clock.now())

    def _told(self, ask: Ask) -> Any:
        """REST's answer; it may take several questions."""
        native = self.instrument.native
        history = History(self._codec, self._rest, self._clock)
        if ask.need is Need.CANDLES:
            return history.newest(native, self.interval, ask.start, self._mirror.candles.capacity)
        if ask.need is Need.TRADES and ask.start is not None:
            return history.trades_from(native, ask.start, ask.since or 0)
        probe = ask.need in (Need.TOUCH, Need.LAST_TRADE)  # late it proves little; what is missing goes before it
        return self._rest.do(replace(self._call(ask), spare=probe))

    def _call(self, ask: Ask) -> Call[Any]:
        codec, native = self._codec, self.instrument.native
        match ask.need:
            case Need.TRADES:
                return codec.trades(native, limit=PAGE)
            case Need.BOOK | Need.AUDIT:
                return codec.book(native, DEPTH)
            case Need.QUOTE | Need.TOUCH if codec.streaming.book is BookRule.IDS:
                return codec.book(native, TOUCH)
            case Need.LAST_TRADE:
                return codec.last_trade(native)
            case _:
                return codec.quote(native)

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
        self._loop.post(self._begin_audit)
        if not self._until(lambda: depth.audits > before, timeout):
            self._not_yet("no comparison of the book came about", timeout)
        columns = ["side", "price", "ours", "theirs"]
        return pd.DataFrame([(str(d.side), d.price, d.ours, d.theirs) for d in depth.differences], columns=columns)

    def _begin_audit(self) -> None:
        now = self._clock.now()
        self._mirror.audit(now)
        self._follow(now)

    def retell(self) -> None:
        """Have the book told anew, for whoever has just begun to listen: a tape needs what it is built from."""
        if self._codec.streaming.book is BookRule.IDS:
            self._loop.post(self._spawn_snapshot)
        else:
            self.streams.renew(next(sub for sub in self.subscriptions if sub.channel is Channel.BOOK))

    def _spawn_snapshot(self) -> None:
        self._loop.spawn(self._snapshot())

    async def _snapshot(self) -> None:
        with suppress(KitError):  # the tape lacks it then, and its replay says so
            await self._loop.in_thread(partial(self._rest.do, self._codec.book(self.instrument.native, DEPTH)))

    def record(self, path: str | Path) -> Recorder:
        """As ``venue.record``: a tape of everything on this venue, this instrument's frames among it."""
        if self._record is None:
            raise UsageError(f"{self!r} belongs to no venue that records; open it with venue.live()")
        return self._record(path)

    def close(self) -> None:
        """Stop following; what was read stays as it is. May be called twice, from any thread."""
        self.streams.unsubscribe(self.subscriptions, self)
        self._loop.call(self._end)
        self._on_close(self)

    def _end(self) -> None:
        self._closed = True
        for box in self._boxes:
            box.close()
        self._mirror.close()
        self._follow(self._clock.now())

    def __repr__(self) -> str:
        state, age = self.state, self.age
        told = f", data {age:.1f} s old" if age < float("inf") else ""
        why = f" ({self.reason})" if self.reason and state is not FeedState.CLOSED else ""
        return f"<live {self.symbol} {self.interval} · {self.environment} · {state}{told}{why}>"


def subscriptions(codec: MarketCodec, native: str, interval: str) -> list[Subscription]:
    """What a live instrument listens to: what the venue does not stream is made of what it does."""
    rules = codec.streaming
    wanted = [Subscription(Channel.TRADE, native), Subscription(Channel.BOOK, native)]
    if rules.quotes:
        wanted.append(Subscription(Channel.QUOTE, native))
    if rules.bars:
        wanted.append(Subscription(Channel.CANDLE, native, interval))
    return wanted
