"""Which market a sandbox has: decided once, kept in its file, the same ever after."""

from __future__ import annotations

from pathlib import Path

import msgspec

from kit.clock import Clock, WallClock
from kit.net.tape import read
from kit.sandbox.home import Terms, agree
from kit.sandbox.market import Market
from kit.sandbox.replay import Replay
from kit.sandbox.store import Store
from kit.sandbox.synthetic import Synthetic

DEFAULT_SEED = 7


class TapeClock:
    """A clock of the tape's era: it showed ``begins`` at ``started`` by the wall, and runs ``speed`` times as fast."""

    def __init__(self, wall: Clock, started: int, begins: int, speed: float) -> None:
        self._wall = wall
        self._started = started
        self._begins = begins
        self._speed = speed

    def now(self) -> int:
        return self._begins + round((self._wall.now() - self._started) * self._speed)


def open_market(asked: Terms, store: Store) -> tuple[Market, Clock, Terms]:
    """The sandbox's market, the clock its exchange lives by, and its terms, which the first start decides.

    A tape goes on playing while nobody looks: one that has ended stays ended, and only another sandbox plays it
    anew. Raises UsageError when the sandbox has other terms, DataError for a tape that can't be replayed.
    """
    terms, wall = _agreed(asked, store), WallClock()
    started = int(store.get("started") or wall.now())
    market, clock = _opened(terms, started, wall)
    store.put("started", started)
    store.put("terms", msgspec.json.encode(terms).decode())
    return market, clock, terms


def _agreed(asked: Terms, store: Store) -> Terms:
    """What the sandbox has, if that is what is asked for; what is asked for, if it is new."""
    kept = store.get("terms")
    if kept is None:
        unsaid = asked.seed is None and asked.replay is None
        return msgspec.structs.replace(asked, seed=DEFAULT_SEED) if unsaid else asked
    has = msgspec.json.decode(kept, type=Terms)
    agree(asked, has, store.name)
    return has


def _opened(terms: Terms, started: int, wall: Clock) -> tuple[Market, Clock]:
    if terms.replay is None:
        return Synthetic(DEFAULT_SEED if terms.seed is None else terms.seed), wall
    tape = Path(terms.replay)
    market = Replay(
        read(tape),
        started=started,
        speed=terms.speed,
        original_times=terms.original_times,
        label=f"replay of {tape.name}",
    )
    return market, TapeClock(wall, started, market.begins, terms.speed) if terms.original_times else wall
