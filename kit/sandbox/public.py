"""The public endpoints: market data as Binance Spot's REST API answers it. Pure.

Parameters, weights and shapes are those of rest-api.md ("Market data endpoints").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kit.clock import DAY, MINUTE
from kit.market.candles import INTERVALS
from kit.model import Trade
from kit.sandbox import params as read
from kit.sandbox.budgets import RATE_LIMITS
from kit.sandbox.endpoint import Context, Endpoint
from kit.sandbox.exchange import MAX_ORDERS, MAX_STOPS
from kit.sandbox.market import CandleColumns
from kit.sandbox.params import Args, Param
from kit.sandbox.refusals import Refusal
from kit.sandbox.wire import (
    Json,
    aggregate_row,
    book_ticker,
    depth,
    kline_rows,
    number,
    symbol_info,
    trade_row,
)

SYMBOL = Param("symbol", read.symbol, required=True)
ANY_SYMBOL = (Param("symbol", read.symbol), Param("symbols", read.symbols))
STATUS = Param("symbolStatus", read.choice("INVALID_SYMBOL_STATUS", "TRADING", "HALT", "BREAK", "CANCEL_ONLY"))
TICKER_TYPE = Param("type", read.choice("INVALID_TICKER_TYPE", "FULL", "MINI"), default="FULL")


def ping(_context: Context, _args: Args) -> Json:
    return {}


def time(context: Context, _args: Args) -> Json:
    return {"serverTime": context.stamp(context.now)}


def exchange_info(context: Context, args: Args) -> Json:
    """What is traded and within which limits; every symbol has the permission SPOT and no other."""
    trading = not context.exchange.closed(context.now)
    wanted_status = args["symbolStatus"]
    shown = [
        symbol_info(context.exchange.instrument(native), trading=trading, max_orders=MAX_ORDERS, max_stops=MAX_STOPS)
        for native in _natives(context, args)
        if args["permissions"] in (None, "SPOT", '["SPOT"]')
    ]
    if args["showPermissionSets"] is False:
        shown = [info | {"permissionSets": []} for info in shown]
    return {
        "timezone": "UTC",
        "serverTime": context.stamp(context.now),
        "rateLimits": RATE_LIMITS,
        "exchangeFilters": [],
        "symbols": [info for info in shown if wanted_status in (None, info["status"])],
    }


def order_book(context: Context, args: Args) -> Json:
    native = _traded(context, args)
    return depth(context.exchange.market.book(native, now=context.now, limit=args["limit"]))


def recent_trades(context: Context, args: Args) -> Json:
    trades = context.exchange.market.trades(_traded(context, args), now=context.now, limit=args["limit"])
    return _rows(context, trades, trade_row)


def old_trades(context: Context, args: Args) -> Json:
    trades = context.exchange.market.trades(
        _traded(context, args), now=context.now, from_id=args["fromId"], limit=args["limit"]
    )
    return _rows(context, trades, trade_row)


def aggregate_trades(context: Context, args: Args) -> Json:
    if args["fromId"] is not None and (args["startTime"] is not None or args["endTime"] is not None):
        raise Refusal("BAD_COMBO")
    native = _traded(context, args)
    if _empty(context, args):
        return []
    trades = context.exchange.market.trades(
        native,
        now=context.now,
        from_id=args["fromId"],
        start=args["startTime"],
        end=args["endTime"],
        limit=args["limit"],
    )
    return _rows(context, trades, aggregate_row)


def klines(context: Context, args: Args) -> Json:
    """Bars by open time. Only UTC bars are kept here, so another timeZone is refused rather than ignored."""
    if args["timeZone"] not in (None, "0", "00:00", "+00:00", "-00:00", "0:00"):
        raise Refusal("INVALID_PARAMETER", "timeZone")
    native = _traded(context, args)
    if _empty(context, args):
        return []
    columns = context.exchange.market.candles(
        native,
        args["interval"],
        now=context.now,
        start=args["startTime"],
        end=args["endTime"],
        limit=args["limit"],
    )
    return kline_rows(columns, args["interval"], context.stamp)


def average_price(context: Context, args: Args) -> Json:
    """Volume-weighted over the last five minute bars; the last price when nothing traded in them."""
    native = _traded(context, args)
    columns = context.exchange.market.candles(native, "1m", now=context.now, limit=5)
    volume, quote = float(columns["volume"].sum()), float(columns["quote_volume"].sum())
    last = _newest(context, native)
    price = quote / volume if volume else float(columns["close"][-1])
    return {"mins": 5, "price": number(price), "closeTime": context.stamp(last.time if last else context.now)}


def ticker_24h(context: Context, args: Args) -> Json:
    if (args["symbol"], args["symbols"]) == (None, None) and args["type"] == "MINI":
        return [mini_statistics(context, native) for native in _natives(context, args)]
    make = statistics if args["type"] == "FULL" else mini_statistics
    return _one_or_many(context, args, make)


def price_ticker(context: Context, args: Args) -> Json:
    return _one_or_many(context, args, _last_price)


def quote_ticker(context: Context, args: Args) -> Json:
    market = context.exchange.market
    return _one_or_many(context, args, lambda _, native: book_ticker(market.quote(native, now=context.now)))


def day_columns(context: Context, native: str) -> CandleColumns:
    """The minute bars of the last 24 hours."""
    start = context.now - DAY
    market = context.exchange.market
    return market.candles(native, "1m", now=context.now, start=start - start % MINUTE + MINUTE, limit=1_440)


def mini_statistics(context: Context, native: str) -> dict[str, Json]:
    """24 hours in short. The window slides by whole minutes; Binance's slides by the second."""
    day = day_columns(context, native)
    return {
        "symbol": native,
        "openPrice": number(float(day["open"][0])),
        "highPrice": number(float(day["high"].max())),
        "lowPrice": number(float(day["low"].min())),
        "lastPrice": number(float(day["close"][-1])),
        "volume": number(float(day["volume"].sum())),
        "quoteVolume": number(float(day["quote_volume"].sum())),
        "openTime": context.stamp(context.now - DAY),
        "closeTime": context.stamp(context.now),
        "firstId": next((int(i) for i in day["first_id"] if i >= 0), -1),
        "lastId": next((int(i) for i in day["last_id"][::-1] if i >= 0), -1),
        "count": int(day["trades"].sum()),
    }


def statistics(context: Context, native: str) -> dict[str, Json]:
    """24 hours in full."""
    mini = mini_statistics(context, native)
    opened, last = float(mini["openPrice"]), float(mini["lastPrice"])
    volume, newest = float(mini["volume"]), _newest(context, native)
    quote = book_ticker(context.exchange.market.quote(native, now=context.now))
    return {
        "symbol": native,
        "priceChange": number(last - opened),
        "priceChangePercent": f"{100 * (last - opened) / opened:.3f}",
        "weightedAvgPrice": number(float(mini["quoteVolume"]) / volume if volume else last),
        "prevClosePrice": mini["openPrice"],
        "lastPrice": mini["lastPrice"],
        "lastQty": number(newest.qty if newest else 0),
        **{name: quote[name] for name in ("bidPrice", "bidQty", "askPrice", "askQty")},
        **mini,
    }


def _last_price(context: Context, native: str) -> dict[str, Json]:
    newest = _newest(context, native)
    price = newest.price if newest else context.exchange.market.quote(native, now=context.now).mid
    return {"symbol": native, "price": number(price)}


def _newest(context: Context, native: str) -> Trade | None:
    trades = context.exchange.market.trades(native, now=context.now, limit=1)
    return trades[-1] if trades else None


def _traded(context: Context, args: Args) -> str:
    return context.exchange.instrument(args["symbol"]).native


def _empty(context: Context, args: Args) -> bool:
    """True when nothing can lie between startTime and endTime: it begins in the future, or after its end."""
    start, end = args["startTime"], args["endTime"]
    return start is not None and start > (context.now if end is None else min(end, context.now))


def _natives(context: Context, args: Args) -> list[str]:
    """The symbols asked for, or all of them."""
    if args["symbol"] is not None and args["symbols"] is not None:
        raise Refusal("BAD_COMBO")
    asked: Sequence[str] = args["symbols"] if args["symbol"] is None else [args["symbol"]]
    return [context.exchange.instrument(native).native for native in asked or context.exchange.market.instruments]


def _one_or_many(context: Context, args: Args, make: Callable[[Context, str], Json]) -> Json:
    """One object for ``symbol``, else a list."""
    natives = _natives(context, args)
    return make(context, natives[0]) if args["symbol"] is not None else [make(context, native) for native in natives]


def _rows(context: Context, trades: list[Trade], make: Callable[..., Json]) -> list[Json]:
    return [make(trade, context.stamp) for trade in trades]


def _depth_weight(args: Args) -> int:
    return next(weight for most, weight in ((100, 5), (500, 25), (1000, 50), (5000, 250)) if args["limit"] <= most)


def _ticker_weight(one: int, many: int) -> Callable[[Args], int]:
    return lambda args: one if args["symbol"] is not None else many


def _limit(most: int, default: int) -> Param:
    return Param("limit", read.limit(most), default=default)


_KLINES: tuple[Param, ...] = (
    SYMBOL,
    Param("interval", read.choice("BAD_INTERVAL", *INTERVALS), required=True),
    Param("startTime", read.time),
    Param("endTime", read.end_time),
    Param("timeZone", read.text),
    _limit(1000, 500),
)
_TIMES = (Param("startTime", read.time), Param("endTime", read.end_time))
_FROM_ID = Param("fromId", read.integer)
_INFO = (*ANY_SYMBOL, Param("permissions", read.text), Param("showPermissionSets", read.flag), STATUS)


def _get(path: str, run: Callable[[Context, Args], Json], name: str, *specs: Param, weight: Any = 1) -> Endpoint:
    return Endpoint("GET", f"/api/v3/{path}", run, specs, weight=weight, method_name=name)


PUBLIC: tuple[Endpoint, ...] = (
    _get("ping", ping, "ping"),
    _get("time", time, "time"),
    _get("exchangeInfo", exchange_info, "exchangeInfo", *_INFO, weight=20),
    _get("depth", order_book, "depth", SYMBOL, _limit(5000, 100), weight=_depth_weight),
    _get("trades", recent_trades, "trades.recent", SYMBOL, _limit(1000, 500), weight=25),
    _get("historicalTrades", old_trades, "trades.historical", SYMBOL, _FROM_ID, _limit(1000, 500), weight=25),
    _get("aggTrades", aggregate_trades, "trades.aggregate", SYMBOL, _FROM_ID, *_TIMES, _limit(1000, 500), weight=4),
    _get("klines", klines, "klines", *_KLINES, weight=2),
    _get("uiKlines", klines, "uiKlines", *_KLINES, weight=2),
    _get("avgPrice", average_price, "avgPrice", SYMBOL, weight=2),
    _get("ticker/24hr", ticker_24h, "ticker.24hr", *ANY_SYMBOL, TICKER_TYPE, weight=_ticker_weight(2, 80)),
    _get("ticker/price", price_ticker, "ticker.price", *ANY_SYMBOL, weight=_ticker_weight(2, 4)),
    _get("ticker/bookTicker", quote_ticker, "ticker.book", *ANY_SYMBOL, weight=_ticker_weight(2, 4)),
)
