"""What a venue remembers, as pages: candles that know whether they had closed when they were asked for, and trades."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TypeVar

from kit.clock import DAY, MINUTE, SECOND, Clock, Offset, VenueClock
from kit.market import candles as bars
from kit.model import Trade
from kit.net import paging
from kit.net.paging import PAGE, AskRange, AskTrades, Bars, Page
from kit.venues.base import ById, Call, MarketCodec, Prints

T = TypeVar("T")

CLOCK_GOOD_FOR = 30 * SECOND
"""µs for which a measurement of the venue's clock tells whether a bar has closed."""
AHEAD = MINUTE
"""µs to either side of now that the newest are asked for: our picture of the venue's clock is better than that."""


class Rest(Protocol):
    """Whoever makes REST exchanges; may block, is called from several threads."""

    @property
    def clock(self) -> VenueClock: ...
    def do(self, call: Call[T]) -> T: ...
    def sync(self) -> Offset: ...


class History:
    """Pages of the past over REST. ``clock`` is ours."""

    def __init__(self, codec: MarketCodec, rest: Rest, clock: Clock) -> None:
        self._rest, self._codec, self._clock = rest, codec, clock
        self._past = codec.past
        self._measured = 0

    def now(self, last: int | None = None) -> int:
        """The venue's time (µs), no later than it can be; measured anew where a range to ``last`` reaches up to now."""
        clock, ours = self._rest.clock, self._clock.now()
        recent = last is None or last > clock.now() - MINUTE
        if clock.offset is None or (recent and ours - self._measured > CLOCK_GOOD_FOR):
            self._rest.sync()
            self._measured = ours
        return clock.now() - (clock.offset.uncertainty if clock.offset else 0)

    # -- candles

    def candles(
        self, native: str, interval: str, first: int | None, last: int | None, limit: int | None
    ) -> Iterator[Page]:
        """Candles that open in [first, last), with a column ``closed``; without ``first`` the newest page comes first.

        ``limit`` None: all of them from ``first`` on; without ``first`` there must be a limit.
        """

        def ask(start: int | None, end: int | None, rows: int) -> Page:
            now = self.now(0)  # taken before it is asked: what was still open then may have changed in the answer
            page = self._bars(native, interval, start, end, rows)
            return {**page, "closed": bars.ends(page["time"].astype("i8", copy=False), interval) <= now}

        source = self._source(interval, ask)
        if first is None:
            return self._backwards(source, native, last, limit or PAGE)
        return self._forwards(source, native, first, last, limit, self.now(last))

    def newest(self, native: str, interval: str, start: int | None, most: int) -> Page:
        """The newest candles, as one page: all from ``start`` on, or the newest ``most`` and a minute's more, for our
        clock may be ahead; without ``start`` a thousand.

        Where bars without trades are left out, these numbers are the calendar's.
        """
        if start is None and not self._past.windows:
            return self._bars(native, interval, None, None, PAGE)
        now = self.now(0)
        reach = bars.bars_before(now - AHEAD, interval, (PAGE if start is None else most) - 1)
        source, first = self._source(interval, partial(self._bars, native, interval)), max(start or 0, reach)
        if self._past.windows:
            pages = paging.onwards_by_calendar(source, first, now + AHEAD)
        else:
            pages = paging.onwards(source, first)
        return bars.join(list(pages))

    def _bars(self, native: str, interval: str, start: int | None, end: int | None, rows: int) -> Page:
        return self._rest.do(self._codec.candles(native, interval, start, end, rows))

    def _source(self, interval: str, ask: Callable[[int | None, int | None, int], Page]) -> Bars:
        return Bars(ask, interval, self._past.candles)

    def _forwards(
        self, source: Bars, native: str, first: int, last: int | None, limit: int | None, now: int
    ) -> Iterator[Page]:
        if not self._past.windows:
            return paging.forwards(source, first, last, limit, now)
        until = now + AHEAD if last is None else min(last, now + AHEAD)
        skip = partial(self._day_after, native, until)
        return paging.forwards_by_calendar(source, skip, first, until, limit)

    def _backwards(self, source: Bars, native: str, last: int | None, limit: int) -> Iterator[Page]:
        if not self._past.windows:
            return paging.backwards(source, last, limit)
        until = self.now(last) + AHEAD
        skip = partial(self._day_before, native)
        return paging.backwards_by_calendar(source, skip, until if last is None else min(last, until), limit)

    def _day_after(self, native: str, until: int, time: int) -> int | None:
        """When the first day begins, from that of ``time`` on, in which anything was traded; None when none until then.

        So a short interval is not asked for through the years before an instrument was listed.
        """
        days = self._source("1d", partial(self._bars, native, "1d"))
        pages = paging.forwards_by_calendar(days, lambda stop: stop, bars.floor_time(time, "1d"), until, 1)
        return next((int(page["time"][0]) for page in pages), None)

    def _day_before(self, native: str, time: int) -> int | None:
        """When the last day ends that begins before ``time`` and in which anything was traded; None when there is none
        among as many as one answer holds."""
        size = self._past.candles
        days = self._bars(native, "1d", bars.bars_before(time, "1d", size - 1), time, size)["time"]
        return int(days[-1]) + DAY if len(days) else None

    # -- trades

    def trades(self, native: str, first: int | None, last: int | None, limit: int | None) -> Iterator[list[Trade]]:
        """Single trades in [first, last), the first ``limit`` of them; without ``first`` the newest, a thousand when
        there is no limit. Pages may come in any order, their trades are in that of their ids."""
        if first is None:
            yield from self._newest_trades(native, limit or PAGE)
            return
        until = self.now() + AHEAD if last is None else last
        if by_id := self._by_id(native):
            found = self._range(native, 1)(first, until) if first < until else []
            if found:  # by its time we learn the first id; from there on every single one is asked for by id
                yield from paging.trades(by_id, found[0].id, last, limit)
        elif self._past.prints is Prints.OLDEST:
            pages = paging.trades_onwards(self._range(native), first, until, self._past.trades)
            yield from paging.cut(pages, 0, limit)
        else:
            yield from paging.cut(paging.trades_by_stretches(self._range(native), first, until), 0, limit)

    def _newest_trades(self, native: str, limit: int) -> Iterator[list[Trade]]:
        size = self._past.trades
        if self._past.prints is Prints.NEWEST and limit > size:
            yield from paging.cut_back(paging.trades_back(self._range(native), 0, self.now() + AHEAD), limit)
            return
        newest = self._rest.do(self._codec.trades(native, min(limit, size)))
        if limit <= size or not newest:
            yield newest
            return
        first = max(0, newest[-1].id + 1 - limit)
        if by_id := self._by_id(native):
            yield from paging.trades(by_id, first, None, limit)
        else:
            since = self._before(native, first, newest)
            pages = paging.trades_onwards(self._range(native), since, self.now() + AHEAD, size)
            yield from paging.cut(pages, first, limit)

    def _before(self, native: str, first: int, newest: list[Trade]) -> int:
        """A time (µs) when the trade ``first`` had not happened yet, found by going back in doubling steps."""
        ask, until, step = self._range(native, 1), newest[-1].time + 1, newest[-1].time - newest[0].time + SECOND
        time = newest[0].time
        while time > 0:
            time, step = max(0, time - step), step * 2
            found = ask(time, until)
            if found and found[0].id <= first:
                break
        return time

    def trades_from(self, native: str, from_id: int, since: int) -> list[Trade]:
        """All trades from an id on, or its first thousand at least; ``since`` (µs) is when the one before it happened.

        Of what the venue can't give any more a step in the ids tells.
        """
        if by_id := self._by_id(native):
            return by_id(from_id, PAGE)
        ask, until = self._range(native), self.now(0) + AHEAD
        if self._past.prints is Prints.NEWEST:
            pages = iter([paging.ascending(paging.trades_back(ask, since, until, from_id))])
        else:
            pages = paging.trades_onwards(ask, since, until, self._past.trades)
        found: list[Trade] = []
        for page in paging.cut(pages, from_id, None):
            found += page
            if len(found) >= PAGE:
                break
        return found

    def _by_id(self, native: str) -> AskTrades | None:
        """How to ask for prints from an id on; None where the venue can't be asked so."""
        codec = self._codec
        if not isinstance(codec, ById):
            return None
        return lambda from_id, rows: self._rest.do(codec.trades_from(native, from_id, rows))

    def _range(self, native: str, rows: int | None = None) -> AskRange:
        size = rows or self._past.trades
        return lambda start, end: self._rest.do(self._codec.trades_between(native, start, end, size))
