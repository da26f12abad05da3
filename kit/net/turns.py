"""Waiting for one's turn: how long a call is tried, what share of the limits it may use, and what is said of a wait.

A short wait is slept through. One that outlasts the call's patience is RateLimited at once; a long one in between is
logged and shows in ``Turns.waiting``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.clock import DAY, SECOND, Clock, Offset
from kit.errors import RateLimited
from kit.net.pacing import ALL, FOR_ACCOUNT, FOR_ORDERS, FOR_READS, FOR_SPARE, Ticket
from kit.net.shared_pacing import SharedPacing
from kit.venues.base import Auth, Budget, Call, Effect, Failure, Key

LONG = 5.0
"""Seconds of waiting that are worth a word."""
VERY_LONG = 60.0
"""Seconds that are worth advice."""
LONGEST_HOLD = 3 * DAY
"""µs: no ban of Binance's lasts longer (rest-api.md, "IP Limits"); what asks for more is no venue."""

SAID = "the venue said so"
USED = "what it lets this address ask is used up"

log = logging.getLogger("kit.net.pacing")


class HeldBack(RateLimited):
    """Nothing was sent: the wait would outlast the call's patience, so nobody waits for it."""


@dataclass(frozen=True)
class Patience:
    """How long a request is tried: so many attempts, waits counted, within so many seconds."""

    attempts: int
    seconds: float


READING = Patience(4, 90.0)  # long enough to sit out the minute of a used-up budget
WRITING = Patience(3, 4.0)  # an order that leaves later is not the order that was meant
SPARING = Patience(2, 4.0)  # an answer that comes later proves little


def patience(call: Call[Any]) -> Patience:
    """How long the call is tried."""
    if call.effect is Effect.WRITE:
        return WRITING
    return SPARING if call.spare else READING


def share(call: Call[Any]) -> float:
    """How much of the limits the call may use: the less depends on it, the more it leaves to others."""
    if call.effect is Effect.WRITE:
        return FOR_ORDERS if call.orders else ALL
    if call.spare:
        return FOR_SPARE
    return FOR_ACCOUNT if call.auth is Auth.SIGNED else FOR_READS


class Turns:
    """The turns of one client at one venue, which it shares with every other that has the same ``home``.

    ``venue`` is its name for people, ``scope`` what is counted together: the venue and the address it sees.
    """

    def __init__(
        self,
        venue: str,
        scope: Callable[[], str],
        budgets: Iterable[Budget],
        *,
        clock: Clock,
        sleep: Callable[[float], None],
        key: Key | None = None,
        home: Callable[[], Path] | None = None,
    ) -> None:
        self._venue, self._clock, self._sleep = venue, clock, sleep
        self._pacing = SharedPacing(scope, home, list(budgets))
        self._account = hashlib.blake2b(key.id.encode(), digest_size=6).hexdigest() if key else ""
        """Whose orders are counted together."""
        self._until = 0

    @property
    def waiting(self) -> float:
        """Seconds for which requests wait, because the limits are used up or the venue said so; 0: none does."""
        until = max(self._until, self._pacing.pacer.held_until(1, self._account))
        return max(0, until - self._clock.now()) / SECOND

    @property
    def busy(self) -> bool:
        """True when so much is used that the venue's clock matters, by which its limits run."""
        return self._pacing.pacer.notable(self._clock.now())

    def worth_learning(self, call: Call[Any]) -> bool:
        """True when the venue's budgets should be asked for before this call."""
        by_order = call.orders > 0
        fit = by_order or call.effect is Effect.READ
        return fit and self._pacing.pacer.worth_learning(self._clock.now(), by_order=by_order)

    def learn(self, budgets: Iterable[Budget]) -> None:
        """Take the venue's budgets."""
        with self._pacing.open() as pacer:
            pacer.learn(budgets, self._clock.now())

    def set_clock(self, measured: Offset) -> None:
        """Take the venue's clock as it was measured against ours."""
        self._pacing.measured = measured

    def take(self, call: Call[Any], latest: int) -> Ticket:
        """Leave to send, waited for until ``latest`` (µs) at most; HeldBack at once when that is too soon."""
        asked, waited, account, orders = self._clock.now(), 0, self._account, call.orders
        while True:
            with self._pacing.open() as pacer:
                now = self._clock.now()
                wait = pacer.wait(call.weight, now, orders=orders, account=account, share=share(call))
                if not wait:
                    return pacer.send(call.weight, now, orders=orders, account=account)
                held = pacer.held_until(orders, account) > now
            why = SAID if held else USED
            if max(now, asked + waited) + wait > latest:
                raise self._held_back(call, wait / SECOND, why)
            self.say(wait / SECOND, why)
            self._sleep(wait / SECOND)
            waited += wait

    def answered(self, ticket: Ticket, used: Mapping[str, int]) -> None:
        """Note what the answer's headers say is used; nothing where there is no answer."""
        with self._pacing.open() as pacer:
            pacer.answered(ticket, used)

    def turned_away(self, failure: Failure) -> None:
        """Send nothing for as long as the venue asks, nor let any other process."""
        if not failure.retry_after:
            return
        wait = min(int(failure.retry_after * SECOND), LONGEST_HOLD)
        with self._pacing.open() as pacer:
            pacer.hold(self._clock.now() + wait, order=failure.orders_only, account=self._account)

    def say(self, wait: float, why: str) -> None:
        """Show a wait, and log one that is long: once, however many wait for the same."""
        until = self._clock.now() + int(wait * SECOND)
        if wait >= LONG and until > self._until + SECOND:
            log.warning("requests to %s wait for %.0f s: %s", self._venue, wait, why)
        self._until = max(self._until, until)

    def close(self) -> None:
        """Share no more."""
        self._pacing.close()

    def _held_back(self, call: Call[Any], wait: float, why: str) -> HeldBack:
        path, kept = self._pacing.path, ""
        if why == SAID and wait > VERY_LONG and path is not None:
            kept = (
                ", and every program of this machine keeps to it; if the machine has had another address since, "
                f"delete {path} and restart them"
            )
        return HeldBack(
            f"{call.method} {call.path} was held back, nothing was sent: {self._venue} takes no more for {wait:.1f} s: "
            f"{why}{kept}",
            retry_after=wait,
        )
