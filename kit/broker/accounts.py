"""Opening accounts: ``kit.paper`` and ``kit.live``. An account is a journal with a name, owned by one process."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from pathlib import Path, PurePosixPath
from types import UnionType
from typing import TYPE_CHECKING

from kit.broker.broker import Broker
from kit.broker.desk import Desk
from kit.broker.following import Follower
from kit.broker.gateway import Gateway
from kit.broker.live import LiveGateway, forbid_real_money
from kit.broker.paper import PaperGateway, PaperVenue
from kit.broker.reconcile import reconcile
from kit.clock import SECOND, VenueClock
from kit.errors import AccountMismatch, MissingKey, Unreached, UsageError
from kit.market.feed import FeedState, Picture
from kit.model import Fees, Instrument, Quote
from kit.net import keys
from kit.orders.request import Amount
from kit.orders.risk import Limits
from kit.orders.rules import parse_amount, plain
from kit.runtime import home, runtime
from kit.store.entries import Terms
from kit.store.journal import Journal, set_aside

if TYPE_CHECKING:
    from kit.net.live import Live
    from kit.venue import Venue

QUOTE = "USDT"
CASH = Decimal(10_000)
FIRST_SESSION = "default"
LONGEST_NAME = 80
LONGEST_LATENCY = 60
OPENING = 5.0
"""Seconds an order waits for the live frame that it had to open."""

Cash = Amount | Mapping[str, Amount]

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


class Markets:
    """A venue's instruments and live frames, opened as orders need them."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._followed: dict[str, Live] = {}

    def instrument(self, symbol: str) -> Instrument:
        return self._venue.instrument(symbol)

    def live(self, symbol: str) -> Live:
        """The live frame of an instrument: one that is open already, whatever its interval, else a new one."""
        live = self._followed.get(symbol)
        if live is None or live.state is FeedState.CLOSED:
            live = self._venue.followed(symbol) or self._venue.live(symbol)
            self._followed[symbol] = live
        return live

    def picture(self, symbol: str) -> Picture:
        """The picture now, by a clock that is certain; one that is only beginning gets a few seconds to become LIVE."""
        _measured_clock(self._venue)
        live = self.live(symbol)
        if live.state in (FeedState.IDLE, FeedState.CONNECTING, FeedState.SYNCING):
            live.ready(OPENING)
        return Picture(live.state, live.age, live.quote)

    def quote(self, symbol: str) -> Quote | None:
        """The last quote of an instrument that is followed already."""
        live = self._followed.get(symbol)
        return live.quote if live else None


@dataclass(frozen=True)
class _Wish:
    """What a caller asked for; None: not said."""

    kind: str
    name: str
    venue: Venue
    limits: Limits
    latency: float = 0.0
    seed: int = 0
    cash: Mapping[str, Decimal] | None = None
    fees: Fees | None = None
    session: str | None = None
    reset: bool = False

    @property
    def options(self) -> tuple[object, ...]:
        """What a running broker must have been opened with to be the one that is wanted."""
        return (self.venue, self.limits, self.latency, self.seed)

    def __post_init__(self) -> None:
        """Refuse what is of the wrong kind before it is written down, where it could not be read again."""
        for name, (kind, meaning) in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or value == "" or (isinstance(value, bool) and kind is not bool):
                raise UsageError(f"{name}={value!r:.80}: {meaning}; nothing was opened")
        if not 0 <= self.latency <= LONGEST_LATENCY:
            raise UsageError(f"latency={self.latency!r}: {_KINDS['latency'][1]}; nothing was opened")


_KINDS: Mapping[str, tuple[type | UnionType, str]] = {
    "limits": (Limits, "limits are kit.Limits(…)"),
    "latency": (Real, f"seconds each way, from 0 to {LONGEST_LATENCY}"),
    "seed": (int, "a seed is a whole number"),
    "fees": (Fees | None, "fees are kit.Fees(maker=0.001, taker=0.001), shares of what is traded"),
    "session": (str | None, "a session is a label, in text"),
    "reset": (bool, "True puts the account's journal aside and begins anew"),
}


def paper(
    venue: Venue,
    *,
    cash: Cash | None = None,
    account: str | None = None,
    reset: bool = False,
    fees: Fees | None = None,
    latency: float = 0.05,
    session: str | None = None,
    limits: Limits | None = None,
    seed: int = 0,
) -> Broker:
    """A paper account on a venue's live market: simulated fills, and everything else as on a live account.

    It survives the process: orders, fills and money are in its journal, and open orders go on. Called again it
    is the same broker. ``cash`` (default 10,000 USDT; or {asset: amount}) and ``fees`` count when the account is
    new: others for one that exists raise AccountMismatch, and ``reset=True`` puts the old journal aside and
    begins anew. ``account`` defaults to the notebook's name, else ``paper``. ``latency`` is the mean of each way in
    seconds, drawn from ``seed``. ``session`` is a label that only you change (at first ``default``): in a new session
    every cell and key means new orders.

    Raises AccountBusy when another process owns the account, StoreError when its file can't be used.
    """
    _refuse_no_venue("paper", venue)
    wish = _Wish(
        kind="paper",
        name=(_notebook_name() or "paper") if account is None else _checked_name(account),
        venue=venue,
        limits=Limits() if limits is None else limits,
        latency=latency,
        seed=seed,
        cash=None if cash is None else _amounts(cash),
        fees=fees,
        session=session,
        reset=reset,
    )
    return _opened(wish, _paper_terms, _paper_broker)


def live(
    venue: Venue, *, account: str | None = None, session: str | None = None, limits: Limits | None = None
) -> Broker:
    """A live account: orders go to the venue itself, which for now is the sandbox, a testnet or demo mode only.

    ``account`` names the journal, by default after the notebook and the environment; ``session`` as in ``kit.paper``.
    For education and research; no advice, and results there promise nothing anywhere else.

    Raises LiveForbidden for any other host, MissingKey without a key (it says how to give one), AccountBusy.
    """
    _refuse_no_venue("live", venue)
    forbid_real_money(venue.hosts, venue.trading)
    environment = venue.environment.lower()
    if venue.rest.key is None:
        raise MissingKey(
            f"a live account at {venue.name} {environment} needs an API key; nothing was opened: "
            f"{keys.advice(venue.name, environment)}"
        )
    name = f"{_notebook_name()}-{environment}".strip("-") if account is None else _checked_name(account)
    wish = _Wish("live", name, venue, Limits() if limits is None else limits, session=session)
    return _opened(wish, _live_terms, _live_broker)


def path_of(account: str) -> Path:
    """Where an account's journal is."""
    return home() / "accounts" / f"{account}.sqlite"


Terming = Callable[[_Wish], Terms]
Building = Callable[[_Wish, Journal, Terms, ExitStack], Broker]


def _opened(wish: _Wish, terms: Terming, build: Building) -> Broker:
    """The running broker of that account if it is what was asked for, else one opened now."""
    running = runtime.find(Broker, wish.name)
    if running is not None:
        if not wish.reset:
            _refuse_other_terms(running.terms, wish)
        if wish.reset or running.opened_with != wish.options:
            running.close()
    broker = runtime.get(Broker, wish.name, lambda: _open(wish, terms, build))
    if wish.session is not None and wish.session != broker.session:
        broker.desk.journal.set("session", wish.session, durable=True)
        broker.desk.session = wish.session
    return broker


def _open(wish: _Wish, terms: Terming, build: Building) -> Broker:
    """Open the journal, begin it if it is new, and put a broker on it; closed again if anything fails."""
    path = path_of(wish.name)
    if wish.reset:
        set_aside(path, _measured_clock(wish.venue).now())
    with ExitStack() as undo:
        journal = Journal(path)
        undo.callback(journal.close)
        opened = journal.terms
        if opened is None:
            opened = journal.terms = terms(wish)
        _refuse_other_terms(opened, wish)
        broker = build(wish, journal, opened, undo)
        broker.opened_with = wish.options
        undo.pop_all()
    return broker


def _paper_broker(wish: _Wish, journal: Journal, opened: Terms, undo: ExitStack) -> Broker:
    markets, clock = Markets(wish.venue), _measured_clock(wish.venue)
    simulated = PaperVenue(opened.fees, latency=round(wish.latency * SECOND), seed=wish.seed)
    gateway = PaperGateway(simulated, markets.live, clock, wish.name)
    undo.callback(gateway.close)
    desk = _desk(wish, journal, gateway, markets)
    gateway.budget = desk.reserved
    reconcile(desk)
    gateway.restore((journal.instruments[r.request.symbol], r) for r in desk.records.values())
    return Broker(desk, opened, markets, clock, [gateway, desk, journal])


def _live_broker(wish: _Wish, journal: Journal, opened: Terms, undo: ExitStack) -> Broker:
    markets, clock = Markets(wish.venue), _measured_clock(wish.venue)
    desk = _desk(wish, journal, LiveGateway(wish.venue.rest, wish.venue.trading), markets)
    try:
        reconcile(desk)
    except Unreached as error:
        desk.unreconciled = str(error)
    return Broker(desk, opened, markets, clock, [Follower(desk), desk, journal])


def _desk(wish: _Wish, journal: Journal, gateway: Gateway, markets: Markets) -> Desk:
    return Desk(
        wish.name,
        journal.get("session") or FIRST_SESSION,
        journal,
        gateway,
        _measured_clock(wish.venue),
        instruments=markets.instrument,
        picture=markets.picture,
        limits=wish.limits,
    )


def _paper_terms(wish: _Wish) -> Terms:
    return _terms(wish, wish.cash or {QUOTE: CASH}, wish.fees or Fees())


def _live_terms(wish: _Wish) -> Terms:
    """A live account begins with what the venue says it holds."""
    held = wish.venue.rest.do(wish.venue.trading.balances())
    return _terms(wish, {balance.asset: balance.total for balance in held if balance.total}, Fees())


def _terms(wish: _Wish, cash: Mapping[str, Decimal], fees: Fees) -> Terms:
    return Terms(
        kind=wish.kind,
        venue=wish.venue.name,
        environment=wish.venue.environment,
        quote=QUOTE if QUOTE in cash else next(iter(cash), QUOTE),
        cash=dict(cash),
        fees=fees,
        created=_measured_clock(wish.venue).now(),
    )


def _refuse_other_terms(opened: Terms, wish: _Wish) -> None:
    """An account is what it was opened as; AccountMismatch names what differs and the ways on."""
    asked: dict[str, tuple[object, object]] = {
        "kind": (opened.kind, wish.kind),
        "venue": (f"{opened.venue} {opened.environment}", f"{wish.venue.name} {wish.venue.environment}"),
        "cash": (opened.cash, opened.cash if wish.cash is None else dict(wish.cash)),
        "fees": (opened.fees, wish.fees or opened.fees),
    }
    for name, (was, now) in asked.items():
        if was != now:
            way = "reset=True puts its journal aside and begins anew, " if wish.kind == "paper" else ""
            raise AccountMismatch(
                f"account {wish.name!r} was opened with {name} {_told(was)}, not {_told(now)}; nothing was changed. "
                f"Leave {name} as it was, or: {way}account='…' opens another account beside it"
            )


def _told(value: object) -> str:
    if isinstance(value, dict):
        return " + ".join(f"{plain(amount)} {asset}" for asset, amount in value.items())
    return str(value)


def _measured_clock(venue: Venue) -> VenueClock:
    """The venue's clock: fills and trades are compared in its time."""
    if not venue.rest.clock.certain:
        venue.rest.sync()
    return venue.rest.clock


def _amounts(cash: Cash) -> dict[str, Decimal]:
    """``cash`` as exact amounts by asset; BadOrder for what is no amount, UsageError when there is none."""
    given = cash if isinstance(cash, Mapping) else {QUOTE: cash}
    if not given:
        raise UsageError("cash={} opens an account that can't do anything: give an amount, or {asset: amount}")
    return {_asset(name): parse_amount(f"cash of {name}", amount) for name, amount in given.items()}


def _asset(name: object) -> str:
    if isinstance(name, str) and name.strip():
        return name.strip().upper()
    raise UsageError(f"cash of {name!r}: an asset is named in letters, such as USDT; nothing was opened")


def _refuse_no_venue(verb: str, venue: object) -> None:
    if not all(hasattr(venue, part) for part in ("rest", "codec", "live")):
        raise UsageError(f"kit.{verb}({venue!r:.60}): a venue is what kit.connect() gives; nothing was opened")


def _checked_name(account: object) -> str:
    if not (isinstance(account, str) and account) or _NOT_IN_NAMES.search(account) or len(account) > LONGEST_NAME:
        raise UsageError(
            f"account={account!r}: an account's name is up to {LONGEST_NAME} letters, digits, - and _ (it names a file)"
        )
    return account


def _notebook_name() -> str:
    """The notebook's name as Jupyter's server tells it (JPY_SESSION_NAME holds its path); empty elsewhere."""
    told = os.environ.get("JPY_SESSION_NAME", "")
    stem = PurePosixPath(told.replace("\\", "/")).stem
    return _NOT_IN_NAMES.sub("-", stem).strip("-")[:LONGEST_NAME]
