"""A market replayed from a tape of a real venue, at its own pace or faster.

The play begins where every book on the tape is known and ends with the tape, or where a message is missing from it:
that is announced, and nothing changes after. Times are shifted so that the play begins when it is started: what the
tape holds from before is its history. Bars are made of the tape's trades; before the first of them there are none.

Memory is a few numbers for each message. A replay moves a book along as it is asked: it belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from kit.errors import BadRange, DataError, UnknownName, UsageError
from kit.market.candles import iso
from kit.model import BookDelta, BookSnapshot, Instrument, Quote, Trade
from kit.net.tape import TapeLine
from kit.sandbox.bars import NO_PRINTS, Scale, bars_end, bars_of, open_times
from kit.sandbox.chance import Ints
from kit.sandbox.market import CandleColumns, MarketEvent
from kit.sandbox.reel import NEVER, Reel, VenueTime, reel
from kit.sandbox.takes import collect


class Replay:
    """A market on tape; see :class:`kit.sandbox.market.Market` for what it answers.

    ``started`` (µs) is when the play begins; at ``speed`` 2 a minute of tape takes half a minute. With
    ``original_times`` everything keeps the venue's own times instead, and whoever asks has a clock of that era: it
    begins at ``begins`` and runs at the pace that is wanted. Raises DataError for a tape without any whole book.
    """

    def __init__(
        self,
        lines: Iterable[TapeLine],
        *,
        started: int,
        speed: float = 1.0,
        original_times: bool = False,
        label: str = "replay",
    ) -> None:
        if not 0 < speed < float("inf"):
            raise UsageError(
                f"speed={speed!r} is no pace; 1.0 is the tape's own, 2.0 twice as fast; nothing was played"
            )
        self.label = label
        reels = _reels(lines)
        zero = max(one.known for one in reels)
        ends = _end(reels)
        pace = _Pace(0, 0, 1.0) if original_times else _Pace(zero, started, speed)
        self.begins = pace.moment(zero)
        self.ends = pace.moment(ends)
        self.instruments: Mapping[str, Instrument] = {one.instrument.native: one.instrument for one in reels}
        self._lines = {one.instrument.native: _Line(one, pace, ends) for one in reels}

    def trades(
        self,
        native: str,
        *,
        now: int,
        from_id: int | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
    ) -> list[Trade]:
        line = self._line(native)
        after = line.printed(now if end is None else min(now, end))
        if from_id is None and start is None:
            first = max(0, after - limit)
        else:
            oldest = 0 if from_id is None else from_id - line.prints.first_id
            first = max(0, oldest, 0 if start is None else line.printed(start - 1))
            after = min(after, first + limit)
        return line.scale.trades(native, line.prints.part(first, max(first, after)))

    def candles(
        self,
        native: str,
        interval: str,
        *,
        now: int,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
    ) -> CandleColumns:
        line = self._line(native)
        now = min(now, self.ends)
        begins = int(line.prints.time[0]) if len(line.prints.time) else NEVER
        opens = open_times(interval, begins=begins, now=now, start=start, end=end, limit=limit)
        if not len(opens):
            return line.scale.columns(bars_of(NO_PRINTS, opens, 0))
        first, after = line.printed(int(opens[0]) - 1), line.printed(bars_end(opens, interval, now) - 1)
        before = int(line.prints.price[max(0, first - 1)])
        return line.scale.columns(bars_of(line.prints.part(first, after), opens, before))

    def book(self, native: str, *, now: int, limit: int = 1000) -> BookSnapshot:
        line = self._line(native)
        if now < self.begins:
            raise BadRange(f"the tape's books are not known before {iso(self.begins)}; ask for a later time")
        book = line.film.after(line.changed(now))
        return BookSnapshot(native, book.last_id, book.bids(limit), book.asks(limit))

    def quote(self, native: str, *, now: int) -> Quote:
        line = self._line(native)
        at = int(np.searchsorted(line.quote_time, now, side="right")) - 1
        if at >= 0:
            return line.quote(at)
        if now < self.begins:
            raise BadRange(f"the tape has no quote of {native} up to {iso(now)}; ask for a later time")
        return line.film.after(line.changed(now)).best()

    def events(self, native: str, *, after: int, until: int) -> list[MarketEvent]:
        line = self._line(native)
        trades, quotes, deltas, all_of_them = (
            slice(*np.searchsorted(time, [after, until], side="right").tolist())
            for time in (line.prints.time, line.quote_time, line.delta_time, line.times)
        )
        happened: tuple[Iterator[MarketEvent], ...] = (
            iter(line.scale.trades(native, line.prints.part(trades.start, trades.stop))),
            map(line.quote, range(quotes.start, quotes.stop)),
            map(line.delta, range(deltas.start, deltas.stop)),
        )
        return [next(happened[kind]) for kind in line.kinds[all_of_them].tolist()]

    def _line(self, native: str) -> _Line:
        try:
            return self._lines[native]
        except KeyError:
            raise UnknownName("symbol", native, self._lines) from None


class _Pace:
    """The tape's time as the time that is told."""

    def __init__(self, zero: int, started: int, speed: float) -> None:
        self._zero, self._started, self._speed = zero, started, speed

    def told(self, times: Ints) -> Ints:
        """When moments of the tape are told, µs; rounded down."""
        since = times - self._zero
        if self._speed != 1:
            since = np.floor(since / self._speed).astype(np.int64)
        told: Ints = since + self._started
        return told

    def moment(self, time: int) -> int:
        """The same of one moment."""
        return int(self.told(np.array([time]))[0])


class _Line:
    """One instrument in the time that is told."""

    def __init__(self, reel: Reel, pace: _Pace, ends: int) -> None:
        self._native = reel.instrument.native
        self._quotes, self._deltas = reel.quotes, reel.deltas
        self.film = reel.film
        self.scale = Scale.of(reel.instrument)
        times = [time[time <= ends] for time in (reel.prints.time, reel.quotes.time, reel.deltas.time)]
        printed, self.quote_time, self.delta_time = map(pace.told, times)
        self.prints = reel.prints.part(0, len(printed))._replace(time=printed)
        together = np.concatenate(times)
        order = np.argsort(together, kind="stable")  # at one time: trades, then quotes, then the book
        self.times = pace.told(together[order])
        """Of trades, quotes and deltas together."""
        self.kinds = np.repeat(np.arange(3), [len(time) for time in times])[order]
        """0 a trade, 1 a quote, 2 a delta."""

    def changed(self, until: int) -> int:
        """How many deltas there have been up to and including ``until``."""
        return int(np.searchsorted(self.delta_time, until, side="right"))

    def printed(self, until: int) -> int:
        """How many trades there have been up to and including ``until``."""
        return int(np.searchsorted(self.prints.time, until, side="right"))

    def quote(self, at: int) -> Quote:
        """The quote at a position."""
        bid, bid_qty, ask, ask_qty = self._quotes.touch[at].tolist()
        update_id, time = int(self._quotes.update_id[at]), int(self.quote_time[at])
        return Quote(self._native, bid, bid_qty, ask, ask_qty, update_id, time)

    def delta(self, at: int) -> BookDelta:
        """The delta at a position."""
        return self._deltas.delta(self._native, at, int(self.delta_time[at]))


def _reels(lines: Iterable[TapeLine]) -> list[Reel]:
    """The instruments whose books the tape tells."""
    found = collect(lines)
    clock = VenueTime(found)
    made = [reel(native, found, clock) for native in sorted(found.takes)]
    reels = [one for one in made if one is not None]
    if not reels:
        raise DataError(
            "no order book can be rebuilt from this tape: it takes a stream of depth updates and one answer to "
            "GET /api/v3/depth that lies among them; nothing was played"
        )
    return reels


def _end(reels: list[Reel]) -> int:
    """The last event of all, unless something is missing before."""
    times = [time for one in reels for time in (one.prints.time, one.quotes.time, one.deltas.time)]
    last = max(int(time[-1]) for time in times if len(time))
    return min(last, *(one.ends for one in reels))
