"""What waits for one consumer of live events, and what happens when it is slow."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import msgspec

from kit.errors import Lagged, UnknownName, UsageError
from kit.market.candles import iso
from kit.model import BookDelta, BookSnapshot, Candle, Quote

POLICIES = ("conflate", "halt")
GAPS = 1_000
"""Most gaps remembered."""
_HALT = "halt"
"""Stands among what waits where the box has halted."""


class BookChanged(msgspec.Struct, frozen=True, gc=False):
    """The book of ``symbol`` is another one now: read it. Stands for any number of updates."""

    symbol: str


@dataclass(frozen=True)
class Missed:
    """``count`` events that were received from ``start`` to ``end`` (µs) and not handed to the consumer."""

    start: int
    end: int
    count: int


class Outbox:
    """Events on their way from the thread that receives them to one consumer in another thread.

    The writer never waits for the consumer, and memory is bounded, so a consumer that is slower than the market must
    do without something. ``slow`` says what:

    - ``"conflate"``: of what is a state only the newest waits. A quote, or a version of a forming bar, takes the place
      of the one that waits for the same instrument (and interval), so that none is put off for ever; a closed bar
      takes the place of all its versions. Updates of a book come as ``BookChanged``, one at a time: the book itself is
      there to be read. Whoever keeps up sees every quote and version.
    - ``"halt"``: nothing is left out.

    What is no state (a trade, a closed bar; with ``"halt"`` everything) is never dropped silently. It waits in its
    order, and when ``capacity`` of these wait and one more comes, the box halts: that one and all after it are not
    taken, but counted. ``take`` hands out what waited until then and after that raises ``Lagged``, again and
    again, until ``resume``: then the box takes events again and ``gaps`` tells what was missed. States are taken
    while it is halted too, and handed out after ``resume``, so that the newest is always told. Events that were
    missed are in the live frames all the same; a book put together from updates must begin anew.
    """

    def __init__(self, capacity: int, slow: str = "conflate") -> None:
        if capacity < 1:
            raise UsageError(f"capacity={capacity!r}: at least one event must be able to wait; nothing was subscribed")
        if slow not in POLICIES:
            raise UnknownName("policy for a slow consumer", slow, POLICIES)
        self.capacity, self.slow = capacity, slow
        self.conflated = 0
        """How many states gave way to newer ones."""
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._asleep = self._closed = False
        self._waiting: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        """In their order: states by what they are the state of, other events by their number."""
        self._number = self._lossless = 0
        self._halt: Missed | None = None
        self._gaps: deque[Missed] = deque(maxlen=GAPS)

    def __len__(self) -> int:
        return len(self._waiting) - (self._halt is not None)

    @property
    def halted(self) -> bool:
        """True from when an event could not be taken until ``resume``."""
        return self._halt is not None

    @property
    def gaps(self) -> tuple[Missed, ...]:
        """What the consumer missed, the oldest first; while halted the last one still grows."""
        with self._lock:
            return (*self._gaps, self._halt) if self._halt is not None else tuple(self._gaps)

    @property
    def closed(self) -> bool:
        """True once nothing more is taken."""
        return self._closed

    # -- the writer's side

    def put(self, event: Any, received: int) -> None:
        """Take one event, received at ``received`` (µs); returns at once. After ``close`` it is ignored."""
        state = _state(event) if self.slow == "conflate" else None
        with self._lock:
            if self._closed:
                return
            if state is None:
                self._put_lossless(event, received)
            else:
                self.conflated += state in self._waiting
                self._waiting[state] = (state if isinstance(state, BookChanged) else event, received)
            if self._asleep:
                self._asleep = False
                self._ready.notify()

    def _put_lossless(self, event: Any, received: int) -> None:
        if self._halt is not None:
            self._halt = Missed(self._halt.start, received, self._halt.count + 1)
        elif self._lossless == self.capacity:
            self._halt = Missed(received, received, 1)
            self._waiting[_HALT] = (None, received)
        else:
            if isinstance(event, Candle):
                self.conflated += self._waiting.pop(_bar(event), None) is not None
            self._waiting[self._number] = (event, received)
            self._number += 1
            self._lossless += 1

    def close(self) -> None:
        """Nothing more is taken; what waits is still handed out."""
        with self._lock:
            self._closed = True
            self._ready.notify_all()

    # -- the consumer's side

    def take(self, timeout: float | None = None) -> tuple[Any, int] | None:
        """The next event and when it was received (µs).

        Waits up to ``timeout`` seconds (None: for ever); None when nothing came, or when the box is closed and empty.
        Lagged when it has halted and all that waited is handed out.
        """
        with self._lock:
            if not self._come(timeout):
                return None
            if self._halt is not None and next(iter(self._waiting)) == _HALT:
                raise Lagged(_words(self._halt, self.capacity))
            key, waited = self._waiting.popitem(last=False)
            self._lossless -= isinstance(key, int)
            return waited

    def _come(self, timeout: float | None) -> bool:
        """Wait for something to wait here; False when nothing will, or nothing did in time."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._waiting and not self._closed:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            self._asleep = True
            self._ready.wait(left)
        self._asleep = False
        return bool(self._waiting)

    def resume(self) -> None:
        """Take events again after a halt; what was missed until now stays in ``gaps``."""
        with self._lock:
            if self._halt is not None:
                self._gaps.append(self._halt)
                self._halt = None
                del self._waiting[_HALT]


def _state(event: Any) -> Hashable | None:
    """What the event is the newest state of; None when it is no state."""
    if isinstance(event, Quote):
        return Quote, event.symbol
    if isinstance(event, BookDelta | BookSnapshot):
        return BookChanged(event.symbol)
    return _bar(event) if isinstance(event, Candle) and not event.closed else None


def _bar(candle: Candle) -> Hashable:
    return Candle, candle.symbol, candle.interval


def _words(missed: Missed, capacity: int) -> str:
    return (
        f"this consumer was too slow: {missed.count} events received from {iso(missed.start)} to {iso(missed.end)} "
        f"were not handed to it, because {capacity} waited already; what they said is in the live frames (trades and "
        "candles by their recv_ts), and resume() goes on from now"
    )
