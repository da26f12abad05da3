"""One instrument's candles, trades, quote and book, kept equal to the venue's.

Pure: it is told what the stream brought, what REST answered and what time it is, and says what it needs to ask. After
anything that may have lost messages it asks again for everything, holds what the stream brings meanwhile, and joins
the two without a seam or a duplicate; until then the feed is not LIVE. Duplicates and late copies are recognised by
trade id, update id and bar, so two overlapping connections may feed one mirror.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kit.clock import SECOND
from kit.errors import SequenceGap
from kit.market.book import Book
from kit.market.candles import holes, next_time
from kit.market.feed import Feed, FeedEvent, FeedState
from kit.market.frame import CandleRing, TradeRing
from kit.model import BookDelta, BookSnapshot, Candle, Quote, Trade

T = TypeVar("T")

PAGE = 1000
"""Rows to ask for at once; a full page means that there is more."""
LAG_TRIES = 5
"""How often REST is asked again for rows the stream proves to exist, before their absence is believed."""
HELD = 100_000
"""Most trades held while REST is asked; the oldest go first and are then asked for."""
GAPS = 1_000
"""Most lost intervals remembered."""


class Need(Enum):
    """What only REST can tell."""

    CANDLES = "candles"
    TRADES = "trades"
    QUOTE = "quote"
    BOOK = "book"
    PROBE = "probe"
    """The quote again, to tell a quiet market from a mute feed."""


@dataclass(frozen=True)
class Ask:
    """A question for REST: for candles from the open time ``start`` (µs), for trades from the id ``start``.

    Without ``start`` the newest are wanted. ``at`` is when it was asked (µs); an answer to an ``epoch`` that is over
    is ignored.
    """

    need: Need
    start: int | None
    at: int
    epoch: int


@dataclass
class Due:
    """A need that is not met yet: when to ask next (µs), how often it was asked in vain, from where."""

    at: int
    start: int | None = None
    tries: int = 0
    asked: bool = False

    def again(self, now: int, wait: float = 0.0) -> None:
        """Ask once more, after a pause that grows; ``wait`` (s) is its least."""
        pause = max(min(0.25 * 2**self.tries, 10.0), wait)
        self.at, self.tries, self.asked = now + round(pause * SECOND), self.tries + 1, False


@dataclass(frozen=True)
class Gap:
    """Quotes and depth between ``start`` and ``end`` (µs) were lost: no venue gives them back."""

    start: int
    end: int
    reason: str


class Mirror:
    """The picture of one instrument; ``version`` counts its changes."""

    def __init__(
        self, symbol: str, interval: str, *, candles: int = 10_000, trades: int = 50_000, stale_after: float = 10.0
    ) -> None:
        self.symbol, self.interval = symbol, interval
        self.feed = Feed(stale_after=stale_after)
        self.candles, self.trades, self.book = CandleRing(candles), TradeRing(trades), Book(symbol)
        self.quote: Quote | None = None
        self.gaps: tuple[Gap, ...] = ()
        self.holes: list[list[str]] = []
        """Bars the venue does not have, as in ``attrs``."""
        self.version = 0
        self.reason = "not started"
        """Why it is not LIVE."""
        self._due: dict[Need, Due] = {}
        self._epoch = 0
        self._connected = False
        self._mute = False
        self._proven = False
        self._probed = 0
        self._quote_id = 0
        self._behind: tuple[int, int] | None = None
        """An update that a quote told of and the book has not reached, and since when (µs)."""
        self._lost: tuple[int, str] | None = None
        self._held_candles: deque[Candle] = deque(maxlen=HELD)
        self._held_trades: deque[Trade] = deque(maxlen=HELD)
        self._takers: dict[type, Callable[[Any, int], None]] = {
            Candle: self._candle,
            Trade: self._trade,
            Quote: self._quote,
            BookDelta: self._delta,
        }
        self._readers: dict[Need, Callable[[Ask, Any, int], bool]] = {
            Need.CANDLES: self._read_candles,
            Need.TRADES: self._read_trades,
            Need.QUOTE: self._read_quote,
            Need.BOOK: self._read_book,
            Need.PROBE: self._read_probe,
        }

    # -- what happens to the connection

    def start(self) -> None:
        """The owner wants it; a connection is on its way."""
        self._move(FeedEvent.START, "connecting")

    def up(self, now: int) -> None:
        """The venue has confirmed the subscriptions: from now on everything that happens comes."""
        self._connected = True
        self._move(FeedEvent.CONNECTED, "reading what the stream can't tell")
        self._resync(now)

    def down(self, reason: str) -> None:
        """The connection is gone."""
        self._connected = False
        self._due.clear()
        self._lose(FeedEvent.DROPPED, reason)
        self.book.desync()

    def close(self) -> None:
        """Nothing more is taken in or asked for; the frames stay readable, the book does not."""
        self._connected = False
        self._due.clear()
        self.book.desync()
        self._move(FeedEvent.CLOSE, "closed")

    def tick(self, now: int) -> None:
        """Notice silence, and have it looked into before it makes the feed STALE. Call a few times a second."""
        if not self._connected:
            return
        self._notice_silence(now)
        patience = self.feed.stale_after // 2
        if self._behind is not None and now - self._behind[1] > patience and self.book.synced:
            self.book.desync()
            self._miss(Need.BOOK, None, now, "the book stands still while the quotes move on")
        if not self._due and min(self.feed.silence(now), now - self._probed) >= patience:
            self._probed = now
            self._due[Need.PROBE] = Due(now)

    def _notice_silence(self, now: int) -> None:
        silence = self.feed.silence(now)
        if self.feed.state is FeedState.LIVE and silence > self.feed.stale_after:
            self._mute = True
            self._lose(FeedEvent.SILENT, f"no data for {silence / SECOND:.1f} s")
            self.book.desync()  # a frozen book is not shown

    def _resync(self, now: int) -> None:
        """Ask for everything: something may have been missed."""
        self._epoch += 1
        self._mute = self._proven = False
        self._quote_id, self._probed, self._behind = 0, now, None
        self._held_candles.clear()
        self._held_trades.clear()
        self._due = {
            Need.CANDLES: Due(now, self.candles.last_time),
            Need.TRADES: Due(now),
            Need.QUOTE: Due(now),
            Need.BOOK: Due(now),
        }

    # -- what the stream brings

    def take(self, event: Candle | Trade | Quote | BookDelta, now: int) -> None:
        """One market-data event, received at ``now`` (µs). What comes before ``up`` is left to REST."""
        if not self._connected:
            return
        self._notice_silence(now)
        self.feed.proven(now)
        if self._mute:  # the silence may have swallowed messages: trust nothing across it
            self._resync(now)
        self._proven = True
        self._takers[type(event)](event, now)
        self.version += 1
        self._settle(now)

    def _candle(self, candle: Candle, now: int) -> None:
        if Need.CANDLES in self._due:
            self._held_candles.append(candle)
        elif self._continues(candle):
            self.candles.put(candle, "ws")
        else:
            self._held_candles.append(candle)
            self._miss(Need.CANDLES, self.candles.last_time, now, f"bars before {candle.time} did not come")

    def _continues(self, candle: Candle) -> bool:
        """True when no bar, and no last version of a bar, is missing before this one."""
        last = self.candles.last_time
        if last is None or candle.time <= last:
            return True
        return self.candles.forming is None and candle.time == next_time(last, self.interval)

    def _trade(self, trade: Trade, now: int) -> None:
        last = self.trades.last_id
        if Need.TRADES in self._due:
            self._held_trades.append(trade)
        elif last is None or trade.id <= last + 1:
            self.trades.put(trade, "ws")
        else:
            self._held_trades.append(trade)
            self._miss(Need.TRADES, last + 1, now, f"trades {last + 1} to {trade.id - 1} did not come")

    def _quote(self, quote: Quote, now: int) -> None:
        if quote.update_id >= self._quote_id:
            self.quote, self._quote_id = quote, quote.update_id
            self._due.pop(Need.QUOTE, None)
            if self._behind is None and self.book.synced and quote.update_id > self.book.last_id:
                self._behind = quote.update_id, now

    def _delta(self, delta: BookDelta, now: int) -> None:
        try:
            self.book.apply(delta)
        except SequenceGap as gap:
            self._miss(Need.BOOK, None, now, str(gap))
        if self._behind is not None and delta.last_id >= self._behind[0]:
            self._behind = None

    def _miss(self, need: Need, start: int | None, now: int, reason: str) -> None:
        self._due[need] = Due(now, start)
        self._lose(FeedEvent.GAP, reason)

    # -- what REST is asked and answers

    def asks(self, now: int) -> list[Ask]:
        """The questions that are due, each handed out once; each wants ``answer`` or ``failed``."""
        if not self._due:
            return []
        ripe = [(need, due) for need, due in self._due.items() if not due.asked and due.at <= now]
        for _, due in ripe:
            due.asked = True
        return [Ask(need, due.start, now, self._epoch) for need, due in ripe]

    def failed(self, ask: Ask, now: int, reason: str, wait: float = 0.0) -> None:
        """REST did not answer: it is asked again after a pause, ``wait`` seconds at least."""
        if ask.epoch != self._epoch or ask.need not in self._due:
            return
        if ask.need is Need.PROBE:
            del self._due[Need.PROBE]  # the next one follows by the clock
            return
        self.reason = reason
        self._due[ask.need].again(now, wait)
        self.version += 1

    def answer(self, ask: Ask, value: Any, now: int) -> bool:
        """REST answered with what ``ask.need`` says; True when that proved the picture current."""
        if ask.epoch != self._epoch or ask.need not in self._due:
            return False
        proved = self._readers[ask.need](ask, value, now)
        self.version += 1
        self._settle(now)
        return proved

    def _read_candles(self, ask: Ask, columns: Mapping[str, npt.NDArray[Any]], now: int) -> bool:
        rows = len(columns["time"])
        closed = np.arange(rows) < rows - 1  # the next has begun
        self.candles.extend(columns, closed, "rest" if ask.start is None else "backfill")
        if ask.start is not None and rows >= PAGE:
            self._due[Need.CANDLES] = Due(now, self.candles.last_time)
        else:
            self._drain(Need.CANDLES, self._held_candles, self._candle, self.candles.put, now)
            self._note_holes()
        return False

    def _read_trades(self, ask: Ask, trades: list[Trade], now: int) -> bool:
        last = self.trades.last_id
        if ask.start is None and last is not None and trades and trades[0].id > last + 1:
            # More was missed than one page holds: read on from there, but no more than the ring can keep.
            self._due[Need.TRADES] = Due(now, max(last + 1, trades[-1].id + 1 - self.trades.capacity))
            return False
        for trade in trades:
            self.trades.put(trade, "rest" if last is None else "backfill")
        if ask.start is not None and len(trades) >= PAGE:
            self._due[Need.TRADES] = Due(now, trades[-1].id + 1)
        else:
            self._drain(Need.TRADES, self._held_trades, self._trade, self.trades.put, now)
        return False

    def _drain(
        self, need: Need, held: deque[T], take: Callable[[T, int], None], put: Callable[[T, str], bool], now: int
    ) -> None:
        """Join what the stream brought meanwhile. Where it does not continue what REST said, REST lags: ask again."""
        due = self._due.pop(need)
        waiting = list(held)
        held.clear()
        for event in waiting:
            if due.tries < LAG_TRIES:
                take(event, now)
            else:
                put(event, "ws")
        if need in self._due:
            self._due[need].tries = due.tries
            self._due[need].again(now)

    def _note_holes(self) -> None:
        times, last = self.candles.times, self.candles.last_time
        if len(times) and last is not None:
            self.holes = holes(times, self.interval, int(times[0]), last)

    def _read_quote(self, ask: Ask, quote: Quote, now: int) -> bool:
        self.quote = quote
        del self._due[Need.QUOTE]
        return False

    def _read_book(self, ask: Ask, snapshot: BookSnapshot, now: int) -> bool:
        self._behind = None
        try:
            self.book.load(snapshot)
        except SequenceGap as gap:
            self.reason = str(gap)
            self._due[Need.BOOK].again(now)
        else:
            del self._due[Need.BOOK]
        return False

    def _read_probe(self, ask: Ask, quote: Quote, now: int) -> bool:
        """A quote that equals ours proves the market quiet; another one proves nothing, and the silence goes on."""
        del self._due[Need.PROBE]
        if self.quote is None or _prices(quote) != _prices(self.quote):
            return False
        self.feed.proven(ask.at)
        self._proven = True
        return True

    # -- where it stands

    def _settle(self, now: int) -> None:
        """LIVE once nothing is due, the stream is not mute, and something has proven it since it came up."""
        if self.feed.state not in (FeedState.SYNCING, FeedState.STALE) or self._mute or not self._proven:
            return
        if any(need is not Need.PROBE for need in self._due):
            return
        if self._lost is not None:  # first, for whoever reads LIVE in another thread reads the gaps next
            self.gaps = (*self.gaps[1 - GAPS :], Gap(self._lost[0], now, self._lost[1]))
            self._lost = None
        self._move(FeedEvent.SYNCED, "")

    def _lose(self, event: FeedEvent, reason: str) -> None:
        """Quotes and depth are lost from the last data on, until it is LIVE again."""
        if self.feed.state is FeedState.LIVE and self.feed.last_data is not None:
            self._lost = (self.feed.last_data, reason)
        self._move(event, reason)

    def _move(self, event: FeedEvent, reason: str) -> None:
        self.feed.advance(event)
        self.reason = reason
        self.version += 1


def _prices(quote: Quote) -> tuple[float, float, float, float]:
    return quote.bid, quote.bid_qty, quote.ask, quote.ask_qty
