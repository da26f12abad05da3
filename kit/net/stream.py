"""A venue's market streams: the supervisor's decisions carried out on real sockets, for any number of listeners.

Everything happens on the loop's thread. Nothing is printed: ``last_error`` says what went wrong last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Protocol

from kit.clock import Clock
from kit.net.link import Allowance
from kit.net.loop import Loop
from kit.net.routes import Listener
from kit.net.socket import Receive, Socket, connect, reason_of, retry_after
from kit.net.supervisor import BEAT, Hangup, Open, Send, Supervisor
from kit.venues.base import Hosts, MarketCodec, Subscription

SNAPSHOTS = (60, 60.0)
"""So many book snapshots in so many seconds, for all instruments together: half of what Binance lets an address ask
(1,000 levels cost 50 of 6,000 a minute), so that a reconnect of hundreds of instruments does not end in a ban."""


class Witness(Protocol):
    """Whoever writes down what passes over the wire (``kit.net.recorder``). Must be quick and must not raise."""

    @property
    def recording(self) -> bool: ...
    def opened(self, conn: int, url: str) -> None: ...
    def sent(self, conn: int, text: str) -> None: ...
    def received(self, conn: int, frame: bytes | str, ns: int) -> None: ...
    def ended(self, conn: int, reason: str) -> None: ...


class Streams:
    """The market streams of one venue, on one connection; on two while the one takes over from the other.

    ``mute_after`` is how many seconds without data (or without an answer to a subscription) make a connection worth
    replacing. ``coalesce`` (s) lets so much pass between two looks at the socket, which saves most of the cost of a
    busy stream and delays it by as much at most: the delay shows in the latency figures.
    """

    def __init__(
        self,
        codec: MarketCodec,
        hosts: Hosts,
        *,
        loop: Loop,
        clock: Clock,
        seed: int,
        mute_after: float = 15.0,
        coalesce: float = 0.0,
        lifetime: float | None = None,
    ) -> None:
        self.supervisor = Supervisor(
            codec, seed=seed, mute_after=mute_after, lifetime=lifetime, numbers=loop.connections
        )
        self.coalesce = coalesce
        self.snapshots = Allowance(*SNAPSHOTS)
        self._url = codec.stream_url(hosts)
        self._loop, self._clock = loop, clock
        self._sockets: dict[int, Socket] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._witnesses: tuple[Witness, ...] = ()
        self._beating = False

    # -- the face, for any thread

    @property
    def last_error(self) -> str | None:
        """Why the last connection ended or the last subscription was refused, in words."""
        return self.supervisor.last_error

    @property
    def connections(self) -> int:
        """Counts the connections that came about."""
        return self.supervisor.links

    def subscribe(self, subscriptions: Iterable[Subscription], listener: Listener) -> None:
        """Have ``listener`` told of these, on the loop's thread."""
        self._loop.post(self._subscribe, tuple(subscriptions), listener)

    def unsubscribe(self, subscriptions: Iterable[Subscription], listener: Listener) -> None:
        """Stop telling; the venue is asked to stop what nobody else listens to."""
        self._loop.post(self._unsubscribe, tuple(subscriptions), listener)

    def renew(self, subscription: Subscription) -> None:
        """Ask for a channel anew."""
        self._loop.post(self._renew, subscription)

    def vouch(self) -> None:
        """REST has shown that a silent connection is quiet, not mute."""
        self.supervisor.vouch(self._clock.now())

    def witness(self, witness: Witness) -> None:
        """Have everything written down, until ``witness`` is not recording any more."""
        self._loop.call(partial(self._join, witness))

    def close(self) -> None:
        """Hang up for good. May be called twice."""
        self._loop.call(self._quit)

    # -- on the loop's thread

    def _subscribe(self, subscriptions: tuple[Subscription, ...], listener: Listener) -> None:
        self._loop.farewells.add(self._quit)
        self.supervisor.subscribe(subscriptions, listener, self._clock.now())
        if not self._beating:
            self._beating = True
            self._beat()
        else:
            self._step()

    def _unsubscribe(self, subscriptions: tuple[Subscription, ...], listener: Listener) -> None:
        self.supervisor.unsubscribe(subscriptions, listener)
        self._step()

    def _renew(self, subscription: Subscription) -> None:
        self.supervisor.renew(subscription, self._clock.now())
        self._step()

    def _join(self, witness: Witness) -> None:
        self._witnesses = (*(kept for kept in self._witnesses if kept.recording), witness)
        for link in self._sockets:
            witness.opened(link, self._url)

    def _quit(self) -> None:
        self._loop.farewells.discard(self._quit)
        for sub, listener in tuple(self.supervisor.routes.listeners()):
            self.supervisor.unsubscribe([sub], listener)
        self._step()

    def _beat(self) -> None:
        self._step()
        self._beating = bool(self.supervisor.routes.wanted)
        if self._beating:
            self._loop.later(BEAT, self._beat)

    def _step(self) -> None:
        for action in self.supervisor.step(self._clock.now()):
            match action:
                case Open(link):
                    self._opening[link] = self._loop.spawn(self._open(link))
                case Send(link, text):
                    self._send(link, text)
                case Hangup(link):
                    self._hang_up(link)

    async def _open(self, link: int) -> None:
        try:
            socket = await connect(
                self._url,
                receive=self._receiver(link),
                ended=partial(self._ended, link),
                clock=self._clock,
                coalesce=self.coalesce,
            )
        except Exception as error:  # whatever keeps a connection from coming about, the next attempt follows
            self._ended(link, reason_of(error), retry_after(error))
            return
        finally:
            self._opening.pop(link, None)
        self._sockets[link] = socket
        for witness in self._witnesses:
            witness.opened(link, self._url)
        self.supervisor.opened(link, self._clock.now())
        self._step()

    def _receiver(self, link: int) -> Receive:
        """Who is told of the connection's frames."""

        def receive(frames: list[bytes], now: int) -> None:
            for witness in self._witnesses:
                for frame in frames:
                    witness.received(link, frame, now * 1000)
            self.supervisor.received(link, frames, now)

        return receive

    def _ended(self, link: int, reason: str, wait: float = 0.0) -> None:
        if self._sockets.pop(link, None) is not None:
            for witness in self._witnesses:
                witness.ended(link, reason)
        self.supervisor.ended(link, reason, self._clock.now(), wait)
        self._step()

    def _send(self, link: int, text: str) -> None:
        socket = self._sockets.get(link)
        if socket is not None:
            for witness in self._witnesses:
                witness.sent(link, text)
            socket.send(text)

    def _hang_up(self, link: int) -> None:
        opening, socket = self._opening.pop(link, None), self._sockets.pop(link, None)
        if opening is not None:
            opening.cancel()
        if socket is not None:
            for witness in self._witnesses:
                witness.ended(link, "hung up here")
            socket.abort()
