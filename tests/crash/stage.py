"""A venue that outlives the processes that trade on it, and processes that are killed where a test says.

The venue is the sandbox's own exchange behind its own front door, in the test's process: it reads and answers Binance's
bytes. A life is a forked process with the kit's real REST, gateway, desk and journal, whose wire is a pipe.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from io import BytesIO
from multiprocessing import Pipe
from multiprocessing.connection import Connection as Wire
from pathlib import Path
from random import Random
from unittest.mock import patch
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from kit.broker import ledger
from kit.broker.broker import Broker
from kit.broker.desk import Desk
from kit.broker.live import LiveGateway
from kit.broker.order import Order
from kit.broker.reconcile import reconcile
from kit.clock import SECOND
from kit.market.feed import FeedState, Picture
from kit.model import Fees, Instrument, Quote, Side
from kit.net.rest import Rest
from kit.sandbox.auth import Credential, KeyKind
from kit.sandbox.exchange import Exchange
from kit.sandbox.front import Front, Request
from kit.sandbox.receipts import VenueOrder
from kit.store.entries import Terms
from kit.store.journal import Journal
from kit.store.schema import Connection
from kit.venues.base import Hosts, Key
from kit.venues.binance import BINANCE
from tests.crash.disk import Platter, recorded, stepwise
from tests.sandbox.conftest import BEGINS, BTC, ScriptedMarket

HOSTS = Hosts(rest="http://127.0.0.1:1", stream="ws://127.0.0.1:1")
KEY = Key("k" * 64, "s" * 64)
QUOTE = Quote("BTC/USDT", 100.0, 2.0, 101.0, 2.0)
PATIENCE = 20 * SECOND
"""After so long an order that no one answered for is looked for once more: longer than any deadline of Binance's."""

Script = Callable[["Life"], None]


class Venue:
    """Binance as the sandbox plays it, with one account, and what a script makes happen there: each thing once."""

    def __init__(self) -> None:
        self.market, self.now = ScriptedMarket(), BEGINS + SECOND
        self.exchange = Exchange(self.market)
        self.exchange.open_account("me", {"USDT": Decimal(10_000), "BTC": Decimal(10)}, BEGINS)
        self.exchange.register(Credential(KEY.id, "me", KeyKind.HMAC, KEY.secret))
        self._front, self._happened, self._losing = Front(self.exchange), set[int](), ""

    @property
    def orders(self) -> list[VenueOrder]:
        return list(self.exchange.members["me"].orders.values())

    def fills(self) -> list[tuple[str, str, Decimal]]:
        """Id, client id of the order, and quantity of every execution."""
        fills = [execution.fill for execution in self.exchange.members["me"].fills]
        return sorted((fill.id, fill.client_id, fill.qty) for fill in fills)

    def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Free and locked, by asset, of what is held."""
        held = self.exchange.balances("me")
        return {name: (balance.free, balance.locked) for name, balance in held.items() if balance.total}

    def happen(self, number: int, what: str, *args: float) -> None:
        """Let something happen, unless this step of the script has happened already."""
        if what == "time passes":
            self.now += PATIENCE
        elif what != "nothing" and number not in self._happened:
            self._happened.add(number)
            if what == "trade":
                self._trade(*args)
            else:
                self._losing = what
        self._turn()

    def answer(self, request: Request) -> tuple[int, Mapping[str, str], bytes] | None:
        """The answer to a request; None when it, or the request before it, gets lost."""
        losing = self._losing if request.method == "POST" else ""
        self._losing = "" if losing else self._losing
        self._turn()
        if losing == "lose request":
            return None
        answer = self._front.answer(request, self.now)
        self.exchange.take()
        if losing:
            return None
        return answer.status, answer.headers, json.dumps(answer.body).encode()

    def _trade(self, price: float, qty: float) -> None:
        self.market.btc.trade(self.now + 1 - BEGINS, price, qty, Side.SELL)

    def _turn(self) -> None:
        self.now += 1_000
        self.exchange.advance(self.now)


@dataclass
class Points:
    """The moments at which a process may die. It dies at the one numbered ``deadly``; 0: at none."""

    deadly: int = 0
    last_act: Callable[[], None] = lambda: None
    passed: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def __call__(self, kind: str) -> None:
        self.passed += 1
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self.passed == self.deadly:
            self.last_act()
            os.kill(os.getpid(), signal.SIGKILL)


class Clock:
    """The time as the venue last told it: both run alike here."""

    def __init__(self) -> None:
        self.time = 0

    def now(self) -> int:
        return self.time


class Life:
    """One process's view: its broker, and what it can make happen at the venue."""

    broker: Broker

    def __init__(self, wire: Wire, points: Points) -> None:
        self.points, self._wire, self._clock, self._step = points, wire, Clock(), 0
        self._rest = Rest(BINANCE, HOSTS, clock=self._clock, key=KEY, sleep=lambda seconds: None, seed=1)

    def open(self, path: Path, connect: Callable[[Path | str], Connection]) -> None:
        """Open the account as ``kit.live`` does: journal, terms, desk, reconciliation."""
        self._time_passes(0, "nothing")
        self._rest.sync()
        journal = Journal(path, connect=connect)
        terms = journal.terms or _terms(self._rest)
        if journal.terms is None:
            journal.terms = terms
        desk = Desk(
            "crash",
            "default",
            journal,
            LiveGateway(self._rest, BINANCE),
            self._rest.clock,
            instruments=lambda symbol: BTC,
            picture=lambda symbol: Picture(FeedState.LIVE, 0.1, QUOTE),
        )
        reconcile(desk)
        self.broker = Broker(desk, terms, self, self._rest.clock, [desk, journal])

    def instrument(self, symbol: str) -> Instrument:
        return BTC

    def quote(self, symbol: str) -> Quote:
        return QUOTE

    def buy(self, key: str, qty: float, price: float | None = None) -> Order:
        """A named order; what is in doubt is cleared up first, for no order leaves before."""
        if self.broker.desk.ledger.unresolved:
            self.look()
        return self.broker.buy("BTC/USDT", qty, price=price, key=key)

    def happens(self, what: str, *args: float) -> None:
        """Something happens at the venue; the script's steps are told apart by their number."""
        self._step += 1
        self._time_passes(self._step, what, *args)

    def look(self) -> None:
        """Ask for everything that is open, until nothing is in doubt."""
        while True:
            self.broker.reconcile()
            if not self.broker.desk.ledger.unresolved:
                return
            self.happens("time passes")

    def end(self) -> None:
        """The process ends as it should."""
        self.look()
        self.broker.close()
        self._rest.close()
        self.points("the end")

    def _time_passes(self, number: int, what: str, *args: float) -> None:
        self._wire.send(("happen", number, what, *args))
        self._clock.time = self._wire.recv()

    def send(self, prepared: requests.PreparedRequest, **how: object) -> requests.Response:
        """In place of a connection: the request goes through the pipe, and so does the answer."""
        self.points("before a send")
        url = urlsplit(str(prepared.url))
        body, key = prepared.body or "", prepared.headers.get("X-MBX-APIKEY")
        self._wire.send(("http", Request(str(prepared.method), url.path, url.query, str(body), key)))
        answer, self._clock.time = self._wire.recv()
        self.points("after a send")
        if answer is None:
            raise requests.ReadTimeout
        return _response(prepared, *answer)


def _terms(rest: Rest) -> Terms:
    held = {balance.asset: balance.total for balance in rest.do(BINANCE.balances()) if balance.total}
    return Terms(
        kind="live", venue="binance", environment="SANDBOX", quote="USDT", cash=held, fees=Fees(), created=BEGINS
    )


def _response(
    request: requests.PreparedRequest, status: int, headers: Mapping[str, str], body: bytes
) -> requests.Response:
    raw = HTTPResponse(BytesIO(body), headers=dict(headers), status=status, preload_content=False)
    made: requests.Response = HTTPAdapter().build_response(request, raw)
    return made


def lived(venue: Venue, path: Path, script: Script, deadly: int = 0, *, left: Path | None = None) -> Points | None:
    """Run a script in a process of its own; the points it passed, None when it was killed at number ``deadly``.

    With ``left`` the power fails at that point: into that folder goes what the disk has then.
    """
    here, there = Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: this child uses none of them
        pid = os.fork()
    if pid == 0:
        here.close()
        _live(there, path, script, Points(deadly), left)
    there.close()
    told = _serve(here, venue)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    assert isinstance(told, tuple), told
    return Points(0, passed=told[0], kinds=told[1])


def _live(wire: Wire, path: Path, script: Script, points: Points, left: Path | None) -> None:
    """What the forked process does; it never returns to the test."""
    told: object = "it said nothing"
    try:
        life, connect = Life(wire, points), stepwise(points)
        if left is not None:
            platter, chance = Platter(), Random(points.deadly)  # noqa: S311 - which writes arrive
            points.last_act, connect = partial(platter.cut, left, chance), recorded(points, platter)
        with patch.object(HTTPAdapter, "send", life.send), patch.object(ledger, "EVERY", 4):
            life.open(path, connect)
            script(life)
            life.end()
        told = (points.passed, points.kinds)
    except BaseException as error:  # whatever it is, the test must hear of it
        told = "".join(traceback.format_exception(error))
    try:
        wire.send(("end", told))
    finally:
        os._exit(0)


def _serve(wire: Wire, venue: Venue) -> object:
    """Be the venue until the process ends; its last word."""
    while True:
        try:
            match wire.recv():
                case "http", request:
                    wire.send((venue.answer(request), venue.now))
                case "happen", number, what, *args:
                    venue.happen(number, what, *args)
                    wire.send(venue.now)
                case "end", told:
                    return told
        except (EOFError, ConnectionError):
            return None
