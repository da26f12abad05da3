"""Which troubles a seed brings, how often and when: the mix itself is drawn, so some seeds are calm, some cruel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from kit.clock import SECOND

TIMED = (
    "cut",
    "cut_upstream",
    "half_open",
    "mute",
    "mute_stream",
    "stall",
    "goodbye",
    "refuse",
    "hang",
    "outage",
    "rest_down",
    "rest_limited",
    "rest_slow",
    "rest_old",
    "jump",
    "sleep",
)
"""Troubles that begin at a moment. Each is a method of the network or the world."""


@dataclass
class Mix:
    """Chances of what may befall each frame, subscription and connection, and the troubles that begin at moments."""

    lose: float = 0.0
    """A frame is swallowed by the venue: what the ids are for."""
    twice: float = 0.0
    """A frame comes twice."""
    late_copy: float = 0.0
    """A frame comes again within two seconds."""
    garble: float = 0.0
    """A frame comes as rubbish."""
    unanswered: float = 0.0
    """A subscription is neither taken nor answered."""
    refused: float = 0.0
    """A subscription is answered by an error."""
    misspelled: float = 0.0
    """A stream is confirmed, and nothing ever comes of it until it is asked for again."""
    ack_lost: float = 0.0
    """A subscription is taken, but its answer never comes."""
    lifetime: float | None = None
    """Seconds after which the venue ends a connection."""
    notice: float = 1.0
    """Seconds, at least, between the venue's goodbye and the end."""
    plan: list[tuple[int, str]] = field(default_factory=list)
    """(µs after the start, trouble)."""

    @classmethod
    def draw(cls, seed: int, seconds: float) -> Mix:
        """The mix of a seed, for a storm of so many seconds."""
        random = Random(seed)  # noqa: S311 - the seed is the point

        def chance(most: float, of: float = 0.3) -> float:
            return random.uniform(0.0, most) if random.random() < of else 0.0

        kinds = [kind for kind in TIMED if random.random() < 0.3]
        times = ((kind, random.randint(1, 3)) for kind in kinds)
        plan = [(round(random.uniform(0.0, seconds) * SECOND), kind) for kind, count in times for _ in range(count)]
        return cls(
            lose=chance(0.01),
            twice=chance(0.05),
            late_copy=chance(0.03),
            garble=chance(0.001),
            unanswered=chance(0.4),
            refused=chance(0.4),
            misspelled=chance(0.3),
            ack_lost=chance(0.3),
            lifetime=random.uniform(22.0, 60.0) if random.random() < 0.4 else None,
            plan=sorted(plan),
        )

    def words(self) -> Iterator[str]:
        """What it is made of, for whoever replays a seed."""
        for name in ("lose", "twice", "late_copy", "garble", "unanswered", "refused", "misspelled", "ack_lost"):
            if value := getattr(self, name):
                yield f"{name} {value:.4f}"
        if self.lifetime:
            yield f"lifetime {self.lifetime:.1f} s"
        for at, kind in self.plan:
            yield f"{kind} at {at / SECOND:.1f} s"
