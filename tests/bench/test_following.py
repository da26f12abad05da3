"""How soon an account knows of a fill: told by its stream beside asked for, of the same market's trades."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import pytest

import kit
from kit.broker import accounts
from kit.clock import SECOND
from kit.model import Report
from kit.orders.lifecycle import OrderRecord
from kit.venue import Venue

pytestmark = pytest.mark.bench

SYMBOL = "BTC/USDT"
FILLS = 12
PATIENCE = 60


class Heard:
    """How long after each fill (s) a broker knew of it."""

    def __init__(self, venue: Venue, broker: kit.Broker) -> None:
        self.broker, self.after = broker, list[float]()
        self._clock = venue.rest.clock
        broker.desk.watch(self._note)

    def _note(self, record: OrderRecord, report: Report) -> None:
        resting = report.fill is not None and report.fill.time > record.created + SECOND
        if resting and report.fill is not None:  # what filled at once was told in the answer
            self.after.append((self._clock.now() - report.fill.time) / SECOND)

    def rest(self, venue: Venue, number: int) -> None:
        """One more small order at the best bid."""
        self.broker.buy(SYMBOL, "0.001", price=venue.instrument(SYMBOL).price(venue.quote(SYMBOL).bid), key=f"{number}")


@pytest.fixture
def both(sandbox_venue: Venue, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Heard, Heard]]:
    assert sandbox_venue.live(SYMBOL).ready(20)
    streamed = kit.live(sandbox_venue, account="bench-streamed")
    monkeypatch.setattr(accounts, "_account_stream", lambda wish: None)
    polled = kit.live(sandbox_venue, account="bench-polled")
    yield Heard(sandbox_venue, streamed), Heard(sandbox_venue, polled)
    for broker in (streamed, polled):
        broker.cancel_all()
        broker.close()


def test_a_fill_is_told_long_before_it_would_be_asked_for(sandbox_venue: Venue, both: tuple[Heard, Heard]) -> None:
    until, number = time.monotonic() + PATIENCE, 0
    while min(len(heard.after) for heard in both) < FILLS and time.monotonic() < until:
        number += 1
        for heard in both:
            if len(heard.broker.desk.open_orders) < 4:
                heard.rest(sandbox_venue, number)
        time.sleep(1.5)
    streamed, polled = (sorted(heard.after) for heard in both)
    print(
        f"\na fill is known after: stream {median(streamed) * 1e3:.0f} ms (worst {streamed[-1] * 1e3:.0f}, "
        f"{len(streamed)} fills), polling {median(polled) * 1e3:.0f} ms (worst {polled[-1] * 1e3:.0f}, {len(polled)})"
    )
    assert median(streamed) < median(polled) / 3
