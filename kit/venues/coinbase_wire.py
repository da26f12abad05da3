"""Coinbase Advanced Trade, public data: bytes of REST answers -> the nouns.

Numbers arrive as text, lists newest first; here they leave oldest first. Every reader raises ``ValueError`` or a
sibling on a body that is not what was promised; ``reading`` turns that into ``BadAnswer``.

Sources: the reference pages under docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public, and for what
they leave out the real ``/market/products`` answer of 2026-08 and measurements that others published in 2026.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from kit.clock import SECOND
from kit.model import BookSnapshot, Instrument, Level, Quote, Side, Trade
from kit.venues.base import Columns
from kit.venues.wire import Amount, Id, decoder, excerpt, money

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)


def micros(text: str) -> int:
    """A wire time (RFC 3339, UTC, up to nanoseconds) in µs since the epoch; what is finer is cut off, not rounded up.

    ValueError for anything else and for times before 1970.
    """
    parts = _INSTANT.fullmatch(text)
    if parts is None:
        raise ValueError(f"not a time in UTC: {excerpt(text)!r}")
    return _second(parts[1]) + int((parts[2] or "").ljust(6, "0")[:6])


@lru_cache(maxsize=64)
def _second(text: str) -> int:
    """Whole seconds as µs: many frames share one."""
    since = (datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
    if since < 0:
        raise ValueError(f"a time before 1970: {text}")
    return since


# ---- products


class _Product(msgspec.Struct):
    product_id: str
    product_type: str
    base_currency_id: str
    quote_currency_id: str
    base_increment: str
    price_increment: str
    base_min_size: str
    base_max_size: str
    quote_min_size: str
    quote_max_size: str
    status: str
    alias: str = ""
    trading_disabled: bool = False
    is_disabled: bool = False
    view_only: bool = False
    cancel_only: bool = False
    auction_mode: bool = False
    post_only: bool = False
    limit_only: bool = False


class _Products(msgspec.Struct):
    products: list[_Product]


_products = decoder(_Products)
_FLAGS = ("trading_disabled", "is_disabled", "view_only", "cancel_only", "auction_mode", "post_only", "limit_only")
"""What narrows trading, the narrowest first."""


def instruments(body: bytes) -> list[Instrument]:
    """market/products -> the spot instruments, without aliases.

    BTC-USDC is the book of BTC-USD under another name (``alias`` says so of 400 of 920 products), and the public
    streams answer to it as BTC-USD: so only the book's own name is an instrument here.
    """
    spot = (product for product in _products(body).products if product.product_type == "SPOT")
    return [_instrument(product) for product in spot if not product.alias]


def _instrument(wire: _Product) -> Instrument:
    return Instrument(
        symbol=f"{wire.base_currency_id}/{wire.quote_currency_id}",
        native=wire.product_id,
        base=wire.base_currency_id,
        quote=wire.quote_currency_id,
        tick=money(wire.price_increment),
        lot=money(wire.base_increment),
        min_qty=money(wire.base_min_size),
        max_qty=money(wire.base_max_size),
        min_notional=money(wire.quote_min_size),
        max_notional=money(wire.quote_max_size),
        status=_status(wire),
    )


def _status(wire: _Product) -> str:
    """``trading``, or what stands in its way: a status other than online (delisted …), else the narrowest flag."""
    if wire.status != "online":
        return wire.status
    return next((flag for flag in _FLAGS if getattr(wire, flag)), "trading")


# ---- candles


class Bar(msgspec.Struct, gc=False):
    """One bar, the same over REST and in the streams; ``start`` is its open in seconds."""

    start: Annotated[int, msgspec.Meta(ge=0, le=2**40)]
    open: Amount
    high: Amount
    low: Amount
    close: Amount
    volume: Amount


class _Candles(msgspec.Struct):
    candles: list[Bar]


_candles = decoder(_Candles)


def candles(body: bytes, start: int, end: int) -> Columns:
    """candles -> columns of those that open in [start, end) µs, oldest first.

    The wire tells neither how many trades a bar holds nor what they were worth: ``trades`` is 0, ``quote_volume`` NaN.
    A bar in which nothing was traded is not there at all.
    """
    rows = sorted(_candles(body).candles, key=lambda row: row.start)
    rows = [row for row in rows if start <= row.start * SECOND < end]
    columns: dict[str, npt.NDArray[np.generic]] = {"time": np.array([row.start for row in rows], np.int64) * SECOND}
    if (np.diff(columns["time"].astype(np.int64)) == 0).any():
        raise ValueError("two candles of the same time")
    for name in ("open", "high", "low", "close", "volume"):
        columns[name] = np.array([getattr(row, name) for row in rows], np.float64)
    return {**columns, "quote_volume": np.full(len(rows), np.nan), "trades": np.zeros(len(rows), np.int64)}


# ---- trades


class Print(msgspec.Struct, gc=False):
    """One public trade, the same over REST and in the streams. ``side`` is the maker's."""

    product_id: str
    trade_id: Id
    price: Amount
    size: Amount
    time: str
    side: Literal["BUY", "SELL"]

    def trade(self) -> Trade:
        """As ours, whose side is the taker's.

        The documentation does not say whose it is; recorded prints marked SELL lie at the ask, those marked BUY at
        the bid, and REST and streams agree on every id that was compared.
        """
        taker = Side.SELL if self.side == "BUY" else Side.BUY
        return Trade(self.product_id, self.trade_id, self.price, self.size, micros(self.time), taker)


class _Ticker(msgspec.Struct):
    trades: list[Print]


_ticker = decoder(_Ticker)


def trades(body: bytes, native: str) -> list[Trade]:
    """ticker -> its prints, oldest first; its best prices come without quantities and are passed over."""
    found = sorted((wire.trade() for wire in _ticker(body).trades), key=lambda trade: trade.id)
    for trade in found:
        _must_be(native, trade.symbol)
    return found


def last_trade(body: bytes, native: str) -> Trade | None:
    """ticker -> the newest print."""
    return next(reversed(trades(body, native)), None)


def _must_be(native: str, told: str) -> None:
    if told != native:
        raise ValueError(f"asked for {native}, answered for {excerpt(told)}")


# ---- book


class _Level(msgspec.Struct, gc=False):
    price: Amount
    size: Amount


class _PriceBook(msgspec.Struct):
    product_id: str
    bids: list[_Level]
    asks: list[_Level]
    time: str


class _ProductBook(msgspec.Struct):
    pricebook: _PriceBook


_product_book = decoder(_ProductBook)


def book(body: bytes, native: str) -> BookSnapshot:
    """product_book -> a snapshot, best prices first; it carries no number, so no delta can be laid on it."""
    wire = _product_book(body).pricebook
    _must_be(native, wire.product_id)
    bids: list[Level] = sorted(((level.price, level.size) for level in wire.bids), reverse=True)
    asks: list[Level] = sorted((level.price, level.size) for level in wire.asks)
    return BookSnapshot(native, 0, bids, asks, micros(wire.time))


def quote(body: bytes, native: str) -> Quote:
    """product_book -> its best bid and ask; ValueError where a side is empty."""
    found = book(body, native)
    if not found.bids or not found.asks:
        raise ValueError(f"one side of the book of {native} is empty, so there is no best bid and ask")
    return Quote(native, *found.bids[0], *found.asks[0], time=found.time)


# ---- time


class _Time(msgspec.Struct):
    millis: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = msgspec.field(name="epochMillis")


_time = decoder(_Time)


def server_time(body: bytes) -> int:
    """time -> µs."""
    return _time(body).millis * 1_000
