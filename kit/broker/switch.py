"""The kill switch from outside: ``kit halt`` on an account that another process owns, or that none does.

Whoever owns the account cancels, and is waited for. Where nobody does, its open orders are cancelled from here: a paper
account's in its journal, which is all there is of that venue while no process runs it; a live account's at the venue.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime

from kit.broker.accounts import FIRST_SESSION, SANDBOX, path_of
from kit.broker.desk import Desk
from kit.broker.gateway import Accepted, Gateway, Outcome, Refused
from kit.broker.halting import Halting, answer, in_words, stop
from kit.broker.live import LiveGateway
from kit.clock import Clock, WallClock
from kit.errors import AccountBusy, KitError, MissingKey, UnknownName
from kit.market.feed import FeedState, Picture
from kit.model import Balance, Instrument, OrderRequest, OrderState, Report, ReportKind
from kit.net import keys
from kit.runtime import home
from kit.store.entries import Terms
from kit.store.journal import Journal
from kit.venue import Venue, connect
from kit.venues.contract import IN_PROCESS

PATIENCE = 8.0
"""Seconds an owner has to notice the flag, cancel, and prove it."""
LOOK = 0.1
"""Seconds between two looks at what it has written."""


class AtRest:
    """A paper venue that no process runs: nothing fills there, and what is cancelled is over at once."""

    contract = IN_PROCESS

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def listen(self, listener: object) -> None:
        """Nothing happens here by itself."""

    def submit(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Outcome:
        return Refused("no process runs this paper account")

    def cancel(self, instrument: Instrument, client_id: str) -> Outcome:
        over = Report(
            kind=ReportKind.CANCELED,
            client_id=client_id,
            time=self._clock.now(),
            reason="cancelled while nothing ran it",
        )
        return Accepted([over])

    def query(self, instrument: Instrument, client_id: str, since: int) -> OrderState | None:
        return None

    def open_orders(self) -> list[OrderState]:
        return []

    def balances(self) -> list[Balance]:
        return []

    def close(self) -> None:
        """Nothing runs here."""


def accounts() -> list[str]:
    """The names of the accounts in the kit's data folder, without those that were put aside."""
    found = (path.stem for path in (home() / "accounts").glob("*.sqlite"))
    return sorted(name for name in found if ".until-" not in name)


def halt(account: str, reason: str, *, patience: float = PATIENCE) -> Halting:
    """Halt an account from whatever process this is, and say what came of it.

    Raises UnknownName for an account that is not there, StoreError when its journal can't be used.
    """
    with closing(_reader(account)) as journal:
        flag = f"{reason}, by kit halt at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, process {os.getpid()}"
        journal.halt(flag)
        try:
            owned = Journal(path_of(account))
        except AccountBusy as busy:
            return _owners_answer(journal, flag, patience) or _silent(account, journal, flag, str(busy), patience)
    with closing(owned):
        return _at_rest(account, owned, flag)


def resume(account: str) -> str:
    """Let orders leave the account again; why it was halted, empty when it was not. Raises as ``halt`` does."""
    with closing(_reader(account)) as journal:
        reason = journal.halted
        journal.resume()
        return reason


def _reader(account: str) -> Journal:
    if account not in (known := accounts()):
        raise UnknownName("account", account, known, f"(accounts are kept in {home() / 'accounts'})")
    return Journal(path_of(account), readonly=True)


def _owners_answer(journal: Journal, flag: str, patience: float) -> Halting | None:
    """What the owner has written about this very halt, waited for until it is proven; None when nothing was."""
    until, told = time.monotonic() + patience, None
    while time.monotonic() < until:
        told = answer(journal)
        if told is not None and told.reason == flag and told.proven:
            return told
        time.sleep(LOOK)
    return told if told is not None and told.reason == flag else None


def _silent(account: str, journal: Journal, flag: str, busy: str, patience: float) -> Halting:
    """The owner does not come to it: it is suspended, or its disk is full. The flag stands all the same."""
    why = "its process has not come to cancel it"
    open_ = {in_words(record): why for record in journal.orders() if not record.status.final}
    unproven = f"{busy.partition(':')[0]}, which has not answered within {patience:g} s"
    return Halting(account=account, reason=flag, time=WallClock().now(), open=open_, unproven=unproven)


def _at_rest(account: str, journal: Journal, flag: str) -> Halting:
    """Cancel for an account that nobody owns."""
    terms = journal.terms
    if terms is None:
        return Halting(account=account, reason=flag, time=WallClock().now())
    with ExitStack() as undo:
        try:
            gateway, clock = _venue(terms, journal, undo)
            desk = _desk(account, journal, gateway, clock)
        except KitError as error:
            return _out_of_reach(account, journal, flag, error)
        undo.callback(desk.close)
        return stop(desk, flag, clock)


def _venue(terms: Terms, journal: Journal, undo: ExitStack) -> tuple[Gateway, Clock]:
    """Where the account's orders are, and the clock there."""
    if terms.kind == "paper":
        clock = WallClock()
        return AtRest(clock), clock
    venue = _connected(terms, journal)
    undo.callback(venue.close)
    venue.rest.sync()
    if venue.rest.key is None:
        raise MissingKey(f"no API key for it is found here; {keys.advice(terms.venue, terms.environment.lower())}")
    return LiveGateway(venue.rest, venue.trading), venue.rest.clock


def _connected(terms: Terms, journal: Journal) -> Venue:
    if terms.environment == "SANDBOX":
        return connect("sandbox", sandbox=journal.get(SANDBOX))
    return connect(terms.venue, environment=terms.environment.lower())


def _desk(account: str, journal: Journal, gateway: Gateway, clock: Clock) -> Desk:
    """A desk that can ask and cancel; no order leaves it, for it sees no market and the account is halted."""
    return Desk(
        account,
        journal.get("session") or FIRST_SESSION,
        journal,
        gateway,
        clock,
        instruments=journal.instruments.__getitem__,
        picture=lambda symbol: Picture(FeedState.IDLE, float("inf"), None),
    )


def _out_of_reach(account: str, journal: Journal, flag: str, error: KitError) -> Halting:
    """No process owns the account and its venue can't be asked from here."""
    why = "it could not be cancelled from here"
    open_ = {in_words(record): why for record in journal.orders() if not record.status.final}
    return Halting(account=account, reason=flag, time=WallClock().now(), open=open_, unproven=str(error))
