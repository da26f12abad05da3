"""Killed anywhere, an account is whole again: before and after every write, fsync and send, by a real ``kill -9``,
or by the power.

A scenario is lived once undisturbed, which counts its points. Then it is lived once for each point, killed there, and
lived again from the top, as a notebook's Run All would: the same script finds its orders and goes on.
CI takes every ``STRIDE``-th point of each scenario; the soak takes all of them, and kills the second life as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
import tenacity  # noqa: F401 - the forked lives find it loaded

from kit.model import Fees, OrderStatus
from kit.orders.account import Account
from kit.orders.lifecycle import OrderRecord
from kit.store.entries import Intended, Reported, Terms
from kit.store.journal import Journal
from tests.crash.stage import Life, Points, Script, Venue, lived
from tests.sandbox.conftest import BEGINS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")

STRIDE = 13
NEVER_SENT = "it never reached the venue"


# -- scenarios: what a user's script does, and what happens at the venue meanwhile


def place(life: Life) -> None:
    """At market: accepted and filled in two prices, in one answer."""
    life.buy("a", 3)


def partial_fill(life: Life) -> None:
    life.buy("a", 1, 99.5)
    life.happens("trade", 99.4, 0.4)
    life.look()
    life.happens("trade", 99.4, 5.0)


def cancel(life: Life) -> None:
    order = life.buy("a", 1, 99.5)
    life.happens("trade", 99.4, 0.4)
    life.broker.cancel(order)


def replace(life: Life) -> None:
    order = life.buy("a", 1, 99.5)
    life.happens("trade", 99.4, 0.4)
    life.broker.amend(order, price=99.7)
    life.happens("trade", 99.6, 0.2)


def accepted_in_silence(life: Life) -> None:
    life.happens("lose answer")
    life.buy("a", 3)


def lost_on_the_way(life: Life) -> None:
    life.happens("lose request")
    life.buy("a", 3)


def several(life: Life) -> None:
    """Some of everything, and two orders open at once."""
    first = life.buy("a", 1, 99.5)
    life.buy("b", 0.5)
    life.happens("lose answer")
    life.buy("c", 2, 99.3)
    life.happens("trade", 99.2, 1.7)
    life.look()
    life.broker.cancel(first)
    life.broker.sell("BTC/USDT", 1, key="d")


def without_a_word(life: Life) -> None:
    """The first half of ``restart``: the venue knows more than the journal when the process ends."""
    life.happens("lose answer")
    life.buy("a", 1, 99.5)
    life.happens("trade", 99.4, 0.4)


def restart(life: Life) -> None:
    """A second process: it learns what it missed, and goes on."""
    without_a_word(life)
    life.broker.cancel(life.buy("a", 1, 99.5))
    life.buy("b", 1)


SCENARIOS = (place, partial_fill, cancel, replace, accepted_in_silence, lost_on_the_way, several)


# -- living and dying


@dataclass
class End:
    """How things stand when a script has ended: at the venue, and by the journal read afresh."""

    orders: dict[str, tuple[OrderStatus, Decimal]]
    balances: dict[str, tuple[Decimal, Decimal]]
    never_sent: list[str]


def begun(path: Path) -> None:
    """An account as its first opening leaves it."""
    with closing(Journal(path)) as journal:
        journal.terms = Terms(
            kind="live",
            venue="binance",
            environment="SANDBOX",
            quote="USDT",
            cash={"BTC": Decimal(10), "USDT": Decimal(10_000)},
            fees=Fees(),
            created=BEGINS,
        )


def account_of(path: Path) -> tuple[dict[str, OrderRecord], Account]:
    """The orders and the money that the journal's entries add up to, by the plainest possible fold."""
    with closing(Journal(path, readonly=True)) as journal:
        assert journal.terms is not None
        records = {record.client_id: record for record in journal.orders()}
        account = Account(journal.terms.cash)
        seen: set[tuple[str, str]] = set()
        for entry in journal.entries():
            fill = entry.report.fill if isinstance(entry, Reported) else None
            if fill is not None:
                assert (fill.client_id, fill.id) not in seen, "a fill was written down twice"
                seen.add((fill.client_id, fill.id))
                account.apply(fill, journal.instruments[fill.symbol])
        intents = [entry.client_id for entry in journal.entries() if isinstance(entry, Intended)]
    assert len(intents) == len(set(intents)), "an intent was written down twice"
    return records, account


def end_of(venue: Venue, path: Path) -> End:
    """The laws, checked on what is on the disk against what the venue has."""
    records, account = account_of(path)
    names = [order.client_id for order in venue.orders]
    assert len(names) == len(set(names)), "one intent, two orders"
    for order in venue.orders:
        assert (records[order.client_id].status, records[order.client_id].filled) == (order.status, order.filled)
    ours = sorted((fill.id, fill.client_id, fill.qty) for record in records.values() for fill in record.fills)
    assert ours == venue.fills(), "a fill was lost, or counted twice"
    assert {name: account.total(name) for name in venue.balances()} == {
        name: sum(parts) for name, parts in venue.balances().items()
    }
    missing = [record for name, record in records.items() if name not in names]
    assert all((r.status, r.reason) == (OrderStatus.REJECTED, NEVER_SENT) for r in missing)
    orders = {name: (record.status, record.filled) for name, record in records.items()}
    return End(orders, venue.balances(), [record.client_id for record in missing])


@dataclass
class Stage:
    """One scenario at a venue of its own; ``before`` is lived undisturbed first."""

    script: Script
    folder: Path
    before: Script | None = None
    fresh: bool = False
    power: bool = False
    """It is not the process that dies, but the power."""

    def set(self, name: str) -> tuple[Venue, Path]:
        venue, path = Venue(), self.folder / f"{name}.sqlite"
        if not self.fresh:
            begun(path)
        if self.before is not None:
            assert lived(venue, path, ended_abruptly(self.before)) is None
        return venue, path

    def undisturbed(self) -> tuple[Points, End]:
        venue, path = self.set("undisturbed")
        points = lived(venue, path, self.script)
        assert points is not None
        return points, end_of(venue, path)

    def killed(self, point: int, again: int = 0) -> End:
        """Killed at ``point``, perhaps once more on the way back, then lived to the end."""
        venue, path = self.set(f"killed-{point}")
        left = self.folder / f"left-{point}" if self.power else None
        assert lived(venue, path, self.script, point, left=left) is None, "it was to die and lived"
        path = left / path.name if left else path
        if again:
            lived(venue, path, self.script, again)
        assert lived(venue, path, self.script) is not None
        return end_of(venue, path)


def ended_abruptly(script: Script) -> Script:
    """The script, and then a kill."""

    def run(life: Life) -> None:
        script(life)
        life.points.deadly = life.points.passed + 1
        life.points("a kill")

    return run


def as_undisturbed(end: End, expected: End) -> bool:
    """The same orders and the same money, or fewer because what was written down and not sent is never sent later."""
    if end.never_sent and not expected.never_sent:
        return True
    return (end.orders, end.balances) == (expected.orders, expected.balances)


def die_everywhere(stage: Stage, points: range, expected: End, *, twice: bool = False) -> list[int]:
    """Live, die and live again for each point; the points after which less was sent."""
    less = []
    for point in points:
        end = stage.killed(point, again=1 + point * 7919 % points.stop if twice else 0)
        told = f"{stage.script.__name__} killed at point {point}: {end} and not {expected}"
        assert as_undisturbed(end, expected), told
        if end.orders != expected.orders:
            less.append(point)
    return less


Record = Callable[[str, object], None]


def tell(record: Record, stage: Stage, points: Points, tried: range, less: list[int]) -> None:
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(points.kinds.items()))
    name = stage.script.__name__
    print(f"\n{name}: {len(tried)} of {points.passed} points died at ({kinds}); less was sent after {less}")
    record(f"{name} points", points.passed)


@pytest.mark.parametrize("script", SCENARIOS, ids=lambda script: script.__name__)
def test_killed_at_any_point_the_script_run_again_ends_as_if_nothing_had_been(
    script: Script, ram: Path, record_property: Record
) -> None:
    stage = Stage(script, ram)
    points, expected = stage.undisturbed()
    tried = range(1 + len(script.__name__) % STRIDE, points.passed + 1, STRIDE)
    tell(record_property, stage, points, tried, die_everywhere(stage, tried, expected))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("script", SCENARIOS, ids=lambda script: script.__name__)
def test_killed_at_every_single_point(script: Script, twice: bool, ram: Path, record_property: Record) -> None:
    stage = Stage(script, ram)
    points, expected = stage.undisturbed()
    tried = range(1, points.passed + 1)
    tell(record_property, stage, points, tried, die_everywhere(stage, tried, expected, twice=twice))


@pytest.mark.parametrize("stride", [STRIDE, pytest.param(1, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_killed_while_it_learns_what_happened_when_it_was_dead(stride: int, ram: Path, record_property: Record) -> None:
    stage = Stage(restart, ram, before=without_a_word)
    points, expected = stage.undisturbed()
    assert list(expected.orders.values()) == [
        (OrderStatus.CANCELED, Decimal("0.4")),
        (OrderStatus.FILLED, Decimal(1)),
    ]
    tried = range(1, points.passed + 1, stride)
    tell(record_property, stage, points, tried, die_everywhere(stage, tried, expected))


@pytest.mark.parametrize("stride", [2 * STRIDE, pytest.param(1, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_killed_while_the_account_is_opened_for_the_first_time(stride: int, ram: Path, record_property: Record) -> None:
    stage = Stage(place, ram, fresh=True)
    points, expected = stage.undisturbed()
    tried = range(1, points.passed + 1, stride)
    tell(record_property, stage, points, tried, die_everywhere(stage, tried, expected))


@pytest.mark.parametrize("stride", [2 * STRIDE, pytest.param(1, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("script", [place, several], ids=lambda script: script.__name__)
def test_the_power_fails_at_any_point_and_the_venue_tells_what_the_disk_has_lost(
    script: Script, stride: int, ram: Path, record_property: Record
) -> None:
    stage = Stage(script, ram, power=True)
    points, expected = stage.undisturbed()
    tried = range(1, points.passed + 1, stride)
    tell(record_property, stage, points, tried, die_everywhere(stage, tried, expected))
