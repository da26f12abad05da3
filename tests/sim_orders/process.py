"""One process that has the account open: what ``kit.live`` builds, on a disk and a clock with troubles of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kit.broker.desk import Desk
from kit.broker.following import Follower
from kit.broker.live import LiveGateway
from kit.broker.reconcile import Difference, reconcile
from kit.clock import SECOND
from kit.errors import JournalUnwritable, KitError
from kit.market.feed import FeedState, Picture
from kit.model import Fees, Instrument
from kit.store.entries import Doubted, Entry, Intended, Reported, Terms
from kit.store.journal import Journal
from tests.sim_orders.agenda import Reading
from tests.sim_orders.market import INSTRUMENTS

if TYPE_CHECKING:
    from kit.net.account_stream import News
    from tests.sim_orders.world import World

ROUNDS = 4
"""Most rounds of the follower in one step."""
LONGEST = 4 * SECOND
"""µs after which it looks again whatever is due."""


class Crash(BaseException):
    """The process is gone: nothing of it runs on but what unwinds."""


class Disk(Journal):
    """The real journal, on a disk that fills up, in a process that dies or is interrupted at any write."""

    def __init__(self, path: Path, world: World) -> None:
        self._world = world
        super().__init__(path)

    def intend(self, entry: Intended, instrument: Instrument) -> None:
        with self._around(entry, interrupts=True):
            super().intend(entry, instrument)

    def add(self, *entries: Reported | Doubted) -> None:
        with self._around(*entries):
            super().add(*entries)

    @contextmanager
    def _around(self, *entries: Entry, interrupts: bool = False) -> Iterator[None]:
        world = self._world
        world.touched |= {entry.client_id for entry in entries}
        world.stir()
        world.may_die()
        if world.disk_full:
            raise JournalUnwritable("the disk is full")
        if interrupts:
            world.may_be_interrupted()
        yield
        world.may_die()
        if interrupts:
            world.may_be_interrupted()


class Following(Follower):
    """The real follower, one step at a time: the world's time is its thread."""

    compared = False
    """It has compared the account with its venue."""
    stirred = True
    """Something has happened since it last looked what is due."""
    _next = 0

    def _run(self) -> None:
        """Its own thread ends at once."""

    def heard(self, news: News) -> None:
        self.stirred = True
        super().heard(news)

    def step(self) -> None:
        """Do what is due now; after a stir, or when the time has come."""
        if not self.stirred and self._clock.now() < self._next:
            return
        self.stirred = False
        for _ in range(ROUNDS):
            now = self._clock.now()
            due = self._cadence.due(self._outlook(), now)
            if due.idle:
                self._next = now + min(LONGEST, LONGEST if due.pause is None else due.pause)
                return
            self._do(due)
        self.stirred = True

    def _reconcile(self, number: int) -> None:
        super()._reconcile(number)
        self.compared = self.compared or not self.last_error


class Process:
    """What runs between two crashes. ``open()`` asks the venue, so it may take its time, or not survive."""

    def __init__(self, world: World, path: Path, skew: int) -> None:
        self._world = world
        self.journal = Disk(path, world)
        terms = self.journal.terms
        if terms is None:
            cash = {balance.asset: balance.total for balance in world.venue.balances()}
            opened_with = {"kind": "live", "venue": world.voice.name, "environment": "SIM", "quote": "USDT"}
            terms = Terms(**opened_with, cash=cash, fees=Fees(), created=world.agenda.now)
            self.journal.terms = terms
        self.cash = terms.cash
        """What the account was opened with."""
        self._clock = Reading(world.agenda, skew)
        self.desk = opened(world, self.journal, skew)
        self.follower: Following | None = None
        """None while the process is still opening the account."""
        self.inside = 0
        """Calls of the owner that wait."""
        self._looking = self._compared = False

    @property
    def compared(self) -> bool:
        """The account was compared with its venue since it was opened."""
        return self._compared or (self.follower is not None and self.follower.compared)

    @property
    def busy(self) -> bool:
        """True while a call waits."""
        return bool(self.inside) or self._looking

    @property
    def in_a_cell(self) -> bool:
        """True while it is a cell's call that waits; of those within each other, the last one."""
        return bool(self.inside) and not self._looking

    def open(self) -> None:
        """Compare the account with its venue, then follow it."""
        self.desk.unreconciled = "it was just opened"
        self.compare()
        self.follower = Following(self.desk, self._world.stream, clock=self._clock)

    def look(self) -> None:
        """Let the follower do what is due, unless it is at it."""
        if self.follower is None or self._looking:
            return
        self._looking = True
        try:
            self.follower.step()
        finally:
            self._looking = False
        self._told(list(self.follower.found))
        self.follower.found.clear()

    def compare(self) -> None:
        """Compare with the venue, if that can be asked."""
        try:
            found = reconcile(self.desk)
        except KitError as error:
            self._world.note("not compared", type(error).__name__)
            self.desk.unreconciled = self.desk.unreconciled or str(error)
        else:
            self._compared = True
            self._told(found)

    def _told(self, found: list[Difference]) -> None:
        for difference in found:
            self._world.note("differs", *map(str, (difference.kind, difference.name, difference.verdict)))


def opened(world: World, journal: Journal, skew: int) -> Desk:
    """A desk on that journal."""
    return Desk(
        "sim",
        "default",
        journal,
        LiveGateway(world.door, world.voice.codec),
        Reading(world.agenda, skew),
        instruments=INSTRUMENTS.__getitem__,
        picture=lambda symbol: Picture(FeedState.LIVE, 0.1, world.venue.markets[symbol].quote),
    )
