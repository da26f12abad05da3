"""A simulated market that keeps everything that ever happened in it: one seed, no clock but the one it is told.

A ``Market`` is one instrument. It moves by its own draws, whoever listens, so that a disturbed and an undisturbed run
of one seed see the same market. All its numbers are integers (ticks of 0.1, lots of 0.001); what its streams say of
them is its venue's ``Voice``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache, lru_cache
from random import Random
from typing import NamedTuple

from kit.clock import MINUTE, SECOND
from kit.model import Levels, Quote
from tests.sim.voice import Bar, Said, Side, Top, Voice

TICK, LOT = 10, 1000
"""Steps in one unit of price and of quantity."""
FLUSH = SECOND // 10
"""µs between two depth frames."""
STEP = {"1s": SECOND, "1m": MINUTE}
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - all times here are UTC
START = 1_700_000_000 * SECOND
"""When the storm begins."""
NEVER = 2**62
LEVELS = 14
"""Levels that a side is kept at, about."""


class Print(NamedTuple):
    """One trade."""

    time: int
    ticks: int
    lots: int
    buyer_is_maker: bool


class Spell(NamedTuple):
    """How lively a market is: changes a second, and the least and most seconds that it lasts."""

    rate: float
    least: float
    most: float


SPELLS = (
    Spell(1.0, 5.0, 15.0),
    Spell(6.0, 5.0, 20.0),
    Spell(6.0, 5.0, 20.0),
    Spell(60.0, 0.3, 1.0),
)
"""Beside silence, of which the venue says how long it lasts."""


@cache
def price_text(ticks: int) -> str:
    return f"{ticks // 10}.{ticks % 10}0000000"


@cache
def qty_text(lots: int) -> str:
    return f"{lots // 1000}.{lots % 1000:03d}00000"


@lru_cache(maxsize=10_000)
def moment_text(time: int) -> str:
    """RFC 3339, to the microsecond."""
    return f"{(EPOCH + timedelta(microseconds=time)).isoformat(timespec='microseconds')}Z"


def worth_text(worth: int) -> str:
    return f"{worth // 10_000}.{worth % 10_000:04d}0000"


class Market:
    """One instrument's trades, bars, quotes and book, with all their past. ``advance`` moves it on."""

    def __init__(self, voice: Voice, native: str, interval: str, seed: int, begin: int) -> None:
        self._voice, self._throttle = voice, voice.throttle[interval]
        self._spells = (Spell(0.0, *voice.silence), *SPELLS)
        self._says_closed, self.depth = voice.codec.streaming.says_closed, voice.codec.streaming.depth
        self.native, self.interval, self.step = native, interval, STEP[interval]
        self.now = begin
        self._random = Random(seed)  # noqa: S311 - the seed is the point
        self.halted = False
        # trades, by place: id = first_id + place
        self.first_id = self._random.randint(1, 10**6)
        self.prints: list[Print] = []
        self.print_times: list[int] = []
        self.bars_after: list[tuple[int, Bar]] = []
        """The bar (its number, its values) after each trade."""
        # bars, by place: open = first_bar + place * step
        self.first_bar = begin // self.step * self.step
        self.finals: list[Bar] = []
        # the book, by place: update id = first_update + place
        self.first_update = self._random.randint(1, 10**9)
        self.bids: Side = {}
        self.asks: Side = {}
        self.changes: list[tuple[int, int, int]] = []
        """(sign, ticks, lots) of each update."""
        self.change_times: list[int] = []
        self.marks: list[tuple[int, Side, Side]] = []
        """The whole book now and then: how many updates it holds, bids, asks."""
        self._books: dict[int, tuple[Side, Side]] = {}
        self._tops: dict[int, tuple[Levels, Levels]] = {}
        # what was published, and when
        self.quotes: list[Top] = []
        self.quote_times: list[int] = []
        self.quote_ids: list[int] = []
        self.flush_times: list[int] = []
        self.flush_ids: list[int] = []
        self.push_times: list[int] = []
        self.pushes: list[tuple[int, int, bool]] = []
        """Bar's place, trades in it, closed."""
        self._dirty: tuple[Side, Side] = ({}, {})
        self._flushed = 0
        self._pushed_at = 0
        self._flat_pushed = self._random.random() < 0.5
        self._bar_lag = self._random.choice((0, 5_000, 30_000))
        middle = self._opening = 1000 + self._random.randint(-4, 4)
        self._open_bar(middle)
        for place in range(LEVELS):
            self.bids[middle - 1 - place] = self._lots()
            self.asks[middle + 1 + place] = self._lots()
        self._mark()
        self._price_places: dict[tuple[float, float], int] = {}
        self._quote_places: dict[tuple[float, float, float, float], int] = {}
        self._note_quote(self._best())
        self._spell_ends, self._rate = begin, 3.0
        self._next_change = begin + 1000
        self._next_flush = NEVER
        self._next_push = NEVER
        self._closes = self.first_bar + self.step

    # -- time

    @property
    def due(self) -> int:
        """When it does something next (µs)."""
        return min(self._next_change, self._next_flush, self._next_push, self._closes)

    def advance(self) -> list[Said]:
        """Do what is due next, and what its streams say about it."""
        now = self.now = self.due
        if now == self._closes:
            return self._close()
        if now == self._next_flush:
            return self._flush()
        if now == self._next_push:
            return self._push()
        return self._change()

    def halt(self, now: int) -> None:
        """One more trade, of which all streams tell, and then nothing more happens: a loss would show now or never."""
        self.halted = True
        self._next_change, self._closes = max(now, self.now) + 1, NEVER

    def _schedule(self) -> None:
        if self.halted:
            self._next_change = NEVER
            return
        while self.now >= self._spell_ends:
            spell = self._random.choice(self._spells)
            self._rate = spell.rate
            self._spell_ends = self.now + round(self._random.uniform(spell.least, spell.most) * SECOND)
            if not spell.rate:
                self._next_change = self._spell_ends
                return
        pause = round(self._random.expovariate(self._rate) * SECOND)
        self._next_change = min(self.now + max(pause, 1), max(self._spell_ends, self.now + 1))
        self._next_change += self._next_change % FLUSH == 0  # what a book's time says is then unambiguous

    # -- what happens

    def _change(self) -> list[Said]:
        draw, said = self._random.random(), list[Said]()
        if draw < 0.4 or self.halted:
            said += self._take()
        elif draw < 0.65:
            sign, side = self._side()
            self._set(sign, self._random.choice(list(side)), self._lots())
        elif draw < 0.85:
            self._add()
        elif draw < 0.95:
            sign, side = self._side()
            if len(side) > LEVELS // 2:
                self._set(sign, self._random.choice(list(side)), 0)
        else:
            self._walk()
        self._tend()
        self._schedule()
        top = self._best()
        if top != self._top:
            said += self._voice.quote(self, self._note_quote(top), top)
        return said

    def _side(self) -> tuple[int, Side]:
        return (1, self.bids) if self._random.random() < 0.5 else (-1, self.asks)

    def _lots(self) -> int:
        return self._random.randint(1, 5_000)

    def _best(self) -> Top:
        bid, ask = max(self.bids), min(self.asks)
        return bid, self.bids[bid], ask, self.asks[ask]

    def _set(self, sign: int, ticks: int, lots: int) -> None:
        """One update of the book."""
        side = self.bids if sign == 1 else self.asks
        if lots:
            side[ticks] = lots
        else:
            side.pop(ticks, None)
        self._dirty[sign == -1][ticks] = lots
        self.changes.append((sign, ticks, lots))
        self.change_times.append(self.now)
        if self._next_flush == NEVER:
            self._next_flush = (self.now // FLUSH + 1) * FLUSH

    def _take(self) -> list[Said]:
        """A taker comes, and may take more than one level."""
        first, sells = len(self.prints), self._random.random() < 0.5
        sign = 1 if sells else -1
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            side = self.bids if sells else self.asks
            if len(side) <= 3:
                break
            ticks = max(side) if sells else min(side)
            there = side[ticks]
            lots = there if self._random.random() < 0.5 else self._random.randint(1, there)
            self._set(sign, ticks, there - lots)
            self._print(ticks, lots, buyer_is_maker=sells)
        return self._voice.trades(self, first)

    def _add(self) -> None:
        sign, _ = self._side()
        bid, ask = max(self.bids), min(self.asks)
        ticks = bid - self._random.randint(-2, LEVELS) if sign == 1 else ask + self._random.randint(-2, LEVELS)
        if (sign == 1 and ticks < ask) or (sign == -1 and ticks > bid):
            self._set(sign, ticks, self._lots())

    def _walk(self) -> None:
        """The market moves: one side gives way, the other follows."""
        sign, steps = self._random.choice((1, -1)), self._random.randint(1, 4)
        away, follow = (self.asks, self.bids) if sign == 1 else (self.bids, self.asks)
        for _ in range(steps):
            if len(away) > 3:
                self._set(-sign, min(away) if sign == 1 else max(away), 0)
        edge = min(self.asks) - 1 if sign == 1 else max(self.bids) + 1
        if edge not in follow:
            self._set(sign, edge, self._lots())

    def _tend(self) -> None:
        """No side runs dry or grows without bound."""
        for sign, side in ((1, self.bids), (-1, self.asks)):
            if len(side) < LEVELS // 2:
                deepest = min(side) if sign == 1 else max(side)
                self._set(sign, deepest - sign * self._random.randint(1, 3), self._lots())
            elif len(side) > 2 * LEVELS:
                self._set(sign, min(side) if sign == 1 else max(side), 0)
        bid, ask = max(self.bids), min(self.asks)
        if ask - bid > 6:
            self._set(self._random.choice((1, -1)), (bid + ask) // 2, self._lots())

    # -- bars

    def _open_bar(self, price: int) -> None:
        self.bar: Bar = (price, price, price, price, 0, 0, 0, -1, -1)

    def _into_bar(self, trade: int, ticks: int, lots: int) -> None:
        o, h, low, _, v, q, n, first, _ = self.bar
        if n:
            bar = (o, max(h, ticks), min(low, ticks), ticks, v + lots, q + ticks * lots, n + 1, first, trade)
        else:
            bar = (ticks, ticks, ticks, ticks, lots, ticks * lots, 1, trade, trade)
        self.bar = bar
        if self._next_push == NEVER:
            self._next_push = max(self.now + 1, self._pushed_at + self._throttle)

    def _close(self) -> list[Said]:
        """The bar ends; a bar without trades is flat."""
        said = self._tell_bar(closed=True)
        self.finals.append(self.bar)
        self._open_bar(self.bar[3])
        self._closes += self.step
        self._pushed_at, self._next_push = self.now, NEVER
        if self._flat_pushed:
            self._next_push = self.now + self._throttle // 2
        return said

    def _push(self) -> list[Said]:
        self._pushed_at, self._next_push = self.now, NEVER
        return self._tell_bar(closed=False)

    def _tell_bar(self, *, closed: bool) -> list[Said]:
        place, told = len(self.finals), self.now + self._bar_lag
        said = self._voice.bar(self, place, self.bar, told, closed=closed)
        if said:
            self.push_times.append(told)
            self.pushes.append((place, self.bar[6], closed and self._says_closed))
        return said

    # -- what it notes

    def _print(self, ticks: int, lots: int, *, buyer_is_maker: bool) -> None:
        trade, now = self.first_id + len(self.prints), self.now // 1000 * 1000
        self.prints.append(Print(now, ticks, lots, buyer_is_maker))
        self.print_times.append(now)
        self._into_bar(trade, ticks, lots)
        self.bars_after.append((len(self.finals), self.bar))

    def _note_quote(self, top: Top) -> int:
        """Its update id."""
        update = self.first_update + len(self.changes) - 1
        bid, bid_lots, ask, ask_lots = self._top = top
        self._quote_places[bid / TICK, bid_lots / LOT, ask / TICK, ask_lots / LOT] = len(self.quotes)
        self._price_places[bid / TICK, ask / TICK] = len(self.quotes)
        self.quotes.append(top)
        self.quote_times.append(self.now)
        self.quote_ids.append(update)
        return update

    def _flush(self) -> list[Said]:
        first, last = self.first_update + self._flushed, self.first_update + len(self.changes) - 1
        self._flushed, self._next_flush = len(self.changes), NEVER
        (bids, asks), self._dirty = self._dirty, ({}, {})
        self._mark()
        said = self._voice.changes(self, first, last, bids, asks)
        if said:
            self.flush_times.append(self.now)
            self.flush_ids.append(last)
        return said

    # -- its past

    def _mark(self) -> None:
        self.marks.append((len(self.changes), dict(self.bids), dict(self.asks)))
        self.marked_at = self.now

    def book_at(self, update: int) -> tuple[Side, Side]:
        """The whole book as of an update id."""
        known = self._books.get(update)
        if known is None:
            count = update - self.first_update + 1
            place = bisect_right(self.marks, count, key=lambda mark: mark[0]) - 1
            held, bids, asks = self.marks[place]
            if held != count:
                bids, asks = dict(bids), dict(asks)
                for sign, ticks, lots in self.changes[held:count]:
                    side = bids if sign == 1 else asks
                    side[ticks] = lots
                    if not lots:
                        del side[ticks]
            known = self._books[update] = bids, asks
        return known

    def opens(self, place: int) -> int:
        """When the bar at ``place`` opens, µs."""
        return self.first_bar + place * self.step

    def best_at(self, update: int, levels: int) -> tuple[Side, Side]:
        """The best levels of both sides as of an update id."""
        bids, asks = self.book_at(update)
        best_bids = {ticks: bids[ticks] for ticks in sorted(bids, reverse=True)[:levels]}
        return best_bids, {ticks: asks[ticks] for ticks in sorted(asks)[:levels]}

    def top_at(self, update: int, levels: int) -> tuple[Levels, Levels]:
        """The best levels of both sides as of an update id, as the wire's numbers."""
        known = self._tops.get(update)
        if known is None:
            bids, asks = self.best_at(update, levels)
            known = self._tops[update] = (
                [(ticks / TICK, lots / LOT) for ticks, lots in bids.items()],
                [(ticks / TICK, lots / LOT) for ticks, lots in asks.items()],
            )
        return known

    def quote_place(self, quote: Quote) -> int | None:
        """Which of its quotes this is: the one that held at its update, without one the newest alike; None: none."""
        said = quote.bid, quote.bid_qty, quote.ask, quote.ask_qty
        if not quote.update_id:
            return self._quote_places.get(said)
        place = bisect_right(self.quote_ids, quote.update_id) - 1
        if place < 0:
            return None
        bid, bid_lots, ask, ask_lots = self.quotes[place]
        return place if said == (bid / TICK, bid_lots / LOT, ask / TICK, ask_lots / LOT) else None

    def prices_until(self, quote: Quote) -> int:
        """Until when best bid and ask last were these (``NEVER``: they are), whatever the quantities; 0: never."""
        place = self._price_places.get((quote.bid, quote.ask))
        if place is None:
            return 0
        return self.quote_times[place + 1] if place + 1 < len(self.quote_times) else NEVER

    def quote_at(self, time: int) -> Top:
        """The best bid and ask at a moment."""
        return self.quotes[bisect_right(self.quote_times, time) - 1]

    def version_of(self, place: int, trades: int) -> Bar | None:
        """The bar at ``place`` as it was after so many trades; None when it never was."""
        if not trades:
            price = self.finals[place - 1][3] if place else self._opening
            return (price, price, price, price, 0, 0, 0, -1, -1) if place <= len(self.finals) else None
        at = bisect_left(self.bars_after, place, key=lambda after: after[0]) + trades - 1
        return self.bars_after[at][1] if at < len(self.bars_after) and self.bars_after[at][0] == place else None

    def version_by_volume(self, place: int, lots: int) -> Bar | None:
        """The bar at ``place`` as it was when so much had been traded in it; None when it never was."""
        at = bisect_left(self.bars_after, (place, lots), key=lambda after: (after[0], after[1][4]))
        found = self.bars_after[at] if at < len(self.bars_after) else None
        return found[1] if found is not None and (found[0], found[1][4]) == (place, lots) else None

    def update_at(self, time: int) -> int:
        """The newest update id at a moment."""
        return self.first_update + bisect_right(self.change_times, time) - 1

    def trades_by(self, time: int) -> int:
        """How many trades there had been by a moment."""
        return bisect_right(self.print_times, time)

    def bars_from(self, start: int | None, limit: int, time: int) -> Iterator[tuple[int, Bar]]:
        """Bars with their places, as they were at a moment: the oldest from a start (µs), else the newest."""
        bars = self.bars_at(time)
        first = max(0, len(bars) - limit) if start is None else max(0, -(-(start - self.first_bar) // self.step))
        return ((place, bars[place]) for place in range(first, min(len(bars), first + limit)))

    def bars_at(self, time: int) -> list[Bar]:
        """All bars as they were at a moment, the last one forming."""
        place = min((time - self.first_bar) // self.step, len(self.finals))
        last = bisect_right(self.print_times, time) - 1
        bars = self.finals[:place]
        if last >= 0 and self.bars_after[last][0] == place:
            return [*bars, self.bars_after[last][1]]
        price = bars[-1][3] if bars else self._opening
        return [*bars, (price, price, price, price, 0, 0, 0, -1, -1)]
