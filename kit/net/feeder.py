"""What a mirror lives on: the frames of its streams, REST's answers to its questions, and the time.

The thinking is in ``kit.market.mirror``. Everything here happens on the loop's thread, but what says otherwise; REST is
asked from threads of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from kit.clock import MINUTE, Clock
from kit.errors import KitError, RateLimited
from kit.market.book import BookRule
from kit.market.mirror import Mirror
from kit.market.strand import DEPTH, Ask, Need
from kit.model import Channel
from kit.net.follower import Callback
from kit.net.history import Rest
from kit.net.inquiry import Inquiry
from kit.net.loop import Loop
from kit.net.stream import Streams
from kit.net.supervisor import BEAT
from kit.venues.base import MarketCodec, MarketEvent, Subscription

MEASURE_EVERY = MINUTE
"""µs between two measurements of the venue's clock."""


class Feeder:
    """Feeds ``mirror``, the picture of the instrument ``native``, until ``close``; tells who taps and who waits."""

    def __init__(
        self, mirror: Mirror, codec: MarketCodec, rest: Rest, streams: Streams, *, native: str, loop: Loop, clock: Clock
    ) -> None:
        self.streams, self.subscriptions = streams, subscriptions(codec, native, mirror.interval)
        self.error: str | None = None
        """What last went wrong with REST or with a tap."""
        self.taps: tuple[Callback, ...] = ()
        self.waiters: set[threading.Event] = set()
        """Set after every change that may matter to one who waits; any thread adds its own."""
        self.closed = False
        self._mirror, self._codec, self._rest, self._native = mirror, codec, rest, native
        self._loop, self._clock = loop, clock
        rows = mirror.candles.capacity
        self._inquiry = Inquiry(codec, rest, clock, native=native, interval=mirror.interval, rows=rows)
        mirror.start()
        streams.subscribe(self.subscriptions, self)
        loop.post(self._beat)

    # -- what the streams tell their listener

    def up(self, subscription: Subscription, link: int, now: int) -> None:
        """The venue has confirmed a subscription."""
        self._mirror.up(subscription.channel, link, now)
        self._follow(now)

    def down(self, subscription: Subscription, reason: str, now: int) -> None:
        """Nothing more comes of a subscription."""
        self._mirror.down(subscription.channel, reason, now)
        self._follow(now)

    def take(self, events: Sequence[MarketEvent], now: int) -> None:
        """Events in their order, received at ``now`` (µs). A tap hears of each before the next is taken."""
        mirror = self._mirror
        for event in events:
            mirror.take(event, now)
            for tap in self.taps:
                self._tell(tap, event, now)
        if mirror.restless or self.waiters:
            self._follow(now)

    def _tell(self, tap: Callback, event: MarketEvent, now: int) -> None:
        try:
            tap(event, now)
        except Exception as error:  # the user's mistake must not cost the picture
            self.error = f"a callback failed: {error!r}"

    # -- the clock

    def _beat(self) -> None:
        """Look at the clock, and again in a moment."""
        if self.closed:
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

    # -- what REST is asked

    def _follow(self, now: int) -> None:
        """Ask what is due, and wake who waits."""
        for ask in self._mirror.asks(now):
            if ask.need is Need.RENEWAL:
                self._renew(ask.channel)
            elif ask.need in (Need.BOOK, Need.AUDIT) and not self.streams.snapshots.take(now):
                self._mirror.failed(ask, now, "waiting for its turn to ask for the book", wait=1.0)
            else:
                self._loop.spawn(self._ask(ask))
        for waiter in tuple(self.waiters):
            waiter.set()

    def _renew(self, channel: Channel) -> None:
        self.streams.renew(next(sub for sub in self.subscriptions if sub.channel is channel))

    async def _ask(self, ask: Ask) -> None:
        try:
            value = await self._loop.in_thread(partial(self._inquiry.told, ask))
        except KitError as error:
            self.error = str(error)
            wait = error.retry_after if isinstance(error, RateLimited) else 0.0
            self._mirror.failed(ask, self._clock.now(), self.error, wait)
        else:
            if self._mirror.answer(ask, value, self._clock.now()):
                self.streams.vouch()
        self._follow(self._clock.now())

    # -- what others ask of it, from any thread

    def audit(self) -> None:
        """Have the book compared with REST."""
        self._loop.post(self._begin_audit)

    def _begin_audit(self) -> None:
        now = self._clock.now()
        self._mirror.audit(now)
        self._follow(now)

    def retell(self) -> None:
        """Have the book told anew, for whoever has just begun to listen: a tape needs what it is built from."""
        if self._codec.streaming.book is BookRule.IDS:
            self._loop.post(self._spawn_snapshot)
        else:
            self._renew(Channel.BOOK)

    def _spawn_snapshot(self) -> None:
        self._loop.spawn(self._snapshot())

    async def _snapshot(self) -> None:
        with suppress(KitError):  # the tape lacks it then, and its replay says so
            await self._loop.in_thread(partial(self._rest.do, self._codec.book(self._native, DEPTH)))

    def close(self, ending: Callable[[], object]) -> None:
        """Take and ask nothing more; ``ending`` is called before the mirror closes. May be called twice."""
        self.streams.unsubscribe(self.subscriptions, self)
        self._loop.call(partial(self._end, ending))

    def _end(self, ending: Callable[[], object]) -> None:
        self.closed = True
        ending()
        self._mirror.close()
        self._follow(self._clock.now())


def subscriptions(codec: MarketCodec, native: str, interval: str) -> list[Subscription]:
    """What a live instrument listens to: what the venue does not stream is made of what it does."""
    rules = codec.streaming
    wanted = [Subscription(Channel.TRADE, native), Subscription(Channel.BOOK, native)]
    if rules.quotes:
        wanted.append(Subscription(Channel.QUOTE, native))
    if rules.bars:
        wanted.append(Subscription(Channel.CANDLE, native, interval))
    return wanted
