"""The paper gateway: the simulated venue on a real clock, fed by live frames.

It stands behind the same seam as a real venue, so ids, risk, journal and reconciliation are not bypassed.

The journal is this venue's memory. What it holds as open is put back after a restart and goes on from
the picture of the moment: what the market did while no process ran fills nothing. An intent
without an answer was still on its way when the process died, so it never arrived.

What the market did while the socket was down is matched when REST has told it: every trade once, in order and as of its
own time, before the next picture. A stop that was reached meanwhile meets that picture. Two things that a venue would
have done are not: what traded while nobody can tell any more (``live.gaps`` says from when to when) fills nothing, and
neither does what traded before a cancel but was told of after it, for a cancel waits for no picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Protocol

from kit.broker.gateway import Accepted, Outcome, Refused, Unknown, outcome_of
from kit.broker.paper_venue import Answer, PaperVenue
from kit.broker.shown import Still
from kit.clock import SECOND, Clock
from kit.errors import BookUnsynced, KitError, UnknownName, VenueUnreachable
from kit.market.feed import FeedState
from kit.model import (
    Balance,
    Instrument,
    OrderRequest,
    OrderState,
    Quote,
    Report,
    Side,
    Trade,
)
from kit.orders.lifecycle import OrderRecord
from kit.orders.matching import Depth
from kit.venues.contract import IN_PROCESS

PROBE = 0.2
"""Seconds between two looks at a quiet feed while an order waits to be matched."""
ATTENDANCE = 1.0
"""Seconds between two looks whether the feed that an order depends on was closed."""


class Market(Protocol):
    """What the gateway needs of a live frame."""

    @property
    def state(self) -> FeedState: ...
    @property
    def age(self) -> float: ...
    @property
    def quote(self) -> Quote | None: ...
    @property
    def book(self) -> Depth: ...
    @property
    def last_trade(self) -> int | None: ...
    def trades_after(self, last: int | None) -> list[Trade]: ...
    def tap(self, callback: Callable[[object, int], object]) -> Callable[[], None]: ...


@dataclass
class _Seat:
    """One instrument's market, listened to."""

    instrument: Instrument
    market: Market
    leave: Callable[[], None]
    last: int | None
    """Up to which trade, by its id, everything was matched; None: none was told yet."""


class PaperGateway:
    """The paper venue on a real clock: fed by live frames, answering from the thread ``kit-paper-<account>``.

    ``market`` opens or finds the live frame of a symbol. ``patience`` is how many seconds a call waits for its answer;
    after that the outcome is unknown and the answer comes as a report.
    """

    contract = IN_PROCESS

    def __init__(
        self,
        venue: PaperVenue,
        market: Callable[[str], Market],
        clock: Clock,
        account: str,
        *,
        patience: float = 5.0,
    ) -> None:
        self._venue, self._market, self._clock, self._patience = venue, market, clock, patience
        self.budget: Callable[[str], Decimal | None] = lambda client_id: None
        """What a buy at market may spend, in quote; whoever reserves money for orders sets it."""
        self._seats: dict[str, _Seat] = {}
        self._seating = threading.Lock()
        self._calls: dict[tuple[str, str], Future[list[Report] | None]] = {}
        self._listener: Callable[[Report], None] = lambda report: None
        self._woken = threading.Condition()
        self._closed = False
        self._arrived: list[Answer] = []
        """What has travelled back and is being told."""
        self._newest = 0
        self._thread = threading.Thread(target=self._run, name=f"kit-paper-{account}", daemon=True)
        self._thread.start()

    def listen(self, listener: Callable[[Report], None]) -> None:
        self._listener = listener

    def restore(self, records: Iterable[tuple[Instrument, OrderRecord]], *, above: int) -> None:
        """Go on with the orders that earlier processes left open; new ids are ``above`` every earlier one.

        One of an instrument that its venue no longer knows stays open and can be cancelled: there is no market to meet.
        """
        with self._woken:
            self._venue.begin_ids(above)
        for instrument, record in records:
            budget = self._budget(record.request, record.client_id)
            with self._woken:
                self._venue.restore(instrument, record, budget, self._now())
            if not record.status.final:
                with suppress(UnknownName):
                    self._attend(instrument)

    def submit(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Outcome:
        if self._closed:
            return Refused("this process has closed the paper account")
        self._attend(instrument)
        budget = self._budget(request, client_id)
        answer = self._ask(("submit", client_id), partial(self._venue.send, instrument, request, client_id, budget))
        if answer is None:
            return Unknown("the market has shown nothing since the order arrived; it is matched when it does")
        return outcome_of(answer)

    def cancel(self, instrument: Instrument, client_id: str) -> Outcome:
        answer = self._ask(("cancel", client_id), partial(self._venue.recall, instrument, client_id))
        if answer is None:
            return Unknown("the paper venue was closed")
        return Accepted(answer) if answer else Refused("nothing left to cancel")

    def query(self, instrument: Instrument, client_id: str, since: int) -> OrderState | None:
        """None for an order that is not here any more: its last report has told everything."""
        with self._woken:
            told = (report.client_id for answer in self._arrived for report in answer.reports)
            if self._venue.under_way(client_id) or client_id in told:
                raise VenueUnreachable(f"the paper venue has not answered for {client_id} yet; its report will come")
        return None

    def open_orders(self) -> list[OrderState]:
        """What may still fill here."""
        with self._woken:
            return self._venue.listed()

    def balances(self) -> list[Balance]:
        """Empty: the journal is this venue's memory, there is nothing to compare it with."""
        return []

    def close(self) -> None:
        """Stop listening to the market and answering. May be called twice."""
        with self._woken:
            self._closed = True
            self._woken.notify_all()
            calls, self._calls = self._calls, {}
        for call in calls.values():
            call.set_result(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()
        with self._seating:
            while self._seats:
                self._seats.popitem()[1].leave()

    # -- inside

    def _now(self) -> int:
        """The venue's time. It never runs back, nor behind what the market has shown (a fast replay runs ahead)."""
        self._newest = max(self._clock.now(), self._newest)
        return self._newest

    def _budget(self, request: OrderRequest, client_id: str) -> Decimal | None:
        """What a buy at market may spend; None for what its own price or its quantity bounds."""
        return self.budget(client_id) if request.side is Side.BUY and request.price is None else None

    def _attend(self, instrument: Instrument) -> None:
        """Listen to an instrument's market, once; a closed one is opened again."""
        with self._seating:
            seat = self._seats.get(instrument.symbol)
            if self._closed or (seat is not None and seat.market.state is not FeedState.CLOSED):
                return
            market = self._market(instrument.symbol)
            last = market.last_trade if seat is None else seat.last
            self._seats[instrument.symbol] = seat = _Seat(instrument, market, lambda: None, last)
            seat.leave = market.tap(partial(self._on_event, seat))

    def _ask(self, call: tuple[str, str], send: Callable[[int], None]) -> list[Report] | None:
        """Send something to the venue and wait for its answer; None when it does not come in time."""
        with self._woken:
            if self._closed:
                return None
            answer = self._calls.setdefault(call, Future())
            send(self._now())
            self._woken.notify_all()
        try:
            return answer.result(self._patience)
        except TimeoutError:
            return None
        finally:
            self._calls.pop(call, None)

    def _on_event(self, seat: _Seat, event: object, received: int) -> None:
        """A frame of the feed, on the thread of the sockets."""
        with self._woken:
            self._see(seat, seat.market.book, event if isinstance(event, Trade) else None)

    def _see(self, seat: _Seat, book: Depth, trade: Trade | None = None) -> None:
        """What the market shows and has traded, which is a picture or trades that came late: those before it."""
        instrument, market = seat.instrument, seat.market
        if not self._venue.cares(instrument.symbol) or market.state is not FeedState.LIVE:
            return
        untold = [trade] if trade is not None and trade.id - 1 == seat.last else market.trades_after(seat.last)
        if untold:
            seat.last, self._newest = untold[-1].id, max(self._newest, untold[-1].time)
        now = self._now()
        if untold and untold[0] is not trade:
            answered = self._venue.catch_up(instrument, untold, now)
        else:
            answered = self._venue.see(instrument, book, market.quote, trade if untold else None, now)
        if answered:
            self._woken.notify_all()

    def _run(self) -> None:
        while not self._closed:
            with self._woken:
                self._venue.pass_time(self._now())
                self._look_at_quiet_markets()
                self._arrived += self._venue.answers(self._now())
                if not self._arrived:
                    self._woken.wait(self._pause())
            try:
                while self._arrived:
                    self._deliver(self._arrived[0])
                    self._arrived.pop(0)
            except Exception:  # a journal that can't be read just now: it is told again, which counts nothing twice
                with self._woken:
                    self._woken.wait(PROBE)
            self._open_again()

    def _open_again(self) -> None:
        """Somebody has closed the live frame that an order depends on: it is ours, too."""
        for seat in list(self._seats.values()):
            if seat.market.state is FeedState.CLOSED and self._venue.busy(seat.instrument.symbol):
                with suppress(KitError):  # not now: tried again at the next look
                    self._attend(seat.instrument)

    def _look_at_quiet_markets(self) -> None:
        """A picture that REST has proven current since an order arrived will do where no frame comes."""
        for symbol, arrival in self._venue.waiting():
            now, seat = self._now(), self._seats.get(symbol)
            if seat is not None and now - seat.market.age * SECOND >= arrival:
                with suppress(BookUnsynced):
                    self._see(seat, Still(seat.market.book))

    def _pause(self) -> float | None:
        """Seconds until there is something to do; None: until woken."""
        due = self._venue.next_time()
        pauses = [] if due is None else [max(0.0, (due - self._now()) / SECOND)]
        pauses += [PROBE for _ in self._venue.waiting()]
        pauses += [ATTENDANCE for symbol in list(self._seats) if self._venue.busy(symbol)]
        return min(pauses, default=None)

    def _deliver(self, answer: Answer) -> None:
        """Reports go the one way that keeps their order; the call that waits learns of them when they are taken in."""
        for report in answer.reports:
            self._listener(report)
        call = self._calls.pop(answer.call, None) if answer.call else None
        if call is not None:
            call.set_result(answer.reports)
