"""What became of a strategy: trades, equity, statistics and a figure, from plain frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kit.broker.broker import DISCLAIMER

if TYPE_CHECKING:
    import plotly.graph_objects as go

YEAR = pd.Timedelta(days=365.25)
TRADE_COLUMNS: dict[str, type[Any]] = {
    "entered": pd.Timestamp,
    "left": pd.Timestamp,
    "qty": float,
    "entry_price": float,
    "exit_price": float,
    "pnl": float,
    "return": float,
    "fees": float,
    "open": bool,
}


@dataclass(frozen=True, repr=False)
class Result:
    """A finished backtest.

    ``equity``: indexed like the candles (open times, UTC), columns equity cash position close, valued at
    each bar's close in the quote currency. ``trades``: one row a round trip, flat to flat, the last one
    marked ``open`` when the position was still held. ``fills`` and ``orders`` as a broker shows them.
    ``refusals``: ``time`` (UTC) and ``reason`` of each order that was turned away.
    ``stats``: a Series, shares as fractions (0.1 is 10 %).
    """

    strategy: str
    symbol: str
    environment: str
    candles: pd.DataFrame
    equity: pd.DataFrame
    trades: pd.DataFrame
    fills: pd.DataFrame
    orders: pd.DataFrame
    refusals: pd.DataFrame
    stats: pd.Series[float]

    def __repr__(self) -> str:
        s = self.stats
        return (
            f"<Result {_headline(self)} (buy and hold {s['buy_and_hold']:+.2%}), {s['trades']:.0f} trades, "
            f"max drawdown {s['max_drawdown']:.2%}, fees {s['fees']:.2f}. {DISCLAIMER}>"
        )

    def figure(self) -> go.Figure:
        """Price with fills, equity and drawdown as a plotly figure."""
        return figure(self)


def round_trips(fills: pd.DataFrame, last_price: float, lot: float) -> pd.DataFrame:
    """Fills (columns time side qty price fee fee_asset, and base asset in ``attrs["base"]``) as round trips.

    A trip begins when the position leaves zero and ends when less than one ``lot`` is left. ``pnl`` is in
    the quote currency after fees: sales - purchases - fees paid in quote, plus what is still held at
    ``last_price``. A fee paid in the base asset is a smaller position, so it is in ``pnl`` already;
    ``fees`` values it at the fill's price.
    """
    rows: list[dict[str, object]] = []
    trip = _Trip()
    for fill in fills.itertuples(index=False):
        trip.add(fill, base=str(fills.attrs.get("base", "")))
        if trip.held < lot:
            rows.append(trip.row(None))
            trip = _Trip()
    if trip.bought:
        rows.append(trip.row(last_price))
    trades = pd.DataFrame(rows, columns=list(TRADE_COLUMNS))
    for name, kind in TRADE_COLUMNS.items():
        values = trades[name]
        trades[name] = (
            pd.to_datetime(values, utc=True).dt.as_unit("us") if kind is pd.Timestamp else values.astype(kind)
        )
    return trades


class _Trip:
    """One flat-to-flat trip, added up fill by fill."""

    def __init__(self) -> None:
        self.entered: pd.Timestamp | None = None
        self.left: pd.Timestamp | None = None
        self.bought = self.paid = self.sold = self.received = self.fees = self.quote_fees = self.base_fees = 0.0

    @property
    def held(self) -> float:
        return self.bought - self.base_fees - self.sold

    def add(self, fill: object, *, base: str) -> None:
        time, side, qty, price, fee, asset = (
            getattr(fill, name) for name in ("time", "side", "qty", "price", "fee", "fee_asset")
        )
        self.entered = self.entered or time
        self.left = time
        if side == "buy":
            self.bought += qty
            self.paid += qty * price
        else:
            self.sold += qty
            self.received += qty * price
        in_base = asset == base
        self.base_fees += fee if in_base else 0.0
        self.quote_fees += 0.0 if in_base else fee
        self.fees += fee * price if in_base else fee

    def row(self, mark: float | None) -> dict[str, object]:
        """The trip as a row; ``mark`` values what is still held."""
        still = self.held * mark if mark is not None else 0.0
        pnl = self.received + still - self.paid - self.quote_fees
        return {
            "entered": self.entered,
            "left": pd.NaT if mark is not None else self.left,
            "qty": self.bought,
            "entry_price": self.paid / self.bought if self.bought else np.nan,
            "exit_price": self.received / self.sold if self.sold else np.nan,
            "pnl": pnl,
            "return": pnl / self.paid if self.paid else np.nan,
            "fees": self.fees,
            "open": mark is not None,
        }


def _headline(result: Result) -> str:
    where = f" [{result.environment}]" if result.environment else ""
    count = len(result.refusals)
    refused = f", {count} order{'s' if count > 1 else ''} refused" if count else ""
    return f"{result.strategy} on {result.symbol}{where}: {result.stats['return']:+.2%}{refused}"


def drawdown(equity: pd.Series[float]) -> pd.Series[float]:
    """How far equity is below its highest so far, as a fraction (0 at a high, -0.2 when 20 % below)."""
    return equity / equity.cummax() - 1


def statistics(equity: pd.DataFrame, trades: pd.DataFrame, lot: float) -> pd.Series[float]:
    """The usual figures; the annualised ones by the frame's own span and bars, 365.25 days a year, no risk-free rate.

    ``sharpe`` is mean / sample standard deviation of bar returns times the square root of bars a year
    (Sharpe 1994); NaN where there is nothing to divide by. ``exposure`` is the share of bars with a ``lot`` or more
    held: what fees and rounding leave over can't be sold and is no position.
    """
    worth, close = equity["equity"], equity["close"]
    returns = worth.pct_change().dropna()
    span = equity.index[-1] - equity.index[0] if len(equity) > 1 else pd.Timedelta(0)
    years = span / YEAR
    per_year = len(returns) / years if years else np.nan
    spread = returns.std()
    closed = trades[~trades["open"]]
    lost = -closed.loc[closed["pnl"] < 0, "pnl"].sum()
    growth = worth.iloc[-1] / worth.iloc[0]
    figures = {
        "start_equity": worth.iloc[0],
        "end_equity": worth.iloc[-1],
        "return": growth - 1,
        "buy_and_hold": close.iloc[-1] / close.iloc[0] - 1,
        "annual_return": growth ** (1 / years) - 1 if years and growth > 0 else np.nan,
        "annual_volatility": spread * np.sqrt(per_year),
        "sharpe": returns.mean() / spread * np.sqrt(per_year) if spread else np.nan,
        "max_drawdown": drawdown(worth).min(),
        "exposure": (equity["position"] >= lot).mean(),
        "trades": len(trades),
        "win_rate": (closed["pnl"] > 0).mean() if len(closed) else np.nan,
        "profit_factor": closed.loc[closed["pnl"] > 0, "pnl"].sum() / lost if lost else np.nan,
        "fees": trades["fees"].sum(),
    }
    return pd.Series(figures, dtype="float64", name="value")


def figure(result: Result) -> go.Figure:
    """Price with fills, equity beside buy-and-hold, and drawdown, on one time axis."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    equity, fills = result.equity, result.fills
    fig = make_subplots(rows=3, cols=1, shared_xaxes=True, row_heights=[0.5, 0.3, 0.2], vertical_spacing=0.03)
    fig.add_scatter(
        x=equity.index, y=equity["close"], name="close", line={"color": "#6b7280", "width": 1}, row=1, col=1
    )
    for side, symbol, color in (("buy", "triangle-up", "#16a34a"), ("sell", "triangle-down", "#dc2626")):
        mine = fills[fills["side"] == side]
        marker = {"symbol": symbol, "size": 9, "color": color, "line": {"width": 1, "color": "white"}}
        fig.add_scatter(x=mine["time"], y=mine["price"], mode="markers", name=side, marker=marker, row=1, col=1)
    held = equity["close"] / equity["close"].iloc[0] * equity["equity"].iloc[0]
    fig.add_scatter(x=equity.index, y=equity["equity"], name="equity", line={"color": "#2563eb"}, row=2, col=1)
    fig.add_scatter(x=equity.index, y=held, name="buy and hold", line={"color": "#9ca3af", "dash": "dot"}, row=2, col=1)
    below = drawdown(equity["equity"])
    fig.add_trace(
        go.Scatter(x=below.index, y=below, name="drawdown", fill="tozeroy", line={"color": "#dc2626", "width": 1}),
        row=3,
        col=1,
    )
    fig.update_yaxes(title_text="price", row=1, col=1)
    fig.update_yaxes(title_text="equity", row=2, col=1)
    fig.update_yaxes(title_text="drawdown", tickformat=".0%", row=3, col=1)
    fig.add_annotation(
        text=DISCLAIMER, x=0, y=0, yshift=-48, xref="paper", yref="paper", showarrow=False, font={"size": 11}
    )
    fig.update_layout(
        title=_headline(result),
        height=640,
        margin={"l": 60, "r": 20, "t": 90, "b": 70},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        hovermode="x unified",
        template="plotly_white",
    )
    return fig
