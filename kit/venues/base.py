"""What a venue's codec must say. A codec says, never does: no socket, clock, thread or randomness.

A REST exchange is a ``Call``: the request to make and the function that reads its answer. A stream
is text in, events out. The rooms above (``net``) do the talking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from ipaddress import ip_address
from typing import Generic, Protocol, TypeVar
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from kit.errors import KitError
from kit.model import (
    Balance,
    BookDelta,
    BookSnapshot,
    Candle,
    Fill,
    Instrument,
    OrderRequest,
    OrderState,
    Quote,
    Report,
    Trade,
)

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


class Channel(Enum):
    """What a stream subscription can carry."""

    TRADE = "trade"
    CANDLE = "candle"
    QUOTE = "quote"
    BOOK = "book"


@dataclass(frozen=True)
class Subscription:
    """One channel of one instrument; ``interval`` goes with candles."""

    channel: Channel
    native: str
    interval: str = ""


@dataclass(frozen=True)
class Ack:
    """The venue's answer to a subscribe or unsubscribe; ``error`` is empty when it was taken."""

    id: int | str | None
    error: str = ""


@dataclass(frozen=True)
class Goodbye:
    """The venue says this connection is about to end (Binance: serverShutdown)."""

    time: int = 0


Event = Trade | Candle | Quote | BookDelta | Ack | Goodbye
"""What a market-data frame decodes to; ``symbol`` in events is the venue's native spelling."""


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


UserEvent = Report | Holdings | Transfer | Ack | Goodbye
"""What a frame of an account's own stream decodes to. Reports are lossless: each one matters."""


@dataclass(frozen=True)
class Budget:
    """How much a venue allows: ``limit`` per ``window`` µs, and how its headers name it."""

    name: str
    limit: int
    window: int


class Codec(Protocol):
    """A venue's language. Every method is pure."""

    name: str
    environments: Mapping[str, Hosts]
    intervals: Mapping[str, int]
    """Interval name -> length in µs; months count 0 and are stepped by the calendar."""
    client_id_alphabet: str
    client_id_length: int

    # public REST
    def instruments(self, natives: Sequence[str] = ()) -> Call[list[Instrument]]: ...
    def budgets(self) -> Call[list[Budget]]: ...
    def time(self) -> Call[int]: ...
    def candles(self, native: str, interval: str, start: int | None, end: int | None, limit: int) -> Call[Columns]: ...
    def trades(self, native: str, *, from_id: int | None = None, limit: int = 1000) -> Call[list[Trade]]: ...
    def trades_between(self, native: str, start: int, end: int, limit: int = 1000) -> Call[list[Trade]]: ...
    def book(self, native: str, limit: int) -> Call[BookSnapshot]: ...
    def quote(self, native: str) -> Call[Quote]: ...

    # signed REST
    def order(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Call[list[Report]]: ...
    def order_test(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Call[None]: ...
    def cancel(self, instrument: Instrument, client_id: str) -> Call[list[Report]]: ...
    def query(self, instrument: Instrument, client_id: str) -> Call[OrderState]: ...
    def open_orders(self, instrument: Instrument | None) -> Call[list[OrderState]]: ...
    def balances(self) -> Call[list[Balance]]: ...
    def fills(self, instrument: Instrument, *, venue_order_id: str | None, from_id: int | None) -> Call[list[Fill]]: ...

    # wire
    def sign(self, call: Call[T], key: Key, now: int, recv_window_ms: int = 5000) -> Call[T]: ...
    def encode(self, params: Params) -> str: ...
    def headers(self, key: Key | None) -> dict[str, str]: ...
    def failure(self, call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> Failure | None: ...
    def used(self, headers: Mapping[str, str]) -> Mapping[str, int]: ...

    # streams
    def stream_url(self, hosts: Hosts) -> str: ...
    def subscribe(self, subscriptions: Iterable[Subscription], id: int) -> str: ...  # noqa: A002 - the wires' own word
    def unsubscribe(self, subscriptions: Iterable[Subscription], id: int) -> str: ...  # noqa: A002 - the same
    def decode(self, text: str | bytes) -> Event | None: ...

    # the account's own stream, on ``Hosts.ws_api``; ``symbols`` maps native names to ours
    def user_subscribe(self, key: Key, now: int, id: int, recv_window_ms: int = 5000) -> str: ...  # noqa: A002 - the same
    def decode_user(self, text: str | bytes, symbols: Mapping[str, str] = ...) -> list[UserEvent]: ...
