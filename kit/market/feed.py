"""A subscription's life as one state table, and the age of what it shows.

Only application data (market-data frames, and REST answers that confirm the picture) makes a feed
younger: pings, acknowledgements and a socket that merely stays open prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from kit.clock import SECOND
from kit.model import Channel, Quote

STALE_AFTER = 10.0
"""Seconds without proof after which quotes and book are STALE, unless told otherwise."""


class FeedState(StrEnum):
    """Where a feed stands."""

    IDLE = "IDLE"
    """Not started."""
    CONNECTING = "CONNECTING"
    """No connection yet, and nothing to show."""
    SYNCING = "SYNCING"
    """Connected; the first picture is being put together."""
    LIVE = "LIVE"
    """Complete, in step with the venue, and proven current."""
    STALE = "STALE"
    """Was LIVE; what it shows is the last good picture, and the way back to LIVE is being worked on."""
    CLOSED = "CLOSED"
    """Ended by its owner."""


class FeedEvent(StrEnum):
    """What can happen to a feed."""

    START = "start"
    CONNECTED = "connected"
    """The venue has confirmed the subscriptions."""
    SYNCED = "synced"
    """History, trades, quote and book are complete, and data has come since."""
    GAP = "gap"
    """Messages are missing."""
    SILENT = "silent"
    """No application data for longer than the feed allows."""
    DROPPED = "dropped"
    """The connection is gone."""
    CLOSE = "close"


TABLE: dict[tuple[FeedState, FeedEvent], FeedState] = {
    (FeedState.IDLE, FeedEvent.START): FeedState.CONNECTING,
    (FeedState.CONNECTING, FeedEvent.CONNECTED): FeedState.SYNCING,
    (FeedState.CONNECTING, FeedEvent.DROPPED): FeedState.CONNECTING,  # one attempt failed, the next follows
    (FeedState.SYNCING, FeedEvent.CONNECTED): FeedState.SYNCING,  # on another connection
    (FeedState.SYNCING, FeedEvent.SYNCED): FeedState.LIVE,
    (FeedState.SYNCING, FeedEvent.GAP): FeedState.SYNCING,
    (FeedState.SYNCING, FeedEvent.SILENT): FeedState.SYNCING,  # nothing was shown yet that could go stale
    (FeedState.SYNCING, FeedEvent.DROPPED): FeedState.CONNECTING,
    (FeedState.LIVE, FeedEvent.CONNECTED): FeedState.STALE,  # on another connection: something may be missing
    (FeedState.LIVE, FeedEvent.GAP): FeedState.STALE,
    (FeedState.LIVE, FeedEvent.SILENT): FeedState.STALE,
    (FeedState.LIVE, FeedEvent.DROPPED): FeedState.STALE,
    (FeedState.STALE, FeedEvent.CONNECTED): FeedState.STALE,  # a socket alone makes nothing current
    (FeedState.STALE, FeedEvent.SYNCED): FeedState.LIVE,
    (FeedState.STALE, FeedEvent.GAP): FeedState.STALE,
    (FeedState.STALE, FeedEvent.SILENT): FeedState.STALE,
    (FeedState.STALE, FeedEvent.DROPPED): FeedState.STALE,
    **{(state, FeedEvent.CLOSE): FeedState.CLOSED for state in FeedState},
}
"""(state, event) -> next state. A pair that is not here can't happen, except that nothing moves CLOSED."""


@dataclass(frozen=True)
class Picture:
    """What may be known of an instrument at one moment: the state, the age in seconds, the best bid and ask."""

    state: FeedState
    age: float
    quote: Quote | None


class Feed:
    """One channel of one instrument on one connection: its state and age, moved by what carries its time (µs)."""

    def __init__(self, channel: Channel, *, stale_after: float = STALE_AFTER) -> None:
        self.channel = channel
        self.state = FeedState.IDLE
        self.stale_after = round(stale_after * SECOND)
        """µs without proof after which the feed is STALE."""
        self.connection = 0
        """The connection that carries it, counted per process; 0 before any."""
        self.framed = False
        """True once a frame has come since the subscription was confirmed: nothing else proves its spelling."""
        self.heard = 0
        """When its last frame was received, µs; 0 before any."""
        self.proven = 0
        """When it was last proven current, by a frame or by REST, µs; 0 when it never was."""
        self.whole = 0
        """Up to when certainly nothing is missing, µs: REST's word that a price is the same does not move it."""
        self.venue_time = 0
        """The venue's time of the newest message, µs; 0 where it sends none."""
        self.reason = "not started"
        """Why it is not LIVE; empty when it is."""

    def advance(self, event: FeedEvent, reason: str = "") -> FeedState:
        """Move along the table; ValueError for an event that can't happen in this state."""
        if self.state is FeedState.CLOSED:
            return self.state
        try:
            self.state = TABLE[self.state, event]
        except KeyError:
            raise ValueError(f"a feed that is {self.state} can't be {event}") from None
        self.reason = reason
        return self.state

    def confirmed(self, at: int, *, exactly: bool) -> None:
        """REST showed, as of ``at``, what is shown here; ``exactly``: that nothing has happened in between either."""
        self.proven = max(self.proven, at)
        if exactly:
            self.whole = max(self.whole, at)

    @property
    def quiet(self) -> bool:
        """True when the last proof is REST's: the market is silent, not the feed."""
        return self.proven > self.heard

    def silence(self, now: int) -> int:
        """µs since it was last proven current; since the epoch when it never was."""
        return now - self.proven

    def age(self, now: int) -> float:
        """Seconds since it was last proven current; ``inf`` when it never was."""
        return max(0, now - self.proven) / SECOND if self.proven else math.inf

    def venue_age(self, venue_now: int) -> float:
        """Seconds since the venue's time of the newest message, by the venue's clock; ``nan`` where it sends none."""
        return (venue_now - self.venue_time) / SECOND if self.venue_time else math.nan

    def at(self, now: int) -> FeedState:
        """The state a reader must believe at ``now``: LIVE turns STALE by itself when the data stops."""
        if self.state is FeedState.LIVE and now - self.proven > self.stale_after:
            return FeedState.STALE
        return self.state


WORST = (
    FeedState.CLOSED,
    FeedState.IDLE,
    FeedState.CONNECTING,
    FeedState.SYNCING,
    FeedState.STALE,
    FeedState.LIVE,
)
"""The worst first: a picture is as good as the worst of its feeds."""


def worst(states: Iterable[FeedState]) -> FeedState:
    """The worst of some states."""
    return min(states, key=WORST.index)
