"""Binance Spot's account stream, spoken on the WebSocket API (web-socket-api.md, user-data-stream.md).

``userDataStream.subscribe.signature`` takes any kind of key; every event then comes wrapped as
``{"subscriptionId": n, "event": {…}}``. Listen keys are gone since 2026-02-20.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from kit.model import Balance, Fill, Report, ReportKind, Side
from kit.venues.base import Ack, Goodbye, Holdings, Key, Standing, Transfer, UserEvent
from kit.venues.binance_orders import ending, reason, status
from kit.venues.binance_signing import sign_sorted
from kit.venues.binance_wire import Stamp
from kit.venues.wire import MALFORMED, bad_answer, decoder, excerpt, money

Symbols = Mapping[str, str]
NO_SYMBOLS: Symbols = MappingProxyType({})
INVALID_TIMESTAMP = -1021
"""Our timestamp is outside the window (errors.md)."""

_KINDS = {
    "NEW": ReportKind.ACCEPTED,
    "PENDING_NEW": ReportKind.ACCEPTED,
    "CANCELED": ReportKind.CANCELED,
    "REJECTED": ReportKind.REJECTED,
    "TRADE": ReportKind.FILLED,
    "EXPIRED": ReportKind.EXPIRED,
}


class _Execution(msgspec.Struct):
    """An executionReport: what just happened (``x``) and where the order stands now (``X``)."""

    symbol: str = msgspec.field(name="s")
    client_id: str = msgspec.field(name="c")
    side: str = msgspec.field(name="S")
    type: str = msgspec.field(name="o")
    happened: str = msgspec.field(name="x")
    status: str = msgspec.field(name="X")
    order_id: int = msgspec.field(name="i")
    time: Stamp = msgspec.field(name="T")
    filled: str = msgspec.field(name="z")
    original_id: str = msgspec.field(name="C", default="")
    rejection: str = msgspec.field(name="r", default="NONE")
    expiry: str | None = msgspec.field(name="eR", default=None)
    last_qty: str = msgspec.field(name="l", default="0")
    last_price: str = msgspec.field(name="L", default="0")
    fee: str = msgspec.field(name="n", default="0")
    fee_asset: str | None = msgspec.field(name="N", default=None)
    trade_id: int = msgspec.field(name="t", default=-1)
    on_book: bool = msgspec.field(name="w", default=False)
    maker: bool = msgspec.field(name="m", default=False)


class _Amounts(msgspec.Struct):
    asset: str = msgspec.field(name="a")
    free: str = msgspec.field(name="f")
    locked: str = msgspec.field(name="l")


class _Position(msgspec.Struct):
    time: Stamp = msgspec.field(name="u")
    balances: list[_Amounts] = msgspec.field(name="B")


class _Change(msgspec.Struct):
    asset: str = msgspec.field(name="a")
    amount: str = msgspec.field(name="d")
    time: Stamp = msgspec.field(name="T")


class _Timed(msgspec.Struct):
    time: Stamp = msgspec.field(name="E", default=0)


class _Kind(msgspec.Struct):
    kind: str = msgspec.field(name="e", default="")


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Frame(msgspec.Struct):
    event: msgspec.Raw = msgspec.Raw()
    kind: str = msgspec.field(name="e", default="")
    id: int | str | None = None
    status: int = 0
    error: _Error | None = None


_frame = decoder(_Frame)
_kind = decoder(_Kind)
_execution = decoder(_Execution)
_position = decoder(_Position)
_change = decoder(_Change)
_timed = decoder(_Timed)


def subscribe(key: Key, now: int, id: int, window: int) -> str:  # noqa: A002 - the wire's word
    """The text that opens an account's stream; it holds the key's id and a signature: never log it."""
    params: dict[str, str | int] = {"apiKey": key.id, "recvWindow": window // 1_000, "timestamp": now // 1_000}
    message = {"id": id, "method": "userDataStream.subscribe.signature", "params": sign_sorted(params, key)}
    return msgspec.json.encode(message).decode()


def decode(text: str | bytes, symbols: Symbols) -> list[UserEvent]:
    """A frame of the WebSocket API as events, in order; [] for events that say nothing the kit keeps.

    ``symbols`` maps native names to ours; a symbol it lacks stays native. Raises BadAnswer on a malformed frame.
    """
    try:
        return _decode(text, symbols)
    except MALFORMED as error:
        raise bad_answer("Binance's account stream frame", text, error) from None


def _decode(text: str | bytes, symbols: Symbols) -> list[UserEvent]:
    frame = _frame(text)
    if frame.event:
        read = _EVENTS.get(_kind(frame.event).kind)
        return read(frame.event, symbols) if read else []
    if frame.kind:
        read = _EVENTS.get(frame.kind)
        return read(text, symbols) if read else []
    if frame.error is not None or frame.status >= 300:
        error = frame.error or _Error()
        words = f"{excerpt(error.msg) or 'no words'} ({error.code or frame.status})"
        return [Ack(frame.id, words, skewed=error.code == INVALID_TIMESTAMP)]
    return [Ack(frame.id)] if frame.status else []


Body = str | bytes | msgspec.Raw


def _orders(body: Body, symbols: Symbols) -> list[UserEvent]:
    """What happened, then where the order stands: ``z`` sums up all its fills, so that a missing one shows."""
    wire = _execution(body)
    # On a cancel ``c`` is the cancel's own id and ``C`` the order's; on everything else ``C`` is empty.
    client_id = wire.original_id or wire.client_id
    return [*_reports(wire, client_id, symbols), Standing(client_id, status(wire.status), money(wire.filled))]


def _reports(wire: _Execution, client_id: str, symbols: Symbols) -> Iterator[Report]:
    kind = _report_kind(wire)
    if kind is not None:
        yield Report(
            kind=kind,
            client_id=client_id,
            time=wire.time * 1_000,
            venue_id=str(wire.order_id),
            fill=_fill(wire, client_id, symbols) if kind is ReportKind.FILLED else None,
            reason=_why(wire, kind),
        )


def _report_kind(wire: _Execution) -> ReportKind | None:
    """What the execution type tells; one it does not name (TRADE_PREVENTION, REPLACED …) tells only an ending."""
    kind = _KINDS.get(wire.happened)
    if kind is None:
        return ending(wire.status)
    waits = wire.type.startswith(("STOP_LOSS", "TAKE_PROFIT"))
    return ReportKind.TRIGGERED if kind is ReportKind.ACCEPTED and waits and wire.on_book else kind


def _why(wire: _Execution, kind: ReportKind) -> str:
    if kind not in (ReportKind.EXPIRED, ReportKind.REJECTED, ReportKind.CANCELED):
        return ""
    return reason(wire.expiry, wire.rejection, wire.status if wire.status == "EXPIRED_IN_MATCH" else None)


def _fill(wire: _Execution, client_id: str, symbols: Symbols) -> Fill:
    return Fill(
        id=str(wire.trade_id),
        client_id=client_id,
        symbol=symbols.get(wire.symbol, wire.symbol),
        side=Side(wire.side.lower()),
        qty=money(wire.last_qty),
        price=money(wire.last_price),
        fee=money(wire.fee),
        fee_asset=wire.fee_asset or "",
        time=wire.time * 1_000,
        maker=wire.maker,
        venue_id=str(wire.order_id),
    )


def _holdings(body: Body, symbols: Symbols) -> list[UserEvent]:
    wire = _position(body)
    balances = tuple(Balance(a.asset, money(a.free), money(a.locked)) for a in wire.balances)
    return [Holdings(balances, wire.time * 1_000)]


def _transfer(body: Body, symbols: Symbols) -> list[UserEvent]:
    wire = _change(body)
    return [Transfer(wire.asset, money(wire.amount), wire.time * 1_000)]


def _goodbye(body: Body, symbols: Symbols) -> list[UserEvent]:
    return [Goodbye(_timed(body).time * 1_000)]


_EVENTS: dict[str, Callable[[Body, Symbols], list[UserEvent]]] = {
    "executionReport": _orders,
    "outboundAccountPosition": _holdings,
    "balanceUpdate": _transfer,
    "eventStreamTerminated": _goodbye,
    "serverShutdown": _goodbye,
}
