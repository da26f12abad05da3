"""What an account is worth in its quote asset, by the last prices that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal

from kit.broker.ledger import Ledger
from kit.clock import DAY, Clock
from kit.errors import JournalUnwritable
from kit.model import ZERO, Quote, Report
from kit.orders.account import exactly
from kit.orders.lifecycle import OrderRecord
from kit.store.entries import Mark, Terms


class Worth:
    """The account's valuation. It writes a mark after every fill: the equity curve.

    ``quote`` is the last quote known of an instrument, None when it is not followed; no venue is asked.
    """

    def __init__(self, ledger: Ledger, terms: Terms, quote: Callable[[str], Quote | None], clock: Clock) -> None:
        self._ledger, self._terms, self._quote, self._clock = ledger, terms, quote, clock
        fills = (fill for record in ledger.records.values() for fill in record.fills)
        self._last_prices = {fill.symbol: fill.price for fill in sorted(fills, key=lambda fill: fill.time)}
        self._day: tuple[int, Decimal | None] = (0, None)
        self.close = ledger.watch(self._mark)

    def prices(self) -> dict[str, Decimal]:
        """Prices of every instrument traded: the quote's mid where one is followed, else that of the last fill."""
        prices = dict(self._last_prices)
        for symbol in prices:
            quote = self._quote(symbol)
            if quote is not None:
                prices[symbol] = Decimal(repr(quote.mid))
        return prices

    def now(self) -> tuple[Decimal, Decimal, list[str]]:
        """Equity and total cash in the quote asset, and the assets that have no price: they are not in it."""
        return self._at(self.prices())

    def marks(self) -> list[Mark]:
        """The worth at the start, after every fill, and now."""
        cash = self._terms.cash.get(self._terms.quote, ZERO)
        equity, total, _ = self.now()
        start, last = Mark(self._terms.created, cash, cash), Mark(self._clock.now(), equity, total)
        return [start, *self._ledger.journal.marks(), last]

    @exactly
    def lost_today(self) -> Decimal | None:
        """What the equity has lost since 00:00 UTC, above 0 a loss; None while something held has no price.

        The day begins with the last mark before it; an account without one, with what it was opened with, at the prices
        of now.
        """
        prices = self.prices()
        equity, _, unpriced = self._at(prices)
        began = self._began()
        opened, _, unknown = self._valued(self._terms.cash, prices) if began is None else (began, ZERO, [])
        return None if unpriced or unknown else opened - equity

    # -- inside

    def _began(self) -> Decimal | None:
        """The equity that today began with, looked up once a day; None where nothing was marked before it."""
        today = self._clock.now() // DAY * DAY
        if self._day[0] != today:
            before = [mark.equity for mark in self._ledger.journal.marks() if mark.time < today]
            self._day = (today, before[-1] if before else None)
        return self._day[1]

    def _at(self, prices: Mapping[str, Decimal]) -> tuple[Decimal, Decimal, list[str]]:
        with self._ledger.changed:
            held = {asset: balance.total for asset, balance in self._ledger.account.balances().items() if balance.total}
        return self._valued(held, prices)

    @exactly
    def _valued(self, held: Mapping[str, Decimal], prices: Mapping[str, Decimal]) -> tuple[Decimal, Decimal, list[str]]:
        quote = self._terms.quote
        rates = {asset: prices.get(f"{asset}/{quote}") for asset in held} | {quote: Decimal(1)}
        worth = sum((total * (rates[asset] or 0) for asset, total in held.items()), ZERO)
        return worth, held.get(quote, ZERO), [asset for asset in held if rates[asset] is None]

    def _mark(self, record: OrderRecord, report: Report) -> None:
        """Write down what the account is worth after a fill."""
        if report.fill is None:
            return
        self._last_prices[report.fill.symbol] = report.fill.price
        equity, cash, _ = self.now()
        with suppress(JournalUnwritable):  # a missing point on a curve stops no fill
            self._ledger.journal.mark(Mark(report.fill.time, equity, cash))
