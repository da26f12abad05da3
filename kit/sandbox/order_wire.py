"""How orders, fills and accounts look on Binance Spot's wire: REST answers and user-data events. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kit.model import Balance, Fees, Fill, ReportKind, Side
from kit.sandbox.receipts import STATUSES, ZERO, Change, Execution, VenueOrder
from kit.sandbox.wire import Json, Stamp, number

MAY_FILL_AT_ONCE = ("LIMIT", "MARKET")
"""Order types answered in FULL unless asked otherwise; the rest are answered with an ACK."""

EXECUTIONS: dict[ReportKind, str] = {
    ReportKind.ACCEPTED: "NEW",
    ReportKind.REJECTED: "REJECTED",
    ReportKind.FILLED: "TRADE",
    ReportKind.CANCELED: "CANCELED",
    ReportKind.EXPIRED: "EXPIRED",
}
"""Report -> ``x`` of an executionReport. A stop's trigger is told by its next one, as the venue does."""


def _core(order: VenueOrder) -> dict[str, Json]:
    """What every answer about an order says."""
    return {
        "price": number(order.request.price or ZERO),
        "origQty": number(order.request.qty),
        "executedQty": number(order.filled),
        "origQuoteOrderQty": number(order.quote_qty),
        "cummulativeQuoteQty": number(order.filled_quote),
        "status": STATUSES[order.status],
        "timeInForce": order.request.tif.value.upper(),
        "type": order.kind,
        "side": order.request.side.value.upper(),
    }


def _extras(order: VenueOrder) -> dict[str, Json]:
    """What is said only when there is something to say."""
    stop = {"stopPrice": number(order.request.stop)} if order.request.stop is not None else {}
    expiry = {"expiryReason": order.expiry_reason} if order.expiry_reason else {}
    return stop | expiry


def placed(order: VenueOrder, fills: Iterable[Execution], form: str, stamp: Stamp) -> dict[str, Json]:
    """The answer to a new order: ACK, RESULT or FULL."""
    ack: dict[str, Json] = {
        "symbol": order.native,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "transactTime": stamp(order.created),
    }
    if form == "ACK":
        return ack
    working = {"workingTime": stamp(order.working)} if order.working else {}
    result = ack | _core(order) | working | {"selfTradePreventionMode": "NONE"} | _extras(order)
    return result if form == "RESULT" else result | {"fills": [_part(each.id, each.fill) for each in fills]}


def _part(number_: int, fill: Fill) -> dict[str, Json]:
    return {
        "price": number(fill.price),
        "qty": number(fill.qty),
        "commission": number(fill.fee),
        "commissionAsset": fill.fee_asset,
        "tradeId": number_,
    }


def queried(order: VenueOrder, stamp: Stamp) -> dict[str, Json]:
    """An order as GET /order, /openOrders and /allOrders answer it."""
    return {
        "symbol": order.native,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        **_core(order),
        "stopPrice": number(order.request.stop or ZERO),
        "icebergQty": number(ZERO),
        "time": stamp(order.created),
        "updateTime": stamp(order.updated),
        "isWorking": bool(order.working),
        "workingTime": stamp(order.working) if order.working else -1,
        "selfTradePreventionMode": "NONE",
        **_extras(order),
    }


def canceled(order: VenueOrder, stamp: Stamp) -> dict[str, Json]:
    """The answer to a cancel: ``origClientOrderId`` is the order's id, ``clientOrderId`` the cancel's."""
    return {
        "symbol": order.native,
        "origClientOrderId": order.client_id,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.cancel_id,
        "transactTime": stamp(order.updated),
        **_core(order),
        "selfTradePreventionMode": "NONE",
        **_extras(order),
    }


def my_trade(execution: Execution, stamp: Stamp) -> dict[str, Json]:
    """One row of GET /myTrades."""
    fill = execution.fill
    return {
        "symbol": execution.native,
        "id": execution.id,
        "orderId": execution.order_id,
        "orderListId": -1,
        "price": number(fill.price),
        "qty": number(fill.qty),
        "quoteQty": number(fill.notional),
        "commission": number(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": stamp(fill.time),
        "isBuyer": fill.side is Side.BUY,
        "isMaker": fill.maker,
        "isBestMatch": True,
    }


def account(balances: Iterable[Balance], fees: Fees, updated: int, stamp: Stamp) -> dict[str, Json]:
    """GET /account. Nothing can be withdrawn from a sandbox, and it says so."""
    return {
        "makerCommission": int(fees.maker * 10_000),
        "takerCommission": int(fees.taker * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": _rates(fees),
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": stamp(updated),
        "accountType": "SPOT",
        "balances": [
            {"asset": each.asset, "free": number(each.free), "locked": number(each.locked)} for each in balances
        ],
        "permissions": ["SPOT"],
        "uid": 1,
    }


def commission(native: str, fees: Fees) -> dict[str, Json]:
    """GET /account/commission."""
    nothing = _rates(Fees(maker=ZERO, taker=ZERO))
    return {
        "symbol": native,
        "standardCommission": _rates(fees),
        "specialCommission": nothing,
        "taxCommission": nothing,
        "discount": {
            "enabledForAccount": False,
            "enabledForSymbol": False,
            "discountAsset": "BNB",
            "discount": number(ZERO),
        },
    }


def _rates(fees: Fees) -> dict[str, str]:
    return {"maker": number(fees.maker), "taker": number(fees.taker), "buyer": number(ZERO), "seller": number(ZERO)}


def coin(balance: Balance) -> dict[str, Json]:
    """One coin of GET /sapi/v1/capital/config/getall: what clients read of it before they trade."""
    return {
        "coin": balance.asset,
        "name": balance.asset,
        "depositAllEnable": False,
        "withdrawAllEnable": False,
        "free": number(balance.free),
        "locked": number(balance.locked),
        "freeze": "0",
        "withdrawing": "0",
        "ipoing": "0",
        "ipoable": "0",
        "storage": "0",
        "isLegalMoney": False,
        "trading": True,
        "networkList": [],
    }


RESTRICTIONS: dict[str, Json] = {
    "ipRestrict": False,
    "enableReading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "enableMargin": False,
    "enableFutures": False,
    "permitsUniversalTransfer": False,
    "enableVanillaOptions": False,
    "enableFixApiTrade": False,
    "enableFixReadOnly": False,
    "enableSpotAndMarginTrading": True,
    "enablePortfolioMarginTrading": False,
}
"""GET /sapi/v1/account/apiRestrictions, without its createTime."""


# -- user data --------------------------------------------------------------------------------------------------------


def user_events(change: Change, stamp: Stamp) -> list[dict[str, Json]]:
    """What a subscriber of the account hears of one change; a trigger alone is not told."""
    if change.report.kind not in EXECUTIONS:
        return []
    return [execution_report(change, stamp), account_position(change, stamp)]


def execution_report(change: Change, stamp: Stamp) -> dict[str, Json]:
    """On a cancel ``c`` is the cancel's id and ``C`` the order's; else ``c`` is the order's and ``C`` empty."""
    order, fill = change.order, change.execution.fill if change.execution else None
    is_cancel = change.report.kind is ReportKind.CANCELED
    event: dict[str, Json] = {
        "e": "executionReport",
        "E": stamp(change.report.time),
        "s": order.native,
        "c": order.cancel_id if is_cancel else order.client_id,
        "S": order.request.side.value.upper(),
        "o": order.kind,
        "f": order.request.tif.value.upper(),
        "q": number(order.request.qty),
        "p": number(order.request.price or ZERO),
        "P": number(order.request.stop or ZERO),
        "F": number(ZERO),
        "g": -1,
        "C": order.client_id if is_cancel else "",
        "x": EXECUTIONS[change.report.kind],
        "X": STATUSES[order.status],
        "r": "NONE",
        "i": order.id,
        "l": number(fill.qty if fill else ZERO),
        "z": number(order.filled),
        "L": number(fill.price if fill else ZERO),
        "n": number(fill.fee) if fill else "0",
        "N": fill.fee_asset if fill else None,
        "T": stamp(change.report.time),
        "t": change.execution.id if change.execution else -1,
        "I": change.execution.id if change.execution else order.id,
        "w": bool(order.working) and not order.status.final,
        "m": bool(fill and fill.maker),
        "M": fill is not None,
        "O": stamp(order.created),
        "Z": number(order.filled_quote),
        "Y": number(fill.notional if fill else ZERO),
        "Q": number(order.quote_qty),
        "V": "NONE",
    }
    working = {"W": stamp(order.working)} if order.working else {}
    expiry = {"eR": order.expiry_reason} if order.expiry_reason else {}
    return event | working | expiry


def account_position(change: Change, stamp: Stamp) -> dict[str, Json]:
    """The balances that the change may have changed."""
    return {
        "e": "outboundAccountPosition",
        "E": stamp(change.report.time),
        "u": stamp(change.report.time),
        "B": [{"a": each.asset, "f": number(each.free), "l": number(each.locked)} for each in change.balances],
    }
