"""Kraken Spot, public data: bytes of REST answers -> the nouns.

Every body is ``{"error": [...], "result": {...}}``; where the result is about one pair it stands under a name that need
not be the one that was asked for (XXBTZUSD for XBTUSD), beside a ``last`` that is no pair. Numbers are text. Times are
seconds, those of trades with seven decimals. Readers raise ``ValueError`` or a sibling on a body that is not what was
promised; ``reading`` turns that into ``BadAnswer``. Sources: docs.kraken.com/api-reference/market-data and recorded
answers; what only the latter show is marked "seen".
"""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from kit.clock import SECOND
from kit.market.candles import FLOATS
from kit.model import BookSnapshot, Instrument, Quote, Side, Trade
from kit.venues.base import Columns
from kit.venues.wire import Amount, Id, decoder, excerpt, money

Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**43)]
"""A venue time in whole seconds."""

RENAMED = {"XBT": "BTC", "XDG": "DOGE"}
"""Old codes of assets, which REST and WebSocket v1 still use."""
_OLD_NAMES = {new: old for old, new in RENAMED.items()}
_LONGEST = 40
"""Characters of a number: more of them are no price, and might be no finite one."""


def digits(value: Any) -> str:
    """A JSON number as the venue wrote it; one with an exponent (1e-08) is spelled out. ValueError for anything else.

    ``value`` is what ``float_hook=str`` leaves of it: text, or an int where there is no decimal point.
    """
    if type(value) is str and len(value) < _LONGEST and value.replace(".", "", 1).isdecimal():
        return value
    if type(value) is int or type(value) is str:
        exact = Decimal(value)
        if exact.is_finite() and not exact.is_signed() and abs(exact.adjusted()) < _LONGEST:
            return format(exact, "f")
    raise ValueError(f"not a plain number: {excerpt(str(value))!r}")


# ---- names


def pair(native: str) -> str:
    """BTC/USD -> XBTUSD, the ``altname`` by which REST knows it: there Bitcoin and Dogecoin bear their old codes."""
    return "".join(_OLD_NAMES.get(asset, asset) for asset in native.split("/"))


def _assets(wsname: str) -> tuple[str, str]:
    """XBT/USD -> BTC, USD. ``wsname`` is WebSocket v1's spelling; v2 refuses the two old codes in it."""
    base, slash, quote = wsname.partition("/")
    if not (base and slash and quote):
        raise ValueError(f"wsname {excerpt(wsname)!r} is not BASE/QUOTE")
    return RENAMED.get(base, base), RENAMED.get(quote, quote)


# ---- the envelope


class _Envelope(msgspec.Struct):
    error: list[str]
    result: msgspec.Raw = msgspec.Raw()


_envelope = decoder(_Envelope)
_by_name = decoder(dict[str, msgspec.Raw])


def _result(body: bytes) -> msgspec.Raw:
    envelope = _envelope(body)
    if not envelope.result:
        raise ValueError(f"no result in it, but {envelope.error}")
    return envelope.result


def _of_the_pair(body: bytes) -> msgspec.Raw:
    """The only entry of the result: its name is the venue's own affair."""
    found = [value for name, value in _by_name(_result(body)).items() if name != "last"]
    if len(found) != 1:
        raise ValueError(f"one pair was asked for, {len(found)} are answered")
    return found[0]


# ---- AssetPairs, Time


class _Pair(msgspec.Struct):
    lot_decimals: Annotated[int, msgspec.Meta(ge=0, le=30)]
    tick_size: str
    status: str
    ordermin: str = "0"
    costmin: str = "0"
    wsname: str = ""


class _Time(msgspec.Struct):
    unixtime: Seconds


_pairs = decoder(dict[str, _Pair])
_time = decoder(_Time)


def instruments(body: bytes) -> list[Instrument]:
    """AssetPairs -> instruments; a pair without ``wsname`` has no stream and is left out.

    ``tick_size`` is the price step, ``lot_decimals`` the decimals of a quantity, ``ordermin`` the least quantity,
    ``costmin`` the least price x quantity (get-tradable-asset-pairs). Kraken tells no maxima.
    """
    return [_instrument(wire) for wire in _pairs(_result(body)).values() if wire.wsname]


def _instrument(wire: _Pair) -> Instrument:
    base, quote = _assets(wire.wsname)
    return Instrument(
        symbol=f"{base}/{quote}",
        native=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick=money(wire.tick_size),
        lot=Decimal((0, (1,), -wire.lot_decimals)),
        min_qty=money(wire.ordermin),
        min_notional=money(wire.costmin),
        status="trading" if wire.status == "online" else wire.status.lower(),
    )


def server_time(body: bytes) -> int:
    """Time -> µs. It is told in whole seconds, cut off: the clock is up to a second further on."""
    return _time(_result(body)).unixtime * SECOND


# ---- OHLC


class _Bar(msgspec.Struct, array_like=True, gc=False):
    time: Seconds
    open: Amount
    high: Amount
    low: Amount
    close: Amount
    vwap: Amount
    volume: Amount
    trades: Id

    @property
    def quote_volume(self) -> float:
        """As near as the rounded average price tells it."""
        return self.vwap * self.volume


_bars = decoder(list[_Bar])


def candles(body: bytes, start: int | None, end: int | None, limit: int) -> Columns:
    """OHLC -> columns of candles that open in [start, end) (µs): the oldest ``limit`` from a start, else the newest.

    Kraken always answers with the newest 720 and the bar that still forms, whatever it is asked for (get-ohlc-data).
    A bar without trades is there, at the last price, with volume and average 0 (seen).
    """
    rows = [bar for bar in _bars(_of_the_pair(body)) if _inside(bar.time * SECOND, start, end)]
    rows = rows[-limit:] if start is None else rows[:limit]
    time = _column(rows, "time", np.int64) * SECOND
    if len(time) > 1 and not (time[1:] > time[:-1]).all():
        raise ValueError("candles are not in order of time")
    columns: dict[str, npt.NDArray[np.generic]] = {"time": time}
    for name in FLOATS:
        columns[name] = _column(rows, name, np.float64)
    columns["trades"] = _column(rows, "trades", np.int64)
    return columns


def _inside(time: int, start: int | None, end: int | None) -> bool:
    return (start is None or time >= start) and (end is None or time < end)


def _column(rows: list[_Bar], name: str, dtype: type[np.int64] | type[np.float64]) -> npt.NDArray[Any]:
    return np.fromiter(map(attrgetter(name), rows), dtype, len(rows))


# ---- Trades, Depth, Ticker


class _Trade(msgspec.Struct, array_like=True, gc=False):
    """A row; after the id nothing is promised. Rows of before 2023 had none."""

    price: Amount
    qty: Amount
    time: Any
    side: Literal["b", "s"]
    order_type: str
    misc: str
    id: Id


class _Level(msgspec.Struct, array_like=True, gc=False):
    price: Amount
    qty: Amount
    time: msgspec.Raw


class _Depth(msgspec.Struct):
    bids: list[_Level]
    asks: list[_Level]


class _Ticker(msgspec.Struct):
    """Price, whole lots and lots of the best ask (a) and bid (b); the day's figures are not decoded."""

    ask: tuple[Amount, Amount, Amount] = msgspec.field(name="a")
    bid: tuple[Amount, Amount, Amount] = msgspec.field(name="b")


_trades = msgspec.json.Decoder(list[_Trade], strict=False, float_hook=str).decode
_depth = decoder(_Depth)
_ticker = decoder(_Ticker)


def trades(body: bytes, native: str) -> list[Trade]:
    """Trades -> prints, oldest first."""
    rows = sorted(_trades(_of_the_pair(body)), key=attrgetter("id"))
    return [Trade(native, t.id, t.price, t.qty, _stamp(t.time), _SIDES[t.side]) for t in rows]


def trades_between(body: bytes, native: str, start: int, end: int) -> list[Trade]:
    """Trades -> the prints in [start, end) (µs), oldest first."""
    return [trade for trade in trades(body, native) if start <= trade.time < end]


def last_trade(body: bytes, native: str) -> Trade | None:
    """Trades -> the newest print."""
    return next(reversed(trades(body, native)), None)


_SIDES = {"b": Side.BUY, "s": Side.SELL}


def _stamp(time: Any) -> int:
    """Seconds with decimals -> µs, cut off. A float has lost the last of them: it is read from its text."""
    seconds, _, fraction = digits(time).partition(".")
    stamp = int(seconds) * SECOND + int(f"{fraction:0<6.6}")
    if stamp >= 2**63:
        raise ValueError(f"not a time: {seconds}")
    return stamp


def book(body: bytes, native: str) -> BookSnapshot:
    """Depth -> a snapshot without update id, time or checksum. Its quantities have three decimals only (seen)."""
    wire = _depth(_of_the_pair(body))
    return BookSnapshot(native, 0, _levels(wire.bids), _levels(wire.asks))


def _levels(wire: list[_Level]) -> list[tuple[float, float]]:
    return [(level.price, level.qty) for level in wire]


def quote(body: bytes, native: str) -> Quote:
    """Ticker -> a quote without time. Its quantities have three decimals only (seen)."""
    wire = _ticker(_of_the_pair(body))
    return Quote(native, wire.bid[0], wire.bid[2], wire.ask[0], wire.ask[2])
