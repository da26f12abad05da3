"""How fast we may ask, steered by what the venue's own headers say is used. Pure: ``now`` in, a wait out.

Binance's limits count per fixed window of its clock and start again with the next (rest-api.md, "Limits"). The header
is the truth, because everybody behind the same address shares a budget; between two answers we add what has been sent
and not yet heard back about. A venue without such headers is asked no more than its limit in any stretch of time.

A ``Pacer`` is its own state: msgspec writes it down and reads it again, so that all processes of a machine can share
one (``kit.net.shared_pacing``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kit.clock import DAY, HOUR, SECOND
from kit.venues.base import Budget

EDGE = 200_000
"""µs that a window is taken to last beyond its end: so much a request's way may differ, and a clock drift."""
LATE = 15 * SECOND
"""µs after which a request without an answer has been counted or never will be: its process may be gone."""
SOON = 50_000
"""µs until it is worth asking again when only answers on their way stand in the way."""

ALL = 1.0
"""The share of a budget that cancels may use."""
FOR_ACCOUNT = 0.95
"""The share for questions about our own orders and account: what became of an order must be found out."""
FOR_ORDERS = 0.9
"""The share for orders. At Binance the rest lets as many be cancelled as may be placed."""
FOR_READS = 0.8
"""The share for other questions. At Binance the rest lets as many orders be placed and cancelled as it takes."""
FOR_SPARE = 0.7
"""The share for questions that are not worth waiting for."""

NOTABLE = 600
"""Use that makes it worth asking for the budgets: a tenth of what Binance allows a minute."""
A_FEW_ORDERS, NOTABLE_ORDERS = 5, 20
"""Orders that make it worth a question, and a moment of the next one: Binance allows a hundred in ten seconds."""


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """Leave to send one request; handed back with the answer. ``sent`` in µs of our clock, ``number`` counts events."""

    number: int
    sent: int
    weight: int
    orders: int
    account: str


class Meter(msgspec.Struct, tag="meter", omit_defaults=True):
    """One budget's count in the current window of the venue's clock, by which all times here are."""

    limit: int
    length: int
    """Of the window, in µs."""
    began: int = 0
    used: int = 0
    late: int = 0
    """What left so close to the window's end that the venue may count it in the next."""
    heard: int = 0
    """The event by which ``used`` was known: what left after it has a later header."""

    def window(self, at: int) -> int:
        """When the window began that ``at`` is counted in."""
        return at - EDGE - (at - EDGE) % self.length

    def turn(self, at: int, event: int) -> None:
        """Begin the next window when ``at`` lies in it. Windows don't go back: clocks of two processes may differ by
        a little; where it is more than a window, ours was set."""
        window, length = self.window(at), self.length
        if window > self.began or window < self.began - length:
            self.used = self.late if window == self.began + length else 0
            self.began, self.late, self.heard = window, 0, event

    def until_free(self, cost: int, flying: int, share: float, at: int) -> int:
        """µs until ``cost`` more fits, with so much on its way. A cost above the budget fits an unused window.

        What is kept back from ``share`` is kept for the rest of the window only: towards its end all may be used.
        """
        limit, length = self.limit, self.length
        left = min(length, self.began + length - (at - EDGE))
        room = limit - self.used - cost
        kept = limit * (1 - share)
        spare = room - kept * left / length
        if spare >= flying or not (self.used or flying):
            return 0
        if spare >= 0:
            return min(left, SOON)
        return left if room < 0 else min(left, max(1, left - int(length * room / kept)))

    def answered(self, cost: int, at: int, blur: int, used: int | None, ticket: int, event: int) -> None:
        """Count what was sent at ``at``, or ``blur`` µs later, by what its answer says is used, else by its cost.

        A header that is lower than what we know counts only when its request left after that was known: answers
        overtake each other.
        """
        if self.window(at) != self.began:
            used = None  # it tells of a window that is over; the venue may have counted the request in this one
        elif at + blur >= self.began + self.length - EDGE:
            self.late += cost
            if used is not None and used < self.used:  # the venue has begun the next one
                self.late = max(self.late, used)
                return
        if used is None:
            self.used, self.heard = self.used + cost, event
        elif used >= self.used or ticket > self.heard:
            self.used, self.heard = used, event


class Trail(msgspec.Struct, tag="trail", omit_defaults=True):
    """One budget's count over the window that ends now, by what we have sent: nobody tells of others."""

    limit: int
    length: int
    """Of the window, in µs."""
    gone: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """When what was sent counts no more, and its cost."""

    def turn(self, at: int, event: int) -> None:
        """Drop what counts no more. Nothing counts for longer than a window, though a clock was set back."""
        last = at + self.length + EDGE
        if self.gone and not at < self.gone[0][0] <= self.gone[-1][0] <= last:
            self.gone = sorted((min(end, last), cost) for end, cost in self.gone if end > at)

    def until_free(self, cost: int, flying: int, share: float, at: int) -> int:
        """µs until ``cost`` more fits. A cost above the budget fits an unused window.

        Half of what is kept back from ``share`` is: this window never ends, so it is never given free.
        """
        over, wait = sum(spent for _, spent in self.gone) + cost - self.limit * (1 + share) / 2, 0
        for end, spent in self.gone:
            if over <= 0:
                break
            over, wait = over - spent, end - at
        return wait

    def send(self, cost: int, at: int) -> None:
        """Count what leaves."""
        self.gone.append((at + self.length + EDGE, cost))


class Pacer(msgspec.Struct, omit_defaults=True):
    """What one address and its accounts may ask. Times are µs of our clock.

    Budgets whose name says ORDER count an account's orders, RAW requests, CONNECTIONS nothing that is asked here; the
    others count request weight.
    """

    budgets: list[Budget] = msgspec.field(default_factory=list)
    learned: int = 0
    """When the venue was asked for its budgets."""
    skew: int = 0
    """The venue's clock minus ours, in µs: its windows run by its clock."""
    blur: int = 0
    """By how many µs that may be wrong."""
    meters: dict[str, Meter | Trail] = msgspec.field(default_factory=dict)
    flying: list[Ticket] = msgspec.field(default_factory=list)
    """What was sent and has no answer yet, by all who share this."""
    told: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    """What the last headers said: when their request was sent, and the use."""
    held: dict[str, int] = msgspec.field(default_factory=dict)
    """Until when by the venue's clock an account's orders must wait, or (*) everything: the venue said so."""
    events: int = 0

    def notable(self, now: int) -> bool:
        """True when the venue's headers tell of so much use that its clock, by which budgets run, matters."""
        return self._told(NOTABLE, NOTABLE_ORDERS, now)

    def worth_learning(self, now: int, *, by_order: bool = False) -> bool:
        """True when the budgets matter and are not known, or not since a day. A question asks for them after a few
        orders, so that an order seldom has to."""
        unknown = not self.budgets or now - self.learned > DAY
        return unknown and self._told(NOTABLE, NOTABLE_ORDERS if by_order else A_FEW_ORDERS, now)

    def learn(self, budgets: Iterable[Budget], now: int = 0) -> None:
        """Take the venue's list of budgets, each as used as the last headers said."""
        known, self.learned = list(budgets), now
        if known != self.budgets:
            self.budgets, self.meters = known, {}

    def wait(self, weight: int, now: int, *, orders: int = 0, account: str = "", share: float = FOR_READS) -> int:
        """µs until a request that may use ``share`` of the budgets may leave; 0: now."""
        self._give_up(now)
        waits = [0, self.held_until(orders, account) - now]
        for name, meter, cost, at in self._charged(weight, orders, account, now):
            meter.turn(at, self.events)
            part = ALL if "ORDER" in name else share
            waits.append(meter.until_free(cost, self._flying(name, account), part, at))
        return max(waits)

    def send(self, weight: int, now: int, *, orders: int = 0, account: str = "") -> Ticket:
        """Note that a request leaves."""
        self.events += 1
        ticket = Ticket(self.events, now, weight, orders, account)
        for _, meter, cost, at in self._charged(weight, orders, account, now):
            meter.turn(at, self.events)
            if isinstance(meter, Trail):  # the others count what is on its way, and then what the answer says
                meter.send(cost, at)
        self.flying.append(ticket)
        return ticket

    def answered(self, ticket: Ticket, used: Mapping[str, int]) -> None:
        """Note what an answer's headers say is used; no headers, or no answer: what was sent counts as used."""
        counted = ticket not in self.flying
        if not counted:
            self.flying.remove(ticket)
        elif not used:
            return  # it was given up, and has counted then
        self.events += 1
        for name, value in used.items():
            key = _key(name, ticket.account)
            if ticket.sent >= self.told.get(key, (0, 0))[0]:
                self.told[key] = ticket.sent, value
        for name, meter, cost, at in self._charged(ticket.weight, ticket.orders, ticket.account, ticket.sent):
            if isinstance(meter, Meter):
                meter.answered(0 if counted else cost, at, 2 * self.blur, used.get(name), ticket.number, self.events)

    def hold(self, until: int, *, order: bool, account: str = "") -> None:
        """Send nothing before ``until`` (µs): the venue said so. Turning an order away says nothing about questions.

        It is kept by the venue's clock: two processes' may be hours apart, where one began before the machine slept.
        """
        key = account if order else "*"
        self.held[key] = max(self.held.get(key, 0), until + self.skew)

    def held_until(self, orders: int, account: str) -> int:
        """When (µs) the venue lets such a request leave again."""
        return max(self.held.get("*", 0), self.held.get(account, 0) if orders else 0) - self.skew

    def _told(self, weight: int, orders: int, now: int) -> bool:
        """True when a header told of so much within the hour."""
        lately = [(name, used) for name, (sent, used) in list(self.told.items()) if now - sent < HOUR]
        return any(used >= (orders if "ORDER" in name else weight) for name, used in lately)

    def _give_up(self, now: int) -> None:
        """Count what was never answered as used."""
        for ticket in [each for each in self.flying if abs(now - each.sent) > LATE]:
            self.answered(ticket, {})

    def _flying(self, name: str, account: str) -> int:
        mine = account if "ORDER" in name else None
        return sum(_cost(name, t.weight, t.orders) for t in self.flying if mine is None or t.account == mine)

    def _charged(
        self, weight: int, orders: int, account: str, now: int
    ) -> Iterator[tuple[str, Meter | Trail, int, int]]:
        """The budgets that a request counts on: name, meter, what it costs there, and when by the clock it runs by, at
        the earliest."""
        for budget in self.budgets:
            name, at = budget.name, now if budget.sliding else now + self.skew - self.blur
            if orders or "ORDER" not in name:
                yield name, self._meter(budget, _key(name, account)), _cost(name, weight, orders), at

    def _meter(self, budget: Budget, key: str) -> Meter | Trail:
        if key not in self.meters:
            kind = Trail if budget.sliding else Meter
            self.meters[key] = meter = kind(budget.limit, budget.window)
            if isinstance(meter, Meter) and key in self.told:
                sent, meter.used = self.told[key]
                meter.began = meter.window(sent + self.skew - self.blur)
        return self.meters[key]


def _key(name: str, account: str) -> str:
    """Orders are counted per account, all else per address."""
    return f"{name} {account}" if "ORDER" in name else name


def _cost(name: str, weight: int, orders: int) -> int:
    """What a request counts on the budget of that name."""
    if "ORDER" in name:
        return orders
    if name.startswith("CONNECTIONS"):
        return 0
    return 1 if name.startswith("RAW") else weight
