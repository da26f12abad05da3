"""What a tape says of each instrument, gathered as it came: flat rows of numbers, small enough for hours of tape."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from kit.errors import BadAnswer, DataError
from kit.model import BookDelta, BookSnapshot, Instrument, Quote, Side, Trade
from kit.net.tape import TapeLine
from kit.venues.binance import BINANCE

_ALL = 5000
_PARTIAL_BOOK = 20  # levels: the most that a stream of partial books sends


class Answer(NamedTuple):
    """A whole book over REST, and when it came in."""

    book: BookSnapshot
    received: int


@dataclass
class Take:
    """What a tape says of one instrument. Times are µs."""

    trades: array[int] = field(default_factory=lambda: array("q"))
    """id, time, taker bought, is an aggregate."""
    amounts: array[float] = field(default_factory=lambda: array("d"))
    """price, quantity of each trade."""
    quotes: array[int] = field(default_factory=lambda: array("q"))
    """update id, receive time."""
    touches: array[float] = field(default_factory=lambda: array("d"))
    """bid, its quantity, ask, its quantity of each quote."""
    deltas: array[int] = field(default_factory=lambda: array("q"))
    """first id, last id, time, number of bids, position of its first level, position after its levels."""
    levels: array[float] = field(default_factory=lambda: array("d"))
    """price, quantity."""
    snapshots: list[Answer] = field(default_factory=list)


@dataclass
class Collected:
    """All of a tape, by native symbol."""

    takes: dict[str, Take] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    """As the venue describes them, where the tape tells."""
    nameless: list[Answer] = field(default_factory=list)
    """Books whose symbol is not told."""
    trade_clock: array[int] = field(default_factory=lambda: array("q"))
    """Receive time and venue time of every trade."""
    book_clock: array[int] = field(default_factory=lambda: array("q"))
    """Receive time and venue time of every book delta."""

    def take(self, native: str) -> Take:
        return self.takes.setdefault(native, Take())


def collect(lines: Iterable[TapeLine]) -> Collected:
    """Everything on a tape. Raises DataError on a line that is not what the venue's documentation promises."""
    found = Collected()
    for number, line in enumerate(lines, 1):
        try:
            if line.url:
                _answer(found, line)
            else:
                _frame(found, line)
        except BadAnswer as error:
            raise DataError(f"message {number} of the tape is not Binance's: {error}; nothing was played") from None
    return found


def _answer(found: Collected, line: TapeLine) -> None:
    """A REST answer: of use are books and instruments."""
    url = urlsplit(line.url)
    native = parse_qs(url.query).get("symbol", [""])[0].upper()
    body = line.text.encode()
    if url.path.endswith("/depth") and native:
        found.take(native).snapshots.append(Answer(BINANCE.book(native, _ALL).read(body), line.ns // 1000))
    elif url.path.endswith("/exchangeInfo"):
        found.instruments |= {one.native: one for one in BINANCE.instruments().read(body)}


def _frame(found: Collected, line: TapeLine) -> None:
    received = line.ns // 1000
    event = next(iter(BINANCE.decode(line.text)), None)
    match event:
        case Trade():
            take = found.take(event.symbol)
            aggregate = '"aggTrade"' in line.text
            take.trades.extend((event.id, event.time, event.side is Side.BUY, aggregate))
            take.amounts.extend((event.price, event.qty))
            found.trade_clock.extend((received, event.time))
        case Quote():
            take = found.take(event.symbol)
            take.quotes.extend((event.update_id, received))
            take.touches.extend((event.bid, event.bid_qty, event.ask, event.ask_qty))
        case BookDelta():
            take = found.take(event.symbol)
            start = len(take.levels) // 2
            for level in (*event.bids, *event.asks):
                take.levels.extend(level)
            span = (len(event.bids), start, len(take.levels) // 2)
            take.deltas.extend((event.first_id, event.last_id, event.time, *span))
            found.book_clock.extend((received, event.time))
        case None if line.text.startswith('{"lastUpdateId"'):
            book = BINANCE.book("", _ALL).read(line.text.encode())
            if max(len(book.bids), len(book.asks)) > _PARTIAL_BOOK:
                found.nameless.append(Answer(book, received))
