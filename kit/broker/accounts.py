"""Opening accounts: ``kit.paper`` and ``kit.live``. An account is a journal with a name, owned by one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from kit.broker import guard
from kit.broker.broker import Broker
from kit.broker.desk import Desk
from kit.broker.following import Follower
from kit.broker.gateway import Gateway
from kit.broker.halting import Watch
from kit.broker.live import LiveGateway
from kit.broker.markets import Markets, measured_clock
from kit.broker.paper import PaperGateway
from kit.broker.paper_venue import PaperVenue
from kit.broker.reconcile import reconcile
from kit.broker.wish import Cash, Wish, amounts, checked_name, notebook_name, refuse_no_venue
from kit.clock import SECOND
from kit.errors import AccountMismatch, DataError, MissingKey, UnknownName, Unreached, UsageError, VenueRefused
from kit.model import Fees
from kit.net import keys
from kit.orders.freshness import Freshness
from kit.orders.risk import Limits
from kit.orders.rules import plain
from kit.runtime import home, runtime
from kit.store import tables
from kit.store.entries import Terms
from kit.store.journal import Journal, set_aside
from kit.store.tables import Tables

if TYPE_CHECKING:
    from kit.net.account_stream import AccountStream
    from kit.venue import Venue

CASH = Decimal(10_000)
FIRST_SESSION = "default"
SANDBOX = "sandbox"
"""Under this label a live account's journal keeps which sandbox it is at."""


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
    freshness: Freshness | None = None,
    seed: int = 0,
) -> Broker:
    """A paper account on a venue's live market: simulated fills, and everything else as on a live account.

    It survives the process: orders, fills and money are in its journal, and open orders go on. Called again it
    is the same broker. ``cash`` is an amount of what most there is quoted in (USDT at Binance, USD at Kraken and
    Coinbase), 10,000 by default, or {asset: amount}; it and ``fees`` count when the account is new: others for one
    that exists raise AccountMismatch, and ``reset=True`` puts the old journal aside and begins anew. ``account``
    defaults to the notebook's name, else ``paper``. ``latency`` is the mean of each way in seconds, drawn from
    ``seed``. ``session`` is a label that only you change (at first ``default``): in a new session every cell and key
    means new orders. ``limits`` bound what orders may do, ``freshness`` says how current the market must be for one to
    leave.

    Raises AccountBusy when another process owns the account, StoreError when its file can't be used, LiveForbidden for
    a venue that holds a key for real money: nothing of a paper account can ever move any.
    """
    refuse_no_venue("paper", venue)
    guard.refuse_key_at_real_money(venue.hosts, venue.codec, keyed=venue.rest.key is not None)
    wish = Wish(
        kind="paper",
        name=(notebook_name() or "paper") if account is None else checked_name(account),
        venue=venue,
        limits=_spelled(limits, venue),
        freshness=Freshness() if freshness is None else freshness,
        latency=latency,
        seed=seed,
        cash=None if cash is None else amounts(cash, venue.codec.money),
        fees=fees,
        session=session,
        reset=reset,
    )
    return _opened(wish, _paper_terms, _paper_broker)


def live(
    venue: Venue,
    *,
    account: str | None = None,
    real_money: str | None = None,
    key_cannot_withdraw: bool = False,
    session: str | None = None,
    limits: Limits | None = None,
    freshness: Freshness | None = None,
) -> Broker:
    """A live account: orders go to the venue itself.

    At the sandbox, a testnet or in demo mode the money is play money, and nothing more is asked. Everywhere else it is
    real, so the account is named three times, alike: by ``account``, by ``real_money``, and by PAPERTAPE_LIVE_ACCOUNT
    in the environment or in ``.env``. A key that can withdraw is refused; where the venue can't say, you must
    (``key_cannot_withdraw=True``).

    ``account`` names the journal, with play money by default after the notebook and the environment; ``session``,
    ``limits`` and ``freshness`` as in ``kit.paper``. For education and research; no advice, and results there promise
    nothing anywhere else.

    Raises LiveForbidden when that was not done, MissingKey without a key (it says how to give one), AccountBusy.
    """
    refuse_no_venue("live", venue)
    _refuse_unguarded(venue, account, real_money, vouched=key_cannot_withdraw is True)
    name = f"{notebook_name()}-{venue.environment.lower()}".strip("-") if account is None else checked_name(account)
    fresh = Freshness() if freshness is None else freshness
    wish = Wish("live", name, venue, _spelled(limits, venue), fresh, session=session)
    return _opened(wish, _live_terms, _live_broker)


def path_of(account: str) -> Path:
    """Where an account's journal is."""
    return home() / "accounts" / f"{account}.sqlite"


def journal(account: str | Path) -> Tables:
    """What an account has meant, heard and done, as DataFrames: ``entries``, ``orders``, ``fills``, ``marks``.

    ``account`` is its name, or the path of a journal. Reads while another process owns the account, and writes nothing.

    Raises UnknownName for an account there is none of, StoreError for a file that can't be read.
    """
    path = Path(account) if isinstance(account, Path) or account.endswith(".sqlite") else path_of(account)
    if not path.exists():
        raise UnknownName("account", account, sorted(kept.stem for kept in path.parent.glob("*.sqlite")))
    return tables.read(path)


Terming = Callable[[Wish], Terms]
Building = Callable[[Wish, Journal, Terms, ExitStack], Broker]


def _opened(wish: Wish, terms: Terming, build: Building) -> Broker:
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


def _open(wish: Wish, terms: Terming, build: Building) -> Broker:
    """Open the journal, begin it if it is new, and put a broker on it; closed again if anything fails."""
    path = path_of(wish.name)
    if wish.reset:
        set_aside(path, measured_clock(wish.venue).now())
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


def _paper_broker(wish: Wish, journal: Journal, opened: Terms, undo: ExitStack) -> Broker:
    markets, clock = Markets(wish.venue), measured_clock(wish.venue)
    simulated = PaperVenue(opened.fees, latency=round(wish.latency * SECOND), seed=wish.seed)
    gateway = PaperGateway(simulated, markets.live, clock, wish.name)
    undo.callback(gateway.close)
    desk = _desk(wish, journal, gateway, markets)
    gateway.budget = desk.reserved
    reconcile(desk)
    working = [(journal.instruments[record.request.symbol], record) for record in desk.open_orders]
    gateway.restore(working, above=desk.ledger.highest_id)
    return Broker(desk, opened, markets, clock, [Watch(desk, clock), gateway, desk, journal])


def _live_broker(wish: Wish, journal: Journal, opened: Terms, undo: ExitStack) -> Broker:
    markets, clock = Markets(wish.venue), measured_clock(wish.venue)
    desk = _desk(wish, journal, LiveGateway(wish.venue.rest, wish.venue.trading), markets)
    try:
        reconcile(desk)
    except (Unreached, VenueRefused, DataError) as error:  # one order, perhaps: it must open to be looked at
        desk.unreconciled = str(error)
    if wish.venue.sandbox is not None:
        journal.set(SANDBOX, wish.venue.sandbox.name)
    follower = Follower(desk, _account_stream(wish))
    return Broker(desk, opened, markets, clock, [Watch(desk, clock), follower, desk, journal], follower)


def _account_stream(wish: Wish) -> AccountStream | None:
    """The account's own stream; None where the venue has no door for it."""
    from kit.net.account_stream import AccountStream
    from kit.net.loop import Loop

    venue = wish.venue
    if venue.hosts.ws_api is None or venue.rest.key is None:
        return None
    url, loop, seed = venue.hosts.ws_api, runtime.get(Loop, "streams", Loop), os.getpid()
    return AccountStream(venue.trading, url, venue.rest.key, venue.rest, loop=loop, name=wish.name, seed=seed)


def _desk(wish: Wish, journal: Journal, gateway: Gateway, markets: Markets) -> Desk:
    return Desk(
        wish.name,
        journal.get("session") or FIRST_SESSION,
        journal,
        gateway,
        measured_clock(wish.venue),
        instruments=markets.instrument,
        picture=markets.picture,
        limits=wish.limits,
        freshness=wish.freshness,
    )


def _paper_terms(wish: Wish) -> Terms:
    return _terms(wish, wish.cash or {wish.venue.codec.money: CASH}, wish.fees or Fees())


def _live_terms(wish: Wish) -> Terms:
    """A live account begins with what the venue says it holds."""
    held = wish.venue.rest.do(wish.venue.trading.balances())
    return _terms(wish, {balance.asset: balance.total for balance in held if balance.total}, Fees())


def _terms(wish: Wish, cash: Mapping[str, Decimal], fees: Fees) -> Terms:
    money = wish.venue.codec.money
    return Terms(
        kind=wish.kind,
        venue=wish.venue.name,
        environment=wish.venue.environment,
        quote=money if money in cash else next(iter(cash), money),
        cash=dict(cash),
        fees=fees,
        created=measured_clock(wish.venue).now(),
    )


def _refuse_other_terms(opened: Terms, wish: Wish) -> None:
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


def _refuse_unguarded(venue: Venue, account: str | None, real_money: str | None, *, vouched: bool) -> None:
    """Raise LiveForbidden where real money is not meant or its key is dangerous, MissingKey where there is none."""
    play = guard.is_play_money(venue.hosts, venue.trading)
    if play and real_money is not None:
        raise UsageError(
            f"real_money={real_money!r}: {venue.name} {venue.environment} has play money only; nothing was opened. "
            "Leave real_money= out, or connect to the real venue"
        )
    if not play:
        named = keys.setting(guard.LIVE_ACCOUNT)
        guard.refuse_unmeant(venue.hosts, venue.environment, account=account, real_money=real_money, named=named)
    if venue.rest.key is None:
        environment = venue.environment.lower()
        raise MissingKey(
            f"a live account at {venue.name} {environment} needs an API key; nothing was opened: "
            f"{keys.advice(venue.name, environment)}"
        )
    if not play:
        question = venue.trading.permissions()
        guard.refuse_dangerous_key(None if question is None else venue.rest.do(question), vouched=vouched)


def _spelled(limits: Limits | None, venue: Venue) -> Limits:
    """The limits, with instruments as this venue's are called; UnknownName suggests the nearest for a slip."""
    if not isinstance(limits, Limits) or limits.symbols is None:
        return Limits() if limits is None else limits
    return replace(limits, symbols=[venue.instrument(symbol).symbol for symbol in limits.symbols])
