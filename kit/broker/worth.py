"""What an account is worth in its quote asset, by the last prices that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal

import msgspec

from kit.broker.ledger import Ledger
from kit.clock import DAY, Clock
from kit.errors import JournalUnwritable
from kit.model import ZERO, Quote, Report
from kit.orders.account import exactly
from kit.orders.lifecycle import OrderRecord
from kit.store.entries import Mark, Terms

_DAY = "day"
"""Under this label the journal keeps what the day began with."""


class _Day(msgspec.Struct, frozen=True):
    """A day's beginning (00:00 UTC, µs) and the profit at its first look."""

    began: int
    profit: Decimal


class Worth:
    """The account's valuation. It writes a mark after every fill: the equity curve.

    ``quote`` is the last quote known of an instrument, None when it is not followed; no venue is asked.
    """

    def __init__(self, ledger: Ledger, terms: Terms, quote: Callable[[str], Quote | None], clock: Clock) -> None:
        self._ledger, self._terms, self._quote, self._clock = ledger, terms, quote, clock
        self._last_prices = ledger.last_prices
        self._day: _Day | None = None
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
        """What trading has lost since 00:00 UTC, above 0 a loss; None while a position has no price.

        It is the profit of all positions, fees among it, against what it was at the first look of the day, which the
        account's watch takes at 00:00 UTC, or when the account is opened; the journal keeps that. Fees taken in a third
        asset are not in it.
        """
        profit = self._profit()
        return None if profit is None else self._began(profit) - profit

    # -- inside

    def _profit(self) -> Decimal | None:
        """Realized and unrealized, of every position, in the quote asset."""
        prices, quote = self.prices(), self._terms.quote
        with self._ledger.changed:
            positions = self._ledger.account.positions()
        total = ZERO
        for symbol, position in positions.items():
            mark, paid_in = prices.get(symbol), symbol.partition("/")[2]
            rate = Decimal(1) if paid_in == quote else prices.get(f"{paid_in}/{quote}")
            if rate is None or mark is None:
                return None
            total += (position.realized + position.unrealized(mark)) * rate
        return total

    def _began(self, profit: Decimal) -> Decimal:
        """The profit at the first look of today; this is it when there was none."""
        today = self._clock.now() // DAY * DAY
        if self._day is None:
            told = self._ledger.journal.get(_DAY)
            self._day = None if told is None else msgspec.json.decode(told, type=_Day)
        if self._day is None or self._day.began != today:
            self._day = _Day(today, profit)
            self._ledger.journal.set(_DAY, msgspec.json.encode(self._day).decode())
        return self._day.profit

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
