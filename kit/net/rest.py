"""REST, with what every venue needs: signing, pacing, retries of what is safe, the venue's clock, and discretion.

Three outcomes of a request that may take effect: an answer, a certain no (it was refused, or never sent), or
OutcomeUnknown, which is never repeated here. A question is asked again for a while and then is VenueUnreachable.

Errors carry neither URL, parameters nor headers; they are raised outside the handlers, so that no library exception
(they hold all three) hangs on ``__context__``. The HTTP library's debug log shows paths and queries: signatures are
blacked out in it.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from kit.clock import MINUTE, SECOND, Clock, Offset, VenueClock
from kit.errors import (
    BadAnswer,
    ClockSkew,
    KitError,
    MissingKey,
    OutcomeUnknown,
    RateLimited,
    Unreached,
    UsageError,
    VenueUnreachable,
)
from kit.net import keys
from kit.net.pacing import EDGE, Ticket
from kit.net.turns import READING, SAID, HeldBack, Patience, Turns, patience
from kit.venues.base import Auth, Budget, Call, Effect, Hosts, Key, MarketCodec, on_this_machine

if TYPE_CHECKING:  # loaded with the first request: ``import kit`` costs little more than ``import pandas``
    import requests
    from tenacity import RetryCallState

T = TypeVar("T")

TIMEOUT = (3.05, 12.0)
"""Seconds to connect and between two bytes of the answer; Binance itself gives up after 10 s (rest-api.md)."""
LONGEST_ANSWER = 60 * SECOND
BIGGEST_ANSWER = 64 << 20
"""µs and bytes after which an answer is no answer: neither a dripping nor an endless one holds us up."""

MEASURE_AGAIN, MEASURE_SOON = MINUTE, 10 * SECOND
"""µs between two tries to measure a clock whose last measurement is too old, or too rough to pace by."""

_SIGNATURE = re.compile(r"(?<=signature=)[^&\s'\"]+", re.IGNORECASE)
_BLACK = "•••"


class _Discretion(logging.Filter):
    """Blacks out signatures in log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_SIGNATURE.sub(_BLACK, a) if isinstance(a, str) else a for a in record.args)
        return True


_DISCRETION = _Discretion()


def _bare(url: str) -> str:
    """Host and port of an address, without a password in it."""
    return url.rpartition("://")[2].rpartition("@")[2]


@dataclass(frozen=True)
class _Answer:
    """What came back, and when (µs of our clock) the request left and the answer was complete."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent: int
    received: int


@dataclass(frozen=True)
class _Heard(Generic[T]):
    value: T
    sent: int
    received: int


class Witness(Protocol):
    """Whoever writes down what was answered (``kit.net.recorder``). Must be quick and must not raise."""

    def answered(self, method: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> None: ...


class Rest:
    """One environment of a venue over HTTP. Safe to use from any thread.

    ``clock`` is ours; ``self.clock`` is the venue's, measured before the first signed request, when that is too long
    ago, and whenever the venue complains. ``home`` gives the folder in which processes share their pacing; without it
    this client keeps to the limits by itself. ``sleep`` and ``seed`` (of the jitter) are for tests.
    """

    def __init__(
        self,
        codec: MarketCodec,
        hosts: Hosts,
        *,
        clock: Clock,
        key: Key | None = None,
        home: Callable[[], Path] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        timeout: tuple[float, float] = TIMEOUT,
        seed: int | None = None,
    ) -> None:
        self.codec, self.hosts, self.key = codec, hosts, key
        self.witnesses: tuple[Witness, ...] = ()
        """Told of every answer to a question without a key."""
        self.clock = VenueClock(clock)
        self._ours, self._sleep, self._timeout = clock, sleep, timeout
        self._jitter = random.Random(seed)  # noqa: S311 - spreads retries, guards nothing
        told = codec.budgets()
        self._question = told if isinstance(told, Call) else None
        """Asks for the venue's budgets, once they matter; None: they are known."""
        budgets = () if isinstance(told, Call) else told
        self._turns = Turns(_bare(hosts.rest), self._scope, budgets, clock=clock, sleep=sleep, key=key, home=home)
        self._lock, self._learning = threading.Lock(), threading.Lock()
        self._idle: deque[requests.Session] = deque()
        self._closed = threading.Event()
        for name in ("urllib3.connectionpool", "urllib3.util.retry"):
            logging.getLogger(name).addFilter(_DISCRETION)

    def do(self, call: Call[T]) -> T:
        """Ask, and read the answer.

        Raises MissingKey before anything is sent; Unreached when it certainly took no effect (RateLimited,
        VenueUnreachable); OutcomeUnknown when it may have; Refused with the venue's words; BadAnswer for a
        question whose answer can't be read.
        """
        if call.auth is not Auth.NONE and self.key is None:
            raise MissingKey(f"{call.method} {call.path} needs an API key, so nothing was sent; {self._advice}")
        self._prepare_to(call)
        with suppress(ClockSkew):  # our timestamp was refused, so the request took no effect: set the clock, once more
            return self._repeat(call).value
        self._sync(patience(call))
        return self._repeat(call).value

    def sync(self) -> Offset:
        """Measure the venue's clock against ours."""
        return self._sync(READING)

    @property
    def waiting(self) -> float:
        """Seconds for which requests wait, because the venue's limits are used up or it said so; 0: none does."""
        return self._turns.waiting

    def close(self) -> None:
        """Close every connection; what is on its way may end first."""
        self._closed.set()
        self._turns.close()
        while self._idle:
            self._idle.pop().close()

    # -- again, and when

    def _prepare_to(self, call: Call[T]) -> None:
        """Know what the call needs: the budgets once they matter, the venue's clock before a signature. Each is asked
        for with a patience of its own, not once more with every attempt of the call."""
        if self._clock_due(call):
            with suppress(Unreached) if self.clock.offset else nullcontext():
                self._sync(patience(call))
        if self._question is not None and self._turns.worth_learning(call):
            with suppress(Unreached) if call.orders else nullcontext():
                self._learn(self._question, patience(call))

    def _clock_due(self, call: Call[Any]) -> bool:
        """True when the venue's clock is to be measured: for a signature, or because budgets run by it and matter."""
        if self.clock.offset is None:
            return call.auth is Auth.SIGNED or self._turns.busy
        if call.auth is Auth.SIGNED and not self.clock.certain:
            return self.clock.due(MEASURE_AGAIN)
        blurred = self._turns.busy and (self.clock.uncertainty or 0) > EDGE
        return blurred and call.effect is Effect.READ and self.clock.due(MEASURE_SOON)

    def _repeat(self, call: Call[T], limit: Patience | None = None) -> _Heard[T]:
        from tenacity import Retrying, retry_if_exception_type, retry_if_not_exception_type

        began, limit = self._ours.now(), limit or patience(call)
        retrying = Retrying(
            sleep=self._sleep,
            retry=retry_if_exception_type(Unreached) & retry_if_not_exception_type(HeldBack),
            wait=self._pause,
            before_sleep=self._show,
            stop=lambda state: self._enough(limit, state, began),
            reraise=True,
        )
        return retrying(self._once, call, began + int(limit.seconds * SECOND))

    def _pause(self, state: RetryCallState) -> float:
        """Seconds until the next attempt: doubling and jittered, on top of what the venue asks for."""
        error = state.outcome.exception() if state.outcome else None
        floor = error.retry_after if isinstance(error, RateLimited) else 0.0
        with self._lock:
            jitter = 0.5 + self._jitter.random() / 2
        return float(floor + min(8.0, 0.25 * 2.0 ** (state.attempt_number - 1)) * jitter)

    def _show(self, state: RetryCallState) -> None:
        """Say what is waited for, when the venue asked for it."""
        if state.outcome is not None and isinstance(state.outcome.exception(), RateLimited):
            self._turns.say(state.upcoming_sleep, SAID)

    def _enough(self, limit: Patience, state: RetryCallState, began: int) -> bool:
        spent = max((self._ours.now() - began) / SECOND, state.idle_for)
        limited = state.outcome is not None and isinstance(state.outcome.exception(), RateLimited)
        return spent + state.upcoming_sleep > limit.seconds or (not limited and state.attempt_number >= limit.attempts)

    def _once(self, call: Call[T], latest: int) -> _Heard[T]:
        """One attempt, which leaves by ``latest`` (µs) or not at all."""
        ticket = self._turns.take(call, latest)
        answer = self._exchange(call, ticket)
        failure = self.codec.failure(call, answer.status, answer.headers, answer.body)
        if failure is None:
            return _Heard(self._read(call, answer.body), answer.sent, answer.received)
        self._turns.turned_away(failure)
        raise failure.error

    def _sync(self, limit: Patience) -> Offset:
        heard = self._repeat(self.codec.time(), limit)
        offset = Offset.measured(heard.sent, heard.received, heard.value, self.codec.clock_grain)
        with self._lock:
            self.clock.offset = offset
            self._turns.set_clock(self.clock.offset or offset)
        return offset

    def _learn(self, question: Call[list[Budget]], limit: Patience) -> None:
        """Take the venue's budgets; one thread asks, the others go on."""
        if not self._learning.acquire(blocking=False):
            return
        try:
            budgets = self._repeat(question, limit).value
            self._turns.learn(budgets)
        finally:
            self._learning.release()

    # -- one exchange

    def _exchange(self, call: Call[Any], ticket: Ticket) -> _Answer:
        """Send, and take the answer as it is; a transmission that fails is said in our words."""
        try:
            outcome: _Answer | KitError = self._transmit(call)
        except Exception as error:  # whatever a library raises here holds the URL, and must not get out
            outcome = error if isinstance(error, KitError) else self._trouble(call, error)
        self._turns.answered(ticket, self.codec.used(outcome.headers) if isinstance(outcome, _Answer) else {})
        if isinstance(outcome, KitError):
            raise outcome
        return outcome

    def _transmit(self, call: Call[Any]) -> _Answer:
        with self._session() as session:
            prepared = self._prepare(call)
            sent = self._ours.now()
            response = session.send(
                prepared, stream=True, timeout=self._timeout, allow_redirects=False, **self._environment
            )
            try:
                body = b"".join(self._chunks(response, sent))
            finally:
                response.close()
            received = self._ours.now()
        if call.auth is not Auth.NONE:
            body = self._blackened(body)
        else:
            for witness in self.witnesses:
                witness.answered(call.method, response.url, response.status_code, response.headers, body)
        return _Answer(response.status_code, response.headers, body, sent, received)

    def _chunks(self, response: requests.Response, sent: int) -> Iterator[bytes]:
        """The answer as it comes in: whole chunks would be waited for as long as single bytes keep coming."""
        size, response.raw.decode_content = 0, True
        for chunk in iter(partial(response.raw.read1, 1 << 16), b""):
            size += len(chunk)
            if size > BIGGEST_ANSWER or self._ours.now() - sent > LONGEST_ANSWER:
                raise TimeoutError
            yield chunk

    def _prepare(self, call: Call[T]) -> requests.PreparedRequest:
        """The request as it goes out: what was signed, byte for byte; POST and PUT carry it in the body."""
        from requests import Request

        if self.key is not None:
            call = self.codec.sign(call, self.key, self.clock.now())
        text = self.codec.encode(call.params)
        url = self.hosts.rest + call.path
        headers = {"User-Agent": "papertape", "Accept-Encoding": "gzip, deflate"}
        headers |= self.codec.headers(self.key if call.auth is not Auth.NONE else None)
        if call.method in ("POST", "PUT"):
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return Request(call.method, url, headers, data=text).prepare()
        return Request(call.method, f"{url}?{text}" if text else url, headers).prepare()

    def _read(self, call: Call[T], body: bytes) -> T:
        try:
            return call.read(body)
        except KitError:
            raise
        except Exception as error:  # however a reader trips over an answer, the answer is bad
            kind = type(error).__name__
        if call.effect is Effect.WRITE:
            raise OutcomeUnknown(
                f"the answer to {call.method} {call.path} can't be read ({kind}). It may have taken effect: "
                "ask with the client id"
            )
        raise BadAnswer(f"the answer to {call.method} {call.path} can't be read ({kind}); nothing was made of it")

    def _trouble(self, call: Call[Any], error: BaseException) -> KitError:
        from kit.net.trouble import meaning

        words, unsent = meaning(error)
        text = f"{call.method} {call.path} at {self._where}: {words}{'' if words.endswith('?') else '.'}"
        if unsent:
            return VenueUnreachable(f"{text} Nothing was sent; it may be tried again")
        if call.effect is Effect.READ:
            return VenueUnreachable(f"{text} The question changed nothing and may be asked again")
        return OutcomeUnknown(f"{text} It may have taken effect: ask with the client id, don't send it again")

    def _blackened(self, body: bytes) -> bytes:
        """An answer without what a server may echo of our request: errors quote answers."""
        for secret in (self.key.id, self.key.secret) if self.key else ():
            if len(secret) >= 16:  # a shorter one is no real key, and may be part of any word
                body = body.replace(secret.encode(), _BLACK.encode())
        return re.sub(_SIGNATURE.pattern.encode(), _BLACK.encode(), body, flags=re.IGNORECASE)

    # -- connections

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        """A session nobody else uses meanwhile: requests promises no thread safety."""
        from requests import Session

        if self._closed.is_set():
            raise UsageError(f"the connection to {self._where} is closed; kit.connect() opens another")
        try:
            session = self._idle.pop()
        except IndexError:
            session = Session()
        try:
            yield session
        finally:
            self._idle.append(session)
            if self._closed.is_set():
                self.close()

    @cached_property
    def _environment(self) -> dict[str, Any]:
        """Proxies and certificates as the environment has them: looked up once, for it costs as much as a request."""
        from requests import Session

        with Session() as session:
            found = session.merge_environment_settings(self.hosts.rest, {}, None, None, None)
        if on_this_machine(self.hosts.rest):
            found["proxies"] = {}
        return {name: found[name] for name in ("proxies", "verify", "cert")}

    def _scope(self) -> str:
        """The venue and the address it sees: what is counted together."""
        from requests.utils import select_proxy

        proxy = select_proxy(self.hosts.rest, self._environment["proxies"])
        return f"{self._where} by {_bare(proxy)}" if proxy else self._where

    @property
    def _where(self) -> str:
        return _bare(self.hosts.rest)

    @property
    def _advice(self) -> str:
        environment = next((name for name, hosts in self.codec.environments.items() if hosts == self.hosts), "sandbox")
        return keys.advice(self.codec.name, environment)
