"""HTML that stands by itself: tables and a small picture for wherever no widget runs (GitHub, nbconvert, VS Code)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from kit.notebook.chart import DOWN, FORMING, UP

LINE = "var(--jp-border-color2, rgba(128,136,145,.35))"
MOST_ROWS = 12


def card(*parts: str) -> str:
    """A block that takes its colours from the page around it."""
    look = (
        f"border:1px solid {LINE};border-radius:6px;padding:8px 12px;display:inline-block;max-width:100%;overflow:auto"
    )
    return f'<div style="{look}">{"".join(parts)}</div>'


def pill(word: str, color: str = FORMING) -> str:
    """A word in a coloured frame: an environment, a status."""
    look = f"border:1px solid {color};color:{color};border-radius:4px;padding:0 5px;font-size:85%;font-weight:600"
    return f'<span style="{look}">{escape(word)}</span>'


def heading(*parts: str) -> str:
    """A line of ready HTML parts."""
    return f'<div style="margin:2px 0 6px">{"&ensp;".join(part for part in parts if part)}</div>'


def table(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, none: str = "none", most: int = MOST_ROWS
) -> str:
    """Rows as a small table, at most ``most`` of them; every text is escaped. No row: the word ``none``."""
    shown = list(rows)
    if not shown:
        return f'<div style="opacity:.7">{escape(none)}</div>'
    cell = f"padding:2px 10px 2px 0;text-align:left;border-bottom:1px solid {LINE}"
    head = "".join(
        f'<th style="{cell};opacity:.7;font-weight:500">{escape(name.replace("_", " "))}</th>' for name in columns
    )
    body = "".join(
        "<tr>" + "".join(f'<td style="{cell}">{escape(text(row.get(name)))}</td>' for name in columns) + "</tr>"
        for row in shown[:most]
    )
    more = f'<div style="opacity:.7">and {len(shown) - most} more</div>' if len(shown) > most else ""
    look = "border-collapse:collapse;font-variant-numeric:tabular-nums;background:none"
    return f'<table style="{look}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}'


def text(value: object) -> str:
    """A value as a person reads it: times in UTC to the second, numbers without noise, nothing as a dash."""
    match value:
        case None:
            return "-"
        case pd.Timestamp():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case Decimal():
            return f"{value.normalize():f}"
        case float():
            return "-" if np.isnan(value) else np.format_float_positional(value, precision=8, trim="-")
    return str(value)


def candle_picture(candles: pd.DataFrame, *, width: int = 560, height: int = 150) -> str:
    """Candles as an inline SVG, a bar still forming amber and hollow; of an empty frame, an empty text."""
    if candles.empty:
        return ""
    top, bottom = float(candles["high"].max()), float(candles["low"].min())
    scale = (height - 10) / ((top - bottom) or 1.0)
    step = width / len(candles)
    bars = []
    columns = (candles[name].tolist() for name in ("open", "high", "low", "close", "closed"))
    for place, (opened, high, low, close, closed) in enumerate(zip(*columns, strict=True)):
        x = step * (place + 0.5)
        y_high, y_low, y_top, y_bottom = (
            5 + (top - price) * scale for price in (high, low, max(opened, close), min(opened, close))
        )
        color = UP if close >= opened else DOWN
        line, fill = (color, color) if closed else (FORMING, "none")
        bars.append(
            f'<path d="M{x:.1f} {y_high:.1f}V{y_low:.1f}" stroke="{line}"/>'
            f'<rect x="{x - step * 0.35:.1f}" y="{y_top:.1f}" width="{step * 0.7:.1f}" '
            f'height="{max(1.0, y_bottom - y_top):.1f}" fill="{fill}" stroke="{line}"/>'
        )
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{"".join(bars)}</svg>'
