"""One supervised WebSocket connection to a venue's market streams, shared by everybody who listens.

It connects when somebody subscribes, asks for what is wanted and not yet asked for, reconnects with a growing and
jittered pause when the connection is lost or mute, and tells each listener when its subscriptions are confirmed and
when they are gone. Nothing is printed: ``last_error`` says what went wrong last.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from kit.clock import Clock
from kit.errors import KitError
from kit.model import BookDelta, Candle, Channel, Quote, Trade
from kit.net.loop import Loop
from kit.venues.base import Ack, Codec, Goodbye, Hosts, Subscription, on_this_machine

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

MarketEvent = Candle | Trade | Quote | BookDelta

BIGGEST_FRAME = 64 * 2**20
"""Bytes. Coinbase's BTC-USD snapshot is one frame of 5 MB; the library's default is 1 MiB."""
BATCH = 200
"""Streams asked for in one message."""

Route = tuple[type[MarketEvent], str, str]
"""What an event is told by: its kind, the venue's symbol, and a candle's interval."""

_KINDS: dict[Channel, type[MarketEvent]] = {
    Channel.TRADE: Trade,
    Channel.CANDLE: Candle,
    Channel.QUOTE: Quote,
    Channel.BOOK: BookDelta,
}
_logger = logging.getLogger("kit.net.stream")
_logger.addHandler(logging.NullHandler())  # without a handler Python would print warnings into the user's cell


@dataclass(frozen=True)
class Up:
    """The venue has confirmed a listener's subscriptions: from now on everything comes."""


@dataclass(frozen=True)
class Down:
    """The connection is gone, or the venue refused the subscriptions."""

    reason: str


Listener = Callable[[MarketEvent | Up | Down, int], None]
"""Told of an event and when it was received (µs), on the loop's thread: it must be quick and must not raise."""


class Backoff:
    """Pauses that double up to ``most`` seconds, each between half and all of it, until data comes again."""

    def __init__(self, seed: int, *, first: float = 0.5, most: float = 30.0) -> None:
        self.tries = 0
        self._first, self._most = first, most
        self._random = Random(seed)  # noqa: S311 - jitter keeps clients apart, it keeps no secret

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        longest = min(self._most, self._first * 2.0**self.tries)
        self.tries = min(self.tries + 1, 30)
        return longest * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Data came: the next pause is short again. Being connected is not enough."""
        self.tries = 0


class Allowance:
    """At most ``limit`` in any ``window`` seconds."""

    def __init__(self, limit: int, window: float) -> None:
        self._window = window
        self._taken: deque[float] = deque(maxlen=limit)

    def take(self, now: float) -> float:
        """Seconds to wait before going ahead, which is counted as done."""
        full = len(self._taken) == self._taken.maxlen
        wait = max(0.0, self._taken[0] + self._window - now) if full else 0.0
        self._taken.append(now + wait)
        return wait


@dataclass(eq=False)
class Seat:
    """One listener and what it listens to; handed back to leave."""

    subscriptions: frozenset[Subscription]
    listener: Listener
    up: bool = False


class Streams:
    """The market streams of one venue, on one connection.

    Binance lets a connection take 5 messages a second, pings and pongs among them, and an address open 300 connections
    in 5 minutes (web-socket-streams.md): the allowances stay below. ``mute_after`` is how many seconds without data
    (or without an answer to a
    subscription) make a connection worth replacing.
    """

    def __init__(self, codec: Codec, hosts: Hosts, *, loop: Loop, clock: Clock, seed: int, mute_after: float = 15.0):
        self.last_error: str | None = None
        """Why the last connection ended or the last subscription was refused, in words."""
        self.connections = 0
        """Counts the connections that were opened."""
        self._codec, self._url = codec, codec.stream_url(hosts)
        self._loop, self._clock, self._mute_after = loop, clock, mute_after
        self._backoff = Backoff(seed)
        self._messages, self._attempts = Allowance(4, 1.0), Allowance(150, 300.0)
        self._seats: list[Seat] = []
        self._routes: dict[Route, tuple[Listener, ...]] = {}
        self._asked: set[Subscription] = set()
        self._confirmed: set[Subscription] = set()
        self._pending: dict[int | str | None, tuple[float, list[Subscription]]] = {}
        self._id = 0
        self._heard = 0.0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # -- the face, for any thread

    def subscribe(self, subscriptions: Iterable[Subscription], listener: Listener) -> Seat:
        """Have ``listener`` told of these; it hears ``Up`` once the venue has confirmed them all."""
        seat = Seat(frozenset(subscriptions), listener)
        self._loop.post(self._sit, seat)
        return seat

    def unsubscribe(self, seat: Seat) -> None:
        """Stop telling; the venue is asked to stop what nobody else listens to."""
        self._loop.post(self._leave, seat)

    def vouch(self) -> None:
        """REST has shown that a silent connection is quiet, not mute."""
        self._heard = self._loop.time()

    def close(self) -> None:
        """Hang up for good. May be called twice."""
        self._loop.call(self._hang_up)

    # -- who listens

    def _sit(self, seat: Seat) -> None:
        self._seats.append(seat)
        self._route()
        self._greet()
        if self._task is None:
            self._task = self._loop.spawn(self._supervise())

    def _leave(self, seat: Seat) -> None:
        if seat in self._seats:
            self._seats.remove(seat)
            self._route()

    def _route(self) -> None:
        """Who is told of what; and wake whoever asks the venue for it."""
        routes: dict[Route, tuple[Listener, ...]] = {}
        for seat in self._seats:
            for sub in seat.subscriptions:
                route = (_KINDS[sub.channel], sub.native, sub.interval)
                routes[route] = (*routes.get(route, ()), seat.listener)
        self._routes = routes
        self._changed.set()

    def _greet(self) -> None:
        """Tell those whose subscriptions are now all confirmed."""
        for seat in self._seats:
            if not seat.up and seat.subscriptions <= self._confirmed:
                seat.up = True
                self._tell(seat.listener, Up(), self._clock.now())

    def _tell(self, listener: Listener, event: MarketEvent | Up | Down, now: int) -> None:
        try:
            listener(event, now)
        except Exception as error:  # one listener's mistake must not cost the others their data
            self.last_error = f"a listener failed: {error!r}"

    def _hang_up(self) -> None:
        self._seats.clear()
        self._route()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    # -- the connection's life

    async def _supervise(self) -> None:
        while True:
            while not self._seats:
                self._changed.clear()
                await self._changed.wait()
            await asyncio.sleep(self._attempts.take(self._loop.time()))
            pause = await self._connection()
            await asyncio.sleep(pause)

    async def _connection(self) -> float:
        """One connection from its opening to its end; seconds to wait before the next one."""
        try:
            reason, at_once = await self._converse(await self._open())
        except Exception as error:  # whatever ends a connection, the next one follows
            self._lost(_words(error))
            return max(_retry_after(error), self._backoff.next())
        self._lost(reason)
        return 0.0 if at_once else self._backoff.next()

    async def _open(self) -> ClientConnection:
        from websockets.asyncio.client import connect  # loaded when first needed

        proxy: Literal[True] | None = None if on_this_machine(self._url) else True
        socket = await connect(
            self._url, proxy=proxy, max_size=BIGGEST_FRAME, compression=None, close_timeout=1.0, logger=_logger
        )
        self.connections += 1
        return socket

    def _lost(self, reason: str) -> None:
        self._asked.clear()
        self._confirmed.clear()
        self._pending.clear()
        if self._seats:
            self.last_error = reason
        for seat in tuple(self._seats):
            seat.up = False
            self._tell(seat.listener, Down(reason), self._clock.now())

    async def _converse(self, socket: ClientConnection) -> tuple[str, bool]:
        """Talk, listen and watch until one of them has reason to stop; why, and whether to come back at once."""
        self._heard = self._loop.time()
        tasks = [self._loop.spawn(part) for part in (self._listen(socket), self._talk(socket), self._watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reason = next(task.result() for task in tasks if task.done())
            if not self._seats:
                await socket.close()
            return reason
        finally:
            socket.transport.abort()  # a connection that is given up is not waited for
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, socket: ClientConnection) -> tuple[str, bool]:
        decode, now = self._codec.decode, self._clock.now
        async for text in socket:
            for event in decode(text):
                if isinstance(event, Ack):
                    self._acknowledge(event)
                elif isinstance(event, Goodbye):
                    return "the venue said it would close this connection", True
                elif isinstance(event, MarketEvent):
                    self._hear(event, now())
        return "the venue closed the connection", False

    def _hear(self, event: MarketEvent, now: int) -> None:
        self._heard = self._loop.time()
        self._backoff.reset()
        interval = event.interval if isinstance(event, Candle) else ""
        for listener in self._routes.get((type(event), event.symbol, interval), ()):
            self._tell(listener, event, now)

    async def _watch(self) -> tuple[str, bool]:
        """Wait until there was no data, or no answer to a subscription, for too long."""
        while True:
            now = self._loop.time()
            if now - self._heard >= self._mute_after:
                return f"the connection was mute for {now - self._heard:.0f} s", False
            if any(now - asked >= self._mute_after for asked, _ in self._pending.values()):
                return "the venue did not confirm the subscriptions", False
            await asyncio.sleep(self._mute_after / 10)

    # -- what the venue is asked for

    async def _talk(self, socket: ClientConnection) -> tuple[str, bool]:
        """Keep what the venue was asked for equal to what is wanted."""
        while self._seats:
            text = self._next_message()
            if text is None:
                self._changed.clear()
                await self._changed.wait()
            else:
                await asyncio.sleep(self._messages.take(self._loop.time()))
                await socket.send(text)
        return "nobody listens any more", True

    def _next_message(self) -> str | None:
        """What to say next so that the venue sends what is wanted and nothing else; None when it does."""
        wanted = frozenset[Subscription]().union(*(seat.subscriptions for seat in self._seats))
        missing = sorted(wanted - self._asked, key=repr)[:BATCH]
        extra = sorted(self._asked - wanted, key=repr)[:BATCH]
        self._id += 1
        if missing:
            self._asked.update(missing)
            self._pending[self._id] = (self._loop.time(), missing)
            return self._codec.subscribe(missing, self._id)
        if extra:
            self._asked.difference_update(extra)
            self._confirmed.difference_update(extra)
            return self._codec.unsubscribe(extra, self._id)
        return None

    def _acknowledge(self, ack: Ack) -> None:
        _, subscriptions = self._pending.pop(ack.id, (0.0, []))
        if ack.error:
            self._refuse(subscriptions, ack.error)
            return
        self._confirmed.update(subscriptions)
        self._greet()

    def _refuse(self, subscriptions: list[Subscription], words: str) -> None:
        """Tell those it concerns. It is asked for again with the next connection, not before."""
        self.last_error = f"the venue refused a subscription: {words}"
        for seat in self._seats:
            if not seat.subscriptions.isdisjoint(subscriptions):
                self._tell(seat.listener, Down(self.last_error), self._clock.now())


def _words(error: Exception) -> str:
    """An error as a reason to show."""
    if isinstance(error, KitError):
        return str(error)
    said = str(error) or type(error).__name__
    return f"the connection broke: {said}" if "Closed" in type(error).__name__ else f"no connection: {said}"


def _retry_after(error: Exception) -> float:
    """Seconds the venue asked to wait when it refused the handshake; 0 when it did not say."""
    response = getattr(error, "response", None)
    said = response.headers.get("Retry-After", "") if response is not None else ""
    return float(said) if said.isdigit() else 0.0
