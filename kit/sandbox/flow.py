"""The order flow of a synthetic instrument: which takers came when, on which side, at what price and for how much.

Each cell of the path with prints in it holds one burst at one touch (best bid and ask): first every print of one side,
then every print of the other. Buyers pay the ask, sellers get the bid. A cell's totals are thrown first and then
divided among its prints, so bars are summed without looking at single prints and yet are exactly their sum.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from kit.clock import MINUTE
from kit.sandbox.bars import NO_PRINTS, Bars, Flags, Prints
from kit.sandbox.chance import Ints, Words, bits, key, throws
from kit.sandbox.path import CELLS, CHUNK, CHUNK_MINUTES, GENESIS, MICRO_BITS, Knots, Path, Shape

SLOT = 100_000
"""The book changes at most every 100 ms, µs."""
FIRST_ID = 1

_SLOTS_IN_TWO_CELLS = 75  # a cell is 3.75 s
_BEYOND = 1 << 60  # above every price


class Cells(NamedTuple):
    """What happens in each of some neighbouring cells, whose first is number ``first``."""

    first: int
    first_print: Ints
    """Prints before the cell."""
    prints: Ints
    bid: Ints
    ask: Ints
    buyers: Ints
    """How many of the prints are bought."""
    buyers_first: Flags
    lots_bought: Ints
    lots_sold: Ints
    wait: Ints
    """Slots from the cell's first to its burst."""


class Flow:
    """Every print of one instrument from genesis on."""

    def __init__(self, seed: int, name: str, shape: Shape) -> None:
        self.shape = shape
        self.path = Path(seed, name, shape)
        self._cell_key = key(seed, name, "cell")
        self._print_key = key(seed, name, "print")
        self.minutes = lru_cache(maxsize=32)(self._minutes)
        """Bars of the minutes of a chunk, by the chunk's number."""

    def cells(self, first: int, after: int) -> Cells:
        """The cells ``first`` to ``after - 1``."""
        return self._cells(first, self.path.cells(first, after))

    def touch(self, words: Words, price: Ints) -> tuple[Ints, Ints]:
        """Best bid and ask round a price in 1/64 ticks."""
        below, above = (bits(words, shift, 8) for shift in (0, 8))
        middle = price >> MICRO_BITS
        return middle - (below * below * self.shape.spread >> 16), middle + 1 + (
            above * above * self.shape.spread >> 16
        )

    def words(self, prints: Ints) -> Words:
        """Chances that stay as they are until something trades."""
        return throws(self._cell_key, prints)

    def _cells(self, first: int, knots: Knots) -> Cells:
        words = self.words(knots.prints[1:])
        price = knots.price.astype(np.int64)
        prints = np.diff(knots.prints)
        bid, ask = self.touch(words, price[1:])
        # takers push: in a cell that rises, buyers are the more
        chance = bits(words, 16, 8) * 3 + (np.diff(price) > 0) * 255
        buyers = (prints * chance + 512) >> 10
        lots_bought = buyers + self._lots(buyers, bits(words, 32, 16))
        lots_sold = prints - buyers + self._lots(prints - buyers, bits(words, 48, 16))
        buyers_first = bits(words, 24, 1).view(np.bool_)[::8]
        wait = 8 + bits(words, 25, 4)
        return Cells(first, knots.prints[:-1], prints, bid, ask, buyers, buyers_first, lots_bought, lots_sold, wait)

    def _lots(self, prints: Ints, chance: Ints) -> Ints:
        """Lots beyond one a print: mostly small, now and then a hundred times as much."""
        usual = self.shape.size / 3.5  # the mean of the quotient below
        return (prints * (usual / (chance * 2.0**-16 + 0.03))).astype(np.int64)

    def _minutes(self, chunk: int) -> Bars:
        """Bars of a chunk's minutes; there is a print in every one."""
        knots = self.path.chunk(chunk)
        cells = self._cells(chunk * CHUNK, knots)
        bought, sold = cells.buyers > 0, cells.buyers < cells.prints
        busy, width = bought | sold, cells.ask - cells.bid  # products of masks: np.where is slow on random ones
        high, low = (cells.bid + width * bought) * busy, cells.ask - width * sold + ~busy * _BEYOND
        first, last = _busy_ends(busy)
        buys_first = bought & (cells.buyers_first | ~sold)
        sells_last = sold & (cells.buyers_first | ~bought)
        start = np.arange(CHUNK_MINUTES) * CELLS
        lots_bought, lots_sold = np.add.reduceat(cells.lots_bought, start), np.add.reduceat(cells.lots_sold, start)
        paid, got = (
            np.add.reduceat(price * lots, start)
            for price, lots in ((cells.ask, cells.lots_bought), (cells.bid, cells.lots_sold))
        )
        return Bars(
            time=GENESIS + (np.arange(CHUNK_MINUTES) + chunk * CHUNK_MINUTES) * MINUTE,
            open=(cells.bid + width * buys_first)[first],
            high=np.maximum.reduceat(high, start),
            low=np.minimum.reduceat(low, start),
            close=(cells.ask - width * sells_last)[last],
            lots=lots_bought + lots_sold,
            turnover=paid + got,
            prints=np.diff(knots.prints[::CELLS]),
            bought_lots=lots_bought,
            bought_turnover=paid,
            first_id=FIRST_ID + knots.prints[:-1:CELLS],
        )

    # -- single prints ------------------------------------------------------------------------------------------------

    def count(self, until: int) -> int:
        """How many prints have happened up to and including ``until`` (µs)."""
        if until < GENESIS:
            return 0
        cell = cell_of(slot_of(until))
        cells = self.cells(cell, cell + 1)
        return int(cells.first_print[0]) + int(np.searchsorted(self._divided(cells).time, until, side="right"))

    def numbered(self, first: int, after: int) -> Prints:
        """Prints ``first`` to ``after - 1``, counted from 0."""
        if after <= first:
            return NO_PRINTS
        cells = self.cells(self.path.find(first), self.path.find(after - 1) + 1)
        before = int(cells.first_print[0])
        return self._divided(cells).part(first - before, after - before)

    def in_cell(self, cell: int) -> Prints:
        """The prints of one cell."""
        return self._divided(self.cells(cell, cell + 1))

    def _divided(self, cells: Cells) -> Prints:
        """The single prints of cells."""
        cell = np.repeat(np.arange(len(cells.prints)), cells.prints)
        first = int(cells.first_print[0])
        place = np.arange(len(cell)) + (first - cells.first_print[cell])
        words = throws(self._print_key, np.arange(first, first + len(cell)))
        leaders = np.where(cells.buyers_first, cells.buyers, cells.prints - cells.buyers)
        second = place >= leaders[cell]
        bought = cells.buyers_first[cell] ^ second
        price = np.where(bought, cells.ask[cell], cells.bid[cell])
        time = self._times(cells, cell, place, bits(words, 0, 16))
        return Prints(FIRST_ID + first, time, price, _parts(cells, cell, bought, bits(words, 16, 16)), bought)

    def _times(self, cells: Cells, cell: Ints, place: Ints, chance: Ints) -> Ints:
        """When prints happen: spread over the burst's slots, never on a slot's border, whole milliseconds (in µs)."""
        number = np.arange(cells.first, cells.first + len(cells.prints))
        start = (first_slot(number) + cells.wait) * 100
        span = first_slot(number + 1) * 100 - start - 1
        share = (place * 65536 + chance) * span[cell] // (cells.prints[cell] * 65536)
        ms = start[cell] + 1 + share
        ms += ms % 100 == 0
        times: Ints = GENESIS + ms * 1000
        return times


def _busy_ends(busy: Flags) -> tuple[Ints, Ints]:
    """The first and the last busy cell of each minute."""
    rows = busy.reshape(-1, CELLS)
    start = np.arange(len(rows)) * CELLS
    return start + rows.argmax(axis=1), start + CELLS - 1 - rows[:, ::-1].argmax(axis=1)


def _parts(cells: Cells, cell: Ints, bought: Flags, chance: Ints) -> Ints:
    """Each print's part of its side's lots in its cell: one, and a share of the rest by weight."""
    weight = (chance * chance >> 16) + 64
    rest = np.where(
        bought, (cells.lots_bought - cells.buyers)[cell], (cells.lots_sold - cells.prints + cells.buyers)[cell]
    )
    run = cell * 2 + bought
    total = np.bincount(run, weights=weight, minlength=1).astype(np.int64)[run]
    so_far = np.cumsum(weight)
    start = np.flatnonzero(np.diff(run, prepend=-1))
    length = np.diff(np.append(start, len(run)))
    so_far -= np.repeat((so_far - weight)[start], length)
    parts: Ints = 1 + rest * so_far // total - rest * (so_far - weight) // total
    return parts


def slot_of(time: int) -> int:
    """The slot that a moment (µs) falls into, counted from genesis."""
    return (time - GENESIS) // SLOT


def cell_of(slot: int) -> int:
    """The cell whose slot it is."""
    return 2 * slot // _SLOTS_IN_TWO_CELLS


def first_slot(cell: Ints) -> Ints:
    """The first slot of each cell."""
    return (cell * _SLOTS_IN_TWO_CELLS + 1) // 2
