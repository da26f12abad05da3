"""How long after the venue's time messages arrive."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from kit.clock import SECOND

WINDOW = 4096
"""Messages that the figures are of."""


@dataclass(frozen=True)
class Delays:
    """Delays in milliseconds, and how many messages they are of. Negative ones are real: two clocks differ."""

    count: int
    min: float
    p50: float
    p99: float
    max: float


class Latency:
    """The delays of the newest ``window`` messages of one stream. One thread writes, any thread reads."""

    def __init__(self, window: int = WINDOW) -> None:
        self._delays: deque[int] = deque(maxlen=window)

    def __len__(self) -> int:
        return len(self._delays)

    def add(self, received: int, venue_time: int) -> None:
        """A message that the venue dates ``venue_time`` was received at ``received`` (both µs)."""
        self._delays.append(received - venue_time)

    def summary(self, offset_us: int = 0) -> Delays | None:
        """The delays, where the venue's clock is ``offset_us`` (µs) ahead of ours; None before the first message.

        Percentiles lie between the two nearest delays, in proportion.
        """
        told = self._delays.copy()  # in one piece: the writer may add while the copy is read
        if not told:
            return None
        delays = (np.fromiter(told, np.int64, len(told)) + offset_us) * 1000 / SECOND
        p50, p99 = np.percentile(delays, (50, 99))
        return Delays(len(told), float(delays.min()), float(p50), float(p99), float(delays.max()))
