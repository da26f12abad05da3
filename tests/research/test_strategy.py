"""A strategy sees the past only, its parameters are checked, and foresight is refused."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from kit.errors import UnknownName, UsageError
from kit.model import Instrument, OrderRequest
from kit.orders.lifecycle import OrderRecord
from kit.research.indicators import sma
from kit.research.strategy import COLUMNS, Runner, Strategy, made

MINUTE = 60_000_000


class Quiet:
    """A trader that owns nothing and is asked for nothing."""

    instrument = Instrument(
        symbol="BTC/USDT", native="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.00001")
    )
    position = cash = equity = Decimal(0)

    def target(self, share: float, time: int) -> OrderRecord | None:
        return None

    def order(self, request: OrderRequest, time: int) -> OrderRecord:
        raise AssertionError("nothing is ordered here")

    def cancel_all(self) -> None:
        raise AssertionError("nothing is cancelled here")


class Watcher(Strategy):
    n: int = 3
    pace: float = 1.0

    def init(self) -> None:
        self.average = self.indicator(sma, self.candles.close, self.n)
        self.seen: list[tuple[int, float, float]] = []

    def next(self) -> None:
        self.seen.append((len(self.candles), self.candles.close[-1], self.average[-1]))


def load(runner: Runner, closes: list[float]) -> None:
    values = np.array(closes)
    times = np.arange(len(closes), dtype=np.int64) * MINUTE
    runner.load(times, dict.fromkeys(COLUMNS, values))


def test_next_sees_the_bars_up_to_now_and_no_further() -> None:
    strategy = Watcher()
    runner = Runner(strategy, Quiet())
    load(runner, [1, 2, 3, 4, 5])
    for row in range(runner.warm, 5):
        runner.decide(row, row * MINUTE)
    assert strategy.seen == [(3, 3.0, 2.0), (4, 4.0, 3.0), (5, 5.0, 4.0)]
    runner.decide(2, 2 * MINUTE)
    with pytest.raises(IndexError, match="only 3 bars are in the past"):
        strategy.candles.close[3]
    assert len(np.asarray(strategy.candles.close)) == 3


def test_what_a_strategy_reads_can_not_be_written() -> None:
    strategy = Watcher()
    runner = Runner(strategy, Quiet())
    load(runner, [1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match="read-only"):
        strategy.candles.close[-2:][0] = 9.0


def test_bars_loaded_later_give_the_values_of_a_run_over_all_of_them() -> None:
    grown, whole = Watcher(), Watcher()
    step, once = Runner(grown, Quiet()), Runner(whole, Quiet())
    closes = [float(n * n % 17) for n in range(1, 30)]
    load(once, closes)
    for rows in range(5, 30):
        load(step, closes[:rows])
        step.decide(rows - 1, rows * MINUTE)
        once.decide(rows - 1, rows * MINUTE)
    assert grown.seen == whole.seen


def test_a_mistyped_parameter_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'pace'"):
        Watcher(pase=2.0)


def test_a_parameter_of_the_wrong_type_is_refused_and_an_int_will_do_for_a_float() -> None:
    with pytest.raises(UsageError, match=r"Watcher\.n is int, not 2.5"):
        Watcher(n=2.5)
    with pytest.raises(UsageError, match=r"Watcher\.n is int, not True"):
        Watcher(n=True)
    assert Watcher(pace=2).params == {"n": 3, "pace": 2.0}


def test_an_indicator_that_looks_into_the_future_is_refused() -> None:
    class Prophet(Strategy):
        def init(self) -> None:
            self.indicator(lambda close: np.append(close[1:], close[-1]), self.candles.close)

    with pytest.raises(UsageError, match="looks into the future"):
        load(Runner(Prophet(), Quiet()), [float(n) for n in range(20)])


def test_an_indicator_scaled_by_the_whole_range_is_refused_too() -> None:
    class Normalised(Strategy):
        def init(self) -> None:
            self.indicator(lambda close: close / np.max(close), self.candles.close)

    with pytest.raises(UsageError, match="looks into the future"):
        load(Runner(Normalised(), Quiet()), [float(n) for n in range(1, 20)])


def test_a_parameter_without_a_type_is_told_how_to_become_one() -> None:
    class Untyped(Strategy):
        n = 10

    with pytest.raises(UnknownName, match=r"'n' \(n has no type: a parameter is written as in n: int = 10\)"):
        Untyped(n=5)


def test_an_init_that_forgets_its_base_is_told_so() -> None:
    class Own(Strategy):
        def __init__(self, fast: int) -> None:
            self.fast = fast

    with pytest.raises(UsageError, match=r"does not call super\(\).__init__\(\)"):
        made(Own(3))


def test_orders_and_balances_are_not_for_init() -> None:
    class Hasty(Strategy):
        def init(self) -> None:
            self.buy(1)

    with pytest.raises(UsageError, match="are for next"):
        load(Runner(Hasty(), Quiet()), [1.0, 2.0])


def test_a_strategy_runs_once() -> None:
    strategy = Watcher()
    load(Runner(strategy, Quiet()), [1, 2, 3, 4, 5])
    with pytest.raises(UsageError, match="has run already"):
        Runner(strategy, Quiet())


def test_a_target_beyond_what_a_spot_account_can_hold_is_refused() -> None:
    strategy = Watcher()
    load(Runner(strategy, Quiet()), [1, 2, 3, 4, 5])
    with pytest.raises(UsageError, match="between 0 and 1"):
        strategy.target(-0.5)


def test_time_is_utc() -> None:
    strategy = Watcher()
    runner = Runner(strategy, Quiet())
    load(runner, [1, 2, 3, 4, 5])
    runner.decide(4, 5 * MINUTE)
    assert strategy.time == pd.Timestamp("1970-01-01 00:05", tz="UTC")
    assert strategy.candles.index[-1] == pd.Timestamp("1970-01-01 00:04", tz="UTC")
