"""Binance Spot: the codec. Requests out, answers in; nothing is sent from here.

The parts: ``binance_wire`` (public data), ``binance_orders`` (orders and accounts),
``binance_signing``, ``binance_failures`` (what a failed answer means), ``binance_streams`` and
``binance_user``. Facts are those of binance/binance-spot-api-docs as of July 2026.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from kit.errors import BadAnswer, OutcomeUnknown, UnknownName
from kit.market.book import BookRule
from kit.market.candles import INTERVALS
from kit.model import (
    Balance,
    BookSnapshot,
    Fill,
    Instrument,
    OrderRequest,
    OrderState,
    Quote,
    Report,
    Trade,
)
from kit.venues import binance_failures as failures
from kit.venues import binance_orders as orders
from kit.venues import binance_permissions as permissions
from kit.venues import binance_signing as signing
from kit.venues import binance_streams as streams
from kit.venues import binance_user as user
from kit.venues import binance_wire as wire
from kit.venues.base import (
    Auth,
    Budget,
    Call,
    Columns,
    Effect,
    Failure,
    Hosts,
    Key,
    Params,
    Past,
    Spelling,
    Streaming,
    Subscription,
    UserEvent,
)
from kit.venues.contract import CONTRACTS
from kit.venues.permissions import Permissions
from kit.venues.wire import reading

T = TypeVar("T")

PAGE = 1_000
"""The most rows a page of candles or trades has; more is not asked for."""
DEEPEST = 5_000
"""The most levels a depth snapshot has on a side."""
_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1_000, 50), (DEEPEST, 250))


class Binance:
    """The codec of Binance Spot and of every venue that speaks its protocol, the sandbox among them.

    Ranges are half-open, [start, end), in µs; Binance counts in ms and includes both ends, which is
    met here. Answers that are not what was promised raise BadAnswer where they were a question's, and
    OutcomeUnknown where they were to a request that may have taken effect.
    """

    name = "binance"
    environments: Mapping[str, Hosts] = MappingProxyType(
        {
            "live": Hosts(
                "https://api.binance.com",
                "wss://stream.binance.com:9443",
                "wss://ws-api.binance.com:443/ws-api/v3",
                real_money=True,
            ),
            "data": Hosts("https://data-api.binance.vision", "wss://data-stream.binance.vision"),
            "testnet": Hosts(
                "https://testnet.binance.vision",
                "wss://stream.testnet.binance.vision",
                "wss://ws-api.testnet.binance.vision/ws-api/v3",
            ),
            "demo": Hosts(
                "https://demo-api.binance.com",
                "wss://demo-stream.binance.com",
                "wss://demo-ws-api.binance.com/ws-api/v3",
            ),
        }
    )
    intervals: Mapping[str, int] = INTERVALS  # the kit's are Binance's
    contract = CONTRACTS["binance"]
    client_id_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    client_id_length = 36
    spelling = Spelling()
    money = "USDT"
    past = Past()
    clock_grain = 1_000
    streaming = Streaming(
        book=BookRule.IDS,
        bars=True,
        quotes=True,
        says_closed=True,
        channels=1024,
        messages=(3, 1.0),  # five a second are allowed, and our pongs count among them
        attempts=(150, 300.0),  # 300 from one address, which may hold other kernels
        lifetime=24 * 3600.0,
        mixed=True,
    )

    # ---- REST: public

    def instruments(self, natives: Sequence[str] = ()) -> Call[list[Instrument]]:
        """Every instrument, or those of ``natives``, with its filters (PERCENT_PRICE and order counts are not told)."""
        params: Params = (("showPermissionSets", "false"),)  # they are most of the answer's megabytes
        if len(natives) == 1:
            params = (("symbol", natives[0]), *params)
        elif natives:
            params = (("symbols", json.dumps(list(natives), separators=(",", ":"), ensure_ascii=False)), *params)
        return _ask("exchangeInfo", wire.instruments, params, weight=20)

    def budgets(self) -> Call[list[Budget]]:
        """What the venue allows now, by the names ``used`` reports."""
        return _ask("exchangeInfo", wire.budgets, (("showPermissionSets", "false"),), weight=20)

    def time(self) -> Call[int]:
        """The venue's clock, µs."""
        return _ask("time", wire.server_time)

    def candles(self, native: str, interval: str, start: int | None, end: int | None, limit: int) -> Call[Columns]:
        """At most 1,000 candles that open in [start, end): the newest without ``start``, the oldest from it otherwise.

        The last one may still be forming. Raises UnknownName for an interval Binance has not.
        """
        if interval not in INTERVALS:
            raise UnknownName("interval", interval, INTERVALS, "(case counts: 1m is a minute, 1M a month)")
        params = (("symbol", native), ("interval", interval), *_range(start, end), ("limit", _page(limit)))
        return _ask("klines", wire.candles, params, weight=2)

    def trades(self, native: str, limit: int = PAGE) -> Call[list[Trade]]:
        """The newest prints, oldest first."""
        params = (("symbol", native), ("limit", _page(limit)))
        return _ask("trades", partial(wire.trades, native=native), params, weight=25)

    def trades_from(self, native: str, from_id: int, limit: int = PAGE) -> Call[list[Trade]]:
        """The prints from ``from_id`` on, oldest first. Ids are contiguous: so a gap is seen, and filled."""
        params = (("symbol", native), ("limit", _page(limit)), ("fromId", str(from_id)))
        return _ask("historicalTrades", partial(wire.trades, native=native), params, weight=25)

    def trades_between(self, native: str, start: int, end: int, limit: int = PAGE) -> Call[list[Trade]]:
        """Prints in [start, end), oldest first, as *aggregates*: Binance has no plain trades by time.

        One is all that one taker order took at one price; ``id`` is the first trade id it sums up, so its
        quantity may cover several ids. For every single print, ask for one aggregate here to learn where
        the range begins, then page ``trades_from``.
        """
        params = (("symbol", native), *_range(start, end), ("limit", _page(limit)))
        return _ask("aggTrades", partial(wire.agg_trades, native=native), params, weight=4)

    def last_trade(self, native: str) -> Call[Trade | None]:
        """The newest print, told by the aggregate it ends: six times cheaper than ``trades``."""
        return _ask(
            "aggTrades", partial(wire.last_trade, native=native), (("symbol", native), ("limit", "1")), weight=4
        )

    def book(self, native: str, limit: int) -> Call[BookSnapshot]:
        """The best ``limit`` levels of both sides, 5,000 at most; what lies deeper is not told."""
        levels = min(max(limit, 1), DEEPEST)
        weight = next(cost for most, cost in _DEPTH_WEIGHTS if levels <= most)
        params = (("symbol", native), ("limit", str(levels)))
        return _ask("depth", partial(wire.book, native=native), params, weight=weight)

    def quote(self, native: str) -> Call[Quote]:
        """Best bid and ask."""
        return _ask("ticker/bookTicker", partial(wire.quote, native=native), (("symbol", native),), weight=2)

    # ---- REST: signed

    def order(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Call[list[Report]]:
        """Place an order; the answer tells what happened to it at once.

        The client id is no idempotency key here: Binance takes one again once its order has filled. So an
        order whose outcome is unknown is asked for, never sent again. Raises BadOrder for what Binance can't say.
        """
        params = orders.order_params(instrument.native, request, client_id)
        read = partial(orders.placed, native=instrument.native, symbol=instrument.symbol, client_id=client_id)
        return _write("POST", "order", read, params, orders=1)

    def order_test(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Call[None]:
        """Let the venue check an order without placing it: a question, though it is POSTed."""
        params = orders.order_params(instrument.native, request, client_id)
        return Call("POST", _path("order/test"), _nothing, params, Auth.SIGNED)

    def cancel(self, instrument: Instrument, client_id: str) -> Call[list[Report]]:
        """Cancel an open order; refused with code -2011 when none of this id is open."""
        params = (("symbol", instrument.native), ("origClientOrderId", client_id))
        return _write(
            "DELETE", "order", partial(orders.cancelled, native=instrument.native, client_id=client_id), params
        )

    def query(self, instrument: Instrument, client_id: str) -> Call[OrderState]:
        """Where an order stands; refused with code -2013 when the venue knows none of this id."""
        params = (("symbol", instrument.native), ("origClientOrderId", client_id))
        read = partial(orders.state, native=instrument.native, symbol=instrument.symbol, client_id=client_id)
        return _ask("order", read, params, auth=Auth.SIGNED, weight=4)

    def open_orders(self, instrument: Instrument | None) -> Call[list[OrderState]]:
        """The account's open orders in one instrument, or (dearly) in all: then ``symbol`` is the native name."""
        if instrument is None:
            read = partial(orders.states, native=None, symbol="")
            return _ask("openOrders", read, auth=Auth.SIGNED, weight=80)
        read = partial(orders.states, native=instrument.native, symbol=instrument.symbol)
        return _ask("openOrders", read, (("symbol", instrument.native),), auth=Auth.SIGNED, weight=6)

    def orders_since(self, instrument: Instrument, start: int) -> Call[list[OrderState]]:
        """The first 1,000 orders placed at ``start`` (µs) or later, open or over, oldest first."""
        params = (("symbol", instrument.native), *_range(start, None), ("limit", str(PAGE)))
        read = partial(orders.states, native=instrument.native, symbol=instrument.symbol)
        return _ask("allOrders", read, params, auth=Auth.SIGNED, weight=20)

    def permissions(self) -> Call[Permissions]:
        """What the key may do. The live host alone can be asked."""
        return permissions.permissions()

    def balances(self) -> Call[list[Balance]]:
        """What the account holds; assets of which it has nothing are left out."""
        return _ask("account", orders.balances, (("omitZeroBalances", "true"),), auth=Auth.SIGNED, weight=20)

    def fills(self, instrument: Instrument, *, venue_order_id: str | None, from_id: int | None) -> Call[list[Fill]]:
        """At most 1,000 fills, of one order or from a trade id on; ``venue_id`` names their orders, no client id."""
        params: Params = (("symbol", instrument.native), ("limit", str(PAGE)))
        if venue_order_id is not None:
            params = (*params, ("orderId", venue_order_id))
        if from_id is not None:
            params = (*params, ("fromId", str(from_id)))
        read = partial(orders.fills, native=instrument.native, symbol=instrument.symbol)
        return _ask("myTrades", read, params, auth=Auth.SIGNED, weight=20 if venue_order_id is None else 5)

    # ---- wire

    def sign(self, call: Call[T], key: Key, now: int) -> Call[T]:
        """``call`` with the contract's window, timestamp (``now``: venue µs) and signature; send its params as
        ``encode`` spells them."""
        return signing.sign(call, key, now, self.contract.window)

    def encode(self, params: Params) -> str:
        """The query string or form body of ``params``, byte for byte what was signed."""
        return signing.encode(params)

    def headers(self, key: Key | None) -> dict[str, str]:
        """What every request carries."""
        return {"X-MBX-APIKEY": key.id} if key else {}

    def failure(self, call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> Failure | None:
        """None for an answer worth reading; otherwise what it says about the request, and the error to raise."""
        return failures.failure(call, status, headers, body)

    def used(self, headers: Mapping[str, str]) -> Mapping[str, int]:
        """Weight and order counts used so far, by the names of ``budgets``."""
        return failures.used(headers)

    # ---- streams

    def stream_url(self, hosts: Hosts) -> str:
        """The combined endpoint: every frame names its stream, and streams come and go by text."""
        return f"{hosts.stream}/stream"

    def subscribe(self, subscriptions: Sequence[Subscription], id: int) -> str:  # noqa: A002 - the wire's word
        """The text that adds streams; the ack proves nothing about misspelled ones, only a first frame does."""
        return streams.request("SUBSCRIBE", subscriptions, id)

    def unsubscribe(self, subscriptions: Sequence[Subscription], id: int) -> str:  # noqa: A002 - the wire's word
        """The text that drops streams."""
        return streams.request("UNSUBSCRIBE", subscriptions, id)

    decode = staticmethod(streams.decode)  # as they are: a stream calls this for every message
    decode_written = staticmethod(streams.decode_written)

    def user_subscribe(self, key: Key, now: int, id: int) -> str:  # noqa: A002 - the wire's word
        """The text that opens the account's own stream on the WebSocket API; signed, so not for logs."""
        return user.subscribe(key, now, id, self.contract.window)

    def decode_user(self, text: str | bytes, symbols: Mapping[str, str] = user.NO_SYMBOLS) -> list[UserEvent]:
        """A frame of the account's stream as events in order; ``symbols`` maps native names to ours."""
        return user.decode(text, symbols)


def _path(endpoint: str) -> str:
    return f"/api/v3/{endpoint}"


def _ask(
    endpoint: str, read: Callable[[bytes], T], params: Params = (), *, auth: Auth = Auth.NONE, weight: int = 1
) -> Call[T]:
    """A question: it changes nothing, and a malformed answer is a BadAnswer."""
    return Call("GET", _path(endpoint), reading(read, f"Binance's {endpoint}"), params, auth, Effect.READ, weight)


def _write(method: str, endpoint: str, read: Callable[[bytes], T], params: Params, *, orders: int = 0) -> Call[T]:
    """A request that may take effect: an answer that can't be read leaves its outcome unknown."""
    checked = reading(read, f"Binance's {method} {endpoint} answer")

    def careful(body: bytes) -> T:
        try:
            return checked(body)
        except BadAnswer as error:
            raise OutcomeUnknown(f"{error}. It may have taken effect: ask with the client id") from None

    return Call(method, _path(endpoint), careful, params, Auth.SIGNED, Effect.WRITE, orders=orders)


def _nothing(body: bytes) -> None:
    """order/test answers {} (or commission rates): that it came says all."""


def _range(start: int | None, end: int | None) -> Params:
    """[start, end) in µs as the wire's ms, both ends included."""
    first = () if start is None else (("startTime", str(-(-start // 1_000))),)
    last = () if end is None else (("endTime", str((end - 1) // 1_000)),)
    return (*first, *last)


def _page(limit: int) -> str:
    return str(min(max(limit, 1), PAGE))


BINANCE = Binance()
"""The one codec: it holds nothing that changes."""
