"""What a caller asks of an account, checked before anything of it is written down."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from pathlib import PurePosixPath
from types import UnionType
from typing import TYPE_CHECKING

from kit.errors import UsageError
from kit.model import Fees
from kit.orders.freshness import Freshness
from kit.orders.request import Amount
from kit.orders.risk import Limits
from kit.orders.rules import parse_amount

if TYPE_CHECKING:
    from kit.venue import Venue

LONGEST_NAME = 80
LONGEST_LATENCY = 60

Cash = Amount | Mapping[str, Amount]

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Wish:
    """What a caller asked for; None: not said."""

    kind: str
    name: str
    venue: Venue
    limits: Limits
    freshness: Freshness
    latency: float = 0.0
    seed: int = 0
    cash: Mapping[str, Decimal] | None = None
    fees: Fees | None = None
    session: str | None = None
    reset: bool = False

    @property
    def options(self) -> tuple[object, ...]:
        """What a running broker must have been opened with to be the one that is wanted."""
        return (self.venue, self.limits, self.freshness, self.latency, self.seed)

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
    "freshness": (Freshness, "freshness is kit.Freshness(quote=10, clock=1), in seconds"),
    "latency": (Real, f"seconds each way, from 0 to {LONGEST_LATENCY}"),
    "seed": (int, "a seed is a whole number"),
    "fees": (Fees | None, "fees are kit.Fees(maker=0.001, taker=0.001), shares of what is traded"),
    "session": (str | None, "a session is a label, in text"),
    "reset": (bool, "True puts the account's journal aside and begins anew"),
}


def amounts(cash: Cash, money: str) -> dict[str, Decimal]:
    """``cash`` as exact amounts by asset, of ``money`` where none is named; BadOrder for what is no amount,
    UsageError when there is none."""
    given = cash if isinstance(cash, Mapping) else {money: cash}
    if not given:
        raise UsageError("cash={} opens an account that can't do anything: give an amount, or {asset: amount}")
    return {_asset(name): parse_amount(f"cash of {name}", amount) for name, amount in given.items()}


def _asset(name: object) -> str:
    if isinstance(name, str) and name.strip():
        return name.strip().upper()
    raise UsageError(f"cash of {name!r}: an asset is named in letters, such as USDT; nothing was opened")


def refuse_no_venue(verb: str, venue: object) -> None:
    if not all(hasattr(venue, part) for part in ("rest", "codec", "live")):
        raise UsageError(f"kit.{verb}({venue!r:.60}): a venue is what kit.connect() gives; nothing was opened")


def checked_name(account: object) -> str:
    if not (isinstance(account, str) and account) or _NOT_IN_NAMES.search(account) or len(account) > LONGEST_NAME:
        raise UsageError(
            f"account={account!r}: an account's name is up to {LONGEST_NAME} letters, digits, - and _ (it names a file)"
        )
    return account


def notebook_name() -> str:
    """The notebook's name as Jupyter's server tells it (JPY_SESSION_NAME holds its path); empty elsewhere."""
    told = os.environ.get("JPY_SESSION_NAME", "")
    stem = PurePosixPath(told.replace("\\", "/")).stem
    return _NOT_IN_NAMES.sub("-", stem).strip("-")[:LONGEST_NAME]
