"""Time as an argument: the clocks that the edges read and hand inwards.

All times inside the kit are integers: microseconds since the Unix epoch, UTC.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
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
    """The machine's clock as it was at the start, running on evenly: no step of the system clock shows in it.

    The time a machine sleeps counts. How far it is from a venue's clock is measured (``VenueClock``).
    """

    def __init__(self) -> None:
        self._start = time.time_ns() - elapsed()

    def now(self) -> int:
        return (self._start + elapsed()) // 1_000


def _counter() -> Callable[[], int]:
    """ns on a clock that is never set and that runs on while the machine sleeps."""
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):  # Linux, macOS: there monotonic_ns stands still in sleep
        if hasattr(time, name):
            read = partial(time.clock_gettime_ns, getattr(time, name))
            with suppress(OSError):  # a sandboxed kernel may not have it
                read()
                return read
    return time.monotonic_ns  # Windows: it counts sleep


elapsed = _counter()


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

    GOOD_FOR = 10 * MINUTE
    """µs after which a measurement is too old for orders: quartz may lose a second in half a day."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: Offset | None = None
        self._measured = 0

    @property
    def offset(self) -> Offset | None:
        """What was measured last, None before."""
        return self._offset

    @offset.setter
    def offset(self, offset: Offset) -> None:
        self._offset, self._measured = offset, self._clock.now()

    @property
    def certain(self) -> bool:
        """True while the last measurement is good enough to trade by."""
        return self._offset is not None and self._clock.now() - self._measured < self.GOOD_FOR

    def now(self) -> int:
        return self._clock.now() + (self._offset.offset if self._offset else 0)
