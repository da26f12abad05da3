"""The user's face of an account: buy, sell, cancel, amend, and what became of it as DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Protocol

import msgspec
import pandas as pd

from kit.broker import frames, guard, halting
from kit.broker.desk import Desk, amending
from kit.broker.halting import Halting
from kit.broker.order import Order
from kit.broker.reconcile import reconcile
from kit.broker.worth import Worth
from kit.clock import Clock
from kit.errors import BadOrder, KitError, UnknownName, UsageError
from kit.model import Instrument, OrderRequest, OrderStatus, OrderType, Quote, Side, TimeInForce
from kit.orders.account import exactly
from kit.orders.freshness import overlooked
from kit.orders.ids import Intent
from kit.orders.lifecycle import OrderRecord
from kit.orders.request import Amount, describe, requested
from kit.orders.rules import parse_amount, plain
from kit.runtime import Closable, runtime
from kit.store.entries import Terms

DISCLAIMER = "For education and research; no advice. Simulated results promise nothing."
"""Said by the README, the demo, results and every live account."""


class Markets(Protocol):
    """Where instruments and their prices come from."""

    def instrument(self, symbol: str) -> Instrument: ...
    def quote(self, symbol: str) -> Quote | None:
        """The last quote known here; None when nothing is followed. Never asks a venue."""
        ...


class Following(Protocol):
    """Whoever hears what becomes of the account's orders (``kit.broker.following``)."""

    @property
    def state(self) -> str: ...


class Broker:
    """One account at one venue, paper or live. ``kit.paper`` and ``kit.live`` open one.

    Amounts may be int, float, str or Decimal. Safe to use from any thread.
    """

    def __init__(
        self,
        desk: Desk,
        terms: Terms,
        markets: Markets,
        clock: Clock,
        closing: list[Closable],
        following: Following | None = None,
    ) -> None:
        self.desk, self.terms, self._following = desk, terms, following
        self._markets, self._clock, self._closing = markets, clock, closing
        self.opened_with: tuple[object, ...] = ()
        """What it was asked to be, so that a cell that asks again finds it."""
        self._worth = Worth(desk.ledger, terms, markets.quote, clock)
        desk.gate.lost_today = self._worth.lost_today
        self._closed = False

    # -- who

    @property
    def account(self) -> str:
        """The account's name: its journal is ``accounts/<name>.sqlite`` in the kit's data folder."""
        return self.desk.account_name

    @property
    def session(self) -> str:
        """The label that tells one day's cells from the next; part of every order's identity."""
        return self.desk.session

    @property
    def environment(self) -> str:
        """SANDBOX, DATA, TESTNET, DEMO or LIVE: where prices, and a live account's orders, come from."""
        return self.terms.environment

    # -- orders

    def buy(
        self,
        symbol: str,
        qty: Amount,
        *,
        price: Amount | None = None,
        stop: Amount | None = None,
        type: OrderType | str | None = None,  # noqa: A002 - what it is called everywhere
        tif: TimeInForce | str = TimeInForce.GTC,
        post_only: bool = False,
        key: str | None = None,
        again: bool = False,
        despite: str | Sequence[str] = (),
    ) -> Order:
        """Buy ``qty`` of the base asset: at market, with a limit ``price``, after a ``stop``, or both.

        The same intent finds the same order. ``key`` names the intent; without it a notebook's cell and
        call are the intent, and in plain Python every call is a new one. ``again=True`` means one more.
        ``despite`` names what a StalePicture complained of ("feed", "quote", "account", "clock"): this one order leaves
        all the same, and the journal keeps that it did.

        Raises BadOrder, UnknownName, IntentExpired (the call is wrong), StalePicture, RiskRefused, Halted (not
        now), JournalUnwritable (the disk): nothing was sent. What the venue refuses is a ``rejected`` order.
        """
        request = self._request(Side.BUY, symbol, qty, price=price, stop=stop, kind=type, tif=tif, post_only=post_only)
        return self._place(request, key, again=again, despite=despite)

    def sell(
        self,
        symbol: str,
        qty: Amount,
        *,
        price: Amount | None = None,
        stop: Amount | None = None,
        type: OrderType | str | None = None,  # noqa: A002 - the same
        tif: TimeInForce | str = TimeInForce.GTC,
        post_only: bool = False,
        key: str | None = None,
        again: bool = False,
        despite: str | Sequence[str] = (),
    ) -> Order:
        """Sell ``qty`` of the base asset; everything else as in ``buy``."""
        request = self._request(Side.SELL, symbol, qty, price=price, stop=stop, kind=type, tif=tif, post_only=post_only)
        return self._place(request, key, again=again, despite=despite)

    def cancel(self, order: Order | str) -> Order:
        """Cancel an order, by itself or by its id; what it was amended to, if it was. The order that was cancelled.

        One that is over stays as it is.

        Raises UnknownName, OutcomeUnknown when the venue did not answer, Unreached when it took no effect.
        """
        self._refuse_closed()
        return self.order(order).cancel()

    def cancel_all(self, symbol: str | None = None) -> list[Order]:
        """Cancel every open order, or those of one instrument; what became of each: one may be open still."""
        self._refuse_closed()
        wanted = None if symbol is None else self._markets.instrument(symbol).symbol
        open_orders = [r for r in self.desk.open_orders if wanted in (None, r.request.symbol)]
        open_orders.sort(key=lambda record: self.desk.being_sent(record.client_id))  # those are waited for
        for record in open_orders:
            with suppress(KitError):  # the next one is to be cancelled all the same; the status shows it
                self.desk.cancel(record.client_id)
        return [self._order(record) for record in open_orders]

    @exactly
    def amend(self, order: Order | str, *, qty: Amount | None = None, price: Amount | None = None) -> Order:
        """Replace an open order by one with another total quantity or limit price; the new order.

        Cancel, then place what is left of the total: never more, whatever filled meanwhile. When the order is over
        before the cancel arrives nothing is placed, and the note of the order returned says so. What was amended
        before is amended further; the same amendment again changes nothing, or goes on where a process that died, or
        a refusal, had left it half done. An amendment that could not be placed (``buy`` says why) raises, and the
        order stands.
        """
        self._refuse_closed()
        chain = self.desk.ledger.chain(_id(order))
        latest, before = chain[-1], sum((record.filled for record in chain[:-1]), Decimal(0))
        total = before + latest.request.qty if qty is None else parse_amount("qty", qty)
        wanted = latest.request.price if price is None else parse_amount("price", price)
        if (total, wanted) == (before + latest.request.qty, latest.request.price):
            return self._order(latest, rerun=True, note="it stands as asked already: nothing was changed")
        if latest.status.final and not self._half_done(latest, total - before, wanted):
            return self._order(latest, note=f"it was {latest.status} already: nothing to amend")
        if latest.request.price is None and wanted is not None:
            raise BadOrder(f"{describe(latest.request)} has no limit price to amend; cancel it and place another")
        return self._replace(latest, total - before, wanted)

    def order(self, order: Order | str) -> Order:
        """The order of that id; UnknownName when the account has none."""
        return self._order(self.desk.ledger.order(_id(order)))

    def halt(self, reason: str = "by hand") -> Halting:
        """The kill switch: no order leaves this account any more, and the open ones are cancelled.

        The answer says what was open, how it ended, and whether the venue, asked again, still has any of it
        (``proven``); what may be open is tried again in the background. The flag is in the journal, so it holds for
        every process and after a restart, until ``resume``. ``kit halt`` sets it from a terminal.

        Raises JournalUnwritable when the flag could not be written; a note on it says what became of the open orders.
        """
        self._refuse_closed()
        return halting.halt(self.desk, reason, self._clock)

    def resume(self) -> None:
        """Let orders leave again."""
        self._refuse_closed()
        self.desk.journal.resume()

    @property
    def halted(self) -> str:
        """Why the account is halted; empty when it is not."""
        return self.desk.journal.halted

    def reconcile(self) -> pd.DataFrame:
        """Ask the venue for everything that is open or unknown and take its word; what else differs, with a verdict.

        Raises Unreached when the venue can't be asked: nothing is changed then.
        """
        self._refuse_closed()
        differences = reconcile(self.desk)
        rows = [(d.kind, d.name, d.ours, d.venue, d.verdict) for d in differences]
        return frames.frame(frames.DIFFERENCES, rows, self._attrs)

    # -- what became of it

    @property
    def orders(self) -> pd.DataFrame:
        """Every order, oldest first; ``intent`` is what made it that order."""
        return frames.orders(self.desk, self._attrs)

    @property
    def fills(self) -> pd.DataFrame:
        """Every execution, by time; ``order`` is the order's id."""
        executed = [fill for record in list(self.desk.records.values()) for fill in list(record.fills)]
        return frames.fills(sorted(executed, key=lambda fill: fill.time), self._attrs)

    @property
    def positions(self) -> pd.DataFrame:
        """What was bought and not sold again, at average cost, in the quote asset."""
        return frames.positions(self.desk, self._worth.prices(), self._attrs)

    @property
    def balances(self) -> pd.DataFrame:
        """What the account holds: free, locked in open orders, total."""
        return frames.balances(self.desk, self._attrs)

    @property
    def equity(self) -> pd.DataFrame:
        """The account's worth in its quote asset at the start, after every fill and now, indexed by ``time``.

        Assets without a known price are not in it: ``attrs["unpriced"]`` names them.
        """
        _, _, unpriced = self._worth.now()
        return frames.equity(self._worth.marks(), {**self._attrs, "unpriced": unpriced})

    @property
    def cash(self) -> Decimal:
        """What is free of the quote asset."""
        with self.desk.changed:
            return self.desk.account.free(self.terms.quote)

    def close(self) -> None:
        """End this process's part of the account; orders and money stay in its journal. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._worth.close()
        for part in self._closing:
            part.close()
        runtime.forget(self)

    @property
    def closed(self) -> bool:
        return self._closed

    def __repr__(self) -> str:
        unkeyed = self.desk.ledger.unkeyed
        parts = [
            f"{self.terms.kind} account {self.account!r} on {self.terms.venue} · {self.environment}",
            f"{plain(self.cash) if self.cash else 0} {self.terms.quote} free",
            f"{len(self.desk.open_orders)} open of {len(self.desk.records)} orders",
        ]
        parts += [f"{unkeyed} placed without a key"] if unkeyed else []
        parts += [f"HALTED: {self.halted}"] if not self._closed and self.halted else []
        parts += [f"unreconciled: {self.desk.unreconciled}"] if self.desk.unreconciled else []
        parts += [f"news by {self.news}"] if self.news and not self._closed else []
        return f"<{', '.join(parts)}{', closed' if self._closed else ''}{f'. {self.notice}' if self.notice else ''}>"

    @property
    def news(self) -> str:
        """How a live account hears of its orders: by its stream, or by asking, and why; empty for paper."""
        return self._following.state if self._following else ""

    @property
    def notice(self) -> str:
        """What a live account says of itself in every cell; empty for paper."""
        if self.terms.kind != "live":
            return ""
        return f"REAL MONEY. {DISCLAIMER}" if self.environment == "LIVE" else DISCLAIMER

    # -- inside

    def _request(
        self,
        side: Side,
        symbol: str,
        qty: Amount,
        *,
        price: Amount | None,
        stop: Amount | None,
        kind: OrderType | str | None,
        tif: TimeInForce | str,
        post_only: bool,
    ) -> OrderRequest:
        self._refuse_closed()
        try:
            ours = self._markets.instrument(symbol).symbol
            request = requested(ours, side, qty, price=price, stop=stop, tif=str(tif).lower(), post_only=post_only)
            return request if kind is None else msgspec.structs.replace(request, type=_order_type(kind))
        except UnknownName as error:
            error.args = (f"{error}; nothing was sent",)
            raise

    def _refuse_closed(self) -> None:
        if self._closed:
            raise UsageError(
                f"this broker of account {self.account!r} is closed: nothing was sent; "
                f"kit.{self.terms.kind}(…) opens it again"
            )

    def _place(self, request: OrderRequest, key: str | None, *, again: bool, despite: str | Sequence[str]) -> Order:
        overlook = overlooked(despite)
        intent = self._intent(key, request, again=again)
        known = self.desk.known(intent, request)
        if known is not None:
            return self._order(known, rerun=True, note=_same(known, request))
        try:
            record = self.desk.place(request, intent, despite=overlook)
        except KitError:
            if intent.implicit and self.desk.client_id(intent) not in self.desk.records:
                runtime.intent_refused(intent)
            raise
        except KeyboardInterrupt as stop:
            stop.add_note(self._interrupted(self.desk.client_id(intent)))
            raise
        note = f"one more of the same intent: number {intent.again + 1}" if intent.again else ""
        return self._order(record, note=note)

    def _interrupted(self, client_id: str) -> str:
        """What an interrupt of the order call means for the money."""
        if client_id not in self.desk.records:
            return "the order was not written down yet, so nothing was sent"
        return f"the order may have been sent: broker.order({client_id!r}) says what became of it"

    def _intent(self, key: object, request: OrderRequest, *, again: bool) -> Intent:
        if key is not None and not (isinstance(key, str) and key):
            raise UsageError(f"key={key!r}: a key is a text that names what is meant; nothing was sent")
        if again not in (True, False):
            raise UsageError(f"again={again!r}: True places one more of the same, False does not; nothing was sent")
        subject = f"{request.side} {request.symbol}"
        intent = Intent.keyed(str(key)) if key else (runtime.cell_intent(subject, describe(request)) or Intent.once())
        if not again:
            return intent
        return Intent(intent.parts, self.desk.times_placed(intent), intent.implicit)

    def _replace(self, record: OrderRecord, total: Decimal, price: Decimal | None) -> Order:
        """Cancel ``record`` and place what is left of ``total``, if the cancel won the race."""
        if total > record.filled:
            self.desk.vet(_amended(record, total - record.filled, price), replaces=record.client_id)
        self.desk.journal.set(amending(record.client_id), _as_amended(total, price), durable=True)
        self.desk.cancel(record.client_id, to_amend=True)
        left = total - record.filled
        if record.status is not OrderStatus.CANCELED:
            return self._order(record, note=f"it was {record.status} before the cancel: nothing was amended")
        if left <= 0:
            return self._order(
                record, note=f"{plain(record.filled)} had filled already: cancelled, nothing left to place"
            )
        intent = Intent(("amend", record.client_id))
        try:
            replacement = self.desk.place(_amended(record, left, price), intent, replaces=record.client_id)
        except KitError as error:
            error.add_note(f"{record.client_id}, which was to be amended, is cancelled; nothing stands in its place")
            raise
        return self._order(replacement)

    def _half_done(self, record: OrderRecord, total: Decimal, price: Decimal | None) -> bool:
        """This very amendment has cancelled the order, and nothing stands in its place."""
        begun = self.desk.journal.get(amending(record.client_id))
        return record.status is OrderStatus.CANCELED and begun == _as_amended(total, price)

    def _order(self, record: OrderRecord, *, rerun: bool = False, note: str = "") -> Order:
        label = guard.label(self.terms.kind, self.environment)
        return Order(self.desk, record, label=label, rerun=rerun, note=note, quote=self._markets.quote)

    @property
    def _attrs(self) -> dict[str, Any]:
        """What every frame says of where it comes from."""
        terms = self.terms
        return {
            "account": self.account,
            "kind": terms.kind,
            "venue": terms.venue,
            "environment": terms.environment,
            "quote": terms.quote,
        }


def _id(order: object) -> str:
    """The id of what a caller calls an order."""
    if isinstance(order, Order):
        return order.id
    if isinstance(order, str):
        return order
    raise UsageError(f"{order!r:.60} is neither an order nor the id of one; nothing was sent")


def _amended(record: OrderRecord, qty: Decimal, price: Decimal | None) -> OrderRequest:
    """The order's request with another quantity and price; a stop that has triggered is a limit by now."""
    if not record.triggered:
        return msgspec.structs.replace(record.request, qty=qty, price=price)
    return msgspec.structs.replace(record.request, qty=qty, price=price, stop=None, type=OrderType.LIMIT)


def _as_amended(total: Decimal, price: Decimal | None) -> str:
    return f"{plain(total)} at {None if price is None else plain(price)}"


def _order_type(given: OrderType | str) -> OrderType:
    """A type that is given must be known; ``OrderRequest`` holds it to the prices."""
    try:
        return OrderType(str(given).lower())
    except ValueError:
        raise UnknownName("order type", given, OrderType) from None


def _same(record: OrderRecord, request: OrderRequest) -> str:
    at = pd.Timestamp(record.created, unit="us", tz="UTC").strftime("%Y-%m-%d %H:%M:%S UTC")
    asked = "" if request == record.request else f" (asked now: {describe(request)})"
    return f"the same order, placed {at}{asked}: nothing new was sent; again=True places one more"
