"""What a journal holds as DataFrames: every entry, and the orders, fills and marks they add up to.

Times are UTC, datetime64[us]. Money is float64: frames are for looking and computing. The exact amounts are the
journal's own text, in the ``body`` of its entries. A column is there even when there is no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kit.model import Fill
from kit.orders.lifecycle import OrderRecord
from kit.store.entries import Intended, Mark, fold
from kit.store.journal import Journal

ENTRIES = {"seq": "int", "time": "time", "kind": "str", "order": "str", "body": "str"}
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
EQUITY = {"time": "time", "equity": "float", "cash": "float"}

TIME = pd.DatetimeTZDtype("us", "UTC")


@dataclass(frozen=True)
class Tables:
    """One journal, as it was when it was read.

    ``entries`` is indexed by ``seq``, which is the order in which things were written down, whatever the clock said;
    intents that were taken back are among them, and in nothing else. ``orders`` has the oldest first, ``fills`` is by
    time, ``marks`` (what the account was worth after each fill) is indexed by ``time``.
    """

    account: str
    entries: pd.DataFrame
    orders: pd.DataFrame
    fills: pd.DataFrame
    marks: pd.DataFrame

    def __repr__(self) -> str:
        kinds = ("entries", "orders", "fills", "marks")
        counts = ", ".join(f"{len(getattr(self, kind))} {kind}" for kind in kinds)
        return f"<journal of account {self.account!r}: {counts}>"


def read(path: Path) -> Tables:
    """The journal at ``path``; another process may own it and go on writing meanwhile.

    Raises StoreError when there is none, or when it can't be read.
    """
    with closing(Journal(path, readonly=True)) as journal:
        attrs = origin(journal, path.stem)
        records: dict[str, OrderRecord] = {}
        intents: dict[str, Intended] = {}
        for entry in journal.entries():
            fold(records, entry)
            if isinstance(entry, Intended):
                intents[entry.client_id] = entry
        executed = sorted((fill for record in records.values() for fill in record.fills), key=lambda fill: fill.time)
        return Tables(
            path.stem,
            frame(ENTRIES, journal.rows(), attrs).set_index("seq"),
            orders(((record, intents[name]) for name, record in records.items()), attrs),
            fills(executed, attrs),
            equity(journal.marks(), attrs),
        )


def frame(schema: Mapping[str, str], rows: Iterable[Sequence[object]], attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Rows as a frame of a schema: column -> ``str``, ``int``, ``float``, ``bool`` or ``time`` (µs UTC)."""
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    made = {name: _column(kind, values) for (name, kind), values in zip(schema.items(), columns, strict=True)}
    result = pd.DataFrame(made)
    result.attrs.update(attrs)
    return result


def orders(known: Iterable[tuple[OrderRecord, Intended]], attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Orders with their intents, in the order given."""
    return frame(ORDERS, [_order(record, intent) for record, intent in known], attrs)


def fills(executions: Iterable[Fill], attrs: Mapping[str, Any]) -> pd.DataFrame:
    """Executions, in the order given."""
    rows = [
        (f.time, f.symbol, str(f.side), f.qty, f.price, f.notional, f.fee, f.fee_asset, f.maker, f.client_id, f.id)
        for f in executions
    ]
    return frame(FILLS, rows, attrs)


def equity(marks: Iterable[Mark], attrs: Mapping[str, Any]) -> pd.DataFrame:
    """The account's worth over time, indexed by ``time``."""
    return frame(EQUITY, [(mark.time, mark.equity, mark.cash) for mark in marks], attrs).set_index("time")


def origin(journal: Journal, account: str) -> dict[str, Any]:
    """Where it all comes from, in JSON values; an account that was never quite opened says its name."""
    terms = journal.terms
    if terms is None:
        return {"account": account}
    return {
        "account": account,
        "kind": terms.kind,
        "venue": terms.venue,
        "environment": terms.environment,
        "quote": terms.quote,
    }


def _order(record: OrderRecord, intent: Intended) -> tuple[object, ...]:
    request = record.request
    return (
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


def _column(kind: str, values: Sequence[Any]) -> pd.Series[Any]:
    if kind == "time":
        return pd.Series(pd.DatetimeIndex(np.array(values, dtype=np.int64), dtype=TIME))
    if kind == "int":
        return pd.Series(np.array(values, dtype=np.int64))
    if kind == "float":
        return pd.Series(np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64))
    return pd.Series(list(values), dtype=kind)
