"""How market data looks on Binance Spot's wire: JSON shapes of answers and stream frames. Pure.

Amounts are strings with 8 decimals whatever the tick. Times are given as µs and spelled by ``stamp``:
milliseconds, or microseconds when the client asked for them (X-MBX-TIME-UNIT, ``?timeUnit=``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from kit.market.candles import ends
from kit.model import BookDelta, BookSnapshot, Instrument, Levels, Quote, Side, Trade
from kit.sandbox.market import CandleColumns
from kit.sandbox.receipts import KINDS

TICKER_LETTERS = {
    "p": "priceChange",
    "P": "priceChangePercent",
    "w": "weightedAvgPrice",
    "x": "prevClosePrice",
    "c": "lastPrice",
    "Q": "lastQty",
    "b": "bidPrice",
    "B": "bidQty",
    "a": "askPrice",
    "A": "askQty",
    "o": "openPrice",
    "h": "highPrice",
    "l": "lowPrice",
    "v": "volume",
    "q": "quoteVolume",
    "O": "openTime",
    "C": "closeTime",
    "F": "firstId",
    "L": "lastId",
    "n": "count",
}
"""The ticker stream's letters -> GET /ticker/24hr's names."""

Json = Any
Stamp = Callable[[int], int]
"""µs in, what the client reads out."""


def milliseconds(time: int) -> int:
    return time // 1000


def microseconds(time: int) -> int:
    return time


def number(value: float | Decimal) -> str:
    """An amount with 8 decimals."""
    return f"{value:.8f}"


def levels(rows: Levels) -> list[list[str]]:
    return [[number(price), number(qty)] for price, qty in rows]


# -- exchangeInfo -----------------------------------------------------------------------------------------------------


def symbol_info(instrument: Instrument, *, trading: bool, max_orders: int, max_stops: int) -> dict[str, Json]:
    """One symbol of exchangeInfo: only what this exchange really offers and enforces."""
    return {
        "symbol": instrument.native,
        "status": "TRADING" if trading else "BREAK",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(KINDS),
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": False,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(instrument, max_orders, max_stops),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }


def _filters(instrument: Instrument, max_orders: int, max_stops: int) -> list[dict[str, Json]]:
    """filters.md; 0 disables a bound."""
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": number(instrument.min_price),
            "maxPrice": number(instrument.max_price),
            "tickSize": number(instrument.tick),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": number(instrument.min_qty),
            "maxQty": number(instrument.max_qty),
            "stepSize": number(instrument.lot),
        },
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": number(instrument.market_min_qty),
            "maxQty": number(instrument.market_max_qty),
            "stepSize": number(instrument.market_lot),
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": number(instrument.min_notional),
            "applyMinToMarket": instrument.notional_applies_to_market,
            "maxNotional": number(instrument.max_notional),
            "applyMaxToMarket": instrument.notional_applies_to_market,
            "avgPriceMins": 0,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": max_orders},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": max_stops},
    ]


# -- REST -------------------------------------------------------------------------------------------------------------


def trade_row(trade: Trade, stamp: Stamp) -> dict[str, Json]:
    """One row of GET /trades and /historicalTrades."""
    return {
        "id": trade.id,
        "price": number(trade.price),
        "qty": number(trade.qty),
        "quoteQty": number(trade.price * trade.qty),
        "time": stamp(trade.time),
        "isBuyerMaker": trade.side is Side.SELL,
        "isBestMatch": True,
    }


def aggregate_row(trade: Trade, stamp: Stamp) -> dict[str, Json]:
    """One row of GET /aggTrades. Every print here is a taker order of its own, so an aggregate holds one."""
    return {
        "a": trade.id,
        "p": number(trade.price),
        "q": number(trade.qty),
        "f": trade.id,
        "l": trade.id,
        "T": stamp(trade.time),
        "m": trade.side is Side.SELL,
        "M": True,
    }


def kline_rows(columns: CandleColumns, interval: str, stamp: Stamp) -> list[list[Json]]:
    """Rows of GET /klines. A bar's close time is the last moment of the client's unit before the next open."""
    columns = with_ends(columns, interval)
    prices = [[number(v) for v in columns[name].tolist()] for name in ("open", "high", "low", "close", "volume")]
    amounts = [[number(v) for v in columns[name].tolist()] for name in ("quote_volume", "taker_base", "taker_quote")]
    opens = [stamp(t) for t in columns["time"].tolist()]
    closes = [stamp(t) - 1 for t in columns["end"].tolist()]
    counts = columns["trades"].tolist()
    rows = zip(opens, *prices, closes, amounts[0], counts, *amounts[1:], strict=True)
    return [[*row, "0"] for row in rows]


def with_ends(columns: CandleColumns, interval: str) -> CandleColumns:
    """The columns and ``end``: the open time of the bar that follows each."""
    return {**columns, "end": ends(columns["time"], interval)}  # type: ignore[arg-type]


def depth(book: BookSnapshot) -> dict[str, Json]:
    """GET /depth, and the partial book streams."""
    return {"lastUpdateId": book.last_id, "bids": levels(book.bids), "asks": levels(book.asks)}


def book_ticker(quote: Quote) -> dict[str, Json]:
    """GET /ticker/bookTicker."""
    return {
        "symbol": quote.symbol,
        "bidPrice": number(quote.bid),
        "bidQty": number(quote.bid_qty),
        "askPrice": number(quote.ask),
        "askQty": number(quote.ask_qty),
    }


# -- streams ----------------------------------------------------------------------------------------------------------


def trade_event(trade: Trade, now: int, stamp: Stamp) -> dict[str, Json]:
    return {
        "e": "trade",
        "E": stamp(now),
        "s": trade.symbol,
        "t": trade.id,
        "p": number(trade.price),
        "q": number(trade.qty),
        "T": stamp(trade.time),
        "m": trade.side is Side.SELL,
        "M": True,
    }


def aggregate_event(trade: Trade, now: int, stamp: Stamp) -> dict[str, Json]:
    row = aggregate_row(trade, stamp)
    return {"e": "aggTrade", "E": stamp(now), "s": trade.symbol, **row}


def quote_event(quote: Quote) -> dict[str, Json]:
    """bookTicker: no event type and no time on Spot."""
    return {
        "u": quote.update_id,
        "s": quote.symbol,
        "b": number(quote.bid),
        "B": number(quote.bid_qty),
        "a": number(quote.ask),
        "A": number(quote.ask_qty),
    }


def depth_event(delta: BookDelta, now: int, stamp: Stamp) -> dict[str, Json]:
    return {
        "e": "depthUpdate",
        "E": stamp(now),
        "s": delta.symbol,
        "U": delta.first_id,
        "u": delta.last_id,
        "b": levels(delta.bids),
        "a": levels(delta.asks),
    }


def kline_event(native: str, interval: str, row: Mapping[str, Any], now: int, stamp: Stamp) -> dict[str, Json]:
    """One update of a bar; ``row`` holds the candle columns' values and ``end``."""
    return {
        "e": "kline",
        "E": stamp(now),
        "s": native,
        "k": {
            "t": stamp(row["time"]),
            "T": stamp(row["end"]) - 1,
            "s": native,
            "i": interval,
            "f": row["first_id"],
            "L": row["last_id"],
            "o": number(row["open"]),
            "c": number(row["close"]),
            "h": number(row["high"]),
            "l": number(row["low"]),
            "v": number(row["volume"]),
            "n": row["trades"],
            "x": row["end"] <= now,
            "q": number(row["quote_volume"]),
            "V": number(row["taker_base"]),
            "Q": number(row["taker_quote"]),
            "B": "0",
        },
    }


def day_ticker(day: Mapping[str, Json], now: Json) -> dict[str, Json]:
    """The ticker stream's spelling of GET /ticker/24hr; ``now`` is already stamped."""
    said = {letter: day[name] for letter, name in TICKER_LETTERS.items()}
    return {"e": "24hrTicker", "E": now, "s": day["symbol"], **said}


def mini_ticker(day: Mapping[str, Json], now: Json) -> dict[str, Json]:
    """The miniTicker stream's."""
    full = day_ticker(day, now)
    return {"e": "24hrMiniTicker"} | {letter: full[letter] for letter in "Escohlvq"}


def merged(deltas: Sequence[BookDelta]) -> BookDelta:
    """Deltas that follow one another, as one: each level's last word."""
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    for delta in deltas:
        bids.update(delta.bids)
        asks.update(delta.asks)
    first, last = deltas[0], deltas[-1]
    ordered = sorted(bids.items(), reverse=True), sorted(asks.items())
    return BookDelta(first.symbol, first.first_id, last.last_id, *ordered, last.time)
