"""The library's connection, cut short: messages are handed on from within the very call that read them.

``websockets`` does the handshake, proxies, TLS, framing, pings and the closing. Its queue, and the task that would wake
up for each message, are gone round. Loaded when the first connection is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, TEXT, CloseCode, Frame
from websockets.protocol import Event, State

from kit.clock import Clock

if TYPE_CHECKING:
    from kit.net.socket import Ended, Receive


class Connection(ClientConnection):
    """Tells ``receive`` of the messages of each read, ``ended`` of the end, once ``start`` was called.

    With ``coalesce`` (s) nothing is read for so long after each read: what comes meanwhile is read in one go.
    """

    def __init__(self, *arguments: Any, receive: Receive, ended: Ended, clock: Clock, coalesce: float, **options: Any):
        super().__init__(*arguments, **options)
        self._early: list[tuple[list[bytes], int]] = []
        self._listener, self._ended = receive, ended
        self._receive: Receive = lambda messages, received: self._early.append((messages, received))
        self._clock, self._coalesce = clock, coalesce
        self._messages: list[bytes] = []
        """What the read under way has brought."""
        self._parts: list[bytes] = []

    def start(self) -> None:
        """From the loop's next turn on, tell; what came before that is told first."""
        self.loop.call_soon(self._start)

    def _start(self) -> None:
        self._receive = self._listener
        for messages, received in self._early:
            self._receive(messages, received)
        self._early.clear()
        self.connection_lost_waiter.add_done_callback(lambda _: self._ended(self._reason()))

    def say(self, text: str) -> None:
        """Send a text. Where the end has begun it goes nowhere: the end is told anyway."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_text(text.encode())
            self.send_data()

    def drop(self) -> None:
        """End it at once; nothing more is told."""
        self._listener = self._receive = lambda messages, received: None
        self._ended = lambda reason: None
        self.transport.abort()

    # -- what the library calls

    def data_received(self, data: bytes) -> None:
        """Bytes came: one reading of the clock for all that is in them, for they came together."""
        received = self._clock.now()
        super().data_received(data)
        if self._messages:
            messages, self._messages = self._messages, []
            self._receive(messages, received)
        if self._coalesce and self.response is not None:
            self.transport.pause_reading()
            self.loop.call_later(self._coalesce, self._resume)

    def _resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def process_event(self, event: Event) -> None:
        """A frame, or the answer to the handshake."""
        if not isinstance(event, Frame):
            super().process_event(event)
        elif event.opcode is TEXT and event.fin:
            self._messages.append(bytes(event.data))
        elif event.opcode in DATA_OPCODES:
            self._join(event)
        else:
            super().process_event(event)

    def _join(self, frame: Frame) -> None:
        """A message in binary, or a fragment of one; the last fragment completes it."""
        self._parts.append(bytes(frame.data))
        if frame.fin:
            self._messages.append(b"".join(self._parts))
            self._parts.clear()

    def _reason(self) -> str:
        told, sent, cause = self.protocol.close_rcvd, self.protocol.close_sent, self.close_exc.__cause__
        if told is not None:
            return f"the venue closed the connection ({told})"
        if sent is not None and sent.code == CloseCode.INTERNAL_ERROR:
            return f"the connection is dead: a ping was not answered within {self.ping_timeout} s"
        return f"the connection broke: {(sent and sent.reason) or cause or 'without a word'}"
