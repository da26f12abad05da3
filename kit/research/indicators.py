"""A few causal indicators on plain arrays: value *i* never depends on anything after *i*.

Any function of arrays will do in ``Strategy.indicator``; these are the ones everybody starts with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

Values = npt.ArrayLike
Floats = npt.NDArray[np.float64]


def _series(values: Values) -> pd.Series[float]:
    return pd.Series(np.asarray(values, dtype=np.float64), copy=False)


def sma(values: Values, n: int) -> Floats:
    """Simple moving average over ``n`` values; NaN for the first ``n - 1``."""
    return _series(values).rolling(n).mean().to_numpy()


def ema(values: Values, n: int) -> Floats:
    """Exponential moving average with alpha = 2 / (n + 1), started at the first value; NaN for the first ``n - 1``."""
    return _series(values).ewm(span=n, adjust=False, min_periods=n).mean().to_numpy()


def stdev(values: Values, n: int) -> Floats:
    """Sample standard deviation over ``n`` values; NaN for the first ``n - 1``."""
    return _series(values).rolling(n).std().to_numpy()


def rsi(values: Values, n: int = 14) -> Floats:
    """Relative strength index, 0 to 100, Wilder's smoothing (alpha = 1 / n; Wilder 1978); NaN for the first ``n``."""
    change = _series(values).diff()
    gain = change.clip(lower=0).ewm(alpha=1 / n, adjust=False, min_periods=n).mean()
    loss = (-change.clip(upper=0)).ewm(alpha=1 / n, adjust=False, min_periods=n).mean()
    return (100 * gain / (gain + loss)).to_numpy()


def highest(values: Values, n: int) -> Floats:
    """Largest of the last ``n`` values; NaN for the first ``n - 1``."""
    return _series(values).rolling(n).max().to_numpy()


def lowest(values: Values, n: int) -> Floats:
    """Smallest of the last ``n`` values; NaN for the first ``n - 1``."""
    return _series(values).rolling(n).min().to_numpy()


def atr(high: Values, low: Values, close: Values, n: int = 14) -> Floats:
    """Average true range with Wilder's smoothing, in price units; NaN for the first ``n - 1``."""
    before = _series(close).shift()
    ranges = np.fmax(_series(high), before) - np.fmin(_series(low), before)
    return _series(ranges).ewm(alpha=1 / n, adjust=False, min_periods=n).mean().to_numpy()
