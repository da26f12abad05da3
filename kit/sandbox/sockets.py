"""WebSocket connections of the sandbox: what streams and the WebSocket API share.

Pings every 20 s carry the time in ms as their payload, and whoever has not answered one within a minute is cut
off; at most five messages a second come in; a connection lives a day; an address may try to connect 300 times in
five minutes (web-socket-streams.md).
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Coroutine
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response

from kit.clock import DAY, MINUTE, SECOND, Clock
from kit.sandbox.faults import Armed, Faults
from kit.sandbox.wire import Stamp, microseconds, milliseconds

PING_EVERY = 20 * SECOND
PONG_WITHIN = 60 * SECOND
LIFETIME = DAY
MESSAGES_PER_SECOND = 5
ATTEMPTS = 300
ATTEMPTS_WITHIN = 5 * MINUTE
"""How often an address may try to connect, refused tries among them."""
SLOW = 8 * 1024 * 1024
"""Bytes waiting to be read by a client before it is cut off: a slow reader must not fill this process."""


class Client:
    """One connection and what is known of it. Times are µs."""

    def __init__(self, connection: ServerConnection, now: int) -> None:
        self.connection = connection
        self.opened = now
        self.pinged = now
        self.heard = now
        """When the last ping was answered."""
        target = urlsplit(connection.request.path if connection.request else "/")
        self.path = target.path
        self.query = {name: values[-1] for name, values in parse_qs(target.query).items()}
        self.stamp: Stamp = microseconds if self.unit == "MICROSECOND" else milliseconds
        self.frozen = False
        """True when it is half open: nothing goes in or out any more."""
        self.ends: Armed | None = None
        """The fault at whose end it is cut."""
        self.lag: Armed | None = None
        """The fault that makes it late, and what is on its way with the time it is due."""
        self.late: deque[tuple[int, bytes]] = deque()
        self._arrivals: deque[int] = deque(maxlen=MESSAGES_PER_SECOND)

    @property
    def unit(self) -> str:
        """MILLISECOND, or MICROSECOND when the URL asks for it."""
        return self.query.get("timeUnit", "MILLISECOND").upper()

    def hurried(self, now: int) -> bool:
        """Count an incoming message; True when it is one too many."""
        full = len(self._arrivals) == MESSAGES_PER_SECOND and now - self._arrivals[0] < SECOND
        self._arrivals.append(now)
        return full

    def freeze(self) -> None:
        """Be half open from now on."""
        self.frozen = True
        self.connection.transport.pause_reading()

    def due(self, now: int, held: int) -> int:
        """When a message of now, held back for ``held``, is to reach it: never before an earlier one."""
        lag = round(self.lag.fault.ms * 1000) if self.lag and self.lag.live(now) else 0
        return max(now + held + lag, self.late[-1][0] if self.late else 0)

    def doomed(self, now: int) -> bool:
        """True when a fault has it cut now. One that is cleared spares it, unless it is half open already."""
        if self.ends is None:
            return False
        if self.ends.cleared:
            return self.frozen
        return self.ends.ends is not None and now >= self.ends.ends

    def cut(self) -> None:
        """End the connection without a word."""
        self.connection.transport.abort()

    def tear(self, message: bytes, share: float) -> None:
        """Send this share of a message, but neither nothing nor all, and end the connection without a word."""
        frame = Frame(Opcode.TEXT, message).serialize(mask=False)
        self.connection.transport.write(frame[: 1 + int(share * (len(frame) - 1))])
        self.cut()


class Door(ABC):
    """The open connections of one address. A subclass says which paths it knows and what a message means."""

    messages_per_second: int | None = MESSAGES_PER_SECOND
    """How many may come in on one connection; None: its messages are counted as requests instead."""

    def __init__(self, faults: Faults, wall: Clock) -> None:
        self.clients: set[Client] = set()
        self._faults = faults
        self._wall = wall
        self._attempts: defaultdict[str, deque[int]] = defaultdict(lambda: deque(maxlen=ATTEMPTS))
        self._tasks: set[asyncio.Task[None]] = set()
        """Pings and closings under way: asyncio itself holds tasks only weakly."""

    @abstractmethod
    def knows(self, path: str) -> bool:
        """True for a path that may be connected to."""

    @abstractmethod
    def joined(self, client: Client) -> None:
        """A connection has opened."""

    @abstractmethod
    def heard(self, client: Client, message: str | bytes) -> None:
        """A message has come in."""

    @abstractmethod
    def left(self, client: Client) -> None:
        """A connection has ended."""

    async def serve(self, connection: ServerConnection) -> None:
        """Live with one connection until it ends."""
        client = Client(connection, self._wall.now())
        self.clients.add(client)
        self.joined(client)
        try:
            async for message in connection:
                if self.messages_per_second and client.hurried(self._wall.now()):
                    await connection.close(CloseCode.POLICY_VIOLATION, "Too many requests")
                    break
                if not client.frozen:
                    self.heard(client, message)
        except ConnectionClosed:
            pass
        finally:
            self.clients.discard(client)
            self.left(client)

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """None lets a handshake go on; a response refuses it."""
        now = self._wall.now()
        wait = self._crowded(str(connection.remote_address[0]), now)
        if wait:  # Binance does not say how it refuses; this is what it does to requests
            return _refusal(connection, HTTPStatus.TOO_MANY_REQUESTS, wait)
        if struck := self._faults.refuses(now):
            return _refusal(connection, HTTPStatus.SERVICE_UNAVAILABLE, struck.retry_after)
        if not self.knows(urlsplit(request.path).path):
            return connection.respond(HTTPStatus.NOT_FOUND, "Not Found\n")
        return None

    def _crowded(self, address: str, now: int) -> int:
        """Count an attempt; the seconds to wait when it is one too many, else 0."""
        tried = self._attempts[address]
        full = len(tried) == ATTEMPTS and now - tried[0] < ATTEMPTS_WITHIN
        tried.append(now)
        return -(-(tried[0] + ATTEMPTS_WITHIN - now) // SECOND) if full else 0

    def send(self, client: Client, message: bytes, held: int = 0) -> None:
        """Hand a JSON text to a client without waiting for it, held back for ``held`` µs. While muted or half open
        nothing leaves."""
        now = self._wall.now()
        due = client.due(now, held)
        if due > now or client.late:
            client.late.append((due, message))
        else:
            self._write(client, message, now)

    def _write(self, client: Client, message: bytes, now: int) -> None:
        if client.frozen or self._faults.muted(now):
            return
        if client.connection.transport.get_write_buffer_size() > SLOW:
            client.cut()
        else:
            broadcast([client.connection], message, text=True)

    def keep(self) -> None:
        """Deliver what was late, ping who is due, cut off who does not answer or is doomed, close what has lived its
        day; waits for nobody."""
        now = self._wall.now()
        for client in list(self.clients):
            while client.late and client.late[0][0] <= now:
                self._write(client, client.late.popleft()[1], now)
            if now - client.heard > PONG_WITHIN + PING_EVERY or client.doomed(now):
                client.cut()
            elif now - client.opened > LIFETIME:
                self._spawn(client.connection.close(CloseCode.GOING_AWAY, "24 hours are over"))
            elif now - client.pinged >= PING_EVERY and not client.frozen:
                client.pinged = now
                self._spawn(self._ping(client, str(now // 1000)))

    async def _ping(self, client: Client, payload: str) -> None:
        with contextlib.suppress(ConnectionClosed):
            await (await client.connection.ping(payload))
            client.heard = self._wall.now()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cut_all(self) -> None:
        """End every connection without a word."""
        for client in self.clients:
            client.cut()


def _refusal(connection: ServerConnection, status: HTTPStatus, wait: int | None) -> Response:
    """A handshake's refusal, and the seconds to wait before the next try where they are told."""
    response = connection.respond(status, "\n")
    if wait is not None:
        response.headers["Retry-After"] = str(wait)
    return response
