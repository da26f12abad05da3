"""Any range, page by page, from a venue that gives so many rows at a time.

A page must bring something new or be empty: a venue that repeats itself is a BadAnswer, not an endless loop. Rows
outside what was asked for, or given before, are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kit.clock import MINUTE, SECOND
from kit.errors import BadAnswer
from kit.market.candles import bars_before, next_time
from kit.model import Trade

PAGE = 1_000
"""Rows that are wanted where nobody says how many."""
EFFORT = 10
"""How many times as far as they would reach without a hole the newest bars are looked for."""
MANY, FEW = 2_000, 200
"""Prints in a stretch of time that make the next one shorter, or longer."""

Page = Mapping[str, npt.NDArray[Any]]
AskTrades = Callable[[int, int], list[Trade]]
"""(first id, limit) -> trades from that id on."""
AskRange = Callable[[int, int], list[Trade]]
"""(start, end) -> trades in [start, end), µs, as many as the venue gives; in the order of their ids."""
Skip = Callable[[int], int | None]
"""A time (µs) beside which there are no bars -> where it is worth going on, None: nowhere."""


@dataclass(frozen=True)
class Bars:
    """How a venue tells the candles of one instrument and interval: ``size`` in an answer at most."""

    ask: Callable[[int | None, int | None, int], Page]
    """(start, end, limit) -> candles that open in [start, end), µs: the oldest from a start, the newest without one."""
    interval: str
    size: int


# -- candles


def forwards(bars: Bars, start: int, end: int | None, limit: int | None, now: int) -> Iterator[Page]:
    """Pages of candles from ``start`` until ``end``, ``limit`` rows at most.

    A page that is not full and reaches the bar that forms ``now`` is the last.
    """
    left = limit
    while left != 0 and (end is None or start < end):
        wanted = bars.size if left is None else min(bars.size, left)
        given = bars.ask(start, end, wanted)
        page = _within(given, start, end, slice(wanted))
        rows = len(page["time"])
        if not rows:
            _refuse_repetition(bool((given["time"] < start).any()))
            return
        yield page
        start, left = next_time(int(page["time"][-1]), bars.interval), None if left is None else left - rows
        if rows < wanted and start > now:
            return


def backwards(bars: Bars, end: int | None, limit: int) -> Iterator[Page]:
    """Pages of the newest ``limit`` candles that open before ``end`` (None: now), the newest page first."""
    left = limit
    while left:
        wanted = min(bars.size, left)
        given = bars.ask(None, end, wanted)
        page = _within(given, None, end, slice(-wanted, None))
        if not len(page["time"]):
            _refuse_repetition(bool(len(given["time"])))
            return
        yield page
        end, left = int(page["time"][0]), left - len(page["time"])


def forwards_by_calendar(bars: Bars, skip: Skip, start: int, end: int, limit: int | None) -> Iterator[Page]:
    """As ``forwards``, from a venue whose answers are about so many bars of the calendar and leave out what was not
    traded in: after one without any bar it goes on where ``skip`` says."""
    left = limit
    while left != 0 and start < end:
        stop = min(end, bars_before(start - 1, bars.interval, -bars.size - 1))
        page = _within(bars.ask(start, stop, bars.size), start, stop, slice(left))
        rows = len(page["time"])
        if rows:
            yield page
        further = stop if rows else skip(stop)
        if further is None:
            return
        start, left = max(stop, further), None if left is None else left - rows


def backwards_by_calendar(bars: Bars, skip: Skip, end: int, limit: int) -> Iterator[Page]:
    """As ``backwards``, from such a venue. It gives up ``EFFORT`` times as far back as ``limit`` bars would reach."""
    left, tries = limit, EFFORT * -(-limit // bars.size)
    while left and tries:
        begin = bars_before(end - 1, bars.interval, bars.size - 1)
        page = _within(bars.ask(begin, end, bars.size), begin, end, slice(-left, None))
        rows = len(page["time"])
        if rows:
            yield page
        further = begin if rows else skip(begin)
        if further is None:
            return
        end, left, tries = min(begin, further), left - rows, tries - 1


def onwards(bars: Bars, start: int) -> Iterator[Page]:
    """Pages of candles from ``start`` until now. Each begins with the bar that ended the one before: it may have been
    forming when it was told, and whoever joins them takes the later word of it."""
    while True:
        page = bars.ask(start, None, bars.size)
        yield page
        if len(page["time"]) < bars.size or page["time"][-1] <= start:
            return
        start = int(page["time"][-1])


def onwards_by_calendar(bars: Bars, start: int, end: int) -> Iterator[Page]:
    """As ``onwards`` until ``end``, from a venue whose answers are about so many bars of the calendar."""
    stop = start
    while stop < end:
        stop = min(end, bars_before(start - 1, bars.interval, -bars.size - 1))
        yield bars.ask(start, stop, bars.size)
        start = bars_before(stop, bars.interval, 1)


# -- trades


def trades(ask: AskTrades, first: int, end: int | None, limit: int | None) -> Iterator[list[Trade]]:
    """Pages of trades from the id ``first`` on that happened before ``end`` (µs), ``limit`` of them at most."""
    left = limit
    while left != 0:
        wanted = PAGE if left is None else min(PAGE, left)
        given = ask(first, wanted)
        new = [trade for trade in given if trade.id >= first][:wanted]
        _refuse_repetition(bool(given) and not new)
        page = [trade for trade in new if end is None or trade.time < end]
        if page:
            yield page
        if len(page) < wanted:
            return
        first, left = page[-1].id + 1, None if left is None else left - len(page)


def trades_onwards(ask: AskRange, start: int, end: int, size: int) -> Iterator[list[Trade]]:
    """Pages of the trades in [start, end), from a venue that gives the oldest ``size`` of a range."""
    last = -1
    while start < end:
        given = ask(start, end)
        new = [trade for trade in given if trade.id > last]
        if new:
            yield new
        if len(given) < size:
            return
        _refuse_repetition(not new)
        last, start = new[-1].id, new[-1].time


def trades_back(ask: AskRange, start: int, end: int, first: int = 0) -> Iterator[list[Trade]]:
    """Pages of the trades in [start, end), the newest page first, from a venue that gives the newest of a range.

    It ends with the page in which the id ``first`` is. The venue counts in whole seconds: of one with more trades than
    an answer holds, the older can't be had, which a step in the ids shows.
    """
    oldest: Trade | None = None
    while start < end:
        page = [trade for trade in ask(start, end) if oldest is None or trade.id < oldest.id]
        if page:
            yield page
            oldest = page[0]
            if oldest.id <= first:
                return
            end = oldest.time + 1
        elif end % SECOND == 0:
            return
        else:
            end -= end % SECOND


def trades_by_stretches(ask: AskRange, start: int, end: int) -> Iterator[list[Trade]]:
    """As ``trades_back``, but the oldest first: one stretch of time after the other is read back."""
    span = MINUTE
    while start < end:
        stop = min(end, (start + span) // SECOND * SECOND)
        found = ascending(trades_back(ask, start, stop))
        if found:
            yield found
        start, span = stop, span * 4 if len(found) < FEW else max(SECOND, span // 2) if len(found) > MANY else span


def ascending(pages: Iterable[list[Trade]]) -> list[Trade]:
    """All trades of pages, in the order of their ids."""
    return sorted((trade for page in pages for trade in page), key=lambda trade: trade.id)


def cut(pages: Iterable[list[Trade]], first: int, limit: int | None) -> Iterator[list[Trade]]:
    """Of the pages the ``limit`` trades from the id ``first`` on."""
    left = limit
    for page in pages:
        kept = [trade for trade in page if trade.id >= first][:left]
        if kept:
            yield kept
        if left is not None:
            left -= len(kept)
            if not left:
                return


def cut_back(pages: Iterable[list[Trade]], limit: int) -> Iterator[list[Trade]]:
    """Of pages that come the newest first the newest ``limit`` trades."""
    left = limit
    for page in pages:
        yield page[-left:]
        left -= len(page)
        if left <= 0:
            return


def _within(page: Page, start: int | None, end: int | None, part: slice) -> Page:
    """Those of the rows that open in [start, end) which ``part`` takes."""
    times = page["time"]
    inside = np.ones(len(times), bool)
    if start is not None:
        inside &= times >= start
    if end is not None:
        inside &= times < end
    rows = np.flatnonzero(inside)[part]
    return page if len(rows) == len(times) else {name: column[rows] for name, column in page.items()}


def _refuse_repetition(repeats: bool) -> None:
    if repeats:
        raise BadAnswer(
            "the venue answers with rows it gave before, so what comes after them can't be had; nothing was made of "
            "it. Try a shorter range, and tell the venue's support if it stays so"
        )
