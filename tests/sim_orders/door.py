"""The simulated way to the venue: ``Rest.do`` for the gateway, with everything that networks and proxies do."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from kit.clock import SECOND, Clock
from kit.errors import OutcomeUnknown, VenueUnreachable
from kit.venues.base import Call, Effect
from kit.venues.contract import Repeat, Scope
from tests.sim_orders.agenda import Agenda, Reading
from tests.sim_orders.faults import FATES, Mix
from tests.sim_orders.venue import No, Taken, Venue
from tests.sim_orders.voice import Answer, Question, Voice

T = TypeVar("T")

COMPANY = 6.0
"""Troubles come in company: how much likelier they are within a second of one."""


class Door:
    """Carries requests to the venue and answers back. A caller waits while the world goes on."""

    def __init__(self, agenda: Agenda, voice: Voice, venue: Venue, mix: Mix, seed: int) -> None:
        self._agenda, self._voice, self._venue = agenda, voice, venue
        self.mix = mix
        self.clock: Clock = Reading(agenda)
        """The venue's."""
        self._random = Random(seed)  # noqa: S311 - the seed is the point
        self._down = self._banned = self._bad = 0
        self._patience = self._random.choice((3, 6, 12)) * SECOND
        self.interruptible: Callable[[], bool] = lambda: True
        """Whether the call that waits is a cell's."""
        self._waiting: list[list[Answer]] = []
        self.script: list[str] = []
        """What befalls the next requests, in place of what is drawn."""
        self.before: Callable[[Question], None] = lambda question: None
        self.after: Callable[[], None] = lambda: None
        """Called before a request leaves, and when its answer is here or was given up."""

    def do(self, call: Call[T]) -> T:
        """As ``Rest.do``, without its retries: each attempt's outcome is the desk's to bear."""
        question, agenda, sent = self._voice.asked(call), self._agenda, self._agenda.now
        self.before(question)
        fate, box = self._fate(), list[Answer]()
        if fate == "unsent":
            raise VenueUnreachable(f"{call.path}: no connection. Nothing was sent")
        self._carry(question, sent, fate, box)
        self._waiting.append(box)
        try:
            agenda.until(sent + self._patience, lambda: box)
        finally:
            self._waiting.pop()
        self.after()
        if not box:
            if call.effect is Effect.WRITE:
                raise OutcomeUnknown(f"{call.path}: no answer. It may have taken effect")
            raise VenueUnreachable(f"{call.path}: no answer")
        failure = self._voice.codec.failure(call, *box[0])
        if failure is not None:
            raise failure.error
        return call.read(box[0][2])

    # -- troubles

    def outage(self) -> None:
        """No request reaches the venue for a while."""
        self._down = self._agenda.now + self._random.randint(SECOND, 20 * SECOND)

    def ban(self) -> None:
        """Every request is turned away for a while."""
        self._banned = self._agenda.now + self._random.randint(SECOND, 20 * SECOND)

    def heal(self) -> None:
        """Nothing is wrong any more; what is on its way still arrives as late as it would have."""
        self.mix, self._down, self._banned = Mix(lag=self.mix.lag), 0, 0

    # -- inside

    def _fate(self) -> str:
        if self.script:
            return self.script.pop(0)
        if self._agenda.now < self._down:
            return self._random.choice(("unsent", "lost", "broken"))
        if self._agenda.now < self._banned:
            return "limited"
        weights = [getattr(self.mix, fate) for fate in FATES]
        often = COMPANY if self._agenda.now < self._bad else 1.0
        if self._random.random() >= min(0.9, sum(weights) * often / len(FATES)):
            return ""
        self._bad = self._agenda.now + self._patience + SECOND
        return self._random.choices(FATES, weights)[0]

    def _carry(self, question: Question, sent: int, fate: str, box: list[Answer]) -> None:
        random, agenda = self._random, self._agenda
        slow = random.randint(SECOND, round(1.1 * self._venue.contract.deadline)) if fate == "slow" else 0
        there = sent + random.randint(3_000, 90_000) + slow
        if fate != "lost":
            agenda.at(there, self._arrive, question, sent, fate, box)
        if random.random() < self.mix.copied:
            agenda.at(there + random.randint(0, 4 * SECOND), self._arrive_again, question, sent, box)
        if random.random() < self.mix.interrupt:
            agenda.at(sent + random.randint(1_000, SECOND), self._interrupt, box)

    def _arrive(self, question: Question, sent: int, fate: str, box: list[Answer]) -> None:
        random = self._random
        back = self._agenda.now + random.randint(3_000, 90_000)
        if fate == "limited":
            answer = self._voice.limited(random.choice((1, 2, 10, 30)))
        elif fate == "broken" and random.random() < 0.5:
            answer = (503, {}, b"<html>Service Unavailable</html>")
        else:
            answer = self._answer(question, sent)
        if fate == "disowned":
            answer, back = self._voice.no(No("money", "Account has insufficient balance.")), back + SECOND
        if fate == "broken":
            answer = (502, {}, b"<html>Bad Gateway</html>")
        if fate == "late":
            back += random.randint(SECOND, 20 * SECOND)
        if fate != "mute":
            self._agenda.at(back, box.append, answer)

    def _arrive_again(self, question: Question, sent: int, box: list[Answer]) -> None:
        """A copy of what was taken. An order's copy that would be another order is no desk's to prevent: left out."""
        if question.what != "order":
            self._arrive(question, sent, "", box)
            return
        known = self._venue.find(question.client_id, self._agenda.now)
        guarded = self._venue.contract.scope is Scope.ACCOUNT
        if known is not None and known.time >= sent and (guarded or not known.status.final):
            self._agenda.within(self._random.randint(3_000, 90_000), box.append, self._repeated(known))

    def _repeated(self, known: Taken) -> Answer:
        """What the venue says to the id of an order that it has."""
        if self._venue.contract.repeat is Repeat.REFUSED:
            return self._voice.no(No("duplicate", "Duplicate order sent."))
        return self._voice.placed(known, self._agenda.now, first=False)

    def _interrupt(self, box: list[Answer]) -> None:
        if self._waiting and self._waiting[-1] is box and self.interruptible():
            raise KeyboardInterrupt

    def _answer(self, question: Question, sent: int) -> Answer:
        """What the venue says, as its contract has it."""
        now = self._agenda.now
        writes = question.what in ("order", "cancel")
        try:
            return self._write(question, sent, now) if writes else self._look(question, self._seen(now))
        except No as no:
            return self._voice.no(no)

    def _write(self, question: Question, sent: int, now: int) -> Answer:
        venue, voice = self._venue, self._voice
        if now > sent + venue.contract.deadline:
            raise No("rule", "the deadline of the request has passed")
        if question.what == "cancel":
            return voice.cancelled(venue.cancel(question.client_id, now))
        assert question.request is not None
        count = len(venue.taken)
        taken = venue.place(question.request.symbol, question.request, question.client_id, now)
        return voice.placed(taken, now, first=len(venue.taken) > count)

    def _seen(self, now: int) -> int:
        """As of when a lookup is answered."""
        lags = self._random.random() < self.mix.lag
        return now - (self._random.randint(0, self._venue.contract.lag) if lags else 0)

    def _look(self, question: Question, seen: int) -> Answer:
        venue, voice = self._venue, self._voice
        ask: dict[str, Callable[[], Any]] = {
            "query": lambda: self._found(question, seen),
            "open": lambda: voice.states(list(venue.open_at(seen))),
            "since": lambda: voice.states(
                [
                    (taken, state)
                    for taken in venue.taken
                    if taken.instrument.native == question.native and taken.time >= question.since
                    if (state := taken.state(seen)) is not None
                ]
            ),
            "balances": lambda: voice.balances(venue.balances()),
            "fills": lambda: voice.fills(
                sorted(
                    (
                        fill
                        for taken in venue.taken
                        if taken.instrument.native == question.native
                        if question.venue_id in ("", taken.venue_id)
                        for fill in taken.fills_by(seen)
                        if int(fill.id) >= question.from_id
                    ),
                    key=lambda fill: int(fill.id),
                )
            ),
        }
        answer: Answer = ask[question.what]()
        return answer

    def _found(self, question: Question, seen: int) -> Answer:
        taken = self._venue.find(question.client_id, seen)
        state = taken.state(seen) if taken else None
        if taken is None or state is None:
            raise No("unknown", "Order does not exist.")
        return self._voice.state(taken, state)
