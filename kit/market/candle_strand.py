"""Bars of one interval, kept whole: none is missing, and none is final before the venue has said so. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from kit.clock import SECOND
from kit.market.candle_ring import CandleRing
from kit.market.candles import holes, next_time
from kit.market.feed import FeedEvent
from kit.market.strand import GRACE, HELD, LAG_TRIES, PAGE, Ask, Due, Host, Need, Strand, emptied
from kit.model import Candle, Channel

LATELY = 2 * SECOND
"""µs within which the stream must have told of a bar for its word to be the bar's last, where no closing is said."""


class CandleStrand(Strand):
    """Bars of one interval; ``says_closed``: the venue tells when one has closed."""

    channel: ClassVar[Channel] = Channel.CANDLE
    need: ClassVar[Need] = Need.CANDLES
    restored: ClassVar[bool] = True

    def __init__(self, host: Host, interval: str, capacity: int, *, says_closed: bool, stale_after: float) -> None:
        super().__init__(host, stale_after=stale_after)
        self.interval = interval
        self.ring = CandleRing(capacity)
        self.holes: list[list[str]] = []
        self.last_trade = 0
        """The newest print that a bar from the stream has told of; 0 where bars don't tell."""
        self._says_closed = says_closed
        self._held: deque[tuple[Candle, int]] = deque(maxlen=HELD)
        self._end: int | None = None
        self._pause = GRACE
        self._told = 0
        self._streamed: int | None = None
        """The newest bar that the stream has told of since it came up."""
        self._behind: tuple[int, int, int] | None = None

    def take(self, candle: Candle, now: int) -> None:
        """A bar, or a new version of it, from the stream."""
        if (self._wary or now - self.feed.proven > self.feed.stale_after) and not self.listens(now):
            return
        if candle.event_time:
            self.latency.add(now, candle.event_time)
            self.feed.venue_time = candle.event_time
        self.last_trade = max(self.last_trade, candle.last_trade)
        self._take(candle, now)
        self.taken(now)

    def _take(self, candle: Candle, now: int) -> None:
        if self.due is not None:
            self._held.append((candle, now))
        elif self._continues(candle, now) or not self._answerable:
            self.ring.put(candle, "ws", now)
            self._streamed = candle.time
        else:
            self._held.append((candle, now))
            self.ask_for(Due(now, self.ring.last_time))
            if self._misses(candle):
                self._lose(FeedEvent.GAP, f"bars before {candle.time} did not come", now)

    def _continues(self, candle: Candle, now: int) -> bool:
        """True when no bar, and no last version of a bar, is missing before this one, as far as the stream tells."""
        last = self.ring.last_time
        if last is None or candle.time <= last:
            return True
        lately = self._streamed == last and now - self.feed.heard <= LATELY
        return not self._misses(candle) and (self.ring.forming is None or lately)

    def _misses(self, candle: Candle) -> bool:
        """True when a bar did not come, or the word that one has closed. Where no such word is said, the last version
        that REST told of a bar may not have been its last: then it is asked once more, but nothing was lost."""
        last = self.ring.last_time
        unsaid = self._says_closed and self.ring.forming is not None
        return last is not None and (unsaid or candle.time != next_time(last, self.interval))

    @property
    def told(self) -> int:
        """As of when the newest bar is known, µs: by a frame, or by REST."""
        return max(self.feed.heard, self._told)

    def covers(self, trade: int, heard: int) -> bool:
        """True when the bars hold ``trade``, the newest print, received at ``heard``, as far as they tell."""
        if self.last_trade:
            return self.last_trade >= trade or self._told >= heard
        return self.told >= heard

    def trailing(self, trade: int, heard: int, now: int) -> None:
        """``trade``, received at ``heard``, is the newest print. Bars that do not tell of it for long are mute.

        On a busy market some print is always newer than the newest bar: it is the same one that must stay untold.
        """
        if not self._up or self.due is not None or self.covers(trade, heard):
            self._behind = None
        elif self._behind is None or self.covers(*self._behind[:2]):
            self._behind = trade, heard, now
        elif now - self._behind[2] > GRACE:
            self._behind = None
            self.renew(now, "the bars stand still while trades come")

    def missed(self) -> None:
        """Another channel has lost frames: versions of the forming bar may have been among them."""
        self._streamed = None

    def tick(self, now: int) -> None:
        """Notice silence, and a bar whose end is past without a word of it: nobody trades, or its close was lost.

        REST is asked in pauses that double, for of a market at rest Coinbase never tells that the next bar has begun.
        """
        super().tick(now)
        forming = self.ring.forming
        if forming is None or self.due is not None or not self._up:
            return
        if self._end is None or forming.time >= self._end:
            self._end, self._pause = next_time(forming.time, self.interval), GRACE
        if now >= self._end + GRACE and now - self._told >= self._pause:
            self._pause *= 2
            self.ask_for(Due(now, self.ring.last_time))

    def _start_over(self, now: int) -> None:
        self.ask_for(Due(now, self.ring.last_time))

    def _forget(self) -> None:
        self._held.clear()
        self._behind = self._streamed = None

    def _read(self, ask: Ask, columns: Mapping[str, npt.NDArray[Any]], now: int) -> None:
        times, due = columns["time"], self.due
        rows, lags = len(times), due.lags if due is not None else 0
        if ask.start is not None and not rows and lags < LAG_TRIES and due is not None:
            due.lagged(now, lags)  # the bar we hold must be told once more: who tells neither it nor a later one lags
            return
        if rows and ask.start is not None and times[0] > ask.start:
            self.ring.drop_forming()  # it is told no more: it was left too long ago
        closed = np.arange(rows) < rows - 1  # the next has begun
        self.ring.extend(columns, closed, "rest" if ask.start is None else "backfill", now)
        if ask.start is not None and rows >= PAGE:
            self.due = Due(now, self.ring.last_time)
            return
        self._join(ask, now, lags)
        if self.due is None:
            self._note_holes()

    def _join(self, ask: Ask, now: int, lags: int) -> None:
        self._met()
        for candle, received in emptied(self._held):
            if lags < LAG_TRIES:
                self._take(candle, received)
            else:
                self.ring.put(candle, "ws", received)
        if self.due is not None:
            self.due.lagged(now, lags)
        else:
            self._told = max(self._told, ask.at)
            self.feed.confirmed(ask.at, exactly=False)

    def _note_holes(self) -> None:
        times, last = self.ring.times, self.ring.last_time
        if len(times) and last is not None:
            self.holes = holes(times, self.interval, int(times[0]), last)
