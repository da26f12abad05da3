"""Public trades, kept whole: ids are contiguous, so a hole is seen, and read by REST. Pure."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from kit.market.feed import FeedEvent
from kit.market.strand import GRACE, HELD, LAG_TRIES, PAGE, Ask, Due, Gap, Host, Need, Strand, emptied
from kit.market.trade_ring import TradeRing
from kit.model import Channel, Trade


class TradeStrand(Strand):
    """Every print, by its id: ids are contiguous, so a hole is seen, and read by REST."""

    channel: ClassVar[Channel] = Channel.TRADE
    need: ClassVar[Need] = Need.TRADES
    restored: ClassVar[bool] = True

    def __init__(self, host: Host, capacity: int, *, stale_after: float) -> None:
        super().__init__(host, stale_after=stale_after)
        self.ring = TradeRing(capacity)
        self._held: deque[tuple[Trade, int]] = deque(maxlen=HELD)
        self._behind: tuple[int, int] | None = None
        self._told = 0

    @property
    def told(self) -> int:
        """When the newest print came in a frame, or REST was asked for it, µs."""
        return max(self.feed.heard, self._told)

    def take(self, trade: Trade, now: int) -> None:
        """A print from the stream."""
        feed = self.feed
        if (self._wary or now - feed.proven > feed.stale_after) and not self.listens(now):
            return
        self.latency.add(now, trade.time)
        feed.venue_time = trade.time
        self._take(trade, now)
        self.taken(now)

    def _take(self, trade: Trade, now: int) -> None:
        last = self.ring.last_id
        if self.due is not None:
            self._held.append((trade, now))
        elif last is None or trade.id <= last + 1:
            self.ring.put(trade, "ws", now)
        elif self._answerable:
            self._held.append((trade, now))
            self.ask_for(Due(now, last + 1, self.ring.last_time))
            self._lose(FeedEvent.GAP, f"trades {last + 1} to {trade.id - 1} did not come", now)
        else:
            self._host.lost(Gap(now, now, f"trades {last + 1} to {trade.id - 1} did not come", self.channel))
            self.ring.put(trade, "ws", now)

    def known(self, last_id: int, at: int, now: int) -> None:
        """Another voice says that ``last_id`` was the newest print as of ``at``."""
        mine = self.ring.last_id or 0
        if last_id <= mine:
            if last_id == mine and self.complete:
                self.vouch(at, now, exactly=True)
        elif self._behind is None:
            self._behind = last_id, now

    def tick(self, now: int) -> None:
        """Notice silence, and prints that others know of."""
        super().tick(now)
        if self._behind is None:
            return
        if self._behind[0] <= (self.ring.last_id or 0) or self.due is not None or not self._up:
            self._behind = None
        elif now - self._behind[1] > GRACE:
            told, self._behind = self._behind[0], None
            self.renew(now, f"trade {told} is known and did not come")

    def _start_over(self, now: int) -> None:
        self.ask_for(Due(now))

    def _forget(self) -> None:
        self._held.clear()
        self._behind = None

    def _read(self, ask: Ask, trades: list[Trade], now: int) -> None:
        last = self.ring.last_id
        if ask.start is None and last is not None and trades and trades[0].id > last + 1:
            # More was missed than one page holds: read on from there, but no more than the ring can keep.
            far = trades[-1].id + 1 - self.ring.capacity
            self.due = Due(now, max(last + 1, far), self.ring.last_time)
            return
        expected = ask.start
        for trade in trades:
            if expected is not None and trade.id > expected:
                self._lack(expected, trade)
            if self.ring.put(trade, "rest" if last is None else "backfill", now):
                self._told = ask.at
            expected = trade.id + 1
        if ask.start is not None and len(trades) >= PAGE:
            self.due = Due(now, trades[-1].id + 1, trades[-1].time)
        else:
            self._join(ask, now)

    def _lack(self, expected: int, trade: Trade) -> None:
        """REST leaves out what it ought to have told: nobody gives it back."""
        reason = f"trades {expected} to {trade.id - 1} can't be had any more"
        self._host.lost(Gap(self.ring.last_time or trade.time, trade.time, reason, self.channel))

    def _join(self, ask: Ask, now: int) -> None:
        """Take what the stream brought meanwhile. Where it does not continue what REST said, REST lags: ask again."""
        lags = self._met()
        for trade, received in emptied(self._held):
            if lags < LAG_TRIES:
                self._take(trade, received)
            else:
                self.ring.put(trade, "ws", received)
        if self.due is not None:
            self.due.lagged(now, lags)
        else:
            self.feed.confirmed(ask.at, exactly=False)
