"""Each venue's language as tapes have it: frames with their numbers as written, and what REST answers tell. Pure.

A tape may be any program's: it may tell no venue, hold aggregates in place of trades, or a REST answer without the
question. What is particular to a venue in that is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

import msgspec

from kit.errors import BadAnswer
from kit.model import BookDelta, BookSnapshot, Candle, Instrument, Levels, Quote, Trade, Written
from kit.venues import binance_wire
from kit.venues.base import Event, MarketCodec
from kit.venues.binance import BINANCE
from kit.venues.coinbase import COINBASE
from kit.venues.kraken import KRAKEN
from kit.venues.wire import MALFORMED, Id, decoder, reading

Told = BookSnapshot | list[Instrument] | None
"""What a REST answer says that a replay has a use for."""

QUOTES = (
    "USDT",
    "FDUSD",
    "USDC",
    "TUSD",
    "BUSD",
    "DAI",
    "USD",
    "EUR",
    "GBP",
    "TRY",
    "BRL",
    "JPY",
    "BTC",
    "ETH",
    "BNB",
)
"""What things are paid with on Binance, where a tape does not tell how a native name divides."""

PARTIAL_BOOK = 20
"""Levels a side: the most that Binance streams as a partial book (web-socket-streams.md)."""

_MARKET = (Trade, Candle, Quote, BookDelta, BookSnapshot)


@dataclass(frozen=True)
class Taped:
    """A venue's language on tape. ``decode`` gives every level of a book as a ``Written``."""

    codec: MarketCodec
    decode: Callable[[bytes], Sequence[Event]]
    answer: Callable[[str, bytes], Told] = lambda url, body: None
    """A REST answer: a whole book, or instruments. Of a frame without ``url`` that may be one: a book whose symbol is
    empty, for the answer does not name it."""
    last_id: Callable[[bytes, Trade], int] = lambda frame, trade: trade.id
    """The last id that a trade of a frame stands for: an aggregate sums up several."""
    depth: Callable[[bytes], tuple[str, int] | None] = lambda frame: None
    """An ack: which symbol's book has how many levels, where it tells."""
    divide: Callable[[str], tuple[str, str]] = lambda native: ("", "")
    """A native name as base and quote asset; empty where nobody knows."""

    def symbol(self, native: str, listed: Mapping[str, Instrument]) -> str:
        """BASE/QUOTE, by what the tape lists, else by the name; the native name where that can't be told."""
        if native in listed:
            return listed[native].symbol
        base, quote = self.divide(native)
        return f"{base}/{quote}" if base and quote else native


def named(venue: str) -> Taped | None:
    """The language of a venue as tapes name it, None for one that is not known here."""
    return _NAMED.get(venue.lower())


def recognised(frames: Iterable[bytes]) -> Taped | None:
    """The language in which one of ``frames`` says something of a market; None where none does."""
    return next((taped for frame in frames for taped in _LANGUAGES if _speaks(taped, frame)), None)


def _speaks(taped: Taped, frame: bytes) -> bool:
    try:
        return any(isinstance(event, _MARKET) for event in taped.codec.decode(frame))
    except BadAnswer:
        return False


# -- Binance

_Text = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,24}(\.[0-9]{1,24})?\Z")]


class _Depth(msgspec.Struct):
    bids: list[tuple[_Text, _Text]]
    asks: list[tuple[_Text, _Text]]


class _Combined(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()


class _Aggregate(msgspec.Struct):
    last: Id = msgspec.field(name="l")


_combined = decoder(_Combined)
_depth = decoder(_Depth)
_aggregate = decoder(_Aggregate)


_SHALLOW = frozenset(map(str, range(PARTIAL_BOOK + 1)))
"""How a top is asked for."""


def _inner(frame: bytes) -> bytes | msgspec.Raw:
    """What a combined frame wraps."""
    return _combined(frame).data or frame


def _written(levels: list[tuple[str, str]]) -> Levels:
    return [Written.read(price, qty) for price, qty in levels]


def _binance_answer(url: str, body: bytes) -> Told:
    """A whole book or exchangeInfo; a book of 20 levels or fewer may be the top only and is none.

    Raises BadAnswer for one that can't be read.
    """
    asked = urlsplit(url)
    if asked.path.endswith("/exchangeInfo"):
        return BINANCE.instruments().read(body)
    if not url and body.startswith(b'{"lastUpdateId"'):
        book = _binance_book("", body)
        return book if max(len(book.bids), len(book.asks)) > PARTIAL_BOOK else None
    query = parse_qs(asked.query)
    if not asked.path.endswith("/depth") or "symbol" not in query or query.get("limit", [""])[0] in _SHALLOW:
        return None
    return _binance_book(query["symbol"][0].upper(), body)


def _binance_book(native: str, body: bytes) -> BookSnapshot:
    def read(body: bytes) -> BookSnapshot:
        levels = _depth(body)
        book = binance_wire.book(body, native)
        return msgspec.structs.replace(book, bids=_written(levels.bids), asks=_written(levels.asks))

    return reading(read, "Binance's depth")(body)


def _binance_last_id(frame: bytes, trade: Trade) -> int:
    return _aggregate(_inner(frame)).last if b'"aggTrade"' in frame else trade.id


def divide(native: str) -> tuple[str, str]:
    """A native name of Binance as base and quote, by the quote assets there are; both empty where none fits."""
    quote = next((asset for asset in QUOTES if native.endswith(asset) and native != asset), "")
    return (native.removesuffix(quote), quote) if quote else ("", "")


# -- Kraken


class _Subscribed(msgspec.Struct):
    symbol: str = ""
    depth: int = 0


class _Ack(msgspec.Struct):
    result: _Subscribed = msgspec.field(default_factory=_Subscribed)


_ack = decoder(_Ack)


def _kraken_depth(frame: bytes) -> tuple[str, int] | None:
    try:
        told = _ack(frame).result
    except MALFORMED:  # a refusal, whose result is another or none
        return None
    return (told.symbol, told.depth) if told.depth else None


# -- all of them


def _halves(separator: str) -> Callable[[str], tuple[str, str]]:
    def divide(native: str) -> tuple[str, str]:
        base, _, quote = native.partition(separator)
        return base, quote

    return divide


_BINANCE = Taped(BINANCE, BINANCE.decode_written, _binance_answer, _binance_last_id, divide=divide)
_KRAKEN = Taped(KRAKEN, KRAKEN.decode_written, depth=_kraken_depth, divide=_halves("/"))
_COINBASE = Taped(COINBASE, COINBASE.decode_written, divide=_halves("-"))
_LANGUAGES = (_BINANCE, _KRAKEN, _COINBASE)
_NAMED = {
    "binance": _BINANCE,
    "binance_us": _BINANCE,
    "binance_tr": _BINANCE,
    "sandbox": _BINANCE,
    "kraken": _KRAKEN,
    "coinbase": _COINBASE,
}
