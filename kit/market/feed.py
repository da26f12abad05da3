"""A subscription's life as one state table, and the age of what it shows.

Only application data (market-data frames, and REST answers that confirm the picture) makes a feed
younger: pings, acknowledgements and a socket that merely stays open prove nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from kit.clock import SECOND
from kit.model import Quote


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
    (FeedState.SYNCING, FeedEvent.SYNCED): FeedState.LIVE,
    (FeedState.SYNCING, FeedEvent.GAP): FeedState.SYNCING,
    (FeedState.SYNCING, FeedEvent.SILENT): FeedState.SYNCING,  # nothing was shown yet that could go stale
    (FeedState.SYNCING, FeedEvent.DROPPED): FeedState.CONNECTING,
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
    """One feed's state and age, moved by events that carry their time (µs)."""

    def __init__(self, *, stale_after: float = 10.0) -> None:
        self.state = FeedState.IDLE
        self.stale_after = round(stale_after * SECOND)
        """µs without data after which the feed is STALE."""
        self.last_data: int | None = None
        """When the picture was last proven current, µs; None before any data."""

    def advance(self, event: FeedEvent) -> FeedState:
        """Move along the table; ValueError for an event that can't happen in this state."""
        if self.state is FeedState.CLOSED:
            return self.state
        try:
            self.state = TABLE[self.state, event]
        except KeyError:
            raise ValueError(f"a feed that is {self.state} can't be {event}") from None
        return self.state

    def proven(self, now: int) -> None:
        """Application data came, or REST confirmed the picture, as of ``now``."""
        if self.last_data is None or now > self.last_data:
            self.last_data = now

    def silence(self, now: int) -> int:
        """µs since the picture was last proven; since the epoch when it never was."""
        return now - (self.last_data or 0)

    def age(self, now: int) -> float:
        """Seconds since the picture was last proven current; ``inf`` when it never was."""
        return math.inf if self.last_data is None else max(0, now - self.last_data) / SECOND

    def at(self, now: int) -> FeedState:
        """The state a reader must believe at ``now``: LIVE turns STALE by itself when the data stops."""
        if self.state is FeedState.LIVE and self.silence(now) > self.stale_after:
            return FeedState.STALE
        return self.state
