"""The simulator's laws, held against an observer that only sees the market, the requests and the reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kit.model import (
    Candle,
    Fees,
    Fill,
    Instrument,
    Levels,
    OrderRequest,
    OrderType,
    Report,
    ReportKind,
    Side,
    TimeInForce,
    Trade,
)
from kit.orders.account import Account, reservation
from kit.orders.lifecycle import OrderRecord
from kit.orders.matching import Simulator

D = Decimal
BTC = Instrument(symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=D("0.5"), lot=D("0.1"))
FEES = Fees(maker=D("0.001"), taker=D("0.002"))
CASH = {"USDT": D(5000), "BTC": D(50)}

ticks = st.integers(190, 210).map(lambda half: half / 2)
sizes = st.integers(1, 30).map(lambda lots: lots / 10)


@dataclass(frozen=True)
class Picture:
    bid_levels: Levels = field(default_factory=list)
    ask_levels: Levels = field(default_factory=list)

    def bids(self, n: int) -> Levels:
        return self.bid_levels[:n]

    def asks(self, n: int) -> Levels:
        return self.ask_levels[:n]

    def met_by(self, side: Side) -> dict[Decimal, Decimal]:
        """Price -> quantity displayed to takers of a side."""
        levels = self.ask_levels if side is Side.BUY else self.bid_levels
        return {D(str(price)): D(str(qty)) for price, qty in levels}


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Up to twelve levels a side around a middle between 95 and 105; one of the sides may be empty."""
    middle = draw(st.integers(190, 210))
    gap = draw(st.integers(1, 3))
    bid_sizes = draw(st.lists(sizes | st.none(), max_size=12))
    ask_sizes = draw(st.lists(sizes | st.none(), max_size=12))
    bids = [((middle - i) / 2, size) for i, size in enumerate(bid_sizes) if size]
    asks = [((middle + gap + i) / 2, size) for i, size in enumerate(ask_sizes) if size]
    return Picture(bids, asks)


@st.composite
def requests(draw: st.DrawFn) -> OrderRequest:
    type_ = draw(st.sampled_from(OrderType))
    priced, stopped = "limit" in type_, "stop" in type_
    tif = draw(st.sampled_from(TimeInForce)) if priced else TimeInForce.GTC
    return OrderRequest(
        symbol="BTC/USDT",
        side=draw(st.sampled_from(Side)),
        type=type_,
        qty=D(str(draw(sizes))),
        price=D(str(draw(ticks))) if priced else None,
        stop=D(str(draw(ticks))) if stopped else None,
        tif=tif,
        post_only=type_ is OrderType.LIMIT and tif is TimeInForce.GTC and draw(st.booleans()),
    )


class Venue(RuleBasedStateMachine):
    """One account at one venue. Everything a broker would do, and an observer that checks every report."""

    def __init__(self) -> None:
        super().__init__()
        numbers = count(1)
        self.sim = Simulator(BTC, FEES, ids=lambda: next(numbers))
        self.account = Account(CASH)
        self.records: dict[str, OrderRecord] = {}
        self.fills: list[Fill] = []
        self.now = 1000
        self.picture: Picture | None = None
        self.taken: defaultdict[tuple[Side, Decimal], Decimal] = defaultdict(Decimal)

    # what happens

    @rule(request=requests())
    def place(self, request: OrderRequest) -> None:
        self.now += 10
        reference = D(105)
        asset, amount = reservation(BTC, request, reference)
        if amount > self.account.free(asset):
            return
        client_id = f"c{len(self.records)}"
        self.account.reserve(client_id, asset, amount, qty=request.qty)
        self.records[client_id] = OrderRecord(client_id, request, self.now)
        budget = amount if request.side is Side.BUY else None
        self.take(self.sim.submit(client_id, request, self.now, budget=budget), self.on_picture)

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        client_id = data.draw(st.sampled_from(sorted(self.records)))
        was_working = client_id in self.sim.working
        reports = self.sim.cancel(client_id, self.now)
        assert [report.kind for report in reports] == [ReportKind.CANCELED] * was_working
        self.take(reports, self.nothing)

    @rule(picture=pictures())
    def show(self, picture: Picture) -> None:
        self.now += 10
        self.age(picture)
        self.take(self.sim.on_book(picture, self.now), self.on_picture)

    @precondition(lambda self: self.picture is not None)
    @rule()
    def show_the_same_again(self) -> None:
        assert self.picture is not None
        again = Picture(list(self.picture.bid_levels), list(self.picture.ask_levels))
        self.now += 10
        self.take(self.sim.on_book(again, self.now), self.on_picture)

    @rule(price=ticks, qty=sizes, side=st.sampled_from(Side), late=st.sampled_from([0, 0, 0, 500]))
    def trade(self, price: float, qty: float, side: Side, late: int) -> None:
        self.now += 10
        print_ = Trade("BTCUSDT", 1, price, qty, self.now - late, side)
        reports = self.sim.on_trade(print_, self.now)
        self.take(reports, lambda fill: self.by_print(fill, print_))
        assert sum((report.fill.qty for report in reports if report.fill), D(0)) <= D(str(qty))

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        """The process ends and comes back: a new simulator is told what was open."""
        numbers = count(1_000_000 * (1 + len(self.fills)))
        again = Simulator(BTC, FEES, ids=lambda: next(numbers))
        for client_id in self.sim.working:
            record = self.records[client_id]
            locked = self.account.reserved(client_id)
            again.restore(
                record.request,
                client_id,
                record.venue_id,
                record.filled,
                self.now,
                triggered=record.triggered,
                budget=locked if record.request.price is None and record.request.side is Side.BUY else None,
            )
        self.sim, self.picture = again, None
        self.taken.clear()

    # what the observer knows

    def age(self, picture: Picture) -> None:
        """What was taken binds only while a level shows no less and never goes."""
        for side, price in list(self.taken):
            before = self.picture.met_by(side).get(price) if self.picture else None
            if picture.met_by(side).get(price) != before:
                del self.taken[side, price]
        self.picture = picture

    def take(self, reports: Sequence[Report], evidence: Callable[[Fill], None]) -> None:
        for report in reports:
            record = self.records[report.client_id]
            assert record.apply(report)
            assert report.time == self.now >= record.created
            if report.fill is not None:
                self.fills.append(report.fill)
                self.account.apply(report.fill, BTC)
                self.fair(report.fill, record)
                evidence(report.fill)
            if record.status.final:
                self.account.release(report.client_id)

    def fair(self, fill: Fill, record: OrderRecord) -> None:
        request = record.request
        assert fill.qty > 0
        assert fill.qty % BTC.lot == 0
        assert fill.price % BTC.tick == 0
        assert (fill.symbol, fill.side) == (request.symbol, request.side)
        assert request.price is None or (request.price - fill.price) * request.side.sign >= 0
        assert request.stop is None or record.triggered
        assert not (request.post_only and not fill.maker)
        assert not fill.maker or fill.price == request.price
        received = fill.qty if fill.side is Side.BUY else fill.notional
        rate = FEES.maker if fill.maker else FEES.taker
        assert 0 <= fill.fee - received * rate < D("1e-8")
        assert fill.fee_asset == ("BTC" if fill.side is Side.BUY else "USDT")

    def nothing(self, fill: Fill) -> None:
        pytest.fail(f"{fill} came from nowhere")

    def on_picture(self, fill: Fill) -> None:
        """A taker fills at a displayed level, never more than it shows less what we took; a maker where it is met."""
        assert self.picture is not None
        shown = self.picture.met_by(fill.side)
        if fill.maker:
            meeting = {price: qty for price, qty in shown.items() if (fill.price - price) * fill.side.sign >= 0}
            assert fill.qty <= sum(meeting.values(), D(0))
            return
        self.taken[fill.side, fill.price] += fill.qty
        assert self.taken[fill.side, fill.price] <= shown[fill.price]

    def by_print(self, fill: Fill, print_: Trade) -> None:
        """Only a maker fills on a print: one through its price, or at it by the other side, and since its arrival."""
        assert fill.maker
        assert print_.time >= self.records[fill.client_id].created
        beyond = (fill.price - D(str(print_.price))) * fill.side.sign
        assert beyond > 0 or (beyond == 0 and print_.side is fill.side.opposite)

    # what always holds

    @invariant()
    def orders_and_working_orders_are_the_same_story(self) -> None:
        alive = {client_id for client_id, record in self.records.items() if not record.status.final}
        assert set(self.sim.working) == alive
        for client_id, order in self.sim.working.items():
            assert order.remaining == self.records[client_id].remaining > 0
        for record in self.records.values():
            assert record.filled <= record.request.qty

    @invariant()
    def numbers_are_used_once(self) -> None:
        assert len({fill.id for fill in self.fills}) == len(self.fills)

    @invariant()
    def what_is_over_locks_nothing_and_what_is_locked_covers(self) -> None:
        for client_id, record in self.records.items():
            locked = self.account.reserved(client_id)
            if record.status.final:
                assert locked == 0
            elif record.request.side is Side.SELL:
                assert locked == record.remaining
            elif record.request.price is not None:
                assert locked == record.remaining * record.request.price

    @invariant()
    def money_is_never_short_and_always_conserved(self) -> None:
        for balance in self.account.balances().values():
            assert balance.free >= 0
        replayed = Account(CASH)
        for fill in self.fills:
            replayed.apply(fill, BTC)
        assert replayed.positions() == self.account.positions()
        assert {a: b.total for a, b in replayed.balances().items()} == {
            a: b.total for a, b in self.account.balances().items()
        }


TestVenue = Venue.TestCase
TestVenue.settings = settings(max_examples=150, stateful_step_count=40)


@st.composite
def candles(draw: st.DrawFn, time: int) -> Candle:
    prices = draw(st.lists(ticks, min_size=4, max_size=4))
    volume = draw(st.sampled_from([0.0, 0.5, 2.0, 50.0]))
    low, high = min(prices), max(prices)
    return Candle("BTCUSDT", "1m", time, prices[0], high, low, prices[1], volume, 0.0, 1, closed=True)


@given(st.lists(requests(), min_size=1, max_size=6), st.data())
def test_no_bar_gives_better_than_it_showed_or_more_than_it_traded(
    orders: list[OrderRequest], data: st.DataObject
) -> None:
    numbers = count(1)
    sim = Simulator(BTC, FEES, ids=lambda: next(numbers), bar_spread=D("0.01"))
    records = {}
    for i, request in enumerate(orders):
        records[str(i)] = record = OrderRecord(str(i), request, 0)
        for report in sim.submit(str(i), request, data.draw(st.integers(0, 300))):
            record.apply(report)
    for time in range(100, 500, 100):
        candle = data.draw(candles(time))
        working = dict(sim.working)
        reports = sim.on_bar(candle, time + 100)
        assert sum((report.fill.qty for report in reports if report.fill), D(0)) <= D(str(candle.volume))
        for report in reports:
            record = records[report.client_id]
            assert record.apply(report)
            assert working[report.client_id].since <= candle.time
            if report.fill is not None:
                fair_on_bar(report.fill, record.request, candle)
    assert all((record.client_id in sim.working) != record.status.final for record in records.values())


def fair_on_bar(fill: Fill, request: OrderRequest, candle: Candle) -> None:
    """No better than the best price of the bar, within the limit; a maker only where the bar went strictly through."""
    sign = fill.side.sign
    best = D(str(candle.low if fill.side is Side.BUY else candle.high))
    assert (fill.price - best) * sign >= 0
    assert request.price is None or (request.price - fill.price) * sign >= 0
    if fill.maker:
        assert fill.price == request.price
        assert (fill.price - best) * sign > 0
    elif request.stop is not None:
        assert (fill.price - request.stop) * sign > 0
    else:
        assert (fill.price - D(str(candle.open))) * sign > 0


@given(st.lists(requests(), max_size=8), st.lists(pictures(), min_size=1, max_size=5))
def test_the_same_market_gives_the_same_reports(orders: list[OrderRequest], shown: list[Picture]) -> None:
    def run() -> list[Report]:
        numbers = count(1)
        sim = Simulator(BTC, FEES, ids=lambda: next(numbers))
        reports: list[Report] = []
        for i, picture in enumerate(shown):
            reports += sim.on_book(picture, i)
            for j, request in enumerate(orders[i :: len(shown)]):
                reports += sim.submit(f"{i}-{j}", request, i)
        return reports

    assert run() == run()
