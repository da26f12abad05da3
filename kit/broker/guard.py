"""The guard in front of real money. It goes by addresses, never by names, and by what the venue says of the key.

Play money is what moves at the sandbox, a testnet or a demo mode. Everything else is real, and takes a deliberate,
separate act: the account is named three times, in the call, in its ``real_money=`` and in the environment.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from kit.errors import LiveForbidden
from kit.venues.base import Hosts, MarketCodec, on_this_machine
from kit.venues.permissions import Permissions

LIVE_ACCOUNT = "PAPERTAPE_LIVE_ACCOUNT"
"""The variable that names the one account which may move real money from this process."""
PLAY_MONEY = ("testnet", "demo")
"""Environments whose money is not real."""


def is_play_money(hosts: Hosts, codec: MarketCodec) -> bool:
    """True when the addresses themselves are the sandbox's, a testnet's or a demo mode's."""
    allowed = {address_of(h) for name, h in codec.environments.items() if name in PLAY_MONEY and not h.real_money}
    return not hosts.real_money and (on_this_machine(hosts.rest) or address_of(hosts) in allowed)


def address_of(hosts: Hosts) -> str:
    """The host that orders would go to."""
    return (urlsplit(hosts.rest).hostname or "").casefold()


def label(kind: str, environment: str) -> str:
    """What stands in every repr of an account's things: ``paper on SANDBOX``, ``live on LIVE, REAL MONEY``.

    Real money is never called anything but LIVE (``refuse_unmeant``), so the words are a true sign of it.
    """
    return f"{kind} on {environment}{', REAL MONEY' if kind == 'live' and environment == 'LIVE' else ''}"


def refuse_unmeant(hosts: Hosts, environment: str, *, account: str | None, real_money: str | None, named: str) -> None:
    """Raise LiveForbidden unless real money is meant: by ``account=``, ``real_money=`` and the environment (``named``).

    A venue that is called anything but LIVE while its address is a real one is refused, too: it would not show itself.
    """
    if environment.upper() != "LIVE":
        raise LiveForbidden(
            f"orders at {address_of(hosts)} would move real money, and this venue is called {environment.upper()}: "
            "nothing was opened or sent. kit.paper(venue) trades without money, kit.connect(…, environment='testnet') "
            "with play money; kit.connect(…, environment='live') gives the real one under its own name"
        )
    if account is not None and account == real_money == named:
        return
    name = account or real_money or named or "…"
    lacking = [f"account={name!r}"] if account is None else []
    lacking += [f"real_money={name!r} (now {_said(real_money)})"] if real_money != name else []
    lacking += [f"{LIVE_ACCOUNT}={name} in the environment (now {_said(named or None)})"] if named != name else []
    raise LiveForbidden(
        f"orders at {address_of(hosts)} move real money, so its account is named three times, alike, and was not: "
        f"nothing was opened or sent. Lacking: {', '.join(lacking)}. If it is not meant, kit.paper(venue) trades the "
        "same market without money, and kit.connect(…, environment='testnet') has play money"
    )


def refuse_dangerous_key(told: Permissions | None, *, vouched: bool) -> None:
    """Raise LiveForbidden for a key that can withdraw; where the venue can't say (None), unless someone vouches for it.

    What the venue says counts: nobody can vouch for a key that it calls dangerous.
    """
    if told is None and not vouched:
        raise LiveForbidden(
            "this venue does not say what an API key may do, and a key that can withdraw is never used: nothing was "
            "opened or sent. Look it up on the venue's page; key_cannot_withdraw=True says that you have"
        )
    if told is not None and told.withdraw:
        raise LiveForbidden(
            "the venue says that this API key can withdraw. Whoever got hold of it, or a mistake, could take the money "
            "away, and trading never needs it: nothing was opened or sent. Make a key without withdrawals and use that"
        )


def refuse_key_at_real_money(hosts: Hosts, codec: MarketCodec, *, keyed: bool) -> None:
    """Raise LiveForbidden where a paper account would hold a connection that can move real money."""
    if keyed and not is_play_money(hosts, codec):
        raise LiveForbidden(
            f"a paper account needs no API key, and this venue holds one for {address_of(hosts)}, where money is real: "
            "nothing was opened. Give it a venue without one: kit.connect(…) without environment= reads the same market"
        )


def _said(name: str | None) -> str:
    return "not set" if name is None else repr(name)
