"""A strategy's hands, on a real desk with a picture that has a spread."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from kit.broker.desk import Desk
from kit.clock import ManualClock
from kit.errors import RiskRefused
from kit.market.feed import FeedState, Picture
from kit.model import Fees, Instrument, OrderStatus, Quote
from kit.research.backtest import BarGateway
from kit.research.trader import DeskTrader
from kit.store.journal import Journal

BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.00001")
)
MID, ASK = Decimal(100), Decimal("100.5")


@pytest.fixture
def desk() -> Iterator[Desk]:
    clock = ManualClock(0)
    gateway = BarGateway(BTC, Fees(), Decimal(0), clock)
    gateway.last = float(ASK)
    quote = Quote(BTC.symbol, 99.5, 1.0, float(ASK), 1.0)
    journal = Journal.in_memory({"USDT": Decimal(10_000), "ETH": Decimal(3)})
    yield Desk(
        "test",
        "test",
        journal,
        gateway,
        clock,
        instruments=lambda symbol: BTC,
        picture=lambda symbol: Picture(FeedState.LIVE, 0.0, quote),
    )
    journal.close()


def test_all_in_is_sized_by_what_a_buyer_pays_not_by_the_mid(desk: Desk) -> None:
    placed = DeskTrader(desk, BTC, lambda: MID, "all in", cost=lambda: ASK).target(1.0, 0)
    assert placed is not None
    assert placed.status is OrderStatus.OPEN
    assert 0 <= desk.account.free("USDT") < Decimal("0.01")


def test_sized_by_the_mid_it_would_be_refused_and_is_tried_again(desk: Desk) -> None:
    trader = DeskTrader(desk, BTC, lambda: MID, "all in")
    for time in (0, 1):
        with pytest.raises(RiskRefused, match="is free; buy at most"):
            trader.target(1.0, time)
    assert desk.records == {}


def test_equity_is_the_strategys_instrument_and_cash_whatever_else_the_account_holds(desk: Desk) -> None:
    assert DeskTrader(desk, BTC, lambda: MID, "some").equity == 10_000
