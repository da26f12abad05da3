"""How fast we may ask, steered by what the venue's own headers say is used. Pure: ``now`` in, a wait out.

Binance's limits count per fixed window of its clock and start again with the next (rest-api.md, "Limits"). The header
is the truth, because every process behind the same address shares a budget; between two answers we add what we have
sent and not yet heard back about. A venue without such headers is asked no more than its limit in any stretch of time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kit.venues.base import Budget

EDGE = 200_000
"""µs that a wait goes beyond a window's end: our picture of the venue's clock is no better than that."""
FOR_READS = 0.85
"""The share of a budget that questions may use; the rest stays free for orders and cancels."""
FOR_SPARE = 0.7
"""The share that questions may use which are not worth waiting for."""
NOTABLE = 600
"""Use that makes it worth asking for the budgets: a tenth of what Binance allows a minute."""


@dataclass
class Meter:
    """One budget's count in the current window."""

    budget: Budget
    began: int = 0
    used: int = 0
    flying: int = 0
    """Sent in this window, and no answer yet that would have counted it."""

    def window(self, now: int) -> int:
        """When the window began that ``now`` lies in."""
        return now - now % self.budget.window

    def at(self, now: int) -> Meter:
        """This meter, emptied when ``now`` lies in another window."""
        if self.window(now) != self.began:
            self.began, self.used, self.flying = self.window(now), 0, 0
        return self

    def until_free(self, cost: int, share: float, now: int) -> int:
        """µs until ``cost`` more fits into ``share`` of the budget. A cost above the budget fits an unused window."""
        meter = self.at(now)
        taken = meter.used + meter.flying
        if not taken or taken + cost <= self.budget.limit * share:
            return 0
        return self.began + self.budget.window + EDGE - now

    def send(self, cost: int, now: int) -> None:
        """Count what leaves."""
        self.at(now).flying += cost

    def answered(self, cost: int, sent: int, used: int | None) -> None:
        """Count what an answer says is used; where it says nothing, or there is none, what was sent counts as used."""
        if self.window(sent) != self.began:
            return  # the answer tells of a window that is over
        self.flying = max(0, self.flying - cost)
        self.used = self.used + cost if used is None else used


@dataclass
class Trail:
    """One budget's count over the window that ends now, by what we have sent: nobody tells of others."""

    budget: Budget
    gone: deque[tuple[int, int]] = field(default_factory=deque)
    """When what was sent counts no more, and its cost."""

    def until_free(self, cost: int, share: float, now: int) -> int:
        """µs until ``cost`` more fits into ``share`` of the budget. A cost above the budget fits an unused window."""
        while self.gone and self.gone[0][0] <= now:
            self.gone.popleft()
        over, wait = sum(spent for _, spent in self.gone) + cost - self.budget.limit * share, 0
        for end, spent in self.gone:
            if over <= 0:
                break
            over, wait = over - spent, end - now
        return wait

    def send(self, cost: int, now: int) -> None:
        """Count what leaves."""
        self.gone.append((now + self.budget.window + EDGE, cost))

    def answered(self, cost: int, sent: int, used: int | None) -> None:
        """It counted when it left."""


@dataclass(frozen=True)
class Ticket:
    """Leave to send one request; handed back with the answer."""

    sent: int
    weight: int
    order: bool


class Pacer:
    """What one address and one account may ask. Times are µs of our clock.

    Budgets whose name says ORDER count orders, one each; the others count request weight.
    """

    skew = 0
    """The venue's clock minus ours, in µs: its windows run by its clock."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._meters: dict[str, Meter | Trail] = {}
        self._held = {False: 0, True: 0}
        self._told: tuple[int, Mapping[str, int]] = (0, {})
        self.learn(budgets)

    @property
    def worth_learning(self) -> bool:
        """True when the venue's headers tell of notable use and its budgets are not known yet."""
        return not self._meters and max(self._told[1].values(), default=0) >= NOTABLE

    def learn(self, budgets: Iterable[Budget]) -> None:
        """Take the venue's list of budgets, each as used as the last headers said."""
        sent, used = self._told
        self._meters = {budget.name: Trail(budget) if budget.sliding else Meter(budget) for budget in budgets}
        for meter in self._meters.values():
            if isinstance(meter, Meter):
                meter.at(sent + self.skew).used = used.get(meter.budget.name, 0)

    def wait(self, weight: int, now: int, *, order: bool = False, urgent: bool = False, spare: bool = False) -> int:
        """µs until a request of ``weight`` may leave; 0: now. Orders and the ``urgent`` (cancels) may use it all, the
        ``spare`` not much."""
        share = 1.0 if order or urgent else FOR_SPARE if spare else FOR_READS
        waits = [meter.until_free(cost, share, at) for meter, cost, at in self._charged(weight, order, now)]
        return max([0, self._held[order] - now, *waits])

    def send(self, weight: int, now: int, *, order: bool = False) -> Ticket:
        """Note that a request leaves."""
        ticket = Ticket(now, weight, order)
        for meter, cost, at in self._charged(weight, order, now):
            meter.send(cost, at)
        return ticket

    def answered(self, ticket: Ticket, used: Mapping[str, int]) -> None:
        """Note what an answer's headers say is used; no headers, or no answer: what was sent counts as used."""
        if used and ticket.sent >= self._told[0]:
            self._told = ticket.sent, {**self._told[1], **used}
        for meter, cost, at in self._charged(ticket.weight, ticket.order, ticket.sent):
            meter.answered(cost, at, used.get(meter.budget.name))

    def hold(self, until: int, *, order: bool) -> None:
        """Send nothing before ``until`` (µs): the venue said so. Turning an order away says nothing about questions."""
        self._held[True] = max(self._held[True], until)
        if not order:
            self._held[False] = max(self._held[False], until)

    def _charged(self, weight: int, order: bool, now: int) -> Iterator[tuple[Meter | Trail, int, int]]:
        """The meters that a request counts on, what it costs there, and when by the clock they run by."""
        for name, meter in self._meters.items():
            at = now + self.skew if isinstance(meter, Meter) else now
            if "ORDER" not in name:
                yield meter, weight, at
            elif order:
                yield meter, 1, at
