"""May it leave? The venue's rules, the kill switch, the freshness contract and the account's own limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from kit.broker.ledger import Ledger, reference_price
from kit.clock import MINUTE, Clock, VenueClock
from kit.errors import BadOrder, Halted, RiskRefused, Shortfall, StalePicture
from kit.market.feed import FeedState, Picture
from kit.model import Instrument, OrderRequest, Side
from kit.orders import risk, rules
from kit.orders.freshness import Freshness, Sight, shortfalls
from kit.orders.request import describe


@dataclass(frozen=True)
class View:
    """What an order is decided on: its instrument, and the market's picture of it now."""

    instrument: Instrument
    picture: Picture

    @property
    def mid(self) -> Decimal | None:
        """Halfway between bid and ask; None where one of them is missing."""
        quote = self.picture.quote
        return Decimal(repr(quote.mid)) if quote and quote.bid and quote.ask else None

    def reference(self, side: Side) -> Decimal | None:
        """What a taker of ``side`` would pay or get; None while no price is known."""
        return reference_price(self.instrument, side, self.picture.quote)


class Gate:
    """What stands between an intent and its sending."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        name: str,
        instruments: Callable[[str], Instrument],
        picture: Callable[[str], Picture],
        limits: risk.Limits,
        freshness: Freshness,
    ) -> None:
        self.limits, self.freshness = limits, freshness
        self.unreconciled = ""
        """Why the account has to be compared with its venue; empty when it was. No order leaves meanwhile."""
        self.lost_today: Callable[[], Decimal | None] = lambda: None
        """The loss since 00:00 UTC in the account's quote asset, None when it can't be told; set by who values it."""
        self._ledger, self._clock, self._name = ledger, clock, name
        self._instruments, self._picture = instruments, picture

    def look(self, symbol: str) -> View:
        """The instrument and its picture now; asking may open what shows it."""
        return View(self._instruments(symbol), self._picture(symbol))

    def check(self, request: OrderRequest, view: View, despite: tuple[str, ...] = ()) -> None:
        """Raise BadOrder, Halted or StalePicture if the order can't leave on what is seen."""
        violation = rules.check(view.instrument, request, view.reference(request.side))
        if violation is not None:
            raise BadOrder(f"{violation.filter}: {violation.message}; nothing was sent")
        self.refuse_halted()
        missing = [s for s in shortfalls(request.symbol, self._sight(view), self.freshness) if s.name not in despite]
        if missing:
            raise StalePicture(_stale(self._name, missing, view.picture), shortfalls=missing)

    def admit(self, request: OrderRequest, view: View, *, replaces: str = "") -> None:
        """Raise Halted or RiskRefused: the last look, with the ledger held. ``replaces`` is as good as gone."""
        self.refuse_halted()
        objection = risk.first_objection(self._context(request, view, replaces))
        if objection is not None:
            raise RiskRefused(f"{describe(request)} was not sent: {objection}")

    def refuse_halted(self) -> None:
        """Raise Halted while the kill switch is on, whoever set it."""
        halted = self._ledger.journal.halted
        if halted:
            raise Halted(f"account {self._name!r} is halted ({halted}): nothing was sent; broker.resume() ends it")

    def _sight(self, view: View) -> Sight:
        uncertainty = self._clock.uncertainty if isinstance(self._clock, VenueClock) else 0
        return Sight(view.picture, self.unreconciled or self._unanswered(), uncertainty)

    def _unanswered(self) -> str:
        """Which order the venue has not answered for; empty when there is none."""
        waiting = self._ledger.unresolved
        first = f"{describe(waiting[0].request)}, {waiting[0].client_id}," if waiting else ""
        return f"{first} was sent and not answered for yet" if waiting else ""

    def _context(self, request: OrderRequest, view: View, replaces: str) -> risk.Context:
        """What the risk checks look at, as if the order ``replaces`` were gone already."""
        ledger, symbol = self._ledger, view.instrument.symbol
        working = [record for record in ledger.working.values() if record.client_id != replaces]
        open_here = [record for record in working if record.request.symbol == symbol]
        buys = sum((record.remaining for record in open_here if record.request.side is Side.BUY), Decimal(0))
        return risk.Context(
            view.instrument,
            request,
            ledger.account,
            view.reference(request.side),
            self.limits,
            len(open_here),
            buys,
            freed=ledger.account.reserved(replaces),
            mid=view.mid,
            sent_lately=ledger.meant_since(self._clock.now() - MINUTE),
            lost_today=None if self.limits.daily_loss is None else self.lost_today(),
        )


def _stale(name: str, missing: list[Shortfall], picture: Picture) -> str:
    """What is not current enough, what to wait for, and how to send this one order all the same."""
    names = ", ".join(repr(shortfall.name) for shortfall in missing)
    overlook = names if len(missing) == 1 else f"({names})"
    return (
        f"{'; '.join(shortfall.words for shortfall in missing)}: nothing was sent from account {name!r}. "
        f"{_way_on(missing, picture)}; despite={overlook} sends this one order all the same"
    )


def _way_on(missing: list[Shortfall], picture: Picture) -> str:
    names = {shortfall.name for shortfall in missing}
    if "account" in names:
        return "It is tried again by itself; broker.reconcile() tries now"
    if names == {"clock"}:
        return "venue.time() measures it again"
    return _WAY_ON.get(picture.state, "Wait for it: venue.live(symbol).ready(timeout=10) is True when it is")


_WAY_ON = {
    FeedState.IDLE: "Start it with venue.live(symbol)",
    FeedState.STALE: "It reconnects and catches up by itself; try again when live.state is LIVE (live.reason says what "
    "holds it up; a sandbox that was started again has new addresses: kit.connect() finds them)",
    FeedState.CLOSED: "Open it again with venue.live(symbol)",
}
