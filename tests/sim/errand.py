"""One question of a mirror's, on its way through as many exchanges with the simulated venue as it takes.

The kit's own ``Inquiry`` waits for each answer; simulated time can't wait. So it begins anew whenever an answer has
come, with all the answers so far, until it asks for nothing more. What it does depends on them and on the time alone,
and the time is that of the asking.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

from kit.clock import SECOND, ManualClock, Offset, VenueClock
from kit.market.strand import Ask
from kit.net.inquiry import Inquiry
from kit.venues.base import Call, MarketCodec

T = TypeVar("T")
UNCERTAIN = SECOND // 10
"""µs that a measurement of the venue's clock leaves open."""


class Wanted(Exception):
    """An exchange that must be made first."""

    def __init__(self, call: Call[Any]) -> None:
        super().__init__(call.path)
        self.call = call


class Errand:
    """``ask`` on its way; ``now`` is our time, ``offset`` how far our clock is ahead of the venue's (µs)."""

    def __init__(self, ask: Ask, now: int, offset: int) -> None:
        self.ask = ask
        self.answers: list[Any] = []
        """What has been answered so far, in the order of the asking."""
        self._now = now
        self.clock = VenueClock(ManualClock(now))
        self.clock.offset = Offset(-offset, UNCERTAIN)
        self._left: deque[Any] = deque()

    def told(self, codec: MarketCodec, native: str, interval: str, *, rows: int, levels: int) -> Any:
        """All of it; raises Wanted for what must be asked before."""
        clock = ManualClock(self._now)
        inquiry = Inquiry(codec, self, clock, native=native, interval=interval, rows=rows, levels=levels)
        self._left = deque(self.answers)
        return inquiry.told(self.ask)

    # -- what the inquiry takes for the venue's REST

    def do(self, call: Call[T]) -> T:
        if not self._left:
            raise Wanted(call)
        value: T = self._left.popleft()
        return value

    def sync(self) -> Offset:
        assert self.clock.offset is not None
        return self.clock.offset
