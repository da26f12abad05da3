"""Simulated time: a queue of moments, and what is done at each."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any


class Agenda:
    """Virtual time in µs. Whoever waits for an answer lets it go on meanwhile, so calls nest as threads overlap."""

    def __init__(self, start: int) -> None:
        self.now = start
        self.after: Callable[[], None] = lambda: None
        """Called after every step."""
        self._numbers = count()
        self._queue: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []

    def at(self, time: int, do: Callable[..., object], *args: Any) -> None:
        """Have ``do(*args)`` done at ``time``, at once if that is past."""
        heapq.heappush(self._queue, (max(time, self.now), next(self._numbers), do, args))

    def within(self, delay: int, do: Callable[..., object], *args: Any) -> None:
        """Have it done ``delay`` µs from now."""
        self.at(self.now + delay, do, *args)

    def until(self, time: int, done: Callable[[], object] = lambda: False) -> None:
        """Let time pass until ``time``, or until ``done()``."""
        while not done() and self._queue and self._queue[0][0] <= time:
            self.now, _, do, args = heapq.heappop(self._queue)
            do(*args)
            self.after()
        if not done():
            self.now = max(self.now, time)


class Reading:
    """A clock that shows the agenda's time, wrong by ``skew`` µs."""

    def __init__(self, agenda: Agenda, skew: int = 0) -> None:
        self._agenda, self._skew = agenda, skew

    def now(self) -> int:
        return self._agenda.now + self._skew
