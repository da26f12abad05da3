"""Binance's words for what the simulated venue does: rest-api.md's answers, errors.md's codes, executionReports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from kit.model import ZERO, Balance, Fill, OrderRequest, OrderState, OrderStatus, Report, ReportKind, Side, TimeInForce
from kit.venues.base import Call, Standing, UserEvent
from kit.venues.binance import BINANCE
from kit.venues.binance_orders import TYPES
from tests.sim_orders.venue import No, Taken
from tests.sim_orders.voice import Answer, Question

_WHAT = {
    ("POST", "order"): "order",
    ("DELETE", "order"): "cancel",
    ("GET", "order"): "query",
    ("GET", "openOrders"): "open",
    ("GET", "allOrders"): "since",
    ("GET", "account"): "balances",
    ("GET", "myTrades"): "fills",
}
_KINDS = {wire: kit for kit, wire in TYPES.items()}
_STATUS = {
    OrderStatus.OPEN: "NEW",
    OrderStatus.PARTIAL: "PARTIALLY_FILLED",
    OrderStatus.FILLED: "FILLED",
    OrderStatus.CANCELED: "CANCELED",
    OrderStatus.EXPIRED: "EXPIRED",
    OrderStatus.REJECTED: "REJECTED",
}
_HAPPENED = {
    ReportKind.ACCEPTED: "NEW",
    ReportKind.TRIGGERED: "NEW",
    ReportKind.FILLED: "TRADE",
    ReportKind.CANCELED: "CANCELED",
    ReportKind.EXPIRED: "EXPIRED",
    ReportKind.REJECTED: "REJECTED",
}
_NO = {"duplicate": (400, -2010), "money": (400, -2010), "gone": (400, -2011), "unknown": (400, -2013)}


class BinanceVoice:
    """Binance Spot, with the kit's own codec on the other side."""

    name, codec, contract = "binance", BINANCE, BINANCE.contract

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols
        """Native name -> ours."""

    def asked(self, call: Call[Any]) -> Question:
        params = dict(call.params)
        what = _WHAT[call.method, call.path.rpartition("/")[2]]
        return Question(
            what,
            native=params.get("symbol", ""),
            client_id=params.get("newClientOrderId", params.get("origClientOrderId", "")),
            request=self._request(params) if what == "order" else None,
            since=int(params.get("startTime", 0)) * 1_000,
            venue_id=params.get("orderId", ""),
            from_id=int(params.get("fromId", 0)),
        )

    def placed(self, taken: Taken, now: int, *, first: bool) -> Answer:
        return _body(
            {
                "symbol": taken.instrument.native,
                "orderId": int(taken.venue_id),
                "clientOrderId": taken.client_id,
                "transactTime": taken.time // 1_000,
                "executedQty": f"{taken.filled:f}",
                "status": _STATUS[taken.status],
                "side": taken.request.side.upper(),
                "fills": [_execution(fill) for fill in taken.fills],
            }
        )

    def cancelled(self, taken: Taken) -> Answer:
        return _body(
            {
                "symbol": taken.instrument.native,
                "origClientOrderId": taken.client_id,
                "orderId": int(taken.venue_id),
                "clientOrderId": f"cxl-{taken.venue_id}",
                "status": "CANCELED",
                "transactTime": taken.past[-1].time // 1_000,
            }
        )

    def state(self, taken: Taken, state: OrderState) -> Answer:
        return _body(_state(taken, state))

    def states(self, states: Sequence[tuple[Taken, OrderState]]) -> Answer:
        return _body([_state(taken, state) for taken, state in states])

    def fills(self, fills: Sequence[Fill]) -> Answer:
        natives = {ours: native for native, ours in self._symbols.items()}
        return _body(
            [
                {
                    **_execution(fill),
                    "symbol": natives[fill.symbol],
                    "id": int(fill.id),
                    "orderId": int(fill.venue_id),
                    "time": fill.time // 1_000,
                    "isBuyer": fill.side is Side.BUY,
                    "isMaker": fill.maker,
                }
                for fill in fills
            ]
        )

    def balances(self, balances: Sequence[Balance]) -> Answer:
        assets = [{"asset": b.asset, "free": f"{b.free:f}", "locked": f"{b.locked:f}"} for b in balances if b.total]
        return _body({"balances": assets})

    def no(self, no: No) -> Answer:
        status, code = _NO.get(no.kind, (400, -2010))
        return status, {}, json.dumps({"code": code, "msg": no.words}).encode()

    def limited(self, seconds: int) -> Answer:
        banned = seconds >= 30
        body = b'{"code":-1003,"msg":"Too much request weight used."}'
        return 418 if banned else 429, {"Retry-After": str(seconds)}, body

    def reported(self, taken: Taken, report: Report, standing: Standing) -> list[UserEvent]:
        cancel = report.kind is ReportKind.CANCELED
        fill = report.fill
        event = {
            "e": "executionReport",
            "s": taken.instrument.native,
            "c": f"cxl-{taken.venue_id}" if cancel else taken.client_id,
            "C": taken.client_id if cancel else "",
            "S": taken.request.side.upper(),
            "o": TYPES[taken.request.type, taken.request.post_only],
            "x": _HAPPENED[report.kind],
            "X": _STATUS[standing.status],
            "i": int(taken.venue_id),
            "T": report.time // 1_000,
            "z": f"{standing.filled:f}",
            "w": report.kind is not ReportKind.ACCEPTED,
        }
        if fill is not None:
            event |= {"l": f"{fill.qty:f}", "L": f"{fill.price:f}", "n": f"{fill.fee:f}", "N": fill.fee_asset}
            event |= {"t": int(fill.id), "m": fill.maker}
        return BINANCE.decode_user(json.dumps({"subscriptionId": 0, "event": event}), self._symbols)

    def _request(self, params: Mapping[str, str]) -> OrderRequest:
        kind, post_only = _KINDS[params["type"]]
        return OrderRequest(
            symbol=self._symbols[params["symbol"]],
            side=Side(params["side"].lower()),
            type=kind,
            qty=Decimal(params["quantity"]),
            price=Decimal(params["price"]) if "price" in params else None,
            stop=Decimal(params["stopPrice"]) if "stopPrice" in params else None,
            tif=TimeInForce(params.get("timeInForce", "GTC").lower()),
            post_only=post_only,
        )


def _execution(fill: Fill) -> dict[str, Any]:
    return {
        "price": f"{fill.price:f}",
        "qty": f"{fill.qty:f}",
        "commission": f"{fill.fee:f}",
        "commissionAsset": fill.fee_asset,
        "tradeId": int(fill.id),
    }


def _state(taken: Taken, state: OrderState) -> dict[str, Any]:
    request = state.request
    renamed = taken.cancelled and state.status is OrderStatus.CANCELED
    return {
        "symbol": taken.instrument.native,
        "orderId": int(taken.venue_id),
        "clientOrderId": f"cxl-{taken.venue_id}" if renamed else taken.client_id,
        "price": f"{request.price or ZERO:f}",
        "origQty": f"{request.qty:f}",
        "executedQty": f"{state.filled:f}",
        "cummulativeQuoteQty": f"{state.filled_quote:f}",
        "status": _STATUS[state.status],
        "timeInForce": request.tif.upper(),
        "type": TYPES[request.type, request.post_only],
        "side": request.side.upper(),
        "stopPrice": f"{request.stop or ZERO:f}",
        "time": taken.time // 1_000,
        "updateTime": state.time // 1_000,
    }


def _body(value: object) -> Answer:
    return 200, {}, json.dumps(value).encode()
