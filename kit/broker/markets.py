"""A venue as an account sees it: its instruments, its live markets and its clock. Nothing here can place an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit.clock import VenueClock
from kit.market.feed import FeedState, Picture
from kit.model import Instrument, Quote

if TYPE_CHECKING:
    from kit.net.live import Live
    from kit.venue import Venue

OPENING = 5.0
"""Seconds an order waits for the live frame that it had to open."""


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
        measured_clock(self._venue)
        live = self.live(symbol)
        if live.state in (FeedState.IDLE, FeedState.CONNECTING, FeedState.SYNCING):
            live.ready(OPENING)
        return Picture(live.state, live.age, live.quote)

    def quote(self, symbol: str) -> Quote | None:
        """The last quote of an instrument that is followed already."""
        live = self._followed.get(symbol)
        return live.quote if live else None


def measured_clock(venue: Venue) -> VenueClock:
    """The venue's clock: fills and trades are compared in its time."""
    if not venue.rest.clock.certain:
        venue.rest.sync()
    return venue.rest.clock
