"""Indicators: known values, and nothing from the future."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import UsageError
from kit.research import indicators

Indicator = Callable[[npt.ArrayLike, int], npt.NDArray[np.float64]]
PRICES = st.lists(st.floats(1, 1_000), min_size=20, max_size=60)
ONE_SERIES: list[Indicator] = [
    indicators.sma,
    indicators.ema,
    indicators.stdev,
    indicators.rsi,
    indicators.highest,
    indicators.lowest,
]


@pytest.mark.parametrize("function", ONE_SERIES)
@pytest.mark.parametrize("n", [0, -5, 2.5, "3", True, None])
def test_a_window_that_can_not_be_is_refused(function: Indicator, n: int) -> None:
    with pytest.raises(UsageError, match="whole number of bars"):
        function([1.0, 2.0, 3.0], n)


def test_known_values() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_allclose(indicators.sma(values, 2), [np.nan, 1.5, 2.5, 3.5])
    np.testing.assert_allclose(indicators.ema(values, 3)[2:], [2.25, 3.125])
    np.testing.assert_allclose(indicators.highest([3.0, 1.0, 2.0], 2), [np.nan, 3.0, 2.0])
    np.testing.assert_allclose(indicators.lowest([3.0, 1.0, 2.0], 2), [np.nan, 1.0, 1.0])


def test_rsi_is_100_in_a_market_that_only_rises_and_0_in_one_that_only_falls() -> None:
    assert indicators.rsi(np.arange(1.0, 40.0), 14)[-1] == 100
    assert indicators.rsi(np.arange(40.0, 1.0, -1), 14)[-1] == 0


def test_true_range_counts_the_gap_from_the_last_close() -> None:
    np.testing.assert_allclose(indicators.atr([10.0, 20.0], [9.0, 19.0], [9.5, 19.5], 1), [1.0, 10.5])


@pytest.mark.parametrize("function", ONE_SERIES, ids=lambda f: f.__name__)
@given(prices=PRICES, n=st.integers(2, 9), cut=st.integers(10, 19))
def test_a_later_bar_never_changes_an_earlier_value(function: Indicator, prices: list[float], n: int, cut: int) -> None:
    np.testing.assert_allclose(function(prices[:cut], n), function(prices, n)[:cut], rtol=1e-9, atol=1e-9)
