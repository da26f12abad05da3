"""The kill switch at work: the flag in the journal keeps new orders back, and here open ones are provably cancelled.

The proof is what the venue says when it is asked again afterwards: that none of the account's orders is open. Any
process may set the flag; the one that owns the account notices it within half a second, cancels, and writes into the
journal what came of it, where the one that set the flag can read it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from kit.broker.desk import Desk
from kit.clock import Clock
from kit.errors import JournalUnwritable, KitError
from kit.orders.lifecycle import OrderRecord
from kit.orders.request import describe
from kit.orders.rules import plain
from kit.store.journal import Journal

EVERY = 0.5
"""Seconds between two looks at the flag."""
SLOWEST = 30.0
"""Seconds between two attempts where something stays open."""
PATIENCE = 3.0
"""Seconds a halt goes on asking until nothing is open; then it says what may be, and the watch goes on."""
AGAIN = 0.5
"""Seconds between two questions whether anything is open still."""
AT_ONCE = 8
"""Cancels on their way at the same time: two hundred, one after the other, would take most of a minute."""

_ANSWER = "halting"
"""Under this label the journal keeps what came of the last halt."""


class Halting(msgspec.Struct, frozen=True, kw_only=True):
    """What came of halting an account. Orders are told in words, with their ids."""

    account: str
    reason: str
    time: int
    """When the venue was asked what is open (µs, by its clock)."""
    over: tuple[str, ...] = ()
    """What was open, and how it ended: cancelled, or filled before the cancel came."""
    open: Mapping[str, str] = msgspec.field(default_factory=dict)
    """What may be open still -> why."""
    foreign: int = 0
    """Open orders at the venue that this account did not place: they are left alone."""
    unproven: str = ""
    """Why the venue's word could not be had; empty when it was."""

    @property
    def proven(self) -> bool:
        """True when the venue, asked again, has none of the account's orders open."""
        return not (self.open or self.unproven)

    def lines(self) -> list[str]:
        """All of it, one line each."""
        told = [f"account {self.account!r} is halted ({self.reason}): no order leaves it until it is resumed"]
        told += [f"  {words}" for words in self.over]
        told += [f"  MAY BE OPEN: {words} ({why})" for words, why in self.open.items()]
        told += (
            [f"  {self.foreign} open orders at the venue are not this account's: left alone"] if self.foreign else []
        )
        if self.proven:
            return [*told, "  nothing of it is open any more: the venue was asked again after the cancels"]
        why = f" ({self.unproven})" if self.unproven else ""
        return [*told, f"  NOT PROVEN that nothing is open{why}: look at the venue's own page, or halt again"]

    def __repr__(self) -> str:
        return "\n".join(self.lines())


def halt(desk: Desk, reason: str, clock: Clock, *, patience: float = PATIENCE, at_once: int = AT_ONCE) -> Halting:
    """Set the flag, cancel everything that is open, and ask the venue whether anything still is.

    Raises JournalUnwritable when the flag could not be written; what was open is cancelled all the same, and the note
    on the error says what came of that.
    """
    try:
        desk.journal.halt(reason)
    except JournalUnwritable as error:
        error.add_note(repr(stop(desk, reason, clock, patience=patience, at_once=at_once)))
        raise
    return stop(desk, desk.journal.halted, clock, patience=patience, at_once=at_once)


def stop(desk: Desk, reason: str, clock: Clock, *, patience: float = PATIENCE, at_once: int = AT_ONCE) -> Halting:
    """Cancel what is open, ask the venue until nothing is or ``patience`` (s) is over, and write down the outcome.

    With ``at_once=1, patience=0`` it is one pass in the calling thread.
    """
    with desk.changed:
        records = desk.open_orders  # a call that was past the flag when it was set has counted its order by now
    troubles = _cancelled(desk, records, at_once)
    until = time.monotonic() + patience
    while not (result := _verdict(desk, reason, clock, records, troubles)).proven and time.monotonic() < until:
        with desk.changed:
            desk.changed.wait(min(AGAIN, patience))
    try:
        desk.journal.set(_ANSWER, msgspec.json.encode(result).decode())
    except JournalUnwritable:
        return result  # whoever waits for it in another process will say that nobody answered
    return result


def answer(journal: Journal) -> Halting | None:
    """What came of the account's last halt, None when nothing has yet."""
    text = journal.get(_ANSWER)
    return None if text is None else msgspec.json.decode(text, type=Halting)


def in_words(record: OrderRecord) -> str:
    """An order, where it stands and what it has filled."""
    filled = f", {plain(record.filled)} filled" if record.filled else ""
    return f"{record.status}{filled}: {describe(record.request)} ({record.client_id})"


class Watch:
    """Looks at an account's flag, whoever sets it, and at its day: thread ``kit-halt-<account>``. It never waits for a
    market."""

    def __init__(self, desk: Desk, clock: Clock, *, every: float = EVERY) -> None:
        self.last_error = ""
        """Why the last look failed; empty when it did not."""
        self._desk, self._clock, self._every = desk, clock, every
        self._attempts, self._next = 0, 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kit-halt-{desk.account_name}", daemon=True)
        self._thread.start()

    def look(self, *, patience: float = PATIENCE, at_once: int = AT_ONCE) -> Halting | None:
        """One look at the flag; what came of it where something was to be done."""
        reason = self._desk.journal.halted
        if not reason or (not self._desk.open_orders and self._answered(reason)):
            self._attempts = 0
            return None
        result = stop(self._desk, reason, self._clock, patience=patience, at_once=at_once)
        self._attempts = 0 if result.proven else self._attempts + 1
        return result

    def close(self) -> None:
        """Look no more. May be called twice."""
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _answered(self, reason: str) -> bool:
        told = answer(self._desk.journal)
        return told is not None and told.reason == reason and told.proven

    def _run(self) -> None:
        while not self._closed.wait(min(SLOWEST, self._every * 2**self._attempts)):
            try:
                self.look()
                self._desk.gate.mind_the_day()
                self.last_error = ""
            except Exception as error:  # the disk's or a mistake: it may go better next time, and there must be one
                self.last_error = str(error)


def _cancelled(desk: Desk, records: list[OrderRecord], at_once: int) -> dict[str, str]:
    """Cancel each, those on their way last: they are waited for. Client id -> why a cancel took no effect."""

    def trouble(client_id: str) -> str:
        try:
            desk.cancel(client_id)
        except Exception as error:  # a mistake about one, too, keeps no other from being cancelled
            return str(error) or repr(error)
        return ""

    names = [record.client_id for record in sorted(records, key=lambda record: desk.being_sent(record.client_id))]
    if at_once == 1 or len(names) < 2:
        troubles = list(map(trouble, names))
    else:
        with ThreadPoolExecutor(at_once, f"kit-halt-{desk.account_name}") as pool:
            troubles = list(pool.map(trouble, names))
    return {name: words for name, words in zip(names, troubles, strict=True) if words}


def _verdict(desk: Desk, reason: str, clock: Clock, records: list[OrderRecord], troubles: Mapping[str, str]) -> Halting:
    """What is open by the venue's own word and by the journal's."""
    asked, listed, unproven = clock.now(), set[str](), ""
    try:
        listed = {state.client_id for state in desk.gateway.open_orders()}
    except KitError as error:
        unproven = str(error)
    ours = [desk.records[name] for name in listed if name in desk.records]
    suspects = {record.client_id: record for record in (*records, *desk.open_orders, *ours)}
    alive = {name for name, record in suspects.items() if not record.status.final or name in listed}
    return Halting(
        account=desk.account_name,
        reason=reason,
        time=asked,
        over=tuple(in_words(record) for name, record in suspects.items() if name not in alive),
        open={in_words(suspects[name]): _why(name in listed, troubles.get(name)) for name in suspects if name in alive},
        foreign=len(listed) - len(ours),
        unproven=unproven,
    )


def _why(listed: bool, trouble: str | None) -> str:
    return trouble or ("the venue lists it as open" if listed else "the venue has not said what became of it")
