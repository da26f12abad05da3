"""Any range, page by page, from a venue that gives a thousand rows at a time.

A page must bring something new or be empty: a venue that repeats itself is a BadAnswer, not an endless loop. Rows
outside what was asked for, or given before, are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kit.errors import BadAnswer
from kit.market.candles import next_time
from kit.model import Trade

PAGE = 1_000
Page = Mapping[str, npt.NDArray[Any]]
AskCandles = Callable[[int | None, int | None, int], Page]
"""(start, end, limit) -> candles that open in [start, end), µs: the oldest from a start, the newest without one."""
AskTrades = Callable[[int, int], list[Trade]]
"""(first id, limit) -> trades from that id on."""


def forwards(
    ask: AskCandles, interval: str, start: int, end: int | None, limit: int | None, now: int
) -> Iterator[Page]:
    """Pages of candles from ``start`` until ``end``, ``limit`` rows at most.

    A page that is not full and reaches the bar that forms ``now`` is the last.
    """
    left = limit
    while left != 0 and (end is None or start < end):
        wanted = PAGE if left is None else min(PAGE, left)
        given = ask(start, end, wanted)
        page = _within(given, start, end, slice(wanted))
        rows = len(page["time"])
        if not rows:
            _refuse_repetition(bool((given["time"] < start).any()))
            return
        yield page
        start, left = next_time(int(page["time"][-1]), interval), None if left is None else left - rows
        if rows < wanted and start > now:
            return


def backwards(ask: AskCandles, end: int | None, limit: int) -> Iterator[Page]:
    """Pages of the newest ``limit`` candles that open before ``end`` (None: now), the newest page first."""
    left = limit
    while left:
        wanted = min(PAGE, left)
        given = ask(None, end, wanted)
        page = _within(given, None, end, slice(-wanted, None))
        if not len(page["time"]):
            _refuse_repetition(bool(len(given["time"])))
            return
        yield page
        end, left = int(page["time"][0]), left - len(page["time"])


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
