"""Mistakes that programs like this one have made, each planted by a patch. The simulation must catch them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from kit.market import candle_ring
from kit.market.book import Book
from kit.market.book_strand import BookStrand
from kit.market.candle_ring import CandleRing
from kit.market.candle_strand import CandleStrand
from kit.market.candles import next_time
from kit.market.feed import Feed
from kit.market.fold import Fold
from kit.market.folded_strand import FoldedStrand
from kit.market.ladder import Ladder
from kit.market.mirror import Mirror
from kit.market.quote_strand import QuoteStrand
from kit.market.ring import Block
from kit.market.strand import Ask, Strand
from kit.market.trade_ring import TradeRing
from kit.market.trade_strand import TradeStrand
from kit.model import BookDelta, BookSnapshot, Candle, Levels, Quote, Side, Trade
from kit.net import paging
from kit.net.link import Allowance, Link
from kit.net.paging import Bars, Page
from kit.net.supervisor import Backoff, Hangup, Supervisor
from kit.venues.base import Ack, Subscription
from kit.venues.coinbase_wire import Print
from tests.planting import Bugs, Patch, noting, wrap

BUGS: Bugs = {}
bug = noting(BUGS)


# -- the book


@bug()
def a_quantity_of_zero_is_ignored(patch: Patch) -> None:
    def made(apply: Callable[..., None]) -> Callable[..., None]:
        return lambda self, levels: apply(self, [level for level in levels if level[1]])

    wrap(patch, Ladder, "apply", made)


@bug()
def quantities_are_added_up(patch: Patch) -> None:
    def made(apply: Callable[..., None]) -> Callable[..., None]:
        def summed(self: Ladder, levels: Levels) -> None:
            apply(self, [(p, q + self.levels[p][1] if q and p in self.levels else q) for p, q in levels])

        return summed

    wrap(patch, Ladder, "apply", made)


@bug()
def a_gap_in_the_book_is_accepted(patch: Patch) -> None:
    def made(apply: Callable[..., bool]) -> Callable[..., bool]:
        def gullible(self: Book, delta: BookDelta) -> bool:
            if self.synced:
                self.last_id = max(self.last_id, delta.first_id - 1)
            return apply(self, delta)

        return gullible

    wrap(patch, Book, "apply", made)


@bug()
def old_deltas_are_replayed_on_a_new_snapshot(patch: Patch) -> None:
    def made(load: Callable[..., None]) -> Callable[..., None]:
        def replayed(self: Book, snapshot: BookSnapshot) -> None:
            held = list(self._held)
            load(self, snapshot)
            for delta in held:
                self._bids.apply(delta.bids)
                self._asks.apply(delta.asks)

        return replayed

    wrap(patch, Book, "load", made)


@bug()
def the_book_is_pruned_in_the_order_of_the_prices_text(patch: Patch) -> None:
    def made(apply: Callable[..., None]) -> Callable[..., None]:
        def pruned(self: Ladder, levels: Levels) -> None:
            apply(self, levels)
            best = sorted(self.levels, key=str, reverse=self._bids)
            apply(self, [(price, 0.0) for price in best[20:]])

        return pruned

    wrap(patch, Ladder, "apply", made)


@bug()
def a_level_removed_in_one_book_leaves_the_others_too(patch: Patch) -> None:
    strands: list[BookStrand] = []

    def made(change: Callable[..., None]) -> Callable[..., None]:
        def shared(self: BookStrand, event: BookDelta, now: int) -> None:
            if self not in strands:
                strands.append(self)
            change(self, event, now)
            for strand in strands:
                strand.book._bids.apply([level for level in event.bids if not level[1]])
                strand.book._asks.apply([level for level in event.asks if not level[1]])

        return shared

    wrap(patch, BookStrand, "_change", made)


@bug()
def a_book_that_lost_messages_stays_readable(patch: Patch) -> None:
    patch.setattr(Book, "desync", lambda self: self._held.clear())


@bug()
def the_book_is_live_before_its_snapshot(patch: Patch) -> None:
    patch.setattr(BookStrand, "complete", property(lambda self: True))


@bug()
def a_side_that_a_delta_leaves_out_is_cut(patch: Patch) -> None:
    def made(apply: Callable[..., bool]) -> Callable[..., bool]:
        def cut(self: Book, delta: BookDelta) -> bool:
            taken = apply(self, delta)
            if taken and not delta.asks:
                self._asks.load(self._asks.top(5))
            return taken

        return cut

    wrap(patch, Book, "apply", made)


# -- trades, quotes and candles


@bug()
def a_gap_in_the_trades_is_accepted(patch: Patch) -> None:
    def take(self: TradeStrand, trade: Trade, now: int) -> None:
        self.ring.put(trade, "ws", now)

    patch.setattr(TradeStrand, "_take", take)


@bug()
def trades_are_not_recognised_by_their_ids(patch: Patch) -> None:
    def made(put: Callable[..., bool]) -> Callable[..., bool]:
        def again(self: TradeRing, trade: Trade, source: str, received: int = 0) -> bool:
            self.last_id = None
            return put(self, trade, source, received)

        return again

    wrap(patch, TradeRing, "put", made)


@bug()
def trades_held_while_rest_is_asked_are_dropped(patch: Patch) -> None:
    def made(join: Callable[..., None]) -> Callable[..., None]:
        def dropped(self: TradeStrand, ask: Ask, now: int) -> None:
            if self._held:
                self.ring.last_id = self._held[-1][0].id
            self._held.clear()
            join(self, ask, now)

        return dropped

    wrap(patch, TradeStrand, "_join", made)


@bug()
def an_older_quote_replaces_a_newer_one(patch: Patch) -> None:
    def made(take: Callable[..., None]) -> Callable[..., None]:
        def careless(self: QuoteStrand, quote: Quote, now: int) -> None:
            self._newest = 0
            take(self, quote, now)

        return careless

    wrap(patch, QuoteStrand, "take", made)


@bug()
def a_closed_bar_is_rewritten(patch: Patch) -> None:
    def made(put: Callable[..., bool]) -> Callable[..., bool]:
        def rewritten(self: CandleRing, candle: Candle, source: str, received: int = 0) -> bool:
            block, stop = self._state[:2]
            for row in range(max(0, stop - 5), stop):
                if block.ints[0, row] == candle.time and not candle.closed:
                    block.floats[:4, row] = candle.open, candle.high, candle.low, candle.close
                    block.ints[1, row] = candle.trades
            return put(self, candle, source, received)

        return rewritten

    wrap(patch, CandleRing, "put", made)


@bug()
def a_bar_is_closed_by_our_clock(patch: Patch) -> None:
    def made(tick: Callable[..., None]) -> Callable[..., None]:
        def impatient(self: CandleStrand, now: int) -> None:
            tick(self, now)
            bar = self.ring.forming
            if bar is not None and now >= next_time(bar.time, self.interval):
                self.ring.put(msgspec.structs.replace(bar, closed=True), "ws", now)

        return impatient

    wrap(patch, CandleStrand, "tick", made)


@bug()
def a_bar_that_is_missing_is_skipped(patch: Patch) -> None:
    patch.setattr(CandleStrand, "_continues", lambda self, candle: True)


@bug()
def the_last_bar_rest_tells_is_taken_for_closed(patch: Patch) -> None:
    def made(extend: Callable[..., int]) -> Callable[..., int]:
        def final(self: CandleRing, columns: Mapping[str, Any], closed: Any, *rest: Any) -> int:
            return extend(self, columns, closed | True, *rest)

        return final

    wrap(patch, CandleRing, "extend", made)


@bug()
def the_forming_bar_goes_back_to_what_rest_said(patch: Patch) -> None:
    patch.setattr(candle_ring, "newer", lambda one, other: True)


@bug()
def tops_are_noted_before_the_change(patch: Patch) -> None:
    def made(change: Callable[..., None]) -> Callable[..., None]:
        def hasty(self: BookStrand, event: BookDelta, now: int) -> None:
            top = self.top
            change(self, event, now)
            if top is not None:
                self.tops.put(msgspec.structs.replace(top, update_id=self.book.last_id), "ws", now, self.book.epoch)

        return hasty

    wrap(patch, BookStrand, "_change", made)


@bug()
def rows_move_when_a_ring_is_full(patch: Patch) -> None:
    """The same memory is used again, and frames that were handed out show it."""

    def continued(self: Block, start: int, stop: int) -> Block:
        self._table[: stop - start] = self._table[start:stop].copy()
        return self

    patch.setattr(Block, "continued", continued)


@bug()
def a_full_ring_forgets_one_row_too_many(patch: Patch) -> None:
    def made(continued: Callable[..., Block]) -> Callable[..., Block]:
        return lambda self, start, stop: continued(self, start - 1, stop - 1)

    wrap(patch, Block, "continued", made)


# -- what a strand believes


@bug()
def an_answer_to_an_old_question_is_taken(patch: Patch) -> None:
    def answer(self: Strand, ask: Ask, value: Any, now: int) -> None:
        if self.due is not None:
            self._read(ask, value, now)
            self.settle(now)

    patch.setattr(Strand, "answer", answer)


@bug()
def silence_is_not_noticed(patch: Patch) -> None:
    patch.setattr(Strand, "tick", lambda self, now: None)
    patch.setattr(Feed, "at", lambda self, now: self.state)


@bug()
def acknowledgements_make_a_feed_younger(patch: Patch) -> None:
    """Whatever comes on the connection, each feed is taken to be proven by it."""

    def made(tick: Callable[..., None]) -> Callable[..., None]:
        def young(self: Mirror, now: int) -> None:
            for strand in self.strands.values():
                strand.feed.proven = now
            tick(self, now)

        return young

    wrap(patch, Mirror, "tick", made)


@bug()
def a_probe_that_differs_is_counted_as_proof(patch: Patch) -> None:
    def touched(self: QuoteStrand, same: bool, at: int, now: int, *, exactly: bool) -> None:
        self.vouch(at, now, exactly=exactly)

    patch.setattr(QuoteStrand, "touched", touched)


@bug()
def what_was_lost_is_not_recorded(patch: Patch) -> None:
    patch.setattr(Mirror, "_lost", lambda self, gap: None)


@bug(show="rough")
def a_lost_connection_is_not_told(patch: Patch) -> None:
    patch.setattr(Supervisor, "_shut", lambda self, sub, reason, now: None)


@bug()
def coming_back_nothing_is_asked(patch: Patch) -> None:
    """After a reconnect the stream goes on as if nothing had been missed."""

    def begin(self: Strand, now: int) -> None:
        self._mute = self._vouched = self.feed.framed = False

    patch.setattr(Strand, "begin", begin)


# -- the connections


@bug(show="rough")
def the_pause_is_reset_on_connect(patch: Patch) -> None:
    def made(opened: Callable[..., None]) -> Callable[..., None]:
        def hopeful(self: Supervisor, number: int, now: int) -> None:
            opened(self, number, now)
            self.backoff.reset()

        return hopeful

    wrap(patch, Supervisor, "opened", made)


@bug(show="rough")
def an_acknowledgement_is_taken_for_data(patch: Patch) -> None:
    def made(heed: Callable[..., bool]) -> Callable[..., bool]:
        def fooled(self: Supervisor, link: Link, event: Any, now: int) -> bool:
            if isinstance(event, Ack):
                self.backoff.reset()
                link.heard = now
            return heed(self, link, event, now)

        return fooled

    wrap(patch, Supervisor, "_heed", made)


@bug(show="rough")
def pauses_do_not_grow(patch: Patch) -> None:
    patch.setattr(Backoff, "next", lambda self: 0.25)


@bug(show="rough")
def retry_after_is_ignored(patch: Patch) -> None:
    def made(ended: Callable[..., None]) -> Callable[..., None]:
        return lambda self, number, reason, now, retry_after=0.0: ended(self, number, reason, now)

    wrap(patch, Supervisor, "ended", made)


@bug(show="rough")
def budgets_are_ignored(patch: Patch) -> None:
    patch.setattr(Allowance, "take", lambda self, now: True)
    patch.setattr(Backoff, "next", lambda self: 0.5)


@bug(show="handover")
def what_was_held_for_the_second_connection_is_dropped(patch: Patch) -> None:
    patch.setattr(Supervisor, "_release", lambda self, link, *now: link.held.clear())


@bug(show="handover")
def the_old_connection_goes_before_the_new_one_has_everything(patch: Patch) -> None:
    def replace(self: Supervisor, now: int) -> None:
        old, new = self._link, self._next
        if old is not None and new is not None and new.opened is not None:
            self._hangups.append(Hangup(old.number))
            self._next = None
            self._take_over(old, new, now)

    patch.setattr(Supervisor, "_replace", replace)


@bug(show="rough")
def a_refused_subscription_is_taken_for_confirmed(patch: Patch) -> None:
    def refuse(self: Supervisor, link: Link, subs: set[Subscription], words: str, now: int) -> None:
        self._confirm(link, subs, now)

    patch.setattr(Supervisor, "_refuse", refuse)


@bug()
def a_mute_connection_is_kept_for_ever(patch: Patch) -> None:
    patch.setattr(Supervisor, "_watch", lambda self, now: None)


# -- where only the connection counts, and bars are folded from trades


@bug(show="coinbase")
def a_hole_in_the_connections_numbers_is_accepted(patch: Patch) -> None:
    patch.setattr(Supervisor, "_count", lambda self, link, number, now: True)


@bug(show="coinbase")
def a_new_snapshot_is_laid_on_the_old_book(patch: Patch) -> None:
    def made(load: Callable[..., None]) -> Callable[..., None]:
        def merged(self: Book, snapshot: BookSnapshot) -> None:
            bids, asks = dict(self._bids.levels), dict(self._asks.levels)
            load(self, snapshot)
            self._bids.apply([level for price, level in bids.items() if price not in self._bids.levels])
            self._asks.apply([level for price, level in asks.items() if price not in self._asks.levels])

        return merged

    wrap(patch, Book, "load", made)


@bug(show="coinbase")
def a_trade_that_a_frame_holds_twice_is_counted_twice(patch: Patch) -> None:
    def made(traded: Callable[..., None]) -> Callable[..., None]:
        def gullible(self: FoldedStrand, trade: Trade, now: int) -> None:
            if self.due is None and self._fold is not None and self._fold.bar is not None:
                self._counted = trade.id - 1
                self._fold.bar = msgspec.structs.replace(self._fold.bar, last_trade=0)
            traded(self, trade, now)

        return gullible

    wrap(patch, FoldedStrand, "traded", made)


@bug(show="coinbase")
def trades_that_rest_brought_are_not_folded(patch: Patch) -> None:
    def catch_up(self: FoldedStrand, now: int) -> None:
        trade = self._trades.last_id
        if trade is not None:
            self._counted = trade

    patch.setattr(FoldedStrand, "catch_up", catch_up)


@bug(show="coinbase")
def trades_are_added_to_a_bar_that_rest_told(patch: Patch) -> None:
    def made(refold: Callable[..., None]) -> Callable[..., None]:
        def eager(self: FoldedStrand, now: int, **lagging: bool) -> None:
            refold(self, now, **lagging)
            if self._fold is None and self.ring.forming is not None:
                self._fold = Fold(self._symbol, self.interval, self.ring.forming)

        return eager

    wrap(patch, FoldedStrand, "_refold", made)


@bug(show="coinbase")
def the_makers_side_is_taken_for_the_takers(patch: Patch) -> None:
    def made(trade: Callable[..., Trade]) -> Callable[..., Trade]:
        return lambda self: msgspec.structs.replace(trade(self), side=Side(self.side.lower()))

    wrap(patch, Print, "trade", made)


# -- several answers that make one


@bug()
def a_bar_that_was_forming_when_one_answer_ended_is_not_told_again_by_the_next(patch: Patch) -> None:
    def onwards(bars: Bars, start: int) -> Iterator[Page]:
        return paging.forwards(bars, start, None, None, 2**62)

    patch.setattr(paging, "onwards", onwards)
