"""The live gateway: orders to a venue over REST."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from kit.broker.gateway import Accepted, Outcome, Refused, Unknown
from kit.broker.reconcile import told
from kit.clock import SECOND, Clock
from kit.errors import BadOrder, KitError, OutcomeUnknown, Unreached, VenueRefused, VenueUnreachable
from kit.model import (
    ZERO,
    Balance,
    Fill,
    Instrument,
    OrderRequest,
    OrderState,
    OrderStatus,
    OrderType,
    Report,
    Side,
)
from kit.venues.base import Call, Codec
from kit.venues.contract import Lookup

T = TypeVar("T")

NO_SUCH_ORDER = -2013
"""Binance: no order with this id (errors.md)."""
ARCHIVED = -2026
"""Binance: it ended without a fill more than 90 days ago; nothing else is told of it any more (errors.md)."""
FULL = 500
"""Executions from which on a page may not be the last one: venues give 500 or 1,000 at a time."""
UNSURE = 10 * SECOND
"""µs before it was meant from which on an order is looked for in a list: the venue stamps it by its own clock."""


class Rest(Protocol):
    """Whoever makes REST exchanges."""

    @property
    def clock(self) -> Clock:
        """The venue's."""
        ...

    def do(self, call: Call[T]) -> T: ...


class LiveGateway:
    """A venue's orders over REST. Reports beyond the answers come from whoever follows the account (``following``)."""

    def __init__(self, rest: Rest, codec: Codec) -> None:
        self._rest, self._codec, self.contract = rest, codec, codec.contract

    def listen(self, listener: object) -> None:
        """Nothing comes by itself here: whoever wants news asks."""

    def submit(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Outcome:
        try:
            call = self._codec.order(instrument, request, client_id)
        except BadOrder as error:  # the venue has no words for it
            return Refused(str(error))
        return self._write(call)

    def cancel(self, instrument: Instrument, client_id: str) -> Outcome:
        """A cancelled order's last fills are not in the answer to the cancel, so they are asked for."""
        outcome = self._write(self._codec.cancel(instrument, client_id))
        if not isinstance(outcome, Accepted):
            return outcome
        try:
            state = self._by_id(instrument, client_id)
        except KitError as error:
            return Unknown(f"cancelled, but what it had filled could not be read yet: {error}")
        if state is None or not state.status.final:
            return Unknown("cancelled, but the venue does not show it yet, nor what it had filled")
        return Accepted(told(client_id, state))

    def query(self, instrument: Instrument, client_id: str, since: int) -> OrderState | None:
        """The order with its fills, by its id, else out of the list of orders since it was meant.

        Raises Unreached while the venue does not show all of its fills.
        """
        by_id = self.contract.lookup is Lookup.BY_ID
        try:
            state = self._by_id(instrument, client_id) if by_id else None
        except VenueRefused as error:
            if error.code != ARCHIVED:
                raise
            return _archived(instrument, client_id, since)
        return state or self._listed(instrument, client_id, since)

    def _by_id(self, instrument: Instrument, client_id: str) -> OrderState | None:
        try:
            state = self._rest.do(self._codec.query(instrument, client_id))
        except VenueRefused as error:
            if error.code == NO_SUCH_ORDER:
                return None
            raise
        return self._filled(instrument, state)

    def _listed(self, instrument: Instrument, client_id: str, since: int) -> OrderState | None:
        listed = self._rest.do(self._codec.orders_since(instrument, since - UNSURE))
        found = next((state for state in listed if state.client_id == client_id), None)
        return None if found is None else self._filled(instrument, found)

    def _filled(self, instrument: Instrument, state: OrderState) -> OrderState:
        if not state.filled:
            return state
        return msgspec.structs.replace(state, fills=tuple(self._fills(instrument, state)))

    def _fills(self, instrument: Instrument, state: OrderState) -> list[Fill]:
        """All fills of an order, page by page; VenueUnreachable while they are not what it says it has filled."""
        fills: list[Fill] = []
        while (missing := state.filled - sum((fill.qty for fill in fills), ZERO)) > 0:
            first = int(fills[-1].id) + 1 if fills else 0
            page = self._rest.do(self._codec.fills(instrument, venue_order_id=state.venue_id, from_id=first))
            if not page:
                break
            fills += page
        if missing:
            raise VenueUnreachable(f"the venue does not show all fills of {state.client_id} yet; it is asked again")
        return fills

    def open_orders(self) -> list[OrderState]:
        """In all instruments at once, though Binance counts that 80 and one by itself 6: an order of a stranger, or of
        a journal that was lost, may be in one that this account has never traded."""
        return self._rest.do(self._codec.open_orders(None))

    def now(self) -> int:
        """The venue's clock, µs."""
        return self._rest.clock.now()

    def executions(self, instrument: Instrument, after: str) -> list[Fill]:
        """The account's executions after that trade id, page by page, whoever placed their orders; without an id the
        newest page."""
        found: list[Fill] = []
        while True:
            last = found[-1].id if found else after
            first = int(last) + 1 if last else None
            page = self._rest.do(self._codec.fills(instrument, venue_order_id=None, from_id=first))
            found += page
            if first is None or len(page) < FULL:
                return found

    def balances(self) -> list[Balance]:
        return self._rest.do(self._codec.balances())

    def close(self) -> None:
        """The REST connections are the venue's."""

    def _write(self, call: Call[list[Report]]) -> Outcome:
        """Every error but OutcomeUnknown means that the request took no effect (``Rest.do``)."""
        try:
            reports = self._rest.do(call)
        except OutcomeUnknown as error:
            return Unknown(str(error))
        except Unreached as error:
            return Refused(f"it did not reach the venue: {error}")
        except VenueRefused as error:
            return Refused(str(error), error.code)
        except KitError as error:
            return Refused(str(error))
        return Accepted(reports)


def _archived(instrument: Instrument, client_id: str, since: int) -> OrderState:
    """Told is that it ended without a fill: not how, nor when, nor what it had asked for (a quantity of 0)."""
    return OrderState(
        client_id=client_id,
        venue_id="",
        symbol=instrument.symbol,
        status=OrderStatus.EXPIRED,
        request=OrderRequest(symbol=instrument.symbol, side=Side.BUY, type=OrderType.MARKET, qty=ZERO),
        filled=ZERO,
        filled_quote=ZERO,
        time=since,
        reason="it ended without a fill more than 90 days ago, and the venue has put it into its archive",
    )
