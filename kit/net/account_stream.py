"""An account's own stream: one connection and one subscription, kept up for whoever follows the account.

The sockets live on the loop's thread, which must never wait; whoever listens may (it writes to a journal), so it is
told on a thread of its own, of everything in its order. The subscription is signed: its text goes to the socket and
nowhere else, neither to a log nor to a tape.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from queue import SimpleQueue
from typing import Protocol

from kit.clock import SECOND, VenueClock
from kit.errors import BadAnswer
from kit.model import Report
from kit.net.loop import GOODBYE, Loop
from kit.net.socket import Socket, connect, reason_of, retry_after
from kit.net.supervisor import EARLIEST, EARLY, REFUSED, Backoff
from kit.venues.base import Ack, Codec, Goodbye, Holdings, Key, Standing, Transfer, UserEvent

ANSWERED_WITHIN = 5.0
"""Seconds that the answer to the subscription may take."""
STEADY = 60.0
"""Seconds after which a connection has held, though a quiet account had nothing to tell."""

News = Report | Standing | Holdings | Transfer


class Listener(Protocol):
    """Whoever follows the account. Called on one thread, of each thing in its order."""

    def up(self, at: int) -> None:
        """From ``at`` (µs by the venue's clock) on everything is told; what was before is not."""
        ...

    def down(self, reason: str) -> None:
        """Nothing is told any more, until ``up``."""
        ...

    def heard(self, news: News) -> None:
        """Something happened to the account."""
        ...


class Rest(Protocol):
    """Who knows the venue's clock."""

    clock: VenueClock

    def sync(self) -> object: ...


class AccountStream:
    """The stream at ``url`` of the account that ``key`` belongs to. It begins with ``start``.

    It is opened again whenever it ends, after pauses that grow until the account has news; when the venue announces the
    end, or a connection gets old, the next one is opened beside it, and something may be told twice.
    """

    def __init__(self, codec: Codec, url: str, key: Key, rest: Rest, *, loop: Loop, name: str, seed: int) -> None:
        self.last_error = ""
        """Why the last connection ended or did not come about."""
        self.connections = 0
        """Counts the subscriptions that came about."""
        self.backoff, self._refusals = Backoff(seed), Backoff(seed, first=REFUSED[0] / SECOND, most=REFUSED[1] / SECOND)
        self._codec, self._url, self._key, self._rest, self._loop = codec, url, key, rest, loop
        self._ids = count(1)
        self._line: _Line | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = threading.Event()
        self._listener: Listener | None = None
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._tell, name=f"kit-account-{name}", daemon=True)

    # -- the face, for any thread

    def start(self, listener: Listener) -> None:
        """Open it, and tell ``listener``."""
        self._listener = listener
        self._thread.start()
        self._loop.post(self._begin)

    def renew(self, reason: str) -> None:
        """Give the connection up for another: it does not tell what it should."""
        self._loop.post(self._renew, reason)

    def close(self) -> None:
        """Hang up, and end the thread that tells. May be called twice."""
        self._loop.call(self._quit)
        if self._task is not None and not self._loop.inside:
            self._ended.wait(GOODBYE)
        self._calls.put(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    # -- on the thread that tells

    def _tell(self) -> None:
        while call := self._calls.get():
            try:
                call()
            except Exception as error:  # what it was about must be read again: the next connection begins with that
                self.last_error = f"news of the account could not be taken in: {error!r}"
                self.renew(self.last_error)

    # -- on the loop's thread

    def _begin(self) -> None:
        self._loop.farewells.add(self._quit)
        self._task = self._loop.spawn(self._keep())
        self._task.add_done_callback(lambda _: self._ended.set())

    def _renew(self, reason: str) -> None:
        if self._line is not None:
            self._line.end(reason)

    def _quit(self) -> None:
        self._loop.farewells.discard(self._quit)
        if self._task is not None:
            self._task.cancel()
        self._drop()

    def _drop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.drop()

    async def _keep(self) -> None:
        """Have a connection, always."""
        while True:
            line = _Line()
            try:
                pause = await self._open(line)
            except BaseException:
                line.drop()
                raise
            if pause is None:
                began = self._loop.time()
                reason = await line.over
                if not reason:
                    continue  # it is told its end, or old: the next one is opened while it lives
                self._drop()
                self._down(reason)
                if self._loop.time() - began > STEADY:
                    self.backoff.reset()
                pause = self.backoff.next()
            await asyncio.sleep(pause)

    async def _open(self, line: _Line) -> float | None:
        """Connect and subscribe; seconds to wait before the next attempt when it did not come about."""
        refused = floor = 0.0
        try:
            line.socket = socket = await connect(
                self._url,
                receive=partial(self._received, line),
                ended=line.end,
                clock=self._rest.clock,
                plain=True,  # a few frames a minute: one carrier that is known to do is enough
                private=True,
            )
            answer = await self._subscribe(line, socket)
            if not answer.error:
                return None
            reason = answer.error
            refused = self._refusals.next() if answer.id is not None else 0.0
        except Exception as error:  # whatever it was, the next attempt follows
            reason, floor = reason_of(error), retry_after(error)
        line.drop()
        self._down(reason)
        return max(refused, floor, self.backoff.next())

    async def _subscribe(self, line: _Line, socket: Socket) -> Ack:
        """The venue's answer; a timestamp it refuses is made once more by its clock, measured now."""
        if not self._rest.clock.certain:
            await self._loop.in_thread(self._rest.sync)
        answer = await self._ask(line, socket)
        if not answer.skewed:
            return answer
        await self._loop.in_thread(self._rest.sync)
        return await self._ask(line, socket)

    async def _ask(self, line: _Line, socket: Socket) -> Ack:
        question = line.ask()
        socket.send(self._codec.user_subscribe(self._key, self._rest.clock.now(), next(self._ids)))
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):  # wait_for would swallow a cancel that comes with the answer
                return await question
        except TimeoutError:
            return Ack(None, "the venue did not answer the subscription")

    def _received(self, line: _Line, frames: list[bytes], _: int) -> None:
        """Frames came. One that can't be read ends its connection: what else was in it is not known."""
        try:
            for frame in frames:
                self._heard(line, self._codec.decode_user(frame))
        except BadAnswer as error:
            line.end(str(error))

    def _heard(self, line: _Line, events: Sequence[UserEvent]) -> None:
        for event in events:
            if isinstance(event, Ack):
                self._answered(line, event)
            elif isinstance(event, Goodbye):
                line.end("")
            elif self._listener is not None:
                self.backoff.reset()
                self._calls.put(partial(self._listener.heard, event))

    def _answered(self, line: _Line, answer: Ack) -> None:
        """Once it is subscribed it takes the place of the one before, whose end is of no interest any more."""
        if not line.answer(answer) or answer.error:
            return
        self._drop()
        self._line = line
        self._refusals.reset()
        self.connections += 1
        line.grow_old(self._loop, self._lifetime)
        if self._listener is not None:
            self._calls.put(partial(self._listener.up, self._rest.clock.now()))

    @property
    def _lifetime(self) -> float | None:
        """Seconds after which the venue's cut is near; drawn, so that clients spread."""
        most = self._codec.streaming.lifetime
        early = EARLY / SECOND
        return None if most is None else most - self.backoff.draw(early, max(early, most * EARLIEST))

    def _down(self, reason: str) -> None:
        self.last_error = reason
        if self._listener is not None:
            self._calls.put(partial(self._listener.down, reason))


class _Line:
    """One connection, the question that is open on it, and its end. On the loop's thread."""

    def __init__(self) -> None:
        self.socket: Socket | None = None
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why it ended; empty when it is to be replaced while it lives."""
        self._question: asyncio.Future[Ack] | None = None
        self._age: asyncio.TimerHandle | None = None

    def ask(self) -> asyncio.Future[Ack]:
        """What the answer to the next message will be; the end of the connection is one, too."""
        self._question = asyncio.get_running_loop().create_future()
        if self.over.done():
            self._question.set_result(Ack(None, self.over.result() or "the venue ends this connection"))
        return self._question

    def answer(self, answer: Ack) -> bool:
        """Hand on an answer; False when nobody waits for one."""
        if self._question is None or self._question.done():
            return False
        self._question.set_result(answer)
        return True

    def end(self, reason: str) -> None:
        """It is over, or (without a reason) about to be; only the first word counts, but for an end that was near."""
        if not self.over.done():
            self.over.set_result(reason)
        self.answer(Ack(None, reason or "the venue ends this connection"))

    def grow_old(self, loop: Loop, seconds: float | None) -> None:
        """Have it replaced after so long."""
        if seconds is not None:
            self._age = loop.later(seconds, partial(self.end, ""))

    def drop(self) -> None:
        """Let it go; nothing more is heard of it."""
        if self._age is not None:
            self._age.cancel()
        if self.socket is not None:
            with suppress(RuntimeError):  # the loop has ended before, and its sockets with it
                self.socket.abort()
