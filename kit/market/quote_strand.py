"""The best bid and ask, kept current: the newest is the whole truth, and what was between is gone. Pure."""

from __future__ import annotations

from typing import ClassVar

from kit.market.feed import FeedState
from kit.market.quote_ring import QuoteRing
from kit.market.strand import Ask, Due, Gap, Host, Need, Strand
from kit.model import BookSnapshot, Channel, Quote


class QuoteStrand(Strand):
    """The best bid and ask: the newest is the whole truth, and what was between is gone."""

    channel: ClassVar[Channel] = Channel.QUOTE
    need: ClassVar[Need] = Need.QUOTE
    restored: ClassVar[bool] = False

    def __init__(self, host: Host, capacity: int, *, patience: int, stale_after: float) -> None:
        super().__init__(host, stale_after=stale_after)
        self.ring = QuoteRing(capacity)
        self.quote: Quote | None = None
        self.stretch = 0
        """Counts the stretches of quotes between which some may be missing."""
        self._patience = patience
        self._newest = 0
        self._differs: int | None = None

    def up(self, connection: int, now: int) -> None:
        """The venue has confirmed the subscription: from now on everything comes."""
        if connection != self.feed.connection:
            self._newest = 0  # a venue that was restarted may count from the beginning again
        super().up(connection, now)

    def take(self, quote: Quote, now: int) -> None:
        """A quote from the stream."""
        feed = self.feed
        if (self._wary or now - feed.proven > feed.stale_after) and not self.listens(now):
            return
        if quote.time:
            self.latency.add(now, quote.time)
            feed.venue_time = quote.time
        if quote.update_id >= self._newest:
            self._show(quote, "ws", now)
        self._differs = None
        self.taken(now)

    def _show(self, quote: Quote, source: str, now: int) -> None:
        old, told = self.quote, quote.update_id
        if old is None or told != old.update_id or prices(quote) != prices(old):
            self.ring.put(quote, source, now, self.stretch)
            self.quote = quote
        self._newest = told

    def missed(self, gap: Gap) -> None:
        """Another channel has lost frames: quotes may have been among them."""
        self.stretch += 1
        if self.feed.state is FeedState.LIVE:
            self._host.lost(Gap(min(gap.start, self.feed.whole), gap.end, gap.reason, self.channel))
        elif self._lost is not None:
            self._lost = (min(gap.start, self._lost[0]), self._lost[1])

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
        self.stretch += 1
        self.ask_for(Due(now))

    def _forget(self) -> None:
        self._differs = None

    def _read(self, ask: Ask, told: BookSnapshot | Quote, now: int) -> None:
        """REST's quote with its update id: what comes with a lower one has been on its way for long, and is old."""
        self._met()
        if isinstance(told, BookSnapshot):
            if not told.bids or not told.asks:
                return
            told = Quote(told.symbol, *told.bids[0], *told.asks[0], told.last_id)
        if told.update_id >= self._newest and (told.update_id or self.feed.heard < ask.at):
            self._show(told, "rest", now)


def prices(quote: Quote) -> tuple[float, float, float, float]:
    """What two quotes are compared by."""
    return quote.bid, quote.bid_qty, quote.ask, quote.ask_qty
