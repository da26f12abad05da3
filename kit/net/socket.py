"""One WebSocket connection for whoever decides about connections; and why there is none, in words.

Everything happens on the thread of the running loop.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Literal, Protocol
from urllib.request import getproxies

from kit.clock import Clock
from kit.errors import KitError
from kit.venues.base import on_this_machine

BIGGEST_FRAME = 64 * 2**20
"""Bytes. Coinbase's BTC-USD snapshot is one frame of 5 MB; the library's default is 1 MiB."""
OPEN_WITHIN = 10.0
"""Seconds for name, TCP, proxy, TLS and handshake together."""
PING_EVERY, PONG_WITHIN = 15.0, 10.0
"""Seconds. A half-open connection is noticed after their sum at most. Binance counts our ping among the five messages a
second that it takes."""

Receive = Callable[[list[bytes], int], None]
"""Handed the messages (text or binary, whole) that were read together, and when (µs). Must not raise."""
Ended = Callable[[str], None]
"""Told once, in words, why an open connection is gone. Must not raise."""

_logger = logging.getLogger("kit.net.socket")
_logger.addHandler(logging.NullHandler())  # without a handler Python would print warnings into the user's cell
_silent = logging.Logger("kit.net.private", logging.CRITICAL + 1)
"""Outside the tree of loggers: whatever level a user sets, what is signed is never written down."""


class Wire(Protocol):
    """What carries an open connection."""

    def say(self, text: str) -> None: ...
    def drop(self) -> None: ...


class Socket:
    """An open connection."""

    def __init__(self, connection: Wire) -> None:
        self._connection = connection

    def send(self, text: str) -> None:
        """Send a text. On a connection whose end has begun it goes nowhere: ``ended`` is told anyway."""
        self._connection.say(text)

    def abort(self) -> None:
        """End it at once; neither ``receive`` nor ``ended`` hears of it again."""
        self._connection.drop()


async def connect(
    url: str,
    *,
    receive: Receive,
    ended: Ended,
    clock: Clock,
    coalesce: float = 0.0,
    plain: bool = False,
    private: bool = False,
) -> Socket:
    """A connection to ``url``, through the environment's proxy unless it is on this machine.

    ``receive`` is called from within the read that brought its messages. With ``coalesce`` (s) nothing is read for so
    long after each read, and what comes meanwhile is read in one go: busy streams then cost a fraction. A message is
    stamped when it is read, so that the wait shows in its latency (receipt minus venue time). Neither callback is
    called before this has returned. Raises what ``websockets`` raises: ``reason_of`` and ``retry_after`` read it.

    Where the extra ``fast`` is installed, ``picows`` carries it, unless a proxy is in use or ``plain`` is wanted; there
    is no other difference. ``private``: what is said there is signed, so nothing of it is ever logged.
    """
    opened = _open if plain or not _fast(url) else _open_fast
    return await opened(url, receive, ended, clock, coalesce, _silent if private else _logger)


def _fast(url: str) -> bool:
    proxies = getproxies().keys() - {"no"}  # which one counts for a venue is for ``websockets`` to say
    return find_spec("picows") is not None and (on_this_machine(url) or not proxies)


async def _open(
    url: str, receive: Receive, ended: Ended, clock: Clock, coalesce: float, logger: logging.Logger
) -> Socket:
    from websockets.asyncio.client import connect as open_connection  # loaded when first needed

    from kit.net.connection import Connection

    proxy: Literal[True] | None = None if on_this_machine(url) else True
    connection = await open_connection(
        url,
        proxy=proxy,
        compression=None,
        max_size=BIGGEST_FRAME,
        open_timeout=OPEN_WITHIN,
        ping_interval=PING_EVERY,
        ping_timeout=PONG_WITHIN,
        close_timeout=1.0,
        logger=logger,
        create_connection=partial(Connection, receive=receive, ended=ended, clock=clock, coalesce=coalesce),  # type: ignore[arg-type]  # documented: "a wrapper or a subclass"
    )
    assert isinstance(connection, Connection)  # noqa: S101 - what was just asked for; it tells the type checker
    connection.start()
    return Socket(connection)


async def _open_fast(
    url: str, receive: Receive, ended: Ended, clock: Clock, coalesce: float, logger: logging.Logger
) -> Socket:
    from kit.net.fast import FastConnection

    connection = FastConnection(receive=receive, ended=ended, clock=clock, coalesce=coalesce)
    await connection.open(
        url,
        biggest=BIGGEST_FRAME,
        within=OPEN_WITHIN,
        ping_every=PING_EVERY,
        pong_within=PONG_WITHIN,
        logger=logger,
    )
    connection.start()
    return Socket(connection)


def reason_of(error: BaseException) -> str:
    """Why no connection came about, in words fit to show."""
    if isinstance(error, KitError):
        return str(error)
    status = _status(error)
    if status is not None:
        return f"no connection: it was refused with HTTP {status}"
    said = next((words for kind, words in _words() if isinstance(error, kind)), type(error).__name__)
    return f"no connection: {said}"


def retry_after(error: BaseException) -> float:
    """Seconds the venue asked to wait when it refused the connection; 0 when it did not say."""
    response = getattr(error, "response", None)
    said = response.headers.get("Retry-After", "") if response is not None else ""
    return float(said) if said.isdecimal() else 0.0


def _status(error: BaseException) -> int | None:
    from websockets.exceptions import InvalidStatus

    return error.response.status_code if isinstance(error, InvalidStatus) else None


def _words() -> list[tuple[type[BaseException], str]]:
    """The first row that matches counts."""
    from websockets.exceptions import InvalidHandshake, InvalidProxy, InvalidURI, ProxyError

    return [
        (socket.gaierror, "its name can't be resolved: is this machine online?"),
        (ssl.SSLCertVerificationError, "its TLS certificate is not trusted: does a proxy sit in between?"),
        (ssl.SSLError, "TLS failed"),
        (TimeoutError, f"none came about within {OPEN_WITHIN:.0f} s"),
        (ConnectionRefusedError, "nobody listens there"),
        (OSError, "the network does not lead there, or it broke off"),
        (InvalidProxy, "the proxy's address is not one"),
        (ProxyError, "the proxy does not connect to it"),
        (InvalidURI, "its address is no WebSocket URL"),
        (InvalidHandshake, "it does not answer as a WebSocket server"),
    ]
