"""Kraken Spot's market streams, WebSocket v2: subscribe texts and frames (docs.kraken.com, spot-websocket-v2).

A frame of data names its channel first, and that picks a typed reader for the whole of it. The numbers in a book are
bare JSON numbers whose digits its checksum is over: they are kept as text (``Written``). Frames without data
(heartbeats, which come once a second without being asked for; status; pong) are nothing: they say that the connection
lives, not that a market does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from kit.clock import MINUTE
from kit.errors import UnknownName
from kit.market.candles import INTERVALS
from kit.model import BookDelta, BookSnapshot, Candle, Channel, Levels, Quote, Side, Trade, Written
from kit.venues.base import Ack, Event, Subscription
from kit.venues.kraken_wire import digits
from kit.venues.wire import MALFORMED, Amount, Id, bad_answer, decoder, excerpt

T = TypeVar("T")

DEPTH = 100
"""Levels a side that the book is asked for. No level is removed that sinks below them: whoever keeps the book must cut
it to this depth after every update, or the checksums fail (book-checksum-v2). 10, 25, 100, 500 and 1000 can be had."""

MINUTES = {name: INTERVALS[name] // MINUTE for name in ("1m", "5m", "15m", "30m", "1h", "4h", "1d")}
"""Our name of an interval -> the minutes Kraken calls it by. It has bars of 7 and 15 days too: on which day its weeks
begin is told nowhere (ours begin on Monday), and 15 days are on no calendar."""

_INTERVALS = {minutes: name for name, minutes in MINUTES.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Kind = Literal["snapshot", "update"]


class _Trade(msgspec.Struct, gc=False):
    symbol: str
    side: Side
    """The taker's."""
    price: Amount
    qty: Amount
    trade_id: Id
    timestamp: Moment


class _Trades(msgspec.Struct):
    type: Kind
    data: list[_Trade]

    def events(self) -> Sequence[Event]:
        """A snapshot holds the newest fifty; in what order is not promised, so they are put in theirs."""
        rows = self.data if self.type == "update" else sorted(self.data, key=attrgetter("trade_id"))
        return [Trade(t.symbol, t.trade_id, t.price, t.qty, _us(t.timestamp), t.side) for t in rows]


class _Bar(msgspec.Struct, gc=False):
    symbol: str
    open: Amount
    high: Amount
    low: Amount
    close: Amount
    vwap: Amount
    volume: Amount
    trades: Id
    interval_begin: Moment
    interval: int

    def event(self, said: int) -> Candle:
        return Candle(
            self.symbol,
            _INTERVALS[self.interval],
            _us(self.interval_begin),
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.vwap * self.volume,
            self.trades,
            closed=False,  # Kraken never says so: a bar is over when the next begins
            event_time=said,
        )


class _Bars(msgspec.Struct):
    type: Kind
    data: list[_Bar]
    timestamp: Moment | None = None
    """When the frame was made; a bar's own ``timestamp``, which is deprecated, is its end."""

    def events(self) -> Sequence[Event]:
        known = [bar for bar in self.data if bar.interval in _INTERVALS]
        return [bar.event(_us(self.timestamp)) for bar in sorted(known, key=attrgetter("interval_begin"))]


class _Ticker(msgspec.Struct, gc=False):
    symbol: str
    bid: Amount
    bid_qty: Amount
    ask: Amount
    ask_qty: Amount
    timestamp: Moment | None = None


class _Tickers(msgspec.Struct):
    type: Kind
    data: list[_Ticker]

    def events(self) -> Sequence[Event]:
        return [Quote(t.symbol, t.bid, t.bid_qty, t.ask, t.ask_qty, 0, _us(t.timestamp)) for t in self.data]


class _Level(msgspec.Struct, gc=False):
    """Untyped, so that the decoder hands their text over."""

    price: Any
    qty: Any


class _Book(msgspec.Struct):
    symbol: str
    bids: list[_Level]
    asks: list[_Level]
    checksum: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    timestamp: Moment | None = None

    def snapshot(self) -> BookSnapshot:
        bids, asks = _written(self.bids), _written(self.asks)
        bids.sort(reverse=True)
        asks.sort()
        return BookSnapshot(self.symbol, 0, bids, asks, _us(self.timestamp), self.checksum)

    def delta(self) -> BookDelta:
        """Its levels are in no order (seen)."""
        bids, asks = _written(self.bids), _written(self.asks)
        return BookDelta(self.symbol, 0, 0, bids, asks, _us(self.timestamp), self.checksum)


class _Books(msgspec.Struct):
    type: Kind
    data: list[_Book]

    def events(self) -> Sequence[Event]:
        if self.type == "snapshot":
            return [book.snapshot() for book in self.data]
        return [book.delta() for book in self.data]


class _Subscribed(msgspec.Struct):
    symbol: str = ""


class _Probe(msgspec.Struct):
    """Enough of any frame to tell what it is. A method's answer is about one symbol, where it has one."""

    channel: str = ""
    method: str = ""
    req_id: int | None = None
    success: bool = True
    result: _Subscribed | None = None
    symbol: str = ""
    error: str = ""


Reader = Callable[[bytes], Sequence[Event]]
Frame = _Trades | _Bars | _Tickers | _Books


def _reader(shape: type[Frame]) -> Reader:
    decode = msgspec.json.Decoder(shape, strict=False, float_hook=str).decode
    return lambda frame: decode(frame).events()


_READERS: dict[bytes, Reader] = {
    b"trade": _reader(_Trades),
    b"ohlc": _reader(_Bars),
    b"ticker": _reader(_Tickers),
    b"book": _reader(_Books),
}
_OPENING = b'{"channel":"'
_probe = decoder(_Probe)


def request(method: str, subscriptions: Sequence[Subscription], id: int) -> str:  # noqa: A002 - the wire's word
    """subscribe or unsubscribe as text, for one channel (and interval) of many symbols; each gets an ack of its own.

    All come with a snapshot: it is the first proof that a quiet market's channel lives. Quotes are asked for on every
    change of the best prices (``bbo``), where the default is on every trade.
    """
    first = subscriptions[0]
    wanted: dict[str, Any] = {**_channel(first), "symbol": [s.native for s in subscriptions]}
    if method == "subscribe":
        wanted["snapshot"] = True
    return msgspec.json.encode({"method": method, "params": wanted, "req_id": id}).decode()


def _channel(subscription: Subscription) -> dict[str, Any]:
    match subscription.channel:
        case Channel.TRADE:
            return {"channel": "trade"}
        case Channel.QUOTE:
            return {"channel": "ticker", "event_trigger": "bbo"}
        case Channel.BOOK:
            return {"channel": "book", "depth": DEPTH}
        case Channel.CANDLE:
            if subscription.interval not in MINUTES:
                raise UnknownName("interval", subscription.interval, MINUTES)
            return {"channel": "ohlc", "interval": MINUTES[subscription.interval]}


def decode(frame: bytes | str) -> Sequence[Event]:
    """A frame as its events; none for frames without market data. Raises BadAnswer on a malformed one."""
    try:
        return _decode(frame.encode() if isinstance(frame, str) else frame)
    except MALFORMED as error:
        raise bad_answer("Kraken's stream frame", frame, error) from None


def _decode(frame: bytes) -> Sequence[Event]:
    if frame.startswith(_OPENING):
        read = _READERS.get(frame[len(_OPENING) : frame.find(b'"', len(_OPENING))])
        if read is not None:
            return read(frame)
    return _look(frame)


def _look(frame: bytes) -> Sequence[Event]:
    """Any frame, without trusting the order of its keys.

    ``{"Error":"Exceeded msg rate"}`` is nothing: what it leaves unheard is not refused, and stays without an answer.
    """
    probe = _probe(frame)
    read = _READERS.get(probe.channel.encode())
    if read is not None:
        return read(frame)
    if probe.method in ("subscribe", "unsubscribe"):
        return (_ack(probe),)
    return ()


def _ack(probe: _Probe) -> Ack:
    """The answer for one symbol; a refusal names it beside its words, or in them."""
    words = excerpt(probe.error)
    if not words and not probe.success:
        words = "no words"
    told = probe.result.symbol if probe.result else ""
    named = told or probe.symbol or next((word for word in words.split() if "/" in word), "")
    return Ack(probe.req_id, words, named)


def _written(levels: list[_Level]) -> Levels:
    return [Written.read(digits(level.price), digits(level.qty)) for level in levels]


def _us(moment: datetime | None) -> int:
    """µs since the epoch; 0 where no time is told."""
    return 0 if moment is None else (moment - _EPOCH) // _MICROSECOND
