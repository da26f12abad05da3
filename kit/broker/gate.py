"""May it leave? The venue's rules, the kill switch, the freshness contract and the account's own limits."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec

from kit.broker.ledger import Ledger, reference_price
from kit.clock import MINUTE, Clock, VenueClock
from kit.errors import BadOrder, Halted, RiskRefused, Shortfall, StalePicture
from kit.market.feed import FeedState, Picture
from kit.model import ZERO, Instrument, OrderRequest, Side
from kit.orders import risk, rules
from kit.orders.freshness import Freshness, Sight, shortfalls
from kit.orders.lifecycle import OrderRecord
from kit.orders.request import describe


class View(msgspec.Struct, frozen=True):
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

    def mind_the_day(self) -> None:
        """Have the day's loss counted from its beginning, not from its first order, where it is limited."""
        if self.limits.daily_loss is not None:
            self.lost_today()

    def look(self, symbol: str) -> View:
        """The instrument and its picture now; asking may open what shows it."""
        return View(self._instruments(symbol), self._picture(symbol))

    def admit(self, request: OrderRequest, view: View, *, despite: tuple[str, ...] = (), replaces: str = "") -> None:
        """Raise BadOrder, Halted, StalePicture or RiskRefused if the order can't leave on what is seen.

        It is the last look, with the ledger held. The order ``replaces`` is as good as gone.
        """
        reference = view.reference(request.side)
        violation = rules.check(view.instrument, request, reference)
        if violation is not None:
            raise BadOrder(f"{violation.filter}: {violation.message}; nothing was sent")
        self.refuse_halted()
        missing = [s for s in shortfalls(request.symbol, self._sight(view), self.freshness) if s.name not in despite]
        if missing:
            raise StalePicture(_stale(self._name, missing, view.picture), shortfalls=missing)
        objection = risk.first_objection(self._context(request, view, reference, replaces))
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

    def _context(self, request: OrderRequest, view: View, reference: Decimal | None, replaces: str) -> risk.Context:
        """What the risk checks look at, as if the order ``replaces`` were gone already."""
        ledger, limits, symbol = self._ledger, self.limits, view.instrument.symbol
        working = [r for r in ledger.working.values() if r.request.symbol == symbol and r.client_id != replaces]
        return risk.Context(
            view.instrument,
            request,
            ledger.account,
            reference,
            limits,
            len(working),
            ZERO if limits.position_notional is None else _still_bought(working),
            freed=ledger.account.reserved(replaces),
            mid=view.mid,
            sent_lately=0 if limits.orders_per_minute is None else ledger.meant_since(self._clock.now() - MINUTE),
            lost_today=None if limits.daily_loss is None else self.lost_today(),
        )


def _still_bought(working: list[OrderRecord]) -> Decimal:
    """What the buys among them may still add, in base."""
    return sum((record.remaining for record in working if record.request.side is Side.BUY), ZERO)


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
