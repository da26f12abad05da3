"""Money on the grid, and orders that can't be."""

from __future__ import annotations

import decimal
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadOrder, UsageError
from kit.model import Fees, Instrument, OrderRequest, OrderStatus, OrderType, Side, TimeInForce, on_grid, worst_price

BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.001")
)


@given(st.decimals(0, 10**9, places=8), st.sampled_from(["0.01", "0.5", "0.00001", "7"]))
def test_an_amount_on_the_grid_is_a_multiple_of_the_step_and_never_a_whole_step_away(value: Decimal, step: str) -> None:
    placed = on_grid(value, Decimal(step), decimal.ROUND_FLOOR)
    assert placed % Decimal(step) == 0
    assert 0 <= value - placed < Decimal(step)


def test_a_float_means_its_shortest_repr_numpys_too() -> None:
    assert BTC.price(0.1 + 0.2) == Decimal("0.30")
    assert BTC.price(np.float64(61837.63)) == Decimal("61837.63")
    assert BTC.qty(0.0159) == Decimal("0.015")


def test_a_notebooks_decimal_context_does_not_touch_money() -> None:
    with decimal.localcontext(prec=3):
        assert BTC.price(61837.63) == Decimal("61837.63")


def test_the_worst_price_is_up_for_a_buy_and_down_for_a_sell() -> None:
    assert worst_price(Side.BUY, BTC, 1.001) == Decimal("1.01")
    assert worst_price(Side.SELL, BTC, 1.009) == Decimal("1.00")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": OrderType.LIMIT}, "takes a price="),
        ({"type": OrderType.MARKET, "price": Decimal(1)}, "takes no price="),
        ({"type": OrderType.STOP}, "takes a stop="),
        ({"type": OrderType.LIMIT, "price": Decimal(1), "stop": Decimal(1)}, "takes no stop="),
        ({"type": OrderType.LIMIT, "price": Decimal(1), "post_only": True, "tif": TimeInForce.IOC}, "post_only"),
        ({"type": OrderType.LIMIT, "price": Decimal(1), "post_only": "yes"}, "post_only is True or False, not 'yes'"),
        ({"type": OrderType.LIMIT, "price": Decimal(1), "post_only": 1}, "post_only is True or False, not 1"),
    ],
)
def test_an_order_whose_parts_do_not_fit_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(BadOrder, match=said):
        OrderRequest(symbol="BTC/USDT", side=Side.BUY, qty=Decimal(1), **fields)  # type: ignore[arg-type]  # that is the test


def test_fees_may_be_typed_as_floats() -> None:
    assert Fees(0.001, np.float64(0.00075)) == Fees(Decimal("0.001"), Decimal("0.00075"))  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize("typed", [-0.001, 0.1, 1, 75, True, "a lot", None, float("nan"), Decimal("inf")])
def test_a_fee_that_can_be_no_share_is_refused(typed: object) -> None:
    with pytest.raises(UsageError, match=r"taker=.*0\.001 is 0\.1 %"):
        Fees(taker=typed)  # type: ignore[arg-type]  # that is the test


def test_a_final_status_is_one_nothing_follows() -> None:
    assert {s for s in OrderStatus if s.final} == {"filled", "canceled", "expired", "rejected"}
