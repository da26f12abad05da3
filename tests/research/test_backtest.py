"""A backtest goes through the desk, the account and the simulator; nothing fills on the bar that decided it."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import BadRange, UsageError
from kit.model import Fees, Instrument
from kit.research.backtest import backtest
from kit.research.indicators import sma
from kit.research.strategy import Strategy

FREE = Fees(Decimal(0), Decimal(0))
NO_SPREAD = Decimal(0)
BTC = Instrument(
    symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.001")
)


def bars(closes: list[float], *, interval: str = "1h") -> pd.DataFrame:
    """Bars that open where the last one closed; high and low one above and below."""
    close = np.array(closes, dtype=float)
    open_ = np.concatenate(([close[0]], close[:-1]))
    index = pd.date_range("2026-01-01", periods=len(close), freq=interval.replace("m", "min"), tz="UTC", unit="us")
    frame = pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) + 1,
            "low": np.minimum(open_, close) - 1,
            "close": close,
            "volume": 100.0,
            "closed": True,
        },
        index=index.rename("time"),
    )
    frame.attrs = {"symbol": "BTC/USDT", "interval": interval, "environment": "SANDBOX"}
    return frame


class Cross(Strategy):
    fast: int = 3
    slow: int = 6

    def init(self) -> None:
        self.f = self.indicator(sma, self.candles.close, self.fast)
        self.s = self.indicator(sma, self.candles.close, self.slow)

    def next(self) -> None:
        self.target(1.0 if self.f[-1] > self.s[-1] else 0.0)


class BuyOnce(Strategy):
    at: int = 2

    def next(self) -> None:
        if len(self.candles) == self.at:
            self.buy("0.5")


def test_an_order_decided_on_a_bar_fills_at_the_next_bars_open() -> None:
    result = backtest(BuyOnce(), bars([100, 101, 102, 103]), fees=FREE, spread=NO_SPREAD, instrument=BTC)
    (fill,) = result.fills.itertuples()
    assert fill.price == 101.0  # the open of bar 2, not the close of bar 1 plus hindsight
    assert fill.time == pd.Timestamp("2026-01-01 03:00", tz="UTC")
    assert list(result.equity["position"]) == [0, 0, 0.5, 0.5]


def test_amounts_that_are_computed_are_rounded_to_what_the_instrument_takes() -> None:
    class Dip(Strategy):
        def next(self) -> None:
            if not self.instrument.qty(self.position):
                self.buy(self.instrument.qty(10 / 3), price=self.instrument.price(self.candles.close[-1] * 0.9973))
            else:
                self.sell(self.instrument.qty(self.position))

    result = backtest(Dip(), bars([100.0, 99.0] * 20), instrument=BTC)
    assert set(result.fills["side"]) == {"buy", "sell"}
    assert result.orders["status"].isin(["filled", "open"]).all()


def test_an_order_that_can_not_be_paid_for_is_told_of_and_the_run_goes_on_as_a_live_one_does() -> None:
    class Greedy(Strategy):
        def next(self) -> None:
            self.buy(1 if len(self.candles) == 3 else 1_000)

    result = backtest(Greedy(), bars([100, 101, 102, 103]), instrument=BTC)
    assert result.fills["qty"].tolist() == [1.0]
    assert [time.hour for time in result.refusals["time"]] == [1, 2, 4]
    assert result.refusals["reason"].str.contains("is free; buy at most").all()
    assert "3 orders refused" in repr(result)
    none = backtest(BuyOnce(), bars([100, 101, 102, 103]), instrument=BTC)
    assert none.refusals.dtypes.equals(result.refusals.dtypes)
    assert "refused" not in repr(none)


def test_an_order_decided_on_the_last_bar_stays_open() -> None:
    result = backtest(BuyOnce(at=4), bars([100, 101, 102, 103]), instrument=BTC)
    assert result.fills.empty
    assert list(result.orders["status"]) == ["open"]


def test_a_taker_pays_half_the_spread_and_the_fee() -> None:
    result = backtest(BuyOnce(), bars([100, 100, 100, 100]), spread=Decimal("0.01"), instrument=BTC)
    (fill,) = result.fills.itertuples()
    assert fill.price == 100.5
    assert (fill.fee, fill.fee_asset) == (0.0005, "BTC")
    assert result.equity["cash"].iloc[-1] == 10_000 - 50.25
    assert result.equity["position"].iloc[-1] == 0.4995


def test_the_last_equity_is_the_sum_of_the_trades_pnl() -> None:
    wave = [100 + 10 * np.sin(n / 3) for n in range(120)]
    result = backtest(Cross(), bars(wave))
    assert len(result.trades) > 3
    assert result.equity["equity"].iloc[-1] == pytest.approx(10_000 + result.trades["pnl"].sum())
    assert result.stats["fees"] > 0
    assert result.stats["trades"] == len(result.trades)


def test_nothing_traded_leaves_the_cash_alone_and_says_so() -> None:
    result = backtest(BuyOnce(at=99), bars([100, 90, 80]))
    assert result.trades.empty
    assert (result.equity["equity"] == 10_000).all()
    assert result.stats["return"] == 0
    assert "0 trades" in repr(result)
    assert "SANDBOX" in repr(result)


def test_the_forming_bar_is_not_decided_on() -> None:
    candles = bars([100, 101, 102])
    candles.loc[candles.index[-1], "closed"] = False
    assert len(backtest(BuyOnce(), candles).equity) == 2


def test_candles_that_can_not_be_are_refused_by_name() -> None:
    with pytest.raises(BadRange, match="at least 2 closed candles"):
        backtest(BuyOnce(), bars([100]))
    broken = bars([100, 101, 102])
    broken.loc[broken.index[1], "low"] = np.nan
    with pytest.raises(UsageError, match="2026-01-01 01:00"):
        backtest(BuyOnce(), broken)
    with pytest.raises(UsageError, match="time order"):
        backtest(BuyOnce(), bars([100, 101, 102])[::-1])
    with pytest.raises(UsageError, match="close"):
        backtest(BuyOnce(), bars([100, 101])[["open", "high", "low"]])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"strategy": BuyOnce}, r"BuyOnce is a class.*BuyOnce\(\)"),
        ({"strategy": None}, "None is no strategy: derive a class from kit.Strategy"),
        ({"candles": None}, "candles=None: pass a DataFrame"),
        ({"fees": 0.001}, r"fees=0\.001: pass kit\.Fees"),
        ({"spread": -1}, "spread=-1 must be above 0"),
        ({"spread": "x"}, "spread='x' is not a number"),
        ({"spread": 20}, r"spread=20: it is a share of the price; 0\.0002 is 0\.02 %"),
        ({"instrument": "BTC/USDT"}, "instrument='BTC/USDT': pass venue.instrument"),
        ({"cash": 0}, "cash=0 must be above 0"),
    ],
)
def test_arguments_of_the_wrong_kind_are_told_what_they_should_be(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        backtest(**{"strategy": BuyOnce(), "candles": bars([100.0] * 5)} | arguments)  # type: ignore[arg-type]  # that is the test


def test_a_spread_may_be_typed_as_a_float() -> None:
    exact = backtest(BuyOnce(), bars([100.0] * 5), spread=Decimal("0.001"))
    assert backtest(BuyOnce(), bars([100.0] * 5), spread=0.001).stats.equals(exact.stats)


def test_candles_without_attrs_are_read_by_their_index() -> None:
    candles = bars([100.0, 101, 102, 103], interval="5m")
    candles.attrs = {}
    result = backtest(BuyOnce(), candles)
    assert len(result.fills) == 1
    assert result.symbol == "BASE/QUOTE"


def test_all_in_spends_what_there_is_and_never_more() -> None:
    class AllIn(Strategy):
        def next(self) -> None:
            self.target(1.0)

    result = backtest(AllIn(), bars([100.0, 100, 100.5, 100, 99]), instrument=BTC)
    assert len(result.fills) == 1
    assert 0 <= result.equity["cash"].iloc[-1] < 150  # the room kept for a worse fill, and a lot's rest


def test_exposure_counts_a_position_not_the_dust_that_fees_leave() -> None:
    class InAndOut(Strategy):
        def next(self) -> None:
            self.target(1.0 if len(self.candles) == 2 else 0.0)

    result = backtest(InAndOut(), bars([100.0] * 10), instrument=BTC)
    assert 0 < result.equity["position"].iloc[-1] < float(BTC.lot)
    assert result.stats["exposure"] == 0.1


def test_every_frame_says_that_it_is_a_backtest_and_on_which_market() -> None:
    result = backtest(Cross(), bars([100.0 + 10 * (i % 7) for i in range(60)]))
    for frame in (result.equity, result.trades, result.fills, result.orders):
        assert (frame.attrs["kind"], frame.attrs["environment"]) == ("backtest", "SANDBOX")


def test_target_orders_only_when_the_share_changes() -> None:
    result = backtest(Cross(), bars([100.0 + n for n in range(40)]))
    assert len(result.orders) == 1


@given(st.lists(st.floats(50, 150), min_size=8, max_size=40))
def test_cash_is_never_negative_and_the_past_decides_alone(closes: list[float]) -> None:
    whole = backtest(Cross(), bars(closes), instrument=BTC)
    assert (whole.equity["cash"] >= -1e-9).all()
    assert (whole.equity["position"] >= -1e-12).all()
    cut = backtest(Cross(), bars(closes[:-1]), instrument=BTC) if len(closes) > 8 else None
    if cut is not None:
        pd.testing.assert_frame_equal(cut.equity, whole.equity.iloc[:-1])


def test_the_figure_shows_price_fills_equity_and_drawdown() -> None:
    result = backtest(Cross(), bars([100 + 10 * float(np.sin(n / 3)) for n in range(60)]))
    names = {trace.name for trace in result.figure().data}
    assert {"close", "buy", "sell", "equity", "buy and hold", "drawdown"} <= names


def test_a_notebooks_own_decimal_context_changes_no_result() -> None:
    waves = bars([100 + 7 * float(np.sin(n / 5)) for n in range(120)])
    with localcontext(prec=6):
        narrow = backtest(Cross(), waves)
    pd.testing.assert_frame_equal(narrow.fills, backtest(Cross(), waves).fills)
    assert len(narrow.fills) > 2
