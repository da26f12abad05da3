"""A few causal indicators on plain arrays: value *i* never depends on anything after *i*.

Any function of arrays will do in ``Strategy.indicator``; these are the ones everybody starts with. ``n`` counts bars:
UsageError for what is no whole number from 1 on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from kit.errors import UsageError

Values = npt.ArrayLike
Floats = npt.NDArray[np.float64]


def _bars(n: object) -> int:
    """``n`` if one can look back over so many bars."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise UsageError(f"n={n!r}: an indicator looks back over a whole number of bars, from 1 on")
    return int(n)


def _series(values: Values) -> pd.Series[float]:
    return pd.Series(np.asarray(values, dtype=np.float64), copy=False)


def sma(values: Values, n: int) -> Floats:
    """Simple moving average over ``n`` values; NaN for the first ``n - 1``."""
    return _series(values).rolling(_bars(n)).mean().to_numpy()


def ema(values: Values, n: int) -> Floats:
    """Exponential moving average with alpha = 2 / (n + 1), started at the first value; NaN for the first ``n - 1``."""
    return _series(values).ewm(span=_bars(n), adjust=False, min_periods=n).mean().to_numpy()


def stdev(values: Values, n: int) -> Floats:
    """Sample standard deviation over ``n`` values; NaN for the first ``n - 1``."""
    return _series(values).rolling(_bars(n)).std().to_numpy()


def rsi(values: Values, n: int = 14) -> Floats:
    """Relative strength index, 0 to 100, Wilder's smoothing (alpha = 1 / n; Wilder 1978); NaN for the first ``n``."""
    n, change = _bars(n), _series(values).diff()
    gain = change.clip(lower=0).ewm(alpha=1 / n, adjust=False, min_periods=n).mean()
    loss = (-change.clip(upper=0)).ewm(alpha=1 / n, adjust=False, min_periods=n).mean()
    return (100 * gain / (gain + loss)).to_numpy()


def highest(values: Values, n: int) -> Floats:
    """Largest of the last ``n`` values; NaN for the first ``n - 1``."""
    return _series(values).rolling(_bars(n)).max().to_numpy()


def lowest(values: Values, n: int) -> Floats:
    """Smallest of the last ``n`` values; NaN for the first ``n - 1``."""
    return _series(values).rolling(_bars(n)).min().to_numpy()


def atr(high: Values, low: Values, close: Values, n: int = 14) -> Floats:
    """Average true range with Wilder's smoothing, in price units; NaN for the first ``n - 1``."""
    n, before = _bars(n), _series(close).shift()
    ranges = np.fmax(_series(high), before) - np.fmin(_series(low), before)
    return _series(ranges).ewm(alpha=1 / n, adjust=False, min_periods=n).mean().to_numpy()
