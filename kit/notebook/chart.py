"""Charts from plain frames: plotly figures that read well on a light and on a dark page.

Plotly is imported when a figure is made, and only ``graph_objects``: its renderers cost seconds beside JupyterLab.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kit.errors import UsageError
from kit.research.report import drawdown

if TYPE_CHECKING:
    import plotly.graph_objects as go

UP, DOWN, FORMING = "#26a69a", "#ef5350", "#f5a623"
HOLLOW = ("rgba(38,166,154,.25)", "rgba(239,83,80,.25)")
BUY, SELL = "#3b82f6", "#e879f9"
INK, GRID, SHADE, CLEAR = "#808891", "rgba(128,136,145,.18)", "rgba(245,166,35,.14)", "rgba(0,0,0,0)"
PRICE = ",.10~f"
"""d3-format: thousands apart, as many digits as there are, never 60.1k."""
MOST_BARS = 3_000
"""A browser needs 0.3 s and more to draw this many candles; a longer frame is drawn with fewer, wider bars."""


def chart(candles: pd.DataFrame, *, fills: pd.DataFrame | None = None, title: str | None = None) -> go.Figure:
    """Candles and their volume as a plotly figure.

    ``candles`` is a candle frame (``kit.market.candles``); a forming last bar is amber and hollow, holes noted in
    ``attrs`` are shaded, and the title says which environment the data comes from. ``fills`` (as ``broker.fills``:
    times in the index or in ``time``, and ``side price qty``; other symbols in it are left out) become markers.
    More than ``MOST_BARS`` bars are merged into wider ones, which the title says. An empty frame is a chart that
    says so. Frames of your own need times in the index and open, high, low, close. UsageError for what can't be drawn.
    """
    candles = _drawable(candles)
    go = _plotly()
    bars, merged = _merged(candles)
    fig = go.Figure(layout=_layout(title or _title(candles.attrs, merged)))
    fig.update_layout(
        yaxis={"domain": [0.24, 1], "tickformat": PRICE},
        yaxis2={**_axis(), "domain": [0, 0.18], "anchor": "x", "showticklabels": False, "title": {"text": "volume"}},
        shapes=_shading(candles.attrs.get("holes", ())),
    )
    if bars.empty:
        return _empty(fig, "no candles in this range")
    closed, forming = bars[bars["closed"]], bars[~bars["closed"]]
    fig.add_trace(_candlestick(closed, "closed", (UP, DOWN), (UP, DOWN)))
    if len(forming):
        fig.add_trace(_candlestick(forming, "forming", (FORMING, FORMING), HOLLOW))
    fig.add_trace(_volume(bars))
    if fills is not None:
        fig.add_traces([_markers(mine, side) for side, mine in _by_side(fills, candles.attrs.get("symbol"))])
    return fig


def _drawable(candles: object) -> pd.DataFrame:
    """The frame with all that is drawn: where it does not say, bars are closed, volume is none, and times are UTC."""
    if not isinstance(candles, pd.DataFrame):
        kind = type(candles).__name__
        raise UsageError(f"a chart is drawn from a DataFrame of candles, not from {kind}: venue.candles(…), live.frame")
    missing = [name for name in ("open", "high", "low", "close") if name not in candles]
    if missing or not isinstance(candles.index, pd.DatetimeIndex):
        lacks = ", ".join(missing) if missing else "times in its index"
        raise UsageError(f"these candles lack {lacks}: a chart needs times in the index and open, high, low, close")
    assumed = {name: value for name, value in {"volume": 0.0, "closed": True}.items() if name not in candles}
    whole = candles.assign(**assumed) if assumed else candles
    return whole if candles.index.tz is not None else whole.tz_localize("UTC")


def equity_figure(equity: pd.DataFrame | pd.Series[Any], *, title: str | None = None) -> go.Figure:
    """Equity over time with its drawdown below, from a Series or from the ``equity`` column of a frame."""
    go = _plotly()
    worth = (equity if isinstance(equity, pd.Series) else equity["equity"]).astype("float64")
    fig = go.Figure(layout=_layout(title or _title({"symbol": "equity", **equity.attrs}, 1)))
    fig.update_layout(
        yaxis={"domain": [0.32, 1], "tickformat": PRICE},
        yaxis2={**_axis(), "domain": [0, 0.25], "anchor": "x", "tickformat": "~%", "title": {"text": "drawdown"}},
    )
    if worth.empty:
        return _empty(fig, "no equity yet")
    times = _times(worth.index)
    below = drawdown(worth)
    fig.add_trace(go.Scatter(x=times, y=worth.to_numpy(), name="equity", line={"color": BUY, "width": 1.5}))
    fig.add_trace(
        go.Scatter(
            x=times, y=below.to_numpy(), name="drawdown", yaxis="y2", fill="tozeroy", line={"color": DOWN, "width": 1}
        )
    )
    return fig


def _plotly() -> Any:
    import plotly.graph_objects  # half a second nobody should pay for importing the kit

    return plotly.graph_objects


def without_theme(fig: go.Figure) -> go.Figure:
    """The figure, with no background of its own and in greys that read on a light and on a dark page."""
    fig.update_layout(font_color=INK, paper_bgcolor=CLEAR, plot_bgcolor=CLEAR)
    fig.update_xaxes(gridcolor=GRID, zerolinecolor=GRID)
    return fig.update_yaxes(gridcolor=GRID, zerolinecolor=GRID)


# -- what it says -----------------------------------------------------------------------------------------------------


def badge(attrs: Mapping[Any, Any]) -> str:
    """The word that must stand beside data of this origin: its environment, or the venue of plain market data."""
    environment = str(attrs.get("environment", ""))
    return str(attrs.get("venue", "")) if environment in {"", "DATA"} else environment


def _title(attrs: Mapping[Any, Any], merged: int) -> str:
    interval = str(attrs.get("interval", ""))
    words = [f"<b>{attrs.get('symbol', 'candles')}</b> {interval}".rstrip()]
    if merged > 1:
        words.append(f"{merged} {interval} bars to a candle".replace("  ", " "))
    if said := badge(attrs):
        words.append(f'<b><span style="color:{DOWN if said == "LIVE" else FORMING}">{said}</span></b>')
    words.append("UTC")
    return " · ".join(words)


def _empty(fig: go.Figure, words: str) -> go.Figure:
    fig.add_annotation(text=words, showarrow=False, x=0.5, y=0.6, xref="paper", yref="paper", font={"size": 16})
    fig.update_xaxes(visible=False)
    fig.update_yaxes(visible=False)
    return fig


# -- what it draws ----------------------------------------------------------------------------------------------------


def _merged(candles: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The frame with at most ``MOST_BARS`` bars, and how many of the given bars make one of these."""
    share = -(-len(candles) // MOST_BARS)
    if share <= 1:
        return candles, 1
    starts = np.arange(0, len(candles), share)
    ends = np.append(starts[1:], len(candles)) - 1
    merged = pd.DataFrame(
        {
            "open": candles["open"].to_numpy()[starts],
            "high": np.maximum.reduceat(candles["high"].to_numpy(), starts),
            "low": np.minimum.reduceat(candles["low"].to_numpy(), starts),
            "close": candles["close"].to_numpy()[ends],
            "volume": np.add.reduceat(candles["volume"].to_numpy(), starts),
            "closed": candles["closed"].to_numpy()[ends],
        },
        index=candles.index[starts],
    )
    return merged, share


def _times(index: pd.Index[Any]) -> np.ndarray[Any, Any]:
    """Times as plotly takes them quickest: naive UTC numbers instead of a Python object each."""
    return pd.DatetimeIndex(index).tz_convert("UTC").tz_localize(None).to_numpy()


def _candlestick(bars: pd.DataFrame, name: str, colors: tuple[str, str], fills: tuple[str, str]) -> go.Candlestick:
    """A trace of candles; ``colors`` and ``fills`` are for rising and falling ones."""
    go = _plotly()
    return go.Candlestick(
        x=_times(bars.index),
        **{column: bars[column].to_numpy() for column in ("open", "high", "low", "close")},
        name=name,
        increasing={"line": {"color": colors[0], "width": 1}, "fillcolor": fills[0]},
        decreasing={"line": {"color": colors[1], "width": 1}, "fillcolor": fills[1]},
        showlegend=name == "forming",
    )


def _volume(bars: pd.DataFrame) -> go.Bar:
    go = _plotly()
    rising = bars["close"].to_numpy() >= bars["open"].to_numpy()
    return go.Bar(
        x=_times(bars.index),
        y=bars["volume"].to_numpy(),
        yaxis="y2",
        name="volume",
        marker={"color": np.where(rising, UP, DOWN), "opacity": 0.5, "line": {"width": 0}},
        showlegend=False,
    )


def _by_side(fills: object, symbol: object) -> list[tuple[str, pd.DataFrame]]:
    if not isinstance(fills, pd.DataFrame):
        raise UsageError(f"fills={fills!r:.60}: pass a DataFrame of fills, as broker.fills")
    mine = fills[fills["symbol"] == symbol] if symbol is not None and "symbol" in fills else fills
    if "time" in mine:
        mine = mine.set_index("time")
    return [(side, chosen) for side in ("buy", "sell") if len(chosen := mine[mine["side"] == side])]


def _markers(fills: pd.DataFrame, side: str) -> go.Scatter:
    go = _plotly()
    bought = side == "buy"
    return go.Scatter(
        x=_times(fills.index),
        y=fills["price"].astype("float64").to_numpy(),
        mode="markers",
        name="bought" if bought else "sold",
        text=[f"{side} {qty} @ {price}" for qty, price in zip(fills["qty"], fills["price"], strict=True)],
        hovertemplate="%{text}<extra></extra>",
        marker={
            "symbol": "triangle-up" if bought else "triangle-down",
            "color": BUY if bought else SELL,
            "size": 12,
            "line": {"color": "white", "width": 1.5},
        },
    )


def _shading(holes: Iterable[Iterable[str]]) -> list[dict[str, Any]]:
    """One amber band a hole, over the whole height."""
    look = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "line": {"width": 0}}
    label = {"text": "no data", "textposition": "top center", "font": {"size": 10, "color": FORMING}}
    return [{**look, "x0": start, "x1": end, "fillcolor": SHADE, "label": label} for start, end in holes]


def _axis() -> dict[str, Any]:
    return {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "side": "right"}


def _layout(title: str) -> dict[str, Any]:
    """The look of every chart: no background of its own and a grey that reads on white and on black."""
    return {
        "title": {"text": title, "x": 0.01, "font": {"size": 15}},
        "font": {"color": INK},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "xaxis": {**_axis(), "type": "date", "rangeslider": {"visible": False}, "anchor": "y2"},
        "yaxis": _axis(),
        "height": 460,
        "margin": {"l": 12, "r": 60, "t": 46, "b": 30},
        "hovermode": "x unified",
        "dragmode": "pan",
        "bargap": 0.15,
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.01, "yanchor": "bottom"},
    }
