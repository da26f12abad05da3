"""A live frame on screen: a chart and a status line that follow it.

Closed bars travel as a trait and only when they change; the forming bar, the last price and the state travel as
small messages, eight a second at most and at least one a second, so that the page can tell silence from peace: it
greys the picture by itself when nothing comes any more. Where no widget runs there is a still picture instead.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from kit.market.candles import interval_us
from kit.market.feed import FeedState
from kit.model import Quote
from kit.notebook.chart import DOWN, FORMING, UP, badge
from kit.notebook.pump import Pump
from kit.notebook.static import candle_picture, card, heading, pill, table, text
from kit.runtime import runtime

if TYPE_CHECKING:
    from kit.notebook.widgets import LiveChart

HEARTBEAT = 1.0
"""Seconds after which a message goes out though nothing changed."""
FEWEST, MOST = 20, 1_000
"""Bars of a live chart; a browser redraws 1,000 in 0.1 s, and it must once a bar."""
COLUMNS = ["open", "high", "low", "close", "volume"]
COLUMNS_SHOWN = ["time", *COLUMNS, "closed"]


class Followed(Protocol):
    """What a view needs of ``kit.net.live.Live``."""

    @property
    def symbol(self) -> str: ...
    @property
    def interval(self) -> str: ...
    @property
    def frame(self) -> pd.DataFrame: ...
    @property
    def trades(self) -> pd.DataFrame: ...
    @property
    def quote(self) -> Quote | None: ...
    @property
    def state(self) -> FeedState: ...
    @property
    def reason(self) -> str: ...
    @property
    def age(self) -> float: ...
    @property
    def version(self) -> int: ...


class LiveView:
    """One chart that follows one live frame; ``tick`` sends what is new and is called by one thread only."""

    def __init__(self, live: Followed, *, bars: int = 300) -> None:
        from kit.notebook.widgets import LiveChart, PlotlySource  # ipywidgets: when first shown

        self.live = live
        self.bars = min(max(bars, FEWEST), MOST)
        self.errors = 0
        """How many ticks have raised."""
        self.error = ""
        """What the last tick raised; empty when it went well."""
        self._seen: object = None
        self._sent = -math.inf
        self._closed = b""
        plotly = runtime.get(PlotlySource, "plotly", PlotlySource)
        self.widget: LiveChart = LiveChart(plotly=plotly, head=_head(live))
        self.tick(time.monotonic())

    def __repr__(self) -> str:
        return f"<LiveView of {self.live!r}>"

    @property
    def ended(self) -> bool:
        return bool(self.widget.ended)

    def tick(self, now: float) -> None:
        """Send the newest picture if it differs from the last one sent, or if that was a second ago."""
        live = self.live
        seen = (live.version, live.quote, live.state)
        if seen == self._seen and now - self._sent < HEARTBEAT:
            return
        frame = live.frame.iloc[-self.bars :]
        forming = int(len(frame) > 0 and not frame["closed"].iloc[-1])
        closed = _packed(frame.iloc[: len(frame) - forming])
        if closed != self._closed:
            self.widget.bars = self._closed = closed
        self.error = ""
        self._send(live.state, live.reason, live.age, _packed(frame.iloc[len(frame) - forming :]), _prices(live, frame))
        self._seen, self._sent = seen, now
        if live.state is FeedState.CLOSED:
            self.close("the feed was closed")

    def failed(self, error: Exception) -> None:
        """Keep what a tick raised, and show it: the picture stays, marked as failing."""
        self.errors += 1
        self.error = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        if now - self._sent >= HEARTBEAT:
            self._sent = now
            self._send(FeedState.STALE, "", math.inf, b"", b"")

    def close(self, reason: str = "this view was closed") -> None:
        """Follow no longer; the last picture stays, greyed, with ``reason`` on it."""
        with suppress(Exception):  # a kernel on its way out has nobody left to tell
            self.widget.ended = self.widget.ended or reason

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        shown = self.widget._repr_mimebundle_()
        return {**(shown[0] if shown else {}), **still(self.live)}

    def _send(self, state: FeedState, reason: str, age: float, forming: bytes, prices: bytes) -> None:
        known_age = age if math.isfinite(age) else None
        message = {"state": str(state), "reason": reason, "age": known_age, "error": self.error}
        self.widget.send(message, buffers=[forming, prices])


def live_view(live: Followed, *, bars: int = 300) -> LiveView:
    """A view of ``live`` with its last ``bars`` bars (20 to 1,000), followed until it closes.

    The newest view of a live frame is the one that follows; an older one stops and says so. So a cell can be run
    again and again without leaving anything running.
    """
    pump = runtime.get(Pump, "views", Pump)
    view = LiveView(live, bars=bars)
    for older in pump.views:
        if isinstance(older, LiveView) and older.live is live:
            pump.remove(older)
            older.close("continues in a newer cell")
    pump.add(view)
    return view


def still(live: Followed) -> dict[str, str]:
    """What stands in for a view where no widget runs: the picture of this moment, as HTML and as text."""
    frame = live.frame
    tone = UP if live.state is FeedState.LIVE else FORMING
    environment = badge(frame.attrs)
    title = f"<b>{escape(live.symbol)}</b> {escape(live.interval)}"
    last = f"last {text(float(frame['close'].iloc[-1]))}" if len(frame) else "no candles yet"
    when = f"as of {text(pd.Timestamp.now('UTC'))} UTC"
    latest = frame[-3:].reset_index()
    rows = (dict(zip(COLUMNS_SHOWN, row, strict=True)) for row in latest[COLUMNS_SHOWN].itertuples(index=False))
    html = card(
        heading(title, pill(environment, DOWN if environment == "LIVE" else FORMING) if environment else ""),
        heading(pill(str(live.state), tone), last, f'<span style="opacity:.7">{when}</span>'),
        candle_picture(frame.iloc[-90:]),
        table(COLUMNS_SHOWN, rows, none="no candles yet"),
    )
    return {"text/html": html, "text/plain": repr(live)}


def _head(live: Followed) -> dict[str, Any]:
    attrs = live.frame.attrs
    instrument = getattr(live, "instrument", None)
    decimals = max(0, -instrument.tick.normalize().as_tuple().exponent) if instrument is not None else 2
    return {
        "symbol": live.symbol,
        "interval": live.interval,
        "badge": badge(attrs),
        "tone": "danger" if attrs.get("environment") == "LIVE" else "caution",
        "decimals": decimals,
        "step": interval_us(live.interval) / 1_000 or 30 * 86_400_000,  # a month's width, near enough
    }


def _packed(bars: pd.DataFrame) -> bytes:
    """Candles as the page reads them: open times in ms, then the columns, all float64."""
    times = pd.DatetimeIndex(bars.index).asi8 / 1_000
    return np.concatenate([times, *(bars[name].to_numpy(dtype=np.float64) for name in COLUMNS)]).tobytes()


def _prices(live: Followed, frame: pd.DataFrame) -> bytes:
    """Last price, bid and ask; NaN where there is none. A trade is news before the bar it belongs to is."""
    prices, quote = live.trades["price"], live.quote
    last = float((prices if len(prices) else frame["close"]).iloc[-1]) if len(prices) or len(frame) else math.nan
    bid, ask = (quote.bid, quote.ask) if quote is not None else (math.nan, math.nan)
    return np.array([last, bid, ask]).tobytes()
