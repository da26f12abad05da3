"""Whose turn it is: the less depends on a call, the more of the limits it leaves to others."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from kit.model import Instrument, OrderRequest, OrderType, Side
from kit.net.pacing import ALL, FOR_ACCOUNT, FOR_ORDERS, FOR_READS, FOR_SPARE
from kit.net.turns import READING, SPARING, WRITING, Patience, patience, share
from kit.venues.base import Call
from kit.venues.binance import BINANCE

BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.001")
)
BUY = OrderRequest(symbol="BTC/USDT", side=Side.BUY, type=OrderType.MARKET, qty=Decimal("0.5"))
QUOTE = BINANCE.quote("BTCUSDT")


@pytest.mark.parametrize(
    ("call", "part", "limit"),
    [
        (BINANCE.cancel(BTC, "client1"), ALL, WRITING),
        (BINANCE.query(BTC, "client1"), FOR_ACCOUNT, READING),
        (BINANCE.order(BTC, BUY, "client1"), FOR_ORDERS, WRITING),
        (QUOTE, FOR_READS, READING),
        (replace(QUOTE, spare=True), FOR_SPARE, SPARING),
    ],
)
def test_a_call_has_the_share_and_the_patience_that_fit_what_depends_on_it(
    call: Call[Any], part: float, limit: Patience
) -> None:
    assert share(call) == part
    assert patience(call) == limit


def test_the_shares_are_in_order() -> None:
    assert FOR_SPARE < FOR_READS < FOR_ORDERS < FOR_ACCOUNT < ALL
