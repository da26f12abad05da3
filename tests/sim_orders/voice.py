"""How a venue is spoken to: calls read as questions, and answers as bytes.

``PlainVoice`` speaks the kit's own nouns as JSON, so that every contract can be tried before its codec exists;
``BinanceVoice`` (``binance_voice``) speaks Binance's bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from kit.errors import KitError, OutcomeUnknown, RateLimited, VenueRefused, VenueUnreachable
from kit.model import Balance, Fill, Instrument, OrderRequest, OrderState, Report, ReportKind
from kit.venues.base import Auth, Call, Effect, Failure, Standing, UserEvent, Verdict
from kit.venues.contract import Contract
from tests.sim_orders.venue import No, Taken

T = TypeVar("T")
Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""


@dataclass(frozen=True)
class Question:
    """What a call asks: ``order``, ``cancel``, ``query``, ``open``, ``since``, ``balances`` or ``fills``."""

    what: str
    native: str = ""
    client_id: str = ""
    request: OrderRequest | None = None
    since: int = 0
    venue_id: str = ""
    from_id: int = 0


class Voice(Protocol):
    """One venue's language, from the venue's side."""

    name: str
    codec: Any
    contract: Contract

    def asked(self, call: Call[Any]) -> Question: ...
    def placed(self, taken: Taken, now: int, *, first: bool) -> Answer:
        """The answer to an order; a repeat (not ``first``) is told the original's id, and not how old it is."""
        ...

    def cancelled(self, taken: Taken) -> Answer: ...
    def state(self, taken: Taken, state: OrderState) -> Answer: ...
    def states(self, states: Sequence[tuple[Taken, OrderState]]) -> Answer: ...
    def fills(self, fills: Sequence[Fill]) -> Answer: ...
    def balances(self, balances: Sequence[Balance]) -> Answer: ...
    def no(self, no: No) -> Answer: ...
    def limited(self, seconds: int) -> Answer: ...
    def reported(self, taken: Taken, report: Report, standing: Standing) -> list[UserEvent]:
        """A report as it comes out of the account's stream."""
        ...


def said(taken: Taken) -> list[Report]:
    """What has happened to an order so far, as the answer to its placing tells it."""
    tell = partial(Report, client_id=taken.client_id, venue_id=taken.venue_id)
    reports = [tell(kind=ReportKind.ACCEPTED, time=taken.time)]
    reports += [tell(kind=ReportKind.FILLED, time=fill.time, fill=fill) for fill in taken.fills]
    last, endings = taken.past[-1], {"canceled": ReportKind.CANCELED, "expired": ReportKind.EXPIRED}
    if last.status in endings:
        reports.append(tell(kind=endings[last.status], time=last.time, reason=last.reason))
    return reports


def _read(kind: Any) -> Callable[[bytes], Any]:
    return partial(msgspec.json.decode, type=kind)


class PlainCodec:
    """The nouns themselves as JSON, under any contract: the part of a codec that orders need."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def order(self, instrument: Instrument, request: OrderRequest, client_id: str) -> Call[list[Report]]:
        words = msgspec.json.encode(request).decode()
        params = (("native", instrument.native), ("id", client_id), ("request", words))
        return Call("POST", "order", _read(list[Report]), params, Auth.SIGNED, Effect.WRITE, orders=1)

    def cancel(self, instrument: Instrument, client_id: str) -> Call[list[Report]]:
        params = (("native", instrument.native), ("id", client_id))
        return Call("DELETE", "cancel", _read(list[Report]), params, Auth.SIGNED, Effect.WRITE)

    def query(self, instrument: Instrument, client_id: str) -> Call[OrderState]:
        return Call("GET", "query", _read(OrderState), (("native", instrument.native), ("id", client_id)))

    def open_orders(self, instrument: Instrument | None) -> Call[list[OrderState]]:
        return Call("GET", "open", _read(list[OrderState]))

    def orders_since(self, instrument: Instrument, start: int) -> Call[list[OrderState]]:
        return Call("GET", "since", _read(list[OrderState]), (("native", instrument.native), ("since", str(start))))

    def balances(self) -> Call[list[Balance]]:
        return Call("GET", "balances", _read(list[Balance]))

    def fills(self, instrument: Instrument, *, venue_order_id: str | None, from_id: int | None) -> Call[list[Fill]]:
        params = (("native", instrument.native), ("venue_id", venue_order_id or ""), ("from_id", str(from_id or 0)))
        return Call("GET", "fills", _read(list[Fill]), params)

    def failure(self, call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> Failure | None:
        """As the contract of ``Rest.do`` has it: what may have taken effect is unknown, whatever was said."""
        words, writes = f"{call.path}: {body.decode()} ({status})", call.effect is Effect.WRITE
        error: KitError
        if status < 300:
            return None
        if status == 429:
            error = RateLimited(words, retry_after=float(headers["retry-after"]))
            return Failure(Verdict.RATE_LIMITED, error)
        if status == 409 or (status >= 500 and writes):
            return Failure(Verdict.UNKNOWN, OutcomeUnknown(words))
        if status >= 500:
            return Failure(Verdict.UNREACHED, VenueUnreachable(words))
        return Failure(Verdict.REFUSED, VenueRefused(words, code=-2013 if status == 404 else -status))


class PlainVoice:
    """Speaks for a venue of any contract."""

    def __init__(self, name: str, contract: Contract) -> None:
        self.name, self.contract, self.codec = name, contract, PlainCodec(contract)

    def asked(self, call: Call[Any]) -> Question:
        params = dict(call.params)
        request = msgspec.json.decode(params["request"], type=OrderRequest) if "request" in params else None
        return Question(
            call.path,
            native=params.get("native", ""),
            client_id=params.get("id", ""),
            request=request,
            since=int(params.get("since", 0)),
            venue_id=params.get("venue_id", ""),
            from_id=int(params.get("from_id", 0)),
        )

    def placed(self, taken: Taken, now: int, *, first: bool) -> Answer:
        accepted, *more = said(taken)
        return _body([accepted, *more] if first else [msgspec.structs.replace(accepted, time=now)])

    def cancelled(self, taken: Taken) -> Answer:
        return _body(said(taken)[-1:])

    def state(self, taken: Taken, state: OrderState) -> Answer:
        return _body(state)

    def states(self, states: Sequence[tuple[Taken, OrderState]]) -> Answer:
        return _body([state for _, state in states])

    def fills(self, fills: Sequence[Fill]) -> Answer:
        return _body([msgspec.structs.replace(fill, client_id="") for fill in fills])

    def balances(self, balances: Sequence[Balance]) -> Answer:
        return _body(list(balances))

    def no(self, no: No) -> Answer:
        return {"duplicate": 409, "unknown": 404, "gone": 410}.get(no.kind, 400), {}, no.words.encode()

    def limited(self, seconds: int) -> Answer:
        return 429, {"retry-after": str(seconds)}, b"too many requests"

    def reported(self, taken: Taken, report: Report, standing: Standing) -> list[UserEvent]:
        return [report, standing]


def _body(value: object) -> Answer:
    return 200, {}, msgspec.json.encode(value)
