"""Which troubles a seed brings, how often and when: the mix itself is drawn, so some seeds are calm, some cruel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from random import Random

from kit.clock import SECOND

FATES = ("unsent", "lost", "mute", "late", "slow", "broken", "limited")
"""What may befall one request: no connection; swallowed on the way; taken, but never answered; answered too late to be
waited for; arriving late; answered by a 5xx, taken or not; turned away by a 429 or 418."""
EVENTS = ("crash", "drop", "mute", "outage", "ban", "full", "halt")
"""Troubles that begin at a moment, each a method of the world."""
DEEDS = ("rerun", "again", "cancel", "amend", "pair", "reconcile")
"""What the account's owner does besides placing orders."""
HANDS = ("foreign", "foreign_cancel", "other_hand")
"""What happens on the venue's own page: others' orders in the same account, and an end to one of ours."""


@dataclass
class Mix:
    """Chances of what may befall each request, report and write, and what happens at which moment.

    Those of the ``FATES`` are weights: a seventh of their sum is how likely a request meets one of them.
    """

    unsent: float = 0.0
    lost: float = 0.0
    mute: float = 0.0
    late: float = 0.0
    slow: float = 0.0
    broken: float = 0.0
    limited: float = 0.0
    copied: float = 0.0
    """A request comes twice: something on the way has sent it again."""
    lag: float = 0.0
    """A lookup is answered out of a copy that lags behind, by as much as the contract allows."""
    interrupt: float = 0.0
    """A cell is interrupted while it waits."""
    report_lost: float = 0.0
    report_twice: float = 0.0
    report_late: float = 0.0
    die: float = 0.0
    """The process dies before or after a write of the journal or a request."""
    interrupt_write: float = 0.0
    """A cell is interrupted while the disk is busy."""
    skew: int = 0
    """µs, at most, by which our clock is wrong."""
    despite: float = 0.0
    """An order overlooks that the account is not reconciled."""
    plan: list[tuple[int, str]] = field(default_factory=list)
    """(µs after the start, event or deed)."""

    @classmethod
    def draw(cls, seed: int, seconds: float) -> Mix:
        """The mix of a seed, for a storm of so many seconds."""
        random = Random(seed)  # noqa: S311 - the seed is the point

        def chance(most: float, of: float = 0.4) -> float:
            return random.uniform(0.0, most) if random.random() < of else 0.0

        times = [("place", random.randint(5, 18))]
        times += [(kind, random.randint(1, 2)) for kind in EVENTS if random.random() < 0.3]
        times += [(kind, random.randint(1, 4)) for kind in (*DEEDS, *HANDS) if random.random() < 0.6]
        times += [("reset", 1)] if random.random() < 0.1 else []
        plan = [(round(random.uniform(0.0, seconds) * SECOND), kind) for kind, count in times for _ in range(count)]
        return cls(
            unsent=chance(0.3),
            lost=chance(0.6),
            mute=chance(1.0),
            late=chance(0.6),
            slow=chance(1.0),
            broken=chance(0.6),
            limited=chance(0.3),
            copied=chance(0.3),
            lag=chance(0.8),
            interrupt=chance(0.05, 0.2),
            report_lost=chance(0.3),
            report_twice=chance(0.3),
            report_late=chance(0.5),
            die=chance(0.02, 0.3),
            interrupt_write=chance(0.05, 0.1),
            skew=random.randint(0, 900_000),
            despite=random.choice((0.0, 0.3, 0.9)),
            plan=sorted(plan),
        )

    def words(self) -> Iterator[str]:
        """What it is made of, for whoever replays a seed."""
        for name in (f.name for f in fields(self) if f.name != "plan"):
            if value := getattr(self, name):
                yield f"{name} {value:.3f}"
        for at, kind in self.plan:
            yield f"{kind} at {at / SECOND:.1f} s"
