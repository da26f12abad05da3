"""Chance without state: numbered dice whose every throw can be read on its own, in any order.

A throw is splitmix64 (Steele, Lea, Flood 2014; mixing constants by Stafford) of a key and a number, so a market can be
computed at any moment without the moments before it, and the same seed gives the same bits on every machine.
"""

from __future__ import annotations

from hashlib import blake2b
from math import sqrt

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
"""Unsigned 64-bit words; arithmetic on them wraps."""
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_WEYL = 0x9E3779B97F4A7C15
_M1 = 0xBF58476D1CE4E5B9
_M2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1
_WEYL_U, _M1_U, _M2_U = np.uint64(_WEYL), np.uint64(_M1), np.uint64(_M2)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


def key(*parts: object) -> int:
    """A 64-bit key from what the dice are for: ``key(seed, "BTCUSDT", "path")``."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def throw(key: int, number: int) -> int:
    """One throw: 64 random bits."""
    x = (key + number * _WEYL) & _MASK
    x = ((x ^ (x >> 30)) * _M1) & _MASK
    x = ((x ^ (x >> 27)) * _M2) & _MASK
    return x ^ (x >> 31)


def throws(key: int, numbers: Ints) -> Words:
    """``throw`` of each number."""
    x = numbers.astype(np.uint64)
    x *= _WEYL_U
    x += np.uint64(key)
    x ^= x >> _S30
    x *= _M1_U
    x ^= x >> _S27
    x *= _M2_U
    x ^= x >> _S31
    return x


def bits(words: Words, shift: int, width: int) -> Ints:
    """``width`` bits of each word, from bit ``shift`` up, as integers."""
    picked = words >> np.uint64(shift)
    picked &= np.uint64((1 << width) - 1)
    return picked.view(np.int64)


def bit(word: int, shift: int, width: int) -> int:
    """The same of one word."""
    return (word >> shift) & ((1 << width) - 1)


def bell(words: Words) -> Floats:
    """A bell-shaped number of mean 0 and variance 1 from bits 24 to 63: two uniform numbers added."""
    total = bits(words, 24, 20) + bits(words, 44, 20)
    return (total - 0xFFFFF).astype(np.float64) * _BELL


_BELL = sqrt(6) / (1 << 20)
