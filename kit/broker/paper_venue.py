"""The paper venue: an exchange with one account, simulated on what the live market shows. Pure.

Orders travel, meet the market in the fill simulator, and answers travel back. An order reaches the market ``latency``
after it was sent and meets the first picture that is proven current after its arrival (design law 5).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

import msgspec

from kit.broker.shown import Worse
from kit.model import (
    Fees,
    Instrument,
    OrderRequest,
    OrderState,
    OrderStatus,
    Quote,
    Report,
    ReportKind,
    Trade,
)
from kit.orders.lifecycle import OrderRecord
from kit.orders.matching import Depth, Simulator
from kit.orders.working import Working


@dataclass(order=True)
class _Parcel:
    """An order or a cancel on its way to the market."""

    arrival: int
    number: int
    client_id: str = field(compare=False)
    request: OrderRequest | None = field(compare=False)
    budget: Decimal | None = field(compare=False, default=None)


@dataclass(order=True)
class Answer:
    """What the venue says, on its way back: to the call that waits for it, or to nobody in particular."""

    due: int
    number: int
    reports: list[Report] = field(compare=False)
    call: tuple[str, str] | None = field(compare=False, default=None)


class PaperVenue:
    """A simulated venue with one account. Pure: it is told what time it is (µs) and what the market shows.

    ``latency`` (µs) is the mean of each way; each journey takes between half and one and a half of it,
    drawn from ``seed``, and nothing overtakes on the way back.
    """

    def __init__(
        self,
        fees: Fees,
        *,
        latency: int,
        seed: int,
    ) -> None:
        self._fees, self._latency = fees, latency
        self._random = Random(seed)  # noqa: S311 - a latency draw, no secret
        self._ids = itertools.count(1)
        self._numbers = itertools.count()
        self._simulators: dict[str, Simulator] = {}
        self._way: dict[str, list[_Parcel]] = {}
        self._back: list[Answer] = []
        self._last_due = 0

    def send(
        self, instrument: Instrument, request: OrderRequest, client_id: str, budget: Decimal | None, now: int
    ) -> None:
        """An order leaves for the market; ``budget`` is the most quote a buy at market may spend."""
        self._dispatch(instrument, client_id, now, request, budget)

    def recall(self, instrument: Instrument, client_id: str, now: int) -> None:
        """A cancel leaves for the market."""
        self._dispatch(instrument, client_id, now)

    def begin_ids(self, above: int) -> None:
        """Number orders and fills from above ``above`` on."""
        self._ids = itertools.count(max(next(self._ids) - 1, above) + 1)

    def restore(self, instrument: Instrument, record: OrderRecord, budget: Decimal | None, now: int) -> None:
        """Remember an order from before a restart: its ids are taken, and if it was open it goes on."""
        taken = [int(name) for name in (record.venue_id, *(fill.id for fill in record.fills)) if name.isdecimal()]
        self._ids = itertools.count(max([next(self._ids) - 1, *taken]) + 1)
        if record.status in (OrderStatus.OPEN, OrderStatus.PARTIAL):
            self._simulator(instrument).restore(
                record.request,
                record.client_id,
                record.venue_id,
                record.filled,
                now,
                triggered=record.triggered,
                budget=budget,
            )

    def cares(self, symbol: str) -> bool:
        """True from the first order on: each picture may bring quantity back, each trade says where stops stand."""
        return symbol in self._simulators

    def busy(self, symbol: str) -> bool:
        """True while an order or a cancel travels there, or an order works."""
        return bool(self._way.get(symbol)) or (symbol in self._simulators and bool(self._simulators[symbol].working))

    def see(self, instrument: Instrument, depth: Depth, quote: Quote | None, trade: Trade | None, now: int) -> bool:
        """A picture current as of ``now``, and the trade that came with it; True when the venue has an answer."""
        if not self.cares(instrument.symbol):
            return False
        way, simulator, answers = self._way.get(instrument.symbol), self._simulators[instrument.symbol], len(self._back)
        reports = simulator.on_book(Worse(depth, quote) if quote else depth, now)
        while way and way[0].arrival <= now:
            self._arrive(simulator, heapq.heappop(way), quote, now)
        if trade is not None:
            reports += simulator.on_trade(trade, now)
        if reports:
            self._reply(reports, now)
        return len(self._back) > answers

    def catch_up(self, instrument: Instrument, missed: Iterable[Trade], now: int) -> bool:
        """Trades that are told of late, oldest first, do what they would have done, as of their own time; True when the
        venue has an answer."""
        simulator = self._simulators[instrument.symbol]
        reports = [report for trade in missed for report in simulator.on_trade(trade, trade.time)]
        if reports:
            self._reply(reports, now)
        return bool(reports)

    def pass_time(self, now: int) -> None:
        """Cancels that have arrived by ``now`` take effect: they need no picture."""
        for symbol, way in self._way.items():
            for parcel in [p for p in way if p.request is None and p.arrival <= now]:
                way.remove(parcel)
                self._cancel(self._simulators[symbol], parcel, now)
            heapq.heapify(way)

    def answers(self, now: int) -> list[Answer]:
        """What has travelled back by ``now``, in the order it was said."""
        arrived = []
        while self._back and self._back[0].due <= now:
            arrived.append(heapq.heappop(self._back))
        return arrived

    def next_time(self) -> int | None:
        """When the next cancel takes effect or the next answer is back; None when nothing is under way."""
        cancels = [p.arrival for way in self._way.values() for p in way if p.request is None]
        return min([*cancels, *(answer.due for answer in self._back[:1])], default=None)

    def waiting(self) -> Iterable[tuple[str, int]]:
        """Symbols with an order on its way, and the arrival of the first."""
        return [(symbol, way[0].arrival) for symbol, way in self._way.items() if way]

    def under_way(self, client_id: str) -> bool:
        """True while an order or an answer about it travels."""
        going = any(p.client_id == client_id for way in self._way.values() for p in way)
        return going or any(r.client_id == client_id for answer in self._back for r in answer.reports)

    def works(self, client_id: str) -> bool:
        """True while the order may fill."""
        return any(client_id in simulator.working for simulator in self._simulators.values())

    def listed(self) -> list[OrderState]:
        """Every order that may fill, as a venue lists them; what their fills were worth is not remembered here."""
        return [_state(order) for simulator in self._simulators.values() for order in simulator.working.values()]

    # -- inside

    def _simulator(self, instrument: Instrument) -> Simulator:
        if instrument.symbol not in self._simulators:
            self._simulators[instrument.symbol] = Simulator(instrument, self._fees, ids=lambda: next(self._ids))
        return self._simulators[instrument.symbol]

    def _dispatch(
        self,
        instrument: Instrument,
        client_id: str,
        now: int,
        request: OrderRequest | None = None,
        budget: Decimal | None = None,
    ) -> None:
        self._simulator(instrument)
        parcel = _Parcel(now + self._journey(), next(self._numbers), client_id, request, budget)
        heapq.heappush(self._way.setdefault(instrument.symbol, []), parcel)

    def _journey(self) -> int:
        return round(self._latency * self._random.uniform(0.5, 1.5))

    def _arrive(self, simulator: Simulator, parcel: _Parcel, quote: Quote | None, now: int) -> None:
        if parcel.request is None:
            self._cancel(simulator, parcel, now)
            return
        reports = simulator.submit(parcel.client_id, parcel.request, now, budget=parcel.budget)
        seen = f"bid {quote.bid:.10g}, ask {quote.ask:.10g} on arrival" if quote else ""
        reports = [msgspec.structs.replace(r, reason=seen) if r.kind is ReportKind.ACCEPTED else r for r in reports]
        self._reply(reports, now, ("submit", parcel.client_id))

    def _cancel(self, simulator: Simulator, parcel: _Parcel, now: int) -> None:
        reports = simulator.cancel(parcel.client_id, now)
        way = self._way[simulator.instrument.symbol]
        for late in [p for p in way if p.client_id == parcel.client_id and p.request is not None]:
            way.remove(late)  # the market has been silent since the order arrived
            heapq.heapify(way)
            reports = [Report(kind=ReportKind.CANCELED, client_id=late.client_id, time=now, reason="never matched")]
        self._reply(reports, now, ("cancel", parcel.client_id))

    def _reply(self, reports: list[Report], now: int, call: tuple[str, str] | None = None) -> None:
        self._last_due = max(self._last_due, now + self._journey())
        heapq.heappush(self._back, Answer(self._last_due, next(self._numbers), reports, call))


def _state(order: Working) -> OrderState:
    filled = order.request.qty - order.remaining
    return OrderState(
        client_id=order.client_id,
        venue_id=order.venue_id,
        symbol=order.request.symbol,
        status=OrderStatus.PARTIAL if filled else OrderStatus.OPEN,
        request=order.request,
        filled=filled,
        filled_quote=Decimal("NaN"),
        time=order.since,
    )
