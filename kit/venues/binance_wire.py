"""Binance Spot, public data: bytes of REST answers -> the nouns.

Numbers arrive as text. Every reader here raises ``ValueError`` or a sibling on a body that is not what was promised;
``reading`` turns that into ``BadAnswer``. Sources: rest-api.md and filters.md of binance/binance-spot-api-docs.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from kit.market.candles import FLOATS
from kit.model import BookSnapshot, Instrument, Quote, Side, Trade
from kit.venues.base import Budget, Columns
from kit.venues.wire import Amount, Id, decoder, excerpt, money

Stamp = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A venue time in milliseconds."""
Level = tuple[Amount, Amount]


# ---- exchangeInfo


class _Limit(msgspec.Struct, rename="camel"):
    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class _Limits(msgspec.Struct, rename="camel"):
    rate_limits: list[_Limit]


class _Filter(msgspec.Struct, rename="camel"):
    """Any filter: the fields of those that are not modelled are passed over."""

    filter_type: str
    min_price: str = "0"
    max_price: str = "0"
    tick_size: str = "0"
    min_qty: str = "0"
    max_qty: str = "0"
    step_size: str = "0"
    min_notional: str = "0"
    max_notional: str = "0"
    apply_to_market: bool = True
    apply_min_to_market: bool = True


class _Symbol(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    filters: list[_Filter]
    is_spot_trading_allowed: bool = True


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]


_limits = decoder(_Limits)
_exchange_info = decoder(_ExchangeInfo)
_HEADERS = {
    "REQUEST_WEIGHT": "X-MBX-USED-WEIGHT",
    "ORDERS": "X-MBX-ORDER-COUNT",
    "RAW_REQUESTS": "RAW-REQUESTS",
    "CONNECTIONS": "CONNECTIONS",
}
_WINDOWS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3_600, "DAY": 86_400}


def budgets(body: bytes) -> list[Budget]:
    """exchangeInfo -> its rateLimits, each named as the header that tells its use (raw requests have none)."""
    return [
        Budget(
            f"{_HEADERS.get(limit.rate_limit_type, limit.rate_limit_type)}-{limit.interval_num}{limit.interval[0]}",
            limit.limit,
            limit.interval_num * _WINDOWS[limit.interval] * 1_000_000,
        )
        for limit in _limits(body).rate_limits
        if limit.interval in _WINDOWS
    ]


def instruments(body: bytes) -> list[Instrument]:
    """exchangeInfo -> instruments with their trading rules."""
    return [_instrument(symbol) for symbol in _exchange_info(body).symbols]


def _instrument(wire: _Symbol) -> Instrument:
    rules = {rule.filter_type: rule for rule in wire.filters}
    none = _Filter("")
    price, lot = rules.get("PRICE_FILTER", none), rules.get("LOT_SIZE", none)
    market, older = rules.get("MARKET_LOT_SIZE", none), rules.get("MIN_NOTIONAL", none)
    notional = rules.get("NOTIONAL", older)
    applies = notional.apply_to_market if notional is older else notional.apply_min_to_market
    return Instrument(
        symbol=f"{wire.base_asset}/{wire.quote_asset}",
        native=wire.symbol,
        base=wire.base_asset,
        quote=wire.quote_asset,
        tick=_step(price.tick_size),
        lot=_step(lot.step_size),
        min_qty=_step(lot.min_qty),
        max_qty=_step(lot.max_qty),
        market_min_qty=_step(market.min_qty),
        market_max_qty=_step(market.max_qty),
        market_lot=_step(market.step_size),
        min_price=_step(price.min_price),
        max_price=_step(price.max_price),
        min_notional=_step(notional.min_notional),
        max_notional=_step(notional.max_notional),
        notional_applies_to_market=applies,
        status=wire.status.lower() if wire.is_spot_trading_allowed else "no_spot_trading",
    )


def _step(text: str) -> Decimal:
    """A rule's number without its padding zeros (the wire always has 8 decimals) and not as 1E+6."""
    value = money(text).normalize()
    return value if value.as_tuple().exponent in range(-30, 1) else value.quantize(Decimal(1))


# ---- candles, trades, book


class _Kline(msgspec.Struct, array_like=True, gc=False):
    """The first nine of a row's twelve fields; the rest (taker volumes, an unused one) are not decoded."""

    time: Stamp
    open: Amount
    high: Amount
    low: Amount
    close: Amount
    volume: Amount
    close_time: int
    quote_volume: Amount
    trades: Id


class _Trade(msgspec.Struct, rename="camel", gc=False):
    id: Id
    price: Amount
    qty: Amount
    time: Stamp
    is_buyer_maker: bool


class _AggTrade(msgspec.Struct, gc=False):
    price: Amount = msgspec.field(name="p")
    qty: Amount = msgspec.field(name="q")
    first: Id = msgspec.field(name="f")
    last: Id = msgspec.field(name="l")
    time: Stamp = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class _Depth(msgspec.Struct, rename="camel"):
    last_update_id: Id
    bids: list[Level]
    asks: list[Level]


class _Ticker(msgspec.Struct, rename="camel"):
    symbol: str
    bid_price: Amount
    bid_qty: Amount
    ask_price: Amount
    ask_qty: Amount


class _Time(msgspec.Struct, rename="camel"):
    server_time: Stamp


_klines = decoder(list[_Kline])
_trades = decoder(list[_Trade])
_agg_trades = decoder(list[_AggTrade])
_depth = decoder(_Depth)
_ticker = decoder(_Ticker)
_time = decoder(_Time)


def candles(body: bytes) -> Columns:
    """klines -> columns: ``time`` int64 µs of the open, float64 prices and volumes, int64 ``trades``."""
    rows = _klines(body)
    time = np.fromiter(map(attrgetter("time"), rows), np.int64, len(rows)) * 1_000
    if len(time) > 1 and not (time[1:] > time[:-1]).all():
        raise ValueError("candles are not in order of time")
    columns: dict[str, npt.NDArray[np.generic]] = {"time": time}
    for name in FLOATS:
        columns[name] = _column(rows, name, np.float64)
    columns["trades"] = _column(rows, "trades", np.int64)
    return columns


def _column(rows: Sequence[_Kline], name: str, dtype: type[np.generic]) -> npt.NDArray[np.generic]:
    return np.fromiter(map(attrgetter(name), rows), dtype, len(rows))


def taker(buyer_is_maker: bool) -> Side:
    """The aggressor: where the buyer's order rested, the seller took."""
    return Side.SELL if buyer_is_maker else Side.BUY


def trades(body: bytes, native: str) -> list[Trade]:
    """trades and historicalTrades -> prints."""
    return [Trade(native, t.id, t.price, t.qty, t.time * 1_000, taker(t.is_buyer_maker)) for t in _trades(body)]


def agg_trades(body: bytes, native: str) -> list[Trade]:
    """aggTrades -> one print per taker order and price; ``id`` is the first trade id it sums up."""
    wire = _agg_trades(body)
    return [Trade(native, t.first, t.price, t.qty, t.time * 1_000, taker(t.buyer_is_maker)) for t in wire]


def last_trade(body: bytes, native: str) -> Trade | None:
    """aggTrades -> the newest print; its quantity is the whole aggregate's."""
    wire = _agg_trades(body)
    if not wire:
        return None
    t = wire[-1]
    return Trade(native, t.last, t.price, t.qty, t.time * 1_000, taker(t.buyer_is_maker))


def book(body: bytes, native: str) -> BookSnapshot:
    """depth -> a snapshot, best prices first as sent."""
    wire = _depth(body)
    return BookSnapshot(native, wire.last_update_id, wire.bids, wire.asks)


def quote(body: bytes, native: str) -> Quote:
    """ticker/bookTicker of one symbol -> a quote without update id or time, which REST does not tell."""
    wire = _ticker(body)
    if wire.symbol != native:
        raise ValueError(f"asked for {native}, answered for {excerpt(wire.symbol)}")
    return Quote(native, wire.bid_price, wire.bid_qty, wire.ask_price, wire.ask_qty)


def server_time(body: bytes) -> int:
    """time -> µs."""
    return _time(body).server_time * 1_000
