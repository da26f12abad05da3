"""What a venue remembers, as pages: candles that know whether they had closed when they were asked for, and trades."""

from __future__ import annotations

from collections.abc import Iterator

from kit.clock import DAY, MINUTE, SECOND, Clock
from kit.market import candles as bars
from kit.model import Trade
from kit.net import paging
from kit.net.paging import PAGE, Page
from kit.net.rest import Rest

CLOCK_GOOD_FOR = 30 * SECOND
"""µs for which a measurement of the venue's clock tells whether a bar has closed."""


class History:
    """Pages of the past over REST. ``clock`` is ours."""

    def __init__(self, rest: Rest, clock: Clock) -> None:
        self._rest, self._codec, self._clock = rest, rest.codec, clock
        self._measured = 0

    def now(self, last: int | None = None) -> int:
        """The venue's time (µs), no later than it can be; measured anew where a range to ``last`` reaches up to now."""
        clock, ours = self._rest.clock, self._clock.now()
        recent = last is None or last > clock.now() - MINUTE
        if clock.offset is None or (recent and ours - self._measured > CLOCK_GOOD_FOR):
            self._rest.sync()
            self._measured = ours
        return clock.now() - (clock.offset.uncertainty if clock.offset else 0)

    def candles(
        self, native: str, interval: str, first: int | None, last: int | None, limit: int | None
    ) -> Iterator[Page]:
        """Candles that open in [first, last), with a column ``closed``; without ``first`` the newest page comes first.

        ``limit`` None: all of them from ``first`` on; without ``first`` there must be a limit.
        """

        def ask(start: int | None, end: int | None, rows: int) -> Page:
            now = self.now(0)  # taken before it is asked: what was still open then may have changed in the answer
            page = self._rest.do(self._codec.candles(native, interval, start, end, rows))
            return {**page, "closed": bars.ends(page["time"].astype("i8", copy=False), interval) <= now}

        if first is None:
            return paging.backwards(ask, last, limit or PAGE)
        return paging.forwards(ask, interval, first, last, limit, self.now(last))

    def trades(self, native: str, first: int | None, last: int | None, limit: int | None) -> Iterator[list[Trade]]:
        """Single trades in [first, last); without ``first`` the newest, a thousand when there is no limit."""

        def ask(from_id: int, rows: int) -> list[Trade]:
            return self._rest.do(self._codec.trades(native, from_id=from_id, limit=rows))

        if first is None:
            newest = self._rest.do(self._codec.trades(native, limit=min(limit or PAGE, PAGE)))
            if limit is None or limit <= PAGE or not newest:
                yield newest
            else:
                yield from paging.trades(ask, max(0, newest[-1].id + 1 - limit), None, limit)
            return
        until = self.now() + DAY if last is None else last
        found = self._rest.do(self._codec.trades_between(native, first, until, 1)) if first < until else []
        if found:  # by its time we learn the first id; from there on every single one is asked for by id
            yield from paging.trades(ask, found[0].id, last, limit)
