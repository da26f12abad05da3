"""The sandbox process: three addresses, one event loop, and what they share (``kit sandbox``).

REST takes ``--port``; streams take the next port and the WebSocket API the one after, or any free one when those are
taken (``--port 0``: all three are free ones). Everything listens on 127.0.0.1 only. When ready, one JSON line
on stdout says where and with which key; when a replayed tape ends, another says so. Logs go to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from filelock import FileLock, Timeout
from starlette.requests import Request
from websockets.asyncio.server import serve

from kit.clock import MINUTE, SECOND, WallClock
from kit.errors import KitError, UsageError
from kit.sandbox.api_door import PATH as API_PATH
from kit.sandbox.api_door import ApiDoor
from kit.sandbox.faults import Plan, plan
from kit.sandbox.feeds import TICK
from kit.sandbox.hall import Hall
from kit.sandbox.home import Address, Terms, folder, publish, withdraw
from kit.sandbox.markets import open_market
from kit.sandbox.rest import RestDoor
from kit.sandbox.sockets import Door
from kit.sandbox.store import Store
from kit.sandbox.stream_door import StreamDoor

log = logging.getLogger("kit.sandbox")
HOST = "127.0.0.1"
LAST_PORT = 65_535


@dataclass(frozen=True)
class Options:
    """What the command line asked for. ``idle`` is minutes without a client until the end; 0: never."""

    name: str
    port: int
    terms: Terms
    faults: Plan
    idle: float
    latency: float


def options(argv: Sequence[str]) -> Options:
    """Read the command line; argparse ends the process for what it can't read, UsageError says what can't be."""
    parser = argparse.ArgumentParser(prog="kit sandbox", description="A local exchange that speaks Binance Spot.")
    parser.add_argument("--name", default="default", help="which sandbox: its accounts and market resume by name")
    parser.add_argument("--port", type=_port, default=0, help="port of REST; 0 picks free ones (default)")
    parser.add_argument("--seed", type=int, help="seed of the synthetic market (default 7)")
    parser.add_argument(
        "--replay", type=Path, metavar="TAPE", help="replay a recording in place of the synthetic market"
    )
    parser.add_argument("--speed", type=float, default=1.0, help="how many times faster the tape runs (default 1)")
    parser.add_argument("--original-times", action="store_true", help="keep the tape's own times (signed clients fail)")
    parser.add_argument("--faults", type=Path, metavar="PLAN.json", help="what goes wrong, and when")
    parser.add_argument("--idle", type=float, default=0.0, help="end after so many minutes without a client; 0: never")
    parser.add_argument("--latency", type=float, default=0.0, help="ms that a REST request is under way")
    given = parser.parse_args(argv)
    return Options(
        name=given.name,
        port=given.port,
        terms=Terms(given.seed, given.replay and str(given.replay.resolve()), given.speed, given.original_times),
        faults=_plan(given.faults),
        idle=given.idle,
        latency=given.latency / 1000,
    )


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= LAST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to {LAST_PORT}, where 0 picks a free one")


def _plan(path: Path | None) -> Plan:
    if path is None:
        return Plan()
    try:
        return plan(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"the fault plan {path} can't be read ({error.strerror}); give the path of a JSON file"
        ) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sandbox until it is stopped; 0 when it ended as it should, 2 when it could not begin, 1 when it broke."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        chosen = options(sys.argv[1:] if argv is None else argv)
        with _owned(chosen.name):
            return _run(chosen)
    except KitError as error:
        sys.stderr.write(f"kit sandbox: {error}\n")
        return 2


@contextlib.contextmanager
def _owned(name: str) -> Iterator[None]:
    """Be the only process that runs this sandbox."""
    lock = FileLock(folder(name) / "owner.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"a sandbox named {name!r} is running already; stop it, or choose another --name") from None
    try:
        yield
    finally:
        lock.release()


def _run(chosen: Options) -> int:
    place = folder(chosen.name)
    try:
        store = Store(place / "sandbox.sqlite")
        market, clock, terms = open_market(chosen.terms, store)
        hall = Hall(market, store, chosen.faults, clock, WallClock())
    except KitError as error:
        publish(place, Address.failed(str(error)))
        raise
    process = Process(chosen, hall, terms)
    try:
        asyncio.run(process.live())
    finally:
        withdraw(place)
        hall.close()
    return 1 if hall.broken else 0


class Process:
    """The doors of one hall and the loop that moves its market."""

    def __init__(self, chosen: Options, hall: Hall, terms: Terms) -> None:
        self._chosen = chosen
        self._hall = hall
        self._terms = terms
        self._ending = asyncio.Event()
        self._ended = False
        self._streams = StreamDoor(hall.exchange, hall.faults, hall.clock, hall.wall)
        self._api = ApiDoor(hall)
        hall.tell = self._api.tell

    async def live(self) -> None:
        """Open the doors, say so, and run until told to end."""
        rest, stream, api = _sockets(self._chosen.port)
        async with _served(self._streams, stream), _served(self._api, api):
            address = self._address(rest, stream, api)
            web = _Web(self._app(address), rest)
            with _signals(self._ending.set):
                await web.start()
                publish(folder(self._chosen.name), address)
                _say(address.ready_line())
                await self._turn()
                self._streams.shut_down(self._hall.clock.now())
                await web.stop()

    async def _turn(self) -> None:
        """Move the market every tick until the end."""
        while not self._ending.is_set():
            began = self._hall.wall.now()
            if self._hall.faults.drops(began):
                self._streams.cut_all()
                self._api.cut_all()
            now = self._hall.clock.now()
            self._hall.advance(now)
            self._streams.tick(now)
            self._streams.keep()
            self._api.keep()
            self._watch(began, now)
            spent = self._hall.wall.now() - began
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), max(0.001, (TICK - spent) / SECOND))

    def _watch(self, wall: int, now: int) -> None:
        """End when the disk failed or no client has come for long; say when the tape has ended."""
        if self._streams.clients or self._api.clients:
            self._hall.touched = wall
        idle = self._chosen.idle and wall - self._hall.touched > self._chosen.idle * MINUTE
        if idle or self._hall.broken:
            log.info("ending: %s", "no client for a while" if idle else self._hall.broken)
            self._ending.set()
        if not self._ended and self._hall.exchange.closed(now):
            self._ended = True
            ends = self._hall.exchange.market.ends or 0
            log.info("the tape has ended; orders are refused from here on")
            _say({"ended": True, "time": ends // 1000})

    def _address(self, rest: socket.socket, stream: socket.socket, api: socket.socket) -> Address:
        ports = [each.getsockname()[1] for each in (rest, stream, api)]
        credential = self._hall.credential
        return Address(
            ready=True,
            rest=f"http://{HOST}:{ports[0]}",
            stream=f"ws://{HOST}:{ports[1]}",
            ws_api=f"ws://{HOST}:{ports[2]}{API_PATH}",
            key=credential.key,
            secret=credential.material,
            name=self._chosen.name,
            pid=os.getpid(),
            terms=self._terms,
        )

    def _app(self, address: Address) -> Callable[[_Web], RestDoor]:
        facts = address.facts() | {"market": self._hall.exchange.market.label}
        return lambda web: RestDoor(
            self._hall, abort=web.abort, stop=self._ending.set, facts=facts, latency=self._chosen.latency
        )


class _Web(uvicorn.Server):
    """uvicorn without its signal handlers: this process has its own end."""

    def __init__(self, make: Callable[[_Web], RestDoor], listening: socket.socket) -> None:
        config = uvicorn.Config(
            make(self).app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=600,  # a connection that closes just as an order is sent leaves its outcome unknown
        )
        super().__init__(config)
        self._listening = listening
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def start(self) -> None:
        self._task = asyncio.create_task(self.serve(sockets=[self._listening]))
        while not self.started:
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self.should_exit = True
        if self._task is not None:
            await self._task

    def abort(self, request: Request) -> None:
        """Cut the connection a request came in on."""
        for protocol in list(self.server_state.connections):
            if request.client is not None and getattr(protocol, "client", None) == tuple(request.client):
                transport: Any = protocol.transport
                transport.abort()


def _say(line: Mapping[str, object]) -> None:
    """One JSON line for the programs that wait for it."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _served(door: Door, listening: socket.socket) -> contextlib.AbstractAsyncContextManager[object]:
    """The door's server: its own pings, no compression (loopback gains nothing by it)."""
    return serve(
        door.serve,
        sock=listening,
        process_request=door.admit,
        compression=None,
        ping_interval=None,
        close_timeout=1,
        logger=logging.getLogger("kit.sandbox.sockets"),
    )


def _sockets(port: int) -> list[socket.socket]:
    """Listening sockets for REST, streams and WebSocket API; see the module's docstring for their ports."""
    try:
        rest = _bound(port)
    except OSError as error:
        raise UsageError(f"port {port} can't be had ({error.strerror}); choose another, or 0 for a free one") from None
    return [rest, _bound_near(port and port + 1), _bound_near(port and port + 2)]


def _bound_near(port: int) -> socket.socket:
    try:
        return _bound(port if port <= LAST_PORT else 0)
    except OSError:
        return _bound(0)


def _bound(port: int) -> socket.socket:
    """A listening socket that says it is TCP: asyncio leaves Nagle's algorithm on for one that doesn't."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name != "nt":  # there it would let two processes share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


@contextlib.contextmanager
def _signals(end: Callable[[], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM end the loop; on Windows, where the loop takes no handlers, through the loop."""
    loop = asyncio.get_running_loop()
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, lambda *_: loop.call_soon_threadsafe(end)) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
