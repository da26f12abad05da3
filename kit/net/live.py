"""One instrument, live: history by REST and updates by WebSocket in one picture that any thread may read.

The thinking is in ``kit.market.mirror``; here it is given its sockets, its REST answers and its clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import pandas as pd

from kit.clock import Clock
from kit.errors import KitError, NotYet, RateLimited, UsageError
from kit.market.book import Book
from kit.market.candles import Moment, labels, moment
from kit.market.feed import FeedState, Picture
from kit.market.mirror import PAGE, Ask, Gap, Mirror, Need
from kit.model import Channel, Instrument, Levels, Quote
from kit.net.loop import Loop
from kit.net.stream import Down, MarketEvent, Streams, Up
from kit.venues.base import Call, Codec, Subscription

T = TypeVar("T")
Callback = Callable[[MarketEvent, int], object]

DEPTH = 1000
"""Levels a side in a book snapshot: 100 of BTCUSDT cover so little that an honest book is soon wrong."""
BEAT = 0.25
"""Seconds between two looks at the clock."""


class Rest(Protocol):
    """Whoever makes REST exchanges; may block, is called from several threads."""

    def do(self, call: Call[T]) -> T: ...


class SharedBook:
    """A book read from other threads than the one that writes it: each read is of one moment.

    Every read raises BookUnsynced while the book is out of step with the venue.
    """

    def __init__(self, book: Book) -> None:
        self._book = book

    def bids(self, n: int) -> Levels:
        """The best ``n`` bids as (price, quantity), highest first."""
        return self._read(lambda: self._book.bids(n))

    def asks(self, n: int) -> Levels:
        """The best ``n`` asks as (price, quantity), lowest first."""
        return self._read(lambda: self._book.asks(n))

    def best(self) -> Quote:
        """Best bid and ask of the book; it may be up to 100 ms behind ``live.quote``."""
        return self._read(self._book.best)

    @property
    def synced(self) -> bool:
        """True while the book is in step with the venue, so that it can be read."""
        return self._book.synced

    @property
    def last_id(self) -> int:
        """The venue's id of the last update in the book."""
        return self._book.last_id

    @property
    def epoch(self) -> int:
        """How many snapshots the book was built from so far."""
        return self._book.epoch

    def _read(self, take: Callable[[], T]) -> T:
        """Read again when a write fell into the reading; the writer never waits."""
        while True:
            before = self._book.revision
            try:
                value = take()
            except (KeyError, IndexError):  # torn: a level went while it was read
                value = None
            if before % 2 == 0 and value is not None and self._book.revision == before:
                return value
            time.sleep(0)

    def __repr__(self) -> str:
        where = f"at update {self.last_id}" if self.synced else "not in step with the venue"
        return f"<book of {self._book.symbol}, {where}>"


class Live:
    """A live instrument. Every reading is of one moment, never blocks, and never changes afterwards.

    ``state`` is LIVE only when the connection is lively, candles and trades are complete and quote and book are in
    step with the venue. After a drop it is STALE, the last good picture stays readable (the book raises), what was
    missed is read by REST, and then it is LIVE again; the interval of lost quotes and depth is in ``gaps``.

    ``interval`` is one the venue has; ``environment`` is what every frame's ``attrs`` say (SANDBOX, DATA, …).
    """

    def __init__(
        self,
        codec: Codec,
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
    ) -> None:
        self.instrument, self.interval, self.environment = instrument, interval, environment
        self._codec, self._rest, self._streams, self._loop, self._clock = codec, rest, streams, loop, clock
        self._on_close = on_close
        self._mirror = Mirror(instrument.symbol, interval, stale_after=stale_after)
        self._book = SharedBook(self._mirror.book)
        self._callbacks: tuple[Callback, ...] = ()
        self._joining = threading.Lock()
        self._waiters: set[threading.Event] = set()
        self._error: str | None = None
        self._mirror.start()
        native = instrument.native
        wanted = [Subscription(channel, native) for channel in (Channel.TRADE, Channel.QUOTE, Channel.BOOK)]
        self._seat = streams.subscribe([*wanted, Subscription(Channel.CANDLE, native, interval)], self._hear)
        loop.post(self._beat)

    # -- what may be read, from any thread

    @property
    def symbol(self) -> str:
        """BASE/QUOTE."""
        return self.instrument.symbol

    @property
    def frame(self) -> pd.DataFrame:
        """Candles, history and now: the schema of ``kit.market.candles`` and ``source`` (rest, ws or backfill).

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
        """The newest public trades: index ``time`` (UTC), columns ``id price qty side source``; side is the taker's."""
        return self._mirror.trades.snapshot(
            {"symbol": self.symbol, "venue": self._codec.name, "environment": self.environment}
        )

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
        return self._mirror.feed.at(self._clock.now())

    @property
    def age(self) -> float:
        """Seconds since the picture was last proven current by data; ``inf`` before any."""
        return self._mirror.feed.age(self._clock.now())

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
        return self._error or self._streams.last_error

    def picture(self, now: int) -> Picture:
        """State, age and quote as of ``now`` (µs): what decides whether an order may leave."""
        feed = self._mirror.feed
        return Picture(feed.at(now), feed.age(now), self.quote)

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

    def on_event(self, callback: Callback) -> Callable[[], None]:
        """Have ``callback(event, received µs)`` called for each market-data event, after it has been taken in.

        It runs on the thread of the sockets: it must be quick and must not raise. ``event.symbol`` is the venue's
        spelling. Events are the stream's own; what REST fills in later is in the frames only. The function that is
        returned ends it.
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

    # -- on the loop's thread

    def _hear(self, event: MarketEvent | Up | Down, now: int) -> None:
        if isinstance(event, Up):
            self._mirror.up(now)
        elif isinstance(event, Down):
            self._mirror.down(event.reason)
        else:
            self._mirror.take(event, now)
            for callback in self._callbacks:
                self._tell(callback, event, now)
        self._follow(now)

    def _tell(self, callback: Callback, event: MarketEvent, now: int) -> None:
        try:
            callback(event, now)
        except Exception as error:  # the user's mistake must not cost the picture
            self._error = f"a callback failed: {error!r}"

    def _beat(self) -> None:
        """Look at the clock, and again in a moment."""
        if self._mirror.feed.state is FeedState.CLOSED:
            return
        now = self._clock.now()
        self._mirror.tick(now)
        self._follow(now)
        self._loop.later(BEAT, self._beat)

    def _follow(self, now: int) -> None:
        """Ask what is due, and wake who waits."""
        for ask in self._mirror.asks(now):
            self._loop.spawn(self._ask(ask))
        for waiter in tuple(self._waiters):
            waiter.set()

    async def _ask(self, ask: Ask) -> None:
        try:
            value = await self._loop.in_thread(partial(self._rest.do, self._call(ask)))
        except KitError as error:
            self._error = str(error)
            wait = error.retry_after if isinstance(error, RateLimited) else 0.0
            self._mirror.failed(ask, self._clock.now(), self._error, wait)
        else:
            if self._mirror.answer(ask, value, self._clock.now()):
                self._streams.vouch()
        self._follow(self._clock.now())

    def _call(self, ask: Ask) -> Call[Any]:
        codec, native = self._codec, self.instrument.native
        match ask.need:
            case Need.CANDLES:
                return codec.candles(native, self.interval, ask.start, None, PAGE)
            case Need.TRADES:
                return codec.trades(native, from_id=ask.start, limit=PAGE)
            case Need.BOOK:
                return codec.book(native, DEPTH)
            case Need.QUOTE | Need.PROBE:
                return codec.quote(native)

    def close(self) -> None:
        """Stop following; what was read stays as it is. May be called twice, from any thread."""
        self._streams.unsubscribe(self._seat)
        self._loop.call(self._end)
        self._on_close(self)

    def _end(self) -> None:
        self._mirror.close()
        self._follow(self._clock.now())

    def __repr__(self) -> str:
        state, age = self.state, self.age
        told = f", data {age:.1f} s old" if age < float("inf") else ""
        why = f" ({self.reason})" if self.reason and state is not FeedState.CLOSED else ""
        return f"<live {self.symbol} {self.interval} · {self.environment} · {state}{told}{why}>"
