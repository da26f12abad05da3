"""The connection over ``picows``, whose framing is compiled: what ``kit.net.connection`` does, for a fraction of it.

``picows`` does the handshake, TLS, framing and the pings that find a dead peer. It reads from the socket in one go what
has come, and calls for each frame of it; they are handed on together. Loaded when the first connection is opened, where
it is installed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from picows import (
    WSCloseCode,
    WSFrame,
    WSHandshakeError,
    WSInvalidURL,
    WSListener,
    WSMsgType,
    WSParsedURL,
    WSProtocolError,
    WSTransport,
    ws_connect,
)
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import Close, CloseCode
from websockets.http11 import Response

from kit.clock import Clock

if TYPE_CHECKING:
    from picows.picows import WSCloseHandshake

    from kit.net.socket import Ended, Receive

AT_ONCE = 2**18
"""Bytes read at once, at least: as many as asyncio reads."""
CONTROL = 125
"""Bytes in a frame that is no message's, at most (RFC 6455, 5.5). To ask for a frame's kind costs more than its length,
so that is asked of the short ones only."""


class FastConnection(WSListener):
    """Tells ``receive`` of the messages of each read, ``ended`` of the end, once ``start`` was called.

    With ``coalesce`` (s) nothing is read for so long after each read: what comes meanwhile is read in one go. The pause
    is below TLS, so that it saves there too.
    """

    __slots__ = (
        "_biggest", "_clock", "_coalesce", "_early", "_ended", "_joined", "_life", "_listener", "_loop",
        "_messages", "_pong_within", "_receive", "_socket", "_transport",
    )  # fmt: skip

    def __init__(self, *, receive: Receive, ended: Ended, clock: Clock, coalesce: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._early: list[tuple[list[bytes], int]] = []
        self._listener, self._ended = receive, ended
        self._receive: Receive = lambda messages, received: self._early.append((messages, received))
        self._clock, self._coalesce = clock, coalesce
        self._messages: list[bytes] = []
        """What the read under way has brought so far."""
        self._joined: bytearray | None = None
        """The message whose pieces are coming."""
        self._socket: socket.socket | None = None

    async def open(
        self, url: str, *, biggest: int, within: float, ping_every: float, pong_within: float, logger: logging.Logger
    ) -> None:
        """Connect. Raises what ``websockets`` would."""
        self._biggest, self._pong_within = biggest, pong_within
        try:
            async with asyncio.timeout(within):
                self._transport, listener = await ws_connect(
                    lambda request, response: self,
                    url,
                    websocket_handshake_timeout=None,
                    logger_name=logger,
                    enable_auto_ping=True,
                    auto_ping_idle_timeout=ping_every,
                    auto_ping_reply_timeout=pong_within,
                    enable_auto_pong=False,
                    max_frame_size=biggest,
                    read_buffer_init_size=AT_ONCE,
                    socket_factory=self._dial,
                )
        except BaseException as error:
            await self._give_up()
            if isinstance(error, WSInvalidURL):
                raise InvalidURI(url, str(error)) from error
            if isinstance(error, WSHandshakeError):
                raise _refusal(error) from error
            raise
        if listener is not self:
            raise InvalidHandshake("it hung up before it answered")

    async def _dial(self, place: WSParsedURL) -> socket.socket:
        """A connected socket. It is our own, so that an attempt that is given up leaves none behind."""
        failed = OSError("no address")
        for family, kind, protocol, _, address in await self._loop.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM
        ):
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setblocking(False)
            try:
                await self._loop.sock_connect(self._socket, address)
            except BaseException as error:
                self._socket.close()
                if not isinstance(error, OSError):
                    raise
                failed = error
            else:
                return self._socket
        raise failed

    async def _give_up(self) -> None:
        """The library leaves an unfinished handshake open: have the socket end, and its transport see it."""
        if self._socket is None:
            return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        until = self._loop.time() + 1.0
        while self._socket.fileno() >= 0 and self._loop.time() < until:
            await asyncio.sleep(0.001)
        self._socket.close()

    def start(self) -> None:
        """From the loop's next turn on, tell; what came before that is told first."""
        self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._receive = self._listener
        for messages, received in self._early:
            self._receive(messages, received)
        self._early.clear()
        self._life = self._loop.create_task(self._live())

    async def _live(self) -> None:
        cause: BaseException | None = None
        try:
            await self._transport.wait_disconnected()
        except Exception as error:  # why the library ended it
            cause = error
        self._ended(self._reason(cause))

    def say(self, text: str) -> None:
        """Send a text. Where the end has begun it goes nowhere: the end is told anyway."""
        self._transport.send(WSMsgType.TEXT, text)

    def drop(self) -> None:
        """End it at once; nothing more is told."""
        self._listener = self._receive = lambda messages, received: None
        self._ended = lambda reason: None
        self._transport.disconnect(graceful=False)

    # -- what the library calls

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        """None is swallowed: the last frame of a read, whatever it is, comes by below."""
        return False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame. With the last one of a read all of it is handed on: one reading of the clock for what came together.
        (The library marks a last one also where it stops at a frame that breaks the protocol.)"""
        if frame.payload_size > CONTROL and frame.fin and self._joined is None:
            self._messages.append(frame.get_payload_as_bytes())
        else:
            self._heed(transport, frame)
        if frame.last_in_buffer:
            if self._messages:
                messages, self._messages = self._messages, []
                self._receive(messages, self._clock.now())
            if self._coalesce:
                transport.underlying_transport.pause_reading()
                self._loop.call_later(self._coalesce, self._resume)

    def _resume(self) -> None:
        if not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()

    def _heed(self, transport: WSTransport, frame: WSFrame) -> None:
        match frame.msg_type:
            case WSMsgType.PING:
                transport.send_pong(frame.get_payload_as_bytes())
            case WSMsgType.PONG:
                transport.notify_user_specific_pong_received()
            case WSMsgType.CLOSE:
                transport.send_close(WSCloseCode.OK)
                transport.disconnect(graceful=False)
            case _:
                self._join(frame)

    def _join(self, frame: WSFrame) -> None:
        """A short message, or a fragment of one; the last fragment completes it."""
        if (self._joined is None) is (frame.msg_type is WSMsgType.CONTINUATION):
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a message's pieces came out of order")
        joined = self._joined = self._joined or bytearray()
        joined += frame.get_payload_as_memoryview()
        if len(joined) > self._biggest:
            raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, "a message's pieces are too many")
        if frame.fin:
            self._joined = None
            self._messages.append(bytes(joined))

    def _reason(self, cause: BaseException | None) -> str:
        ending: WSCloseHandshake | None = self._transport.close_handshake
        if ending is None:
            return f"the connection broke: {cause or 'without a word'}"
        if ending.recv is not None and (ending.sent is None or ending.recv_then_sent):
            close = Close(ending.recv.code.value or CloseCode.NO_STATUS_RCVD, ending.recv.reason or "")
            return f"the venue closed the connection ({close})"
        if ending.sent is not None and ending.sent.code is WSCloseCode.GOING_AWAY:  # the library's own word for it
            return f"the connection is dead: a ping was not answered within {self._pong_within} s"
        return f"the connection broke: {(ending.sent and ending.sent.reason) or cause}"


def _refusal(error: WSHandshakeError) -> InvalidHandshake:
    """As ``websockets`` says it: with the status, if there is one that refuses."""
    answer = error.response
    if answer is None or answer.status == 101:
        return InvalidHandshake(str(error))
    return InvalidStatus(Response(answer.status, answer.status.phrase, Headers(answer.headers.items())))
