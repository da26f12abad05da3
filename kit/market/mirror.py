"""One instrument's candles, trades, quote and book, kept equal to the venue's.

Pure: it is told what the stream brought, what REST answered and what time it is, and says what it needs to ask. Each
channel is kept whole by itself (its strand), so a gap in one resyncs that one. Here they watch each other:
a quote tells of updates the book must have, a bar of trades, the book's top of quotes, and a channel that stays behind
the others is mute. Where all of them are silent, REST is asked whether the market is.

Duplicates and late copies are recognised by trade id, update id and bar, so two connections may feed one mirror.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from kit.clock import SECOND
from kit.market.book import Book
from kit.market.book_strand import BookStrand
from kit.market.candle_ring import CandleRing
from kit.market.candle_strand import CandleStrand
from kit.market.feed import WORST, Feed, FeedState, worst
from kit.market.folded_strand import FoldedStrand
from kit.market.quote_ring import QuoteRing
from kit.market.quote_strand import QuoteStrand, prices
from kit.market.strand import DEPTH, Ask, Due, Gap, Host, Need, Strand
from kit.market.streamed import Streamed
from kit.market.trade_ring import TradeRing
from kit.market.trade_strand import TradeStrand
from kit.model import BookDelta, BookSnapshot, Candle, Channel, Quote, Trade

GAPS = 1_000
"""Most lost intervals remembered."""
SLOW = 6
"""Trades and bars may be silent so many times as long as quotes and book: no order is priced by them."""
FIRST = 2 * SECOND
"""µs between two probes of the same kind, at most; a picture that goes stale sooner is probed as much sooner."""
EVERYTHING = frozenset(Need)

MarketEvent = Candle | Trade | Quote | BookDelta | BookSnapshot


class Mirror:
    """The picture of one instrument; ``version`` counts its changes.

    ``rest`` are the questions that can be asked (a tape answers few). ``stale_after`` (s) is how long quotes and book
    may go without proof.
    """

    def __init__(
        self,
        symbol: str,
        interval: str,
        streamed: Streamed = Streamed(),  # noqa: B008 - it is frozen
        *,
        candle_rows: int = 10_000,
        trade_rows: int = 50_000,
        quote_rows: int = 50_000,
        snapshot_levels: int = DEPTH,
        stale_after: float = 10.0,
        rest: frozenset[Need] = EVERYTHING,
    ) -> None:
        self.symbol, self.interval = symbol, interval
        self.gaps: tuple[Gap, ...] = ()
        """Intervals whose quotes or depth were lost, the oldest first."""
        self.version = 0
        self.restless = True
        """Something may be due: look at ``asks``."""
        self._rest = rest
        self._patience = round(stale_after * SECOND / 2)
        self._pause = min(FIRST, self._patience)
        self._probed = dict.fromkeys((Need.TOUCH, Need.LAST_TRADE), 0)
        self._probes: dict[Need, Due] = {}
        self._follower: dict[Channel, Channel] = {}
        """Channels that the venue does not stream are made of ones that it does, and come and go with them."""
        if not streamed.quotes:
            rest -= {Need.QUOTE}
            self._follower[Channel.BOOK] = Channel.QUOTE
        if not streamed.bars:
            self._follower[Channel.TRADE] = Channel.CANDLE
        host, slow = Host(rest, self._needs, self._lost, self._missed), stale_after * SLOW
        self.book = Book(symbol, streamed.book, streamed.depth)
        self.trade = TradeStrand(host, trade_rows, stale_after=slow)
        self.candle = (
            CandleStrand(host, interval, candle_rows, says_closed=streamed.says_closed, stale_after=slow)
            if streamed.bars
            else FoldedStrand(host, symbol, interval, candle_rows, self.trade.ring, stale_after=slow)
        )
        self.touch = QuoteStrand(host, quote_rows, patience=self._patience, stale_after=stale_after)
        self.depth = BookStrand(host, self.book, quote_rows, stale_after=stale_after, depth=snapshot_levels)
        strands: tuple[Strand, ...] = self.trade, self.candle, self.touch, self.depth
        self.strands = {strand.channel: strand for strand in strands}
        self._takers = self._by_type(streamed)

    def _by_type(self, streamed: Streamed) -> dict[type, Callable[[Any, int], None]]:
        """Who takes what the stream brings."""
        depth = self.depth.take if streamed.quotes else self._take_depth
        trade = partial(self._take_trade, self.candle) if isinstance(self.candle, FoldedStrand) else self.trade.take
        return {
            Trade: trade,
            Candle: self.candle.take,
            Quote: self.touch.take,
            BookDelta: depth,
            BookSnapshot: depth,
        }

    # -- what may be read

    @property
    def candles(self) -> CandleRing:
        """The bars."""
        return self.candle.ring

    @property
    def trades(self) -> TradeRing:
        """The prints."""
        return self.trade.ring

    @property
    def quotes(self) -> QuoteRing:
        """The quotes, as they came."""
        return self.touch.ring

    @property
    def tops(self) -> QuoteRing:
        """The best bid and ask of the book, after each change of it."""
        return self.depth.tops

    @property
    def quote(self) -> Quote | None:
        """The newest quote, None before any."""
        return self.touch.quote

    @property
    def holes(self) -> list[list[str]]:
        """Bars the venue does not have, as in ``attrs``."""
        return self.candle.holes

    @property
    def feeds(self) -> dict[Channel, Feed]:
        """Each channel's state."""
        return {channel: strand.feed for channel, strand in self.strands.items()}

    def at(self, now: int) -> FeedState:
        """The state a reader must believe at ``now``: the worst of the channels'."""
        return worst(strand.feed.at(now) for strand in self.strands.values())

    def age(self, now: int) -> float:
        """Seconds since quote and book were last proven current, the older of the two; ``inf`` when one never was."""
        return max(self.touch.feed.age(now), self.depth.feed.age(now))

    @property
    def reason(self) -> str:
        """Why it is not LIVE; empty when it is."""
        sick = [strand.feed for strand in self.strands.values() if strand.feed.state is not FeedState.LIVE]
        return min(sick, key=lambda feed: WORST.index(feed.state)).reason if sick else ""

    # -- what happens to the connection

    def start(self) -> None:
        """The owner wants it; a connection is on its way."""
        for strand in self.strands.values():
            strand.start()

    def up(self, channel: Channel, connection: int, now: int) -> None:
        """The venue has confirmed a subscription: from now on everything of it comes."""
        for strand in self._fed_by(channel):
            if strand.feed.state is not FeedState.CLOSED:
                strand.up(connection, now)
        self._probed = dict.fromkeys(self._probed, 0)
        self._changed()

    def down(self, channel: Channel, reason: str, now: int) -> None:
        """The connection of a channel is gone, frames of it are missing, or the venue refused it."""
        for strand in self._fed_by(channel):
            strand.down(reason, now)
        self._changed()

    def _fed_by(self, channel: Channel) -> list[Strand]:
        follower = self._follower.get(channel)
        return [self.strands[each] for each in (channel, follower) if each is not None]

    def close(self) -> None:
        """Nothing more is taken in or asked for; the frames stay readable, the book does not."""
        for strand in self.strands.values():
            strand.close()
        self._probes.clear()
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        self.restless = True

    # -- what the stream brings

    def take(self, event: MarketEvent, now: int) -> None:
        """One market-data event, received at ``now`` (µs). What comes before ``up`` is left to REST."""
        self._takers[type(event)](event, now)
        self.version += 1

    def _take_trade(self, folded: FoldedStrand, trade: Trade, now: int) -> None:
        """A print, and with it the bar it falls into."""
        self.trade.take(trade, now)
        folded.traded(trade, now)

    def _take_depth(self, event: BookDelta | BookSnapshot, now: int) -> None:
        """The book, and with it the quote, which is its top."""
        self.depth.take(event, now)
        top = self.depth.top
        if top is not None:
            self.touch.take(top, now)

    def tick(self, now: int) -> None:
        """Notice what is silent or behind, and have it looked into. Call a few times a second."""
        for strand in self.strands.values():
            strand.tick(now)
        self._compare(now)
        self._probe(now)
        self.restless = True

    def _compare(self, now: int) -> None:
        """What the channels know of each other."""
        quote, book, last = self.touch.quote, self.book, self.trades.last_id or 0
        if self.candle.last_trade and self.trade.complete:
            self.trade.known(self.candle.last_trade, self.candle.feed.heard, now)
        if self.trade.complete:
            self.candle.trailing(last, self.trade.told, now)
        self.depth.overtaken(self.trade.feed.heard, now)
        if quote is None or not book.synced or self.touch.feed.state is not FeedState.LIVE:
            return
        if quote.update_id:
            self.depth.known(quote.update_id, self.touch.feed.heard, now)
        top = self.depth.top
        if top is None or prices(top) == prices(quote):
            self.touch.trust()
        elif self.depth.feed.heard > self.touch.feed.heard and book.last_id >= quote.update_id:
            self.touch.suspect(now)

    def _probe(self, now: int) -> None:
        """Ask REST whether a strand is quiet or mute."""
        pairs = ((Need.TOUCH, (self.touch, self.depth), 1), (Need.LAST_TRADE, (self.trade, self.candle), SLOW))
        for need, strands, slowness in pairs:
            asked = now - self._probed[need]
            if need not in self._rest or need in self._probes or asked < self._pause:
                continue
            if any(self._doubtful(strand, now, asked, self._patience * slowness) for strand in strands):
                self._probed[need] = now
                self._probes[need] = Due(now)

    def _doubtful(self, strand: Strand, now: int, asked: int, patience: int) -> bool:
        """True when REST, asked ``asked`` µs ago, should be asked whether a strand is quiet: at once before it is LIVE,
        and once when frames were lost since it was last proven."""
        feed = strand.feed
        if feed.state is not FeedState.LIVE:
            return strand.mute or (strand.connected and strand.complete and not feed.framed)
        since = min(now - feed.proven, asked)
        if not feed.framed:  # REST alone has vouched for it so far: the subscription itself may be amiss
            patience = min(patience, 2 * self._patience)
        missed = bool(self.gaps) and strand.began < self.gaps[-1].start and now - since < self.gaps[-1].end
        return missed or since >= patience

    def audit(self, now: int) -> None:
        """Have the book compared with REST, unnoticed by its readers, and put right where it differs."""
        self.depth.audit(now)

    def _needs(self) -> None:
        self.restless = True

    def _lost(self, gap: Gap) -> None:
        """Remember a gap; one that goes on where the last one of its channel ends is the same."""
        last = next((known for known in reversed(self.gaps) if known.channel is gap.channel), None)
        if last is not None and gap.start <= last.end:
            gap = Gap(min(last.start, gap.start), max(last.end, gap.end), last.reason, gap.channel)
            self.gaps = tuple(known for known in self.gaps if known is not last)
        self.gaps = (*self.gaps[1 - GAPS :], gap)

    def _missed(self, gap: Gap) -> None:
        self.candle.missed()
        if gap.channel is not Channel.QUOTE:
            self.touch.missed(gap)

    # -- what REST is asked and answers

    def asks(self, now: int) -> list[Ask]:
        """What is due, each handed out once; all but a renewal want ``answer`` or ``failed``."""
        self.restless = False
        found = [ask for strand in self.strands.values() for ask in strand.asks(now)]
        for source, follower in self._follower.items():
            for at, ask in enumerate(found):
                if ask.need is Need.RENEWAL and ask.channel is follower:
                    found[at] = replace(ask, channel=source)
        for need, due in self._probes.items():
            if not due.asked:
                due.asked = True
                channel = Channel.QUOTE if need is Need.TOUCH else Channel.TRADE
                found.append(Ask(need, channel, None, None, now, 0))
        return found

    def failed(self, ask: Ask, now: int, reason: str, wait: float = 0.0) -> None:
        """REST did not answer: it is asked again after a pause, ``wait`` seconds at least."""
        if ask.need in self._probed:
            self._probes.pop(ask.need, None)  # the next one follows by the clock
        elif ask.need is Need.AUDIT:
            self.depth.end_audit()
        else:
            self.strands[ask.channel].failed(ask, now, reason, wait)
        self.version += 1

    def answer(self, ask: Ask, value: Any, now: int) -> bool:
        """REST answered with what ``ask.need`` says; True when that proved the picture current."""
        before = self.touch.feed.proven
        if ask.need is Need.AUDIT:
            self.depth.compared(ask, value, now)
        elif ask.need not in self._probed:
            self.strands[ask.channel].answer(ask, value, now)
            if ask.need is Need.TRADES and isinstance(self.candle, FoldedStrand):
                self.candle.catch_up(now)
        elif self._probes.pop(ask.need, None) is not None:
            if ask.need is Need.TOUCH:
                self._read_touch(ask, value, now)
            else:
                self._read_last_trade(ask, value, now)
        self._changed()
        return self.touch.feed.proven > before

    def _read_touch(self, ask: Ask, told: BookSnapshot | Quote, now: int) -> None:
        quote = self.touch.quote
        if isinstance(told, Quote):  # REST may round its quantities (Kraken: to three decimals), so prices must do
            same = quote is not None and (told.bid, told.ask) == (quote.bid, quote.ask)
            self.touch.touched(same, ask.at, now, exactly=False)
            top = self.depth.top
            if top is not None and (told.bid, told.ask) == (top.bid, top.ask):
                self.depth.vouch(ask.at, now, exactly=False)
            elif same and self.depth.mute:  # the market is quiet, but what the silence took from the book is not known
                self.depth.renew(now, "a book that was silent is told anew")
            return
        exactly = self.book.synced and told.last_id == self.book.last_id
        self.depth.known(told.last_id, ask.at, now)
        if told.bids and told.asks:
            best = Quote(self.symbol, *told.bids[0], *told.asks[0])
            same = quote is not None and prices(quote) == prices(best)
            self.touch.touched(same, ask.at, now, exactly=exactly)

    def _read_last_trade(self, ask: Ask, last: Trade | None, now: int) -> None:
        if last is None:  # nothing has ever traded here
            if self.trades.last_id is None:
                self.trade.vouch(ask.at, now, exactly=True)
                self.candle.vouch(ask.at, now, exactly=False)
            return
        self.trade.known(last.id, ask.at, now)
        if last.id == self.trades.last_id and self.candle.covers(last.id, self.trade.told):
            self.candle.vouch(ask.at, now, exactly=False)
