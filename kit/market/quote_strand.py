"""The best bid and ask, kept current: the newest is the whole truth, and what was between is gone. Pure."""

from __future__ import annotations

from typing import ClassVar

from kit.market.feed import FeedState
from kit.market.quote_ring import QuoteRing
from kit.market.strand import Ask, Due, Host, Need, Strand
from kit.model import Channel, Quote


class QuoteStrand(Strand):
    """The best bid and ask: the newest is the whole truth, and what was between is gone."""

    channel: ClassVar[Channel] = Channel.QUOTE
    need: ClassVar[Need] = Need.QUOTE
    restored: ClassVar[bool] = False

    def __init__(self, host: Host, capacity: int, *, patience: int, stale_after: float) -> None:
        super().__init__(host, stale_after=stale_after)
        self.ring = QuoteRing(capacity)
        self.quote: Quote | None = None
        self._patience = patience
        self._newest = 0
        self._differs: int | None = None

    def take(self, quote: Quote, now: int) -> None:
        """A quote from the stream."""
        if not self._up:
            return
        self.heard(now)
        if quote.time:
            self.latency.add(now, quote.time)
            self.feed.venue_time = quote.time
        if quote.update_id >= self._newest:
            if quote.update_id != self._newest or self.quote is None or prices(quote) != prices(self.quote):
                self.ring.put(quote, "ws", now, self.epoch)
            self.quote, self._newest = quote, quote.update_id
            self.due = self._differs = None
        if self.feed.state is not FeedState.LIVE:
            self.settle(now)

    def touched(self, same: bool, at: int, now: int, *, exactly: bool) -> None:
        """REST says whether ours was the best bid and ask as of ``at``. Another one proves nothing: ours may be on its
        way; but if it stays so and no frame comes, the channel is mute."""
        if same:
            self._differs = None
            self.vouch(at, now, exactly=exactly)
        elif self.feed.heard < at and self._up:
            self.suspect(now)

    def suspect(self, now: int) -> None:
        """Something else shows another best bid or ask than ours."""
        if self._differs is None:
            self._differs = now
        elif now - self._differs > self._patience and self.complete:
            self._differs = None
            self.renew(now, "the quotes stand still while the market moves on")

    def trust(self) -> None:
        """What seemed to differ agrees again."""
        self._differs = None

    def _start_over(self, now: int) -> None:
        self._newest = 0
        self.ask_for(Due(now))

    def _forget(self) -> None:
        self._differs = None

    def _read(self, ask: Ask, quote: Quote, now: int) -> None:
        self.quote, self.due = quote, None
        self.ring.put(quote, "rest", now, self.epoch)


def prices(quote: Quote) -> tuple[float, float, float, float]:
    """What two quotes are compared by."""
    return quote.bid, quote.bid_qty, quote.ask, quote.ask_qty
