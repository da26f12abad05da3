"""How the kit's objects look in a cell. Registered by name, so nothing below this room knows of it or of IPython."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from kit.market.feed import FeedState
from kit.notebook import panel
from kit.notebook.chart import DOWN, FORMING, INK, UP, without_theme
from kit.notebook.live_view import Followed, live_view, still
from kit.notebook.panel import origin, section
from kit.notebook.static import card, heading, pill, table

if TYPE_CHECKING:
    from kit.broker.broker import Broker
    from kit.broker.order import Order
    from kit.research.report import Result

TONES: Mapping[str, str] = {
    "filled": UP,
    "open": UP,
    "partial": UP,
    "intended": FORMING,
    "unknown": FORMING,
    "rejected": DOWN,
    "expired": INK,
    "canceled": INK,
}
FILL = ["time", "side", "qty", "price", "fee", "fee_asset", "maker"]
SHARES = {"return", "buy_and_hold", "annual_return", "annual_volatility", "max_drawdown", "exposure", "win_rate"}


def live_bundle(live: Followed) -> dict[str, Any]:
    """A live frame: a view that follows it where a kernel can feed one, else the picture of this moment."""
    if live.state is FeedState.CLOSED or not _has_kernel():
        return still(live)
    return live_view(live)._repr_mimebundle_()


def order_html(order: Order) -> str:
    """An order: its status, its own words, why it stands where it does, and what it executed."""
    status, fills = str(order.status), order.fills
    return card(
        heading(pill(status, TONES.get(status, INK)), escape(repr(order).strip("<>"))),
        f'<div style="opacity:.8">{escape(order.why())}</div>',
        section("Fills", fills[FILL]) if len(fills) else "",
    )


def broker_bundle(broker: Broker) -> dict[str, Any]:
    """An account: a panel with its kill switch where a kernel can hear it, else the picture of this moment."""
    if broker.closed or not _has_kernel():
        return panel.still(broker)
    return panel.account_panel(broker)._repr_mimebundle_()


def result_bundle(result: Result) -> dict[str, Any]:
    """A backtest: its figure with the statistics beside it; the statistics alone where plotly does not show."""
    fig = without_theme(result.figure())
    said = [(str(name).replace("_", " "), _figure(str(name), value)) for name, value in result.stats.items()]
    stats = "<br>".join(f"{escape(name):<18}{value:>12}".replace(" ", "&nbsp;") for name, value in said)
    fig.add_annotation(
        text=stats, x=1.01, y=1, xref="paper", yref="paper", xanchor="left", yanchor="top", align="left",
        showarrow=False, font={"family": "monospace", "size": 11},
    )  # fmt: skip
    fig.update_layout(margin={"r": 270})
    rows = [{"statistic": name, "value": value} for name, value in said]
    html = card(
        heading(f"<b>{escape(result.strategy)}</b>", origin(result.environment)),
        table(["statistic", "value"], rows, most=len(rows)),
    )
    shown = fig._repr_mimebundle_()
    return {"text/html": html, **shown, "text/plain": repr(result)}


MIMEBUNDLES: Mapping[tuple[str, str], Callable[[Any], dict[str, Any]]] = {
    ("kit.broker.broker", "Broker"): broker_bundle,
    ("kit.net.live", "Live"): live_bundle,
    ("kit.research.report", "Result"): result_bundle,
}
HTML: Mapping[tuple[str, str], Callable[[Any], str]] = {
    ("kit.broker.order", "Order"): order_html,
}


def register(shell: Any) -> None:
    """Tell an IPython shell how the kit's objects look; their classes are only named, not imported."""
    formatter = shell.display_formatter
    for name, bundle in MIMEBUNDLES.items():
        formatter.mimebundle_formatter.for_type_by_name(*name, bundle)
    for name, html in HTML.items():
        formatter.formatters["text/html"].for_type_by_name(*name, html)


def unregister(shell: Any) -> None:
    """Take back what ``register`` did."""
    formatter = shell.display_formatter
    for name in MIMEBUNDLES:
        formatter.mimebundle_formatter.pop(".".join(name), None)
    for name in HTML:
        formatter.formatters["text/html"].pop(".".join(name), None)


def _has_kernel() -> bool:
    from IPython import get_ipython  # there is one: it is what asks for this display

    return getattr(get_ipython(), "kernel", None) is not None


def _figure(name: str, value: float) -> str:
    """A statistic as people read it: shares in per cent, counts whole, the rest with two decimals."""
    if math.isnan(value):
        return "-"
    return f"{value:.2%}" if name in SHARES else f"{value:.0f}" if name == "trades" else f"{value:,.2f}"
