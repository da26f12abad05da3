"""A strategy on live data: the class of the backtest, decided on each bar as it closes, through a broker's desk."""

from __future__ import annotations

import logging
import threading
from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kit.broker import guard
from kit.errors import NotYet, OutcomeUnknown, Refused, Unreached, UsageError
from kit.market.candles import next_time, open_times
from kit.market.feed import FeedState
from kit.orders.lifecycle import OrderRecord
from kit.research.strategy import COLUMNS, Runner, Strategy, made
from kit.research.trader import DeskTrader
from kit.runtime import runtime

if TYPE_CHECKING:
    from kit.broker.broker import Broker
    from kit.net.live import Live

log = logging.getLogger("kit.research.run")
PATIENCE = 0.5
"""Seconds the session's thread waits for news before it looks whether it was stopped."""
ROOM = 0.001
"""How far the ask may rise, as a share of it, between sizing an order and the desk's look at it."""


class Session:
    """A strategy at work, in a thread of its own. ``stop()`` ends it; its orders stay as they are.

    ``bars`` counts decisions; ``refusals`` keeps the last hundred orders that were refused, with the time (UTC) and
    the reason; ``error`` is what ended a failed session (its log ``kit.research.run`` says so, which a notebook shows):
    no order leaves after it.
    """

    def __init__(self, strategy: Strategy, broker: Broker, live: Live) -> None:
        self.strategy, self.live = strategy, live
        self.name = f"{strategy!r} on {live.symbol} {live.interval} for {broker.account}"
        self._label = guard.label(broker.terms.kind, broker.environment)
        self.bars = 0
        self.refusals: deque[tuple[pd.Timestamp, str]] = deque(maxlen=100)
        self.error: BaseException | None = None
        self._trader = DeskTrader(broker.desk, live.instrument, self._price, repr(strategy), cost=self._cost)
        self._runner = Runner(strategy, self._trader)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"kit-run-{type(strategy).__name__}", daemon=True)

    @property
    def state(self) -> str:
        """``running``, ``stopped`` or ``failed``."""
        if self.error is not None:
            return "failed"
        return "running" if self._thread.is_alive() and not self._stop.is_set() else "stopped"

    @property
    def orders(self) -> list[OrderRecord]:
        """What the session has ordered, oldest first."""
        return list(self._trader.records)

    def start(self) -> Session:
        """Begin with the next bar that closes."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """No decision after this returns. Open orders stay open; ``broker.cancel_all()`` ends them."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        runtime.forget(self)

    close = stop

    def __repr__(self) -> str:
        why = f": {type(self.error).__name__}: {self.error}" if self.error else ""
        refused = f", {len(self.refusals)} refused" if self.refusals else ""
        counts = f"{self.bars} bars, {len(self.orders)} orders{refused}"
        return f"<Session {self.name} · {self._label}: {self.state}, {counts}{why}>"

    def _work(self) -> None:
        try:
            decided = self._load(self._closed())
            version = self.live.version
            while not self._stop.is_set():
                version = self._news(version)
                decided = self._decide_after(decided)
        except Exception as error:  # the thread's last word: kept, shown, and no order after it
            self.error = error
            log.error(  # noqa: TRY400 - its traceback is in ``error``, for whoever wants to read it
                "%s has failed and orders nothing any more: %s: %s. What it has open stays open",
                self.name, type(error).__name__, error,
            )  # fmt: skip

    def _news(self, version: int) -> int:
        try:
            return self.live.wait(version, timeout=PATIENCE)
        except NotYet:
            return version

    def _closed(self) -> pd.DataFrame:
        frame = self.live.frame
        return frame[frame["closed"].to_numpy(dtype=bool)]

    def _load(self, closed: pd.DataFrame) -> int:
        """Put the closed bars before the strategy; the last one's open time, µs."""
        if closed.empty:
            raise UsageError(
                f"{self.live.symbol} {self.live.interval} has no closed bar yet: wait for LIVE and run again"
            )
        times = open_times(closed)
        self._runner.load(times, {name: closed[name].to_numpy(dtype=np.float64) for name in COLUMNS})
        return int(times[-1])

    def _decide_after(self, decided: int) -> int:
        """Decide once on the newest closed bar; bars missed in a gap are history, not decisions."""
        closed = self._closed()
        if closed.empty or open_times(closed)[-1] <= decided or self.live.state is not FeedState.LIVE:
            return decided
        last = self._load(closed)
        if len(closed) > self._runner.warm:
            self.bars += 1
            try:
                self._runner.decide(len(closed) - 1, next_time(last, self.live.interval))
            except (Refused, Unreached, OutcomeUnknown) as refusal:
                self.refusals.append((pd.Timestamp.now("UTC"), str(refusal)))
        return last

    def _price(self) -> Decimal:
        quote = self.live.quote
        value = quote.mid if quote else float(self.live.frame["close"].iloc[-1])
        return self.live.instrument.price(value)

    def _cost(self) -> Decimal:
        """What a buyer must be ready to pay: all of the cash has to last for the ask, not for the mid."""
        quote = self.live.quote
        return self.live.instrument.price(quote.ask * (1 + ROOM)) if quote else self._price()


def run(strategy: Strategy, broker: Broker, live: Live) -> Session:
    """Let ``strategy`` trade ``live`` through ``broker``, in the background, from the next closed bar on.

    Its ``position`` is all that the account holds of the instrument, bought by it or not, and ``target`` buys and sells
    of that: a strategy that shares an instrument with you or with another one wants an account of its own
    (``kit.paper(venue, account="cross")``).

    Running the cell again replaces the session of the same strategy, instrument and account. An order that is refused
    (a stale picture, a risk check) or a cancel that did not get through is kept in ``refusals`` and the session goes
    on; any other error ends it and shows in its repr. UsageError for what is no strategy, account or live frame.
    """
    made(strategy)
    for name, given, wanted in (("broker", broker, "desk"), ("live", live, "closed_since")):
        if not hasattr(given, wanted):
            way = "kit.paper(venue)" if name == "broker" else 'venue.live("BTC/USDT", "1m")'
            raise UsageError(f"{name}={given!r:.80}: pass {way}; nothing was started")
    session = Session(strategy, broker, live)
    runtime.replace(session.name, session)
    return session.start()
