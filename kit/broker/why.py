"""One line on what became of an order and why: the receipt of a fill, or what it still waits for."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from kit.clock import SECOND
from kit.model import Fill, OrderStatus, OrderType, Quote, ReportKind, Side
from kit.orders.lifecycle import OrderRecord
from kit.orders.rules import plain
from kit.store.entries import Entry, Intended, Reported


def why(record: OrderRecord, history: Sequence[Entry], quote: Quote | None) -> str:
    """Why the order filled at that price, or why it has not (yet). ``quote`` is the last one seen, None if unknown."""
    if record.status in _STILL:
        told = f"{record.status}: {_STILL[record.status]}{f' ({record.reason})' if record.reason else ''}"
    elif record.status is OrderStatus.FILLED:
        return _receipt(record, history)
    elif record.status in (OrderStatus.OPEN, OrderStatus.PARTIAL):
        told = f"{record.status}: {_waits_for(record, quote)}"
    else:
        told = f"{record.status}: {record.reason or 'the venue gave no reason'}"
    return f"{told}; {_receipt(record, history)}" if record.fills else f"{told}; nothing filled"


_STILL = {
    OrderStatus.INTENDED: "written down and being sent",
    OrderStatus.UNKNOWN: "it was sent and not answered; the venue is asked with its id, it is not sent again",
}


def answered_after(history: Sequence[Entry]) -> float | None:
    """Seconds from the decision to the venue's first word; None before it."""
    intended = next(entry.time for entry in history if isinstance(entry, Intended))
    first = next((entry.time for entry in history if isinstance(entry, Reported)), None)
    return None if first is None else (first - intended) / SECOND


def _receipt(record: OrderRecord, history: Sequence[Entry]) -> str:
    """``filled 0.5 of 0.5 BTC at 60010.2 (taker, 2 prices 60010 to 60011); …``"""
    average = record.average_price or Decimal(0)
    part = "" if record.status is OrderStatus.FILLED else f" of {plain(record.request.qty)}"
    parts = [
        f"filled {plain(record.filled)}{part} at {_short(average)} ({_how(record.fills)})",
        _seen(history),
        _slippage(record, history, average),
    ]
    return "; ".join(part for part in parts if part)


def _how(fills: Sequence[Fill]) -> str:
    roles = {"maker" if fill.maker else "taker" for fill in fills}
    prices = sorted({fill.price for fill in fills})
    levels = "1 price" if len(prices) == 1 else f"{len(prices)} prices, {plain(prices[0])} to {plain(prices[-1])}"
    return f"{' and '.join(sorted(roles))}, {levels}"


def _seen(history: Sequence[Entry]) -> str:
    """What the market showed on arrival, as the venue's acknowledgement tells, and how long the answer took."""
    accepted = (e.report for e in history if isinstance(e, Reported) and e.report.kind is ReportKind.ACCEPTED)
    shown = next((report.reason for report in accepted if report.reason), "")
    took = answered_after(history)
    return ", ".join(part for part in (shown, f"answered in {took * 1000:.0f} ms" if took is not None else "") if part)


def _slippage(record: OrderRecord, history: Sequence[Entry], average: Decimal) -> str:
    """The price paid against the quote the order was decided on."""
    quote = next((entry.quote for entry in history if isinstance(entry, Intended)), None)
    if quote is None or record.request.type is not OrderType.MARKET:
        return ""
    name, value = ("ask", quote.ask) if record.request.side is Side.BUY else ("bid", quote.bid)
    worse = (average - Decimal(repr(value))) * record.request.side.sign / Decimal(repr(value)) * 10_000
    verdict = "at the" if not round(worse, 1) else f"{abs(worse):.1f} bp {'worse' if worse > 0 else 'better'} than the"
    return f"{verdict} {name} {value:.10g} it was decided on"


def _waits_for(record: OrderRecord, quote: Quote | None) -> str:
    request = record.request
    buying = request.side is Side.BUY
    if request.stop is not None and not record.triggered:
        beyond = "above" if buying else "below"
        return f"waits for a trade at {plain(request.stop)} or {beyond}{_market(quote, buying)}"
    if request.price is None:
        return "meets the next picture of the market"
    return (
        f"rests at {plain(request.price)} until the market trades through it, or at it once the queue ahead is done"
        f"{_market(quote, buying)}"
    )


def _market(quote: Quote | None, asks: bool) -> str:
    if quote is None:
        return ""
    return f" (best {'ask' if asks else 'bid'} last seen {quote.ask if asks else quote.bid:.10g})"


def _short(price: Decimal) -> str:
    return plain(round(price, 8))
