"""An account as DataFrames: what the desk holds, in columns that are there even when nothing else is.

Times are UTC, datetime64[us]. Money is float64: frames are for looking and computing, exact amounts stay on
the order path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from kit.broker.desk import Desk
from kit.model import Fill
from kit.store.entries import Mark

ORDERS = {
    "id": "str",
    "created": "time",
    "symbol": "str",
    "side": "str",
    "type": "str",
    "qty": "float",
    "price": "float",
    "stop": "float",
    "tif": "str",
    "post_only": "bool",
    "status": "str",
    "filled": "float",
    "remaining": "float",
    "average_price": "float",
    "reason": "str",
    "updated": "time",
    "session": "str",
    "intent": "str",
    "replaces": "str",
    "venue_id": "str",
}
FILLS = {
    "time": "time",
    "symbol": "str",
    "side": "str",
    "qty": "float",
    "price": "float",
    "notional": "float",
    "fee": "float",
    "fee_asset": "str",
    "maker": "bool",
    "order": "str",
    "id": "str",
}
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
EQUITY = {"time": "time", "equity": "float", "cash": "float"}
DIFFERENCES = {"kind": "str", "name": "str", "ours": "str", "venue": "str", "verdict": "str"}

TIME = pd.DatetimeTZDtype("us", "UTC")


def frame(schema: Mapping[str, str], rows: Iterable[Sequence[object]], attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Rows as a frame of a schema: column -> ``str``, ``float``, ``bool`` or ``time`` (µs UTC)."""
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    made = {name: _column(kind, values) for (name, kind), values in zip(schema.items(), columns, strict=True)}
    result = pd.DataFrame(made)
    result.attrs.update(attrs)
    return result


def _column(kind: str, values: Sequence[Any]) -> pd.Series[Any]:
    if kind == "time":
        return pd.Series(pd.DatetimeIndex(np.array(values, dtype=np.int64), dtype=TIME))
    if kind == "float":
        return pd.Series(np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64))
    return pd.Series(list(values), dtype=kind)


def orders(desk: Desk, attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Every order, oldest first."""
    rows = []
    for record in list(desk.records.values()):
        request, intent = record.request, desk.intents[record.client_id]
        rows.append(
            (
                record.client_id,
                record.created,
                request.symbol,
                str(request.side),
                str(request.type),
                request.qty,
                request.price,
                request.stop,
                str(request.tif),
                request.post_only,
                str(record.status),
                record.filled,
                record.remaining,
                record.average_price,
                record.reason,
                record.updated,
                intent.session,
                " ".join(intent.parts),
                intent.replaces,
                record.venue_id,
            )
        )
    return frame(ORDERS, rows, attrs)


def fills(executions: Iterable[Fill], attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Executions, in the order given."""
    rows = [
        (f.time, f.symbol, str(f.side), f.qty, f.price, f.notional, f.fee, f.fee_asset, f.maker, f.client_id, f.id)
        for f in executions
    ]
    return frame(FILLS, rows, attrs)


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


def equity(marks: Iterable[Mark], attrs: Mapping[str, Any]) -> pd.DataFrame:
    """The account's worth over time, indexed by ``time``."""
    return frame(EQUITY, [(mark.time, mark.equity, mark.cash) for mark in marks], attrs).set_index("time")
