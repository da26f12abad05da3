"""A venue of one instrument on loopback that tests can break at will: Binance's streams and a little of its REST."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidState
from websockets.http11 import Request, Response

from kit.clock import WallClock
from kit.model import Instrument
from kit.net.live import Live
from kit.net.loop import Loop
from kit.net.rest import Rest
from kit.net.stream import Streams
from kit.net.supervisor import Backoff
from kit.venues.base import Hosts
from kit.venues.binance import BINANCE
from tests.net.serving import end

T = TypeVar("T")
MINUTE = 60_000
BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.00001")
)


class TinyVenue:
    """What happens is what a test says happens; it is told to whoever has subscribed, and REST shows it.

    Times are the test's own (ms), so no test waits for a bar to end. Runs on a thread of its own.
    """

    def __init__(self) -> None:
        self.mute = False
        """Frames are lost instead of sent; REST goes on."""
        self.lose = 0
        """So many of the next frames are lost."""
        self.deaf = False
        """Subscriptions are not answered."""
        self.refuse = 0
        """So many of the next handshakes are answered with 503."""
        self.failing: dict[str, int] = {}
        """REST path -> status it fails with."""
        self.said: list[dict[str, Any]] = []
        """The control messages of all clients, each with the loop's time."""
        self.asked: list[str] = []
        """The REST paths that were asked for."""
        self.handshakes = 0
        self.trades: list[dict[str, Any]] = []
        self.bars: list[list[Any]] = []
        self.sides: dict[str, dict[str, str]] = {"b": {"99.00": "1.0"}, "a": {"101.00": "1.0"}}
        self.update = 100
        self._subscribed: dict[ServerConnection, set[str]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kit-test-venue", daemon=True)
        self._thread.start()
        self._server: Server = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()
        self.now = 1_700_000_040_000 // MINUTE * MINUTE
        for _ in range(6):
            self.trade(100.0, at=self.now + MINUTE)

    @property
    def port(self) -> int:
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def hosts(self) -> Hosts:
        return Hosts(f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}")

    # -- what happens

    def trade(self, price: float, qty: float = 1.0, *, at: int | None = None) -> None:
        """A print at ``at`` (ms; default: now), after the bars that ended before it."""
        self._do(lambda: self._trade(price, qty, self.now if at is None else at))

    def roll(self, minutes: int = 1) -> None:
        """So many minutes pass without a trade."""
        self._do(lambda: self._pass(self.now + minutes * MINUTE))

    def level(self, side: str, price: str, qty: str) -> None:
        self._do(lambda: self._level(side, price, qty))

    def drop(self) -> None:
        """Every connection breaks without a word."""
        self._do(self._drop)

    def tell(self, message: dict[str, Any] | str) -> None:
        """Any frame, to everybody."""
        text = message if isinstance(message, str) else json.dumps(message)
        self._do(lambda: self._broadcast(set(self._subscribed), text))

    @property
    def streams(self) -> set[str]:
        """What anybody is subscribed to."""
        return self._do(lambda: set().union(*self._subscribed.values()))

    def _do(self, what: Callable[[], T]) -> T:
        async def on_the_loop() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(on_the_loop(), self._loop).result(10)

    def _trade(self, price: float, qty: float, at: int) -> None:
        self._pass(at)
        made: dict[str, Any] = {"id": len(self.trades) + 1, "price": f"{price:.2f}", "qty": f"{qty}", "quoteQty": "0",
                                "time": at, "isBuyerMaker": False, "isBestMatch": True}  # fmt: skip
        self.trades.append(made)
        if not self.bars:
            self.bars.append(self._bar(at // MINUTE * MINUTE, made["price"]))
        bar = self.bars[-1]
        if not bar[8]:
            bar[1:5] = [made["price"]] * 4
        bar[2], bar[3] = max(bar[2], made["price"], key=float), min(bar[3], made["price"], key=float)
        bar[4], bar[8] = made["price"], bar[8] + 1
        bar[5], bar[7] = f"{float(bar[5]) + qty:.4f}", f"{float(bar[7]) + qty * price:.4f}"
        self._publish("trade", {"e": "trade", "E": at, "s": "BTCUSDT", "t": made["id"], "p": made["price"],
                                "q": made["qty"], "T": at, "m": False, "M": True})  # fmt: skip
        self._kline(bar, closed=False)

    def _bar(self, opens: int, price: str) -> list[Any]:
        return [opens, price, price, price, price, "0", opens + MINUTE - 1, "0", 0, "0", "0", "0"]

    def _pass(self, now: int) -> None:
        self.now = now
        while self.bars and self.bars[-1][0] + MINUTE <= now:
            self._kline(self.bars[-1], closed=True)
            self.bars.append(self._bar(self.bars[-1][0] + MINUTE, self.bars[-1][4]))

    def _kline(self, bar: list[Any], *, closed: bool) -> None:
        k = {"t": bar[0], "T": bar[6], "s": "BTCUSDT", "i": "1m", "o": bar[1], "h": bar[2], "l": bar[3], "c": bar[4],
             "v": bar[5], "q": bar[7], "n": bar[8], "x": closed, "V": "0", "Q": "0", "B": "0"}  # fmt: skip
        self._publish("kline_1m", {"e": "kline", "E": self.now, "s": "BTCUSDT", "k": k})

    def _level(self, side: str, price: str, qty: str) -> None:
        before = self._top()
        self.update += 1
        levels = self.sides[side]
        levels[price] = qty
        if not float(qty):
            del levels[price]
        told = {"b": [], "a": [], side: [[price, qty]]}
        self._publish("depth@100ms", {"e": "depthUpdate", "E": self.now, "s": "BTCUSDT", "U": self.update,
                                      "u": self.update, **told})  # fmt: skip
        if self._top() != before:
            bid, bid_qty, ask, ask_qty = self._top()
            self._publish("bookTicker", {"u": self.update, "s": "BTCUSDT", "b": bid, "B": bid_qty, "a": ask,
                                         "A": ask_qty})  # fmt: skip

    def _top(self) -> tuple[str, str, str, str]:
        bid, ask = max(self.sides["b"], key=float), min(self.sides["a"], key=float)
        return bid, self.sides["b"][bid], ask, self.sides["a"][ask]

    def _publish(self, name: str, data: dict[str, Any]) -> None:
        text = json.dumps({"stream": f"btcusdt@{name}", "data": data}, separators=(",", ":"))
        self._broadcast({socket for socket, streams in self._subscribed.items() if f"btcusdt@{name}" in streams}, text)

    def _broadcast(self, sockets: set[ServerConnection], text: str) -> None:
        for socket in sockets:
            if self.lose:
                self.lose -= 1
            elif not self.mute:
                self._write(socket, text)

    def _write(self, socket: ServerConnection, text: str) -> None:
        """At once: the test goes on when the frame is on its way. A client that has hung up hears nothing."""
        with suppress(InvalidState):
            socket.protocol.send_text(text.encode())
            socket.transport.writelines(socket.protocol.data_to_send())

    def _drop(self) -> None:
        for socket in self._subscribed:
            socket.transport.abort()

    # -- the wire

    async def _serve(self) -> Server:
        return await serve(self._converse, "127.0.0.1", 0, process_request=self._answer, compression=None)

    async def _converse(self, socket: ServerConnection) -> None:
        self._subscribed[socket] = set()
        with suppress(ConnectionClosed):
            async for text in socket:
                message = json.loads(text)
                self.said.append({**message, "at": self._loop.time()})
                if not self.deaf:
                    self._subscribe(socket, message)
        del self._subscribed[socket]

    def _subscribe(self, socket: ServerConnection, message: dict[str, Any]) -> None:
        streams = self._subscribed[socket]
        change = streams.update if message["method"] == "SUBSCRIBE" else streams.difference_update
        change(message["params"])
        self._write(socket, json.dumps({"result": None, "id": message["id"]}))

    def _answer(self, socket: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        if "Upgrade" in request.headers:
            self.handshakes += 1
            if not self.refuse:
                return None
            self.refuse -= 1
            return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "")
        self.asked.append(url.path)
        if status := self.failing.get(url.path):
            return socket.respond(HTTPStatus(status), "{}")
        body = self._rest(url.path.rpartition("/")[2], {key: value[0] for key, value in parse_qs(url.query).items()})
        response = socket.respond(HTTPStatus.OK, json.dumps(body))
        response.headers["Content-Type"] = "application/json"
        return response

    def _rest(self, name: str, params: dict[str, str]) -> Any:
        limit, bid = int(params.get("limit", 500)), self._top()
        if name == "klines":
            rows = [bar for bar in self.bars if bar[0] >= int(params.get("startTime", 0))]
            return rows[:limit] if "startTime" in params else rows[-limit:]
        if name == "trades":
            return self.trades[-limit:]
        if name == "historicalTrades":
            return [trade for trade in self.trades if trade["id"] >= int(params["fromId"])][:limit]
        if name == "aggTrades":
            last = self.trades[-1]
            return [{"a": 1, "p": last["price"], "q": last["qty"], "f": last["id"], "l": last["id"], "T": last["time"],
                     "m": False, "M": True}]  # fmt: skip
        if name == "depth":
            bids = sorted(self.sides["b"].items(), key=lambda level: -float(level[0]))
            asks = sorted(self.sides["a"].items(), key=lambda level: float(level[0]))
            return {"lastUpdateId": self.update, "bids": bids[:limit], "asks": asks[:limit]}
        if name == "bookTicker":
            return {"symbol": "BTCUSDT", "bidPrice": bid[0], "bidQty": bid[1], "askPrice": bid[2], "askQty": bid[3]}
        return {"serverTime": self.now}

    def close(self) -> None:
        self.drop()
        asyncio.run_coroutine_threadsafe(end(self._server), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def tiny() -> Iterator[TinyVenue]:
    """A venue of one instrument, alive until the test ends."""
    venue = TinyVenue()
    yield venue
    venue.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def opened(tiny: TinyVenue, loop: Loop) -> Iterator[Callable[..., Live]]:
    """Opens live instruments of the tiny venue, with short pauses; closes them at the end."""
    clock, made = WallClock(), []
    rest = Rest(BINANCE, tiny.hosts, clock=clock)
    streams = Streams(BINANCE, tiny.hosts, loop=loop, clock=clock, seed=1)
    streams.supervisor.backoff = Backoff(1, first=0.02)

    def open_live(**options: Any) -> Live:
        told: dict[str, Any] = {"instrument": BTC, "interval": "1m", "environment": "SANDBOX"} | options
        made.append(Live(BINANCE, rest, streams, loop=loop, clock=clock, **told))
        return made[-1]

    yield open_live
    for live in made:
        live.close()
    streams.close()
    rest.close()


@pytest.fixture
def live(tiny: TinyVenue, opened: Callable[..., Live], loop: Loop, eventually: Callable[..., None]) -> Live:
    """LIVE, with a frame of the book and one of the quotes, and no question under way."""
    live = opened()
    assert live.ready(10)
    tiny.level("b", "99.00", "3.0")
    eventually(lambda: live.quote and live.quote.bid_qty == 3.0 and not loop._tasks)
    return live


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], object]], None]:
    """``eventually(test)`` returns once ``test()`` is true, and fails when that takes more than ten seconds."""

    def wait(test: Callable[[], object]) -> None:
        until = time.monotonic() + 10
        while not test():
            assert time.monotonic() < until, "it never happened"
            time.sleep(0.002)

    return wait
