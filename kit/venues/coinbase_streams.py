"""Coinbase Advanced Trade's market streams: subscribe texts and frames.

Every frame names its channel first, which picks a typed reader for the whole of it; a frame laid out otherwise takes a
slower look. All carry ``sequence_num``, which counts the frames of a connection over all its channels and products
(third parties say "per product"; the recordings say otherwise). ``level2`` is asked for and ``l2_data`` comes, its
snapshot before the ack. Acks carry no id: each lists all that was subscribed when it was written, so what it lacks may
merely be asked for later on the same connection.

Sources: docs.cdp.coinbase.com, Advanced Trade WebSocket overview, channels and advanced-trade-asyncapi.json, and a
recording of 2026-08.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Annotated, Generic, Literal, Protocol, TypeVar

import msgspec

from kit.clock import SECOND
from kit.errors import UsageError
from kit.model import BookDelta, BookSnapshot, Candle, Channel, Level, Quote, Written
from kit.venues.base import Ack, Event, Numbered, Subscription
from kit.venues.coinbase_wire import Bar, Print, micros
from kit.venues.wire import MALFORMED, Amount, Id, bad_answer, decoder, excerpt

CHANNELS = {Channel.TRADE: "market_trades", Channel.QUOTE: "ticker", Channel.BOOK: "level2"}
"""What is asked for; ``candles`` is not: it knows five-minute bars only, and its snapshot skips some of them."""
GREETING = '{"type":"subscribe","channel":"heartbeats"}'
"""Asks for a beat a second, without which most channels close after 60 to 90 quiet seconds (websocket-channels)."""

_NAMED = {**{name: channel for channel, name in CHANNELS.items()}, "candles": Channel.CANDLE}


def request(kind: str, subscriptions: Sequence[Subscription]) -> str:
    """A subscribe or unsubscribe of one channel as text; UsageError for bars, which nobody could ask for."""
    channel = subscriptions[0].channel
    if channel not in CHANNELS:
        raise UsageError(
            "Coinbase streams no bars but incomplete ones of five minutes, so nothing was asked; "
            "bars are folded from its trades"
        )
    message = {"type": kind, "product_ids": [s.native for s in subscriptions], "channel": CHANNELS[channel]}
    return msgspec.json.encode(message).decode()


# ---- frames


class _Frame(msgspec.Struct):
    sequence_num: Id
    timestamp: str


class _Trades(msgspec.Struct):
    trades: list[Print]


class _TradesFrame(_Frame):
    events: list[_Trades]

    def read(self) -> Sequence[Event]:
        """Prints, oldest first: the wire has the newest first, in its snapshot of a hundred as in its updates."""
        prints = [wire.trade() for event in self.events for wire in event.trades]
        return sorted(prints, key=lambda trade: trade.id)


class _Ticker(msgspec.Struct, gc=False):
    product_id: str
    best_bid: str = ""
    best_bid_quantity: str = ""
    best_ask: str = ""
    best_ask_quantity: str = ""

    def quotes(self, time: int) -> Sequence[Quote]:
        """One, or none where a side of the book is empty: then there is no best bid and ask."""
        bid, ask = _amount(self.best_bid), _amount(self.best_ask)
        if not bid or not ask:
            return ()
        bid_qty, ask_qty = _amount(self.best_bid_quantity), _amount(self.best_ask_quantity)
        return (Quote(self.product_id, bid, bid_qty, ask, ask_qty, time=time),)


class _Tickers(msgspec.Struct):
    tickers: list[_Ticker]


class _TickerFrame(_Frame):
    events: list[_Tickers]

    def read(self) -> Sequence[Event]:
        """Quotes as of the frame's time: they lag behind the book of the same connection now and then."""
        time = micros(self.timestamp)
        return [quote for event in self.events for ticker in event.tickers for quote in ticker.quotes(time)]


class _Bar(Bar, gc=False):
    product_id: str

    def candle(self, time: int) -> Candle:
        """The bar as it stands; the wire tells neither whether it has closed, nor its trades and their worth."""
        opened, parts = self.start * SECOND, (self.open, self.high, self.low, self.close, self.volume)
        return Candle(self.product_id, "5m", opened, *parts, nan, 0, closed=False, event_time=time)


class _Candles(msgspec.Struct):
    candles: list[_Bar]


class _CandlesFrame(_Frame):
    events: list[_Candles]

    def read(self) -> Sequence[Event]:
        """Five-minute bars, oldest first, for who replays a tape: we ask for none."""
        time = micros(self.timestamp)
        bars = [bar.candle(time) for event in self.events for bar in event.candles]
        return sorted(bars, key=lambda bar: bar.time)


_Side = Literal["bid", "offer"]
_Text = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,24}(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,2})?\Z")]
"""A number as it is written."""


class _Change(msgspec.Struct, gc=False):
    """One level of a book in floats: the absolute quantity, 0 where it is gone."""

    side: _Side
    event_time: str
    price: Amount = msgspec.field(name="price_level")
    qty: Amount = msgspec.field(name="new_quantity")

    @property
    def level(self) -> Level:
        return self.price, self.qty


class _WrittenChange(msgspec.Struct, gc=False):
    """The same as it is written."""

    side: _Side
    event_time: str
    price: _Text = msgspec.field(name="price_level")
    qty: _Text = msgspec.field(name="new_quantity")

    @property
    def level(self) -> Level:
        return Written.read(self.price, self.qty)


C = TypeVar("C", _Change, _WrittenChange)


class _Book(msgspec.Struct, Generic[C]):
    type: Literal["snapshot", "update"]
    product_id: str
    updates: list[C]

    def event(self, timestamp: str) -> BookSnapshot | BookDelta:
        """All levels of one book event; its time is that of its changes, which share one in every recorded frame."""
        bids = [change.level for change in self.updates if change.side == "bid"]
        asks = [change.level for change in self.updates if change.side == "offer"]
        time = micros(self.updates[-1].event_time if self.updates else timestamp)
        if self.type == "update":
            return BookDelta(self.product_id, 0, 0, bids, asks, time)
        return BookSnapshot(self.product_id, 0, sorted(bids, reverse=True), sorted(asks), time)


class _BookFrame(_Frame, Generic[C]):
    events: list[_Book[C]]

    def read(self) -> Sequence[Event]:
        """Snapshots and changes, as they come."""
        return [event.event(self.timestamp) for event in self.events]


class _Subscribed(msgspec.Struct):
    subscriptions: dict[str, list[str]]


class _SubscriptionsFrame(_Frame):
    events: list[_Subscribed]

    def read(self) -> Sequence[Event]:
        """What is subscribed now, as far as the kit has a name for it."""
        told = (pair for event in self.events for pair in event.subscriptions.items())
        return [
            Ack(None, active=frozenset((_NAMED[n], native) for n, natives in told if n in _NAMED for native in natives))
        ]


class _Probe(msgspec.Struct):
    """Enough of any frame to tell what it is."""

    channel: str = ""
    type: str = ""
    message: str = ""
    reason: str = ""
    sequence_num: Id | None = None


def _amount(text: str) -> float:
    """A price or quantity, 0 for none."""
    value = float(text or 0)
    if not 0 <= value <= 1e300:
        raise ValueError(f"not a price or quantity: {excerpt(text)!r}")
    return value


# ---- reading


Reader = Callable[[bytes], Sequence[Event]]


class _Wire(Protocol):
    sequence_num: Id

    def read(self) -> Sequence[Event]: ...


def _reader(shape: type[_Wire]) -> Reader:
    decode_frame = decoder(shape)

    def read(frame: bytes) -> Sequence[Event]:
        wire = decode_frame(frame)
        return (Numbered(wire.sequence_num), *wire.read())

    return read


_READERS: dict[str, Reader] = {
    "market_trades": _reader(_TradesFrame),
    "ticker": _reader(_TickerFrame),
    "candles": _reader(_CandlesFrame),
    "l2_data": _reader(_BookFrame[_Change]),
    "subscriptions": _reader(_SubscriptionsFrame),
}
_WRITTEN = {**_READERS, "l2_data": _reader(_BookFrame[_WrittenChange])}
_probe = decoder(_Probe)
_OPENING = b'{"channel":"'


def decode(frame: bytes | str) -> Sequence[Event]:
    """A frame's number, then its events; nothing more for channels the kit has no use for.

    Raises BadAnswer on a malformed frame.
    """
    return _decode(frame, _READERS)


def decode_written(frame: bytes | str) -> Sequence[Event]:
    """As ``decode``, every level of a book a ``Written``."""
    return _decode(frame, _WRITTEN)


def _decode(frame: bytes | str, readers: Mapping[str, Reader]) -> Sequence[Event]:
    try:
        raw = frame.encode() if isinstance(frame, str) else frame
        if raw.startswith(_OPENING):
            read = readers.get(raw[len(_OPENING) : raw.find(b'"', len(_OPENING))].decode())
            if read is not None:
                return read(raw)
        return _look(raw, readers)
    except MALFORMED as error:
        raise bad_answer("Coinbase's stream frame", frame, error) from None


def _look(raw: bytes, readers: Mapping[str, Reader]) -> Sequence[Event]:
    """Any frame, without trusting the order of its keys."""
    wire = _probe(raw)
    if wire.type == "error":
        words = " ".join(filter(None, (excerpt(wire.message), excerpt(wire.reason))))
        return (Ack(None, words or "an error without words"),)
    read = readers.get(wire.channel)
    if read is not None:
        return read(raw)
    return () if wire.sequence_num is None else (Numbered(wire.sequence_num),)
