"""The freshness contract: how current everything must be for an order to leave (design law 3).

Pure: what is known at that moment goes in, what falls short of the demands comes out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import msgspec

from kit.clock import SECOND
from kit.errors import Shortfall, UnknownName, UsageError
from kit.market.feed import STALE_AFTER, FeedState, Picture

NAMES = ("feed", "quote", "account", "clock")
"""What is looked at, and what ``despite=`` names for one order."""


@dataclass(frozen=True)
class Freshness:
    """What every order of an account demands, in seconds; ``despite=`` overlooks a demand for one order.

    Raises UsageError for what is no time above 0, or longer than a live frame stays LIVE.
    """

    quote: float = STALE_AFTER
    """How long ago the picture was last proven current, at most. A quiet market is asked about by REST after 5 s: less
    than that holds orders back in one."""
    clock: float = 1.0
    """By how much our picture of the venue's clock may be wrong: Binance refuses what is 1 s ahead of it."""

    def __post_init__(self) -> None:
        for name, default in (("quote", STALE_AFTER), ("clock", 1.0)):
            given = getattr(self, name)
            if not _is_time(given):
                raise UsageError(f"{name}={given!r:.60}: seconds, above 0, such as {name}={default:g}")
            object.__setattr__(self, name, float(given))
        if self.quote > STALE_AFTER:
            raise UsageError(
                f"quote={self.quote:g}: a live frame is STALE after {STALE_AFTER:g} s without proof, and orders leave "
                f"on a LIVE one: give at most {STALE_AFTER:g}; despite='feed' sends one order all the same"
            )


class Sight(msgspec.Struct, frozen=True):
    """What is known when an order wants to leave."""

    picture: Picture
    unreconciled: str = ""
    """Why the account can't be believed; empty when it can."""
    uncertainty: int | None = 0
    """µs by which the venue's time may be misjudged; None: it was never measured."""


def shortfalls(symbol: str, sight: Sight, demands: Freshness) -> list[Shortfall]:
    """Everything that is not current enough for an order of ``symbol``; empty: it may leave."""
    picture = sight.picture
    found = (_account(sight), _feed(symbol, picture), _quote(symbol, picture, demands), _clock(sight, demands))
    return [shortfall for shortfall in found if shortfall]


def overlooked(despite: str | Sequence[str]) -> tuple[str, ...]:
    """The names in ``despite``, checked; UnknownName for one that is none."""
    names = (despite,) if isinstance(despite, str) else tuple(despite)
    for name in names:
        if name not in NAMES:
            raise UnknownName("demand to overlook (despite=)", name, NAMES, "; nothing was sent")
    return names


def _is_time(given: object) -> bool:
    return not isinstance(given, bool) and isinstance(given, Real) and 0 < float(given) < math.inf


def _account(sight: Sight) -> Shortfall | None:
    if not sight.unreconciled:
        return None
    return Shortfall("account", f"the account is not reconciled with its venue ({sight.unreconciled})")


def _feed(symbol: str, picture: Picture) -> Shortfall | None:
    if picture.state is FeedState.LIVE:
        return None
    return Shortfall("feed", f"the picture of {symbol} is {picture.state}, and orders leave on a LIVE one")


def _quote(symbol: str, picture: Picture, demands: Freshness) -> Shortfall | None:
    if picture.age <= demands.quote:
        return None
    words = f"{symbol} was last proven current {picture.age:.2f} s ago, and at most {demands.quote:g} s are allowed"
    return Shortfall("quote", words, picture.age, demands.quote)


def _clock(sight: Sight, demands: Freshness) -> Shortfall | None:
    if sight.uncertainty is None:
        return Shortfall("clock", "the venue's clock was never measured", None, demands.clock)
    off = sight.uncertainty / SECOND
    if off <= demands.clock:
        return None
    words = f"the venue's clock is known to ± {off:.2f} s only, and ± {demands.clock:g} s are allowed"
    return Shortfall("clock", words, off, demands.clock)
