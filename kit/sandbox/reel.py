"""What a tape holds of one instrument, cleaned and in the venue's own time: its prints, its touch and its book.

Receive times are the recorder's and may be off by seconds; the venue's are in the messages. Trades and book deltas
carry one, quotes don't: theirs is the receive time put right as for the trades that came in around them, held between
the book deltas that their update id lies between. So everything is told in the order in which it was true.

A tape is played up to the first message that is missing from it: what comes after would be a guess.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from kit.errors import SequenceGap
from kit.market.book import Book
from kit.model import BookDelta, BookSnapshot, Instrument
from kit.sandbox.bars import Prints
from kit.sandbox.chance import Floats, Ints
from kit.sandbox.takes import Answer, Collected, Take
from kit.venues.taped import divide

_DOLLARS = ("USDT", "FDUSD", "USDC", "TUSD", "BUSD", "DAI", "USD")
_DECIMALS = 8  # all that Binance's wire ever carries
_CHECKPOINT = 512  # deltas
_ALL = 1_000_000  # levels
NEVER = 1 << 62


class Deltas(NamedTuple):
    """Changes of a book one after the other; their levels are in flat columns, bids first."""

    first_id: Ints
    last_id: Ints
    time: Ints
    bids: Ints
    start: Ints
    after: Ints
    levels: Floats
    """Rows of price and quantity."""

    def delta(self, native: str, at: int, time: int) -> BookDelta:
        """The delta at a position, told at ``time``."""
        rows = self.levels[self.start[at] : self.after[at]].tolist()
        levels = [(price, qty) for price, qty in rows]
        bids = int(self.bids[at])
        return BookDelta(native, int(self.first_id[at]), int(self.last_id[at]), levels[:bids], levels[bids:], time)

    def at(self, positions: slice) -> Deltas:
        """The deltas at these positions."""
        columns = (self.first_id, self.last_id, self.time, self.bids, self.start, self.after)
        first_id, last_id, time, bids, start, after = (column[positions] for column in columns)
        return Deltas(first_id, last_id, time, bids, start, after, self.levels)


class Quotes(NamedTuple):
    """Best bids and asks one after the other."""

    update_id: Ints
    time: Ints
    touch: Floats
    """Rows of bid, its quantity, ask, its quantity."""


class Film:
    """A book along its deltas, at any of them; forward is quick, backward goes by checkpoints."""

    def __init__(self, native: str, opening: BookSnapshot, deltas: Deltas) -> None:
        self._native = native
        self._deltas = deltas
        self._checkpoints = [opening]
        self._seek(0)
        self.length = 0
        """Deltas that follow on one another; after them the book is not known."""
        try:
            for count in range(len(deltas.time) + 1):
                self.after(count)
                self.length = count
        except SequenceGap:
            self._seek(0)

    def after(self, count: int) -> Book:
        """The book with the first ``count`` deltas in it. It is the film's own and moves on with the next call."""
        if count < self._count:
            self._seek(count // _CHECKPOINT)
        while self._count < count:
            self._book.apply(self._deltas.delta(self._native, self._count, int(self._deltas.time[self._count])))
            self._count += 1
            if self._count == len(self._checkpoints) * _CHECKPOINT:
                bids, asks = self._book.bids(_ALL), self._book.asks(_ALL)
                self._checkpoints.append(BookSnapshot(self._native, self._book.last_id, bids, asks))
        return self._book

    def quotes(self, since: int) -> Quotes:
        """The touch wherever it changed, from ``since`` on: for a tape that has no quotes."""
        ids, times, touches = array("q"), array("q"), array("d")
        last = None
        for count in range(self.length + 1):
            book = self.after(count)
            bid, ask = book.bids(1), book.asks(1)
            if bid and ask and (bid, ask) != last:
                last = bid, ask
                ids.append(book.last_id)
                times.append(int(self._deltas.time[count - 1]) if count else since)
                touches.extend((*bid[0], *ask[0]))
        return Quotes(np.array(ids), np.array(times), np.array(touches).reshape(-1, 4))

    def _seek(self, checkpoint: int) -> None:
        self._book = Book(self._native)
        self._book.load(self._checkpoints[checkpoint])
        self._count = checkpoint * _CHECKPOINT


class Reel(NamedTuple):
    """One instrument of a tape. Times are the venue's, µs."""

    instrument: Instrument
    prints: Prints
    quotes: Quotes
    deltas: Deltas
    film: Film
    known: int
    """Since when the book is known."""
    ends: int
    """The last moment before something is missing, or ``NEVER``."""


class VenueTime:
    """Receive times as the venue's, by the messages that tell both: trades, which are sent at once, else deltas."""

    def __init__(self, found: Collected) -> None:
        clock = np.array(found.trade_clock or found.book_clock, np.int64).reshape(-1, 2)
        self._received, at = np.unique(clock[:, 0], return_index=True)
        self._ahead = clock[at, 1] - self._received

    def of(self, received: Ints) -> Ints:
        """The venue's time when it sent what came in at these times."""
        if not len(self._received):
            return received
        ahead: Ints = np.interp(received, self._received, self._ahead).astype(np.int64)
        return received + ahead


def reel(native: str, found: Collected, clock: VenueTime) -> Reel | None:
    """One instrument's part of a tape, or None when the tape does not know its book."""
    take = found.takes[native]
    deltas = _deltas(take)
    opening = _opening(take.snapshots, found.nameless, deltas)
    if opening is None:
        return None
    first = int(np.searchsorted(deltas.last_id, opening.book.last_id, side="right"))
    since = int(deltas.time[first - 1]) if first else _received(opening, clock, deltas)
    all_deltas, deltas = deltas, deltas.at(slice(first, None))
    film = Film(native, opening.book, deltas)
    ends = int(deltas.time[film.length]) - 1 if film.length < len(deltas.time) else NEVER
    quotes = _quotes(take, all_deltas, clock) if len(take.quotes) else film.quotes(since)
    known = found.instruments.get(native)
    instrument = known if known and known.tick and known.lot else _instrument(native, take, opening.book)
    prints, prints_end = _prints(take, instrument)
    return Reel(instrument, prints, quotes, deltas.at(slice(0, film.length)), film, since, min(ends, prints_end))


def _deltas(take: Take) -> Deltas:
    """In the order of their ids, each once."""
    rows = np.array(take.deltas, np.int64).reshape(-1, 6)
    _, order = np.unique(rows[:, 1], return_index=True)
    first_id, last_id, time, bids, start, after = rows[order].T
    levels = np.array(take.levels, np.float64).reshape(-1, 2)
    return Deltas(first_id, last_id, np.maximum.accumulate(time), bids, start, after, levels)


def _opening(named: Sequence[Answer], nameless: Sequence[Answer], deltas: Deltas) -> Answer | None:
    """The first whole book that the deltas continue; one of unknown symbol must lie among their ids."""
    for answer in (*named, *nameless):
        last_id = answer.book.last_id
        follows = int(np.searchsorted(deltas.last_id, last_id, side="right"))
        if follows == len(deltas.last_id):
            if any(answer is one for one in named):
                return answer
        elif deltas.first_id[follows] <= last_id + 1:
            return answer
    return None


def _received(opening: Answer, clock: VenueTime, deltas: Deltas) -> int:
    """When a book came that no delta precedes: not after the first one that follows."""
    time = int(clock.of(np.array([opening.received]))[0])
    return min(time, int(deltas.time[0])) if len(deltas.time) else time


def _quotes(take: Take, deltas: Deltas, clock: VenueTime) -> Quotes:
    """In the order of their ids, each once."""
    rows = np.array(take.quotes, np.int64).reshape(-1, 2)
    ids, order = np.unique(rows[:, 0], return_index=True)
    touch = np.array(take.touches, np.float64).reshape(-1, 4)[order]
    time = clock.of(rows[order, 1])
    if len(deltas.time):
        within = np.searchsorted(deltas.last_id, ids)  # the delta that tells the book the same
        bounds = np.concatenate(([-NEVER], deltas.time, [NEVER]))
        time = np.clip(time, bounds[within] + 1, bounds[within + 1])
    return Quotes(ids, np.maximum.accumulate(time), touch)


def _prints(take: Take, instrument: Instrument) -> tuple[Prints, int]:
    """Prints in the order of their ids, and when one is missing first.

    Where a tape has plain trades they count; else its aggregates do, numbered on from the first one's id.
    """
    rows = np.array(take.trades, np.int64).reshape(-1, 4)
    amounts = np.array(take.amounts, np.float64).reshape(-1, 2)
    plain = rows[:, 3] == 0
    if plain.any():
        rows, amounts = rows[plain], amounts[plain]
    ids, order = np.unique(rows[:, 0], return_index=True)
    rows, amounts = rows[order], amounts[order]
    time = np.maximum.accumulate(rows[:, 1])
    missing = np.flatnonzero(np.diff(ids) != 1) + 1 if plain.any() else np.empty(0, np.intp)
    price, qty = _steps(amounts[:, 0], instrument.tick), _steps(amounts[:, 1], instrument.lot)
    prints = Prints(int(ids[0]) if len(ids) else 0, time, price, qty, rows[:, 2] == 1)
    if not len(missing):
        return prints, NEVER
    return prints.part(0, int(missing[0])), int(time[missing[0]]) - 1


def _steps(values: Floats, step: Decimal) -> Ints:
    numerator, denominator = step.as_integer_ratio()
    return np.rint(values * denominator / numerator).astype(np.int64)


def _instrument(native: str, take: Take, book: BookSnapshot) -> Instrument:
    """What the data tell of an instrument; of the rules that leave no trace in data only the usual 5 $ are assumed."""
    base, quote = divide(native)
    amounts, touches, levels = (np.array(flat, np.float64) for flat in (take.amounts, take.touches, take.levels))
    shown = np.array([*book.bids, *book.asks], np.float64).ravel()
    columns = (amounts, touches, levels, shown)  # each of them: price, quantity, price, quantity …
    lot = _common_step(np.concatenate([flat[1::2] for flat in columns]))
    return Instrument(
        symbol=f"{base}/{quote}" if quote else native,
        native=native,
        base=base or native,
        quote=quote,
        tick=_common_step(np.concatenate([flat[::2] for flat in columns])),
        lot=lot,
        min_qty=lot,
        min_notional=Decimal(5 if quote in _DOLLARS else 0),
    )


def _common_step(values: Floats) -> Decimal:
    """The largest power of ten, at most 1, that the values are multiples of.

    One in a thousand may be finer: orders from before a venue made its steps coarser still rest in its books.
    """
    smallest = np.rint(values * 10**_DECIMALS).astype(np.int64)
    odd = len(values) // 1000
    zeros = next((n for n in range(_DECIMALS, 0, -1) if np.count_nonzero(smallest % 10**n) <= odd), 0)
    return Decimal(1).scaleb(zeros - _DECIMALS)
