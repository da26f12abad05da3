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
    half the round trip (Cristian's algorithm, 1989). A venue that tells its time cut to a multiple
    of ``grain`` µs may be anywhere in that grain: half of it more.
    """

    offset: int
    uncertainty: int

    @classmethod
    def measured(cls, sent: int, received: int, venue: int, grain: int = 0) -> Offset:
        """The offset that one request tells; see above."""
        half = (received - sent + grain + 1) // 2
        return cls(venue + grain // 2 - (sent + received) // 2, half)


class VenueClock:
    """A venue's time, told by our clock and the last measured offset; our own until one was measured."""

    GOOD_FOR = 10 * MINUTE
    """µs after which a measurement is too old for orders: quartz may lose a second in half a day."""
    DRIFT = 50
    """µs that two clocks may part in a second: what ordinary quartz keeps to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: tuple[Offset, int, int] | None = None
        self._tried: int | None = None

    def due(self, every: int) -> bool:
        """True when the clock is to be measured, once per ``every`` µs whoever asks."""
        now = self._clock.now()
        if self._tried is not None and now - self._tried < every:
            return False
        self._tried = now
        return True

    @property
    def offset(self) -> Offset | None:
        """The best that is known, None before anything was measured."""
        return self._known[0] if self._known else None

    @offset.setter
    def offset(self, offset: Offset) -> None:
        """Take a measurement made just now. One over a slow round trip does not replace a better one that is still
        better after the drift since; where the two can't both be true, a clock was set, and the newer counts."""
        now, known = self._clock.now(), self._known
        self._tried = now
        if known is not None:
            bound = known[0].uncertainty + self._drifted(now - known[1])
            apart = abs(offset.offset - known[0].offset) > offset.uncertainty + bound
            if offset.uncertainty > bound and not apart:
                self._known = (known[0], known[1], now)
                return
        self._known = (offset, now, now)

    @property
    def uncertainty(self) -> int | None:
        """By how many µs ``now`` may be wrong: by the uncertainty of the measurement, and the drift since."""
        if self._known is None:
            return None
        offset, at, _ = self._known
        return offset.uncertainty + self._drifted(self._clock.now() - at)

    def _drifted(self, elapsed: int) -> int:
        return elapsed * self.DRIFT // SECOND

    @property
    def certain(self) -> bool:
        """True while the last measurement is good enough to trade by."""
        return self._known is not None and self._clock.now() - self._known[2] < self.GOOD_FOR

    def now(self) -> int:
        return self._clock.now() + (self._known[0].offset if self._known else 0)
