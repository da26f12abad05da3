"""Numbered dice: the published generator, the same alone and in rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kit.sandbox.chance import bell, bit, bits, key, throw, throws

words = st.integers(0, 2**64 - 1)
numbers = st.integers(-(2**62), 2**62)


def test_throws_are_splitmix64s() -> None:
    """The first three outputs for seed 1234567, as other implementations publish them."""
    assert [throw(1234567, n) for n in (1, 2, 3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(words, st.lists(numbers, min_size=1, max_size=20))
def test_a_row_of_throws_is_its_throws(of: int, which: list[int]) -> None:
    assert throws(of, np.array(which)).tolist() == [throw(of, number) for number in which]


@given(words, st.integers(0, 60), st.integers(1, 20))
def test_bits_of_rows_are_bits_of_words(word: int, shift: int, width: int) -> None:
    assert bits(np.array([word], np.uint64), shift, width).tolist() == [bit(word, shift, width)]


def test_keys_differ_by_every_part_and_stay_what_they_are() -> None:
    keys = {key(seed, name, use) for seed in (1, 2, "1") for name in ("a", "b") for use in ("x", "y")}
    assert len(keys) == 12
    assert key(7, "BTCUSDT", "path") == key(7, "BTCUSDT", "path") < 2**64


def test_the_bell_has_mean_0_and_variance_1() -> None:
    thrown = bell(throws(7, np.arange(100_000)))
    assert abs(thrown.mean()) < 0.01
    assert abs(thrown.var() - 1) < 0.02
    assert abs(thrown).max() < 2.5
