"""What a venue promises about client order ids: one contract a venue, as data.

The contract decides how an order nobody answered for is looked for, from when on "there is no such order" is final, and
whether the same order may be sent once more. Nothing else in the kit knows how venues differ here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from kit.clock import SECOND


class Scope(StrEnum):
    """Among which orders a client id is unique."""

    OPEN = "open orders"
    """Once the order is over the id is taken again, as another order: it guards nothing."""
    ACCOUNT = "account"
    """For ever: a second order of that id can't come to be."""


class Repeat(StrEnum):
    """What the same id gets for an answer while it is taken."""

    REFUSED = "refused"
    ORIGINAL = "the original order"


class Lookup(StrEnum):
    """Where an order is found by its client id."""

    BY_ID = "by id"
    """Asked for by it, open or over."""
    LISTED = "listed"
    """Only in the list of the account's orders."""


@dataclass(frozen=True)
class Contract:
    """One venue's promise. Times in µs."""

    scope: Scope
    repeat: Repeat
    lookup: Lookup
    window: int
    """How late a request may arrive: codecs write this into every one. 0: the venue takes no such word."""
    handling: int
    """For how long the venue may go on working on a request that arrived in time."""
    lag: int
    """For how long an order that was taken up may be missing from what lookups find."""

    @property
    def deadline(self) -> int:
        """After the sending, how long the venue may still take the order up; then it never will."""
        return self.window + self.handling

    @property
    def final_after(self) -> int:
        """From when on after the sending "there is no such order" is final."""
        return self.deadline + self.lag

    @property
    def resendable(self) -> bool:
        """True when the same order may be sent once more although its first sending was not answered."""
        return self.scope is Scope.ACCOUNT


IN_PROCESS = Contract(Scope.OPEN, Repeat.REFUSED, Lookup.BY_ID, window=0, handling=0, lag=0)
"""A venue in this process: it has what it was given, so nothing is ever sent to it once more."""

CONTRACTS: Mapping[str, Contract] = MappingProxyType(
    {
        # "unique among open orders", taken again once filled (rest-api.md); the server gives a request up after 10 s,
        # and recvWindow is checked again right before matching. Lookups read memory, then the database.
        "binance": Contract(
            Scope.OPEN,
            Repeat.REFUSED,
            Lookup.BY_ID,
            window=5 * SECOND,
            handling=10 * SECOND,
            lag=1 * SECOND,
        ),
        # A repeat gets the original order, no expiry is stated; orders are listed, not asked for by client id. It takes
        # no window: that a request is dead after a minute is an assumption.
        "coinbase": Contract(
            Scope.ACCOUNT, Repeat.ORIGINAL, Lookup.LISTED, window=0, handling=60 * SECOND, lag=2 * SECOND
        ),
        # cl_ord_id is unique among the client's open orders (clordid.md); the matching engine refuses what comes after
        # ``deadline``, which an order names.
        "kraken": Contract(Scope.OPEN, Repeat.REFUSED, Lookup.BY_ID, window=5 * SECOND, handling=0, lag=2 * SECOND),
        # A repeat is refused for ever (422, 40010001): it says that the first one exists. No window: as at Coinbase.
        "alpaca": Contract(Scope.ACCOUNT, Repeat.REFUSED, Lookup.BY_ID, window=0, handling=60 * SECOND, lag=2 * SECOND),
    }
)
"""Venue name -> its contract; also of those whose orders the kit does not speak yet."""
