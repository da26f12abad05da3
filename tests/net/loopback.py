"""A small scripted market and a venue on loopback that tells of it: the parts that Kraken's and Coinbase's share.

What happens is what a test says happens; it is told to whoever has subscribed, and REST shows it. Times are the test's
own, so no test waits for a bar to end.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pandas as pd
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidState
from websockets.http11 import Request, Response

from kit.clock import MINUTE, SECOND, WallClock
from kit.errors import BookUnsynced
from kit.market import candles
from kit.market.candles import UTC_US
from kit.net.live import Live
from kit.net.loop import Loop
from kit.net.rest import Rest
from kit.net.stream import Streams
from kit.net.supervisor import Backoff
from kit.venues.base import Hosts, MarketCodec
from tests.net.serving import end

T = TypeVar("T")
START = 1_700_000_040 * SECOND // MINUTE * MINUTE
NUMBERS = ["open", "high", "low", "close", "volume", "trades"]


@dataclass
class Print:
    """A trade, its numbers as the venue writes them; ``side`` is the taker's."""

    id: int
    time: int
    price: str
    qty: str
    side: str


@dataclass
class Bar:
    """A minute of trades, summed up exactly."""

    time: int
    prints: list[Print]
    before: str = ""
    """The price before it."""

    @property
    def ohlc(self) -> tuple[str, str, str, str]:
        if not self.prints:
            return (self.before,) * 4
        prices = [print_.price for print_ in self.prints]
        return prices[0], max(prices, key=float), min(prices, key=float), prices[-1]

    @property
    def volume(self) -> Decimal:
        return sum((Decimal(print_.qty) for print_ in self.prints), Decimal(0))

    @property
    def worth(self) -> Decimal:
        return sum((Decimal(print_.qty) * Decimal(print_.price) for print_ in self.prints), Decimal(0))


@dataclass
class Market:
    """One instrument: its prints and its book."""

    prints: list[Print] = field(default_factory=list)
    bids: dict[str, str] = field(default_factory=lambda: {"99.00": "1.00000000", "98.00": "2.50000000"})
    asks: dict[str, str] = field(default_factory=lambda: {"101.00": "1.00000000", "102.00": "2.50000000"})

    def bars(self) -> list[Bar]:
        """The minutes in which anything was traded."""
        found: dict[int, Bar] = {}
        for each in self.prints:
            opened = each.time // MINUTE * MINUTE
            found.setdefault(opened, Bar(opened, [])).prints.append(each)
        return list(found.values())

    def best(self, n: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Bids and asks, ``n`` of each, best first."""
        bids = sorted(self.bids.items(), key=lambda level: -float(level[0]))
        return bids[:n], sorted(self.asks.items(), key=lambda level: float(level[0]))[:n]


class Loopback:
    """A venue on loopback. Runs on a thread of its own; ``BASES`` are traded against USD."""

    SEPARATOR = "/"
    BASES = ("BTC", "ETH")

    def __init__(self) -> None:
        self.now = START
        self.mute = False
        """Frames are lost instead of sent; REST goes on."""
        self.lose = 0
        """So many of the next frames are lost."""
        self.failing: dict[str, int] = {}
        """REST path -> status it fails with."""
        self.said: list[dict[str, Any]] = []
        """The control messages of all clients."""
        self.asked: list[tuple[str, dict[str, str]]] = []
        """What REST was asked: the last word of the path, and the parameters."""
        self.connections = 0
        self.markets = {f"{base}{self.SEPARATOR}USD": Market() for base in self.BASES}
        self.subscribed: dict[ServerConnection, set[tuple[str, str]]] = {}
        """The channels of each connection, with their instruments."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kit-test-venue", daemon=True)
        self._thread.start()
        self._server: Server = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()

    @property
    def hosts(self) -> Hosts:
        port = int(next(iter(self._server.sockets)).getsockname()[1])
        return Hosts(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}")

    @property
    def channels(self) -> set[tuple[str, str]]:
        """What anybody is subscribed to."""
        return self.do(lambda: set().union(*self.subscribed.values()))

    # -- what happens

    def trade(self, native: str, price: str, qty: str = "1.00000000", *, after: int = 1000, side: str = "buy") -> None:
        """A print ``after`` µs."""
        self.do(lambda: self._trade(native, price, qty, after, side))

    def level(self, native: str, side: str, price: str, qty: str) -> None:
        """A quantity at a price of the bids or asks; 0 removes it."""
        self.do(lambda: self._level(native, side, price, qty))

    def roll(self, minutes: int = 1) -> None:
        """Time passes."""
        self.now += minutes * MINUTE

    def drop(self) -> None:
        """Every connection breaks without a word."""
        self.do(self._drop)

    def do(self, what: Callable[[], T]) -> T:
        """Have ``what`` done on the venue's thread."""

        async def on_the_loop() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(on_the_loop(), self._loop).result(10)

    def _drop(self) -> None:
        for socket in self.subscribed:
            socket.transport.abort()

    def _trade(self, native: str, price: str, qty: str, after: int, side: str) -> None:
        self.now += after
        prints = self.markets[native].prints
        prints.append(Print(prints[-1].id + 1 if prints else 1, self.now, price, qty, side))
        self.tell_trade(native, prints[-1])

    def _level(self, native: str, side: str, price: str, qty: str) -> None:
        self.now += 1000
        levels: dict[str, str] = getattr(self.markets[native], side)
        levels[price] = qty
        if not float(qty):
            del levels[price]
        self.tell_level(native, side, price, qty)

    # -- how the venue says it

    def tell_trade(self, native: str, print_: Print) -> None:
        raise NotImplementedError

    def tell_level(self, native: str, side: str, price: str, qty: str) -> None:
        raise NotImplementedError

    def heed(self, socket: ServerConnection, message: dict[str, Any]) -> None:
        raise NotImplementedError

    def rest(self, name: str, path: str, params: dict[str, list[str]]) -> Any:
        raise NotImplementedError

    def publish(self, channel: str, native: str, text: Callable[[ServerConnection], str]) -> None:
        """To whoever has subscribed."""
        for socket, channels in self.subscribed.items():
            if (channel, native) in channels:
                self.write(socket, text(socket))

    def write(self, socket: ServerConnection, text: str) -> None:
        """At once: the test goes on when the frame is on its way. A client that has hung up hears nothing."""
        if self.lose:
            self.lose -= 1
        elif not self.mute:
            with suppress(InvalidState):
                socket.protocol.send_text(text.encode())
                socket.transport.writelines(socket.protocol.data_to_send())

    # -- the wire

    async def _serve(self) -> Server:
        return await serve(self._converse, "127.0.0.1", 0, process_request=self._answer, compression=None)

    async def _converse(self, socket: ServerConnection) -> None:
        self.connections += 1
        self.subscribed[socket] = set()
        with suppress(ConnectionClosed):
            async for text in socket:
                self.said.append(json.loads(text))
                self.heed(socket, self.said[-1])
        del self.subscribed[socket]

    def _answer(self, socket: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        url = urlsplit(request.path)
        name, params = url.path.rpartition("/")[2], parse_qs(url.query)
        self.asked.append((name, {key: values[0] for key, values in params.items()}))
        if status := self.failing.get(name):
            return socket.respond(HTTPStatus(status), "{}")
        answer = self.rest(name, url.path, params)
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        response = socket.respond(HTTPStatus(status), body if isinstance(body, str) else json.dumps(body))
        response.headers["Content-Type"] = "application/json"
        return response

    def close(self) -> None:
        self.drop()
        asyncio.run_coroutine_threadsafe(end(self._server), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Desk:
    """Live instruments of a loopback venue, with short pauses; each test compares them with the market itself."""

    def __init__(self, tiny: Loopback, codec: MarketCodec, loop: Loop) -> None:
        self.tiny, self._codec, self._loop, self._clock = tiny, codec, loop, WallClock()
        self.rest = Rest(codec, tiny.hosts, clock=self._clock)
        self.streams = Streams(codec, tiny.hosts, loop=loop, clock=self._clock, seed=1)
        self.streams.supervisor.backoff = Backoff(1, first=0.02)
        self.lives: list[Live] = []

    def open(self, native: str, **options: Any) -> Live:
        """A live instrument, not waited for."""
        instrument = next(i for i in self.rest.do(self._codec.instruments([native])) if i.native == native)
        told: dict[str, Any] = {"instrument": instrument, "interval": "1m", "environment": "DATA"} | options
        live = Live(self._codec, self.rest, self.streams, loop=self._loop, clock=self._clock, **told)
        self.lives.append(live)
        return live

    def close(self) -> None:
        for live in self.lives:
            live.close()
        self.streams.close()
        self.rest.close()


@contextmanager
def trading(tiny: Loopback, codec: MarketCodec, loop: Loop) -> Iterator[Desk]:
    """A desk at a venue; both closed in the end."""
    desk = Desk(tiny, codec, loop)
    try:
        yield desk
    finally:
        desk.close()
        tiny.close()


def equal(live: Live, market: Market, bars: Iterable[Bar], columns: Iterable[str] = NUMBERS) -> bool:
    """True when candles, trades, quote and book are the market's; an AssertionError says what is not."""
    bars, names = list(bars), list(columns)
    rows = [[*map(float, bar.ohlc), float(bar.volume), float(len(bar.prints))] for bar in bars]
    times = pd.DatetimeIndex([bar.time for bar in bars], dtype=UTC_US, name="time")
    told = pd.DataFrame(rows, columns=NUMBERS, index=times)[names]
    frame = live.frame
    pd.testing.assert_frame_equal(frame[names].astype("float64"), told)
    assert frame["closed"].tolist() == [True] * (len(told) - 1) + [False]
    assert live.trades["id"].tolist() == [print_.id for print_ in market.prints]
    assert live.trades["price"].tolist() == [float(print_.price) for print_ in market.prints]
    assert live.trades["side"].tolist() == [print_.side for print_ in market.prints]
    assert candles.open_times(live.trades).tolist() == [print_.time for print_ in market.prints]
    bids, asks = market.best(1000)
    assert live.book.bids(1000) == [(float(price), float(qty)) for price, qty in bids]
    assert live.book.asks(1000) == [(float(price), float(qty)) for price, qty in asks]
    quote = live.quote
    assert quote is not None
    assert (quote.bid, quote.bid_qty) == live.book.bids(1)[0]
    assert (quote.ask, quote.ask_qty) == live.book.asks(1)[0]
    return True


def agrees(test: Callable[[], object]) -> bool:
    """False while ``test`` fails, or there is no book to look at."""
    try:
        test()
    except (AssertionError, BookUnsynced):
        return False
    return True
