"""Coinbase Advanced Trade: the codec of its public market data. Requests out, answers in; nothing is sent from here.

The parts: ``coinbase_wire`` (REST bodies), ``coinbase_failures`` (what a failed answer means) and ``coinbase_streams``.
Orders are not spoken yet. Facts are those of docs.cdp.coinbase.com as of September 2026; what it leaves open is marked
where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote

from kit.clock import SECOND
from kit.errors import UnknownName, UsageError
from kit.market.book import BookRule
from kit.market.candles import INTERVALS
from kit.model import BookSnapshot, Instrument, Quote, Trade
from kit.venues import coinbase_failures as failures
from kit.venues import coinbase_streams as streams
from kit.venues import coinbase_wire as wire
from kit.venues.base import (
    Budget,
    Call,
    Columns,
    Event,
    Failure,
    Hosts,
    Key,
    Params,
    Past,
    Prints,
    Spelling,
    Streaming,
    Subscription,
)
from kit.venues.public import PublicOnly
from kit.venues.wire import reading

T = TypeVar("T")

PAGE = 300
"""Bars asked for at once: more than 350 are refused, and testers differ over whether 350 are."""
TRADES = 100
"""The most prints in an answer; a higher limit is cut to it, one above 1,000 is answered with a 500 (measured)."""
DEEPEST = 1_000
"""The most levels of a side that REST tells, whatever is asked for (measured); the stream has them all."""

_GRANULARITIES = {
    "1m": "ONE_MINUTE",
    "5m": "FIVE_MINUTE",
    "15m": "FIFTEEN_MINUTE",
    "30m": "THIRTY_MINUTE",
    "1h": "ONE_HOUR",
    "2h": "TWO_HOUR",
    "4h": "FOUR_HOUR",  # younger than the SDKs' lists, measured to work in September 2026
    "6h": "SIX_HOUR",
    "1d": "ONE_DAY",
}


class Coinbase(PublicOnly):
    """The codec of Coinbase Advanced Trade, as far as market data goes.

    Ranges are half-open, [start, end), in µs; Coinbase counts in seconds, which is met here. Answers that are not what
    was promised raise BadAnswer. Instruments are ``BTC/USD``, natively ``BTC-USD``.
    """

    name, title = "coinbase", "Coinbase"
    environments: Mapping[str, Hosts] = MappingProxyType(
        {"data": Hosts("https://api.coinbase.com", "wss://advanced-trade-ws.coinbase.com")}
    )
    intervals: Mapping[str, int] = MappingProxyType({name: INTERVALS[name] for name in _GRANULARITIES})
    client_id_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    client_id_length = 36  # of the UUIDs that the documentation shows; other text is taken too
    spelling = Spelling("-")
    money = "USD"
    past = Past(candles=PAGE, trades=TRADES, prints=Prints.NEWEST, windows=True)
    clock_grain = 1_000
    streaming = Streaming(
        book=BookRule.CONNECTION,
        bars=False,
        quotes=False,  # ticker speaks after matches, at most some four times a second: recorded, half of the changes
        says_closed=False,
        channels=150,  # no limit is documented; a lost frame costs all that the connection carries
        messages=(4, 1.0),  # eight a second are allowed to an address, which may hold other kernels
        attempts=(4, 1.0),  # the same
        batch=50,
        greeting=(streams.GREETING,),
    )

    # ---- REST

    def instruments(self, natives: Sequence[str] = ()) -> Call[list[Instrument]]:
        """Every spot instrument, or those of ``natives``, by the name of its book: aliases (BTC-USDC) are left out."""
        chosen = tuple(("product_ids", native) for native in natives)
        return _ask("market/products", wire.instruments, (("product_type", "SPOT"), *chosen))

    def budgets(self) -> Sequence[Budget]:
        """What an address may ask: 10 requests a second.

        Coinbase has no address that tells and no header that counts: the number is what third parties quote from an
        older page of its documentation.
        """
        return (Budget("PUBLIC-REQUESTS", 10, SECOND, sliding=True),)

    def time(self) -> Call[int]:
        """The venue's clock, µs, to the millisecond."""
        return _ask("time", wire.server_time)

    def candles(self, native: str, interval: str, start: int | None, end: int | None, limit: int) -> Call[Columns]:
        """At most 300 candles that open in [start, end): the newest before ``end`` without ``start``, else the oldest.

        They are those that were traded in among ``limit`` bars, so there may be fewer or none and more beyond. The
        last one may still be forming; ``trades`` are 0 and ``quote_volume`` NaN, which the venue does not tell. Raises
        UnknownName for an interval it has not, UsageError without ``start`` and ``end``: the wire wants both, and
        there is no clock in here.
        """
        if interval not in _GRANULARITIES:
            raise UnknownName("interval", interval, _GRANULARITIES, "(at Coinbase)")
        first, last = _window(self.intervals[interval], start, end, _rows(limit, PAGE))
        params = (*_seconds(first, last), ("granularity", _GRANULARITIES[interval]))
        return _ask(_product(native, "candles"), partial(wire.candles, start=first, end=last), params)

    def trades(self, native: str, limit: int = TRADES) -> Call[list[Trade]]:
        """The newest prints, 100 at most, oldest first. Ids are contiguous: so a gap is seen, and filled by time."""
        return _ticker(native, partial(wire.trades, native=native), _rows(limit, TRADES))

    def trades_between(self, native: str, start: int, end: int, limit: int = TRADES) -> Call[list[Trade]]:
        """Prints in [start, end), oldest first: the *newest* 100 where there are more, for the wire has no cursor.

        So it is paged backwards, the next ``end`` being a µs after the oldest time so far, and what it brings again
        told by its id. The wire counts in whole seconds: of one with over 100 prints, only the last 100 can be had.
        """
        rows = _rows(limit, TRADES)

        def read(body: bytes) -> list[Trade]:
            return [trade for trade in wire.trades(body, native) if start <= trade.time < end][-rows:]

        return _ticker(native, read, span=_seconds(start, end))

    def last_trade(self, native: str) -> Call[Trade | None]:
        """The newest print."""
        return _ticker(native, partial(wire.last_trade, native=native), 1)

    def book(self, native: str, limit: int) -> Call[BookSnapshot]:
        """The best ``limit`` levels of both sides, 1,000 at most; what lies deeper is not told."""
        return _book(native, partial(wire.book, native=native), limit)

    def quote(self, native: str) -> Call[Quote]:
        """Best bid and ask, out of the book: the ticker's lack their quantities."""
        return _book(native, partial(wire.quote, native=native), 1)

    # ---- wire

    def headers(self, key: Key | None) -> dict[str, str]:
        """What every request carries: without it, public answers come out of a cache and may be a second old."""
        return {"Cache-Control": "no-cache"}

    def failure(self, call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> Failure | None:
        """None for an answer worth reading; otherwise what it says about the request, and the error to raise."""
        return failures.failure(call, status, headers, body)

    # ---- streams

    def subscribe(self, subscriptions: Sequence[Subscription], id: int) -> str:  # noqa: A002 - the codecs' word
        """The text that adds products to a channel; the wire has no ids. UsageError for bars, which it lacks."""
        return streams.request("subscribe", subscriptions)

    def unsubscribe(self, subscriptions: Sequence[Subscription], id: int) -> str:  # noqa: A002 - the same
        """The text that drops products from a channel."""
        return streams.request("unsubscribe", subscriptions)

    def decode(self, frame: bytes | str) -> Sequence[Event]:
        """A frame's number, then its events, ``symbol`` native."""
        return streams.decode(frame)

    def decode_written(self, frame: bytes | str) -> Sequence[Event]:
        """As ``decode``, the levels of a book as Coinbase wrote them."""
        return streams.decode_written(frame)


def _ask(endpoint: str, read: Callable[[bytes], T], params: Params = ()) -> Call[T]:
    """A question anybody may ask; a malformed answer is a BadAnswer."""
    return Call("GET", f"/api/v3/brokerage/{endpoint}", reading(read, f"Coinbase's {endpoint}"), params)


def _product(native: str, what: str) -> str:
    return f"market/products/{quote(native, safe='')}/{what}"


def _ticker(native: str, read: Callable[[bytes], T], rows: int = TRADES, span: Params = ()) -> Call[T]:
    return _ask(_product(native, "ticker"), read, (("limit", str(rows)), *span))


def _book(native: str, read: Callable[[bytes], T], levels: int) -> Call[T]:
    return _ask("market/product_book", read, (("product_id", native), ("limit", str(_rows(levels, DEEPEST)))))


def _rows(limit: int, most: int) -> int:
    return min(max(limit, 1), most)


def _window(step: int, start: int | None, end: int | None, bars: int) -> tuple[int, int]:
    """The [first, last) in µs that holds the ``bars`` bars asked for."""
    if start is not None:
        first = -(-start // step) * step
        whole = first + bars * step
        return first, whole if end is None else max(first, min(whole, end))
    if end is None:
        raise UsageError(
            "Coinbase can't be asked for the newest candles without saying until when, so nothing was asked; "
            "give a start or an end"
        )
    return max(0, -(-(end - bars * step) // step) * step), end


def _seconds(start: int, end: int) -> Params:
    """[start, end) in µs as whole seconds that contain it, whichever of them the wire includes."""
    return (("start", str(start // SECOND)), ("end", str(-(-end // SECOND))))


COINBASE = Coinbase()
"""The one codec: it holds nothing that changes."""
