"""An account as DataFrames: what the desk holds, in columns that are there even when nothing else is.

Times are UTC, datetime64[us]. Money is float64: frames are for looking and computing, exact amounts stay on
the order path.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pandas as pd

from kit.broker.desk import Desk
from kit.store import tables
from kit.store.tables import equity, fills, frame

__all__ = ["BALANCES", "DIFFERENCES", "POSITIONS", "balances", "equity", "fills", "frame", "orders", "positions"]

POSITIONS = {
    "symbol": "str",
    "qty": "float",
    "average_price": "float",
    "mark": "float",
    "value": "float",
    "unrealized": "float",
    "realized": "float",
    "fees": "float",
}
BALANCES = {"asset": "str", "free": "float", "locked": "float", "total": "float"}
DIFFERENCES = {"kind": "str", "name": "str", "ours": "str", "venue": "str", "verdict": "str"}


def orders(desk: Desk, attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Every order, oldest first."""
    return tables.orders([(record, desk.intents[name]) for name, record in list(desk.records.items())], attrs)


def positions(desk: Desk, prices: Mapping[str, Decimal], attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Every instrument ever traded, flat ones too, valued at ``prices``."""
    with desk.changed:
        held = desk.account.positions()
    rows: list[tuple[object, ...]] = []
    for symbol, p in sorted(held.items()):
        mark = prices.get(symbol)
        worth = (None, None) if mark is None else (p.qty * mark, p.unrealized(mark))
        rows.append((symbol, p.qty, p.average_price, mark, *worth, p.realized, p.fees))
    return frame(POSITIONS, rows, attrs)


def balances(desk: Desk, attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Every asset the account has ever held."""
    with desk.changed:
        held = desk.account.balances()
    return frame(BALANCES, [(b.asset, b.free, b.locked, b.total) for b in held.values()], attrs)
