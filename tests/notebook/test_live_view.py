from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kit.market.feed import FeedState
from kit.model import Quote
from kit.notebook.display import live_bundle
from kit.notebook.live_view import COLUMNS, LiveView, live_view, still
from kit.notebook.pump import Pump
from kit.notebook.widgets import LiveChart
from kit.runtime import runtime


@dataclass
class Standin:
    """A live frame that stands still until told otherwise."""

    frame: pd.DataFrame
    symbol: str = "BTC/USDT"
    interval: str = "1m"
    quote: Quote | None = field(default_factory=lambda: Quote("BTCUSDT", 99.5, 1.0, 100.5, 2.0))
    trades: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"price": [], "qty": []}))
    state: FeedState = FeedState.LIVE
    reason: str = ""
    age: float = 0.2
    version: int = 1

    def tick(self, close: float) -> None:
        self.frame = self.frame.copy()
        self.frame.loc[self.frame.index[-1], "close"] = close
        self.version += 1


@dataclass
class Sent:
    """What a view's messages said, newest last."""

    messages: list[tuple[dict[str, Any], list[bytes]]] = field(default_factory=list)

    def __call__(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        self.messages.append((content, buffers))

    @property
    def forming(self) -> list[float]:
        return list(np.frombuffer(self.messages[-1][1][0]))

    @property
    def prices(self) -> list[float]:
        return list(np.frombuffer(self.messages[-1][1][1]))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    sent = Sent()
    monkeypatch.setattr(LiveChart, "send", sent)
    return sent


@pytest.fixture
def live(candle_frame: Callable[..., pd.DataFrame]) -> Standin:
    return Standin(candle_frame(50))


@pytest.fixture
def pump() -> Iterator[Pump]:
    pump = runtime.get(Pump, "views", Pump)
    yield pump
    runtime.forget(pump)
    pump.close()


def bars(view: LiveView) -> np.ndarray[Any, Any]:
    return np.frombuffer(view.widget.bars).reshape(6, -1)


def test_closed_bars_are_a_trait_and_the_forming_bar_a_message(live: Standin, sent: Sent) -> None:
    view = LiveView(live)
    assert bars(view).shape == (6, 49)
    assert bars(view)[0, 0] == live.frame.index[0].timestamp() * 1000
    assert list(bars(view)[4]) == list(live.frame["close"][:-1])
    assert sent.forming[1:] == live.frame.iloc[-1][COLUMNS].to_list()
    assert sent.prices == [live.frame["close"].iloc[-1], 99.5, 100.5]


def test_nothing_is_sent_when_nothing_changed_until_the_heartbeat(live: Standin, sent: Sent) -> None:
    view = LiveView(live)
    later = time.monotonic() + 100
    view.tick(later)
    before = len(sent.messages)
    view.tick(later + 0.5)
    assert len(sent.messages) == before
    view.tick(later + 1.1)
    assert len(sent.messages) == before + 1


def test_a_new_price_leaves_the_closed_bars_alone(live: Standin, sent: Sent) -> None:
    view = LiveView(live)
    changes: list[object] = []
    view.widget.observe(changes.append, "bars")
    live.tick(123.0)
    view.tick(0.0)
    assert sent.forming[4] == 123.0
    assert not changes


def test_a_bar_that_closes_and_a_backfilled_one_rewrite_the_closed_bars(
    live: Standin, sent: Sent, candle_frame: Callable[..., pd.DataFrame]
) -> None:
    view = LiveView(live)
    live.frame, live.version = candle_frame(51), 2
    view.tick(0.0)
    assert bars(view).shape == (6, 50)
    live.frame = live.frame.copy()
    live.frame.iloc[10, 0], live.version = 1.0, 3
    view.tick(1.0)
    assert bars(view)[1, 10] == 1.0


def test_the_last_trade_is_the_last_price(live: Standin, sent: Sent) -> None:
    live.trades = pd.DataFrame({"price": [101.0, 102.5], "qty": [1.0, 1.0]})
    LiveView(live)
    assert sent.prices[0] == 102.5


def test_only_the_window_is_sent(live: Standin, sent: Sent) -> None:
    assert bars(LiveView(live, bars=30)).shape == (6, 29)
    assert bars(LiveView(live, bars=1)).shape == (6, 19)


def test_no_candles_yet_is_a_view_without_bars(live: Standin, sent: Sent) -> None:
    live.frame, live.quote, live.age, live.state = live.frame.iloc[:0], None, math.inf, FeedState.CONNECTING
    view = LiveView(live)
    assert view.widget.bars == b""
    assert sent.messages[-1][0] == {"state": "CONNECTING", "reason": "", "age": None, "error": ""}
    assert np.isnan(sent.prices).all()


@pytest.mark.parametrize(
    ("environment", "word", "tone"), [("SANDBOX", "SANDBOX", "caution"), ("LIVE", "LIVE", "danger")]
)
def test_the_badge_says_whose_money_it_is(live: Standin, sent: Sent, environment: str, word: str, tone: str) -> None:
    live.frame.attrs["environment"] = environment
    head = LiveView(live).widget.head
    assert (head["badge"], head["tone"], head["symbol"]) == (word, tone, "BTC/USDT")


def test_a_stale_feed_is_said_with_its_age(live: Standin, sent: Sent) -> None:
    view = LiveView(live)
    live.state, live.reason, live.age = FeedState.STALE, "the connection is gone", 12.5
    view.tick(0.0)
    assert sent.messages[-1][0] == {"state": "STALE", "reason": "the connection is gone", "age": 12.5, "error": ""}


def test_a_feed_that_is_closed_ends_its_view(live: Standin, sent: Sent, pump: Pump) -> None:
    view = live_view(live)
    live.state = FeedState.CLOSED
    pump.tick(0.0)
    assert view.widget.ended == "the feed was closed"
    assert pump.views == []


def test_running_the_cell_again_replaces_the_view_and_leaves_one_thread(live: Standin, sent: Sent, pump: Pump) -> None:
    first, second = live_view(live), live_view(live)
    assert first.widget.ended == "continues in a newer cell"
    assert pump.views == [second]
    assert [thread.name for thread in threading.enumerate()].count("kit-views") == 1


def test_views_of_two_feeds_live_side_by_side(
    live: Standin, sent: Sent, pump: Pump, candle_frame: Callable[..., pd.DataFrame]
) -> None:
    views = [live_view(live), live_view(Standin(candle_frame(5)))]
    assert pump.views == views
    assert len({id(view.widget.plotly) for view in views}) == 1


def test_the_pump_feeds_its_views_by_itself(live: Standin, sent: Sent, pump: Pump) -> None:
    live_view(live)
    live.tick(111.0)
    deadline = time.monotonic() + 5
    while sent.forming[4] != 111.0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sent.forming[4] == 111.0


def test_a_view_that_fails_says_so_recovers_and_stops_no_other(
    live: Standin, sent: Sent, pump: Pump, candle_frame: Callable[..., pd.DataFrame]
) -> None:
    good = Standin(candle_frame(5))
    bad_view, good_view = live_view(live), live_view(good)
    frame, live.frame, live.version = live.frame, live.frame.drop(columns="close"), 2
    good.tick(77.0)
    pump.tick(10.0**9)
    assert (bad_view.errors >= 1, bad_view.error) == (True, "KeyError: 'close'")
    assert good_view.error == ""
    live.frame = frame
    pump.tick(2 * 10.0**9)
    assert bad_view.error == ""


def test_a_closed_pump_joins_its_thread_and_marks_its_views(live: Standin, sent: Sent) -> None:
    pump = runtime.get(Pump, "views", Pump)
    view = live_view(live)
    runtime.forget(pump)
    pump.close()
    assert view.ended
    assert "kit-views" not in [thread.name for thread in threading.enumerate()]


def test_what_stands_in_for_a_widget_shows_price_state_and_picture_and_escapes(live: Standin) -> None:
    live.symbol = "<script>"
    html = still(live)["text/html"]
    assert "<script>" not in html
    assert all(word in html for word in ("SANDBOX", "LIVE", "last 9", "<svg", "2026-01-01 00:49:00"))


def test_a_display_holds_the_widget_and_what_stands_in_for_it(live: Standin, sent: Sent, pump: Pump) -> None:
    bundle = live_view(live)._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}


def test_without_a_kernel_a_live_frame_starts_nothing(live: Standin, shell: Any) -> None:
    assert set(live_bundle(live)) == {"text/html", "text/plain"}
    assert runtime.find(Pump, "views") is None
