"""Market events as stream frames: one symbol's feed, from the events of its floor to what subscribers read. Pure.

Rhythm and shapes are web-socket-streams.md's: trades and quotes as they come, diffs every 100 ms or 1 s, bars
every 1 s (``1s``) or 2 s when they changed, and once more with ``x: true`` when they close, quiet or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from kit.clock import SECOND
from kit.market.candles import INTERVALS, floor_time
from kit.model import BookDelta, BookSnapshot, Quote, Trade
from kit.sandbox.market import Market, MarketEvent
from kit.sandbox.pit import Pit
from kit.sandbox.wire import (
    Json,
    Stamp,
    aggregate_event,
    depth,
    depth_event,
    kline_event,
    merged,
    quote_event,
    trade_event,
    with_ends,
)

TICK = SECOND // 10
"""How often frames are made, µs."""
CHANNEL = re.compile(
    r"(trade|aggTrade|bookTicker|ticker|miniTicker"
    r"|(?P<bar>kline)_(?P<interval>\w+)"
    r"|(?P<book>depth)(?P<levels>5|10|20)?(?:@(?P<speed>100|1000)ms)?)"
)

Make = Callable[[Stamp], Json]
"""A frame's payload, once the reader's time unit is known."""


@dataclass(frozen=True)
class Frame:
    """One message of one stream."""

    stream: str
    make: Make


@dataclass(frozen=True)
class Channel:
    """What a stream name asks for, after the ``@``."""

    kind: str
    interval: str = ""
    levels: int = 0
    period: int = TICK


def parse(stream: str, natives: Collection[str]) -> tuple[str, Channel] | None:
    """Symbol and channel of a stream name; None for a name that nothing is ever sent on."""
    symbol, _, rest = stream.partition("@")
    found = CHANNEL.fullmatch(rest)
    if found is None or symbol != symbol.lower() or symbol.upper() not in natives:
        return None
    if found["bar"]:
        known = found["interval"] in INTERVALS
        period = SECOND if found["interval"] == "1s" else 2 * SECOND
        return (symbol.upper(), Channel("kline", found["interval"], period=period)) if known else None
    if found["book"]:
        period = TICK if found["speed"] == "100" else SECOND
        return symbol.upper(), Channel("depth", levels=int(found["levels"] or 0), period=period)
    return symbol.upper(), Channel(rest, period=SECOND if "icker" in rest and rest != "bookTicker" else TICK)


@dataclass
class Bars:
    """What has been sent of one bar stream: up to which open time, and the last row."""

    open_time: int
    row: dict[str, Any] | None = None


@dataclass
class Feed:
    """One symbol's streams. ``statistics`` makes the 24-hour payload for (channel kind, now, stamp)."""

    pit: Pit
    statistics: Callable[[str, int, Stamp], Json]
    last: int = 0
    fresh: list[MarketEvent] = field(default_factory=list)
    unsent: dict[int, list[BookDelta]] = field(default_factory=lambda: {TICK: [], SECOND: []})
    """Book deltas since a period last ended, by its length: two ticks may fall into one period, and none is lost."""
    bars: dict[str, Bars] = field(default_factory=dict)
    shown: dict[str, object] = field(default_factory=dict)
    """Stream -> what was last sent on it, where only changes are sent."""

    def hear(self, event: MarketEvent) -> None:
        """Take in one market event."""
        self.fresh.append(event)

    def frames(self, wanted: dict[str, Channel], now: int) -> list[Frame]:
        """What the streams in ``wanted`` have to say at this tick; of any other stream nothing is remembered."""
        self.bars = {stream: bars for stream, bars in self.bars.items() if stream in wanted}
        self.shown = {stream: shown for stream, shown in self.shown.items() if stream in wanted}
        fresh, self.fresh = self.fresh, []
        for period in self.unsent:
            self.unsent[period] += [event for event in fresh if isinstance(event, BookDelta)]
        made = [frame for stream, channel in wanted.items() for frame in self._of(stream, channel, fresh, now)]
        self.unsent = {period: [] if self._crossed(period, now) else kept for period, kept in self.unsent.items()}
        self.last = now
        return made

    def _crossed(self, period: int, now: int) -> bool:
        return now // period != self.last // period

    def _of(self, stream: str, channel: Channel, fresh: list[MarketEvent], now: int) -> Iterator[Frame]:
        match channel.kind:
            case "trade" | "aggTrade":
                event = trade_event if channel.kind == "trade" else aggregate_event
                for trade in (each for each in fresh if isinstance(each, Trade)):
                    yield Frame(stream, lambda stamp, trade=trade: event(trade, now, stamp))  # type: ignore[misc]
            case "bookTicker":
                for quote in (each for each in fresh if isinstance(each, Quote)):
                    yield Frame(stream, lambda _, quote=quote: quote_event(quote))  # type: ignore[misc]
            case "kline":
                yield from self._klines(stream, channel, now)
            case _ if not self._crossed(channel.period, now):
                return
            case "depth" if channel.levels:
                yield from self._partial(stream, channel)
            case "depth":
                yield from _diff(stream, self.unsent[channel.period], now)
            case _:
                yield from self._statistics(stream, channel, now)

    def _partial(self, stream: str, channel: Channel) -> Iterator[Frame]:
        book = self.pit.book
        if self.shown.get(stream) == book.last_id:
            return
        self.shown[stream] = book.last_id
        top = BookSnapshot(book.symbol, book.last_id, book.bids(channel.levels), book.asks(channel.levels))
        yield Frame(stream, lambda _: depth(top))

    def _statistics(self, stream: str, channel: Channel, now: int) -> Iterator[Frame]:
        payload = self.statistics(channel.kind, now, lambda _: 0)
        if self.shown.get(stream) != payload:
            self.shown[stream] = payload
            yield Frame(stream, lambda stamp: self.statistics(channel.kind, now, stamp))

    def _klines(self, stream: str, channel: Channel, now: int) -> Iterator[Frame]:
        native, interval = self.pit.native, channel.interval
        sent = self.bars.setdefault(stream, Bars(floor_time(now, interval)))
        if floor_time(now, interval) == sent.open_time and not self._crossed(channel.period, now):
            return
        for row in _rows(self.pit.market, native, interval, sent.open_time, now):
            closed = row["end"] <= now
            if closed or row != sent.row:
                yield Frame(stream, lambda stamp, row=row: kline_event(native, interval, row, now, stamp))  # type: ignore[misc]
            sent.open_time, sent.row = (row["end"], None) if closed else (row["time"], row)


def _diff(stream: str, deltas: list[BookDelta], now: int) -> Iterator[Frame]:
    if deltas:
        delta = merged(deltas)
        yield Frame(stream, lambda stamp: depth_event(delta, now, stamp))


def _rows(market: Market, native: str, interval: str, start: int, now: int) -> list[dict[str, Any]]:
    """Bars from ``start`` on as dicts, the forming one last."""
    columns = with_ends(market.candles(native, interval, now=now, start=start, limit=1_000), interval)
    lists = {name: column.tolist() for name, column in columns.items()}
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
