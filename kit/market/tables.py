"""Plain frames of what is not a candle: trades, an order book, instruments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kit.market.candles import Attrs, index
from kit.model import BookSnapshot, Instrument, Trade

_WORDS = ("native", "base", "quote", "status")
_NUMBERS = ("tick", "lot", "min_qty", "min_notional")


def trades(prints: Sequence[Trade], attrs: Attrs) -> pd.DataFrame:
    """Public trades: index ``time`` (UTC; several may share one), ``id price qty side``, the taker's."""
    columns = {
        "id": np.array([trade.id for trade in prints], dtype=np.int64),
        "price": np.array([trade.price for trade in prints], dtype=np.float64),
        "qty": np.array([trade.qty for trade in prints], dtype=np.float64),
        "side": pd.array([str(trade.side) for trade in prints], dtype="str"),
    }
    frame = pd.DataFrame(columns, index=index(np.array([trade.time for trade in prints], dtype=np.int64)), copy=False)
    frame.attrs = dict(attrs)
    return frame


def book(snapshot: BookSnapshot, limit: int, attrs: Attrs) -> pd.DataFrame:
    """The best ``limit`` levels a side: ``side`` (bid, then ask) ``price qty``, best first; attrs tell ``last_id``."""
    bids, asks = snapshot.bids[:limit], snapshot.asks[:limit]
    levels = np.array([*bids, *asks], dtype=np.float64).reshape(-1, 2)
    sides = pd.array(["bid"] * len(bids) + ["ask"] * len(asks), dtype="str")
    frame = pd.DataFrame({"side": sides, "price": levels[:, 0], "qty": levels[:, 1]})
    frame.attrs = {**attrs, "last_id": snapshot.last_id}
    return frame


def instruments(listed: Sequence[Instrument], attrs: Attrs) -> pd.DataFrame:
    """What is traded: index ``symbol`` (BASE/QUOTE), names and status as text, steps and minima as floats."""
    words = {name: pd.array([getattr(each, name) for each in listed], dtype="str") for name in _WORDS}
    numbers = {name: np.array([float(getattr(each, name)) for each in listed]) for name in _NUMBERS}
    symbols = pd.Index([each.symbol for each in listed], name="symbol", dtype="str")
    frame = pd.DataFrame({**words, **numbers}, index=symbols)
    frame.attrs = dict(attrs)
    return frame
