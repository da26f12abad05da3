"""What the tests of orders share: one instrument with round steps."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kit.model import Instrument


@pytest.fixture(scope="session")
def btc() -> Instrument:
    """Tick 0.01, lot 0.001, at least 10 USDT an order."""
    return Instrument(
        symbol="BTC/USDT",
        native="BTCUSDT",
        base="BTC",
        quote="USDT",
        tick=Decimal("0.01"),
        lot=Decimal("0.001"),
        min_qty=Decimal("0.001"),
        max_qty=Decimal(100),
        market_lot=Decimal("0.001"),
        market_max_qty=Decimal(10),
        min_price=Decimal("0.01"),
        max_price=Decimal(1000000),
        min_notional=Decimal(10),
        max_notional=Decimal(1000000),
    )
