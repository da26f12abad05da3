"""The book of a synthetic instrument: the levels shown in any slot of 100 ms, and what changed since the slot before.

Below the best bid and above the best ask, prices are cut into bins of a few ticks. Each bin shows one level for a
while (its own lifetime), then another. So most levels stay from slot to slot, and the book at any moment is known
without the book before it. The touch follows the flow: it walks to where the next takers trade and stands still while
they do, showing at least what they take.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from kit.model import BookDelta, BookSnapshot, Instrument, Levels, Quote
from kit.sandbox.bars import Prints, Scale
from kit.sandbox.chance import Ints, bit, bits, key, throw, throws
from kit.sandbox.flow import SLOT, Flow, cell_of, first_slot
from kit.sandbox.path import GENESIS, Shape

DEPTH = 1000
"""Bins a side."""

_IDS_A_SLOT = 3  # a slot stands for several updates, as at a real venue


class Half(NamedTuple):
    """One side of a book, best first: prices in ticks, lots, and the slot since which each level is as it is."""

    price: Ints
    lots: Ints
    since: Ints


class Shown(NamedTuple):
    """A whole book; ``version`` is the slot of its last change."""

    bids: Half
    asks: Half
    version: int


class Touch(NamedTuple):
    """Best bid and ask in ticks, the lots shown there, and the slot since which they are as they are."""

    bid: int
    ask: int
    bid_lots: int
    ask_lots: int
    since: int


class Ladder:
    """The book of one instrument from genesis on."""

    def __init__(self, seed: int, instrument: Instrument, flow: Flow) -> None:
        self._native = instrument.native
        self._scale = Scale.of(instrument)
        self._flow = flow
        self._touch_key = key(seed, self._native, "touch")
        self._bid_key, self._ask_key = (key(seed, self._native, side) for side in ("bids", "asks"))
        self.shown = lru_cache(maxsize=4)(self._shown)
        """The book in a slot."""
        self.touch = lru_cache(maxsize=4)(self._touch)
        """The touch in a slot."""
        self._in_cell = lru_cache(maxsize=4)(flow.in_cell)

    # -- what a market says -------------------------------------------------------------------------------------------

    def snapshot(self, slot: int, limit: int) -> BookSnapshot:
        """The best ``limit`` levels of both sides in a slot."""
        shown = self.shown(slot)
        bids, asks = (self._levels(half.price[:limit], half.lots[:limit]) for half in (shown.bids, shown.asks))
        return BookSnapshot(self._native, update_id(shown.version), bids, asks)

    def quote(self, slot: int) -> Quote:
        """The touch in a slot, with the time and the update id of its last change."""
        touch = self.touch(slot)
        bid, ask = self._scale.prices(np.array([touch.bid, touch.ask])).tolist()
        bid_qty, ask_qty = self._scale.amounts(np.array([touch.bid_lots, touch.ask_lots])).tolist()
        return Quote(self._native, bid, bid_qty, ask, ask_qty, update_id(touch.since), GENESIS + touch.since * SLOT)

    def change(self, slot: int) -> list[BookDelta | Quote]:
        """What a slot began with: nothing, a delta, or a delta and a new touch."""
        now, before = self.shown(slot), self.shown(slot - 1)
        if now.version < slot:
            return []
        bids, asks = (self._difference(*halves, slot) for halves in ((now.bids, before.bids), (now.asks, before.asks)))
        time = GENESIS + slot * SLOT
        delta = BookDelta(self._native, update_id(before.version) + 1, update_id(slot), bids, asks, time)
        return [delta, self.quote(slot)] if self.touch(slot).since == slot else [delta]

    def _levels(self, price: Ints, lots: Ints) -> Levels:
        return list(zip(self._scale.prices(price).tolist(), self._scale.amounts(lots).tolist(), strict=True))

    def _difference(self, now: Half, before: Half, slot: int) -> Levels:
        """Levels that are new or were set in ``slot``, and with 0 lots those that are gone, best first."""
        ascending = np.argsort(before.price)
        place = ascending[np.minimum(np.searchsorted(before.price[ascending], now.price), len(ascending) - 1)]
        known = before.price[place] == now.price
        kept = known & (before.lots[place] == now.lots) & (now.since < slot)
        gone = np.ones(len(before.price), bool)
        gone[place[known]] = False
        price = np.concatenate((now.price[~kept], before.price[gone]))
        lots = np.concatenate((now.lots[~kept], np.zeros(np.count_nonzero(gone), np.int64)))
        return self._levels(price, lots)

    # -- the book as it is --------------------------------------------------------------------------------------------

    def _shown(self, slot: int) -> Shown:
        touch = self.touch(slot)
        bids = self._half(touch.bid, touch.bid_lots, -1, slot, touch.since)
        asks = self._half(touch.ask, touch.ask_lots, 1, slot, touch.since)
        return Shown(bids, asks, int(max(bids.since.max(), asks.since.max())))

    def _half(self, best: int, best_lots: int, outwards: int, slot: int, since: int) -> Half:
        """The touch and the levels that the bins beyond it show in ``slot``."""
        shape: Shape = self._flow.shape
        half_key = self._ask_key if outwards > 0 else self._bid_key
        number = best // shape.gap + outwards * np.arange(DEPTH)
        bin_ = throws(half_key, number)
        life = bits(bin_, 0, 2) + shape.life
        phase = bits(bin_, 8, 40) & ((1 << life) - 1)
        epoch = (slot + phase) >> life
        words = throws(half_key, bin_.view(np.int64) + epoch)
        price = number * shape.gap + (bits(words, 0, 16) * shape.gap >> 16)
        lots = 1 + (shape.size * 3 / (bits(words, 16, 16) * 2.0**-16 + 0.02)).astype(np.int64)
        beyond = ((price - best) * outwards > 0) & (price > 0)
        sides = ((best, price), (best_lots, lots), (since, (epoch << life) - phase))
        return Half(*(np.concatenate(([first], rest[beyond])) for first, rest in sides))

    def _touch(self, slot: int) -> Touch:
        cell = cell_of(slot)
        cells = self._flow.cells(cell, cell + 1)
        if not cells.prints[0]:
            return self._sized(int(cells.bid[0]), int(cells.ask[0]), self._idle_since(cell), None)
        start, wait = int(first_slot(np.array([cell]))[0]), int(cells.wait[0])
        since = slot - (slot - start) % self._flow.shape.pace
        if slot - start < wait:
            return self._sized(*self._walk(cell, since, (since - start + 1) / (wait + 1)), since, None)
        prints = self._in_cell(cell)
        traded = (prints.time - GENESIS) // SLOT
        changes = np.concatenate((traded, traded + 1))  # what the next takers get is shown, and gone when they had it
        since = max(since, start + wait, int(changes[changes <= slot].max(initial=0)))
        return self._sized(int(cells.bid[0]), int(cells.ask[0]), since, prints)

    def _walk(self, cell: int, slot: int, share: float) -> tuple[int, int]:
        """The touch on its way, ``share`` of it done, from where the last burst left it to where the next will be."""
        start, end = self._flow.path.cells(cell, cell + 1).price.tolist()
        noise = bit(throw(self._touch_key, slot), 32, 16) / 65536 - 0.5
        price = round(start + (end - start) * (share + noise * min(share, 1 - share)))
        bid, ask = self._flow.touch(throws(self._touch_key, np.array([slot])), np.array([price]))
        return int(bid[0]), int(ask[0])

    def _idle_since(self, cell: int) -> int:
        """The first slot after the last cell with prints: every minute has one, so it is near."""
        first = max(0, cell - 64)
        busy = np.flatnonzero(np.diff(self._flow.path.cells(first, cell + 1).prints))
        return int(first_slot(first + busy[-1:] + 1)[0]) if len(busy) else 0

    def _sized(self, bid: int, ask: int, since: int, prints: Prints | None) -> Touch:
        word = throw(self._touch_key, -1 - since)
        bid_lots, ask_lots = (
            round(self._flow.shape.size / (bit(word, shift, 16) / 65536 + 0.02)) + 1 for shift in (0, 16)
        )
        if prints is not None:
            now = prints.lots * ((prints.time - GENESIS) // SLOT == since)
            taken = int((now * prints.bought).sum())
            bid_lots, ask_lots = bid_lots + int(now.sum()) - taken, ask_lots + taken
        return Touch(bid, ask, bid_lots, ask_lots, since)


def update_id(slot: int) -> int:
    """The number of a slot's last update."""
    return (slot + 1) * _IDS_A_SLOT
