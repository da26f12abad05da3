"""A venue: REST, clock, key, streams and limits, as they are from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from kit.broker import guard
from kit.clock import SECOND
from kit.doctor.finding import Finding, Level, survived
from kit.errors import UnknownName
from kit.venue import Venue, connect
from kit.venues.base import Budget, Call

if TYPE_CHECKING:
    from kit.net.live import Live

UNSURE = 250_000
"""µs besides its grain: a clock that is known no better is worth a look at the network; orders are signed for 5 s."""
NEARLY_USED = 0.8
"""The share of a limit from which on it is told."""
FIRST_PICTURE = 15.0
"""Seconds that the streams have to show a first picture."""


class _Headers:
    """What a venue's answers say is used, the last word of each header."""

    def __init__(self, venue: Venue) -> None:
        self.used: dict[str, int] = {}
        self._venue = venue

    def answered(self, method: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.used.update(self._venue.codec.used(headers))


def at_venue(name: str, environment: str | None) -> Iterator[Finding]:
    venue = connect(name, environment=environment)
    heard = _Headers(venue)
    venue.rest.witnesses = (*venue.rest.witnesses, heard)
    try:
        for part, look in LOOKS.items():
            yield from survived(part, lambda: look(venue))  # noqa: B023 - used up before the next
        yield from survived("limits", lambda: limits_leave_room(venue, heard.used))
    finally:
        venue.close()


def rest_answers(venue: Venue) -> Iterator[Finding]:
    """REST, and by how much the venue's clock differs from ours."""
    offset = venue.rest.sync()
    away, sure = offset.offset / SECOND, offset.uncertainty / SECOND
    yield Finding("rest", Level.OK, f"{venue.name} {venue.environment} answers at {venue.hosts.rest}")
    level = Level.OK if offset.uncertainty <= UNSURE + venue.codec.clock_grain // 2 else Level.WARN
    advice = "" if level is Level.OK else "the way there is slow: orders are judged by this clock"
    yield Finding("clock", level, f"the venue's is {away:+.3f} s from this machine's, known to ±{sure:.3f} s", advice)


def key_is_fit(venue: Venue) -> Iterator[Finding]:
    """Whether the venue takes the key, and what it says the key may do."""
    if venue.rest.key is None:
        yield Finding("permissions", Level.OK, "no key here, so nothing but market data and paper")
        return
    codec = venue.trading
    venue.rest.do(codec.balances())
    yield Finding("key", Level.OK, "the venue takes it (not shown)")
    if guard.is_play_money(venue.hosts, codec):
        yield Finding("permissions", Level.OK, "play money: what the key may do is not asked")
        return
    question = codec.permissions()
    if question is None:
        advice = "look it up on the venue's page; kit.live(…, key_cannot_withdraw=True) says that you have"
        yield Finding("permissions", Level.WARN, "this venue does not say what a key may do", advice)
        return
    told = venue.rest.do(question)
    if told.withdraw:
        yield Finding("permissions", Level.FAIL, "the key can withdraw, so it is not used", "make one that can't")
    if not told.trade:
        yield Finding("permissions", Level.WARN, "the key can't trade", "allow spot trading on the venue's page")
    if told.transfer:
        yield Finding("permissions", Level.WARN, "the key can move money to other accounts", "take that away from it")
    if not told.bound:
        yield Finding("permissions", Level.WARN, "the key works from any address", "bind it to yours")
    if told.trade and told.bound and not (told.withdraw or told.transfer):
        yield Finding("permissions", Level.OK, "trading, from named addresses only, and no withdrawals")


def streams_tell(venue: Venue) -> Iterator[Finding]:
    """A live frame comes to a first picture."""
    live = venue.live(_some_symbol(venue))
    try:
        began = live.ready(FIRST_PICTURE)
        yield _first_picture(venue, live, began=began)
    finally:
        live.close()


LOOKS: Mapping[str, Callable[[Venue], Iterator[Finding]]] = {
    "rest": rest_answers,
    "key": key_is_fit,
    "streams": streams_tell,
}


def limits_leave_room(venue: Venue, used: Mapping[str, int]) -> Iterator[Finding]:
    """What the venue allows, and how much of it this address has used, by the venue's own headers."""
    told = venue.codec.budgets()
    for budget in _asked(venue, told) if isinstance(told, Call) else told:
        share = used.get(budget.name, 0) / budget.limit
        counted = f"{used[budget.name]:,} of " if budget.name in used else "up to "
        level = Level.OK if share < NEARLY_USED else Level.WARN
        words = f"{budget.name}: {counted}{budget.limit:,} in {budget.window / SECOND:,.0f} s"
        advice = "" if level is Level.OK else "other programs at this address use it too: wait, or stop one"
        yield Finding("limits", level, words, advice)


def _asked(venue: Venue, question: Call[list[Budget]]) -> list[Budget]:
    return venue.rest.do(question)


def _some_symbol(venue: Venue) -> str:
    """An instrument that is surely traded; the first there is, where the best known is not."""
    for symbol in ("BTC/USDT", "BTC/USD"):
        try:
            return venue.instrument(symbol).symbol
        except UnknownName:
            continue
    return str(venue.instruments().index[0])


def _first_picture(venue: Venue, live: Live, *, began: bool) -> Finding:
    if began:
        return Finding("streams", Level.OK, f"{live.symbol} is LIVE at {venue.hosts.stream}")
    advice = "a proxy or firewall may let HTTPS through and not WebSockets"
    return Finding(
        "streams", Level.FAIL, f"{live.symbol} is {live.state} after {FIRST_PICTURE:.0f} s: {live.reason}", advice
    )
