from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kit.errors import BadOrder
from kit.model import Instrument, OrderRequest, OrderType, Side
from kit.orders.account import Account, reservation
from kit.orders.risk import CHECKS, Context, Limits, balance, first_objection

D = Decimal


def order(side: Side, type_: OrderType, qty: str, price: str | None = None, stop: str | None = None) -> OrderRequest:
    return OrderRequest(
        symbol="BTC/USDT",
        side=side,
        type=type_,
        qty=D(qty),
        price=D(price) if price else None,
        stop=D(stop) if stop else None,
    )


def buy(qty: str = "1", price: str | None = "100") -> OrderRequest:
    return order(Side.BUY, OrderType.LIMIT if price else OrderType.MARKET, qty, price)


def sell(qty: str = "1", price: str | None = "100") -> OrderRequest:
    return order(Side.SELL, OrderType.LIMIT if price else OrderType.MARKET, qty, price)


@pytest.fixture
def calm(btc: Instrument) -> Context:
    """1,000 USDT and 2 BTC, a market at 100, nothing open."""
    return Context(btc, buy(), Account({"USDT": D(1000), "BTC": D(2)}), D(100))


def test_an_ordinary_order_meets_no_objection(calm: Context) -> None:
    for request in (buy(), sell(), buy(price=None), sell(price=None)):
        assert first_objection(replace(calm, request=request)) is None


def test_a_buy_needs_its_quote_and_is_told_how_much_it_could_have(calm: Context) -> None:
    said = first_objection(replace(calm, request=buy("20")))
    assert said == "it needs 2000 USDT and 1000 is free; buy at most 10, or free some by cancelling an order"


def test_a_market_buy_must_be_affordable_above_the_market(calm: Context) -> None:
    said = first_objection(replace(calm, request=buy("10", price=None)))
    assert said is not None
    assert said.startswith("it needs up to 1010 USDT and 1000 is free; buy at most 9.9")


def test_a_sell_needs_its_base(calm: Context) -> None:
    said = first_objection(replace(calm, request=sell("3")))
    assert said == "it needs 3 BTC and 2 is free; sell at most 2, or free some by cancelling an order"


def test_limits_may_be_typed_as_floats(calm: Context) -> None:
    typed = Limits(order_notional=50, collar=0.05, headroom=0.02)  # type: ignore[arg-type]  # that is the test
    assert typed == Limits(order_notional=D(50), collar=D("0.05"), headroom=D("0.02"))
    assert first_objection(replace(calm, limits=typed, request=buy(price="106"))) is not None
    with pytest.raises(BadOrder, match="collar=-1 must be above 0"):
        Limits(collar=D(-1))


def test_who_holds_nothing_is_not_told_to_sell_at_most_0(btc: Instrument) -> None:
    account = Account({"USDT": D(1000)})
    said = first_objection(Context(btc, sell("3"), account, D(100)))
    assert said == "it needs 3 BTC and 0 is free; this account holds none of it"
    account.reserve("other", "USDT", D(1000))
    said = first_objection(Context(btc, buy("3"), account, D(100)))
    assert said == "it needs 300 USDT and 0 is free; free some by cancelling an order"


def test_what_a_replaced_order_gives_back_pays_for_the_one_in_its_place(calm: Context) -> None:
    calm.account.reserve("replaced", "USDT", D(900))
    dearer = replace(calm, request=buy("9.5"))
    assert first_objection(dearer) is not None
    assert first_objection(replace(dearer, freed=D(900))) is None


def test_what_is_locked_is_not_there_to_pay_with(calm: Context) -> None:
    calm.account.reserve("other", "USDT", D(950))
    assert "50 is free" in (first_objection(calm) or "")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (buy("1", "110.01"), "buy limit 110.01 is more than 10% through the market at 100; the collar ends at 110"),
        (sell("1", "89.99"), "sell limit 89.99 is more than 10% through the market at 100; the collar ends at 90"),
        (order(Side.BUY, OrderType.STOP_LIMIT, "1", "150", "120"), "through the market at 120; the collar ends at 132"),
    ],
)
def test_a_limit_far_through_the_market_is_a_slip(calm: Context, request_: OrderRequest, words: str) -> None:
    assert words in (first_objection(replace(calm, request=request_)) or "")


@pytest.mark.parametrize("request_", [buy("1", "110"), sell("1", "90"), buy("1", "1"), sell("1", "9999")])
def test_a_limit_at_the_collar_or_far_behind_the_market_is_none(calm: Context, request_: OrderRequest) -> None:
    assert first_objection(replace(calm, request=request_)) is None


def test_the_collar_is_laid_around_the_mid_not_around_the_side_that_is_taken(calm: Context) -> None:
    """Between a bid of 80 and an ask of 120 the market is at 100, whatever a buyer would have to pay."""
    torn = replace(calm, reference=D(120), mid=D(100))
    assert first_objection(replace(torn, request=buy("1", "110"))) is None
    said = first_objection(replace(torn, request=buy("1", "111")))
    assert said == (
        "buy limit 111 is more than 10% through the market at 100; the collar ends at 110: "
        "stay within it, or widen the limits' collar"
    )


def test_an_order_at_market_may_not_take_a_price_far_through_it_either(calm: Context) -> None:
    torn = replace(calm, reference=D(120), mid=D(100), request=buy("1", None))
    said = first_objection(torn)
    assert said is not None
    assert said.startswith("buy market at 120 is more than 10% through the market at 100; the collar ends at 110")
    below = replace(torn, reference=D(80), request=sell("1", None))
    assert "sell market at 80" in (first_objection(below) or "")
    assert first_objection(replace(below, reference=D(95))) is None


def test_one_order_may_be_worth_so_much(calm: Context) -> None:
    tight = replace(calm, limits=Limits(order_notional=D(150)), request=buy("2"))
    said = first_objection(tight)
    assert said == "the order is worth 200 USDT, the limit is 150; ask for less or raise order_notional"
    assert first_objection(replace(tight, request=buy("1.5"))) is None
    assert "150" in (first_objection(replace(tight, request=sell("2", price=None))) or "")


def test_one_position_may_be_worth_so_much_open_buys_included(calm: Context) -> None:
    tight = replace(calm, limits=Limits(position_notional=D(350)))
    assert first_objection(tight) is None
    said = first_objection(replace(tight, open_buys=D(1)))
    assert said is not None
    assert "the position would be worth 400 USDT, the limit is 350" in said
    assert first_objection(replace(tight, open_buys=D(1), request=sell())) is None


def test_so_many_orders_may_be_open(calm: Context) -> None:
    limits = Limits(open_orders=2)
    assert first_objection(replace(calm, limits=limits, open_orders=1)) is None
    said = first_objection(replace(calm, limits=limits, open_orders=2))
    assert said == "2 orders are open in BTC/USDT, the limit is 2; cancel some first, or raise open_orders"


def test_so_many_orders_may_be_meant_within_a_minute(calm: Context) -> None:
    limits = Limits(orders_per_minute=5)
    assert first_objection(replace(calm, limits=limits, sent_lately=4)) is None
    said = first_objection(replace(calm, limits=limits, sent_lately=5))
    assert said is not None
    assert said.startswith("5 orders were meant within the last minute, the limit is 5; wait")


def test_a_day_that_has_cost_so_much_is_over_for_buying_and_not_for_selling(calm: Context) -> None:
    limits = Limits(daily_loss=D(100))
    for lost in ("-50", "0", "99.99"):
        assert first_objection(replace(calm, limits=limits, lost_today=D(lost))) is None
    lossy = replace(calm, limits=limits, lost_today=D("100"))
    said = first_objection(lossy)
    assert said is not None
    assert said.startswith("the account has lost 100 since 00:00 UTC, the limit for a day is 100; selling goes on")
    assert first_objection(replace(lossy, request=sell())) is None


def test_a_loss_that_cannot_be_told_is_not_taken_for_none(calm: Context) -> None:
    blind = replace(calm, limits=Limits(daily_loss=D(100)))
    assert "can't be told" in (first_objection(blind) or "")
    assert first_objection(replace(blind, request=sell())) is None
    assert first_objection(replace(blind, limits=Limits())) is None


def test_nothing_but_the_named_instruments_is_traded(calm: Context) -> None:
    assert first_objection(replace(calm, limits=Limits(symbols=["btc/usdt", "ETH/USDT"]))) is None
    said = first_objection(replace(calm, limits=Limits(symbols=("ETH/USDT", "ADA/USDT"))))
    assert said == "limits.symbols allows ADA/USDT, ETH/USDT and not BTC/USDT; add it there if it is meant"
    assert "allows none" in (first_objection(replace(calm, limits=Limits(symbols=()))) or "")


def test_a_slip_in_the_list_of_instruments_is_pointed_at(calm: Context) -> None:
    said = first_objection(replace(calm, limits=Limits(symbols="BTC/USTD")))
    assert said == "limits.symbols allows BTC/USTD and not BTC/USDT; is its 'BTC/USTD' meant to be 'BTC/USDT'?"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"orders_per_minute": 2.5}, r"orders_per_minute=2\.5 is no count"),
        ({"orders_per_minute": True}, "orders_per_minute=True is no count"),
        ({"open_orders": -1}, "open_orders=-1 is no count"),
        ({"symbols": ["BTC/USDT", 5]}, "symbols=5: an instrument is named in text"),
        ({"symbols": 5}, "symbols=5: an instrument is named in text"),
        ({"symbols": [" "]}, "symbols=' ': an instrument"),
        ({"daily_loss": -5}, "daily_loss=-5 must be above 0"),
    ],
)
def test_what_limits_nothing_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOrder, match=words):
        Limits(**given)


def test_what_cannot_be_valued_is_refused_where_its_value_matters(calm: Context) -> None:
    blind = replace(calm, reference=None)
    assert first_objection(blind) is None
    assert first_objection(replace(blind, request=sell(price=None))) is None
    for limits in (Limits(), Limits(order_notional=D(1)), Limits(position_notional=D(1))):
        said = first_objection(replace(blind, request=buy(price=None), limits=limits))
        assert "without a market price" in (said or "")


def test_every_limit_can_be_lifted(calm: Context) -> None:
    free = Limits(order_notional=None, position_notional=None, collar=None, open_orders=None)
    reckless = replace(
        calm, limits=free, request=sell("2", "1"), open_orders=9999, sent_lately=9999, lost_today=D(9999)
    )
    assert first_objection(reckless) is None


def test_checks_are_asked_in_turn_and_the_first_no_is_the_answer(calm: Context) -> None:
    hopeless = replace(calm, request=buy("1000", "999"), open_orders=200)
    objections = [said for check in CHECKS if (said := check(hopeless))]
    assert len(objections) == 3
    assert first_objection(hopeless) == objections[0]


@given(
    side=st.sampled_from(Side),
    qty=st.decimals("0.001", "50", places=3),
    price=st.none() | st.decimals("50", "109", places=2),
    cash=st.decimals("0", "2000", places=2),
)
def test_what_the_balance_check_lets_through_can_be_reserved(
    btc: Instrument, side: Side, qty: Decimal, price: Decimal | None, cash: Decimal
) -> None:
    """No objection means that the reservation fits in what is free; an objection's advice can be followed."""
    type_ = OrderType.MARKET if price is None else OrderType.LIMIT
    request = OrderRequest(symbol="BTC/USDT", side=side, type=type_, qty=qty, price=price)
    account = Account({"USDT": cash, "BTC": cash / 100})
    context = Context(btc, request, account, D(100))
    asset, amount = reservation(btc, request, D(100))
    said = balance(context)
    assert (said is None) == (amount <= account.free(asset))
    if said is not None:
        most = D(said.partition("at most ")[2].partition(",")[0] or 0)
        assert most == 0 or balance(replace(context, request=OrderRequest(
            symbol="BTC/USDT", side=side, type=type_, qty=most, price=price
        ))) is None  # fmt: skip
