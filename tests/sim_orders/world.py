"""One seed's world: the real desk, journal, gateway and follower between a drawn owner, network and venue.

A storm of drawn troubles comes first; then everything is healed, the account is given the time its contract allows, the
market stands still, and the account must be what the venue has. ``log`` tells all of it, and one seed always tells the
same.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from kit.broker.desk import Desk
from kit.broker.halting import stop
from kit.broker.reconcile import reconcile
from kit.clock import MINUTE, SECOND
from kit.errors import BadOrder, KitError, OutcomeUnknown, RiskRefused
from kit.model import OrderRequest, OrderStatus, OrderType, Report, Side
from kit.orders.ids import Intent
from kit.store.journal import Journal, set_aside
from kit.venues.base import Standing
from tests.sim_orders.agenda import Agenda, Reading
from tests.sim_orders.door import Door
from tests.sim_orders.faults import Mix
from tests.sim_orders.laws import Laws
from tests.sim_orders.market import BTC, INSTRUMENTS, Market
from tests.sim_orders.owner import Owner
from tests.sim_orders.process import Crash, Process, opened
from tests.sim_orders.stream import Stream
from tests.sim_orders.venue import FOREIGN, OURS, No, Taken, Venue
from tests.sim_orders.voice import Question, Voice

START = 1_700_000_000 * SECOND
STORM = 45.0
"""Seconds of trouble."""
EVERY = SECOND
"""µs between two looks of whoever follows the account at what is due."""
DEEPEST = 3
"""Calls that may wait at once."""
CASH = ("100000", "900", "120")
"""USDT to begin with: plenty, or so little that orders compete for it."""


class World:
    """A seed lived through: ``run()``."""

    def __init__(self, seed: int, voice: Voice, folder: Path, *, mix: Mix | None = None) -> None:
        contract = voice.contract
        self.seed, self.voice, self._path = seed, voice, folder / "account.sqlite"
        self._storm = round(STORM * SECOND) + contract.final_after
        self.mix = mix or Mix.draw(seed, self._storm / SECOND)
        if any(kind == "reset" for _, kind in self.mix.plan):
            self._storm += MINUTE + contract.deadline + 30 * SECOND
        self.log: list[tuple[Any, ...]] = []
        self.agenda = Agenda(START)
        self._random = Random(seed)  # noqa: S311 - the seed is the point
        self._fate = Random(seed + 1)  # noqa: S311 - the same
        markets = {
            s: Market(i, middle, Random(seed + middle))  # noqa: S311 - the same
            for (s, i), middle in zip(INSTRUMENTS.items(), (10_000, 5_000), strict=True)
        }
        cash = {"USDT": Decimal(self._random.choice(CASH)), "BTC": Decimal(2), "ETH": Decimal(5)}
        self.venue = Venue(contract, markets, cash, money_first=self._random.random() < 0.5)
        self.venue.listener = self._venue_tells
        self.door = Door(self.agenda, voice, self.venue, self.mix, seed + 2)
        self.door.before, self.door.after = self._sending, self.may_die
        self.door.interruptible = lambda: self.process is not None and self.process.in_a_cell
        self.stream = Stream(self.agenda, voice, self.mix, seed + 3)
        self.stream.note = self.note
        self.process: Process | None = None
        self.touched: set[str] = set()
        """Orders about which something was written since they were last compared."""
        self.disk_full = self._still = False
        self._deaths = 1.0
        self.owner = Owner(self, seed + 4)
        self.laws = Laws(self.venue, START)
        self.agenda.after = self._compare

    @property
    def desk(self) -> Desk:
        """The desk of the process that runs."""
        assert self.process is not None
        return self.process.desk

    def run(self) -> World:
        """The whole life of a seed; AssertionError where a law is broken."""
        self._begin()
        self._live_until(START + self._storm)
        self._heal()
        self._live_until(self.agenda.now + 60 * SECOND + self.voice.contract.final_after)
        self._try_an_order()
        self._still = True
        self._live_until(self.agenda.now + 25 * SECOND + self.voice.contract.lag)
        self._judge()
        return self

    def close(self) -> None:
        """Let go of the file."""
        if self.process is not None:
            self.process.journal.close()

    def digest(self) -> str:
        """What was logged, as one number."""
        return hashlib.sha256(repr(self.log).encode()).hexdigest()

    def note(self, *words: Any) -> None:
        """Write something into the log."""
        self.log.append((round((self.agenda.now - START) / SECOND, 6), *words))

    # -- what the journal and the door ask

    def stir(self) -> None:
        """Wake who follows the account."""
        if self.process is not None and self.process.follower is not None:
            self.process.follower.stirred = True

    def may_die(self) -> None:
        """A moment at which the process may end."""
        if self._fate.random() < self.mix.die * self._deaths:
            self.crash()

    def may_be_interrupted(self) -> None:
        """A moment at which the cell may be interrupted."""
        if self._fate.random() < self.mix.interrupt_write * self._deaths:
            self.note("interrupted at the disk")
            raise KeyboardInterrupt

    def _sending(self, question: Question) -> None:
        self.note("asks", question.what, question.client_id)
        if self.process is not None:
            self.laws.sending(self.desk, question, compared=self.process.compared)
        if question.what in ("order", "cancel"):
            self.may_die()

    # -- the life of processes

    def _begin(self) -> None:
        for symbol in INSTRUMENTS:
            self.venue.step(symbol, START, trade=False)
            self._market(symbol)
        self.agenda.at(START, self.open)
        self.agenda.at(START, self._look)
        for at, kind in self.mix.plan:
            self.agenda.at(START + at, self.happen, kind)

    def open(self) -> None:
        """A process opens the account, unless one has it."""
        if self.process is None:
            skew = self._random.randint(-self.mix.skew, self.mix.skew)
            self.process = Process(self, self._path, skew)
            self.touched |= set(self.desk.records)
            self.note("opened", len(self.desk.records), skew)
            self.process.open()

    def _look(self) -> None:
        self.agenda.within(EVERY, self._look)
        if self.process is not None:
            self.process.look()

    def _live_until(self, time: int) -> None:
        while self.agenda.now < time:
            try:
                self.agenda.until(time)
            except Crash:
                self.process = None
                self.stream.close()
                self.agenda.within(self._fate.randint(SECOND // 2, 12 * SECOND), self.open)
            except KeyboardInterrupt:
                self.note("interrupted")

    def _heal(self) -> None:
        self.note("all is well")
        self._deaths, self.disk_full = 0.0, False
        self.door.heal()
        self.stream.heal()
        self.open()
        self.desk.journal.resume()

    # -- what happens

    def _venue_tells(self, taken: Taken, report: Report, standing: Standing) -> None:
        self.note("venue", report.kind, taken.client_id, str(report.fill and report.fill.qty))
        self.touched.add(taken.client_id)
        self.laws.taken(taken)
        self.stream.push(taken, report, standing)

    def _market(self, symbol: str) -> None:
        if not self._still:
            busy = 1 if self._deaths else 4
            self.agenda.within(busy * self._random.randint(SECOND // 2, 4 * SECOND), self._market, symbol)
            self.venue.step(symbol, self.agenda.now, trade=self._random.random() < 0.6)

    def happen(self, kind: str) -> None:
        """Begin a trouble, or have the owner do something unless the process is gone or too much is under way."""
        self.note("comes", kind)
        deed, process = getattr(self.owner, kind, None), self.process
        if deed is None:
            getattr(self, kind)()
        elif process is not None and process.follower is not None and process.inside < DEEPEST:
            process.inside += 1
            try:
                deed(process.desk)
            except KitError as error:
                if isinstance(error, BadOrder) and "NOTIONAL" not in str(error):  # what is left may be too little
                    raise
                self.note("refused", type(error).__name__, str(error)[:160])
            finally:
                process.inside -= 1
                self.stir()

    def crash(self) -> None:
        """The process ends, as by kill -9: nothing is written any more, nobody is told."""
        if self.process is not None:
            self.note("dies")
            self.process.journal.close()
            raise Crash

    def drop(self) -> None:
        self.stream.drop()

    def mute(self) -> None:
        self.stream.mute()

    def outage(self) -> None:
        self.door.outage()

    def ban(self) -> None:
        self.door.ban()

    def full(self) -> None:
        self.disk_full = True
        self.agenda.within(self._random.randint(SECOND, 10 * SECOND), setattr, self, "disk_full", False)

    def halt(self) -> None:
        """The kill switch, for a while; where no call is under way all is cancelled, too."""
        process = self.process
        if process is None or process.follower is None:
            return
        process.journal.halt("by hand")
        self.agenda.within(self._random.randint(2 * SECOND, 15 * SECOND), self._resume)
        if not process.inside:
            process.inside += 1
            try:
                result = stop(process.desk, "by hand", Reading(self.agenda), patience=0, at_once=1)
                self.note("halted", result.proven, len(result.open))
                if result.proven:
                    self.laws.stopped()
            finally:
                process.inside -= 1

    def _resume(self) -> None:
        if self.process is not None:
            self.process.journal.resume()

    def foreign(self) -> None:
        """Somebody else places an order in the account."""
        request = self.owner.request()
        with suppress(No):
            self.venue.place(request.symbol, request, f"web_{len(self.venue.taken)}", self.agenda.now, FOREIGN)

    def foreign_cancel(self) -> None:
        self._cancel_at_venue(FOREIGN)

    def other_hand(self) -> None:
        """One of our orders is cancelled on the venue's own page."""
        self._cancel_at_venue(OURS)

    def _cancel_at_venue(self, owner: str) -> None:
        found = [taken for taken, _ in self.venue.open_at(self.agenda.now) if taken.owner == owner]
        if found:
            self.venue.cancel(self._random.choice(found).client_id, self.agenda.now)

    def reset(self) -> None:
        """The account is begun anew: what was open is cancelled, the same cells will mean the same ids."""
        process = self.process
        if process is not None and process.follower is not None and not process.busy:
            self.stream.close()
            process.journal.close()
            self.process = None
            self.agenda.within(self.voice.contract.deadline + SECOND, self._clear)

    def _clear(self) -> None:
        """Nothing is on its way any more, nothing of the old account stays open."""
        if self.process is None:
            for taken, _ in list(self.venue.open_at(self.agenda.now)):
                if taken.owner != FOREIGN:
                    self.venue.cancel(taken.client_id, self.agenda.now)
            self.agenda.within(MINUTE + SECOND, self._begin_anew)

    def _begin_anew(self) -> None:
        if self.process is None:
            set_aside(self._path, self.agenda.now)
            self.laws = Laws(self.venue, self.agenda.now)
            for delay in range(8):
                self.agenda.within(delay * 3 * SECOND, self.happen, "rerun")
            self.open()

    # -- is it so?

    def _compare(self) -> None:
        """Hold the laws against what has changed."""
        if self.process is None or not self.touched:
            return
        for client_id in sorted(self.touched):
            record = self.desk.records.get(client_id)
            if record is not None:
                self.laws.order(record)
        self.touched.clear()
        self.laws.money(self.desk, self.process.cash)

    def _try_an_order(self) -> None:
        """An account that is right again can be used again."""
        price = self.venue.markets[BTC.symbol].price(-500)
        request = OrderRequest(symbol=BTC.symbol, side=Side.BUY, type=OrderType.LIMIT, qty=Decimal("0.1"), price=price)
        try:
            record = self.desk.place(request, Intent.keyed("after"))
        except RiskRefused as error:
            self.note("no money left", str(error))
            return
        assert record.status in (OrderStatus.OPEN, OrderStatus.REJECTED), f"after all is well: {record}"
        with suppress(OutcomeUnknown):  # a copy that lags behind does not show the cancel yet
            if record.status is OrderStatus.OPEN:
                self.desk.cancel(record.client_id)

    def _judge(self) -> None:
        process, desk = self.process, self.desk
        assert process is not None
        differences = reconcile(desk)
        self.note("judged", *[(f.kind, f.name, f.verdict) for f in differences])
        self.laws.settled(desk, differences)
        self.laws.money(desk, process.cash)
        self.laws.profit(desk)
        desk.close()
        desk.journal.close()
        journal = Journal(self._path)
        try:
            self.laws.reopened(desk, journal, opened(self, journal, 0))
        finally:
            journal.close()
