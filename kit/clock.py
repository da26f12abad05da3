"""Time as an argument: the clocks that the edges read and hand inwards.

All times inside the kit are integers: microseconds since the Unix epoch, UTC.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Clock(Protocol):
    """Anything that tells the time."""

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...


class WallClock:
    """The machine's clock, advancing monotonically: a step of the system clock never turns time back.

    A step forward is followed: the monotonic clock stands still while a laptop sleeps.
    """

    LEAP = 500_000_000
    """How far (ns) the system clock must be ahead before it is followed; less is left to the venue's offset."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        ours, system = time.monotonic_ns() + self._offset, time.time_ns()
        if system - ours > self.LEAP:
            self._offset += system - ours
            ours = system
        return ours // 1_000


@dataclass
class ManualClock:
    """A clock that moves only when told to: backtests, simulations and tests."""

    time: int = 0

    def now(self) -> int:
        return self.time

    def set(self, time: int) -> None:
        """Move to ``time``; going back is a ValueError."""
        if time < self.time:
            raise ValueError(f"time can't run backwards: {time} < {self.time}")
        self.time = time

    def advance(self, microseconds: int) -> None:
        """Move on by so much; going back is a ValueError."""
        self.set(self.time + microseconds)


@dataclass(frozen=True)
class Offset:
    """A venue's clock minus ours, in µs, with the bound the round trip leaves.

    From a request sent at ``sent`` and answered at ``received`` with the venue time ``venue``
    (all µs): the venue read its clock somewhere in between, so the estimate is off by at most
    half the round trip (Cristian's algorithm, 1989).
    """

    offset: int
    uncertainty: int

    @classmethod
    def measured(cls, sent: int, received: int, venue: int) -> Offset:
        """The offset that one request tells; see above."""
        half = (received - sent + 1) // 2
        return cls(venue - (sent + received) // 2, half)


class VenueClock:
    """A venue's time, told by our clock and the last measured offset; our own until one was measured."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.offset: Offset | None = None

    def now(self) -> int:
        return self._clock.now() + (self.offset.offset if self.offset else 0)
