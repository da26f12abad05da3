"""Binance Spot's market streams: names, subscribe texts and frames (web-socket-streams.md).

A combined frame names its stream first, and the name says what the data is: it picks a typed reader
for the whole frame, so the JSON is read once. Anything else (raw frames, acks, another key order)
takes a slower look first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from kit.errors import UnknownName
from kit.market.candles import INTERVALS
from kit.model import BookDelta, Candle, Channel, Quote, Trade
from kit.venues.base import Ack, Event, Goodbye, Subscription
from kit.venues.binance_wire import (
    MALFORMED,
    Amount,
    Id,
    Level,
    Stamp,
    bad_answer,
    decoder,
    excerpt,
    taker,
)


class _Trade(msgspec.Struct, gc=False):
    symbol: str = msgspec.field(name="s")
    id: Id = msgspec.field(name="t")
    price: Amount = msgspec.field(name="p")
    qty: Amount = msgspec.field(name="q")
    time: Stamp = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")

    def event(self) -> Trade:
        return Trade(self.symbol, self.id, self.price, self.qty, self.time * 1_000, taker(self.buyer_is_maker))


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

    def event(self) -> Candle:
        b = self.bar
        return Candle(
            self.symbol,
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
            self.event_time * 1_000,
            max(b.last_trade, 0),
        )


class _BookTicker(msgspec.Struct, gc=False):
    update_id: Id = msgspec.field(name="u")
    symbol: str = msgspec.field(name="s")
    bid: Amount = msgspec.field(name="b")
    bid_qty: Amount = msgspec.field(name="B")
    ask: Amount = msgspec.field(name="a")
    ask_qty: Amount = msgspec.field(name="A")

    def event(self) -> Quote:
        return Quote(self.symbol, self.bid, self.bid_qty, self.ask, self.ask_qty, self.update_id)


class _Depth(msgspec.Struct):
    symbol: str = msgspec.field(name="s")
    event_time: Stamp = msgspec.field(name="E")
    first_id: Id = msgspec.field(name="U")
    last_id: Id = msgspec.field(name="u")
    bids: list[Level] = msgspec.field(name="b")
    asks: list[Level] = msgspec.field(name="a")

    def event(self) -> BookDelta:
        return BookDelta(self.symbol, self.first_id, self.last_id, self.bids, self.asks, self.event_time * 1_000)


class _Shutdown(msgspec.Struct):
    event_time: Stamp = msgspec.field(name="E", default=0)

    def event(self) -> Goodbye:
        return Goodbye(self.event_time * 1_000)


class _Words(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Probe(msgspec.Struct):
    """Enough of any frame to tell what it is."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw()
    kind: str = msgspec.field(name="e", default="")
    update_id: msgspec.Raw = msgspec.field(name="u", default=msgspec.Raw())
    bid: msgspec.Raw = msgspec.field(name="b", default=msgspec.Raw())
    id: int | str | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _Words | None = None
    code: int | None = None
    msg: str = ""


Reader = Callable[[str | bytes | msgspec.Raw], Event]


class _Wire(Protocol):
    def event(self) -> Event: ...


def _reader(shape: type[_Wire]) -> Reader:
    decode = decoder(shape)
    return lambda text: decode(text).event()


_BY_KIND: dict[str, Reader] = {
    "trade": _reader(_Trade),
    "aggTrade": _reader(_AggTrade),
    "kline": _reader(_Kline),
    "depthUpdate": _reader(_Depth),
    "serverShutdown": _reader(_Shutdown),
}
_quote = _reader(_BookTicker)  # spot's bookTicker carries no event type

_BY_STREAM: dict[str, Reader] = {
    "trade": _BY_KIND["trade"],
    "aggTrade": _BY_KIND["aggTrade"],
    "bookTicker": _quote,
    "depth": _BY_KIND["depthUpdate"],
    "depth@100ms": _BY_KIND["depthUpdate"],
    "!serverShutdown": _BY_KIND["serverShutdown"],
} | {f"kline_{interval}": _BY_KIND["kline"] for interval in INTERVALS}
"""Readers by what follows the symbol in a stream's name."""

_OPENING = '{"stream":"'
_MIDDLE = '","data":'


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


def decode(text: str | bytes) -> Sequence[Event]:
    """A frame as its event; nothing for events nobody asked the kit to know. Raises BadAnswer on a malformed frame."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        event = _decode(text)
        return () if event is None else (event,)
    except MALFORMED as error:
        raise bad_answer("stream frame", text, error) from None


def _decode(text: str) -> Event | None:
    if text.startswith(_OPENING) and text.endswith("}"):
        end = text.find('"', len(_OPENING))
        if text.startswith(_MIDDLE, end):
            read = _by_name(text[len(_OPENING) : end])
            return read(text[end + len(_MIDDLE) : -1]) if read else None
    return _look(text)


def _by_name(name: str) -> Reader | None:
    return _BY_STREAM.get(name[name.find("@") + 1 :])


def _look(text: str) -> Event | None:
    """Any frame, without trusting the order of its keys."""
    frame = _probe(text)
    if frame.stream:
        read = _by_name(frame.stream)
        return read(frame.data) if read else None
    if frame.kind:
        known = _BY_KIND.get(frame.kind)
        return known(text) if known else None
    if frame.error is not None:
        return Ack(frame.id, _said(frame.error))
    if frame.code is not None:
        return Ack(frame.id, _said(_Words(frame.code, frame.msg)))
    if frame.result is not msgspec.UNSET:
        return Ack(frame.id)
    return _quote(text) if frame.update_id and frame.bid else None


def _said(words: _Words) -> str:
    return f"{excerpt(words.msg) or 'no words'} ({words.code})"


_probe = decoder(_Probe)
