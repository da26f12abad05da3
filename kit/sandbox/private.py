"""The signed endpoints: orders and accounts as Binance Spot's REST API takes and answers them. Pure.

Parameters, weights and shapes are those of rest-api.md ("Trading endpoints", "Account endpoints").
"""

from __future__ import annotations

from collections.abc import Callable

from kit.clock import DAY
from kit.model import Side, TimeInForce
from kit.sandbox import params as read
from kit.sandbox.endpoint import Context, Endpoint, Security
from kit.sandbox.order_wire import (
    MAY_FILL_AT_ONCE,
    RESTRICTIONS,
    account,
    canceled,
    coin,
    commission,
    my_trade,
    placed,
    queried,
)
from kit.sandbox.params import Args, Param
from kit.sandbox.receipts import KINDS, Execution, Ticket, VenueOrder
from kit.sandbox.refusals import UNKNOWN_ORDER, Refusal
from kit.sandbox.wire import Json

TAKES: dict[str, tuple[str, ...]] = {
    "LIMIT": ("timeInForce", "quantity", "price"),
    "LIMIT_MAKER": ("quantity", "price"),
    "MARKET": ("quantity",),
    "STOP_LOSS": ("quantity", "stopPrice"),
    "STOP_LOSS_LIMIT": ("timeInForce", "quantity", "price", "stopPrice"),
}
"""Order type -> the parameters it must have; of the others in ``DEPENDENT`` it may have none."""
DEPENDENT = ("timeInForce", "quantity", "quoteOrderQty", "price", "stopPrice")
NOT_OFFERED = {
    "TAKE_PROFIT": "Take profit orders are not supported for this symbol.",
    "TAKE_PROFIT_LIMIT": "Take profit limit orders are not supported for this symbol.",
}
RESTRICTED = "Order was not canceled due to cancel restrictions."


def ticket(context: Context, args: Args) -> Ticket:
    """The order asked for; refuses what is missing, too much, or not offered."""
    kind: str = args["type"]
    if kind in NOT_OFFERED:
        raise Refusal("INVALID_MESSAGE", NOT_OFFERED[kind])
    _require(kind, args)
    for name, words in (("quantity", "Invalid quantity."), ("price", "Invalid price.")):
        if args[name] is not None and not args[name]:
            raise Refusal("INVALID_MESSAGE", words)
    exchange = context.exchange
    return Ticket(
        native=exchange.instrument(args["symbol"]).native,
        side=Side(args["side"].lower()),
        kind=kind,
        client_id=args["newClientOrderId"] or exchange.fresh_client_id(),
        qty=args["quantity"],
        quote_qty=args["quoteOrderQty"],
        price=args["price"],
        stop=args["stopPrice"],
        tif=TimeInForce((args["timeInForce"] or "GTC").lower()),
    )


def _require(kind: str, args: Args) -> None:
    takes = TAKES[kind]
    if kind == "MARKET" and args["quoteOrderQty"] is not None:
        takes = ("quoteOrderQty",)
    elif kind == "MARKET" and args["quantity"] is None:
        raise Refusal("ONE_OF", "quantity", "quoteOrderQty")
    for name in DEPENDENT:
        if name in takes and args[name] is None:
            raise Refusal("MANDATORY", name)
        if name not in takes and args[name] is not None:
            raise Refusal("NOT_REQUIRED", name)


def place(context: Context, args: Args) -> Json:
    wanted = ticket(context, args)
    member = context.exchange.members[context.account]
    member.budget.admit(context.now)
    order = context.exchange.place(context.account, wanted, context.now)
    return placed(order, _fills(context, order), _form(args), context.stamp)


def test(context: Context, args: Args) -> Json:
    """Judged like an order, never matched."""
    wanted = ticket(context, args)
    context.exchange.test(context.account, wanted, context.now)
    if not args["computeCommissionRates"]:
        return {}
    rates = commission(wanted.native, context.exchange.fees)
    return {
        "standardCommissionForOrder": {name: rates["standardCommission"][name] for name in ("maker", "taker")},
        "specialCommissionForOrder": {name: rates["specialCommission"][name] for name in ("maker", "taker")},
        "taxCommissionForOrder": {name: rates["taxCommission"][name] for name in ("maker", "taker")},
        "discount": rates["discount"],
    }


def query(context: Context, args: Args) -> Json:
    order = _find(context, args)
    if order is None:
        raise Refusal("NO_SUCH_ORDER")
    return queried(order, context.stamp)


def cancel(context: Context, args: Args) -> Json:
    return canceled(_cancel(context, args, args["newClientOrderId"]), context.stamp)


def cancel_all(context: Context, args: Args) -> Json:
    native = context.exchange.instrument(args["symbol"]).native
    orders = context.exchange.open_orders(context.account, native)
    if not orders:
        raise Refusal("CANCEL_REJECTED", UNKNOWN_ORDER)
    cancels = ((order, context.exchange.fresh_client_id()) for order in orders)
    gone = [context.exchange.cancel(context.account, order, context.now, name) for order, name in cancels]
    return [canceled(order, context.stamp) for order in gone]


def cancel_replace(context: Context, args: Args) -> Json:
    """Cancel one order, then place another; filters are judged before anything happens."""
    wanted = ticket(context, args)
    context.exchange.screen(context.account, wanted, context.now)
    chosen = {"symbol": args["symbol"], "orderId": args["cancelOrderId"]}
    chosen |= {"origClientOrderId": args["cancelOrigClientOrderId"], "cancelRestrictions": args["cancelRestrictions"]}
    name = args["cancelNewClientOrderId"]
    cancel_result, cancel_answer = _tried(lambda: canceled(_cancel(context, chosen, name), context.stamp))
    if cancel_result == "FAILURE" and args["cancelReplaceMode"] == "STOP_ON_FAILURE":
        new_result, new_answer = "NOT_ATTEMPTED", None
    else:
        new_result, new_answer = _tried(lambda: place(context, args))
    return _both(cancel_result, cancel_answer, new_result, new_answer)


def _tried(act: Callable[[], Json]) -> tuple[str, Json]:
    try:
        return "SUCCESS", act()
    except Refusal as refusal:
        return "FAILURE", refusal.body


def _both(cancel_result: str, cancel_answer: Json, new_result: str, new_answer: Json) -> Json:
    data = {
        "cancelResult": cancel_result,
        "newOrderResult": new_result,
        "cancelResponse": cancel_answer,
        "newOrderResponse": new_answer,
    }
    succeeded = (cancel_result, new_result).count("SUCCESS")
    if succeeded == 2:
        return data
    raise Refusal("CANCEL_REPLACE_PARTIAL" if succeeded else "CANCEL_REPLACE_FAILED").with_data(data)


def open_orders(context: Context, args: Args) -> Json:
    native = args["symbol"] and context.exchange.instrument(args["symbol"]).native
    return [queried(order, context.stamp) for order in context.exchange.open_orders(context.account, native)]


def all_orders(context: Context, args: Args) -> Json:
    """From an order id on, or of a time span of a day at most, or the newest."""
    native = context.exchange.instrument(args["symbol"]).native
    orders = [o for o in context.exchange.members[context.account].orders.values() if o.native == native]
    chosen = [o for o in orders if _within(args, o.created) and o.id >= (args["orderId"] or 0)]
    page = _page(chosen, args, oldest_first=args["orderId"] is not None)
    return [queried(order, context.stamp) for order in page]


def my_trades(context: Context, args: Args) -> Json:
    native = context.exchange.instrument(args["symbol"]).native
    fills = [f for f in context.exchange.members[context.account].fills if f.native == native]
    chosen = [
        f
        for f in fills
        if _within(args, f.fill.time) and f.id >= (args["fromId"] or 0) and args["orderId"] in (None, f.order_id)
    ]
    page = _page(chosen, args, oldest_first=args["fromId"] is not None)
    return [my_trade(each, context.stamp) for each in page]


def _within(args: Args, time: int) -> bool:
    """Inside startTime to endTime, which may span a day at most."""
    start, end = args["startTime"], args["endTime"]
    if start is not None and end is not None and end - start > DAY:
        raise Refusal("MORE_THAN_HOURS", 24)
    return (start is None or time >= start) and (end is None or time <= end)


def _page(rows: list, args: Args, *, oldest_first: bool) -> list:  # type: ignore[type-arg]
    """``limit`` rows: the oldest when the caller said from where, else the newest."""
    limit = args["limit"]
    return rows[:limit] if oldest_first or args["startTime"] is not None else rows[-limit:]


def account_information(context: Context, args: Args) -> Json:
    member = context.exchange.members[context.account]
    balances = context.exchange.balances(context.account).values()
    shown = [each for each in balances if each.total or not args["omitZeroBalances"]]
    return account(shown, context.exchange.fees, member.updated, context.stamp)


def commission_rates(context: Context, args: Args) -> Json:
    return commission(context.exchange.instrument(args["symbol"]).native, context.exchange.fees)


def order_usage(context: Context, _args: Args) -> Json:
    return context.exchange.members[context.account].budget.usage(context.now)


def coins(context: Context, _args: Args) -> Json:
    return [coin(each) for each in context.exchange.balances(context.account).values()]


def no_pairs(_context: Context, _args: Args) -> Json:
    """Nothing can be traded on margin here; ccxt asks before it lists markets."""
    return []


def restrictions(context: Context, _args: Args) -> Json:
    created = context.exchange.members[context.account].created
    return RESTRICTIONS | {"createTime": context.stamp(created)}


def _cancel(context: Context, args: Args, cancel_id: str | None) -> VenueOrder:
    order = _find(context, args)
    if order is None:
        raise Refusal("CANCEL_REJECTED", UNKNOWN_ORDER)
    partly = bool(order.filled)
    if args["cancelRestrictions"] == ("ONLY_NEW" if partly else "ONLY_PARTIALLY_FILLED"):
        raise Refusal("CANCEL_REJECTED", RESTRICTED)
    exchange = context.exchange
    return exchange.cancel(context.account, order, context.now, cancel_id or exchange.fresh_client_id())


def _find(context: Context, args: Args) -> VenueOrder | None:
    native = context.exchange.instrument(args["symbol"]).native
    if args["orderId"] is None and args["origClientOrderId"] is None:
        raise Refusal("ONE_OF", "origClientOrderId", "orderId")
    return context.exchange.find(context.account, native, args["orderId"], args["origClientOrderId"])


def _fills(context: Context, order: VenueOrder) -> list[Execution]:
    return [each for each in context.exchange.members[context.account].fills if each.order_id == order.id]


def _form(args: Args) -> str:
    form: str | None = args["newOrderRespType"]
    return form or ("FULL" if args["type"] in MAY_FILL_AT_ONCE else "ACK")


SYMBOL = Param("symbol", read.symbol, required=True)
WHICH = (SYMBOL, Param("orderId", read.integer), Param("origClientOrderId", read.client_id))
RESTRICT = Param("cancelRestrictions", read.choice("INVALID_CANCEL_RESTRICTIONS", "ONLY_NEW", "ONLY_PARTIALLY_FILLED"))
SPAN = (
    Param("startTime", read.time),
    Param("endTime", read.end_time),
    Param("limit", read.limit(1000), default=500),
)
ORDER = (
    SYMBOL,
    Param("side", read.choice("INVALID_SIDE", "BUY", "SELL"), required=True),
    Param("type", read.choice("INVALID_TYPE", *KINDS, *NOT_OFFERED), required=True),
    Param("timeInForce", read.choice("INVALID_TIF", "GTC", "IOC", "FOK")),
    Param("quantity", read.amount),
    Param("quoteOrderQty", read.amount),
    Param("price", read.amount),
    Param("stopPrice", read.amount),
    Param("newClientOrderId", read.client_id),
    Param("newOrderRespType", read.choice("INVALID_PARAMETER", "ACK", "RESULT", "FULL")),
    Param("selfTradePreventionMode", read.choice("INVALID_PARAMETER", "NONE")),
)
REPLACE = (
    Param("cancelReplaceMode", read.choice("INVALID_PARAMETER", "STOP_ON_FAILURE", "ALLOW_FAILURE"), required=True),
    Param("cancelOrderId", read.integer),
    Param("cancelOrigClientOrderId", read.client_id),
    Param("cancelNewClientOrderId", read.client_id),
    RESTRICT,
)


def _signed(
    method: str,
    path: str,
    run: Callable[[Context, Args], Json],
    name: str,
    *specs: Param,
    weight: int | Callable[[Args], int] = 1,
    free: bool = False,
) -> Endpoint:
    return Endpoint(method, path, run, specs, Security.SIGNED, weight=weight, method_name=name, free_on_success=free)


def _open_weight(args: Args) -> int:
    return 6 if args["symbol"] is not None else 80


def _trades_weight(args: Args) -> int:
    return 5 if args["orderId"] is not None else 20


def _test_weight(args: Args) -> int:
    return 20 if args["computeCommissionRates"] else 1


_ALL = (SYMBOL, Param("orderId", read.integer), *SPAN)
_TEST = Param("computeCommissionRates", read.flag, default=False)
_OMIT = Param("omitZeroBalances", read.flag, default=False)
_V3 = "/api/v3/"

PRIVATE: tuple[Endpoint, ...] = (
    _signed("POST", _V3 + "order", place, "order.place", *ORDER, free=True),
    _signed("POST", _V3 + "order/test", test, "order.test", *ORDER, _TEST, weight=_test_weight),
    _signed("GET", _V3 + "order", query, "order.status", *WHICH, weight=4),
    _signed("DELETE", _V3 + "order", cancel, "order.cancel", *WHICH, ORDER[8], RESTRICT, free=True),
    _signed("POST", _V3 + "order/cancelReplace", cancel_replace, "order.cancelReplace", *ORDER, *REPLACE, free=True),
    _signed(
        "GET", _V3 + "openOrders", open_orders, "openOrders.status", Param("symbol", read.symbol), weight=_open_weight
    ),
    _signed("DELETE", _V3 + "openOrders", cancel_all, "openOrders.cancelAll", SYMBOL, free=True),
    _signed("GET", _V3 + "allOrders", all_orders, "allOrders", *_ALL, weight=20),
    _signed("GET", _V3 + "account", account_information, "account.status", _OMIT, weight=20),
    _signed("GET", _V3 + "account/commission", commission_rates, "account.commission", SYMBOL, weight=20),
    _signed(
        "GET", _V3 + "myTrades", my_trades, "myTrades", *_ALL, Param("fromId", read.integer), weight=_trades_weight
    ),
    _signed("GET", _V3 + "rateLimit/order", order_usage, "account.rateLimits.orders", weight=40),
    _signed("GET", "/sapi/v1/capital/config/getall", coins, "", weight=10),
    _signed("GET", "/sapi/v1/margin/allPairs", no_pairs, ""),
    _signed("GET", "/sapi/v1/margin/isolated/allPairs", no_pairs, ""),
    _signed("GET", "/sapi/v1/account/apiRestrictions", restrictions, "", weight=1),
)
