"""What a venue's codec must say. A codec says, never does: no socket, clock, thread or randomness.

A REST exchange is a ``Call``: the request to make and the function that reads its answer. A stream
is text in, events out. The rooms above (``net``) do the talking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from ipaddress import ip_address
from typing import Generic, Protocol, TypeVar, runtime_checkable
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from kit.errors import KitError
from kit.market.streamed import Streamed
from kit.model import (
    Balance,
    BookDelta,
    BookSnapshot,
    Candle,
    Channel,
    Fill,
    Instrument,
    OrderRequest,
    OrderState,
    OrderStatus,
    Quote,
    Report,
    Trade,
)
from kit.venues.contract import Contract
from kit.venues.permissions import Permissions

T = TypeVar("T")
Params = tuple[tuple[str, str], ...]
Columns = Mapping[str, npt.NDArray[np.generic]]
"""Candle columns: ``time`` int64 µs (open time), float64 open high low close volume quote_volume, int64 trades."""


class Auth(Enum):
    """What a call must carry."""

    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


class Effect(Enum):
    """What a call does to the venue, and so what silence after it means."""

    READ = "read"
    """Changes nothing: may be repeated."""
    WRITE = "write"
    """May have taken effect though no answer came: never repeated blindly."""


class Verdict(Enum):
    """What a failed answer says about the request."""

    UNREACHED = "unreached"
    """It did not reach the matching engine: the same request may be made again."""
    REFUSED = "refused"
    """It was understood and declined: repeating it repeats the answer."""
    UNKNOWN = "unknown"
    """It may have taken effect: ask with the client id."""
    RATE_LIMITED = "rate-limited"
    """It was turned away for asking too much: wait, then make it again."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One REST exchange: what to ask and how to read the answer."""

    method: str
    path: str
    read: Callable[[bytes], T]
    params: Params = ()
    auth: Auth = Auth.NONE
    effect: Effect = Effect.READ
    weight: int = 1
    orders: int = 0
    """How many it adds to what the venue counts as orders; a cancel adds none."""
    spare: bool = False
    """Not worth waiting for: asked where the venue allows more besides, soon or not at all."""


@dataclass(frozen=True)
class Failure:
    """A failed answer, classified. ``error`` is ready to raise."""

    verdict: Verdict
    error: KitError
    code: int | None = None
    retry_after: float | None = None
    orders_only: bool = False
    """The wait is for orders; questions and cancels may go on."""


@dataclass(frozen=True, repr=False)
class Key:
    """An API key and its secret; neither is ever shown.

    ``secret`` is the HMAC secret or an Ed25519 private key in PEM. It is kept out of repr, str,
    format and pickle.
    """

    id: str
    secret: str = field(compare=False)

    def __repr__(self) -> str:
        return "Key(•••)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Key is not pickled: secrets stay in the environment or the keyring")


@dataclass(frozen=True)
class Hosts:
    """Where one environment of a venue lives. ``None``: it has no such door."""

    rest: str
    stream: str
    ws_api: str | None = None
    real_money: bool = False


def on_this_machine(url: str) -> bool:
    """True when ``url`` leads nowhere but to this machine, as the sandbox's do: no proxy knows the way back to it."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Subscription:
    """One channel of one instrument; ``interval`` goes with candles."""

    channel: Channel
    native: str
    interval: str = ""


@dataclass(frozen=True)
class Ack:
    """The venue's answer to a subscribe or unsubscribe; ``error`` is empty when it was taken.

    It speaks of what the message ``id`` asked for; of that only of ``native`` where it names one. A venue that answers
    with the list of all that is subscribed (Coinbase) gives that list in ``active`` instead. ``skewed``: it refused our
    timestamp, so the same may be asked once more when its clock has been measured.
    """

    id: int | str | None
    error: str = ""
    native: str = ""
    active: frozenset[tuple[Channel, str]] | None = None
    skewed: bool = False


@dataclass(frozen=True)
class Goodbye:
    """The venue says this connection is about to end (Binance: serverShutdown)."""

    time: int = 0


@dataclass(frozen=True)
class Numbered:
    """The number of this frame on its connection, over all channels: one more than the last one's (Coinbase)."""

    number: int


MarketEvent = Trade | Candle | Quote | BookDelta | BookSnapshot
"""What happened in a market; ``symbol`` is the venue's native spelling."""
Event = MarketEvent | Ack | Goodbye | Numbered
"""What a market-data frame holds."""


@dataclass(frozen=True, kw_only=True)
class Streaming(Streamed):
    """What a venue's streams can do and how much they allow."""

    channels: int
    """Streams that one connection may carry."""
    messages: tuple[int, float]
    """So many messages in so many seconds we may send on a connection."""
    attempts: tuple[int, float]
    """So many connections we may open in so many seconds."""
    lifetime: float | None = None
    """Seconds after which the venue ends a connection; None: it does not say."""
    batch: int = 200
    """Streams asked for in one message."""
    mixed: bool = False
    """One message may ask for several channels; else for one (and one interval)."""
    greeting: tuple[str, ...] = ()
    """What is said on every new connection before anything is asked for (Coinbase: heartbeats keep channels open)."""


class Prints(Enum):
    """Which prints a venue tells of a range of time that holds more of them than one answer."""

    OLDEST = "oldest"
    """The oldest (Binance, Kraken)."""
    NEWEST = "newest"
    """The newest (Coinbase)."""


@dataclass(frozen=True)
class Past:
    """How a venue tells of its past, and how much of it in one answer."""

    candles: int = 1_000
    """Bars an answer may hold."""
    trades: int = 1_000
    """Prints an answer may hold."""
    prints: Prints = Prints.OLDEST
    windows: bool = False
    """An answer is about ``candles`` bars of the calendar, of which those without trades are left out: a short or empty
    one is no end."""


@dataclass(frozen=True)
class Spelling:
    """How a venue writes an instrument's name: base and quote with a separator; some assets have another code too."""

    separator: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Another code of an asset -> the one that instruments bear."""

    def assets(self, parts: Sequence[str]) -> list[str]:
        """The codes that instruments bear for those a user wrote."""
        return [self.renamed.get(part, part) for part in parts]

    def joined(self, written: str) -> set[str]:
        """What base and quote written as one word may be, in the codes that instruments bear."""
        found = {written}
        for other, code in self.renamed.items():
            found |= {code + word.removeprefix(other) for word in found if word.startswith(other)}
            found |= {word.removesuffix(other) + code for word in found if word.endswith(other)}
        return found


@dataclass(frozen=True)
class Holdings:
    """The balances an account event touched, as they are now; ``time`` in µs."""

    balances: tuple[Balance, ...]
    time: int


@dataclass(frozen=True)
class Transfer:
    """Money that came or went other than by trading (deposit, withdrawal, transfer); ``amount`` is signed."""

    asset: str
    amount: Decimal
    time: int


@dataclass(frozen=True)
class Standing:
    """Where an order stands after what was just told of it; ``filled`` is the sum of all its fills.

    Whoever has heard of less has missed a fill.
    """

    client_id: str
    status: OrderStatus
    filled: Decimal


UserEvent = Report | Standing | Holdings | Transfer | Ack | Goodbye
"""What a frame of an account's own stream decodes to. Reports are lossless: each one matters."""


@dataclass(frozen=True)
class Budget:
    """How much a venue allows: ``limit`` per ``window`` µs, and how its headers name it."""

    name: str
    limit: int
    window: int
    sliding: bool = False
    """It counts what was asked within the last ``window``; else since the clock's last multiple of it."""


class MarketCodec(Protocol):
    """A venue's language as far as market data goes. Every method is pure."""

    name: str
    environments: Mapping[str, Hosts]
    intervals: Mapping[str, int]
    """Interval name -> length in µs; months count 0 and are stepped by the calendar."""
    client_id_alphabet: str
    client_id_length: int
    spelling: Spelling
    money: str
    """The asset that most of its instruments are quoted in: what is paid with where nobody says."""
    streaming: Streaming
    past: Past
    clock_grain: int
    """µs to whose multiples ``time`` is cut: the venue's clock is less than that further on."""

    # public REST
    def instruments(self, natives: Sequence[str] = ()) -> Call[list[Instrument]]: ...
    def budgets(self) -> Call[list[Budget]] | Sequence[Budget]:
        """What it allows: a question where the venue tells it, else what is known beforehand."""
        ...

    def time(self) -> Call[int]:
        """The venue's clock, µs, cut to ``clock_grain``."""
        ...

    def candles(self, native: str, interval: str, start: int | None, end: int | None, limit: int) -> Call[Columns]: ...
    def trades(self, native: str, limit: int = 1000) -> Call[list[Trade]]:
        """The newest prints, oldest first."""
        ...

    def trades_between(self, native: str, start: int, end: int, limit: int = 1000) -> Call[list[Trade]]: ...
    def last_trade(self, native: str) -> Call[Trade | None]:
        """The newest print, asked for as cheaply as the venue allows."""
        ...

    def book(self, native: str, limit: int) -> Call[BookSnapshot]: ...
    def quote(self, native: str) -> Call[Quote]: ...

    # wire
    def sign(self, call: Call[T], key: Key, now: int) -> Call[T]: ...
    def encode(self, params: Params) -> str: ...
    def headers(self, key: Key | None) -> dict[str, str]: ...
    def failure(self, call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> Failure | None: ...
    def used(self, headers: Mapping[str, str]) -> Mapping[str, int]: ...

    # streams
    def stream_url(self, hosts: Hosts) -> str: ...
    def subscribe(self, subscriptions: Sequence[Subscription], id: int) -> str:  # noqa: A002 - the wires' own word
        """One message that asks for these; they all have one channel (and interval) unless ``streaming.mixed``."""
        ...

    def unsubscribe(self, subscriptions: Sequence[Subscription], id: int) -> str:  # noqa: A002 - the same
        """One message that ends these, alike in the same way."""
        ...

    def decode(self, frame: bytes | str) -> Sequence[Event]:
        """What a frame says, in its order; nothing for frames the kit has no use for. BadAnswer when malformed."""
        ...

    def decode_written(self, frame: bytes | str) -> Sequence[Event]:
        """As ``decode``, with every level of a book a ``Written``, as the venue wrote it."""
        ...


@runtime_checkable
class ById(Protocol):
    """What the codec of a venue says too whose prints can be had from an id on: a range of time it may sum up."""

    def trades_from(self, native: str, from_id: int, limit: int = 1000) -> Call[list[Trade]]:
        """The prints from ``from_id`` on, oldest first."""
        ...


@runtime_checkable
class Codec(MarketCodec, Protocol):
    """A venue's whole language: orders too."""

    contract: Contract
    """What the venue promises about client ids."""

    # signed REST
    def order(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Call[list[Report]]: ...
    def order_test(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Call[None]: ...
    def cancel(self, instrument: Instrument, client_id: str) -> Call[list[Report]]: ...
    def query(self, instrument: Instrument, client_id: str) -> Call[OrderState]: ...
    def open_orders(self, instrument: Instrument | None) -> Call[list[OrderState]]: ...
    def orders_since(self, instrument: Instrument, start: int) -> Call[list[OrderState]]:
        """Every order of an instrument placed at ``start`` (µs) or later, open or over."""
        ...

    def permissions(self) -> Call[Permissions] | None:
        """What the key may do, at the host where money is real; None where the venue can't say."""
        ...

    def balances(self) -> Call[list[Balance]]: ...
    def fills(self, instrument: Instrument, *, venue_order_id: str | None, from_id: int | None) -> Call[list[Fill]]: ...

    # the account's own stream, on ``Hosts.ws_api``; ``symbols`` maps native names to ours
    def user_subscribe(self, key: Key, now: int, id: int) -> str: ...  # noqa: A002 - the wires' own word
    def decode_user(self, text: str | bytes, symbols: Mapping[str, str] = ...) -> list[UserEvent]: ...
