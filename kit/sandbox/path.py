"""Trading time and price of a synthetic market: how many prints had happened and where the price stood, at any moment.

Time is cut into cells of 1/16 minute. The number of prints before a cell is a multiplicative cascade: a span's prints
are split between its halves by a throw, again and again, so that they cluster on every scale and any cell is reached in
a few dozen halvings. The price is a Brownian motion in that trading time (Mandelbrot, Fisher, Calvet 1997): each
halving moves the middle off the line between the ends by an amount that grows with the prints around it. So volume
and volatility cluster together, and a price moves only when something trades.

Every value follows from the seed by +, -, *, /, sqrt and rounding of float64 and int64 alone, which IEEE 754 fixes to
the bit: a history is the same on every machine and in whichever window it is asked for.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import accumulate
from math import sqrt
from typing import NamedTuple, TypeVar

import numpy as np
from msgspec import Struct

from kit.sandbox.chance import Floats, Ints, Words, bell, bits, key, throws

GENESIS = 1_577_836_800_000_000
"""2020-01-01T00:00Z: the beginning of every synthetic history, µs."""
CELLS = 16
"""Cells a minute."""
CHUNK_MINUTES = 2048
CHUNK = CHUNK_MINUTES * CELLS
"""Cells a chunk: what is computed and kept at once."""
MICRO_BITS = 6
"""Price is kept in 1/64 ticks: whole numbers in float64, so that sums and differences are exact."""

_LEVELS = 25  # spans of level n are 2**n minutes; the whole history is 63 years
_COARSE_LEVEL = 7
_CELL_LEVEL = -4
_COARSE = 1 << _COARSE_LEVEL
_COARSE_A_CHUNK = CHUNK_MINUTES // _COARSE
_YEAR = 365.25 * 24 * 60  # minutes
_WEEK = 7 * 24 * 60
_GENESIS_IN_WEEK = 2 * 24 * 60  # minutes since Monday; genesis was a Wednesday
_TOGETHER = 0.65  # correlation between the instruments' long moves
_APART = sqrt(1 - _TOGETHER * _TOGETHER)
_FAR = 0.12 * _YEAR  # spans longer than this spread the price no further: it wanders round its centre
_HOURS = (70, 65, 62, 60, 58, 60, 66, 76, 92, 100, 102, 100, 106, 128, 158, 164, 150, 132, 116, 106, 98, 92, 86, 78)
_WEEKDAYS = (100, 104, 106, 106, 102, 74, 72)
_SEASON = np.array([0, *accumulate(day * hour for day in _WEEKDAYS for hour in _HOURS for _ in range(60))])
"""Usual activity from Monday to each minute of the week."""
_SEASONAL_LEVEL = 5  # shorter spans know no hours


A = TypeVar("A", Ints, Floats)


class Shape(Struct, frozen=True, kw_only=True):
    """How one instrument's price, takers and book behave."""

    centre: float
    """The price it wanders round, in ticks."""
    volatility: float
    """Standard deviation of a year's log return."""
    rate: float
    """Prints a minute beside the one that every minute has."""
    size: float
    """Usual lots a print."""
    spread: int
    """Ticks by which bid and ask may each lie further out than the nearest."""
    gap: int
    """Ticks a bin of the book, which shows one level."""
    life: int
    """A level stays for ``2**life`` to ``2**(life + 3)`` slots of 100 ms."""
    pace: int
    """Slots from one change of the touch to the next while takers are about."""


class Knots(NamedTuple):
    """The state at cell borders: prints so far, and the price in 1/64 ticks. One border more than cells."""

    prints: Ints
    price: Floats


class Path:
    """Prints and price of one instrument from genesis on."""

    def __init__(self, seed: int, name: str, shape: Shape) -> None:
        self._shape = shape
        levels = range(_CELL_LEVEL + 1, _LEVELS + 1)
        self._keys = {level: key(seed, name, "path", level) for level in levels}
        self._common_keys = {level: key(seed, "path", level) for level in levels}
        self._sigma = shape.volatility / sqrt((shape.rate + 1) * _YEAR)
        self.chunk = lru_cache(maxsize=8)(self._chunk)
        """State at the borders of the cells of a chunk, by the chunk's number."""

    def cells(self, first: int, after: int) -> Knots:
        """State at the borders of the cells ``first`` to ``after - 1``."""
        numbers = range(first // CHUNK, (after - 1) // CHUNK + 1)
        chunks = [self.chunk(number) for number in numbers]
        parts = [Knots(chunk.prints[:-1], chunk.price[:-1]) for chunk in chunks[:-1]] + chunks[-1:]
        part = slice(first - numbers[0] * CHUNK, after + 1 - numbers[0] * CHUNK)
        if len(parts) == 1:
            return Knots(parts[0].prints[part], parts[0].price[part])
        prints, price = (np.concatenate(columns)[part] for columns in zip(*parts, strict=True))
        return Knots(prints, price)

    def find(self, number: int) -> int:
        """The cell that print ``number`` (counted from 0) falls into."""
        chunk = (int(np.searchsorted(self._coarse.prints, number, side="right")) - 1) // _COARSE_A_CHUNK
        return chunk * CHUNK + int(np.searchsorted(self.chunk(chunk).prints, number, side="right")) - 1

    @cached_property
    def _coarse(self) -> Knots:
        """State every ``2**_COARSE_LEVEL`` minutes, from genesis to the end of all history."""
        excess, log_price = np.array([0, round(self._shape.rate * 2**_LEVELS)]), np.zeros(2)
        for level in range(_LEVELS, _COARSE_LEVEL, -1):
            numbers = np.arange(len(excess) - 1)
            words = throws(self._keys[level], numbers)
            left, right = _split(level, numbers, words, np.diff(excess))
            common = bell(throws(self._common_keys[level], numbers))
            chance = _TOGETHER * common + _APART * bell(words)
            weight, spread = _bridge(left + 2 ** (level - 1), right + 2 ** (level - 1))
            spread = np.minimum(spread, sqrt(_FAR * (self._shape.rate + 1)))
            middle = log_price[:-1] + np.diff(log_price) * weight + self._sigma * spread * chance
            excess, log_price = _insert(excess, excess[:-1] + left), _insert(log_price, middle)
        price = np.rint(self._shape.centre * 2**MICRO_BITS * _exp(log_price))
        return Knots(excess + np.arange(len(excess)) * _COARSE, price)

    def _chunk(self, number: int) -> Knots:
        first = number * _COARSE_A_CHUNK
        ends = slice(first, first + _COARSE_A_CHUNK + 1)
        prints = self._coarse.prints[ends] - np.arange(first, first + _COARSE_A_CHUNK + 1) * _COARSE
        price = self._coarse.price[ends]
        for level in range(_COARSE_LEVEL, _CELL_LEVEL, -1):
            if level == 0:  # from here down, the one print that every minute has is split with the others
                prints = prints + np.arange(number * CHUNK_MINUTES, (number + 1) * CHUNK_MINUTES + 1)
            hidden = 2 ** (level - 1) if level > 0 else 0
            numbers = np.arange(len(prints) - 1) + number * len(prints[1:])
            words = throws(self._keys[level], numbers)
            left, right = _split(level, numbers, words, np.diff(prints))
            weight, spread = _bridge(left + hidden, right + hidden)
            start = price[:-1]
            move = np.rint(np.diff(price) * weight + start * (self._sigma * spread * bell(words)))
            prints, price = _insert(prints, prints[:-1] + left), _insert(price, start + move)
        return Knots(prints, price)


def _split(level: int, numbers: Ints, words: Words, total: Ints) -> tuple[Ints, Ints]:
    """How many of each span's prints fall into its left and its right half."""
    noise = (bits(words, 0, 12).astype(np.float64) - 2047.5) * (_roughness(level) / 2048)
    usual = _left_share(level, numbers) if level >= _SEASONAL_LEVEL else 0.5
    share = usual + noise * (2 * usual * (1 - usual))
    left = (total * share + bits(words, 12, 12) * 2.0**-12).astype(np.int64)
    return left, total - left


def _left_share(level: int, numbers: Ints) -> Floats:
    """The share of a span's activity that usually falls into its left half, for the hour and the day of the week."""
    start, middle, end = (_usual((2 * numbers + half) << (level - 1)) for half in (0, 1, 2))
    share: Floats = (middle - start) / (end - start)
    return share


def _roughness(level: int) -> float:
    """How unevenly a span of ``2**level`` minutes may fall into halves, from 0 to 1."""
    if level >= 14:
        return 0.18
    return 0.3 if level >= 0 else 0.5


def _usual(minutes: Ints) -> Ints:
    """Usual activity between some Monday and the minutes since genesis."""
    weeks, minute = np.divmod(minutes + _GENESIS_IN_WEEK, _WEEK)
    usual: Ints = weeks * _SEASON[-1] + _SEASON[minute]
    return usual


def _bridge(left: Ints, right: Ints) -> tuple[Floats, Floats]:
    """A Brownian bridge over ``left + right`` prints, after ``left``: weight of the far end, standard deviation."""
    weight = left / np.maximum(left + right, 1)
    return weight, np.sqrt(weight * right)


def _insert(ends: A, middles: A) -> A:
    """The middles between their ends."""
    both = np.empty(len(ends) + len(middles), ends.dtype)
    both[::2], both[1::2] = ends, middles
    return both


def _exp(x: Floats) -> Floats:
    """e**x to a few per mille by squaring: ``np.exp`` may differ in the last bit between machines."""
    power = 1 + x / 1024
    for _ in range(10):
        power = power * power
    return power
