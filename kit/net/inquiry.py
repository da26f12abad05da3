"""How REST is asked what a mirror wants to know of its instrument; one answer may take several questions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kit.clock import Clock
from kit.market.book import BookRule
from kit.market.strand import DEPTH, PAGE, Ask, Need
from kit.net.history import History, Rest
from kit.venues.base import Call, MarketCodec

TOUCH = 5
"""Levels a side that tell whether a silent book is a quiet one."""
PROBES = (Need.TOUCH, Need.LAST_TRADE)
"""Their answers prove little when they come late; what is missing goes before them."""


class Inquiry:
    """Asks for the instrument ``native``: ``rows`` bars of ``interval`` at most, books of ``levels`` a side.

    It blocks while ``rest`` does. ``clock`` is ours.
    """

    def __init__(
        self,
        codec: MarketCodec,
        rest: Rest,
        clock: Clock,
        *,
        native: str,
        interval: str,
        rows: int,
        levels: int = DEPTH,
    ) -> None:
        self._codec, self._rest, self._native, self._interval = codec, rest, native, interval
        self._rows, self._levels = rows, levels
        self._history = History(codec, rest, clock)

    def told(self, ask: Ask) -> Any:
        """What ``Mirror.answer`` takes for ``ask``. Raises what ``Rest.do`` does."""
        if ask.need is Need.CANDLES:
            return self._history.newest(self._native, self._interval, ask.start, self._rows)
        if ask.need is Need.TRADES and ask.start is not None:
            return self._history.trades_from(self._native, ask.start, ask.since or 0)
        return self._rest.do(replace(self._call(ask.need), spare=ask.need in PROBES))

    def _call(self, need: Need) -> Call[Any]:
        codec, native = self._codec, self._native
        match need:
            case Need.TRADES:
                return codec.trades(native, PAGE)
            case Need.BOOK | Need.AUDIT:
                return codec.book(native, self._levels)
            case Need.QUOTE | Need.TOUCH if codec.streaming.book is BookRule.IDS:
                return codec.book(native, TOUCH)
            case Need.LAST_TRADE:
                return codec.last_trade(native)
            case _:
                return codec.quote(native)
