"""A small market that shows what a test says, a venue in memory that loses answers on request, and a desk on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kit.broker.desk import Desk
from kit.broker.gateway import Accepted, Outcome, Refused, Unknown
from kit.broker.paper_venue import PaperVenue
from kit.clock import SECOND, ManualClock
from kit.errors import VenueUnreachable
from kit.market.feed import FeedState, Picture
from kit.model import (
    Balance,
    Fees,
    Instrument,
    Levels,
    OrderRequest,
    OrderState,
    Quote,
    Report,
    ReportKind,
    Side,
    Trade,
)
from kit.orders.lifecycle import OrderRecord
from kit.orders.risk import Limits
from kit.store.entries import Terms
from kit.store.journal import Journal
from kit.venues.binance import BINANCE

BTC = Instrument(
    symbol="BTC/USDT",
    native="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick=Decimal("0.01"),
    lot=Decimal("0.001"),
    min_qty=Decimal("0.001"),
    min_notional=Decimal(5),
)
START = 1_700_000_000 * SECOND


class Market:
    """What a live frame is to the order path: state, age, quote, book, and events on request."""

    def __init__(self) -> None:
        self.symbol = "BTC/USDT"
        self.state = FeedState.LIVE
        self.age = 0.1
        self.levels: dict[Side, Levels] = {
            Side.BUY: [(99.0, 1.0), (98.0, 5.0)],
            Side.SELL: [(101.0, 1.0), (102.0, 5.0)],
        }
        self.told: list[Trade] = []
        self._callbacks: list[Callable[[object, int], object]] = []

    @property
    def last_trade(self) -> int | None:
        return self.told[-1].id if self.told else None

    def trades_after(self, last: int | None) -> list[Trade]:
        return [trade for trade in self.told if last is None or trade.id > last]

    @property
    def book(self) -> Market:
        return self

    def bids(self, n: int) -> Levels:
        return self.levels[Side.BUY][:n]

    def asks(self, n: int) -> Levels:
        return self.levels[Side.SELL][:n]

    @property
    def quote(self) -> Quote:
        (bid, bid_qty), (ask, ask_qty) = self.levels[Side.BUY][0], self.levels[Side.SELL][0]
        return Quote(self.symbol, bid, bid_qty, ask, ask_qty)

    def picture(self) -> Picture:
        return Picture(self.state, self.age, self.quote)

    def ready(self, timeout: float) -> bool:
        return self.state is FeedState.LIVE

    def tap(self, callback: Callable[[object, int], object]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def show(self, bid: float, ask: float, qty: float = 1.0) -> None:
        """The market moves."""
        self.levels = {Side.BUY: [(bid, qty), (bid - 1, 5.0)], Side.SELL: [(ask, qty), (ask + 1, 5.0)]}
        self.tick()

    def tick(self) -> None:
        """A frame comes that changes nothing."""
        self.say(self.quote)

    def say(self, event: object) -> None:
        for callback in list(self._callbacks):
            callback(event, 0)

    def trade(self, price: float, qty: float, time: int, side: Side = Side.SELL) -> None:
        self.miss(price, qty, time, side)
        self.say(self.told[-1])

    def miss(self, price: float, qty: float, time: int, side: Side = Side.SELL) -> None:
        """It trades, and only REST tells of it."""
        self.told.append(Trade(self.symbol, (self.last_trade or 0) + 1, price, qty, time, side))


class MemoryVenue:
    """A venue in this process that answers at once, and loses what a test tells it to lose."""

    contract = BINANCE.contract

    def __init__(self, market: Market, clock: ManualClock) -> None:
        self.market, self.clock = market, clock
        self.paper = PaperVenue(Fees(), latency=0, seed=1)
        self.orders: dict[str, OrderRecord] = {}
        self.instruments: dict[str, Instrument] = {}
        self.sent: list[str] = []
        self.lose_request = self.lose_answer = self.unreachable = False
        self.before: Callable[[], None] = lambda: None
        self._listener: Callable[[Report], None] = lambda report: None

    def listen(self, listener: Callable[[Report], None]) -> None:
        self._listener = listener

    def submit(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Outcome:
        self.sent.append(client_id)
        self.before()
        if self.lose_request:
            return Unknown("no answer")
        now = self.clock.now()
        self.orders[client_id] = OrderRecord(client_id, request, now)
        self.instruments[client_id] = instrument
        self.paper.send(instrument, request, client_id, None, now)
        reports = self._step(None)
        if self.lose_answer:
            return Unknown("no answer")
        refused = next((r for r in reports if r.kind is ReportKind.REJECTED), None)
        return Refused(refused.reason) if refused else Accepted(reports)

    def cancel(self, instrument: Instrument, client_id: str) -> Outcome:
        self.before()
        self.paper.recall(instrument, client_id, self.clock.now())
        reports = self._step(None)
        if self.lose_answer:
            return Unknown("no answer")
        return Accepted(reports) if reports else Refused("nothing left to cancel")

    def query(self, instrument: Instrument, client_id: str, since: int = 0) -> OrderState | None:
        if self.unreachable:
            raise VenueUnreachable("no connection")
        record = self.orders.get(client_id)
        if record is None:
            return None
        return OrderState(
            client_id=client_id,
            venue_id=record.venue_id,
            symbol=record.request.symbol,
            status=record.status,
            request=record.request,
            filled=record.filled,
            filled_quote=record.filled_quote,
            time=record.updated,
            reason=record.reason,
            fills=tuple(record.fills),
        )

    def open_orders(self) -> list[OrderState]:
        if self.unreachable:
            raise VenueUnreachable("no connection")
        states = [self.query(self.instruments[name], name) for name in self.orders]
        return [state for state in states if state and not state.status.final]

    def balances(self) -> list[Balance]:
        return []

    def close(self) -> None:
        """Nothing runs here."""

    def trade(self, price: float, qty: float, side: Side = Side.SELL, *, told: bool = True) -> None:
        """A public print; ``told``: what it fills is reported."""
        self.clock.advance(1)
        for report in self._step(Trade("BTC/USDT", 1, price, qty, self.clock.now(), side)):
            if told:
                self._listener(report)

    def _step(self, trade: Trade | None) -> list[Report]:
        now = self.clock.now()
        self.paper.pass_time(now)
        self.paper.see(BTC, self.market, self.market.quote, trade, now)
        reports = [report for answer in self.paper.answers(now) for report in answer.reports]
        for report in reports:
            self.orders[report.client_id].apply(report)
        return reports


class World:
    """One account: its journal on disk, a desk, a market and a venue that outlive the desk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock(START)
        self.market = Market()
        self.venue = MemoryVenue(self.market, self.clock)
        self.limits = Limits()
        self.desk = self.open()

    def open(self, session: str = "default") -> Desk:
        """The desk of a new process."""
        journal = Journal(self.path)
        if journal.terms is None:
            journal.terms = Terms(
                kind="paper",
                venue="memory",
                environment="SANDBOX",
                quote="USDT",
                cash={"USDT": Decimal(1000), "BTC": Decimal(1)},
                fees=Fees(),
                created=START,
            )
        return Desk(
            "paper",
            session,
            journal,
            self.venue,
            self.clock,
            instruments=lambda symbol: BTC,
            picture=lambda symbol: self.market.picture(),
            limits=self.limits,
        )

    def restart(self, session: str = "default") -> Desk:
        """The process ends, as by kill -9: nothing is said to the desk."""
        self.desk.journal.close()
        self.desk = self.open(session)
        return self.desk


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Any]:
    made = World(tmp_path / "accounts" / "paper.sqlite")
    yield made
    made.desk.journal.close()


@pytest.fixture
def market() -> Any:
    return Market()


@pytest.fixture
def btc() -> Instrument:
    return BTC


@pytest.fixture
def make_world() -> Any:
    return World
