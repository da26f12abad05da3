"""Kraken Spot: the codec of its public market data. Requests out, answers in; nothing is sent from here.

The parts: ``kraken_wire`` (REST), ``kraken_failures`` (what a failed answer means), ``kraken_streams`` (WebSocket v2).
Facts are those of docs.kraken.com as of 2026, and of recordings. An instrument's native name is the one WebSocket v2
knows, BTC/USD, which is ours too; REST's own spelling (XBTUSD) is met here. Orders are not spoken yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from kit.clock import SECOND
from kit.errors import UnknownName
from kit.market.book import BookRule
from kit.market.candles import INTERVALS
from kit.model import BookSnapshot, Instrument, Quote, Trade
from kit.venues import kraken_failures as failures
from kit.venues import kraken_streams as streams
from kit.venues import kraken_wire as wire
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

PAGE = 1_000
"""The most prints an answer has (get-recent-trades)."""
DEEPEST = 500
"""The most levels a REST book has on a side (get-order-book)."""


class Kraken(PublicOnly):
    """The codec of Kraken Spot's market data. Ranges are half-open, [start, end), in µs.

    Answers that are not what was promised raise BadAnswer.
    """

    name, title = "kraken", "Kraken"
    environments: Mapping[str, Hosts] = MappingProxyType(
        {"data": Hosts("https://api.kraken.com", "wss://ws.kraken.com/v2")}
    )
    intervals: Mapping[str, int] = MappingProxyType({name: INTERVALS[name] for name in streams.MINUTES})
    client_id_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    client_id_length = 18  # free text; a longer one must be a UUID (guides/general/clordid)
    spelling = Spelling("/", wire.RENAMED)
    money = "USD"
    past = Past(candles=720, trades=PAGE, prints=Prints.OLDEST)
    clock_grain = SECOND
    streaming = Streaming(
        book=BookRule.CHECKSUM,
        bars=True,
        quotes=False,  # ticker need not speak when only a quantity at the top changes; the book's top is exact
        says_closed=False,
        channels=800,  # no limit is told; level3, the dearest, may have 200 symbols: that many with four channels each
        messages=(5, 1.0),  # "dynamic"; sixteen at once were too many, and then the rest goes unheard
        attempts=(75, 600.0),  # some 150 in ten minutes from one address, which may hold other kernels
        batch=50,
        depth=streams.DEPTH,
    )

    # ---- REST

    def instruments(self, natives: Sequence[str] = ()) -> Call[list[Instrument]]:
        """Every instrument, or those of ``natives``; one that Kraken does not know refuses the whole question."""
        params: Params = (("pair", ",".join(map(wire.pair, natives))),) if natives else ()
        return _ask("AssetPairs", wire.instruments, params)

    def budgets(self) -> Sequence[Budget]:
        """What one address may ask: a call a second on the whole, which "would remain within the limits".

        No answer tells limits or use (support.kraken.com, "What are the API rate limits?"). They are counted by
        address, and for Trades and OHLC by pair as well. Bursts pass: a hundred calls at once did before the first
        was refused (ccxt issue 20648), of which a third is used here.
        """
        return (Budget("REQUESTS-30S", 30, 30 * SECOND, sliding=True),)

    def time(self) -> Call[int]:
        """The venue's clock, µs, cut to whole seconds: it is never ahead of the true one, and up to a second behind."""
        return _ask("Time", wire.server_time)

    def candles(self, native: str, interval: str, start: int | None, end: int | None, limit: int) -> Call[Columns]:
        """Candles that open in [start, end), of the newest 720 of which Kraken tells: what is older can't be had.

        The newest ``limit`` of them without ``start``, else the oldest; the last one may still be forming. Raises
        UnknownName for an interval Kraken has not.
        """
        if interval not in streams.MINUTES:
            raise UnknownName("interval", interval, streams.MINUTES)
        params: Params = (("pair", wire.pair(native)), ("interval", str(streams.MINUTES[interval])))
        if start is not None:
            params = (*params, ("since", str(max(-(-start // 1_000_000) - 1, 0))))  # the bar at ``since`` is left out
        return _ask("OHLC", partial(wire.candles, start=start, end=end, limit=max(limit, 1)), params)

    def trades(self, native: str, limit: int = PAGE) -> Call[list[Trade]]:
        """The newest prints, oldest first. Ids are contiguous: so a gap is seen, and filled by time."""
        params = (("pair", wire.pair(native)), ("count", _page(limit)))
        return _ask("Trades", partial(wire.trades, native=native), params)

    def trades_between(self, native: str, start: int, end: int, limit: int = PAGE) -> Call[list[Trade]]:
        """Prints in [start, end), oldest first, each of them."""
        params = (("pair", wire.pair(native)), ("since", _since(start)), ("count", _page(limit)))
        return _ask("Trades", partial(wire.trades_between, native=native, start=start, end=end), params)

    def last_trade(self, native: str) -> Call[Trade | None]:
        """The newest print."""
        params = (("pair", wire.pair(native)), ("count", "1"))
        return _ask("Trades", partial(wire.last_trade, native=native), params)

    def book(self, native: str, limit: int) -> Call[BookSnapshot]:
        """The best ``limit`` levels of both sides, 500 at most; its quantities are coarser than the stream's."""
        params = (("pair", wire.pair(native)), ("count", str(min(max(limit, 1), DEEPEST))))
        return _ask("Depth", partial(wire.book, native=native), params)

    def quote(self, native: str) -> Call[Quote]:
        """Best bid and ask; their quantities are coarser than the stream's."""
        return _ask("Ticker", partial(wire.quote, native=native), (("pair", wire.pair(native)),))

    # ---- wire

    def headers(self, key: Key | None) -> dict[str, str]:
        """Nothing: public questions carry no key."""
        return {}

    def failure(self, call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> Failure | None:
        """None for an answer worth reading; otherwise what it says about the request, and the error to raise."""
        return failures.failure(call, status, headers, body)

    # ---- streams

    def subscribe(self, subscriptions: Sequence[Subscription], id: int) -> str:  # noqa: A002 - the wire's word
        """The text that adds one channel of many instruments; each has its own ack, which names it."""
        return streams.request("subscribe", subscriptions, id)

    def unsubscribe(self, subscriptions: Sequence[Subscription], id: int) -> str:  # noqa: A002 - the wire's word
        """The text that drops one channel of many instruments."""
        return streams.request("unsubscribe", subscriptions, id)

    def decode(self, frame: bytes | str) -> Sequence[Event]:
        """A frame as its events, a book's levels as Kraken wrote them; nothing for frames without market data."""
        return streams.decode(frame)

    def decode_written(self, frame: bytes | str) -> Sequence[Event]:
        """As ``decode``, which keeps the text already: the checksums need it."""
        return streams.decode(frame)


def _ask(endpoint: str, read: Callable[[bytes], T], params: Params = ()) -> Call[T]:
    """A question: it changes nothing, and a malformed answer is a BadAnswer."""
    return Call("GET", f"/0/public/{endpoint}", reading(read, f"Kraken's {endpoint}"), params)


def _since(start: int) -> str:
    """The ns before ``start`` (µs): a print at ``since`` itself is left out (so the page said; now it is silent)."""
    return str(max(start * 1_000 - 1, 0))


def _page(limit: int) -> str:
    return str(min(max(limit, 1), PAGE))


KRAKEN = Kraken()
"""The one codec: it holds nothing that changes."""
