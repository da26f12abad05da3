"""The class of the backtest on live bars: the same decisions, one order a decision, and no order after a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pandas as pd
import pytest

import kit
from kit.errors import UsageError
from kit.net.live import Live
from kit.runtime import runtime


@pytest.fixture
def broker(sandbox_venue: kit.Venue) -> Iterator[kit.Broker]:
    opened = kit.paper(sandbox_venue, cash=10_000, account="run", latency=0.01)
    yield opened
    opened.close()


@pytest.fixture
def live(sandbox_venue: kit.Venue) -> Iterator[Live]:
    """BTC/USDT in bars of a second."""
    opened = sandbox_venue.live("BTC/USDT", "1s")
    assert opened.ready(timeout=30)
    yield opened
    opened.close()


def until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Flip(kit.Strategy):
    """All in on even bars, out on odd ones."""

    share: float = 0.5

    def init(self) -> None:
        self.average = self.indicator(kit.sma, self.candles.close, 5)
        self.decided: list[tuple[pd.Timestamp, float, float]] = []

    def next(self) -> None:
        self.decided.append((self.candles.index[-1], self.candles.close[-1], self.average[-1]))
        self.target(self.share if len(self.decided) % 2 else 0.0)


def test_a_session_decides_once_a_closed_bar_and_trades_through_the_desk(broker: kit.Broker, live: Live) -> None:
    strategy = Flip()
    session = kit.run(strategy, broker, live)
    until(lambda: session.bars >= 4)
    session.stop()
    assert session.state == "stopped"
    assert session.error is None
    bars = [bar for bar, _, _ in strategy.decided]
    assert bars == sorted(set(bars))
    frame = live.frame
    for bar, close, average in strategy.decided:
        assert close == frame.loc[bar, "close"]
        assert average == pytest.approx(frame.loc[:bar, "close"].iloc[-5:].mean())
    orders = broker.orders
    assert len(orders) == len(session.orders) >= 3
    assert set(orders["status"]) == {"filled"}
    assert orders["intent"].str.startswith("strategy Flip(share=0.5) BTC/USDT").all()
    fills = broker.fills.merge(orders, left_on="order", right_on="id", suffixes=("", "_order"))
    assert (fills["time"] > fills["created"]).all()


def test_a_stopped_session_decides_no_more_and_leaves_no_thread(broker: kit.Broker, live: Live) -> None:
    strategy = Flip(share=0.1)
    session = kit.run(strategy, broker, live)
    until(lambda: session.bars >= 1)
    session.stop()
    decided = session.bars
    live.wait(closed=True, timeout=5)
    assert session.bars == decided
    assert runtime.find(kit.Session, session.name) is None


def test_running_the_cell_again_replaces_the_session(broker: kit.Broker, live: Live) -> None:
    first = kit.run(Flip(share=0.2), broker, live)
    second = kit.run(Flip(share=0.2), broker, live)
    assert first.state == "stopped"
    assert second.state == "running"
    second.stop()


def test_a_strategy_that_fails_is_stopped_and_says_why(
    broker: kit.Broker, live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(kit.Strategy):
        def next(self) -> None:
            raise ZeroDivisionError("no volume")

    session = kit.run(Broken(), broker, live)
    until(lambda: session.state == "failed")
    assert "ZeroDivisionError: no volume" in repr(session)
    session.stop()
    assert session.state == "failed"
    assert ["ZeroDivisionError: no volume" in line for line in caplog.messages if "orders nothing" in line] == [True]


def test_a_refused_order_is_kept_with_its_reason_and_the_session_goes_on(broker: kit.Broker, live: Live) -> None:
    class Greedy(kit.Strategy):
        def next(self) -> None:
            self.buy(0.5)

    session = kit.run(Greedy(), broker, live)
    until(lambda: session.bars >= 2)
    session.stop()
    assert len(session.refusals) >= 2
    assert "USDT" in session.refusals[0][1]
    assert broker.orders.empty


def test_what_can_not_be_run_is_told_what_to_pass(broker: kit.Broker, live: Live, sandbox_venue: kit.Venue) -> None:
    wrong = [
        ((Flip, broker, live), r"Flip is a class.*Flip\(\)"),
        ((Flip(), live, broker), r"broker=<live.*kit\.paper"),
        ((Flip(), broker, sandbox_venue), r"live=<venue.*venue\.live"),
    ]
    for arguments, said in wrong:
        with pytest.raises(UsageError, match=said):
            kit.run(*arguments)  # type: ignore[arg-type]  # that is the test


def test_a_session_whose_live_frame_is_closed_ends_and_says_so(broker: kit.Broker, sandbox_venue: kit.Venue) -> None:
    live = sandbox_venue.live("ETH/USDT", "1s")
    assert live.ready(timeout=30)
    session = kit.run(Flip(share=0.3), broker, live)
    live.close()
    until(lambda: session.state == "failed")
    assert "closed" in repr(session)
    session.stop()
