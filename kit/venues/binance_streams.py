"""Binance Spot's market streams: names, subscribe texts and frames (web-socket-streams.md).

A combined frame names its stream first, and the name says what the data is: it picks a typed reader for the whole
frame, so the JSON is read once, from the bytes as they came. Anything else (raw frames, acks, another key order) takes
a slower look first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from kit.errors import UnknownName
from kit.market.candles import INTERVALS
from kit.model import BookDelta, Candle, Channel, Quote, Side, Trade, Written
from kit.venues.base import Ack, Event, Goodbye, Subscription
from kit.venues.binance_wire import Level, Stamp
from kit.venues.wire import MALFORMED, Amount, Id, bad_answer, decoder, excerpt

T = TypeVar("T")
_BUY, _SELL = Side.BUY, Side.SELL


class _Trade(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="s")
    id: Id = msgspec.field(name="t")
    price: Amount = msgspec.field(name="p")
    qty: Amount = msgspec.field(name="q")
    time: Stamp = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class _AggTrade(_Trade, gc=False):
    """What one taker order took at one price: told as a trade, but by the first trade id it sums up."""

    id: Id = msgspec.field(name="f")


class _Bar(msgspec.Struct, gc=False):
    time: Stamp = msgspec.field(name="t")
    interval: str = msgspec.field(name="i")
    open: Amount = msgspec.field(name="o")
    high: Amount = msgspec.field(name="h")
    low: Amount = msgspec.field(name="l")
    close: Amount = msgspec.field(name="c")
    volume: Amount = msgspec.field(name="v")
    quote_volume: Amount = msgspec.field(name="q")
    trades: Id = msgspec.field(name="n")
    closed: bool = msgspec.field(name="x")
    last_trade: int = msgspec.field(name="L", default=0)  # -1 in a bar without trades


class _Kline(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="s")
    event_time: Stamp = msgspec.field(name="E")
    bar: _Bar = msgspec.field(name="k")


class _BookTicker(msgspec.Struct, gc=False):
    update_id: Id = msgspec.field(name="u")
    symbol: str = msgspec.field(name="s")
    bid: Amount = msgspec.field(name="b")
    bid_qty: Amount = msgspec.field(name="B")
    ask: Amount = msgspec.field(name="a")
    ask_qty: Amount = msgspec.field(name="A")


class _Depth(msgspec.Struct):
    symbol: str = msgspec.field(name="s")
    event_time: Stamp = msgspec.field(name="E")
    first_id: Id = msgspec.field(name="U")
    last_id: Id = msgspec.field(name="u")
    bids: list[Level] = msgspec.field(name="b")
    asks: list[Level] = msgspec.field(name="a")


class _Shutdown(msgspec.Struct):
    event_time: Stamp = msgspec.field(name="E", default=0)


class _Words(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Probe(msgspec.Struct):
    """Enough of any frame to tell what it is."""

    stream: str = ""
    kind: str = msgspec.field(name="e", default="")
    update_id: msgspec.Raw = msgspec.field(name="u", default=msgspec.Raw())
    bid: msgspec.Raw = msgspec.field(name="b", default=msgspec.Raw())
    id: int | str | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _Words | None = None
    code: int | None = None
    msg: str = ""


class _Frame(msgspec.Struct, Generic[T], gc=False):
    """A combined frame; its stream's name has been read already."""

    data: T


class _Texts(msgspec.Struct):
    """The levels of a depth frame as they are written, raw or combined."""

    bids: list[tuple[str, str]] = msgspec.field(name="b", default_factory=list)
    asks: list[tuple[str, str]] = msgspec.field(name="a", default_factory=list)
    data: _Texts | None = None


def _trade(w: _Trade) -> Trade:
    return Trade(w.symbol, w.id, w.price, w.qty, w.time * 1_000, _SELL if w.buyer_is_maker else _BUY)


def _candle(w: _Kline) -> Candle:
    b = w.bar
    return Candle(
        w.symbol,
        b.interval,
        b.time * 1_000,
        b.open,
        b.high,
        b.low,
        b.close,
        b.volume,
        b.quote_volume,
        b.trades,
        b.closed,
        w.event_time * 1_000,
        max(b.last_trade, 0),
    )


def _quote(w: _BookTicker) -> Quote:
    return Quote(w.symbol, w.bid, w.bid_qty, w.ask, w.ask_qty, w.update_id)


def _delta(w: _Depth) -> BookDelta:
    return BookDelta(w.symbol, w.first_id, w.last_id, w.bids, w.asks, w.event_time * 1_000)


def _goodbye(w: _Shutdown) -> Goodbye:
    return Goodbye(w.event_time * 1_000)


Text = str | bytes | msgspec.Raw
Reader = tuple[Callable[[Text], Any], Callable[[Any], Event]]
"""Reads a wire shape; makes the event of it. ``Any``: the shape is between these two."""

_BY_KIND: dict[str, Reader] = {
    "trade": (decoder(_Trade), _trade),
    "aggTrade": (decoder(_AggTrade), _trade),
    "kline": (decoder(_Kline), _candle),
    "depthUpdate": (decoder(_Depth), _delta),
    "serverShutdown": (decoder(_Shutdown), _goodbye),
}
_TICKER: Reader = (decoder(_BookTicker), _quote)  # spot's bookTicker carries no event type

_KLINES: Reader = (decoder(_Frame[_Kline]), _candle)
_COMBINED: dict[bytes, Reader] = {
    b"trade": (decoder(_Frame[_Trade]), _trade),
    b"aggTrade": (decoder(_Frame[_AggTrade]), _trade),
    b"bookTicker": (decoder(_Frame[_BookTicker]), _quote),
    b"depth": (decoder(_Frame[_Depth]), _delta),
    b"depth@100ms": (decoder(_Frame[_Depth]), _delta),
    b"!serverShutdown": (decoder(_Frame[_Shutdown]), _goodbye),
    **{f"kline_{interval}".encode(): _KLINES for interval in INTERVALS},
}
"""Readers of whole combined frames, by what follows the symbol in the stream's name."""


def stream(subscription: Subscription) -> str:
    """The stream's name: the symbol in lower case, and what is wanted of it."""
    native = subscription.native.lower()
    match subscription.channel:
        case Channel.TRADE:
            return f"{native}@trade"
        case Channel.QUOTE:
            return f"{native}@bookTicker"
        case Channel.BOOK:
            return f"{native}@depth@100ms"
        case Channel.CANDLE:
            if subscription.interval not in INTERVALS:
                raise UnknownName("interval", subscription.interval, INTERVALS)
            return f"{native}@kline_{subscription.interval}"


def request(method: str, subscriptions: Sequence[Subscription], id: int) -> str:  # noqa: A002 - the wire's word
    """SUBSCRIBE or UNSUBSCRIBE as text. A connection takes five messages a second: put many streams in one."""
    message = {"method": method, "params": [stream(s) for s in subscriptions], "id": id}
    return msgspec.json.encode(message).decode()


def decode(frame: bytes | str) -> Sequence[Event]:
    """A frame as its event; nothing for events nobody asked the kit to know. Raises BadAnswer on a malformed frame."""
    try:
        if not isinstance(frame, bytes):
            frame = frame.encode()
        known = _COMBINED.get(frame.partition(b"@")[2].partition(b'"')[0])
        if known is not None:
            read, event = known
            return (event(read(frame).data),)
    except msgspec.ValidationError:
        pass  # the name stood in other words than a stream's: look closer
    except MALFORMED as error:
        raise bad_answer("Binance's stream frame", frame, error) from None
    try:
        return _look(frame)
    except MALFORMED as error:
        raise bad_answer("Binance's stream frame", frame, error) from None


def _look(frame: bytes | str) -> Sequence[Event]:
    """Any frame, without trusting the order of its keys."""
    seen = _probe(frame)
    if seen.stream:
        known = _COMBINED.get(seen.stream[seen.stream.find("@") + 1 :].encode())
        return (known[1](known[0](frame).data),) if known else ()
    known = _BY_KIND.get(seen.kind) if seen.kind else _TICKER if seen.update_id and seen.bid else None
    if known is not None:
        return (known[1](known[0](frame)),)
    return () if seen.kind else _answer(seen)


def _answer(seen: _Probe) -> Sequence[Event]:
    """What the venue says to what it was asked."""
    if seen.error is not None:
        return (Ack(seen.id, _said(seen.error)),)
    if seen.code is not None:
        return (Ack(seen.id, _said(_Words(seen.code, seen.msg))),)
    return () if seen.result is msgspec.UNSET else (Ack(seen.id),)


def decode_written(frame: bytes | str) -> Sequence[Event]:
    """As ``decode``, with every level of a book a ``Written``."""
    return tuple(_written(event, frame) if isinstance(event, BookDelta) else event for event in decode(frame))


def _written(delta: BookDelta, frame: bytes | str) -> BookDelta:
    """The numbers have been checked; here the same levels are read as texts."""
    try:
        whole = _texts(frame)
    except MALFORMED as error:
        raise bad_answer("Binance's stream frame", frame, error) from None
    told = whole.data or whole
    bids, asks = ([Written.read(price, qty) for price, qty in levels] for levels in (told.bids, told.asks))
    return msgspec.structs.replace(delta, bids=bids, asks=asks)


def _said(words: _Words) -> str:
    return f"{excerpt(words.msg) or 'no words'} ({words.code})"


_probe = decoder(_Probe)
_texts = decoder(_Texts)
