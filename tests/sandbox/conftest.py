"""A market whose every event a test writes down, and exchanges to try it on."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import requests

from kit.clock import SECOND
from kit.market.candles import floor_time, next_time
from kit.model import BookDelta, BookSnapshot, Instrument, Levels, Quote, Side, Trade
from kit.sandbox import launcher
from kit.sandbox.exchange import Exchange
from kit.sandbox.launcher import Handle
from kit.sandbox.market import CandleColumns, MarketEvent

BEGINS = 1_790_000_040 * SECOND  # a full minute
BTC = Instrument(
    symbol="BTC/USDT",
    native="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick=Decimal("0.01"),
    lot=Decimal("0.00001"),
    min_qty=Decimal("0.00001"),
    max_qty=Decimal(9000),
    min_price=Decimal("0.01"),
    max_price=Decimal(1000000),
    min_notional=Decimal(5),
)
ETH = Instrument(
    symbol="ETH/USDT",
    native="ETHUSDT",
    base="ETH",
    quote="USDT",
    tick=Decimal("0.01"),
    lot=Decimal("0.0001"),
    min_notional=Decimal(5),
)


@dataclass
class Script:
    """One symbol's events, in time order, over a book that starts with one level a side."""

    native: str
    bids: Levels = field(default_factory=lambda: [(100.0, 2.0), (99.0, 5.0)])
    asks: Levels = field(default_factory=lambda: [(101.0, 2.0), (102.0, 5.0)])
    events: list[MarketEvent] = field(default_factory=list)
    updates: int = 1000

    def trade(self, at: int, price: float, qty: float, side: Side = Side.BUY) -> Script:
        """A print ``at`` µs after the beginning; ``side`` is the taker's."""
        number = 1 + sum(isinstance(event, Trade) for event in self.events)
        self.events.append(Trade(self.native, number, price, qty, BEGINS + at, side))
        return self

    def book(self, at: int, *, bids: Levels = (), asks: Levels = ()) -> Script:  # type: ignore[assignment]
        """Levels set ``at`` µs after the beginning."""
        self.updates += 1
        self.events.append(BookDelta(self.native, self.updates, self.updates, list(bids), list(asks), BEGINS + at))
        return self

    def quote(self, at: int, bid: float, ask: float) -> Script:
        self.events.append(Quote(self.native, bid, 1.0, ask, 1.0, self.updates, BEGINS + at))
        return self

    def at(self, now: int) -> BookSnapshot:
        bids, asks, last = dict(self.bids), dict(self.asks), 1000
        for event in self.events:
            if isinstance(event, BookDelta) and event.time <= now:
                bids.update(event.bids)
                asks.update(event.asks)
                last = event.last_id
        kept = [[(p, q) for p, q in side.items() if q] for side in (bids, asks)]
        return BookSnapshot(self.native, last, sorted(kept[0], reverse=True), sorted(kept[1]))

    def trades(self, now: int) -> list[Trade]:
        return [event for event in self.events if isinstance(event, Trade) and event.time <= now]


class ScriptedMarket:
    """A ``kit.sandbox.market.Market`` of scripts."""

    begins = BEGINS
    label = "scripted"

    def __init__(self, *, ends: int | None = None) -> None:
        self.instruments: Mapping[str, Instrument] = {"BTCUSDT": BTC, "ETHUSDT": ETH}
        self.ends = ends
        self.scripts = {native: Script(native) for native in self.instruments}

    @property
    def btc(self) -> Script:
        return self.scripts["BTCUSDT"]

    def trades(
        self,
        native: str,
        *,
        now: int,
        from_id: int | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
    ) -> list[Trade]:
        known = [
            trade
            for trade in self.scripts[native].trades(now)
            if trade.id >= (from_id or 0) and trade.time >= (start or 0) and trade.time <= (now if end is None else end)
        ]
        return known[:limit] if from_id is not None or start is not None else known[-limit:]

    def candles(
        self,
        native: str,
        interval: str,
        *,
        now: int,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
    ) -> CandleColumns:
        opens = [floor_time(BEGINS, interval)]
        while (following := next_time(opens[-1], interval)) <= now:
            opens.append(following)
        wanted = [t for t in opens if (start is None or t >= start) and (end is None or t <= end)]
        wanted = wanted[:limit] if start is not None else wanted[-limit:]
        return _columns([self._bar(native, interval, t, now) for t in wanted])

    def _bar(self, native: str, interval: str, time: int, now: int) -> dict[str, float]:
        known = self.scripts[native].trades(now)
        inside = [trade for trade in known if time <= trade.time < next_time(time, interval)]
        before = [trade for trade in known if trade.time < time]
        prices = [trade.price for trade in inside] or [before[-1].price if before else 100.0]
        bought = [trade for trade in inside if trade.side is Side.BUY]
        return {
            "time": time,
            "open": prices[0],
            "high": max(prices),
            "low": min(prices),
            "close": prices[-1],
            "volume": sum(trade.qty for trade in inside),
            "quote_volume": sum(trade.qty * trade.price for trade in inside),
            "trades": len(inside),
            "taker_base": sum(trade.qty for trade in bought),
            "taker_quote": sum(trade.qty * trade.price for trade in bought),
            "first_id": inside[0].id if inside else -1,
            "last_id": inside[-1].id if inside else -1,
        }

    def book(self, native: str, *, now: int, limit: int = 1000) -> BookSnapshot:
        full = self.scripts[native].at(now)
        return BookSnapshot(native, full.last_id, full.bids[:limit], full.asks[:limit])

    def quote(self, native: str, *, now: int) -> Quote:
        full = self.scripts[native].at(now)
        return Quote(native, *full.bids[0], *full.asks[0], full.last_id, now)

    def events(self, native: str, *, after: int, until: int) -> list[MarketEvent]:
        return [event for event in self.scripts[native].events if after < event.time <= until]


_INTEGERS = ("time", "trades", "first_id", "last_id")


def _columns(rows: list[dict[str, float]]) -> CandleColumns:
    names = rows[0] if rows else ScriptedMarket()._bar("BTCUSDT", "1m", BEGINS, BEGINS)
    return {
        name: np.array([row[name] for row in rows], dtype=np.int64 if name in _INTEGERS else np.float64)
        for name in names
    }


@pytest.fixture(scope="session")
def begins() -> int:
    """The moment (µs) at which scripted markets begin."""
    return BEGINS


@pytest.fixture(scope="session")
def scripted() -> Callable[..., ScriptedMarket]:
    """``scripted(ends=None)`` is a new scripted market."""
    return ScriptedMarket


@pytest.fixture
def market() -> ScriptedMarket:
    """A scripted market: BTCUSDT and ETHUSDT, bids 100 and 99, asks 101 and 102."""
    return ScriptedMarket()


@pytest.fixture
def exchange(market: ScriptedMarket) -> Exchange:
    """An exchange in that market with one account, ``me``: 10,000 USDT and 10 BTC."""
    opened = Exchange(market)
    opened.open_account("me", {"USDT": Decimal(10_000), "BTC": Decimal(10)}, BEGINS)
    return opened


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    """One running sandbox for all tests of a module; what they put in force they clear."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPERTAPE_HOME", str(tmp_path_factory.mktemp("sandboxes")))
        handle = launcher.ensure("shared")
        yield handle
        handle.stop()


class Caller:
    """The least that signs: a REST caller of a sandbox."""

    def __init__(self, handle: Handle) -> None:
        self.rest = handle.hosts.rest
        self._key = handle.key
        self._session = requests.Session()
        self._session.trust_env = False

    def get(self, path: str, **params: object) -> Any:
        """A public GET's JSON."""
        return self.raw("GET", path, urlencode(params)).json()

    def raw(self, method: str, path: str, query: str = "", **kwargs: Any) -> requests.Response:
        """Any request, as it is."""
        return self._session.request(method, f"{self.rest}{path}?{query}", timeout=10, **kwargs)

    def signed(self, method: str, path: str, **params: object) -> requests.Response:
        """A signed request to ``/api/v3/<path>``."""
        query = urlencode(params | {"timestamp": params.get("timestamp", time.time_ns() // 1_000_000)})
        signature = hmac.new(self._key.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        headers = {"X-MBX-APIKEY": self._key.id}
        return self.raw(method, f"/api/v3/{path}", f"{query}&signature={signature}", headers=headers)

    def place(self, **params: object) -> Any:
        """The JSON of an order in BTCUSDT that must be taken."""
        answer = self.signed("POST", "order", **({"symbol": "BTCUSDT"} | params))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="session")
def call() -> Iterator[Callable[[Handle], Caller]]:
    """``call(handle)`` talks REST to a sandbox."""
    made: list[Caller] = []

    def make(handle: Handle) -> Caller:
        made.append(Caller(handle))
        return made[-1]

    yield make
    for caller in made:
        caller.close()
