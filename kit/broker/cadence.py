"""When a venue is asked what about an account: told what happened and what time it is, it says what is due.

Pure: whoever follows the account (``following``) does what is due. Its stream is believed once it has proven itself:
what was missed before it began has been read, and something was told on it. Each order that is placed or cancelled is a
test: what its answer said must come on the stream as well, within ``ECHO``. One that does not costs the connection, and
until the next one is proven the venue is asked often.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kit.clock import SECOND

FAST = 2 * SECOND
"""µs between two questions about open orders while no stream is proven."""
RELAXED = 10
"""A proven stream stretches them by this factor."""
ECHO = 2 * SECOND
"""µs that the stream has to tell what an answer has told already."""
SILENT = 10 * SECOND
"""µs without a word, though something is open and a question was due, from which on the account is not believed."""
SLOWEST = 30 * SECOND
"""µs between two questions to a venue that does not answer."""
LAGGING = 2
"""An order without an answer is asked for after growing pauses, at most this many times ``FAST``."""
NEVER = 1 << 62


@dataclass(frozen=True)
class Outlook:
    """What may still happen to an account's orders, by client id."""

    open: frozenset[str] = frozenset()
    """May fill; the venue has answered for them."""
    doubtful: frozenset[str] = frozenset()
    """The venue has not answered for them."""
    short: frozenset[str] = frozenset()
    """More of them has filled than is known."""
    unreconciled: bool = False
    """The account has to be compared with its venue."""

    @property
    def urgent(self) -> frozenset[str]:
        """What is asked for at once."""
        return self.doubtful | self.short

    @property
    def quiet(self) -> bool:
        """True when nothing can happen."""
        return not (self.open or self.doubtful or self.short)


@dataclass(frozen=True)
class Due:
    """What is to be done now; nothing: then not before ``pause`` µs are over (None: before something happens)."""

    renew: str = ""
    """Why the stream needs another connection."""
    silent: bool = False
    """Nothing was heard for too long: the account is not believed until it was compared with its venue."""
    reconcile: int | None = None
    """Compare the account with its venue, then say ``reconciled`` with this number."""
    ask: tuple[str, ...] = ()
    """Orders to ask for, one by one."""
    poll: bool = False
    """Ask for all that are open."""
    pause: int | None = None

    @property
    def idle(self) -> bool:
        return not (self.renew or self.silent or self.ask or self.poll) and self.reconcile is None


class Echoes:
    """What the stream has to tell, because an answer has told it already."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[Decimal, bool]] = {}
        self._due: dict[str, tuple[int, Decimal, bool]] = {}

    def clear(self) -> None:
        """Another connection: it tells nothing of what was."""
        self._told.clear()
        self._due.clear()

    def happened(self, client_id: str, filled: Decimal, now: int, *, final: bool) -> None:
        """So much of an order is known to have filled, and whether it is over."""
        if not self._covers(client_id, filled, final=final):
            self._due[client_id] = (now + ECHO, filled, final)
        elif final:
            self._told.pop(client_id, None)

    def told(self, client_id: str, filled: Decimal, *, final: bool) -> None:
        """The stream has said so much of an order."""
        self._told[client_id] = (filled, final)
        if client_id not in self._due:
            return
        _, wanted, over = self._due[client_id]
        if self._covers(client_id, wanted, final=over):
            del self._due[client_id]
            if over:
                del self._told[client_id]

    def first(self) -> tuple[int, str]:
        """When the first one is overdue, and of which order; ``NEVER`` when none is missing."""
        return min(((due, client_id) for client_id, (due, _, _) in self._due.items()), default=(NEVER, ""))

    def _covers(self, client_id: str, filled: Decimal, *, final: bool) -> bool:
        told = self._told.get(client_id)
        return told is not None and told[0] >= filled and (told[1] or not final)


class Cadence:
    """What is due, and when. Times are µs of any clock that never goes back.

    ``fast`` is the time between two questions about open orders while no stream is proven.
    """

    def __init__(self, now: int, *, fast: int = FAST) -> None:
        self.echoes = Echoes()
        self.up = False
        """The stream is subscribed."""
        self._fast = fast
        self._told = False
        self._owed, self._paid, self._resync = 0, 0, 0
        self._doubtful: frozenset[str] = frozenset()
        self._tries: dict[str, tuple[int, int]] = {}
        """Order -> how often it was asked for urgently, and when it is again."""
        self._quiet = True
        self._heard = self._polled = now
        self._failures = self._held = self._limited = 0

    @property
    def proven(self) -> bool:
        """The stream is subscribed, what was before is known, and it has told something."""
        return self.up and self._told and self._paid >= self._resync

    @property
    def interval(self) -> int:
        """µs between two questions about open orders."""
        return self._fast * RELAXED if self.proven else self._fast

    # -- what happened

    def subscribed(self, now: int) -> None:
        """A connection tells from now on; what was before has to be read."""
        self.lost()
        self.up, self._heard = True, now
        self.owe()
        self._resync = self._owed

    def lost(self) -> None:
        """Nothing is told any more."""
        self.up = self._told = False
        self.echoes.clear()

    def news(self, now: int) -> None:
        """The stream has told something of the account."""
        self._heard = now
        self._told = self._told or self.up

    def owe(self) -> None:
        """The account is to be compared with its venue, by a look that has not begun yet."""
        self._owed += 1

    def asked(self, client_id: str, now: int) -> None:
        """An urgent order is being asked for."""
        tries = self._tries.get(client_id, (0, 0))[0]
        pause = min(self._fast << tries, 2 * LAGGING * self._fast) // 2
        self._tries[client_id] = (min(tries + 1, 10), now + pause)

    def polled(self, now: int) -> None:
        """All open orders are being asked for."""
        self._polled = now

    def answered(self, now: int) -> None:
        """The venue has answered."""
        self._heard, self._failures, self._held, self._limited = now, 0, 0, 0

    def failed(self, now: int, retry_after: int = 0) -> None:
        """The venue did not answer anything; it asked to wait ``retry_after`` µs."""
        self._failures = min(self._failures + 1, 10)
        self._held = now + min(SLOWEST, self._fast << self._failures)
        self._limited = now + retry_after

    def reconciled(self, number: int, now: int) -> None:
        """The comparison of that number was made."""
        self._paid = max(self._paid, number)
        self._polled = now

    # -- what is due

    def due(self, seen: Outlook, now: int) -> Due:
        """What is to be done now."""
        self._note(seen, now)
        late, client_id = self.echoes.first()
        if late <= now:
            return Due(renew=f"what happened to order {client_id} was not told within {ECHO // SECOND} s")
        if self._silence(seen) <= now:
            return Due(silent=True)
        fresh = tuple(sorted(seen.urgent - self._tries.keys()))
        if fresh and now >= self._limited:
            return Due(ask=fresh)
        begins = max(self._question(seen, now), self._held, self._limited)
        if begins <= now:
            return self._questions(seen, now)
        at = min(late, self._silence(seen), begins)
        return Due(pause=None if at >= NEVER else at - now)

    def _note(self, seen: Outlook, now: int) -> None:
        if self._doubtful - seen.doubtful:
            self.owe()
        self._doubtful = seen.doubtful
        for gone in self._tries.keys() - seen.urgent:
            del self._tries[gone]
        if self._quiet:  # what has just become open was just heard of
            self._heard = self._polled = now
        self._quiet = seen.quiet

    def _silence(self, seen: Outlook) -> int:
        """From when on it is silent."""
        return NEVER if seen.quiet or seen.unreconciled else self._heard + self.interval + SILENT

    def _compares(self, seen: Outlook) -> bool:
        """True when the account is to be compared now; while an answer is missing there is nothing to compare."""
        return (seen.unreconciled or self._owed > self._paid) and not seen.doubtful

    def _question(self, seen: Outlook, now: int) -> int:
        """When something is to be asked."""
        if self._compares(seen) or seen.urgent - self._tries.keys():
            return now
        polls = self._polled + self.interval if seen.open else NEVER
        return min([polls, *(again for _, again in self._tries.values())])

    def _questions(self, seen: Outlook, now: int) -> Due:
        if self._compares(seen):
            return Due(reconcile=self._owed)
        ask = tuple(sorted(client_id for client_id, (_, again) in self._tries.items() if again <= now))
        return Due(ask=ask, poll=bool(seen.open) and now >= self._polled + self.interval)
