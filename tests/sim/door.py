"""The simulated venue's REST door: real JSON bytes, as of a moment a little ago; slow, failing or refusing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from kit.clock import SECOND
from kit.venues.base import Call
from tests.sim.network import Agenda
from tests.sim.venue import Market
from tests.sim.voice import Voice

Done = Callable[[int, Mapping[str, str], bytes], None]
"""Status (0: no answer came), headers, body."""

PATIENCE = 10 * SECOND
"""µs after which an unanswered question is given up."""
OLDEST = {"book": 2 * SECOND, "candles": 3 * SECOND, "trades": 3 * SECOND, "touch": SECOND}
"""How old an answer from the venue's caches may be, µs, by what it is about."""


class Door:
    """Answers questions; each of its troubles is begun at a moment and passes."""

    def __init__(self, agenda: Agenda, voice: Voice, markets: Mapping[str, Market], seed: int) -> None:
        self._agenda, self._voice, self._markets = agenda, voice, markets
        self._random = Random(seed)  # noqa: S311 - the seed is the point
        self._down = self._limited = self._slow = self._old = 0

    def ask(self, call: Call[Any], done: Done) -> None:
        """Have ``done`` told of the answer when it is here."""
        now, random = self._agenda.now, self._random
        there = now + random.randint(5_000, 150_000) + self._more()
        self._agenda.at(there, self._hear, call, done, now)

    def _more(self) -> int:
        """What a slow venue or a slow network adds, on the way there or back."""
        slow = self._agenda.now < self._slow and self._random.random() < 0.5
        return self._random.randint(SECOND, 7 * SECOND) if slow else 0

    def _hear(self, call: Call[Any], done: Done, asked: int) -> None:
        now, random = self._agenda.now, self._random
        back = now + random.randint(5_000, 150_000) + self._more()
        if now < self._limited:
            wait = max(1, -(-(self._limited - now) // SECOND))
            self._agenda.at(back, done, *self._voice.limited(wait))
        elif now < self._down:
            self._fail(done, back, asked)
        else:
            self._agenda.at(back, done, 200, {}, self._body(call))

    def _fail(self, done: Done, back: int, asked: int) -> None:
        match self._random.randrange(4):
            case 0:
                self._agenda.at(max(back, asked + PATIENCE), done, 0, {}, b"")
            case 1:
                self._agenda.at(back, done, 503, {}, b"<html>Service Unavailable</html>")
            case 2:
                self._agenda.at(back, done, 200, {}, b'{"lastUpdateId":12,"bids":[["1')
            case _:
                self._agenda.at(back, done, 500, {}, b'{"code":-1001,"msg":"Internal error"}')

    def _body(self, call: Call[Any]) -> bytes:
        (native, about), time = self._voice.asked(call), self._agenda.now
        if time < self._old:
            time -= self._random.randint(0, OLDEST[about])
        return self._voice.answer(self._markets[native], call, time)

    # -- troubles

    def rest_down(self) -> None:
        self._down = self._agenda.now + self._random.randint(SECOND // 2, 20 * SECOND)

    def rest_limited(self) -> None:
        self._limited = self._agenda.now + self._random.randint(SECOND, 15 * SECOND)

    def rest_slow(self) -> None:
        self._slow = self._agenda.now + self._random.randint(SECOND, 20 * SECOND)

    def rest_old(self) -> None:
        self._old = self._agenda.now + self._random.randint(SECOND, 30 * SECOND)

    def heal(self) -> None:
        self._down = self._limited = self._slow = self._old = 0
