"""The account's own stream: reports that come late, twice, in another order, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from kit.clock import SECOND
from kit.model import Report
from kit.venues.base import Standing
from tests.sim_orders.agenda import Agenda
from tests.sim_orders.faults import Mix
from tests.sim_orders.venue import Taken
from tests.sim_orders.voice import Voice

if TYPE_CHECKING:
    from kit.net.account_stream import Listener, News


class Stream:
    """One connection at a time; what is on its way when it ends is lost. To the follower it is its ``Stream``."""

    def __init__(self, agenda: Agenda, voice: Voice, mix: Mix, seed: int) -> None:
        self._agenda, self._voice, self._mix = agenda, voice, mix
        self._random = Random(seed)  # noqa: S311 - the seed is the point
        self._connection, self._up, self._mute = 0, False, 0
        self._listener: Listener | None = None
        self.note: Callable[..., None] = lambda *words: None

    # -- what the follower asks for

    def start(self, listener: Listener) -> None:
        """Connect, and tell ``listener``."""
        self._listener = listener
        self._again(SECOND // 2)

    def renew(self, reason: str) -> None:
        """Another connection."""
        self.note("stream renewed")
        self._up = False
        self._again(2 * SECOND)

    def close(self) -> None:
        """Tell nothing any more."""
        self._up, self._listener = False, None

    # -- troubles

    def drop(self) -> None:
        """The connection ends, which shows after a while."""
        if self._listener is not None and self._up:
            self._up = False
            self._agenda.within(self._random.randint(0, 3 * SECOND), self._down, self._listener)
            self._again(10 * SECOND)

    def mute(self) -> None:
        """Nothing comes for a while, and nothing shows it."""
        self._mute = self._agenda.now + self._random.randint(SECOND, 20 * SECOND)

    def heal(self) -> None:
        """Nothing gets lost, doubled or held up any more."""
        self._mix, self._mute = Mix(), 0

    # -- what the venue tells

    def push(self, taken: Taken, report: Report, standing: Standing) -> None:
        """The venue tells something."""
        random, mix = self._random, self._mix
        if not self._up or self._agenda.now < self._mute or random.random() < mix.report_lost:
            return
        events = self._voice.reported(taken, report, standing)
        for _ in range(2 if random.random() < mix.report_twice else 1):
            late = random.randint(0, 5 * SECOND) if random.random() < mix.report_late else 0
            self._agenda.within(random.randint(2_000, 120_000) + late, self._arrive, events, self._connection)

    # -- inside

    def _again(self, latest: int) -> None:
        self._connection += 1
        self._agenda.within(self._random.randint(1_000, latest), self._connect, self._listener, self._connection)

    def _connect(self, listener: Listener, connection: int) -> None:
        if listener is self._listener and connection == self._connection:
            self._up = True
            listener.up(self._agenda.now)

    def _down(self, listener: Listener) -> None:
        if listener is self._listener and not self._up:
            listener.down("the connection ended")

    def _arrive(self, events: Sequence[News], connection: int) -> None:
        if self._up and connection == self._connection and self._listener is not None:
            for event in events:
                if isinstance(event, Report):
                    self.note("hears", event.kind, event.client_id)
                self._listener.heard(event)
